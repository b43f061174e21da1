//! A directory with a configuration.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The key that signs tokens, so that tests can sign their own.
pub const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Name and password of an admin.
pub const ADMIN: (&str, &str) = ("admin1", "password12345678");
/// Name and password of another one.
pub const ADMIN_2: (&str, &str) = ("admin2", "password87654321");
/// The data types of the configuration.
pub const METRICS: [&str; 3] = ["ethereum_metrics", "networking_metrics", "system_metrics"];

/// A directory of its own for one server, with a configuration on free ports. Removed on drop.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    data_dir: PathBuf,
}

impl Home {
    /// A home with one SQLite receiver, `local`, that stores in `metrics.db`.
    #[must_use]
    pub fn new() -> Self {
        Self::with(&sqlite("local", "metrics.db", ""))
    }

    /// A home with these receivers and other sections.
    #[must_use]
    pub fn with(sections: &str) -> Self {
        let dir = TempDir::with_prefix("poa-tests-").unwrap();
        let data_dir = dir.path().join("data");
        Self::build(dir, data_dir, sections)
    }

    /// A home whose server keeps its data elsewhere.
    #[must_use]
    pub fn with_data_in(data_dir: &Path, sections: &str) -> Self {
        Self::build(TempDir::with_prefix("poa-tests-").unwrap(), data_dir.to_owned(), sections)
    }

    /// A home of a node without handlers, with these sections.
    #[must_use]
    pub fn without_handlers(sections: &str) -> Self {
        let dir = TempDir::with_prefix("poa-tests-").unwrap();
        let data_dir = dir.path().join("data");
        fs::write(dir.path().join("poa.toml"), head(&data_dir) + sections).unwrap();
        Self { dir, data_dir }
    }

    fn build(dir: TempDir, data_dir: PathBuf, sections: &str) -> Self {
        fs::write(dir.path().join("poa.toml"), config(&data_dir, sections)).unwrap();
        Self { dir, data_dir }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("poa.toml")
    }

    /// Changes a setting of the whole host, another one for each `nth`, so that the next reload replaces the host.
    pub fn change_host(&self, nth: usize) {
        let text = fs::read_to_string(self.config()).unwrap();
        let rest: String = text
            .lines()
            .filter(|line| !line.starts_with("start_timeout"))
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(self.config(), format!("start_timeout = \"{}s\"\n{rest}", 20 + nth)).unwrap();
    }

    /// The log file of the server, for all starts one after the other.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// The log output of the server over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// A file in the data directory.
    #[must_use]
    pub fn data(&self, file: &str) -> PathBuf {
        self.data_dir.join(file)
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

/// The section of an SQLite receiver that gets everything; `more` are further lines of it.
#[must_use]
pub fn sqlite(name: &str, file: &str, more: &str) -> String {
    format!(
        "[receivers.{name}]\nkind = \"sqlite\"\npath = \"{file}\"\nsubscribe = {METRICS:?}\n{more}\n"
    )
}

fn config(data_dir: &Path, sections: &str) -> String {
    let handlers = "[handlers.rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\n\
                    [handlers.auth]\nkind = \"auth\"\nlisten = \"127.0.0.1:0\"\n";
    head(data_dir) + handlers + sections
}

fn head(data_dir: &Path) -> String {
    let admin = |(name, password): (&str, &str)| {
        format!("{{ name = \"{name}\", password = \"{password}\" }}")
    };
    format!(
        "data_dir = {data_dir:?}\nmetrics = {METRICS:?}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [auth]\nsecret_key = \"{KEY}\"\nadmins = [{}, {}]\n",
        admin(ADMIN),
        admin(ADMIN_2)
    )
}
