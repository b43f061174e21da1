//! Checks the resources that a configuration names: certificates, programs, directories, addresses. Changes nothing.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use poa_core::BuildContext;
use poa_http::{Limits, Server, Tls};
use rustix::fs::{Access, access};
use serde::Deserialize as _;
use serde_json::Value;
use tokio::net::TcpSocket;

use super::document::Part;
use super::path::KeyPath;
use super::walk::Found;
use crate::Chain;

/// Keys whose values are files that a server reads when it starts.
const FILES: [&str; 5] = ["ca", "client_ca", "credentials", "password_file", "token_file"];
/// Options of a PostgreSQL URL that are such files.
const URL_FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

/// Reports everything that is missing or unusable.
///
/// # Panics
/// Outside a tokio runtime.
pub(super) fn check(written: &Value, data_dir: &Path) -> Vec<Found> {
    let mut look = Look { data_dir, found: Vec::new() };
    look.data_dir();
    look.value(written, &mut Vec::new());
    look.found
}

struct Look<'a> {
    data_dir: &'a Path,
    found: Vec<Found>,
}

impl Look<'_> {
    fn say(&mut self, path: &[String], message: String) {
        self.found.push(Found { path: path.to_owned(), part: Part::Value, message });
    }

    fn data_dir(&mut self) {
        if let Err(message) = can_be_written(self.data_dir) {
            self.say(&["data_dir".to_owned()], message);
        }
    }

    fn value(&mut self, value: &Value, path: &mut KeyPath) {
        match value {
            Value::Object(entries) => {
                self.section(value, path);
                for (key, entry) in entries {
                    path.push(key.clone());
                    self.entry(key, entry, path);
                    self.value(entry, path);
                    path.pop();
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.value(item, path);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    fn entry(&mut self, key: &str, value: &Value, path: &[String]) {
        match (key, value) {
            ("tls", Value::Object(_)) => self.certificate(value, path),
            ("listen", Value::String(text)) => self.address(text, path),
            (key, Value::String(file)) if FILES.contains(&key) => self.file(Path::new(file), path),
            ("url", Value::String(url)) => self.files_of_url(url, path),
            _ => {}
        }
    }

    /// Checks that involve several keys of a section.
    fn section(&mut self, section: &Value, path: &KeyPath) {
        let below = |key: &str| [path.clone(), vec![key.to_owned()]].concat();
        match section["kind"].as_str() {
            Some("exec") => self.program(section, &below("command")),
            Some("sqlite" | "dashboard") => self.database(section, &below("path")),
            _ => {}
        }
    }

    /// Reads certificate and key as a listener does, by creating one on a port that the system chooses.
    fn certificate(&mut self, tls: &Value, path: &[String]) {
        let Ok(tls) = Tls::deserialize(tls) else { return };
        let cx = BuildContext::detached("check", self.data_dir);
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        if let Err(error) = Server::bind(anywhere, Some(&tls), Limits::default(), &cx) {
            // The place of the problem names the key already.
            let message = Chain(&error).to_string();
            self.say(path, message.trim_start_matches("tls: ").to_owned());
        }
    }

    /// An address that is in use may be in use by the very server that this configuration is for.
    fn address(&mut self, text: &str, path: &[String]) {
        let Ok(address) = text.parse::<SocketAddr>() else { return };
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let Err(error) = socket.and_then(|socket| socket.bind(address)) else { return };
        let message = match error.kind() {
            ErrorKind::AddrInUse => return,
            ErrorKind::AddrNotAvailable => format!(
                "{} is not an address of this machine; write one of its own, or 0.0.0.0 for all",
                address.ip()
            ),
            ErrorKind::PermissionDenied => format!(
                "the port {} needs a privilege; choose one above 1023, or give the program CAP_NET_BIND_SERVICE",
                address.port()
            ),
            _ => format!("cannot listen on {address}: {error}"),
        };
        self.say(path, message);
    }

    fn file(&mut self, file: &Path, path: &[String]) {
        if let Err(error) = File::open(file) {
            self.say(path, format!("cannot read the file {}: {error}", file.display()));
        }
    }

    fn files_of_url(&mut self, url: &str, path: &[String]) {
        let Some((_, options)) = url.split_once('?') else { return };
        for (key, file) in options.split('&').filter_map(|option| option.split_once('=')) {
            // The driver decodes an escaped path.
            if URL_FILES.contains(&key) && !file.contains('%') && file != "system" {
                self.file(Path::new(file), path);
            }
        }
    }

    fn program(&mut self, section: &Value, path: &[String]) {
        let Some(program) = section["command"][0].as_str().filter(|text| !text.is_empty()) else {
            return;
        };
        let directory = section["directory"].as_str().map(PathBuf::from);
        if let Some(directory) = directory.as_ref().filter(|directory| !directory.is_dir()) {
            let message = format!("{} is not a directory; create it", directory.display());
            return self.say(path, message);
        }
        if !can_be_run(program, directory.as_deref()) {
            let message = format!(
                "there is no program `{program}`, or it is not executable; install it, or write its path"
            );
            self.say(path, message);
        }
    }

    /// A database in the data directory is created with it; another directory must exist.
    fn database(&mut self, section: &Value, path: &[String]) {
        let Some(file) = section["path"].as_str() else { return };
        let file = self.data_dir.join(file);
        let Some(parent) = file.parent().filter(|parent| *parent != self.data_dir) else { return };
        if !parent.is_dir() {
            let message = format!("{} is not a directory; create it", parent.display());
            self.say(path, message);
        } else if let Err(message) = can_be_written(parent) {
            self.say(path, message);
        }
    }
}

/// Whether a directory can be written or created.
fn can_be_written(directory: &Path) -> Result<(), String> {
    let ancestors = directory.ancestors().map(|path| match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    });
    let mut there = ancestors.skip_while(|path| fs::symlink_metadata(path).is_err());
    let Some(first) = there.next() else { return Ok(()) };
    let shown = first.display();
    if !first.is_dir() {
        return Err(format!("{shown} is not a directory; choose another, or remove it"));
    }
    access(first, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        format!("cannot write to the directory {shown}: {error}; is it owned by the user that runs the server?")
    })
}

/// Whether this program exists, in `PATH` if it is a bare name.
fn can_be_run(program: &str, directory: Option<&Path>) -> bool {
    let runs = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return runs(&directory.unwrap_or(Path::new("")).join(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| runs(&directory.join(program)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(written: &Value, data_dir: &Path) -> Vec<String> {
        let found = check(written, data_dir);
        found
            .into_iter()
            .map(|found| format!("{}: {}", found.path.join("."), found.message))
            .collect()
    }

    #[tokio::test]
    async fn existing_resources_are_not_reported() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let written = json!({
            "admin": {"listen": "127.0.0.1:0"},
            "handlers": {"a": {"kind": "exec", "command": ["sh", "-c"], "directory": dir.path()}},
            "receivers": {
                "b": {"kind": "sqlite", "path": "metrics.db"},
                "c": {"kind": "postgres", "url": format!("postgres://x/y?sslrootcert={}", file.display())},
            },
            "bus": {"nats": {"credentials": file}},
        });
        assert_eq!(found(&written, &dir.path().join("made/later")), [""; 0]);
    }

    #[tokio::test]
    async fn missing_resources_are_reported_where_they_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("file");
        fs::write(&taken, "not a certificate").unwrap();
        let written = json!({
            "handlers": {
                "a": {"kind": "exec", "command": ["poa-no-such-program"]},
                "b": {"listen": "192.0.2.1:4002", "tls": {"cert": taken, "key": taken}},
                "c": {"tls": {"cert": "/nonexistent/cert.pem", "key": "/nonexistent/key.pem"}},
            },
            "receivers": {
                "d": {"kind": "sqlite", "path": "/nonexistent/metrics.db"},
                "e": {"kind": "postgres", "url": "postgres://x/y?sslmode=verify-full&sslcert=/nonexistent/c"},
            },
            "auth": {"admins": [{"name": "a", "password_file": "/nonexistent/password"}]},
        });
        let mut found = found(&written, &taken.join("data"));
        found.sort();
        let starts = [
            "auth.admins.0.password_file: cannot read the file /nonexistent/password",
            "data_dir: ",
            "handlers.a.command: there is no program `poa-no-such-program`",
            "handlers.b.listen: 192.0.2.1 is not an address of this machine",
            "handlers.b.tls: ",
            "handlers.c.tls: ",
            "receivers.d.path: /nonexistent is not a directory; create it",
            "receivers.e.url: cannot read the file /nonexistent/c",
        ];
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found} / {start}");
        }
        assert_eq!(found.len(), starts.len(), "{found:#?}");
    }
}
