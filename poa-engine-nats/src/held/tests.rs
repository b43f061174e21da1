//! The rules of what is handed out and what cursors say.

use std::time::Duration;

use bytes::Bytes;
use poa_core::{AgentId, DataTypes, Draft, Format, MessageId, Payload};

use super::*;
use crate::trying::Trying;

fn event() -> Event {
    let types = DataTypes::new(["x"]).unwrap();
    let payload = Payload::new(Format::Json, Bytes::from_static(b"{}"));
    let agent = AgentId::new("a").unwrap();
    let draft = Draft::new(agent, types.get("x").unwrap().clone(), payload);
    Event::Message(Message::stamp(draft, MessageId::from_bytes([1; 16]), Timestamp::now()))
}

/// Partitions 0 and 1 under epoch 9, nothing confirmed.
fn held(crashed: bool) -> Held {
    let mut held = Held::default();
    for partition in [0, 1] {
        let mut cursor = Cursor::at(Position::end_of(0));
        cursor.epoch = 9;
        let claimed = Claimed { cursor, revision: 1, crashed };
        let until = Instant::now() + Duration::from_secs(10);
        assert_eq!(held.add(partition, claimed, 1, until), 1);
    }
    held
}

fn push(held: &mut Held, partition: u16, sequence: u64, index: usize) {
    let position = Position::new(sequence, index);
    held.push(partition, 9, position, Some((event(), false)));
}

fn take(held: &mut Held, size: usize) -> Vec<u64> {
    let mut limits = BatchLimits::default();
    limits.size = size;
    held.prepare(Instant::now(), &limits);
    let (count, _) = held.fitting(&limits);
    held.hand_out(count).into_iter().map(|(number, _)| number).collect()
}

fn position(held: &Held, partition: u16) -> Option<Position> {
    let writes = held.writes(Timestamp::now()).into_iter();
    writes.filter(|w| w.partition == partition).map(|w| w.cursor.position()).next()
}

