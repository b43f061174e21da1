//! The number of connections each listener may hold under the process's limit of open files.
//!
//! Sockets and files count against one limit. If one listener used all of it, the log could not open its next segment, and health
//! checks would fail. So the limit is divided: each listener has its part for connections, and a reserve remains.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use poa_core::telemetry::Gauge;

/// The number of files that a host opens while it runs, besides those that are open when it starts: segments, databases,
/// certificates.
const RESERVE: usize = 32;

/// The number of connections a listener always has, however low the limit is.
const LEAST: usize = 4;

/// The listeners of a process that share a [`Listeners`](crate::Listeners). Clones share the division.
#[derive(Clone, Default)]
pub(crate) struct Descriptors(Arc<Mutex<Division>>);

#[derive(Default)]
struct Division {
    parts: Vec<Arc<Part>>,
}

/// The part of one listener.
#[derive(Debug)]
struct Part {
    /// The most that was requested.
    wanted: usize,
    allowed: AtomicUsize,
    open: AtomicUsize,
}

/// The part of a listener; on drop it is divided among the others.
pub(crate) struct Places {
    part: Arc<Part>,
    descriptors: Descriptors,
}

impl Descriptors {
    /// A part for a listener that requests this many connections.
    pub(crate) fn places(&self, wanted: usize) -> Places {
        let part =
            Arc::new(Part { wanted, allowed: AtomicUsize::new(wanted), open: AtomicUsize::new(0) });
        self.0.lock().parts.push(part.clone());
        Places { part, descriptors: self.clone() }
    }

    fn divide(&self) {
        self.0.lock().divide(available());
    }
}

impl Division {
    /// Gives every part what it requests, or an equal share of the total; what one does not need, the others get.
    fn divide(&self, available: Option<usize>) {
        let mut parts: Vec<_> = self.parts.iter().collect();
        parts.sort_by_key(|part| part.wanted);
        let open: usize = parts.iter().map(|part| part.open.load(Relaxed)).sum();
        let mut left = available.map(|available| available + open);
        for (index, part) in parts.iter().enumerate() {
            let share = left.map_or(usize::MAX, |left| left / (parts.len() - index));
            let allowed = part.wanted.min(share.max(LEAST));
            part.allowed.store(allowed, Relaxed);
            left = left.map(|left| left.saturating_sub(allowed));
        }
    }
}

impl Places {
    /// Divides the total again, given what is open now, and returns how many connections may be open here.
    pub(crate) fn settle(&self) -> usize {
        self.descriptors.divide();
        self.part.allowed.load(Relaxed)
    }

    /// A slot, unless all are taken.
    pub(crate) fn take(&self, open: &Gauge) -> Option<Slot> {
        let more = |count: usize| (count < self.part.allowed.load(Relaxed)).then_some(count + 1);
        self.part.open.fetch_update(Relaxed, Relaxed, more).ok()?;
        open.inc();
        Some(Slot { part: self.part.clone(), open: open.clone() })
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.descriptors.0.lock().parts.retain(|part| !Arc::ptr_eq(part, &self.part));
        self.descriptors.divide();
    }
}

/// A slot among the connections that may be open at once, held as long as the socket.
#[derive(Debug)]
pub(crate) struct Slot {
    part: Arc<Part>,
    open: Gauge,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.part.open.fetch_sub(1, Relaxed);
        self.open.dec();
    }
}

/// The number of files that may be opened for connections, without the reserve; `None` when there is no limit.
fn available() -> Option<usize> {
    let limit = limit()?;
    Some(limit.saturating_sub(open_files().unwrap_or(2 * RESERVE) + RESERVE))
}

#[cfg(unix)]
pub(crate) fn limit() -> Option<usize> {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current?;
    usize::try_from(limit).ok()
}

#[cfg(not(unix))]
pub(crate) fn limit() -> Option<usize> {
    None
}

/// The number of files that this process has open, if the system lists them.
fn open_files() -> Option<usize> {
    let list = ["/proc/self/fd", "/dev/fd"].iter().find_map(|list| std::fs::read_dir(list).ok())?;
    // One of them is the listing itself.
    Some(list.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(places: &[&Places]) -> Vec<usize> {
        places.iter().map(|places| places.part.allowed.load(Relaxed)).collect()
    }

    #[test]
    fn a_low_limit_is_divided_and_small_requests_leave_more_to_others() {
        let descriptors = Descriptors::default();
        let [rest, ws, admin] = [10_000, 10_000, 16].map(|wanted| descriptors.places(wanted));
        let all = [&rest, &ws, &admin];
        descriptors.0.lock().divide(None);
        assert_eq!(allowed(&all), [10_000, 10_000, 16]);
        descriptors.0.lock().divide(Some(216));
        assert_eq!(allowed(&all), [100, 100, 16]);
        descriptors.0.lock().divide(Some(0));
        assert_eq!(allowed(&all), [LEAST, LEAST, LEAST]);
    }

    #[test]
    fn open_connections_do_not_reduce_the_total() {
        let descriptors = Descriptors::default();
        let places = descriptors.places(100);
        descriptors.0.lock().divide(Some(10));
        let gauge = Gauge::default();
        let held: Vec<_> = std::iter::from_fn(|| places.take(&gauge)).collect();
        assert_eq!((held.len(), gauge.get()), (10, 10));
        descriptors.0.lock().divide(Some(0));
        assert_eq!(allowed(&[&places]), [10]);
        drop(held);
        assert_eq!(gauge.get(), 0);
        assert!(places.take(&gauge).is_some());
    }

    #[test]
    fn a_listener_that_ends_returns_its_part() {
        let descriptors = Descriptors::default();
        let one = descriptors.places(1000);
        let two = descriptors.places(1000);
        descriptors.0.lock().divide(Some(100));
        assert_eq!(allowed(&[&one]), [50]);
        drop(two);
        descriptors.0.lock().divide(Some(100));
        assert_eq!(allowed(&[&one]), [100]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn counts_the_files_of_this_process() {
        let before = open_files().unwrap();
        let _held: Vec<_> = (0..3).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files meanwhile.
        assert!(before >= 3 && open_files().unwrap() >= 6);
        assert!(limit().unwrap() > 6);
    }
}
