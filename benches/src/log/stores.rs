//! The stores that are compared.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use poa_log::{Directory, Group, Log, Options};

use super::Store;
use crate::Failure;

/// The yardstick first.
#[cfg(not(feature = "stores"))]
pub(super) const STORES: [&str; 2] = ["raw writes", "poa-log"];
#[cfg(feature = "stores")]
pub(super) const STORES: [&str; 4] = ["raw writes", "poa-log", "fjall", "redb"];

pub(super) fn open(kind: &str, dir: &Path) -> Result<Box<dyn Store>, Failure> {
    match kind {
        "raw writes" => Ok(Box::new(Raw::open(dir)?)),
        #[cfg(feature = "stores")]
        "fjall" => Ok(Box::new(others::Fjall::open(dir)?)),
        #[cfg(feature = "stores")]
        "redb" => Ok(Box::new(others::Redb::open(dir)?)),
        _ => Ok(Box::new(PoaLog::open(dir)?)),
    }
}

/// The upper bound for any store: one write and one fsync for each group, without support for reading.
struct Raw {
    file: File,
    buffer: Vec<u8>,
}

impl Raw {
    fn open(dir: &Path) -> Result<Self, Failure> {
        let file = File::options().create(true).append(true).open(dir.join("raw"))?;
        Ok(Self { file, buffer: Vec::new() })
    }
}

impl Store for Raw {
    fn commit(&mut self, records: &[Box<[u8]>]) -> Result<(), Failure> {
        self.buffer.clear();
        records.iter().for_each(|record| self.buffer.extend_from_slice(record));
        self.file.write_all(&self.buffer)?;
        Ok(self.file.sync_data()?)
    }
}

struct PoaLog {
    log: Log<Directory>,
    group: Group,
}

impl PoaLog {
    fn open(dir: &Path) -> Result<Self, Failure> {
        let (log, _) = Log::open(Directory::open(dir.join("log"))?, Options::default())?;
        Ok(Self { log, group: Group::new() })
    }
}

impl Store for PoaLog {
    fn commit(&mut self, records: &[Box<[u8]>]) -> Result<(), Failure> {
        self.group.clear();
        for record in records {
            self.group.push(|bytes| bytes.extend_from_slice(record));
        }
        self.log.append(&self.group)?;
        Ok(())
    }
}

#[cfg(feature = "stores")]
mod others {
    use std::path::Path;

    use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
    use redb::{ReadableTableMetadata as _, TableDefinition};

    use super::super::Store;
    use crate::Failure;

    pub(super) struct Fjall {
        database: Database,
        records: Keyspace,
        next: u64,
    }

    impl Fjall {
        pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
            let database = Database::builder(dir.join("fjall")).open()?;
            let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
            let next = records.last_key_value().map_or(Ok(0), |last| {
                let key: [u8; 8] = last.key()?.as_ref().try_into()?;
                Ok::<u64, Failure>(u64::from_be_bytes(key) + 1)
            })?;
            Ok(Self { database, records, next })
        }
    }

    impl Store for Fjall {
        fn commit(&mut self, records: &[Box<[u8]>]) -> Result<(), Failure> {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
            for record in records {
                batch.insert(&self.records, self.next.to_be_bytes(), &record[..]);
                self.next += 1;
            }
            Ok(batch.commit()?)
        }
    }

    const RECORDS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("records");

    pub(super) struct Redb {
        database: redb::Database,
        next: u64,
    }

    impl Redb {
        pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
            let database = redb::Database::create(dir.join("redb"))?;
            let write = database.begin_write()?;
            let next = write.open_table(RECORDS)?.len()?;
            write.commit()?;
            Ok(Self { database, next })
        }
    }

    impl Store for Redb {
        fn commit(&mut self, records: &[Box<[u8]>]) -> Result<(), Failure> {
            let write = self.database.begin_write()?;
            {
                let mut table = write.open_table(RECORDS)?;
                for record in records {
                    table.insert(self.next, &record[..])?;
                    self.next += 1;
                }
            }
            Ok(write.commit()?)
        }
    }
}
