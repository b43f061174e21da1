//! Requests about CENs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ahead::Ground;
use super::converge::Outcome;
use super::job::busy;
use super::{Failed, Inner, Job, Leviathan, Report};
use crate::event::Event;
use crate::model::{LastError, Model, Status};
use crate::name::Purpose;
use crate::plan::{Missing, Scope, Task};
use crate::{CenId, Code, ContainerId, Error};

type Priors = BTreeMap<CenId, Status>;

impl Leviathan {
    /// Puts CENs on the host. Returns once the intent is durable; the work continues in the background.
    ///
    /// # Errors
    /// `unknown_cen`, `busy`, `foreign_interface`. Nothing is changed then.
    pub async fn make_cens(&self, ids: &[String]) -> Result<Job, Error> {
        self.0.request(ids, Status::Preparing).await
    }

    /// Takes CENs off the host; their definitions stay. Returns once the intent is durable; the work continues in the background.
    ///
    /// # Errors
    /// `unknown_cen`, `busy`, `cen_in_use`. Nothing is changed then.
    pub async fn destroy_cens(&self, ids: &[String]) -> Result<Job, Error> {
        self.0.request(ids, Status::Destroying).await
    }

    /// Creates an empty CEN; no change if it exists.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn put_cen(&self, id: CenId) -> Result<(), Error> {
        let inner = self.0.clone();
        let create = async move { inner.change(|model, _| Ok(model.add_cen(&id))).await };
        self.0.complete(create).await.map(drop)
    }

    /// Takes a CEN off the host if need be, and forgets it.
    ///
    /// # Errors
    /// `unknown_cen`, `busy`, `cen_in_use`; or whatever its destruction failed with.
    pub async fn delete_cen(&self, id: &str) -> Result<(), Error> {
        let model = self.model();
        model.cen(id)?;
        let id = CenId::new(id)?;
        refuse_covered(&model, &id)?;
        if model.cen(id.as_str())?.status() != Status::Pending {
            let report = self.destroy_cens(&[id.to_string()]).await?.wait().await;
            if let Some(failed) = report.failed.into_iter().next() {
                return Err(failed.error);
            }
        }
        let inner = self.0.clone();
        self.0.complete(async move { inner.forget_cen(id).await }).await
    }
}

impl Inner {
    /// On a task of its own: a client that leaves between the intent and the job must not leave the intent behind.
    async fn request(self: &Arc<Self>, ids: &[String], to: Status) -> Result<Job, Error> {
        let (inner, ids) = (self.clone(), ids.to_vec());
        self.complete(async move { inner.begin(ids, to).await }).await
    }

    async fn begin(self: &Arc<Self>, ids: Vec<String>, to: Status) -> Result<Job, Error> {
        let known = self.model().known_cens(&ids)?;
        if to == Status::Preparing {
            self.refuse_foreign(&known).await?;
        }
        let ground = self.look_ahead(&Scope::cens(known));
        let (_, (cens, priors)) = self.change(|model, _| mark(model, &ids, to)).await?;
        let inner = self.clone();
        let work = self.spawn(async move {
            match to {
                Status::Preparing => inner.make(cens, priors, ground).await,
                _ => inner.destroy(cens, priors, ground).await,
            }
        });
        Ok(Job { ids, work })
    }

    /// A bridge cannot take the name of an interface that another program made.
    async fn refuse_foreign(&self, cens: &[CenId]) -> Result<(), Error> {
        let session = self.look(&[]).await?;
        let host = &session.seen().host;
        let foreign: Vec<&CenId> = cens
            .iter()
            .filter(|cen| {
                host.get(cen.as_str()).is_some_and(|link| match link.purpose() {
                    Some(Purpose::Bridge(_)) => false,
                    _ => !matches!(link.owner, crate::seen::Owner::Unfinished(_)),
                })
            })
            .collect();
        let Some(first) = foreign.first() else { return Ok(()) };
        let why = format!(
            "the host has an interface {first} that Leviathan did not make; give the CEN another id"
        );
        Err(Error::new(Code::ForeignInterface, why).with_details(foreign))
    }

