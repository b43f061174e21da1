//! The commands that ask a running server over its admin listener.

mod client;
mod table;

use std::io::BufRead as _;
use std::path::Path;

use poa_host::{Plan, Source};
use serde_json::Value;

use crate::cli::{PlanArgs, Reload, Tap, Top};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{give, say};
use crate::registry::registry;
use client::Client;

/// Prints messages as they are delivered.
pub(crate) fn tap(options: &Tap, cx: Context<'_>) -> Result<u8, Failure> {
    let client = Client::of(&cx.data(&options.place)?)?;
    let mut query = vec![("rate", options.rate.to_string())];
    let filters =
        [("type", &options.data_type), ("agent", &options.agent), ("receiver", &options.receiver)];
    for (key, value) in filters {
        query.extend(value.clone().map(|value| (key, value)));
    }
    let lines = client.get("/tap", &query)?.lines()?;
    let most = options.count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    for line in lines.lines().take(most) {
        let line = line.map_err(|error| client.lost(error))?;
        give(format!("{line}\n").as_bytes());
    }
    Ok(0)
}

/// Shows a live table.
pub(crate) fn top(options: &Top, cx: Context<'_>) -> Result<u8, Failure> {
    let client = Client::of(&cx.data(&options.place)?)?;
    let lines = client.get("/top", &[])?.lines()?;
    // The first count covers less than a second.
    for line in lines.lines().skip(1) {
        let line = line.map_err(|error| client.lost(error))?;
        let counts: Value = serde_json::from_str(&line).map_err(|error| client.lost(error))?;
        let status = client.get("/status", &[])?.json()?;
        let table = table::draw(&status, &counts);
        if options.once {
            say(table);
            return Ok(0);
        }
        say(table::on_a_fresh_screen(&table));
    }
    Ok(0)
}

/// Reloads, and says how it went.
pub(crate) fn reload(options: &Reload, cx: Context<'_>) -> Result<u8, Failure> {
    let client = Client::of(&cx.data(&options.place)?)?;
    let done = client.post("/reload", &[])?.json()?;
    if let Ok(plan) = serde_json::from_value::<Plan>(done["plan"].clone()) {
        say(plan);
    }
    let result = done["result"].as_str().unwrap_or("unknown");
    if let Some(reason) = done["reason"].as_str() {
        let failure = Failure::because(format_args!("{result}: {reason}"));
        return if result == "applied" {
            say(reason);
            Ok(0)
        } else {
            Err(failure)
        };
    }
    say(format_args!("{result} in {} ms", done["took_ms"]));
    Ok(0)
}

/// Prints what a reload would do.
pub(crate) fn plan(options: &PlanArgs, cx: Context<'_>) -> Result<u8, Failure> {
    let source = cx.source();
    if let Some(from) = &options.from {
        let old = Source::File(from.clone()).load(&registry())?;
        say(Plan::between(&old, &source.load(&registry())?));
        return Ok(0);
    }
    let client = Client::of(&cx.data(&options.place)?)?;
    let file = match &source {
        Source::File(file) => Some(whole(file)?),
        Source::Text { .. } => None,
    };
    let query: Vec<_> = file.into_iter().map(|file| ("file", file)).collect();
    let plan = client.post("/plan", &query)?.json()?;
    let plan: Plan = serde_json::from_value(plan).map_err(|error| client.lost(error))?;
    say(plan);
    Ok(0)
}

/// A path that means the same to the server.
fn whole(file: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(file)
        .map_err(|error| Failure::new(format_args!("cannot resolve {}", file.display()), error))?;
    Ok(path.display().to_string())
}
