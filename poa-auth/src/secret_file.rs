//! Secrets that are generated once and kept in files that only their owner can read.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use poa_core::files;

/// The text in the file at `path`. A missing file is created with the result of `generate`.
///
/// Two processes that start at the same time agree: the file appears whole, or not at all, and is never
/// replaced.
pub(crate) fn read_or_generate(
    path: &Path,
    generate: impl FnOnce() -> String,
) -> io::Result<String> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(path, &generate())?;
            read(path)
        }
        read => read,
    }
}

/// The text in the file at `path`, if there is one.
pub(crate) fn existing(path: &Path) -> io::Result<Option<String>> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        let message = "the file is empty; delete it to have a new secret generated";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    files::make_private(path)?;
    Ok(text.to_owned())
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    // Created with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_directory(directory),
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(failed) => Err(failed.error),
    }
}

/// Makes the name of a new file as durable as its content, if the directory can be opened.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_generated_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert_eq!(read_or_generate(&path, || "one".to_owned()).unwrap(), "one");
        assert_eq!(read_or_generate(&path, || unreachable!("it exists")).unwrap(), "one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn two_processes_that_generate_it_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = read_or_generate(&path, || {
            create(&path, "theirs").unwrap();
            "ours".to_owned()
        });
        assert_eq!(made.unwrap(), "theirs");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        read_or_generate(&path, || "one".to_owned()).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        read_or_generate(&path, || unreachable!("it exists")).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn an_empty_file_is_an_error_with_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "\n").unwrap();
        let error = read_or_generate(&path, || unreachable!("it exists")).unwrap_err();
        assert!(error.to_string().contains("delete it"), "{error}");
    }
}
