//! The identity of this host among those that write to the same table.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use poa_core::{BuildContext, BuildError, files};

/// The file in the data directory. It belongs to the log: a host that lost both has no message to deliver twice.
const FILE: &str = "dynamodb-host-id";

/// Returns the id of the host with this data directory; the first call creates it.
///
/// # Errors
/// When the file cannot be read or written.
pub(crate) async fn host_id(cx: &BuildContext) -> Result<String, BuildError> {
    let dir = cx.data_dir().to_owned();
    let asked = tokio::task::spawn_blocking(move || (read_or_make(&dir), dir)).await;
    let (id, dir) = asked
        .map_err(|error| BuildError::failed("the id of the host is lost").with_source(error))?;
    id.map_err(|error| {
        let message = format!(
            "cannot read or write `{}`; give it back to the user of the host",
            dir.join(FILE).display()
        );
        BuildError::failed(message).with_source(error)
    })
}

/// Receivers of one host can call this concurrently, and all get the same id.
fn read_or_make(dir: &Path) -> io::Result<String> {
    let path = dir.join(FILE);
    if let Some(id) = read(&path)? {
        return Ok(id);
    }
    let id = format!("{:032x}", fastrand::u128(..));
    let made = dir.join(format!("{FILE}.{id}"));
    write(&made, &id)?;
    // Unlike a rename, a link never replaces a file.
    let linked = fs::hard_link(&made, &path);
    fs::remove_file(&made)?;
    // A host that lost its id in a power cut would take its own items for those of another host.
    if cfg!(unix) {
        fs::File::open(dir)?.sync_all()?;
    }
    match read(&path)? {
        Some(id) => Ok(id),
        None => Err(linked.err().unwrap_or_else(|| io::ErrorKind::NotFound.into())),
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file that only its owner can read, and syncs it before it gets its name.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = files::private().write(true).create(true).truncate(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stays_and_belongs_to_the_directory() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = read_or_make(one.path()).unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(read_or_make(one.path()).unwrap(), id);
        assert_ne!(read_or_make(other.path()).unwrap(), id);
        let files = fs::read_dir(one.path()).unwrap().count();
        assert_eq!(files, 1, "what it was made of is gone");
    }

    #[test]
    fn receivers_that_ask_at_once_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let ask = |_| {
            let path = dir.path().to_owned();
            std::thread::spawn(move || read_or_make(&path).unwrap())
        };
        let asking: Vec<_> = (0..8).map(ask).collect();
        let mut ids: Vec<_> = asking.into_iter().map(|thread| thread.join().unwrap()).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
    }

    #[tokio::test]
    async fn a_directory_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let cx = BuildContext::detached("blocks", dir.path().join("missing"));
        let error = host_id(&cx).await.unwrap_err().to_string();
        assert!(error.contains("cannot read or write `"), "{error}");
    }
}
