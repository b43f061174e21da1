//! Requests about CINs.

use std::collections::{BTreeMap, BTreeSet};

use super::converge::Outcome;
use super::job::busy;
use super::work::{End, Priors, Request};
use super::{Job, Leviathan};
use crate::document::CinDocument;
use crate::event::Event;
use crate::model::{LastError, Model, Status};
use crate::{CenId, CinId, Code, Error};

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
        let request = Request::cins(ids, Status::Preparing);
        self.0.request(request, |made| made.cins).await
    }

    /// Takes the addresses away; the definitions stay. Returns once the intent is durable; the work continues in the background.
    ///
    /// # Errors
    /// `unknown_cin`, `busy`. Nothing is changed then.
    pub async fn destroy_cins(&self, ids: &[String]) -> Result<Job, Error> {
        let request = Request::cins(ids, Status::Destroying);
        self.0.request(request, |made| made.cins).await
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

/// Checks the CINs of a request again, and moves them all on their way. The CENs in `made` are on theirs already.
pub(super) fn mark(
    model: &mut Model,
    ids: &[String],
    made: &Priors<CenId>,
    to: Status,
) -> Result<Priors<CinId>, Error> {
    let cins = model.known_cins(ids)?;
    let is_busy = |cin: &&CinId| model.cins()[*cin].status().is_busy();
    let under_way: Vec<String> = cins.iter().filter(is_busy).map(ToString::to_string).collect();
    if !under_way.is_empty() {
        return Err(busy("CINs are", under_way));
    }
    if to == Status::Preparing {
        refuse_unready(model, &cins, made)?;
    }
    let mut priors = Vec::new();
    for id in cins {
        let cin = model.cin_mut(&id)?;
        priors.push((id, std::mem::replace(&mut cin.status, to)));
    }
    Ok(priors)
}

fn refuse_unready(model: &Model, cins: &[CinId], made: &Priors<CenId>) -> Result<(), Error> {
    let is_ready = |cen: &CenId| {
        let is_made = made.iter().any(|(made, _)| made == cen);
        is_made || model.cens().get(cen).is_some_and(|cen| cen.status() == Status::Ready)
    };
    let cens = cins.iter().flat_map(|cin| model.cins()[cin].cens());
    let unready: BTreeSet<&CenId> = cens.filter(|cen| !is_ready(cen)).collect();
    if unready.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = unready.iter().map(ToString::to_string).collect();
    let why = format!("CENs are not on the host: {}; make them first", ids.join(", "));
    Err(Error::new(Code::CenNotReady, why).with_details(ids))
}

/// The first error of any of the CENs of each CIN.
pub(super) fn failed(
    model: &Model,
    cins: &Priors<CinId>,
    outcome: &Outcome,
) -> BTreeMap<CinId, Error> {
    let failed = cins.iter().filter_map(|(id, _)| {
        let mut cens = model.cins().get(id)?.cens().iter();
        let error = cens.find_map(|cen| outcome.failed.get(cen))?;
        Some((id.clone(), error.clone()))
    });
    failed.collect()
}

/// Writes down what became of a CIN.
pub(super) fn settle(
    model: &mut Model,
    id: &CinId,
    end: &End<'_>,
    changed: &BTreeSet<CenId>,
    events: &mut Vec<Event>,
) {
    let Some(cin) = model.cins.get_mut(id) else { return };
    (cin.status, cin.last_error) = (end.status(), end.error.map(LastError::from));
    let changed = cin.cens.iter().any(|cen| changed.contains(cen));
    events.extend(event(id, end.to, end.prior, end.error, changed));
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
