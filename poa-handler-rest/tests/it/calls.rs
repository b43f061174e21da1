use std::io::Write as _;

use poa_core::Ack;

use crate::support::{Client, Heard, any_port, metric, request, soon, start, start_with};

#[tokio::test]
async fn a_metric_reaches_the_receiver_as_it_was_sent() {
    let mut server = start().await;
    let mut client = server.client().await;
    let data = r#"{ "cpu": 12.50, "big": 1267650600228229401496703205376 }"#;
    assert_eq!(client.post("/data", &metric("a1", data)).await.status, 200);
    let message = server.message().await;
    assert_eq!(message.agent_id().as_str(), "a1");
    assert_eq!(message.data_type().name(), "system_metrics");
    assert_eq!(message.payload().bytes(), data);
}

#[tokio::test]
async fn agents_become_active_and_leave() {
    let mut server = start().await;
    let mut client = server.client().await;
    for _ in 0..3 {
        assert_eq!(client.post("/ping", r#"{"id":"a1"}"#).await.status, 200);
    }
    assert_eq!(client.post("/bye", r#"{"id":"a1"}"#).await.status, 200);
    assert!(matches!(server.hear().await, Heard::Activity(agent, true) if agent == "a1"));
    assert!(matches!(server.hear().await, Heard::Activity(agent, false) if agent == "a1"));
    // Data alone does not make an agent active.
    assert_eq!(client.post("/data", &metric("a2", "{}")).await.status, 200);
    assert!(matches!(server.hear().await, Heard::Message(_)));
    assert_eq!(server.host.handle().status().active_agents, 0);
}

/// Each request fails this check and all that follow it.
#[tokio::test]
async fn checks_are_made_in_the_order_of_the_protocol() {
    let server = start().await;
    let huge = 8_000_001;
    let cases = [
        (404, "PUT", "/nope", "wrong", "text/plain", huge),
        (405, "PUT", "/data", "wrong", "text/plain", huge),
        (401, "POST", "/data", "wrong", "text/plain", huge),
        (415, "POST", "/data", "bound", "text/plain", huge),
        (413, "POST", "/data", "bound", "application/json", huge),
    ];
    for (status, method, path, token, content_type, length) in cases {
        let mut client = server.client().await;
        client
            .send(format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
                 content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.answer().await.status, status);
    }
    let mut client = server.client().await;
    let bodies = [
        (400, r#"{"id":"a2","type":"nope","data":{}"#),
        (422, r#"{"id":"a2","type":"nope","data":{}}"#),
        (403, r#"{"id":"a2","type":"system_metrics","data":{}}"#),
        (200, r#"{"id":"agent1","type":"system_metrics","data":{}}"#),
    ];
    for (status, body) in bodies {
        assert_eq!(client.post_as("bound", "/data", body).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn unauthenticated_clients_learn_nothing() {
    let server = start().await;
    let mut client = server.client().await;
    let refused = client.post_as("wrong", "/data", &metric("a", "{}")).await;
    assert_eq!((refused.status, refused.body.as_str()), (401, r#"{"error":"unauthorized"}"#));
    assert!(refused.has("www-authenticate: Bearer"), "{}", refused.head);
    let expired = client.post_as("expired", "/data", &metric("a", "{}")).await;
    assert_eq!((expired.status, expired.body.as_str()), (401, r#"{"error":"token_expired"}"#));
}

#[tokio::test]
async fn a_failing_authenticator_is_answered_503() {
    let server = start().await;
    let mut client = server.client().await;
    for token in ["busy", "unavailable"] {
        let answer = client.post_as(token, "/ping", r#"{"id":"a"}"#).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
        assert!(answer.has("retry-after: 5"), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_user_may_send_for_its_own_agent_only() {
    let server = start().await;
    let mut client = server.client().await;
    for (path, own, other) in [
        ("/ping", r#"{"id":"agent1"}"#.to_owned(), r#"{"id":"agent2"}"#.to_owned()),
        ("/bye", r#"{"id":"agent1"}"#.to_owned(), r#"{"id":"agent2"}"#.to_owned()),
        ("/data", metric("agent1", "{}"), metric("agent2", "{}")),
    ] {
        assert_eq!(client.post_as("bound", path, &own).await.status, 200);
        let refused = client.post_as("bound", path, &other).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "agent_mismatch"));
    }
}

#[tokio::test]
async fn an_unknown_type_is_refused_with_a_suggestion() {
    let server = start().await;
    let mut client = server.client().await;
    let answer = client.post("/data", r#"{"id":"a","type":"system_metric","data":{}}"#).await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("did you mean `system_metrics`?"), "{}", answer.body);
}

async fn post_batch(client: &mut Client, items: &[String]) -> (u16, String) {
    let answer = client.post("/data", &format!("[{}]", items.join(","))).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_batch_is_accepted_whole_and_in_order() {
    let mut server = start().await;
    let mut client = server.client().await;
    let items: Vec<String> = (0..100).map(|n| metric("a", &format!(r#"{{"n":{n}}}"#))).collect();
    let answer = post_batch(&mut client, &items).await;
    assert_eq!(answer, (200, r#"{"result":"success","accepted":100}"#.to_owned()));
    for n in 0..100 {
        assert_eq!(server.message().await.payload().bytes(), format!(r#"{{"n":{n}}}"#).as_str());
    }
    assert_eq!(post_batch(&mut client, &[]).await.1, r#"{"result":"success","accepted":0}"#);
}

#[tokio::test]
async fn a_batch_in_messagepack() {
    let mut server = start().await;
    let mut client = server.client().await;
    let item = b"\x83\xa2id\xa1a\xa4type\xaesystem_metrics\xa4data\x81\xa1n\x01";
    let body = [b"\x92".as_slice(), item, item].concat();
    client.send(request("valid", "/data", "application/msgpack", &body)).await;
    assert_eq!(client.answer().await.body, r#"{"result":"success","accepted":2}"#);
    for _ in 0..2 {
        assert_eq!(server.message().await.payload().bytes(), b"\x81\xa1n\x01".as_slice());
    }
}

#[tokio::test]
async fn a_batch_with_an_invalid_item_is_refused_whole() {
    let mut server = start().await;
    let mut client = server.client().await;
    let good = metric("agent1", "{}");
    let cases = [
        (r#"{"id":"agent1","data":{}}"#.to_owned(), "item 1: field `type` is missing"),
        (r#"{"id":"agent1","type":"nope","data":{}}"#.to_owned(), "item 1: unknown type `nope`"),
        ("7".to_owned(), "item 1: expected an object, found a number"),
    ];
    for (bad, message) in cases {
        let (status, body) = post_batch(&mut client, &[good.clone(), bad, good.clone()]).await;
        assert_eq!(status, 422);
        assert!(body.contains(message), "{body}");
    }
    let foreign = format!("[{good},{}]", metric("agent2", "{}"));
    let refused = client.post_as("bound", "/data", &foreign).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("item 1: "), "{}", refused.body);
    // The first message now was not part of any of them.
    client.post("/data", &metric("last", "{}")).await;
    assert_eq!(server.message().await.agent_id().as_str(), "last");
}

#[tokio::test]
async fn a_full_backlog_is_answered_with_retry_after() {
    let mut server = start_with(any_port(), |host| host, 2000).await;
    server.open.send(false).unwrap();
    let mut client = server.client().await;
    let mut taken = 0;
    let refused = loop {
        let answer = client.post("/data", &metric("a", r#"{"n":1}"#)).await;
        match answer.status {
            200 => taken += 1,
            _ => break answer,
        }
    };
    assert_eq!((refused.status, refused.code().as_str()), (503, "backlog_full"));
    assert!(refused.has("retry-after: 5"), "{}", refused.head);
    let batch = format!("[{0},{0}]", metric("a", "{}"));
    assert_eq!(client.post("/data", &batch).await.status, 503);
    // A ping needs no room.
    assert_eq!(client.post("/ping", r#"{"id":"a"}"#).await.status, 200);

    server.open.send(true).unwrap();
    for _ in 0..taken {
        assert_eq!(server.message().await.payload().bytes(), r#"{"n":1}"#);
    }
    assert!(taken > 0);
    assert!(
        server.counts(r#"poa_handler_requests_total{handler="rest",call="data",status="503"} 2"#)
    );
}

#[tokio::test]
async fn an_ack_of_delivered_waits_for_delivery() {
    let mut server = start_with(any_port(), |host| host.ack(Ack::Delivered), 64 << 20).await;
    server.open.send(false).unwrap();
    let mut client = server.client().await;
    client.send(request("valid", "/data", "application/json", metric("a", "{}").as_bytes())).await;
    // Another connection is served while this one waits.
    assert_eq!(server.client().await.post("/ping", r#"{"id":"a"}"#).await.status, 200);
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), client.answer());
    assert!(early.await.is_err(), "nothing was delivered yet");
    server.open.send(true).unwrap();
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(server.message().await.agent_id().as_str(), "a");
}

#[tokio::test]
async fn a_delivery_that_takes_too_long_is_answered_503() {
    let mut config = any_port();
    config.limits.request_timeout = poa_core::config::Duration::from_millis(200);
    let server = start_with(config, |host| host.ack(Ack::Delivered), 64 << 20).await;
    server.open.send(false).unwrap();
    let mut client = server.client().await;
    let answer = client.post("/data", &metric("a", "{}")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "timeout"));
    assert!(answer.has("retry-after: 5"), "{}", answer.head);
    assert_eq!(client.post("/ping", r#"{"id":"a"}"#).await.status, 200);
    server.open.send(true).unwrap();
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let server = start().await;
    let mut client = server.client().await;
    let answer = client.post_as("panic", "/ping", r#"{"id":"a"}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert_eq!(client.post("/ping", r#"{"id":"a"}"#).await.status, 200);
    assert_eq!(server.host.handle().status().plugins[0].restarts, 0);
    assert!(soon(server.host.stop()).await.is_clean());
}

#[tokio::test]
async fn requests_are_counted_by_call_and_status() {
    let server = start().await;
    let mut client = server.client().await;
    client.post("/ping", r#"{"id":"a"}"#).await;
    client.post("/ping", r#"{"id":"a"}"#).await;
    client.post("/bye", "{").await;
    client.post("/nope", "{}").await;
    for line in [
        r#"poa_handler_requests_total{handler="rest",call="ping",status="200"} 2"#,
        r#"poa_handler_requests_total{handler="rest",call="bye",status="400"} 1"#,
        r#"poa_handler_requests_total{handler="rest",call="unknown",status="404"} 1"#,
        r#"poa_handler_request_seconds_count{handler="rest",call="ping"} 2"#,
    ] {
        assert!(server.counts(line), "{line}\n{}", server.host.handle().metrics());
    }
}

/// An unknown type, which only the host can detect, precedes an item that no host would accept.
#[tokio::test]
async fn a_batch_names_its_first_invalid_item_whatever_the_fault() {
    let server = start().await;
    let mut client = server.client().await;
    let good = metric("a", "{}");
    let unknown = good.replace("system_metrics", "system_metric");
    let (status, body) = post_batch(&mut client, &[good.clone(), unknown, "8".into()]).await;
    assert_eq!(status, 422);
    assert!(body.contains("item 1") && body.contains("did you mean"), "{body}");
    let (status, body) = post_batch(&mut client, &[good, "8".into(), "{}".into()]).await;
    assert_eq!(status, 422);
    assert!(body.contains("item 1") && body.contains("expected an object"), "{body}");
}

#[tokio::test]
async fn a_call_sent_again_with_its_idempotency_key_is_accepted_once() {
    let mut server = start().await;
    let mut client = server.client().await;
    let keyed = |n: u32, key: &str| {
        let request = request(
            "valid",
            "/data",
            "application/json",
            metric("a", &format!(r#"{{"n":{n}}}"#)).as_bytes(),
        );
        let request = String::from_utf8(request).unwrap();
        request.replacen("\r\n", &format!("\r\nIdempotency-Key: {key}\r\n"), 1)
    };
    for (n, key) in [(1, "one"), (1, "one"), (3, "two")] {
        client.send(keyed(n, key)).await;
        assert_eq!(client.answer().await.status, 200);
    }
    client.send(keyed(2, "one")).await;
    let reused = client.answer().await;
    assert_eq!(reused.status, 422);
    assert!(reused.body.contains("idempotency_key_reused"), "{}", reused.body);
    assert_eq!(server.message().await.payload().bytes(), r#"{"n":1}"#);
    assert_eq!(server.message().await.payload().bytes(), r#"{"n":3}"#);
    client.send(keyed(4, &"x".repeat(256))).await;
    let refused = client.answer().await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("Idempotency-Key"), "{}", refused.body);
}

/// 250,000 items of 32 bytes are 8 MB of body, and fifty times as much as messages.
#[tokio::test]
async fn a_batch_of_too_many_items_is_refused() {
    let mut config = any_port();
    config.max_items = 3;
    let mut server = start_with(config, |host| host, 64 << 20).await;
    let mut client = server.client().await;
    let item = metric("a", r#"{"n":1}"#);
    let (status, body) = post_batch(&mut client, &vec![item.clone(); 4]).await;
    assert_eq!(status, 413);
    assert!(body.contains("at most 3 items"), "{body}");
    assert_eq!(post_batch(&mut client, &vec![item; 3]).await.0, 200);
    assert_eq!(server.message().await.payload().bytes(), r#"{"n":1}"#);
}

#[tokio::test]
async fn compressed_bodies_are_accepted_and_other_codings_named() {
    let mut server = start().await;
    let mut client = server.client().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(metric("a", r#"{"n":1}"#).as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let coded = |coding: &str| {
        let plain = request("valid", "/data", "application/json", &packed);
        let end = plain.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let header = format!("\r\ncontent-encoding: {coding}");
        [&plain[..end], header.as_bytes(), &plain[end..]].concat()
    };
    client.send(coded("gzip")).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(server.message().await.payload().bytes(), r#"{"n":1}"#);
    client.send(coded("deflate")).await;
    let refused = client.answer().await;
    assert_eq!((refused.status, refused.code().as_str()), (415, "unsupported_encoding"));
    assert!(refused.body.contains("`deflate`") && refused.has("accept-encoding: gzip"));
    assert_eq!(client.post("/data", &format!("\u{feff}{}", metric("a", "{}"))).await.status, 200);
}

/// One user holds as much memory as it can with bodies that never end. Another is served, and so are its
/// own small calls.
#[tokio::test]
async fn memory_held_by_one_user_does_not_affect_others() {
    let shares = poa_http::Shares::new(400_000, Default::default(), Default::default());
    let resource = shares.clone();
    let server = start_with(any_port(), |host| host.resource(resource), 64 << 20).await;
    let whole = request("bound", "/data", "application/json", &vec![b' '; 60_000]);
    let mut held = Vec::new();
    while shares.held() + 50_000 < 200_000 {
        let mut hostage = server.client().await;
        let before = shares.held();
        hostage.send(&whole[..whole.len() - 1]).await;
        while shares.held() < before + 50_000 {
            tokio::task::yield_now().await;
        }
        held.push(hostage);
    }
    let mut mallory = server.client().await;
    mallory.send(&whole).await;
    let refused = mallory.answer().await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "share_exceeded"));
    assert!(refused.has("retry-after: 5"), "{}", refused.head);
    let mut client = server.client().await;
    let large = metric("a", &format!(r#"{{"x":"{}"}}"#, "y".repeat(50_000)));
    assert_eq!(client.post("/data", &large).await.status, 200);
    assert_eq!(client.post_as("bound", "/ping", r#"{"id":"agent1"}"#).await.status, 200);
}
