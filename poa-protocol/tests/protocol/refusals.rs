//! Statuses, codes and texts that agents rely on.

use poa_protocol::{CallKind, Format, Kind, Malformed, Problem, Refusal, SUCCESS, accepted};
use serde_json::Value;

fn all() -> Vec<(Refusal, u16, &'static str)> {
    let format = Format::Json;
    let (offset, problem) = (3, Problem::ExpectedValue);
    let field = "id";
    vec![
        (Refusal::Malformed(Malformed { format, offset, problem }), 400, "malformed_body"),
        (Refusal::Unauthorized, 401, "unauthorized"),
        (Refusal::TokenExpired, 401, "token_expired"),
        (Refusal::AgentMismatch, 403, "agent_mismatch"),
        (Refusal::FromPage, 403, "from_page"),
        (Refusal::NotFound { what: "path" }, 404, "not_found"),
        (Refusal::MethodNotAllowed { allow: "POST" }, 405, "method_not_allowed"),
        (Refusal::NameTaken, 409, "name_taken"),
        (Refusal::KeyReused, 422, "idempotency_key_reused"),
        (Refusal::TooLarge { limit: 8_000_000 }, 413, "too_large"),
        (Refusal::TooManyItems { limit: 10 }, 413, "too_many_items"),
        (Refusal::unsupported_encoding("br"), 415, "unsupported_encoding"),
        (Refusal::over_share("too much at once"), 429, "share_exceeded"),
        (Refusal::UnsupportedMediaType, 415, "unsupported_media_type"),
        (Refusal::NotAnObject { found: Kind::Null }, 422, "not_an_object"),
        (Refusal::NoBatch { call: CallKind::Ping }, 422, "no_batch"),
        (Refusal::MissingField { field }, 422, "missing_field"),
        (Refusal::WrongType { field, expected: "a string", found: Kind::Null }, 422, "wrong_type"),
        (Refusal::InvalidField { field, problem: "must not be empty" }, 422, "invalid_field"),
        (Refusal::unknown_type("x", ["y"]), 422, "unknown_type"),
        (Refusal::unknown_type("x", ["y"]).in_batch(3), 422, "unknown_type"),
        (Refusal::Internal, 500, "internal"),
        (Refusal::Overdue { retry_after: 2 }, 503, "timeout"),
        (Refusal::BacklogFull { retry_after: 2 }, 503, "backlog_full"),
    ]
}

#[test]
fn every_refusal_has_its_status_code_and_body() {
    for (refusal, status, code) in all() {
        assert_eq!((refusal.status(), refusal.code()), (status, code));
        let body: Value = serde_json::from_str(&refusal.body()).unwrap();
        assert_eq!(body["error"], code);
        let members = body.as_object().unwrap().len();
        if status == 401 {
            assert_eq!(members, 1);
        } else {
            assert_eq!((members, &body["message"]), (2, &Value::from(refusal.to_string())));
        }
    }
}

#[test]
fn bodies_are_exact() {
    assert_eq!(SUCCESS, r#"{"result":"success"}"#);
    assert_eq!(accepted(0), r#"{"result":"success","accepted":0}"#);
    assert_eq!(Refusal::Unauthorized.body(), r#"{"error":"unauthorized"}"#);
    assert_eq!(Refusal::TokenExpired.body(), r#"{"error":"token_expired"}"#);
    assert_eq!(
        Refusal::MissingField { field: "id" }.body(),
        r#"{"error":"missing_field","message":"field `id` is missing"}"#
    );
}

#[test]
fn refusals_have_the_required_headers() {
    assert_eq!(Refusal::BacklogFull { retry_after: 2 }.retry_after(), Some(2));
    assert_eq!(Refusal::Internal.retry_after(), None);
    assert_eq!(Refusal::MethodNotAllowed { allow: "POST" }.allow(), Some("POST"));
    assert_eq!(Refusal::Internal.allow(), None);
}

#[test]
fn an_unknown_type_names_the_known_ones_and_the_nearest() {
    let known = ["ethereum_metrics", "networking_metrics", "system_metrics"];
    let list = "known: ethereum_metrics, networking_metrics, system_metrics";
    for (found, nearest) in
        [("system_metric", "system_metrics"), ("ETHEREUM_METRICS", "ethereum_metrics")]
    {
        let expected = format!("unknown type `{found}`; {list}; did you mean `{nearest}`?");
        assert_eq!(Refusal::unknown_type(found, known).to_string(), expected);
    }
    for found in ["", "Elixir.Enum"] {
        let expected = format!("unknown type `{found}`; {list}");
        assert_eq!(Refusal::unknown_type(found, known).to_string(), expected);
    }
    assert_eq!(Refusal::unknown_type("x", []).to_string(), "unknown type `x`; known: ");
}

#[test]
fn little_of_an_unknown_word_is_repeated() {
    for word in ["x".repeat(8_000_000), "😀\n\"".repeat(1000), "\0".repeat(1000)] {
        let refusal = Refusal::unknown_type(&word, ["system_metrics"]);
        assert!(refusal.to_string().contains('…'));
        assert!(refusal.body().len() < 700, "{}", refusal.body().len());
        serde_json::from_str::<Value>(&refusal.body()).unwrap();
    }
}
