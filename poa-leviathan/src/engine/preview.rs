//! The effects of a document, without applying it.

use super::Leviathan;
use crate::document::HostDocument;
use crate::model::{Model, Status};
use crate::plan::{self, Missing, Plan, Scope, Task};
use crate::{CenId, CinId, Error};

/// The direction of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// On the host.
    Up,
    /// Off the host.
    Down,
}

impl Leviathan {
    /// The operations that would bring the networks of a document on or off the host. Changes nothing.
    ///
    /// # Errors
    /// Why the document cannot be imported, or the host not be looked at.
    pub async fn preview(
        &self,
        document: &HostDocument,
        direction: Direction,
    ) -> Result<Plan, Error> {
        let inner = &self.0;
        let before = self.model();
        let mut model = (*before).clone();
        let taken = inner.in_time("look at the host", inner.executor.taken()).await?;
        model.import_cens(&document.cens)?;
        model.import_cins(&document.cins, &taken)?;
        let scope = scope(document);
        set_all(&mut model, &scope, direction);
        let containers = scope.containers(&[&before, &model]);
        let look = inner.executor.look(&containers);
        let session = inner.in_time("look at the host", look).await?;
        let missing = match direction {
            Direction::Up => Missing::Fails,
            Direction::Down => Missing::IsLeftOut,
        };
        let host = &inner.options.host;
        let task = Task { host, model: &model, before: &before, scope: &scope, link: &[], missing };
        Ok(plan::converge(&task, session.seen().clone()))
    }
}

fn scope(document: &HostDocument) -> Scope {
    let cens: Vec<CenId> = document.cens.cens.iter().map(|cen| cen.id.clone()).collect();
    let cins: Vec<CinId> = document.cins.cins.keys().cloned().collect();
    Scope { cens, cins }
}

fn set_all(model: &mut Model, scope: &Scope, direction: Direction) {
    let status = match direction {
        Direction::Up => Status::Ready,
        Direction::Down => Status::Pending,
    };
    for cen in &scope.cens {
        if let Some(cen) = model.cens.get_mut(cen) {
            cen.status = status;
        }
    }
    for cin in &scope.cins {
        if let Some(cin) = model.cins.get_mut(cin) {
            cin.status = status;
        }
    }
}
