//! Tables that several kinds of plugins have under the same key, such as `limits` and `tls`.

use poa_core::ReceiverOptions;
use serde_json::Value;

use super::{ROLES, forms};
use crate::config::HandlerOptions;
use crate::config::shape::{alternatives, properties};
use crate::schema::option_keys;

/// The tables that more than one kind has, each with its key.
pub(super) struct Shared<'s>(Vec<(&'s str, &'s Value)>);

impl<'s> Shared<'s> {
    /// Finds the shared tables of a configuration schema. Keys that every plugin of a role has are documented apart from the kinds.
    pub(super) fn among(root: &'s Value) -> Self {
        let common = [option_keys::<ReceiverOptions>(), option_keys::<HandlerOptions>()].concat();
        let kinds = ROLES.iter().flat_map(|role| forms(root, role));
        let keys = kinds.flat_map(|form| properties(form).into_iter().flatten());
        let tables = keys.filter(|(key, _)| !common.contains(key)).flat_map(|(key, schema)| {
            let tables = alternatives(root, schema).into_iter();
            tables.filter(|form| properties(form).is_some()).map(|table| (key.as_str(), table))
        });
        let tables: Vec<_> = tables.collect();
        let mut shared: Vec<(&str, &Value)> = Vec::new();
        for (key, table) in &tables {
            let several = tables.iter().filter(|other| *other == &(*key, *table)).count() > 1;
            // One heading for each key: a second table under the same key is documented with its kind.
            if several && !shared.iter().any(|(known, _)| known == key) {
                shared.push((*key, *table));
            }
        }
        shared.sort_by_key(|(key, _)| *key);
        Self(shared)
    }

    pub(super) fn has(&self, key: &str, table: &Value) -> bool {
        self.0.iter().any(|(known, shared)| *known == key && *shared == table)
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = (&'s str, &'s Value)> + use<'s> {
        self.0.clone().into_iter()
    }
}
