//! The validity of tokens, and its end.

use jsonwebtoken::{Algorithm, Header};
use poa_auth::{Auth, UserError};
use poa_core::auth::{AuthError, Authenticator as _, Principal};
use poa_core::{AgentId, auth};
use serde_json::Value;

use crate::support::{add, claims, empty, now, sign, sign_512, user};

/// The result of `verify`, in a comparable form.
fn verified(auth: &Auth, token: &str) -> Result<String, &'static str> {
    match auth.verify(token) {
        Ok(principal) => Ok(principal.user.to_string()),
        Err(AuthError::Expired) => Err("expired"),
        Err(AuthError::Unauthorized) => Err("unauthorized"),
        Err(other) => panic!("{other:?}"),
    }
}

const UNAUTHORIZED: Result<String, &str> = Err("unauthorized");

fn alice() -> Result<String, &'static str> {
    Ok("alice".to_owned())
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims("alice");
    claims[name] = value.into();
    claims
}

#[tokio::test]
async fn a_login_returns_a_token_of_the_user() {
    let (_dir, auth) = empty();
    let agent = AgentId::new("agent1").unwrap();
    let mut bound = user("alice", "alicepassword");
    bound.agent = Some(agent.clone());
    auth.add_user(bound).await.unwrap();
    let token = auth.login("alice", "alicepassword").await.unwrap();
    for _ in 0..3 {
        let principal = auth.verify(&token).unwrap();
        assert_eq!(principal, Principal::new("alice", Some(agent.clone())));
        assert!(!principal.may_speak_for("agent2"));
    }
}

#[tokio::test]
async fn forged_and_foreign_tokens_are_refused() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    assert_eq!(verified(&auth, &sign_512(&claims("alice"))), alice());
    assert_eq!(verified(&auth, &sign_512(&claims("bob"))), UNAUTHORIZED);
    assert_eq!(verified(&auth, &sign_512(&with("aud", "other"))), UNAUTHORIZED);
    assert_eq!(verified(&auth, &sign_512(&with("nbf", now() + 60))), UNAUTHORIZED);
    let short = sign(&Header::new(Algorithm::HS384), &claims("alice"));
    assert_eq!(verified(&auth, &short), UNAUTHORIZED);
    assert_eq!(verified(&auth, ""), UNAUTHORIZED);
}

#[tokio::test]
async fn only_tokens_that_are_valid_except_for_their_age_are_expired() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let expired = |name: &str, value: Value| {
        let mut claims = with("exp", now() - 1);
        claims[name] = value;
        sign_512(&claims)
    };
    assert_eq!(verified(&auth, &expired("sub", "alice".into())), Err("expired"));
    for (name, value) in [("sub", "bob"), ("aud", "x"), ("iss", "x"), ("typ", "refresh")] {
        assert_eq!(verified(&auth, &expired(name, value.into())), UNAUTHORIZED, "{name}");
    }
    let before_alice = Value::from(now() - 3600);
    assert_eq!(verified(&auth, &expired("iat", before_alice)), UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_from_before_its_user_is_refused() {
    let (_dir, auth) = empty();
    let earlier = with("iat", now() - 2);
    add(&auth, "alice", "alicepassword").await;
    assert_eq!(verified(&auth, &sign_512(&earlier)), UNAUTHORIZED);
}

#[tokio::test]
async fn deactivation_takes_effect_immediately_and_can_be_undone() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    add(&auth, "bob", "bobpassword").await;
    let token = auth.login("alice", "alicepassword").await.unwrap();
    let bobs = auth.login("bob", "bobpassword").await.unwrap();
    for _ in 0..3 {
        assert_eq!(verified(&auth, &token), alice());
        auth.set_active("alice", false).await.unwrap();
        assert_eq!(verified(&auth, &token), UNAUTHORIZED);
        assert_eq!(verified(&auth, &bobs), Ok("bob".to_owned()));
        let login = auth.login("alice", "alicepassword").await;
        assert!(matches!(login, Err(AuthError::Unauthorized)));
        auth.set_active("alice", true).await.unwrap();
    }
    assert_eq!(verified(&auth, &token), alice());
}

