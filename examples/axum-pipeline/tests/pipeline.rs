//! A sample goes from a datagram through the host to InfluxDB.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

#[path = "../../influx/tests/support/mod.rs"]
mod support;

use axum_pipeline::{Settings, service};
use poa_core::config::Duration;
use support::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

#[tokio::test]
async fn a_sample_is_stored_in_influxdb() {
    let dir = tempfile::tempdir().unwrap();
    let (influxdb, address) = Server::start().await;
    let settings = Settings {
        data_dir: dir.path().to_owned(),
        statsd: statsd::Config {
            listen: ([127, 0, 0, 1], 0).into(),
            flush_interval: Duration::from_secs(3600),
            ..statsd::Config::default()
        },
        influx: influx::Config::new(format!("{address}/write?db=poa")),
    };
    let (routes, host) = service(settings).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });

    assert!(ask(&http, "/health").await.starts_with("HTTP/1.1 200"));
    let status = ask(&http, "/status").await;
    let endpoint = status.split("udp://").nth(1).unwrap().split('"').next().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"hits:3|c", endpoint).await.unwrap();

    // The stop sends the aggregate, and delivers it.
    assert!(host.stop().await.is_clean());
    let [point] = &influxdb.points()[..] else { panic!("{:?}", influxdb.points()) };
    assert!(
        point.starts_with("statsd_metrics,agent=127.0.0.1 ")
            && point.contains(",counters.hits=3.0"),
        "{point}"
    );
    assert!(
        ask(&http, "/metrics")
            .await
            .contains("poa_statsd_dropped_lines_total{handler=\"statsd\"} 0")
    );
    assert!(ask(&http, "/health").await.starts_with("HTTP/1.1 503"));
    server.abort();
}

async fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
