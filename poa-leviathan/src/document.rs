//! The documents that clients send, checked for shape. Every function is pure and takes any bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::{CenId, CinId, Code, ContainerId, Error};

/// A CEN as a document defines it: an ordered list of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CenDefinition {
    /// Its id.
    pub id: CenId,
    /// Its members, in the order of the document.
    pub members: Vec<ContainerId>,
}

/// `{"cenList":[{"cenID":…,"containerIDs":[…]},…]}`; other keys are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CenDocument {
    /// The CENs, in the order of the document.
    pub cens: Vec<CenDefinition>,
}

/// `{"cin1":["cen1"],…}`: CINs and the CENs they cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CinDocument {
    /// The CINs by id.
    pub cins: BTreeMap<CinId, Vec<CenId>>,
}

/// A CEN document that may have the CINs as well, under the key `cins`: a whole host in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostDocument {
    /// The CENs.
    pub cens: CenDocument,
    /// The CINs.
    pub cins: CinDocument,
}

/// Containers to be started, and the networks they join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The value of the label `leviathan.cpool`.
    pub id: String,
    /// The Docker image.
    pub image: String,
    /// How many to start; more than zero.
    pub start_with: u32,
    /// The CENs to join, and whether each owns the default route.
    pub networks: Vec<(CenId, bool)>,
}

/// A switch to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The Docker image.
    pub image: String,
    /// The interfaces of the host that it takes.
    pub interfaces: Vec<String>,
}

/// The most containers that one request may start.
const MAX_POOL: u64 = 1000;

impl CenDocument {
    /// Reads a CEN document.
    ///
    /// # Errors
    /// `invalid_json`, `missing_field`, `wrong_type`; `duplicate_cen`, `duplicate_container` and those of the identifiers.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Self::from_value(&json(body)?)
    }

    fn from_value(value: &Value) -> Result<Self, Error> {
        let list = array(field(object(value, "the document")?, "cenList")?, "cenList")?;
        let cens = list.iter().map(cen_definition).collect::<Result<Vec<_>, _>>()?;
        let ids = cens.iter().map(|cen| cen.id.as_str());
        refuse_repeated(ids, Code::DuplicateCen, "the document names CEN")?;
        Ok(Self { cens })
    }
}

impl CinDocument {
    /// Reads a CIN document.
    ///
    /// # Errors
    /// `invalid_json`, `wrong_type`; `cin_without_cen`, `duplicate_cen` and those of the identifiers.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Self::from_value(&json(body)?)
    }

    fn from_value(value: &Value) -> Result<Self, Error> {
        let entries = object(value, "the document")?.iter();
        let cins = entries.map(|(id, cens)| cin_definition(id, cens));
        Ok(Self { cins: cins.collect::<Result<_, _>>()? })
    }
}

impl HostDocument {
    /// Reads a CEN document with an optional key `cins`.
    ///
    /// # Errors
    /// As [`CenDocument::parse`] and [`CinDocument::parse`].
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let value = json(body)?;
        let cens = CenDocument::from_value(&value)?;
        let cins = value.get("cins").map(CinDocument::from_value).transpose()?;
        Ok(Self { cens, cins: cins.unwrap_or_default() })
    }
}

/// Reads a JSON list of ids, as make and destroy take it. Each id counts once.
///
/// # Errors
/// `invalid_json`, `wrong_type`.
pub fn id_list(body: &[u8]) -> Result<Vec<String>, Error> {
    let value = json(body)?;
    let mut seen = BTreeSet::new();
    let mut ids = Vec::new();
    for id in array(&value, "the body")? {
        let id = string(id, "an id in the list")?;
        if seen.insert(id) {
            ids.push(id.to_owned());
        }
    }
    Ok(ids)
}

/// Reads `{"cpoolList":[…]}`.
///
/// # Errors
/// `invalid_json`, `missing_field`, `wrong_type`, `invalid_start_with` and those of the identifiers.
pub fn pools(body: &[u8]) -> Result<Vec<Pool>, Error> {
    let value = json(body)?;
    let list = array(field(object(&value, "the document")?, "cpoolList")?, "cpoolList")?;
    list.iter().map(pool).collect()
}

/// Reads `{"type":…,"interfaces":[…]}`, or a list of such.
///
/// # Errors
/// `invalid_json`, `missing_field`, `wrong_type`, `invalid_start_with` for more than may be started at once, `invalid_identifier` for
/// what cannot be the name of an interface.
pub fn switches(body: &[u8]) -> Result<Vec<Switch>, Error> {
    let value = json(body)?;
    let one = std::slice::from_ref(&value);
    let entries = if value.is_object() { one } else { array(&value, "the body")? };
    if entries.len() as u64 > MAX_POOL {
        let why = format!("a request starts {MAX_POOL} switches at most");
        return Err(Error::new(Code::InvalidStartWith, why));
    }
    entries.iter().map(switch).collect()
}

