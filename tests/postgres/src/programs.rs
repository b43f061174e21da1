//! The programs of PostgreSQL, and the user that runs them.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ClusterError;

/// `nobody` and its group. PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

/// A directory with `initdb`, `postgres` and `pg_ctl`.
#[derive(Clone, Debug)]
pub struct Programs(PathBuf);

impl Programs {
    /// Those in `POA_TEST_POSTGRES_BIN`, in PATH, or where Debian puts them, the newest first.
    ///
    /// # Errors
    /// When there are none.
    pub fn find() -> Result<Self, ClusterError> {
        let named = env::var_os("POA_TEST_POSTGRES_BIN").map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        let known = named.into_iter().chain(env::split_paths(&path)).chain(debian());
        let initdb = known.into_iter().find_map(|dir| dir.join("initdb").canonicalize().ok());
        // A directory in PATH may have links to some of them only.
        let directory = initdb.as_deref().and_then(Path::parent).map(Path::to_owned);
        directory.map(Self).ok_or(ClusterError::NoPrograms)
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// A command that runs one of the programs, as a user other than root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.0.join(program));
        as_nobody(&mut command);
        // A language of messages that this crate reads.
        command.env("LC_ALL", "C").current_dir("/");
        command
    }

    /// Runs one of the programs to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<(), ClusterError> {
        let output = self.command(program).args(args).output();
        let output = output.map_err(ClusterError::io(format!("cannot run {program}")))?;
        if output.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(ClusterError::Refused { program: self.0.join(program), output })
    }
}

/// Has a command run as a user other than root.
pub(crate) fn as_nobody(command: &mut Command) {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// Debian keeps a directory for each major version.
fn debian() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    found.sort_by_key(|path| std::cmp::Reverse(major(path)));
    found
}

fn major(bin: &Path) -> u32 {
    let version = bin.parent().and_then(Path::file_name).and_then(OsStr::to_str);
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a path to whom the programs run as.
pub(crate) fn hand_over(path: &Path) -> Result<(), ClusterError> {
    if !is_root() {
        return Ok(());
    }
    let failed =
        ClusterError::io(format!("cannot give {} to the unprivileged user", path.display()));
    chown(path, Some(NOBODY), Some(NOBODY)).map_err(failed)
}
