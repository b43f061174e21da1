//! Simulated agents against a real server: what it acknowledges is stored, who falls silent is noticed, and neither a
//! crash of the server nor one of an agent loses anything.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use poa_agent::{
    Agent, Backoff, BoxError, Config, Credentials, Link, Metric, Report, Rest, Session, Settings,
    Source, Transport, Trust, WebSocket,
};
use poa_fleet::{Fleet, Monitor, Options, Rate, Summary};
use poa_tests::{
    ADMIN, Home, PATIENCE, Request, Server, basic, count, database, free_port, numbers, sqlite,
    until,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How agents reach the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Via {
    Rest,
    /// A connection for each agent.
    Sockets,
    /// Few connections, several agents over each.
    Gateways,
}

/// A home whose server listens where it listened before, however often it is started.
fn home(via: Via, global: &str) -> Home {
    let ws = match via {
        Via::Rest => "",
        Via::Sockets | Via::Gateways => "[handlers.ws]\nkind = \"ws\"\nlisten = \"127.0.0.1:0\"\n",
    };
    let home = Home::with(&(sqlite("local", "metrics.db", "") + ws));
    let mut text = global.to_owned() + &fs::read_to_string(home.config()).unwrap();
    while text.contains("127.0.0.1:0") {
        text = text.replacen("127.0.0.1:0", &format!("127.0.0.1:{}", free_port()), 1);
    }
    fs::write(home.config(), text).unwrap();
    home
}

async fn options(server: &Server, via: Via, agents: usize, rate: f64) -> Options {
    server.login().await;
    let url = match via {
        Via::Rest => format!("http://{}", server.rest()),
        Via::Sockets | Via::Gateways => format!("ws://{}", server.address("ws")),
    };
    let auth = format!("http://{}", server.address("auth"));
    let user = Credentials::new("agent-user", "agent-password").unwrap();
    let mut options = Options::new(url.parse().unwrap(), auth.parse().unwrap(), user);
    options.agents = NonZeroUsize::new(agents).unwrap();
    options.connections = (via == Via::Gateways).then(|| NonZeroUsize::new(4).unwrap());
    options.rate = Rate::PerSecond(rate);
    options.history = 3;
    options
}

/// A fleet at work, until it is told to stop.
struct Running {
    monitor: Monitor,
    life: JoinHandle<Summary>,
    stop: oneshot::Sender<()>,
}

impl Running {
    fn start(options: Options) -> Self {
        let fleet = Fleet::new(options).unwrap();
        let monitor = fleet.monitor();
        let (stop, stopped) = oneshot::channel();
        let life = async { fleet.run(async { stopped.await.unwrap() }).await.unwrap() };
        Self { monitor, life: tokio::spawn(life), stop }
    }

    async fn stop(self) -> Summary {
        self.stop.send(()).unwrap();
        self.life.await.unwrap()
    }

    /// Waits until so many metrics are acknowledged.
    async fn acknowledged(&mut self, wanted: u64) {
        until("the fleet continues", async || {
            (self.monitor.progress().acknowledged >= wanted).then_some(())
        })
        .await;
    }
}

/// Every metric is in one of three tables.
fn stored(home: &Home) -> u64 {
    let database = database(&home.data("metrics.db"));
    let rows = ["eth_stats", "system_stats", "metrics"]
        .map(|table| count(&database, &format!("SELECT count(*) FROM {table}")));
    rows.iter().sum::<i64>().cast_unsigned()
}

async fn all_is_stored(via: Via) {
    let home = home(via, "");
    let server = Server::start(&home).await;
    let mut options = options(&server, via, 60, 20.0).await;
    options.silent = 0.3;
    options.stay = Duration::from_secs(1);
    options.away = Duration::from_millis(500);
    let mut fleet = Running::start(options);
    fleet.acknowledged(4_000).await;
    let summary = fleet.stop().await;
    server.stop().await;

    println!("{via:?}: {summary}");
    assert!(summary.all_acknowledged(), "{summary}");
    assert_eq!(stored(&home), summary.acknowledged);
    assert_eq!((summary.resent, summary.refused, summary.failures), (0, 0, 0), "{summary}");
}

async fn who_falls_silent_is_inactive(via: Via) {
    let home = home(via, "inactive_after = \"1h\"\n");
    // The time of a handler takes precedence over that of the host.
    let text = fs::read_to_string(home.config()).unwrap();
    let own = |kind: &str| (kind.to_owned(), format!("{kind}inactive_after = \"2s\"\n"));
    let kinds = ["kind = \"rest\"\n", "kind = \"ws\"\n"].map(own);
    let text = kinds.into_iter().fold(text, |text, (kind, more)| text.replace(&kind, &more));
    fs::write(home.config(), text).unwrap();
    let server = Server::start(&home).await;
    let mut options = options(&server, via, 40, 4.0).await;
    options.silent = 0.5;
    options.stay = Duration::from_secs(1);
    options.away = Duration::from_secs(3600);
    options.ping_interval = Some(Duration::from_millis(300));
    let mut fleet = Running::start(options);
    let (active, inactive) = until("the silent ones are called inactive", async || {
        let present = i64::try_from(fleet.monitor.progress().present).unwrap();
        let (active, inactive) = activity(&home);
        // They leave after 1.5 s at the latest.
        let left = fleet.monitor.progress().elapsed > Duration::from_secs(2);
        (left && (active, inactive) == (present, 40 - present)).then_some((active, inactive))
    })
    .await;
    println!("{via:?}: {active} active, {inactive} inactive");
    assert!(inactive > 5 && active > 5);

    fleet.stop().await;
    until("all agents have said bye", async || (activity(&home) == (0, 40)).then_some(())).await;
    server.stop().await;
}

fn activity(home: &Home) -> (i64, i64) {
    let database = database(&home.data("metrics.db"));
    let how_many = |active: bool| {
        count(&database, &format!("SELECT count(*) FROM agent_activity WHERE active = {active}"))
    };
    (how_many(true), how_many(false))
}

/// Agents that count, so that it can be told which of their metrics were stored, and in which order.
struct Counting {
    agents: Vec<(String, JoinHandle<Report>)>,
    stop: CancellationToken,
}

impl Counting {
    const AGENTS: usize = 6;

    fn start(options: &Options, via: Via) -> Self {
        let stop = CancellationToken::new();
        let link = Link::new(Session::new(&counting(options, "gateway")).unwrap(), &options.server);
        let start = |number| {
            let name = format!("counts-{number}");
            let config = counting(options, &name);
            let stop = stop.clone().cancelled_owned();
            let (counter, settings) = (Counter(0), config.settings.clone());
            let life = match via {
                Via::Rest => {
                    tokio::spawn(live(settings, Rest::new(&config).unwrap(), counter, stop))
                }
                Via::Sockets => {
                    tokio::spawn(live(settings, WebSocket::new(&config).unwrap(), counter, stop))
                }
                Via::Gateways => {
                    let socket = WebSocket::over(link.clone(), &config.id);
                    tokio::spawn(live(settings, socket, counter, stop))
                }
            };
            (name, life)
        };
        Self { agents: (0..Self::AGENTS).map(start).collect(), stop }
    }

    /// The number of metrics that each has sent, by its name.
    async fn stop(self) -> Vec<(String, u64)> {
        self.stop.cancel();
        let mut sent = Vec::new();
        for (name, life) in self.agents {
            let report = life.await.unwrap();
            let lost = (report.rejected, report.overflowed, report.left);
            assert_eq!(lost, (0, 0, 0), "{name}: {report}");
            sent.push((name, report.sent));
        }
        sent
    }
}

async fn live<T: Transport>(
    settings: Settings,
    transport: T,
    counter: Counter,
    stop: impl Future<Output = ()> + Send,
) -> Report {
    Agent::from_parts(settings, transport, counter).run(stop).await.unwrap()
}

fn counting(options: &Options, name: &str) -> Config {
    let (server, auth) = (options.server.clone(), options.auth.clone());
    let mut config = Config::new(server, auth, options.credentials.clone(), name.parse().unwrap());
    config.request_timeout = options.request_timeout;
    config.settings.interval = Duration::from_millis(20);
    config.settings.flush_timeout = PATIENCE;
    config.settings.backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    config
}

/// All that an agent has counted is there, once, and in its order.
fn assert_counted(home: &Home, counted: &[(String, u64)]) {
    let database = database(&home.data("metrics.db"));
    for (name, sent) in counted {
        // They report how long answers take, too.
        let all = format!("SELECT count(*) FROM metrics WHERE agent_id = '{name}'");
        assert_eq!(count(&database, &all).cast_unsigned(), *sent, "{name}");
        let stored = numbers(&database, &format!("{name}' AND type = 'count"));
        assert!(stored.len() > 50, "{name}: {stored:?}");
        assert!(stored.iter().copied().eq(0..stored.len()), "{name}: {stored:?}");
    }
}

async fn a_killed_server_loses_nothing(via: Via) {
    const KILLS: u64 = 4;
    let home = home(via, "");
    let mut server = Server::start(&home).await;
    let mut options = options(&server, via, 40, 50.0).await;
    // The server is away for longer than this at times.
    options.request_timeout = Duration::from_secs(2);
    let counting = Counting::start(&options, via);
    let mut fleet = Running::start(options);
    for kill in 1..=KILLS {
        fleet.acknowledged(kill * 1_500).await;
        server.kill().await;
        server = Server::start(&home).await;
    }
    let back = Instant::now();
    fleet.acknowledged((KILLS + 1) * 1_500).await;
    let recovery = back.elapsed();
    let summary = fleet.stop().await;
    let counted = counting.stop().await;
    server.stop().await;

    println!("{via:?}: {KILLS} kills, at work again after {recovery:.1?}; {summary}");
    assert!(summary.all_acknowledged(), "{summary}");
    assert!(summary.resent > 0, "the server was not killed under load: {summary}");
    // Neither lost nor stored twice, and of those who count, every one in its place.
    let of_counting: u64 = counted.iter().map(|(_, sent)| sent).sum();
    assert_eq!(stored(&home), summary.sent + of_counting);
    assert_counted(&home, &counted);
}

/// Measures 0, 1, 2 …
struct Counter(u64);

impl Source for Counter {
    async fn measure(&mut self) -> Result<Vec<Metric>, BoxError> {
        let metric = Metric::new("system_metrics", "count", &serde_json::json!({"n": self.0}))?;
        self.0 += 1;
        Ok(vec![metric])
    }
}

async fn set_active(server: &Server, user: &str, active: bool) {
    let request = Request::new("PATCH", &format!("/user/{user}"));
    let request = request.header("authorization", &basic(ADMIN));
    let answer =
        server.ask("auth", &request.json(&serde_json::json!({"active": active}).to_string())).await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// Over TLS, and with the connection closed by the server in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_user_is_banned_for_a_while_loses_nothing() {
    let ws = "[handlers.ws]\nkind = \"ws\"\nlisten = \"127.0.0.1:0\"\ntls = \"self-signed\"\n";
    let home = Home::with(&(sqlite("local", "metrics.db", "") + ws));
    let server = Server::start(&home).await;
    server.add_user("alice", "alice-password", Some("machine")).await;
    let mut config = Config::new(
        format!("wss://{}", server.address("ws")).parse().unwrap(),
        format!("http://{}", server.address("auth")).parse().unwrap(),
        Credentials::new("alice", "alice-password").unwrap(),
        "machine".parse().unwrap(),
    );
    config.trust = Trust::CaFile(home.data("ws.cert.pem"));
    config.settings.interval = Duration::from_millis(10);
    config.settings.backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    let socket = WebSocket::new(&config).unwrap();
    let agent = Agent::from_parts(config.settings, socket, Counter(0));
    let (stop, stopped) = oneshot::channel();
    let life = tokio::spawn(agent.run(async { stopped.await.unwrap() }));

    until("the agent is active", async || (activity(&home) == (1, 0)).then_some(())).await;
    set_active(&server, "alice", false).await;
    until("it is cut off", async || (activity(&home) == (0, 1)).then_some(())).await;
    let before = stored(&home);
    set_active(&server, "alice", true).await;
    until("it sends again", async || (stored(&home) > before + 50).then_some(())).await;
    stop.send(()).unwrap();
    let report = life.await.unwrap().unwrap();
    server.stop().await;

    println!("{report}");
    assert_eq!((report.rejected, report.overflowed, report.left), (0, 0, 0), "{report}");
    assert_eq!(stored(&home), report.sent);
    let counted = numbers(&database(&home.data("metrics.db")), "machine' AND type = 'count");
    assert!(counted.iter().copied().eq(0..counted.len()), "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_over_rest_is_stored() {
    all_is_stored(Via::Rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_over_websocket_is_stored() {
    all_is_stored(Via::Sockets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_to_gateways_is_stored() {
    all_is_stored(Via::Gateways).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_falls_silent_over_rest_is_inactive() {
    who_falls_silent_is_inactive(Via::Rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_falls_silent_over_websocket_is_inactive() {
    who_falls_silent_is_inactive(Via::Sockets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_over_rest() {
    a_killed_server_loses_nothing(Via::Rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_over_websocket() {
    a_killed_server_loses_nothing(Via::Sockets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_of_gateways() {
    a_killed_server_loses_nothing(Via::Gateways).await;
}
