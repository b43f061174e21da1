//! One table: checking, creating, writing.

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

/// The time limit for a new table to become active, before the start continues without it.
const CREATION: Duration = Duration::from_secs(10);

/// The interval of checks meanwhile.
const ASK: Duration = Duration::from_millis(200);

/// A table that may not exist yet.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    client: Client,
    name: String,
    place: Place,
    create: bool,
}

impl Table {
    /// The table of this configuration. Sends no request.
    pub(crate) async fn new(config: &Config) -> Result<Self, BuildError> {
        let (client, place) = client(config).await?;
        Ok(Self { client, name: config.table.clone(), place, create: config.create_table })
    }

    /// Creates the table if it is missing and `create_table` is set; waits until it is active.
    ///
    /// Several hosts can do so at the same time: one creates it, the others wait for it.
    pub(crate) async fn prepare(&self) -> Result<(), StoreError> {
        match self.check().await {
            Err(StoreError::NoTable { .. }) if self.create => self.make().await?,
            Err(StoreError::NotActive { .. }) => {}
            checked => return checked,
        }
        let deadline = Instant::now() + CREATION;
        loop {
            match self.check().await {
                // A new table can be unknown to parts of the service for a moment.
                Err(StoreError::NotActive { .. } | StoreError::NoTable { .. })
                    if Instant::now() < deadline => {}
                checked => return checked,
            }
            tokio::time::sleep(ASK).await;
        }
    }

    /// Checks that the table exists, has the right keys and is active.
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

    /// Creates the table. It is not an error if another host has just created it.
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
                tracing::info!(table = self.name, place = &*self.place, "created the table");
                Ok(())
            }
            Err(error) => {
                let in_use =
                    error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception());
                if in_use { Ok(()) } else { Err(self.error(error)) }
            }
        }
    }

    /// Writes at most 25 items; returns those that DynamoDB did not process.
    pub(crate) async fn write(
        &self,
        items: Vec<WriteRequest>,
    ) -> Result<Vec<WriteRequest>, StoreError> {
        let request = self.client.batch_write_item().request_items(&self.name, items);
        let answer = request.send().await.map_err(|error| self.error(error))?;
        let left = answer.unprocessed_items.unwrap_or_default();
        Ok(left.into_values().flatten().collect())
    }

    /// The error for a table that is too busy.
    pub(crate) fn busy(&self) -> StoreError {
        let cause = "it leaves items unprocessed".to_owned();
        StoreError::Throttled { table: self.name.clone(), place: self.place.clone(), cause }
    }

    /// The error for a batch that exceeds its time limit.
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
