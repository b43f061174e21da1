//! Typical mistakes: each is reported at its position, with the cure, and none hides another.

mod support;

use std::path::Path;

use poa_host::{Config, Problems};

const BASE: &str = r#"metrics = ["blocks", "system_metrics"]

[bus]
engine = "memory"

[handlers.front]
kind = "ear"
listen = "127.0.0.1:4002"

[receivers.local]
kind = "box"
path = "metrics.db"
subscribe = ["blocks", "system_metrics"]
"#;

fn problems(text: &str) -> Problems {
    Config::parse(text, Path::new("poa.toml"), &support::registry()).expect_err("no problem found")
}

/// The lines of all problems, for a base in which `from` was replaced by `to`.
fn after(from: &str, to: &str) -> Vec<String> {
    assert!(from.is_empty() || BASE.contains(from), "{from}");
    let text = if from.is_empty() { format!("{BASE}{to}") } else { BASE.replacen(from, to, 1) };
    problems(&text).lines().collect()
}

#[test]
fn the_base_has_no_problem() {
    let config = Config::parse(BASE, Path::new("poa.toml"), &support::registry()).unwrap();
    assert_eq!(config.data_dir(), Path::new("poa-data"));
}

/// The text to replace, its replacement, the place of the problem, and words of the cure.
const MISTAKES: &[(&str, &str, &str, &[&str])] = &[
    (
        "metrics = [\"blocks\", \"system_metrics\"]",
        "metrics = \"blocks\"",
        "1:11: metrics:",
        &["expected an array, found a string"],
    ),
    (
        "metrics = [\"blocks\", \"system_metrics\"]",
        "",
        "1:1:",
        &["`metrics` is missing", "add `metrics = [\"system_metrics\"]`"],
    ),
    (
        "metrics = [\"blocks\", \"system_metrics\"]",
        "metrics = [\"blocks\", \"system_metrics\", \"blocks\"]",
        "1:40: metrics[2]:",
        &["declared twice"],
    ),
    (
        "metrics = [\"blocks\", \"system_metrics\"]",
        "metrics = [\"blocks\", \"system_metrics\", \"pending\"]",
        "1:40: metrics[2]:",
        &["no receiver subscribes to `pending`", "add it to `subscribe`"],
    ),
    (
        "engine = \"memory\"",
        "engine = \"memroy\"",
        "4:10: bus.engine:",
        &["did you mean `memory`?"],
    ),
    (
        "engine = \"memory\"",
        "engine = \"memory\"\nack = \"stored\"",
        "5:7: bus.ack:",
        &["the log on the disk", "ack = \"memory\"", "ack = \"delivered\""],
    ),
    (
        "engine = \"memory\"",
        "ack_for = { block = \"delivered\" }",
        "4:21: bus.ack_for.block:",
        &["`block` is not among the metrics", "did you mean `blocks`?"],
    ),
    (
        "engine = \"memory\"",
        "engine = \"memory\"\nack_for = { blocks = \"stored\" }",
        "5:22: bus.ack_for.blocks:",
        &["the log on the disk"],
    ),
    (
        "kind = \"ear\"",
        "kind = \"aer\"",
        "7:8: handlers.front.kind:",
        &["unknown kind `aer`", "did you mean `ear`?"],
    ),
    (
        "kind = \"ear\"",
        "kind = \"websocket\"",
        "7:8: handlers.front.kind:",
        &["possible values: ear, mute, never"],
    ),
    ("kind = \"ear\"\n", "", "6:1: handlers.front:", &["`kind` is missing", "ear, mute, never"]),
    (
        "kind = \"box\"",
        "kind = \"postgres\"",
        "11:8: receivers.local.kind:",
        &["unknown kind `postgres`", "possible values: box"],
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "lisen = \"127.0.0.1:4002\"",
        "8:1: handlers.front.lisen:",
        &["unknown key `lisen`", "did you mean `listen`?"],
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "",
        "6:1: handlers.front:",
        &["`listen` is missing", "Address and port", "add `listen = \"127.0.0.1:4002\"`"],
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "listen = 4002",
        "8:10: handlers.front.listen:",
        &["expected a string, found an integer"],
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "listen = \"localhost\"",
        "8:10: handlers.front.listen:",
        &["invalid socket address"],
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "listen = \"0.0.0.0:4002\"",
        "8:10: handlers.front.listen:",
        &["loopback only", "set `tls`"],
    ),
    (
        "listen = \"127.0.0.1:4002\"",
        "listen = \"127.0.0.1:4000\"",
        "8:10: handlers.front.listen:",
        &["already the address of admin.listen", "another port"],
    ),
    (
        "kind = \"ear\"",
        "kind = \"ear\"\ntimeout = \"7\"",
        "8:11: handlers.front.timeout:",
        &["`7` is not a valid duration", "\"7s\""],
    ),
    (
        "kind = \"ear\"",
        "kind = \"ear\"\ntimeout = \"0s\"",
        "8:11: handlers.front.timeout:",
        &["must be greater than zero", "leave it out for the default"],
    ),
    (
        "kind = \"ear\"",
        "kind = \"ear\"\nbody_limit = \"lots\"",
        "8:14: handlers.front.body_limit:",
        &["`lots` is not a valid size", "\"64KiB\""],
    ),
    (
        "kind = \"ear\"",
        "kind = \"ear\"\nworkers = 65",
        "8:11: handlers.front.workers:",
        &["65 is too large; at most 64"],
    ),
    (
        "kind = \"ear\"",
        "kind = \"ear\"\ntls = \"selfsigned\"",
        "8:7: handlers.front.tls:",
        &["did you mean `self-signed`?"],
    ),
    (
        "kind = \"ear\"",
        "kind = \"ear\"\ntls = { cert = \"c.pem\" }",
        "8:7: handlers.front.tls:",
        &["`key` is missing"],
    ),
    (
        "kind = \"ear\"",
        "kind = \"ear\"\ntls = true",
        "8:7: handlers.front.tls:",
        &["expected a string or a table, found true or false"],
    ),
    (
        "kind = \"ear\"",
        "kind = \"ear\"\ngate = \"${env:POA_TEST_NOT_SET}\"",
        "8:8: handlers.front.gate:",
        &["`POA_TEST_NOT_SET` is not set"],
    ),
    (
        "kind = \"ear\"",
        "kind = \"ear\"\npassword = \"${file:/nonexistent/key}\"",
        "8:12: handlers.front.password:",
        &["cannot read the file /nonexistent/key"],
    ),
    (
        "subscribe = [\"blocks\", \"system_metrics\"]",
        "subscribe = [\"blocks\", \"sytem_metrics\"]",
        "13:24: receivers.local.subscribe[1]:",
        &["did you mean `system_metrics`?"],
    ),
    (
        "subscribe = [\"blocks\", \"system_metrics\"]",
        "subscribe = [\"blocks\", \"system_metrics\"]\nbatch = { sise = 3 }",
        "14:11: receivers.local.batch.sise:",
        &["did you mean `size`?"],
    ),
    (
        "subscribe = [\"blocks\", \"system_metrics\"]",
        "",
        "10:1: receivers.local:",
        &["`subscribe` is missing"],
    ),
    ("[handlers.front]", "[handler.front]", "6:2: handler:", &["did you mean `handlers`?"]),
    (
        "[bus]",
        "[[plugins]]\npath = \"libmine.so\"\n\n[bus]",
        "4:8: plugins[0].path:",
        &["libmine.so: cannot read the file", "is the path right?"],
    ),
    ("[bus]", "data_dir = [\n\n[bus]", "", &["not valid TOML"]),
    (
        "path = \"metrics.db\"",
        "path = \"metrics.db\"\npath = \"other.db\"",
        "13:1:",
        &["`path` is defined twice"],
    ),
    ("", "\n[handlers.front]\nkind = \"mute\"\n", "15:11:", &["`front` is defined twice"]),
    (
        "",
        "\n[handlers.other]\nkind = \"ear\"\nlisten = \"0.0.0.0:4002\"\ntls = \"self-signed\"\n",
        "17:10: handlers.other.listen:",
        &["already the address of handlers.front.listen"],
    ),
];

