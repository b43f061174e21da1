//! Segment files: their names and headers.

use crate::record::{FRAME, Parsed, parse};
use crate::{LogError, Position};

/// Bytes at the beginning of each segment: a magic word, the version of the format, and the position of the first record.
pub(crate) const HEADER: u64 = 16;

const MAGIC: [u8; 4] = *b"poal";
const VERSION: u32 = 1;
const SUFFIX: &str = ".log";

/// The name of the segment at this position. Names sort as positions do.
pub(crate) fn name(base: Position) -> String {
    format!("{:020}{SUFFIX}", base.get())
}

/// The position of the segment with this name; `None` if it is not a segment's name.
pub(crate) fn base(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?;
    digits.parse().ok().map(Position::new)
}

pub(crate) fn header(base: Position) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8..].copy_from_slice(&base.get().to_le_bytes());
    header
}

/// The content of a segment's header.
pub(crate) enum Header {
    Fine,
    /// It was being created when the power was cut.
    Unfinished,
}

pub(crate) fn check_header(file: &str, base: Position, bytes: &[u8]) -> Result<Header, LogError> {
    let expected = header(base);
    let Some(found) = bytes.get(..HEADER as usize) else {
        return Ok(Header::Unfinished);
    };
    if found == expected {
        return Ok(Header::Fine);
    }
    if found.iter().all(|byte| *byte == 0) {
        return Ok(Header::Unfinished);
    }
    let version = u32::from_le_bytes([found[4], found[5], found[6], found[7]]);
    if found[..4] == MAGIC && version != VERSION {
        return Err(LogError::UnknownFormat {
            file: file.to_owned(),
            found: version,
            known: VERSION,
        });
    }
    Err(LogError::NotALog { file: file.to_owned() })
}

/// The length of the whole records at the beginning of these bytes.
pub(crate) fn whole_records(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Parsed::Whole(payload) = parse(&bytes[whole..]) {
        whole += FRAME + payload.len();
    }
    whole
}
