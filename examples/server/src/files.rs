//! How many files and sockets the process may open.

/// Raises the limit as far as the system allows: each connection needs one. Each listener then compares what is left with the
/// connections it may have, and says when that does not suffice.
pub(crate) fn raise_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files stays as it was; raise it with `ulimit -n`");
        }
    }
}
