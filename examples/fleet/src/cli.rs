//! The command line.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Parser;
use poa_agent::args::{Password, Server, interval};
use poa_agent::{AgentId, BoxError, Config, Credentials, create_user};
use poa_fleet::{Options, Rate};

/// Simulates many agents with realistic Ethereum and system metrics, and measures how a poa server answers them.
///
/// Exits with 0 if every metric was acknowledged, 3 if not, 2 for errors on the command line, and 1 for other
/// failures.
#[derive(Debug, Parser)]
#[command(name = "poa-fleet", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    login: Login,
    #[command(flatten)]
    password: Password,
    /// The number of agents
    #[arg(long, value_name = "N", default_value = "10")]
    agents: NonZeroUsize,
    /// The number of messages per second and agent, or `max`: send the next one as soon as the last one is answered
    #[arg(long, value_name = "N", default_value = "1", value_parser = rate)]
    rate: Rate,
    /// The time to send; default: until a signal
    #[arg(long, value_parser = interval)]
    duration: Option<Duration>,
    /// The number of WebSocket connections that the agents share; default: one for each
    #[arg(long, value_name = "N")]
    connections: Option<NonZeroUsize>,
    /// The share of the agents that leave at times and return: silently, with a bye, or by a crash
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    silent: f64,
    /// The mean time these agents stay, give or take a half
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = interval)]
    stay: Duration,
    /// The mean time they are away, give or take a half
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = interval)]
    away: Duration,
    /// The time over which the agents start, one after the other
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    ramp: Duration,
    /// The time between pings of an agent; 0s: no pings
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    ping_interval: Duration,
    /// The number of blocks that an agent reports when it starts or returns
    #[arg(long, value_name = "N", default_value = "40", value_parser = clap::value_parser!(u16).range(..=100))]
    history: u16,
    /// The same seed gives the same agents
    #[arg(long, default_value = "1")]
    seed: u64,
    /// The prefix of the agent ids
    #[arg(long, default_value = "fleet")]
    name: AgentId,
    /// The time to wait at the end for outstanding acknowledgements
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// The time between progress lines on stderr; 0s: none
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    progress: Duration,
    /// Print the summary as one line of JSON
    #[arg(long)]
    json: bool,
}

/// The user of the password.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Login {
    /// The user that all agents log in as; it must not be bound to one agent
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// An admin, who creates such a user first
    #[arg(long, value_name = "NAME")]
    admin: Option<String>,
}

impl Cli {
    pub(crate) fn progress(&self) -> Option<Duration> {
        (!self.progress.is_zero()).then_some(self.progress)
    }

    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// # Errors
    /// There is no password, the admin is refused, or the address does not fit the transport.
    pub(crate) async fn into_options(self) -> Result<Options, BoxError> {
        let server = self.server.url()?;
        let credentials = self.credentials().await?;
        let mut options = Options::new(server, self.server.auth().clone(), credentials);
        options.trust = self.server.trust();
        options.agents = self.agents;
        options.rate = self.rate;
        options.duration = self.duration;
        options.connections = self.connections;
        options.silent = self.silent;
        options.stay = self.stay;
        options.away = self.away;
        options.ramp = self.ramp;
        options.ping_interval = (!self.ping_interval.is_zero()).then_some(self.ping_interval);
        options.history = self.history.into();
        options.seed = self.seed;
        options.name = self.name;
        options.grace = self.grace;
        Ok(options)
    }

    async fn credentials(&self) -> Result<Credentials, BoxError> {
        let password = self.password.find()?;
        if let Some(user) = &self.login.user {
            return Ok(Credentials::new(user, password)?);
        }
        let admin = Credentials::new(self.login.admin.as_deref().unwrap_or_default(), password)?;
        let (server, auth) = (self.server.url()?, self.server.auth().clone());
        let mut config = Config::new(server, auth, admin, self.name.clone());
        config.trust = self.server.trust();
        Ok(create_user(&config).await??)
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    match text.parse() {
        _ if text == "max" => Ok(Rate::Unlimited),
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(Rate::PerSecond(rate)),
        _ => Err("write a number of messages per second, such as 0.1 or 20, or `max`".into()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a number from 0 to 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["poa-fleet", "--password", "secret-pw"].iter().chain(more))
    }

    #[tokio::test]
    async fn options_become_those_of_the_fleet() {
        let more = ["--user", "u", "--transport", "ws", "--agents", "50", "--rate", "0.1"];
        let cli =
            parse(&[&more[..], &["--ping-interval", "0s", "--silent", "0.25"]].concat()).unwrap();
        assert!(!format!("{cli:?}").contains("secret-pw"));
        let options = cli.into_options().await.unwrap();
        assert_eq!(options.server.to_string(), "ws://127.0.0.1:4004/ws");
        assert_eq!((options.agents.get(), options.rate), (50, Rate::PerSecond(0.1)));
        assert_eq!((options.ping_interval, options.silent), (None, 0.25));
        assert!(!format!("{options:?}").contains("secret-pw"));
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        for bad in [
            &[][..],
            &["--user", "u", "--admin", "a"],
            &["--user", "u", "--rate", "0"],
            &["--user", "u", "--rate", "often"],
            &["--user", "u", "--silent", "1.5"],
            &["--user", "u", "--agents", "0"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse(&["--user", "u", "--rate", "max"]).unwrap().rate, Rate::Unlimited);
    }
}
