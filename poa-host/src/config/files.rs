//! The texts a configuration consists of.

use std::io;
use std::path::{Path, PathBuf};

use super::Problems;

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
        let failed = |file: &Path, error: io::Error| {
            let message =
                format!("cannot read the file: {error}; name a readable file with --config");
            Problems::whole(file, message)
        };
        if !named.is_dir() {
            let text = std::fs::read_to_string(named).map_err(|error| failed(named, error))?;
            return Ok(Self::of_text(&text, named));
        }
        let files = toml_files(named).map_err(|error| failed(named, error))?;
        let texts = files.into_iter().map(|file| match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Text { file, text }),
            Err(error) => Err(failed(&file, error)),
        });
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        if texts.is_empty() {
            let message = "this directory has no file that ends in .toml; add one, or name a file with --config";
            return Err(Problems::whole(named, message.to_owned()));
        }
        Ok(Self { named: named.to_owned(), dir: named.to_owned(), texts })
    }
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
