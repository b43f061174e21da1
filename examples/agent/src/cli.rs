//! The command line.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use poa_agent::{AgentId, BaseUrl, BoxError, Config, Credentials, Trust};

/// Where the password is looked for if no option gives it.
const PASSWORD_VARIABLE: &str = "POA_PASSWORD";

/// Sends this machine's CPU, memory and disk load to a poa server.
#[derive(Debug, Parser)]
#[command(name = "poa-agent", version)]
pub(crate) struct Cli {
    /// How to reach the server; only needed without --url
    #[arg(long, value_enum)]
    transport: Option<Transport>,
    /// The REST handler (http, https) or the WebSocket handler (ws, wss) [default: http://127.0.0.1:4002, and for ws
    /// ws://127.0.0.1:4004/ws]
    #[arg(long, value_name = "URL", alias = "rest")]
    url: Option<BaseUrl>,
    /// The auth server
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:4003")]
    auth: BaseUrl,
    /// The user to log in as
    #[arg(long)]
    user: String,
    #[command(flatten)]
    password: Password,
    /// The name of this agent
    #[arg(long)]
    id: AgentId,
    /// From one measurement to the next
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    interval: Duration,
    /// From one ping to the next
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = interval)]
    ping_interval: Duration,
    /// How many metrics are kept while the server cannot be reached
    #[arg(long, value_name = "N", default_value = "10000")]
    buffer: NonZeroUsize,
    /// Believe certificates signed by one in this PEM file, instead of those the system trusts
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Believe any certificate. Only for a self-signed one on a network you trust
    #[arg(long, conflicts_with = "ca")]
    insecure_tls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    /// HTTP, one request for each call
    Rest,
    /// WebSocket, one connection for all calls
    Ws,
}

impl Transport {
    /// The address, which must be of this kind, or else where a server on this machine listens.
    fn address(self, url: Option<BaseUrl>) -> Result<BaseUrl, BoxError> {
        let url = match (url, self) {
            (Some(url), _) => url,
            (None, Self::Rest) => "http://127.0.0.1:4002".parse()?,
            (None, Self::Ws) => "ws://127.0.0.1:4004/ws".parse()?,
        };
        if url.is_websocket() == (self == Self::Ws) {
            return Ok(url);
        }
        let wanted = if self == Self::Ws { "ws:// or wss://" } else { "http:// or https://" };
        Err(format!("{url} does not fit the transport: it must begin with {wanted}").into())
    }
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct Password {
    /// The password. Others on this machine can see it in the list of processes; prefer a file, or the variable
    /// POA_PASSWORD
    #[arg(long)]
    password: Option<String>,
    /// A file that holds the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Cli {
    /// # Errors
    /// There is no password to be found, or the credentials cannot be sent.
    pub(crate) fn into_config(self) -> Result<Config, BoxError> {
        let credentials = Credentials::new(self.user, self.password.find()?)?;
        let server = match (self.transport, self.url) {
            (None, Some(url)) => url,
            (transport, url) => transport.unwrap_or(Transport::Rest).address(url)?,
        };
        let mut config = Config::new(server, self.auth, credentials, self.id);
        config.trust = match self.ca {
            Some(file) => Trust::CaFile(file),
            None if self.insecure_tls => Trust::Insecure,
            None => Trust::System,
        };
        config.settings.interval = self.interval;
        config.settings.ping_interval = self.ping_interval;
        config.settings.buffer = self.buffer;
        Ok(config)
    }
}

impl Password {
    fn find(self) -> Result<String, BoxError> {
        if let Some(password) = self.password {
            return Ok(password);
        }
        if let Some(file) = self.password_file {
            return read(&file);
        }
        std::env::var(PASSWORD_VARIABLE).map_err(|_| {
            format!("no password: give --password-file or --password, or set {PASSWORD_VARIABLE}")
                .into()
        })
    }
}

/// Not derived: the password must not show.
impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Password")
            .field("password_file", &self.password_file)
            .finish_non_exhaustive()
    }
}

/// Editors end a file with a newline; it is no part of the password.
fn read(file: &Path) -> Result<String, BoxError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the password file {}: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like 5s or 500ms"))?;
    if duration.is_zero() { Err("it must be longer than zero".into()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[&str]) -> Result<Cli, clap::Error> {
        let required = ["poa-agent", "--user", "alice", "--id", "a"];
        Cli::try_parse_from(required.iter().chain(more))
    }

    #[test]
    fn options_become_the_config() {
        let cli = parse(&[
            "--password",
            "secret-pw",
            "--interval",
            "250ms",
            "--buffer",
            "7",
            "--ca",
            "c.pem",
        ])
        .unwrap();
        assert!(!format!("{cli:?}").contains("secret-pw"));
        let config = cli.into_config().unwrap();
        assert_eq!(config.settings.interval, Duration::from_millis(250));
        assert_eq!(config.settings.ping_interval, Duration::from_secs(3));
        assert_eq!(config.settings.buffer.get(), 7);
        assert_eq!(config.trust, Trust::CaFile("c.pem".into()));
        assert_eq!(config.auth.to_string(), "https://127.0.0.1:4003");
        assert!(!format!("{config:?}").contains("secret-pw"));
    }

    #[test]
    fn the_address_decides_on_the_transport_and_the_transport_on_the_default_address() {
        let server = |more: &[&str]| {
            let cli = parse(&[&["--password", "p"], more].concat()).unwrap();
            cli.into_config().map(|config| config.server.to_string())
        };
        assert_eq!(server(&[]).unwrap(), "http://127.0.0.1:4002");
        assert_eq!(server(&["--transport", "ws"]).unwrap(), "ws://127.0.0.1:4004/ws");
        assert_eq!(server(&["--url", "wss://poa.example/ws"]).unwrap(), "wss://poa.example/ws");
        assert_eq!(server(&["--rest", "http://poa.example"]).unwrap(), "http://poa.example");
        let error = server(&["--transport", "ws", "--url", "http://poa.example"]).unwrap_err();
        assert!(error.to_string().contains("must begin with ws://"), "{error}");
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        for bad in [
            &["--password", "p", "--password-file", "f"][..],
            &["--insecure-tls", "--ca", "f"],
            &["--interval", "0s"],
            &["--interval", "5"],
            &["--buffer", "0"],
            &["--url", "127.0.0.1:4002"],
            &["--transport", "pigeon"],
            &["--id", ""],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_file_is_read_without_its_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, " with spaces \n").unwrap();
        assert_eq!(read(&file).unwrap(), " with spaces ");
        let error = read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }
}