#[test]
fn each_mistake_is_reported_at_its_position() {
    for (from, to, place, words) in MISTAKES {
        let lines = after(from, to);
        let named = format!("poa.toml:{place}");
        let found = lines.iter().find(|line| line.starts_with(&named));
        let line = found.unwrap_or_else(|| panic!("{to}: nothing at {named}: {lines:#?}"));
        for word in *words {
            assert!(line.contains(word), "{to}: no {word:?} in {line}");
        }
    }
}

#[test]
fn each_mistake_has_one_message() {
    // A section that occurs twice has keys that do.
    for (from, to, ..) in MISTAKES.iter().filter(|(from, ..)| !from.is_empty()) {
        let lines = after(from, to);
        assert_eq!(lines.len(), 1, "{to}: {lines:#?}");
    }
}

#[test]
fn handlers_and_receivers_are_required() {
    let lines: Vec<_> = problems("metrics = [\"a\"]\nhandlers = {}\n").lines().collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].starts_with("poa.toml:1:1: receivers: there is no receiver"), "{lines:#?}");
    assert!(lines[1].starts_with("poa.toml:2:12: handlers: there is no handler"), "{lines:#?}");
    let lines = after("subscribe = [\"blocks\", \"system_metrics\"]", "subscribe = []");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("13:13: receivers.local.subscribe: subscribes to nothing")),
        "{lines:#?}"
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = r#"metrics = ["blocks"]
inactive_after = "soon"
colour = "red"
memory_limit = -1

