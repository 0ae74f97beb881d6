//! Comparing the ledger with the sample files.

use super::catalog::Catalog;
use super::report::Tally;
use crate::error::{Damage, OpenError, StorageError};
use crate::layout::names::LEDGER;
use crate::ledger::{Flaw, Ledger, LedgerEntry, Stamp, Unusable};
use crate::manifest::{Current, DatasetPart};
use crate::samples::{SampleReader, scan_known};
use crate::store::{Store, WriterLock};
use crate::tombstones::LiveRows;
use gstore_core::many;
use std::collections::HashSet;
use std::sync::Arc;

/// After this many ids it is said how far the work is, and looked at whether to stop.
const PIECE: u64 = 1000;

/// The datasets of the current snapshot.
fn current(catalog: &Catalog) -> impl Iterator<Item = &DatasetPart> {
    catalog.datasets.iter().take(catalog.current_datasets).map(|d| &d.part)
}

fn bytes_of(part: &DatasetPart) -> u64 {
    part.files.iter().map(|file| file.len).sum()
}

/// How many bytes of samples are compared with the ledger.
pub(super) fn bytes(catalog: &Catalog) -> u64 {
    current(catalog).map(bytes_of).sum()
}

/// Compares the ledger with those datasets whose files are sound, if no writer is at work.
///
/// The writer lock is held only at the start and at the end: if anything was written in between, what was
/// found counts for nothing.
pub(crate) fn ledger(store: &Store, catalog: &Catalog, sound: &HashSet<String>, tally: &mut Tally<'_>) {
    let before = match state(store) {
        Ok(Some(state)) => state,
        Ok(None) => return tally.notes.push("the index of ids was not compared: a writer is at work".into()),
        Err(e) => return tally.notes.push(format!("the index of ids was not compared: {e}")),
    };
    if Current::parse(&before.current).is_ok_and(|c| c.snapshot != catalog.current.snapshot) {
        return tally.notes.push("the index of ids was not compared: a writer came in the meantime".into());
    }
    let mut quiet = |_| {};
    let mut found = Tally::new(&mut quiet, None);
    let mut go_on = |bytes| {
        tally.read(bytes);
        !tally.stopped()
    };
    look(store, catalog, sound, &mut found, &mut go_on);
    let silent = found.problems.is_empty() && found.notes.is_empty();
    if silent || state(store).is_ok_and(|after| after.as_ref() == Some(&before)) {
        tally.take_in(found);
    } else {
        tally.notes.push("the index of ids was not compared: a writer came in the meantime".into());
    }
}

/// What must not change while the ledger is looked at.
#[derive(PartialEq, Eq)]
struct LedgerState {
    current: Vec<u8>,
    ledger: Stamp,
}

/// `None` while a writer is at work.
fn state(store: &Store) -> Result<Option<LedgerState>, OpenError> {
    let Some(_lock) = WriterLock::attempt(store, false)? else { return Ok(None) };
    let current = Current::read_bytes(store.env().vfs(), store.path())?;
    let ledger = Ledger::stamp(store.env().vfs(), store.path())
        .map_err(|e| StorageError::io(format!("read {LEDGER}"), e))?;
    Ok(Some(LedgerState { current, ledger }))
}

/// `go_on` learns how many bytes are done, and says whether to go on.
fn look(
    store: &Store,
    catalog: &Catalog,
    sound: &HashSet<String>,
    tally: &mut Tally<'_>,
    go_on: &mut dyn FnMut(u64) -> bool,
) {
    let id = catalog.current.store;
    match store.env().vfs().exists(&store.env().at(LEDGER)) {
        Ok(true) => {}
        Ok(false) => {
            if let Err(e) = Ledger::inspect_sums(store.env().vfs(), store.path(), id) {
                damaged(tally, &e);
            }
            return tally
                .notes
                .push("there is no index of ids; the next append makes one from the samples".into());
        }
        Err(e) => return tally.notes.push(format!("the index of ids was not compared: {e}")),
    }
    let ledger = match Ledger::inspect(&store.env().shared_vfs(), store.path(), id) {
        Ok(ledger) => ledger,
        Err(Flaw::Damaged(e)) => return damaged(tally, &e),
        // A crash while it is written leaves one that cannot be opened, so this alone is no damage.
        Err(Flaw::Unusable(e)) => {
            return tally.notes.push(format!(
                "the index of ids cannot be used ({e}); the next append makes one from the samples"
            ));
        }
    };
    let (mut behind, mut done) = (0, 0u64);
    for part in current(catalog).filter(|d| sound.contains(&d.name)) {
        match ledger.agrees(part) {
            Ok(true) => {
                if let Err(e) = compare(store, &ledger, part, tally, &mut |bytes| go_on(done + bytes)) {
                    report(tally, &format!("ids of dataset {}", part.name), "readable ones", &e.to_string());
                }
            }
            Ok(false) => behind += 1,
            Err(e) => {
                report(tally, &format!("state of dataset {}", part.name), "a readable one", &e.to_string())
            }
        }
        done += bytes_of(part);
    }
    if behind > 0 {
        tally.notes.push(format!(
            "the index of ids is behind {}, which is harmless: the next append brings it up from the samples",
            many(behind, "dataset")
        ));
    }
}

/// It was closed in order, and is not what it was then.
fn damaged(tally: &mut Tally<'_>, e: &StorageError) {
    tally.problem(LEDGER, e, None);
    tally.notes.push(
        "the index of ids: the next append finds the damage and builds it again from the samples".into(),
    );
}

fn report(tally: &mut Tally<'_>, what: &str, expected: &str, found: &str) {
    let e: StorageError = Damage::new(LEDGER, what, expected, found).into();
    tally.problem(LEDGER, &e, None);
    tally.notes.push(
        "the index of ids: remove ledger.redb, and the next append builds it again from the samples".into(),
    );
}

fn compare(
    store: &Store,
    ledger: &Ledger,
    part: &DatasetPart,
    tally: &mut Tally<'_>,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<(), Unusable> {
    // A bitmap that cannot be read was reported when the samples were verified.
    let Ok(rows) = LiveRows::read(store.env(), part) else { return Ok(()) };
    let reader = SampleReader::open(store.env(), part, Arc::clone(&rows.live), &part.files);
    let bytes_a_piece = PIECE.saturating_mul(bytes_of(part)) / rows.live.len().max(1);
    let mut live = 0u64;
    for sample in scan_known(&reader, 0) {
        // A file that cannot be read was reported when it was verified.
        let Ok((id, row, digest)) = sample else { return Ok(()) };
        if live.is_multiple_of(PIECE) && !go_on(live / PIECE * bytes_a_piece) {
            return Ok(());
        }
        live += 1;
        let found = ledger.get(part.number, &id)?;
        if found != Some(LedgerEntry { row, digest }) {
            let found = found
                .map_or_else(|| "nothing".to_owned(), |f| format!("row {} with digest {}", f.row, f.digest));
            let expected = format!("row {row} with digest {digest}");
            report(tally, &format!("id {id:?} of dataset {}", part.name), &expected, &found);
            return Ok(());
        }
    }
    // Each live row has its id; so with more entries than that, one of them has a different id.
    let entries = ledger.count_in(part.number, &rows.live)?;
    if entries != live {
        let what = format!("ids of live rows of dataset {}", part.name);
        report(tally, &what, &live.to_string(), &entries.to_string());
    }
    Ok(())
}
