//! Replaces the host of one configuration by the host of another, retrying until one of them runs.

use std::time::Duration;

use poa_core::Registry;

use crate::admin::Admin;
use crate::plan::Applied;
use crate::running::{Running, Surroundings, plugins_let_go};
use crate::signal::Inbox;
use crate::{Chain, Config, Signal, Source};

/// Everything that a replacement needs of its server.
pub(crate) struct Replacement<'s> {
    pub(crate) source: &'s Source,
    pub(crate) registry: &'s Registry,
    pub(crate) around: Surroundings<'s>,
    pub(crate) admin: &'s Admin,
}

/// The host that runs after a replacement.
pub(crate) struct Replaced {
    pub(crate) running: Running,
    /// The running configuration, if it is not the old one.
    pub(crate) applied: Option<Applied>,
    /// The reason why the old configuration runs again.
    pub(crate) failed: Option<String>,
}

/// The time between two attempts, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Replacement<'_> {
    /// Starts a host of the new configuration, or of the old one if the new one does not start. If neither does, retries both: a
    /// database or a file that both need may become available, and the addresses stay open meanwhile. Returns `None` if a signal to stop
    /// arrived while no host was running.
    pub(crate) async fn run(
        self,
        new: Config,
        old: &Config,
        signals: &mut Inbox,
    ) -> Option<Replaced> {
        let (mut new, mut wait) = (Some(new), FIRST_WAIT);
        loop {
            match signals.unless_told_to_stop(self.attempt(new, old)).await {
                Some(Some(replaced)) => return Some(replaced),
                Some(None) => {}
                None => return None,
            }
            if stopped_within(wait, signals).await {
                return None;
            }
            wait = LONGEST_WAIT.min(wait * 2);
            // An operator may have corrected the file.
            new = self.source.load(self.registry).ok();
        }
    }

    async fn attempt(&self, new: Option<Config>, old: &Config) -> Option<Replaced> {
        let mut reason = "the configuration has problems".to_owned();
        if let Some(new) = new {
            let applied = Some(Applied::of(&new));
            match self.start(new).await {
                Ok(running) => return Some(Replaced { running, applied, failed: None }),
                Err(error) => reason = error,
            }
        }
        match self.start(old.clone()).await {
            Ok(running) => {
                let failed =
                    format!("the last reload failed, the old configuration runs again: {reason}");
                Some(Replaced { running, applied: None, failed: Some(failed) })
            }
            Err(error) => {
                let warning = format!(
                    "no messages are accepted: the new configuration does not start ({reason}), nor does the old one ({error}); retrying"
                );
                tracing::error!("{warning}");
                self.admin.show(|view| view.warnings = vec![warning]);
                None
            }
        }
    }

    async fn start(&self, config: Config) -> Result<Running, String> {
        let error = match Running::start(config, self.around).await {
            Ok(running) => return Ok(running),
            Err(error) => Chain(&error).to_string(),
        };
        tracing::error!("{error}");
        plugins_let_go().await;
        Err(error)
    }
}

/// Waits for the next attempt, or for a signal; returns whether it is one to stop.
async fn stopped_within(wait: Duration, signals: &mut Inbox) -> bool {
    match tokio::time::timeout(wait, signals.next()).await {
        Err(_) | Ok(Some(Signal::Hangup)) => false,
        Ok(_) => true,
    }
}
