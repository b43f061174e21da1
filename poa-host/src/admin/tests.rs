use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use poa_http::Listeners;

use super::{Admin, Control, View};
use crate::About;
use crate::config::AdminSettings;

#[tokio::test]
async fn is_alive_but_not_ready_while_starting() {
    let settings = AdminSettings { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() };
    let dir = tempfile::tempdir().unwrap();
    let (view, listeners) = (View::new(About::default()), Listeners::default());
    let admin = Admin::start(&settings, dir.path(), &listeners, view, Control::new().0).unwrap();
    let expected = [
        ("/health/live", "HTTP/1.1 200", "true"),
        ("/health/ready", "HTTP/1.1 503", "starting: the plugins are being built"),
        ("/status", "HTTP/1.1 200", "\"phase\":\"starting\""),
        ("/metrics", "HTTP/1.1 200", "poa_build_info"),
    ];
    for (path, status, part) in expected {
        let mut stream =
            TcpStream::connect(admin.endpoint().trim_start_matches("http://")).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(status) && answer.contains(part), "{path}: {answer}");
    }
    admin.stop().await;
}
