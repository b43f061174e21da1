use axum::Router;
use axum::routing::post as on_post;
use poa_core::BuildContext;
use poa_core::config::Size;
use poa_http::{Limits, Server, TowerToHyperService};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::support::{Client, any_port, limits, post, soon, start};

#[tokio::test]
async fn a_connection_carries_many_requests() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    for body in ["one", "two", ""] {
        let answer = client.post("/echo", body).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
        assert!(answer.head.contains("\r\ndate: "), "{}", answer.head);
    }
    assert!(server.counts(r#"poa_http_connections_accepted_total{handler="test"} 1"#));
    assert!(server.counts(r#"poa_http_connections{handler="test"} 1"#));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    let bodies: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    client.send(bodies.iter().map(|body| post("/echo", body)).collect::<String>()).await;
    for body in bodies {
        assert_eq!(client.answer().await.body, body);
    }
}

#[tokio::test]
async fn chunks_are_joined() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..3 {
        client.send("4\r\npart\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "partpartpart");
    assert_eq!(client.post("/echo", "again").await.body, "again");
}

#[tokio::test]
async fn a_client_that_expects_100_receives_it() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    let head =
        "POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.answer().await.status, 100);
    client.send("body").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "body"));
}

#[tokio::test]
async fn a_request_is_refused_without_waiting_for_its_body() {
    let server = start(Limits::default());
    for (path, length, status) in [("/refuse", 100_000, 401), ("/echo", 8_000_001, 413)] {
        let mut client = server.client().await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status);
        assert!(answer.has("connection: close"), "{}", answer.head);
        client.stop_sending().await;
        assert_eq!(client.end().await, "");
    }
}

#[tokio::test]
async fn an_unread_small_body_does_not_cost_the_connection() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    for _ in 0..3 {
        let answer = client.post("/refuse", "small").await;
        assert_eq!(answer.status, 401);
        assert!(!answer.has("connection: close"), "{}", answer.head);
    }
}

#[tokio::test]
async fn http_1_0_works() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client.send("POST /echo HTTP/1.0\r\ncontent-length: 3\r\n\r\nold").await;
    let answer = client.answer().await;
    assert!(answer.head.starts_with("HTTP/1.0 200"), "{}", answer.head);
    assert_eq!(answer.body, "old");
    assert_eq!(client.end().await, "");
}

#[tokio::test]
async fn a_client_that_has_sent_its_last_request_still_gets_the_response() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client.send(post("/gate", "")).await;
    client.stop_sending().await;
    soon(server.shared.arrived.notified()).await;
    server.shared.gate.notify_one();
    assert_eq!(client.answer().await.body, "passed");
    assert_eq!(client.end().await, "");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_as_it_arrives() {
    let server = start(limits(|limits| limits.body = Size::bytes(10)));
    let mut client = server.client().await;
    assert_eq!(client.post("/echo", "0123456789").await.status, 200);
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send("6\r\n012345\r\n").await;
    client.send("5\r\n67890\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.body, "the body is larger than the limit of 10 bytes");
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let server = start(limits(|limits| limits.headers = Size::bytes(1024)));
    let mut client = server.client().await;
    client.send(format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(5000))).await;
    assert_eq!(client.answer().await.status, 431);
}

#[tokio::test]
async fn input_that_is_not_http_is_refused() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client.send("what is this?\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
}

#[tokio::test]
async fn a_panic_is_answered_and_affects_no_other_request() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    let answer = client.post("/panic", "").await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("internal"), "{}", answer.body);
    assert_eq!(client.post("/echo", "still there").await.body, "still there");
}

#[tokio::test]
async fn the_service_knows_its_peer() {
    let server = start(Limits::default());
    let stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let own = stream.local_addr().unwrap().to_string();
    assert_eq!(Client::new(stream).post("/peer", "").await.body, own);
}

#[tokio::test]
async fn an_axum_router_can_be_served_within_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    let cx = BuildContext::detached("axum", dir.path());
    let limits = limits(|limits| limits.body = Size::bytes(10));
    let server = Server::bind(any_port(), None, limits, &cx).unwrap();
    let addr = server.local_addr();
    let router: Router = Router::new().route("/echo", on_post(async |body: String| body));
    tokio::spawn(server.serve(TowerToHyperService::new(router), CancellationToken::new()));
    let mut client = Client::new(tokio::net::TcpStream::connect(addr).await.unwrap());
    assert_eq!(client.post("/echo", "0123456789").await.body, "0123456789");
    assert_ne!(client.post("/echo", "01234567890").await.status, 200);
}

#[tokio::test]
async fn an_upgraded_connection_belongs_to_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let cx = BuildContext::detached("upgrade", dir.path());
    let limits = limits(|limits| limits.idle_timeout = poa_core::config::Duration::from_millis(50));
    let server = Server::bind(any_port(), None, limits, &cx).unwrap();
    let addr = server.local_addr();
    let service =
        hyper::service::service_fn(async |mut request: hyper::Request<poa_http::Body>| {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                let mut question = [0; 4];
                io.read_exact(&mut question).await.unwrap();
                io.write_all(b"pong").await.unwrap();
            });
            let mut answer = hyper::Response::new(http_body_util::Empty::<bytes::Bytes>::new());
            *answer.status_mut() = hyper::StatusCode::SWITCHING_PROTOCOLS;
            answer.headers_mut().insert("upgrade", "echo".parse().unwrap());
            answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
            Ok::<_, std::convert::Infallible>(answer)
        });
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(service, shutdown.clone()));
    let mut client = Client::new(tokio::net::TcpStream::connect(addr).await.unwrap());
    client.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 101);
    // The server's shutdown and timeouts no longer apply to this connection.
    shutdown.cancel();
    soon(task).await.unwrap();
    assert!(cx.telemetry().encode().contains(r#"poa_http_connections{handler="upgrade"} 1"#));
    client.send("ping").await;
    assert_eq!(client.end().await, "pong");
}
