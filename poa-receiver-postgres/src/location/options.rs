//! The options of a URL, which are those of libpq.

use std::path::PathBuf;

use tokio_postgres::config::SslMode;

use super::{Authorities, Tls, Trust, Versions};

/// Options that the driver reads itself.
const DRIVER: [&str; 17] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// Options of libpq that are not supported, and the alternative.
const UNSUPPORTED: [(&str, &str); 14] = [
    ("gssdelegation", "Kerberos is not supported"),
    ("gsslib", "Kerberos is not supported"),
    ("krbsrvname", "Kerberos is not supported"),
    ("replication", "remove it"),
    ("require_auth", "remove it; `channel_binding=require` demands SCRAM over TLS"),
    ("requirepeer", "remove it"),
    ("service", "write what the service file has into the URL"),
    ("servicefile", "write what the service file has into the URL"),
    ("sslcrldir", "name one file as `sslcrl`"),
    ("sslkeylogfile", "remove it"),
    ("sslpassword", "store the key without a passphrase, readable by this user only"),
    ("min_protocol_version", "remove it"),
    ("max_protocol_version", "remove it"),
    ("oauth_issuer", "remove it"),
];

/// The options that this crate reads itself, and those for the driver.
#[derive(Debug, Default)]
pub(super) struct Options<'u> {
    /// The options of the driver, as written in the URL.
    driver: Vec<String>,
    mode: Option<String>,
    root: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    revoked: Option<PathBuf>,
    hides_host: bool,
    sends_no_certificate: bool,
    least: Option<Version>,
    most: Option<Version>,
    passfile: Option<PathBuf>,
    user: Option<&'u str>,
    pub(super) fallback_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Older,
    Tls12,
    Tls13,
}

impl<'u> Options<'u> {
    /// Reads the part after the `?` of a URL.
    pub(super) fn parse(text: &'u str) -> Result<Self, String> {
        let mut options = Self::default();
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let Some((name, value)) = option.split_once('=') else { return Err(unknown()) };
            let name = decode(name).ok_or_else(unknown)?;
            options.read(&name, value)?;
        }
        Ok(options)
    }

    fn read(&mut self, name: &str, raw: &'u str) -> Result<(), String> {
        let value = || decode(raw).ok_or_else(|| invalid(name));
        match name {
            "sslmode" => self.mode = Some(value()?),
            // The form of JDBC.
            "ssl" if raw == "true" => self.mode = Some("require".into()),
            "requiressl" if raw == "1" => self.mode = Some("require".into()),
            "ssl" | "requiressl" => {}
            "sslrootcert" => self.root = Some(value()?),
            "sslcert" => self.certificate = Some(value()?.into()),
            "sslkey" => self.key = Some(value()?.into()),
            "sslcrl" => self.revoked = Some(value()?.into()),
            "passfile" => self.passfile = Some(value()?.into()),
            "fallback_application_name" => self.fallback_name = Some(value()?),
            "user" => self.user = Some(raw),
            "ssl_min_protocol_version" => self.least = Some(version(name, &value()?)?),
            "ssl_max_protocol_version" => self.most = Some(version(name, &value()?)?),
            _ => return self.read_choice(name, raw),
        }
        Ok(())
    }

    /// Options that are supported for some values only.
    fn read_choice(&mut self, name: &str, raw: &str) -> Result<(), String> {
        match (name, raw) {
            ("sslsni", "0") => self.hides_host = true,
            ("sslcertmode", "disable") => self.sends_no_certificate = true,
            ("sslsni", "1")
            | ("sslcertmode", "allow" | "require")
            | ("gssencmode", "disable" | "prefer")
            | ("sslcompression", "0")
            | ("client_encoding", "utf8" | "UTF8" | "utf-8" | "UTF-8" | "auto") => {}
            ("gssencmode", _) => return Err("`gssencmode` must be disable or prefer".into()),
            ("sslcompression", _) => return Err("`sslcompression` must be 0".into()),
            ("client_encoding", _) => return Err("`client_encoding` must be UTF8".into()),
            ("sslsni", _) => return Err("`sslsni` must be 0 or 1".into()),
            ("sslcertmode", _) => {
                return Err("`sslcertmode` must be disable, allow or require".into());
            }
            // By the driver's name for it.
            ("keepalives_count", _) => return self.hand_on(name, "keepalives_retries", raw),
            _ if DRIVER.contains(&name) => return self.hand_on(name, name, raw),
            _ => {
                let known = UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == name);
                return Err(known.map_or_else(unknown, |(_, cure)| {
                    format!("the option `{name}` is not supported; {cure}")
                }));
            }
        }
        Ok(())
    }

    fn hand_on(&mut self, name: &str, for_driver: &str, raw: &str) -> Result<(), String> {
        let option = format!("{for_driver}={raw}");
        // Parsed by itself, so that an invalid option can be named.
        let parsed = format!("postgres://host?{option}").parse::<tokio_postgres::Config>();
        parsed.map_err(|_| invalid(name))?;
        self.driver.push(option);
        Ok(())
    }

    /// The options for the driver.
    pub(super) fn for_driver(&self, place: &str) -> String {
        let user = self.user.map(|user| format!("user={user}"));
        let options: Vec<_> = self.driver.iter().cloned().chain(user).collect();
        if options.is_empty() { place.to_owned() } else { format!("{place}?{}", options.join("&")) }
    }

    /// The encryption, and the source of the password.
    #[allow(clippy::type_complexity, reason = "it is taken apart at once")]
    pub(super) fn tls(self) -> Result<(&'static [SslMode], Tls, Option<PathBuf>), String> {
        let mode = self.mode.as_deref().unwrap_or("prefer");
        let (modes, trust) = mode_and_trust(mode, self.root)?;
        let client = match (self.certificate, self.key) {
            _ if self.sends_no_certificate => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err("`sslcert` needs `sslkey`, the key of the certificate".into());
            }
            (None, Some(_)) => {
                return Err("`sslkey` needs `sslcert`, the certificate of the key".into());
            }
        };
        let least = self.least.unwrap_or(Version::Older);
        let most = self.most.unwrap_or(Version::Tls13);
        if most < least.max(Version::Tls12) {
            return Err("`ssl_max_protocol_version` must be TLSv1.2 or TLSv1.3, and not below `ssl_min_protocol_version`".into());
        }
        let versions = Versions { tls12: least <= Version::Tls12, tls13: most == Version::Tls13 };
        let (revoked, names_host) = (self.revoked, !self.hides_host);
        Ok((modes, Tls { trust, client, revoked, names_host, versions }, self.passfile))
    }
}

