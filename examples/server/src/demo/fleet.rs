//! The simulated agents of the demo.

use std::num::NonZeroUsize;
use std::time::Duration;

use poa_agent::Trust;
use poa_auth::Auth;
use poa_fleet::{Fleet, Options, Rate};
use tokio::task::JoinHandle;

use super::text::Places;
use super::users;
use crate::failure::Failure;

/// The prefix of the agents' ids, and the user they log in as.
pub(super) const NAME: &str = "demo-fleet";

/// How often each of them sends, per second: enough to see it move.
const RATE: f64 = 0.5;

/// The share of agents that go away at times, so that there are changes to see.
const SILENT: f64 = 0.2;

/// Makes the user, and lets so many agents work until `left` is ready; nothing if there are to be none.
pub(super) async fn start(
    agents: u16,
    places: &Places,
    auth: &Auth,
    left: impl Future<Output = ()> + Send + 'static,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(agents) = NonZeroUsize::new(agents.into()) else { return Ok(None) };
    let fleet = Fleet::new(options(agents, places, auth).await?);
    let fleet = fleet.map_err(|error| Failure::new("the fleet of the demo", error))?;
    Ok(Some(tokio::spawn(async move {
        if let Err(error) = fleet.run(left).await {
            tracing::error!("the fleet of the demo failed: {}", poa_host::Chain(&error));
        }
    })))
}

async fn options(agents: NonZeroUsize, places: &Places, auth: &Auth) -> Result<Options, Failure> {
    let url = |text: &str| text.parse().map_err(|error| Failure::new(text.to_owned(), error));
    let user = users::fresh(auth, NAME, false).await?;
    let mut options = Options::new(url(places.for_fleets())?, url(&places.auth)?, user);
    options.trust = Trust::CaFile(places.certificate());
    options.agents = agents;
    options.name = NAME.parse().map_err(|error| Failure::new(NAME, error))?;
    options.rate = Rate::PerSecond(RATE);
    options.silent = SILENT;
    options.ramp = Duration::from_secs(2);
    // Simulated metrics are not worth waiting for at the end.
    options.grace = Duration::from_secs(2);
    Ok(options)
}
