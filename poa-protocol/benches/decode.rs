//! Decoding of a 250-byte data call and of the 50 KB history, in both formats, against `serde_json`
//! with borrowed fields and a `RawValue`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot read its input must stop")]

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use poa_protocol::{CallKind, Format, Limits, decode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

const SMALL: &str = r#"{"id":"elixirNodeJSIntegration","type":"ethereum_metrics","data":{"type":"statistics","body":{"active":true,"gasPrice":1000000000,"hashrate":0,"mining":false,"peers":5,"syncing":{"currentBlock":"0x44ee0","highestBlock":"0x44ee2"},"uptime":100.0}}}"#;

#[derive(Deserialize)]
struct Borrowed<'b> {
    #[serde(borrow)]
    id: Cow<'b, str>,
    #[serde(borrow, rename = "type")]
    data_type: Cow<'b, str>,
    #[serde(borrow)]
    data: &'b RawValue,
}

/// The history of blocks that a real agent sends, 50 KB of JSON.
fn history() -> Value {
    include_str!("../tests/fixtures/agent_wire.jsonl")
        .lines()
        .max_by_key(|line| line.len())
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].take())
        .unwrap()
}

fn to_message_pack(json: &str) -> Vec<u8> {
    let value: rmpv::Value = serde_json::from_str(json).unwrap();
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &value).unwrap();
    bytes
}

fn compare(criterion: &mut Criterion, name: &str, json: &[u8], message_pack: &[u8]) {
    let limits = Limits::default();
    let mut group = criterion.benchmark_group(name);
    for (format, body) in [(Format::Json, json), (Format::MessagePack, message_pack)] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("poa-protocol {format}"), |bencher| {
            bencher.iter(|| decode(CallKind::Data, format, black_box(body), &limits).unwrap());
        });
    }
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("serde_json RawValue", |bencher| {
        bencher.iter(|| {
            let call: Borrowed<'_> = serde_json::from_slice(black_box(json)).unwrap();
            (call.id, call.data_type, call.data.get().len())
        });
    });
    group.finish();
}

fn decoding(criterion: &mut Criterion) {
    let history = history().to_string();
    for (name, json) in [("data call", SMALL), ("history", &history)] {
        compare(criterion, name, json.as_bytes(), &to_message_pack(json));
    }
}

criterion_group!(benches, decoding);
criterion_main!(benches);
