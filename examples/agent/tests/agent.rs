//! The life of an agent in virtual time, over a transport that fails on demand.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use poa_agent::{Agent, Backoff, BoxError, CallError, Metric, Report, Settings, Source, Transport};
use support::{Counter, never, number};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Remembers what was delivered, and fails as long as it is told to.
#[derive(Clone)]
struct Fake {
    up: watch::Receiver<bool>,
    retry_after: Option<Duration>,
    /// A call made while the server is down waits for it, rather than failing.
    hangs: bool,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    delivered: Vec<(Uuid, u64)>,
    attempts: Vec<Instant>,
    pings: Vec<Instant>,
    byes: usize,
}

impl Fake {
    fn new(up: bool) -> (watch::Sender<bool>, Self) {
        let (switch, up) = watch::channel(up);
        (switch, Self { up, retry_after: None, hangs: false, log: Arc::default() })
    }

    async fn reach(&self) -> Result<(), CallError> {
        if self.hangs {
            self.up.clone().wait_for(|up| *up).await.unwrap();
        }
        if *self.up.borrow() {
            return Ok(());
        }
        let (call, retry_after) = ("fake".into(), self.retry_after);
        Err(CallError::Unavailable { call, retry_after, source: "down".into() })
    }

    fn numbers(&self) -> Vec<u64> {
        let log = self.log.lock().unwrap();
        let metrics = log.delivered.iter().map(|(_, number)| *number);
        metrics.filter(|number| *number != LATENCY).collect()
    }
}

/// Stands for a latency among the numbers.
const LATENCY: u64 = u64::MAX;

impl Transport for Fake {
    async fn connect(&self) -> Result<(), CallError> {
        Ok(())
    }

    async fn ping(&self) -> Result<Duration, CallError> {
        self.log.lock().unwrap().pings.push(Instant::now());
        self.reach().await.map(|()| Duration::from_millis(1))
    }

    async fn data(&self, metric: &Metric) -> Result<(), CallError> {
        self.log.lock().unwrap().attempts.push(Instant::now());
        self.reach().await?;
        let data: serde_json::Value = rmp_serde::from_slice(metric.data()).unwrap();
        let number = data["body"]["n"].as_u64().unwrap_or(LATENCY);
        self.log.lock().unwrap().delivered.push((metric.key(), number));
        Ok(())
    }

    async fn bye(&self) -> Result<(), CallError> {
        self.reach().await?;
        self.log.lock().unwrap().byes += 1;
        Ok(())
    }
}

/// One number per second, one ping at the start only.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.interval = Duration::from_secs(1);
    settings.ping_interval = Duration::from_secs(1_000_000);
    settings.backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    settings
}

async fn run(
    settings: Settings,
    fake: &Fake,
    count: u64,
    shutdown: impl Future<Output = ()> + Send,
) -> Report {
    let agent = Agent::from_parts(settings, fake.clone(), Counter(0..count));
    agent.run(shutdown).await.unwrap()
}

