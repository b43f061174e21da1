//! The file operations of a program, as recorded by `recorder.c`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One call of the program, which succeeded.
#[derive(Debug)]
pub(crate) enum Step {
    /// A file that was there was opened by this name.
    Opened {
        file: u64,
        name: String,
    },
    /// An empty file was made.
    Created {
        file: u64,
        name: String,
    },
    Written {
        file: u64,
        at: usize,
        bytes: Vec<u8>,
    },
    /// A file was cut, or grew by zeros.
    Cut {
        file: u64,
        len: usize,
    },
    /// The data written to the file is durable.
    Synced {
        file: u64,
    },
    Unlinked {
        name: String,
    },
    Renamed {
        from: String,
        to: String,
    },
    Linked {
        from: String,
        to: String,
    },
    Directory {
        name: String,
    },
    /// The names in the directory are on the disk, and these are all, with the numbers of their files.
    SyncedDirectory {
        name: String,
        entries: Vec<(u64, String)>,
    },
}

/// The record of one run.
pub(crate) struct Record {
    recorder: PathBuf,
    file: PathBuf,
    root: PathBuf,
}

impl Record {
    /// Of a program yet to be started, about what it does below `root`; everything is kept in `dir`.
    pub(crate) fn new(dir: &Path, root: &Path) -> Self {
        let file = dir.join("record");
        fs::write(&file, b"").unwrap();
        Self { recorder: recorder(dir), file, root: root.to_owned() }
    }

    /// Has the program record what it does.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_PRELOAD", &self.recorder)
            .env("POA_RECORD", &self.file)
            .env("POA_RECORD_ROOT", &self.root);
        command
    }

    /// How long it is by now, in bytes: what was done before is in them.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(fs::metadata(&self.file).unwrap().len()).unwrap()
    }

    /// All steps, each with the length of the record after it.
    pub(crate) fn steps(&self) -> Vec<(usize, Step)> {
        let bytes = fs::read(&self.file).unwrap();
        assert!(
            !bytes.is_empty(),
            "nothing was recorded: the program has not loaded {}; is its directory mounted `noexec`? (set TMPDIR to another one)",
            self.recorder.display()
        );
        let mut rest = Rest { bytes: &bytes, at: 0 };
        let mut steps = Vec::new();
        while rest.at < bytes.len() {
            let step = rest.step();
            steps.push((rest.at, step));
        }
        steps
    }
}

/// Builds the library that records.
fn recorder(dir: &Path) -> PathBuf {
    let library = dir.join("recorder.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_cut/recorder.c");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-pthread"]);
    let built = compiler.arg("-o").arg(&library).arg(source).output();
    let built = built.unwrap_or_else(|error| panic!("no `cc`: {error}; install a C compiler"));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

/// The part that was not read yet.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    fn step(&mut self) -> Step {
        let [kind, file, at, name, data] = [(); 5].map(|()| self.number());
        let size = |n: u64| usize::try_from(n).unwrap();
        let name = self.text(size(name));
        let bytes = self.take(size(data)).to_vec();
        let pair = || {
            let (from, to) = name.split_once('\0').unwrap();
            (from.to_owned(), to.to_owned())
        };
        match kind {
            1 => Step::Opened { file, name },
            2 => Step::Created { file, name },
            3 => Step::Written { file, at: size(at), bytes },
            4 => Step::Cut { file, len: size(at) },
            5 => Step::Synced { file },
            6 => Step::Unlinked { name },
            7 => {
                let (from, to) = pair();
                Step::Renamed { from, to }
            }
            8 => {
                let (from, to) = pair();
                Step::Linked { from, to }
            }
            9 => Step::Directory { name },
            10 => Step::SyncedDirectory { name, entries: entries(&bytes) },
            other => panic!("no step is of kind {other}"),
        }
    }

    fn number(&mut self) -> u64 {
        u64::from_ne_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self, len: usize) -> String {
        String::from_utf8(self.take(len).to_vec()).unwrap()
    }

    fn take(&mut self, len: usize) -> &[u8] {
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        taken
    }
}

/// `number name\0` each.
fn entries(list: &[u8]) -> Vec<(u64, String)> {
    let entries = list.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    let entry = |entry| {
        let (number, name) = std::str::from_utf8(entry).unwrap().split_once(' ').unwrap();
        (number.parse().unwrap(), name.to_owned())
    };
    entries.map(entry).collect()
}