#[tokio::test(start_paused = true)]
async fn a_cursor_stays_below_what_is_not_confirmed() {
    let mut held = held(false);
    for index in 0..3 {
        push(&mut held, 0, 1, index);
    }
    push(&mut held, 1, 2, 0);
    assert_eq!(take(&mut held, 2), [1, 2]);
    assert_eq!(position(&held, 0), Some(Position::end_of(0)));
    held.confirm(&[]);
    assert_eq!(position(&held, 0), Some(Position::new(1, 1)));
    assert_eq!(position(&held, 1), Some(Position::end_of(1)));
    take(&mut held, 9);
    held.caught_up(1, 5);
    held.confirm(&[]);
    assert_eq!([0, 1].map(|p| position(&held, p)), [Some(Position::end_of(5)); 2]);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_comes_first_with_its_numbers() {
    let mut held = held(false);
    (1..=4).for_each(|sequence| push(&mut held, 0, sequence, 0));
    assert_eq!(take(&mut held, 2), [1, 2]);
    held.give_back();
    assert_eq!(take(&mut held, 9), [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_is_not_taken_in_again() {
    let mut held = held(false);
    push(&mut held, 0, 3, 1);
    push(&mut held, 0, 3, 0);
    push(&mut held, 0, 2, 0);
    held.push(0, 8, Position::new(9, 0), Some((event(), false)));
    assert_eq!(take(&mut held, 9), [1]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_out_after_the_lease() {
    let mut held = held(false);
    push(&mut held, 0, 1, 0);
    push(&mut held, 0, 2, 0);
    assert_eq!(take(&mut held, 1), [1]);
    tokio::time::advance(Duration::from_secs(11)).await;
    held.confirm(&[]);
    assert!(take(&mut held, 9).is_empty());
    assert!(held.writes(Timestamp::now()).is_empty(), "a cursor without a lease is not written");
}

#[tokio::test(start_paused = true)]
async fn a_partition_leaves_when_nothing_of_it_is_in_flight() {
    let mut held = held(false);
    (1..=3).for_each(|sequence| push(&mut held, 0, sequence, 0));
    take(&mut held, 1);
    held.leave(0);
    assert!(held.left().is_empty());
    push(&mut held, 0, 4, 0);
    held.caught_up(1, 4);
    held.confirm(&[]);
    assert_eq!(held.left(), [0]);
    // The next holder reads what this one had read and not handed out.
    assert_eq!(position(&held, 0), Some(Position::end_of(1)));
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_listed_in_the_cursor() {
    let mut held = held(false);
    push(&mut held, 0, 1, 0);
    push(&mut held, 0, 1, 1);
    let numbers = take(&mut held, 9);
    held.confirm(&numbers[1..]);
    let write = held.writes(Timestamp::now()).remove(0);
    assert_eq!(write.cursor.lost().collect::<Vec<_>>(), [Position::new(1, 1)]);
    held.written(write, 2);
    let again: Vec<_> = held.writes(Timestamp::now());
    assert!(again.iter().all(|write| write.partition == 1), "{again:?}");
}

/// The state of another node that takes over when this one ends.
fn crash(held: &Held, cursors: &mut BTreeMap<u16, Cursor>) -> Held {
    let mut next = Held::default();
    for (partition, cursor) in cursors {
        if let Some(written) = held.partitions.get(partition).map(|held| held.cursor.clone()) {
            *cursor = written;
        }
        if let Some(trying) = &mut cursor.trying {
            trying.crashed();
        }
        let claimed = Claimed { cursor: cursor.clone(), revision: 1, crashed: true };
        next.add(*partition, claimed, 1, Instant::now() + Duration::from_secs(10));
    }
    next
}

/// Writes the cursors if they must be.
fn write(held: &mut Held) -> bool {
    let must = held.must_write();
    if must {
        for write in held.writes(Timestamp::now()) {
            held.written(write, 2);
        }
    }
    must
}

/// Reads everything behind the cursors and hands out batches of this size until the poison is among one. Returns false when it was
/// set aside.
fn serve_until_poison(held: &mut Held, size: usize, messages: u64, poison: u64) -> bool {
    for sequence in 1..=messages {
        push(held, 0, sequence, 0);
    }
    let mut limits = BatchLimits::default();
    limits.size = size;
    loop {
        held.prepare(Instant::now(), &limits);
        write(held);
        let (count, _) = held.fitting(&limits);
        if count == 0 {
            return false;
        }
        held.hand_out(count);
        if held.in_flight.iter().any(|entry| entry.position == Position::new(poison, 0)) {
            return true;
        }
        if held.confirm(&[]) {
            for write in held.writes(Timestamp::now()) {
                held.written(write, 2);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn three_nodes_end_over_a_message_wherever_it_is_in_its_batch() {
    for (size, poison) in [(1000, 1), (1000, 300), (500, 499), (100, 3740), (1, 50), (7, 2000)] {
        let mut cursors = BTreeMap::from([(0, Cursor::at(Position::end_of(0)))]);
        let mut held = held(false);
        held.remove(1);
        let mut crashes = 0;
        while serve_until_poison(&mut held, size, poison + 5, poison) {
            crashes += 1;
            held = crash(&held, &mut cursors);
        }
        assert_eq!(crashes, 3, "batches of {size}, the poison is the {poison}th");
        assert_eq!(held.shed().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_a_batch_is_named_before_it_is_handed_out() {
    let mut held = held(true);
    (1..=3).for_each(|sequence| push(&mut held, 0, sequence, 0));
    held.prepare(Instant::now(), &BatchLimits::default());
    assert!(write(&mut held));
    let named = held.partitions[&0].cursor.trying;
    assert_eq!(named, Some(Trying::batch(Position::new(3, 0).raw())));
    push(&mut held, 0, 4, 0);
    assert_eq!(take(&mut held, 9), [1, 2, 3], "not what came later");
    assert!(held.confirm(&[]), "written at once");
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_handed_out_while_the_cursor_is_far_behind() {
    let mut held = held(false);
    (1..=5000).for_each(|sequence| push(&mut held, 0, sequence, 0));
    let mut handed = 0;
    while !held.must_write() {
        handed += take(&mut held, 1000).len();
        held.confirm(&[]);
    }
    assert_eq!(handed, 4000);
    assert!(write(&mut held) && !held.must_write());
}

#[tokio::test(start_paused = true)]
async fn what_is_set_aside_is_passed_when_it_is_safe() {
    let mut held = held(true);
    (1..=2).for_each(|sequence| push(&mut held, 0, sequence, 0));
    let first = Position::new(1, 0).raw();
    let mut trying = Trying::batch(first);
    trying.crashed();
    trying = trying.next(first, first);
    trying.crashed();
    held.partitions.get_mut(&0).unwrap().cursor.trying = Some(trying);
    held.prepare(Instant::now(), &BatchLimits::default());
    assert_eq!(held.shed().len(), 1);
    assert_eq!(position(&held, 0), Some(Position::end_of(0)), "not before it is safe");
    held.shed_kept(1);
    assert_eq!(position(&held, 0), Some(Position::end_of(1)));
}

#[tokio::test(start_paused = true)]
async fn shedding_takes_the_oldest() {
    let mut held = held(false);
    (1..=4).for_each(|sequence| push(&mut held, 0, sequence, 0));
    let most = held.window_bytes() / 2;
    assert_eq!(held.shed_while(false, |held| held.window_bytes() > most), 2);
    assert_eq!(position(&held, 0), Some(Position::end_of(2)));
    assert_eq!(held.shed_while(true, |held| held.window_bytes() > 0), 0);
    assert_eq!(held.shed().len(), 2);
    assert_eq!(position(&held, 0), Some(Position::end_of(2)));
}
