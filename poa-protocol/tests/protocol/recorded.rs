//! The recorded exchanges: every body gets the status that poa must return.

use crate::common;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use poa_protocol::{Call, CallKind, Data, Format, Limits, Refusal, decode};
use serde_json::Value;

const METRICS: [&str; 3] = ["ethereum_metrics", "networking_metrics", "system_metrics"];

fn known(data: &Data<'_>) -> Result<(), Refusal> {
    match METRICS.contains(&&*data.data_type) {
        true => Ok(()),
        false => Err(Refusal::unknown_type(&data.data_type, METRICS)),
    }
}

fn take(exchange: &Value) -> Result<(), Refusal> {
    let header = |name: &str| {
        let headers = exchange["headers"].as_array().unwrap().iter();
        let mut found = headers.filter(|header| header[0].as_str() == Some(name));
        found.next().and_then(|header| header[1].as_str())
    };
    let format = Format::from_content_type(header("Content-Type").map(str::as_bytes))?;
    let path = exchange["path"].as_str().unwrap();
    let kind = CallKind::from_path(path.split('?').next().unwrap()).unwrap();
    match decode(kind, format, &body(&exchange["body"]), &Limits::default())? {
        Call::Data(data) => known(&data),
        _ => Ok(()),
    }
}

fn body(recorded: &Value) -> Vec<u8> {
    match recorded {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Null => Vec::new(),
        encoded => BASE64_STANDARD.decode(encoded["b64"].as_str().unwrap()).unwrap(),
    }
}

#[test]
fn every_exchange_gets_the_expected_status() {
    let exchanges = common::lines(include_str!("../fixtures/poa_http.jsonl"));
    assert_eq!(exchanges.len(), 65);
    for exchange in exchanges {
        let status = take(&exchange).map_or_else(|refusal| refusal.status(), |()| 200);
        assert_eq!(u64::from(status), exchange["status"], "{}", exchange["name"]);
    }
}

#[test]
fn every_body_of_a_real_agent_is_accepted() {
    let bodies = common::agent_bodies();
    assert_eq!(bodies.len(), 24);
    assert!(bodies.iter().any(|(_, body)| body.len() > 40_000));
    for (path, body) in bodies {
        let kind = CallKind::from_path(&path).unwrap();
        let call = decode(kind, Format::MessagePack, &body, &Limits::default()).unwrap();
        match call {
            Call::Data(data) => {
                known(&data).unwrap();
                assert_eq!(data.id, "elixirNodeJSIntegration");
                assert_eq!(data.data, &body[data.range()]);
            }
            Call::Ping(ping) => assert_eq!(ping.id, "elixirNodeJSIntegration"),
            other => panic!("{other:?}"),
        }
    }
}
