//! Work that continues after its request was answered.

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::intent::{ended, interrupted};
use crate::{Code, Error};

/// One id that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The CEN or CIN.
    pub id: String,
    /// Why.
    pub error: Error,
}

/// The result of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The ids that are where they should be, in the order of the request.
    pub done: Vec<String>,
    /// The others.
    pub failed: Vec<Failed>,
}

impl Report {
    /// `{"done":[…],"failed":[{"id","code","message"}]}`
    #[must_use]
    pub fn to_json(&self) -> Value {
        let failed = self.failed.iter().map(|failed| {
            let (code, message) = (failed.error.code().as_str(), failed.error.to_string());
            json!({"id": failed.id, "code": code, "message": message})
        });
        json!({"done": self.done, "failed": failed.collect::<Vec<_>>()})
    }

    pub(super) fn all_failed(ids: &[String], error: &Error) -> Self {
        let failed = ids.iter().map(|id| Failed { id: id.clone(), error: error.clone() });
        Self { done: Vec::new(), failed: failed.collect() }
    }
}

/// Work that was begun. It continues when this is dropped.
#[derive(Debug)]
pub struct Job {
    pub(super) ids: Vec<String>,
    pub(super) work: JoinHandle<Option<Report>>,
}

impl Job {
    /// Waits for the end.
    pub async fn wait(self) -> Report {
        match self.work.await {
            Ok(Some(report)) => report,
            Ok(None) => Report::all_failed(&self.ids, &interrupted()),
            Err(error) => Report::all_failed(&self.ids, &ended(error)),
        }
    }
}

pub(super) fn busy(what: &str, ids: Vec<String>) -> Error {
    let why =
        format!("{what} being made or destroyed: {}; try again when that is done", ids.join(", "));
    Error::new(Code::Busy, why).with_details(ids)
}
