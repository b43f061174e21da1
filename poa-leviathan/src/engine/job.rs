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

/// The result of a job over CENs and CINs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// That of the CENs.
    pub cens: Report,
    /// That of the CINs.
    pub cins: Report,
}

/// Work that was begun. It continues when this is dropped.
#[derive(Debug)]
pub struct Job<R = Report> {
    pub(super) cens: Vec<String>,
    pub(super) cins: Vec<String>,
    pub(super) work: JoinHandle<Option<Made>>,
    pub(super) report: fn(Made) -> R,
}

impl<R> Job<R> {
    /// Waits for the end.
    pub async fn wait(self) -> R {
        let all_failed = |error| Made {
            cens: Report::all_failed(&self.cens, &error),
            cins: Report::all_failed(&self.cins, &error),
        };
        (self.report)(match self.work.await {
            Ok(Some(made)) => made,
            Ok(None) => all_failed(interrupted()),
            Err(error) => all_failed(ended(error)),
        })
    }
}

pub(super) fn busy(what: &str, ids: Vec<String>) -> Error {
    let why =
        format!("{what} being made or destroyed: {}; try again when that is done", ids.join(", "));
    Error::new(Code::Busy, why).with_details(ids)
}
