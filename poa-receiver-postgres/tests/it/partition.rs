//! Tables divided by time.

use std::time::Duration;

use poa_core::{Message, Timestamp};
use poa_receiver_postgres::Period;
use poa_testkit::Samples;

use crate::common::Subject;

const DAY: u64 = 24 * 60 * 60;

/// A message received this many days ago.
fn received(samples: &mut Samples, days: u64) -> Message {
    let message = samples.json("a1", "networking_metrics", r#"{"type":"latency","body":{}}"#);
    let at = Timestamp::now().as_micros() - days * DAY * 1_000_000;
    let draft = poa_core::Draft::new(
        message.agent_id().clone(),
        message.data_type().clone(),
        message.payload().clone(),
    );
    Message::stamp(draft, message.id(), Timestamp::from_micros(at))
}

impl Subject {
    /// The parts of `metrics`, by name.
    async fn parts(&self) -> Vec<String> {
        let query = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'metrics'::regclass ORDER BY 1";
        self.database.rows(query).await.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
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
async fn a_part_dropped_by_hand_comes_back() {
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
    assert_eq!(subject.counts().await, [0, 0, 2]);
    assert_eq!(subject.parts().await.len(), 2);
}

#[tokio::test]
async fn a_part_that_somebody_reads_is_dropped_later() {
    let retention = Duration::from_secs(10 * DAY);
    let mut subject = Subject::with(|config| config.partition(Period::Day)).await;
    let [old, today] = [30, 0].map(|days| received(&mut subject.samples, days));
    subject.store(&[old]).await;
    subject.database.execute("BEGIN; SELECT count(*) FROM metrics").await;
    let mut dropping = subject.another(|config| config.retention(retention)).await.unwrap();
    poa_core::Receiver::metrics_received(&mut dropping, &[today]).await.unwrap();
    assert_eq!(subject.counts().await, [0, 0, 2]);
    subject.database.execute("COMMIT").await;
    drop(subject.another(|config| config.retention(retention)).await.unwrap());
    assert_eq!(subject.counts().await, [0, 0, 1]);
}
