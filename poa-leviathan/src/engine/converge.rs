//! From a model to the host: look, plan, apply.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Inner;
use crate::executor::Session;
use crate::model::Model;
use crate::operation::Operation;
use crate::plan::{self, Missing, Plan, Scope, Task};
use crate::{CenId, Code, ContainerId, Error};

/// The most operations that share a deadline.
const AT_ONCE: usize = 16;

/// The result of a pass that covers some CENs.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// CENs that are not where they should be, and why.
    pub(super) failed: BTreeMap<CenId, Error>,
    /// CENs of which something was changed.
    pub(super) changed: BTreeSet<CenId>,
    /// Members that were looked for and do not run.
    pub(super) missing: BTreeSet<ContainerId>,
    /// Members that do.
    pub(super) found: BTreeSet<ContainerId>,
    /// Whether the host could not even be looked at: everything is as it was.
    pub(super) is_blind: bool,
}

impl Inner {
    /// Brings the CENs of a scope where `model` says they should be. A CEN that fails is left where it is; the others continue.
    ///
    /// The caller holds the locks of these CENs.
    pub(super) async fn converge(
        &self,
        model: &Model,
        before: &Model,
        scope: &Scope,
        link: &[ContainerId],
        missing: Missing,
    ) -> Outcome {
        let host = &self.options.host;
        let task = Task { host, model, before, scope, link, missing };
        let containers = scope.containers(&[before, model]);
        let look = self.in_time("look at the host", self.executor.look(&containers));
        match look.await {
            Ok(session) => self.act(&task, session).await,
            Err(error) => {
                let failed = scope.cens.iter().map(|cen| (cen.clone(), error.clone()));
                Outcome { failed: failed.collect(), is_blind: true, ..Outcome::default() }
            }
        }
    }

    async fn act(&self, task: &Task<'_>, mut session: Box<dyn Session>) -> Outcome {
        let seen = session.seen().clone();
        let mut outcome = Outcome {
            missing: seen.missing.keys().cloned().collect(),
            found: seen.inside.keys().cloned().collect(),
            ..Outcome::default()
        };
        let Plan { operations, refused } = plan::converge(task, seen);
        outcome.failed = refused;
        let together =
            |one: &Operation, next: &Operation| one.cen().is_some() && one.cen() == next.cen();
        for of_one_cen in operations.chunk_by(together) {
            for steps in of_one_cen.chunks(AT_ONCE) {
                self.step(session.as_mut(), steps, &mut outcome).await;
            }
        }
        outcome
    }

    /// Does some operations for one CEN, or for none.
    async fn step(&self, session: &mut dyn Session, steps: &[Operation], outcome: &mut Outcome) {
        let Some(first) = steps.first() else { return };
        let cen = first.cen();
        if cen.is_some_and(|cen| outcome.failed.contains_key(cen)) {
            return;
        }
        steps.iter().for_each(|operation| tracing::debug!("{operation}"));
        let what = match steps.len() {
            1 => first.to_string(),
            more => format!("{first} and {} more", more - 1),
        };
        let applied = self.in_time(what, session.apply_all(steps)).await;
        match (applied, cen) {
            (Ok(()), Some(cen)) => drop(outcome.changed.insert(cen.clone())),
            (Ok(()), None) => {}
            (Err(error), Some(cen)) => drop(outcome.failed.insert(cen.clone(), error)),
            (Err(error), None) => tracing::warn!("{error}"),
        }
    }

    /// Bounds the time of one call, since Docker and the kernel can hang.
    pub(super) async fn in_time<R>(
        &self,
        what: impl std::fmt::Display,
        call: impl Future<Output = Result<R, Error>>,
    ) -> Result<R, Error> {
        let deadline: Duration = self.options.deadline;
        match tokio::time::timeout(deadline, call).await {
            Ok(result) => result,
            Err(_) => {
                let why = format!("cannot {what} within {} s", deadline.as_secs_f64());
                Err(Error::new(Code::Timeout, why))
            }
        }
    }

    /// Whether some CIN over these CENs is or was on the host, so that addresses may change with them.
    pub(super) fn touches_addresses(model: &Model, cens: &[CenId]) -> bool {
        let over = cens.iter().filter_map(|cen| model.cin_over(cen));
        over.into_iter().any(|cin| model.cins()[cin].status() != crate::model::Status::Pending)
    }

    /// Waits for the right to change addresses, if these CENs have any.
    pub(super) async fn hold_addresses(
        &self,
        model: &Model,
        cens: &[CenId],
    ) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if Self::touches_addresses(model, cens) { Some(self.addressing.lock().await) } else { None }
    }
}
