use poa_core::config::Duration;

use crate::support::{any_port, metric, request, start, start_with};

fn json(path: &str, body: &str) -> Vec<u8> {
    request("valid", path, "application/json", body.as_bytes())
}

#[tokio::test]
async fn pipelined_calls_are_answered_and_delivered_in_order() {
    let mut server = start().await;
    let mut client = server.client().await;
    let calls: Vec<u8> =
        (0..50).flat_map(|n| json("/data", &metric("a", &format!(r#"{{"n":{n}}}"#)))).collect();
    client.send(calls).await;
    for n in 0..50 {
        assert_eq!(client.answer().await.status, 200);
        assert_eq!(server.message().await.payload().bytes(), format!(r#"{{"n":{n}}}"#).as_str());
    }
}

#[tokio::test]
async fn refusals_keep_the_connection() {
    let server = start().await;
    let mut client = server.client().await;
    for _ in 0..3 {
        assert_eq!(client.post("/data", "{").await.status, 400);
        assert_eq!(client.post("/data", "{}").await.status, 422);
        assert_eq!(client.post_as("wrong", "/data", &metric("a", "{}")).await.status, 401);
        assert_eq!(client.post("/nope", "{}").await.status, 404);
        assert_eq!(client.post("/data", &metric("a", "{}")).await.status, 200);
    }
    assert!(server.counts(r#"poa_http_connections_accepted_total{handler="rest"} 1"#));
}

#[tokio::test]
async fn a_chunked_body_byte_by_byte() {
    let mut server = start().await;
    let mut client = server.client().await;
    client
        .send(
            "POST /data HTTP/1.1\r\nhost: x\r\nauthorization: Bearer valid\r\n\
             content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await;
    for byte in metric("a", r#"{"n":1}"#).bytes() {
        client.send(format!("1\r\n{}\r\n", char::from(byte))).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(server.message().await.payload().bytes(), r#"{"n":1}"#);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let server = start().await;
    let mut client = server.client().await;
    let call = String::from_utf8(json("/ping", r#"{"id":"a"}"#)).unwrap();
    client.send(call.replace("HTTP/1.1", "HTTP/1.0")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"result":"success"}"#));
    assert_eq!(client.end().await, "");
}

#[tokio::test]
async fn a_client_that_expects_100_can_be_refused_without_it() {
    let server = start().await;
    for (token, status) in [("valid", 100), ("wrong", 401)] {
        let mut client = server.client().await;
        client
            .send(format!(
                "POST /ping HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n"
            ))
            .await;
        assert_eq!(client.answer().await.status, status);
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_refused_and_affects_no_other_client() {
    let mut config = any_port();
    config.limits.body_timeout = Duration::from_millis(200);
    let server = start_with(config, |host| host, 64 << 20).await;
    let mut slow = server.client().await;
    let call = json("/data", &metric("a", "{}"));
    slow.send(&call[..call.len() - 1]).await;
    assert_eq!(server.client().await.post("/ping", r#"{"id":"a"}"#).await.status, 200);
    let answer = slow.answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
    assert_eq!(slow.end().await, "");
}

#[tokio::test]
async fn two_thousand_idle_agents_do_not_affect_others() {
    let server = start().await;
    let mut idle = Vec::new();
    for _ in 0..2000 {
        let mut client = server.client().await;
        client.send("POST /data HTTP/1.1\r\nhost").await;
        idle.push(client);
    }
    let mut client = server.client().await;
    for _ in 0..100 {
        assert_eq!(client.post("/data", &metric("a", "{}")).await.status, 200);
    }
    assert!(server.counts(r#"poa_http_connections{handler="rest"} 2001"#));
}

#[tokio::test]
async fn a_message_does_not_keep_the_padding_of_its_body() {
    let mut server = start().await;
    let mut client = server.client().await;
    let body = format!(
        r#"{{"id":"a","type":"system_metrics","data":{{}},"pad":"{}"}}"#,
        "x".repeat(1 << 20)
    );
    assert_eq!(client.post("/data", &body).await.status, 200);
    let message = server.message().await;
    let payload = message.payload().bytes().clone();
    drop(message);
    assert_eq!(payload, "{}");
    // As the only owner of its memory, it can be converted without a copy.
    let address = payload.as_ptr();
    let owned = Vec::from(payload);
    assert!(owned.capacity() <= 4 && owned.as_ptr() == address);
}
