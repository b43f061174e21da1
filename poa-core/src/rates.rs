//! Limits on the rate at which one agent, user or address may send.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Draft;
use crate::engine::{Party, Refused};

/// The rate at which one sender may send. Nothing is limited by default.
///
/// See [`Rates`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// Messages a second.
    pub messages: Option<u32>,
    /// Bytes a second, measured as the memory that messages take.
    pub bytes: Option<u64>,
    /// The size of a burst, as the time it would take at this rate. Ten seconds by default.
    pub burst: Option<Duration>,
}

/// The rates of a host.
///
/// ```
/// use poa_core::{Host, Rate, Rates};
///
/// // An agent in a loop costs itself; a gateway that sends for many agents from one address may send more.
/// let agent = Rate::new(Some(100), Some(1 << 20), None);
/// let address = Rate::new(Some(10_000), None, None);
/// let builder = Host::builder().rates(Rates::new(agent, Rate::default(), address));
/// # drop(builder);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// For each agent.
    pub agent: Rate,
    /// For each user that is known.
    pub user: Rate,
    /// For each address that is known.
    pub address: Rate,
}

impl Rate {
    /// This many messages and bytes a second, with bursts of this length.
    #[must_use]
    pub fn new(messages: Option<u32>, bytes: Option<u64>, burst: Option<Duration>) -> Self {
        Self { messages, bytes, burst }
    }

    fn is_none(&self) -> bool {
        self.messages.is_none() && self.bytes.is_none()
    }
}

impl Rates {
    /// These rates for each agent, each user and each address.
    #[must_use]
    pub fn new(agent: Rate, user: Rate, address: Rate) -> Self {
        Self { agent, user, address }
    }
}

/// Refuses messages above the rates.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    gates: [Option<Gate>; 3],
}

/// A quantity that is limited by one of the rates.
#[derive(Debug)]
struct Gate {
    of: Party,
    rate: Rate,
    hasher: RandomState,
    senders: Mutex<Senders>,
    begin: Instant,
}

#[derive(Debug, Default)]
struct Senders {
    /// The times at which each sender will have used up no more than its rate, in nanoseconds since the start: for messages, and for
    /// bytes.
    used_until: HashMap<u64, [u64; 2]>,
    /// Above this number of senders, those that sent nothing recently are forgotten.
    tidy_at: usize,
}

/// Senders, and the time at their rate that they use up, in nanoseconds: for messages, and for bytes.
type Costs = Vec<(u64, [u64; 2])>;

const BURST: Duration = Duration::from_secs(10);
const FEW: usize = 1024;

impl RateLimiter {
    /// `None` if nothing is limited.
    pub(crate) fn new(rates: Rates) -> Option<Self> {
        let gate = |of, rate: Rate| (!rate.is_none()).then(|| Gate::new(of, rate));
        let gates = [
            gate(Party::Agent, rates.agent),
            gate(Party::User, rates.user),
            gate(Party::Address, rates.address),
        ];
        gates.iter().any(Option::is_some).then_some(Self { gates })
    }

    /// Counts these messages, unless one of their senders has to wait.
    pub(crate) fn admit(&self, drafts: &[Draft]) -> Result<(), Refused> {
        let gates = || self.gates.iter().flatten();
        let costs: Vec<_> = gates().map(|gate| gate.costs(drafts)).collect();
        for (gate, costs) in gates().zip(&costs) {
            gate.check_all(costs)?;
        }
        // A draft that one gate refuses is not charged by another.
        gates().zip(costs).for_each(|(gate, costs)| gate.charge(costs));
        Ok(())
    }
}

