//! A list of deleted ids that is open for lookups.

use super::{END, FENCE, IdDigest, MAGIC, PAGE, WIDTH, digest};
use crate::error::{Damage, StorageError};
use crate::layout::{Env, deleted_ids_file};
use crate::manifest::{DatasetPart, DeletedIdsEntry, Extra};
use crate::table::{Expected, Region};
use crate::vfs::VfsRead;
use gstore_core::{Digest, many};
use std::fmt::Display;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

/// Salt and number of ids by the end of a list; `None` if it is not one.
fn salt_and_ids(end: &[u8; END]) -> Option<(Uuid, u64)> {
    let (salt, rest) = end.split_first_chunk::<16>()?;
    let (ids, rest) = rest.split_first_chunk::<8>()?;
    rest.starts_with(MAGIC).then(|| (Uuid::from_bytes(*salt), u64::from_le_bytes(*ids)))
}

/// A list that is open for lookups.
///
/// Memory: 24 bytes for every 256 ids, and one page of 4 KiB. A lookup reads one page.
pub(crate) struct DeletedIds {
    file: Box<dyn VfsRead>,
    name: String,
    lost: String,
    pub(super) salt: Uuid,
    ids: u64,
    /// The first digest of each page, and the XXH3-64 of its bytes.
    fences: Vec<(IdDigest, u64)>,
    page: Vec<u8>,
}

impl DeletedIds {
    /// Opens the list of a dataset, if it has one.
    pub(crate) fn open(env: &Env, part: &DatasetPart) -> Result<Option<DeletedIds>, StorageError> {
        let Some(entry) = &part.deleted_ids else { return Ok(None) };
        Self::open_at(env, &part.name, entry, deleted_ids_file(part.number, entry.uuid)).map(Some)
    }

    /// The same from the file that is to have it, whatever its name.
    fn open_at(
        env: &Env,
        dataset: &str,
        entry: &DeletedIdsEntry,
        name: String,
    ) -> Result<DeletedIds, StorageError> {
        let lost =
            format!("the list of {} of dataset {dataset} cannot be read", many(entry.ids, "deleted id"));
        let (list, tail) = Self::read_tail(env, name, lost)?;
        let found = Digest::of(&tail);
        if (list.ids, list.salt, found) != (entry.ids, entry.salt, entry.digest) {
            return Err(list.damage("digest of the tail", entry.digest, found));
        }
        Ok(list)
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
            Err(e) => return Err(StorageError::of_lost(&name, "a list of deleted ids", Some(lost), e)),
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

/// All bytes of a list with their digests. Reads the tail of the file `name`, which has those of the pages.
pub(crate) fn regions(
    env: &Env,
    dataset: &str,
    entry: &DeletedIdsEntry,
    name: &str,
) -> Result<Vec<Region>, StorageError> {
    let list = DeletedIds::open_at(env, dataset, entry, name.to_owned())?;
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
