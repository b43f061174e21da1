//! One measurement on its way to the server.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::BoxError;

/// One measurement, encoded once, because it may have to be sent several times.
#[derive(Debug, Clone)]
pub struct Metric {
    key: Uuid,
    data_type: Cow<'static, str>,
    data: Bytes,
}

/// The body of a metric cannot be written as MessagePack.
#[derive(Debug, thiserror::Error)]
#[error("a metric of type {data_type} cannot be encoded")]
pub struct EncodeError {
    data_type: Cow<'static, str>,
    #[source]
    source: BoxError,
}

#[derive(Serialize)]
struct Wrapped<'a, B> {
    #[serde(rename = "type")]
    entity: &'a str,
    body: &'a B,
}

impl Metric {
    /// Wraps `body` the way agents do: `{"type": entity, "body": body}` (POA Protocol, section 1).
    ///
    /// # Errors
    /// If `body` cannot be serialised.
    pub fn new(
        data_type: impl Into<Cow<'static, str>>,
        entity: &str,
        body: &impl Serialize,
    ) -> Result<Self, EncodeError> {
        let data_type = data_type.into();
        match rmp_serde::to_vec_named(&Wrapped { entity, body }) {
            Ok(data) => Ok(Self::encoded(data_type, data.into())),
            Err(source) => Err(EncodeError { data_type, source: source.into() }),
        }
    }

    /// Takes an encoded metric: one MessagePack object. A metric that many agents report alike needs to be encoded
    /// only once.
    #[must_use]
    pub fn encoded(data_type: impl Into<Cow<'static, str>>, data: Bytes) -> Self {
        Self { key: Uuid::now_v7(), data_type: data_type.into(), data }
    }

    /// The key of this metric, which is the same for each attempt to send it.
    #[must_use]
    pub const fn key(&self) -> Uuid {
        self.key
    }

    /// The data type that receivers subscribe to, such as `system_metrics`.
    #[must_use]
    pub fn data_type(&self) -> &str {
        &self.data_type
    }

    /// The wrapped body in MessagePack.
    #[must_use]
    pub const fn data(&self) -> &Bytes {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_wrapped_with_its_entity() {
        let metric = Metric::new("networking_metrics", "latency", &[1, 2]).unwrap();
        let data: serde_json::Value = rmp_serde::from_slice(metric.data()).unwrap();
        assert_eq!(data, serde_json::json!({"type": "latency", "body": [1, 2]}));
    }

    #[test]
    fn a_body_that_cannot_be_written_is_an_error_that_names_the_type() {
        let nameless = std::sync::Mutex::new(1);
        let broken = std::panic::catch_unwind(|| {
            let _guard = nameless.lock().unwrap();
            panic!("poisons the lock");
        });
        assert!(broken.is_err());
        let error = Metric::new("odd", "lock", &nameless).unwrap_err();
        assert_eq!(error.to_string(), "a metric of type odd cannot be encoded");
    }
}