impl Gate {
    fn new(of: Party, rate: Rate) -> Self {
        let senders = Mutex::new(Senders { tidy_at: FEW, ..Senders::default() });
        Self { of, rate, hasher: RandomState::new(), senders, begin: Instant::now() }
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn check_all(&self, costs: &Costs) -> Result<(), Refused> {
        let now = self.now();
        let senders = self.senders.lock();
        for (sender, _) in costs {
            let used_until = senders.used_until.get(sender).copied().unwrap_or_default();
            self.check(used_until, now)?;
        }
        Ok(())
    }

    fn charge(&self, costs: Costs) {
        let now = self.now();
        let mut senders = self.senders.lock();
        for (sender, cost) in costs {
            let used_until = senders.used_until.entry(sender).or_default();
            for (until, cost) in used_until.iter_mut().zip(cost) {
                *until = (*until).max(now).saturating_add(cost);
            }
        }
        senders.tidy(now);
    }

    /// The senders of these messages, and the time that the messages take at their rate.
    fn costs(&self, drafts: &[Draft]) -> Costs {
        let mut costs = Costs::with_capacity(1);
        for draft in drafts {
            let Some(sender) = self.sender(draft) else { continue };
            let cost = [
                self.rate.messages.map_or(0, |rate| nanos(1, u64::from(rate))),
                self.rate.bytes.map_or(0, |rate| nanos(draft.footprint() as u64, rate)),
            ];
            // Nearly all batches have one sender.
            match costs.iter_mut().rev().take(8).find(|(known, _)| *known == sender) {
                Some((_, sum)) => {
                    sum.iter_mut()
                        .zip(cost)
                        .for_each(|(sum, cost)| *sum = sum.saturating_add(cost));
                }
                None => costs.push((sender, cost)),
            }
        }
        costs
    }

    fn sender(&self, draft: &Draft) -> Option<u64> {
        fn hash<T: Hash + ?Sized>(hasher: &RandomState, sender: &T) -> u64 {
            hasher.hash_one(sender)
        }
        match self.of {
            Party::Agent => Some(hash(&self.hasher, draft.agent_id())),
            Party::User => draft.sender().map(|user| hash(&self.hasher, user)),
            Party::Address => draft.address().map(|address: IpAddr| hash(&self.hasher, &address)),
        }
    }

    /// A sender may send as long as it is at most one burst ahead. So a batch larger than a burst is accepted if nothing was sent before.
    fn check(&self, used_until: [u64; 2], now: u64) -> Result<(), Refused> {
        let burst = self.rate.burst.unwrap_or(BURST).as_nanos() as u64;
        for (until, what) in used_until.into_iter().zip(["messages a second", "bytes a second"]) {
            let early = until.saturating_sub(now).saturating_sub(burst);
            if early > 0 || (until > now && until - now >= burst) {
                let retry_after = Duration::from_nanos(early.max(1));
                return Err(Refused::OverRate { of: self.of, what, retry_after });
            }
        }
        Ok(())
    }
}

impl Senders {
    fn tidy(&mut self, now: u64) {
        if self.used_until.len() >= self.tidy_at {
            self.used_until.retain(|_, until| until.iter().any(|until| *until > now));
            self.tidy_at = FEW.max(2 * self.used_until.len());
        }
    }
}

fn nanos(amount: u64, a_second: u64) -> u64 {
    let nanos = u128::from(amount) * 1_000_000_000 / u128::from(a_second.max(1));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentId, DataTypes, Payload};
    use tokio::time::advance;

    fn draft(agent: &str) -> Draft {
        let data_type = DataTypes::new(["a"]).unwrap().get("a").unwrap().clone();
        let payload = Payload::json(&serde_json::json!({})).unwrap();
        Draft::new(AgentId::new(agent).unwrap(), data_type, payload)
    }

    fn limiter(rate: Rate) -> RateLimiter {
        RateLimiter::new(Rates::new(rate, Rate::default(), Rate::default())).unwrap()
    }

    fn passed(limiter: &RateLimiter, agent: &str, tries: usize) -> usize {
        (0..tries).filter(|_| limiter.admit(&[draft(agent)]).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let limiter = limiter(Rate::new(Some(10), None, Some(Duration::from_secs(2))));
        assert_eq!(passed(&limiter, "one", 100), 20);
        advance(Duration::from_secs(1)).await;
        assert_eq!(passed(&limiter, "one", 100), 10);
        assert_eq!(passed(&limiter, "other", 100), 20);
        let refused = limiter.admit(&[draft("one")]).unwrap_err();
        let Refused::OverRate { of: Party::Agent, retry_after, .. } = refused else {
            panic!("{refused}")
        };
        assert!(retry_after <= Duration::from_millis(100), "{retry_after:?}");
        advance(Duration::from_secs(3600)).await;
        assert_eq!(passed(&limiter, "one", 100), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_larger_than_a_burst_is_accepted_and_delays_the_next() {
        let limiter = limiter(Rate::new(Some(10), None, Some(Duration::from_secs(1))));
        limiter.admit(&vec![draft("one"); 100]).unwrap();
        advance(Duration::from_millis(8_900)).await;
        assert_eq!(passed(&limiter, "one", 1), 0);
        advance(Duration::from_millis(200)).await;
        assert_eq!(passed(&limiter, "one", 1), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_limited_too_and_users_and_addresses() {
        let bytes = draft("one").footprint() as u64;
        let rate = Rate::new(None, Some(bytes), Some(Duration::from_secs(5)));
        assert_eq!(passed(&limiter(rate), "one", 100), 5);
        let rates = Rates::new(Rate::default(), rate, rate);
        let limiter = RateLimiter::new(rates).unwrap();
        let by = |user: &str, host| {
            draft("one").with_sender(user.into()).with_address(IpAddr::from([127, 0, 0, host]))
        };
        let passed = |user: &str, host| {
            (0..100).filter(|_| limiter.admit(&[by(user, host)]).is_ok()).count()
        };
        assert_eq!((passed("a", 1), passed("b", 1), passed("b", 2)), (5, 0, 5));
        assert_eq!(passed("c", 2), 0);
        assert!((0..100).all(|_| limiter.admit(&[draft("one")]).is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_senders_are_forgotten() {
        let limiter = limiter(Rate::new(Some(1000), None, None));
        for n in 0..100_000 {
            limiter.admit(&[draft(&format!("agent-{n}"))]).unwrap();
            if n % 100 == 0 {
                advance(Duration::from_millis(10)).await;
            }
        }
        let gate = limiter.gates[0].as_ref().unwrap();
        assert!(gate.senders.lock().used_until.len() <= 2 * FEW);
    }

    #[test]
    fn without_rates_there_is_no_gate() {
        assert!(RateLimiter::new(Rates::default()).is_none());
    }
}
