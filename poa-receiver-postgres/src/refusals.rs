//! Distinguishes a refused row from a table that refuses every row.

use tokio_postgres::Error;

use crate::encode::Rows;
use crate::table::Table;

/// With this many rows in a row refused for the same reason and none accepted between them, the table is at fault.
///
/// More than a faulty agent is likely to send while no other sends to the same table; few enough that little is dead-lettered before.
const TABLES_FAULT: usize = 10;

/// The reason why a row is refused, regardless of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    code: String,
    constraint: Option<String>,
    column: Option<String>,
}

impl Reason {
    pub(crate) fn of(error: &Error) -> Self {
        let error = error.as_db_error();
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            code: error.map(|error| error.code().code().to_owned()).unwrap_or_default(),
            constraint: text(error.and_then(|error| error.constraint())),
            column: text(error.and_then(|error| error.column())),
        }
    }

    /// A row with the same key exists: that concerns only the row.
    pub(crate) fn is_taken(&self) -> bool {
        self.code == "23505"
    }
}

/// A row that the database refuses.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// The index of its message in the batch.
    pub(crate) item: usize,
    pub(crate) table: Table,
    pub(crate) reason: Reason,
}

/// For each table, the number of rows it refused since it last accepted one, all for the same reason.
#[derive(Debug, Default)]
pub(crate) struct Refusals([Option<(Reason, usize)>; Table::ALL.len()]);

impl Refusals {
    /// All rows were stored.
    pub(crate) fn taken(&mut self, rows: &Rows<'_>) {
        for table in Table::ALL {
            if rows.count(table) > 0 || rows.has_some(table) {
                self.0[table as usize] = None;
            }
        }
    }

    /// These rows of a batch are refused, the others would be accepted. Returns the table that is at fault, if one is, and the number of
    /// refused rows.
    pub(crate) fn add(&mut self, rows: &Rows<'_>, refused: &[Refused]) -> Option<(Table, usize)> {
        let at_fault = Table::ALL.map(|table| {
            let count = rows.count(table);
            if count == 0 && !rows.has_some(table) {
                return None;
            }
            let own: Vec<_> = refused.iter().filter(|row| row.table == table).collect();
            let all = own.len() == count && !rows.has_some(table);
            let known = self.0[table as usize].take();
            let reason = own.first().map(|row| &row.reason)?;
            if !all || reason.is_taken() || own.iter().any(|row| row.reason != *reason) {
                return None;
            }
            let before = known.filter(|(known, _)| known == reason).map_or(0, |(_, count)| count);
            let count = before.saturating_add(count);
            self.0[table as usize] = Some((reason.clone(), count));
            (count >= TABLES_FAULT).then_some((table, count))
        });
        at_fault.into_iter().flatten().next()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use poa_core::Message;
    use poa_testkit::Samples;

    use super::*;

    fn batch(count: usize) -> Vec<Message> {
        let mut samples = Samples::default();
        (0..count).map(|_| samples.json("a1", "networking_metrics", "{}")).collect()
    }

    fn read(batch: &[Message]) -> Rows<'_> {
        let mut rows = Rows::of(batch);
        rows.read_all();
        rows
    }

    fn refused(items: std::ops::Range<usize>, code: &str) -> Vec<Refused> {
        let reason = Reason { code: code.to_owned(), constraint: None, column: None };
        items.map(|item| Refused { item, table: Table::Metrics, reason: reason.clone() }).collect()
    }

    #[test]
    fn a_table_that_refuses_all_is_at_fault() {
        let (ten, nine) = (batch(10), batch(9));
        let add =
            |batch: &[Message], refused: &[Refused]| Refusals::default().add(&read(batch), refused);
        assert_eq!(add(&ten, &refused(0..10, "23514")), Some((Table::Metrics, 10)));
        assert_eq!(add(&nine, &refused(0..9, "23514")), None);
        assert_eq!(add(&ten, &refused(0..9, "23514")), None);
        assert_eq!(add(&ten, &refused(0..10, "23505")), None);
        let mixed = [refused(0..5, "23514"), refused(5..10, "22001")].concat();
        assert_eq!(add(&ten, &mixed), None);
    }

    #[test]
    fn small_batches_add_up_until_a_row_is_accepted() {
        let one = batch(1);
        let mut refusals = Refusals::default();
        let mut add = |code, times| {
            (0..times).filter_map(|_| refusals.add(&read(&one), &refused(0..1, code))).count()
        };
        assert_eq!(add("23514", 9), 0);
        assert_eq!(add("22001", 9), 0);
        assert_eq!(add("22001", 2), 2);
        refusals.taken(&read(&one));
        assert_eq!(refusals.add(&read(&one), &refused(0..1, "22001")), None);
    }

    #[test]
    fn stored_rows_count_as_accepted() {
        let batch = batch(20);
        let mut rows = read(&batch);
        let stored: BTreeSet<_> = batch[..10].iter().map(Message::id).collect();
        rows.without(&stored);
        assert_eq!(Refusals::default().add(&rows, &refused(10..20, "23514")), None);
    }
}
