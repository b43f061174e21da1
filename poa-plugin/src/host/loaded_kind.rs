//! One kind of a library, as registered.

use std::sync::Arc;

use super::border::cross;
use super::build::build;
use super::call_table::CallTable;
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
pub(crate) struct LoadedKind {
    kind: String,
    functions: Kind,
    table: &'static CallTable,
    schema: Value,
}

impl std::fmt::Debug for LoadedKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedKind").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl LoadedKind {
    /// Reads the schema of a kind.
    pub(crate) fn new(
        table: &'static CallTable,
        kind: &str,
        functions: Kind,
    ) -> Result<Self, Cause> {
        let schema = schema(table, &functions).map_err(|error| {
            let why = brief(&error);
            Cause::Descriptor(format!("the schema of `{kind}` is not a JSON object: {why}"))
        })?;
        Ok(Self { kind: kind.to_owned(), functions, table, schema })
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    pub(crate) fn functions(&self) -> &Kind {
        &self.functions
    }

    pub(crate) fn table(&self) -> &'static CallTable {
        self.table
    }

    /// Makes a call of this function on the thread for calls of this kind.
    pub(crate) fn run(
        &self,
        function: &'static str,
        number: Call,
        call: impl FnOnce() + Send + 'static,
    ) {
        let table = self.table;
        let step = move || cross(table.library(), function, call);
        if !may_block(&self.functions) {
            return step();
        }
        let begun = table.pool().run(move || {
            // If it waited for a thread too long, it was abandoned and is not made.
            if table.is_awaited(number.id) {
                step();
            } else {
                table.complete(number.id, Answer::transient("the call was not made in time"));
            }
        });
        if let Err(error) = begun {
            let why = format!("cannot start a thread for the plugin: {error}");
            table.complete(number.id, Answer::transient(&why));
        }
    }

    fn check(&self, config: &str) -> Result<(), Vec<Problem>> {
        let Some(validate) = self.functions.validate else { return Ok(()) };
        let mut found = String::new();
        // SAFETY: a function of a library that is never unloaded; text and sink outlive the call.
        let step = || unsafe { validate(Bytes::of(config.as_bytes()), Sink::into(&mut found)) };
        cross(self.table.library(), "validate", step);
        let found: Vec<Found> = match found.trim() {
            "" => Vec::new(),
            text => serde_json::from_str(text).map_err(|error| {
                let library = self.table().library();
                let why = brief(&error);
                let message = format!(
                    "cannot be checked: {library} does not report a list of problems ({why})"
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

fn schema(table: &CallTable, functions: &Kind) -> Result<Value, serde_json::Error> {
    let Some(schema) = functions.schema else {
        return Ok(json!({ "type": "object", "additionalProperties": true }));
    };
    let mut text = String::new();
    // SAFETY: a function of a library that is never unloaded, with a sink that outlives the call.
    cross(table.library(), "schema", || unsafe { schema(Sink::into(&mut text)) });
    serde_json::from_str::<serde_json::Map<_, _>>(&text).map(Value::Object)
}

/// The beginning of an error, which may quote a text of any length.
fn brief(error: &serde_json::Error) -> String {
    const MOST: usize = 200;
    let mut text = error.to_string();
    if let Some((end, _)) = text.char_indices().nth(MOST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A kind of handler.
pub(crate) struct LoadedHandler(pub(crate) Arc<LoadedKind>);

impl RoleKind<dyn CustomHandler> for LoadedHandler {
    fn schema(&self) -> Value {
        self.0.schema.clone()
    }

    fn configure(&self, config: Value) -> Result<HandlerFactory, Vec<Problem>> {
        let (loaded, config) = (self.0.clone(), config.to_string());
        loaded.check(&config)?;
        Ok(Arc::new(move |cx| {
            let (loaded, config) = (loaded.clone(), config.clone());
            Box::pin(async move {
                Ok(Box::new(ForeignHandler::new(build(loaded, config, cx).await?)) as _)
            })
        }))
    }
}

/// A kind of receiver.
pub(crate) struct LoadedReceiver(pub(crate) Arc<LoadedKind>);

impl RoleKind<dyn Receiver> for LoadedReceiver {
    fn schema(&self) -> Value {
        self.0.schema.clone()
    }

    fn configure(&self, config: Value) -> Result<ReceiverFactory, Vec<Problem>> {
        let (loaded, config) = (self.0.clone(), config.to_string());
        loaded.check(&config)?;
        Ok(Arc::new(move |cx| {
            let (loaded, config) = (loaded.clone(), config.clone());
            Box::pin(async move {
                Ok(Box::new(ForeignReceiver::new(build(loaded, config, cx).await?)) as _)
            })
        }))
    }
}
