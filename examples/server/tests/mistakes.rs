//! The mistakes that operators make in a configuration of the bundled server, each with the message that `poa-server check` gives: where it
//! stands, what is wrong, and the cure.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::Path;
use std::process::Command;

const BASE: &str = r#"metrics = ["system_metrics"]

[admin]
listen = "127.0.0.1:4000"

[auth]
admins = [{ name = "ops", password = "long enough" }]

[handlers.rest]
kind = "rest"
listen = "127.0.0.1:4002"

[receivers.local]
kind = "sqlite"
path = "metrics.db"
subscribe = ["system_metrics"]
"#;

/// The exit code, and the problems and warnings that `check` finds in this text.
fn check(folder: &Path, text: &str) -> (i32, String) {
    std::fs::write(folder.join("poa.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
    command.arg("check").current_dir(folder).env_remove("RUST_LOG").env_remove("POA_TEST_UNSET");
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The base with something replaced, or with more at its end; and the one line that is to be printed.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "metrics = [",
        "metric = [",
        "poa.toml:1:1: metric: unknown key `metric`; did you mean `metrics`?",
    ),
    (
        "metrics = [",
        "retention = \"30d\"\nmetrics = [",
        "poa.toml:1:1: retention: unknown key `retention`; ",
    ),
    (
        "kind = \"rest\"",
        "kind = \"http\"",
        "poa.toml:10:8: handlers.rest.kind: unknown kind `http`; possible values: auth, exec, gilmour, leviathan, rest, ws",
    ),
    (
        "kind = \"sqlite\"",
        "kind = \"sqllite\"",
        "poa.toml:14:8: receivers.local.kind: unknown kind `sqllite`; did you mean `sqlite`?",
    ),
    (
        "kind = \"rest\"\n",
        "",
        "poa.toml:9:1: handlers.rest: `kind` is missing; add `kind = \"…\"`, one of: auth, exec, gilmour, leviathan, rest, ws",
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "lisen = \"127.0.0.1:4002\"",
        "poa.toml:11:1: handlers.rest.lisen: unknown key `lisen`; did you mean `listen`?",
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "listen = 4002",
        "poa.toml:11:10: handlers.rest.listen: expected a string, found an integer (Address and port, such as `127.0.0.1:4002`",
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "listen = \"127.0.0.1\"",
        "poa.toml:11:10: handlers.rest.listen: `127.0.0.1` is not an address to listen on: it has no port; write \"127.0.0.1:4002\"",
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "listen = \"127.0.0.1:4000\"",
        "poa.toml:11:10: handlers.rest.listen: 127.0.0.1:4000 is already the address of admin.listen; give one of the two another port",
    ),
    (
        "",
        "\n[receivers.dash]\nkind = \"dashboard\"\nlisten = \"127.0.0.1:4002\"\nsubscribe = [\"system_metrics\"]\n",
        "poa.toml:20:10: receivers.dash.listen: 127.0.0.1:4002 is already the address of handlers.rest.listen; give one of the two another port",
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "listen = \"192.0.2.1:4002\"",
        "poa.toml:11:10: handlers.rest.listen: 192.0.2.1 is not an address of this machine; write one of its own, or 0.0.0.0 for all",
    ),
    (
        "kind = \"rest\"\nlisten = \"127.0.0.1:4002\"",
        "kind = \"auth\"\nlisten = \"0.0.0.0:4002\"",
        "poa.toml:11:10: handlers.rest.listen: passwords would cross the network in the clear from 0.0.0.0:4002; set `tls`, such as tls = \"self-signed\", or listen on 127.0.0.1",
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "listen = \"127.0.0.1:4002\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }",
        "poa.toml:12:7: handlers.rest.tls: no certificate from cert.pem: it cannot be read (No such file or directory (os error 2)); check path and rights",
    ),
    (
        "path = \"metrics.db\"",
        "path = \"metrics.db\"\nretention = \"30\"",
        "poa.toml:16:13: receivers.local.retention: `30` is not a valid duration",
    ),
    (
        "path = \"metrics.db\"",
        "path = \"metrics.db\"\nretention = \"0s\"",
        "poa.toml:16:13: receivers.local.retention: must be greater than zero; write how long rows are kept, such as \"30d\", or leave it out",
    ),
    (
        "path = \"metrics.db\"",
        "path = \"metrics.db\"\nbacklog = { max_bytes = \"8 gigs\" }",
        "poa.toml:16:25: receivers.local.backlog.max_bytes: `8 gigs` is not a valid size",
    ),
    (
        "path = \"metrics.db\"",
        "path = \"missing/metrics.db\"",
        "poa.toml:15:8: receivers.local.path: poa-data/missing is not a directory; create it",
    ),
    (
        "path = \"metrics.db\"",
        "path = \"metrics.db\"\npath = \"other.db\"",
        "poa.toml:16:1: `path` is defined twice; rename one of the two or remove it",
    ),
    (
        "[\"system_metrics\"]\n\n[admin]",
        "[\"system_metrics\", \"ethereum_metrics\"]\n\n[admin]",
        "poa.toml:1:30: metrics[1]: no receiver subscribes to `ethereum_metrics`, so its messages would be refused; add it to `subscribe` of a receiver, or remove it here",
    ),
    (
        "subscribe = [\"system_metrics\"]",
        "subscribe = [\"system_metric\"]",
        "poa.toml:16:14: receivers.local.subscribe[0]: `system_metric` is not among the metrics of this server; did you mean `system_metrics`?",
    ),
    (
        "password = \"long enough\"",
        "password = \"short\"",
        "poa.toml:7:38: auth.admins[0].password: must have at least 8 characters",
    ),
    (
        "password = \"long enough\"",
        "password = \"${env:POA_TEST_UNSET}\"",
        "poa.toml:7:38: auth.admins[0].password: the environment variable `POA_TEST_UNSET` is not set; set it before the server starts, or write `${env:POA_TEST_UNSET:-default}`",
    ),
    (
        "password = \"long enough\"",
        "password = \"${file:missing}\"",
        "poa.toml:7:38: auth.admins[0].password: cannot read the file missing: No such file or directory (os error 2)",
    ),
    (
        "password = \"long enough\"",
        "password = \"long enough\", role = \"reader\"",
        "poa.toml:7:60: auth.admins[0].role: `reader` is not possible here; ",
    ),
    (
        "[auth]",
        "[auth]\ntoken_ttl = \"0s\"",
        "poa.toml:7:13: auth.token_ttl: 0s is too short; write at least \"1s\"",
    ),
    (
        "metrics = [",
        "data_dir = \"poa.toml/data\"\nmetrics = [",
        "poa.toml:1:12: data_dir: poa.toml is not a directory; choose another, or remove it",
    ),
    (
        "[admin]",
        "[bus]\nengine = \"kafka\"\n\n[admin]",
        "poa.toml:4:10: bus.engine: `kafka` is not possible here; possible values: log, memory, nats",
    ),
    (
        "[admin]",
        "[bus]\nengine = \"memory\"\nack = \"stored\"\n\n[admin]",
        "poa.toml:5:7: bus.ack: `stored` needs the log on the disk, and `engine = \"memory\"` has none; write `engine = \"log\"`, or `ack = \"memory\"`, or `ack = \"delivered\"`",
    ),
    (
        "",
        "\n[receivers.store]\nkind = \"postgres\"\nurl = \"postgres://u:p@ss@h/d\"\nsubscribe = [\"system_metrics\"]\n",
        "poa.toml:20:7: receivers.store.url: this URL has an `@` too many, or a `/` or `?` before it; in a user or a password write `@` as %40",
    ),
    (
        "",
        "\n[receivers.store]\nkind = \"postgres\"\nurl = \"mysql://h/d\"\nsubscribe = [\"system_metrics\"]\n",
        "poa.toml:20:7: receivers.store.url: this is not a PostgreSQL URL; write one such as \"postgres://user:password@host:5432/database?sslmode=verify-full\"",
    ),
    (
        "",
        "\n[receivers.store]\nkind = \"dynamodb\"\nregion = \"us-east-1\"\nsubscribe = [\"system_metrics\"]\n",
        "poa.toml:18:1: receivers.store: `table` is missing",
    ),
    (
        "",
        "\n[receivers.mine]\nkind = \"exec\"\ncommand = [\"no-such-program\"]\nsubscribe = [\"system_metrics\"]\n",
        "poa.toml:20:11: receivers.mine.command: there is no program `no-such-program`, or it is not executable; install it, or write its path",
    ),
    (
        "",
        "\n[[plugins]]\npath = \"libmine.so\"\n",
        "poa.toml:19:8: plugins[0].path: libmine.so: cannot read the file: No such file or directory (os error 2); is the path right? It starts at the directory of the configuration file",
    ),
    (
        "[handlers.rest]",
        "[handlers.rest",
        "poa.toml:9:15: not valid TOML: unclosed table, expected `]`",
    ),
];

#[test]
fn each_mistake_is_one_line_with_its_place_and_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    let (code, errors) = check(folder.path(), BASE);
    assert_eq!((code, errors.as_str()), (0, ""), "the base is good");
    for (from, to, line) in MISTAKES {
        assert!(BASE.contains(from), "{from}");
        let text = if from.is_empty() { format!("{BASE}{to}") } else { BASE.replacen(from, to, 1) };
        let (code, errors) = check(folder.path(), &text);
        assert_eq!(code, 2, "{to}: {errors}");
        assert!(errors.starts_with(line), "{to}:\nexpected {line}\nfound    {errors}");
        assert_eq!(errors.lines().count(), 1, "{to}: {errors}");
    }
}

#[test]
fn a_secret_that_may_be_guessed_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (code, errors) =
        check(folder.path(), &BASE.replacen("[auth]", "[auth]\nsecret_key = \"short\"", 1));
    assert_eq!(code, 0, "{errors}");
    let warning = "warning: poa.toml:7:14: auth.secret_key: has 5 characters and may be guessed";
    assert!(errors.starts_with(warning), "{errors}");
}
