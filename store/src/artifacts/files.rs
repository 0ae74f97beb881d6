//! Files of artifacts: writing them, moving them to their places, and reading them whole.
//!
//! Invariants
//! - a file is hashed while it is written, and flushed before it can be published; a write that failed
//!   leaves no file
//! - until they are published the files are in a held folder of `tmp/`, which goes when the writer does
//! - a map is given out only after every byte of its file was read and agreed with the digest

use crate::error::{ArtifactError, Damage, StorageError};
use crate::layout::names;
use crate::layout::{Env, HeldFolder, artifact_file};
use crate::manifest::{ArtifactFile, Extra, Link};
use crate::map::FileMap;
use crate::segment::Sink;
use crate::vfs::hash_span;
use gstore_core::Digest;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use uuid::Uuid;

/// Names of the folders in `tmp/` start with this.
const PREFIX: &str = "artifact-";

/// Bytes that are written at a time.
const BUFFER: usize = 1 << 20;

/// Whether a name in `tmp/` is that of a folder with files of an artifact.
pub(crate) fn is_work(name: &str) -> bool {
    names::is_work(PREFIX, name)
}

/// Files of an artifact that is not published yet.
///
/// They are in a folder of the store's `tmp/`, which no other process touches while this lives. Dropped
/// without being published, it leaves nothing; after a crash `gc` removes what is left.
#[derive(Debug)]
pub struct ArtifactFiles {
    folder: HeldFolder,
    /// The files as the artifact lists them.
    pub(super) files: Vec<ArtifactFile>,
}

impl ArtifactFiles {
    pub(super) fn create(env: &Arc<Env>) -> Result<ArtifactFiles, StorageError> {
        let _starting = env.lock_start()?;
        Ok(ArtifactFiles { folder: HeldFolder::make(env, PREFIX)?, files: Vec::new() })
    }

    /// Writes and flushes a file: `fill` gets a buffered writer and gives all bytes, from start to end. What
    /// follows the last `.` of the name becomes the ending of the file if it is 1 to 16 of `a-z` and `0-9`.
    ///
    /// # Errors
    /// A name that is invalid or taken; whatever `fill` or the medium says. Then there is no such file, and
    /// another attempt writes another one.
    pub fn write(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), ArtifactError> {
        if !names::is_artifact(name) {
            return Err(ArtifactError::FileName(name.to_owned()));
        }
        if self.files.iter().any(|file| file.name == name) {
            return Err(ArtifactError::FileExists(name.to_owned()));
        }
        let file = file_name(name);
        let (path, shown) = self.folder.file(&file);
        let vfs = self.folder.env.vfs();
        let target = vfs.create(&path).map_err(Env::io("create", &shown))?;
        let mut writer = BufWriter::with_capacity(BUFFER, Sink::new(target));
        let written = fill(&mut writer).and_then(|()| writer.flush()).and_then(|()| writer.get_mut().sync());
        // What a failed write left in the buffer is not written again.
        let (mut sink, _) = writer.into_parts();
        let (digest, len) = (sink.take_digest(), sink.pos);
        drop(sink);
        if let Err(e) = written {
            let _ = vfs.remove(&path);
            return Err(Env::io("write", &shown)(e).into());
        }
        self.files.push(ArtifactFile { name: name.to_owned(), file, digest, len, extra: Extra::new() });
        Ok(())
    }

    /// Moves the files to their places and flushes the folder there. After an error none is there, as far as
    /// that is possible. The caller holds the writer lock.
    pub(super) fn place(&self) -> Result<(), StorageError> {
        let place = |file: &ArtifactFile| (self.folder.path_of(&file.file), artifact_file(&file.file));
        self.folder.env.place(&self.files.iter().map(place).collect::<Vec<_>>())
    }

    /// Removes the files from their places: nothing refers to them.
    pub(super) fn unplace(&self) {
        self.folder.env.remove_unreferenced(self.files.iter().map(|file| artifact_file(&file.file)));
    }
}

/// A new name in the folder for a file that the artifact calls `name`.
fn file_name(name: &str) -> String {
    let uuid = Uuid::new_v4();
    let given = name.rsplit_once('.').map(|(_, ending)| format!("{uuid}.{ending}"));
    given.filter(|file| names::artifact(file).is_some()).unwrap_or_else(|| format!("{uuid}.bin"))
}

/// Reads a published file and compares its length and digest. Memory: 1 MiB.
///
/// By reads and not through the map: a sector that cannot be read is an error then, and no signal.
pub(crate) fn check_file(env: &Env, link: &Link) -> Result<(), StorageError> {
    let name = artifact_file(&link.file);
    let failed = |e: io::Error| StorageError::of_file(&name, link.len, e);
    let file = env.vfs().open(&env.at(&name)).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    if len != link.len {
        return Err(Damage::new(&name, "length", link.len, len).into());
    }
    let hash = hash_span(&*file, 0..len, &mut Vec::new(), |_| Ok::<(), io::Error>(()));
    let found = Digest::of_hashed(&hash.map_err(|e| failed(e.into()))?);
    if found == link.digest { Ok(()) } else { Err(Damage::new(&name, "digest", link.digest, found).into()) }
}

/// A published file, mapped after all of it was compared with its digest.
pub(super) fn map_file(env: &Env, link: &Link) -> Result<FileMap, StorageError> {
    check_file(env, link)?;
    // There is nothing to map.
    if link.len == 0 {
        return Ok(FileMap::from_bytes(&[]));
    }
    let name = artifact_file(&link.file);
    env.vfs().map(&env.at(&name), link.len).map_err(|e| StorageError::of_file(&name, link.len, e))
}
