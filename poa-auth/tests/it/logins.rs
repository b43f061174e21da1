//! Names, passwords, and guessing.

use std::time::Duration;

use poa_auth::{AdminConfig, Auth, AuthConfig, InvalidName, NewUser, UserError};
use poa_core::auth::{AuthError, Authenticator as _};
use poa_core::config::Secret;
use tokio::time::Instant;

use crate::support::{ADMIN, HERE, add, config, empty, user};

async fn refused(auth: &Auth, user: &str, password: &str) -> bool {
    matches!(auth.login(user, password).await, Err(AuthError::Unauthorized))
}

#[tokio::test]
async fn only_the_right_name_and_password_are_accepted() {
    let (_dir, auth) = empty();
    add(&auth, "josé", "con:traseña").await;
    assert!(auth.login("josé", "con:traseña").await.is_ok());
    assert!(refused(&auth, "josé", "con:trasena").await);
    assert!(refused(&auth, "José", "con:traseña").await);
    assert!(refused(&auth, "", "").await);
    assert!(refused(&auth, &"x".repeat(100_000), "con:traseña").await);
}

#[tokio::test]
async fn admins_and_users_are_separate() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    assert!(auth.authenticate_admin(ADMIN.0, ADMIN.1, HERE).await.is_ok());
    assert!(auth.authenticate_admin("alice", "alicepassword", HERE).await.is_err());
    assert!(refused(&auth, ADMIN.0, ADMIN.1).await);
}

/// The password as stored in the database.
async fn hash_of(password: &str) -> String {
    let (dir, auth) = empty();
    add(&auth, "anyone", password).await;
    rusqlite::Connection::open(dir.path().join("auth.db"))
        .unwrap()
        .query_row("SELECT password_hash FROM users", [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn an_admin_may_have_a_hash_or_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "from a file\nwith a second line\n").unwrap();
    let mut hashed = AdminConfig::default();
    hashed.name = "hashed".to_owned();
    let hash = hash_of("password12345678").await;
    hashed.password_hash = Some(Secret::new(&*hash));
    let mut filed = AdminConfig::default();
    filed.name = "filed".to_owned();
    filed.password_file = Some(file);
    let mut config = config();
    config.admins = vec![hashed, filed];
    let auth = Auth::open(config, dir.path()).unwrap();
    assert!(auth.authenticate_admin("hashed", "password12345678", HERE).await.is_ok());
    assert!(auth.authenticate_admin("hashed", &hash, HERE).await.is_err());
    assert!(auth.authenticate_admin("filed", "from a file", HERE).await.is_ok());
    assert!(auth.authenticate_admin("filed", "with a second line", HERE).await.is_err());
    assert!(auth.generated_admin().is_none());
}

#[tokio::test]
async fn users_follow_the_rules() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let add = async |name: &str, password: &str| auth.add_user(user(name, password)).await;
    assert!(matches!(add("alice", "12345678").await, Err(UserError::NameTaken)));
    assert!(matches!(add("bob", "1234567").await, Err(UserError::PasswordTooShort)));
    assert!(matches!(
        add("b:b", "12345678").await,
        Err(UserError::InvalidName(InvalidName::Colon))
    ));
    for blank in [" ", "\u{2003}\u{a0}"] {
        assert!(matches!(
            add(blank, "12345678").await,
            Err(UserError::InvalidName(InvalidName::Blank))
        ));
    }
    assert!(matches!(auth.set_active("bob", true).await, Err(UserError::NotFound)));
    assert!(matches!(auth.delete_user("bob").await, Err(UserError::NotFound)));
    let names: Vec<_> = auth.users().await.unwrap().into_iter().map(|user| user.name).collect();
    assert_eq!(names, ["alice".into()]);
}

#[tokio::test]
async fn absent_fields_are_generated_and_work() {
    let (_dir, auth) = empty();
    let made = auth.add_user(NewUser::default()).await.unwrap();
    assert_eq!((made.user.len(), made.password.expose().len()), (8, 15));
    assert!(auth.login(&made.user, made.password.expose()).await.is_ok());
    let half = NewUser { name: Some("alice".to_owned()), ..NewUser::default() };
    assert_eq!(auth.add_user(half).await.unwrap().user, "alice");
}

