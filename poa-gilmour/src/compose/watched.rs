//! Evaluations that are watched, and evaluations that are dropped.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;

use serde_json::json;

use super::tests::{LONG, Services, r};
use super::*;

/// The steps in the order they began, and ended with a code.
#[derive(Default)]
struct Seen(parking_lot::Mutex<Vec<(usize, Option<i64>)>>);

impl Watcher for Seen {
    fn began(&self, step: usize) {
        self.0.lock().push((step, None));
    }

    fn ended(&self, step: usize, response: &Response) {
        self.0.lock().push((step, Some(response.code())));
    }
}

#[tokio::test]
async fn a_watcher_is_told_of_each_step_that_is_reached() {
    let steps = json!({"pipe": [r("one"), {"parallel": [r("two"), r("503")]}, r("three")]});
    let composition = Composition::parse(&steps.to_string()).unwrap();
    let outline = composition.outline();
    let shown =
        |at: usize| (outline[at].depth, outline[at].operator, outline[at].target.as_deref());
    assert_eq!(outline.len(), 6);
    assert_eq!((shown(0), shown(2)), ((0, "pipe", None), (1, "parallel", None)));
    assert_eq!(shown(4), (2, "requests", Some("compose-503")));
    assert_eq!(shown(5), (1, "requests", Some("compose-three")));
    let seen = Seen::default();
    let services = Services::default();
    let response = composition.evaluate_watched(&services, &seen, Data::null(), LONG).await;
    assert_eq!(response.code(), 503);
    let begin = [(0, None), (1, None), (1, Some(200)), (2, None), (3, None), (3, Some(200))];
    let end = [(4, None), (4, Some(503)), (2, Some(503)), (0, Some(503))];
    assert_eq!(*seen.0.lock(), [&begin[..], &end[..]].concat());
}

/// Counts the calls under way, each of which takes three polls.
#[derive(Default)]
struct Calls(AtomicUsize);

struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl Caller for Calls {
    async fn request(&self, _: &Topic, data: &Data, _: Duration) -> Message {
        self.0.fetch_add(1, SeqCst);
        let _under_way = UnderWay(&self.0);
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        Message::ok(data.clone())
    }

    async fn lambda(&self, _: &str, data: &Data, timeout: Duration) -> Message {
        let Ok(topic) = Topic::new("lambda") else { return Message::failure(400, "no topic") };
        self.request(&topic, data, timeout).await
    }
}

#[tokio::test]
async fn an_evaluation_that_is_dropped_at_any_await_leaves_no_call() {
    let both = |operator: &str| json!({operator: [r("one"), {"lambda": "two"}]});
    let steps = json!({"pipe": [both("parallel"), both("andand"), both("oror"), both("batch")]});
    let composition = Composition::parse(&steps.to_string()).unwrap();
    let calls = Calls::default();
    for polls in 0..1000 {
        let mut evaluating = Box::pin(composition.evaluate(&calls, Data::null(), LONG));
        let mut done = false;
        for _ in 0..polls {
            done = poll_fn(|cx| Poll::Ready(evaluating.as_mut().poll(cx).is_ready())).await;
            assert_ne!(done, calls.0.load(SeqCst) > 0);
        }
        drop(evaluating);
        assert_eq!(calls.0.load(SeqCst), 0, "after {polls} polls");
        if done {
            assert!(polls > 10, "each of the calls was cut");
            return;
        }
    }
    panic!("it does not end");
}
