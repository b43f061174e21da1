//! The threads that enter network namespaces.
//!
//! A socket belongs to the namespace that its thread is in when it is made, and a thread that moved must not be used for anything else: so a
//! few threads do nothing but that, and live as long as the executor. If they ended after each look, the memory of each would stay with the
//! allocator, which keeps a heap for every thread that ran beside others.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use parking_lot::{Mutex, MutexGuard};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;
use crate::resolver::Namespace;

/// The most threads.
const THREADS: usize = 4;
/// The namespace of the thread that opens this.
const HERE: &str = "/proc/thread-self/ns/net";

/// Something to do in some namespace, and how its result is handed over afterwards.
type Work = Box<dyn FnOnce() -> HandOver + Send>;
type HandOver = Box<dyn FnOnce()>;
/// Moves a thread into a namespace.
type Enter = fn(&Namespace) -> io::Result<()>;

/// A few threads that may enter namespaces. Each starts when it is first needed, and ends with this.
pub(super) struct Visitors {
    threads: Vec<Mutex<Option<Thread>>>,
    enter: Enter,
}

/// One of them, free for one piece of work.
pub(super) struct Visitor<'v> {
    place: MutexGuard<'v, Option<Thread>>,
    enter: Enter,
}

/// A piece of work that was begun. The thread is kept only if this is waited for.
pub(super) struct Visit<'v, R> {
    place: MutexGuard<'v, Option<Thread>>,
    thread: Thread,
    result: Receiver<R>,
}

struct Thread {
    work: Sender<Work>,
    /// Whether the thread is where it began, after each piece of work and before its result.
    is_back: Receiver<bool>,
}

impl Default for Visitors {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores.min(THREADS), enter)
    }
}

impl Visitors {
    fn new(threads: usize, enter: Enter) -> Self {
        Self { threads: (0..threads.max(1)).map(|_| Mutex::default()).collect(), enter }
    }

    /// Those that are free, at least one and at most so many. Waits only while none is: of two looks that each had one and waited for
    /// another, neither would end.
    pub(super) fn gather(&self, most: usize) -> Vec<Visitor<'_>> {
        let free = self.threads.iter().filter_map(Mutex::try_lock).take(most.max(1));
        let mut threads: Vec<_> = free.collect();
        if threads.is_empty() {
            threads.extend(self.threads.first().map(Mutex::lock));
        }
        threads.into_iter().map(|place| Visitor { place, enter: self.enter }).collect()
    }
}

impl<'v> Visitor<'v> {
    /// Begins a piece of work that may leave the thread in any namespace.
    pub(super) fn begin<R: Send + 'static>(
        mut self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<Visit<'v, R>, Error> {
        let thread = match self.place.take() {
            Some(thread) => thread,
            None => Thread::start(self.enter)?,
        };
        let (done, result) = channel();
        let work = move || -> HandOver {
            let result = work();
            Box::new(move || drop(done.send(result)))
        };
        thread.work.send(Box::new(work)).map_err(|_| ended())?;
        Ok(Visit { place: self.place, thread, result })
    }
}

impl<R> Visit<'_, R> {
    /// Waits for the result. A thread that is not back where it began does nothing else any more; another one takes its place.
    pub(super) fn end(mut self) -> Result<R, Error> {
        let result = self.result.recv().map_err(|_| ended())?;
        if self.thread.is_back.try_recv() == Ok(true) {
            *self.place = Some(self.thread);
        }
        Ok(result)
    }
}

fn ended() -> Error {
    Error::internal("a thread that enters namespaces ended")
}

impl Thread {
    fn start(enter: Enter) -> Result<Self, Error> {
        let (work, todo) = channel::<Work>();
        let (tell, is_back) = channel();
        let run = move || {
            let home = Namespace::open(HERE);
            for work in todo {
                let hand_over = work();
                let is_back = home.as_ref().is_ok_and(|home| enter(home).is_ok());
                let _ = tell.send(is_back);
                hand_over();
                if !is_back {
                    return;
                }
            }
        };
        let started = Builder::new().name("leviathan-setns".to_owned()).spawn(run);
        started.map_err(|error| Error::internal(format!("cannot start a thread: {error}")))?;
        Ok(Self { work, is_back })
    }
}

/// Moves this thread into a network namespace.
pub(super) fn enter(namespace: &Namespace) -> io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(io::Error::from)
}

impl fmt::Debug for Visitors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visitors({})", self.threads.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread::{ThreadId, current};

    use super::*;

    fn look(visitors: &Visitors) -> Vec<ThreadId> {
        let begun = visitors.gather(2).into_iter().map(|visitor| visitor.begin(|| current().id()));
        let begun: Vec<_> = begun.map(Result::unwrap).collect();
        begun.into_iter().map(|visit| visit.end().unwrap()).collect()
    }

    #[test]
    fn a_thousand_looks_use_the_same_threads() {
        let visitors = Visitors::new(2, |_| Ok(()));
        let threads: BTreeSet<String> =
            (0..1000).flat_map(|_| look(&visitors)).map(|id| format!("{id:?}")).collect();
        assert_eq!(threads.len(), 2);
    }

    #[test]
    fn a_thread_that_cannot_get_back_is_replaced() {
        let visitors = Visitors::new(1, |_| Err(io::ErrorKind::PermissionDenied.into()));
        let [first, second] = [look(&visitors), look(&visitors)];
        assert_ne!(first, second);
    }

    #[test]
    fn a_thread_that_panicked_is_replaced() {
        let visitors = Visitors::new(1, |_| Ok(()));
        let begun = visitors.gather(1).remove(0).begin(|| panic!("on demand")).unwrap();
        let panicked: Result<(), Error> = begun.end();
        assert!(panicked.is_err());
        assert_eq!(look(&visitors).len(), 1);
    }

    #[test]
    fn looks_at_once_share_the_threads() {
        let visitors = Visitors::new(2, |_| Ok(()));
        let one = visitors.gather(1);
        assert_eq!(visitors.gather(2).len(), 1, "the other is taken");
        drop(one);
        assert_eq!(visitors.gather(2).len(), 2);
    }
}
