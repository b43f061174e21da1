//! Dead letters, from the command line.

use std::collections::BTreeMap;

use poa_core::{Format, Payload};
use poa_dead_letters::{DeadLetterStore, Letter, Summary, Which};
use poa_host::Outline;
use serde_json::{Value, json};

use crate::cli::{Dlq, DlqArgs, Letters};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{give, say};

/// Manages the dead letters in the data directory.
pub(crate) fn dlq(args: &DlqArgs, cx: Context<'_>) -> Result<u8, Failure> {
    let place = cx.data(&args.place)?;
    let store = place.open_dead_letters().map_err(|error| Failure::new("dead letters", error))?;
    match &args.command {
        Dlq::List { receiver } => {
            let which = receiver.clone().map_or(Which::All, Which::Receiver);
            store.list(&which).map_err(failed)?.iter().for_each(line);
        }
        Dlq::Show { id, raw } => match store.show(*id).map_err(failed)? {
            Some(letter) if *raw => give(&letter.payload),
            Some(letter) => say(format_args!("{:#}", whole(&letter))),
            None => return Err(no_such_letter(*id)),
        },
        Dlq::Replay(letters) => {
            let count = each(letters, |which| store.request_replay(which).map_err(failed))?;
            say(format_args!("{count} will be delivered again"));
            let waiting = store.list(&Which::All).map_err(failed)?;
            for (why, count) in cannot_be_delivered(&waiting, &place) {
                say(format_args!("{count} of all that wait: {why}"));
            }
        }
        Dlq::Remove(letters) => {
            let count = each(letters, |which| remove(&store, which))?;
            say(format_args!("{count} removed"));
        }
    }
    Ok(0)
}

/// Why letters that wait to be delivered again cannot be, with this configuration, and how many for each reason.
fn cannot_be_delivered(letters: &[Summary], config: &Outline) -> BTreeMap<String, usize> {
    let receivers: Vec<_> = config.receivers().collect();
    let types: Vec<_> = config.metrics().collect();
    let mut reasons = BTreeMap::new();
    for Summary { receiver, data_type, .. } in letters.iter().filter(|letter| letter.replay) {
        let missing = if !receivers.contains(&&**receiver) {
            format!("there is no receivers.{receiver}")
        } else if !types.contains(&&**data_type) {
            format!("`{data_type}` is not among the metrics")
        } else {
            continue;
        };
        let why = format!("{missing} in the configuration; delivered once that has changed");
        *reasons.entry(why).or_default() += 1;
    }
    reasons
}

fn failed(error: poa_dead_letters::StoreError) -> Failure {
    Failure::new("dead letters", error)
}

fn no_such_letter(id: i64) -> Failure {
    Failure::because(format_args!("there is no dead letter {id}; `poa-server dlq list` lists them"))
}

fn remove(store: &DeadLetterStore, which: &Which) -> Result<usize, Failure> {
    store.remove(which).map_err(failed)
}

/// Applies `act` to the chosen letters; a number that names none is an error.
fn each(
    letters: &Letters,
    act: impl Fn(&Which) -> Result<usize, Failure>,
) -> Result<usize, Failure> {
    if let Some(receiver) = &letters.receiver {
        return act(&Which::Receiver(receiver.clone()));
    }
    if letters.all {
        return act(&Which::All);
    }
    let mut count = 0;
    for id in &letters.ids {
        match act(&Which::Id(*id))? {
            0 => return Err(no_such_letter(*id)),
            some => count += some,
        }
    }
    Ok(count)
}

fn line(letter: &Summary) {
    let Summary { id, receiver, agent_id, data_type, attempts, set_aside, bytes, reason, .. } =
        letter;
    let replay = if letter.replay { "  (will be delivered again)" } else { "" };
    say(format_args!(
        "{id}  {set_aside}  {receiver}  {agent_id}  {data_type}  {bytes} bytes  {attempts} attempts{replay}  {reason}"
    ));
}

fn whole(letter: &Letter) -> Value {
    let summary = &letter.summary;
    json!({
        "id": summary.id,
        "receiver": summary.receiver,
        "message_id": summary.message_id,
        "agent_id": summary.agent_id,
        "data_type": summary.data_type,
        "received_at": summary.received_at,
        "reason": summary.reason,
        "attempts": summary.attempts,
        "first_attempt": summary.first_attempt,
        "set_aside": summary.set_aside,
        "replay": summary.replay,
        "format": letter.format,
        "data": data(letter),
    })
}

/// The data as JSON, or as text if it is not even that.
fn data(letter: &Letter) -> Value {
    let format = if letter.format == "msgpack" { Format::MessagePack } else { Format::Json };
    let payload = Payload::new(format, letter.payload.clone().into());
    payload.read().unwrap_or_else(|_| String::from_utf8_lossy(&letter.payload).into_owned().into())
}
