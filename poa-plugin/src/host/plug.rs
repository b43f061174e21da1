//! One kind of a library, as a registry knows it.

use std::sync::Arc;

use poa_core::config::Problem;
use poa_core::{HandlerFactory, HandlerKind, ReceiverFactory, ReceiverKind};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::build::build;
use super::desk::Desk;
use super::error::Cause;
use super::functions;
use super::handler::ForeignHandler;
use super::instance::may_block;
use super::receiver::ForeignReceiver;
use crate::abi::{self, Bytes, Kind, Sink};

/// A kind of a library that was loaded.
#[derive(Debug)]
pub(crate) struct Plug {
    kind: String,
    functions: Kind,
    host: &'static abi::Host,
    schema: Value,
}

impl Plug {
    /// Reads the schema of a kind.
    pub(crate) fn new(
        host: &'static abi::Host,
        kind: &str,
        functions: Kind,
    ) -> Result<Self, Cause> {
        let schema = schema(&functions).map_err(|error| {
            Cause::Descriptor(format!("the schema of `{kind}` is no JSON object: {error}"))
        })?;
        Ok(Self { kind: kind.to_owned(), functions, host, schema })
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    pub(crate) fn functions(&self) -> &Kind {
        &self.functions
    }

    pub(crate) fn host(&self) -> &'static abi::Host {
        self.host
    }

    pub(crate) fn desk(&self) -> &'static Desk {
        // SAFETY: the host was made with its desk.
        unsafe { functions::desk(self.host) }.expect("a host has a desk")
    }

    /// Makes a call where calls of this kind are made.
    pub(crate) fn run(&self, runtime: &Handle, call: impl FnOnce() + Send + 'static) {
        if may_block(&self.functions) {
            drop(runtime.spawn_blocking(call));
        } else {
            call();
        }
    }

    fn check(&self, config: &str) -> Result<(), Vec<Problem>> {
        let Some(validate) = self.functions.validate else { return Ok(()) };
        let mut found = String::new();
        // SAFETY: a function of a library that stays; text and sink are for this call.
        unsafe { validate(Bytes::of(config.as_bytes()), Sink::into(&mut found)) };
        let found: Vec<Found> = match found.trim() {
            "" => Vec::new(),
            text => serde_json::from_str(text).map_err(|error| {
                let library = self.desk().library();
                let message =
                    format!("cannot be checked: {library} reports no list of problems ({error})");
                vec![Problem::new("", message)]
            })?,
        };
        if found.is_empty() {
            return Ok(());
        }
        Err(found.into_iter().map(|found| Problem::new(&found.path, found.message)).collect())
    }
}

/// A problem as a plugin reports it.
#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    path: String,
    message: String,
}

fn schema(functions: &Kind) -> Result<Value, serde_json::Error> {
    let Some(schema) = functions.schema else {
        return Ok(json!({ "type": "object", "additionalProperties": true }));
    };
    let mut text = String::new();
    // SAFETY: a function of a library that stays, which gets a sink for as long as it runs.
    unsafe { schema(Sink::into(&mut text)) };
    serde_json::from_str::<serde_json::Map<_, _>>(&text).map(Value::Object)
}

/// A kind of handler.
pub(crate) struct HandlerPlug(pub(crate) Arc<Plug>);

impl HandlerKind for HandlerPlug {
    fn schema(&self) -> Value {
        self.0.schema.clone()
    }

    fn configure(&self, config: Value) -> Result<HandlerFactory, Vec<Problem>> {
        let (plug, config) = (self.0.clone(), config.to_string());
        plug.check(&config)?;
        Ok(Arc::new(move |cx| {
            let (plug, config) = (plug.clone(), config.clone());
            Box::pin(async move {
                Ok(Box::new(ForeignHandler::new(build(plug, config, cx).await?)) as _)
            })
        }))
    }
}

/// A kind of receiver.
pub(crate) struct ReceiverPlug(pub(crate) Arc<Plug>);

impl ReceiverKind for ReceiverPlug {
    fn schema(&self) -> Value {
        self.0.schema.clone()
    }

    fn configure(&self, config: Value) -> Result<ReceiverFactory, Vec<Problem>> {
        let (plug, config) = (self.0.clone(), config.to_string());
        plug.check(&config)?;
        Ok(Arc::new(move |cx| {
            let (plug, config) = (plug.clone(), config.clone());
            Box::pin(async move {
                Ok(Box::new(ForeignReceiver::new(build(plug, config, cx).await?)) as _)
            })
        }))
    }
}
