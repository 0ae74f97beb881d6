//! The ledger: an index for writers, from id to row and digest. Derived data: whatever it says follows from the sample files.
//!
//! Invariants
//! - opened only under the writer lock; readers never touch it
//! - for each dataset it records which prefix of the list of sample files it reflects (their number and the digest of
//!   their names and rows); entries beyond that are added, and if the prefix is not one the dataset starts anew
//! - written after `CURRENT`, so it is never ahead of what is published; a ledger that is missing, damaged, of another
//!   store or behind is brought up from the sample files, and no error of it is an error of the store

mod backend;
pub(crate) mod codec;

use crate::error::StorageError;
use crate::manifest::DatasetPart;
use crate::samples::SampleReader;
use crate::vfs::Vfs;
use backend::Backend;
use redb::{Builder, Database, ReadableDatabase, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

/// The file's name.
pub(crate) const LEDGER: &str = "ledger.redb";

/// Key: dataset number (u32 BE), id.
const IDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ids");
/// Key: dataset number (u32 BE); the store's own entry has the key `store`.
const STATES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("states");

const CACHE: usize = 64 << 20;

/// What the ledger knows of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub row: u64,
    pub digest: u128,
}

/// Which sample files of a dataset the ledger reflects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reflected {
    files: u64,
    digest: u128,
    ids: u64,
}

/// Why the ledger cannot be used. It is then made anew.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unusable(String);

impl Unusable {
    fn new(e: impl std::fmt::Display) -> Self {
        Unusable(e.to_string())
    }
}

/// Why the ledger could not be brought up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Samples(#[from] crate::error::ReadError),
}

pub(crate) struct Ledger {
    /// `None` after redb panicked: its own clean-up could panic again.
    db: Option<Database>,
}

/// A damaged page can make redb panic; an index that can be rebuilt must not take the process down.
fn guarded<T>(f: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(Unusable("redb panicked".into())))
}

fn files_digest(part: &DatasetPart, n: usize) -> u128 {
    let mut hash = Xxh3::new();
    for f in part.files.iter().take(n) {
        hash.update(f.uuid.as_bytes());
        hash.update(&f.first_row.to_le_bytes());
        hash.update(&f.end_row.to_le_bytes());
    }
    hash.digest128()
}

fn id_key(dataset: u32, id: &str) -> Vec<u8> {
    let mut key = dataset.to_be_bytes().to_vec();
    key.extend_from_slice(id.as_bytes());
    key
}

fn path_of(store: &Path) -> PathBuf {
    store.join(LEDGER)
}

impl Ledger {
    /// Opens the ledger; one that is damaged or belongs to another store is made anew.
    pub(crate) fn open(vfs: &Arc<dyn Vfs>, store: &Path, id: Uuid) -> Result<Ledger, StorageError> {
        let path = path_of(store);
        let io = |e| StorageError::io(format!("open {LEDGER}"), e);
        let existed = vfs.exists(&path).map_err(io)?;
        match Self::try_open(vfs, &path, id, existed) {
            Ok(ledger) if existed => Ok(ledger),
            Ok(ledger) => {
                vfs.sync_dir(store).map_err(io)?;
                Ok(ledger)
            }
            Err(_) => {
                Self::remove(vfs, store)?;
                let fresh =
                    Self::try_open(vfs, &path, id, false).map_err(|e| io(std::io::Error::other(e)))?;
                vfs.sync_dir(store).map_err(io)?;
                Ok(fresh)
            }
        }
    }

    /// Opens the ledger as it is.
    pub(crate) fn inspect(vfs: &Arc<dyn Vfs>, store: &Path, id: Uuid) -> Result<Ledger, Unusable> {
        Self::try_open(vfs, &path_of(store), id, true)
    }

