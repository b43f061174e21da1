//! The host is compared with the model: at start, from time to time, and when something changed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Inner;
use super::converge::Outcome;
use crate::event::Event;
use crate::model::{LastError, Model, Status};
use crate::plan::{self, Missing, Scope};
use crate::{CenId, CinId, ContainerId};

/// Changes come in bursts: a pass waits for so long after the first.
const BURST: Duration = Duration::from_millis(200);

impl Inner {
    /// The first pass: what was under way when the last run ended is brought to its end.
    pub(super) async fn recover(&self) {
        self.reconcile(true).await;
        self.remove_strays().await;
    }

    /// Passes until this is stopped.
    pub(super) async fn watch_host(&self) {
        let mut clock = tokio::time::interval(self.options.interval);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        clock.tick().await;
        while !self.tasks.is_closed() {
            let is_full = tokio::select! {
                _ = clock.tick() => true,
                () = self.executor.changed() => false,
                () = self.nudge.notified() => false,
            };
            if self.tasks.is_closed() {
                return;
            }
            tokio::time::sleep(BURST).await;
            self.reconcile(false).await;
            if is_full {
                self.remove_strays().await;
            }
        }
    }

    /// Compares everything that is defined with the host, a network at a time.
    pub(super) async fn reconcile(&self, at_start: bool) {
        for scope in networks(&self.model()) {
            self.reconcile_scope(&scope, at_start).await;
        }
    }

    async fn reconcile_scope(&self, scope: &Scope, at_start: bool) {
        let _held = self.locks.hold(&scope.cens).await;
        let model = self.model();
        let scope = if at_start { scope.clone() } else { idle(&model, scope) };
        if scope.cens.is_empty() {
            return;
        }
        let _addresses = self.hold_addresses(&model, &scope.cens).await;
        let outcome = self.converge(&model, &model, &scope, &[], Missing::IsLeftOut).await;
        let on_host = scope.cens.iter().filter(|cen| model.cens()[*cen].status().is_up());
        if on_host.count() > 0 {
            self.note_presence(&outcome, &[]).await;
        }
        for (cen, error) in &outcome.failed {
            tracing::warn!("CEN {cen} cannot be repaired: {error}");
        }
        let write = |model: &mut Model, events: &mut Vec<Event>| {
            for cen in &scope.cens {
                settle_cen(model, cen, &outcome, events);
            }
            for cin in scope.all_cins(model) {
                settle_cin(model, &cin, &outcome, events);
            }
            Ok(())
        };
        if let Err(error) = self.note_result(write).await {
            tracing::warn!("{error}");
        }
    }

    /// Deletes interfaces that are ours and belong to nothing that is defined.
    async fn remove_strays(&self) {
        let known: Vec<ContainerId> = self.model().containers().keys().cloned().collect();
        let look = self.in_time("look at the host", self.executor.look_everywhere(&known));
        let mut session = match look.await {
            Ok(session) => session,
            Err(error) => return tracing::warn!("{error}"),
        };
        // Read after the look: whatever was made by then has been in the model before.
        let model = self.model();
        for stray in plan::strays(&self.options.host, &model, session.seen()) {
            tracing::info!("{stray}");
            if let Err(error) = self.in_time(&stray, session.apply(&stray)).await {
                tracing::warn!("{error}");
            }
        }
    }

    /// Remembers which members run, and reports members that stopped or came back. Containers in `lost` are no longer members.
    pub(super) async fn note_presence(&self, outcome: &Outcome, lost: &[ContainerId]) {
        let mut news = Vec::new();
        self.missing.send_if_modified(|missing| {
            for container in outcome.missing.iter().filter(|id| !lost.contains(id)) {
                if missing.insert(container.clone()) {
                    news.push(Event::ContainerMissing { container: container.clone() });
                }
            }
            for container in outcome.found.iter().chain(lost) {
                if missing.remove(container) {
                    news.push(Event::ContainerFound { container: container.clone() });
                }
            }
            !news.is_empty()
        });
        if news.is_empty() {
            return;
        }
        let tell = |_: &mut Model, events: &mut Vec<Event>| {
            *events = news;
            Ok(())
        };
        if let Err(error) = self.change(tell).await {
            tracing::warn!("{error}");
        }
    }
}

