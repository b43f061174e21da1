//! The address in a configuration: `127.0.0.1:4002`, `localhost:4002`, `:4002`.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The address to listen on: an IP address or a host name, and a port.
///
/// `:4002` and `*:4002` mean every address of this machine. A host name is resolved when the listener is bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listen(Written);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Written {
    Address(SocketAddr),
    Name(Box<str>, u16),
    Everywhere(u16),
}

/// The text is not an address to listen on. The message names the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidListen(String);

/// The name of the local machine.
const LOCALHOST: &str = "localhost";

impl Listen {
    /// Whether only programs on this machine can connect. Of all host names, only `localhost` counts.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.0 {
            Written::Address(addr) => addr.ip().is_loopback(),
            Written::Name(name, _) => &**name == LOCALHOST,
            Written::Everywhere(_) => false,
        }
    }

    /// The port; 0 lets the system choose one.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.0 {
            Written::Address(addr) => addr.port(),
            Written::Name(_, port) | Written::Everywhere(port) => *port,
        }
    }

    /// The host name, if there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Written::Name(name, _) => Some(name),
            Written::Address(_) | Written::Everywhere(_) => None,
        }
    }

    /// The addresses to try, in this order. Blocks while a name is resolved.
    pub(crate) fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.0 {
            Written::Address(addr) => Ok(vec![*addr]),
            // One socket serves both families if the system has both.
            Written::Everywhere(port) => Ok(vec![
                (Ipv6Addr::UNSPECIFIED, *port).into(),
                (Ipv4Addr::UNSPECIFIED, *port).into(),
            ]),
            Written::Name(name, port) => resolve(name, *port),
        }
    }
}

fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<_> = (name, port).to_socket_addrs()?.collect();
    if name == LOCALHOST {
        // An address that was verified as loopback must not leave this machine because of an entry in a hosts
        // file.
        found.retain(|addr| addr.ip().is_loopback());
    }
    found.sort_by_key(|addr| addr.is_ipv6());
    found.dedup();
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(found),
    }
}

impl From<SocketAddr> for Listen {
    fn from(addr: SocketAddr) -> Self {
        Self(Written::Address(addr))
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Listen {
    fn from(pair: (I, u16)) -> Self {
        Self(Written::Address(pair.into()))
    }
}

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, InvalidListen> {
        if let Ok(addr) = text.parse() {
            return Ok(Self(Written::Address(addr)));
        }
        let (host, port) = split(text)?;
        let port = port.parse().map_err(|_| {
            wrong(text, format!("`{port}` is not a port; write a number from 0 to 65535"))
        })?;
        match host {
            "" | "*" => Ok(Self(Written::Everywhere(port))),
            name if is_host_name(name) => {
                Ok(Self(Written::Name(name.to_ascii_lowercase().into(), port)))
            }
            _ => Err(wrong(text, EXAMPLES.to_owned())),
        }
    }
}

const EXAMPLES: &str =
    "write an IP address or a host name and a port, as in \"127.0.0.1:4002\" or \"localhost:4002\"";

fn wrong(text: &str, cure: String) -> InvalidListen {
    InvalidListen(format!("`{text}` is not an address to listen on: {cure}"))
}

/// Host and port, or the problem with a similar but invalid form.
fn split(text: &str) -> Result<(&str, &str), InvalidListen> {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        return Err(wrong(
            text,
            format!("it is a URL; write host and port only, as in \"{host}\""),
        ));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let example = SocketAddr::new(ip, 4002);
        return Err(wrong(text, format!("it has no port; write \"{example}\"")));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let example = if text.parse::<u16>().is_ok() { "127.0.0.1:" } else { "" };
        let port = if example.is_empty() { ":4002" } else { "" };
        return Err(wrong(
            text,
            format!("it has no port or no host; write \"{example}{text}{port}\""),
        ));
    };
    if host.contains(':') {
        return Err(wrong(
            text,
            format!(
                "an IPv6 address must be in brackets; write \"[{}]:{port}\"",
                host.trim_matches(['[', ']'])
            ),
        ));
    }
    Ok((host, port))
}

/// RFC 1123, section 2.1; the resolver decides the rest. A name of digits and dots is a mistyped IPv4 address.
fn is_host_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    name.len() <= 253
        && name.chars().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.chars().all(|c| c.is_ascii_digit() || c == '.')
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Written::Address(addr) => addr.fmt(f),
            Written::Name(name, port) => write!(f, "{name}:{port}"),
            Written::Everywhere(port) => write!(f, "*:{port}"),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Listen, String> {
        text.parse().map_err(|error: InvalidListen| error.to_string())
    }

    #[test]
    fn accepts_the_usual_forms() {
        for (text, shown, loopback) in [
            ("127.0.0.1:4002", "127.0.0.1:4002", true),
            ("[::1]:4002", "[::1]:4002", true),
            ("0.0.0.0:0", "0.0.0.0:0", false),
            ("localhost:4002", "localhost:4002", true),
            ("LocalHost:4002", "localhost:4002", true),
            ("poa.example.org:4002", "poa.example.org:4002", false),
            (":4002", "*:4002", false),
            ("*:4002", "*:4002", false),
        ] {
            let listen = read(text).unwrap();
            assert_eq!((listen.to_string().as_str(), listen.is_loopback()), (shown, loopback));
            assert_eq!(read(&listen.to_string()), Ok(listen));
        }
    }

    /// Each common mistake, and the form to write instead.
    #[test]
    fn other_forms_name_the_cure() {
        for (text, cure) in [
            ("0.0.0.0", "write \"0.0.0.0:4002\""),
            ("::1", "write \"[::1]:4002\""),
            ("[::1]", "write \"[::1]:4002\""),
            ("4002", "write \"127.0.0.1:4002\""),
            ("localhost", "write \"localhost:4002\""),
            ("fe80::1:x:4002", "write \"[fe80::1:x]:4002\""),
            ("http://127.0.0.1:4002/ping", "write host and port only, as in \"127.0.0.1:4002\""),
            ("127.0.0.1:http", "`http` is not a port"),
            ("127.0.0.1:70000", "`70000` is not a port"),
            ("127.0.0:4002", "as in \"127.0.0.1:4002\""),
            ("a b:4002", "as in \"127.0.0.1:4002\""),
            ("-x:1", "as in \"127.0.0.1:4002\""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(cure) && error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn localhost_stays_on_this_machine() {
        let found = read("localhost:4002").unwrap().candidates().unwrap();
        assert!(!found.is_empty() && found.iter().all(|addr| addr.ip().is_loopback()));
    }
}
