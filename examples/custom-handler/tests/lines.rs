//! Lines in, messages out.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::time::Duration;

use custom_handler::{Config, Lines};
use poa_testkit::{Recording, TestHost};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_line_is_a_message_and_gets_an_answer() {
    let recording = Recording::new();
    let host =
        TestHost::start(|host| {
            host.handler::<Lines>("lines", Config { listen: ([127, 0, 0, 1], 0).into() })
                .receiver_from("seen", TestHost::options(), recording.factory())
        })
        .await;
    let endpoint = host.status("lines").endpoints.remove(0);
    let stream = TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
    let mut stream = BufReader::new(stream);

    let expected = [
        ("pump-7 system_metrics {\"cpu_load\": 1.5}\n", "ok\n"),
        ("pump-7 system_metrics\n", "error: a line is `agent type json`\n"),
        ("pump-7 weather {}\n", "error: unknown type\n"),
        (
            "pump-7 system_metrics [1]\n",
            "error: invalid type: sequence, expected a map at line 1 column 0\n",
        ),
        ("pump-7 system_metrics {\"cpu_load\": 2}\r\n", "ok\n"),
    ];
    for (line, expected) in expected {
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        assert_eq!(answer, expected, "{line}");
    }

    let seen = recording.messages(2).await;
    let bytes: Vec<_> = seen.iter().map(|message| message.payload().bytes().clone()).collect();
    assert_eq!(bytes, ["{\"cpu_load\": 1.5}", "{\"cpu_load\": 2}"]);
    assert_eq!(seen[0].agent_id().as_str(), "pump-7");
    // The connection is still open: a stop does not wait for the client to leave.
    let stopped = tokio::time::timeout(Duration::from_secs(4), host.stop()).await.unwrap();
    assert!(stopped.is_clean(), "{stopped:?}");
}

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    let host = TestHost::start(|host| {
        host.handler::<Lines>("lines", Config { listen: ([127, 0, 0, 1], 0).into() })
    })
    .await;
    let endpoint = host.status("lines").endpoints.remove(0);
    let mut stream = TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
    while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
}
