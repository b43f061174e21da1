//! The command line.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Parser;
use poa_agent::args::{Password, Server, interval};
use poa_agent::{AgentId, BoxError, Config, Credentials};

/// Sends this machine's CPU, memory and disk load to a poa server.
#[derive(Debug, Parser)]
#[command(name = "poa-agent", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    server: Server,
    /// The user to log in as
    #[arg(long)]
    user: String,
    #[command(flatten)]
    password: Password,
    /// The agent id
    #[arg(long)]
    id: AgentId,
    /// The time between measurements
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    interval: Duration,
    /// The time between pings
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = interval)]
    ping_interval: Duration,
    /// The number of metrics to keep while the server cannot be reached
    #[arg(long, value_name = "N", default_value = "10000")]
    buffer: NonZeroUsize,
}

impl Cli {
    /// # Errors
    /// There is no password, the credentials cannot be sent, or the address does not fit the transport.
    pub(crate) fn into_config(self) -> Result<Config, BoxError> {
        let credentials = Credentials::new(self.user, self.password.find()?)?;
        let (server, auth) = (self.server.url()?, self.server.auth().clone());
        let mut config = Config::new(server, auth, credentials, self.id);
        config.trust = self.server.trust();
        config.settings.interval = self.interval;
        config.settings.ping_interval = self.ping_interval;
        config.settings.buffer = self.buffer;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use poa_agent::Trust;

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
}
