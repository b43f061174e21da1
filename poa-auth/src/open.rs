//! Builds an [`Auth`] from a configuration.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use poa_core::config::Problem;
use poa_core::{BoxError, files};
use quick_cache::sync::Cache;

use crate::admins::Admins;
use crate::auth::{Auth, Inner};
use crate::backing::Backing;
use crate::contact::Contact;
use crate::directory::{Directory, Members};
use crate::name::url_safe;
use crate::password::Hasher;
use crate::queue::Queue;
use crate::secret_file::read_or_generate;
use crate::store::{Store, StoreError};
use crate::token::Tokens;
use crate::trusted::Trusted;
use crate::{AuthConfig, verdict};

pub(crate) const DATABASE_FILE: &str = "auth.db";
pub(crate) const KEY_FILE: &str = "secret_key";
/// The length of a generated key: 64 random bytes as Base64, as much as HS512 can use.
pub(crate) const KEY_LENGTH: usize = 86;
/// Keys shorter than this can be guessed offline.
const SHORT_KEY: usize = 32;

/// The reason why authentication is not available. The text names the thing, the cause and the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration has these problems.
    #[error("the configuration of [auth] is not valid: {}", list(.0))]
    Config(Vec<Problem>),
    /// The data directory cannot be created.
    #[error("cannot create the data directory {path}; is its parent writable?")]
    DataDir {
        /// The path of the directory.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file in the data directory cannot be read or created.
    #[error("cannot read or create {path}; does this user own it?")]
    SecretFile {
        /// The path of the file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The password file of an admin cannot be read.
    #[error("cannot read the password of admin `{admin}` from {path}")]
    PasswordFile {
        /// The name of the admin.
        admin: String,
        /// The path of the file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "{path} has version {found}, and this program knows versions up to {known}; use a newer program"
    )]
    NewerDatabase {
        /// The path of the database.
        path: String,
        /// Its version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The database is damaged, or not a database.
    #[error(
        "the database of users {path} is damaged; restore it from a backup, or move it away to start without users"
    )]
    Damaged {
        /// The path of the database.
        path: String,
        /// The damage that was found.
        #[source]
        source: BoxError,
    },
    /// The database cannot be opened.
    #[error(
        "cannot open the database of users {path}; is the disk full, or does another user own the file?"
    )]
    Database {
        /// The path of the database.
        path: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().enumerate().fold(String::new(), |mut text, (index, problem)| {
        let _ = write!(text, "{}{problem}", if index == 0 { "" } else { "; " });
        text
    })
}

impl Auth {
    /// Opens the database in `data_dir`; creates directory, database and secrets at the first start. Spawns nothing.
    ///
    /// Blocks for some milliseconds; on an async thread, call it with `spawn_blocking`, or before any request is served.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: AuthConfig, data_dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        let auth = Self::prepare(config, data_dir)?;
        auth.use_database()?;
        Ok(auth)
    }

    /// Reads the admins, but no users: [`use_database`](Self::use_database) or [`share`](Self::share) loads them later. Until then no
    /// token is accepted. Creates the directory at the first start. Spawns nothing, and blocks as [`open`](Self::open) does.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn prepare(config: AuthConfig, data_dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        let problems = config.validate();
        if !problems.is_empty() {
            return Err(OpenError::Config(problems));
        }
        let data_dir = data_dir.as_ref();
        files::make_private_dir(data_dir).map_err(|source| OpenError::DataDir {
            path: data_dir.display().to_string(),
            source,
        })?;
        // Before anything is created there.
        let lost_users = lost_users(&data_dir.join(DATABASE_FILE), data_dir);
        let dummy_hash = config.hash_cost.dummy();
        let admins = Admins::open(&config.admins, data_dir, dummy_hash.clone())?;
        Ok(Self(Arc::new(Inner {
            tokens: OnceLock::new(),
            directory: Directory::new(Members::default()),
            issued: Mutex::default(),
            verified: Cache::new(verdict::CACHED),
            store: Mutex::new(Backing::None),
            contact: Contact::default(),
            contact_limit: config.trust_without_contact.get(),
            lost_users,
            data_dir: data_dir.to_owned(),
            admins,
            queue: Queue::new(concurrent_hashes()),
            trusted: Trusted::new(),
            hasher: Hasher::new(config.hash_cost),
            dummy_hash,
            metrics: OnceLock::new(),
            config,
        })))
    }

    /// Takes users from the database in the data directory, and creates it at the first start. Blocks as [`open`](Self::open) does.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn use_database(&self) -> Result<(), OpenError> {
        let Inner { data_dir, lost_users, .. } = &*self.0;
        if let Some(lost) = lost_users {
            tracing::error!("{lost}");
        }
        let key = match self.0.configured_key() {
            Some(key) => key,
            None => generated_key(data_dir)?,
        };
        let (store, members) = open_store(&data_dir.join(DATABASE_FILE))?;
        self.0.set_key(&key);
        self.0.directory.revoke(|mirror| *mirror = members);
        *self.0.store.lock() = Backing::Database(store);
        Ok(())
    }
}

