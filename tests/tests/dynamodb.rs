//! Agents that send blocks over REST to a real server, which stores them in a real DynamoDB.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use poa_tests::{Client, Home, Request, Server, now, program, soon, sqlite};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;

const AGENTS: usize = 4;
const BLOCKS: usize = 150;

/// `host:port` of the DynamoDB that all tests share.
fn address() -> String {
    let cure = "set POA_TEST_DYNAMODB to the URL of a DynamoDB Local, or run `cargo xtask test`";
    let url = std::env::var("POA_TEST_DYNAMODB").unwrap_or_else(|_| panic!("{cure}"));
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// The section of a receiver of blocks.
fn blocks(table: &str, more: &str) -> String {
    let endpoint = format!("http://{}", address());
    format!(
        "[receivers.blocks]\nkind = \"dynamodb\"\ntable = \"{table}\"\ncreate_table = true\nendpoint = \"{endpoint}\"\n\
         region = \"us-east-1\"\nsubscribe = [\"ethereum_metrics\"]\n{more}\n"
    )
}

const KEY: &str = "access_key_id = \"test\"\nsecret_access_key = \"a-secret-that-nobody-may-see\"";

fn table() -> String {
    format!("poa-tests-{}-{}", std::process::id(), now())
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_agents_are_in_the_table_once_though_the_server_is_killed() {
    let table = table();
    let home = Home::with(&(sqlite("local", "metrics.db", "") + &blocks(&table, KEY)));
    let server = Server::start(&home).await;
    let token = server.login().await;

    let (half, done) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (notify, count) = (half.clone(), done.clone());
    let agents = send(&server, &token, [0; AGENTS], move || {
        if count.fetch_add(1, Ordering::SeqCst) + 1 == AGENTS * BLOCKS / 2 {
            notify.notify_one();
        }
    });
    soon("half of the blocks are acknowledged", half.notified()).await;
    server.kill().await;
    let acknowledged = ended(agents).await;
    assert!(acknowledged.iter().sum::<usize>() < AGENTS * BLOCKS, "it was killed too late");

    let server = Server::start(&home).await;
    let agents = send(&server, &token, acknowledged, || {});
    assert_eq!(ended(agents).await, [BLOCKS; AGENTS]);
    server.drained("blocks").await;
    let log = home.log() + &server.status().await.to_string();
    assert!(!log.contains("a-secret-that-nobody-may-see"), "the secret shows");
    server.stop().await;

    let mut numbers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for item in items(&table).await {
        let block = &item["payload"]["M"]["block"]["M"];
        assert!(block.get("transactions").is_none() && block.get("uncles").is_none(), "{block}");
        assert_eq!(block["difficulty"]["N"], "340282366920938463463374607431768211", "{block}");
        let number = block["number"]["N"].as_str().unwrap().parse().unwrap();
        numbers.entry(block["agent"]["S"].as_str().unwrap().to_owned()).or_default().push(number);
    }
    assert_eq!(numbers.len(), AGENTS);
    for (agent, numbers) in numbers {
        assert!(numbers.iter().copied().eq(0..BLOCKS), "{agent}: {numbers:?}");
    }
}

#[tokio::test]
async fn a_server_without_credentials_does_not_start_and_says_what_to_do() {
    let home = Home::with(&(sqlite("local", "metrics.db", "") + &blocks(&table(), "")));
    let mut command = Command::new(program());
    command.args(["--config", "poa.toml"]).current_dir(home.path()).env_clear();
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", home.path());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = soon("the server ends", command.spawn().unwrap().wait_with_output()).await.unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success(), "{text}");
    assert!(text.contains("there are no credentials for DynamoDB"), "{text}");
    assert!(text.contains("set `access_key_id` and `secret_access_key`"), "{text}");
}

/// Agents that send their blocks one after the other, from these numbers on, until all are acknowledged or the server is gone.
fn send(
    server: &Server,
    token: &str,
    from: [usize; AGENTS],
    acknowledged: impl Fn() + Clone + Send + 'static,
) -> JoinSet<(usize, usize)> {
    let agent = |agent: usize| {
        let (address, token) = (server.rest().to_owned(), token.to_owned());
        let (acknowledged, mut next) = (acknowledged.clone(), from[agent]);
        async move {
            let mut client = Client::connect(&address).await.unwrap();
            while next < BLOCKS {
                let Ok(answer) = client.exchange(&request(&token, agent, next)).await else {
                    break;
                };
                assert_eq!(answer.status, 200, "{answer:?}");
                next += 1;
                acknowledged();
            }
            (agent, next)
        }
    };
    (0..AGENTS).map(agent).collect()
}

/// How many blocks of each agent are acknowledged, once all have ended.
async fn ended(agents: JoinSet<(usize, usize)>) -> [usize; AGENTS] {
    let mut numbers = soon("the agents end", agents.join_all()).await;
    numbers.sort_unstable();
    std::array::from_fn(|agent| numbers[agent].1)
}

/// A block, which is taken once however often it is sent.
fn request(token: &str, agent: usize, number: usize) -> Vec<u8> {
    let agent = format!("agent-{agent}");
    let body = format!(
        r#"{{"id":"{agent}","type":"ethereum_metrics","data":{{"type":"block","body":{{"agent":"{agent}","number":{number},
        "difficulty":340282366920938463463374607431768211,"transactions":["0x1"],"uncles":[]}}}}}}"#
    );
    let request = Request::post("/data", token).header("idempotency-key", &number.to_string());
    request.json(&body).bytes()
}

/// All blocks in a table by their keys, in the JSON of DynamoDB.
async fn items(table: &str) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut query = json!({
            "TableName": table, "ConsistentRead": true, "KeyConditionExpression": "msg_type = :block",
            "ExpressionAttributeValues": {":block": {"S": "block"}},
        });
        if !after.is_null() {
            query["ExclusiveStartKey"] = after;
        }
        let mut page = ask("Query", &query).await;
        items.append(page["Items"].as_array_mut().unwrap());
        after = page["LastEvaluatedKey"].take();
        if after.is_null() {
            return items;
        }
    }
}

/// Asks DynamoDB Local, which does not check the signature.
async fn ask(operation: &str, body: &Value) -> Value {
    let request = Request::new("POST", "/")
        .header("x-amz-target", &format!("DynamoDB_20120810.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=none",
        );
    let request = String::from_utf8(request.body(body.to_string()).bytes()).unwrap();
    // By HTTP/1.0 the body ends where the connection ends, and is not in chunks.
    let request = request.replacen("HTTP/1.1", "HTTP/1.0", 1);
    let mut client = Client::connect(&address()).await.unwrap();
    client.send(request.as_bytes()).await.unwrap();
    let answer = soon("an answer of DynamoDB", client.end()).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{answer}");
    serde_json::from_str(body).unwrap()
}
