//! The URL of a database: what of it the driver reads, and what this crate does.

mod authority;
mod options;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

use options::Options;

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

/// How connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) trust: Trust,
    /// The certificate and the key that this host shows to the server, both files of PEM.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// A file of PEM with the certificates that authorities have revoked.
    pub(crate) revoked: Option<PathBuf>,
    /// Whether the server is told which host is meant.
    pub(crate) names_host: bool,
    pub(crate) versions: Versions,
}

/// Which versions of TLS may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) tls12: bool,
    pub(crate) tls13: bool,
}

/// Where the database is, and how to get there. Displays without the password.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) driver: tokio_postgres::Config,
    pub(crate) tls: Tls,
    /// Ways to connect, each tried when the server refuses the one before by `pg_hba.conf`.
    pub(crate) modes: &'static [SslMode],
    /// The file that has the password, if the URL names one.
    pub(crate) passfile: Option<PathBuf>,
}

/// How long to try to connect when the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLE: &str =
    "write one such as \"postgres://user:password@host:5432/database?sslmode=verify-full\"";

impl Location {
    /// Reads a URL. The message of an error has nothing of the URL in it but names of known options: a password may stand anywhere.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(format!("this is not a PostgreSQL URL; {EXAMPLE}"));
        }
        authority::check(url)?;
        let (place, options) = url.split_once('?').unwrap_or((url, ""));
        let options = Options::parse(options)?;
        let rest = options.for_driver(place);
        let mut driver: tokio_postgres::Config =
            rest.parse().map_err(|_| format!("this URL cannot be read; {EXAMPLE}"))?;
        if driver.get_hosts().is_empty() {
            return Err(format!("this URL names no host; {EXAMPLE}"));
        }
        keep_alive(&mut driver);
        if driver.get_connect_timeout().is_none() {
            driver.connect_timeout(CONNECT_TIMEOUT);
        }
        if let (None, Some(name)) = (driver.get_application_name(), &options.fallback_name) {
            driver.application_name(name);
        }
        let (modes, tls, passfile) = options.tls()?;
        Ok(Self { driver, tls, modes, passfile })
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
mod tests;
