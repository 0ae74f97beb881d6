//! Pages of the ledger's file with known sums: a page is read as it was written, or refused.
//!
//! They are redb's storage, on the store's `Vfs`, so that injected faults reach it.
//!
//! Invariants
//! - every byte read is compared with the sum of its page; a page that differs is an error, and the
//!   file is not used again
//! - before the first change `ledger.sums` is removed, on the medium too; it is written again by `seal`,
//!   after all changes were flushed, and not at all if any operation failed: what a failed write or flush
//!   left on the medium is not known
//!
//! What a loss of power leaves, with changes since the last flush lost or reordered:
//! - before the first change: the file as it was, with or without `ledger.sums`, and both are right
//! - between the first change and the rename in `seal`: any mixture of old and new pages, and no
//!   `ledger.sums`, because its removal was flushed before. The next writer has redb check everything
//! - after the rename: the old name (nothing) or the new one; the file was flushed before, so it
//!   is what the sums say

use super::sums::{PAGE, PageSums, sum};
use crate::error::StorageError;
use crate::vfs::{Vfs, VfsRandom};
use gstore_core::locked;
use redb::StorageBackend;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use uuid::Uuid;

/// Where `ledger.sums` is.
#[derive(Debug)]
pub(super) struct Home {
    pub vfs: Arc<dyn Vfs>,
    pub store: PathBuf,
    pub id: Uuid,
}

/// The pages of a file. Clones share them: redb has one, and the ledger another, because what redb writes while
/// it closes comes before the sums.
#[derive(Debug, Clone)]
pub(super) struct Pages(Arc<SharedPages>);

#[derive(Debug)]
struct SharedPages {
    file: Box<dyn VfsRandom>,
    /// `None`: changes do not reach the medium.
    home: Option<Home>,
    state: Mutex<PagesState>,
}

#[derive(Debug)]
struct PagesState {
    sums: PageSums,
    /// `ledger.sums` is gone, and the file may differ from what it said.
    changed: bool,
    unsynced: bool,
    failed: bool,
}

impl PagesState {
    fn page(&self, page: u64) -> Option<u64> {
        self.sums.pages.get(usize::try_from(page).ok()?).copied()
    }

    /// Compares bytes that start at a page and end at one, or at the end of the file.
    fn compare(&self, first: u64, bytes: &[u8]) -> io::Result<()> {
        for (page, part) in (first..).zip(bytes.chunks(PAGE as usize)) {
            if self.page(page) != Some(sum(part)) {
                let detail = format!("the page at byte {} is not what was written there", page * PAGE);
                return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
            }
        }
        Ok(())
    }
}

impl Pages {
    pub(super) fn new(file: Box<dyn VfsRandom>, sums: PageSums, home: Option<Home>) -> Pages {
        let state = Mutex::new(PagesState { sums, changed: false, unsynced: false, failed: false });
        Pages(Arc::new(SharedPages { file, home, state }))
    }

