//! A new list of deleted ids, made from the one before it.

use super::{DeletedIds, IdDigest, MAGIC, PAGE, WIDTH};
use crate::error::StorageError;
use crate::layout::{Env, deleted_ids_file, deleted_ids_folder};
use crate::manifest::{DatasetPart, DeletedIdsEntry, Extra};
use crate::vfs::VfsFile;
use gstore_core::Digest;
use std::io::{self, Write};
use std::path::Path;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

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
        let detail = io::Error::other("another list was made in the meantime");
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