#[tokio::test]
async fn a_deleted_users_tokens_are_invalid_even_for_a_successor_in_the_same_second() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(auth.login("alice", "alicepassword").await.unwrap());
        let forged = sign_512(&claims("alice"));
        auth.delete_user("alice").await.unwrap();
        assert!(tokens.iter().all(|token| verified(&auth, token) == UNAUTHORIZED));
        add(&auth, "alice", "alicepassword").await;
        assert!(tokens.iter().all(|token| verified(&auth, token) == UNAUTHORIZED));
        assert_eq!(verified(&auth, &forged), UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_user_who_is_added_again_can_log_in_immediately() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    auth.delete_user("alice").await.unwrap();
    add(&auth, "alice", "otherpassword").await;
    let token = auth.login("alice", "otherpassword").await.unwrap();
    assert_eq!(verified(&auth, &token), alice());
}

#[tokio::test]
async fn a_ban_affects_one_token_and_takes_effect_immediately() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let token = auth.login("alice", "alicepassword").await.unwrap();
    let other = auth.login("alice", "alicepassword").await.unwrap();
    assert_eq!(verified(&auth, &token), alice());
    auth.ban_token(&token).await.unwrap();
    assert_eq!(verified(&auth, &token), UNAUTHORIZED);
    assert_eq!(verified(&auth, &other), alice());
    let again = auth.ban_token(&token).await;
    assert!(matches!(again, Err(UserError::InvalidToken)));
}

#[tokio::test]
async fn invalid_tokens_cannot_be_banned() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    for token in
        ["nonsense".to_owned(), sign_512(&with("exp", now() - 1)), sign_512(&claims("bob"))]
    {
        let banned = auth.ban_token(&token).await;
        assert!(matches!(banned, Err(UserError::InvalidToken)), "{token}");
    }
}

#[tokio::test]
async fn a_ban_and_a_deactivation_survive_a_restart() {
    let (dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    add(&auth, "bob", "bobpassword").await;
    let token = auth.login("alice", "alicepassword").await.unwrap();
    let bobs = auth.login("bob", "bobpassword").await.unwrap();
    auth.ban_token(&token).await.unwrap();
    auth.set_active("bob", false).await.unwrap();
    drop(auth);
    let auth = crate::support::open(dir.path());
    assert_eq!(verified(&auth, &token), UNAUTHORIZED);
    assert_eq!(verified(&auth, &bobs), UNAUTHORIZED);
    assert_eq!(verified(&auth, &sign_512(&claims("alice"))), alice());
}

#[tokio::test]
async fn revocations_increase_with_every_loss_of_rights_and_only_then() {
    let (_dir, auth) = empty();
    let mut revocations = auth.revocations();
    add(&auth, "alice", "alicepassword").await;
    let token = auth.login("alice", "alicepassword").await.unwrap();
    auth.set_active("alice", true).await.unwrap();
    assert!(!revocations.has_changed().unwrap());
    let mut moved = || {
        let changed = revocations.has_changed().unwrap();
        revocations.mark_unchanged();
        changed
    };
    auth.ban_token(&token).await.unwrap();
    assert!(moved());
    auth.set_active("alice", false).await.unwrap();
    assert!(moved());
    auth.delete_user("alice").await.unwrap();
    assert!(moved());
    assert!(!moved());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_is_final_while_many_verify() {
    let (_dir, auth) = empty();
    add(&auth, "alice", "alicepassword").await;
    let token: std::sync::Arc<str> = auth.login("alice", "alicepassword").await.unwrap().into();
    let banned = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (auth, token, banned) = (auth.clone(), token.clone(), banned.clone());
            tokio::task::spawn_blocking(move || {
                loop {
                    let must_fail = banned.load(std::sync::atomic::Ordering::SeqCst);
                    match auth.verify(&token) {
                        Ok(_) => assert!(!must_fail, "a banned token was accepted"),
                        Err(auth::AuthError::Unauthorized) if must_fail => return,
                        Err(_) => {}
                    }
                }
            })
        })
        .collect();
    auth.ban_token(&token).await.unwrap();
    banned.store(true, std::sync::atomic::Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
}
