//! Graphs in the store: an index of kind `hnsw` for each segment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gstore_core::parallel::threads_for;
use gstore_core::{Digest, locked};
use gstore_store::{Family, FeaturePart, FeatureReader, Granularity, IndexFile, IndexState, SegmentRef};

use super::format::{GRAPH, GraphHeader, KIND, VECTORS};
use super::graph::Graph;
use crate::error::QueryError;
use crate::indexes::IndexStatus;

/// Bytes of a node on disk without its vector: its edges (about 280 bytes).
const NODE_BYTES: u64 = 320;
/// Further bytes in memory: where it and its key are found, its edges once more, and its neighbours
/// while links are added.
const NODE_MEMORY: u64 = 640;

/// What making the graphs of a feature takes at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Vectors of the largest segment.
    pub vectors: u64,
    /// Bytes of memory while its graph is made.
    pub memory: u64,
    /// Bytes on the disk of the graphs of all segments.
    pub disk: u64,
    /// Temporary bytes on disk while the largest is built: usearch's file, and the part of the index that
    /// is assembled next to it.
    pub beside: u64,
}

/// Bytes on disk of the graph of so many vectors, and temporary ones while it is made, at most.
fn on_disk(reader: &FeatureReader, vectors: u64) -> (u64, u64) {
    let graph = vectors.saturating_mul(2 * u64::from(reader.part().desc.dim()) + NODE_BYTES);
    (graph, graph.saturating_add(vectors.saturating_mul(NODE_BYTES)))
}

/// What a build takes at most: one segment is in memory at a time. `threads` 0 means one per core.
pub fn estimate(reader: &FeatureReader, threads: usize) -> Estimate {
    let vectors = reader.segments().iter().map(SegmentRef::vectors).max().unwrap_or(0);
    let (graph, beside) = on_disk(reader, vectors);
    let block = reader.blocks().iter().map(|block| block.vectors() as u64).max().unwrap_or(0);
    let own = block.saturating_mul(4 * u64::from(reader.part().desc.dim()));
    let own = own.saturating_mul(threads_for(threads, usize::MAX) as u64);
    Estimate {
        vectors,
        memory: graph.saturating_add(own).saturating_add(vectors.saturating_mul(NODE_MEMORY)),
        beside,
        disk: on_disk(reader, reader.segments().iter().map(SegmentRef::vectors).sum()).0,
    }
}

/// Free bytes on disk that a build needs at most, for the graphs that it makes: with `rebuild` all. Reads the
/// footers of those that are there.
pub fn room(reader: &FeatureReader, rebuild: bool) -> u64 {
    let (mut added, mut largest) = (0u64, 0);
    for segment in reader.segments() {
        let (graph, beside) = on_disk(reader, segment.vectors());
        let is_kept =
            |file: &IndexFile| !rebuild && header(reader, segment, file).is_some_and(|own| own.is_current());
        // What is replaced stays until the new graph is finished.
        let replaced = match reader.index_state(segment, KIND) {
            Ok(IndexState::Ready(file)) if is_kept(&file) => continue,
            Ok(IndexState::Ready(file)) => file.bytes(),
            Ok(IndexState::Missing) => 0,
            _ => graph,
        };
        added = added.saturating_add(graph.saturating_sub(replaced));
        largest = beside.saturating_add(replaced).max(largest);
    }
    added.saturating_add(largest)
}

/// Refuses features that cannot have a graph.
pub fn check(part: &FeaturePart) -> Result<(), QueryError> {
    let why = if part.desc.granularity == Granularity::Token {
        "has vectors of tokens; graphs are built from samples' vectors"
    } else if part.desc.space.family == Family::Loss {
        "is a single number, which has no neighbours by angle"
    } else if part.desc.ensemble.is_some() || part.desc.checkpoint.is_none() {
        "belongs to no single checkpoint; graphs are built from features that do"
    } else {
        return Ok(());
    };
    Err(QueryError::Graph(format!("{} {why}", part.display_name())))
}

/// State of a segment's graph; a build replaces one that cannot be used. Reads the file's footer.
pub fn found(reader: &FeatureReader, segment: &SegmentRef) -> IndexStatus {
    match reader.index_state(segment, KIND) {
        Ok(IndexState::Missing) => IndexStatus::Missing,
        Ok(IndexState::Ready(file)) if header(reader, segment, &file).is_some() => IndexStatus::Usable,
        _ => IndexStatus::Unusable,
    }
}

/// The header of a segment's graph, if the graph can be used as far as the file's footer tells.
fn header(reader: &FeatureReader, segment: &SegmentRef, file: &IndexFile) -> Option<GraphHeader> {
    let desc = &reader.part().desc;
    let (space, dim) = (desc.space.id(), desc.dim() as usize);
    let has_sections = [VECTORS, GRAPH].iter().all(|name| file.section(name).is_ok());
    GraphHeader::read(file.header(), (&space, dim), segment.vectors()).ok().filter(|_| has_sections)
}

pub(super) fn open(file: IndexFile, part: &FeaturePart, segment: &SegmentRef) -> Result<Graph, QueryError> {
    let (space, dim) = (part.desc.space.id(), part.desc.dim() as usize);
    Graph::open(file, &part.display_name(), (&space, dim), segment.vectors())
}

/// Graphs that were opened before, kept for further questions: what was verified once need not be read again.
#[derive(Debug, Default)]
pub struct Graphs {
    /// By the segment's file and the digest of its footer.
    open: Mutex<HashMap<(String, Digest), Arc<Graph>>>,
}

impl Graphs {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The graph of a segment; `None` if there is none or it is of another state of the segment.
    ///
    /// # Errors
    /// Damage, and a file that is no graph of this segment's vectors; both say how to rebuild it.
    pub fn get(
        &self,
        reader: &FeatureReader,
        segment: &SegmentRef,
    ) -> Result<Option<Arc<Graph>>, QueryError> {
        let key = (segment.file().to_owned(), segment.digest());
        // A panic cannot leave the map half changed.
        let known = locked(&self.open).get(&key).map(Arc::clone);
        if known.is_some() {
            return Ok(known);
        }
        let IndexState::Ready(file) = reader.index_state(segment, KIND)? else { return Ok(None) };
        let graph = open(*file, reader.part(), segment)?;
        Ok(Some(Arc::clone(locked(&self.open).entry(key).or_insert_with(|| Arc::new(graph)))))
    }
}
