//! Turns spans into requests, with the attributes of OpenTelemetry's conventions for messaging where there is one.

use poa_core::Timestamp;
use prost::Message as _;

use crate::otlp::{
    AnyValue, ExportRequest, KeyValue, Link, Resource, ResourceSpans, Scope, ScopeSpans, SpanKind,
    Status, StatusCode, Value,
};
use crate::sample::Sampler;
use crate::span::{Part, Span};
use crate::{Service, otlp};

/// The flag of W3C Trace Context for spans that are recorded.
const SAMPLED: u32 = 1;

/// The flags of OTLP for a span of another process.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Encodes spans of one service.
#[derive(Debug)]
pub(crate) struct Encoder {
    sampler: Sampler,
    resource: Resource,
}

impl Encoder {
    pub(crate) fn new(sampler: Sampler, service: &Service) -> Self {
        let attributes = service.attributes().map(|(key, value)| text(key, value)).collect();
        Self { sampler, resource: Resource { attributes } }
    }

    /// The body of a request with these spans.
    pub(crate) fn encode(&self, spans: &[Span]) -> Vec<u8> {
        let scope = Scope { name: "poa".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let spans = spans.iter().map(|span| self.span(span)).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        let resource_spans =
            vec![ResourceSpans { resource: Some(self.resource.clone()), scope_spans }];
        ExportRequest { resource_spans }.encode_to_vec()
    }

    fn span(&self, span: &Span) -> otlp::Span {
        let shape = Shape::of(span);
        let root = span.traced.root().to_vec();
        let (span_id, parent_span_id) = match span.part {
            Part::Publish { .. } => (root, Vec::new()),
            _ => (fastrand::u64(1..).to_be_bytes().to_vec(), root),
        };
        otlp::Span {
            trace_id: span.traced.message().as_bytes().to_vec(),
            span_id,
            trace_state: self.sampler.trace_state(span.traced),
            parent_span_id,
            name: format!("{} {}", shape.operation, shape.of),
            kind: shape.kind.into(),
            start_time_unix_nano: nanos(span.began_at),
            end_time_unix_nano: nanos(span.ended_at),
            attributes: attributes(span, &shape),
            links: links(span),
            status: shape
                .error
                .map(|error| Status { message: error.to_owned(), code: StatusCode::Error.into() }),
            flags: SAMPLED,
        }
    }
}

/// The parts in which the kinds of spans differ.
struct Shape<'s> {
    /// The name of the operation, and what it is done with.
    operation: &'static str,
    of: &'s str,
    /// The operation in the terms of the conventions.
    operation_type: &'static str,
    kind: SpanKind,
    error: Option<&'s str>,
}

impl<'s> Shape<'s> {
    fn of(span: &'s Span) -> Self {
        match &span.part {
            Part::Publish { error, .. } => Self {
                operation: "publish",
                of: span.data_type.name(),
                operation_type: "send",
                kind: SpanKind::Producer,
                error: error.as_deref(),
            },
            Part::Deliver { call, .. } => Self {
                operation: "deliver",
                of: &call.receiver,
                operation_type: "process",
                kind: SpanKind::Consumer,
                error: call.error.as_deref(),
            },
            Part::DeadLetter { receiver, reason } => Self {
                operation: "dead-letter",
                of: receiver,
                operation_type: "settle",
                kind: SpanKind::Internal,
                error: Some(reason),
            },
        }
    }
}

/// The span in which the agent sent the message.
fn links(span: &Span) -> Vec<Link> {
    let Part::Publish { sender_span: Some(sender), .. } = &span.part else { return Vec::new() };
    let (trace_id, span_id) = (sender.trace_id().to_vec(), sender.span_id().to_vec());
    vec![Link { trace_id, span_id, flags: SAMPLED | HAS_IS_REMOTE | IS_REMOTE }]
}

fn attributes(span: &Span, shape: &Shape<'_>) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("messaging.system", "poa"),
        text("messaging.operation.name", shape.operation),
        text("messaging.operation.type", shape.operation_type),
        text("messaging.destination.name", span.data_type.name()),
        text("messaging.message.id", span.traced.message().to_string()),
    ];
    if shape.error.is_some() {
        // The conventions ask for a class of errors, and for this word where there is none.
        attributes.push(text("error.type", "_OTHER"));
    }
    match &span.part {
        Part::Publish { agent_id, bytes, .. } => attributes.extend([
            text("messaging.client.id", agent_id.as_str()),
            int("messaging.message.body.size", *bytes),
        ]),
        Part::Deliver { call, received_at } => {
            attributes.extend([
                text("messaging.destination.subscription.name", &*call.receiver),
                int("poa.attempt", call.number as usize),
                double("poa.waited_seconds", span.began_at.since(*received_at).as_secs_f64()),
            ]);
            // The conventions do not want it for a single message.
            if call.batch > 1 {
                attributes.push(int("messaging.batch.message_count", call.batch));
            }
        }
        Part::DeadLetter { receiver, .. } => {
            attributes.push(text("messaging.destination.subscription.name", &**receiver));
        }
    }
    attributes
}

fn nanos(time: Timestamp) -> u64 {
    time.as_micros().saturating_mul(1000)
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::Text(value.into()))
}

fn int(key: &str, value: usize) -> KeyValue {
    attribute(key, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn double(key: &str, value: f64) -> KeyValue {
    attribute(key, Value::Double(value))
}
