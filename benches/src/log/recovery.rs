//! The time to open a store that holds a gibibyte and was not closed, and its size.

use std::path::Path;
use std::time::Instant;

use super::RECORD;
use super::stores::{STORES, open};
use crate::Failure;
use crate::process::scratch;
use crate::report::table;

const BYTES: usize = 1 << 30;
const GROUP: usize = 4096;

pub(super) fn run() -> Result<(), Failure> {
    println!(
        "Opening a store with 1 GiB of records, written in groups of {GROUP}, after its process was killed\n"
    );
    let mut rows = Vec::new();
    for kind in STORES {
        let dir = scratch()?;
        let mut store = open(kind, dir.path())?;
        let records: Vec<Box<[u8]>> = (0..GROUP).map(|_| vec![0x55; RECORD].into()).collect();
        let begin = Instant::now();
        for _ in 0..BYTES / (GROUP * RECORD) {
            store.commit(&records)?;
        }
        let wrote = begin.elapsed().as_secs_f64();
        // The files of an open store are the same as those of a killed process. Closing a store writes more.
        let left = scratch()?;
        copy_dir(dir.path(), left.path())?;
        drop(store);
        let size = size_of_dir(left.path())? as f64 / BYTES as f64;
        let begin = Instant::now();
        drop(open(kind, left.path())?);
        rows.push(vec![
            kind.to_owned(),
            format!("{:.3}", begin.elapsed().as_secs_f64()),
            format!("{size:.2}"),
            format!("{:.0}", BYTES as f64 / 1e6 / wrote),
        ]);
    }
    table(&["store", "open, s", "bytes on disk/byte", "bulk append, MB/s"], &rows);
    Ok(())
}

fn copy_dir(from: &Path, to: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.metadata()?.is_dir() {
            std::fs::create_dir(&copy)?;
            copy_dir(&entry.path(), &copy)?;
        } else {
            std::fs::copy(entry.path(), &copy)?;
        }
    }
    Ok(())
}

fn size_of_dir(path: &Path) -> Result<u64, Failure> {
    let mut size = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size += if metadata.is_dir() { size_of_dir(&entry.path())? } else { metadata.len() };
    }
    Ok(size)
}
