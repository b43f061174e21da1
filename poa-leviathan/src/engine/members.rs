//! Requests about containers and their memberships.

use std::sync::Arc;

use super::job::busy;
use super::locks::Held;
use super::{Inner, Leviathan};
use crate::document::CenDocument;
use crate::event::Event;
use crate::model::{Model, Status};
use crate::plan::{Missing, Scope};
use crate::{CenId, Code, ContainerId, Error};

impl Leviathan {
    /// Makes the members of CENs those of a document. CENs on the host follow at once; others are only defined.
    ///
    /// # Errors
    /// `busy`, `no_interface_number_left`, `ip_range_exhausted`; or why the host could not follow. Everything is then as before.
    pub async fn import_cens(&self, document: CenDocument) -> Result<(), Error> {
        let inner = self.0.clone();
        let cens: Vec<CenId> = document.cens.iter().map(|cen| cen.id.clone()).collect();
        let import =
            async move { inner.alter(cens, move |model| model.import_cens(&document)).await };
        self.0.complete(import).await
    }

    /// Adds a container to a CEN, creating either; no change if it is a member. If the CEN is on the host, so is the member when this returns.
    ///
    /// # Errors
    /// `busy`, `unknown_container` and other reasons why the host could not follow. Everything is then as before.
    pub async fn put_member(&self, cen: CenId, container: ContainerId) -> Result<(), Error> {
        let inner = self.0.clone();
        let put = async move {
            let cens = vec![cen.clone()];
            inner.alter(cens, move |model| model.add_member(&cen, &container).map(drop)).await
        };
        self.0.complete(put).await
    }

    /// Removes a container from a CEN.
    ///
    /// # Errors
    /// `unknown_cen`, `not_a_member`, `busy`; or why the host could not follow. Everything is then as before.
    pub async fn delete_member(&self, cen: &str, container: &str) -> Result<(), Error> {
        self.model().cen(cen)?;
        let stranger = || {
            let why = format!("container {container} is not a member of CEN {cen}");
            Error::new(Code::NotAMember, why).with_details([container, cen])
        };
        let id = ContainerId::new(container).map_err(|_| stranger())?;
        let (inner, cen) = (self.0.clone(), CenId::new(cen)?);
        let delete = async move {
            let cens = vec![cen.clone()];
            inner.alter(cens, move |model| model.remove_member(&cen, &id)).await
        };
        self.0.complete(delete).await
    }

    /// Makes a container known without a membership. A tag is set if one is given; `Some(None)` removes it.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn put_container(
        &self,
        id: ContainerId,
        tag: Option<Option<String>>,
    ) -> Result<(), Error> {
        let inner = self.0.clone();
        let put = async move {
            let register = |model: &mut Model, _: &mut Vec<Event>| {
                model.register(&id, tag);
                Ok(())
            };
            inner.change(register).await.map(drop)
        };
        self.0.complete(put).await
    }

    /// Sets the tag of a container that is known.
    ///
    /// # Errors
    /// `unknown_container`.
    pub async fn set_tag(&self, id: ContainerId, tag: Option<String>) -> Result<(), Error> {
        let inner = self.0.clone();
        let set = async move { inner.change(|model, _| model.set_tag(&id, tag)).await.map(drop) };
        self.0.complete(set).await
    }

    /// Removes a container from every CEN, in the order in which it joined them, and forgets it.
    ///
    /// # Errors
    /// `unknown_container`, `busy`; or why the host could not follow: the memberships removed by then stay removed.
    pub async fn delete_container(&self, container: &str) -> Result<(), Error> {
        let cens = self.model().container(container)?.cens().to_vec();
        for cen in cens {
            self.delete_member(cen.as_str(), container).await?;
        }
        let (inner, id) = (self.0.clone(), ContainerId::new(container)?);
        let forget = async move {
            let unregister = |model: &mut Model, _: &mut Vec<Event>| {
                model.unregister(&id);
                Ok(())
            };
            inner.change(unregister).await.map(drop)
        };
        self.0.complete(forget).await
    }
}

impl Inner {
    /// Changes the members of these CENs, first in the model, then on the host. If the host cannot follow, both are brought back.
    pub(super) async fn alter(
        self: &Arc<Self>,
        cens: Vec<CenId>,
        alter: impl Fn(&mut Model) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        let _held = self.hold_with_neighbours(&cens).await;
        let model = self.model();
        let _addresses = self.hold_addresses(&model, &cens).await;
        let change = |model: &mut Model, events: &mut Vec<Event>| {
            refuse_busy(model, &cens)?;
            let before = model.clone();
            alter(model)?;
            let on_host = changed_on_host(&before, model, &cens);
            if on_host.is_empty() {
                *events = memberships(&before, model, &cens);
            }
            Ok(on_host)
        };
        let (before, on_host) = self.change(change).await?;
        if on_host.is_empty() { Ok(()) } else { self.follow(&before, on_host, &cens).await }
    }

