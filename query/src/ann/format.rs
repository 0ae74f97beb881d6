//! Bytes of a graph as usearch 2.26 writes them, in two sections.
//!
//! ```text
//! vectors | n x dim f16, of length 1
//! graph   | head (64) | n, M, 2M, top level, entry (5 x u64) | level of each node (n x i16) | nodes
//! node    | row (u64) | level (i16) | 2M-list of level 0 | an M-list for each further level
//! list    | count (u32) | as many slots (u32) as the list may have
//! ```
//!
//! With the number of vectors and the bytes of one (2 x u32) before the first section, the two
//! are a file of usearch.

use serde::{Deserialize, Serialize};

/// The kind of such indexes.
pub const KIND: &str = "hnsw";

/// Sections of the index.
pub(super) const VECTORS: &str = "vectors";
pub(super) const GRAPH: &str = "graph";

/// Bytes of the head of a file of usearch.
pub(super) const HEAD: usize = 64;
const MAGIC: &[u8] = b"usearch";
/// Cosine, f16, u64, u32: how usearch numbers the kinds of metric, values, keys and slots.
const KINDS: [u8; 4] = [b'c', 12, 14, 15];
/// Row and level.
pub(super) const NODE_HEAD: u64 = 10;
/// More levels than any graph has: with `u32::MAX` nodes and lists of 2, 32 are expected.
const MOST_LEVELS: u64 = 512;
/// Longest lists that are read.
const MOST_EDGES: u64 = 4096;

/// Edges of a node above level 0; twice as many at it.
pub(super) const CONNECTIVITY: usize = 32;
/// Candidates that are kept while a node is linked.
#[cfg(feature = "ann")]
pub(super) const EXPANSION: usize = 128;

/// What the header of an index says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GraphHeader {
    /// Version of this header.
    pub version: u32,
    /// Who wrote the graph.
    pub writer: String,
    /// Key of the feature's space.
    pub space: String,
    /// Coordinates of a vector.
    pub dim: usize,
    /// Always `cosine`.
    pub metric: String,
    /// Always `f16`.
    pub values: String,
    /// Vectors of the segment, those of deleted rows among them.
    pub vectors: u64,
    /// Vectors of the graph.
    pub indexed: u64,
    /// The others.
    pub left_out: LeftOut,
    /// Edges of a node at a level above 0; at level 0 twice as many.
    pub connectivity: usize,
    /// Candidates that were kept while a node was linked.
    pub expansion: usize,
}

/// Vectors that are in no graph because they have no direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Of samples without a scored token.
    pub no_scored: u64,
    /// Not finite, or missing.
    pub non_finite: u64,
    /// Shorter than 1e-12: similar to nothing.
    pub zero: u64,
}

impl LeftOut {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.no_scored.saturating_add(self.non_finite).saturating_add(self.zero)
    }
}

impl GraphHeader {
    /// The header of a graph of this build.
    #[cfg(feature = "ann")]
    pub(super) fn new(space: &str, dim: usize, (vectors, left_out): (u64, LeftOut)) -> Self {
        Self {
            version: 1,
            writer: "usearch 2.26.6".into(),
            space: space.to_owned(),
            dim,
            metric: "cosine".into(),
            values: "f16".into(),
            vectors,
            indexed: vectors.saturating_sub(left_out.total()),
            left_out,
            connectivity: CONNECTIVITY,
            expansion: EXPANSION,
        }
    }

    /// Whether it has as many links as those of this build: with the fewer of an earlier gstore, fewer rows
    /// are found, so a build makes it again.
    pub(super) fn is_current(&self) -> bool {
        self.connectivity == CONNECTIVITY
    }

    /// Reads the header of an index that is of `vectors` vectors of this space with so many coordinates.
    pub(super) fn read(
        header: &serde_json::Value,
        (space, dim): (&str, usize),
        vectors: u64,
    ) -> Result<Self, String> {
        let read: Self = serde_json::from_value(header.clone())
            .map_err(|error| format!("its header is not that of a graph: {error}"))?;
        read.check(space, dim, vectors)?;
        Ok(read)
    }