/// The time a login takes on the paused clock, which only waits advance.
async fn delay(auth: &Auth, user: &str, password: &str) -> Duration {
    let begin = Instant::now();
    let _ = auth.login(user, password).await;
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn guessing_becomes_slow_for_one_name_only() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    add(&auth, "bob", "bobpassword").await;
    let begin = Instant::now();
    for _ in 0..20 {
        assert!(refused(&auth, "alice", "a guess").await);
    }
    assert!(begin.elapsed() > Duration::from_secs(50), "{:?}", begin.elapsed());
    assert_eq!(delay(&auth, "bob", "bobpassword").await, Duration::ZERO);
    assert_eq!(delay(&auth, "bob", "a guess").await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_user_under_attack_can_log_in_within_a_limited_time() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    for _ in 0..20 {
        assert!(refused(&auth, "alice", "a guess").await);
    }
    let begin = Instant::now();
    assert!(auth.login("alice", "alicepassword").await.is_ok());
    assert!(begin.elapsed() <= Duration::from_secs(5), "{:?}", begin.elapsed());
    // Once she has logged in here, guessers no longer slow her down.
    for _ in 0..20 {
        assert!(refused(&auth, "alice", "a guess").await);
    }
    assert_eq!(delay(&auth, "alice", "alicepassword").await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn unknown_names_and_admins_are_protected_in_the_same_way() {
    let (_dir, auth) = empty();
    let begin = Instant::now();
    for _ in 0..10 {
        assert!(refused(&auth, "nobody", "a guess").await);
    }
    let unknown = begin.elapsed();
    let begin = Instant::now();
    for _ in 0..10 {
        assert!(auth.authenticate_admin(ADMIN.0, "a guess", HERE).await.is_err());
    }
    assert_eq!(unknown, begin.elapsed());
    assert!(unknown > Duration::from_secs(5), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_log_in_at_once() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let auth = auth.clone();
        logins.spawn(async move { auth.login("alice", "alicepassword").await.unwrap() });
    }
    let tokens = logins.join_all().await;
    assert!(tokens.iter().all(|token| auth.verify(token).is_ok()));
}

#[tokio::test]
async fn no_secret_is_shown() {
    let (_dir, auth) = empty();
    let made = auth.add_user(user("alice", "alicepassword")).await.unwrap();
    assert!(!format!("{made:?}{auth:?}").contains("alicepassword"));
    let dir = tempfile::tempdir().unwrap();
    let auth = Auth::open(AuthConfig::default(), dir.path()).unwrap();
    let admin = auth.generated_admin().unwrap();
    assert!(!format!("{admin:?}").contains(admin.password.expose()));
}

/// Guessers at eight addresses keep trying a name. Its owner, who has not logged in since the start, can log in all the same.
#[tokio::test(start_paused = true)]
async fn guessers_elsewhere_do_not_lock_an_owner_out() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let mut guessers = tokio::task::JoinSet::new();
    for number in 0..32u8 {
        let auth = auth.clone();
        guessers.spawn(async move {
            let from = std::net::IpAddr::from([192, 0, 2, number % 8]);
            loop {
                let _ = auth.login_from("alice", "a guess", Some(from)).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let begin = Instant::now();
    assert!(auth.login_from("alice", "alicepassword", Some(HERE)).await.is_ok());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    guessers.abort_all();
}

/// The buffer of a hash is reused for the next one: 100 logins leave as much memory as one.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_of_hashes_is_reused() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() >> 10
    };
    let dir = tempfile::tempdir().unwrap();
    let auth = Auth::open(AuthConfig::default(), dir.path()).unwrap();
    let before = resident();
    let mut guesses = tokio::task::JoinSet::new();
    for number in 0..100 {
        let auth = auth.clone();
        guesses.spawn(async move { auth.login(&format!("stranger{number}"), "a guess").await });
    }
    while guesses.join_next().await.is_some() {}
    let at_once = std::thread::available_parallelism().unwrap().get().div_ceil(2) as u64;
    let after = resident();
    assert!(after < before + 20 * at_once + 30, "{before} MiB before, {after} MiB after");
}
