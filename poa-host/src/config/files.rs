//! The texts a configuration consists of.

use std::io;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

use super::{Located, Position, Problems};

/// One text, and the file that holds it.
#[derive(Clone)]
pub(crate) struct Text {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
}

/// All texts of one configuration.
#[derive(Clone)]
pub(crate) struct Files {
    /// The file or directory that was named.
    pub(crate) named: PathBuf,
    /// The directory that relative paths start from.
    pub(crate) dir: PathBuf,
    pub(crate) texts: Vec<Text>,
}

impl Files {
    /// A text that is not in a file, or is not to be read from it.
    pub(crate) fn of_text(text: &str, file: &Path) -> Self {
        let dir = file.parent().unwrap_or(Path::new("")).to_owned();
        let text = Text { file: file.to_owned(), text: text.to_owned() };
        Self { named: file.to_owned(), dir, texts: vec![text] }
    }

    /// Reads a file, or all files of a directory whose names end in `.toml`, in the order of their names.
    ///
    /// # Errors
    /// When one cannot be read, or the directory has none.
    pub(crate) fn read(named: &Path) -> Result<Self, Problems> {
        if !named.is_dir() {
            return Ok(Self::of_text(&read(named)?, named));
        }
        let files = toml_files(named).map_err(|error| unreadable(named, &error))?;
        let texts = files.into_iter().map(|file| read(&file).map(|text| Text { file, text }));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        if texts.is_empty() {
            let message = "this directory has no file that ends in .toml; add one, or name a file with --config";
            return Err(Problems::whole(named, message.to_owned()));
        }
        Ok(Self { named: named.to_owned(), dir: named.to_owned(), texts })
    }
}

fn read(file: &Path) -> Result<String, Problems> {
    let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    String::from_utf8(bytes).map_err(|error| not_utf8(file, error.as_bytes(), error.utf8_error()))
}

fn unreadable(file: &Path, error: &io::Error) -> Problems {
    let message = format!("cannot read the file: {error}; name a readable file with --config");
    Problems::whole(file, message)
}

/// Says where, as the rest of the file may look right in an editor that guesses the encoding.
fn not_utf8(file: &Path, bytes: &[u8], error: Utf8Error) -> Problems {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let message = "the file is encoded in UTF-16; save it as UTF-8, in PowerShell with `Set-Content -Encoding utf8`";
        return Problems::whole(file, message.to_owned());
    }
    let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
    let (position, path) = (Position::of(&valid, valid.len()), String::new());
    let message = "this character is not encoded in UTF-8; save the file as UTF-8".to_owned();
    Problems::new(vec![Located { file: file.to_owned(), position, path, message }])
}

fn toml_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let file = entry?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // A symbolic link in a mounted ConfigMap leads to a file.
        if !hidden && file.extension().is_some_and(|end| end == "toml") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
