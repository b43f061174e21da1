//! `poa-server leviathan`, the program itself, in namespaces of its own: no privilege is needed, and the machine is not touched.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::process::{Command, Output};

use poa_tests::program;

/// Runs a script inside a user, network and mount namespace with three containers.
fn inside(script: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let document =
        r#"{"cenList":[{"cenID":"lan","containerIDs":["c1","c2","c3"]}],"cins":{"net":["lan"]}}"#;
    std::fs::write(directory.path().join("lab.json"), document).unwrap();
    let prepare = "set -e; mount -t tmpfs tmpfs /run; for c in c1 c2 c3; do ip netns add $c; done";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--", "sh", "-c"]);
    command.arg(format!("{prepare}; {script}")).current_dir(directory.path());
    command.env("POA", program());
    command.output().expect("`unshare` of util-linux")
}

fn text(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn a_document_goes_up_and_down() {
    let output = inside(
        "$POA leviathan up lab.json; ip netns exec c1 ping -c1 -W2 10.10.0.10 >/dev/null; $POA leviathan status lab.json; \
         $POA leviathan up lab.json; $POA leviathan down lab.json; ip -o link | wc -l",
    );
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for line in [
        "CEN lan up",
        "c3 10.10.0.10",
        "CIN net up",
        "CEN lan ready",
        "CIN net ready",
        "CEN lan down",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(output.stdout.ends_with(b"\n1\n"), "only lo is left: {text}");
}

#[test]
fn a_plan_changes_nothing_and_its_commands_work() {
    let output = inside(
        "$POA leviathan plan lab.json; ip -o link | wc -l; $POA leviathan plan --commands lab.json > plan.sh; sh -e plan.sh; \
         ip netns exec c1 ping -c1 -W2 10.10.0.10 >/dev/null; $POA leviathan plan lab.json; $POA leviathan plan --down lab.json",
    );
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for line in [
        "make bridge lan",
        "make wire c1.0i - c1.0o of CEN lan",
        "add address 10.10.0.10 to c3 on lan",
        "1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains("nothing to do"), "the commands made what is planned: {text}");
}

#[test]
fn a_container_that_is_not_there_is_named() {
    let output = inside("ip netns del c2; $POA leviathan up lab.json");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("container not found: c2") && text.contains("ip netns add c2"), "{text}");
}
