//! Handlers and receivers made of closures, for tests and small services.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    BuildContext, CustomHandler, DeliveryError, HandlerContext, HandlerFactory, Message,
    PluginError, Receiver, ReceiverFactory,
};

/// A factory of receivers that call `receive` with each batch. For [`HostBuilder::receiver_from`](crate::HostBuilder::receiver_from).
///
/// The closure is called by one task at a time. The contract of [`Receiver`] applies: `Ok` confirms the batch, and a
/// batch may be delivered again.
///
/// ```
/// use poa_core::{Host, ReceiverOptions, receiver_fn};
///
/// let print = receiver_fn(|batch| async move {
///     batch.iter().for_each(|message| println!("{}", message.agent_id()));
///     Ok(())
/// });
/// let options = ReceiverOptions::subscribe(["readings"]);
/// let host = Host::builder().data_types(["readings"]).receiver_from("print", options, print);
/// # drop(host);
/// ```
#[must_use]
pub fn receiver_fn<F, Fut>(receive: F) -> ReceiverFactory
where
    F: Fn(Vec<Message>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), DeliveryError>> + Send + 'static,
{
    Arc::new(move |_: &BuildContext| {
        let receiver: Box<dyn Receiver> = Box::new(ReceiverFn(receive.clone()));
        Box::pin(async move { Ok(receiver) })
    })
}

/// A factory of handlers that run `run` once. For [`HostBuilder::handler_from`](crate::HostBuilder::handler_from).
///
/// The future has to end soon after [`HandlerContext::shutdown`] fires; see [`CustomHandler::run`].
///
/// ```
/// use poa_core::{Host, handler_fn};
///
/// let tick = handler_fn(|cx| async move {
///     while cx.shutdown().run_until_cancelled(tokio::time::sleep(std::time::Duration::from_secs(1))).await.is_some() {
///         // cx.send_to_receivers(…)
///     }
///     Ok(())
/// });
/// let host = Host::builder().data_types(["readings"]).handler_from("tick", tick);
/// # drop(host);
/// ```
#[must_use]
pub fn handler_fn<F, Fut>(run: F) -> HandlerFactory
where
    F: Fn(HandlerContext) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), PluginError>> + Send + 'static,
{
    Arc::new(move |_: &BuildContext| {
        let handler: Box<dyn CustomHandler> = Box::new(HandlerFn(run.clone()));
        Box::pin(async move { Ok(handler) })
    })
}

struct ReceiverFn<F>(F);

#[async_trait]
impl<F, Fut> Receiver for ReceiverFn<F>
where
    F: Fn(Vec<Message>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), DeliveryError>> + Send + 'static,
{
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        (self.0)(batch.to_vec()).await
    }
}

struct HandlerFn<F>(F);

#[async_trait]
impl<F, Fut> CustomHandler for HandlerFn<F>
where
    F: Fn(HandlerContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), PluginError>> + Send + 'static,
{
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        (self.0)(cx).await
    }
}
