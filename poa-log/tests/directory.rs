//! The log in a real directory.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use poa_log::{Directory, Group, Log, LogError, Options, Position};

fn open(path: &Path) -> Result<(Log<Directory>, poa_log::Recovered), LogError> {
    Log::open(Directory::open(path).unwrap(), Options::default().segment_bytes(1000))
}

fn group(text: &str) -> Group {
    let mut group = Group::new();
    group.push(|bytes| bytes.extend_from_slice(text.as_bytes()));
    group
}

fn texts(log: &Log<Directory>) -> Vec<String> {
    let mut reader = log.reader(Position::START);
    let mut texts = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        texts.push(String::from_utf8(entry.payload.to_vec()).unwrap());
    }
    texts
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn appended_records_survive_reopening_and_only_their_owner_can_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (mut log, _) = open(&path).unwrap();
    log.append(&group("one")).unwrap();
    drop(log);
    let (mut log, recovered) = open(&path).unwrap();
    assert_eq!(recovered.torn_bytes, 0);
    log.append(&group("two")).unwrap();
    assert_eq!(texts(&log), ["one", "two"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&segments(&path)[0])), (0o700, 0o600));
}

#[test]
fn a_torn_tail_is_cut_reported_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    log.append(&group("whole")).unwrap();
    let end = log.end();
    log.append(&group("torn")).unwrap();
    drop(log);
    let file = fs::File::options().write(true).open(&segments(dir.path())[0]).unwrap();
    // The last byte of the second record: after the header, both frames and the texts.
    std::os::unix::fs::FileExt::write_all_at(&file, b"?", 16 + end.get() + 8 + 3).unwrap();
    let (mut log, recovered) = open(dir.path()).unwrap();
    assert_eq!(recovered.torn_bytes, 8 + 4);
    let kept = fs::read(dir.path().join(recovered.kept_in.unwrap())).unwrap();
    assert!(kept.ends_with(b"tor?"));
    log.append(&group("next")).unwrap();
    assert_eq!(texts(&log), ["whole", "next"]);
}

#[test]
fn another_format_is_refused_and_left_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    log.append(&group("one")).unwrap();
    drop(log);
    let segment = &segments(dir.path())[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[4] = 9;
    fs::write(segment, &bytes).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, LogError::UnknownFormat { found: 9, .. }), "{error}");
    assert_eq!(fs::read(segment).unwrap(), bytes);

    bytes[0] = b'x';
    fs::write(segment, &bytes).unwrap();
    assert!(matches!(open(dir.path()), Err(LogError::NotALog { .. })));
}

#[test]
fn space_is_released_a_segment_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    for n in 0..10 {
        log.append(&group(&format!("{n}{}", "x".repeat(400)))).unwrap();
    }
    assert_eq!(segments(dir.path()).len(), 5);
    log.discard_before(log.end()).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    assert_eq!(texts(&log).len(), 2);
}

#[test]
fn damage_in_an_older_segment_is_reported_and_can_be_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    for n in 0..4 {
        log.append(&group(&format!("{n}{}", "x".repeat(400)))).unwrap();
    }
    let file = fs::File::options().write(true).open(&segments(dir.path())[0]).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"?", 100).unwrap();
    let mut reader = log.reader(Position::START);
    let Err(LogError::Damaged { position, resume: Some(resume), .. }) = reader.next() else {
        panic!("the damage was not detected")
    };
    assert_eq!(position, Position::START);
    reader.skip_to(resume);
    let left =
        [reader.next().unwrap().unwrap().payload[0], reader.next().unwrap().unwrap().payload[0]];
    assert_eq!(left, *b"12", "one record is lost, not its segment");
}

#[test]
fn damage_before_the_last_record_is_reported_and_nothing_after_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    let first = group("first");
    log.append(&first).unwrap();
    log.append(&group("second")).unwrap();
    log.append(&group("third")).unwrap();
    drop(log);
    let segment = &segments(dir.path())[0];
    let file = fs::File::options().write(true).open(segment).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"?", 16 + first.bytes().len() as u64).unwrap();
    let damaged = fs::read(segment).unwrap();
    // Every time, even before anything new is written.
    for _ in 0..2 {
        let (log, recovered) = open(dir.path()).unwrap();
        assert_eq!((recovered.damaged_bytes, recovered.torn_bytes), (8 + 6, 0));
        let mut reader = log.reader(Position::START);
        assert_eq!(reader.next().unwrap().unwrap().payload, b"first");
        let Err(LogError::Damaged { resume: Some(resume), .. }) = reader.next() else {
            panic!("the damage was not detected")
        };
        reader.skip_to(resume);
        assert_eq!(reader.next().unwrap().unwrap().payload, b"third");
        assert!(reader.next().unwrap().is_none());
    }
    let (mut log, _) = open(dir.path()).unwrap();
    log.append(&group("fourth")).unwrap();
    drop(log);
    let (log, recovered) = open(dir.path()).unwrap();
    assert_eq!(recovered, poa_log::Recovered::default(), "reported once");
    let mut reader = log.reader(Position::START);
    reader.next().unwrap();
    let Err(LogError::Damaged { resume: Some(resume), .. }) = reader.next() else {
        panic!("the damage was not detected")
    };
    reader.skip_to(resume);
    let texts = [0, 1].map(|_| reader.next().unwrap().unwrap().payload.to_vec());
    assert_eq!(texts, [b"third".to_vec(), b"fourth".to_vec()]);
    assert_eq!(fs::read(segment).unwrap(), damaged, "kept unchanged");
}

#[test]
fn nothing_is_acknowledged_in_a_file_that_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (mut log, _) = open(&path).unwrap();
    log.append(&group("one")).unwrap();
    fs::remove_file(&segments(&path)[0]).unwrap();
    let error = log.append(&group("lost")).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("was removed"), "{error}: {cause}");
    // The directory is still there, so the next group is in a new file.
    let two = log.append(&group("two")).unwrap();
    let mut reader = log.reader(two);
    assert_eq!(reader.next().unwrap().unwrap().payload, b"two");
    fs::remove_dir_all(&path).unwrap();
    for text in ["lost", "lost, too"] {
        log.append(&group(text)).unwrap_err();
    }
}
