//! Evaluation of compositions.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Action, Caller, Composition, Step, Watcher};
use crate::message::BAD_REQUEST;
use crate::{Data, Message, Object, Response, Shape};

/// The longest time anything is given, so that adding it to now is possible.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

impl Composition {
    /// Evaluates it on this input. Steps that are not done within the timeout become messages with code 499, and so do those that come
    /// after them.
    ///
    /// Cancel safe: dropping it drops the calls under way.
    pub async fn evaluate(&self, caller: &dyn Caller, input: Data, timeout: Duration) -> Response {
        Evaluation::new(caller, None, timeout).step(&self.0, input).await
    }

    /// The same, telling of each step.
    pub async fn evaluate_watched(
        &self,
        caller: &dyn Caller,
        watcher: &dyn Watcher,
        input: Data,
        timeout: Duration,
    ) -> Response {
        Evaluation::new(caller, Some(watcher), timeout).step(&self.0, input).await
    }
}

#[derive(Clone, Copy)]
struct Evaluation<'a> {
    caller: &'a dyn Caller,
    watcher: Option<&'a dyn Watcher>,
    deadline: Instant,
}

type Evaluating<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

impl<'a> Evaluation<'a> {
    fn new(caller: &'a dyn Caller, watcher: Option<&'a dyn Watcher>, timeout: Duration) -> Self {
        Self { caller, watcher, deadline: Instant::now() + timeout.min(FOREVER) }
    }

    fn step(self, step: &'a Step, input: Data) -> Evaluating<'a> {
        Box::pin(async move {
            let Some(watcher) = self.watcher else { return self.act(&step.action, input).await };
            watcher.began(step.number);
            let response = self.act(&step.action, input).await;
            watcher.ended(step.number, &response);
            response
        })
    }

    async fn act(self, action: &'a Action, input: Data) -> Response {
        match action {
            Action::Request { topic, merge, timeout } => {
                let data = match merged(input, merge.as_ref()) {
                    Ok(data) => data,
                    Err(message) => return Response::single(message),
                };
                let request = |left| self.caller.request(topic, &data, left);
                self.call(*timeout, request).await
            }
            Action::Lambda(path) => {
                self.call(None, |left| self.caller.lambda(path, &input, left)).await
            }
            Action::Pipe(steps) => self.pipe(steps, input).await,
            Action::AndAnd(steps) => self.until(steps, &input, |it| !it.is_success()).await,
            Action::OrOr(steps) => self.until(steps, &input, Response::is_success).await,
            Action::Batch { steps, record: false } => self.until(steps, &input, |_| false).await,
            Action::Batch { steps, record: true } => self.recorded(steps, &input).await,
            Action::Parallel(steps) => {
                let all = steps.iter().map(|step| self.step(step, input.clone()));
                collected(join_all(all).await)
            }
        }
    }

    /// One call, within its own time and that of the whole.
    async fn call<Fut>(self, own: Option<Duration>, call: impl FnOnce(Duration) -> Fut) -> Response
    where
        Fut: Future<Output = Message>,
    {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = own.map_or(left, |own| own.min(left));
        let late = || Message::timeout(crate::TIMED_OUT);
        if timeout.is_zero() {
            return Response::single(late());
        }
        let message = tokio::time::timeout(timeout, call(timeout)).await;
        Response::single(message.unwrap_or_else(|_| late()))
    }

    async fn pipe(self, steps: &'a [Step], input: Data) -> Response {
        let mut input = input;
        let mut last = Response::of(Vec::new());
        for (index, step) in steps.iter().enumerate() {
            last = self.step(step, input).await;
            if !last.is_success() || index + 1 == steps.len() {
                break;
            }
            input = last.data();
        }
        last
    }

    /// Steps one after the other on the same input, until one satisfies the condition; the response of the last that was run.
    async fn until(
        self,
        steps: &'a [Step],
        input: &Data,
        enough: impl Fn(&Response) -> bool,
    ) -> Response {
        let mut last = Response::of(Vec::new());
        for step in steps {
            last = self.step(step, input.clone()).await;
            if enough(&last) {
                break;
            }
        }
        last
    }

    async fn recorded(self, steps: &'a [Step], input: &Data) -> Response {
        let mut all = Vec::with_capacity(steps.len());
        for step in steps {
            all.push(self.step(step, input.clone()).await);
        }
        collected(all)
    }
}

/// One message of each.
fn collected(responses: Vec<Response>) -> Response {
    Response::of(responses.into_iter().map(Response::inflate).collect())
}

/// The data of a request: with these members, which win. Or why that cannot be.
fn merged(input: Data, merge: Option<&Object>) -> Result<Data, Message> {
    let Some(merge) = merge else { return Ok(input) };
    let cannot = |what: &dyn std::fmt::Display| {
        Message::failure(BAD_REQUEST, &format!("cannot merge an object into {what}"))
    };
    let mut object = match input.shape() {
        Shape::Object => input.read::<Object>().map_err(|error| cannot(&error))?,
        Shape::Null => Object::default(),
        other => return Err(cannot(&other)),
    };
    object.merge(merge);
    Data::new(&object).map_err(|error| cannot(&error))
}