    async fn make(&self, cens: Vec<CenId>, priors: Priors, ground: Option<Ground>) -> Report {
        let scope = Scope::cens(cens.clone());
        let mut ground = self.take(ground, &scope).await;
        let (model, host) = (&*self.model(), &self.options.host);
        let link = fresh_members(model, &cens, &priors);
        let (before, scope, link, missing) = (model, &scope, &*link, Missing::Fails);
        let task = Task { host, model, before, scope, link, missing };
        let outcome = self.pass(&task, ground.ahead.take()).await;
        let unmade = self.roll_back(model, &outcome, &priors).await;
        self.note_presence(&outcome, &[]).await;
        self.settle(&cens, Status::Ready, &outcome, &priors, &unmade).await
    }

    async fn destroy(&self, cens: Vec<CenId>, priors: Priors, ground: Option<Ground>) -> Report {
        let scope = Scope::cens(cens.clone());
        let mut ground = self.take(ground, &scope).await;
        let (model, host) = (&*self.model(), &self.options.host);
        let (before, scope, link, missing) = (model, &scope, &[][..], Missing::IsLeftOut);
        let task = Task { host, model, before, scope, link, missing };
        let outcome = self.pass(&task, ground.ahead.take()).await;
        let unmade = self.roll_back(model, &outcome, &priors).await;
        self.settle(&cens, Status::Pending, &outcome, &priors, &unmade).await
    }

    /// Brings CENs that failed back to where they were. Returns those for which that failed as well.
    async fn roll_back(&self, model: &Model, outcome: &Outcome, priors: &Priors) -> Vec<CenId> {
        if outcome.failed.is_empty() {
            return Vec::new();
        }
        if outcome.is_blind {
            let failed = priors.iter().filter(|(_, prior)| **prior == Status::Failed);
            return failed.map(|(cen, _)| cen.clone()).collect();
        }
        let mut earlier = model.clone();
        for cen in outcome.failed.keys() {
            if let Some(cen) = earlier.cens.get_mut(cen) {
                cen.status = Status::Pending;
            }
        }
        for (cen, prior) in priors.iter().filter(|(_, prior)| prior.is_up()) {
            if let Some(cen) = earlier.cens.get_mut(cen) {
                cen.status = *prior;
            }
        }
        let scope = Scope::cens(outcome.failed.keys().cloned());
        let undone = self.converge(&earlier, model, &scope, &[], Missing::IsLeftOut).await;
        for (cen, error) in &undone.failed {
            // What was refused because of something foreign was not touched, and so is as it was.
            if error.code() != Code::ForeignInterface {
                tracing::warn!("rollback of CEN {cen} failed; reconciliation tries again: {error}");
            }
        }
        let failed = undone.failed.into_iter();
        failed
            .filter(|(_, error)| error.code() != Code::ForeignInterface)
            .map(|(cen, _)| cen)
            .collect()
    }

    /// Writes down what became of a job.
    async fn settle(
        &self,
        cens: &[CenId],
        to: Status,
        outcome: &Outcome,
        priors: &Priors,
        unmade: &[CenId],
    ) -> Report {
        let write = |model: &mut Model, events: &mut Vec<Event>| {
            for id in cens {
                let Some(cen) = model.cens.get_mut(id) else { continue };
                let prior = priors.get(id).copied().unwrap_or_default();
                let error = outcome.failed.get(id);
                cen.last_error = error.map(LastError::from);
                cen.status = match error {
                    None => to,
                    Some(_) if unmade.contains(id) => Status::Failed,
                    Some(_) if prior == Status::Ready => Status::Ready,
                    Some(_) => Status::Pending,
                };
                events.extend(event(id, to, prior, error, outcome.changed.contains(id)));
            }
            Ok(())
        };
        let written = self.note_result(write).await;
        let ids: Vec<String> = cens.iter().map(ToString::to_string).collect();
        match written {
            Ok(_) => report(cens, outcome),
            Err(error) => Report::all_failed(&ids, &error),
        }
    }

