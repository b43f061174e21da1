//! One field of a row: its length, then its value in PostgreSQL's binary format.

use bytes::{BufMut as _, BytesMut};
use poa_core::{MessageId, Timestamp};
use poa_tables::Cell;

use super::{jsonb, numeric};

/// Microseconds from 1970 to 2000, the epoch of PostgreSQL.
const EPOCH: i64 = 946_684_800_000_000;
const NULL: i32 = -1;
/// The version byte at the start of a jsonb value.
const JSONB: u8 = 1;

/// The changes that were made to a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// A NUL character was replaced.
    pub(super) replaced_nul: bool,
    /// JSON that jsonb cannot hold was wrapped.
    pub(super) wrapped: bool,
}

impl Done {
    pub(super) fn add(&mut self, other: Self) {
        self.replaced_nul |= other.replaced_nul;
        self.wrapped |= other.wrapped;
    }
}

pub(super) fn uuid(id: MessageId, out: &mut BytesMut) {
    put(id.as_bytes(), out);
}

pub(super) fn timestamp(time: Timestamp, out: &mut BytesMut) {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    put(&(micros - EPOCH).to_be_bytes(), out);
}

pub(super) fn text(text: &str, out: &mut BytesMut) {
    put(text.as_bytes(), out);
}

pub(super) fn cell(cell: &Cell<'_>, out: &mut BytesMut) -> Done {
    match cell {
        Cell::Null => out.put_i32(NULL),
        Cell::Boolean(value) => put(&[u8::from(*value)], out),
        Cell::Integer(value) => put(&value.to_be_bytes(), out),
        Cell::Double(value) => put(&value.to_be_bytes(), out),
        Cell::Number(value) => sized(out, |out| numeric::put(value, out)),
        Cell::Text(value) => text(value, out),
        Cell::Json(value) => return json(value, out),
    }
    Done::default()
}

fn json(value: &str, out: &mut BytesMut) -> Done {
    let held = jsonb::hold(value);
    sized(out, |out| {
        out.put_u8(JSONB);
        out.put_slice(held.text.as_bytes());
    });
    held.done
}

fn put(bytes: &[u8], out: &mut BytesMut) {
    sized(out, |out| out.put_slice(bytes));
}

/// Writes a value and, before it, its length. A message is far smaller than the limit of 31 bits.
fn sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_i32(0);
    write(out);
    let len = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}