    /// Whether it is of vectors like these.
    fn check(&self, space: &str, dim: usize, vectors: u64) -> Result<(), String> {
        let known = self.version == 1 && self.metric == "cosine" && self.values == "f16";
        if !known {
            return Err(format!(
                "it is of version {}, {} and {}; version 1, cosine and f16 can be read",
                self.version, self.metric, self.values
            ));
        }
        if self.space != space || self.dim != dim {
            return Err(format!("it is of another space, with {} coordinates", self.dim));
        }
        let sum = self.indexed.checked_add(self.left_out.total());
        if self.vectors != vectors || sum != Some(vectors) {
            return Err(format!(
                "it is of {} vectors and has {}, the segment has {vectors}",
                self.vectors, self.indexed
            ));
        }
        Ok(())
    }
}

/// The fixed part of a graph, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GraphShape {
    pub nodes: u64,
    /// Edges of a list above level 0.
    pub edges: u64,
    /// Edges of a list at level 0.
    pub base_edges: u64,
    pub top: u64,
    pub entry: u64,
}

impl GraphShape {
    /// Bytes of the fixed part.
    pub const BYTES: usize = HEAD + 40;

    /// Reads the fixed part.
    pub fn read(bytes: &[u8], header: &GraphHeader) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("the graph's {what} is not that of its header"));
        let (Some(head), Some(fixed)) = (bytes.get(..HEAD), bytes.get(HEAD..Self::BYTES)) else {
            return wrong("length");
        };
        let word = |at: usize| u64_at(fixed, at * 8).unwrap_or(u64::MAX);
        let head_word = |at: usize| u64_at(head, at).unwrap_or(u64::MAX);
        if head.get(..MAGIC.len()) != Some(MAGIC) || head.get(7..9) != Some(&[2, 0]) {
            return wrong("writer");
        }
        if head.get(13..17) != Some(&KINDS) || head.get(41) != Some(&0) {
            return wrong("kind");
        }
        if (head_word(17), head_word(25), head_word(33)) != (header.indexed, 0, header.dim as u64) {
            return wrong("size");
        }
        let shape =
            Self { nodes: word(0), edges: word(1), base_edges: word(2), top: word(3), entry: word(4) };
        let lists = 1..=MOST_EDGES;
        let fits = shape.nodes == header.indexed
            && u32::try_from(shape.nodes).is_ok()
            && lists.contains(&shape.edges)
            && lists.contains(&shape.base_edges)
            && shape.top < MOST_LEVELS
            && (shape.entry < shape.nodes || shape.nodes == 0);
        if fits { Ok(shape) } else { wrong("shape") }
    }

    /// Where the levels of nodes begin.
    pub(super) fn levels_at(self) -> u64 {
        Self::BYTES as u64
    }

    /// Where the nodes begin.
    pub(super) fn nodes_at(self) -> u64 {
        self.levels_at() + 2 * self.nodes
    }

    /// Bytes of a list at a level above 0.
    pub fn list(self) -> u64 {
        4 + 4 * self.edges
    }

    /// Bytes of a list at level 0.
    pub(super) fn base_list(self) -> u64 {
        4 + 4 * self.base_edges
    }

    /// Bytes of a node without its further levels.
    pub(super) fn base_node(self) -> u64 {
        NODE_HEAD + self.base_list()
    }

    /// A level as it is stored, if a graph can have it.
    pub fn level(self, stored: i16) -> Result<u64, String> {
        match u64::try_from(stored) {
            Ok(level) if level <= self.top => Ok(level),
            _ => Err(format!("a node of the graph has level {stored}, and its top level is {}", self.top)),
        }
    }
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn i16_at(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
