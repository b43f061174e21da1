//! A job: CENs and CINs are made or destroyed as one, with one intent, one look and one result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ahead::Ground;
use super::converge::Outcome;
use super::{Failed, Inner, Job, Leviathan, Made, Report, cens, cins};
use crate::event::Event;
use crate::model::{Model, Status};
use crate::plan::{Missing, Scope, Task};
use crate::{CenId, CinId, Code, ContainerId, Error};

/// The networks of a job, in the order of the request, and their statuses before.
pub(super) type Priors<I> = Vec<(I, Status)>;

/// The ids that a client named.
pub(super) struct Request {
    cens: Vec<String>,
    cins: Vec<String>,
    to: Status,
}

/// A job whose intent is durable.
struct Work {
    cens: Priors<CenId>,
    cins: Priors<CinId>,
    to: Status,
}

/// The errors of a job.
struct Errors {
    cens: BTreeMap<CenId, Error>,
    cins: BTreeMap<CinId, Error>,
}

/// The networks that could not be brought back to where they were.
#[derive(Default)]
struct Unmade {
    cens: BTreeSet<CenId>,
    cins: BTreeSet<CinId>,
}

/// The end of a job for one of its networks.
pub(super) struct End<'e> {
    /// The status that was asked for.
    pub(super) to: Status,
    pub(super) prior: Status,
    pub(super) error: Option<&'e Error>,
    unmade: bool,
}

impl End<'_> {
    pub(super) fn status(&self) -> Status {
        match self.error {
            None => self.to,
            Some(_) if self.unmade => Status::Failed,
            Some(_) if self.prior == Status::Ready => Status::Ready,
            Some(_) => Status::Pending,
        }
    }
}

impl Leviathan {
    /// Puts CENs on the host and gives the members of CINs their addresses, as one job: all that [`make_cens`](Self::make_cens) and then
    /// [`make_cins`](Self::make_cins) do, with half the waiting for the disk and for the kernel. A CEN whose addresses fail is not made.
    ///
    /// # Errors
    /// `unknown_cen`, `unknown_cin`, `busy`, `foreign_interface`; `cen_not_ready` for a CEN that is neither on the host nor among these.
    /// Nothing is changed then.
    pub async fn make(&self, cens: &[String], cins: &[String]) -> Result<Job<Made>, Error> {
        let (cens, cins) = (cens.to_vec(), cins.to_vec());
        self.0.request(Request { cens, cins, to: Status::Preparing }, |made| made).await
    }
}

impl Request {
    pub(super) fn cens(ids: &[String], to: Status) -> Self {
        Self { cens: ids.to_vec(), cins: Vec::new(), to }
    }

    pub(super) fn cins(ids: &[String], to: Status) -> Self {
        Self { cens: Vec::new(), cins: ids.to_vec(), to }
    }

    /// Checks the networks again, and moves them all on their way.
    fn mark(&self, model: &mut Model) -> Result<Work, Error> {
        let cens = cens::mark(model, &self.cens, self.to)?;
        let cins = cins::mark(model, &self.cins, &cens, self.to)?;
        Ok(Work { cens, cins, to: self.to })
    }
}

impl Inner {
    /// On a task of its own: a client that leaves between the intent and the job must not leave the intent behind.
    pub(super) async fn request<R>(
        self: &Arc<Self>,
        request: Request,
        report: fn(Made) -> R,
    ) -> Result<Job<R>, Error> {
        let (cens, cins) = (request.cens.clone(), request.cins.clone());
        let inner = self.clone();
        let work = self.complete(async move { inner.begin(request).await }).await?;
        Ok(Job { cens, cins, work, report })
    }

    async fn begin(
        self: &Arc<Self>,
        request: Request,
    ) -> Result<tokio::task::JoinHandle<Option<Made>>, Error> {
        let model = self.model();
        let (cens, cins) = (model.known_cens(&request.cens)?, model.known_cins(&request.cins)?);
        let ground = self.look_ahead(&scope(&model, &cens, &cins));
        if request.to == Status::Preparing && !cens.is_empty() {
            self.refuse_foreign(&cens).await?;
        }
        let (_, work) = self.change(|model, _| request.mark(model)).await?;
        let inner = self.clone();
        Ok(self.spawn(async move { inner.carry_out(work, ground).await }))
    }

    /// Makes or destroys, as the statuses in the model say.
    async fn carry_out(&self, work: Work, ground: Option<Ground>) -> Made {
        let scope = work.scope(&self.model());
        let mut ground = self.take(ground, &scope).await;
        let (model, host) = (&*self.model(), &self.options.host);
        let is_up = work.to == Status::Preparing;
        let link = if is_up { fresh_members(model, &work.cens) } else { Vec::new() };
        let missing = if is_up { Missing::Fails } else { Missing::IsLeftOut };
        let (before, scope, link) = (model, &scope, &*link);
        let task = Task { host, model, before, scope, link, missing };
        let outcome = self.pass(&task, ground.ahead.take()).await;
        let errors = work.errors(model, &outcome);
        let unmade = self.roll_back(model, &work, &errors, outcome.is_blind).await;
        if is_up && !work.cens.is_empty() {
            self.note_presence(&outcome, &[]).await;
        }
        self.settle(&work, &outcome, &errors, &unmade).await
    }

