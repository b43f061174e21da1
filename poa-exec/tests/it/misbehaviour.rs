//! Each fault of a child has an error that names it.

use poa_core::Receiver as _;
use poa_core::config::{Duration, Size};
use poa_exec::Config;
use poa_testkit::Samples;

use crate::{ACK, NEXT, READY, build, sh, transient};

/// The error of a child that does not become ready.
async fn not_built(config: Config) -> String {
    build(config).await.expect_err("the child does not behave as a plugin")
}

#[tokio::test]
async fn at_the_start() {
    assert_eq!(
        not_built(Config::new(["poa-no-such-program", "x.py"])).await,
        "the child process cannot start at present: cannot start `poa-no-such-program x.py`; check that it exists and is executable: \
         No such file or directory (os error 2)"
    );
    assert_eq!(
        not_built(sh(&["echo 'ImportError: no such module' >&2", "exit 1"])).await,
        "the child process cannot start at present: `sh` ended before it was ready (exit status: 1); \
         its last output: ImportError: no such module"
    );
    assert_eq!(
        not_built(sh(&[r#"read -r hello; echo '{"type":"ready","protocol":9}'"#])).await,
        "the child process does not start: `sh` uses version 9 of the protocol; this host supports 1"
    );
    assert_eq!(
        not_built(sh(&[r#"read -r hello; echo '{"type":"ack","id":1}'"#])).await,
        "the child process cannot start at present: `sh` wrote a `ack` frame `1`, which was not expected; \
         its first frame must be `ready`"
    );
    assert_eq!(
        not_built(sh(&[r#"read -r hello; echo '{"type":"refuse","reason":"no `path`"}'"#])).await,
        "the child process does not start: `sh` says: no `path`"
    );
}

#[tokio::test]
async fn at_the_start_and_only_for_now() {
    assert_eq!(
        not_built(sh(&[r#"read -r hello; echo '{"type":"retry","reason":"no database"}'"#])).await,
        "the child process cannot start at present: `sh` says: no database"
    );
    let mut slow = sh(&["read -r hello", "read -r never"]);
    slow.start_timeout = Duration::from_millis(50);
    assert_eq!(
        not_built(slow).await,
        "the child process cannot start at present: `sh` did not report that it is ready within 50ms"
    );
}

/// The error of a batch.
async fn not_delivered(config: Config) -> String {
    let mut receiver = build(config).await.unwrap();
    let messages = [Samples::default().json("a", "system_metrics", "{}")];
    transient(receiver.metrics_received(&messages).await.unwrap_err())
}

#[tokio::test]
async fn with_a_batch_in_hand() {
    assert_eq!(
        not_delivered(sh(&[READY, NEXT, "echo hello", "read -r stop"])).await,
        "`sh` wrote an invalid frame: `hello`; standard output is for frames alone, so print to standard error: \
         it is not a JSON object of the right shape: expected value at line 1 column 1"
    );
    assert_eq!(
        not_delivered(sh(&[READY, NEXT, r#"echo '{"type":"ack","id":77}'"#, "read -r stop"])).await,
        "`sh` wrote a `ack` frame `77`, which was not expected; `1` is in flight"
    );
    assert_eq!(
        not_delivered(sh(&[READY, NEXT, "exit 0"])).await,
        "`sh` ended with messages in flight (exit status: 0)"
    );
    assert_eq!(
        not_delivered(sh(&[READY, NEXT, "kill -9 $$"])).await,
        "`sh` ended with messages in flight (signal: 9 (SIGKILL))"
    );
    assert_eq!(
        not_delivered(sh(&[READY, "exec >&-", "while read -r line; do :; done"])).await,
        "`sh` ended with messages in flight (it closed its standard output, but is still running)"
    );
}

#[tokio::test]
async fn with_a_line_that_has_no_end() {
    let mut config = sh(&[READY, NEXT, "while true; do printf xxxxxxxxxxxxxxxx; done"]);
    config.max_line = Size::bytes(1000);
    assert_eq!(
        not_delivered(config).await,
        "`sh` wrote a line of more than 1000 B; raise `max_line` if it needs longer lines"
    );
}

#[tokio::test]
async fn after_nonsense_another_child_gets_the_batch() {
    let script = [READY, NEXT, "echo hello", "read -r stop"];
    let mut receiver = build(sh(&script)).await.unwrap();
    let messages = [Samples::default().json("a", "system_metrics", "{}")];
    for _ in 0..3 {
        transient(receiver.metrics_received(&messages).await.unwrap_err());
    }
    let mut good = build(sh(&[READY, NEXT, ACK, "read -r stop"])).await.unwrap();
    good.metrics_received(&messages).await.unwrap();
}
