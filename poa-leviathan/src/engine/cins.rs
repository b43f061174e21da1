//! Requests about CINs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ahead::Ground;
use super::converge::Outcome;
use super::job::busy;
use super::{Failed, Inner, Job, Leviathan, Report};
use crate::document::CinDocument;
use crate::event::Event;
use crate::model::{LastError, Model, Status};
use crate::plan::{Missing, Scope, Task};
use crate::{CenId, CinId, Code, Error};

type Priors = BTreeMap<CinId, Status>;

impl Leviathan {
    /// Defines CINs; nothing happens on the host.
    ///
    /// # Errors
    /// Those of [`Model::import_cins`]. Nothing is changed then.
    pub async fn import_cins(&self, document: CinDocument) -> Result<(), Error> {
        let inner = self.0.clone();
        let import = async move {
            let taken = if document.cins.is_empty() {
                BTreeSet::new()
            } else {
                inner.in_time("look at the networks of the host", inner.executor.taken()).await?
            };
            inner.change(|model, _| model.import_cins(&document, &taken)).await.map(drop)
        };
        self.0.complete(import).await
    }

    /// Gives the members of CINs their addresses. Returns once the intent is durable; the work continues in the background.
    ///
    /// # Errors
    /// `unknown_cin`, `busy`, `cen_not_ready`. Nothing is changed then.
    pub async fn make_cins(&self, ids: &[String]) -> Result<Job, Error> {
        self.0.request_cins(ids, Status::Preparing).await
    }

    /// Takes the addresses away; the definitions stay. Returns once the intent is durable; the work continues in the background.
    ///
    /// # Errors
    /// `unknown_cin`, `busy`. Nothing is changed then.
    pub async fn destroy_cins(&self, ids: &[String]) -> Result<Job, Error> {
        self.0.request_cins(ids, Status::Destroying).await
    }

    /// Destroys a CIN if need be, and forgets it.
    ///
    /// # Errors
    /// `unknown_cin`, `busy`; or whatever its destruction failed with.
    pub async fn delete_cin(&self, id: &str) -> Result<(), Error> {
        let model = self.model();
        if model.cin(id)?.status() != Status::Pending {
            let report = self.destroy_cins(&[id.to_owned()]).await?.wait().await;
            if let Some(failed) = report.failed.into_iter().next() {
                return Err(failed.error);
            }
        }
        let (inner, id) = (self.0.clone(), CinId::new(id)?);
        let forget = async move {
            let remove = |model: &mut Model, _: &mut Vec<Event>| {
                if model.cin(id.as_str())?.status() != Status::Pending {
                    return Err(busy("CIN is", vec![id.to_string()]));
                }
                model.remove_cin(&id)
            };
            inner.change(remove).await.map(drop)
        };
        self.0.complete(forget).await
    }
}

impl Inner {
    /// On a task of its own, as requests about CENs.
    async fn request_cins(self: &Arc<Self>, ids: &[String], to: Status) -> Result<Job, Error> {
        let (inner, ids) = (self.clone(), ids.to_vec());
        self.complete(async move { inner.begin_cins(ids, to).await }).await
    }

    async fn begin_cins(self: &Arc<Self>, ids: Vec<String>, to: Status) -> Result<Job, Error> {
        let model = self.model();
        let known = model.known_cins(&ids)?;
        let ground = self.look_ahead(&Scope::cins(&model, &known));
        let (_, (cins, priors)) = self.change(|model, _| mark(model, &ids, to)).await?;
        let inner = self.clone();
        let work = self.spawn(async move { inner.address(cins, priors, to, ground).await });
        Ok(Job { ids, work })
    }

    /// Makes or destroys, as the statuses in the model say.
    async fn address(
        &self,
        cins: Vec<CinId>,
        priors: Priors,
        to: Status,
        ground: Option<Ground>,
    ) -> Report {
        let scope = Scope::cins(&self.model(), &cins);
        let mut ground = self.take(ground, &scope).await;
        let (model, host) = (&*self.model(), &self.options.host);
        let missing = if to == Status::Preparing { Missing::Fails } else { Missing::IsLeftOut };
        let (before, scope, link) = (model, &scope, &[][..]);
        let task = Task { host, model, before, scope, link, missing };
        let outcome = self.pass(&task, ground.ahead.take()).await;
        let failed = failed_cins(model, &cins, &outcome);
        let unmade = if outcome.is_blind {
            let failed = priors.iter().filter(|(_, prior)| **prior == Status::Failed);
            failed.map(|(cin, _)| cin.clone()).collect()
        } else {
            self.roll_back_cins(model, &failed, &priors).await
        };
        let end = if to == Status::Preparing { Status::Ready } else { Status::Pending };
        let write = |model: &mut Model, events: &mut Vec<Event>| {
            for id in &cins {
                let prior = priors.get(id).copied().unwrap_or_default();
                let error = failed.get(id);
                let changed =
                    model.cin(id.as_str())?.cens().iter().any(|cen| outcome.changed.contains(cen));
                settle(model, id, end, prior, error, unmade.contains(id))?;
                events.extend(event(id, end, prior, error, changed));
            }
            Ok(())
        };
        if let Err(error) = self.note_result(write).await {
            let ids: Vec<String> = cins.iter().map(ToString::to_string).collect();
            return Report::all_failed(&ids, &error);
        }
        report(&cins, &failed)
    }