    fn lock(&self) -> MutexGuard<'_, PagesState> {
        locked(&self.0.state)
    }

    /// Does something with the file. The first failure is final.
    fn with<T>(&self, f: impl FnOnce(&mut PagesState) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.lock();
        if state.failed {
            return Err(io::Error::other("an earlier operation on the index of ids failed"));
        }
        let result = f(&mut state);
        state.failed = result.is_err();
        result
    }

    /// Takes `ledger.sums` away before the first change.
    fn announce(&self, state: &mut PagesState) -> io::Result<()> {
        if state.changed {
            return Ok(());
        }
        if let Some(home) = &self.0.home {
            PageSums::remove(&*home.vfs, &home.store)?;
        }
        state.changed = true;
        Ok(())
    }

    /// The bytes of a page, compared.
    fn load(&self, state: &PagesState, page: u64) -> io::Result<Vec<u8>> {
        let start = page * PAGE;
        let mut bytes = vec![0; PAGE.min(state.sums.len.saturating_sub(start)) as usize];
        self.0.file.read_at(&mut bytes, start)?;
        state.compare(page, &bytes)?;
        Ok(bytes)
    }

    fn flush(&self, state: &mut PagesState) -> io::Result<()> {
        self.0.file.sync_data()?;
        state.unsynced = false;
        Ok(())
    }

    /// What the file holds is not to be trusted any more: it is not sealed.
    pub(super) fn give_up(&self) {
        self.lock().failed = true;
    }

    /// Writes `ledger.sums`. Called when redb is done with the file.
    pub(super) fn seal(&self) -> Result<(), StorageError> {
        let Some(home) = &self.0.home else { return Ok(()) };
        let mut state = self.lock();
        if state.failed || !state.changed {
            return Ok(());
        }
        if state.unsynced
            && let Err(e) = self.flush(&mut state)
        {
            state.failed = true;
            return Err(StorageError::io("flush the index of ids", e));
        }
        let written = state.sums.write(&*home.vfs, &home.store, home.id);
        // A change after this would have to take the sums away again.
        state.changed = written.is_err();
        written
    }
}

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.sums.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state| {
            let end = end_of(state, offset, out.len())?;
            let first = offset / PAGE;
            let start = first * PAGE;
            let stop = end.next_multiple_of(PAGE).min(state.sums.len);
            if (start, stop) == (offset, end) {
                self.0.file.read_at(out, offset)?;
                return state.compare(first, out);
            }
            let mut whole = vec![0; (stop - start) as usize];
            self.0.file.read_at(&mut whole, start)?;
            state.compare(first, &whole)?;
            let skip = (offset - start) as usize;
            let part = whole.get(skip..skip + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(part);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|state| {
            let end = end_of(state, offset, data.len())?;
            self.announce(state)?;
            let mut sums = Vec::with_capacity(data.len() / PAGE as usize + 2);
            let mut at = offset;
            while at < end {
                let page = at / PAGE;
                let stop = end.min((page + 1) * PAGE);
                let part = data
                    .get((at - offset) as usize..(stop - offset) as usize)
                    .ok_or(io::ErrorKind::UnexpectedEof)?;
                let skip = (at - page * PAGE) as usize;
                if skip == 0 && (part.len() as u64 == PAGE || stop == state.sums.len) {
                    sums.push((page, sum(part)));
                } else {
                    let mut bytes = self.load(state, page)?;
                    let slot = bytes.get_mut(skip..skip + part.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                    slot.copy_from_slice(part);
                    sums.push((page, sum(&bytes)));
                }
                at = stop;
            }
            state.unsynced = true;
            self.0.file.write_at(data, offset)?;
            for (page, sum) in sums {
                if let Some(slot) = state.sums.pages.get_mut(page as usize) {
                    *slot = sum;
                }
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state| {
            self.announce(state)?;
            let last = len / PAGE;
            let cut = len < state.sums.len && !len.is_multiple_of(PAGE);
            let kept = if cut { Some(self.load(state, last)?) } else { None };
            state.unsynced = true;
            self.0.file.set_len(len)?;
            state.sums.pages.resize(len.div_ceil(PAGE) as usize, sum(&[]));
            state.sums.len = len;
            let kept = kept.as_deref().and_then(|k| k.get(..(len % PAGE) as usize));
            if let (Some(kept), Some(slot)) = (kept, state.sums.pages.get_mut(last as usize)) {
                *slot = sum(kept);
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| self.flush(state))
    }
}

/// One past the last byte, if the file has that.
fn end_of(state: &PagesState, offset: u64, len: usize) -> io::Result<u64> {
    let end = offset.checked_add(len as u64).filter(|end| *end <= state.sums.len);
    end.ok_or_else(|| {
        let detail = format!("{len} bytes at byte {offset} of an index of ids of {} bytes", state.sums.len);
        io::Error::new(io::ErrorKind::UnexpectedEof, detail)
    })
}
