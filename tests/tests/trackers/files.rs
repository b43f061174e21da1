//! Files and file systems as administrators leave them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use poa_tests::{Home, Request, Server, database, numbers, program, sqlite, until};

fn call(n: usize, token: &str, pad: usize) -> Request {
    let pad = "x".repeat(pad);
    let body = format!(
        r#"{{"id":"agent","type":"system_metrics","data":{{"type":"t","body":{{"n":{n},"pad":"{pad}"}}}}}}"#
    );
    Request::post("/data", token).json(&body)
}

/// As in <https://github.com/metwork-framework/log_proxy/issues/5> and <https://github.com/nodejs/node/pull/27798>: a limit of the size of files
/// ends a program that does not handle SIGXFSZ. It is to be like a full disk.
#[tokio::test]
async fn a_limit_of_file_sizes_refuses_and_recovers() {
    let retry = "retry = { initial = \"20ms\", max = \"200ms\" }";
    let home = Home::with(&sqlite("local", "metrics.db", retry));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let mut client = server.client().await;
    let mut acknowledged = Vec::new();
    let mut n = 0;
    for (limit, expected) in [(Some(1 << 20), 503), (None, 200)] {
        server.limit_file_sizes(limit);
        until("the limit takes effect", async || {
            let answer = client.exchange(&call(n, &token, 100_000).bytes()).await.unwrap();
            assert!([200, 503].contains(&answer.status), "{answer:?}");
            acknowledged.extend((answer.status == 200).then_some(n));
            n += 1;
            (answer.status == expected).then_some(())
        })
        .await;
    }
    server.drained("local").await;
    server.stop().await;
    assert!(home.log().contains("File too large"), "{}", home.log());
    let stored = numbers(&database(&home.data("metrics.db")), "agent");
    assert!(acknowledged.iter().all(|n| stored.contains(n)), "{acknowledged:?}: {stored:?}");
}

/// All files and directories in a directory.
fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            let inner = if path.is_dir() { below(&path) } else { Vec::new() };
            std::iter::once(path).chain(inner)
        })
        .collect()
}

/// As in <https://github.com/proftpd/proftpd/issues/1018>: with a umask of 0, other users could write the file by which programs find the
/// server. Commands send the admin token to the address in it.
#[tokio::test]
async fn no_file_is_open_to_others_whatever_the_umask() {
    let home = Home::new();
    fs::create_dir(home.data("")).unwrap();
    fs::set_permissions(home.data(""), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = tokio::process::Command::new("sh");
    command.arg("-c").arg("umask 000; exec \"$@\"").arg("sh").arg(program());
    let server = Server::run(&home, command).await;
    let token = server.login().await;
    assert_eq!(server.ask("rest", &call(0, &token, 0)).await.status, 200);
    server.drained("local").await;
    // A temporary file may be gone already.
    let is_open = |path: &PathBuf| {
        fs::symlink_metadata(path).is_ok_and(|about| about.permissions().mode() & 0o077 != 0)
    };
    let files = below(&home.data(""));
    assert!(files.contains(&home.data("admin_endpoint")), "{files:?}");
    let open: Vec<_> = files.into_iter().filter(is_open).collect();
    assert!(open.is_empty(), "{open:?}");
    server.stop().await;
}

/// As in <https://github.com/jdiazcano/cfg4k/issues/65>: Kubernetes changes a configuration by pointing one symbolic link, `..data`, to another
/// directory, and removes the old one.
#[tokio::test]
async fn a_reload_follows_the_links_of_a_config_map() {
    let home = Home::new();
    let text = fs::read_to_string(home.config()).unwrap();
    let write = |version: &str, text: &str| {
        let dir = home.path().join(version);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("poa.toml"), text).unwrap();
        symlink(version, home.path().join("..data_tmp")).unwrap();
        fs::rename(home.path().join("..data_tmp"), home.path().join("..data")).unwrap();
    };
    write("..1", &text);
    fs::remove_file(home.config()).unwrap();
    symlink("..data/poa.toml", home.config()).unwrap();
    let server = Server::start(&home).await;
    write("..2", &(text + &sqlite("second", "second.db", "")));
    fs::remove_dir_all(home.path().join("..1")).unwrap();
    server.tell_to_reload();
    until("the new configuration is read", async || home.data("second.db").exists().then_some(()))
        .await;
    server.stop().await;
}

/// As in <https://github.com/influxdata/telegraf/issues/11614>: a configuration that PowerShell 5 has written is UTF-16, and the program said
/// that line 1 was wrong.
#[test]
fn a_configuration_that_is_not_utf8_is_named_with_the_cure() {
    let home = Home::new();
    let text = fs::read_to_string(home.config()).unwrap();
    let utf16 = std::iter::once(0xfeff).chain(text.encode_utf16());
    let utf16: Vec<u8> = utf16.flat_map(u16::to_le_bytes).collect();
    let latin1 = [&b"# \xc3\xa9\n# caf\xe9\n"[..], text.as_bytes()].concat();
    for (bytes, expected) in [
        (utf16, "poa.toml:1:1: the file is encoded in UTF-16; save it as UTF-8"),
        (latin1, "poa.toml:2:6: this character is not encoded in UTF-8; save the file as UTF-8"),
    ] {
        fs::write(home.config(), bytes).unwrap();
        let mut command = std::process::Command::new(program());
        command.args(["check", "--config", "poa.toml"]).current_dir(home.path());
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{said}");
    }
}
