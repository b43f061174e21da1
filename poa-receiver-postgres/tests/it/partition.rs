//! Tables divided by time.

use std::time::Duration;

use poa_core::{Message, Receiver as _, Timestamp};
use poa_receiver_postgres::{Config, Period};
use poa_testkit::Samples;

use crate::common::{PATIENCE, Subject, permanent};

const DAY: u64 = 24 * 60 * 60;

/// A message received this many days ago, at noon: a test must not start on one day and end on another.
fn received(samples: &mut Samples, days: u64) -> Message {
    let today = Timestamp::now().as_micros() / 1_000_000 / DAY;
    at(samples, ((today - days) * DAY + DAY / 2) * 1_000_000)
}

fn at(samples: &mut Samples, micros: u64) -> Message {
    let message = samples.json("a1", "networking_metrics", r#"{"type":"latency","body":{}}"#);
    let draft = poa_core::Draft::new(
        message.agent_id().clone(),
        message.data_type().clone(),
        message.payload().clone(),
    );
    Message::stamp(draft, message.id(), Timestamp::from_micros(micros))
}

impl Subject {
    /// The parts of `metrics`, by name.
    async fn parts(&self) -> Vec<String> {
        self.parts_of("metrics").await
    }

    async fn parts_of(&self, table: &str) -> Vec<String> {
        let query = format!(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = '{table}'::regclass ORDER BY 1"
        );
        self.database.rows(&query).await.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
    }
}

/// Waits until the tables have this many rows and `metrics` this many parts: old parts are dropped alongside the calls that
/// store.
async fn until(subject: &Subject, counts: [u64; 3], parts: usize) {
    let waiting = async {
        while subject.counts().await != counts || subject.parts().await.len() != parts {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("{:?} {:?}", subject.counts().await, subject.parts().await);
    }
}

#[tokio::test]
async fn each_row_goes_to_the_part_of_its_time() {
    for (period, digits) in [(Period::Day, 8), (Period::Month, 6)] {
        let mut subject = Subject::with(|config| config.partition(period)).await;
        let batch = [400, 100, 1, 0].map(|days| received(&mut subject.samples, days));
        subject.store(&batch).await;
        subject.store(&batch).await;
        subject.crash().await;
        subject.store(&batch).await;
        assert_eq!(subject.counts().await, [0, 0, 4]);
        for message in &batch {
            let date = message.received_at().to_string().replace('-', "");
            let part = if digits == 8 { date[..8].to_owned() } else { format!("{}01", &date[..6]) };
            let query = format!(
                "SELECT count(*) FROM metrics_p{part} WHERE message_id = '{}'",
                message.id()
            );
            assert_eq!(subject.database.value(&query).await, "1");
        }
    }
}

#[tokio::test]
async fn a_part_dropped_by_hand_is_created_again() {
    let mut subject = Subject::with(|config| config.partition(Period::Day)).await;
    let batch = [received(&mut subject.samples, 3), received(&mut subject.samples, 3)];
    subject.store(&batch[..1]).await;
    let part = subject.parts().await.remove(0);
    subject.database.execute(&format!("DROP TABLE {part}")).await;
    subject.store(&batch[1..]).await;
    assert_eq!(subject.counts().await, [0, 0, 1]);
}

#[tokio::test]
async fn parts_older_than_the_retention_are_dropped() {
    let retention = Duration::from_secs(10 * DAY);
    let mut subject =
        Subject::with(|config| config.partition(Period::Day).retention(retention)).await;
    let [old, young, today] = [30, 5, 0].map(|days| received(&mut subject.samples, days));
    subject.store(std::slice::from_ref(&young)).await;
    subject.store(&[old]).await;
    subject.store(std::slice::from_ref(&today)).await;
    subject.crash().await;
    until(&subject, [0, 0, 2], 2).await;
}

#[tokio::test]
async fn a_part_that_is_being_read_is_dropped_later() {
    let retention = Duration::from_secs(10 * DAY);
    let mut subject = Subject::with(|config| config.partition(Period::Day)).await;
    let [old, today] = [30, 0].map(|days| received(&mut subject.samples, days));
    subject.store(&[old]).await;
    subject.database.execute("BEGIN; SELECT count(*) FROM metrics").await;
    let mut dropping = subject.another(|config| config.retention(retention)).await.unwrap();
    dropping.metrics_received(&[today]).await.unwrap();
    assert_eq!(subject.counts().await, [0, 0, 2]);
    subject.database.execute("COMMIT").await;
    drop(dropping);
    let _dropping = subject.another(|config| config.retention(retention)).await.unwrap();
    until(&subject, [0, 0, 1], 1).await;
}

const LONG: Duration = Duration::from_secs(40 * DAY);

#[tokio::test]
async fn months_older_than_the_retention_are_dropped() {
    let mut subject = Subject::with(|config| config.partition(Period::Month).retention(LONG)).await;
    let [old, young, today] = [100, 20, 0].map(|days| received(&mut subject.samples, days));
    subject.store(&[old]).await;
    subject.store(&[young]).await;
    subject.store(&[today]).await;
    subject.crash().await;
    // Twenty days ago may be in the current month.
    let young_and_today = "SELECT count(DISTINCT date_trunc('month', date)) FROM metrics WHERE date > now() - interval '40 days'";
    let parts = subject.database.value(young_and_today).await.parse().unwrap();
    until(&subject, [0, 0, 2], parts).await;
}

#[tokio::test]
async fn the_part_of_the_current_month_survives_a_change_to_days() {
    let mut subject = Subject::with(|config| config.partition(Period::Month)).await;
    let [old, one, two] = [70, 0, 0].map(|days| received(&mut subject.samples, days));
    subject.store(&[old]).await;
    subject.store(std::slice::from_ref(&one)).await;
    let retention = Duration::from_secs(DAY);
    let mut days =
        subject.another(|config| config.partition(Period::Day).retention(retention)).await.unwrap();
    days.metrics_received(&[one, two]).await.unwrap();
    until(&subject, [0, 0, 2], 1).await;
}

/// The beginning of a day in 2024, in microseconds, and an hour more.
fn day(month: u64, day: u64) -> u64 {
    // Days from 1970 to 2024, and those of the months before, of a leap year.
    let before = [0, 31, 60, 91, 121][usize::try_from(month).unwrap() - 1];
    ((19_723 + before + day - 1) * DAY + 3600) * 1_000_000
}

#[tokio::test]
async fn new_parts_fill_the_gaps_between_those_of_another_period() {
    let mut subject = Subject::with(|config| config.partition(Period::Month)).await;
    let mut days = subject.another(|config| config.partition(Period::Day)).await.unwrap();
    let mut dates = [(2, 10), (2, 20), (3, 5), (3, 20), (3, 2), (3, 31), (2, 29), (4, 1)]
        .map(|(month, date)| at(&mut subject.samples, day(month, date)))
        .into_iter();
    let mut next = |count| dates.by_ref().take(count).collect::<Vec<_>>();
    subject.store(&next(1)).await;
    days.metrics_received(&next(2)).await.unwrap();
    subject.store(&next(1)).await;
    subject.store(&next(2)).await;
    days.metrics_received(&next(2)).await.unwrap();
    assert_eq!(subject.counts().await, [0, 0, 8]);
    let digits = ["20240201", "20240301", "20240305", "20240306", "20240401"];
    assert_eq!(subject.parts().await, digits.map(|digits| format!("metrics_p{digits}")));
}

#[tokio::test]
async fn parts_of_the_operator_are_used_and_never_dropped() {
    let mut subject = Subject::with(|config| config.partition(Period::Day).retention(LONG)).await;
    // As long as the names of this receiver's parts, and before them in the alphabet.
    let own = "CREATE TABLE metrics_backup_20 PARTITION OF metrics FOR VALUES FROM ('2020-01-01') TO ('2024-02-01');
        CREATE TABLE metrics_rest PARTITION OF metrics FOR VALUES FROM (MINVALUE) TO ('2020-01-01')";
    subject.database.execute(own).await;
    let dates = [day(1, 31), 0, day(2, 1)];
    let batch = dates.map(|date| at(&mut subject.samples, date));
    subject.store(&batch).await;
    subject.crash().await;
    until(&subject, [0, 0, 2], 2).await;
    assert_eq!(subject.parts().await, ["metrics_backup_20", "metrics_rest"]);
}

#[tokio::test]
async fn a_part_that_cannot_be_dropped_does_not_block_the_others() {
    let mut subject = Subject::with(|config| config.partition(Period::Day)).await;
    let batch = [60, 50, 0].map(|days| received(&mut subject.samples, days));
    subject.store(&batch).await;
    let oldest = "SELECT min(tableoid::regclass::text) FROM (SELECT tableoid FROM metrics) AS rows";
    let oldest = subject.database.value(oldest).await;
    let eth = oldest.replace("metrics_p", "eth_stats_p");
    let views = format!(
        "CREATE VIEW one AS SELECT * FROM {oldest}; CREATE VIEW two AS SELECT * FROM {eth}"
    );
    subject.database.execute(&views).await;
    let _dropping = subject.another(|config| config.retention(LONG)).await.unwrap();
    until(&subject, [0, 0, 2], 2).await;
    // The tables are processed one after the other, `metrics` last.
    assert_eq!(subject.parts_of("system_stats").await.len(), 1);
}

#[tokio::test]
async fn the_state_after_an_unreadable_message_does_not_keep_old_parts() {
    let mut subject = Subject::with(|config| config.partition(Period::Day).retention(LONG)).await;
    let [today, old] = [0, 60].map(|days| received(&mut subject.samples, days));
    subject.store(std::slice::from_ref(&today)).await;
    let mut keeper = subject
        .another(|config| {
            Config::new(config.url.expose()).schema(&config.schema).partition(Period::Day)
        })
        .await
        .unwrap();
    keeper.metrics_received(&[old]).await.unwrap();
    let broken = subject.samples.json("a1", "networking_metrics", "{");
    let good = received(&mut subject.samples, 0);
    let refused = subject.receiver.metrics_received(&[good, broken]).await;
    assert_eq!(permanent(refused).0, [1]);
    let _dropping = subject.another(|config| config).await.unwrap();
    until(&subject, [0, 0, 1], 1).await;
}
