//! Connects the writer to the traits of the host.

use poa_core::config::Problem;
use poa_core::{BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, async_trait};

use crate::Config;
use crate::host_id::host_id;
use crate::table::Table;
use crate::writer::{Counters, Writer};

/// Stores Ethereum blocks in a DynamoDB table.
///
/// All methods are cancel safe: the keys of an item depend on its message alone, so an item that is written again
/// replaces itself.
#[derive(Debug)]
pub struct DynamoDb(Writer);

#[async_trait]
impl Plugin for DynamoDb {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        config.problems()
    }

    /// Checks the table, creates it if it is missing and `create_table` is set, and claims the keys without an id.
    ///
    /// # Errors
    /// [`BuildError::Unavailable`] when DynamoDB cannot be reached or is busy, or the table is not active yet;
    /// [`BuildError::Failed`] when the table is missing or has other keys, or the credentials are missing or refused.
    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let config = config.within(cx);
        let table = Table::new(&config).await?;
        let host = if config.shared { None } else { Some(host_id(cx).await?) };
        let mut writer = Writer::new(table, Counters::new(cx), host, &config);
        writer.prepare().await?;
        Ok(Self(writer))
    }
}

#[async_trait]
impl Receiver for DynamoDb {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        self.0.store(batch).await
    }
}
