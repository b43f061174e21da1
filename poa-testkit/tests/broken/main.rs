//! The contracts detect violations and name them: each of these plugins violates one rule.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

mod engines;
mod handlers;
mod receivers;
mod rejections;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs this check in paused time; returns the message of its panic, `None` if it passes.
fn verdict(check: impl Future<Output = ()>) -> Option<String> {
    verdict_on(runtime().start_paused(true), check)
}

/// The same for checks that wait for a disk: paused time would advance meanwhile.
fn verdict_in_real_time(check: impl Future<Output = ()>) -> Option<String> {
    verdict_on(&mut runtime(), check)
}

fn runtime() -> tokio::runtime::Builder {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time();
    runtime
}

fn verdict_on(
    runtime: &mut tokio::runtime::Builder,
    check: impl Future<Output = ()>,
) -> Option<String> {
    let runtime = runtime.build().unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(check))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned()))
}
