//! `poa-server gilmour`: requests, signals and listening from the command line, by a gateway or over a broker.

mod broker;
mod exec;
pub(crate) mod gateway;

use std::sync::Arc;
use std::time::Duration;

use poa_gilmour::{Call, Data, Handler, Message};

use crate::cli::{Calling, Gilmour, Listening};
use crate::failure::Failure;
use crate::output::{aside, say};

/// Does it. Returns the exit code: of a request 0 when the code of its reply is from 200 to 299, else 1.
pub(crate) async fn gilmour(command: Gilmour) -> Result<u8, Failure> {
    match command {
        Gilmour::Request(options) => request(options).await,
        Gilmour::Signal(options) => signal(options).await,
        Gilmour::Listen(options) => listen(options).await,
    }
}

async fn request(options: Calling) -> Result<u8, Failure> {
    let data = data_of(&options)?;
    let timeout = Duration::from_secs(options.timeout);
    let reply = match broker::connect(&options.way).await? {
        Some(gilmour) => broker::request(gilmour, &options.topic, &data, timeout).await?,
        None => gateway::request(&options.way, &options.topic, &data, timeout).await?,
    };
    say(reply.data.json());
    let code = reply.shown_code();
    if (200..300).contains(&code) {
        return Ok(0);
    }
    Err(Failure::because(format_args!("`{}` answered with code {code}", options.topic)))
}

async fn signal(options: Calling) -> Result<u8, Failure> {
    let data = data_of(&options)?;
    let receivers = match broker::connect(&options.way).await? {
        Some(gilmour) => broker::signal(gilmour, &options.topic, &data).await?,
        None => gateway::signal(&options.way, &options.topic, &data).await?,
    };
    match receivers {
        Some(receivers) => say(format_args!("receivers {receivers}")),
        None => say("sent"),
    }
    Ok(0)
}

/// Listens until it is interrupted.
async fn listen(options: Listening) -> Result<u8, Failure> {
    let handler: Arc<dyn Handler> = match &options.exec {
        Some(command) => Arc::new(exec::Exec::new(command)),
        None => Arc::new(print),
    };
    match broker::connect(&options.way).await? {
        Some(gilmour) => broker::listen(gilmour, &options, handler).await?,
        None => gateway::listen(&options, handler).await?,
    }
    Ok(0)
}

/// Prints each call as a line: its topic and its data. A request gets its own data back.
async fn print(call: Call) -> Message {
    say(format_args!("{} {}", call.topic, call.data.json()));
    Message::ok(call.data)
}

/// Announces the subscription on stderr, so that stdout has the calls alone.
fn announce(options: &Listening) {
    let what = if options.service { "requests" } else { "signals" };
    aside(format_args!("poa-server: listening to {what} of `{}`; Ctrl-C ends it", options.topic));
}

/// Waits for Ctrl-C or a termination signal.
async fn interrupted() -> Result<(), Failure> {
    let failed = |error| Failure::new("cannot wait for signals", error);
    #[cfg(unix)]
    {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut terminated = tokio::signal::unix::signal(kind).map_err(failed)?;
        tokio::select! {
            _ = terminated.recv() => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(failed),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.map_err(failed)
}

/// JSON, or a text where it is not; `null` when there is none.
fn data_of(options: &Calling) -> Result<Data, Failure> {
    let Some(text) = &options.data else { return Ok(Data::null()) };
    match Data::parse(text) {
        Ok(data) => Ok(data),
        Err(error) if options.json => Err(Failure::new("the data is not JSON", error)),
        Err(_) => Ok(Data::text(text)),
    }
}
