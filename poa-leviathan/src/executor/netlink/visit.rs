//! Visits to containers: a socket is opened in each, and what is there is listed.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Space;
use super::look::{failed, routes_and_links};
use super::socket::Rtnl;
use crate::resolver::{Namespace, not_found};
use crate::seen::Inside;
use crate::{ContainerId, Error};

/// The most threads that visit containers at once, and the least number of containers for each of them.
const THREADS: usize = 4;
const SHARE: usize = 16;

type Share = Vec<(ContainerId, Namespace)>;
type Visited = Vec<(ContainerId, Result<(Space, Inside), Error>)>;

/// Visits containers, and meanwhile does something else on this thread.
///
/// A socket belongs to the namespace that its thread is in when it is made, and a thread that moved must not be used for anything else: so
/// threads of their own do it, and end.
pub(super) fn while_looking<R>(
    containers: BTreeMap<ContainerId, Namespace>,
    writes: &Arc<AtomicU64>,
    look: impl FnOnce() -> R,
) -> (R, Result<Visited, Error>) {
    std::thread::scope(|scope| {
        let begun: Vec<_> =
            shares(containers).into_iter().map(|share| begin(scope, share, writes)).collect();
        let looked = look();
        let visited: Result<Vec<Visited>, Error> = begun.into_iter().map(end).collect();
        (looked, visited.map(|shares| shares.into_iter().flatten().collect()))
    })
}

fn shares(containers: BTreeMap<ContainerId, Namespace>) -> Vec<Share> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let size = containers.len().div_ceil(threads).max(SHARE);
    let mut shares: Vec<Share> = Vec::new();
    for container in containers {
        match shares.last_mut() {
            Some(share) if share.len() < size => share.push(container),
            _ => shares.push(vec![container]),
        }
    }
    shares
}

fn begin<'s>(
    scope: &'s Scope<'s, '_>,
    share: Share,
    writes: &Arc<AtomicU64>,
) -> Result<ScopedJoinHandle<'s, Visited>, Error> {
    let writes = writes.clone();
    let visit = move || {
        let visited = share.into_iter().map(|(container, namespace)| {
            let visited = visit(&container, namespace, writes.clone());
            (container, visited)
        });
        visited.collect()
    };
    let thread = Builder::new().name("leviathan-setns".to_owned()).spawn_scoped(scope, visit);
    thread.map_err(|error| Error::internal(format!("cannot start a thread: {error}")))
}

fn end(thread: Result<ScopedJoinHandle<'_, Visited>, Error>) -> Result<Visited, Error> {
    thread?.join().map_err(|_| Error::internal("a thread that enters namespaces panicked"))
}

fn visit(
    container: &ContainerId,
    namespace: Namespace,
    writes: Arc<AtomicU64>,
) -> Result<(Space, Inside), Error> {
    let opened = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(std::io::Error::from)
        .and_then(|()| Rtnl::open(writes));
    let mut rtnl = opened.map_err(|error| {
        not_found(container, format!("its network namespace cannot be entered: {error}"))
    })?;
    let inside = routes_and_links(&mut rtnl)
        .map_err(|error| failed(&format!("container {container}"), &error))?;
    Ok((Space { rtnl, namespace }, inside))
}
