use poa_test_redis::{Peer, Server};

use super::*;
use crate::{Call, Gilmour};

#[test]
fn a_url_that_cannot_be_used_is_named_without_its_password() {
    let error = RedisEngine::new("redis://:secret@host:port", Options::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("redis://…@host:port") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn without_a_server_everything_fails_at_once_with_the_cause() {
    // Port 1 of the loopback: nothing listens there.
    let engine = RedisEngine::new("redis://127.0.0.1:1", Options::default()).unwrap();
    let topic = Topic::new("t").unwrap();
    let request = engine.request(&topic, &Data::null(), Duration::from_secs(60)).await;
    let error = request.unwrap_err();
    assert_eq!(error.code(), 503);
    assert!(error.to_string().starts_with("redis cannot be reached: "), "{error}");
    let data = Data::null();
    assert!(engine.signal(Signal::new(&topic, &data)).await.is_err());
    let slot = Registration::service(&topic, async |_: Call| Message::ok(Data::null()));
    let refused = engine.subscribe(slot).await.unwrap_err();
    assert!(matches!(refused, SubscribeError::Unreachable(_)));
    assert!(!engine.inner.local.has("gilmour.request.t", false));
}

#[tokio::test]
async fn a_channel_that_the_server_refuses_is_told_and_the_others_stand() {
    let server = Server::new();
    let url = format!("redis://some:pass@127.0.0.1:{}", server.port());
    let engine = RedisEngine::new(&url, Options::default()).unwrap();
    // A pattern is allowed word by word, a channel by a pattern.
    let channels = [format!("&{}", engine.inner.replies()), "&gilmour.request.good*".to_owned()];
    let mut rules = vec!["ACL", "SETUSER", "some", "on", ">pass", "~*", "+@all", "resetchannels"];
    rules.extend(["&gilmour.response.*"].into_iter().chain(channels.iter().map(String::as_str)));
    assert_eq!(Peer::connect(server.port()).say(&rules).text(), "OK");
    engine.connect(Duration::from_secs(60)).await.unwrap();
    let gilmour = Gilmour::new(engine);
    let echo = async |call: Call| Message::ok(call.data);
    let topic = |name: &str| Topic::new(name).unwrap();
    let refused = gilmour.reply(&topic("bad"), echo).await.unwrap_err();
    assert!(refused.to_string().contains("gilmour.request.bad"), "{refused}");
    let _good = gilmour.reply(&topic("good"), echo).await.unwrap();
    assert_eq!(gilmour.request(&topic("good"), &Data::null()).await.unwrap().code, 200);
}
