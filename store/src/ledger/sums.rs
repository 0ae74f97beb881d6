//! `ledger.sums`: sums of every page of a ledger that was closed in order.
//!
//! It is what makes opening a large ledger cheap: a page is compared when it is read, and nothing has to be
//! read before.
//!
//! Layout, little-endian: `GSLSUMS\n` | version u32, 1 | page size u32, 4096 | UUID of the store |
//! length of `ledger.redb` u64 | XXH3-64 of every started page u64, the last one filled up with zeros |
//! XXH3-128 of everything before.
//!
//! Invariants
//! - the file is removed, and its folder flushed, before the first change of a session reaches
//!   `ledger.redb`; it is written after the last one was flushed. So while it is there, on the medium too,
//!   `ledger.redb` is what it says
//! - a crash leaves it complete or not at all: it is written under a temporary name, flushed, renamed
//!
//! From these: if it is missing, a crash may have happened and nothing is known of the pages. If it is there
//! and does not fit, or is not what its own digest says, bits were changed behind our back.

use crate::error::{Damage, StorageError};
use crate::layout::names::SUMS;
use crate::manifest::write_replacing;
use crate::vfs::{Vfs, VfsRead, if_there};
use std::io::{self, ErrorKind};
use std::path::Path;
use uuid::Uuid;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Bytes that share a sum.
pub(super) const PAGE: u64 = 4096;

const MAGIC: &[u8; 8] = b"GSLSUMS\n";
const VERSION: u32 = 1;
const HEAD: usize = 40;
/// No file is longer: that of a ledger of 512 GiB.
const LIMIT: u64 = 1 << 30;
/// Bytes read at a time where a whole ledger is read.
const STEP: u64 = 1 << 20;

/// Length and page sums of a ledger. Takes 8 bytes for every 4 KiB of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageSums {
    pub len: u64,
    pub pages: Vec<u64>,
}

/// State of the file when it cannot be used.
#[derive(Debug)]
pub(super) enum SumsFile {
    Sums(PageSums),
    /// No file, or that of another store or version: nothing is known of the pages.
    Nothing,
    /// A file that no crash can leave.
    Damaged(StorageError),
}

/// The sum of a page. A last page that is not full counts as filled up with zeros, so that
/// growing leaves its sum alone.
pub(super) fn sum(page: &[u8]) -> u64 {
    let mut full = [0; PAGE as usize];
    match full.get_mut(..page.len()) {
        Some(start) if page.len() < PAGE as usize => {
            start.copy_from_slice(page);
            xxh3_64(&full)
        }
        _ => xxh3_64(page),
    }
}

impl PageSums {
    /// Sums of what a file holds now.
    pub(super) fn scan(file: &dyn VfsRead) -> io::Result<PageSums> {
        let len = file.len()?;
        let mut pages = Vec::with_capacity(len.div_ceil(PAGE) as usize);
        let mut buffer = vec![0; STEP.min(len) as usize];
        let mut offset = 0;
        while offset < len {
            let n = STEP.min(len - offset);
            let Some(part) = buffer.get_mut(..n as usize) else { break };
            file.read_at(part, offset)?;
            pages.extend(part.chunks(PAGE as usize).map(sum));
            offset += n;
        }
        Ok(PageSums { len, pages })
    }

    fn encode(&self, store: Uuid) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + 8 * self.pages.len() + 16);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(PAGE as u32).to_le_bytes());
        out.extend_from_slice(store.as_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        for page in &self.pages {
            out.extend_from_slice(&page.to_le_bytes());
        }
        let digest = xxh3_128(&out);
        out.extend_from_slice(&digest.to_le_bytes());
        out
    }

    /// `None`: sound, and not of this store or version.
    fn decode(bytes: &[u8], store: Uuid) -> Result<Option<PageSums>, Damage> {
        let damage = |what: &str, expected: String, found: String| Damage::new(SUMS, what, expected, found);
        let (content, stored) = match bytes.split_last_chunk::<16>() {
            Some((content, digest)) if content.len() >= HEAD => (content, u128::from_le_bytes(*digest)),
            _ => return Err(damage("length", format!("{} or more", HEAD + 16), bytes.len().to_string())),
        };
        let digest = xxh3_128(content);
        if digest != stored {
            return Err(damage("digest", format!("{stored:032x}"), format!("{digest:032x}")));
        }
        let (head, pages) = content.split_at(HEAD);
        let mut expected = MAGIC.to_vec();
        expected.extend_from_slice(&VERSION.to_le_bytes());
        expected.extend_from_slice(&(PAGE as u32).to_le_bytes());
        expected.extend_from_slice(store.as_bytes());
        let len = match head.split_last_chunk::<8>() {
            Some((known, len)) if known == expected => u64::from_le_bytes(*len),
            _ => return Ok(None),
        };
        if pages.len() as u64 != len.div_ceil(PAGE).saturating_mul(8) {
            let found = (pages.len() / 8).to_string();
            return Err(damage("number of pages", len.div_ceil(PAGE).to_string(), found));
        }
        let pages = pages.as_chunks::<8>().0.iter().map(|p| u64::from_le_bytes(*p));
        Ok(Some(PageSums { len, pages: pages.collect() }))
    }

    pub(super) fn read(vfs: &dyn Vfs, store: &Path, id: Uuid) -> SumsFile {
        match vfs.read(&store.join(SUMS), LIMIT) {
            Ok(bytes) => match Self::decode(&bytes, id) {
                Ok(Some(sums)) => SumsFile::Sums(sums),
                Ok(None) => SumsFile::Nothing,
                Err(damage) => SumsFile::Damaged(damage.into()),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => SumsFile::Nothing,
            Err(e) => SumsFile::Damaged(StorageError::io(format!("read {SUMS}"), e)),
        }
    }

    /// Writes the file. Everything it speaks of was flushed before.
    pub(super) fn write(&self, vfs: &dyn Vfs, store: &Path, id: Uuid) -> Result<(), StorageError> {
        write_replacing(vfs, &store.join(SUMS), SUMS, &self.encode(id))?;
        vfs.sync_dir(store).map_err(|e| StorageError::io(format!("flush the folder of {SUMS}"), e))
    }

    /// Removes the file, on the medium too. The folder is flushed even if there is none: an earlier process
    /// may have removed it and died before the flush, and a loss of power would bring it back.
    pub(super) fn remove(vfs: &dyn Vfs, store: &Path) -> io::Result<()> {
        if_there(vfs.remove(&store.join(SUMS)))?;
        vfs.sync_dir(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_length_is_found() {
        let id = Uuid::from_u128(77);
        let sums = PageSums { len: 2 * PAGE + 1, pages: vec![1, 2, u64::MAX] };
        let bytes = sums.encode(id);
        assert_eq!(PageSums::decode(&bytes, id).unwrap(), Some(sums));
        assert_eq!(PageSums::decode(&bytes, Uuid::from_u128(78)).unwrap(), None);
        for i in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[i / 8] ^= 1 << (i % 8);
            assert!(PageSums::decode(&bad, id).is_err(), "bit {i}");
        }
        for n in 0..bytes.len() {
            assert!(PageSums::decode(&bytes[..n], id).is_err(), "length {n}");
        }
    }

    #[test]
    fn a_page_that_is_not_full_counts_as_filled_with_zeros() {
        let mut full = [0; PAGE as usize];
        full[..3].copy_from_slice(b"abc");
        assert_eq!(sum(b"abc"), sum(&full));
        assert_ne!(sum(b"abd"), sum(&full));
    }
}
