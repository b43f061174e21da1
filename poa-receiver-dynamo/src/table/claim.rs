//! The claim on sort keys without an id, which one of the hosts that write to a table has.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Table;
use crate::error::StoreError;
use crate::item::{MSG_TIME, MSG_TYPE};

/// The partition key of the claim. Queries for blocks never return it.
const CLAIM: &str = "poa_host";
/// Its sort key: the name of the claim.
const PLAIN_TIMES: &str = "plain_times";
/// The attribute with the id of the claiming host.
const HOST: &str = "host_id";

impl Table {
    /// Claims the keys without an id for this host, unless another host has them; returns whether it has them.
    ///
    /// A host keeps the claim for as long as the table exists, so the keys of a message never change.
    pub(crate) async fn claim_plain_times(&self, host: &str) -> Result<bool, StoreError> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let request = self.client.put_item().table_name(&self.name);
        let request = request
            .item(MSG_TYPE, text(CLAIM))
            .item(MSG_TIME, text(PLAIN_TIMES))
            .item(HOST, text(host))
            .condition_expression("attribute_not_exists(#host) OR #host = :me")
            .expression_attribute_names("#host", HOST)
            .expression_attribute_values(":me", text(host));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) => {
                let other = error.as_service_error();
                if other.is_some_and(|e| e.is_conditional_check_failed_exception()) {
                    self.tell_of_another_host();
                    return Ok(false);
                }
                Err(self.error(error))
            }
        }
    }

    fn tell_of_another_host(&self) {
        tracing::warn!(
            table = self.name,
            place = &*self.place,
            "another host was the first to write to this table, so `msg_time` contains the id of the message behind the time; set `shared = true` if this is intended; if that host no longer exists, delete the item `{CLAIM}`, `{PLAIN_TIMES}` and restart"
        );
    }
}
