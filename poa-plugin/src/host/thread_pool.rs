//! The threads of a library that it may block, and the calls and instances it has not ended.
//!
//! One for each library, until the process ends, however often it is loaded: a reload neither frees a thread that a
//! plugin blocks nor forgets it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

/// A library with this many abandoned calls or instances that never ended gets no further ones.
pub(crate) const MOST_LEFT: usize = 16;

/// The time a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one library, and its abandoned calls and instances.
#[derive(Default)]
pub(crate) struct ThreadPool {
    work: Mutex<Work>,
    more: Condvar,
    left: watch::Sender<usize>,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    idle: usize,
}

/// By the address of the descriptor, which identifies a library.
static POOLS: LazyLock<Mutex<HashMap<usize, &'static ThreadPool>>> = LazyLock::new(Mutex::default);

impl ThreadPool {
    /// Returns the one of the library with the descriptor at this address.
    pub(crate) fn of(descriptor: usize) -> &'static Self {
        POOLS.lock().entry(descriptor).or_insert_with(|| Box::leak(Box::default()))
    }

    /// Runs this on a thread of the library, which may block it.
    pub(crate) fn run(&'static self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut work = self.work.lock();
        work.jobs.push_back(Box::new(job));
        if work.idle >= work.jobs.len() {
            self.more.notify_one();
            return Ok(());
        }
        let thread = std::thread::Builder::new().name("poa-plugin-call".to_owned());
        thread.spawn(|| self.toil()).map(drop).inspect_err(|_| drop(work.jobs.pop_back()))
    }

    fn toil(&self) {
        let mut work = self.work.lock();
        loop {
            if let Some(job) = work.jobs.pop_front() {
                parking_lot::MutexGuard::unlocked(&mut work, job);
                continue;
            }
            work.idle += 1;
            let late = self.more.wait_for(&mut work, IDLE).timed_out();
            work.idle -= 1;
            if late && work.jobs.is_empty() {
                return;
            }
        }
    }

    /// Records an abandoned call or instance that the library has to end.
    pub(crate) fn leave(&'static self) -> Left {
        self.left.send_modify(|count| *count += 1);
        Left(self)
    }

    /// The number of abandoned calls and instances.
    pub(crate) fn left(&self) -> usize {
        *self.left.borrow()
    }
}

/// An abandoned call or instance; dropped when the library has ended it.
pub(crate) struct Left(&'static ThreadPool);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.left.send_modify(|count| *count -= 1);
    }
}

/// Waits until every library has ended everything it was told to, for at most this long; then the ports and files of
/// dropped instances are free. Returns the number of calls and instances that remain.
///
/// For use after [`Host::stop`](poa_core::Host::stop), before the process ends or builds another host. Cancel safe.
pub async fn settled(limit: Duration) -> usize {
    let pools: Vec<_> = POOLS.lock().values().copied().collect();
    let all = async {
        for pool in &pools {
            // The other end is never dropped.
            let _ = pool.left.subscribe().wait_for(|left| *left == 0).await;
        }
    };
    let _ = tokio::time::timeout(limit, all).await;
    pools.iter().map(|pool| pool.left()).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_job_that_blocks_keeps_no_other_from_running() {
        let pool: &'static ThreadPool = Box::leak(Box::default());
        let (release, blocked) = mpsc::channel::<()>();
        pool.run(move || assert!(blocked.recv().is_err())).unwrap();
        let (done, seen) = mpsc::channel();
        for n in 0..8 {
            let done = done.clone();
            pool.run(move || done.send(n).unwrap()).unwrap();
        }
        let mut all: Vec<_> = seen.iter().take(8).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
        drop(release);
    }
}
