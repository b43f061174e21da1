//! The command line changes the database while the server runs.

use poa_auth::Auth;
use poa_core::auth::Authenticator as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::{add, claims, empty, open, sign_512};

/// Watches until the test ends.
struct Watching {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Watching {
    fn start(auth: &Auth) -> Self {
        let stop = CancellationToken::new();
        let (auth, shutdown) = (auth.clone(), stop.clone());
        Self { stop, task: tokio::spawn(async move { auth.watch(shutdown).await }) }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Waits for revocations until the token is valid, or is not.
async fn until(auth: &Auth, revocations: &mut watch::Receiver<u64>, token: &str, good: bool) {
    // One change may be announced twice, so the first announcement need not belong to the last change.
    while auth.verify(token).is_ok() != good {
        revocations.changed().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_by_another_process_is_detected_and_announced() {
    let (dir, server) = empty();
    add(&server, "alice", "alicepassword").await;
    let token = server.login("alice", "alicepassword").await.unwrap();
    let other = server.login("alice", "alicepassword").await.unwrap();
    let mut revocations = server.revocations();
    let watching = Watching::start(&server);

    let cli = open(dir.path());
    cli.set_active("alice", false).await.unwrap();
    until(&server, &mut revocations, &token, false).await;
    cli.set_active("alice", true).await.unwrap();
    until(&server, &mut revocations, &token, true).await;
    cli.ban_token(&token).await.unwrap();
    until(&server, &mut revocations, &token, false).await;
    assert!(server.verify(&other).is_ok());
    cli.delete_user("alice").await.unwrap();
    until(&server, &mut revocations, &other, false).await;
    watching.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_changes_of_a_process_itself_are_not_announced_twice() {
    let (_dir, server) = empty();
    let watching = Watching::start(&server);
    add(&server, "alice", "alicepassword").await;
    server.set_active("alice", false).await.unwrap();
    let mut revocations = server.revocations();
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert!(!revocations.has_changed().unwrap());
    revocations.mark_unchanged();
    watching.stop().await;
}

#[tokio::test]
async fn opening_a_database_is_not_a_change() {
    let (dir, server) = empty();
    let revocations = server.revocations();
    drop(open(dir.path()));
    server.users().await.unwrap();
    assert!(!revocations.has_changed().unwrap());
}

#[tokio::test]
async fn a_user_added_elsewhere_can_log_in_and_send_without_delay() {
    let (dir, server) = empty();
    let cli = open(dir.path());
    add(&cli, "alice", "alicepassword").await;
    let token = server.login("alice", "alicepassword").await.unwrap();
    assert!(server.verify(&token).is_ok());
    assert!(cli.verify(&token).is_ok());
}

#[tokio::test(start_paused = true)]
async fn expired_bans_are_deleted_from_memory_and_disk_daily() {
    let (dir, server) = empty();
    add(&server, "alice", "alicepassword").await;
    server.ban_token(&sign_512(&claims("alice"))).await.unwrap();
    let database = rusqlite::Connection::open(dir.path().join("auth.db")).unwrap();
    database.execute("UPDATE banned_tokens SET expires_at = 1", []).unwrap();
    let count = || -> i64 {
        database.query_row("SELECT count(*) FROM banned_tokens", [], |row| row.get(0)).unwrap()
    };
    let watching = Watching::start(&server);
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert_eq!(count(), 1);
    tokio::time::advance(std::time::Duration::from_secs(24 * 3600)).await;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert_eq!(count(), 0);
    watching.stop().await;
}
