//! A handler in a library.

use std::sync::Arc;

use poa_core::{CustomHandler, HandlerContext, PluginError, async_trait};

use super::border::cross;
use super::instance::{InUse, Instance};
use super::served::{Context, Serving};
use crate::abi::Sink;

/// A handler in a library, as seen by the core.
pub(crate) struct ForeignHandler(InUse);

impl ForeignHandler {
    pub(crate) fn new(instance: InUse) -> Self {
        Self(instance)
    }

    /// Notifies the handler of events of the host while it runs. Never returns.
    async fn tell(&self, cx: &HandlerContext) {
        let mut revocations = cx.authenticator().map(|authenticator| authenticator.revocations());
        let mut stopping = false;
        loop {
            let revoked = async {
                match &mut revocations {
                    Some(watch) => watch.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cx.shutdown().cancelled(), if !stopping => {
                    stopping = true;
                    self.0.notify("shutdown", self.0.loaded().functions().shutdown);
                }
                again = revoked => match again {
                    true => self.0.notify("revoked", self.0.loaded().functions().revoked),
                    false => revocations = None,
                },
            }
        }
    }
}

#[async_trait]
impl CustomHandler for ForeignHandler {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        let run = self.0.loaded().functions().run.expect("a handler without `run` is not loaded");
        let serving = Serving::begin(self.0.loaded().table(), Context::Handler(cx.clone()));
        let number = serving.number();
        let ended = self.0.call("run", Arc::new(()), move |instance, (), call| {
            // SAFETY: a function of a library that is never unloaded, with its instance.
            unsafe { run(instance, number, call) }
        });
        tokio::select! {
            answer = ended => answer.of_run(),
            () = self.tell(&cx) => unreachable!("it never ends"),
        }
    }

    fn endpoints(&self) -> Vec<String> {
        endpoints(&self.0)
    }
}

/// The endpoints of an instance; none if its answer is not a list of texts.
pub(crate) fn endpoints(instance: &Instance) -> Vec<String> {
    let Some(endpoints) = instance.loaded().functions().endpoints else { return Vec::new() };
    let mut text = String::new();
    // SAFETY: a function of a library that is never unloaded, with its instance, and a sink that outlives the call.
    let step = || unsafe { endpoints(instance.pointer(), Sink::into(&mut text)) };
    cross(instance.loaded().table().library(), "endpoints", step);
    serde_json::from_str(&text).unwrap_or_default()
}
