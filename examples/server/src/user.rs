//! Users, from the command line.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use poa_auth::{AdminConfig, Auth, AuthConfig, NewUser, UserError};
use poa_core::AgentId;
use poa_core::config::Secret;
use poa_engine_nats::Admin;
use tempfile::TempDir;

use crate::cli::{User, UserArgs};
use crate::cluster;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::say;

/// Manages the users in the data directory.
pub(crate) async fn user(args: UserArgs, cx: Context<'_>) -> Result<u8, Failure> {
    let (auth, _dir) = open(&args, cx).await?;
    match args.command {
        User::Add { name, password_file, agent_id } => {
            add(&auth, name, password_file.as_deref(), agent_id, cx).await?
        }
        User::Passwd { name, password_file } => {
            passwd(&auth, &name, password_file.as_deref()).await?;
        }
        User::List => list(&auth).await?,
        User::Tokens { name } => tokens(&auth, name.as_deref()).await?,
        User::Revoke { name, token } => revoke(&auth, name, token).await?,
        User::Ban { name } => {
            auth.set_active(&name, false).await.map_err(|error| Failure::new(&name, error))?;
            say(format_args!("{name} is banned"));
        }
        User::Unban { name } => {
            auth.set_active(&name, true).await.map_err(|error| Failure::new(&name, error))?;
            say(format_args!("{name} is active"));
        }
        User::Remove { name } => {
            auth.delete_user(&name).await.map_err(|error| Failure::new(&name, error))?;
            say(format_args!("{name} is removed"));
        }
    }
    Ok(0)
}

/// The users of the cluster, with `engine = "nats"`; else, and with `--data-dir`, those in the data directory. Of a cluster, the directory
/// is a temporary one.
async fn open(args: &UserArgs, cx: Context<'_>) -> Result<(Auth, Option<TempDir>), Failure> {
    if args.place.data_dir.is_none() && cluster::is_configured(&cx.source()) {
        let (auth, dir) = shared(cluster::connect(&cx.source()).await?).await?;
        cx.aside("the users of the cluster");
        return Ok((auth, Some(dir)));
    }
    let place = cx.data(&args.place)?;
    let auth = Auth::open(management(), place.data_dir());
    Ok((auth.map_err(|error| Failure::new("auth", error))?, None))
}

/// The users of a cluster, to manage them, and the directory to keep until then.
pub(crate) async fn shared(admin: Admin) -> Result<(Auth, TempDir), Failure> {
    let dir = tempfile::tempdir().map_err(|error| Failure::new("a temporary directory", error))?;
    let auth = Auth::prepare(management(), dir.path());
    let auth = auth.map_err(|error| Failure::new("auth", error))?;
    let shared = auth.share(admin.shared_store()).await;
    shared.map_err(|error| Failure::because(format_args!("users: {error}")))?;
    Ok((auth, dir))
}

/// The settings to open the database of users with. No command issues or checks tokens, and no user logs in here, so the key and
/// the admins of the server are not needed, and no files are made for them.
fn management() -> AuthConfig {
    let mut config = AuthConfig::default();
    config.secret_key =
        Some(Secret::new("no token is made or checked with this key, it is for management only"));
    let mut placeholder = AdminConfig::default();
    placeholder.name = "placeholder".to_owned();
    placeholder.password_hash = Some(Secret::new(NO_PASSWORD));
    config.admins = vec![placeholder];
    config
}

/// The hash of no password.
const NO_PASSWORD: &str =
    "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn add(
    auth: &Auth,
    name: Option<String>,
    password_file: Option<&Path>,
    agent_id: Option<String>,
    cx: Context<'_>,
) -> Result<(), Failure> {
    let password = password_file.map(read_password).transpose()?;
    let made_up = password.is_none();
    let agent = agent_id
        .map(AgentId::new)
        .transpose()
        .map_err(|error| Failure::new("--agent-id", error))?;
    let unbound = agent.is_none();
    let called = name.clone().unwrap_or_else(|| "user".to_owned());
    let added = auth
        .add_user(NewUser { name, password, agent })
        .await
        .map_err(|error| Failure::new(called, error))?;
    if unbound {
        cx.aside(format_args!(
            "{} may speak for every agent; bind a user to one agent with --agent-id",
            added.user
        ));
    }
    say(format_args!("user {}", added.user));
    if made_up {
        say(format_args!("password {}", added.password.expose()));
    }
    Ok(())
}

async fn passwd(auth: &Auth, name: &str, password_file: Option<&Path>) -> Result<(), Failure> {
    let given = password_file.map(read_password).transpose()?;
    let password = match &given {
        Some(password) => password.clone(),
        None => generate_password()?,
    };
    auth.set_password(name, &password).await.map_err(|error| Failure::new(name, error))?;
    say(format_args!("user {name}"));
    if given.is_none() {
        say(format_args!("password {}", password.expose()));
    }
    Ok(())
}

/// 16 random bytes, as hexadecimal digits.
fn generate_password() -> Result<Secret, Failure> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|error| Failure::new("cannot read random bytes", error))?;
    Ok(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

/// Editors end a file with a newline; it is not part of the password.
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

async fn tokens(auth: &Auth, name: Option<&str>) -> Result<(), Failure> {
    let failed = |error| Failure::new(name.unwrap_or("tokens"), error);
    for token in auth.tokens(name).await.map_err(failed)? {
        let address = token.address.map_or("an unknown address".to_owned(), |at| at.to_string());
        say(format_args!(
            "{}  {:<24} {} to {}  {address}",
            token.id, token.user, token.issued_at, token.expires_at
        ));
    }
    Ok(())
}

/// The command line has exactly one of the two.
async fn revoke(auth: &Auth, name: Option<String>, token: Option<String>) -> Result<(), Failure> {
    if let Some(name) = name {
        auth.revoke_tokens(&name).await.map_err(|error| Failure::new(&name, error))?;
        say(format_args!("{name} has no valid token"));
    }
    if let Some(id) = token {
        let user = auth.revoke_token(&id).await.map_err(|error| match error {
            UserError::InvalidToken => Failure::because(format_args!(
                "no valid token has the id {id}; `user tokens` lists them"
            )),
            error => Failure::new("revoke", error),
        })?;
        say(format_args!("a token of {user} is revoked"));
    }
    Ok(())
}
