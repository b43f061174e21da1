//! Rules of the protocol that no recording shows: what agents may send, and what they must not.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use poa_tests::{Client, Home, Request, Server, claims, count, database, now, sign, token_of};
use serde_json::{Value, json};

/// Sends every request over a connection of its own; tells all that were not answered as expected at once.
async fn check(server: &Server, cases: Vec<(String, Vec<u8>, u16)>) {
    let mut wrong = Vec::new();
    for (what, bytes, expected) in cases {
        let mut client = server.client().await;
        let answer = client.exchange(&bytes).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        if status != expected {
            wrong.push(format!("{what}: {status}, not {expected}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn start(home: &Home) -> (Server, String) {
    let server = Server::start(home).await;
    let token = server.login().await;
    (server, token)
}

fn call(id: &str) -> String {
    json!({"id": id, "type": "system_metrics", "data": {}}).to_string()
}

#[tokio::test]
async fn bodies_in_json() {
    let home = Home::new();
    let (server, token) = start(&home).await;
    let nested = |depth: usize| {
        let (open, close) = (r#"{"a":"#.repeat(depth), "}".repeat(depth));
        format!(r#"{{"id":"a","type":"system_metrics","data":{open}{{}}{close}}}"#)
    };
    let cases = [
        ("an id of 256 bytes", call(&"i".repeat(256)), 200),
        ("an id of 256 bytes in 128 characters", call(&"é".repeat(128)), 200),
        ("an id of 257 bytes", call(&"i".repeat(257)), 422),
        ("an id with a tab", call("a\tb"), 422),
        ("an id with DEL", call("a\u{7f}"), 422),
        ("an id with a C1 control character", call("a\u{85}"), 422),
        ("an escaped key", r#"{"\u0069d":"a","type":"system_metrics","data":{}}"#.into(), 200),
        ("space around", format!("\n\t {} \r\n", call("a")), 200),
        ("a byte order mark", format!("\u{feff}{}", call("a")), 200),
        ("two values", format!("{0}{0}", call("a")), 400),
        ("half a comment", format!("{} //", call("a")), 400),
        ("single quotes", call("a").replace('"', "'"), 400),
        ("a comma too many", r#"{"id":"a","type":"system_metrics","data":{},}"#.into(), 400),
        ("NaN", r#"{"id":"a","type":"system_metrics","data":{"a":NaN}}"#.into(), 400),
        ("a number with a leading zero", r#"{"id":"a","type":"system_metrics","data":{"a":01}}"#.into(), 400),
        ("a raw line feed in a text", call("a").replace("a\"", "a\n\""), 400),
        ("half a surrogate in the id", r#"{"id":"\ud800","type":"system_metrics","data":{}}"#.into(), 400),
        ("wide numbers", r#"{"id":"a","type":"system_metrics","data":{"a":1e999,"b":123456789012345678901234567890}}"#.into(), 200),
        ("a key that stands twice in the data", r#"{"id":"a","type":"system_metrics","data":{"a":1,"a":2}}"#.into(), 200),
        ("a depth of 100", nested(100), 200),
        ("a depth of 1,000", nested(1000), 400),
        ("a depth of 100,000", nested(100_000), 400),
        ("null", "null".into(), 422),
        ("a number", "1".into(), 422),
        ("a text", r#""id""#.into(), 422),
        ("an array of numbers", "[1]".into(), 422),
        ("data is null", r#"{"id":"a","type":"system_metrics","data":null}"#.into(), 422),
        ("data is an array", r#"{"id":"a","type":"system_metrics","data":[]}"#.into(), 422),
        ("data is a text", r#"{"id":"a","type":"system_metrics","data":"{}"}"#.into(), 422),
        ("a type with a space", call("a").replace("system", " system"), 422),
        ("an empty type", call("a").replace("system_metrics", ""), 422),
        ("a key in capitals", call("a").replace("\"id\"", "\"ID\""), 422),
    ];
    let request = |body: String| Request::post("/data", &token).json(&body).bytes();
    let cases = cases.map(|(what, body, status)| (what.to_owned(), request(body), status));
    check(&server, cases.into()).await;
}

#[tokio::test]
async fn bodies_in_messagepack() {
    let home = Home::new();
    let (server, token) = start(&home).await;
    let data = |id: &[u8], data: &[u8]| {
        let start: [&[u8]; 5] =
            [b"\x83\xa2id", id, b"\xa4type\xaesystem_metrics\xa4data", data, b""];
        start.concat()
    };
    let nested =
        |depth: usize| data(b"\xa1a", &[b"\x81\xa1a".repeat(depth), b"\x80".to_vec()].concat());
    let binary_keys =
        b"\x83\xc4\x02id\xc4\x01a\xc4\x04type\xc4\x0esystem_metrics\xc4\x04data\x80".to_vec();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("keys and texts as binary", binary_keys, 200),
        ("long forms of short things", data(b"\xdb\0\0\0\x01a", b"\xdf\0\0\0\0"), 200),
        ("an id that is not UTF-8", data(b"\xa1\xff", b"\x80"), 400),
        ("a binary id that is no text", data(b"\xc4\x01\xff", b"\x80"), 400),
        ("an id that is a number", data(b"\x07", b"\x80"), 422),
        ("an id that is nil", data(b"\xc0", b"\x80"), 422),
        ("data that is nil", data(b"\xa1a", b"\xc0"), 422),
        ("data that is an array", data(b"\xa1a", b"\x90"), 422),
        (
            "NaN, binary data and an extension",
            data(b"\xa1a", b"\x83\xa1a\xcb\x7f\xf8\0\0\0\0\0\0\xa1b\xc4\x01\xff\xa1c\xd4\x01\x00"),
            200,
        ),
        ("keys of data that are no texts", data(b"\xa1a", b"\x81\x07\x08"), 200),
        ("keys of the call that are no texts", b"\x82\x07\x08\xa2id\xa1a".to_vec(), 422),
        (
            "a map of four billion that is cut off",
            data(b"\xa1a", b"\xdf\xff\xff\xff\xff\xa1a"),
            400,
        ),
        ("a text of four billion that is cut off", data(b"\xdb\xff\xff\xff\xffa", b"\x80"), 400),
        ("a depth of 100", nested(100), 200),
        ("a depth of 100,000", nested(100_000), 400),
        ("bytes behind the end", [data(b"\xa1a", b"\x80"), vec![0xc0]].concat(), 400),
        ("the code that is never used", b"\xc1".to_vec(), 400),
        ("nothing", Vec::new(), 400),
        ("nil", b"\xc0".to_vec(), 422),
        ("an array of numbers", b"\x91\x01".to_vec(), 422),
    ];
    let request = |body: Vec<u8>| Request::post("/data", &token).msgpack(body).bytes();
    let cases = cases.into_iter();
    check(
        &server,
        cases.map(|(what, body, status)| (what.to_owned(), request(body), status)).collect(),
    )
    .await;
}

#[tokio::test]
async fn heads() {
    let home = Home::new();
    let (server, token) = start(&home).await;
    let bearer = format!("Bearer {token}");
    let body = r#"{"id":"a"}"#;
    let with = |method: &str, path: &str, authorization: &str, content_type: &str| {
        let request = Request::new(method, path).header("Authorization", authorization);
        request.header("Content-Type", content_type).body(body).bytes()
    };
    let json = "application/json";
    let mut cases = vec![
        ("absolute form", with("POST", "http://poa/ping", &bearer, json), 200),
        ("a query", with("POST", "/ping?id=b&x", &bearer, json), 200),
        ("a slash behind", with("POST", "/ping/", &bearer, json), 404),
        ("two slashes", with("POST", "//ping", &bearer, json), 404),
        ("a small post", with("post", "/ping", &bearer, json), 405),
        ("an unknown method", with("BREW", "/ping", &bearer, json), 405),
        ("OPTIONS", with("OPTIONS", "/ping", &bearer, json), 405),
        ("BEARER", with("POST", "/ping", &format!("BEARER {token}"), json), 200),
        ("a scheme alone", with("POST", "/ping", "Bearer", json), 401),
        ("a token alone", with("POST", "/ping", &token, json), 401),
        ("a token and more", with("POST", "/ping", &format!("{bearer} x"), json), 401),
        ("another scheme", with("POST", "/ping", &format!("Token {token}"), json), 401),
    ];
    for (content_type, status) in [
        ("application/json;charset=UTF-8", 200),
        ("application/json ; charset=\"utf-8\"; x=y", 200),
        ("APPLICATION/msgpack", 400),
        ("application/jsonx", 415),
        ("application/problem+json", 415),
        ("text/json", 415),
        ("application/json, application/msgpack", 415),
        ("", 415),
        ("*/*", 415),
    ] {
        cases.push((content_type, with("POST", "/ping", &bearer, content_type), status));
    }
    let cases = cases.into_iter().map(|(what, bytes, status)| (what.to_owned(), bytes, status));
    check(&server, cases.collect()).await;
}

#[tokio::test]
async fn lengths() {
    let home = Home::new();
    let (server, token) = start(&home).await;
    let head = || Request::post("/ping", &token).header("content-type", "application/json");
    let chunked = |body: Vec<u8>| head().header("transfer-encoding", "chunked").body(body).bytes();
    let padded = |size: usize| {
        let mut body = br#"{"id":"a","pad":""#.to_vec();
        body.resize(size - 2, b'x');
        [body, br#""}"#.to_vec()].concat()
    };
    let chunk = |body: &[u8]| [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat();
    let last = b"0\r\n\r\n".to_vec();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("exactly the limit", head().body(padded(8_000_000)).bytes(), 200),
        ("one byte more", head().body(padded(8_000_001)).bytes(), 413),
        ("one byte more, only announced", head().header("content-length", "8000001").bytes(), 413),
        ("the limit in chunks", chunked([chunk(&padded(8_000_000)), last.clone()].concat()), 200),
        ("one byte more in chunks", chunked([chunk(&padded(8_000_001)), last].concat()), 413),
        (
            "a chunk with an extension, and a trailer",
            chunked(b"a;x=y\r\n{\"id\":\"a\"}\r\n0\r\nx-end: 1\r\n\r\n".to_vec()),
            200,
        ),
        ("a chunk that has no size", chunked(b"x\r\n{}\r\n0\r\n\r\n".to_vec()), 400),
        (
            "two lengths",
            head().header("content-length", "10").header("content-length", "11").bytes(),
            400,
        ),
        ("a length that is no number", head().header("content-length", "ten").bytes(), 400),
        ("a negative length", head().header("content-length", "-1").bytes(), 400),
    ];
    check(
        &server,
        cases.into_iter().map(|(what, bytes, status)| (what.to_owned(), bytes, status)).collect(),
    )
    .await;
}

#[tokio::test]
async fn tokens() {
    let home = Home::new();
    let (server, _) = start(&home).await;
    let with = |claim: &str, value: Value| {
        let mut claims = claims("agent-user", 3600);
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
            value => claims[claim] = value,
        }
        token_of(&claims)
    };
    let good = token_of(&claims("agent-user", 3600));
    let (start, signature) = good.rsplit_once('.').unwrap();
    let header = json!({"alg": "HS512", "typ": "JWT"});
    let mut flipped = signature.to_owned();
    flipped.replace_range(..1, if signature.starts_with('A') { "B" } else { "A" });
    let cases = [
        ("a good one", good.clone(), 200),
        ("no exp", with("exp", Value::Null), 401),
        ("exp is a text", with("exp", (now() + 60).to_string().into()), 401),
        ("exp is now", with("exp", now().into()), 401),
        ("not yet", with("nbf", (now() + 60).into()), 401),
        ("another issuer", with("iss", "other".into()), 401),
        ("no issuer", with("iss", Value::Null), 401),
        ("another typ", with("typ", "refresh".into()), 401),
        ("no typ", with("typ", Value::Null), 401),
        ("no iat", with("iat", Value::Null), 401),
        ("issued before the user was there", with("iat", (now() - 60).into()), 401),
        ("an unknown user", with("sub", "nobody".into()), 401),
        ("an admin", with("sub", "admin1".into()), 401),
        ("no signature", format!("{start}."), 401),
        ("another signature", format!("{start}.{flipped}"), 401),
        ("a fourth part", format!("{good}.x"), 401),
        ("another key", sign(&header, &claims("agent-user", 3600), "another key"), 401),
        ("8 KiB of nothing in particular", "x".repeat(8 << 10), 401),
    ];
    let request = |token: String| Request::post("/ping", &token).json(r#"{"id":"a"}"#).bytes();
    let cases = cases.map(|(what, token, status)| (what.to_owned(), request(token), status));
    check(&server, cases.into()).await;
}

#[tokio::test]
async fn batches_and_bound_users() {
    let home = Home::new();
    let (server, token) = start(&home).await;
    server.add_user("bound", "bound-password", Some("mine")).await;
    let bound = server.session("bound", "bound-password").await;
    let (good, bad, mine) = (call("a"), r#"{"id":"a","type":"weather","data":{}}"#, call("mine"));
    let post = async |token: &str, path: &str, body: &str| {
        server.ask("rest", &Request::post(path, token).json(body)).await
    };

    let answer = post(&token, "/data", &format!("[{good},{good},{good}]")).await;
    assert_eq!((answer.status, &*answer.body), (200, r#"{"result":"success","accepted":3}"#));
    let answer = post(&token, "/data", &format!("[{good},{bad},{good}]")).await;
    assert_eq!(answer.status, 422);
    assert!(answer.json()["message"].as_str().unwrap().contains('1'), "{answer:?}");
    assert_eq!(post(&token, "/ping", &format!("[{good}]")).await.status, 422);

    assert_eq!(post(&bound, "/data", &mine).await.status, 200);
    assert_eq!(post(&bound, "/data", &good).await.status, 403);
    assert_eq!(post(&bound, "/ping", &good).await.status, 403);
    assert_eq!(post(&bound, "/bye", &good).await.status, 403);
    assert_eq!(post(&bound, "/data", bad).await.status, 422);
    assert_eq!(post(&bound, "/data", &format!("[{mine},{good}]")).await.status, 403);

    server.stop().await;
    let database = database(&home.data("metrics.db"));
    assert_eq!(count(&database, "SELECT count(*) FROM metrics"), 4);
}

#[tokio::test]
async fn connections() {
    let home = Home::new();
    let (server, token) = start(&home).await;
    let ping = Request::post("/ping", &token).json(r#"{"id":"a"}"#).bytes();
    let mut client = server.client().await;
    client.send(&ping.repeat(100)).await.unwrap();
    for n in 0..100 {
        assert_eq!(client.answer().await.unwrap().status, 200, "pipelined call {n}");
    }
    let refused = Request::new("POST", "/ping").json("{}").bytes();
    assert_eq!(client.exchange(&refused).await.unwrap().status, 401);
    assert_eq!(client.exchange(&ping).await.unwrap().status, 200, "a refusal keeps the connection");

    let old = String::from_utf8(ping).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let mut client = Client::connect(server.rest()).await.unwrap();
    client.send(old.as_bytes()).await.unwrap();
    let said = client.end().await.unwrap();
    assert!(said.starts_with("HTTP/1.0 200") || said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(said.ends_with(r#"{"result":"success"}"#), "{said}");
}
