//! Counters in `/metrics`, which must not fall.

use std::collections::HashMap;
use std::time::Duration;

use poa_tests::{Client, Request, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How often they are looked at.
const OFTEN: Duration = Duration::from_millis(100);

/// Looks at all counters again and again.
pub(crate) struct Counters {
    stop: oneshot::Sender<()>,
    watching: JoinHandle<usize>,
}

impl Counters {
    pub(crate) fn watch(server: &Server) -> Self {
        let (stop, stopped) = oneshot::channel();
        let watching = tokio::spawn(look(server.address("admin").to_owned(), stopped));
        Self { stop, watching }
    }

    /// How many there were.
    ///
    /// # Panics
    /// When one fell, or went and came back with less.
    pub(crate) async fn stop(self) -> usize {
        let _ = self.stop.send(());
        self.watching.await.unwrap()
    }
}

async fn look(admin: String, mut stopped: oneshot::Receiver<()>) -> usize {
    let mut client = Client::connect(&admin).await.unwrap();
    let mut known: HashMap<String, f64> = HashMap::new();
    let mut looks = 0;
    while stopped.try_recv().is_err() {
        let answer = client.exchange(&Request::new("GET", "/metrics").bytes()).await.unwrap();
        assert_eq!(answer.status, 200);
        for (series, value) in answer.body.lines().filter_map(counter) {
            let before = known.insert(series.to_owned(), value).unwrap_or_default();
            assert!(value >= before, "{series}: {before} and then {value}");
        }
        looks += 1;
        tokio::time::sleep(OFTEN).await;
    }
    assert!(looks > 1 && known.values().any(|value| *value > 0.0));
    known.len()
}

/// The name with its labels, and the value.
fn counter(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let name = series.split('{').next()?;
    name.ends_with("_total").then_some(())?;
    Some((series, value.parse().ok()?))
}
