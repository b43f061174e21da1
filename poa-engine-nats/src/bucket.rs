//! A bucket of keys and values, read from its leader and written by compare-and-set.
//!
//! Not by async-nats's `kv` module: its reads may be served by a replica that is behind, and its updates drop the time to live of a key
//! that was deleted or has expired.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL};
use bytes::Bytes;

use crate::contact::Contact;
use crate::failure::Failure;

/// How long a write may take. Shorter than a lease, longer than most elections.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Marks a message of a bucket that removes its key, as all clients of NATS do.
const OPERATION: &str = "KV-Operation";
/// Marks a message that the server itself has put where a key expired or was purged.
const MARKER: &str = "Nats-Marker-Reason";

/// A bucket.
#[derive(Clone)]
pub(crate) struct Bucket {
    contact: Contact,
    name: String,
}

/// A key as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The sequence of the last write, which a compare-and-set expects; 0 when there was none.
    pub(crate) revision: u64,
    /// None when the key does not exist, was removed or has expired.
    pub(crate) value: Option<Bytes>,
}

impl Bucket {
    pub(crate) fn new(contact: Contact, name: String) -> Self {
        Self { contact, name }
    }

    pub(crate) fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    pub(crate) fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// The key that a subject of the bucket stands for.
    pub(crate) fn key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix("$KV.")?.strip_prefix(self.name.as_str())?.strip_prefix('.')
    }

    /// A key as the leader of the bucket has it.
    pub(crate) async fn read(&self, key: &str) -> Result<Slot, Failure> {
        let subject = format!("STREAM.MSG.GET.{}", self.stream());
        let body = serde_json::json!({ "last_by_subj": self.subject(key) });
        match self.contact.api::<Found>(&subject, &body).await {
            Ok(found) => Ok(found.message.slot()),
            Err(Failure::NotFound(what)) if what.contains("message") => Ok(Slot::default()),
            Err(failure) => Err(failure),
        }
    }

    /// Writes a key if its last write has this revision. With a time to live, in whole seconds, the key expires.
    pub(crate) async fn write(
        &self,
        key: &str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> Result<u64, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        if let Some(ttl) = ttl {
            headers.insert(NATS_MESSAGE_TTL, format!("{}s", ttl.as_secs().max(1)));
        }
        self.publish(key, headers, value).await
    }

    /// Writes a key that expires, whatever stood there.
    pub(crate) async fn announce(&self, key: &str, ttl: Duration) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_TTL, format!("{}s", ttl.as_secs().max(1)));
        self.publish(key, headers, Bytes::from_static(b"1")).await.map(|_| ())
    }

    /// Removes a key, if its last write has this revision where one is given.
    pub(crate) async fn remove(&self, key: &str, expected: Option<u64>) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, "DEL");
        if let Some(expected) = expected {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        }
        self.publish(key, headers, Bytes::new()).await.map(|_| ())
    }

    async fn publish(&self, key: &str, headers: HeaderMap, value: Bytes) -> Result<u64, Failure> {
        let (stream, subject) = (self.stream(), self.subject(key));
        let sent = self.contact.publish(&stream, subject, Some(headers), value, WRITE_TIMEOUT);
        Ok(sent.await?.sequence)
    }

    /// The keys below a pattern such as `r.*`, removed ones included.
    pub(crate) async fn keys(&self, pattern: &str) -> Result<Vec<String>, Failure> {
        let subject = format!("STREAM.INFO.{}", self.stream());
        let body = serde_json::json!({ "subjects_filter": self.subject(pattern) });
        let info: Subjects = self.contact.api(&subject, &body).await?;
        let subjects = info.state.subjects.into_iter().flatten();
        Ok(subjects.filter_map(|(subject, _)| self.key(&subject).map(str::to_owned)).collect())
    }
}

/// The value that a message of a bucket gives its key; none if it removes the key.
pub(crate) fn value(headers: Option<&HeaderMap>, payload: Bytes) -> Option<Bytes> {
    let has = |name: &str| headers.is_some_and(|headers| headers.get(name).is_some());
    (!has(OPERATION) && !has(MARKER)).then_some(payload)
}

/// How long it shows that a key has expired; those who follow the bucket must see it.
const MARKERS: Duration = Duration::from_secs(3600);
/// The most bytes of a bucket, which the servers reserve: some millions of keys.
const MOST_BYTES: u64 = 512 << 20;

/// How a bucket is set up: one value a key, kept on the disk, with times to live.
pub(crate) fn config(name: &str, replicas: usize) -> serde_json::Value {
    serde_json::json!({
        "name": format!("KV_{name}"),
        "subjects": [format!("$KV.{name}.>")],
        "max_msgs_per_subject": 1,
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": replicas,
        "max_bytes": MOST_BYTES,
        "max_msgs": -1,
        "max_consumers": -1,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
        "deny_delete": true,
        "allow_msg_ttl": true,
        "subject_delete_marker_ttl": MARKERS.as_nanos() as u64,
    })
}

/// A message of a stream as the API gives it.
#[derive(serde::Deserialize)]
pub(crate) struct Found {
    message: FoundMessage,
}

impl Found {
    pub(crate) fn payload(self) -> Bytes {
        self.message.data.and_then(|text| base64(&text)).unwrap_or_default().into()
    }
}

#[derive(serde::Deserialize)]
struct FoundMessage {
    seq: u64,
    #[serde(default)]
    hdrs: Option<String>,
    #[serde(default)]
    data: Option<String>,
}

impl FoundMessage {
    fn slot(self) -> Slot {
        let headers = self.hdrs.and_then(|text| base64(&text)).unwrap_or_default();
        let is_marker = [OPERATION, MARKER].iter().any(|name| contains(&headers, name.as_bytes()));
        let value = self.data.and_then(|text| base64(&text)).unwrap_or_default();
        Slot { revision: self.seq, value: (!is_marker).then(|| value.into()) }
    }
}

#[derive(serde::Deserialize)]
struct Subjects {
    state: SubjectsState,
}

#[derive(serde::Deserialize)]
struct SubjectsState {
    #[serde(default)]
    subjects: Option<std::collections::HashMap<String, u64>>,
}

fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
