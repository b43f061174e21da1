//! The fleets of the demo: one for each front end.

use std::num::NonZeroUsize;
use std::time::Duration;

use poa_agent::{AgentId, BaseUrl, CallError, Config, Credentials, Rest, Transport as _};
use poa_fleet::{Fleet, Monitor, Options, Rate};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::layout::Layout;
use crate::cluster::connect_to;
use crate::demo::{gone, users};
use crate::failure::Failure;
use crate::user;

/// The user that all agents log in as.
const USER: &str = "demo-fleet";
/// How many agents send when no number is given.
const USUAL: u16 = 20;
/// How long it may take until every front end knows the user.
const PATIENCE: Duration = Duration::from_secs(20);
/// The front ends.
const FRONTS: [&str; 2] = ["front-1", "front-2"];

/// Agents at work.
pub(super) struct Agents {
    count: u16,
    leave: watch::Sender<()>,
    fleets: JoinSet<()>,
    monitors: Vec<Monitor>,
    at_the_end: Vec<Monitor>,
}

impl Agents {
    /// Makes the user, and lets so many agents work, half of them with each front end.
    pub(super) async fn start(layout: &Layout, count: u16) -> Result<Self, Failure> {
        let count = if count == 0 { USUAL } else { count };
        let (auth, _dir) = user::shared(connect_to(&layout.bus()).await?).await?;
        let user = users::fresh(&auth, USER, false).await?;
        let (leave, left) = watch::channel(());
        let mut agents = Self {
            count,
            leave,
            fleets: JoinSet::new(),
            monitors: Vec::new(),
            at_the_end: Vec::new(),
        };
        for (place, front) in FRONTS.iter().enumerate() {
            // The first has the odd one.
            let share = (usize::from(count) + 1 - place) / FRONTS.len();
            let Some(share) = NonZeroUsize::new(share) else { continue };
            until_known(layout, front, &user).await?;
            let fleet = fleet(layout, front, share, user.clone())?;
            agents.monitors.push(fleet.monitor());
            agents.at_the_end.push(fleet.monitor());
            agents.fleets.spawn(run(fleet, left.clone()));
        }
        Ok(agents)
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// The counts, to be looked at now and then.
    pub(super) fn monitors(&mut self) -> Vec<Monitor> {
        std::mem::take(&mut self.monitors)
    }

    /// Lets the agents take their leave. Returns how many messages were acknowledged.
    pub(super) async fn finish(self) -> u64 {
        drop(self.leave);
        self.fleets.join_all().await;
        acknowledged(&mut { self.at_the_end })
    }
}

/// How many messages were acknowledged so far.
pub(super) fn acknowledged(monitors: &mut [Monitor]) -> u64 {
    monitors.iter_mut().map(|monitor| monitor.progress().acknowledged).sum()
}

async fn run(fleet: Fleet, left: watch::Receiver<()>) {
    if let Err(error) = fleet.run(gone(left)).await {
        tracing::error!("a fleet of the demo failed: {}", poa_host::Chain(&error));
    }
}

/// A front end learns of a new user a moment after it was made, and refuses the login until then.
async fn until_known(layout: &Layout, front: &str, user: &Credentials) -> Result<(), Failure> {
    let (rest, auth) = layout.front(front);
    let id = named(front)?;
    let config = Config::new(url(&rest)?, url(&auth)?, user.clone(), id);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        // A connection of its own each time, because one is slower to log in the more often it was refused.
        let probe = Rest::new(&config).map_err(|error| Failure::new(front, error))?;
        match probe.connect().await {
            Err(CallError::Login(error)) if tokio::time::Instant::now() > deadline => {
                return Err(Failure::new(front, error));
            }
            Err(CallError::Login(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            // The fleet waits for a front end that cannot be reached.
            _ => return Ok(()),
        }
    }
}

fn url(text: &str) -> Result<BaseUrl, Failure> {
    text.parse().map_err(|error| Failure::new(text, error))
}

/// The name of the agents of a front end.
fn named(front: &str) -> Result<AgentId, Failure> {
    let name = format!("demo-{front}");
    name.parse().map_err(|error| Failure::new(&name, error))
}

fn fleet(
    layout: &Layout,
    front: &str,
    agents: NonZeroUsize,
    user: Credentials,
) -> Result<Fleet, Failure> {
    let (rest, auth) = layout.front(front);
    let mut options = Options::new(url(&rest)?, url(&auth)?, user);
    options.agents = agents;
    options.name = named(front)?;
    options.rate = Rate::PerSecond(1.0);
    options.ramp = Duration::from_secs(2);
    // A front end may just have been killed: long enough for it to come back.
    options.grace = Duration::from_secs(5);
    Fleet::new(options).map_err(|error| Failure::new("the fleet of the demo", error))
}
