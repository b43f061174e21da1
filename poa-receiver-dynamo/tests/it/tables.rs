//! Tables that are missing, wrong, or made by several at once.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use poa_receiver_dynamo::Config;

use crate::common::{Subject, build_error, client, config, failed, shared, transient, unavailable};
use crate::local::Port;
use crate::proxy::{Action, Proxy};

fn without_create(mut config: Config) -> Config {
    config.create_table = false;
    config
}

#[tokio::test]
async fn a_table_is_made_once_by_hosts_that_start_together() {
    let config = config(&shared());
    tokio::join!(
        Subject::with(config.clone()),
        Subject::with(config.clone()),
        Subject::with(config.clone())
    );
    let described = client(&shared()).await.describe_table().table_name(&config.table).send().await;
    let table = described.unwrap().table.unwrap();
    let billing = table.billing_mode_summary().unwrap().billing_mode().unwrap();
    assert_eq!(*billing, BillingMode::PayPerRequest);
    Subject::with(without_create(config)).await;
}

#[tokio::test]
async fn a_missing_table_ends_the_start_and_the_error_names_the_cure() {
    let config = without_create(config(&shared()));
    let text = failed(build_error(config.clone()).await);
    let wanted = format!(
        "table `{}` in {} does not exist; create it, or set `create_table = true`",
        config.table,
        shared()
    );
    assert_eq!(text, wanted);
}

/// Makes a table whose sort key is a number, `at`.
async fn create_wrong(client: &Client, table: &str) {
    let attribute = |name, kind| {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
        attribute.build().unwrap()
    };
    let key = |name, kind| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
    };
    let request = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    request
        .attribute_definitions(attribute("msg_type", ScalarAttributeType::S))
        .attribute_definitions(attribute("at", ScalarAttributeType::N))
        .key_schema(key("msg_type", KeyType::Hash))
        .key_schema(key("at", KeyType::Range))
        .send()
        .await
        .unwrap();
}

const WRONG_KEYS: &str =
    "has the keys `msg_type` (HASH, S) and `at` (RANGE, N); it needs the partition key `msg_type`";

#[tokio::test]
async fn a_table_with_other_keys_is_refused() {
    let config = config(&shared());
    create_wrong(&client(&shared()).await, &config.table).await;
    let text = failed(build_error(config).await);
    assert!(text.contains(WRONG_KEYS), "{text}");
}

#[tokio::test]
async fn nobody_there_is_something_that_may_heal() {
    let port = Port::hold();
    let url = port.url();
    let text = unavailable(build_error(config(&url)).await);
    assert!(text.starts_with(&format!("cannot reach DynamoDB in {url}: ")), "{text}");
    assert!(
        text.contains("Connection refused") && text.contains("check that it is running"),
        "{text}"
    );
    assert!(!text.contains("service error") && !text.contains("dispatch failure"), "{text}");
}

#[tokio::test]
async fn somebody_who_never_answers_is_not_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = config(&url).request_timeout(std::time::Duration::from_millis(300));
    let text = unavailable(build_error(config).await);
    assert!(text.contains("300") && text.contains("timeout"), "{text}");
}

#[tokio::test]
async fn refused_credentials_end_the_start_with_what_aws_says() {
    let message = "The security token included in the request is invalid.";
    let proxy = Proxy::start(move |_| Action::Refuse("UnrecognizedClientException", message)).await;
    let text = failed(build_error(config(&proxy.url)).await);
    let cause = "refuses the credentials: UnrecognizedClientException: The security token included in the request is invalid.";
    assert!(text.contains(cause), "{text}");
    assert!(text.contains("check the access key"), "{text}");
}

/// A policy can allow all but the claim; this must be reported before a block is lost.
#[tokio::test]
async fn a_host_that_may_not_claim_the_plain_times_says_what_it_needs() {
    let proxy = Proxy::start(|call| match &*call.operation {
        "PutItem" => Action::Refuse("AccessDeniedException", "not authorized to perform PutItem"),
        _ => Action::Forward,
    })
    .await;
    let text = failed(build_error(config(&proxy.url)).await);
    assert!(text.contains("AccessDeniedException: not authorized to perform PutItem"), "{text}");
    assert!(text.contains("PutItem (not with `shared`)"), "{text}");
    Subject::with(config(&proxy.url).shared()).await;
}

#[tokio::test]
async fn a_table_that_is_dropped_is_made_again_and_nothing_is_lost() {
    let mut subject = Subject::new().await;
    let batch = subject.blocks(30);
    subject.client.delete_table().table_name(&subject.config.table).send().await.unwrap();
    let text = transient(subject.try_store(&batch).await);
    assert!(text.contains("does not exist"), "{text}");
    subject.store(&batch).await;
    subject.assert_stored(&batch).await;
}

#[tokio::test]
async fn a_table_replaced_by_a_wrong_one_blames_no_message() {
    let mut subject = Subject::new().await;
    let batch = subject.blocks(3);
    let table = subject.config.table.clone();
    subject.client.delete_table().table_name(&table).send().await.unwrap();
    create_wrong(&subject.client, &table).await;
    let text = transient(subject.try_store(&batch).await);
    assert!(text.contains(WRONG_KEYS), "{text}");

    subject.client.delete_table().table_name(&table).send().await.unwrap();
    subject.store(&batch).await;
    subject.assert_stored(&batch).await;
}
