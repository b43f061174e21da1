//! Tests in namespaces of their own.
//!
//! Each test runs itself again inside `unshare`: a user namespace where the system allows one, so that no privilege is needed and the machine is
//! never touched. Containers are named network namespaces there.

use std::process::Command;

/// Set inside; its value is the name of the test.
const INSIDE: &str = "LEVIATHAN_TEST_INSIDE";

pub(crate) const CURE: &str = "the kernel tests need `unshare` of util-linux, `ip` of iproute2, `ping`, and either root or unprivileged user \
    namespaces (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0)";

/// Runs a test of this module in namespaces of its own.
pub(crate) fn isolated(module: &str, name: &str, test: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.unwrap().block_on(test);
    }
    let mut outer = Command::new("unshare");
    outer.args(["--user", "--map-root-user", "--net", "--mount", "--"]);
    outer.arg(std::env::current_exe().unwrap());
    // The path of a test does not begin with the name of its program.
    let module = module.split_once("::").map_or(module, |(_, module)| module);
    outer.args(["--exact", &format!("{module}::{name}"), "--nocapture"]).env(INSIDE, name);
    let output = outer.output().unwrap_or_else(|error| panic!("{CURE}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n({CURE})");
    assert!(text.contains("1 passed"), "{text}");
}

fn prepare() {
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    run("ip", &["link", "set", "lo", "up"]);
}

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; {CURE}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn ip(args: &str) -> String {
    run("ip", &args.split(' ').collect::<Vec<_>>())
}

pub(crate) fn containers(names: &[&str]) {
    for name in names {
        ip(&format!("netns add {name}"));
    }
}

pub(crate) fn pings(from: &str, to: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", from, "ping", "-c1", "-W2", to]);
    command.output().unwrap_or_else(|error| panic!("ping: {error}; {CURE}")).status.success()
}
