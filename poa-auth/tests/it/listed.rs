//! Tokens that are listed and revoked, roles of admins, and the lines about both.

use poa_auth::{AdminConfig, AuthConfig, Role, UserError};
use poa_core::auth::Authenticator as _;
use poa_core::config::Secret;
use serde_json::{Value, json};

use crate::support::{HERE, Request, Served, add, config, empty, open};

#[tokio::test]
async fn tokens_are_listed_also_by_another_process_and_after_a_restart() {
    let (dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    add(&auth, "bob", "bobpassword").await;
    let first = auth.login_from("alice", "alicepassword", Some(HERE)).await.unwrap();
    auth.login("bob", "bobpassword").await.unwrap();
    let listed = auth.tokens(None).await.unwrap();
    let users: Vec<_> = listed.iter().map(|token| &*token.user).collect();
    assert_eq!(users, ["alice", "bob"]);
    let alices = &listed[0];
    assert_eq!((alices.address, listed[1].address), (Some(HERE), None));
    assert!(!alices.id.is_empty() && first.contains(&alices.id) && first.len() > 3 * 43);
    let hour = alices.expires_at.as_micros() - alices.issued_at.as_micros();
    assert_eq!(hour, 3_600_000_000);
    assert!(matches!(auth.tokens(Some("carol")).await, Err(UserError::NotFound)));

    let cli = open(dir.path());
    assert_eq!(cli.tokens(Some("alice")).await.unwrap(), listed[..1]);
    drop((auth, cli));
    assert_eq!(open(dir.path()).tokens(None).await.unwrap(), listed);
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once_and_no_other() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let tokens =
        [auth.login("alice", "alicepassword").await, auth.login("alice", "alicepassword").await]
            .map(Result::unwrap);
    let mut revocations = auth.revocations();
    let listed = auth.tokens(None).await.unwrap();
    let id = &listed.iter().find(|token| tokens[0].contains(&token.id)).unwrap().id;
    assert_eq!(&*auth.revoke_token(id).await.unwrap(), "alice");
    assert!(auth.verify(&tokens[0]).is_err() && auth.verify(&tokens[1]).is_ok());
    assert!(revocations.has_changed().unwrap());
    revocations.mark_unchanged();
    assert_eq!(auth.tokens(None).await.unwrap().len(), 1);
    for id in [id, "nothing"] {
        assert!(matches!(auth.revoke_token(id).await, Err(UserError::InvalidToken)));
    }

    auth.revoke_tokens("alice").await.unwrap();
    assert!(auth.verify(&tokens[1]).is_err() && revocations.has_changed().unwrap());
    assert_eq!(auth.tokens(None).await.unwrap(), []);
    let again = auth.login("alice", "alicepassword").await.unwrap();
    assert!(auth.verify(&again).is_ok());
    assert_eq!(auth.tokens(None).await.unwrap().len(), 1);
    assert!(matches!(auth.revoke_tokens("bob").await, Err(UserError::NotFound)));
}

#[tokio::test]
async fn only_the_newest_of_many_tokens_are_listed() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let mut last = String::new();
    for _ in 0..105 {
        last = auth.login("alice", "alicepassword").await.unwrap();
    }
    let listed = auth.tokens(Some("alice")).await.unwrap();
    assert_eq!(listed.len(), 100);
    // Tokens of one second have no order, so the last may be any of them; all the same, every token is valid.
    assert!(auth.verify(&last).is_ok());
}

