//! The ledger: an index for writers, from id to row and digest.
//!
//! Derived data: whatever it says follows from the sample files.
//!
//! Invariants
//! - opened only under the writer lock; readers never touch it
//! - for each dataset it records which prefix of the list of sample files it reflects (their number and the
//!   digest of their names and rows); entries beyond that are added, and if they are no prefix the
//!   dataset's entries are rebuilt
//! - an id leads to the highest stored row that has it. Whether that row is live is for the caller to ask: a
//!   deleted one counts as none, and deleting rows leaves the ledger alone
//! - written after `CURRENT`, so it is never ahead of what is published; a ledger that is missing,
//!   damaged, of another store or behind is brought up to date from the sample files, and no error of it
//!   is an error of the store
//! - every page is compared with its sum when it is read, so opening a ledger takes the same time whatever it
//!   holds; only after a crash all of it is read once

pub(crate) mod codec;
mod ids;
mod overlay;
mod pages;
mod sums;

pub(crate) use ids::LedgerEntry;

use crate::error::{Damage, StorageError, is_medium};
use crate::layout::names::{LEDGER, SUMS};
use crate::vfs::{Vfs, VfsRandom, if_there};
use gstore_core::Cancelled;
use overlay::Overlay;
use pages::{Home, Pages};
use redb::{Builder, Database};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sums::{PAGE, PageSums, SumsFile};
use uuid::Uuid;

const CACHE: usize = 64 << 20;

/// Why the ledger cannot be used. It is then rebuilt, but for the last.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("redb panicked")]
    Panicked,
    #[error("{0}")]
    Failed(String),
    /// It is behind, and sound.
    #[error("it was told to stop")]
    Cancelled(#[from] Cancelled),
}

impl Unusable {
    fn new(e: impl std::fmt::Display) -> Self {
        Unusable::Failed(e.to_string())
    }
}

/// Why the ledger could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Samples(#[from] crate::error::ReadError),
}

/// Why the ledger cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Flaw {
    /// No crash leaves it so.
    #[error("{0}")]
    Damaged(StorageError),
    /// A crash may have left it so.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// The state of the files, for comparing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// No ledger.
    None,
    /// Length, and sums of the pages of `ledger.sums`.
    Closed(u64, Vec<u64>),
    /// Length, and sums of the pages of a ledger that was not closed in order.
    Left(u64, Vec<u64>),
}

/// An open ledger. Dropping it closes it, and writes `ledger.sums` if all went well.
pub(crate) struct Ledger {
    /// `None` once it is closed.
    db: Option<Database>,
    pages: Pages,
}

fn path_of(store: &Path) -> PathBuf {
    store.join(LEDGER)
}

impl Ledger {
    /// Opens the ledger; one that is damaged or belongs to another store is rebuilt. One that only this
    /// process cannot open, for want of a permission or with too many open files, stays as it is.
    pub(crate) fn open(vfs: &Arc<dyn Vfs>, store: &Path, id: Uuid) -> Result<Ledger, StorageError> {
        let io = |e| StorageError::io(format!("open {LEDGER}"), e);
        if vfs.exists(&path_of(store)).map_err(io)? {
            match vfs.open_random(&path_of(store)) {
                Ok(file) => {
                    if let Ok(ledger) = Self::open_existing(file, vfs, store, id) {
                        return Ok(ledger);
                    }
                }
                Err(e) if is_medium(&e) => {}
                Err(e) => return Err(io(e)),
            }
            Self::remove(vfs, store)?;
        }
        let file = vfs.open_random(&path_of(store)).map_err(io)?;
        let sums = PageSums { len: 0, pages: Vec::new() };
        let fresh = Self::start(file, sums, Self::home(vfs, store, id), |db| ids::name_store(db, id));
        fresh.map_err(|e| io(std::io::Error::other(e)))
    }

    fn home(vfs: &Arc<dyn Vfs>, store: &Path, id: Uuid) -> Option<Home> {
        Some(Home { vfs: Arc::clone(vfs), store: store.to_owned(), id })
    }

    fn open_existing(
        file: Box<dyn VfsRandom>,
        vfs: &Arc<dyn Vfs>,
        store: &Path,
        id: Uuid,
    ) -> Result<Ledger, Unusable> {
        let len = file.len().map_err(Unusable::new)?;
        let home = Self::home(vfs, store, id);
        match PageSums::read(&**vfs, store, id) {
            SumsFile::Sums(sums) if sums.len == len => {
                Self::start(file, sums, home, |db| ids::check_store(db, id))
            }
            SumsFile::Sums(sums) => Err(Unusable::new(wrong_length(sums.len, len))),
            SumsFile::Nothing | SumsFile::Damaged(_) => {
                let sums = PageSums::scan(&*file).map_err(Unusable::new)?;
                Self::start(file, sums, home, |db| check_all(db, id))
            }
        }
    }

    /// Opens the ledger as it is; nothing reaches the medium.
    pub(crate) fn inspect(vfs: &Arc<dyn Vfs>, store: &Path, id: Uuid) -> Result<Ledger, Flaw> {
        let unusable = |e| Flaw::Unusable(Unusable::new(e));
        let file = vfs.open(&path_of(store)).map_err(unusable)?;
        let now = PageSums::scan(&*file).map_err(unusable)?;
        let sealed = match PageSums::read(&**vfs, store, id) {
            SumsFile::Sums(sums) => Some(sums),
            SumsFile::Nothing => None,
            SumsFile::Damaged(e) => return Err(Flaw::Damaged(e)),
        };
        if let Some(sums) = &sealed {
            compare(sums, &now).map_err(|d| Flaw::Damaged(d.into()))?;
        }
        let file = Box::new(Overlay::new(file).map_err(unusable)?);
        let check = |db: &mut Database| match &sealed {
            Some(_) => ids::check_store(db, id),
            None => check_all(db, id),
        };
        Ok(Self::start(file, now, None, check)?)
    }

