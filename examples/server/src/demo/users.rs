//! The users that the demo logs in as.

use poa_agent::Credentials;
use poa_auth::{Auth, NewUser, UserError};
use poa_core::AgentId;

use crate::failure::Failure;

/// Makes a user, bound to the agent of the same name if `bound`. The password of a user that an earlier demo made is lost.
pub(super) async fn fresh(auth: &Auth, name: &str, bound: bool) -> Result<Credentials, Failure> {
    let failed = |error| Failure::new(format_args!("the user {name}"), error);
    match auth.delete_user(name).await {
        Ok(()) | Err(UserError::NotFound) => {}
        Err(error) => return Err(failed(error)),
    }
    let agent = bound.then(|| AgentId::new(name)).transpose();
    let agent = agent.map_err(|error| Failure::new(name, error))?;
    let user = NewUser { name: Some(name.to_owned()), password: None, agent };
    let made = auth.add_user(user).await.map_err(failed)?;
    Credentials::new(made.user, made.password.expose()).map_err(|error| Failure::new(name, error))
}
