//! Clients that do not keep up.

use poa_testkit::Samples;
use serde_json::json;
use tokio::sync::watch;

use crate::support::{Client, Subject, soon};

const AGENTS: usize = 4;
const METRICS: usize = 20_000;

/// The quick client is waited for now and then, before its queue can be full: it need not be quicker than a busy machine.
const AHEAD: usize = 200;

/// Reads up to the metric with this number of each agent, and tells how far it has come; how many metrics came and how many
/// were missed.
async fn read(client: &mut Client, last: usize, read: watch::Sender<usize>) -> (usize, u64) {
    let (mut got, mut missed, mut done) = (0, 0, 0);
    let mut newest = [None; AGENTS];
    while done < AGENTS {
        let frame = client.json().await;
        let body = &frame["data"]["body"];
        if frame["data"]["type"] == "missed" {
            missed += body["count"].as_u64().unwrap();
            continue;
        }
        let agent: usize = frame["agent_id"].as_str().unwrap().parse().unwrap();
        let n = body["n"].as_u64().unwrap() as usize;
        assert!(newest[agent] < Some(n), "in order: {n} after {:?}", newest[agent]);
        newest[agent] = Some(n);
        got += 1;
        read.send_replace(n);
        done += usize::from(n == last);
    }
    (got, missed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_delays_nobody_and_is_told_what_it_missed() {
    let config = "listen = \"127.0.0.1:0\"\nws_secret = \"wssecret\"\nqueue = \"1MiB\"";
    let mut subject = Subject::with(toml::from_str(config).unwrap()).await;
    let mut samples = Samples::from_now();
    let mut slow = subject.client().await;
    let mut quick = subject.client().await;
    let (progress, mut at) = watch::channel(0);
    let reading = tokio::spawn(async move { read(&mut quick, METRICS - 1, progress).await });
    let padding = "x".repeat(300);
    for n in 0..METRICS {
        for agent in 0..AGENTS {
            let data = json!({"type": "pending", "body": {"n": n, "padding": padding}});
            subject.show(samples.message(&agent.to_string(), "ethereum_metrics", &data)).await;
        }
        soon("the quick client", at.wait_for(|at| n < at + AHEAD)).await.unwrap();
    }
    assert_eq!(reading.await.unwrap(), (METRICS * AGENTS, 0), "the quick client gets everything");
    let (got, missed) = read(&mut slow, METRICS - 1, watch::channel(0).0).await;
    assert!(missed > 0, "30 MB do not fit");
    assert_eq!(got as u64 + missed, (METRICS * AGENTS) as u64, "nothing is left out silently");
}
