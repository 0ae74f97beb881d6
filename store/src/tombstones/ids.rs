//! The list of deleted ids that no sample file has any more: salted digests in one sorted, immutable file.
//!
//! Invariants
//! - digests ascend, each occurs once; a page is compared with its digest before a lookup believes it
//! - every list of a dataset has the salt of the one before it, so lists are merged without the ids
//! - an id that a live row has, because it was added again, is not in the list

use crate::error::{Damage, ReadError, StorageError};
use crate::layout::{Env, deleted_ids_file, deleted_ids_folder, sample_file};
use crate::manifest::{DatasetPart, DeletedIdsEntry, Extra, FileEntry};

use crate::table::{Expected, Region, TableFile, row_ids};
use crate::vfs::{VfsFile, VfsRead};
use gstore_core::{Digest, RowSet, many};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

/// The first half of the SHA-256 of the salt and an id.
pub(crate) type IdDigest = [u8; 16];

/// Bytes of a digest.
const WIDTH: usize = 16;
/// Digests of a page.
const PAGE: usize = 256;
/// Bytes of a page's entry in the tail: its first digest, and the XXH3-64 of its bytes.
const FENCE: usize = WIDTH + 8;
/// What the tail ends in: salt, number of ids, [`MAGIC`], XXH3-128 of the tail before it.
const END: usize = 16 + 8 + 8 + 16;
/// Rows that are read at a time from a damaged file.
const PIECE: usize = 8192;
/// Format and version.
const MAGIC: &[u8; 8] = b"GSDELID1";

/// The digest of an id.
pub(crate) fn digest(salt: Uuid, id: &str) -> IdDigest {
    let hash = Sha256::new().chain_update(salt.as_bytes()).chain_update(id.as_bytes()).finalize();
    let mut out = [0; WIDTH];
    out.iter_mut().zip(hash.as_slice()).for_each(|(to, from)| *to = *from);
    out
}

/// Salt and number of ids by the end of a list; `None` if it is not one.
fn salt_and_ids(end: &[u8; END]) -> Option<(Uuid, u64)> {
    let (salt, rest) = end.split_first_chunk::<16>()?;
    let (ids, rest) = rest.split_first_chunk::<8>()?;
    rest.starts_with(MAGIC).then(|| (Uuid::from_bytes(*salt), u64::from_le_bytes(*ids)))
}

/// What the ids of a dataset are hashed with: what its list has, or a new random salt.
pub(crate) fn salt_of(part: &DatasetPart) -> Uuid {
    part.deleted_ids.as_ref().map_or_else(Uuid::new_v4, |entry| entry.salt)
}

/// The digests of the ids that some rows of a dataset have, and the rows whose ids cannot be read because
/// their file is damaged there: a damaged file is read in pieces.
pub(crate) fn readable_digests(
    env: &Env,
    part: &DatasetPart,
    rows: &RowSet,
    salt: Uuid,
) -> Result<(Vec<IdDigest>, RowSet), StorageError> {
    let (mut out, mut lost) = (Vec::new(), RowSet::new());
    let mut read = |file: &FileEntry, rows: &RowSet| -> Result<bool, StorageError> {
        match digests_of(env, part, std::slice::from_ref(file), rows, salt) {
            Ok(found) => out.extend(found.into_iter().map(|(_, id)| id)),
            Err(e) if e.is_damage() => return Ok(false),
            Err(e) => return Err(e),
        }
        Ok(true)
    };
    for file in &part.files {
        if read(file, rows)? {
            continue;
        }
        let range = file.range();
        for start in range.clone().step_by(PIECE) {
            let end = start.saturating_add(PIECE as u64).min(range.end);
            let piece = rows.intersection(&RowSet::from_range(start..end));
            if !piece.is_empty() && !read(file, &piece)? {
                lost = lost.union(&piece);
            }
        }
    }
    Ok((out, lost))
}

/// The digests of the ids that some rows of sample files have, with their rows. A row of which nothing is left has none.
pub(crate) fn digests_of(
    env: &Env,
    part: &DatasetPart,
    files: &[FileEntry],
    rows: &RowSet,
    salt: Uuid,
) -> Result<Vec<(u64, IdDigest)>, StorageError> {
    let mut out = Vec::new();
    for entry in files {
        let ranges: Vec<_> = rows.within(entry.range()).collect();
        if ranges.is_empty() {
            continue;
        }
        let name = sample_file(part.number, entry.uuid);
        let file = TableFile::new(env.shared_vfs(), env.at(&name), name.clone(), entry);
        for batch in file.read(&["row", "id"], &ranges)? {
            let batch = batch?;
            let ids = row_ids(&batch, &name)?.filter(|(_, id)| !id.is_empty());
            out.extend(ids.map(|(row, id)| (row, digest(salt, id))));
        }
    }
    Ok(out)
}