/// CENs that a CIN joins go together; each other CEN is on its own.
fn networks(model: &Model) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::new();
    let mut covered: BTreeSet<&CenId> = BTreeSet::new();
    for cin in model.cins().keys() {
        let scope = Scope::cins(model, std::slice::from_ref(cin));
        covered.extend(model.cins()[cin].cens());
        scopes.push(scope);
    }
    let alone = model.cens().keys().filter(|cen| !covered.contains(cen));
    scopes.extend(alone.map(|cen| Scope::cens([cen.clone()])));
    scopes
}

/// The part of a scope without an operation under way. A CIN that is being made or destroyed keeps its CENs busy.
fn idle(model: &Model, scope: &Scope) -> Scope {
    let is_busy = |cin: &CinId| model.cins().get(cin).is_some_and(|cin| cin.status().is_busy());
    if scope.all_cins(model).iter().any(is_busy) {
        return Scope::default();
    }
    let idle = |cen: &&CenId| model.cens().get(*cen).is_some_and(|cen| !cen.status().is_busy());
    Scope { cens: scope.cens.iter().filter(idle).cloned().collect(), cins: scope.cins.clone() }
}

fn settle_cen(model: &mut Model, id: &CenId, outcome: &Outcome, events: &mut Vec<Event>) {
    let Some(cen) = model.cens.get_mut(id) else { return };
    let failed = outcome.failed.get(id);
    let cen_id = id.clone();
    match (cen.status, failed) {
        (Status::Preparing, None) => {
            (cen.status, cen.last_error) = (Status::Ready, None);
            events.push(Event::CenMade { cen: cen_id });
        }
        (Status::Destroying | Status::Failed, None) => {
            cen.status = Status::Pending;
            events.push(Event::CenDestroyed { cen: cen_id });
        }
        (Status::Ready, None) => {
            cen.last_error = None;
            if outcome.changed.contains(id) {
                events.push(Event::CenRepaired { cen: cen_id });
            }
        }
        (status, Some(error)) if status != Status::Pending => {
            if status.is_busy() {
                cen.status = interrupted(status, outcome);
            }
            let error = LastError::from(error);
            if cen.last_error.as_ref() != Some(&error) {
                cen.last_error = Some(error.clone());
                events.push(Event::CenFailed { cen: cen_id, error });
            }
        }
        _ => {}
    }
}

/// The status after a first pass that failed. If the host could not even be looked at, a later pass continues what was begun.
fn interrupted(status: Status, outcome: &Outcome) -> Status {
    let continues = status == Status::Preparing && outcome.is_blind;
    if continues { Status::Ready } else { Status::Failed }
}

fn settle_cin(model: &mut Model, id: &CinId, outcome: &Outcome, events: &mut Vec<Event>) {
    let Some(cin) = model.cins.get_mut(id) else { return };
    let failed = cin.cens.iter().find_map(|cen| outcome.failed.get(cen));
    let changed = cin.cens.iter().any(|cen| outcome.changed.contains(cen));
    let cin_id = id.clone();
    match (cin.status, failed) {
        (Status::Preparing, None) => {
            (cin.status, cin.last_error) = (Status::Ready, None);
            events.push(Event::CinMade { cin: cin_id });
        }
        (Status::Destroying | Status::Failed, None) => {
            cin.status = Status::Pending;
            events.push(Event::CinDestroyed { cin: cin_id });
        }
        (Status::Ready, None) => {
            cin.last_error = None;
            if changed {
                events.push(Event::CinRepaired { cin: cin_id });
            }
        }
        (status, Some(error)) if status.is_busy() => {
            (cin.status, cin.last_error) = (interrupted(status, outcome), Some(error.into()));
            events.push(Event::CinFailed { cin: cin_id, error: error.into() });
        }
        _ => {}
    }
}
