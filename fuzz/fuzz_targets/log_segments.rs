//! A log whose file was changed: opening and reading it never panics, positions grow, and a log that opens takes records that are there after
//! the next opening.

#![no_main]

use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use poa_log::{Directory, Group, Log, LogError, Options, Position};

/// Two bytes of a position and one that the byte there is combined with.
const EDIT: usize = 3;

fn open(dir: &tempfile::TempDir) -> Option<(Log<Directory>, usize, Position)> {
    let directory = Directory::open(dir.path()).expect("a directory");
    let options = Options::default().segment_bytes(4096).fill_bytes(512);
    let (log, _) = Log::open(directory, options).ok()?;
    let mut reader = log.reader(log.begin());
    let (mut count, mut last) = (0, log.begin());
    loop {
        let next = match reader.next() {
            Ok(Some(entry)) => {
                assert!(entry.position >= last && entry.next > entry.position);
                count += 1;
                entry.next
            }
            Ok(None) => return Some((log, count, last)),
            Err(LogError::Damaged { position, resume, .. }) => {
                let next = resume.unwrap_or(log.end());
                assert!(next > position, "a reader that skips damage continues after it");
                reader.skip_to(next);
                next
            }
            Err(_) => return None,
        };
        last = next;
    }
}

fn append(log: &mut Log<Directory>, records: impl IntoIterator<Item = usize>) {
    let mut group = Group::new();
    for length in records {
        group.push(|records| records.resize(records.len() + length, 7));
    }
    if !group.is_empty() {
        log.append(&group).expect("the disk has room");
    }
}

fn segments(dir: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path()).expect("a directory");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (lengths, edits) = input;
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open(&dir).expect("a new log opens");
    for groups in lengths.chunks(4).take(16) {
        append(&mut log, groups.iter().map(|length| usize::from(*length) * 4));
    }
    drop(log);
    for path in segments(&dir).iter().filter(|path| path.is_file()) {
        let mut bytes = fs::read(path).expect("a segment");
        for edit in edits.chunks_exact(EDIT) {
            let at = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
            match bytes.get_mut(at) {
                Some(byte) => *byte ^= edit[2],
                None => bytes.truncate(at % (bytes.len() + 1)),
            }
        }
        fs::write(path, bytes).expect("the disk has room");
    }
    let Some((mut log, ..)) = open(&dir) else { return };
    append(&mut log, [9]);
    drop(log);
    let (_, count, _) = open(&dir).expect("a log that opened opens again");
    assert!(count >= 1, "the record that was appended is there");
});
