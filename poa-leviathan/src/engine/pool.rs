//! Pools of containers that are started for their networks.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Inner, Leviathan};
use crate::document::{CinDocument, Pool};
use crate::model::{Model, Status};
use crate::{CenId, CinId, Code, ContainerId, Error};

/// Starts containers, without a network of its own.
#[async_trait]
pub trait Containers: fmt::Debug + Send + Sync {
    /// Starts one container of a pool and returns its id.
    ///
    /// # Errors
    /// `docker_unavailable`, with what Docker said.
    async fn start(&self, pool: &Pool) -> Result<ContainerId, Error>;

    /// Removes a container, running or not.
    ///
    /// # Errors
    /// `docker_unavailable`, with what Docker said.
    async fn remove(&self, container: &ContainerId) -> Result<(), Error>;
}

impl Leviathan {
    /// Starts the containers of pools, adds them to their CENs, in order of first appearance, and makes those. All or nothing: what was started for
    /// a request that fails is removed.
    ///
    /// # Errors
    /// `docker_unavailable` when a container does not start or there is nowhere to start one; or why a CEN could not be made.
    pub async fn start_pools(&self, pools: Vec<Pool>) -> Result<(), Error> {
        if pools.is_empty() {
            return Ok(());
        }
        let leviathan = self.clone();
        self.0.complete(async move { leviathan.0.start_pools(&leviathan, pools).await }).await
    }
}

/// A container that was started, and the networks it is to join.
type Started<'p> = (ContainerId, &'p Pool);

impl Inner {
    async fn start_pools(
        self: &Arc<Self>,
        leviathan: &Leviathan,
        pools: Vec<Pool>,
    ) -> Result<(), Error> {
        let Some(containers) = self.containers.clone() else {
            let why = "containers can be started only with Docker; set `resolver = \"docker\"`";
            return Err(Error::new(Code::DockerUnavailable, why));
        };
        let mut started: Vec<Started<'_>> = Vec::new();
        let done = self.start_and_join(leviathan, &*containers, &pools, &mut started).await;
        if done.is_err() {
            for (container, _) in &started {
                let _ = leviathan.delete_container(container.as_str()).await;
                if let Err(error) =
                    self.in_time("remove a container", containers.remove(container)).await
                {
                    tracing::warn!(
                        "container {container} was started for nothing and is left behind: {error}"
                    );
                }
            }
        }
        done
    }

    async fn start_and_join<'p>(
        self: &Arc<Self>,
        leviathan: &Leviathan,
        containers: &dyn Containers,
        pools: &'p [Pool],
        started: &mut Vec<Started<'p>>,
    ) -> Result<(), Error> {
        for pool in pools {
            for _ in 0..pool.start_with {
                let id = self.in_time("start a container", containers.start(pool)).await?;
                started.push((id, pool));
            }
        }
        let cens = first_appearance(pools);
        self.alter(cens.clone(), |model| join(model, &cens, started)).await?;
        self.make_fresh(leviathan, &cens).await?;
        if self.options.pool_cins { self.cover(leviathan, &cens).await } else { Ok(()) }
    }

    /// Lays a CIN over each of these CENs that has none.
    async fn cover(&self, leviathan: &Leviathan, cens: &[CenId]) -> Result<(), Error> {
        let model = self.model();
        let bare = cens.iter().filter(|cen| model.cin_over(cen).is_none());
        let cins = bare.map(|cen| Ok((CinId::new(cen.as_str())?, vec![cen.clone()])));
        let document = CinDocument { cins: cins.collect::<Result<_, Error>>()? };
        let ids: Vec<String> = document.cins.keys().map(ToString::to_string).collect();
        if ids.is_empty() {
            return Ok(());
        }
        leviathan.import_cins(document).await?;
        let report = leviathan.make_cins(&ids).await?.wait().await;
        let Some(failed) = report.failed.into_iter().next() else { return Ok(()) };
        for id in &ids {
            let _ = leviathan.delete_cin(id).await;
        }
        Err(failed.error)
    }

    async fn make_fresh(&self, leviathan: &Leviathan, cens: &[CenId]) -> Result<(), Error> {
        let model = self.model();
        let fresh = cens.iter().filter(|cen| model.cens()[*cen].status() != Status::Ready);
        let fresh: Vec<String> = fresh.map(ToString::to_string).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let report = leviathan.make_cens(&fresh).await?.wait().await;
        report.failed.into_iter().next().map_or(Ok(()), |failed| Err(failed.error))
    }
}

fn first_appearance(pools: &[Pool]) -> Vec<CenId> {
    let mut cens: Vec<CenId> = Vec::new();
    for (cen, _) in pools.iter().flat_map(|pool| &pool.networks) {
        if !cens.contains(cen) {
            cens.push(cen.clone());
        }
    }
    cens
}

fn join(model: &mut Model, cens: &[CenId], started: &[Started<'_>]) -> Result<(), Error> {
    for cen in cens {
        for (container, pool) in started {
            if pool.networks.iter().any(|(network, _)| network == cen) {
                model.add_member(cen, container)?;
            }
        }
    }
    for (container, pool) in started {
        if let Some((cen, _)) = pool.networks.iter().find(|(_, owns_default)| *owns_default) {
            model.prefer_default_route(container, cen);
        }
    }
    Ok(())
}
