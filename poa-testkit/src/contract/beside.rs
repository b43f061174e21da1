//! A host beside the receivers that are called without one.

use poa_core::{
    DeliveryError, Message, Receiver, ReceiverContext, ReceiverFactory, ReceiverOptions,
    async_trait,
};
use tokio::sync::watch;

use crate::TestHost;

/// A host whose only receiver gives its context away: what the receivers under test are started with. Messages that they
/// send arrive there.
pub(super) struct Beside {
    host: TestHost,
    context: ReceiverContext,
}

impl Beside {
    /// The name of the receiver in its context.
    pub(super) const NAME: &str = "subject";

    pub(super) async fn start(data_types: &[String]) -> Self {
        let given = watch::Sender::new(None);
        let mut context = given.subscribe();
        let factory: ReceiverFactory = std::sync::Arc::new(move |_| {
            let generous = Box::new(Generous(given.clone())) as Box<dyn Receiver>;
            Box::pin(async { Ok(generous) })
        });
        let options = ReceiverOptions::subscribe(data_types.to_vec());
        let host = TestHost::start_with(data_types, |host| {
            host.receiver_from(Self::NAME, options, factory)
        });
        let host = host.await;
        let context = context.wait_for(Option::is_some).await.expect("the host keeps the factory");
        let context = context.clone().expect("waited for");
        Self { host, context }
    }

    pub(super) fn context(&self) -> ReceiverContext {
        self.context.clone()
    }

    pub(super) async fn stop(self) {
        let report = self.host.stop().await;
        assert!(
            report.is_clean(),
            "the host beside the receiver: not stopped in order: {report:?}"
        );
    }
}

/// Gives its context away, and confirms everything.
struct Generous(watch::Sender<Option<ReceiverContext>>);

#[async_trait]
impl Receiver for Generous {
    async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
        self.0.send_replace(Some(cx));
        Ok(())
    }

    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        Ok(())
    }
}
