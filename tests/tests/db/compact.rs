//! `poa-server db compact`.

use std::path::Path;
use std::time::Duration;

use poa_tests::{Agents, Home, Server, count, database, soon};
use rusqlite::Connection;

use super::{db, outcome};

/// Rows of which nine in ten are removed again, so that the file has room to give back.
const FILL: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
    INSERT INTO metrics (message_id, date, agent_id, data_type, body)
        SELECT randomblob(16), '2020-01-01T00:00:00.000000Z', 'old', 'x', printf('{\"n\":\"%0600d\"}', i) FROM n;
    DELETE FROM metrics WHERE agent_id = 'old' AND rowid % 10 <> 0";
/// So many of them stay.
const KEPT: i64 = 4000;

/// A home whose server ran and was stopped, with a file that is mostly empty; how many rows it has.
async fn used() -> (Home, i64) {
    let home = Home::new();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let agents = Agents::start(&server, 2, &token);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sent = agents.stop().await;
    server.stop().await;
    let file = Connection::open(home.data("metrics.db")).unwrap();
    // As made by a version that did not vacuum step by step.
    file.execute_batch("PRAGMA auto_vacuum = none; VACUUM").unwrap();
    file.execute_batch(FILL).unwrap();
    (home, KEPT + i64::try_from(sent).unwrap())
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).unwrap().len()
}

#[tokio::test]
async fn files_shrink_while_no_server_runs() {
    let (home, sent) = used().await;
    let file = home.data("metrics.db");
    let server = Server::start(&home).await;
    let (code, _, errors) = outcome(home.path(), &["compact"]).await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("metrics.db is in use; stop the server"), "{errors}");
    server.stop().await;

    let before = size(&file);
    let (code, out, errors) = outcome(home.path(), &["compact"]).await;
    assert_eq!(code, Some(0), "{errors}");
    for name in ["auth.db", "metrics.db"] {
        assert!(out.contains(&format!("{name}: ")), "{out}");
    }
    assert!(size(&file) * 4 < before, "{before} -> {}", size(&file));
    let (code, _, errors) = outcome(home.path(), &["compact", "missing.db"]).await;
    assert!(code == Some(1) && errors.contains("it must exist"), "{errors}");

    let server = Server::start(&home).await;
    assert_eq!(server.session("agent-user", "agent-password").await.split('.').count(), 3);
    server.stop().await;
    assert_eq!(count(&database(&file), "SELECT count(*) FROM metrics"), sent);
    assert_eq!(count(&database(&file), "SELECT auto_vacuum FROM pragma_auto_vacuum"), 2);
}

#[tokio::test]
async fn a_run_that_is_killed_loses_nothing() {
    let (home, sent) = used().await;
    let file = home.data("metrics.db");
    let (mut killed, mut wait) = (0, Duration::from_millis(4));
    loop {
        let mut run = db(home.path(), &["compact", "data/metrics.db"]).spawn().unwrap();
        match tokio::time::timeout(wait, run.wait()).await {
            Ok(ended) => break assert_eq!(ended.unwrap().code(), Some(0)),
            Err(_) => soon("it is gone", run.kill()).await.unwrap(),
        }
        killed += 1;
        wait += wait / 4;
        // Opening the file rolls back what was not completed.
        let file = Connection::open(&file).unwrap();
        assert_eq!(count(&file, "SELECT count(*) FROM metrics"), sent);
        let checked: String =
            file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(checked, "ok");
    }
    assert!(killed > 3, "killed {killed} times only");
    assert_eq!(count(&database(&file), "SELECT count(*) FROM metrics"), sent);
    assert!(size(&file) < 10_000_000);
    Server::start(&home).await.stop().await;
}
