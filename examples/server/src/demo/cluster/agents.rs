//! The fleets of the demo: one for each front end.

use std::num::NonZeroUsize;
use std::time::Duration;

use poa_agent::Credentials;
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

fn fleet(
    layout: &Layout,
    front: &str,
    agents: NonZeroUsize,
    user: Credentials,
) -> Result<Fleet, Failure> {
    let url = |text: &str| text.parse().map_err(|error| Failure::new(text.to_owned(), error));
    let (rest, auth) = layout.front(front);
    let mut options = Options::new(url(&rest)?, url(&auth)?, user);
    options.agents = agents;
    let name = format!("demo-{front}");
    options.name = name.parse().map_err(|error| Failure::new(&name, error))?;
    options.rate = Rate::PerSecond(1.0);
    options.ramp = Duration::from_secs(2);
    // A front end may just have been killed: long enough for it to come back.
    options.grace = Duration::from_secs(5);
    Fleet::new(options).map_err(|error| Failure::new("the fleet of the demo", error))
}
