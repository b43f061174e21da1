//! Commands that act on a configuration or on data, without side effects.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const CONFIG: &str = "metrics = [\"system_metrics\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[handlers.rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\n\
     [receivers.local]\nkind = \"sqlite\"\npath = \"metrics.db\"\nsubscribe = [\"system_metrics\"]\n";

fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("poa.toml"), config).unwrap();
    folder
}

fn call(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
    command.current_dir(folder).env_remove("RUST_LOG").env_remove("POA_TEST_UNSET").args(args);
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn no_command_makes_a_data_directory() {
    let folder = folder(CONFIG);
    for args in [&["user", "list"][..], &["user", "add", "a"], &["dlq", "list"]] {
        let (code, out, errors) = call(folder.path(), args);
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
        assert!(
            errors.contains("there is no data directory poa-data (poa.toml)")
                && errors.contains("--data-dir"),
            "{errors}"
        );
    }
    assert_eq!(entries(folder.path()), ["poa.toml"]);
}

#[test]
fn no_command_on_data_needs_a_secret_that_does_not_matter() {
    let secret = "[auth]\nsecret_key = \"${env:POA_TEST_UNSET}\"\n[receivers.store]\nkind = \"postgres\"\n\
         url = \"${file:/nonexistent}\"\nsubscribe = [\"system_metrics\"]\n";
    let folder = folder(&format!("{CONFIG}{secret}"));
    std::fs::create_dir(folder.path().join("poa-data")).unwrap();
    let (code, out, errors) = call(folder.path(), &["user", "add", "alice", "--agent-id", "a"]);
    assert!(code == 0 && out.starts_with("user alice\npassword "), "{out}{errors}");
    assert_eq!(errors, "data directory poa-data (poa.toml)\n");
    let (code, out, _) = call(folder.path(), &["dlq", "list"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert_eq!(call(folder.path(), &["check"]).0, 2);
}

#[test]
fn a_password_can_be_changed() {
    let folder = folder(CONFIG);
    std::fs::create_dir(folder.path().join("poa-data")).unwrap();
    assert_eq!(call(folder.path(), &["user", "add", "alice", "--agent-id", "a"]).0, 0);
    let (code, out, errors) = call(folder.path(), &["user", "passwd", "alice"]);
    assert_eq!(code, 0, "{errors}");
    let password = out.strip_prefix("user alice\npassword ").unwrap().trim();
    assert_eq!(password.len(), 32);
    std::fs::write(folder.path().join("pw"), "a good password\n").unwrap();
    let (code, out, _) = call(folder.path(), &["user", "passwd", "alice", "--password-file", "pw"]);
    assert_eq!((code, out.as_str()), (0, "user alice\n"));
    let (code, _, errors) = call(folder.path(), &["user", "passwd", "bob"]);
    assert!(code == 1 && errors.ends_with("poa-server: bob: no such user\n"), "{errors}");
}

#[test]
fn tokens_are_listed_and_revoked_by_name_or_id() {
    let folder = folder(CONFIG);
    std::fs::create_dir(folder.path().join("poa-data")).unwrap();
    assert_eq!(call(folder.path(), &["user", "add", "alice", "--agent-id", "a"]).0, 0);
    let (code, out, _) = call(folder.path(), &["user", "tokens"]);
    assert_eq!((code, out.as_str()), (0, ""));
    let (code, out, _) = call(folder.path(), &["user", "revoke", "alice"]);
    assert_eq!((code, out.as_str()), (0, "alice has no valid token\n"));
    let (code, _, errors) = call(folder.path(), &["user", "revoke", "--token", "-x"]);
    assert!(code == 1 && errors.contains("no valid token has the id -x"), "{errors}");
    for args in [&["user", "tokens", "bob"][..], &["user", "revoke", "bob"]] {
        let (code, _, errors) = call(folder.path(), args);
        assert!(code == 1 && errors.ends_with("poa-server: bob: no such user\n"), "{errors}");
    }
    for args in [&["user", "revoke"][..], &["user", "revoke", "alice", "--token", "x"]] {
        assert_eq!(call(folder.path(), args).0, 2);
    }
}

#[test]
fn the_data_directory_can_be_named() {
    let folder = folder(CONFIG);
    std::fs::create_dir(folder.path().join("other")).unwrap();
    let (code, _, errors) = call(folder.path(), &["user", "--data-dir", "other", "add", "bob"]);
    assert!(code == 0 && errors.contains("data directory other (poa.toml)"), "{errors}");
    let (_, list, _) = call(folder.path(), &["user", "--data-dir", "other", "list"]);
    assert!(list.starts_with("bob "), "{list}");
    assert_eq!(entries(folder.path()), ["other", "poa.toml"]);
}

#[test]
fn a_directory_of_files_is_one_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("conf");
    std::fs::create_dir(&dir).unwrap();
    let (top, receivers) = CONFIG.split_at(CONFIG.find("[receivers").unwrap());
    std::fs::write(dir.join("10-top.toml"), top).unwrap();
    std::fs::write(dir.join("20-receivers.toml"), receivers).unwrap();
    std::fs::write(dir.join("notes.txt"), "not TOML").unwrap();
    let (code, out, errors) = call(folder.path(), &["check", "--config", "conf"]);
    assert_eq!((code, out.as_str()), (0, "conf: ok\n"), "{errors}");

    std::fs::write(dir.join("30-more.toml"), "[handlers.rest]\nlisten = \"127.0.0.1:1\"\n")
        .unwrap();
    let (code, _, errors) = call(folder.path(), &["check", "--config", "conf"]);
    assert_eq!(
        (code, errors.as_str()),
        (
            2,
            "conf/30-more.toml:2:1: handlers.rest.listen: is also set at conf/10-top.toml:6:1; remove one of the two\n"
        )
    );
    std::fs::write(dir.join("30-more.toml"), "[handlers.rest]\nlisen = 1\n").unwrap();
    let (_, _, errors) = call(folder.path(), &["check", "--config", "conf"]);
    assert!(
        errors.starts_with("conf/30-more.toml:2:1: handlers.rest.lisen: unknown key"),
        "{errors}"
    );
}

#[test]
fn a_variable_may_have_a_default() {
    let text = CONFIG.replace("\"127.0.0.1:0\"", "\"${env:POA_TEST_UNSET:-127.0.0.1:0}\"");
    let folder = folder(&text);
    let (code, _, errors) = call(folder.path(), &["check"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    std::fs::write(folder.path().join("poa.toml"), text.replace(":-127.0.0.1:0", "")).unwrap();
    let (code, _, errors) = call(folder.path(), &["check"]);
    assert!(code == 2 && errors.contains("`POA_TEST_UNSET` is not set"), "{errors}");
}

#[test]
fn check_looks_at_this_machine_unless_told_not_to() {
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }\n[receivers.local]";
    let folder = folder(&CONFIG.replacen("[receivers.local]", tls, 1));
    let (code, _, errors) = call(folder.path(), &["check"]);
    assert_eq!((code, errors.lines().count()), (2, 1), "{errors}");
    assert!(errors.starts_with("poa.toml:7:7: handlers.rest.tls: "), "{errors}");
    assert!(errors.contains("cert.pem"), "{errors}");
    let (code, out, errors) = call(folder.path(), &["check", "--no-environment"]);
    assert_eq!((code, out.as_str(), errors.as_str()), (0, "poa.toml: ok\n", ""));
}

#[test]
fn a_library_that_ends_the_process_ends_a_check_with_a_message() {
    let folder = folder(&format!("{CONFIG}[[plugins]]\npath = \"mine.so\"\n"));
    // It exports the symbol that a plugin must have, and kills the process that loads it.
    let source = "#include <signal.h>\nconst int poa_plugin_descriptor_v1[64] = {0};\n\
         __attribute__((constructor)) static void start(void) { raise(SIGKILL); }\n";
    std::fs::write(folder.path().join("mine.c"), source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o", "mine.so", "mine.c"]).current_dir(folder.path());
    let built = cc.status();
    assert!(built.is_ok_and(|status| status.success()), "this test needs cc; install a C compiler");
    let (code, out, errors) = call(folder.path(), &["check"]);
    assert_eq!((code, out.as_str()), (1, ""), "{errors}");
    assert!(errors.contains("ended the process that loaded it") && errors.contains("--no-plugins"));
    let (code, out, _) = call(folder.path(), &["check", "--no-plugins"]);
    assert_eq!((code, out.as_str()), (0, "poa.toml: ok\n"));
}

#[test]
fn sections_of_libraries_that_are_not_loaded_are_named() {
    let mine = "[handlers.mine]\nkind = \"mine\"\nanything = 1\n";
    let folder = folder(&format!("{CONFIG}{mine}[[plugins]]\npath = \"mine.so\"\n"));
    let (code, out, errors) = call(folder.path(), &["check", "--no-plugins"]);
    assert_eq!((code, out.as_str()), (0, "handlers.mine: not checked\npoa.toml: ok\n"), "{errors}");
    assert_eq!(call(folder.path(), &["check"]).0, 2);
}

#[test]
fn packagers_get_completions_and_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["completions", "bash"][..], "_poa__server()"),
        (&["completions", "fish"], "complete -c poa-server"),
        (&["man"], ".TH poa-server 1"),
    ] {
        let (code, out, _) = call(folder.path(), args);
        assert!(code == 0 && out.contains(words), "{args:?}: {out}");
    }
    let (_, page, _) = call(folder.path(), &["man"]);
    for words in ["--no-environment", "--data-dir", "POA-SERVER DLQ REPLAY"] {
        assert!(page.replace("\\-", "-").contains(words), "{words}: {page}");
    }
    let (_, version, _) = call(folder.path(), &["--version"]);
    let version = version.trim();
    assert!(version.starts_with("poa-server 0.") && version.contains("(commit "), "{version}");
}