/// Reads the optional body of `PUT /host/{host}/{container}`: the new tag, if one is named. `null` removes it.
///
/// # Errors
/// `invalid_json`, `wrong_type`.
pub fn tag(body: &[u8]) -> Result<Option<Option<String>>, Error> {
    if body.is_empty() {
        return Ok(None);
    }
    let value = json(body)?;
    match object(&value, "the body")?.get("tag") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(tag) => Ok(Some(Some(string(tag, "tag")?.to_owned()))),
    }
}

fn cen_definition(value: &Value) -> Result<CenDefinition, Error> {
    let entry = object(value, "an entry of cenList")?;
    let id = CenId::new(string(field(entry, "cenID")?, "cenID")?)?;
    let members = array(field(entry, "containerIDs")?, "containerIDs")?.iter();
    let members = members
        .map(|member| ContainerId::new(string(member, "an id in containerIDs")?))
        .collect::<Result<Vec<_>, _>>()?;
    let what = format!("CEN {id} names container");
    refuse_repeated(members.iter().map(ContainerId::as_str), Code::DuplicateContainer, &what)?;
    Ok(CenDefinition { id, members })
}

fn cin_definition(id: &str, value: &Value) -> Result<(CinId, Vec<CenId>), Error> {
    let id = CinId::new(id)?;
    let cens = array(value, &format!("the CEN list of CIN {id}"))?.iter();
    let cens = cens
        .map(|cen| CenId::new(string(cen, &format!("a CEN id of CIN {id}"))?))
        .collect::<Result<Vec<_>, _>>()?;
    if cens.is_empty() {
        let why = format!("CIN {id} must cover at least one CEN");
        return Err(Error::new(Code::CinWithoutCen, why).with_details([id]));
    }
    let what = format!("CIN {id} names CEN");
    refuse_repeated(cens.iter().map(CenId::as_str), Code::DuplicateCen, &what)?;
    Ok((id, cens))
}

fn pool(value: &Value) -> Result<Pool, Error> {
    let entry = object(value, "an entry of cpoolList")?;
    let id = string(field(entry, "cpoolID")?, "cpoolID")?.to_owned();
    let image = string(field(entry, "type")?, "type")?.to_owned();
    let start_with = start_with(field(entry, "start_with")?, &id)?;
    let networks = array(field(entry, "cins")?, "cins")?.iter().map(pool_network);
    Ok(Pool { id, image, start_with, networks: networks.collect::<Result<_, _>>()? })
}

fn switch(value: &Value) -> Result<Switch, Error> {
    let entry = object(value, "a switch")?;
    let image = string(field(entry, "type")?, "type")?.to_owned();
    let interfaces = array(field(entry, "interfaces")?, "interfaces")?.iter();
    let interfaces = interfaces.map(|name| interface(string(name, "a name in interfaces")?));
    Ok(Switch { image, interfaces: interfaces.collect::<Result<_, _>>()? })
}

/// A name that the kernel takes, and that no program takes for an option.
fn interface(name: &str) -> Result<String, Error> {
    let fits =
        (1..=crate::MAX_INTERFACE_NAME).contains(&name.len()) && !name.starts_with(['-', '.']);
    let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:".contains(&byte));
    if fits && is_plain {
        return Ok(name.to_owned());
    }
    let why = format!("{name:?} is not a name of an interface");
    Err(Error::new(Code::InvalidIdentifier, why).with_details([name]))
}

fn start_with(value: &Value, pool: &str) -> Result<u32, Error> {
    if !value.is_i64() && !value.is_u64() {
        return Err(wrong_type("start_with", "an integer", value));
    }
    let count = value.as_u64().filter(|count| (1..=MAX_POOL).contains(count));
    count.and_then(|count| u32::try_from(count).ok()).ok_or_else(|| {
        let why = format!("start_with of cpool {pool:?} must be from 1 to {MAX_POOL}");
        Error::new(Code::InvalidStartWith, why).with_details([pool])
    })
}

fn pool_network(value: &Value) -> Result<(CenId, bool), Error> {
    let entry = object(value, "an entry of cins")?;
    let id = CenId::new(string(field(entry, "cinID")?, "cinID")?)?;
    let owns_default = match entry.get("default_route") {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) if text == "true" => true,
        Some(Value::String(text)) if text == "false" => false,
        Some(other) => return Err(wrong_type("default_route", "\"true\" or \"false\"", other)),
    };
    Ok((id, owns_default))
}

fn json(body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::new(Code::InvalidJson, format!("the body is not JSON: {error}")))
}

