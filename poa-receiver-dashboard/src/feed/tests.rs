use super::*;

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// A frame of 1000 bytes that begins with this text.
fn frame(text: &str) -> Bytes {
    format!("{text:<1000}").into()
}

/// The cost of such a frame.
const COST: usize = 1000 + OVERHEAD;

fn queue(frames: usize) -> Queue {
    Queue::new(frames * COST, std::iter::empty())
}

fn push(queue: &Queue, name: &str, kind: u64, text: &str) {
    queue.push(&agent(name), kind, &frame(text));
}

/// The next frames of the client, without the padding; of notices, agent and count.
async fn next(queue: &Queue, most: usize) -> Vec<String> {
    let text = |frame: Bytes| {
        let text = std::str::from_utf8(&frame).unwrap().trim_end().to_owned();
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(notice) => {
                format!("{} missed {}", notice["agent_id"], notice["data"]["body"]["count"])
            }
            Err(_) => text,
        }
    };
    queue.next(most).await.into_iter().map(text).collect()
}

#[tokio::test]
async fn a_client_that_keeps_up_gets_everything_in_order() {
    let queue = queue(100);
    for n in 0..5 {
        push(&queue, ["a", "b"][n % 2], 1, &format!("live {n}"));
    }
    assert_eq!(next(&queue, 2).await, ["live 0", "live 1"]);
    assert_eq!(next(&queue, 9).await, ["live 2", "live 3", "live 4"]);
}

#[tokio::test]
async fn older_ones_of_the_same_agent_and_type_give_way() {
    let queue = queue(3);
    push(&queue, "a", 1, "a 1");
    push(&queue, "b", 1, "b 1");
    push(&queue, "a", 1, "a 2");
    push(&queue, "a", 1, "a 3");
    push(&queue, "a", 1, "a 4");
    assert_eq!(next(&queue, 9).await, ["b 1", r#""a" missed 2"#, "a 3", "a 4"]);
    push(&queue, "a", 1, "a 5");
    assert_eq!(next(&queue, 9).await, ["a 5"], "told once");
}

#[tokio::test]
async fn the_last_of_its_kind_is_kept_as_long_as_it_can_be() {
    let queue = queue(4);
    push(&queue, "quiet", 1, "quiet");
    push(&queue, "busy", 1, "busy 1");
    push(&queue, "busy", 1, "busy 2");
    push(&queue, "busy", 2, "busy other");
    push(&queue, "new", 1, "new 1");
    assert_eq!(
        next(&queue, 9).await,
        ["quiet", r#""busy" missed 1"#, "busy 2", "busy other", "new 1"]
    );
}

#[tokio::test]
async fn when_nothing_else_helps_the_oldest_goes() {
    let queue = queue(2);
    for name in ["a", "b", "c"] {
        push(&queue, name, 1, name);
    }
    assert_eq!(next(&queue, 9).await, ["b", "c"]);
    push(&queue, "a", 1, "a again");
    assert_eq!(next(&queue, 9).await, [r#""a" missed 1"#, "a again"]);
}

#[tokio::test]
async fn what_does_not_fit_at_all_is_missed_and_pushes_nothing_out() {
    let queue = queue(2);
    push(&queue, "a", 1, "a 1");
    push(&queue, "b", 1, "b 1");
    queue.push(&agent("a"), 1, &Bytes::from(vec![b'x'; 3 * COST]));
    assert_eq!(next(&queue, 9).await, [r#""a" missed 1"#, "a 1", "b 1"]);
}

#[test]
fn agents_are_told_of_once_unless_they_are_forgotten() {
    let agents = ["a", "b", "c", "d"].map(agent);
    let queue = Queue::new(2 * COST, agents.iter().cloned());
    queue.forget(&agents[1]);
    assert!(queue.take_if_untold(&agents[2]) && !queue.take_if_untold(&agents[2]));
    assert_eq!(queue.take_untold(1), agents[..1]);
    assert!(queue.has_untold());
    assert_eq!(queue.take_untold(9), agents[3..]);
    assert!(!queue.has_untold() && queue.take_untold(9).is_empty());
}

#[test]
fn no_more_than_the_limit_is_held() {
    let queue = queue(50);
    for n in 0..10_000_u64 {
        push(&queue, &format!("agent {}", n * 31 % 100), n % 7, "x");
    }
    let waiting = queue.waiting.lock();
    assert_eq!((waiting.bytes, waiting.frames.len()), (50 * COST, 50));
    let alike: usize = waiting.alike.values().map(VecDeque::len).sum();
    assert_eq!(alike, 50);
    assert!(waiting.superseded.len() < 50 && waiting.missed.len() <= 100);
    let missed: u64 = waiting.missed.values().sum();
    assert_eq!(missed, 9_950);
}

#[tokio::test]
async fn waiting_ends_with_the_next_frame() {
    let queue = queue(2);
    let (frames, ()) = tokio::join!(next(&queue, 1), async { push(&queue, "a", 1, "here") });
    assert_eq!(frames, ["here"]);
}