[handlers.a]
kind = "ear"
listen = "here"
body_limit = "big"
timeout = "long"
workers = 0
lisen = 1
inactive_after = "later"

[handlers.b]
kind = "nothing"

[auth]
isuer = "x"

[receivers.r]
kind = "box"
pth = "x"
timeout = "ages"
subscribe = ["blocks", "bloks"]
"#;
    let lines: Vec<_> = problems(text).lines().collect();
    let places: Vec<_> =
        lines.iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        [
            "poa.toml:2:18 inactive_after",
            "poa.toml:3:1 colour",
            "poa.toml:4:16 memory_limit",
            "poa.toml:8:10 handlers.a.listen",
            "poa.toml:9:14 handlers.a.body_limit",
            "poa.toml:10:11 handlers.a.timeout",
            "poa.toml:11:11 handlers.a.workers",
            "poa.toml:12:1 handlers.a.lisen",
            "poa.toml:13:18 handlers.a.inactive_after",
            "poa.toml:16:8 handlers.b.kind",
            "poa.toml:19:1 auth.isuer",
            "poa.toml:23:1 receivers.r.pth",
            "poa.toml:24:11 receivers.r.timeout",
            "poa.toml:25:24 receivers.r.subscribe[1]",
        ],
        "{lines:#?}"
    );
}

#[test]
fn a_name_that_is_close_to_another_is_not_confused_with_it() {
    let text = BASE.replace(
        "\"blocks\", \"system_metrics\"]\n\n",
        "\"blocks\", \"block\", \"system_metrics\"]\n\n",
    );
    let lines: Vec<_> = problems(&text).lines().collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("poa.toml:1:22: metrics[1]: no receiver subscribes to `block`"));
}

#[test]
fn the_replacement_of_a_mistake_is_not_reported() {
    let cases = [
        (
            "[bus]",
            "[auth]\nadmins = [{ password = \"long enough\" }]\n\n[bus]",
            "`name` is missing",
        ),
        ("kind = \"ear\"", "kind = \"${env:POA_TEST_NOT_SET}\"", "is not set"),
    ];
    for (from, to, words) in cases {
        let lines = after(from, to);
        assert!(lines.len() == 1 && lines[0].contains(words), "{lines:#?}");
    }
}

#[test]
fn an_unreadable_file_is_a_problem() {
    let error = Config::load(Path::new("/nonexistent/poa.toml"), &support::registry()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("/nonexistent/poa.toml:1:1: cannot read the file:"), "{text}");
}

#[test]
fn two_kinds_of_one_name_are_refused() {
    let registry = support::registry().handler::<support::Mute>("ear");
    let error = Config::parse(BASE, Path::new("poa.toml"), &registry).unwrap_err();
    assert!(error.to_string().contains("handler kind `ear` is registered twice"), "{error}");
}

#[test]
fn no_secret_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "topsecret\n").unwrap();
    let file = folder.path().join("poa.toml");
    let good = BASE.replace("kind = \"ear\"", "kind = \"ear\"\npassword = \"${file:key}\"");
    let config = Config::parse(&good, &file, &support::registry()).unwrap();
    assert!(!format!("{config:?}").contains("topsecret"));

    for wrong in ["timeout", "body_limit", "listen"] {
        let text =
            BASE.replace("kind = \"ear\"", &format!("kind = \"ear\"\n{wrong} = \"${{file:key}}\""));
        let error = Config::parse(&text, &file, &support::registry()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(wrong) && !shown.contains("topsecret"), "{shown}");
    }
}
