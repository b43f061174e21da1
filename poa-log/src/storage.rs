//! The storage of the log's files. A trait, so that tests can simulate power cuts.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A flat directory of files.
pub trait Storage: Send + Sync + 'static {
    /// A file open for writing.
    type Writer: WriteAt;
    /// A file open for reading.
    type File: ReadAt;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates an empty file, replacing one of the same name. The name need not survive a crash before
    /// [`sync_names`](Self::sync_names).
    ///
    /// # Errors
    /// When the file cannot be created.
    fn create(&self, name: &str) -> io::Result<Self::Writer>;

    /// Opens a file to write to it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    fn write(&self, name: &str) -> io::Result<Self::Writer>;

    /// Opens a file to read it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Removes a file.
    ///
    /// # Errors
    /// When the file cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names of files durable: those created and those removed.
    ///
    /// # Errors
    /// When the names may not be durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file open for writing.
pub trait WriteAt: Send + 'static {
    /// Writes all bytes at this offset.
    ///
    /// # Errors
    /// When not all bytes were written; some may have been.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the written bytes durable.
    ///
    /// # Errors
    /// When the bytes may not be durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Truncates the file.
    ///
    /// # Errors
    /// When the file does not have this length afterwards.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
}

/// A file open for reading.
pub trait ReadAt: Send + 'static {
    /// Reads into the buffer from this offset; fewer bytes only at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The length of the file.
    ///
    /// # Errors
    /// When the length cannot be determined.
    fn len(&self) -> io::Result<u64>;

    /// True when the file is empty.
    ///
    /// # Errors
    /// When the length cannot be determined.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A directory of the file system. Only its owner can access its files.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Opens a directory, and creates it if it is missing.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        make_dir(&path)?;
        Ok(Self(path))
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Creates a directory, and its parents, that only its owner can access, if it is missing. It survives a
/// power cut.
///
/// # Errors
/// When it cannot be created, or may not survive a power cut.
pub fn make_dir(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().skip(1).take_while(|dir| !dir.exists());
    let made: Vec<_> = std::iter::once(path).chain(missing).collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    // The name of each is in its parent, whose permissions may only allow traversal.
    made.into_iter().filter_map(Path::parent).try_for_each(|above| match sync_dir(above) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    })
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// A file of a directory, open for writing.
#[derive(Debug)]
pub struct Written {
    file: File,
    /// Whether the file system counts the names of a file.
    counts_names: bool,
}

impl Written {
    fn of(file: File) -> io::Result<Self> {
        let counts_names = file.metadata()?.nlink() > 0;
        Ok(Self { file, counts_names })
    }

    /// A file without a name is gone as soon as it is closed, whatever was synced.
    fn check_name(&self) -> io::Result<()> {
        if self.counts_names && self.file.metadata()?.nlink() == 0 {
            return Err(io::Error::other("the file was removed while the log is in use"));
        }
        Ok(())
    }
}

impl Storage for Directory {
    type Writer = Written;
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.0)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn create(&self, name: &str) -> io::Result<Written> {
        let path = self.0.join(name);
        let mut options = OpenOptions::new();
        Written::of(options.create(true).write(true).truncate(true).mode(0o600).open(path)?)
    }

    fn write(&self, name: &str) -> io::Result<Written> {
        Written::of(OpenOptions::new().write(true).open(self.0.join(name))?)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.0.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_dir(&self.0)
    }
}

impl WriteAt for Written {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.check_name()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match std::os::unix::fs::FileExt::read_at(
                self,
                &mut buffer[read..],
                offset + read as u64,
            ) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
