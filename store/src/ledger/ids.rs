//! Content of the ledger, and catch-up with the sample files.

use super::{Ledger, LedgerError, Unusable, codec};
use crate::manifest::DatasetPart;
use crate::samples::{SampleReader, scan_known};
use gstore_core::{Cancel, Digest, Progress, RowSet, Unit};
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;
type CommittedTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Key: dataset number (u32 BE), id.
const IDS: Table = TableDefinition::new("ids");
/// Key: dataset number (u32 BE); the store's own entry has the key `store`.
const STATES: Table = TableDefinition::new("states");

const STORE_KEY: &[u8] = b"store";

/// One transaction for each stretch of this many rows bounds the memory of bringing a ledger up.
const STRETCH: usize = 100_000;

/// After this many ids it is said how far the work is, and looked at whether to stop.
const PIECE: usize = 1000;

/// What the work is called.
const STAGE: &str = "indexing ids";

/// The ledger's entry of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerEntry {
    pub row: u64,
    #[serde(with = "number")]
    pub digest: Digest,
}

/// A digest as the ledger has it: its number.
mod number {
    use super::{Deserialize, Digest};

    pub(super) fn serialize<S: serde::Serializer>(digest: &Digest, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u128(digest.number())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        u128::deserialize(d).map(Digest::new)
    }
}

/// Which sample files of a dataset the ledger reflects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReflectedFiles {
    files: u64,
    digest: u128,
    /// Rows of these files, deleted ones included.
    stored: u64,
}

impl ReflectedFiles {
    /// The state of a ledger that reflects the first files of a dataset.
    fn of(part: &DatasetPart, files: usize) -> ReflectedFiles {
        let mut hash = Xxh3::new();
        let mut stored = 0u64;
        for f in part.files.iter().take(files) {
            hash.update(f.uuid.as_bytes());
            hash.update(&f.first_row.to_le_bytes());
            hash.update(&f.end_row.to_le_bytes());
            stored = stored.saturating_add(f.rows);
        }
        ReflectedFiles { files: files as u64, digest: hash.digest128(), stored }
    }

    fn all(part: &DatasetPart) -> ReflectedFiles {
        Self::of(part, part.files.len())
    }
}

fn id_key(dataset: u32, id: &str) -> Vec<u8> {
    let mut key = dataset.to_be_bytes().to_vec();
    key.extend_from_slice(id.as_bytes());
    key
}

impl Ledger {
    /// The highest stored row that has an id. The dataset must be up to date; the row may be dead.
    pub(crate) fn get(&self, dataset: u32, id: &str) -> Result<Option<LedgerEntry>, Unusable> {
        self.with(|db| value(db, IDS, &id_key(dataset, id)))
    }

    /// How many ids of a dataset lead to rows of `rows`.
    pub(crate) fn count_in(&self, dataset: u32, rows: &RowSet) -> Result<u64, Unusable> {
        let mut n = 0;
        self.each_in(dataset, rows, |_, _| n += 1)?;
        Ok(n)
    }

