//! The items of one request.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use poa_core::{Message, MessageId};

use super::{Refused, Tally};
use crate::item::{Item, MESSAGE_ID, SortKeys, item};

/// The most items of a request; the rule is DynamoDB's.
const ITEMS: usize = 25;

/// The most bytes of a request, with room for the JSON around the items; DynamoDB accepts 16 MB.
const BYTES: usize = 15 << 20;

/// Some messages of a batch with their indexes, and their items.
#[derive(Debug)]
pub(super) struct Chunk {
    messages: Vec<(usize, Message)>,
    /// The items as they were made, for the first attempt only.
    requests: Vec<WriteRequest>,
    bytes: usize,
    keys: SortKeys,
}

impl Chunk {
    fn new(keys: SortKeys) -> Self {
        Self { messages: Vec::new(), requests: Vec::new(), bytes: 0, keys }
    }

    fn push(&mut self, index: usize, message: &Message, item: Item) {
        self.messages.push((index, message.clone()));
        self.bytes += item.sent;
        self.requests.push(put(item));
    }

    fn has_room_for(&self, item: &Item) -> bool {
        self.messages.is_empty() || self.messages.len() < ITEMS && self.bytes + item.sent <= BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The items to write. A request consumes its items, and few are sent twice; for those the items are made again.
    pub(super) fn requests(&mut self) -> Vec<WriteRequest> {
        let requests = std::mem::take(&mut self.requests);
        if requests.len() == self.messages.len() {
            return requests;
        }
        let item = |message| item(message, self.keys).ok().flatten();
        let items = self.messages.iter().filter_map(|(_, message)| item(message));
        items.map(put).collect()
    }

    /// Keeps only the items that remain to be written; returns the ids of the others, which are stored.
    pub(super) fn keep(&mut self, left: Vec<WriteRequest>) -> Vec<MessageId> {
        let ids: HashSet<String> = left.iter().filter_map(id).collect();
        let is_left =
            |message: &Message| !ids.is_empty() && ids.contains(&message.id().to_string());
        let (left, stored) = std::mem::take(&mut self.messages)
            .into_iter()
            .partition(|(_, message)| is_left(message));
        self.messages = left;
        let stored: Vec<(usize, Message)> = stored;
        stored.into_iter().map(|(_, message)| message.id()).collect()
    }

    /// The only message, or each in a chunk of its own.
    pub(super) fn alone(self) -> Result<(usize, MessageId), Vec<Self>> {
        if let [(index, message)] = &self.messages[..] {
            return Ok((*index, message.id()));
        }
        let alone = |message| Self { messages: vec![message], ..Self::new(self.keys) };
        Err(self.messages.into_iter().map(alone).collect())
    }
}

fn put(item: Item) -> WriteRequest {
    let put = PutRequest::builder().set_item(Some(item.attributes)).build();
    WriteRequest::builder().put_request(put.expect("the item is given")).build()
}

/// The id of the message of a write request.
fn id(request: &WriteRequest) -> Option<String> {
    let value = request.put_request()?.item().get(MESSAGE_ID)?;
    value.as_s().ok().cloned()
}

/// Cuts a batch into chunks, one at a time, so that only chunks in flight use memory.
#[derive(Debug)]
pub(super) struct Chunks<'a> {
    messages: std::iter::Enumerate<std::slice::Iter<'a, Message>>,
    /// The messages that an earlier call wrote.
    stored: &'a HashSet<MessageId>,
    /// The number of messages converted so far.
    taken: HashSet<MessageId>,
    keys: SortKeys,
    /// An item that did not fit into the last chunk.
    next: Option<(usize, &'a Message, Item)>,
    /// The messages converted so far that can never be items.
    pub(super) refused: Vec<Refused>,
    /// The counts of those.
    pub(super) tally: Tally,
}

impl<'a> Chunks<'a> {
    /// The chunks of the messages that are not stored yet.
    pub(super) fn new(
        batch: &'a [Message],
        stored: &'a HashSet<MessageId>,
        keys: SortKeys,
    ) -> Self {
        Self {
            messages: batch.iter().enumerate(),
            stored,
            taken: HashSet::with_capacity(batch.len()),
            keys,
            next: None,
            refused: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The next message that becomes an item.
    fn next_item(&mut self) -> Option<(usize, &'a Message, Item)> {
        if self.next.is_some() {
            return self.next.take();
        }
        for (index, message) in self.messages.by_ref() {
            match item(message, self.keys) {
                // A request that contains a key twice is refused as a whole.
                Ok(Some(item)) if self.taken.insert(message.id()) => {
                    self.tally.as_text += u64::from(item.as_text);
                    if !self.stored.contains(&message.id()) {
                        return Some((index, message, item));
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => self.tally.passed_over += 1,
                Err(unfit) => self.refused.push(Refused { index, why: unfit.to_string() }),
            }
        }
        None
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let mut chunk = Chunk::new(self.keys);
        while let Some((index, message, item)) = self.next_item() {
            if !chunk.has_room_for(&item) {
                self.next = Some((index, message, item));
                break;
            }
            chunk.push(index, message, item);
            if chunk.messages.len() == ITEMS {
                break;
            }
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}
