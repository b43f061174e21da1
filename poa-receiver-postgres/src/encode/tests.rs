use poa_testkit::Samples;

use super::*;

fn batch(data: &[(&str, &str)]) -> Vec<Message> {
    let mut samples = Samples::default();
    data.iter().map(|(data_type, data)| samples.json("a1", data_type, data)).collect()
}

fn read(batch: &[Message]) -> Rows<'_> {
    let mut rows = Rows::of(batch);
    rows.read_all();
    rows
}

#[test]
fn each_table_gets_its_own_copy() {
    let system = ("system_metrics", r#"{"type":"statistics","body":{"cpu_load":1}}"#);
    let batch = batch(&[("networking_metrics", "{}"), system, ("system_metrics", "{}")]);
    let rows = read(&batch);
    let copies: Vec<_> = rows.copies(Table::ALL, rows.all()).collect();
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
fn stored_rows_and_duplicates_are_left_out() {
    let mut samples = Samples::default();
    let mut batch: Vec<_> = (0..3).map(|_| samples.json("a1", "system_metrics", "{}")).collect();
    batch.push(batch[2].clone());
    let mut rows = read(&batch);
    assert!(rows.without(&BTreeSet::from([batch[0].id()])));
    assert!(rows.has_some(Table::Metrics) && !rows.has_some(Table::Eth));
    assert_eq!(rows.all().iter().map(|row| row.item).collect::<Vec<_>>(), [1, 2]);
    assert!(!rows.without(&BTreeSet::new()));
}

#[test]
fn all_unreadable_messages_are_named() {
    let mut samples = Samples::default();
    let batch = ["{", "{}", "[1"].map(|data| samples.json("a1", "system_metrics", data));
    let rows = read(&batch);
    assert_eq!(rows.all().len(), 1);
    assert_eq!(rows.unreadable.unwrap().items, [0, 2]);
}

#[test]
fn chunks_have_all_rows_of_the_first_table_and_can_be_repeated() {
    let system = ("system_metrics", r#"{"type":"statistics","body":{"cpu_load":1}}"#);
    let other = ("networking_metrics", "{}");
    let batch = batch(&[&[system][..], &[other; 999], &[system; 999]].concat());
    let mut rows = Rows::of(&batch);
    let first = rows.first_table().unwrap();
    assert_eq!((first, rows.all().len()), (Table::System, 1));
    let chunks = |rows: &mut Rows<'_>| {
        let mut next = 0;
        std::iter::from_fn(|| rows.next_chunk(first, &mut next)).collect::<Vec<_>>()
    };
    let parts = chunks(&mut rows);
    assert!(parts.len() > 1 && parts.iter().all(|part| part.len() < 2 * CHUNK));
    let whole = rows.copies([first], rows.all()).next().unwrap().1;
    assert_eq!([HEADER, &parts.concat(), TRAILER].concat(), whole);
    assert_eq!(chunks(&mut rows).concat(), parts.concat());
}

#[test]
fn changed_values_are_counted() {
    let batch = batch(&[
        ("system_metrics", r#"{"type":"statistics","body":{"cpu_load":"high"}}"#),
        ("system_metrics", r#"{"type":"a\u0000"}"#),
        ("system_metrics", r#"{"a":1,"a":2}"#),
        ("ethereum_metrics", r#"{"type":"statistics","body":{"gasPrice":1e400000}}"#),
    ]);
    assert_eq!(
        read(&batch).counts,
        Counts { tally: Tally { unmapped: 2, replaced_nul: 1 }, wrapped: 2 }
    );
}