    /// Brings what failed back to where it was.
    async fn roll_back(
        &self,
        model: &Model,
        work: &Work,
        errors: &Errors,
        is_blind: bool,
    ) -> Unmade {
        if is_blind {
            return work.failed_before();
        }
        if errors.cens.is_empty() && errors.cins.is_empty() {
            return Unmade::default();
        }
        let earlier = work.earlier(model, errors);
        let (cens, cins): (Vec<CenId>, Vec<CinId>) =
            (errors.cens.keys().cloned().collect(), errors.cins.keys().cloned().collect());
        let scope = scope(model, &cens, &cins);
        let undone = self.converge(&earlier, model, &scope, &[], Missing::IsLeftOut).await;
        let unmade = work.errors(model, &undone);
        tell(&unmade);
        // What was refused because of something foreign was not touched, and so is as it was.
        let cens = unmade.cens.into_iter();
        let cens = cens.filter(|(_, error)| error.code() != Code::ForeignInterface);
        Unmade { cens: cens.map(|(cen, _)| cen).collect(), cins: unmade.cins.into_keys().collect() }
    }

    /// Writes down what became of a job.
    async fn settle(
        &self,
        work: &Work,
        outcome: &Outcome,
        errors: &Errors,
        unmade: &Unmade,
    ) -> Made {
        let to = if work.to == Status::Preparing { Status::Ready } else { Status::Pending };
        let write = |model: &mut Model, events: &mut Vec<Event>| {
            for (id, prior) in &work.cens {
                let (error, unmade) = (errors.cens.get(id), unmade.cens.contains(id));
                let end = End { to, prior: *prior, error, unmade };
                cens::settle(model, id, &end, outcome.changed.contains(id), events);
            }
            for (id, prior) in &work.cins {
                let (error, unmade) = (errors.cins.get(id), unmade.cins.contains(id));
                let end = End { to, prior: *prior, error, unmade };
                cins::settle(model, id, &end, &outcome.changed, events);
            }
            Ok(())
        };
        let written = self.note_result(write).await.err();
        Made {
            cens: report(&work.cens, &errors.cens, written.as_ref()),
            cins: report(&work.cins, &errors.cins, written.as_ref()),
        }
    }
}

impl Work {
    fn scope(&self, model: &Model) -> Scope {
        scope(model, &ids(&self.cens), &ids(&self.cins))
    }

    fn errors(&self, model: &Model, outcome: &Outcome) -> Errors {
        let failed = self.cens.iter().filter_map(|(id, _)| outcome.failed.get_key_value(id));
        Errors {
            cens: failed.map(|(id, error)| (id.clone(), error.clone())).collect(),
            cins: cins::failed(model, &self.cins, outcome),
        }
    }

    /// Nothing could be done: what had failed before is as it was.
    fn failed_before(&self) -> Unmade {
        Unmade {
            cens: had_failed(&self.cens).cloned().collect(),
            cins: had_failed(&self.cins).cloned().collect(),
        }
    }

    /// The target before, for what failed.
    fn earlier(&self, model: &Model, errors: &Errors) -> Model {
        let mut earlier = model.clone();
        let before = |prior: Status| if prior.is_up() { prior } else { Status::Pending };
        for (id, prior) in self.cens.iter().filter(|(id, _)| errors.cens.contains_key(id)) {
            if let Some(cen) = earlier.cens.get_mut(id) {
                cen.status = before(*prior);
            }
        }
        for (id, prior) in self.cins.iter().filter(|(id, _)| errors.cins.contains_key(id)) {
            if let Some(cin) = earlier.cins.get_mut(id) {
                cin.status = before(*prior);
            }
        }
        earlier
    }
}

fn ids<I: Clone>(priors: &Priors<I>) -> Vec<I> {
    priors.iter().map(|(id, _)| id.clone()).collect()
}

fn had_failed<I>(priors: &Priors<I>) -> impl Iterator<Item = &I> {
    priors.iter().filter(|(_, prior)| *prior == Status::Failed).map(|(id, _)| id)
}

/// These CENs, and after them those of the CINs.
fn scope(model: &Model, cens: &[CenId], cins: &[CinId]) -> Scope {
    let mut scope = Scope::cens(cens.iter().cloned());
    let covered = Scope::cins(model, cins);
    scope.cens.extend(covered.cens.into_iter().filter(|cen| !cens.contains(cen)));
    scope.cins = covered.cins;
    scope
}

/// The members of CENs that were not on the host, each once, in order of first appearance.
fn fresh_members(model: &Model, cens: &Priors<CenId>) -> Vec<ContainerId> {
    let fresh = cens.iter().filter(|(_, prior)| *prior != Status::Ready);
    Scope::cens(fresh.map(|(cen, _)| cen.clone())).containers(&[model])
}

fn tell(unmade: &Errors) {
    let foreign = |error: &&Error| error.code() == Code::ForeignInterface;
    for (cen, error) in unmade.cens.iter().filter(|(_, error)| !foreign(error)) {
        tracing::warn!("rollback of CEN {cen} failed; reconciliation tries again: {error}");
    }
    for (cin, error) in &unmade.cins {
        tracing::warn!("rollback of CIN {cin} failed; reconciliation tries again: {error}");
    }
}

fn report<I: Ord + ToString>(
    work: &Priors<I>,
    errors: &BTreeMap<I, Error>,
    unwritten: Option<&Error>,
) -> Report {
    let mut report = Report::default();
    for (id, _) in work {
        match unwritten.or(errors.get(id)) {
            None => report.done.push(id.to_string()),
            Some(error) => report.failed.push(Failed { id: id.to_string(), error: error.clone() }),
        }
    }
    report
}
