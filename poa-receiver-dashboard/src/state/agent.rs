//! One agent: what new clients are told of it, and what the page shows.

use std::sync::Arc;

use bytes::Bytes;

use super::history::History;
use super::view::View;

/// Everything that is kept of one agent. Its memory is bounded: frames larger than [`KEPT`] are passed on, not kept.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) view: View,
    pub(crate) history: History,
    /// The frame of its last `information`.
    pub(crate) information: Option<Bytes>,
    /// The frame of its last `statistics` of each data type, the newest last.
    pub(crate) statistics: Vec<(Arc<str>, Bytes)>,
    /// The change in which the page's view changed last.
    pub(crate) changed: u64,
    /// The change in which who it is changed last.
    pub(crate) introduced: u64,
}

/// The largest frame that is kept for new clients.
pub(crate) const KEPT: usize = 16 << 10;

impl Agent {
    /// Keeps the statistics of this data type, as the newest.
    pub(crate) fn keep_statistics(&mut self, data_type: &str, frame: Bytes) {
        let place = self.statistics.iter().position(|(known, _)| **known == *data_type);
        let name = match place {
            Some(place) => self.statistics.remove(place).0,
            None => data_type.into(),
        };
        if frame.len() <= KEPT {
            self.statistics.push((name, frame));
        }
    }

    /// What a new client is told first: frames with their data types, of which the information has none.
    pub(crate) fn last_words(&self) -> impl Iterator<Item = (Option<&str>, &Bytes)> {
        let statistics = self.statistics.iter().map(|(name, frame)| (Some(&**name), frame));
        self.information.iter().map(|frame| (None, frame)).chain(statistics)
    }
}
