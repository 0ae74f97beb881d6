//! Building an index, from its first byte to its place.
//!
//! The first section goes straight into the file. Others go to separate files next to it, so that
//! sections can grow side by side (the planes of a sketch do, block by block), and are copied behind
//! the first one at the end.

use super::folder::PREFIX;
use super::footer::{ALIGN, Footer, HEAD, MAGIC, MAX_CHUNK, StoredSection, Tail, is_chunk, is_section_name};
use super::places::{IndexNote, index_file, is_kind};
use crate::error::{IndexError, StorageError};
use crate::layout::names::INDEXES;
use crate::layout::{Env, HeldFolder};
use crate::segment::SegmentRef;
use crate::vfs::{SpanFailure, VfsFile, hash_span};
use gstore_core::Digest;
use serde_json::Value;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 << 10;

/// The only index in its folder, while it is built.
const FILE: &str = "index";

/// A section of the writer that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionId(usize);

/// Writes an index of one segment and puts it in its place.
///
/// Dropped before [`IndexWriter::finish`], it leaves nothing. While it lives, a purge is refused.
/// Memory: 256 KiB and a descriptor for each section, 32 bytes for each chunk, and 1 MiB at the end.
pub struct IndexWriter {
    env: Arc<Env>,
    segment: SegmentRef,
    kind: String,
    /// `None` once a write failed: what the file holds is unknown then.
    file: Option<Output>,
    sections: Vec<PendingSection>,
    /// Last: its files are closed before it goes.
    folder: HeldFolder,
}

/// A section being written.
struct PendingSection {
    name: String,
    chunk: u64,
    len: u64,
    digests: String,
    /// Of the chunk at the end.
    hash: Xxh3,
    /// A separate file; the first section has none.
    beside: Option<Output>,
}

impl PendingSection {
    /// Takes note of bytes that were written.
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.chunk - self.len % self.chunk).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.hash.update(now);
            self.len += now.len() as u64;
            if self.len.is_multiple_of(self.chunk) {
                self.seal();
            }
            bytes = rest;
        }
    }

    /// The chunk at the end is complete.
    fn seal(&mut self) {
        self.digests.push_str(&Digest::of_hashed(&self.hash).to_string());
        self.hash.reset();
    }
}

/// A file being written.
struct Output {
    file: BufWriter<Box<dyn VfsFile>>,
    path: PathBuf,
    name: String,
    len: u64,
}

