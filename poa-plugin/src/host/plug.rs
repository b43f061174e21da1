//! One kind of a library, as registered.

use std::sync::Arc;

use super::border::cross;
use super::build::build;
use super::desk::Desk;
use super::error::Cause;
use super::handler::ForeignHandler;
use super::instance::may_block;
use super::outcome::Answer;
use super::receiver::ForeignReceiver;
use crate::abi::{Bytes, Call, Kind, Sink};
use poa_core::config::Problem;
use poa_core::{CustomHandler, HandlerFactory, Kind as RoleKind, Receiver, ReceiverFactory};
use serde::Deserialize;
use serde_json::{Value, json};

/// A kind of a loaded library.
pub(crate) struct Plug {
    kind: String,
    functions: Kind,
    desk: &'static Desk,
    schema: Value,
}

impl std::fmt::Debug for Plug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plug").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Plug {
    /// Reads the schema of a kind.
    pub(crate) fn new(desk: &'static Desk, kind: &str, functions: Kind) -> Result<Self, Cause> {
        let schema = schema(desk, &functions).map_err(|error| {
            Cause::Descriptor(format!("the schema of `{kind}` is not a JSON object: {error}"))
        })?;
        Ok(Self { kind: kind.to_owned(), functions, desk, schema })
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    pub(crate) fn functions(&self) -> &Kind {
        &self.functions
    }

    pub(crate) fn desk(&self) -> &'static Desk {
        self.desk
    }

    /// Makes a call of this function on the thread for calls of this kind.
    pub(crate) fn run(
        &self,
        function: &'static str,
        number: Call,
        call: impl FnOnce() + Send + 'static,
    ) {
        let desk = self.desk;
        let step = move || cross(desk.library(), function, call);
        if !may_block(&self.functions) {
            return step();
        }
        let begun = desk.crew().run(move || {
            // If it waited for a thread too long, it was abandoned and is not made.
            if desk.is_awaited(number.id) {
                step();
            } else {
                desk.complete(number.id, Answer::transient("the call was not made in time"));
            }
        });
        if let Err(error) = begun {
            let why = format!("cannot start a thread for the plugin: {error}");
            desk.complete(number.id, Answer::transient(&why));
        }
    }

    fn check(&self, config: &str) -> Result<(), Vec<Problem>> {
        let Some(validate) = self.functions.validate else { return Ok(()) };
        let mut found = String::new();
        // SAFETY: a function of a library that is never unloaded; text and sink outlive the call.
        let step = || unsafe { validate(Bytes::of(config.as_bytes()), Sink::into(&mut found)) };
        cross(self.desk.library(), "validate", step);
        let found: Vec<Found> = match found.trim() {
            "" => Vec::new(),
            text => serde_json::from_str(text).map_err(|error| {
                let library = self.desk().library();
                let message = format!(
                    "cannot be checked: {library} does not report a list of problems ({error})"
                );
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

fn schema(desk: &Desk, functions: &Kind) -> Result<Value, serde_json::Error> {
    let Some(schema) = functions.schema else {
        return Ok(json!({ "type": "object", "additionalProperties": true }));
    };
    let mut text = String::new();
    // SAFETY: a function of a library that is never unloaded, with a sink that outlives the call.
    cross(desk.library(), "schema", || unsafe { schema(Sink::into(&mut text)) });
    serde_json::from_str::<serde_json::Map<_, _>>(&text).map(Value::Object)
}

/// A kind of handler.
pub(crate) struct HandlerPlug(pub(crate) Arc<Plug>);

impl RoleKind<dyn CustomHandler> for HandlerPlug {
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

impl RoleKind<dyn Receiver> for ReceiverPlug {
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
