use super::*;

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
    let slot = Registration::service(&topic, async |_: crate::Call| Message::ok(Data::null()));
    let refused = engine.subscribe(slot).await.unwrap_err();
    assert!(matches!(refused, SubscribeError::Unreachable(_)));
    assert!(!engine.inner.local.has("gilmour.request.t", false));
}
