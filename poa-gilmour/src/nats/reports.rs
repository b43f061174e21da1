//! Error reports: published, or kept in a stream.

use async_nats::HeaderMap;
use serde_json::{Value, json};

use super::{Inner, PATIENCE};
use crate::report::{ERROR, ERRORS, QUEUE_LENGTH};
use crate::{ErrorPolicy, ErrorReport};

/// The stream that keeps the newest reports with [`ErrorPolicy::Queue`].
const STREAM: &str = "gilmour_errors";

impl Inner {
    /// Publishes a report. With the policy of a queue, a JetStream stream on the same subject keeps it.
    pub(super) async fn report(&self, report: &ErrorReport) {
        match self.local.options.errors {
            ErrorPolicy::Ignore => return,
            ErrorPolicy::Publish => {
                let wrapped = report.wrapped(&self.senders.next());
                self.tell(ERROR, wrapped).await;
            }
            ErrorPolicy::Queue => {
                // Tried again with the next report when it fails.
                if let Err(why) = self.queue.get_or_try_init(|| self.make_queue()).await {
                    tracing::warn!("reports are not kept: {why}");
                    return self.local.counts.lost_reports.add();
                }
            }
        }
        self.tell(ERRORS, report.bare()).await;
    }

    async fn tell(&self, subject: &str, text: String) {
        if self.publish(subject, HeaderMap::new(), text).await.is_err() {
            self.local.counts.lost_reports.add();
        }
    }

    /// Makes the stream if it is missing. One that an operator has made on the subject serves as well.
    async fn make_queue(&self) -> Result<(), String> {
        let client = self.client.get().ok_or("nats is not connected")?;
        let stream = json!({
            "name": STREAM, "subjects": [ERRORS], "retention": "limits", "storage": "file",
            "max_msgs": QUEUE_LENGTH, "discard": "old",
        });
        let subject = format!("$JS.API.STREAM.CREATE.{STREAM}");
        let asked = tokio::time::timeout(PATIENCE, self.ask(client, subject, stream.to_string()));
        let answer = match asked.await {
            Ok(Ok(Ok(answer))) if !answer.payload.is_empty() => answer,
            Ok(Ok(Ok(_))) => return Err("the server has no JetStream; enable it".to_owned()),
            _ => return Err(self.unreachable().to_string()),
        };
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        match (answer["error"]["err_code"].as_i64(), answer["error"]["description"].as_str()) {
            // Subjects overlap with another stream; the name is in use.
            (None | Some(10058 | 10065), _) => Ok(()),
            (_, why) => Err(why.unwrap_or("the server refuses the stream").to_owned()),
        }
    }
}
