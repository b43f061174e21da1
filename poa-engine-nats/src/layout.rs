//! The stream and the buckets: created once, checked at every start, never created again silently.

use poa_core::BuildError;
use poa_core::engine::KeyWindow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bucket::{self, Bucket};
use crate::cluster::StreamInfo;
use crate::config::Config;
use crate::contact::Contact;
use crate::failure::Failure;
use crate::names::Names;

/// The layout of subjects, payloads and keys. A later version that changes them counts on.
const FORMAT: u32 = 1;
/// The key that says that the stream was created.
const MARK: &str = "stream";

/// The properties that are fixed when the stream is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    format: u32,
    partitions: u16,
}

/// Creates what is missing and checks what is there.
///
/// # Errors
/// When the stream was deleted, was made by another version, or the servers refuse.
pub(crate) async fn prepare(
    contact: &Contact,
    config: &Config,
    names: &Names,
    keys: KeyWindow,
) -> Result<(), BuildError> {
    let replicas = config.replicas;
    let buckets = [names.receivers(), names.shared()];
    if !config.recreate_buckets {
        check_buckets(contact, names, &buckets).await?;
    }
    for bucket in &buckets {
        ensure(contact, &bucket::config(bucket, replicas)).await?;
    }
    let bucket = Bucket::new(contact.clone(), names.receivers());
    let mark = bucket.read(MARK).await.map_err(|why| unavailable("read the bucket", &why))?;
    let exists = exists(contact, &names.stream()).await?;
    match (mark.value, exists) {
        (Some(_), false) => return Err(deleted(names)),
        (Some(value), true) => check_mark(&value, config, names)?,
        (None, _) => {}
    }
    ensure(contact, &stream_config(config, names, keys)).await?;
    if mark.revision == 0 {
        let mark = Mark { format: FORMAT, partitions: config.partitions };
        let value = serde_json::to_vec(&mark).unwrap_or_default().into();
        match bucket.write(MARK, value, 0, None).await {
            // Another node was faster, with the same configuration or it will say so at its next start.
            Ok(_) | Err(Failure::WrongSequence) => {}
            Err(why) => return Err(unavailable("write the bucket", &why)),
        }
    }
    Ok(())
}

/// A bucket that is missing beside a stream with messages was deleted: created again silently, it would make receivers skip their
/// backlogs, or leave the cluster without its users.
async fn check_buckets(
    contact: &Contact,
    names: &Names,
    buckets: &[String],
) -> Result<(), BuildError> {
    // The stream first: the node that creates it has created the buckets before.
    let subject = format!("STREAM.INFO.{}", names.stream());
    let messages = match contact.api::<StreamInfo>(&subject, &Value::Null).await {
        Ok(stream) if stream.state.last_seq > 0 => stream.state.messages,
        Ok(_) | Err(Failure::NotFound(_)) => return Ok(()),
        Err(why) => return Err(unavailable(&format!("find the stream {}", names.stream()), &why)),
    };
    for bucket in buckets {
        if !exists(contact, &format!("KV_{bucket}")).await? {
            return Err(BuildError::failed(format!(
                "the bucket {bucket} was deleted while the stream {} still has {messages} messages; {}: stop all nodes, then restore it \
                 from a backup, or let it be created again with `recreate_buckets = true` in `[bus.nats]`",
                names.stream(),
                match *bucket == names.receivers() {
                    true =>
                        "the cursors of all receivers are lost, and those without `from = \"start\"` would skip these messages",
                    false => "the users of the cluster are lost",
                },
            )));
        }
    }
    Ok(())
}

fn deleted(names: &Names) -> BuildError {
    BuildError::failed(format!(
        "the stream {0} was deleted while the bucket {1} still has its cursors; restore it from a backup, or accept that its messages \
         are lost and delete the bucket, too: `nats kv del {1}`",
        names.stream(),
        names.receivers()
    ))
}

fn check_mark(value: &[u8], config: &Config, names: &Names) -> Result<(), BuildError> {
    let found: Option<Mark> = serde_json::from_slice(value).ok();
    let wanted = Mark { format: FORMAT, partitions: config.partitions };
    match found {
        Some(found) if found == wanted => Ok(()),
        Some(found) if found.format == FORMAT => Err(BuildError::failed(format!(
            "the stream {} has {} partitions, the configuration says {}; their number is fixed when the stream is created",
            names.stream(),
            found.partitions,
            wanted.partitions
        ))),
        _ => Err(BuildError::failed(format!(
            "the stream {} was made by another version of poa",
            names.stream()
        ))),
    }
}

fn stream_config(config: &Config, names: &Names, keys: KeyWindow) -> Value {
    // The least that the servers take.
    let window = keys.time.max(std::time::Duration::from_millis(100));
    json!({
        "name": names.stream(),
        "subjects": [names.all_subjects()],
        "retention": "limits",
        // What is refused stays with the agents; what is discarded would be gone.
        "discard": "new",
        "storage": "file",
        "num_replicas": config.replicas,
        "max_bytes": config.max_bytes.get(),
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
        "duplicate_window": window.as_nanos() as u64,
        "allow_direct": true,
        "deny_delete": true,
        "metadata": {
            "poa.format": FORMAT.to_string(),
            "poa.partitions": config.partitions.to_string(),
        },
    })
}

async fn exists(contact: &Contact, stream: &str) -> Result<bool, BuildError> {
    match contact.api::<Value>(&format!("STREAM.INFO.{stream}"), &Value::Null).await {
        Ok(_) => Ok(true),
        Err(Failure::NotFound(_)) => Ok(false),
        Err(why) => Err(unavailable(&format!("find the stream {stream}"), &why)),
    }
}

/// Creates a stream, or brings the one that is there up to this configuration.
async fn ensure(contact: &Contact, config: &Value) -> Result<(), BuildError> {
    let name = config["name"].as_str().unwrap_or_default();
    let verb = if exists(contact, name).await? { "UPDATE" } else { "CREATE" };
    let done = contact.api::<Value>(&format!("STREAM.{verb}.{name}"), config).await;
    match done {
        Ok(_) => Ok(()),
        Err(why) if why.is_about_contact() => {
            Err(unavailable(&format!("set up the stream {name}"), &why))
        }
        Err(why) => Err(BuildError::failed(format!(
            "the servers refuse the stream {name} with {} replicas: {why}; with fewer than 3 servers set `replicas = 1`; keep \
             `max_bytes` below `max_file_store` of each server",
            config["num_replicas"]
        ))),
    }
}

pub(crate) fn unavailable(what: &str, why: &Failure) -> BuildError {
    BuildError::unavailable(format!(
        "cannot {what}: {why}; check that most of the NATS servers run and reach each other"
    ))
}
