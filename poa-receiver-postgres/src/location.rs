//! The URL of a database: the parts that the driver reads, and those that this crate reads.

mod authority;
mod options;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

use options::Options;

/// How thoroughly the server's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Not at all: the connection is encrypted, but the server is not authenticated.
    Anybody,
    /// It must be signed by an authority.
    Signed(Authorities),
    /// It must be signed by an authority for this host.
    Named(Authorities),
}

/// The trusted authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authorities {
    /// Those of the operating system.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

/// The encryption of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) trust: Trust,
    /// The client certificate and its key, both PEM files.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// A PEM file with the certificates that authorities have revoked.
    pub(crate) revoked: Option<PathBuf>,
    /// Whether the server name is sent in the handshake.
    pub(crate) names_host: bool,
    pub(crate) versions: Versions,
}

/// The permitted versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) tls12: bool,
    pub(crate) tls13: bool,
}

/// The address of the database, and how to connect to it. Displays without the password.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) driver: tokio_postgres::Config,
    pub(crate) tls: Tls,
    /// Ways to connect, each tried if the server refuses the previous one by `pg_hba.conf`.
    pub(crate) modes: &'static [SslMode],
    /// The file with the password, if the URL names one.
    pub(crate) passfile: Option<PathBuf>,
}

/// The default time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLE: &str =
    "write one such as \"postgres://user:password@host:5432/database?sslmode=verify-full\"";

impl Location {
    /// Reads a URL. The error message has nothing of the URL in it but names of known options: a password may be anywhere.
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

/// Sends keepalives to a silent server sooner than after two hours, unless the URL sets the time.
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
