//! Nodes that do what no node should.

use serde_json::json;

use crate::support::{Does, Gateway, Node, config, echo, read};

/// The code that a call of such a node comes to, and that the gateway still works then.
async fn code_of(does: impl Fn() -> Does + Send + Sync + 'static) -> (u16, String) {
    let gateway = Gateway::start(read("nodes = { answer = \"1MiB\" }")).await;
    let node =
        Node::start(move |path, call| if path == "/bad" { does() } else { echo(path, call) }).await;
    let id = gateway.register(node.serving(&["bad", "good"])).await;
    let (status, answer) = gateway.request(&id, "bad", json!(1)).await;
    assert_eq!(answer["messages"][0]["code"], json!(status));
    assert_eq!(gateway.request(&id, "good", json!(1)).await.0, 200);
    (status, answer["messages"][0]["data"].to_string())
}

#[tokio::test]
async fn one_that_closes_without_an_answer_is_502() {
    let (code, text) = code_of(|| Does::Close).await;
    assert_eq!(code, 502);
    assert!(text.contains("the node"), "{text}");
}

#[tokio::test]
async fn one_that_answers_nonsense_is_502() {
    assert_eq!(code_of(|| Does::Write(b"nonsense\r\n\r\n".to_vec())).await.0, 502);
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec();
    assert_eq!(code_of(move || Does::Write(cut.clone())).await.0, 502);
}

#[tokio::test]
async fn one_that_redirects_is_502_and_not_followed() {
    let redirect = b"HTTP/1.1 302 Found\r\nlocation: /good\r\ncontent-length: 0\r\n\r\n".to_vec();
    let (code, text) = code_of(move || Does::Write(redirect.clone())).await;
    assert_eq!(code, 502);
    assert!(text.contains("302"), "{text}");
}

#[tokio::test]
async fn one_that_answers_too_much_is_502() {
    let (code, text) = code_of(|| Does::Answer(200, json!("x".repeat(10 << 20)))).await;
    assert_eq!(code, 502);
    assert!(text.contains("1048576"), "{text}");
}

#[tokio::test]
async fn one_that_answers_text_is_a_string() {
    let plain = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain".to_vec();
    assert_eq!(code_of(move || Does::Write(plain.clone())).await, (200, "\"plain\"".to_owned()));
    let empty = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
    assert_eq!(code_of(move || Does::Write(empty.clone())).await, (200, "null".to_owned()));
}

#[tokio::test]
async fn one_that_dies_in_a_call_is_502_and_the_next_one_on_its_port_is_asked_first() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(|_, _| Does::Hang).await;
    let id = gateway.register(node.serving(&["t"])).await;
    let dying = async {
        while node.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        node.stop().await
    };
    let ((status, answer), port) = tokio::join!(gateway.request(&id, "t", json!(1)), dying);
    assert_eq!((status, answer["messages"][0]["code"].clone()), (502, json!(502)));
    // Another program, which does not know the health path.
    let stranger = Node::start_at(port, echo).await;
    stranger.health.store(404, std::sync::atomic::Ordering::SeqCst);
    gateway.until(&id, "unavailable").await;
    assert_eq!(stranger.calls(), []);
}
