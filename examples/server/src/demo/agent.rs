//! The agent of the demo.

use std::time::Duration;

use poa_agent::{Agent, Config, Credentials, Trust};
use poa_auth::Auth;
use tokio::task::JoinHandle;

use super::text::Places;
use super::users;
use crate::failure::Failure;

/// The user the agent logs in as, and the id it speaks for.
pub(crate) const NAME: &str = "demo-agent";

/// Makes the user, and lets the agent work until `left` is ready.
pub(crate) async fn start(
    places: &Places,
    auth: &Auth,
    left: impl Future<Output = ()> + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    let user = users::fresh(auth, NAME, true).await?;
    let agent = Agent::new(config(places, user)?)
        .map_err(|error| Failure::new("the agent of the demo", error))?;
    Ok(tokio::spawn(async move {
        if let Err(error) = agent.run(left).await {
            tracing::error!("the agent of the demo failed: {}", poa_host::Chain(&error));
        }
    }))
}

fn config(places: &Places, credentials: Credentials) -> Result<Config, Failure> {
    let url = |text: &str| text.parse().map_err(|error| Failure::new(text.to_owned(), error));
    let id = NAME.parse().map_err(|error| Failure::new(NAME, error))?;
    let mut config = Config::new(url(&places.rest)?, url(&places.auth)?, credentials, id);
    config.trust = Trust::CaFile(places.certificate());
    config.settings.interval = Duration::from_secs(2);
    Ok(config)
}
