//! The data types that a host accepts.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

/// The data type of a message, such as `ethereum_metrics`: a name declared in the configuration.
///
/// Names are interned for the life of the process, so a clone is a copy: each message carries one, and a shared counter would be
/// passed between the processor's cores for each of them.
///
/// ```
/// use poa_core::DataTypes;
///
/// let types = DataTypes::new(["readings", "alarms"])?;
/// // Indices are dense, so a table by data type is an array.
/// let mut received = [0_u64; 2];
/// let alarms = types.get("alarms").expect("declared above");
/// received[alarms.index()] += 1;
/// assert_eq!((alarms.name(), received), ("alarms", [0, 1]));
/// # Ok::<(), poa_core::InvalidDataType>(())
/// ```
#[derive(Clone)]
pub struct DataType {
    index: u16,
    /// The number of the list that it belongs to.
    list: u32,
    name: &'static str,
}

impl DataType {
    /// The declared name.
    #[must_use]
    #[inline]
    pub fn name(&self) -> &str {
        self.name
    }

    /// The index of the type in its host's list.
    #[must_use]
    #[inline]
    pub fn index(&self) -> usize {
        usize::from(self.index)
    }
}

impl PartialEq for DataType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for DataType {}

impl fmt::Debug for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The data types one host accepts, in the order they were declared.
///
/// ```
/// use poa_core::{DataTypes, InvalidDataType};
///
/// // A handler looks its data type up once, and clones it for each message.
/// let types = DataTypes::new(["readings", "alarms"])?;
/// assert!(types.get("readings").is_some());
/// assert!(types.get("weather").is_none());
///
/// assert_eq!(DataTypes::new(["a", "a"]).unwrap_err(), InvalidDataType::Duplicate("a".into()));
/// # Ok::<(), InvalidDataType>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct DataTypes(Arc<[DataType]>);

/// The longest name of a data type, in bytes.
const MAX_NAME: usize = 255;

/// The most data types one host can have.
const MAX_TYPES: usize = 128;

impl DataTypes {
    /// Interns the given names.
    ///
    /// # Errors
    /// When a name is empty, longer than 255 bytes, holds a control character or occurs twice, or when there are more than 128.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, InvalidDataType> {
        static LISTS: AtomicU32 = AtomicU32::new(0);
        let list = LISTS.fetch_add(1, Relaxed);
        let mut types: Vec<DataType> = Vec::new();
        for name in names {
            let name = name.as_ref();
            check(name, &types)?;
            let index = u16::try_from(types.len()).map_err(|_| InvalidDataType::TooMany)?;
            types.push(DataType { index, list, name: intern(name) });
        }
        Ok(Self(types.into()))
    }

    /// The data type of this name, if it is declared.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&DataType> {
        self.0.iter().find(|known| known.name() == name)
    }

    /// Whether the type belongs to this list, and not to another host's under the same name.
    #[must_use]
    #[inline]
    pub fn is_own(&self, data_type: &DataType) -> bool {
        let own = self.0.get(data_type.index());
        own.is_some_and(|own| own.list == data_type.list)
    }

    /// All data types.
    pub fn iter(&self) -> std::slice::Iter<'_, DataType> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a DataTypes {
    type Item = &'a DataType;
    type IntoIter = std::slice::Iter<'a, DataType>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The one copy of this name. It is never freed: names come from configurations, so there are few.
fn intern(name: &str) -> &'static str {
    static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock();
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.into());
    names.insert(kept);
    kept
}

fn check(name: &str, known: &[DataType]) -> Result<(), InvalidDataType> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(InvalidDataType::Name(name.into()));
    }
    if known.iter().any(|other| other.name() == name) {
        return Err(InvalidDataType::Duplicate(name.into()));
    }
    if known.len() == MAX_TYPES { Err(InvalidDataType::TooMany) } else { Ok(()) }
}

/// The reason why a list of names is not valid.
///
/// See [`DataTypes`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDataType {
    /// The name is empty, longer than 255 bytes, or holds a control character.
    #[error(
        "{0:?} cannot name a data type: a name has 1 to {MAX_NAME} bytes and no control characters"
    )]
    Name(String),
    /// The name occurs twice.
    #[error("data type `{0}` is declared twice")]
    Duplicate(String),
    /// There are more than 128 names.
    #[error("a host has at most {MAX_TYPES} data types")]
    TooMany,
}

/// A set of data types of one host.
///
/// ```
/// use poa_core::DataTypes;
/// use poa_core::engine::TypeSet;
///
/// let types = DataTypes::new(["readings", "alarms", "weather"])?;
/// let subscribed: TypeSet = ["readings", "alarms"].iter().filter_map(|name| types.get(name)).collect();
/// // An engine decides in one instruction whether a record is for a subscription.
/// assert!(subscribed.contains(types.get("alarms").expect("declared above")));
/// assert!(!subscribed.contains(types.get("weather").expect("declared above")));
/// # Ok::<(), poa_core::InvalidDataType>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeSet(u128);

impl TypeSet {
    /// Adds a type.
    #[inline]
    pub fn insert(&mut self, data_type: &DataType) {
        self.0 |= 1 << data_type.index();
    }

    /// Whether the type is in the set.
    #[must_use]
    #[inline]
    pub fn contains(self, data_type: &DataType) -> bool {
        self.0 >> data_type.index() & 1 == 1
    }

    /// Whether the set is empty.
    #[must_use]
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the sets have a type in common.
    #[must_use]
    #[inline]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The types of both sets.
    #[must_use]
    #[inline]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl<'a> FromIterator<&'a DataType> for TypeSet {
    fn from_iter<I: IntoIterator<Item = &'a DataType>>(types: I) -> Self {
        let mut set = Self::default();
        types.into_iter().for_each(|data_type| set.insert(data_type));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_declared_types() {
        let types = DataTypes::new(["a", "b"]).unwrap();
        assert_eq!(types.get("b").unwrap().name(), "b");
        assert!(types.get("B").is_none());
    }

    #[test]
    fn a_type_belongs_to_one_list() {
        let [one, other] = [(); 2].map(|()| DataTypes::new(["a"]).unwrap());
        let own = one.get("a").unwrap();
        assert!(one.is_own(own) && one.clone().is_own(own) && !other.is_own(own));
        assert_eq!(own, other.get("a").unwrap(), "the names are the same");
    }

    #[test]
    fn refuses_invalid_lists() {
        assert_eq!(DataTypes::new(["a", "a"]).unwrap_err(), InvalidDataType::Duplicate("a".into()));
        assert_eq!(DataTypes::new([""]).unwrap_err(), InvalidDataType::Name(String::new()));
        let many = (0..129).map(|n| n.to_string());
        assert_eq!(DataTypes::new(many).unwrap_err(), InvalidDataType::TooMany);
    }

    #[test]
    fn a_set_can_hold_the_type_of_the_highest_index() {
        let types = DataTypes::new((0..128).map(|n| n.to_string())).unwrap();
        let last = types.get("127").unwrap();
        let mut set = TypeSet::default();
        assert!(!set.contains(last));
        set.insert(last);
        assert!(set.contains(last));
    }
}
