//! The contract of all receivers that store.

use poa_receiver_dynamo::DynamoDb;
use poa_testkit::{receiver_contract, receiver_factory};

use crate::as_blocks::as_blocks;
use crate::common::{client, config, ids, shared};

#[tokio::test(flavor = "multi_thread")]
async fn honours_the_receiver_contract() {
    let (config, client) = (config(&shared()), client(&shared()).await);
    let table = config.table.clone();
    let stored = async || ids(&client, &table).await;
    receiver_contract(as_blocks(receiver_factory::<DynamoDb>(config)), stored).await;
}