#[track_caller]
fn assert_adds_up(report: &Report) {
    let told = report.sent + report.rejected + report.overflowed + report.left;
    assert_eq!(report.measured, told, "{report}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_metrics_and_loses_none() {
    let (switch, fake) = Fake::new(true);
    let script = async {
        sleep(Duration::from_millis(2_500)).await;
        switch.send_replace(false);
        sleep(Duration::from_secs(60)).await;
        switch.send_replace(true);
        sleep(Duration::from_secs(60)).await;
    };
    let report = run(settings(), &fake, 100, script).await;

    assert_eq!(fake.numbers(), (0..100).collect::<Vec<_>>());
    assert_eq!((report.sent, report.left), (report.measured, 0));
    assert_adds_up(&report);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_met_with_ever_longer_waits_not_with_a_storm() {
    let (switch, fake) = Fake::new(false);
    let script = async {
        sleep(Duration::from_secs(600)).await;
        switch.send_replace(true);
    };
    run(settings(), &fake, 1, script).await;
    // Waits of 15 s on average once the cap is reached: about 45 in ten minutes.
    let attempts = fake.log.lock().unwrap().attempts.len();
    assert!((20..100).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn the_server_decides_how_long_it_is_left_alone() {
    let (switch, mut fake) = Fake::new(false);
    fake.retry_after = Some(Duration::from_secs(100));
    let script = async {
        sleep(Duration::from_secs(350)).await;
        switch.send_replace(true);
        sleep(Duration::from_secs(200)).await;
    };
    run(settings(), &fake, 1, script).await;
    let attempts = fake.log.lock().unwrap().attempts.clone();
    let waits: Vec<_> = attempts.windows(2).take(3).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        waits.len() == 3 && waits.iter().all(|wait| *wait >= Duration::from_secs(100)),
        "{waits:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_drops_the_oldest_and_counts_them() {
    let (switch, mut fake) = Fake::new(false);
    fake.hangs = true;
    let mut settings = settings();
    settings.buffer = NonZeroUsize::new(3).unwrap();
    let script = async {
        sleep(Duration::from_millis(9_500)).await;
        switch.send_replace(true);
        sleep(Duration::from_secs(1)).await;
    };
    let report = run(settings, &fake, 10, script).await;

    // Number 0 was on its way all the time.
    assert_eq!(fake.numbers(), [0, 7, 8, 9]);
    assert_eq!(report.overflowed, 6);
    assert_adds_up(&report);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_away_delays_the_end_by_a_bounded_time() {
    let (_switch, fake) = Fake::new(false);
    let begun = Instant::now();
    let report = run(settings(), &fake, 10, sleep(Duration::from_secs(60))).await;

    assert!(begun.elapsed() <= Duration::from_secs(60 + 5 + 2), "{:?}", begun.elapsed());
    assert_eq!((report.measured, report.left, report.sent), (10, 10, 0));
    assert!(!report.said_bye);
    assert_adds_up(&report);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_delays_the_end_by_a_bounded_time_too() {
    let (_switch, mut fake) = Fake::new(false);
    fake.hangs = true;
    let begun = Instant::now();
    let report = run(settings(), &fake, 10, sleep(Duration::from_secs(60))).await;
    assert_eq!(begun.elapsed().as_secs(), 60 + 5 + 2);
    assert_eq!((report.left, report.said_bye), (10, false));
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_long_backoff() {
    let (switch, mut fake) = Fake::new(false);
    fake.retry_after = Some(Duration::from_secs(500));
    let script = async {
        sleep(Duration::from_secs(20)).await;
        switch.send_replace(true);
    };
    let report = run(settings(), &fake, 10, script).await;
    assert_eq!(fake.numbers(), (0..10).collect::<Vec<_>>());
    assert!(report.said_bye);
    assert_eq!(fake.log.lock().unwrap().byes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_send_under_way_at_the_end_is_finished_not_repeated() {
    let (switch, mut fake) = Fake::new(false);
    fake.hangs = true;
    let opens = async {
        sleep(Duration::from_secs(12)).await;
        switch.send_replace(true);
        never().await;
    };
    let report = tokio::select! {
        report = run(settings(), &fake, 1, sleep(Duration::from_secs(10))) => report,
        () = opens => unreachable!(),
    };
    assert_eq!(fake.log.lock().unwrap().attempts.len(), 1);
    assert_eq!((report.sent, report.left), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn pings_keep_their_rhythm_and_are_never_made_up_for() {
    let (switch, fake) = Fake::new(true);
    let mut settings = settings();
    settings.ping_interval = Duration::from_secs(3);
    let begun = Instant::now();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        switch.send_replace(false);
        sleep(Duration::from_secs(10)).await;
        switch.send_replace(true);
        sleep(Duration::from_secs(9)).await;
    };
    let report = run(settings, &fake, 0, script).await;

    let pings = fake.log.lock().unwrap().pings.clone();
    let seconds: Vec<_> = pings.iter().map(|ping| (*ping - begun).as_secs()).collect();
    assert_eq!(seconds, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]);
    // Each answered ping is a latency that was measured.
    assert_eq!((report.pings, report.measured), (7, 7));
}

/// A source whose every second reading fails.
struct Flaky(VecDeque<Result<u64, &'static str>>);

impl Source for Flaky {
    async fn measure(&mut self) -> Result<Vec<Metric>, BoxError> {
        match self.0.pop_front() {
            Some(reading) => Ok(vec![number(reading?)]),
            None => Ok(Vec::new()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_fails_does_not_end_the_measuring() {
    let (_switch, fake) = Fake::new(true);
    let source = Flaky([Ok(0), Err("no meter"), Ok(2), Err("no meter"), Ok(4)].into());
    let agent = Agent::from_parts(settings(), fake.clone(), source);
    agent.run(sleep(Duration::from_secs(10))).await.unwrap();
    assert_eq!(fake.numbers(), [0, 2, 4]);
}

/// Refuses the login for a while, as a server does that is started after its agents.
struct Late(Fake, Instant);

impl Transport for Late {
    async fn connect(&self) -> Result<(), CallError> {
        if Instant::now() >= self.1 { Ok(()) } else { self.0.reach().await }
    }
    async fn ping(&self) -> Result<Duration, CallError> {
        self.0.ping().await
    }
    async fn data(&self, metric: &Metric) -> Result<(), CallError> {
        assert!(Instant::now() >= self.1, "sent before the login");
        self.0.data(metric).await
    }
    async fn bye(&self) -> Result<(), CallError> {
        self.0.bye().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_may_be_there_before_its_server_and_measures_meanwhile() {
    let (switch, fake) = Fake::new(false);
    let late = Late(fake.clone(), Instant::now() + Duration::from_secs(40));
    let agent = Agent::from_parts(settings(), late, Counter(0..30));
    let script = async {
        sleep(Duration::from_secs(40)).await;
        switch.send_replace(true);
        sleep(Duration::from_secs(60)).await;
    };
    let report = timeout(Duration::from_secs(200), agent.run(script)).await.unwrap().unwrap();
    assert_eq!(fake.numbers(), (0..30).collect::<Vec<_>>());
    assert_adds_up(&report);
}
