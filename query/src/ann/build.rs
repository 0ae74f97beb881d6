//! Graph construction with usearch, plus added links ([`super::mend`]).
//!
//! Threads link vectors side by side, so a graph depends on who comes first: two builds differ, unless they
//! have one thread. What is reported of a row does not depend on the graph, only whether the row is found.
//!
//! Invariants
//! - usearch gets only finite vectors of the right length and of length 1, each row once, with as many
//!   threads as room was reserved for
//! - a segment's graph is complete under its name or not there: what is interrupted leaves nothing

mod link;

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use gstore_core::Cancel;
use gstore_core::parallel::threads_for;
use gstore_store::{
    FeatureReader, IndexError, IndexFile, IndexWriter, SectionId, SegmentRef, StorageError, Store,
};
use usearch::Index;

use super::files::{check, open};
use super::format::{GRAPH, GraphHeader, HEAD, KIND, VECTORS};
use super::graph::Graph;
use crate::error::QueryError;
use crate::indexes::{CHUNK, IndexProgress};

use link::StepCounter;

/// Bytes that are copied at a time.
const COPY: usize = 1 << 20;

/// How a feature's graphs are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct GraphOptions {
    /// Rebuilds existing graphs.
    pub rebuild: bool,
    /// Threads; 0 means one per core. With one the bytes are a function of the segment.
    pub threads: usize,
}

/// Makes the graphs of a feature, for segments that have none that can be used. The caller holds a lease on
/// the reader's snapshot.
///
/// Memory: [`super::estimate`].
///
/// # Errors
/// Features that cannot have one; damage of a segment; what the store refuses; and [`QueryError::Cancelled`].
/// Segments that were done before are kept.
pub fn build(
    store: &Store,
    reader: &FeatureReader,
    options: &GraphOptions,
    progress: &mut (dyn FnMut(&IndexProgress) + Send),
    cancel: &Cancel,
) -> Result<IndexProgress, QueryError> {
    check(reader.part())?;
    let mut done = IndexProgress {
        vectors: reader.segments().iter().map(SegmentRef::vectors).sum(),
        ..IndexProgress::default()
    };
    let mut wanted = Vec::new();
    for segment in reader.segments() {
        match usable(reader, segment) {
            Some(graph) if !options.rebuild => {
                done.kept += segment.vectors();
                done.left_out += graph.header().left_out.total();
            }
            _ => wanted.push(segment),
        }
    }
    progress(&done);
    for segment in wanted {
        let writer = store.write_index(segment, KIND)?;
        let threads = threads_for(options.threads, usize::MAX);
        let one = SegmentGraph { reader, segment, threads, cancel };
        let before = done;
        let (header, written) = one.build(writer, &mut |steps| {
            progress(&IndexProgress { done: before.done + steps / 2, ..before });
        })?;
        done.done += segment.vectors();
        done.left_out += header.left_out.total();
        done.bytes += written;
        progress(&done);
    }
    Ok(done)
}

/// A graph that can be used, to its last byte, and is not made again.
fn usable(reader: &FeatureReader, segment: &SegmentRef) -> Option<Graph> {
    let file = reader.index(segment, KIND).ok().flatten().filter(IndexFile::is_sound)?;
    open(file, reader.part(), segment).ok().filter(|graph| graph.header().is_current())
}

struct SegmentGraph<'a> {
    reader: &'a FeatureReader,
    segment: &'a SegmentRef,
    threads: usize,
    cancel: &'a Cancel,
}