#[tokio::test]
async fn admins_list_and_revoke_over_http() {
    let served = Served::start().await;
    add(&served.auth, "jos\u{e9} / 1", "a password").await;
    let token = served.auth.login("jos\u{e9} / 1", "a password").await.unwrap();
    let path = "/user/jos%C3%A9%20%2F%201/token";
    let listed = served.admin("GET", path, "").await.json();
    assert_eq!(listed, served.admin("GET", "/token", "").await.json());
    let one = &listed[0];
    assert_eq!(one["user"], "jos\u{e9} / 1");
    assert!(one["created_at"].is_string() && one["expires_at"].is_string(), "{one}");
    let id = one["id"].as_str().unwrap();
    assert_eq!(served.admin("DELETE", &format!("/token/{id}"), "").await.status, 204);
    assert!(served.auth.verify(&token).is_err());
    let gone = served.admin("DELETE", &format!("/token/{id}"), "").await;
    assert_eq!((gone.status, gone.json()["error"].clone()), (404, "not_found".into()));
    assert_eq!(served.admin("GET", "/token", "").await.json(), json!([]));

    let token = served.auth.login("jos\u{e9} / 1", "a password").await.unwrap();
    assert_eq!(served.admin("DELETE", path, "").await.status, 204);
    assert!(served.auth.verify(&token).is_err());
    for path in ["/user/nobody/token", "/user/%ff/token"] {
        assert_eq!(served.admin("GET", path, "").await.status, 404);
        assert_eq!(served.admin("DELETE", path, "").await.status, 404);
    }
}

#[tokio::test]
async fn an_admin_changes_a_password_and_a_misspelt_field_changes_nothing() {
    let served = Served::start().await;
    add(&served.auth, "alice", "alicepassword").await;
    let patch = async |body: &str| served.admin("PATCH", "/user/alice", body).await;
    let refused = patch(r#"{"active":false,"pasword":"another one"}"#).await;
    assert_eq!(refused.status, 422);
    let Value::Object(told) = refused.json() else { panic!("{refused:?}") };
    assert_eq!(told["error"], "unknown_field");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("unknown field `pasword`"), "{message}");
    assert!(message.contains("did you mean `password`?"), "{message}");
    served.auth.login("alice", "alicepassword").await.unwrap();

    assert_eq!(patch(r#"{"password":"short"}"#).await.status, 422);
    assert_eq!(patch(r#"{"password":"another one"}"#).await.status, 204);
    assert!(served.auth.login("alice", "alicepassword").await.is_err());
    let token = served.auth.login("alice", "another one").await.unwrap();
    assert_eq!(patch(r#"{"password":"a third one","active":false}"#).await.status, 204);
    assert!(served.auth.verify(&token).is_err());
    assert!(served.auth.login("alice", "a third one").await.is_err());
}

fn with_reader() -> AuthConfig {
    let mut config = config();
    let mut reader = AdminConfig::new("reader", "readerpassword");
    reader.role = Role::Read;
    config.admins.push(reader);
    config
}

#[tokio::test]
async fn an_admin_who_may_read_changes_nothing() {
    let served = Served::start_as(with_reader()).await;
    add(&served.auth, "alice", "alicepassword").await;
    let token = served.auth.login("alice", "alicepassword").await.unwrap();
    let id = served.auth.tokens(None).await.unwrap().remove(0).id;
    let ask = async |method: &str, path: &str, body: &str| {
        let request = Request::new(method, path).basic("reader", "readerpassword");
        request.json(body).send(served.addr).await
    };
    for path in ["/user", "/token", "/user/alice/token"] {
        assert_eq!(ask("GET", path, "").await.status, 200, "{path}");
    }
    for (method, path, body) in [
        ("POST", "/user", "{}".to_owned()),
        ("DELETE", "/user/alice", String::new()),
        ("PATCH", "/user/alice", r#"{"active":false}"#.to_owned()),
        ("POST", "/blacklist/user", r#"{"user":"alice"}"#.to_owned()),
        ("POST", "/blacklist/token", json!({"token": token}).to_string()),
        ("DELETE", "/user/alice/token", String::new()),
        ("DELETE", &format!("/token/{id}"), String::new()),
    ] {
        let answer = ask(method, path, &body).await;
        assert_eq!(answer.status, 403, "{method} {path}");
        assert_eq!(answer.json()["error"], "read_only");
    }
    assert!(served.auth.verify(&token).is_ok());
    assert_eq!(served.auth.users().await.unwrap().len(), 1);
    let secret = served.auth.authenticate_admin("reader", "readerpassword", HERE).await;
    assert_eq!(secret.unwrap(), Role::Read);
    served.auth.set_password("alice", &Secret::new("another one")).await.unwrap();
}
