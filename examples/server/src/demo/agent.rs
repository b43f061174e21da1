//! The agent of the demo.

use std::time::Duration;

use poa_agent::{Agent, Config, Credentials, Trust};
use poa_auth::{Auth, NewUser, UserError};
use poa_core::AgentId;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::text::Places;
use crate::failure::Failure;

/// The user the agent logs in as, and the id it speaks for.
pub(crate) const NAME: &str = "demo-agent";

/// Makes the user, and lets the agent work until `left` ends.
pub(crate) async fn start(
    places: &Places,
    auth: &Auth,
    left: oneshot::Receiver<()>,
) -> Result<JoinHandle<()>, Failure> {
    let agent = Agent::new(config(places, user(auth).await?)?)
        .map_err(|error| Failure::new("the agent of the demo", error))?;
    Ok(tokio::spawn(async move {
        let end = async { drop(left.await) };
        if let Err(error) = agent.run(end).await {
            eprintln!("poa-server: the agent of the demo: {}", poa_host::Chain(&error));
        }
    }))
}

/// A user of the last demo has a password that nobody knows any more.
async fn user(auth: &Auth) -> Result<Credentials, Failure> {
    let failed = |error| Failure::new(format_args!("the user {NAME}"), error);
    match auth.delete_user(NAME).await {
        Ok(()) | Err(UserError::NotFound) => {}
        Err(error) => return Err(failed(error)),
    }
    let agent = AgentId::new(NAME).map_err(|error| Failure::new(NAME, error))?;
    let user = NewUser { name: Some(NAME.to_owned()), password: None, agent: Some(agent) };
    let made = auth.add_user(user).await.map_err(failed)?;
    Credentials::new(made.user, made.password.expose()).map_err(|error| Failure::new(NAME, error))
}

fn config(places: &Places, credentials: Credentials) -> Result<Config, Failure> {
    let url = |text: &str| text.parse().map_err(|error| Failure::new(text.to_owned(), error));
    let id = NAME.parse().map_err(|error| Failure::new(NAME, error))?;
    let mut config = Config::new(url(&places.rest)?, url(&places.auth)?, credentials, id);
    config.trust = Trust::CaFile(places.certificate());
    config.settings.interval = Duration::from_secs(2);
    Ok(config)
}
