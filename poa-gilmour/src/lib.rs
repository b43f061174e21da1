#![doc = include_str!("../README.md")]

mod client;
pub mod compose;
pub mod counts;
mod data;
pub mod engine;
mod envelope;
pub mod glob;
mod health;
mod ident;
mod local;
mod memory;
mod message;
#[cfg(feature = "nats")]
mod nats;
#[cfg(any(feature = "nats", feature = "redis"))]
mod pending;
#[cfg(any(feature = "nats", feature = "redis"))]
mod reconnect;
#[cfg(feature = "redis")]
mod redis;
mod report;
mod topic;

#[cfg(feature = "nats")]
pub use crate::nats::{InvalidServers, NatsEngine};
#[cfg(feature = "redis")]
pub use crate::redis::{InvalidUrl, RedisEngine};
pub use client::Gilmour;
pub use compose::Composition;
pub use data::{Data, Object, Shape};
pub use engine::{Call, Engine, Handler, Options, Registration, RequestError, Subscription};
pub use envelope::{Envelope, NotAnEnvelope};
pub use ident::Ident;
pub use memory::MemoryEngine;
pub use message::{
    BAD_ANSWER, BAD_REQUEST, FAILED, Message, NO_SUBSCRIBER, OK, Response, TIMED_OUT, TIMEOUT_TEXT,
    TOO_LARGE, UNAVAILABLE,
};
pub use report::{ERROR, ERROR_QUEUE, ERRORS, ErrorPolicy, ErrorReport};
pub use topic::{InvalidTopic, Kind, SlotTopic, Topic};
