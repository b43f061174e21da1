//! The handler in Python, which accepts input from any client.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::Path;
use std::time::Duration;

use poa_exec::{Config, ExecHandler};
use poa_testkit::{Fault, Faults, Recording, TestHost};
use poa_tests::soon;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A host with the handler, and a receiver that remembers.
async fn host(recording: &Recording, faults: &Faults) -> TestHost {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/exec/lines.py");
    let script = script.canonicalize().unwrap().display().to_string();
    let config = Config::new(["python3", &script]).option("port", 0);
    TestHost::start(|host| {
        host.handler::<ExecHandler>("lines", config).receiver_from(
            "seen",
            TestHost::options(),
            faults.around(recording.factory()),
        )
    })
    .await
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(host: &TestHost) -> Self {
        let endpoint = host.status("lines").endpoints.remove(0);
        let stream = TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
        Self(BufReader::new(stream))
    }

    async fn say(&mut self, data: &str) {
        let line = format!("pump-7 system_metrics {data}\n");
        // A connection that is closed already is seen by what comes back.
        let _ = self.0.write_all(line.as_bytes()).await;
    }

    /// The next answer; empty when the connection has ended.
    async fn hear(&mut self) -> String {
        let mut answer = String::new();
        let _ = soon("an answer", self.0.read_line(&mut answer)).await;
        answer
    }
}

#[tokio::test]
async fn what_one_client_sends_ends_no_other_s_connection() {
    let recording = Recording::new();
    let host = host(&recording, &Faults::first(0, Fault::Transient)).await;
    let mut good = Client::connect(&host).await;
    good.say("{\"n\": 1}").await;
    assert_eq!(good.hear().await, "ok\n");
    let mut bad = Client::connect(&host).await;
    let deep = "[".repeat(30_000);
    for data in ["{\"n\": NaN}", "{\"n\": 1e999}", "{\"n\": -Infinity}", "", "nonsense", &deep] {
        bad.say(data).await;
        assert_eq!(bad.hear().await, "error: a line is `agent type json`\n", "{data}");
    }
    bad.say(&format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200))).await;
    let refused = bad.hear().await;
    assert!(refused.contains("nested deeper than 128 levels"), "{refused}");
    bad.say(&"x".repeat(70_000)).await;
    assert_eq!(bad.hear().await, "", "a line without bound ends its own connection");
    good.say("{\"n\": 2}").await;
    assert_eq!(good.hear().await, "ok\n");
    assert_eq!(recording.messages(2).await.len(), 2);
    assert_eq!(host.status("lines").restarts, 0);
    assert!(host.stop().await.is_clean());
}

#[tokio::test]
async fn a_stop_answers_what_was_taken_and_takes_no_more() {
    let recording = Recording::new();
    let faults = Faults::first(1, Fault::Slow(Duration::from_millis(300)));
    let host = host(&recording, &faults).await;
    let (mut taken, mut late) = (Client::connect(&host).await, Client::connect(&host).await);
    // Both are served: neither is on its way to be accepted still.
    late.say("x").await;
    assert_eq!(late.hear().await, "error: a line is `agent type json`\n");
    taken.say("{\"n\": 1}").await;
    while faults.batches_tried() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let told = async {
        let answer = taken.hear().await;
        // The first answer comes when the receiver is done; the host has been stopping for long then.
        late.say("{\"n\": 2}").await;
        (answer, late.hear().await)
    };
    let (report, (first, second)) =
        soon("the end", async { tokio::join!(host.stop(), told) }).await;
    assert_eq!((&*first, &*second), ("ok\n", ""));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(recording.record().messages().count(), 1);
}
