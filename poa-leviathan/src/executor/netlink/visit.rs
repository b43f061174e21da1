//! Visits to containers: a socket is opened in each, and what is there is listed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Space;
use super::look::{failed, routes_and_links};
use super::socket::Rtnl;
use super::visitors::{Visitors, enter};
use crate::resolver::{Namespace, not_found};
use crate::seen::Inside;
use crate::{ContainerId, Error};

/// The least number of containers for each thread.
const SHARE: usize = 16;

type Share = Vec<(ContainerId, Namespace)>;
type Visited = Vec<(ContainerId, Result<(Space, Inside), Error>)>;

/// Visits containers, and meanwhile does something else on this thread.
pub(super) fn while_looking<R>(
    visitors: &Visitors,
    containers: BTreeMap<ContainerId, Namespace>,
    writes: &Arc<AtomicU64>,
    look: impl FnOnce() -> R,
) -> (R, Result<Visited, Error>) {
    if containers.is_empty() {
        return (look(), Ok(Vec::new()));
    }
    let free = visitors.gather(containers.len().div_ceil(SHARE));
    let shares = shares(containers, free.len());
    let begun: Vec<_> = free
        .into_iter()
        .zip(shares)
        .map(|(visitor, share)| {
            let writes = writes.clone();
            visitor.begin(move || visit_all(share, &writes))
        })
        .collect();
    let looked = look();
    let visited: Result<Vec<Visited>, Error> =
        begun.into_iter().map(|visit| visit?.end()).collect();
    (looked, visited.map(|shares| shares.into_iter().flatten().collect()))
}

/// At most so many shares, of nearly the same size.
fn shares(containers: BTreeMap<ContainerId, Namespace>, count: usize) -> Vec<Share> {
    let size = containers.len().div_ceil(count.max(1));
    let mut shares: Vec<Share> = Vec::new();
    for container in containers {
        match shares.last_mut() {
            Some(share) if share.len() < size => share.push(container),
            _ => shares.push(vec![container]),
        }
    }
    shares
}

fn visit_all(share: Share, writes: &Arc<AtomicU64>) -> Visited {
    let visited = share.into_iter().map(|(container, namespace)| {
        let visited = visit(&container, namespace, writes.clone());
        (container, visited)
    });
    visited.collect()
}

fn visit(
    container: &ContainerId,
    namespace: Namespace,
    writes: Arc<AtomicU64>,
) -> Result<(Space, Inside), Error> {
    let opened = enter(&namespace).and_then(|()| Rtnl::open(writes));
    let mut rtnl = opened.map_err(|error| {
        not_found(container, format!("its network namespace cannot be entered: {error}"))
    })?;
    let inside = routes_and_links(&mut rtnl)
        .map_err(|error| failed(&format!("container {container}"), &error))?;
    Ok((Space { rtnl, namespace }, inside))
}
