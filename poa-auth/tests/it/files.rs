//! The files in the data directory.

use std::fs;

use poa_auth::{AdminConfig, Auth, AuthConfig, HashCost, OpenError};
use poa_core::auth::Authenticator as _;
use rusqlite::Connection;

use crate::support::{HERE, add, config, empty, open};

fn generated() -> AuthConfig {
    let mut config = AuthConfig::default();
    config.hash_cost = HashCost::for_tests();
    config
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_access_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("poa-data");
    let auth = Auth::open(generated(), &dir).unwrap();
    add(&auth, "alice", "alicepassword").await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["admin_password", "auth.db", "auth.db-shm", "auth.db-wal", "secret_key"]);
}

#[tokio::test]
async fn key_and_admin_are_generated_once() {
    let dir = tempfile::tempdir().unwrap();
    let auth = Auth::open(generated(), dir.path()).unwrap();
    let admin = auth.generated_admin().unwrap().clone();
    assert_eq!(admin.name, "admin");
    let kept = fs::read_to_string(&admin.file).unwrap();
    assert_eq!(kept.trim_end(), admin.password.expose());
    add(&auth, "alice", "alicepassword").await;
    let token = auth.login("alice", "alicepassword").await.unwrap();
    drop(auth);

    let auth = Auth::open(generated(), dir.path()).unwrap();
    assert!(auth.verify(&token).is_ok());
    assert!(auth.authenticate_admin("admin", admin.password.expose(), HERE).await.is_ok());
    assert!(auth.authenticate_admin("admin", "something else", HERE).await.is_err());
}

#[test]
fn two_directories_have_two_secrets() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secrets = |dir: &tempfile::TempDir| {
        Auth::open(generated(), dir.path()).unwrap();
        ["secret_key", "admin_password"]
            .map(|name| fs::read_to_string(dir.path().join(name)).unwrap())
    };
    let (one, two) = (secrets(&one), secrets(&two));
    assert!(one[0].trim_end().len() >= 64 && one[0] != two[0] && one[1] != two[1]);
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_not_changed() {
    let (dir, auth) = empty();
    drop(auth);
    let path = dir.path().join("auth.db");
    let database = Connection::open(&path).unwrap();
    database.pragma_update(None, "user_version", 7).unwrap();
    drop(database);
    let error = Auth::open(config(), dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::NewerDatabase { found: 7, known: 2, .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("auth.db has version 7") && text.contains("use a newer program"),
        "{text}"
    );
    let version: i64 = Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 7);
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("auth.db"), "this is not a database, however long it may be")
        .unwrap();
    let error = Auth::open(config(), dir.path()).unwrap_err();
    assert!(error.to_string().contains("auth.db"), "{error}");

    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Auth::open(config(), file.join("below")).unwrap_err();
    assert!(matches!(error, OpenError::DataDir { .. }), "{error:?}");

    let mut admin = AdminConfig::default();
    admin.name = "root".to_owned();
    admin.password_file = Some(dir.path().join("missing"));
    let mut config = config();
    config.admins = vec![admin];
    let error = Auth::open(config, dir.path().join("new")).unwrap_err().to_string();
    assert!(error.contains("`root`") && error.contains("missing"), "{error}");
}

#[test]
fn a_configuration_with_problems_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.issuer.clear();
    config.admins.push(AdminConfig::new("x", "short"));
    let error = Auth::open(config, dir.path()).unwrap_err().to_string();
    assert!(error.contains("issuer: ") && error.contains("admins.2.password: "), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn expired_bans_are_deleted() {
    let (dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let token = auth.login("alice", "alicepassword").await.unwrap();
    auth.ban_token(&token).await.unwrap();
    drop(auth);
    let bans = || -> i64 {
        let database = Connection::open(dir.path().join("auth.db")).unwrap();
        database.query_row("SELECT count(*) FROM banned_tokens", [], |row| row.get(0)).unwrap()
    };
    drop(open(dir.path()));
    assert_eq!(bans(), 1);
    let database = Connection::open(dir.path().join("auth.db")).unwrap();
    database.execute("UPDATE banned_tokens SET expires_at = 1", []).unwrap();
    drop(open(dir.path()));
    assert_eq!(bans(), 0);
}
