//! `poa-server plugin test`: the contract suites of the testkit, for a plugin in any language.

use std::any::Any;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use poa_core::{BuildContext, HandlerFactory, ReceiverFactory};
use poa_host::Source;
use poa_testkit::{handler_contract, receiver_contract};
use tokio::process::Command;
use tokio::task::LocalSet;

use crate::cli::Test;
use crate::failure::Failure;
use crate::output::say;
use crate::registry::registry;

/// Runs the suite against one plugin of the configuration, in a data directory of its own.
pub(crate) async fn test(source: Source, options: Test) -> Result<u8, Failure> {
    let config = source.load(&registry())?;
    let dir = tempfile::tempdir().map_err(|e| Failure::new("cannot make a data directory", e))?;
    let name = options.name;
    let missing = |role| Failure::because(format_args!("the configuration has no [{role}.{name}]"));
    let suite = LocalSet::new();
    let running = if let Some(command) = options.send {
        let factory = config.handler(&name).ok_or_else(|| missing("handlers"))?;
        suite.spawn_local(handler(factory, command))
    } else {
        let factory = config.receiver(&name).ok_or_else(|| missing("receivers"))?;
        let command = options.stored.unwrap_or_default();
        suite.spawn_local(receiver(factory, command, dir.path().into()))
    };
    // The suite makes plugins panic, and says what it finds by a panic of its own, which is shown below.
    std::panic::set_hook(Box::new(|_| {}));
    let kept = suite.run_until(running).await;
    drop(std::panic::take_hook());
    let breaks = |broken| Failure::because(format_args!("{name} breaks the contract: {broken}"));
    kept.map_err(|error| breaks(words_of(error.into_panic())))?;
    say(format_args!("{name} keeps the contract"));
    Ok(0)
}

async fn receiver(factory: ReceiverFactory, command: String, dir: Arc<Path>) {
    let data_dir = Arc::clone(&dir);
    // Each host of the suite has a directory of its own; what is stored has to outlive it.
    let factory: ReceiverFactory = Arc::new(move |cx| {
        let (factory, cx) = (factory.clone(), moved(cx, &data_dir));
        Box::pin(async move { factory(&cx).await })
    });
    receiver_contract(factory, async || stored(&command, &dir).await).await;
}

/// The same context, but for the data directory.
fn moved(cx: &BuildContext, data_dir: &Path) -> BuildContext {
    BuildContext::detached(cx.name(), data_dir)
        .with_data_types(cx.data_types().clone())
        .with_telemetry(cx.telemetry().clone())
}

/// The ids that the command prints, as the suite writes them.
async fn stored(command: &str, data_dir: &Path) -> Vec<String> {
    let output = shell(command, |shell| shell.env("POA_DATA_DIR", data_dir)).await;
    assert!(output.status.success(), "`{command}` ended with {}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|id| id.trim().to_owned()).collect()
}

async fn handler(factory: HandlerFactory, command: String) {
    handler_contract(factory, async |endpoints| {
        shell(&command, |shell| shell.arg("send").args(endpoints)).await.status.success()
    })
    .await;
}

async fn shell(command: &str, more: impl FnOnce(&mut Command) -> &mut Command) -> Output {
    let mut shell = Command::new("sh");
    more(shell.args(["-c", command])).kill_on_drop(true);
    shell.output().await.unwrap_or_else(|error| panic!("cannot run `sh`: {error}"))
}

/// How it ended, and what it said of that.
fn said(output: &Output) -> String {
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end())
}

/// The message of a panic.
fn words_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("a panic").to_owned(),
    }
}
