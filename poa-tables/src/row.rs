//! The mapping of messages to rows.

mod envelope;

use std::borrow::Cow;

use poa_core::MessageType;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cell::{Cell, Json, Unfit};
use envelope::Envelope;

/// The row of one message, without the columns that all tables have: id, date and agent. An absent or `null` value is [`Cell::Null`].
#[derive(Clone, Debug, PartialEq)]
pub enum Row<'a> {
    /// A row of `eth_stats`: `active, mining` ([`Cell::Boolean`]), `hashrate` ([`Cell::Number`]), `peers` ([`Cell::Integer`]),
    /// `gas_price` ([`Cell::Number`]), `current_block, highest_block, starting_block` ([`Cell::Text`]).
    Eth([Cell<'a>; 8]),
    /// A row of `system_stats`: `cpu_load, disk_usage, memory_usage` ([`Cell::Double`]).
    System([Cell<'a>; 3]),
    /// A row of `metrics`: `type` ([`Cell::Text`]), `body` ([`Cell::Json`]). The data type of the message is a column as well.
    Metric([Cell<'a>; 2]),
}

/// A row, and how it was obtained.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Mapped<'a> {
    /// The row.
    pub row: Row<'a>,
    /// The statistics did not fit their table.
    pub unmapped: bool,
    /// A NUL character was replaced.
    pub replaced_nul: bool,
}

/// The row for the data of a message, given as JSON.
///
/// `holds` reports whether the database can hold a cell unchanged. Statistics with a cell that it cannot hold go whole to `metrics`;
/// `holds` is not called for the cells of `metrics`.
///
/// # Errors
/// When the text is not JSON, which a handler checks before it sends.
pub fn map<'a>(
    message_type: MessageType,
    data_type: &str,
    data: &'a str,
    holds: impl Fn(&Cell<'_>) -> bool,
) -> Result<Mapped<'a>, serde_json::Error> {
    let Ok(envelope) = serde_json::from_str::<Envelope<'a>>(data) else {
        // Not an object, or a key occurs twice: the parts are ambiguous, so the whole data is kept.
        let whole: &RawValue = serde_json::from_str(data)?;
        return Ok(finish(Row::Metric([Cell::Null, Cell::Json(whole.get())]), false));
    };
    let statistics = envelope.kind.as_deref() == Some("statistics");
    let table = match data_type {
        _ if !statistics || message_type != MessageType::Data => None,
        "ethereum_metrics" => Some(eth(envelope.body)),
        "system_metrics" => Some(system(envelope.body)),
        _ => None,
    };
    Ok(match table {
        Some(Ok(row)) if row.cells().iter().all(holds) => finish(row, false),
        Some(_) => finish(metric(envelope, data), true),
        None => finish(metric(envelope, data), false),
    })
}

impl<'a> Row<'a> {
    /// The cells, in the order of the columns.
    #[must_use]
    pub fn cells(&self) -> &[Cell<'a>] {
        match self {
            Self::Eth(cells) => cells,
            Self::System(cells) => cells,
            Self::Metric(cells) => cells,
        }
    }

    fn cells_mut(&mut self) -> &mut [Cell<'a>] {
        match self {
            Self::Eth(cells) => cells,
            Self::System(cells) => cells,
            Self::Metric(cells) => cells,
        }
    }
}

fn finish(mut row: Row<'_>, unmapped: bool) -> Mapped<'_> {
    let cells = row.cells_mut().iter_mut();
    let replaced_nul = cells.fold(false, |found, cell| cell.replace_nul() | found);
    Mapped { row, unmapped, replaced_nul }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EthBody<'a> {
    #[serde(borrow)]
    active: Json<'a>,
    #[serde(borrow)]
    mining: Json<'a>,
    #[serde(borrow)]
    hashrate: Json<'a>,
    #[serde(borrow)]
    peers: Json<'a>,
    #[serde(borrow)]
    gas_price: Json<'a>,
    #[serde(borrow)]
    syncing: Json<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Syncing<'a> {
    #[serde(borrow)]
    current_block: Json<'a>,
    #[serde(borrow)]
    highest_block: Json<'a>,
    #[serde(borrow)]
    starting_block: Json<'a>,
}

#[derive(Deserialize)]
struct SystemBody<'a> {
    #[serde(borrow)]
    cpu_load: Json<'a>,
    #[serde(borrow)]
    disk_usage: Json<'a>,
    #[serde(borrow)]
    memory_usage: Json<'a>,
}

fn eth(body: Json<'_>) -> Result<Row<'_>, Unfit> {
    let body: EthBody<'_> = object(body)?;
    let syncing = match body.syncing {
        Some(json) if json.get().starts_with('{') => object(Some(json))?,
        _ => Syncing::default(),
    };
    Ok(Row::Eth([
        Cell::boolean(body.active)?,
        Cell::boolean(body.mining)?,
        Cell::number(body.hashrate)?,
        Cell::integer(body.peers)?,
        Cell::number(body.gas_price)?,
        Cell::text(syncing.current_block)?,
        Cell::text(syncing.highest_block)?,
        Cell::text(syncing.starting_block)?,
    ]))
}

fn system(body: Json<'_>) -> Result<Row<'_>, Unfit> {
    let body: SystemBody<'_> = object(body)?;
    Ok(Row::System([
        Cell::double(body.cpu_load)?,
        Cell::double(body.disk_usage)?,
        Cell::double(body.memory_usage)?,
    ]))
}

/// Reads an object; serde would accept an array as well.
fn object<'a, T: Deserialize<'a>>(json: Json<'a>) -> Result<T, Unfit> {
    let json = json.ok_or(Unfit)?.get();
    if !json.starts_with('{') {
        return Err(Unfit);
    }
    serde_json::from_str(json).map_err(|_| Unfit)
}

/// A row of `metrics`. Its body is that of the data if the data has nothing else, otherwise the whole data.
///
/// A reader can distinguish the two: the body is the whole data when `type` is NULL, or when it is an object with that same `type`.
/// So a body that has its own `type` with the same name is kept whole as well.
fn metric<'a>(envelope: Envelope<'a>, data: &'a str) -> Row<'a> {
    let Some(kind) = envelope.kind else {
        return Row::Metric([Cell::Null, Cell::Json(data)]);
    };
    let body = match envelope.body {
        Some(body) if !envelope.others && !kind.contains('\0') && !looks_whole(body, &kind) => {
            body.get()
        }
        _ => data,
    };
    Row::Metric([Cell::Text(kind), Cell::Json(body)])
}

/// Whether this body would be mistaken for the whole data of a message of this type.
fn looks_whole(body: &RawValue, kind: &str) -> bool {
    let nested = serde_json::from_str::<Envelope<'_>>(body.get());
    // A type with a NUL is stored with the replacement character, and is compared in that form.
    let shown = |nested: Cow<'_, str>| nested.replace('\0', "\u{fffd}");
    match nested {
        Ok(nested) => nested.kind.is_some_and(|nested| shown(nested) == kind),
        // A repeated key could be interpreted either way.
        Err(_) => body.get().starts_with('{'),
    }
}