/// A list that is open for lookups.
///
/// Memory: 24 bytes for every 256 ids, and one page of 4 KiB. A lookup reads one page.
pub(crate) struct DeletedIds {
    file: Box<dyn VfsRead>,
    name: String,
    lost: String,
    salt: Uuid,
    ids: u64,
    /// The first digest of each page, and the XXH3-64 of its bytes.
    fences: Vec<(IdDigest, u64)>,
    page: Vec<u8>,
}

impl DeletedIds {
    /// Opens the list of a dataset, if it has one.
    pub(crate) fn open(env: &Env, part: &DatasetPart) -> Result<Option<DeletedIds>, StorageError> {
        let Some(entry) = &part.deleted_ids else { return Ok(None) };
        let lost =
            format!("the list of {} of dataset {} cannot be read", many(entry.ids, "deleted id"), part.name);
        let (list, tail) = Self::read_tail(env, deleted_ids_file(part.number, entry.uuid), lost)?;
        let found = Digest::of(&tail);
        if (list.ids, list.salt, found) != (entry.ids, entry.salt, entry.digest) {
            return Err(list.damage("digest of the tail", entry.digest, found));
        }
        Ok(Some(list))
    }

    /// The entry of a list that no part names, from its own tail. `None` if it is damaged.
    pub(crate) fn inspect(
        env: &Env,
        dataset: u32,
        uuid: Uuid,
    ) -> Result<Option<DeletedIdsEntry>, StorageError> {
        let read = || {
            let (mut list, tail) = Self::read_tail(env, deleted_ids_file(dataset, uuid), String::new())?;
            list.each(|_| Ok(()))?;
            let (ids, salt, digest) = (list.ids, list.salt, Digest::of(&tail));
            let len = ids * WIDTH as u64 + tail.len() as u64;
            Ok(DeletedIdsEntry { uuid, ids, len, digest, salt, extra: Extra::new() })
        };
        match read() {
            Ok(entry) => Ok(Some(entry)),
            Err(StorageError::Damaged(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads the end of a file, compared with its own digest.
    fn read_tail(env: &Env, name: String, lost: String) -> Result<(DeletedIds, Vec<u8>), StorageError> {
        let file = match env.vfs().open(&env.at(&name)) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Damage::new(name, "the file", "a list of deleted ids", e).affecting(lost).into());
            }
            Err(e) => return Err(Env::io("open", &name)(e)),
        };
        let len = file.len().map_err(Env::io("look at", &name))?;
        let (salt, ids, fences, page) = (Uuid::nil(), 0, Vec::new(), Vec::new());
        let mut list = DeletedIds { file, name, lost, salt, ids, fences, page };
        let Some(end_at) = len.checked_sub(END as u64) else {
            return Err(list.damage("length", format!("{END} or more"), len));
        };
        let mut end = [0; END];
        list.file.read_at(&mut end, end_at).map_err(Env::io("read", &list.name))?;
        let Some((salt, ids)) = salt_and_ids(&end) else {
            let (expected, found) = (String::from_utf8_lossy(MAGIC), String::from_utf8_lossy(&end));
            return Err(list.damage("mark", expected, found));
        };
        (list.salt, list.ids) = (salt, ids);
        let tail_len = list.ids.div_ceil(PAGE as u64).saturating_mul(FENCE as u64).saturating_add(END as u64);
        let expected = list.ids.saturating_mul(WIDTH as u64).saturating_add(tail_len);
        if expected != len {
            return Err(list.damage("length", expected, len));
        }
        let mut tail = vec![0; tail_len as usize];
        list.file.read_at(&mut tail, len - tail_len).map_err(Env::io("read", &list.name))?;
        let (fences, _) = tail.split_at(tail.len() - END);
        let own =
            tail.split_last_chunk::<16>().map(|(body, own)| (Digest::of(body), u128::from_le_bytes(*own)));
        if let Some((found, expected)) = own.filter(|(found, expected)| found.number() != *expected) {
            return Err(list.damage("digest of the tail", Digest::new(expected), found));
        }
        let fence = |bytes: &[u8; FENCE]| {
            let (first, sum) = bytes.split_first_chunk::<WIDTH>()?;
            Some((*first, u64::from_le_bytes(*sum.first_chunk::<8>()?)))
        };
        list.fences = fences.as_chunks::<FENCE>().0.iter().filter_map(fence).collect();
        Ok((list, tail))
    }

    fn damage(&self, what: &str, expected: impl Display, found: impl Display) -> StorageError {
        Damage::new(&self.name, what, expected, found).affecting(&self.lost).into()
    }

    /// The digest of an id, if the list has it.
    pub(crate) fn find(&mut self, id: &str) -> Result<Option<IdDigest>, StorageError> {
        let digest = digest(self.salt, id);
        let after = self.fences.partition_point(|(first, _)| *first <= digest);
        let Some(place) = after.checked_sub(1) else { return Ok(None) };
        let page = self.read(place)?.as_chunks::<WIDTH>().0;
        Ok(page.binary_search(&digest).is_ok().then_some(digest))
    }

    /// Calls `f` for every digest in order, each page compared with its own.
    pub(crate) fn each(
        &mut self,
        mut f: impl FnMut(IdDigest) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut before: Option<IdDigest> = None;
        for place in 0..self.fences.len() {
            for digest in self.read(place)?.to_vec().as_chunks::<WIDTH>().0.iter().copied() {
                if before.is_some_and(|b| b >= digest) {
                    return Err(self.damage(
                        &format!("digests of page {place}"),
                        "ascending",
                        "another order",
                    ));
                }
                before = Some(digest);
                f(digest)?;
            }
        }
        Ok(())
    }

    /// The bytes of a page, compared with its digest and the first one of it.
    fn read(&mut self, place: usize) -> Result<&[u8], StorageError> {
        let offset = (place * PAGE * WIDTH) as u64;
        let ids = (self.ids - (place * PAGE) as u64).min(PAGE as u64) as usize;
        self.page.resize(ids * WIDTH, 0);
        self.file.read_at(&mut self.page, offset).map_err(Env::io("read", &self.name))?;
        let Some((first, expected)) = self.fences.get(place).copied() else {
            return Err(self.damage("number of a page", format!("below {}", self.fences.len()), place));
        };
        let found = xxh3_64(&self.page);
        if found != expected || !self.page.starts_with(&first) {
            let [expected, found] = [expected, found].map(|d| format!("{d:016x}"));
            return Err(self.damage(&format!("digest of page {place}"), expected, found));
        }
        Ok(&self.page)
    }
}

/// The ids that were deleted from a dataset, for callers without a ledger: an append asks that for the rows.
///
/// Memory: 16 bytes for each deleted row that is still in a file, and what the list takes (24
/// bytes for every 256 ids).
pub struct DeletedIdLookup {
    list: Option<DeletedIds>,
    salt: Uuid,
    rows: HashSet<IdDigest>,
}

impl DeletedIdLookup {
    /// Reads the ids of the deleted rows of a dataset.
    pub(crate) fn open(env: &Env, part: &DatasetPart, deleted: &RowSet) -> Result<Self, StorageError> {
        let (list, salt) = (DeletedIds::open(env, part)?, salt_of(part));
        let rows = digests_of(env, part, &part.files, deleted, salt)?;
        Ok(DeletedIdLookup { list, salt, rows: rows.into_iter().map(|(_, id)| id).collect() })
    }

