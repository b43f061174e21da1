//! Behaviour that the recording does not show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poa_core::auth::Authenticator as _;
use poa_core::config::Size;
use serde_json::json;

use crate::support::{ADMIN, Request, Served, add, basic};

#[tokio::test]
async fn the_checks_are_made_in_the_order_of_the_protocol() {
    let served = Served::start_with(None, |config| config.limits.body = Size::bytes(100)).await;
    let too_large = "x".repeat(200);
    // Each request has every fault below the one that must be reported.
    let faulty = |method: &str, path: &str| Request::new(method, path).body(too_large.clone());
    let status = async |request: Request| request.send(served.addr).await.status;
    assert_eq!(status(faulty("PUT", "/nope")).await, 404);
    assert_eq!(status(faulty("PUT", "/user")).await, 405);
    assert_eq!(status(faulty("POST", "/user")).await, 401);
    assert_eq!(status(faulty("POST", "/user").admin()).await, 415);
    let json = |request: Request| request.header("content-type", "application/json");
    assert_eq!(status(json(faulty("POST", "/user").admin())).await, 413);
    let small = |body: &str| Request::new("POST", "/user").admin().json(body);
    assert_eq!(status(small(r#"{"password": 5"#)).await, 400);
    assert_eq!(status(small(r#"{"password": 5}"#)).await, 422);
    assert_eq!(status(small("[]")).await, 422);
    assert_eq!(status(small("")).await, 200);
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_right_ones() {
    let served = Served::start().await;
    for (method, path, allow) in [
        ("GET", "/session", "POST"),
        ("PUT", "/user", "GET, POST"),
        ("HEAD", "/user", "GET, POST"),
        ("GET", "/user/alice", "DELETE, PATCH"),
        ("DELETE", "/blacklist/user", "POST"),
        ("GET", "/blacklist/token", "POST"),
    ] {
        let answer = Request::new(method, path).send(served.addr).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
    }
}

#[tokio::test]
async fn a_401_describes_only_how_to_log_in() {
    let served = Served::start().await;
    add(&served.auth, "alice", "alicepassword").await;
    for request in [
        Request::new("GET", "/user"),
        Request::new("GET", "/user").basic(ADMIN.0, "wrong password"),
        Request::new("GET", "/user").basic("nobody", ADMIN.1),
        Request::new("POST", "/session").basic("alice", "wrong password").json("{}"),
    ] {
        let answer = request.send(served.addr).await;
        assert_eq!((answer.status, &*answer.body), (401, r#"{"error":"unauthorized"}"#));
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Basic realm="poa", charset="UTF-8""#)
        );
    }
}

#[tokio::test]
async fn the_life_of_a_user() {
    let served = Served::start().await;
    let body = r#"{"user-name":"jos\u00e9 / 1","password":"contraseña"}"#;
    let made = served.admin("POST", "/user", body).await;
    assert_eq!(made.json(), json!({"user-name": "josé / 1", "password": "contraseña"}));
    assert_eq!(made.header("cache-control"), Some("no-store"));
    assert_eq!(served.admin("POST", "/user", body).await.status, 409);

    let login = || Request::new("POST", "/session").basic("josé / 1", "contraseña").json("");
    let session = login().send(served.addr).await.json();
    let token = session["token"].as_str().unwrap().to_owned();
    assert!(served.auth.verify(&token).is_ok());

    let path = "/user/jos%C3%A9%20%2F%201";
    assert_eq!(served.admin("PATCH", path, r#"{"active":false}"#).await.status, 204);
    assert!(served.auth.verify(&token).is_err());
    assert_eq!(login().send(served.addr).await.status, 401);
    let list = Request::new("GET", "/user").admin().send(served.addr).await.json();
    let created_at = list[0]["created_at"].as_str().unwrap();
    assert_eq!(list, json!([{"user": "josé / 1", "active": false, "created_at": created_at}]));
    assert!(created_at.len() == 27 && created_at.ends_with('Z'), "{created_at}");

    let delete = || Request::new("DELETE", path).admin();
    assert_eq!(delete().send(served.addr).await.status, 204);
    assert_eq!(delete().send(served.addr).await.status, 404);
}

#[tokio::test]
async fn a_user_may_be_bound_to_an_agent() {
    let served = Served::start().await;
    let body = r#"{"user-name":"alice","password":"alicepassword","agent-id":"agent1"}"#;
    assert_eq!(served.admin("POST", "/user", body).await.status, 200);
    let token = served.auth.login("alice", "alicepassword").await.unwrap();
    let principal = served.auth.verify(&token).unwrap();
    assert_eq!(principal.agent.unwrap().as_str(), "agent1");
    for agent in [r#""""#, "null", "5", r#""a\u0000b""#, &format!("{:?}", "x".repeat(257))] {
        let answer = served.admin("POST", "/user", &format!(r#"{{"agent-id":{agent}}}"#)).await;
        assert_eq!(answer.status, 422, "{agent}");
        assert!(answer.json()["message"].as_str().unwrap().contains("agent-id"), "{answer:?}");
    }
}

#[tokio::test]
async fn invalid_fields_are_refused_with_the_rule() {
    let served = Served::start().await;
    add(&served.auth, "alice", "alicepassword").await;
    let long = format!(r#"{{"user-name":"{}"}}"#, "x".repeat(256));
    for (method, path, body, named) in [
        ("POST", "/user", r#"{"user-name":"a:b"}"#, "`user-name` must not hold a colon"),
        ("POST", "/user", &*long, "`user-name` must have at most 255 bytes"),
        ("POST", "/user", r#"{"user-name":"a\nb"}"#, "`user-name` must not hold control"),
        ("POST", "/user", r#"{"password":"1234567"}"#, "`password` must have at least 8"),
        ("PATCH", "/user/alice", "{}", "`active` is missing"),
        ("PATCH", "/user/alice", r#"{"active":"no"}"#, "`active` must be a boolean"),
        ("PATCH", "/user/alice", r#"{"active":null}"#, "`active` must be a boolean"),
        ("POST", "/blacklist/user", r#"{"user":null}"#, "`user` must be a string"),
        ("POST", "/blacklist/token", r#"{"token":7}"#, "`token` must be a string"),
    ] {
        let answer = served.admin(method, path, body).await;
        assert_eq!(answer.status, 422, "{body}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(named), "{body}: {message}");
    }
}

#[tokio::test]
async fn message_pack_is_equivalent() {
    let served = Served::start().await;
    let dave = STANDARD.decode("gql1c2VyLW5hbWWkZGF2ZahwYXNzd29yZKxkYXZlcGFzc3dvcmQ=").unwrap();
    let send = async |path: &str, method: &str, body: &[u8]| {
        let request = Request::new(method, path).admin().body(body);
        request.header("content-type", "application/msgpack").send(served.addr).await
    };
    assert_eq!(send("/user", "POST", &dave).await.json()["user-name"], "dave");
    assert_eq!(send("/user/dave", "PATCH", b"\x81\xa6active\xc2").await.status, 204);
    assert!(!served.auth.users().await.unwrap()[0].active);
    assert_eq!(send("/user/dave", "PATCH", b"").await.status, 400);
    assert_eq!(send("/user/dave", "PATCH", b"\x81\xa6active\xc2\xc0").await.status, 400);
    assert_eq!(send("/user/dave", "PATCH", b"\x90").await.status, 422);
}

#[tokio::test]
async fn an_unneeded_body_is_not_read() {
    let served = Served::start().await;
    let request = Request::new("DELETE", "/user/nobody").admin();
    let answer =
        request.header("content-type", "text/plain").body("{broken").send(served.addr).await;
    assert_eq!(answer.status, 404);
    let answer = Request::new("GET", "/user").admin().body("{broken").send(served.addr).await;
    assert_eq!(answer.json(), json!([]));
}

#[tokio::test]
async fn a_name_that_is_not_utf8_belongs_to_no_user() {
    let served = Served::start().await;
    assert_eq!(served.admin("DELETE", "/user/%ff", "").await.status, 404);
    assert_eq!(served.admin("PATCH", "/user/%ff", r#"{"active":true}"#).await.status, 404);
    let anonymous = Request::new("DELETE", "/user/%ff").send(served.addr).await;
    assert_eq!(anonymous.status, 401);
}

#[tokio::test]
async fn logins_and_requests_are_counted() {
    let served = Served::start().await;
    add(&served.auth, "alice", "alicepassword").await;
    let session = |password| Request::new("POST", "/session").basic("alice", password).json("");
    session("alicepassword").send(served.addr).await;
    session("wrong password").send(served.addr).await;
    Request::new("GET", "/user").header("authorization", &basic("x", "y")).send(served.addr).await;
    let metrics = served.host.handle().metrics().replace("{}", "");
    for line in [
        r#"poa_auth_logins_total{who="user",outcome="accepted"} 1"#,
        r#"poa_auth_logins_total{who="user",outcome="refused"} 1"#,
        r#"poa_auth_logins_total{who="admin",outcome="refused"} 1"#,
        "poa_auth_hash_seconds_count 3",
        "poa_auth_cached_tokens 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_running_handler_sees_changes_of_the_command_line() {
    let served = Served::start().await;
    add(&served.auth, "alice", "alicepassword").await;
    let token = served.auth.login("alice", "alicepassword").await.unwrap();
    let mut revocations = served.auth.revocations();
    let cli = crate::support::open(served.dir.path());
    cli.delete_user("alice").await.unwrap();
    while served.auth.verify(&token).is_ok() {
        revocations.changed().await.unwrap();
    }
    assert!(served.host.stop().await.is_clean());
}
