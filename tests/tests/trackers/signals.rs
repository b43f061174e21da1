//! Signals at inconvenient times.

use std::fs;
use std::path::Path;
use std::time::Duration;

use poa_tests::{Home, METRICS, Server, program, sqlite, until};
use rustix::process::{Pid, Signal, kill_process};

/// A receiver whose child tells the number of the server's process, and then is not ready before the file `go` exists.
fn slow() -> String {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/exec/store.py");
    let script = format!(
        "echo $PPID > server.new; mv server.new server.pid; until [ -e go ]; do kill -0 $PPID || exit; sleep 0.01; done; exec python3 {}",
        store.canonicalize().unwrap().display()
    );
    format!(
        "[receivers.slow]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", {script:?}]\nstart_timeout = \"100s\"\n\
         options = {{ path = \"messages.db\" }}\nsubscribe = {METRICS:?}\n"
    )
}

/// Lets the child get ready.
fn go(home: &Home) {
    fs::write(home.path().join("go"), "").unwrap();
}

/// The server, once its slow receiver is being built.
async fn building(home: &Home) -> Pid {
    let file = home.path().join("server.pid");
    let read = async || fs::read_to_string(&file).ok()?.trim().parse().ok();
    Pid::from_raw(until("the slow receiver is being built", read).await).unwrap()
}

/// Adds a section to the configuration.
fn add(home: &Home, section: &str) {
    let text = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), text + section).unwrap();
}

/// As in <https://github.com/fluent/fluent-bit/issues/8457>: a signal to reload while the server starts was dropped, and the configuration
/// that had been written for it was never read.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_requested_during_the_start_takes_place_after_it() {
    let home = Home::with(&slow());
    let ((), server) = tokio::join!(
        async {
            let server = building(&home).await;
            add(&home, &sqlite("second", "second.db", ""));
            kill_process(server, Signal::HUP).unwrap();
            go(&home);
        },
        Server::start(&home)
    );
    until("the second receiver is built", async || home.data("second.db").exists().then_some(()))
        .await;
    server.stop().await;
}

/// As in <https://github.com/fluent/fluent-bit/issues/8457> as well: an operator of a cluster signals each of many changes. The signal to stop
/// that came behind them was dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_behind_many_reloads_is_not_lost() {
    let home = Home::new();
    let server = Server::start(&home).await;
    add(&home, &slow());
    server.tell_to_reload();
    building(&home).await;
    for _ in 0..8 {
        server.tell_to_reload();
        // Nothing tells when a process has seen a signal; two at once are one.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.tell_to_stop();
    go(&home);
    server.stopped().await;
}

/// As in <https://github.com/vectordotdev/vector/issues/10081>: while a configuration was being built, signals to stop were not obeyed.
/// Both for a reload that changes the running host, and for one that replaces it; either waits for the child for 100 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_stop_ends_a_reload() {
    for replaces_the_host in [false, true] {
        let home = Home::new();
        if !replaces_the_host {
            home.change_host(80);
        }
        let server = Server::start(&home).await;
        add(&home, &slow());
        home.change_host(80);
        server.tell_to_reload();
        building(&home).await;
        server.tell_to_stop();
        server.stopped().await;
    }
}

/// As in <https://github.com/prometheus/prometheus/issues/14917> and <https://github.com/hashicorp/nomad/issues/3885>: a signal to reload
/// shortly after the start ended the program. As process 1 the server consists of two, and the first passed the signal on before the
/// second handled it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_signalled_right_after_the_start_of_a_container_does_not_end_it() {
    for _ in 0..3 {
        let home = Home::new();
        let script =
            "until grep -q '^SigCgt:.*[13579bdf]$' /proc/$$/status; do :; done; kill -HUP $$";
        let mut command = tokio::process::Command::new("sh");
        command.arg("-c").arg(format!("({script}) & exec \"$@\"")).arg("sh");
        command.arg(program()).arg("--init");
        let server = Server::run(&home, command).await;
        until("the signal is passed on", async || {
            home.log().contains("reloading the configuration").then_some(())
        })
        .await;
        server.stop().await;
    }
}
