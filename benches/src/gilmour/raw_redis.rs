//! The yardstick of the Redis engine: the commands of the protocol by the client alone, with nothing in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::cmd;
use tokio::sync::oneshot;

use crate::Failure;

const REQUESTS: &str = "gilmour.request.raw";
const REPLIES: &str = "gilmour.response.raw-";

/// A client, and a server that locks and answers.
#[derive(Clone)]
pub(super) struct Raw {
    commands: MultiplexedConnection,
    pending: Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>,
    next: Arc<AtomicU64>,
}

impl Raw {
    pub(super) async fn connect(url: &str) -> Result<Self, Failure> {
        let client = redis::Client::open(url)?;
        let pending: Arc<Mutex<HashMap<String, oneshot::Sender<()>>>> = Arc::default();
        let mut replies = client.get_async_pubsub().await?;
        replies.psubscribe(format!("{REPLIES}*")).await?;
        let waiting = pending.clone();
        tokio::spawn(async move {
            let mut replies = replies.into_on_message();
            while let Some(reply) = replies.next().await {
                if let Some(replied) = waiting.lock().remove(reply.get_channel_name()) {
                    let _ = replied.send(());
                }
            }
        });
        let mut requests = client.get_async_pubsub().await?;
        requests.subscribe(REQUESTS).await?;
        let commands = client.get_multiplexed_async_connection().await?;
        tokio::spawn(async move {
            let mut requests = requests.into_on_message();
            while let Some(request) = requests.next().await {
                tokio::spawn(answer(commands.clone(), request));
            }
        });
        let commands = client.get_multiplexed_async_connection().await?;
        Ok(Self { commands, pending, next: Arc::default() })
    }

    pub(super) async fn round_trip(mut self) -> Result<(), Failure> {
        let channel = format!("{REPLIES}{}", self.next.fetch_add(1, Relaxed));
        let (replied, reply) = oneshot::channel();
        self.pending.lock().insert(channel.clone(), replied);
        let mut publish = cmd("PUBLISH");
        publish.arg(REQUESTS).arg(channel).exec_async(&mut self.commands).await?;
        Ok(reply.await?)
    }
}

/// Takes the lock, and publishes the reply.
async fn answer(mut commands: MultiplexedConnection, request: redis::Msg) {
    let Ok(channel) = request.get_payload::<String>() else { return };
    let mut lock = cmd("SET");
    lock.arg(format!("{channel}_default")).arg(1).arg("NX").arg("EX").arg(600);
    let taken: redis::RedisResult<Option<String>> = lock.query_async(&mut commands).await;
    if matches!(taken, Ok(Some(_))) {
        // The round trip would not end, and the benchmark with it fail.
        let _ = cmd("PUBLISH").arg(channel).arg("reply").exec_async(&mut commands).await;
    }
}
