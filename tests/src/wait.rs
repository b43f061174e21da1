//! Waiting, with an end.

use std::time::{Duration, Instant};

/// Longer than anything should ever take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The outcome of `future`.
///
/// # Panics
/// When it does not come within [`PATIENCE`]; `what` says what was waited for.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Polls until there is an answer. Only for facts that a process does not report.
///
/// # Panics
/// When it is not within [`PATIENCE`]; `what` says what was waited for.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets this process open as many files and sockets as the system allows.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}
