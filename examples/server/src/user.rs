//! Users, from the command line.

use std::path::Path;

use poa_auth::{Auth, NewUser};
use poa_core::AgentId;
use poa_core::config::Secret;
use poa_host::Source;

use crate::cli::User;
use crate::failure::Failure;
use crate::output::say;
use crate::registry::registry;

/// Does it to the users of the data directory that the configuration names.
pub(crate) async fn user(command: User, source: Source) -> Result<u8, Failure> {
    let config = source.load(&registry())?;
    let auth = Auth::open(config.auth().clone(), config.data_dir())
        .map_err(|error| Failure::new("auth", error))?;
    match command {
        User::Add { name, password_file, agent_id } => {
            add(&auth, name, password_file.as_deref(), agent_id).await?
        }
        User::List => list(&auth).await?,
        User::Ban { name } => {
            auth.set_active(&name, false).await.map_err(|error| Failure::new(&name, error))?;
            say(format_args!("{name} is banned"));
        }
        User::Unban { name } => {
            auth.set_active(&name, true).await.map_err(|error| Failure::new(&name, error))?;
            say(format_args!("{name} is active"));
        }
        User::Delete { name } => {
            auth.delete_user(&name).await.map_err(|error| Failure::new(&name, error))?;
            say(format_args!("{name} is deleted"));
        }
    }
    Ok(0)
}

async fn add(
    auth: &Auth,
    name: Option<String>,
    password_file: Option<&Path>,
    agent_id: Option<String>,
) -> Result<(), Failure> {
    let password = password_file.map(read_password).transpose()?;
    let made_up = password.is_none();
    let agent = agent_id
        .map(AgentId::new)
        .transpose()
        .map_err(|error| Failure::new("--agent-id", error))?;
    let called = name.clone().unwrap_or_else(|| "user".to_owned());
    let added = auth
        .add_user(NewUser { name, password, agent })
        .await
        .map_err(|error| Failure::new(called, error))?;
    say(format_args!("user {}", added.user));
    if made_up {
        say(format_args!("password {}", added.password.expose()));
    }
    Ok(())
}

/// Editors end a file with a newline; it is no part of the password.
fn read_password(file: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(format_args!("cannot read the password file {}", file.display()), error)
    })?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

async fn list(auth: &Auth) -> Result<(), Failure> {
    let users = auth.users().await.map_err(|error| Failure::new("users", error))?;
    for user in users {
        let state = if user.active { "active" } else { "banned" };
        let agent = user.agent.as_ref().map_or("any agent", AgentId::as_str);
        say(format_args!("{:<24} {state}  {}  {agent}", user.name, user.created_at));
    }
    Ok(())
}