    /// Ids that lead to some rows of a dataset, with these and in their order; at most `limit`. Reads all ids
    /// of the dataset.
    pub(crate) fn ids_of(
        &self,
        dataset: u32,
        rows: &RowSet,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, Unusable> {
        let mut out = Vec::new();
        self.each_in(dataset, rows, |id, row| {
            if out.len() < limit {
                out.push((row, String::from_utf8_lossy(id).into_owned()));
            }
        })?;
        out.sort_unstable();
        Ok(out)
    }

    /// Hands out id and row of every id of a dataset that leads to one of some rows.
    fn each_in(&self, dataset: u32, rows: &RowSet, mut take: impl FnMut(&[u8], u64)) -> Result<(), Unusable> {
        self.with(|db| {
            let Some(table) = open(db, IDS)? else { return Ok(()) };
            let prefix = dataset.to_be_bytes();
            for entry in table.range(prefix.as_slice()..).map_err(Unusable::new)? {
                let (key, value) = entry.map_err(Unusable::new)?;
                let Some(id) = key.value().strip_prefix(prefix.as_slice()) else { break };
                let known: LedgerEntry = codec::decode(key.value(), value.value()).map_err(Unusable::new)?;
                if rows.contains(known.row) {
                    take(id, known.row);
                }
            }
            Ok(())
        })
    }

    /// Whether the ledger reflects exactly the dataset's files; `Err` says what is wrong with it.
    pub(crate) fn agrees(&self, part: &DatasetPart) -> Result<bool, Unusable> {
        Ok(self.reflected(part)? == Some(part.files.len()))
    }

    /// How many of the dataset's files it reflects; `None` if those are not the first ones.
    fn reflected(&self, part: &DatasetPart) -> Result<Option<usize>, Unusable> {
        let state: Option<ReflectedFiles> = self.with(|db| value(db, STATES, &part.number.to_be_bytes()))?;
        let state = state.filter(|s| s.files <= part.files.len() as u64);
        Ok(state.filter(|s| *s == ReflectedFiles::of(part, s.files as usize)).map(|s| s.files as usize))
    }

    /// Brings a dataset up to date from its sample files. Rows come in ascending order, so an id that was
    /// used again leads to its last row. What was done when it is told to stop is done again by the next
    /// call.
    pub(crate) fn catch_up(
        &self,
        part: &DatasetPart,
        reader: &SampleReader,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), LedgerError> {
        let done = match self.reflected(part)? {
            Some(n) if n == part.files.len() => return Ok(()),
            Some(n) => n,
            None => {
                self.transaction(|txn| clear(txn, part.number))?;
                0
            }
        };
        progress.start(STAGE, part.files.iter().skip(done).map(|f| f.rows).sum(), Unit::Rows);
        let added = self.add_stored(part, done, reader, progress, cancel);
        progress.finish();
        added
    }

    /// Adds the ids of all but the first `done` files.
    fn add_stored(
        &self,
        part: &DatasetPart,
        done: usize,
        reader: &SampleReader,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), LedgerError> {
        let mut entries: Vec<(String, LedgerEntry)> = Vec::new();
        if let Some(first) = part.files.get(done).map(|f| f.first_row) {
            for sample in scan_known(reader, first) {
                let (id, row, digest) = sample?;
                entries.push((id, LedgerEntry { row, digest }));
                if entries.len().is_multiple_of(PIECE) {
                    cancel.check().map_err(Unusable::from)?;
                }
                if entries.len() >= STRETCH {
                    // The state is removed, so that a ledger left here is rebuilt. If it stayed, it would be
                    // valid again after a revert to its files, although ids already lead to later rows.
                    self.transaction(|txn| {
                        forget_state(txn, part.number)?;
                        insert(txn, part.number, &mut entries, progress, cancel)
                    })?;
                    entries.clear();
                }
            }
        }
        self.transaction(|txn| {
            insert(txn, part.number, &mut entries, progress, cancel)?;
            put_state(txn, part)
        })
        .map_err(Into::into)
    }

    /// Adds ids that were published just now, all of them or, if it is told to stop, none. `part` is the
    /// dataset with them; `fresh` if there was none before.
    pub(crate) fn add(
        &self,
        part: &DatasetPart,
        entries: &mut [(String, LedgerEntry)],
        fresh: bool,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), Unusable> {
        progress.start(STAGE, entries.len() as u64, Unit::Rows);
        let added = self.transaction(|txn| {
            if fresh {
                clear(txn, part.number)?;
            }
            insert(txn, part.number, entries, progress, cancel)?;
            put_state(txn, part)
        });
        progress.finish();
        added
    }

    /// Records other files for the same ids, after files were merged: `after` has no id that `before`
    /// does not have. Returns whether the ledger reflected `before`; if not, it is left as it is, and the
    /// next append brings it up.
    pub(crate) fn rebase(&self, before: &DatasetPart, after: &DatasetPart) -> Result<bool, Unusable> {
        if before.number != after.number || !self.agrees(before)? {
            return Ok(false);
        }
        self.transaction(|txn| put_state(txn, after))?;
        Ok(true)
    }

    fn transaction(&self, f: impl FnOnce(&WriteTransaction) -> Result<(), Unusable>) -> Result<(), Unusable> {
        self.with(|db| commit(db, f))
    }
}

/// What was committed last of a table; `None` before anything was.
fn open(db: &Database, table: Table) -> Result<Option<CommittedTable>, Unusable> {
    match db.begin_read().map_err(Unusable::new)?.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(Unusable::new(e)),
    }
}

