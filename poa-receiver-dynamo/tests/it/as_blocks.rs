//! The contract's messages are no blocks, and this receiver stores nothing else. So each is put into one, as its body, with the
//! id and the time that it has.

use poa_core::{
    Activity, ControlMessage, DataTypes, DeliveryError, Draft, Format, Message, Payload, Receiver,
    ReceiverFactory, async_trait,
};
use poa_testkit::METRICS;

/// A factory whose receivers get blocks, whatever they are sent.
pub(crate) fn as_blocks(factory: ReceiverFactory) -> ReceiverFactory {
    std::sync::Arc::new(move |cx| {
        let building = factory(cx);
        Box::pin(async move { Ok(Box::new(AsBlocks(building.await?)) as Box<dyn Receiver>) })
    })
}

struct AsBlocks(Box<dyn Receiver>);

/// A block with the data of the message as its body.
fn as_block(message: &Message) -> Message {
    let payload = message.payload();
    let bytes = match payload.format() {
        Format::MessagePack => [b"\x82\xa4type\xa5block\xa4body", &payload.bytes()[..]].concat(),
        _ => [br#"{"type":"block","body":"#, &payload.bytes()[..], b"}"].concat(),
    };
    let types = DataTypes::new(METRICS).unwrap();
    let block = Payload::new(payload.format(), bytes.into());
    let draft = Draft::new(
        message.agent_id().clone(),
        types.get("ethereum_metrics").unwrap().clone(),
        block,
    );
    Message::stamp(draft, message.id(), message.received_at())
}

#[async_trait]
impl Receiver for AsBlocks {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let blocks: Vec<_> = batch.iter().map(as_block).collect();
        self.0.metrics_received(&blocks).await
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.0.handle_inactive(agents).await
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.0.handle_active(agents).await
    }

    async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
        self.0.handle_message(message).await
    }

    async fn terminate(&mut self) {
        self.0.terminate().await;
    }
}
