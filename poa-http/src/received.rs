use std::fmt;
use std::ops::{Deref, Range};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use poa_core::{MemoryBudget, Reservation};

use crate::{Body, BodyError};

/// What is set aside at once for a body that comes in pieces, at least.
const FIRST_PIECES: usize = 64 << 10;

/// A body that has arrived as a whole, and the share of the memory budget it holds until it is dropped.
pub struct Received {
    bytes: Bytes,
    /// The bytes lie in memory of their own, not in a buffer of the connection.
    own: bool,
    _reservation: Reservation,
}

impl Received {
    /// The bytes of this range, for as long as they are needed.
    ///
    /// Shares the memory of the body where most of it is wanted, and copies where a small part would keep much more
    /// alive: what comes back never holds more than twice its size.
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
    /// Waits for the whole body. Its memory is reserved as it arrives.
    ///
    /// Cancel safe in the sense that dropping the future drops the body.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn read(mut self, memory: &MemoryBudget) -> Result<Received, BodyError> {
        let mut reservation = memory.reservation();
        let first = self.next(&mut reservation).await?.unwrap_or_default();
        if !self.is_end_stream()
            && let Some(second) = self.next(&mut reservation).await?
        {
            return self.join(first, second, reservation).await;
        }
        Ok(Received { bytes: first, own: false, _reservation: reservation })
    }

    /// The next piece, paid for.
    async fn next(&mut self, reservation: &mut Reservation) -> Result<Option<Bytes>, BodyError> {
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            let paid = reservation.grow(data.len() as u64);
            return if paid { Ok(Some(data)) } else { Err(BodyError::Busy) };
        }
        Ok(None)
    }

    async fn join(
        mut self,
        first: Bytes,
        second: Bytes,
        mut reservation: Reservation,
    ) -> Result<Received, BodyError> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, &first);
        self.append(&mut bytes, &second);
        drop((first, second));
        while !self.is_end_stream() {
            let Some(piece) = self.next(&mut reservation).await? else { break };
            self.append(&mut bytes, &piece);
        }
        bytes.shrink_to(bytes.len() + bytes.len() / 2);
        Ok(Received { bytes: bytes.into(), own: true, _reservation: reservation })
    }

    /// Grows by doubling, but not beyond what was announced, nor all at once up to it.
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