fn value<T: DeserializeOwned>(db: &Database, table: Table, key: &[u8]) -> Result<Option<T>, Unusable> {
    let Some(table) = open(db, table)? else { return Ok(None) };
    match table.get(key).map_err(Unusable::new)? {
        Some(value) => codec::decode(key, value.value()).map(Some).map_err(Unusable::new),
        None => Ok(None),
    }
}

fn commit(db: &Database, f: impl FnOnce(&WriteTransaction) -> Result<(), Unusable>) -> Result<(), Unusable> {
    let mut txn = db.begin_write().map_err(Unusable::new)?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    f(&txn)?;
    txn.commit().map_err(Unusable::new)
}

fn put<T: Serialize>(txn: &WriteTransaction, key: &[u8], value: &T) -> Result<(), Unusable> {
    let bytes = codec::encode(key, value).map_err(Unusable::new)?;
    let mut table = txn.open_table(STATES).map_err(Unusable::new)?;
    table.insert(key, bytes.as_slice()).map_err(Unusable::new)?;
    Ok(())
}

fn put_state(txn: &WriteTransaction, part: &DatasetPart) -> Result<(), Unusable> {
    put(txn, &part.number.to_be_bytes(), &ReflectedFiles::all(part))
}

/// Inserts entries, of those with the same id the last one.
fn insert(
    txn: &WriteTransaction,
    dataset: u32,
    entries: &mut [(String, LedgerEntry)],
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<(), Unusable> {
    // In the order of the keys each page is changed once, while it is in the cache. Pieces are sorted first,
    // so that sorting can be told to stop: the whole is then runs, which are only merged.
    for piece in entries.chunks_mut(STRETCH) {
        cancel.check()?;
        sort(piece);
    }
    sort(entries);
    let mut table = txn.open_table(IDS).map_err(Unusable::new)?;
    for piece in entries.chunks(PIECE) {
        cancel.check()?;
        for (id, known) in piece {
            let key = id_key(dataset, id);
            let value = codec::encode(&key, known).map_err(Unusable::new)?;
            table.insert(key.as_slice(), value.as_slice()).map_err(Unusable::new)?;
        }
        progress.advance(piece.len() as u64);
    }
    Ok(())
}

/// Sorts entries by id; those with the same one stay in their order.
fn sort(entries: &mut [(String, LedgerEntry)]) {
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
}

/// Forgets which files of a dataset are reflected: none are until a state is put again.
fn forget_state(txn: &WriteTransaction, dataset: u32) -> Result<(), Unusable> {
    let mut table = txn.open_table(STATES).map_err(Unusable::new)?;
    table.remove(dataset.to_be_bytes().as_slice()).map_err(Unusable::new)?;
    Ok(())
}

/// Whether an entry of a dataset that is forgotten stays. One function: the tree is compiled for each.
fn kept(_: &[u8], _: &[u8]) -> bool {
    false
}

/// Forgets a dataset.
fn clear(txn: &WriteTransaction, dataset: u32) -> Result<(), Unusable> {
    let start = dataset.to_be_bytes();
    let end = dataset.checked_add(1).map(u32::to_be_bytes);
    forget_state(txn, dataset)?;
    let mut ids = txn.open_table(IDS).map_err(Unusable::new)?;
    match end {
        Some(end) => ids.retain_in(start.as_slice()..end.as_slice(), kept),
        None => ids.retain_in(start.as_slice().., kept),
    }
    .map_err(Unusable::new)
}

/// Writes the store's own entry into a new ledger.
pub(super) fn name_store(db: &Database, id: Uuid) -> Result<(), Unusable> {
    commit(db, |txn| put(txn, STORE_KEY, &id.as_u128()))
}

/// Whether it is the ledger of this store.
pub(super) fn check_store(db: &Database, id: Uuid) -> Result<(), Unusable> {
    let stored: Option<u128> = value(db, STATES, STORE_KEY)?;
    match stored {
        Some(stored) if stored == id.as_u128() => Ok(()),
        Some(_) => Err(Unusable::Failed("it belongs to another store".into())),
        None => Err(Unusable::Failed("it names no store".into())),
    }
}
