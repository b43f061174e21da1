//! One message or several, accepted together or not at all.

use crate::Draft;

/// One message or several, accepted together or not at all. One message costs no allocation.
///
/// ```
/// use poa_core::engine::Drafts;
/// # use poa_core::{AgentId, DataTypes, Draft, Payload};
///
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// # let draft = Draft::new(AgentId::new("pump-7")?, readings, Payload::json(&serde_json::json!({}))?);
/// let one: Drafts = draft.clone().into();
/// let several: Drafts = vec![draft.clone(), draft].into();
/// // An engine takes both alike: to look first, and then to take.
/// assert_eq!((one.as_slice().len(), several.as_slice().len()), (1, 2));
/// let mut accepted = Vec::new();
/// several.for_each(|draft| accepted.push(draft));
/// # assert_eq!(accepted.len(), 2);
/// # Ok::<(), poa_core::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Drafts(Inner);

#[derive(Clone, Debug)]
enum Inner {
    One([Draft; 1]),
    Many(Vec<Draft>),
}

impl Drafts {
    /// The messages, in order.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[Draft] {
        match &self.0 {
            Inner::One(one) => one,
            Inner::Many(many) => many,
        }
    }

    /// The messages, in order.
    #[must_use]
    pub fn into_vec(self) -> Vec<Draft> {
        match self.0 {
            Inner::One(one) => one.into(),
            Inner::Many(many) => many,
        }
    }

    /// Calls `take` with each message, in order.
    pub fn for_each(self, mut take: impl FnMut(Draft)) {
        match self.0 {
            Inner::One([one]) => take(one),
            Inner::Many(many) => many.into_iter().for_each(take),
        }
    }
}

impl From<Draft> for Drafts {
    fn from(draft: Draft) -> Self {
        Self(Inner::One([draft]))
    }
}

impl From<Vec<Draft>> for Drafts {
    fn from(drafts: Vec<Draft>) -> Self {
        Self(Inner::Many(drafts))
    }
}
