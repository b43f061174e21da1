//! One agent: the frames for new clients, and its row on the page.

use std::sync::Arc;

use bytes::Bytes;

use super::history::History;
use super::view::View;

/// Everything that is kept for one agent. Its memory is limited: frames larger than [`KEPT`] are passed on, not kept.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) view: View,
    pub(crate) history: History,
    /// The frame of its last `information`.
    pub(crate) information: Option<Bytes>,
    /// The frame of its last `statistics` of each data type, the newest last.
    pub(crate) statistics: Vec<(Arc<str>, Bytes)>,
    /// The number of the change in which its row changed last.
    pub(crate) changed: u64,
    /// The number of the change in which its description changed last.
    pub(crate) introduced: u64,
}

/// The largest frame that is kept for new clients.
pub(crate) const KEPT: usize = 16 << 10;

impl Agent {
    /// Keeps the statistics of this data type as the newest.
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

    /// The frames that a new client gets first, with their data types; the information has none.
    pub(crate) fn last_words(&self) -> impl Iterator<Item = (Option<&str>, &Bytes)> {
        let statistics = self.statistics.iter().map(|(name, frame)| (Some(&**name), frame));
        self.information.iter().map(|frame| (None, frame)).chain(statistics)
    }
}
