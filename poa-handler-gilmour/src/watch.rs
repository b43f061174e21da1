//! Whether nodes are healthy, and what follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::gateway::Gateway;
use crate::node::{Node, Status};

/// The answer of a node to a health check.
#[derive(Debug)]
pub(crate) enum Health {
    /// A status of 2xx.
    Good,
    /// Anything else, or nothing in time.
    Bad(String),
    /// Nothing listens there.
    Refused(String),
}

impl Gateway {
    /// Asks a node whether it is healthy. So many are asked at once, however many there are.
    pub(crate) async fn check(&self, node: &Node) -> Health {
        let Ok(_permit) = self.checks.acquire().await else {
            return Health::Bad("the gateway is stopping".to_owned());
        };
        let patience = self.config.health_timeout.get();
        let path = node.health_check();
        let asked = tokio::time::timeout(patience, node.caller.exchange().is_healthy(&path)).await;
        match asked {
            Ok(Ok(status)) if status.is_success() => Health::Good,
            Ok(Ok(status)) => {
                Health::Bad(format!("`{path}` answered with status {}", status.as_u16()))
            }
            Ok(Err(error)) if error.is_refusal() => Health::Refused(error.to_string()),
            Ok(Err(error)) => Health::Bad(error.to_string()),
            Err(_) => Health::Bad(format!(
                "`{path}` did not answer within {}",
                self.config.health_timeout
            )),
        }
    }

    /// Begins to watch a node, the first time after `first`.
    pub(crate) fn watch(self: &Arc<Self>, node: Arc<Node>, first: Duration) {
        let gateway = self.clone();
        self.spawn(async move {
            tokio::select! {
                () = node.gone.cancelled() => {}
                () = gateway.keep_watching(&node, first) => {}
            }
        });
    }

    async fn keep_watching(&self, node: &Arc<Node>, first: Duration) {
        let period = self.config.health_interval.get();
        let mut tick = tokio::time::interval_at(Instant::now() + first, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            let health = self.check(node).await;
            if !self.apply(node, health).await {
                return;
            }
        }
    }

    /// Acts on a health check; false when the node is not to be watched any more.
    async fn apply(&self, node: &Node, health: Health) -> bool {
        match (node.status(), health) {
            (Status::Dirty, _) => return false,
            (Status::Ok, Health::Good) => {
                node.answered();
                self.sign_of_life(node);
            }
            (Status::Unavailable, Health::Good) => match node.open(&*self.engine).await {
                Ok(()) => self.sign_of_life(node),
                Err(error) => node.note(&error.to_string()),
            },
            (status, Health::Bad(why)) => {
                node.answered();
                self.unavailable(node, status, &why).await;
            }
            (_, Health::Refused(why)) if node.refused() >= self.config.dirty_after => {
                node.close(Status::Dirty, Some(&why)).await;
                self.inactive(node);
                return false;
            }
            (status, Health::Refused(why)) => self.unavailable(node, status, &why).await,
        }
        true
    }

    async fn unavailable(&self, node: &Node, before: Status, why: &str) {
        if before == Status::Ok {
            node.close(Status::Unavailable, Some(why)).await;
            self.inactive(node);
        } else {
            node.note(why);
        }
    }

    /// Any part of a period, so that the checks of nodes that came together are spread over the whole of it.
    pub(crate) fn part_of_a_period(&self) -> Duration {
        self.config.health_interval.get().mul_f64(fastrand::f64())
    }

    fn sign_of_life(&self, node: &Node) {
        if node.is_agent() {
            self.cx.activity().ping(&node.agent);
        }
    }

    pub(crate) fn inactive(&self, node: &Node) {
        if node.is_agent() {
            self.cx.publish_inactive(&node.agent);
        }
    }
}
