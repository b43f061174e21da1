use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, advance};

use super::fake::{Published, bus};
use super::monitor::Watch;
use super::{ActivityMonitor, Journal, Watcher};
use crate::bus::Bus;
use crate::{Activity, AgentId};

const TIMEOUT: Duration = Duration::from_secs(7);

fn monitor() -> (ActivityMonitor, Published) {
    run(|bus| Watcher::new(bus, TIMEOUT))
}

fn run(make: impl FnOnce(Bus) -> Watcher) -> (ActivityMonitor, Published) {
    let (bus, published) = bus();
    let watcher = Arc::new(make(bus));
    let monitor = ActivityMonitor::of(&watcher);
    tokio::spawn(async move { watcher.run().await });
    (monitor, published)
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

async fn next(published: &Published) -> Vec<Activity> {
    published.next().await
}

fn nothing_said(published: &Published) -> bool {
    published.is_empty()
}

#[tokio::test(start_paused = true)]
async fn each_of_100_000_silent_agents_is_reported_once_in_time() {
    let (monitor, reader) = monitor();
    let mut last_ping = HashMap::new();
    // Every agent pings four times, each at its own times.
    for round in 0..4 {
        for n in 0..100_000 {
            let agent = agent(&format!("agent-{n}"));
            monitor.ping(&agent);
            last_ping.insert(agent, Instant::now());
            if n % 1000 == 0 {
                advance(Duration::from_millis(30)).await;
            }
        }
        assert_eq!(monitor.active(), 100_000, "round {round}");
    }
    let mut inactive = 0;
    while inactive < 100_000 {
        for change in next(&reader).await {
            if change.active {
                continue;
            }
            let silent = last_ping.remove(&change.agent_id).expect("reported once").elapsed();
            assert!(silent >= TIMEOUT && silent <= Duration::from_millis(7500), "{silent:?}");
            inactive += 1;
        }
    }
    assert_eq!(monitor.active(), 0);
    advance(Duration::from_secs(60)).await;
    assert!(nothing_said(&reader));
}

#[tokio::test(start_paused = true)]
async fn data_resets_a_running_timer_and_never_starts_one() {
    let (monitor, reader) = monitor();
    let (pinging, silent) = (agent("pinging"), agent("never pings"));
    monitor.data(&silent);
    monitor.ping(&pinging);
    assert_eq!(next(&reader).await.len(), 1);
    for _ in 0..5 {
        advance(Duration::from_secs(6)).await;
        monitor.data(&pinging);
    }
    assert!(nothing_said(&reader));
    let since = Instant::now();
    let changes = next(&reader).await;
    assert_eq!(changes.len(), 1);
    assert_eq!((&changes[0].agent_id, changes[0].active), (&pinging, false));
    assert!(since.elapsed() >= TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn each_handler_has_its_own_timeout_and_the_longest_counts() {
    let (monitor, reader) = monitor();
    let patient = monitor.clone().with_timeout(Duration::from_secs(30));
    let hasty = monitor.clone().with_timeout(Duration::from_secs(2));
    patient.ping(&agent("seldom"));
    hasty.ping(&agent("often"));
    monitor.ping(&agent("both"));
    assert_eq!(next(&reader).await.len(), 3);
    let begin = Instant::now();
    // Data over another handler does not shorten the time of a ping, and may extend it.
    hasty.data(&agent("seldom"));
    patient.data(&agent("both"));
    let mut silent = Vec::new();
    while silent.len() < 3 {
        for change in next(&reader).await {
            assert!(!change.active, "{change:?}");
            silent.push((change.agent_id.to_string(), begin.elapsed()));
        }
    }
    silent.sort();
    for ((name, silent), after) in silent.into_iter().zip([30, 2, 30].map(Duration::from_secs)) {
        assert!(silent >= after && silent < after + TIMEOUT / 2, "{name}: {silent:?}");
    }
}

/// It is not known over which handler it was heard before the restart.
#[tokio::test(start_paused = true)]
async fn after_a_restart_an_agent_has_the_longest_timeout_of_all_handlers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("active-agents");
    let (mut journal, _) = Journal::open(&path).unwrap();
    ["seldom", "often"].iter().for_each(|name| journal.note(&agent(name), true));
    let (journal, active) = Journal::open(&path).unwrap();
    let patience = Duration::from_secs(30);
    let (monitor, reader) = run(|bus| {
        let watcher = Watcher::new(bus, TIMEOUT);
        watcher.expect_timeout(patience);
        watcher.remembering(journal, active)
    });
    let begin = Instant::now();
    monitor.ping(&agent("often"));
    assert!(next(&reader).await[0].active);
    for (name, after) in [("often", TIMEOUT), ("seldom", patience)] {
        let changes = next(&reader).await;
        assert_eq!((changes[0].agent_id.as_str(), changes[0].active), (name, false));
        let silent = begin.elapsed();
        assert!(silent >= after && silent < after + TIMEOUT, "{name}: {silent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bye_is_reported_immediately_and_once() {
    let (monitor, reader) = monitor();
    let one = agent("one");
    monitor.ping(&one);
    monitor.bye(&one);
    monitor.bye(&one);
    let changes = next(&reader).await;
    assert_eq!(changes.iter().map(|change| change.active).collect::<Vec<_>>(), [true, false]);
    advance(Duration::from_secs(30)).await;
    assert!(nothing_said(&reader));
    monitor.ping(&one);
    assert!(next(&reader).await[0].active);
}

#[tokio::test(start_paused = true)]
async fn bye_after_silence_is_not_reported() {
    let (monitor, reader) = monitor();
    let one = agent("one");
    monitor.ping(&one);
    assert!(next(&reader).await[0].active);
    assert!(!next(&reader).await[0].active);
    monitor.bye(&one);
    assert!(nothing_said(&reader));
    // Data makes receivers regard it as active, so a bye is now a change.
    monitor.data(&one);
    monitor.bye(&one);
    assert!(!next(&reader).await[0].active);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_pinged_can_leave() {
    let (monitor, reader) = monitor();
    monitor.bye(&agent("one"));
    assert!(!next(&reader).await[0].active);
}

fn watches_nobody(monitor: &ActivityMonitor) -> bool {
    let Watch::Here(watcher) = &monitor.watch else { panic!("the monitor reports elsewhere") };
    watcher.wheel.lock().is_empty()
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_silent_for_long_is_forgotten() {
    let (monitor, reader) = monitor();
    monitor.ping(&agent("one"));
    next(&reader).await;
    next(&reader).await;
    assert!(!watches_nobody(&monitor));
    for _ in 0..400 {
        advance(Duration::from_secs(10)).await;
        tokio::task::yield_now().await;
    }
    assert!(watches_nobody(&monitor));
    assert!(nothing_said(&reader));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_come_back_after_a_restart_is_inactive() {
    let dir = tempfile::tempdir().unwrap();
    let remembering = |bus| {
        let (journal, active) = Journal::open(&dir.path().join("active-agents")).unwrap();
        Watcher::new(bus, TIMEOUT).remembering(journal, active)
    };
    let (before, _reader) = run(remembering);
    for name in ["gone", "back", "left"] {
        before.ping(&agent(name));
    }
    before.bye(&agent("left"));

    let (after, reader) = run(remembering);
    assert_eq!(after.active(), 2);
    advance(TIMEOUT / 2).await;
    after.ping(&agent("back"));
    let changes = next(&reader).await;
    assert_eq!((changes[0].agent_id.as_str(), changes[0].active), ("back", true), "reported again");
    let changes = next(&reader).await;
    assert_eq!((changes[0].agent_id.as_str(), changes[0].active), ("gone", false));
    assert_eq!(after.active(), 1);
    let changes = next(&reader).await;
    assert_eq!((changes[0].agent_id.as_str(), changes[0].active), ("back", false));
}

/// The changes reported when `link` closes.
async fn said_at_the_end(link: super::Link, reader: &Published) -> Vec<(String, bool)> {
    drop(link);
    let changes = if nothing_said(reader) { Vec::new() } else { next(reader).await };
    let mut said: Vec<_> =
        changes.iter().map(|change| (change.agent_id.to_string(), change.active)).collect();
    said.sort();
    said
}

fn inactive(name: &str) -> (String, bool) {
    (name.to_owned(), false)
}

#[tokio::test(start_paused = true)]
async fn agents_become_inactive_when_their_link_closes() {
    let (monitor, reader) = monitor();
    let mut link = monitor.link();
    link.ping(&agent("pings"));
    link.data(&agent("sends"));
    link.ping(&agent("left"));
    link.bye(&agent("left"));
    next(&reader).await;
    let said = said_at_the_end(link, &reader).await;
    assert_eq!(said, [inactive("pings"), inactive("sends")]);
    assert_eq!(monitor.active(), 0);
    advance(Duration::from_secs(60)).await;
    assert!(nothing_said(&reader));
}

#[tokio::test(start_paused = true)]
async fn an_agent_heard_elsewhere_since_stays_active() {
    let (monitor, reader) = monitor();
    let (mut one, mut other) = (monitor.link(), monitor.link());
    for name in ["pings elsewhere", "sends elsewhere", "on the other", "sends on the other"] {
        one.data(&agent(name));
    }
    one.ping(&agent("on the other"));
    monitor.ping(&agent("pings elsewhere"));
    monitor.data(&agent("sends elsewhere"));
    other.ping(&agent("on the other"));
    other.data(&agent("sends on the other"));
    next(&reader).await;
    assert_eq!(said_at_the_end(one, &reader).await, []);
    let said = said_at_the_end(other, &reader).await;
    assert_eq!(said, [inactive("on the other"), inactive("sends on the other")]);
    assert_eq!(monitor.active(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_link_knows_its_agents_by_their_ids() {
    let (monitor, _reader) = monitor();
    let mut link = monitor.link();
    for name in ["one", "other", "one", "left"] {
        link.data(&agent(name));
    }
    link.bye(&agent("left"));
    let known = |name| link.agent(name).map(AgentId::as_str);
    assert_eq!([known("one"), known("other")], [Some("one"), Some("other")]);
    assert_eq!([known("left"), known("on"), known("")], [None; 3]);
    // The end of the link concerns each of them, not only the latest.
    assert_eq!(link.agents.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_was_not_read_extends_the_deadlines_of_its_agents() {
    let (monitor, reader) = monitor();
    let mut link = monitor.link();
    for name in ["excused", "elsewhere", "left"] {
        link.ping(&agent(name));
    }
    monitor.ping(&agent("elsewhere"));
    link.bye(&agent("left"));
    next(&reader).await;
    let since = Instant::now();
    advance(TIMEOUT / 2).await;
    link.excuse();
    for (name, silent) in [("elsewhere", TIMEOUT), ("excused", TIMEOUT + TIMEOUT / 2)] {
        let changes = next(&reader).await;
        assert_eq!((changes[0].agent_id.as_str(), changes[0].active), (name, false));
        assert!(since.elapsed() >= silent, "{name} after {:?}", since.elapsed());
        // An agent that was reported inactive is not made active by an extension.
        link.excuse();
    }
    assert_eq!(monitor.active(), 0);
    assert!(nothing_said(&reader));
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_not_reported_again_when_its_link_closes() {
    let (monitor, reader) = monitor();
    let mut link = monitor.link();
    link.ping(&agent("one"));
    assert!(next(&reader).await[0].active);
    assert!(!next(&reader).await[0].active);
    // It is heard again, so the end of its link is a change again.
    let mut again = monitor.link();
    again.data(&agent("one"));
    assert_eq!(said_at_the_end(link, &reader).await, []);
    assert_eq!(said_at_the_end(again, &reader).await, [inactive("one")]);
}

/// Every change divides a batch of every receiver.
#[tokio::test(start_paused = true)]
async fn a_flapping_agent_is_reported_a_few_times_and_then_as_it_is() {
    let (monitor, reader) = monitor();
    let one = agent("one");
    for _ in 0..1000 {
        monitor.ping(&one);
        monitor.bye(&one);
    }
    monitor.ping(&one);
    let mut told = next(&reader).await;
    assert!(told.len() <= 16, "{}", told.len());
    assert!(!told.last().unwrap().active);
    for _ in 0..5 {
        advance(Duration::from_secs(2)).await;
        monitor.ping(&one);
    }
    told = next(&reader).await;
    assert_eq!((told.len(), told[0].active), (1, true));
    // An agent that has calmed down is reported immediately.
    monitor.bye(&one);
    assert!(!next(&reader).await[0].active);
}

#[tokio::test(start_paused = true)]
async fn alternating_data_and_bye_does_not_evade_the_limit() {
    let (monitor, reader) = monitor();
    let one = agent("one");
    for _ in 0..1000 {
        monitor.data(&one);
        monitor.bye(&one);
    }
    let told = next(&reader).await;
    assert!(told.len() <= 17, "{}", told.len());
    assert!(told.iter().all(|change| !change.active));
}

/// A signal stopped the process, or the machine was suspended.
#[tokio::test(start_paused = true)]
async fn no_agent_is_silent_while_the_process_is_paused() {
    let (bus, reader) = bus();
    let watcher = Arc::new(Watcher::new(bus, TIMEOUT));
    let monitor = ActivityMonitor::of(&watcher);
    monitor.ping(&agent("one"));
    assert!(next(&reader).await[0].active);
    advance(Duration::from_secs(60)).await;
    watcher.excuse_pause(Duration::from_secs(60));
    watcher.report_silent();
    assert!(nothing_said(&reader));
    advance(TIMEOUT + Duration::from_millis(100)).await;
    watcher.report_silent();
    assert!(!next(&reader).await[0].active);
}

#[tokio::test(start_paused = true)]
async fn every_agent_of_a_large_link_is_reported() {
    let (monitor, reader) = monitor();
    let mut link = monitor.link();
    for n in 0..10_000 {
        link.ping(&agent(&format!("agent-{n}")));
    }
    assert_eq!(next(&reader).await.len(), 10_000);
    drop(link);
    let mut gone = 0;
    while gone < 10_000 {
        gone += next(&reader).await.len();
    }
    assert_eq!((gone, monitor.active()), (10_000, 0));
}
