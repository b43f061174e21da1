use super::Outcome;
use crate::Refusal;

const NIL: &[u8] = &[0xc0];

pub(super) fn answer(reference: Option<&[u8]>, outcome: Outcome<'_>) -> Vec<u8> {
    let result = match outcome {
        Outcome::Refused(_) => "error",
        Outcome::Done | Outcome::Token(_) => "success",
    };
    let mut bytes = Vec::with_capacity(64);
    push_map(&mut bytes, 3);
    push_text(&mut bytes, "result");
    push_text(&mut bytes, result);
    push_text(&mut bytes, "ref");
    bytes.extend_from_slice(reference.unwrap_or(NIL));
    push_text(&mut bytes, "payload");
    push_payload(&mut bytes, outcome);
    bytes
}

fn push_payload(bytes: &mut Vec<u8>, outcome: Outcome<'_>) {
    match outcome {
        Outcome::Done => push_map(bytes, 0),
        Outcome::Token(token) => {
            push_map(bytes, 1);
            push_text(bytes, "token");
            push_text(bytes, token);
        }
        Outcome::Refused(refusal) => push_refusal(bytes, refusal),
    }
}

fn push_refusal(bytes: &mut Vec<u8>, refusal: &Refusal) {
    push_map(bytes, 3 + u8::from(refusal.retry_after().is_some()));
    push_text(bytes, "code");
    push_text(bytes, refusal.code());
    push_text(bytes, "status");
    push_number(bytes, u32::from(refusal.status()));
    push_text(bytes, "message");
    push_text(bytes, &refusal.to_string());
    if let Some(seconds) = refusal.retry_after() {
        push_text(bytes, "retry_after");
        push_number(bytes, seconds);
    }
}

/// Responses have few members, so the one-byte head of up to 15 is enough.
fn push_map(bytes: &mut Vec<u8>, members: u8) {
    bytes.push(0x80 | members);
}

fn push_number(bytes: &mut Vec<u8>, number: u32) {
    bytes.push(0xce);
    bytes.extend(number.to_be_bytes());
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    match (u8::try_from(text.len()), u32::try_from(text.len())) {
        (Ok(length @ 0..=31), _) => bytes.push(0xa0 | length),
        (Ok(length), _) => bytes.extend([0xd9, length]),
        (_, Ok(length)) => {
            bytes.push(0xdb);
            bytes.extend(length.to_be_bytes());
        }
        (_, Err(_)) => unreachable!("tokens and refusals are far shorter than 4 GiB"),
    }
    bytes.extend_from_slice(text.as_bytes());
}
