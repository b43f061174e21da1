//! Compositions: several requests as one, described by a value.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use poa_gilmour::{Call, Composition, Data, Gilmour, MemoryEngine, Message, Topic};
//!
//! let gilmour = Gilmour::new(MemoryEngine::default());
//! let _echo = gilmour.reply(&Topic::new("echo")?, async |call: Call| Message::ok(call.data)).await?;
//! let twice = Composition::parse(r#"{"parallel": [{"requests": {"echo": ""}}, {"requests": {"echo": {"b": 2}}}]}"#)?;
//! let response = gilmour.compose(&twice, Data::parse(r#"{"a": 1}"#)?).await;
//! assert_eq!((response.code(), response.messages().len()), (200, 2));
//! assert_eq!(response.messages()[1].data.json(), r#"{"a":1,"b":2}"#);
//! # Ok(()) }
//! ```

mod evaluate;
mod outline;
mod parse;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watched;

use std::time::Duration;

use async_trait::async_trait;

pub use outline::Outline;
pub use parse::{Bounds, InvalidComposition};

use crate::{Data, Message, Object, Response, Topic};

/// A composition that was checked as a whole. It can be evaluated any number of times.
#[derive(Clone, Debug)]
pub struct Composition(pub(crate) Step);

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Its place in the text: the whole is 0, and an operator comes before its steps.
    number: usize,
    action: Action,
}

/// The meaning of a step.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A request; `merge` is merged into its data first.
    Request { topic: Topic, merge: Option<Object>, timeout: Option<Duration> },
    /// A call of the node that asks, at this path.
    Lambda(String),
    /// Each step gets what the one before it gave; the first failure ends it.
    Pipe(Vec<Step>),
    /// Each step gets the input; the first failure ends it.
    AndAnd(Vec<Step>),
    /// Each step gets the input; the first success ends it.
    OrOr(Vec<Step>),
    /// Each step gets the input, one after the other, whatever they give. All messages are kept when it is recorded.
    Batch { steps: Vec<Step>, record: bool },
    /// Each step gets the input, all at once. All messages are kept, in the order of the steps.
    Parallel(Vec<Step>),
}

/// Makes the calls of a composition. What goes wrong is told by the code of the message.
#[async_trait]
pub trait Caller: Sync {
    /// Sends a request, and waits at most this long.
    async fn request(&self, topic: &Topic, data: &Data, timeout: Duration) -> Message;

    /// Calls the node that asks at this path, and waits at most this long.
    async fn lambda(&self, path: &str, data: &Data, timeout: Duration) -> Message;
}

/// Is told of the steps of a composition while it is evaluated. Steps are numbered as in [`Composition::outline`].
pub trait Watcher: Sync {
    /// A step begins. One that is never reached does not.
    fn began(&self, step: usize);

    /// A step ended with this response.
    fn ended(&self, step: usize, response: &Response);
}

impl Composition {
    /// Reads the JSON form, within the usual [`Bounds`].
    ///
    /// # Errors
    /// The first thing that is wrong, and where it stands. Nothing was run.
    pub fn parse(json: &str) -> Result<Self, InvalidComposition> {
        Self::parse_within(json, Bounds::default())
    }

    /// Reads the JSON form within these bounds.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_within(json: &str, bounds: Bounds) -> Result<Self, InvalidComposition> {
        parse::parse(json, bounds).map(Self)
    }

    /// The topics of all its requests, in their order; one that is asked twice is there twice.
    #[must_use]
    pub fn topics(&self) -> Vec<&Topic> {
        let mut topics = Vec::new();
        self.0.collect(&mut topics);
        topics
    }
}

impl Step {
    fn collect<'a>(&'a self, topics: &mut Vec<&'a Topic>) {
        if let Action::Request { topic, .. } = &self.action {
            topics.push(topic);
        }
        self.action.steps().iter().for_each(|step| step.collect(topics));
    }
}

impl Action {
    /// The steps of an operator.
    fn steps(&self) -> &[Step] {
        match self {
            Self::Request { .. } | Self::Lambda(_) => &[],
            Self::Pipe(steps)
            | Self::AndAnd(steps)
            | Self::OrOr(steps)
            | Self::Batch { steps, .. }
            | Self::Parallel(steps) => steps,
        }
    }
}
