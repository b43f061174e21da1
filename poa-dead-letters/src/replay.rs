//! Replays letters.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use poa_core::status::Role;
use poa_core::{
    AgentId, BoxError, DataTypes, Draft, Format, HostHandle, Message, MessageId, MessageType,
    Payload,
};
use rusqlite::{Row, params};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::store::{DeadLetterStore, Inner, MSGPACK, time};

/// The interval of checks for replay requests, which can come from another process.
const POLL: Duration = Duration::from_secs(1);

/// The number of letters that are read and delivered together.
const BATCH: i64 = 256;

impl DeadLetterStore {
    /// Delivers the letters whose replay was requested, until `shutdown` fires.
    ///
    /// A letter is removed when its receiver has confirmed it. One that fails again stays, with the new reason.
    /// Letters for receivers that the host does not have, stay. Cancel safe: letters in flight are delivered again
    /// later.
    pub async fn serve_replays(&self, host: HostHandle, shutdown: CancellationToken) {
        tokio::select! {
            () = self.serve(&host) => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Each receiver has a task of its own, because one that is down blocks its task.
    async fn serve(&self, host: &HostHandle) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut tasks, mut busy) = (JoinSet::new(), HashMap::new());
        loop {
            tokio::select! {
                _ = poll.tick() => {}
                Some(ended) = tasks.join_next_with_id() => {
                    busy.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                    continue;
                }
            }
            let waiting = self.receivers_to_replay(host).await.unwrap_or_else(|error| {
                tracing::error!("cannot check for dead letters to replay, will retry: {error}");
                Vec::new()
            });
            for receiver in waiting {
                if !busy.values().any(|name| *name == receiver) {
                    let replaying = self.clone().replay_all(host.clone(), receiver.clone());
                    busy.insert(tasks.spawn(replaying).id(), receiver);
                }
            }
        }
    }

    async fn receivers_to_replay(&self, host: &HostHandle) -> Result<Vec<String>, BoxError> {
        let (inner, types) = (self.0.clone(), names_of(host.data_types()));
        let find = move || inner.receivers_to_replay(&types);
        let mut receivers = tokio::task::spawn_blocking(find).await??;
        let plugins = host.status().plugins.into_iter();
        let known = plugins.filter(|plugin| plugin.role == Role::Receiver);
        let known: HashSet<_> = known.map(|plugin| plugin.name).collect();
        receivers.retain(|name| known.contains(name));
        Ok(receivers)
    }

    async fn replay_all(self, host: HostHandle, receiver: String) {
        loop {
            match self.replay_some(&host, &receiver).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(receiver, "cannot replay dead letters, will retry: {error}");
                    return;
                }
            }
        }
    }

    /// Replays a batch for one receiver; false when there was none.
    async fn replay_some(&self, host: &HostHandle, receiver: &str) -> Result<bool, BoxError> {
        let (inner, types, name) = (self.0.clone(), host.data_types().clone(), receiver.to_owned());
        let read = tokio::task::spawn_blocking(move || inner.to_replay(&name, &types));
        let messages = read.await??;
        if messages.is_empty() {
            return Ok(false);
        }
        let ids: Vec<_> = messages.iter().map(Message::id).collect();
        let failed: HashSet<MessageId> =
            host.replay(receiver, messages).await?.into_iter().collect();
        let delivered: Vec<_> = ids.into_iter().filter(|id| !failed.contains(id)).collect();
        tracing::info!(
            receiver,
            delivered = delivered.len(),
            failed = failed.len(),
            "replayed dead letters"
        );
        let (inner, name) = (self.0.clone(), receiver.to_owned());
        tokio::task::spawn_blocking(move || inner.forget(&name, &delivered)).await??;
        Ok(true)
    }
}

impl Inner {
    fn receivers_to_replay(&self, types: &str) -> rusqlite::Result<Vec<String>> {
        let connection = self.connection.lock();
        let sql = "SELECT DISTINCT receiver FROM dead_letters
                   WHERE replay = 1 AND data_type IN (SELECT value FROM json_each(?1))";
        connection.prepare_cached(sql)?.query_map([types], |row| row.get(0))?.collect()
    }

    /// Messages in the order they were received, so that those of one agent stay in order. A letter with an undeclared
    /// data type waits until the type is declared again.
    fn to_replay(&self, receiver: &str, types: &DataTypes) -> rusqlite::Result<Vec<Message>> {
        let connection = self.connection.lock();
        let sql =
            "SELECT message_id, agent_id, data_type, message_type, format, payload, received_at
                   FROM dead_letters WHERE replay = 1 AND receiver = ?1
                       AND data_type IN (SELECT value FROM json_each(?2))
                   ORDER BY message_id LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let declared = names_of(types);
        let rows =
            statement.query_map(params![receiver, declared, BATCH], |row| message(row, types))?;
        let messages: Result<Vec<_>, _> = rows.collect();
        Ok(messages?.into_iter().flatten().collect())
    }

    fn forget(&self, receiver: &str, ids: &[MessageId]) -> rusqlite::Result<()> {
        let mut connection = self.connection.lock();
        let transaction = connection.transaction()?;
        for id in ids {
            transaction
                .prepare_cached("DELETE FROM dead_letters WHERE receiver = ?1 AND message_id = ?2")?
                .execute(params![receiver, id.to_string()])?;
        }
        transaction.commit()
    }
}

/// The names of these data types, as a JSON array.
fn names_of(types: &DataTypes) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    let names: Vec<_> = types.iter().map(|data_type| quoted(data_type.name())).collect();
    format!("[{}]", names.join(","))
}

/// The message of a row; none if the row is not a valid message.
fn message(row: &Row<'_>, types: &DataTypes) -> rusqlite::Result<Option<Message>> {
    let (id, agent, data_type): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let id = uuid::Uuid::parse_str(&id).map(|id| MessageId::from_bytes(id.into_bytes()));
    let (Ok(id), Ok(agent), Some(data_type)) = (id, AgentId::new(agent), types.get(&data_type))
    else {
        return Ok(None);
    };
    let bye = row.get_ref(3)?.as_str()? == "bye";
    let msgpack = row.get_ref(4)?.as_str()? == MSGPACK;
    let format = if msgpack { Format::MessagePack } else { Format::Json };
    let payload = Payload::new(format, row.get::<_, Vec<u8>>(5)?.into());
    let message_type = if bye { MessageType::Bye } else { MessageType::Data };
    let draft = Draft::new(agent, data_type.clone(), payload).with_message_type(message_type);
    Ok(Some(Message::stamp(draft, id, time(row, 6)?)))
}