impl SegmentGraph<'_> {
    fn build(
        &self,
        mut writer: IndexWriter,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(GraphHeader, u64), QueryError> {
        let sections = [writer.section(VECTORS, CHUNK)?, writer.section(GRAPH, CHUNK)?];
        let desc = &self.reader.part().desc;
        let dim = desc.dim() as usize;
        let steps = StepCounter::new(progress);
        let (index, left_out) = self.link(dim, &steps)?;
        let header = GraphHeader::new(&desc.space.id(), dim, (self.segment.vectors(), left_out));
        if index.size() as u64 != header.indexed {
            return Err(QueryError::Graph(format!(
                "{} has {} vectors that can be linked, and {} were: a row is in it twice",
                self.segment.file(),
                header.indexed,
                index.size()
            )));
        }
        if header.indexed > 0 {
            let path = writer.beside("usearch");
            save(&index, &path)?;
            let mut made = UsearchFile::open(&path, header.indexed * 2 * dim as u64)?;
            let graph = self.mend(&index, made.graph()?, &header, &steps)?;
            drop(index);
            self.copy(&mut made, &mut writer, sections[0])?;
            for part in graph.chunks(COPY) {
                writer.append(sections[1], part)?;
            }
        }
        let value = serde_json::to_value(&header).map_err(|error| QueryError::Graph(error.to_string()))?;
        let note = writer.finish(value)?;
        Ok((header, note.bytes))
    }

    fn copy(
        &self,
        made: &mut UsearchFile,
        writer: &mut IndexWriter,
        section: SectionId,
    ) -> Result<(), QueryError> {
        let mut buffer = vec![0u8; COPY];
        let mut left = made.vectors;
        made.file.seek(SeekFrom::Start(PREFIX)).map_err(unread)?;
        while left > 0 {
            self.cancel.check()?;
            let now = left.min(COPY as u64) as usize;
            let part = buffer.get_mut(..now).unwrap_or_default();
            made.file.read_exact(part).map_err(unread)?;
            writer.append(section, part)?;
            left -= now as u64;
        }
        Ok(())
    }
}

/// Lets usearch write its file. It tells neither why it could not, nor that the end of the file was lost when
/// the file was closed: the system does, asked for the rest.
fn save(index: &Index, path: &Path) -> Result<(), QueryError> {
    let name = path.to_str().ok_or_else(|| {
        QueryError::Graph(format!(
            "the path {} is not UTF-8, which building a graph requires",
            path.display()
        ))
    })?;
    let saved = index.save(name).map_err(|error| failed("write", &error));
    let is_whole = write_rest(path, index.serialized_length() as u64)
        .map_err(|error| IndexError::from(StorageError::io(format!("write {}", path.display()), error)))?;
    saved?;
    match is_whole {
        true => Ok(()),
        false => Err(QueryError::Graph(format!("usearch did not write the end of {}", path.display()))),
    }
}

/// Fills a file up to `len` bytes; whether it had them.
fn write_rest(path: &Path, len: u64) -> std::io::Result<bool> {
    // Its errors get the path from the caller.
    let mut file = fs_err::OpenOptions::new().append(true).create(true).open(path)?.into_parts().0;
    let missing = len.saturating_sub(file.metadata()?.len());
    if missing > 0 {
        std::io::copy(&mut std::io::repeat(0).take(missing), &mut file)?;
        file.sync_all()?;
    }
    Ok(missing == 0)
}

/// Counts with which usearch begins a file.
const PREFIX: u64 = 8;

struct UsearchFile {
    file: fs_err::File,
    /// Bytes of the vectors.
    vectors: u64,
    /// Bytes of the graph behind them.
    graph: u64,
}

impl UsearchFile {
    fn open(path: &Path, vectors: u64) -> Result<Self, QueryError> {
        let file = fs_err::File::open(path).map_err(unread)?;
        let len = file.metadata().map_err(unread)?.len();
        let graph = len.checked_sub(PREFIX + vectors).filter(|graph| *graph >= HEAD as u64);
        let graph = graph.ok_or_else(|| {
            QueryError::Graph(format!("usearch wrote {len} bytes, fewer than its vectors take"))
        })?;
        Ok(Self { file, vectors, graph })
    }

    fn graph(&mut self) -> Result<Vec<u8>, QueryError> {
        let mut bytes = vec![0; usize::try_from(self.graph).unwrap_or(usize::MAX)];
        self.file.seek(SeekFrom::Start(PREFIX + self.vectors)).map_err(unread)?;
        self.file.read_exact(&mut bytes).map_err(unread)?;
        Ok(bytes)
    }
}

fn unread(error: std::io::Error) -> QueryError {
    QueryError::Graph(format!("what was made cannot be read: {error}"))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> QueryError {
    QueryError::Graph(format!("usearch could not {what} the graph: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_a_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usearch");
        fs_err::write(&path, "graph").unwrap();
        assert!(write_rest(&path, 5).unwrap());
        assert!(!write_rest(&path, 9).unwrap());
        assert_eq!(fs_err::read(&path).unwrap(), b"graph\0\0\0\0");
        assert!(write_rest(&path, 9).unwrap());
        #[cfg(target_os = "linux")]
        {
            let full = write_rest(Path::new("/dev/full"), 9).unwrap_err();
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        }
    }
}