/// The modes are those of libpq, which every other program that uses such a URL follows.
fn mode_and_trust(mode: &str, root: Option<String>) -> Result<(&'static [SslMode], Trust), String> {
    let given = root.is_some();
    let authorities = match root {
        Some(file) if file != "system" => Authorities::File(file.into()),
        _ => Authorities::System,
    };
    match mode {
        "disable" => Ok((&[SslMode::Disable], Trust::Anybody)),
        "allow" => Ok((&[SslMode::Disable, SslMode::Require], Trust::Anybody)),
        // A server may offer TLS and have a rule only for connections without it.
        "prefer" => Ok((&[SslMode::Prefer, SslMode::Disable], Trust::Anybody)),
        // As in libpq: authorities that are named are checked.
        "require" if given => Ok((&[SslMode::Require], Trust::Signed(authorities))),
        "require" => Ok((&[SslMode::Require], Trust::Anybody)),
        "verify-ca" => Ok((&[SslMode::Require], Trust::Signed(authorities))),
        "verify-full" => Ok((&[SslMode::Require], Trust::Named(authorities))),
        _ => {
            Err("`sslmode` must be disable, allow, prefer, require, verify-ca or verify-full"
                .into())
        }
    }
}

fn version(name: &str, value: &str) -> Result<Version, String> {
    match value {
        "TLSv1" | "TLSv1.1" => Ok(Version::Older),
        "TLSv1.2" => Ok(Version::Tls12),
        "TLSv1.3" => Ok(Version::Tls13),
        _ => Err(format!("`{name}` must be TLSv1.2 or TLSv1.3")),
    }
}

/// An unknown option is not shown: it may be a part of a password.
fn unknown() -> String {
    "this URL has an option that is not known; remove it, or, if it is a part of a password, write `&` as %26 and `=` as %3D there".into()
}

fn invalid(name: &str) -> String {
    format!("the option `{name}` has a value that is not valid")
}

/// Resolves `%XX`; `None` if the result is not text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}
