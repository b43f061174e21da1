use poa_testkit::Samples;

use super::*;

fn rows(data: &[(&str, &str)]) -> Rows {
    let mut samples = Samples::default();
    let batch: Vec<_> =
        data.iter().map(|(data_type, data)| samples.json("a1", data_type, data)).collect();
    Rows::encode(&batch).unwrap()
}

#[test]
fn each_table_gets_its_own_copy() {
    let system = ("system_metrics", r#"{"type":"statistics","body":{"cpu_load":1}}"#);
    let rows = rows(&[("networking_metrics", "{}"), system, ("system_metrics", "{}")]);
    let copies: Vec<_> = rows.copies(rows.all()).collect();
    let tables: Vec<_> = copies.iter().map(|(table, _)| *table).collect();
    assert_eq!(tables, [Table::System, Table::Metrics]);
    for (_, copy) in &copies {
        assert!(copy.starts_with(HEADER) && copy.ends_with(TRAILER));
    }
    // Width, id, date, agent, one double, two nulls.
    let row = 2 + (4 + 16) + (4 + 8) + (4 + 2) + (4 + 8) + 4 + 4;
    assert_eq!(copies[0].1.len(), HEADER.len() + row + TRAILER.len());
}

#[test]
fn rows_that_are_stored_are_left_out_and_no_message_stays_twice() {
    let mut samples = Samples::default();
    let mut batch: Vec<_> = (0..3).map(|_| samples.json("a1", "system_metrics", "{}")).collect();
    batch.push(batch[2].clone());
    let mut rows = Rows::encode(&batch).unwrap();
    rows.without(&BTreeSet::from([batch[0].id()]));
    assert_eq!(rows.all().iter().map(|row| row.item).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn all_that_cannot_be_read_are_named() {
    let mut samples = Samples::default();
    let batch = ["{", "{}", "[1"].map(|data| samples.json("a1", "system_metrics", data));
    assert_eq!(Rows::encode(&batch).unwrap_err().items, [0, 2]);
}

#[test]
fn what_was_done_is_counted() {
    let rows = rows(&[
        ("system_metrics", r#"{"type":"statistics","body":{"cpu_load":"high"}}"#),
        ("system_metrics", r#"{"type":"a\u0000"}"#),
        ("system_metrics", r#"{"a":1,"a":2}"#),
        ("ethereum_metrics", r#"{"type":"statistics","body":{"gasPrice":1e400000}}"#),
    ]);
    assert_eq!(rows.counts, Counts { unmapped: 2, replaced_nul: 1, wrapped: 2 });
}
