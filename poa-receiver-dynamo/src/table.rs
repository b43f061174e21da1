//! One table: looked at, made, written to.

mod claim;

use std::error::Error;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableDescription, TableStatus, WriteRequest,
};
use poa_core::BuildError;
use tokio::time::Instant;

use crate::Config;
use crate::client::client;
use crate::error::{Place, StoreError};
use crate::item::{MSG_TIME, MSG_TYPE};

/// How long a new table may take before the start goes on without it.
const CREATION: Duration = Duration::from_secs(10);

/// How often to ask meanwhile.
const ASK: Duration = Duration::from_millis(200);

/// A table that may or may not exist.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    client: Client,
    name: String,
    place: Place,
    create: bool,
}

impl Table {
    /// The table of this configuration. Does not ask for it.
    pub(crate) async fn new(config: &Config) -> Result<Self, BuildError> {
        let (client, place) = client(config).await?;
        Ok(Self { client, name: config.table.clone(), place, create: config.create_table })
    }

    /// Makes the table if it is missing and shall be made; waits until it can be used.
    ///
    /// Several hosts may do so at once: one makes it, the others wait for it.
    pub(crate) async fn prepare(&self) -> Result<(), StoreError> {
        match self.check().await {
            Err(StoreError::NoTable { .. }) if self.create => self.make().await?,
            Err(StoreError::NotActive { .. }) => {}
            checked => return checked,
        }
        let deadline = Instant::now() + CREATION;
        loop {
            match self.check().await {
                // A new table may be unknown for a moment in parts of the service.
                Err(StoreError::NotActive { .. } | StoreError::NoTable { .. })
                    if Instant::now() < deadline => {}
                checked => return checked,
            }
            tokio::time::sleep(ASK).await;
        }
    }

    /// Checks that the table exists, has the right keys and can be used.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let description = self.client.describe_table().table_name(&self.name).send().await;
        let description = description.map_err(|error| self.error(error))?;
        let Some(table) = description.table() else { return Err(self.missing()) };
        self.check_keys(table)?;
        match table.table_status() {
            Some(TableStatus::Active | TableStatus::Updating) => Ok(()),
            status => Err(StoreError::NotActive {
                table: self.name.clone(),
                place: self.place.clone(),
                status: status.map_or("in an unknown state", TableStatus::as_str).to_owned(),
            }),
        }
    }

    fn check_keys(&self, table: &TableDescription) -> Result<(), StoreError> {
        let of_type = |name: &str| {
            let mut definitions = table.attribute_definitions().iter();
            let found = definitions.find(|definition| definition.attribute_name() == name);
            found.map_or("?", |definition| definition.attribute_type().as_str())
        };
        let key = |key: &KeySchemaElement| {
            let name = key.attribute_name();
            format!("`{name}` ({}, {})", key.key_type().as_str(), of_type(name))
        };
        let found = table.key_schema().iter().map(key).collect::<Vec<_>>().join(" and ");
        if found == format!("`{MSG_TYPE}` (HASH, S) and `{MSG_TIME}` (RANGE, S)") {
            return Ok(());
        }
        Err(StoreError::WrongKeys { table: self.name.clone(), place: self.place.clone(), found })
    }

    /// Makes the table. That somebody else has just made it is as good.
    async fn make(&self) -> Result<(), StoreError> {
        let request = [(MSG_TYPE, KeyType::Hash), (MSG_TIME, KeyType::Range)].into_iter().fold(
            self.client.create_table(),
            |request, (name, kind)| {
                request.key_schema(key(name, kind)).attribute_definitions(text_attribute(name))
            },
        );
        let request = request.table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        match request.send().await {
            Ok(_) => {
                tracing::info!(table = self.name, place = &*self.place, "made the table");
                Ok(())
            }
            Err(error) => {
                let in_use =
                    error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception());
                if in_use { Ok(()) } else { Err(self.error(error)) }
            }
        }
    }

    /// Writes items, 25 at most; those that DynamoDB did not take are returned.
    pub(crate) async fn write(
        &self,
        items: Vec<WriteRequest>,
    ) -> Result<Vec<WriteRequest>, StoreError> {
        let request = self.client.batch_write_item().request_items(&self.name, items);
        let answer = request.send().await.map_err(|error| self.error(error))?;
        let left = answer.unprocessed_items.unwrap_or_default();
        Ok(left.into_values().flatten().collect())
    }

    /// The error that says that the table is too busy.
    pub(crate) fn busy(&self) -> StoreError {
        let cause = "it leaves items unprocessed".to_owned();
        StoreError::Throttled { table: self.name.clone(), place: self.place.clone(), cause }
    }

    /// The error that says that a batch takes longer than it may.
    pub(crate) fn slow(&self, limit: Duration) -> StoreError {
        StoreError::Slow { table: self.name.clone(), place: self.place.clone(), limit }
    }

    fn error<E>(&self, error: SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        StoreError::new(&self.name, &self.place, error)
    }

    fn missing(&self) -> StoreError {
        StoreError::NoTable { table: self.name.clone(), place: self.place.clone() }
    }
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
    key.build().expect("name and type are given")
}

fn text_attribute(name: &str) -> AttributeDefinition {
    let attribute = AttributeDefinition::builder().attribute_name(name);
    attribute.attribute_type(ScalarAttributeType::S).build().expect("name and type are given")
}
