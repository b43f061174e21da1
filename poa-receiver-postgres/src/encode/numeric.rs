//! NUMERIC: its range, and its binary format.

use bytes::{BufMut as _, BytesMut};
use poa_tables::{Cell, Number};

/// The most digits before the decimal point.
const MOST_WHOLE: i64 = 131_072;
/// The most digits after it.
const MOST_FRACTION: i64 = 16_383;
/// Decimal digits in one digit of NUMERIC.
const GROUP: i64 = 4;
const NEGATIVE: u16 = 0x4000;

/// Whether a column of its type can hold this cell unchanged. Only NUMERIC has limits that a cell may
/// exceed.
pub(super) fn holds_cell(cell: &Cell<'_>) -> bool {
    match cell {
        Cell::Number(number) => holds(number.as_str()),
        _ => true,
    }
}

/// Whether NUMERIC can hold this number, given in the grammar of JSON, with all its digits.
///
/// A zero that is written with a huge exponent is refused as well; no real agent sends one.
pub(super) fn holds(number: &str) -> bool {
    let unsigned = number.trim_start_matches('-');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i32>() else { return false };
    let (whole, fraction) = (whole.len() as i64, fraction.len() as i64);
    whole + i64::from(exponent) <= MOST_WHOLE && fraction - i64::from(exponent) <= MOST_FRACTION
}

/// Writes a number that [`holds`] accepts.
pub(super) fn put(number: &Number<'_>, out: &mut BytesMut) {
    let decimal = number.decimal().expect("its exponent was found to be small");
    let exponent = decimal.exponent();
    // Zeros at both ends align the decimal point with a group boundary, and complete the first group.
    let behind = exponent.rem_euclid(GROUP) as usize;
    let before = (decimal.digits().len() + behind).next_multiple_of(GROUP as usize)
        - decimal.digits().len()
        - behind;
    let zeros = |count| std::iter::repeat_n(0, count);
    let digits = decimal.digits().bytes().map(|digit| u16::from(digit - b'0'));
    let mut digits = zeros(before).chain(digits).chain(zeros(behind));
    let groups = (before + decimal.digits().len() + behind) as i64 / GROUP;
    let weight = groups - 1 + (exponent - behind as i64) / GROUP;
    out.put_u16(groups as u16);
    out.put_i16(if groups == 0 { 0 } else { weight as i16 });
    out.put_u16(if decimal.is_negative() { NEGATIVE } else { 0 });
    out.put_u16((-exponent).max(0) as u16);
    for _ in 0..groups {
        out.put_u16(
            digits.by_ref().take(GROUP as usize).fold(0, |group, digit| group * 10 + digit),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn accepts_numbers_within_the_limits() {
        for number in
            ["0", "-1.5", "1e131071", "1e-16383", "1.5e-16382", &"9".repeat(131_072), "-1E+5"]
        {
            assert!(holds(number), "{number}");
        }
        for number in [
            "1e131072",
            "1e400000",
            "1e-16384",
            "1.5e-16383",
            &"9".repeat(131_073),
            "1e99999999999999999999",
            "0e400000",
        ] {
            assert!(!holds(number), "{number}");
        }
    }
}
