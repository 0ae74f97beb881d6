//! The bytes of a Parquet file, each MiB compared with its digest when it is first read.

use crate::error::{Damage, StorageError};
use crate::layout::NamedFile;
use crate::manifest::{CHUNK, FileEntry};
use crate::vfs::VfsRead;
use bytes::Bytes;
use gstore_core::locked;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use xxhash_rust::xxh3::xxh3_64;

#[derive(Clone)]
pub(crate) struct VerifiedBytes(Arc<Inner>);

struct Inner {
    own: NamedFile,
    len: u64,
    chunks: Vec<u64>,
    /// One bit per chunk: its digest agreed.
    good: Vec<AtomicU64>,
    file: OnceLock<Box<dyn VfsRead>>,
    /// What went wrong first. The Parquet reader passes errors on as text, so the error itself waits here.
    failure: Mutex<Option<StorageError>>,
}

impl VerifiedBytes {
    pub(crate) fn new(own: NamedFile, entry: &FileEntry) -> Self {
        let good = (0..entry.chunks.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        VerifiedBytes(Arc::new(Inner {
            own,
            len: entry.len,
            chunks: entry.chunks.clone(),
            good,
            file: OnceLock::new(),
            failure: Mutex::new(None),
        }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.own.name
    }

    /// The error behind a failure of the Parquet reader.
    pub(crate) fn explain(&self, e: impl std::fmt::Display) -> StorageError {
        let failure = locked(&self.0.failure).take();
        failure.unwrap_or_else(|| Damage::new(self.name(), "Parquet data", "readable data", e).into())
    }

    /// Bytes that agree with their digests.
    pub(crate) fn read(&self, start: u64, len: usize) -> Result<Bytes, StorageError> {
        self.0.read(start, len)
    }
}

impl Inner {
    fn file(&self) -> Result<&dyn VfsRead, StorageError> {
        if let Some(file) = self.file.get() {
            return Ok(&**file);
        }
        let file = self.own.vfs.open(&self.own.path).map_err(|e| self.error(e))?;
        let len = file.len().map_err(|e| self.error(e))?;
        if len != self.len {
            return Err(Damage::new(&self.own.name, "length", self.len, len).into());
        }
        Ok(&**self.file.get_or_init(|| file))
    }

    fn error(&self, e: io::Error) -> StorageError {
        StorageError::of_file(&self.own.name, self.len, e)
    }

    fn is_good(&self, chunk: u64) -> bool {
        let word = self.good.get((chunk / 64) as usize).map_or(0, |w| w.load(Ordering::Acquire));
        word >> (chunk % 64) & 1 == 1
    }

    fn read(&self, start: u64, len: usize) -> Result<Bytes, StorageError> {
        let end = start.checked_add(len as u64).filter(|e| *e <= self.len);
        let Some(end) = end else {
            return Err(Damage::new(
                &self.own.name,
                "a range",
                format!("inside {} bytes", self.len),
                format!("{start}+{len}"),
            )
            .into());
        };
        if len == 0 {
            return Ok(Bytes::new());
        }
        let file = self.file()?;
        let (first, last) = (start / CHUNK, (end - 1) / CHUNK);
        if (first..=last).all(|c| self.is_good(c)) {
            let mut bytes = vec![0; len];
            file.read_at(&mut bytes, start).map_err(|e| self.error(e))?;
            return Ok(bytes.into());
        }
        let from = first * CHUNK;
        let to = ((last + 1) * CHUNK).min(self.len);
        let mut bytes = vec![0; (to - from) as usize];
        file.read_at(&mut bytes, from).map_err(|e| self.error(e))?;
        for (chunk, content) in (first..=last).zip(bytes.chunks(CHUNK as usize)) {
            let found = xxh3_64(content);
            // The catalog has a digest for each; bytes without one agree with nothing.
            let expected = self.chunks.get(chunk as usize).copied();
            if Some(found) != expected {
                let expected = expected.unwrap_or(0);
                let d = Damage::new(
                    &self.own.name,
                    "digest of a MiB",
                    format!("{expected:016x}"),
                    format!("{found:016x}"),
                );
                return Err(d.at(chunk * CHUNK).into());
            }
            if let Some(word) = self.good.get((chunk / 64) as usize) {
                word.fetch_or(1 << (chunk % 64), Ordering::Release);
            }
        }
        Ok(Bytes::from(bytes).slice((start - from) as usize..(end - from) as usize))
    }

    fn read_or_note(&self, start: u64, len: usize) -> Result<Bytes, String> {
        self.read(start, len).map_err(|e| {
            let text = e.to_string();
            locked(&self.failure).get_or_insert(e);
            text
        })
    }
}

impl Length for VerifiedBytes {
    fn len(&self) -> u64 {
        self.0.len
    }
}

/// Reads on from a place.
pub(crate) struct From {
    bytes: VerifiedBytes,
    pos: u64,
}

impl Read for From {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = (self.bytes.0.len.saturating_sub(self.pos)).min(buf.len() as u64) as usize;
        let bytes = self.bytes.0.read_or_note(self.pos, n).map_err(io::Error::other)?;
        if let Some(target) = buf.get_mut(..n) {
            target.copy_from_slice(&bytes);
        }
        self.pos += n as u64;
        Ok(n)
    }
}

impl ChunkReader for VerifiedBytes {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(From { bytes: self.clone(), pos: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.0.read_or_note(start, length).map_err(ParquetError::General)
    }
}