impl Output {
    fn create(env: &Env, (path, name): (PathBuf, String)) -> Result<Output, StorageError> {
        let file = env.vfs().create(&path).map_err(Env::io("create", &name))?;
        Ok(Output { file: BufWriter::with_capacity(BUFFER, file), path, name, len: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_all(bytes).map_err(Env::io("write", &self.name))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Zeros up to the next place where something may begin.
    fn align(&mut self) -> Result<(), StorageError> {
        let missing = (ALIGN - self.len % ALIGN) % ALIGN;
        self.write(&vec![0; missing as usize])
    }

    /// Flushes the bytes to the medium.
    fn sync(&mut self) -> Result<(), StorageError> {
        let flushed = self.file.flush().and_then(|()| self.file.get_mut().sync());
        flushed.map_err(Env::io("flush", &self.name))
    }
}

impl IndexWriter {
    /// Starts an index of a segment.
    pub(crate) fn create(
        env: &Arc<Env>,
        segment: &SegmentRef,
        kind: &str,
    ) -> Result<IndexWriter, IndexError> {
        if !is_kind(kind) {
            return Err(IndexError::Kind(kind.to_owned()));
        }
        let env = Arc::clone(env);
        let failed = |e| not_writable(&env, e);
        let starting = env.lock_start().map_err(failed)?;
        // A purge that was at work until now has removed the files of its rows.
        if !env.exists(segment.file()).map_err(failed)? {
            return Err(IndexError::Gone { segment: segment.uuid() });
        }
        let folder = HeldFolder::make(&env, PREFIX).map_err(failed)?;
        drop(starting);
        let mut file = Output::create(&env, folder.file(FILE))?;
        let mut head = [0; HEAD as usize];
        if let Some(start) = head.first_chunk_mut() {
            *start = *MAGIC;
        }
        file.write(&head)?;
        let (segment, kind) = (segment.clone(), kind.to_owned());
        Ok(IndexWriter { env, segment, kind, file: Some(file), sections: Vec::new(), folder })
    }
}

/// Says so where the first thing that is written shows that nothing can be.
fn not_writable(env: &Env, error: StorageError) -> IndexError {
    match error {
        StorageError::Io { ref source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
            ) =>
        {
            IndexError::ReadOnly { store: env.path().to_owned(), source: error }
        }
        error => error.into(),
    }
}

impl IndexWriter {
    /// Begins a section. Its bytes are compared with their digests in chunks of `chunk_len` bytes, a multiple
    /// of 64 up to 64 MiB: what a reader reads at least when it touches the section for the first time.
    /// Sections may grow side by side.
    pub fn section(&mut self, name: &str, chunk_len: u64) -> Result<SectionId, IndexError> {
        self.check()?;
        let refuse = |why: String| Err(IndexError::Section { name: name.to_owned(), why });
        if !is_section_name(name) {
            return refuse("a name has 1 to 64 of the characters a-z, 0-9 and _".into());
        }
        if self.sections.iter().any(|s| s.name == name) {
            return refuse("the index has one of this name".into());
        }
        if !is_chunk(chunk_len) {
            return refuse(format!(
                "chunks have a multiple of {ALIGN} bytes up to {MAX_CHUNK}, not {chunk_len}"
            ));
        }
        let number = self.sections.len();
        let beside = match number {
            0 => None,
            _ => Some(Output::create(&self.env, self.folder.file(&format!("{number}.part")))?),
        };
        self.sections.push(PendingSection {
            name: name.to_owned(),
            chunk: chunk_len,
            len: 0,
            digests: String::new(),
            hash: Xxh3::new(),
            beside,
        });
        Ok(SectionId(number))
    }

    /// Adds bytes at the end of a section.
    pub fn append(&mut self, section: SectionId, bytes: &[u8]) -> Result<(), IndexError> {
        let Some(mut file) = self.file.take() else { return Err(self.poisoned()) };
        let Some(open) = self.sections.get_mut(section.0) else {
            self.file = Some(file);
            let why = "it belongs to another writer".into();
            return Err(IndexError::Section { name: section.0.to_string(), why });
        };
        open.beside.as_mut().unwrap_or(&mut file).write(bytes)?;
        open.add(bytes);
        self.file = Some(file);
        Ok(())
    }

    /// The path of a file of the caller's own in the folder of this build, which goes when the
    /// build ends: for what a library writes by itself. `name` is plain, and not `index`, `lock` or
    /// one that ends in `.part`.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.file(name).0
    }

    fn check(&self) -> Result<(), IndexError> {
        if self.file.is_some() { Ok(()) } else { Err(self.poisoned()) }
    }

    fn poisoned(&self) -> IndexError {
        IndexError::Poisoned(index_file(self.segment.uuid(), &self.kind))
    }

    /// Completes the file, flushes it and puts it in its place. `header` is whatever the
    /// reader needs to know of it.
    ///
    /// # Errors
    /// Whatever goes wrong, an index that was there before is there still, or, if only the last flush
    /// failed, perhaps the new one.
    pub fn finish(mut self, header: Value) -> Result<IndexNote, IndexError> {
        let Some(mut file) = self.file.take() else { return Err(self.poisoned()) };
        let (uuid, digest) = (self.segment.uuid(), self.segment.digest());
        let mut stored = Footer::new(&self.kind, uuid, digest, header);
        for mut open in std::mem::take(&mut self.sections) {
            if !open.len.is_multiple_of(open.chunk) {
                open.seal();
            }
            file.align()?;
            let offset = if open.beside.is_some() { file.len } else { HEAD };
            if let Some(beside) = open.beside.take() {
                copy(&self.env, beside, &mut file)?;
            }
            let PendingSection { name, chunk, len, digests, .. } = open;
            stored.sections.push(StoredSection { name, offset, len, chunk, digests });
        }
        file.align()?;
        let text = serde_json::to_vec(&stored).map_err(|e| IndexError::Header(e.to_string()))?;
        let tail = Tail::write(text, file.len);
        // What could not be read back must not get into place.
        tail.footer(&file.name).map_err(|e| IndexError::Header(e.to_string()))?;
        file.write(&tail.bytes)?;
        file.sync()?;
        self.place(&file)?;
        Ok(IndexNote { segment: uuid, kind: self.kind.clone(), bytes: file.len })
    }

    fn place(&self, file: &Output) -> Result<(), IndexError> {
        self.env.make_folder(INDEXES)?;
        if !self.env.exists(self.segment.file())? {
            return Err(IndexError::Gone { segment: self.segment.uuid() });
        }
        self.env.rename(&file.path, &index_file(self.segment.uuid(), &self.kind))?;
        Ok(self.env.sync_folder(INDEXES)?)
    }
}

/// Copies a section that was written to a separate file.
fn copy(env: &Env, mut from: Output, to: &mut Output) -> Result<(), StorageError> {
    from.file.flush().map_err(Env::io("write", &from.name))?;
    let file = env.vfs().open(&from.path).map_err(Env::io("read", &from.name))?;
    match hash_span(&*file, 0..from.len, &mut Vec::new(), |bytes| to.write(bytes)) {
        Ok(_) => Ok(()),
        Err(SpanFailure::Read(e)) => Err(Env::io("read", &from.name)(e)),
        Err(SpanFailure::Sink(e)) => Err(e),
    }
}
