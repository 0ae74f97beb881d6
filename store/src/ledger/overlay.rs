//! A file whose changes stay in memory: redb writes to a ledger even if it is only looked at.

use super::sums::PAGE;
use crate::vfs::{VfsRandom, VfsRead};
use gstore_core::locked;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard};

pub(super) struct Overlay {
    base: Box<dyn VfsRead>,
    state: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    len: u64,
    /// Bytes of the file that count; beyond them there are zeros.
    base: u64,
    /// Changed pages, whole.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn new(base: Box<dyn VfsRead>) -> io::Result<Overlay> {
        let len = base.len()?;
        Ok(Overlay { base, state: Mutex::new(Changes { len, base: len, pages: BTreeMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        locked(&self.state)
    }

    fn page(&self, state: &Changes, page: u64) -> io::Result<Vec<u8>> {
        if let Some(bytes) = state.pages.get(&page) {
            return Ok(bytes.clone());
        }
        let mut bytes = vec![0; PAGE as usize];
        let there = PAGE.min(state.base.saturating_sub(page * PAGE)) as usize;
        match bytes.get_mut(..there) {
            Some(part) if there > 0 => self.base.read_at(part, page * PAGE)?,
            _ => {}
        }
        Ok(bytes)
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("len", &self.lock().len).finish_non_exhaustive()
    }
}

/// The pages of a range: number, first byte in the page, first byte in the buffer, length.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let page = at / PAGE;
        let n = end.min((page + 1) * PAGE).checked_sub(at).filter(|n| *n > 0)?;
        let part = (page, (at % PAGE) as usize, (at - offset) as usize, n as usize);
        at += n;
        Some(part)
    })
}

impl VfsRead for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.lock();
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, from, to, n) in parts(offset, buf.len()) {
            let bytes = self.page(&state, page)?;
            if let (Some(out), Some(part)) = (buf.get_mut(to..to + n), bytes.get(from..from + n)) {
                out.copy_from_slice(part);
            }
        }
        Ok(())
    }
}

impl VfsRandom for Overlay {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock();
        for (page, to, from, n) in parts(offset, data.len()) {
            let mut bytes = self.page(&state, page)?;
            if let (Some(out), Some(part)) = (bytes.get_mut(to..to + n), data.get(from..from + n)) {
                out.copy_from_slice(part);
            }
            state.pages.insert(page, bytes);
        }
        state.len = state.len.max(offset + data.len() as u64);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        if len < state.len {
            let last = len / PAGE;
            let mut bytes = self.page(&state, last)?;
            bytes.iter_mut().skip((len % PAGE) as usize).for_each(|b| *b = 0);
            state.pages.split_off(&last);
            state.pages.insert(last, bytes);
            state.base = state.base.min(last * PAGE);
        }
        state.len = len;
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl VfsRead for Bytes {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            buf.copy_from_slice(&self.0[offset as usize..][..buf.len()]);
            Ok(())
        }
    }

    #[test]
    fn it_reads_like_a_file_that_was_changed() {
        let mut expected: Vec<u8> = (0..10_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let file = Overlay::new(Box::new(Bytes(expected.clone()))).unwrap();
        let check = |expected: &[u8]| {
            let mut all = vec![1; file.len().unwrap() as usize];
            file.read_at(&mut all, 0).unwrap();
            assert!(all == expected, "{} and {}", all.len(), expected.len());
            assert!(file.read_at(&mut [0], expected.len() as u64).is_err());
        };
        check(&expected);
        for (offset, n) in [(0, 320), (4090, 10), (8191, 1), (100, 9000), (4096, 4096)] {
            file.write_at(&vec![n as u8; n], offset as u64).unwrap();
            expected[offset..offset + n].fill(n as u8);
            check(&expected);
        }
        for len in [9000, 20_000, 4097, 8192, 8192, 12_288, 0, 5000] {
            file.set_len(len as u64).unwrap();
            expected.resize(len, 0);
            check(&expected);
        }
    }
}
