//! The receipts of the folders that a user names.

use crate::error::{AttachError, StorageError};
use crate::ident::{canonical_json, sha256_hex};
use crate::job::{JOB, JobFile, LIMIT, RECEIPT, read_json};
use crate::shard::Receipt;
use crate::store::{Env, Store};
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
}

impl Shard {
    /// `shard 2/8 in DIR`
    pub fn name(&self) -> String {
        format!("shard {} in {}", self.receipt.note.shard, self.shown)
    }
}

/// The shards of some folders, in an order that does not depend on that of the folders, and notes on those that were named twice.
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
    shards.sort_by(|a, b| {
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
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(without_receipt(store, folder, shown));
        }
        Err(e) => return Err(Env::io("read the receipt of", &shown)(e).into()),
    };
    match Receipt::parse(&bytes) {
        Ok(receipt) => {
            let identity = sha256_hex(canonical_json(&receipt.identity).as_bytes());
            Ok(Shard { folder: folder.to_owned(), shown, receipt, identity })
        }
        Err(source) => Err(AttachError::Receipt { folder: shown, source }),
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
