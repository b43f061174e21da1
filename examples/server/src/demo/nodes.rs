//! Two nodes of the Gilmour gateway, as small as nodes are.

use std::collections::BTreeMap;
use std::sync::Arc;

use poa_gilmour::{BAD_REQUEST, Call, Data, Handler, Kind, Message};
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::failure::Failure;
use crate::gilmour::gateway::{Client, Node, as_node};

/// A node, by the topic it serves.
pub(super) struct Small {
    topic: &'static str,
    answer: fn(&Data) -> Option<Message>,
}

/// Answers a text with the list of its words.
pub(super) const WORDS: Small = Small { topic: "words", answer: words };
/// Answers a list of words with how often each of them is in it.
pub(super) const COUNT: Small = Small { topic: "count", answer: count };

fn words(data: &Data) -> Option<Message> {
    let text: String = data.read().ok()?;
    reply(&text.split_whitespace().collect::<Vec<_>>())
}

fn count(data: &Data) -> Option<Message> {
    let words: Vec<String> = data.read().ok()?;
    let mut counts = BTreeMap::new();
    for word in &words {
        *counts.entry(word).or_insert(0) += 1;
    }
    reply(&counts)
}

fn reply<T: Serialize>(value: &T) -> Option<Message> {
    Data::new(value).ok().map(Message::ok)
}

/// Registers a node, and lets it work until `left` is ready; its id.
pub(super) async fn start(
    gateway: &str,
    Small { topic, answer }: Small,
    left: impl Future<Output = ()> + Send + 'static,
) -> Result<(String, JoinHandle<()>), Failure> {
    let client = Client::at(gateway)?;
    let handler = move |call: Call| async move {
        let refused = || Message::failure(BAD_REQUEST, "that is not what this topic takes");
        answer(&call.data).unwrap_or_else(refused)
    };
    let handler: Arc<dyn Handler> = Arc::new(handler);
    let node = Node::bind(handler, Kind::Request).await?;
    let (tell, told) = oneshot::channel();
    let body = json!({"name": format!("demo-{topic}"), "services": [{"topic": topic, "path": "/call", "timeout": 5}]});
    let task = tokio::spawn(async move {
        let served = as_node(&client, node, body, async |id: &str| {
            // Nothing listens when the demo is ending already.
            let _ = tell.send(id.to_owned());
            left.await;
            Ok(())
        });
        if let Err(failure) = served.await {
            tracing::error!("a node of the demo failed: {failure:?}");
        }
    });
    let id = told.await.map_err(|error| Failure::new(format_args!("the node `{topic}`"), error))?;
    Ok((id, task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted() {
        let listed = words(&Data::text("a b a")).unwrap();
        assert_eq!(listed.data.json(), r#"["a","b","a"]"#);
        assert_eq!(count(&listed.data).unwrap().data.json(), r#"{"a":2,"b":1}"#);
        assert!(words(&listed.data).is_none() && count(&Data::text("a")).is_none());
    }
}
