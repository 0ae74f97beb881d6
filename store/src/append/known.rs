//! Known ids of a dataset during an append: those of its live rows, from the ledger, and the new ones.

use crate::error::{AppendError, StorageError};
use crate::ledger::{Ledger, LedgerEntry, LedgerError, Unusable};
use crate::manifest::DatasetPart;
use crate::store::{Snapshot, Store};
use crate::tombstones::ids::IdDigest;
use crate::tombstones::{DeletedIds, LiveRows};
use gstore_core::{Cancel, Progress, Silent};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What a dataset has of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredId {
    /// A live sample.
    Live(LedgerEntry),
    /// A sample that was deleted: its row, while a file has that, and the digest of its id, if the list
    /// of deleted ids has it.
    Deleted(Option<u64>, Option<IdDigest>),
    /// Nothing: it never was there, or its sample was lost by damage.
    Nothing,
}

/// Needs the writer lock. Memory: the ids that were added, about 100 bytes each and the ids themselves, and 72
/// more and the ledger's pages while it takes them; 16 bytes for each run of deleted rows; 24 bytes for every
/// 256 ids of the list of deleted ids; about 50 bytes for each deleted id that was left out.
pub(super) struct KnownIds {
    store: Store,
    base: Arc<Snapshot>,
    /// The dataset as it was; `None` for a new one.
    part: Option<Arc<DatasetPart>>,
    rows: Option<LiveRows>,
    deleted: Option<DeletedIds>,
    /// `None` for a new dataset.
    ledger: Option<Ledger>,
    added: HashMap<String, LedgerEntry>,
    /// The deleted samples that were left out, as [`StoredId::Deleted`] has them.
    left_out: HashSet<(Option<u64>, Option<IdDigest>)>,
}

impl KnownIds {
    /// `None`: it was told to stop while the ledger was brought up to date.
    pub(super) fn open(
        store: &Store,
        base: &Arc<Snapshot>,
        part: Option<&Arc<DatasetPart>>,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<Option<KnownIds>, AppendError> {
        let mut ids = KnownIds {
            store: store.clone(),
            base: Arc::clone(base),
            part: part.cloned(),
            rows: None,
            deleted: None,
            ledger: None,
            added: HashMap::new(),
            left_out: HashSet::new(),
        };
        if let Some(part) = part {
            ids.rows = Some(base.rows_of(part)?);
            ids.deleted = DeletedIds::open(store.env(), part)?;
            ids.ledger = open_ledger(store, base, part, progress, cancel)?;
            if ids.ledger.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(ids))
    }

    /// A sample that was added before.
    pub(super) fn added(&self, id: &str) -> Option<LedgerEntry> {
        self.added.get(id).copied()
    }

    /// What the dataset has of an id. The ledger knows its last row, whether or not that is live.
    pub(super) fn stored(&mut self, id: &str) -> Result<StoredId, AppendError> {
        let (Some(ledger), Some(dataset)) = (&self.ledger, self.part.as_ref().map(|p| p.number)) else {
            return Ok(StoredId::Nothing);
        };
        let found = match ledger.get(dataset, id) {
            Ok(found) => found,
            // Damage shows when a page is first read.
            Err(_) => self.open_again()?.get(dataset, id).map_err(|e| {
                StorageError::io("look up an id in the index of ids", std::io::Error::other(e))
            })?,
        };
        let Some(rows) = &self.rows else { return Ok(StoredId::Nothing) };
        if let Some(known) = found.filter(|known| rows.live.contains(known.row)) {
            return Ok(StoredId::Live(known));
        }
        // A row that has a successor was not deleted itself: the successor is lost.
        let row = found.map(|known| known.row);
        let row = row.filter(|row| rows.deleted.contains(*row) && !rows.superseded.contains(*row));
        let digest = match &mut self.deleted {
            Some(list) => list.find(id)?,
            None => None,
        };
        Ok(if row.is_none() && digest.is_none() { StoredId::Nothing } else { StoredId::Deleted(row, digest) })
    }

    /// Rebuilds the ledger.
    fn open_again(&mut self) -> Result<&Ledger, AppendError> {
        let (Some(ledger), Some(part)) = (self.ledger.take(), &self.part) else {
            return Err(missing_ledger().into());
        };
        ledger.discard(&self.store.env().shared_vfs(), self.store.path())?;
        let ledger = open_ledger(&self.store, &self.base, part, &mut Silent, &Cancel::new())?;
        Ok(self.ledger.insert(ledger.ok_or_else(missing_ledger)?))
    }

    /// Remembers a new sample.
    pub(super) fn add(&mut self, id: &str, known: LedgerEntry) {
        self.added.insert(id.to_owned(), known);
    }

    /// Remembers that a deleted sample was left out; whether that is the first time.
    pub(super) fn leave_out(&mut self, stored: StoredId) -> bool {
        match stored {
            StoredId::Deleted(row, digest) => self.left_out.insert((row, digest)),
            StoredId::Live(_) | StoredId::Nothing => false,
        }
    }

    /// Brings the ledger up after the new samples were published. They are, whatever happens here: a ledger
    /// that is behind is updated by the next append.
    pub(super) fn published(&mut self, part: &DatasetPart, progress: &mut dyn Progress, cancel: &Cancel) {
        let vfs = self.store.env().shared_vfs();
        let fresh = self.ledger.is_none();
        let ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => match Ledger::open(&vfs, self.store.path(), self.base.root().store) {
                Ok(ledger) => ledger,
                Err(_) => return,
            },
        };
        let mut entries: Vec<(String, LedgerEntry)> = self.added.drain().collect();
        match ledger.add(part, &mut entries, fresh, progress, cancel) {
            Ok(()) => {}
            Err(Unusable::Cancelled(_)) => {
                progress.note("stopped: the samples are added, and the next add finishes the index of ids");
            }
            Err(_) => {
                let _ = ledger.discard(&vfs, self.store.path());
            }
        }
    }
}

