//! Slows down guesses of the secret.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

/// The number of wrong guesses without a delay: a person can mistype.
const FREE: u32 = 5;
/// The delay after the first wrong guess that is not free; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(125);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// The time without a wrong guess after which the earlier ones no longer count.
const FORGIVEN: Duration = Duration::from_secs(600);
/// The number of clients that are remembered.
const CLIENTS: usize = 4096;
/// The number of guesses of one client that can wait for their turn.
const WAITING: usize = 16;

/// The wrong guesses of each client.
///
/// The guesses of a client with many wrong ones are checked one after the other, each after a delay. The delay is the
/// same for right and wrong guesses, so it reveals nothing; a client with the secret is admitted, if slowly.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<HashMap<IpAddr, Client>>);

#[derive(Debug)]
struct Client {
    wrong: u32,
    last: Instant,
    turn: Arc<Turn<()>>,
}

/// Too many guesses of this client are waiting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Guesses {
    /// Checks a guess when its turn has come; returns whether it is right.
    ///
    /// Cancel safe: a guess that is dropped before its turn was not checked.
    pub(crate) async fn look(
        &self,
        client: IpAddr,
        is_right: impl FnOnce() -> bool,
    ) -> Result<bool, TooMany> {
        let client = network(client);
        let Some(turn) = self.turn(client)? else { return Ok(self.note(client, is_right())) };
        let _turn = turn.lock().await;
        tokio::time::sleep(self.wait(client)).await;
        Ok(self.note(client, is_right()))
    }

    /// The delay for this client; zero while its wrong guesses are few.
    fn turn(&self, client: IpAddr) -> Result<Option<Arc<Turn<()>>>, TooMany> {
        let clients = self.0.lock();
        let Some(client) = clients.get(&client).filter(|client| client.is_slowed()) else {
            return Ok(None);
        };
        if Arc::strong_count(&client.turn) > WAITING {
            Err(TooMany)
        } else {
            Ok(Some(client.turn.clone()))
        }
    }

    fn wait(&self, client: IpAddr) -> Duration {
        let clients = self.0.lock();
        let Some(client) = clients.get(&client).filter(|client| client.is_slowed()) else {
            return Duration::ZERO;
        };
        FIRST_WAIT.saturating_mul(1 << (client.wrong - FREE).min(10)).min(LONGEST_WAIT)
    }

    fn note(&self, client: IpAddr, right: bool) -> bool {
        if !right {
            let mut clients = self.0.lock();
            make_room(&mut clients);
            let new = || Client { wrong: 0, last: Instant::now(), turn: Arc::default() };
            let client = clients.entry(client).or_insert_with(new);
            client.wrong = if client.is_forgiven() { 1 } else { client.wrong.saturating_add(1) };
            client.last = Instant::now();
        }
        right
    }
}

impl Client {
    fn is_forgiven(&self) -> bool {
        self.last.elapsed() >= FORGIVEN
    }

    fn is_slowed(&self) -> bool {
        self.wrong >= FREE && !self.is_forgiven()
    }
}

/// Removes clients whose guesses no longer count; at the limit, those with the fewest.
fn make_room(clients: &mut HashMap<IpAddr, Client>) {
    if clients.len() < CLIENTS {
        return;
    }
    clients.retain(|_, client| !client.is_forgiven());
    let mut least = 1;
    while clients.len() >= CLIENTS {
        clients.retain(|_, client| client.wrong > least);
        least *= 2;
    }
}

/// The unit that counts as one client: an address, or in IPv6 the network that one customer gets.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(std::net::Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn timed(guesses: &Guesses, client: &str, right: bool) -> Duration {
        let begin = Instant::now();
        assert_eq!(guesses.look(client.parse().unwrap(), || right).await, Ok(right));
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn many_wrong_guesses_make_slow_and_do_not_lock_out() {
        let guesses = Guesses::default();
        for _ in 0..5 {
            assert_eq!(timed(&guesses, "10.0.0.1", false).await, Duration::ZERO);
        }
        assert_eq!(timed(&guesses, "10.0.0.1", false).await, Duration::from_millis(125));
        for _ in 0..9 {
            timed(&guesses, "10.0.0.1", false).await;
        }
        assert_eq!(timed(&guesses, "10.0.0.1", true).await, LONGEST_WAIT);
        assert_eq!(
            timed(&guesses, "10.0.0.2", true).await,
            Duration::ZERO,
            "other clients are not delayed"
        );
        tokio::time::advance(FORGIVEN).await;
        assert_eq!(timed(&guesses, "10.0.0.1", true).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_at_once_wait_for_each_other() {
        let guesses = Guesses::default();
        for _ in 0..5 {
            guesses.look(A, || false).await.unwrap();
        }
        let begin = Instant::now();
        let all = (0..20).map(|_| guesses.look(A, || false));
        let all = futures_util::future::join_all(all).await;
        let refused = all.iter().filter(|result| **result == Err(TooMany)).count();
        assert_eq!(refused, 20 - WAITING);
        assert!(begin.elapsed() > Duration::from_secs(40), "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_client_and_memory_is_bounded() {
        let guesses = Guesses::default();
        for n in 0..5 {
            let address = format!("2001:db8::{n}").parse().unwrap();
            guesses.look(address, || false).await.unwrap();
        }
        assert!(guesses.turn(network("2001:db8::ffff".parse().unwrap())).unwrap().is_some());
        for n in 0..10_000_u32 {
            guesses.look(IpAddr::V4(n.into()), || false).await.unwrap();
        }
        assert!(guesses.0.lock().len() <= CLIENTS);
        assert!(guesses.turn(network("2001:db8::1".parse().unwrap())).unwrap().is_some());
    }
}
