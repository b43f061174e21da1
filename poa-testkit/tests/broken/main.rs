//! The contracts tell who breaks them, and how: each of these plugins breaks one rule.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

mod handlers;
mod receivers;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the panic of this check says; nothing when it ends well.
fn verdict(check: impl Future<Output = ()>) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(check))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned()))
}
