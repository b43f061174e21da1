//! Tables divided by time: selecting, creating and dropping parts.
//!
//! The range of a part is read from its bounds, never from its name: the period may have been different when it was created, and
//! operators attach parts of their own.

use std::collections::BTreeSet;

use poa_core::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::activity::time;
use crate::link::{Opening, Params};
use crate::table::{Names, Table};

/// A day in microseconds.
const DAY: u64 = 24 * 60 * 60 * 1_000_000;

/// The period that one part of a table covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Period {
    /// A day, in UTC.
    Day,
    /// A month, in UTC.
    Month,
}

impl Period {
    /// The name in PostgreSQL.
    const fn unit(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// A day in UTC, counted from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(u64);

impl Day {
    fn begin(self) -> Timestamp {
        Timestamp::from_micros(self.0 * DAY)
    }
}

/// The days of these dates.
pub(crate) fn days(dates: impl Iterator<Item = Timestamp>) -> BTreeSet<Day> {
    dates.map(|date| Day(date.as_micros() / DAY)).collect()
}

/// Creates the missing parts for these days.
///
/// For all tables: the table of a message is not known before it is read, and by then its row is being sent.
pub(crate) async fn make(
    client: &Client,
    opening: &Opening,
    names: &Names,
    period: Period,
    days: impl IntoIterator<Item = Day>,
) -> Result<(), Error> {
    opening.begin(client).await?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    client.query_typed(lock, &[(&names.lock(), Type::TEXT)]).await?;
    for day in days {
        for table in Table::ALL {
            make_one(client, names, period, table, day).await?;
        }
    }
    client.batch_execute("COMMIT").await
}

/// The parts of a table, `$1`, with their bounds.
pub(crate) const PARTS: &str = "SELECT part.oid, part.relname::text AS name,
        coalesce(substring(bound FROM $$FROM \\('([^']*)'\\)$$)::timestamptz, '-infinity') AS lower,
        coalesce(substring(bound FROM $$TO \\('([^']*)'\\)$$)::timestamptz, 'infinity') AS upper
    FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid, pg_get_expr(relpartbound, part.oid) AS bound
    WHERE inhparent = to_regclass($1) AND bound <> 'DEFAULT'";

/// Creates the part of this table that covers this day, and as much of the period around it as no other part does, unless there is one.
async fn make_one(
    client: &Client,
    names: &Names,
    period: Period,
    table: Table,
    day: Day,
) -> Result<(), Error> {
    let whole = names.of(table.name());
    let gap = format!(
        "WITH part AS ({PARTS}), wanted AS
            (SELECT date_trunc($2, $3::timestamptz) AS starts, date_trunc($2, $3::timestamptz) + ('1 ' || $2)::interval AS ends)
        SELECT first::text, last::text, to_char(first, 'YYYYMMDD') FROM (
            SELECT greatest((SELECT starts FROM wanted), max(upper) FILTER (WHERE upper <= $3)) AS first,
                least((SELECT ends FROM wanted), min(lower) FILTER (WHERE lower > $3)) AS last,
                coalesce(bool_or(lower <= $3 AND upper > $3), false) AS covered
            FROM part) AS gap WHERE NOT covered AND (SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass($1))"
    );
    let (unit, begin) = (period.unit(), time(day.begin()));
    let params: Params<'_> =
        &[(&whole, Type::TEXT), (&unit, Type::TEXT), (&begin, Type::TIMESTAMPTZ)];
    let row = client.query_typed_opt(&gap, params).await?;
    let Some(row) = row else { return Ok(()) };
    let (first, last, digits): (String, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let name = names.of(&format!("{}{digits}", part_prefix(table)));
    // Attached rather than created in place, which would wait for every session that reads the table.
    client
        .batch_execute(&format!(
            "CREATE TABLE {name} (LIKE {whole} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
            ALTER TABLE {whole} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{last}')"
        ))
        .await
}

/// The prefix of the names of a table's parts, before the eight digits of their first day: `metrics_p20260131`.
fn part_prefix(table: Table) -> String {
    format!("{}_p", table.name())
}

/// The name of the part that was the whole table before it was divided: it precedes all others.
pub(crate) fn undivided(table: Table) -> String {
    format!("{}00010101", part_prefix(table))
}

/// The result of dropping the parts that are too old.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) parts: usize,
    /// The reason for the first of those that could not be dropped.
    pub(crate) failure: Option<Error>,
}

/// Drops the parts that ended before this time, of those with a name that this receiver gives them.
///
/// A part that cannot be dropped does not block the others. If a session reads a table, all its parts are left for the next time:
/// waiting for each would be in vain.
pub(crate) async fn drop_ended(
    client: &Client,
    opening: &Opening,
    names: &Names,
    before: Timestamp,
) -> Result<Dropped, Error> {
    let mut all = Dropped::default();
    for table in Table::ALL {
        for part in ended(client, opening, names, table, before).await? {
            let drop =
                opening.with(&format!("SET LOCAL lock_timeout = '1s'; DROP TABLE {part}; COMMIT"));
            let Err(error) = client.batch_execute(&drop).await else {
                all.parts += 1;
                continue;
            };
            let locked = error.code().is_some_and(|code| code.code() == "55P03");
            client.batch_execute("ROLLBACK").await?;
            all.failure.get_or_insert(error);
            if locked {
                break;
            }
        }
    }
    Ok(all)
}

/// The parts of this table that ended before this time, quoted for a statement.
async fn ended(
    client: &Client,
    opening: &Opening,
    names: &Names,
    table: Table,
    before: Timestamp,
) -> Result<Vec<String>, Error> {
    let ours = format!(
        "WITH part AS ({PARTS}) SELECT oid::regclass::text FROM part
        WHERE upper <= $3 AND starts_with(name, $2) AND substr(name, length($2) + 1) ~ '^[0-9]{{8}}$' ORDER BY upper"
    );
    let prefix = names.bare(&part_prefix(table));
    let (whole, before) = (names.of(table.name()), time(before));
    let params: Params<'_> =
        &[(&whole, Type::TEXT), (&prefix, Type::TEXT), (&before, Type::TIMESTAMPTZ)];
    let rows = opening.query(client, &ours, params).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_fall_on_days() {
        let date = 1_533_920_604_000_007;
        let dates = [0, 0, 21, 22].map(|days| Timestamp::from_micros(date + days * DAY));
        let days = days(dates.into_iter());
        let begins: Vec<_> =
            days.iter().map(|day| day.begin().to_string()[..10].to_owned()).collect();
        assert_eq!(begins, ["2018-08-10", "2018-08-31", "2018-09-01"]);
        assert_eq!(days.first().unwrap().begin().as_micros() % DAY, 0);
    }
}
