//! From a model to the host: look, plan, apply.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Inner;
use super::ahead::Ahead;
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
        self.pass(&Task { host, model, before, scope, link, missing }, None).await
    }

    /// As [`converge`](Self::converge), with a look that began when the locks were held already.
    pub(super) async fn pass(&self, task: &Task<'_>, ahead: Option<Ahead>) -> Outcome {
        let containers = task.scope.containers(&[task.before, task.model]);
        let looked = match ahead {
            Some(ahead) => ahead.into(&containers).await,
            None => None,
        };
        let looked = match looked {
            Some(looked) => looked,
            None => self.look(&containers).await,
        };
        match looked {
            Ok(session) => self.act(task, session).await,
            Err(error) => {
                let failed = task.scope.cens.iter().map(|cen| (cen.clone(), error.clone()));
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
        for steps in batches(&operations) {
            self.step(session.as_mut(), steps, &mut outcome).await;
        }
        outcome
    }

    /// Does a batch.
    async fn step(&self, session: &mut dyn Session, steps: &[Operation], outcome: &mut Outcome) {
        let changes = || steps.iter().filter(|operation| !operation.is_look());
        let Some(first) = changes().next().or(steps.first()) else { return };
        let cen = first.cen();
        if cen.is_some_and(|cen| outcome.failed.contains_key(cen)) {
            return;
        }
        steps.iter().for_each(|operation| tracing::debug!("{operation}"));
        let what = match changes().count() {
            0 | 1 => first.to_string(),
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
    ) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        if Self::touches_addresses(model, cens) {
            Some(self.addressing.clone().lock_owned().await)
        } else {
            None
        }
    }
}

/// Splits operations into batches: each changes one CEN at most, and is done under one deadline. What only looks goes with what comes
/// before it.
fn batches(operations: &[Operation]) -> Vec<&[Operation]> {
    let (mut batches, mut begin) = (Vec::new(), 0);
    let (mut current, mut count) = (None, 0);
    for (at, operation) in
        operations.iter().enumerate().filter(|(_, operation)| !operation.is_look())
    {
        let cen = operation.cen();
        if count > 0 && (cen.is_none() || cen != current || count == AT_ONCE) {
            batches.push(&operations[begin..at]);
            (begin, count) = (at, 0);
        }
        (current, count) = (cen, count + 1);
    }
    batches.push(&operations[begin..]);
    batches
}
