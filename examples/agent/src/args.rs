//! Options of all programs that connect to a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::{BaseUrl, BoxError, Trust};

/// The environment variable with the password, if no option gives it.
const PASSWORD_VARIABLE: &str = "POA_PASSWORD";

/// The address of the server, and the trusted certificates.
#[derive(Debug, Args)]
pub struct Server {
    /// The transport; only needed without --url
    #[arg(long, value_enum)]
    transport: Option<Kind>,
    /// The REST handler (http, https) or the WebSocket handler (ws, wss) [default: http://127.0.0.1:4002, and for ws
    /// ws://127.0.0.1:4004/ws]
    #[arg(long, value_name = "URL", alias = "rest")]
    url: Option<BaseUrl>,
    /// The address of the auth server
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:4003")]
    auth: BaseUrl,
    /// Trust certificates signed by one in this PEM file, instead of the system's roots
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust any certificate. Only for a self-signed one on a network you trust
    #[arg(long, conflicts_with = "ca")]
    insecure_tls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// HTTP, one request for each call
    Rest,
    /// WebSocket, one connection for all calls
    Ws,
}

impl Server {
    /// The address of the REST or WebSocket handler.
    ///
    /// # Errors
    /// If address and transport contradict each other.
    pub fn url(&self) -> Result<BaseUrl, BoxError> {
        match (self.transport, self.url.clone()) {
            (None, Some(url)) => Ok(url),
            (kind, url) => kind.unwrap_or(Kind::Rest).address(url),
        }
    }

    /// The address of the auth server.
    #[must_use]
    pub const fn auth(&self) -> &BaseUrl {
        &self.auth
    }

    /// The trusted certificates.
    #[must_use]
    pub fn trust(&self) -> Trust {
        match &self.ca {
            Some(file) => Trust::CaFile(file.clone()),
            None if self.insecure_tls => Trust::Insecure,
            None => Trust::System,
        }
    }
}

impl Kind {
    /// The address, which must be of this kind; the default is a server on this machine.
    fn address(self, url: Option<BaseUrl>) -> Result<BaseUrl, BoxError> {
        let url = match (url, self) {
            (Some(url), _) => url,
            (None, Self::Rest) => "http://127.0.0.1:4002".parse()?,
            (None, Self::Ws) => "ws://127.0.0.1:4004/ws".parse()?,
        };
        if url.is_websocket() == (self == Self::Ws) {
            return Ok(url);
        }
        let wanted = if self == Self::Ws { "ws:// or wss://" } else { "http:// or https://" };
        Err(format!("{url} does not fit the transport: it must begin with {wanted}").into())
    }
}

/// A password, given in one of three ways.
#[derive(Args)]
#[group(multiple = false)]
pub struct Password {
    /// The password. Other users of this machine can see it in the list of processes; prefer a file, or the variable
    /// POA_PASSWORD
    #[arg(long)]
    password: Option<String>,
    /// A file with the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Password {
    /// The password from the option, the file, or `POA_PASSWORD`.
    ///
    /// # Errors
    /// There is none, or the file cannot be read.
    pub fn find(&self) -> Result<String, BoxError> {
        if let Some(password) = &self.password {
            return Ok(password.clone());
        }
        if let Some(file) = &self.password_file {
            return read(file);
        }
        std::env::var(PASSWORD_VARIABLE).map_err(|_| {
            format!("no password: set --password-file, --password, or {PASSWORD_VARIABLE}").into()
        })
    }
}

/// Not derived: the password must not show.
impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Password")
            .field("password_file", &self.password_file)
            .finish_non_exhaustive()
    }
}

/// Editors add a newline at the end of a file; it is not part of the password.
fn read(file: &Path) -> Result<String, BoxError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the password file {}: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Parses a duration greater than zero, such as `5s` or `500ms`.
///
/// # Errors
/// The reason why the text is not valid.
pub fn interval(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like 5s or 500ms"))?;
    if duration.is_zero() { Err("it must be greater than zero".into()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_read_without_its_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, " with spaces \n").unwrap();
        assert_eq!(read(&file).unwrap(), " with spaces ");
        let error = read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }
}
