//! The receipts of the folders that a user names.

use crate::error::{AttachError, StorageError};
use crate::job::{JOB, JobFile, LIMIT, RECEIPT, SAMPLES, read_json};
use crate::layout::Env;
use crate::shard::Receipt;
use crate::shard::samples::file_len;
use crate::store::Store;
use crate::vfs::is_missing;
use gstore_core::{canonical_json, sha256_hex, xxh3_hex};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A finished shard and where it is.
#[derive(Debug)]
pub(super) struct Shard {
    pub folder: PathBuf,
    /// The folder, for messages.
    pub shown: String,
    pub receipt: Receipt,
    /// Digest of the job's identity.
    pub identity: String,
    /// What `samples.xxh3` says.
    pub samples: Vec<u8>,
}

impl Shard {
    /// `shard 2/8 in DIR`
    pub fn name(&self) -> String {
        format!("shard {} in {}", self.receipt.note.shard, self.shown)
    }
}

/// The shards of some folders, in an order that does not depend on that of the folders, and notes on those
/// that were named twice.
pub(super) fn shards(store: &Store, folders: &[PathBuf]) -> Result<(Vec<Shard>, Vec<String>), AttachError> {
    if folders.is_empty() {
        return Err(AttachError::Nothing);
    }
    let mut shards: Vec<Shard> = Vec::new();
    let mut notes = Vec::new();
    for folder in folders {
        let shard = read(store, folder)?;
        match shards.iter().find(|s| s.receipt.digest == shard.receipt.digest) {
            None => shards.push(shard),
            Some(same) if same.shown == shard.shown => {}
            Some(same) => notes.push(format!("{} is a copy of {}", shard.shown, same.shown)),
        }
    }
    shards.sort_unstable_by(|a, b| {
        let key = |s: &Shard| {
            let n = &s.receipt.note;
            (n.dataset_number, s.identity.clone(), n.snapshot, n.shard.count(), n.shard.index())
        };
        key(a).cmp(&key(b)).then_with(|| a.receipt.digest.cmp(&b.receipt.digest))
    });
    Ok((shards, notes))
}

fn read(store: &Store, folder: &Path) -> Result<Shard, AttachError> {
    let vfs = store.env().vfs();
    let shown = folder.display().to_string();
    let bytes = match vfs.read(&folder.join(RECEIPT), LIMIT) {
        Ok(bytes) => bytes,
        Err(e) if is_missing(&e) => return Err(without_receipt(store, folder, shown)),
        Err(e) => return Err(Env::io("read the receipt of", &shown)(e).into()),
    };
    match Receipt::parse(&bytes) {
        Ok(receipt) => {
            let identity = sha256_hex(canonical_json(&receipt.identity).as_bytes());
            let samples = read_samples(store, folder, &shown, &receipt)?;
            Ok(Shard { folder: folder.to_owned(), shown, receipt, identity, samples })
        }
        Err(source) => Err(AttachError::Receipt { folder: shown, source }),
    }
}

/// `samples.xxh3`, if it is what the receipt says.
fn read_samples(
    store: &Store,
    folder: &Path,
    shown: &str,
    receipt: &Receipt,
) -> Result<Vec<u8>, AttachError> {
    let bad =
        |detail: String| AttachError::BadFile { folder: shown.to_owned(), file: SAMPLES.to_owned(), detail };
    let len = file_len(&receipt.row_set());
    match store.env().vfs().read(&folder.join(SAMPLES), len) {
        Ok(bytes) if bytes.len() as u64 != len => {
            Err(bad(format!("it has {} bytes, for the rows of its receipt {len} are needed", bytes.len())))
        }
        Ok(bytes) => match xxh3_hex(&bytes) {
            found if found == receipt.samples => Ok(bytes),
            found => Err(bad(format!("its digest is {found}, its receipt says {}", receipt.samples))),
        },
        Err(e) if e.kind() == ErrorKind::NotFound => Err(bad("there is no such file".into())),
        Err(e) if e.kind() == ErrorKind::InvalidData => Err(bad(e.to_string())),
        Err(e) => Err(Env::io("read the samples of", shown)(e).into()),
    }
}

fn without_receipt(store: &Store, folder: &Path, shown: String) -> AttachError {
    let vfs = store.env().vfs();
    if !vfs.exists(folder).unwrap_or(true) {
        return AttachError::NoShard { folder: shown, detail: "there is nothing of that name".into() };
    }
    let file: Result<Option<JobFile>, StorageError> = read_json(vfs, &folder.join(JOB), &shown);
    match file.ok().flatten().and_then(|f| f.shard) {
        Some(note) => AttachError::Unfinished { folder: shown, shard: note.shard.to_string() },
        None => AttachError::NoShard { folder: shown, detail: "it has no receipt.json".into() },
    }
}
