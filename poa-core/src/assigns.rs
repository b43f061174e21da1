//! Values that plugins add to a message and that are stored with it.

use std::fmt;

use serde_json::{Map, Value};

/// The most bytes that the assigns of a message take, written as JSON.
const LIMIT: usize = 4096;

/// String keys with JSON values that plugins add to a message: its origin, for example, or routing information.
///
/// They are stored with the message and reach every receiver, in this process, in a shared library, in a child process and on other
/// machines. At most 4 KiB, written as JSON.
///
/// ```
/// use poa_core::Assigns;
///
/// // A handler records where the message came from; a receiver selects by it.
/// let assigns = Assigns::new().with("site", "north")?.with("hops", 2)?;
/// assert_eq!(assigns.get("site"), Some(&"north".into()));
/// assert_eq!(assigns.to_json(), r#"{"hops":2,"site":"north"}"#);
///
/// let error = assigns.with("trace", "x".repeat(5000)).unwrap_err();
/// assert!(error.to_string().contains("at most 4096 bytes"));
/// # Ok::<(), poa_core::AssignsTooLarge>(())
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Assigns(Option<Box<Inner>>);

#[derive(Clone, PartialEq)]
struct Inner {
    values: Map<String, Value>,
    /// The length of the values, written as JSON.
    size: usize,
}

/// The assigns of a message are too large.
///
/// See [`Assigns`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the assigns of a message take at most {LIMIT} bytes as JSON; these take {0}")]
pub struct AssignsTooLarge(usize);

/// The reason why bytes cannot be read as assigns.
///
/// See [`Assigns`] for an example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAssigns {
    /// They are not a JSON object.
    #[error("assigns are a JSON object")]
    Json(#[source] serde_json::Error),
    /// They are too large.
    #[error(transparent)]
    TooLarge(#[from] AssignsTooLarge),
}

impl Assigns {
    /// No assigns. Allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// The same assigns with this key set to this value.
    ///
    /// # Errors
    /// When all of them would take more than 4 KiB.
    pub fn with(
        mut self,
        key: impl Into<String>,
        value: impl Into<Value>,
    ) -> Result<Self, AssignsTooLarge> {
        let mut values = self.0.take().map(|inner| inner.values).unwrap_or_default();
        values.insert(key.into(), value.into());
        Self::try_from(values)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.as_ref()?.values.get(key)
    }

    /// Every key and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().flat_map(|inner| &inner.values).map(|(key, value)| (key.as_str(), value))
    }

    /// Whether there are no assigns.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The length of the assigns as JSON text; 0 when there are none.
    #[must_use]
    #[inline]
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.size)
    }

    /// As JSON text; empty when there are none.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.0.as_ref().map(|inner| text(&inner.values)).unwrap_or_default()
    }

    /// Reads JSON text that [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// When it is not a JSON object, or too large.
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidAssigns> {
        if text.is_empty() {
            return Ok(Self::new());
        }
        let values: Map<String, Value> =
            serde_json::from_slice(text).map_err(InvalidAssigns::Json)?;
        Ok(Self::try_from(values)?)
    }
}

fn text(values: &Map<String, Value>) -> String {
    serde_json::to_string(values).expect("a map with string keys can be written")
}

impl TryFrom<Map<String, Value>> for Assigns {
    type Error = AssignsTooLarge;

    fn try_from(values: Map<String, Value>) -> Result<Self, AssignsTooLarge> {
        if values.is_empty() {
            return Ok(Self::new());
        }
        let size = text(&values).len();
        if size > LIMIT {
            return Err(AssignsTooLarge(size));
        }
        Ok(Self(Some(Box::new(Inner { values, size }))))
    }
}

impl fmt::Debug for Assigns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_from_their_text() {
        let assigns = Assigns::new().with("peer", "10.0.0.1").unwrap().with("n", 7).unwrap();
        let found = Assigns::from_json(assigns.to_json().as_bytes()).unwrap();
        assert_eq!(found, assigns);
        assert_eq!(found.get("n"), Some(&Value::from(7)));
        assert_eq!(Assigns::from_json(b"").unwrap(), Assigns::new());
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let fits = Assigns::new().with("k", "x".repeat(LIMIT - 8)).unwrap();
        assert_eq!(fits.size(), LIMIT);
        assert_eq!(fits.with("k", "x".repeat(LIMIT - 7)), Err(AssignsTooLarge(LIMIT + 1)));
        assert!(matches!(Assigns::from_json(b"[]"), Err(InvalidAssigns::Json(_))));
    }
}