    /// Removes the file, so that the next writer makes it anew.
    pub(crate) fn remove(vfs: &Arc<dyn Vfs>, store: &Path) -> Result<(), StorageError> {
        match vfs.remove(&path_of(store)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(StorageError::io(format!("replace {LEDGER}"), e))
            }
            _ => Ok(()),
        }
    }

    fn try_open(vfs: &Arc<dyn Vfs>, path: &Path, id: Uuid, existed: bool) -> Result<Ledger, Unusable> {
        let file = vfs.open_random(path).map_err(Unusable::new)?;
        let db = guarded(|| {
            let mut db = Builder::new()
                .set_cache_size(CACHE)
                .create_with_backend(Backend(file))
                .map_err(Unusable::new)?;
            // redb compares page digests only here. Without it a damaged branch page would make an id look new.
            if existed && !db.check_integrity().map_err(Unusable::new)? {
                return Err(Unusable("redb found damage".into()));
            }
            Ok(db)
        })?;
        let ledger = Ledger { db: Some(db) };
        match ledger.with(|db| check_store(db, id, existed)) {
            Ok(()) => Ok(ledger),
            Err(e) => {
                ledger.forget();
                Err(e)
            }
        }
    }

    fn with<T>(&self, f: impl FnOnce(&Database) -> Result<T, Unusable>) -> Result<T, Unusable> {
        match &self.db {
            Some(db) => guarded(|| f(db)),
            None => Err(Unusable("it was closed".into())),
        }
    }

    /// Closes it where closing could panic.
    fn forget(mut self) {
        if let Some(db) = self.db.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        }
    }

    /// How an id of a dataset is known. The dataset must be up to date.
    pub(crate) fn get(&self, dataset: u32, id: &str) -> Result<Option<Known>, Unusable> {
        let key = id_key(dataset, id);
        self.with(|db| {
            let read = db.begin_read().map_err(Unusable::new)?;
            let table = match read.open_table(IDS) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(e) => return Err(Unusable::new(e)),
            };
            match table.get(key.as_slice()).map_err(Unusable::new)? {
                Some(value) => codec::decode(&key, value.value()).map(Some).map_err(Unusable::new),
                None => Ok(None),
            }
        })
    }

    /// Whether the ledger reflects exactly the dataset's files; `Err` says what is wrong with it.
    pub(crate) fn agrees(&self, part: &DatasetPart) -> Result<bool, Unusable> {
        let state = self.reflected(part)?;
        Ok(state.is_some_and(|s| s.files == part.files.len() as u64 && s.ids == part.rows))
    }

    /// The recorded state, if it is a prefix of the dataset's files.
    fn reflected(&self, part: &DatasetPart) -> Result<Option<Reflected>, Unusable> {
        let key = part.number.to_be_bytes();
        let state: Option<Reflected> = self.with(|db| {
            let read = db.begin_read().map_err(Unusable::new)?;
            let table = match read.open_table(STATES) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(e) => return Err(Unusable::new(e)),
            };
            match table.get(key.as_slice()).map_err(Unusable::new)? {
                Some(value) => codec::decode(&key, value.value()).map(Some).map_err(Unusable::new),
                None => Ok(None),
            }
        })?;
        Ok(state.filter(|s| {
            s.files <= part.files.len() as u64 && s.digest == files_digest(part, s.files as usize)
        }))
    }

    /// Brings a dataset up to date from its sample files.
    pub(crate) fn catch_up(&self, part: &DatasetPart, reader: &SampleReader) -> Result<(), LedgerError> {
        let state = self.reflected(part)?;
        let (done, mut ids) = match &state {
            Some(s) if s.files == part.files.len() as u64 && s.ids == part.rows => return Ok(()),
            Some(s) => (s.files as usize, s.ids),
            None => {
                self.clear(part.number)?;
                (0, 0)
            }
        };
        let Some(first) = part.files.get(done).map(|f| f.first_row) else {
            // Same files, another count of ids: not to be trusted.
            self.clear(part.number)?;
            return self.catch_up(part, reader);
        };
        // One transaction for each stretch of rows bounds the memory; only the last one records the state.
        const STRETCH: usize = 100_000;
        let mut entries: Vec<(String, Known)> = Vec::new();
        for sample in crate::samples::scan_known(reader, first) {
            entries.push(sample?);
            if entries.len() >= STRETCH {
                ids += entries.len() as u64;
                self.write(part, &entries, None)?;
                entries.clear();
            }
        }
        ids += entries.len() as u64;
        self.write(part, &entries, Some(ids)).map_err(Into::into)
    }

    /// Adds ids that were published just now. `part` is the dataset with them.
    pub(crate) fn add(&self, part: &DatasetPart, entries: &[(String, Known)]) -> Result<(), Unusable> {
        self.write(part, entries, Some(part.rows))
    }

    fn clear(&self, dataset: u32) -> Result<(), Unusable> {
        self.transaction(|txn| {
            let end = dataset.checked_add(1).map(u32::to_be_bytes);
            let start = dataset.to_be_bytes();
            txn.open_table(STATES)
                .and_then(|mut t| Ok(t.remove(start.as_slice())?.is_some()))
                .map_err(Unusable::new)?;
            let mut ids = txn.open_table(IDS).map_err(Unusable::new)?;
            match end {
                Some(end) => ids.retain_in(start.as_slice()..end.as_slice(), |_, _| false),
                None => ids.retain_in(start.as_slice().., |_, _| false),
            }
            .map_err(Unusable::new)
        })
    }

    fn write(
        &self,
        part: &DatasetPart,
        entries: &[(String, Known)],
        ids: Option<u64>,
    ) -> Result<(), Unusable> {
        self.transaction(|txn| {
            let mut table = txn.open_table(IDS).map_err(Unusable::new)?;
            for (id, known) in entries {
                let key = id_key(part.number, id);
                let value = codec::encode(&key, known).map_err(Unusable::new)?;
                table.insert(key.as_slice(), value.as_slice()).map_err(Unusable::new)?;
            }
            drop(table);
            let Some(ids) = ids else { return Ok(()) };
            let files = part.files.len();
            let state = Reflected { files: files as u64, digest: files_digest(part, files), ids };
            put_state(txn, &part.number.to_be_bytes(), &state)
        })
    }

    fn transaction(&self, f: impl FnOnce(&WriteTransaction) -> Result<(), Unusable>) -> Result<(), Unusable> {
        self.with(|db| commit(db, f))
    }
}