impl Inner {
    /// The key of the configuration.
    pub(crate) fn configured_key(&self) -> Option<String> {
        let key = self.config.secret_key.as_ref()?;
        if key.expose().len() < SHORT_KEY {
            tracing::warn!(
                "auth.secret_key is short and may be guessed; use at least 64 random characters"
            );
        }
        Some(key.expose().to_owned())
    }

    /// Signs and verifies tokens with this key from now on.
    pub(crate) fn set_key(&self, key: &str) {
        let AuthConfig { issuer, token_ttl, .. } = &self.config;
        // The first key stays: it can be set only once.
        let _ = self.tokens.set(Tokens::new(issuer, key, token_ttl.get()));
    }
}

/// One hash keeps one core busy, and takes 19 MiB. Half of the cores are reserved for other work.
pub(crate) fn concurrent_hashes() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// A warning if the users of a directory that was in use are missing.
fn lost_users(database: &Path, data_dir: &Path) -> Option<String> {
    let size = std::fs::metadata(database).map(|file| file.len());
    let found = match size {
        Ok(0) => "is empty",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is missing",
        _ => return None,
    };
    // Each of these files is created after the database, or together with it.
    let in_use =
        ["log", "admin_password", KEY_FILE].iter().any(|name| data_dir.join(name).exists());
    in_use.then(|| {
        format!(
            "{} {found}, although {} was in use before: there are no users, and all tokens are refused; \
             stop, restore the file from a backup, or add the users again",
            database.display(),
            data_dir.display(),
        )
    })
}

fn generated_key(data_dir: &Path) -> Result<String, OpenError> {
    let path = data_dir.join(KEY_FILE);
    read_or_generate(&path, || url_safe(KEY_LENGTH))
        .map_err(|source| OpenError::SecretFile { path: path.display().to_string(), source })
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn open_store(path: &Path) -> Result<(Store, Members), OpenError> {
    let failed = |error| {
        let path = path.display().to_string();
        match error {
            StoreError::Newer { found, known } => OpenError::NewerDatabase { path, found, known },
            StoreError::File(source) => OpenError::Database { path, source: source.into() },
            StoreError::Database(source) if is_damage(&source) => {
                OpenError::Damaged { path, source: source.into() }
            }
            StoreError::Database(source) => OpenError::Database { path, source: source.into() },
            StoreError::Damaged(found) => OpenError::Damaged { path, source: found.into() },
        }
    };
    let store = Store::open(path).map_err(failed)?;
    let members = store.members().map_err(|error| failed(error.into()))?;
    Ok((store, members))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_users_are_reported_and_a_first_start_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join(DATABASE_FILE);
        let lost = || lost_users(&database, dir.path());
        assert_eq!(lost(), None);
        std::fs::write(dir.path().join(KEY_FILE), "x").unwrap();
        assert!(lost().unwrap().contains("is missing, although"));
        std::fs::write(&database, "").unwrap();
        assert!(lost().unwrap().contains("is empty, although"));
        std::fs::write(&database, "SQLite").unwrap();
        assert_eq!(lost(), None);
    }

    #[test]
    fn a_damaged_database_is_named_with_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let opened = || Auth::open(AuthConfig::default(), dir.path()).map(|_| ());
        opened().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        for name in ["auth.db-wal", "auth.db-shm"] {
            let _ = std::fs::remove_file(dir.path().join(name));
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.clone();
        bytes[..16].fill(b'x');
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(opened(), Err(OpenError::Damaged { .. })));
        // The header is valid, and a page of the tables is not.
        let mut bytes = whole;
        let page = bytes.len() - 4096;
        bytes[page..].fill(0xff);
        std::fs::write(&path, &bytes).unwrap();
        let error = opened().unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("move it away"), "{error}");
    }
}
