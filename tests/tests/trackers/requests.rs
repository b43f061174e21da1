//! Requests that clients send by default and servers stumble over.

use poa_tests::{Home, Request, Server, database, numbers, soon};

/// As in <https://github.com/jetty/jetty.project/issues/9998> and <https://github.com/helidon-io/helidon/issues/9354>: Java's `HttpClient` and
/// `curl --http2` offer HTTP/2 with every first request without TLS. A server that takes the offer looks for a preface where the body is.
#[tokio::test]
async fn an_offer_of_http2_is_not_taken_and_the_body_is_read() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let mut client = server.client().await;
    for n in 0..2 {
        let body = format!(
            r#"{{"id":"agent","type":"system_metrics","data":{{"type":"count","body":{{"n":{n}}}}}}}"#
        );
        let request = Request::post("/data", &token)
            .header("connection", "Upgrade, HTTP2-Settings")
            .header("upgrade", "h2c")
            .header("http2-settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
            .json(&body);
        let answer = soon("an answer", client.exchange(&request.bytes())).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!((answer.header("upgrade"), answer.header("connection")), (None, None));
    }
    server.drained("local").await;
    server.stop().await;
    assert_eq!(numbers(&database(&home.data("metrics.db")), "agent"), [0, 1]);
}