fn commit(db: &Database, f: impl FnOnce(&WriteTransaction) -> Result<(), Unusable>) -> Result<(), Unusable> {
    let mut txn = db.begin_write().map_err(Unusable::new)?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    f(&txn)?;
    txn.commit().map_err(Unusable::new)
}

fn put_state<T: Serialize>(txn: &WriteTransaction, key: &[u8], value: &T) -> Result<(), Unusable> {
    let bytes = codec::encode(key, value).map_err(Unusable::new)?;
    let mut table = txn.open_table(STATES).map_err(Unusable::new)?;
    table.insert(key, bytes.as_slice()).map_err(Unusable::new)?;
    Ok(())
}

const STORE_KEY: &[u8] = b"store";

fn check_store(db: &Database, id: Uuid, existed: bool) -> Result<(), Unusable> {
    if !existed {
        return commit(db, |txn| put_state(txn, STORE_KEY, &id.as_u128()));
    }
    let read = db.begin_read().map_err(Unusable::new)?;
    let table = read.open_table(STATES).map_err(Unusable::new)?;
    let stored: u128 = match table.get(STORE_KEY).map_err(Unusable::new)? {
        Some(value) => codec::decode(STORE_KEY, value.value()).map_err(Unusable::new)?,
        None => return Err(Unusable("it names no store".into())),
    };
    if stored == id.as_u128() { Ok(()) } else { Err(Unusable("it belongs to another store".into())) }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        }
    }
}