    /// Waits for CENs and for those that a CIN joins to them: with the members of one, addresses on the interfaces of another may change.
    async fn hold_with_neighbours(&self, cens: &[CenId]) -> Held {
        loop {
            let all = with_neighbours(&self.model(), cens);
            let held = self.locks.hold(&all).await;
            // A CIN may have been defined over them meanwhile.
            if with_neighbours(&self.model(), cens) == all {
                return held;
            }
        }
    }

    async fn follow(
        &self,
        before: &Model,
        on_host: Vec<CenId>,
        all: &[CenId],
    ) -> Result<(), Error> {
        let after = self.model();
        let link = gained(before, &after, &on_host);
        let scope = Scope::cens(with_neighbours(&after, &on_host));
        let outcome = self.converge(&after, before, &scope, &link, Missing::Fails).await;
        let lost = lost(before, &after, &scope.cens);
        let Some(error) = outcome.failed.values().next().cloned() else {
            self.note_presence(&outcome, &lost).await;
            let tell = |_: &mut Model, events: &mut Vec<Event>| {
                *events = memberships(before, &after, all);
                Ok(())
            };
            return self.change(tell).await.map(drop);
        };
        let restore = |model: &mut Model, _: &mut Vec<Event>| {
            model.restore_cens(before, all);
            Ok(())
        };
        self.change(restore).await?;
        let undone = self.converge(&self.model(), &after, &scope, &[], Missing::IsLeftOut).await;
        for (cen, error) in undone.failed {
            tracing::warn!(
                "rollback of a change to CEN {cen} failed; reconciliation tries again: {error}"
            );
            self.nudge.notify_one();
        }
        Err(error)
    }
}

/// These CENs, and after them those of the CINs over them that are on the host.
fn with_neighbours(model: &Model, cens: &[CenId]) -> Vec<CenId> {
    let mut all = cens.to_vec();
    let over = cens.iter().filter_map(|cen| model.cin_over(cen)).map(|cin| &model.cins()[cin]);
    for cen in over.filter(|cin| cin.status() != Status::Pending).flat_map(|cin| cin.cens()) {
        if !all.contains(cen) {
            all.push(cen.clone());
        }
    }
    all
}

fn refuse_busy(model: &Model, cens: &[CenId]) -> Result<(), Error> {
    let is_busy = |cen: &&CenId| model.cens().get(*cen).is_some_and(|cen| cen.status().is_busy());
    let under_way: Vec<String> = cens.iter().filter(is_busy).map(ToString::to_string).collect();
    if under_way.is_empty() { Ok(()) } else { Err(busy("CENs are", under_way)) }
}

/// The CENs on the host whose members differ, by who or by order.
fn changed_on_host(before: &Model, after: &Model, cens: &[CenId]) -> Vec<CenId> {
    let differ = cens.iter().filter(|cen| {
        let (old, new) = (before.cens().get(*cen), after.cens().get(*cen));
        let on_host = new.is_some_and(|cen| cen.status() == Status::Ready);
        on_host && old.map(|cen| cen.members()) != new.map(|cen| cen.members())
    });
    differ.cloned().collect()
}

/// Members of `to` that were not members of `from`, with their CENs.
fn new_members<'m>(from: &Model, to: &'m Model, cens: &[CenId]) -> Vec<(&'m ContainerId, CenId)> {
    let mut found = Vec::new();
    for cen in cens {
        let there = from.cens().get(cen).map(|cen| cen.members()).unwrap_or_default();
        let now = to.cens().get(cen).map(|cen| cen.members()).unwrap_or_default();
        let new = now.iter().filter(|member| !there.contains(member));
        found.extend(new.map(|member| (member, cen.clone())));
    }
    found
}

fn gained(before: &Model, after: &Model, cens: &[CenId]) -> Vec<ContainerId> {
    let mut gained: Vec<ContainerId> = Vec::new();
    for (member, _) in new_members(before, after, cens) {
        if !gained.contains(member) {
            gained.push(member.clone());
        }
    }
    gained
}

fn lost(before: &Model, after: &Model, cens: &[CenId]) -> Vec<ContainerId> {
    gained(after, before, cens)
}

fn memberships(before: &Model, after: &Model, cens: &[CenId]) -> Vec<Event> {
    let removed = new_members(after, before, cens).into_iter();
    let removed =
        removed.map(|(member, cen)| Event::ContainerRemoved { container: member.clone(), cen });
    let added = new_members(before, after, cens).into_iter();
    let added = added.map(|(member, cen)| Event::ContainerAdded { container: member.clone(), cen });
    removed.chain(added).collect()
}