    /// Whether an id that no live row has was deleted.
    ///
    /// # Errors
    /// A list of deleted ids that cannot be read.
    pub fn contains(&mut self, id: &str) -> Result<bool, ReadError> {
        if self.rows.contains(&digest(self.salt, id)) {
            return Ok(true);
        }
        match &mut self.list {
            Some(list) => Ok(list.find(id)?.is_some()),
            None => Ok(false),
        }
    }
}

/// Makes the list of a dataset: that of `part`, with ids that are deleted now, without those that were
/// added again. Writes and flushes a file of a new name, to which nothing refers before the next publish.
/// After an error there is none.
///
/// Memory: 16 bytes for each added and each removed id, and one page of the old list.
pub(crate) fn rewrite(
    env: &Env,
    part: &mut DatasetPart,
    salt: Uuid,
    mut added: Vec<IdDigest>,
    mut removed: Vec<IdDigest>,
) -> Result<(), StorageError> {
    if added.is_empty() && removed.is_empty() {
        return Ok(());
    }
    let mut old = DeletedIds::open(env, part)?;
    if old.as_ref().is_some_and(|list| list.salt != salt) {
        let detail = io::Error::other("another list was made meanwhile");
        return Err(StorageError::io("list the deleted ids", detail));
    }
    added.sort_unstable();
    added.dedup();
    removed.sort_unstable();
    let uuid = Uuid::new_v4();
    let name = deleted_ids_file(part.number, uuid);
    env.make_folder(&deleted_ids_folder(part.number))?;
    // The folder above may be new as well.
    env.sync_folder("")?;
    let path = env.at(&name);
    let written = write(env, &path, &name, salt, |out| {
        let mut new = added.iter().copied().peekable();
        let put = |digest: IdDigest, out: &mut Writer| {
            if removed.binary_search(&digest).is_ok() { Ok(()) } else { out.push(digest) }
        };
        if let Some(list) = &mut old {
            list.each(|digest| {
                while let Some(earlier) = new.next_if(|d| *d < digest) {
                    put(earlier, out)?;
                }
                new.next_if_eq(&digest);
                put(digest, out)
            })?;
        }
        new.try_for_each(|digest| put(digest, out))
    });
    let flushed = written.and_then(|made| env.sync_folder(&deleted_ids_folder(part.number)).map(|()| made));
    match flushed {
        Ok((0, ..)) => {
            let _ = env.vfs().remove(&path);
            part.deleted_ids = None;
        }
        Ok((ids, len, digest)) => {
            part.deleted_ids = Some(DeletedIdsEntry { uuid, ids, len, digest, salt, extra: Extra::new() });
        }
        Err(e) => {
            let _ = env.vfs().remove(&path);
            return Err(e);
        }
    }
    Ok(())
}

/// Writes a list; gives the number of its ids, its length and the digest of its tail.
fn write(
    env: &Env,
    path: &Path,
    name: &str,
    salt: Uuid,
    fill: impl FnOnce(&mut Writer) -> Result<(), StorageError>,
) -> Result<(u64, u64, Digest), StorageError> {
    let file = env.vfs().create(path).map_err(Env::io("create", name))?;
    let mut out = Writer { file, name: name.to_owned(), page: Vec::new(), tail: Vec::new(), ids: 0 };
    fill(&mut out)?;
    out.end_page()?;
    let (ids, mut tail) = (out.ids, std::mem::take(&mut out.tail));
    tail.extend_from_slice(salt.as_bytes());
    tail.extend_from_slice(&ids.to_le_bytes());
    tail.extend_from_slice(MAGIC);
    let sum = Digest::of(&tail);
    tail.extend_from_slice(&sum.number().to_le_bytes());
    let written = out.file.write_all(&tail).and_then(|()| out.file.flush()).and_then(|()| out.file.sync());
    written.map_err(Env::io("write", name))?;
    Ok((ids, ids * WIDTH as u64 + tail.len() as u64, Digest::of(&tail)))
}

struct Writer {
    file: Box<dyn VfsFile>,
    name: String,
    page: Vec<u8>,
    tail: Vec<u8>,
    ids: u64,
}

impl Writer {
    fn push(&mut self, digest: IdDigest) -> Result<(), StorageError> {
        self.page.extend_from_slice(&digest);
        self.ids += 1;
        if self.page.len() == PAGE * WIDTH { self.end_page() } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<(), StorageError> {
        if let Some(first) = self.page.get(..WIDTH) {
            self.tail.extend_from_slice(first);
            self.tail.extend_from_slice(&xxh3_64(&self.page).to_le_bytes());
            self.file.write_all(&self.page).map_err(Env::io("write", &self.name))?;
            self.page.clear();
        }
        Ok(())
    }
}

/// All bytes of a list with their digests. Reads its tail, which has those of the pages.
pub(crate) fn regions(env: &Env, part: &DatasetPart) -> Result<Vec<Region>, StorageError> {
    let (Some(list), Some(entry)) = (DeletedIds::open(env, part)?, &part.deleted_ids) else {
        return Ok(Vec::new());
    };
    let (mut left, mut out) = (list.ids as usize * WIDTH, Vec::new());
    for (_, sum) in &list.fences {
        let len = left.min(PAGE * WIDTH);
        left -= len;
        out.push(Region { len: len as u64, digest: Expected::Chunk(*sum), lost: list.lost.clone() });
    }
    let len = entry.len - list.ids * WIDTH as u64;
    out.push(Region { len, digest: Expected::Digest(entry.digest), lost: list.lost.clone() });
    Ok(out)
}