    async fn roll_back_cins(
        &self,
        model: &Model,
        failed: &BTreeMap<CinId, Error>,
        priors: &Priors,
    ) -> BTreeSet<CinId> {
        if failed.is_empty() {
            return BTreeSet::new();
        }
        let mut earlier = model.clone();
        for id in failed.keys() {
            if let Some(cin) = earlier.cins.get_mut(id) {
                let prior = priors.get(id).copied().unwrap_or_default();
                cin.status = if prior.is_up() { prior } else { Status::Pending };
            }
        }
        let cins: Vec<CinId> = failed.keys().cloned().collect();
        let scope = Scope::cins(model, &cins);
        let undone = self.converge(&earlier, model, &scope, &[], Missing::IsLeftOut).await;
        let unmade = failed_cins(model, &cins, &undone);
        for (cin, error) in &unmade {
            tracing::warn!("rollback of CIN {cin} failed; reconciliation tries again: {error}");
        }
        unmade.into_keys().collect()
    }
}

fn mark(model: &mut Model, ids: &[String], to: Status) -> Result<(Vec<CinId>, Priors), Error> {
    let cins = model.known_cins(ids)?;
    let is_busy = |cin: &&CinId| model.cins()[*cin].status().is_busy();
    let under_way: Vec<String> = cins.iter().filter(is_busy).map(ToString::to_string).collect();
    if !under_way.is_empty() {
        return Err(busy("CINs are", under_way));
    }
    if to == Status::Preparing {
        refuse_unready(model, &cins)?;
    }
    let mut priors = Priors::new();
    for id in &cins {
        let cin = model.cin_mut(id)?;
        priors.insert(id.clone(), cin.status);
        cin.status = to;
    }
    Ok((cins, priors))
}

fn refuse_unready(model: &Model, cins: &[CinId]) -> Result<(), Error> {
    let cens = cins.iter().flat_map(|cin| model.cins()[cin].cens());
    let unready: BTreeSet<&CenId> = cens
        .filter(|cen| model.cens().get(*cen).is_none_or(|cen| cen.status() != Status::Ready))
        .collect();
    if unready.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = unready.iter().map(ToString::to_string).collect();
    let why = format!("CENs are not on the host: {}; make them first", ids.join(", "));
    Err(Error::new(Code::CenNotReady, why).with_details(ids))
}

/// The first error of any of the CENs of each CIN.
fn failed_cins(model: &Model, cins: &[CinId], outcome: &Outcome) -> BTreeMap<CinId, Error> {
    let failed = cins.iter().filter_map(|id| {
        let mut cens = model.cins().get(id)?.cens().iter();
        let error = cens.find_map(|cen| outcome.failed.get(cen))?;
        Some((id.clone(), error.clone()))
    });
    failed.collect()
}

fn settle(
    model: &mut Model,
    id: &CinId,
    end: Status,
    prior: Status,
    error: Option<&Error>,
    unmade: bool,
) -> Result<(), Error> {
    let cin = model.cin_mut(id)?;
    cin.last_error = error.map(LastError::from);
    cin.status = match error {
        None => end,
        Some(_) if unmade => Status::Failed,
        Some(_) if prior == Status::Ready => Status::Ready,
        Some(_) => Status::Pending,
    };
    Ok(())
}

fn event(
    id: &CinId,
    end: Status,
    prior: Status,
    error: Option<&Error>,
    changed: bool,
) -> Option<Event> {
    let cin = id.clone();
    match error {
        Some(error) => Some(Event::CinFailed { cin, error: error.into() }),
        None if end == Status::Pending && prior != Status::Pending => {
            Some(Event::CinDestroyed { cin })
        }
        None if end == Status::Pending => None,
        None if prior != Status::Ready => Some(Event::CinMade { cin }),
        None => changed.then_some(Event::CinRepaired { cin }),
    }
}

fn report(cins: &[CinId], failed: &BTreeMap<CinId, Error>) -> Report {
    let mut report = Report::default();
    for id in cins {
        match failed.get(id) {
            None => report.done.push(id.to_string()),
            Some(error) => report.failed.push(Failed { id: id.to_string(), error: error.clone() }),
        }
    }
    report
}
