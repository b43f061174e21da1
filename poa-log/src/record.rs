//! The encoding of records in a file: length, checksum, payload.

/// The number of bytes before each payload: its length and a CRC-32 over length and payload, both little-endian.
pub(crate) const FRAME: usize = 8;

/// Records that are written together and become durable together.
#[derive(Clone, Debug, Default)]
pub struct Group {
    bytes: Vec<u8>,
    records: usize,
}

impl Group {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record whose payload `write` appends to the given buffer, which may hold other records.
    ///
    /// Returns the offset of the record from the group's first byte.
    ///
    /// # Panics
    /// When the payload has 4 GiB or more.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; FRAME]);
        write(&mut self.bytes);
        let payload = self.bytes.len() - start - FRAME;
        let length = u32::try_from(payload).expect("a record has less than 4 GiB").to_le_bytes();
        let checksum = checksum(length, &self.bytes[start + FRAME..]);
        self.bytes[start..start + 4].copy_from_slice(&length);
        self.bytes[start + 4..start + FRAME].copy_from_slice(&checksum.to_le_bytes());
        self.records += 1;
        start as u64
    }

    /// The number of bytes that the group takes in the log.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records
    }

    /// True when there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Takes all records out, and keeps the memory unless it is large.
    pub fn clear(&mut self) {
        const KEPT: usize = 4 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.records = 0;
    }
}

/// The checksum covers the length, so that a run of zeros is not an empty record.
fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(0x706f_6121);
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// The result of parsing the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// A whole record with this payload.
    Whole(&'a [u8]),
    /// The bytes end before the record does; this many bytes are needed, as far as known.
    Short(usize),
    /// Not a record.
    Bad,
}

pub(crate) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((frame, rest)) = bytes.split_first_chunk::<FRAME>() else {
        return Parsed::Short(FRAME);
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *frame;
    let length = [l0, l1, l2, l3];
    let payload = u32::from_le_bytes(length) as usize;
    match rest.get(..payload) {
        None => Parsed::Short(FRAME + payload),
        Some(found) if checksum(length, found) == u32::from_le_bytes([c0, c1, c2, c3]) => {
            Parsed::Whole(found)
        }
        Some(_) => Parsed::Bad,
    }
}

/// The number of bytes that a search for a record may check in vain: bytes that look like lengths can make it check the same ones
/// repeatedly.
const SEARCH: usize = 1 << 30;

/// The offset of the next whole record after bytes that are not one; `None` if no record follows.
///
/// A part of a payload may be mistaken for a record: only where the disk damaged the record of that payload, which an agent cannot
/// bring about. A reader must therefore begin at a record, never within one.
pub(crate) fn next_whole(bytes: &[u8]) -> Option<usize> {
    search(bytes, SEARCH)
}

/// A search that exceeds the limit ends at the end of the bytes, as if a record were there: bytes that were not searched must not
/// count as empty.
fn search(bytes: &[u8], limit: usize) -> Option<usize> {
    let (mut start, mut checked) = (1, 0);
    while let Some(frame) = bytes.get(start..start + FRAME) {
        if frame.iter().all(|byte| *byte == 0) {
            // Space that was filled in advance; a frame may begin with its last zeros.
            let zeros = bytes[start..].iter().position(|byte| *byte != 0)?;
            start += zeros - FRAME + 1;
            continue;
        }
        match parse(&bytes[start..]) {
            Parsed::Whole(_) => return Some(start),
            Parsed::Short(_) => {}
            Parsed::Bad => checked += FRAME + payload_length(frame),
        }
        if checked > limit {
            return Some(bytes.len());
        }
        start += 1;
    }
    None
}

fn payload_length(frame: &[u8]) -> usize {
    frame.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_record_is_found_after_any_damage() {
        let mut group = Group::new();
        group.push(|bytes| bytes.extend_from_slice(b"payload"));
        let garbage: [&[u8]; 6] = [b"x", &[0; 7], &[0; 8], &[0; 9], &[0; 100], &[7, 0, 0, 0, 1, 0]];
        for garbage in garbage {
            let bytes = [garbage, group.bytes(), &[0; 20]].concat();
            assert_eq!(next_whole(&bytes), Some(garbage.len()), "{garbage:?}");
            assert_eq!(next_whole(&bytes[..bytes.len() - 21]), None, "{garbage:?}");
        }
        assert_eq!((next_whole(&[0; 64]), next_whole(&[])), (None, None));
    }

    #[test]
    fn a_search_that_takes_too_long_finds_the_end() {
        // Every fourth byte begins the length of a record of 16 MiB.
        let bytes = [0, 0, 0, 1].repeat(8 << 20);
        assert_eq!(search(&bytes, 20 << 20), Some(bytes.len()));
    }

    #[test]
    fn pushed_records_are_parsed() {
        let mut group = Group::new();
        assert_eq!(group.push(|bytes| bytes.extend_from_slice(b"one")), 0);
        assert_eq!(group.push(|_| {}), 11);
        assert_eq!(parse(group.bytes()), Parsed::Whole(b"one"));
        assert_eq!(parse(&group.bytes()[11..]), Parsed::Whole(b""));
        assert_eq!((group.len(), group.bytes().len()), (2, 19));
    }

    #[test]
    fn zeros_are_not_a_record() {
        assert_eq!(parse(&[0; 64]), Parsed::Bad);
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let mut group = Group::new();
        group.push(|bytes| bytes.extend_from_slice(b"payload"));
        for bit in 0..group.bytes().len() * 8 {
            let mut bytes = group.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&bytes), Parsed::Whole(_)), "bit {bit}");
        }
    }

    #[test]
    fn a_part_is_short() {
        let mut group = Group::new();
        group.push(|bytes| bytes.extend_from_slice(b"payload"));
        for end in 0..group.bytes().len() {
            assert!(matches!(parse(&group.bytes()[..end]), Parsed::Short(_)), "{end}");
        }
    }
}
