//! The URL of a database: what of it the driver reads, and what this crate does.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

/// How much of the server's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing: the connection is encrypted, but who is at its other end is not known.
    Anybody,
    /// That an authority signed it.
    Signed(Authorities),
    /// That an authority signed it for this host.
    Named(Authorities),
}

/// Whose signature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authorities {
    /// Those that the operating system trusts.
    System,
    /// Those in a file of PEM.
    File(PathBuf),
}

/// Where the database is, and how to get there. Displays without the password.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) driver: tokio_postgres::Config,
    pub(crate) trust: Trust,
}

/// How long to try to connect when the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLE: &str =
    "write one such as \"postgres://user:password@host:5432/database?sslmode=verify-full\"";

impl Location {
    /// Reads a URL. The message of an error has nothing of the URL in it, which may hold a password anywhere.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(format!("this is no URL of PostgreSQL; {EXAMPLE}"));
        }
        let (place, options) = url.split_once('?').unwrap_or((url, ""));
        let mut mode = None;
        let mut root = None;
        let mut others = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => root = Some(decode(value)?),
                _ => others.push(option),
            }
        }
        let (mode, trust) = tls(mode.unwrap_or("prefer"), root)?;
        let rest = if others.is_empty() {
            place.to_owned()
        } else {
            format!("{place}?{}", others.join("&"))
        };
        let mut driver: tokio_postgres::Config = rest.parse().map_err(|_| {
            format!("this URL cannot be read; it may have an option that is not known, or a character that must be written as %XX; {EXAMPLE}")
        })?;
        if driver.get_hosts().is_empty() {
            return Err(format!("this URL names no host; {EXAMPLE}"));
        }
        driver.ssl_mode(mode);
        keep_alive(&mut driver);
        if driver.get_connect_timeout().is_none() {
            driver.connect_timeout(CONNECT_TIMEOUT);
        }
        Ok(Self { driver, trust })
    }
}

/// Asks a silent server for signs of life sooner than after two hours, unless the URL says when.
fn keep_alive(driver: &mut tokio_postgres::Config) {
    let unset = tokio_postgres::Config::new().get_keepalives_idle();
    if driver.get_keepalives_idle() == unset {
        driver.keepalives_idle(Duration::from_secs(10));
    }
    if driver.get_keepalives_interval().is_none() {
        driver.keepalives_interval(Duration::from_secs(5));
    }
    if driver.get_keepalives_retries().is_none() {
        driver.keepalives_retries(3);
    }
}

/// The modes are those of libpq, which every other program that uses such a URL goes by.
fn tls(mode: &str, root: Option<String>) -> Result<(SslMode, Trust), String> {
    let given = root.is_some();
    let authorities = match root {
        Some(file) if file != "system" => Authorities::File(file.into()),
        _ => Authorities::System,
    };
    match mode {
        "disable" => Ok((SslMode::Disable, Trust::Anybody)),
        "prefer" => Ok((SslMode::Prefer, Trust::Anybody)),
        // As in libpq: who names an authority wants it to be asked.
        "require" if given => Ok((SslMode::Require, Trust::Signed(authorities))),
        "require" => Ok((SslMode::Require, Trust::Anybody)),
        "verify-ca" => Ok((SslMode::Require, Trust::Signed(authorities))),
        "verify-full" => Ok((SslMode::Require, Trust::Named(authorities))),
        _ => Err("`sslmode` must be disable, prefer, require, verify-ca or verify-full".into()),
    }
}

/// Resolves `%XX`.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.ok_or("`sslrootcert` has a % that two hexadecimal digits do not follow")?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| "`sslrootcert` is not UTF-8".into())
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.driver.get_user() {
            write!(f, "{user}@")?;
        }
        let ports = self.driver.get_ports();
        for (at, host) in self.driver.get_hosts().iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
        }
        match self.driver.get_dbname() {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Location {
        Location::parse(url).unwrap()
    }

    fn file() -> Authorities {
        Authorities::File("/etc/my ca.pem".into())
    }

    #[test]
    fn shows_everything_but_the_password() {
        for url in [
            "postgres://me:hunter2@db:5433/stats?sslmode=require",
            "postgresql://me@db:5433/stats?password=hunter2",
        ] {
            let location = parse(url);
            assert_eq!(location.to_string(), "postgres://me@db:5433/stats");
            assert!(!format!("{location:?}").contains("hunter2"));
        }
        assert_eq!(parse("postgres://%2Fvar%2Frun/stats").to_string(), "postgres:///var/run/stats");
        assert_eq!(parse("postgres://u@a,b:7/d").to_string(), "postgres://u@a:5432,b:7/d");
    }

    #[test]
    fn sslmode_says_how_much_is_checked() {
        let root = "sslrootcert=%2Fetc%2Fmy%20ca.pem";
        let cases = [
            ("", SslMode::Prefer, Trust::Anybody),
            ("?sslmode=disable", SslMode::Disable, Trust::Anybody),
            ("?sslmode=require", SslMode::Require, Trust::Anybody),
            (&format!("?sslmode=require&{root}"), SslMode::Require, Trust::Signed(file())),
            ("?sslmode=verify-ca", SslMode::Require, Trust::Signed(Authorities::System)),
            (&format!("?{root}&sslmode=verify-full"), SslMode::Require, Trust::Named(file())),
            (
                "?sslmode=verify-full&sslrootcert=system",
                SslMode::Require,
                Trust::Named(Authorities::System),
            ),
        ];
        for (options, mode, trust) in cases {
            let location = parse(&format!("postgres://u@db/d{options}"));
            assert_eq!(
                (location.driver.get_ssl_mode(), location.trust),
                (mode, trust),
                "{options}"
            );
        }
    }

    #[test]
    fn other_options_go_to_the_driver() {
        let location =
            parse("postgres://u@db/d?connect_timeout=3&sslmode=disable&application_name=me");
        assert_eq!(location.driver.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(location.driver.get_application_name(), Some("me"));
        assert_eq!(parse("postgres://db").driver.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
        let idle = |url| parse(url).driver.get_keepalives_idle().as_secs();
        assert_eq!(idle("postgres://db"), 10);
        assert_eq!(idle("postgres://db?keepalives_idle=60"), 60);
    }

    #[test]
    fn what_cannot_be_read_is_explained_without_showing_it() {
        for url in [
            "mysql://u:hunter2@db",
            "postgres://u:h@db:hunter2",
            "postgres://u:h@db/d?hunter2=1",
            "postgres://u@db?sslmode=hunter2",
            "postgres://u@db?sslrootcert=%hunter2",
            "postgres:///hunter2",
        ] {
            let error = Location::parse(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
