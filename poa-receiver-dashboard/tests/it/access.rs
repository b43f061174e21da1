//! Access control.

use crate::support::{SECRET, Subject};

#[tokio::test]
async fn the_secret_opens_the_feed() {
    let subject = Subject::new().await;
    assert!(subject.join("/ws", &[("wssecret", SECRET)]).await.is_ok());
    assert!(subject.join("/ws?secret=wssecret", &[]).await.is_ok());
    assert_eq!(subject.join("/ws", &[]).await.err(), Some(401));
    assert_eq!(subject.join("/ws", &[("wssecret", "wrong")]).await.err(), Some(401));
    assert_eq!(subject.join("/ws?secret=", &[]).await.err(), Some(401));
    assert_eq!(
        subject.join("/ws?secret=wssecret", &[("wssecret", "wrong")]).await.err(),
        Some(401)
    );
    for path in ["/", "/ws/", "/WS", "/other"] {
        let (status, _) = subject.ask(&format!("POST {path}"), &[("wssecret", SECRET)]).await;
        assert_eq!(status, if path == "/" { 405 } else { 404 }, "{path}");
    }
    let (status, _) = subject.ask("GET /ws", &[("wssecret", SECRET)]).await;
    assert_eq!(status, 426, "it is no page");
    assert_eq!(subject.ask("GET /ws", &[]).await.0, 401, "a stranger learns less");
}

#[tokio::test]
async fn a_cookie_stands_for_the_secret_in_the_page_itself() {
    let subject = Subject::new().await;
    let json = [("content-type", "application/json; charset=utf-8")];
    let (status, answer) = subject.send("POST /session", &json, "\"wssecret\"").await;
    assert_eq!(status, 204, "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.ends_with("; Path=/; Max-Age=604800; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert!(!cookie.contains(SECRET));

    let with = |origin| [("cookie", cookie), ("origin", origin)];
    assert!(subject.join("/ws", &with("http://dash:8181")).await.is_ok());
    assert_eq!(subject.join("/ws", &with("http://evil.example")).await.err(), Some(401));
    assert_eq!(subject.join("/ws", &[("cookie", cookie)]).await.err(), Some(401), "no origin");
    assert_eq!(subject.ask("GET /session", &[("cookie", cookie)]).await.0, 204);
    assert_eq!(subject.ask("GET /session", &[]).await.0, 401);
    assert_eq!(subject.ask("GET /history?agent=a", &[("cookie", cookie)]).await.0, 404);
    assert_eq!(subject.ask("GET /history?agent=a", &[]).await.0, 401);
    let forged = format!("{}x", &cookie[..cookie.len() - 1]);
    assert_eq!(subject.ask("GET /session", &[("cookie", &forged)]).await.0, 401);
}

#[tokio::test]
async fn only_the_right_secret_in_json_gets_a_cookie() {
    let subject = Subject::new().await;
    let json = [("content-type", "application/json")];
    assert_eq!(subject.send("POST /session", &json, "\"wrong\"").await.0, 401);
    for (headers, body) in [
        (&[][..], "\"wssecret\""),
        (&[("content-type", "text/plain")][..], "\"wssecret\""),
        (&json[..], "wssecret"),
        (&json[..], &format!("\"{}\"", "x".repeat(5000))),
    ] {
        let (status, answer) = subject.send("POST /session", headers, body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(!answer.contains("set-cookie"));
    }
    assert_eq!(subject.ask("DELETE /session", &[]).await.0, 405);
}

#[tokio::test]
async fn guessing_becomes_slow() {
    let subject = Subject::new().await;
    for _ in 0..5 {
        assert_eq!(subject.join("/ws", &[("wssecret", "wrong")]).await.err(), Some(401));
    }
    let begin = std::time::Instant::now();
    assert_eq!(subject.join("/ws", &[("wssecret", "wrong")]).await.err(), Some(401));
    assert!(begin.elapsed().as_millis() >= 125, "{:?}", begin.elapsed());
    assert!(subject.join("/ws", &[("wssecret", SECRET)]).await.is_ok(), "who knows it gets in");
}
