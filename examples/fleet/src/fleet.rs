//! All agents together.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use poa_agent::{AgentId, Backoff, BoxError, CallError, TlsError};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::{Life, Simulated};
use crate::chain::Chain;
use crate::files::{TooFewFiles, make_room};
use crate::line::Exchange;
use crate::seed::derive;
use crate::tally::Tally;
use crate::worker::{Clock, Pace, Worker};
use crate::{Options, Progress, Summary};

/// Many simulated agents that share a chain, a login and, optionally, connections.
#[derive(Debug)]
pub struct Fleet {
    options: Options,
    exchange: Exchange,
    tally: Arc<Tally>,
}

/// The reason why a fleet fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// The process cannot open enough connections.
    #[error(transparent)]
    Files(#[from] TooFewFiles),
    /// The trusted certificates cannot be loaded.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server refuses the login.
    #[error("the fleet cannot log in")]
    Login(#[source] CallError),
    /// The name leaves no room for numbers.
    #[error("{0} is too long as the prefix of agent ids")]
    Name(String, #[source] BoxError),
    /// An agent ended unexpectedly.
    #[error("an agent of the fleet failed")]
    Agent(#[from] tokio::task::JoinError),
}

/// Reports the progress of a running fleet.
#[derive(Debug)]
pub struct Monitor {
    tally: Arc<Tally>,
    begun: Instant,
    last: (Instant, u64),
}

impl Fleet {
    /// Prepares the agents and raises the limit of open files, if necessary, without sending anything.
    ///
    /// # Errors
    /// If there are not enough open files for the connections, or the trusted certificates cannot be loaded.
    pub fn new(options: Options) -> Result<Self, FleetError> {
        make_room(options.sockets())?;
        let exchange = Exchange::new(&options)?;
        Ok(Self { options, exchange, tally: Arc::new(Tally::new()) })
    }

    /// Returns the progress of the fleet, counted from now.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        let now = Instant::now();
        Monitor { tally: Arc::clone(&self.tally), begun: now, last: (now, 0) }
    }

    /// Runs the agents until `stop` is ready or [`Options::duration`] is over, then sends the remaining metrics for at
    /// most [`Options::grace`], says bye, and reports.
    ///
    /// A server that cannot be reached is waited for, with exponential backoff and jitter.
    ///
    /// # Errors
    /// If the first login is refused.
    ///
    /// # Cancel safety
    /// Dropping the future stops all agents immediately.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Summary, FleetError> {
        self.log_in().await?;
        let begun = Instant::now();
        let stopping = CancellationToken::new();
        let mut agents = self.start(Clock(begun), &stopping)?;
        tokio::select! {
            () = stop => {}
            () = over(self.options.duration) => {}
            // All agents run until they are stopped, so one that ends before has panicked.
            Some(ended) = agents.join_next() => ended?,
        }
        stopping.cancel();
        while let Some(ended) = agents.join_next().await {
            ended?;
        }
        let summary = Summary::new(&self.tally, self.options.agents.get(), begun.elapsed());
        self.exchange.close().await;
        Ok(summary)
    }

    /// A wrong password is reported immediately; a server that is not running yet is waited for.
    async fn log_in(&self) -> Result<(), FleetError> {
        match self.exchange.log_in().await {
            Err(refused) if !refused.is_temporary() => Err(FleetError::Login(refused)),
            _ => Ok(()),
        }
    }

    fn start(&self, clock: Clock, stop: &CancellationToken) -> Result<JoinSet<()>, FleetError> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let chain = Arc::new(Chain::new(self.options.seed, since.as_secs()));
        let mut agents = JoinSet::new();
        for index in 0..self.options.agents.get() {
            let worker = self.worker(index, clock, since.as_secs(), &chain)?;
            agents.spawn(worker.run(stop.clone(), self.options.grace));
        }
        Ok(agents)
    }

    fn worker(
        &self,
        index: usize,
        clock: Clock,
        start: u64,
        chain: &Arc<Chain>,
    ) -> Result<Worker, FleetError> {
        let Options { seed, rate, ping_interval, silent, stay, away, history, .. } = self.options;
        let (number, agents) = (index as u64, self.options.agents.get());
        let id = self.id(index)?;
        let begin = self.options.ramp.as_secs_f64() * index as f64 / agents as f64;
        let life = Life::new(derive(seed, "life", number), begin, silent, stay, away);
        let pace = Pace {
            rng: derive(seed, "pace", number),
            interval: rate.interval(),
            ping_interval: ping_interval.map_or(f64::INFINITY, |interval| interval.as_secs_f64()),
            next: begin,
            next_ping: begin,
        };
        Ok(Worker {
            line: self.exchange.line(index, agents, &id),
            simulated: Simulated::new(id, Arc::clone(chain), (seed, number), start, history),
            life,
            pace,
            clock,
            begin,
            tally: Arc::clone(&self.tally),
            backoff: Backoff::default(),
            unsent: None,
            here: false,
        })
    }

    fn id(&self, index: usize) -> Result<AgentId, FleetError> {
        let id = format!("{}-{index:05}", self.options.name.as_str());
        id.parse().map_err(|error: poa_agent::AgentIdError| FleetError::Name(id, error.into()))
    }
}

impl Monitor {
    /// The counts now; rate and times are of what was acknowledged since the last call.
    pub fn progress(&mut self) -> Progress {
        let (now, acknowledged) = (Instant::now(), self.tally.acknowledged.get());
        let (then, before) = std::mem::replace(&mut self.last, (now, acknowledged));
        let seconds = (now - then).as_secs_f64().max(1e-9);
        let [p50, p99] = self.tally.recent();
        Progress {
            elapsed: now - self.begun,
            present: self.tally.present.get(),
            sent: self.tally.sent.get(),
            acknowledged,
            refused: self.tally.refused.get(),
            resent: self.tally.resent.get(),
            open: self.tally.open(),
            rate: (acknowledged - before) as f64 / seconds,
            p50,
            p99,
        }
    }
}

async fn over(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