pub(super) fn missing_ledger() -> StorageError {
    StorageError::io("rebuild the index of ids", std::io::Error::other("there is none"))
}

/// The ledger, brought up to date for a dataset, or `None` if it is told to stop. One that cannot be
/// brought up to date is rebuilt once.
fn open_ledger(
    store: &Store,
    base: &Snapshot,
    part: &DatasetPart,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<Option<Ledger>, AppendError> {
    let vfs = store.env().shared_vfs();
    let mut last = missing_ledger();
    for _ in 0..2 {
        let ledger = Ledger::open(&vfs, store.path(), base.root().store)?;
        // Mostly so; a reader of the samples takes time for each file.
        if ledger.agrees(part).unwrap_or(false) {
            return Ok(Some(ledger));
        }
        let reader = base.samples(part)?.stored();
        match ledger.catch_up(part, &reader, progress, cancel) {
            Ok(()) => return Ok(Some(ledger)),
            Err(LedgerError::Unusable(Unusable::Cancelled(_))) => return Ok(None),
            Err(LedgerError::Samples(e)) => return Err(e.into()),
            Err(LedgerError::Unusable(e)) => {
                last = StorageError::io("rebuild the index of ids", std::io::Error::other(e));
                ledger.discard(&vfs, store.path())?;
            }
        }
    }
    Err(last.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::{AppendOptions, AppendOutcome, IfDeleted};
    use crate::samples::NewSample;
    use crate::store::{WriterLock, change_of, publish};
    use crate::tombstones::bury;
    use gstore_core::{DatasetName, RowSet};
    use uuid::Uuid;

    fn push(store: &Store, samples: &[(&str, &[u8])]) -> Vec<AppendOutcome> {
        let name = DatasetName::try_from("pool").unwrap();
        let options = AppendOptions { if_deleted: IfDeleted::Restore, ..AppendOptions::default() };
        let mut append = store.append(&name, vec![], options).unwrap();
        let sample = |(id, record)| NewSample { id, record: Some(record), metadata: vec![] };
        let out = samples.iter().map(|s| append.push(sample(*s)).unwrap()).collect();
        append.finish().unwrap();
        out
    }

    fn part(store: &Store) -> DatasetPart {
        DatasetPart::clone(store.snapshot().unwrap().dataset("pool").unwrap())
    }

    fn delete(store: &Store, row: u64) {
        let lock = WriterLock::take(store).unwrap();
        let base = store.snapshot().unwrap();
        let mut part = part(store);
        bury(store.env(), &mut part, &RowSet::from_rows([row])).unwrap();
        let mut change = change_of(&base, "delete");
        change.datasets.push(part);
        publish(store, &lock, &base, change).unwrap();
    }

    fn is_sound(store: &Store) -> bool {
        let report = store.verify(Default::default(), &mut |_| {}).unwrap();
        report.is_sound() && report.notes.is_empty()
    }

    #[test]
    fn the_id_of_a_deleted_row_can_be_added_again_and_its_row_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        push(&store, &[("a", b"1"), ("b", b"2"), ("c", b"3")]);
        delete(&store, 1);
        assert!(is_sound(&store), "deleting leaves the ledger as it is");
        // The same content as the deleted one is new all the same.
        assert_eq!(
            push(&store, &[("b", b"2"), ("c", b"3")]),
            [AppendOutcome::Added(3), AppendOutcome::Unchanged(2)]
        );
        delete(&store, 3);
        assert_eq!(push(&store, &[("b", b"other")]), [AppendOutcome::Added(4)]);
        assert!(is_sound(&store));
        for _ in 0..2 {
            assert_eq!(
                push(&store, &[("b", b"other"), ("a", b"1")]),
                [AppendOutcome::Unchanged(4), AppendOutcome::Unchanged(0)]
            );
            // In a rebuilt ledger, the last row has the id.
            Ledger::remove(&store.env().shared_vfs(), store.path()).unwrap();
        }
        // A dataset without live rows.
        for row in [0, 2, 4] {
            delete(&store, row);
        }
        assert_eq!(push(&store, &[("a", b"1")]), [AppendOutcome::Added(5)]);
        assert!(is_sound(&store));
    }

    #[test]
    fn an_error_calls_the_ledger_what_verify_calls_it() {
        assert_eq!(missing_ledger().to_string(), "could not rebuild the index of ids: there is none");
    }

    #[test]
    fn merged_files_with_the_same_ids_need_no_new_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        push(&store, &[("a", b"1"), ("b", b"2")]);
        push(&store, &[("c", b"3")]);
        let before = part(&store);
        let mut after = before.clone();
        let mut file = after.files.remove(0);
        file.uuid = Uuid::new_v4();
        (file.end_row, file.rows) = (3, 3);
        after.files = vec![file];
        let id = store.snapshot().unwrap().root().store;
        let _lock = WriterLock::take(&store).unwrap();
        let ledger = Ledger::open(&store.env().shared_vfs(), store.path(), id).unwrap();
        assert!(ledger.agrees(&before).unwrap() && !ledger.agrees(&after).unwrap());
        assert!(!ledger.rebase(&after, &before).unwrap(), "it never reflected these files");
        assert!(ledger.agrees(&before).unwrap());
        assert!(ledger.rebase(&before, &after).unwrap());
        assert!(!ledger.agrees(&before).unwrap() && ledger.agrees(&after).unwrap());
        assert_eq!(ledger.get(before.number, "c").unwrap().map(|k| k.row), Some(2));
    }
}
