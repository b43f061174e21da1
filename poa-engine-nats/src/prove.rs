//! Shows at the start that the servers can keep what this engine promises.

use std::time::Duration;

use poa_core::{BuildError, Timestamp};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Config, Synced};
use crate::connect::with_tls;
use crate::contact::Contact;

/// Since this version servers that sync before they acknowledge are fast with three replicas.
const OLDEST: (i64, i64, i64) = (2, 15, 0);
/// How long one server may take to answer a monitoring request.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of such an answer.
const MOST: u64 = 1 << 20;
/// Clocks that differ by more are worth a warning: positions and leases do not depend on them, times of messages do.
const SKEW: Duration = Duration::from_secs(1);
/// The payload that a message of the default body limit needs.
const USUAL_PAYLOAD: usize = 8 << 20;

/// The part of `/varz` that is read.
#[derive(Debug, Deserialize)]
struct Varz {
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Debug, Default, Deserialize)]
struct JetStream {
    #[serde(default)]
    config: Option<JetStreamConfig>,
}

#[derive(Debug, Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Checks versions, limits and whether the servers sync.
///
/// # Errors
/// With the cure, when a server is too old or does not sync, or that cannot be seen.
pub(crate) async fn prove(contact: &Contact, config: &Config) -> Result<(), BuildError> {
    version(contact)?;
    payload(contact);
    match config.synced {
        Synced::Required if config.monitor.is_empty() => by_system_account(config).await,
        Synced::Required => by_monitors(config).await,
        Synced::Replicated => {
            tracing::warn!(
                "synced = \"replicated\": a power cut of several NATS servers at once loses acknowledged messages"
            );
            Ok(())
        }
        Synced::Trust => {
            tracing::warn!(
                "synced = \"trust\": not checking whether the NATS servers sync before they acknowledge"
            );
            Ok(())
        }
    }
}

fn version(contact: &Contact) -> Result<(), BuildError> {
    let (major, minor, patch) = OLDEST;
    if contact.client().is_server_compatible(major, minor, patch) {
        return Ok(());
    }
    let info = contact.client().server_info();
    Err(BuildError::failed(format!(
        "the NATS server {} has version {}; at least {major}.{minor}.{patch} is needed",
        info.server_name, info.version
    )))
}

fn payload(contact: &Contact) {
    let most = contact.client().max_payload();
    if most < USUAL_PAYLOAD {
        tracing::warn!(
            "the NATS servers take {most} bytes at most, so larger messages are refused; raise `max_payload` there to 8MB"
        );
    }
}

async fn by_monitors(config: &Config) -> Result<(), BuildError> {
    let mut unseen = Vec::new();
    for url in &config.monitor {
        let before = Timestamp::now();
        match varz(url).await {
            Ok(varz) => check(&varz.server_name, varz.jetstream.config.as_ref())?,
            Err(why) => unseen.push(format!("{url}: {why}")),
        }
        let took = Timestamp::now().since(before);
        if took > SKEW {
            tracing::debug!("the monitoring request to {url} took {took:?}");
        }
    }
    // A server that is down now is checked when a node starts while it runs; most of them must be seen.
    if unseen.len() * 2 < config.monitor.len() {
        return Ok(());
    }
    Err(BuildError::unavailable(format!(
        "cannot see whether the NATS servers sync: {}; start them, correct `monitor`, or write synced = \"trust\"",
        unseen.join(", ")
    )))
}

fn check(server: &str, config: Option<&JetStreamConfig>) -> Result<(), BuildError> {
    let cure = "write `sync_interval: always` into the section `jetstream` of its configuration and restart it, or write \
                synced = \"replicated\" to accept that a power cut loses messages";
    match config {
        Some(config) if config.sync_always => Ok(()),
        Some(_) => Err(BuildError::failed(format!(
            "the NATS server {server} acknowledges messages before it has synced them; {cure}"
        ))),
        None => Err(BuildError::failed(format!(
            "the NATS server {server} has no JetStream; add a section `jetstream` to its configuration"
        ))),
    }
}

/// `/varz` of the server that answers at this URL.
async fn varz(url: &str) -> Result<Varz, String> {
    let address = url.strip_prefix("http://").ok_or("not an http:// URL")?.trim_end_matches('/');
    let request = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("GET /varz HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, request).await.map_err(|_| "no answer".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    let body =
        answer.windows(4).position(|end| end == b"\r\n\r\n").ok_or("not an answer of HTTP")?;
    serde_json::from_slice(&answer[body + 4..]).map_err(|error| format!("not a /varz: {error}"))
}

/// The answer of a server to a request of the system account.
#[derive(Debug, Deserialize)]
struct Jsz {
    server: ServerName,
    #[serde(default)]
    data: Option<JszData>,
}

#[derive(Debug, Deserialize)]
struct ServerName {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct JszData {
    #[serde(default)]
    config: Option<JetStreamConfig>,
}

/// How long to wait for servers to answer.
const GATHER: Duration = Duration::from_secs(2);

async fn by_system_account(config: &Config) -> Result<(), BuildError> {
    let answers = ask_all(config).await.map_err(|why| unseen(&why))?;
    for answer in &answers {
        let jetstream = answer.data.as_ref().and_then(|data| data.config.as_ref());
        check(&answer.server.name, jetstream)?;
    }
    // As with monitors: a server that is down is checked later, and most of them must be seen.
    if answers.len() * 2 > config.servers.len() {
        return Ok(());
    }
    let (seen, all) = (answers.len(), config.servers.len());
    Err(unseen(&format!("{seen} of {all} answered; is the account the system account?")))
}

fn unseen(why: &str) -> BuildError {
    BuildError::unavailable(format!(
        "cannot see by the system account whether the NATS servers sync: {why}; correct `system_credentials`, set `monitor`, or write \
         synced = \"trust\""
    ))
}

/// The answers of all servers of the cluster that answer.
async fn ask_all(config: &Config) -> Result<Vec<Jsz>, String> {
    use futures_util::StreamExt as _;
    let path = config.system_credentials.clone().unwrap_or_default();
    let options = async_nats::ConnectOptions::with_credentials_file(&path).await;
    let options = options.map_err(|error| format!("{}: {}", path.display(), chain(&error)))?;
    let client = with_tls(options, config).connect(&config.servers).await;
    let client = client.map_err(|error| chain(&error))?;
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.map_err(|error| chain(&error))?;
    let asked = client.publish_with_reply("$SYS.REQ.SERVER.PING.JSZ", inbox, "{}".into()).await;
    asked.map_err(|error| chain(&error))?;
    let mut answers = Vec::new();
    while answers.len() < config.servers.len() {
        let Ok(Some(message)) = timeout(GATHER, messages.next()).await else { break };
        if message.payload.is_empty() {
            // Only in the system account servers listen there.
            break;
        }
        answers.push(serde_json::from_slice(&message.payload).map_err(|error| chain(&error))?);
    }
    Ok(answers)
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