    /// What every writer that touches the ledger changes. Reads `ledger.sums`; where there is
    /// none, the whole ledger.
    pub(crate) fn stamp(vfs: &dyn Vfs, store: &Path) -> io::Result<Stamp> {
        let open = |name: &str| if_there(vfs.open(&store.join(name)));
        let Some(file) = open(LEDGER)? else { return Ok(Stamp::None) };
        if let Some(sums) = open(SUMS)? {
            return Ok(Stamp::Closed(file.len()?, PageSums::scan(&*sums)?.pages));
        }
        Ok(Stamp::Left(file.len()?, PageSums::scan(&*file)?.pages))
    }

    /// Whether `ledger.sums` is damaged, which no crash explains.
    pub(crate) fn inspect_sums(vfs: &dyn Vfs, store: &Path, id: Uuid) -> Result<(), StorageError> {
        match PageSums::read(vfs, store, id) {
            SumsFile::Damaged(e) => Err(e),
            _ => Ok(()),
        }
    }

    fn start(
        file: Box<dyn VfsRandom>,
        sums: PageSums,
        home: Option<Home>,
        check: impl FnOnce(&mut Database) -> Result<(), Unusable>,
    ) -> Result<Ledger, Unusable> {
        let pages = Pages::new(file, sums, home);
        let backend = pages.clone();
        let mut ledger = Ledger { db: None, pages };
        let opened = guarded(|| {
            Builder::new().set_cache_size(CACHE).create_with_backend(backend).map_err(Unusable::new)
        });
        // Whatever fails from here on: the file is not sealed.
        let checked = match (opened, &mut ledger.db) {
            (Ok(db), slot) => {
                let db = slot.insert(db);
                guarded(|| check(db))
            }
            (Err(e), _) => Err(e),
        };
        match checked {
            Ok(()) => Ok(ledger),
            Err(e) => {
                ledger.pages.give_up();
                Err(e)
            }
        }
    }

    /// Removes the file, so that the next writer rebuilds it. The sums go first: without a ledger they mean
    /// nothing, and with another one they would call it damaged.
    pub(crate) fn remove(vfs: &Arc<dyn Vfs>, store: &Path) -> Result<(), StorageError> {
        let io = |e| StorageError::io(format!("replace {LEDGER}"), e);
        PageSums::remove(&**vfs, store).map_err(io)?;
        if_there(vfs.remove(&path_of(store))).map(drop).map_err(io)
    }

    /// Closes it without sealing it and removes the file.
    pub(crate) fn discard(self, vfs: &Arc<dyn Vfs>, store: &Path) -> Result<(), StorageError> {
        self.pages.give_up();
        drop(self);
        Self::remove(vfs, store)
    }

    fn with<T>(&self, f: impl FnOnce(&Database) -> Result<T, Unusable>) -> Result<T, Unusable> {
        let Some(db) = &self.db else { return Err(Unusable::Failed("it was closed".into())) };
        let result = guarded(|| f(db));
        if matches!(result, Err(Unusable::Panicked)) {
            self.pages.give_up();
        }
        result
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        let closed = guarded(|| {
            drop(db);
            Ok(())
        });
        if closed.is_ok() && !std::thread::panicking() {
            // Without the sums the next writer checks everything; nothing else is lost.
            let _ = self.pages.seal();
        }
    }
}

/// Turns a panic of redb into an error: an index that can be rebuilt must not take the process down. With
/// verified pages redb meets only what it wrote itself, so none is expected; after a crash it reads pages that
/// are not verified.
fn guarded<T>(f: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
    crate::panics::caught(f).unwrap_or(Err(Unusable::Panicked))
}

/// Has redb compare all that can be reached: what a crash left is not verified.
fn check_all(db: &mut Database, id: Uuid) -> Result<(), Unusable> {
    if !db.check_integrity().map_err(Unusable::new)? {
        return Err(Unusable::Failed("redb found damage".into()));
    }
    ids::check_store(db, id)
}

fn wrong_length(expected: u64, found: u64) -> Damage {
    Damage::new(LEDGER, "length", format!("{expected} bytes, as {SUMS} says"), format!("{found} bytes"))
}

/// Compares a ledger that was closed in order with what it was then.
fn compare(sealed: &PageSums, now: &PageSums) -> Result<(), Damage> {
    if sealed.len != now.len {
        return Err(wrong_length(sealed.len, now.len));
    }
    let mut bad = sealed.pages.iter().zip(&now.pages).zip(0u64..).filter(|((a, b), _)| a != b);
    match bad.next() {
        None => Ok(()),
        Some(((expected, found), page)) => {
            let more = bad.count();
            let what = if more == 0 { "page".to_owned() } else { format!("page (and {more} others)") };
            let d = Damage::new(LEDGER, what, format!("{expected:016x}"), format!("{found:016x}"));
            Err(d.at(page * PAGE))
        }
    }
}