    async fn forget_cen(&self, id: CenId) -> Result<(), Error> {
        let _held = self.locks.hold([&id]).await;
        let forget = |model: &mut Model, events: &mut Vec<Event>| {
            if model.cen(id.as_str())?.status() != Status::Pending {
                return Err(busy("CEN is", vec![id.to_string()]));
            }
            let members = model.cen(id.as_str())?.members().to_vec();
            model.remove_cen(&id)?;
            events.extend(
                members
                    .into_iter()
                    .map(|container| Event::ContainerRemoved { container, cen: id.clone() }),
            );
            Ok(())
        };
        self.change(forget).await.map(drop)
    }
}

/// Checks the CENs of a request again, and moves them all on their way.
fn mark(model: &mut Model, ids: &[String], to: Status) -> Result<(Vec<CenId>, Priors), Error> {
    let cens = model.known_cens(ids)?;
    let is_busy = |cen: &&CenId| model.cens()[*cen].status().is_busy();
    let under_way: Vec<String> = cens.iter().filter(is_busy).map(ToString::to_string).collect();
    if !under_way.is_empty() {
        return Err(busy("CENs are", under_way));
    }
    if to == Status::Destroying {
        for cen in &cens {
            refuse_in_use(model, cen)?;
        }
    }
    let mut priors = Priors::new();
    for id in &cens {
        let cen = model.cen_mut(id)?;
        priors.insert(id.clone(), cen.status);
        cen.status = to;
    }
    Ok((cens, priors))
}

fn refuse_in_use(model: &Model, cen: &CenId) -> Result<(), Error> {
    let Some(cin) = model.cin_over(cen) else { return Ok(()) };
    let status = model.cins()[cin].status();
    if status == Status::Pending || status == Status::Failed {
        return Ok(());
    }
    let why = format!("CIN {cin} over CEN {cen} is {}; destroy that CIN first", status.as_str());
    Err(Error::new(Code::CenInUse, why).with_details([cen]))
}

fn refuse_covered(model: &Model, cen: &CenId) -> Result<(), Error> {
    let Some(cin) = model.cin_over(cen) else { return Ok(()) };
    let why = format!("CIN {cin} covers CEN {cen}; delete that CIN first");
    Err(Error::new(Code::CenInUse, why).with_details([cen]))
}

/// The members of CENs that were not on the host, each once, in order of first appearance.
fn fresh_members(model: &Model, cens: &[CenId], priors: &Priors) -> Vec<ContainerId> {
    let fresh = cens.iter().filter(|cen| priors.get(*cen) != Some(&Status::Ready));
    Scope::cens(fresh.cloned()).containers(&[model])
}

fn event(
    id: &CenId,
    to: Status,
    prior: Status,
    error: Option<&Error>,
    changed: bool,
) -> Option<Event> {
    let cen = id.clone();
    match error {
        Some(error) => Some(Event::CenFailed { cen, error: error.into() }),
        None if to == Status::Pending && prior != Status::Pending => {
            Some(Event::CenDestroyed { cen })
        }
        None if to == Status::Pending => None,
        None if prior != Status::Ready => Some(Event::CenMade { cen }),
        None => changed.then_some(Event::CenRepaired { cen }),
    }
}

fn report(cens: &[CenId], outcome: &Outcome) -> Report {
    let mut report = Report::default();
    for id in cens {
        match outcome.failed.get(id) {
            None => report.done.push(id.to_string()),
            Some(error) => {
                report.failed.push(Failed { id: id.to_string(), error: error.clone() });
            }
        }
    }
    report
}