fn field<'v>(entry: &'v Map<String, Value>, name: &str) -> Result<&'v Value, Error> {
    entry.get(name).ok_or_else(|| {
        Error::new(Code::MissingField, format!("the key {name:?} is missing")).with_details([name])
    })
}

fn object<'v>(value: &'v Value, what: &str) -> Result<&'v Map<String, Value>, Error> {
    value.as_object().ok_or_else(|| wrong_type(what, "an object", value))
}

fn array<'v>(value: &'v Value, what: &str) -> Result<&'v Vec<Value>, Error> {
    value.as_array().ok_or_else(|| wrong_type(what, "a list", value))
}

fn string<'v>(value: &'v Value, what: &str) -> Result<&'v str, Error> {
    value.as_str().ok_or_else(|| wrong_type(what, "a string", value))
}

fn wrong_type(what: &str, wanted: &str, found: &Value) -> Error {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Error::new(Code::WrongType, format!("{what} must be {wanted}, not {found}"))
}

fn refuse_repeated<'i>(
    ids: impl Iterator<Item = &'i str>,
    code: Code,
    what: &str,
) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            return Err(Error::new(code, format!("{what} {id} twice")).with_details([id]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, Error>) -> Code {
        result.err().expect("it must be refused").code()
    }

    #[test]
    fn shapes_are_checked() {
        let cens = |text: &str| CenDocument::parse(text.as_bytes());
        assert_eq!(code(cens("{bad")), Code::InvalidJson);
        assert_eq!(code(cens("")), Code::InvalidJson);
        assert_eq!(code(cens("[]")), Code::WrongType);
        assert_eq!(code(cens("{}")), Code::MissingField);
        assert_eq!(code(cens(r#"{"cenList":{}}"#)), Code::WrongType);
        assert_eq!(code(cens(r#"{"cenList":[{"cenID":"a"}]}"#)), Code::MissingField);
        assert_eq!(code(cens(r#"{"cenList":[{"cenID":1,"containerIDs":[]}]}"#)), Code::WrongType);
        let twice = r#"{"cenList":[{"cenID":"a","containerIDs":["c","c"]}]}"#;
        assert_eq!(code(cens(twice)), Code::DuplicateContainer);
        assert_eq!(cens(r#"{"cenList":[],"more":1}"#).unwrap(), CenDocument::default());
    }

    #[test]
    fn ids_count_once() {
        assert_eq!(id_list(br#"["b","a","b"]"#).unwrap(), ["b", "a"]);
        assert_eq!(code(id_list(br#"{"a":1}"#)), Code::WrongType);
    }

    #[test]
    fn pools_are_checked_before_anything_starts() {
        let entry = |start: &str| {
            let text = format!(
                r#"{{"cpoolList":[{{"cpoolID":"p","type":"img","start_with":{start},"cins":[{{"cinID":"a","default_route":"true"}},{{"cinID":"b","default_route":false}}]}}]}}"#
            );
            pools(text.as_bytes())
        };
        let networks = entry("2").unwrap().remove(0).networks;
        assert_eq!(networks.iter().map(|network| network.1).collect::<Vec<_>>(), [true, false]);
        for bad in ["0", "-1", "1001", "99999999999999999999"] {
            assert!(matches!(code(entry(bad)), Code::InvalidStartWith | Code::WrongType), "{bad}");
        }
        assert_eq!(code(entry("0")), Code::InvalidStartWith);
        assert_eq!(code(entry("\"2\"")), Code::WrongType);
        assert_eq!(code(pools(b"{\"cpoolList\":[{}]}")), Code::MissingField);
    }

    #[test]
    fn switches_come_alone_or_in_a_list() {
        let one = switches(br#"{"type":"img","interfaces":["eth1","veth2@x"]}"#).unwrap();
        assert_eq!(one[0].interfaces, ["eth1", "veth2@x"]);
        assert_eq!(switches(b"[]").unwrap(), []);
        assert_eq!(code(switches(br#"{"type":"img"}"#)), Code::MissingField);
        assert_eq!(code(switches(b"1")), Code::WrongType);
        for bad in ["", "--help", "a/b", "a b", "sixteen-letters."] {
            let body = serde_json::json!({"type": "img", "interfaces": [bad]}).to_string();
            assert_eq!(code(switches(body.as_bytes())), Code::InvalidIdentifier, "{bad:?}");
        }
    }

    #[test]
    fn a_tag_is_set_removed_or_left() {
        assert_eq!(tag(b"").unwrap(), None);
        assert_eq!(tag(b"{}").unwrap(), None);
        assert_eq!(tag(br#"{"tag":null}"#).unwrap(), Some(None));
        assert_eq!(tag(br#"{"tag":"x"}"#).unwrap(), Some(Some("x".to_owned())));
        assert_eq!(code(tag(br#"{"tag":1}"#)), Code::WrongType);
    }
}
