use std::fmt;
use std::ops::{Deref, Range};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use poa_core::MemoryBudget;

use crate::shares::{NoRoom, Room};
use crate::{Body, BodyError, Encoding, encoding};

/// The minimum amount that is reserved at once for a body that arrives in pieces.
const FIRST_PIECES: usize = 64 << 10;

/// A body of at most this size that arrives whole is charged to no share: it is answered immediately.
const SMALL: usize = 4 << 10;

/// A body that has arrived completely, and its reserved memory, of the budget and of its sender's share, until it is
/// dropped.
pub struct Received {
    bytes: Bytes,
    /// The bytes are in memory of their own, not in a buffer of the connection.
    own: bool,
    room: Room,
}

impl From<NoRoom> for BodyError {
    fn from(no_room: NoRoom) -> Self {
        match no_room {
            NoRoom::Host => Self::Busy,
            NoRoom::Share => Self::OverShare,
        }
    }
}

impl Received {
    /// Bytes in memory of their own.
    pub(crate) fn owned(bytes: Vec<u8>, room: Room) -> Self {
        Self { bytes: bytes.into(), own: true, room }
    }

    /// Drops the bytes and keeps their memory reserved.
    pub(crate) fn into_parts(self) -> (Bytes, Room) {
        (self.bytes, self.room)
    }

    /// Reserves memory for values that are derived from the body, such as the items of a batch, for as long as the body is
    /// held.
    ///
    /// # Errors
    /// [`BodyError::Busy`] or [`BodyError::OverShare`].
    pub fn charge(&mut self, bytes: u64) -> Result<(), BodyError> {
        Ok(self.room.grow(bytes)?)
    }

    /// The bytes of this range, for as long as they are needed.
    ///
    /// Shares the memory of the body if most of it is used, and copies if a small part would keep much more alive: the
    /// result never holds more than twice its size.
    ///
    /// # Panics
    /// When the range is not inside the body.
    #[must_use]
    pub fn keep(&self, range: Range<usize>) -> Bytes {
        if self.own && range.len() >= self.bytes.len() / 2 {
            self.bytes.slice(range)
        } else {
            Bytes::copy_from_slice(&self.bytes[range])
        }
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received({} bytes)", self.bytes.len())
    }
}

impl Body {
    /// Waits for the whole body. Its memory is reserved as it arrives, and charged to the sender's [share](crate::Shares).
    ///
    /// Cancel safe in the sense that dropping the future drops the body.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn read(mut self, memory: &MemoryBudget) -> Result<Received, BodyError> {
        let mut room = Room::new(memory);
        let first = self.next(&mut room).await?.unwrap_or_default();
        let whole = self.is_end_stream();
        if !whole || first.len() > SMALL {
            let conn = self.conn();
            room.charge_to(&conn.shares, conn.owner(), first.len() as u64)?;
        }
        if !whole && let Some(second) = self.next(&mut room).await? {
            // Boxed, as below: most bodies arrive in one piece, and otherwise each request would carry the space for the
            // others.
            return Box::pin(self.join(first, second, room)).await;
        }
        Ok(Received { bytes: first, own: false, room })
    }

    /// As [`read`](Self::read), and decodes the body. The decoded body is subject to the same limits as the encoded one.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn read_as(
        self,
        encoding: Encoding,
        memory: &MemoryBudget,
    ) -> Result<Received, BodyError> {
        let limit = self.conn().limits.body.get();
        let received = self.read(memory).await?;
        match encoding {
            Encoding::Gzip if !received.is_empty() => {
                Box::pin(encoding::gunzip(received, limit)).await
            }
            _ => Ok(received),
        }
    }

    /// The next piece, with its memory reserved.
    async fn next(&mut self, room: &mut Room) -> Result<Option<Bytes>, BodyError> {
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            room.grow(data.len() as u64)?;
            return Ok(Some(data));
        }
        Ok(None)
    }

    async fn join(
        mut self,
        first: Bytes,
        second: Bytes,
        mut room: Room,
    ) -> Result<Received, BodyError> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, &first);
        self.append(&mut bytes, &second);
        drop((first, second));
        while !self.is_end_stream() {
            let Some(piece) = self.next(&mut room).await? else { break };
            self.append(&mut bytes, &piece);
        }
        bytes.shrink_to(bytes.len() + bytes.len() / 2);
        Ok(Received::owned(bytes, room))
    }

    /// Grows by doubling, but not beyond the announced length, nor to it at once.
    fn append(&self, bytes: &mut Vec<u8>, piece: &[u8]) {
        let needed = bytes.len() + piece.len();
        if needed > bytes.capacity() {
            let announced = self.size_hint().exact().map(|left| needed + left as usize);
            let doubled = needed.max(2 * bytes.capacity()).max(FIRST_PIECES);
            let capacity = announced.map_or(doubled, |announced| doubled.min(announced));
            bytes.reserve_exact(capacity.max(needed) - bytes.len());
        }
        bytes.extend_from_slice(piece);
    }
}
