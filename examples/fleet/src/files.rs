//! The number of files and sockets that the process can open.

/// Other open files: standard streams, event queues, the connection to the auth server.
const OTHERS: u64 = 64;

/// This process cannot open as many connections as its agents need.
#[derive(Debug, thiserror::Error)]
#[error(
    "{sockets} connections need {needed} open files, but the limit of this process is {allowed}; raise the hard limit (`ulimit -Hn`, LimitNOFILE in systemd), or share connections with --connections"
)]
pub struct TooFewFiles {
    sockets: usize,
    needed: u64,
    allowed: u64,
}

/// Raises the limit for this many connections, if necessary.
#[cfg(unix)]
pub(crate) fn make_room(sockets: usize) -> Result<(), TooFewFiles> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let needed = sockets as u64 + OTHERS;
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let hard = limit.maximum;
    limit.current = hard;
    let raised = setrlimit(Resource::Nofile, limit).is_ok();
    match hard {
        Some(allowed) if allowed < needed || !raised => {
            Err(TooFewFiles { sockets, needed, allowed })
        }
        _ => Ok(()),
    }
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub(crate) fn make_room(_: usize) -> Result<(), TooFewFiles> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_an_error_that_names_the_cure() {
        assert!(make_room(1).is_ok());
        let error = make_room(usize::try_from(u64::MAX / 2).unwrap()).unwrap_err().to_string();
        assert!(error.contains("ulimit -Hn") && error.contains("open files"), "{error}");
    }
}
