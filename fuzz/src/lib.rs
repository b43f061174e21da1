//! Properties that must hold for every body in every format; and a server to send anything to.

pub mod server;

use poa_protocol::{
    Call, CallKind, Data, Format, Limits, MAX_ID_BYTES, Outcome, Refusal, Request, SocketCall,
    answer, decode, decode_fields, decode_request,
};

/// Decodes a body in every way and checks what comes out.
pub fn check(format: Format, body: &[u8]) {
    for kind in [CallKind::Ping, CallKind::Data, CallKind::Bye] {
        match decode(kind, format, body, &Limits::default()) {
            Ok(call) => check_call(format, body, &call),
            Err(refusal) => check_refusal(&refusal, body),
        }
    }
    if let Ok(request) = decode_request(format, body, &Limits::default()) {
        check_request(format, body, &request);
    }
}

/// Whether a body is one well-formed value, whatever else it is.
pub fn well_formed(format: Format, body: &[u8]) -> bool {
    let fields = decode_fields(format, body, &Limits::default(), []);
    !matches!(fields, Err(Refusal::Malformed(_)))
}

fn check_call(format: Format, body: &[u8], call: &Call<'_>) {
    match call {
        Call::Ping(ping) => check_id(&ping.id),
        Call::Bye(bye) => check_id(&bye.id),
        Call::Data(data) => check_data(format, body, data),
        Call::Batch(batch) => batch.items.iter().for_each(|data| check_data(format, body, data)),
    }
}

fn check_data(format: Format, body: &[u8], data: &Data<'_>) {
    check_id(&data.id);
    assert_eq!(data.data, &body[data.range()]);
    decode_fields(format, data.data, &Limits::default(), []).expect("data stands on its own");
}

fn check_id(id: &str) {
    assert!((1..=MAX_ID_BYTES).contains(&id.len()));
    assert!(!id.chars().any(char::is_control));
}

fn check_refusal(refusal: &Refusal, body: &[u8]) {
    if let Refusal::Malformed(malformed) = refusal {
        assert!(malformed.offset <= body.len());
    } else if let Refusal::TooManyItems { limit } = refusal {
        assert!(body.len() > *limit);
    } else {
        assert_eq!(refusal.status(), 422);
    }
    let text = refusal.body();
    assert!(text.len() < 1000);
    assert!(well_formed(Format::Json, text.as_bytes()));
}

/// The reference is echoed, so the answer must be well-formed whatever it was.
fn check_request(format: Format, body: &[u8], request: &Request<'_>) {
    let outcome = match &request.call {
        Ok(SocketCall::Call(call)) => {
            check_call(format, body, call);
            Outcome::Done
        }
        Ok(SocketCall::Session(session)) => Outcome::Token(&session.user),
        Err(refusal) => Outcome::Refused(refusal),
    };
    let bytes = match answer(&request.reference, outcome) {
        poa_protocol::Frame::Text(text) => text.into_bytes(),
        poa_protocol::Frame::Binary(bytes) => bytes,
    };
    assert!(well_formed(format, &bytes));
}
