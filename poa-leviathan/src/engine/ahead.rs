//! A request looks at the host while its intent goes to the disk. Nothing is applied before that is there.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tokio_util::task::AbortOnDropHandle;

use super::Inner;
use super::intent::{ended, interrupted};
use super::locks::Held;
use crate::executor::Session;
use crate::model::Model;
use crate::plan::Scope;
use crate::{CenId, ContainerId, Error};

/// The right to change some CENs, and perhaps addresses.
pub(super) struct Ground {
    cens: Vec<CenId>,
    _held: Held,
    addresses: Option<OwnedMutexGuard<()>>,
    /// A look that began once the rights were there, so that nothing of ours has changed since.
    pub(super) ahead: Option<Ahead>,
}

/// A look at the host and into containers that is under way.
pub(super) struct Ahead {
    containers: Vec<ContainerId>,
    look: AbortOnDropHandle<Option<Result<Box<dyn Session>, Error>>>,
}

impl Inner {
    /// Takes what a request is about to change, and begins to look at it. `None` when something else has it: then the request is
    /// answered first, and waits afterwards.
    pub(super) fn look_ahead(self: &Arc<Self>, scope: &Scope) -> Option<Ground> {
        let held = self.locks.try_hold(&scope.cens)?;
        let model = self.model();
        let addresses = if Self::needs_addresses(&model, scope) {
            Some(self.addressing.clone().try_lock_owned().ok()?)
        } else {
            None
        };
        let containers = scope.containers(&[&model]);
        let (inner, wanted) = (self.clone(), containers.clone());
        let look = AbortOnDropHandle::new(self.spawn(async move { inner.look(&wanted).await }));
        let ahead = Some(Ahead { containers, look });
        Some(Ground { cens: scope.cens.clone(), _held: held, addresses, ahead })
    }

    /// Waits for the right to change what is in a scope, unless `ground` is just that.
    pub(super) async fn take(&self, ground: Option<Ground>, scope: &Scope) -> Ground {
        let ground = ground.filter(|ground| ground.cens == scope.cens);
        let mut ground = match ground {
            Some(ground) => ground,
            None => Ground {
                cens: scope.cens.clone(),
                _held: self.locks.hold(&scope.cens).await,
                addresses: None,
                ahead: None,
            },
        };
        if ground.addresses.is_none() && Self::needs_addresses(&self.model(), scope) {
            // The request that held them may have changed what was seen.
            ground.ahead = None;
            ground.addresses = Some(self.addressing.clone().lock_owned().await);
        }
        ground
    }

    fn needs_addresses(model: &Model, scope: &Scope) -> bool {
        !scope.cins.is_empty() || Self::touches_addresses(model, &scope.cens)
    }

    pub(super) async fn look(&self, containers: &[ContainerId]) -> Result<Box<dyn Session>, Error> {
        self.in_time("look at the host", self.executor.look(containers)).await
    }
}

impl Ahead {
    /// The look, if it was into these containers.
    pub(super) async fn into(
        self,
        containers: &[ContainerId],
    ) -> Option<Result<Box<dyn Session>, Error>> {
        if self.containers != containers {
            return None;
        }
        Some(match self.look.await {
            Ok(Some(looked)) => looked,
            Ok(None) => Err(interrupted()),
            Err(error) => Err(ended(error)),
        })
    }
}
