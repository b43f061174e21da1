//! Tables divided by time: which part a row goes to, how parts are made, and how old ones go.

use std::collections::BTreeSet;

use poa_core::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Error};

use crate::table::{Names, Table};

/// A day in microseconds.
const DAY: u64 = 24 * 60 * 60 * 1_000_000;

/// The time that one part of a table covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Period {
    /// A day, in UTC.
    Day,
    /// A month, in UTC.
    Month,
}

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    table: &'static str,
    /// Its first day: `2026-01-31`.
    begin: String,
    /// How long it is, as PostgreSQL says it.
    length: &'static str,
}

impl Part {
    pub(crate) fn of(table: Table, period: Period, date: Timestamp) -> Self {
        let date = date.to_string();
        let (begin, length) = match period {
            Period::Day => (date[..10].to_owned(), "1 day"),
            Period::Month => (format!("{}-01", &date[..7]), "1 month"),
        };
        Self { table: table.name(), begin, length }
    }

    /// The name of its table: `metrics_p20260131`.
    fn name(&self) -> String {
        format!("{}_p{}", self.table, self.begin.replace('-', ""))
    }
}

/// The parts of all tables for these dates.
///
/// Of all tables: which of them a message goes to is not known before it is read, and by then its row is on the way.
pub(crate) fn parts(period: Period, dates: impl Iterator<Item = Timestamp>) -> BTreeSet<Part> {
    let days: BTreeSet<_> = dates.map(|date| date.as_micros() / DAY).collect();
    let dates = days.into_iter().map(|day| Timestamp::from_micros(day * DAY));
    dates.flat_map(|date| Table::ALL.map(|table| Part::of(table, period, date))).collect()
}

/// Makes these parts, unless they are there.
pub(crate) async fn make(client: &Client, names: &Names, parts: &[&Part]) -> Result<(), Error> {
    client.batch_execute("BEGIN").await?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    client.execute(lock, &[&names.lock()]).await?;
    for part in parts {
        let (whole, name) = (names.of(part.table), names.of(&part.name()));
        let there = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]).await?;
        if there.try_get(0)? {
            continue;
        }
        let Part { begin, length, .. } = part;
        // Attached rather than made in place, which would wait for everybody who reads the table.
        client
            .batch_execute(&format!(
                "CREATE TABLE {name} (LIKE {whole} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
                ALTER TABLE {whole} ATTACH PARTITION {name}
                    FOR VALUES FROM ('{begin}Z') TO (timestamptz '{begin}Z' + interval '{length}')"
            ))
            .await?;
    }
    client.batch_execute("COMMIT").await
}

/// Drops the parts that ended before this time; how many.
///
/// Gives up when somebody reads such a part: that can wait until the next time.
pub(crate) async fn drop_ended(
    client: &Client,
    names: &Names,
    period: Period,
    before: Timestamp,
) -> Result<usize, Error> {
    let mut dropped = 0;
    for table in Table::ALL {
        // The part in which `before` lies has not ended by then; those with smaller names have.
        let kept = names.bare(&Part::of(table, period, before).name());
        let parts = "SELECT relname::text FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = to_regclass($1) AND length(relname) = length($2) AND relname::text COLLATE \"C\" < $2";
        for part in client.query(parts, &[&names.of(table.name()), &kept]).await? {
            let name: String = part.try_get(0)?;
            let bare = name.strip_prefix(&names.bare("")).unwrap_or(&name);
            client
                .batch_execute(&format!(
                    "BEGIN; SET LOCAL lock_timeout = '1s'; DROP TABLE {}; COMMIT",
                    names.of(bare)
                ))
                .await?;
            dropped += 1;
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_days_or_months() {
        let date = Timestamp::from_micros(1_533_920_604_000_007);
        let day = Part::of(Table::Metrics, Period::Day, date);
        assert_eq!((&*day.begin, &*day.name()), ("2018-08-10", "metrics_p20180810"));
        let month = Part::of(Table::Eth, Period::Month, date);
        assert_eq!((&*month.begin, &*month.name()), ("2018-08-01", "eth_stats_p20180801"));
    }

    #[test]
    fn every_table_has_a_part_for_every_date() {
        let date = Timestamp::from_micros(1_533_920_604_000_007);
        let later = |days| Timestamp::from_micros(date.as_micros() + days * DAY);
        let dates = [date, later(0), later(21), later(22)];
        let wanted = |dates: &[Timestamp], period| {
            let parts =
                dates.iter().flat_map(|date| Table::ALL.map(|t| Part::of(t, period, *date)));
            parts.collect::<BTreeSet<_>>()
        };
        for (period, count) in [(Period::Day, 9), (Period::Month, 6)] {
            let parts = parts(period, dates.into_iter());
            assert_eq!((parts.len(), &parts), (count, &wanted(&dates, period)));
        }
    }
}
