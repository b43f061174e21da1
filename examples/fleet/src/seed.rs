//! Random numbers that are the same for the same seed, and different for every thing that has some.

use fastrand::Rng;

/// The random numbers of `thing` number `index`: neither depends on how many numbers others have drawn.
pub(crate) fn derive(seed: u64, thing: &str, index: u64) -> Rng {
    let named = thing.bytes().fold(seed, |mixed, byte| mix(mixed ^ u64::from(byte)));
    Rng::with_seed(mix(named ^ mix(index)))
}

/// The finalizer of SplitMix64: neighbouring seeds give unrelated numbers.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// `0x` and `bytes` random bytes in hexadecimal, as hashes and signatures look.
pub(crate) fn hex(rng: &mut Rng, bytes: usize) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes);
    text.push_str("0x");
    push_hex(&mut text, rng, bytes);
    text
}

pub(crate) fn push_hex(text: &mut String, rng: &mut Rng, bytes: usize) {
    text.extend((0..2 * bytes).map(|_| char::from(b"0123456789abcdef"[rng.usize(..16)])));
}

/// About normal: between -3 and 3, mostly near 0.
pub(crate) fn bell(rng: &mut Rng) -> f64 {
    2.0 * (rng.f64() + rng.f64() + rng.f64()) - 3.0
}

/// Evenly from half of `mean` to one and a half of it.
pub(crate) fn around(rng: &mut Rng, mean: f64) -> f64 {
    mean * (0.5 + rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thing_has_numbers_of_its_own_and_always_the_same() {
        let first = |seed, thing, index| derive(seed, thing, index).u64(..);
        assert_eq!(first(1, "agent", 0), first(1, "agent", 0));
        let mut drawn = vec![
            first(1, "agent", 0),
            first(2, "agent", 0),
            first(1, "chain", 0),
            first(1, "agent", 1),
        ];
        drawn.dedup();
        assert_eq!(drawn.len(), 4);
    }

    #[test]
    fn hex_has_the_length_of_a_hash() {
        let hash = hex(&mut derive(1, "hash", 0), 32);
        assert_eq!(hash.len(), 66);
        assert!(hash[2..].chars().all(|c| c.is_ascii_hexdigit()));
    }

    #[test]
    fn the_bell_stays_in_its_bounds() {
        let mut rng = derive(1, "bell", 0);
        let drawn: Vec<f64> = (0..10_000).map(|_| bell(&mut rng)).collect();
        assert!(drawn.iter().all(|x| (-3.0..=3.0).contains(x)));
        let mean = drawn.iter().sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05, "{mean}");
    }
}
