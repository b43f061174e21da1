//! Requests about CENs.

use super::job::busy;
use super::work::{End, Priors, Request};
use super::{Inner, Job, Leviathan};
use crate::event::Event;
use crate::model::{LastError, Model, Status};
use crate::name::Purpose;
use crate::seen::Owner;
use crate::{CenId, Code, Error};

impl Leviathan {
    /// Puts CENs on the host. Returns once the intent is durable; the work continues in the background.
    ///
    /// # Errors
    /// `unknown_cen`, `busy`, `foreign_interface`. Nothing is changed then.
    pub async fn make_cens(&self, ids: &[String]) -> Result<Job, Error> {
        let request = Request::cens(ids, Status::Preparing);
        self.0.request(request, |made| made.cens).await
    }

    /// Takes CENs off the host; their definitions stay. Returns once the intent is durable; the work continues in the background.
    ///
    /// # Errors
    /// `unknown_cen`, `busy`, `cen_in_use`. Nothing is changed then.
    pub async fn destroy_cens(&self, ids: &[String]) -> Result<Job, Error> {
        let request = Request::cens(ids, Status::Destroying);
        self.0.request(request, |made| made.cens).await
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
    /// A bridge cannot take the name of an interface that another program made.
    pub(super) async fn refuse_foreign(&self, cens: &[CenId]) -> Result<(), Error> {
        let names: Vec<&str> = cens.iter().map(CenId::as_str).collect();
        let host = self.in_time("look at the host", self.executor.find(&names)).await?;
        let is_foreign = |cen: &&CenId| {
            host.get(cen.as_str()).is_some_and(|link| match link.purpose() {
                Some(Purpose::Bridge(_)) => false,
                _ => !matches!(link.owner, Owner::Unfinished(_)),
            })
        };
        let foreign: Vec<&CenId> = cens.iter().filter(is_foreign).collect();
        let Some(first) = foreign.first() else { return Ok(()) };
        let why = format!(
            "the host has an interface {first} that Leviathan did not make; give the CEN another id"
        );
        Err(Error::new(Code::ForeignInterface, why).with_details(foreign))
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
pub(super) fn mark(model: &mut Model, ids: &[String], to: Status) -> Result<Priors<CenId>, Error> {
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
    let mut priors = Vec::new();
    for id in cens {
        let cen = model.cen_mut(&id)?;
        priors.push((id, std::mem::replace(&mut cen.status, to)));
    }
    Ok(priors)
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

/// Writes down what became of a CEN.
pub(super) fn settle(
    model: &mut Model,
    id: &CenId,
    end: &End<'_>,
    changed: bool,
    events: &mut Vec<Event>,
) {
    let Some(cen) = model.cens.get_mut(id) else { return };
    (cen.status, cen.last_error) = (end.status(), end.error.map(LastError::from));
    events.extend(event(id, end.to, end.prior, end.error, changed));
}

fn event(
    id: &CenId,
    end: Status,
    prior: Status,
    error: Option<&Error>,
    changed: bool,
) -> Option<Event> {
    let cen = id.clone();
    match error {
        Some(error) => Some(Event::CenFailed { cen, error: error.into() }),
        None if end == Status::Pending && prior != Status::Pending => {
            Some(Event::CenDestroyed { cen })
        }
        None if end == Status::Pending => None,
        None if prior != Status::Ready => Some(Event::CenMade { cen }),
        None => changed.then_some(Event::CenRepaired { cen }),
    }
}
