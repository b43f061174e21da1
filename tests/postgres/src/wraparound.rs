//! A server that is out of transaction ids.

use std::fs;

use crate::programs::hand_over;
use crate::{Cluster, ClusterError};

/// An id that a server refuses to assign while the oldest one in use is about one of its first. At a multiple of 65,536, as here, each attempt
/// also asks for an autovacuum.
const REFUSED: u32 = 32_723 << 16;
/// The ids of one file of their states, and the size of that file.
const IDS_OF_FILE: u32 = 1 << 20;
const FILE: usize = 256 << 10;

impl Cluster {
    /// Has the server, which must be stopped, continue with an id that it does not assign. It vacuums every database then, also if autovacuum
    /// is off, and assigns ids again after that.
    ///
    /// # Errors
    /// When `pg_resetwal` fails.
    pub fn use_up_transaction_ids(&self) -> Result<(), ClusterError> {
        let data = self.data();
        let next = format!("--next-transaction-id={REFUSED}");
        let pgdata = format!("--pgdata={}", data.display());
        self.programs().run("pg_resetwal", [next, pgdata])?;
        let states = data.join(format!("pg_xact/{:04X}", REFUSED / IDS_OF_FILE));
        fs::write(&states, vec![0; FILE])
            .map_err(ClusterError::io("cannot write the states of transactions"))?;
        hand_over(&states)
    }
}
