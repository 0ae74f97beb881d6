//! Graph search in the memory map of an index file.
//!
//! The walk is that of HNSW (Malkov and Yashunin 2018, algorithms 2 and 5): greedy through the
//! upper levels, then best first at level 0 with `ef` results kept. Rows that a filter refuses are
//! walked over and not kept.
//!
//! Invariants
//! - every slot, level and length that is followed was compared with the graph's shape first; a walk visits a
//!   node once, so it ends
//! - memory: 8 bytes for each 256 nodes while it is open, one bit for each node while it is searched

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use gstore_core::{Cancel, Remedy};
use gstore_store::{IndexFile, Section};
use half::f16;

use super::format::{GRAPH, GraphHeader, GraphShape, HEAD, KIND, NODE_HEAD, VECTORS, i16_at, u32_at, u64_at};
use crate::error::QueryError;
use crate::kernel::Kernel;

/// Nodes whose levels are summed at once when the place of one is looked for.
const STRIDE: u64 = 256;

/// A graph of the vectors of a segment, open for searching. Can be shared between threads.
#[derive(Debug)]
pub struct Graph {
    file: IndexFile,
    feature: String,
    header: GraphHeader,
    shape: GraphShape,
    /// Sum of the levels of the nodes before each multiple of [`STRIDE`].
    levels: Vec<u64>,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NearestRows {
    /// Distance (1 minus the cosine of what the graph holds) and row, nearest first.
    pub rows: Vec<(f32, u64)>,
    /// Vectors that were compared.
    pub compared: u64,
}

/// A distance, which is a number, and a slot; equal distances in order of the slot.
#[derive(Debug, Clone, Copy)]
struct Neighbour(f32, u32);

impl PartialEq for Neighbour {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Neighbour {}

impl PartialOrd for Neighbour {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Neighbour {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl Graph {
    /// Opens the graph in an index file that is of `vectors` vectors of `dim` coordinates in this space;
    /// `feature` is how messages name whose. Reads and checks its fixed part and the levels of its nodes.
    ///
    /// # Errors
    /// Damage, and a file that is no such graph; both say how to rebuild it.
    pub fn open(
        file: IndexFile,
        feature: &str,
        (space, dim): (&str, usize),
        vectors: u64,
    ) -> Result<Self, QueryError> {
        // Whatever is found here, a build finds as well.
        let wrong = |why: String| unusable(&file, feature, &why, false);
        let header = GraphHeader::read(file.header(), (space, dim), vectors).map_err(wrong)?;
        let (nodes, values) = (file.section(GRAPH)?, file.section(VECTORS)?);
        let expected = (dim as u64).checked_mul(2).and_then(|each| each.checked_mul(header.indexed));
        if expected != Some(values.len()) {
            return Err(wrong(format!("its section `{VECTORS}` has {} bytes", values.len())));
        }
        if header.indexed == 0 {
            let shape = GraphShape { nodes: 0, edges: 1, base_edges: 1, top: 0, entry: 0 };
            return Ok(Self { shape, levels: Vec::new(), header, feature: feature.to_owned(), file });
        }
        let fixed = nodes.view(0..nodes.len().min((HEAD + 40) as u64))?;
        let shape = GraphShape::read(fixed, &header).map_err(wrong)?;
        if nodes.len() < shape.nodes_at() {
            return Err(wrong(format!("its section `{GRAPH}` has {} bytes", nodes.len())));
        }
        let (mut levels, mut sum) = (Vec::new(), 0u64);
        for first in (0..shape.nodes).step_by(STRIDE as usize) {
            levels.push(sum);
            let count = STRIDE.min(shape.nodes - first);
            let at = shape.levels_at() + 2 * first;
            let bytes = nodes.view(at..at + 2 * count)?;
            for i in 0..count as usize {
                sum += shape.level(i16_at(bytes, 2 * i).unwrap_or(-1)).map_err(wrong)?;
            }
        }
        // Both products are far below 2^64: there are fewer than 2^32 nodes of fewer than 2^25 bytes each.
        let expected = shape.nodes_at() + shape.nodes * shape.base_node() + sum * shape.list();
        if nodes.len() != expected {
            return Err(wrong(format!(
                "its section `{GRAPH}` has {} bytes, and its nodes take {expected}",
                nodes.len()
            )));
        }
        Ok(Self { shape, levels, header, feature: feature.to_owned(), file })
    }

    /// Its metadata.
    pub fn header(&self) -> &GraphHeader {
        &self.header
    }

    /// The rows nearest to a vector of length 1 among those that `allowed` lets through: `ef` of them, found
    /// by comparing at most `budget` vectors; `None` if that was not enough.
    ///
    /// # Errors
    /// A query that has another number of coordinates or is not finite; damage; [`QueryError::Cancelled`].
    pub fn search(
        &self,
        query: &[f16],
        ef: usize,
        allowed: impl Fn(u64) -> bool,
        budget: u64,
        cancel: &Cancel,
    ) -> Result<Option<NearestRows>, QueryError> {
        if query.len() != self.header.dim || query.iter().any(|x| !x.is_finite()) {
            return Err(QueryError::Graph(format!(
                "a query has {} finite coordinates, this one has {}",
                self.header.dim,
                query.iter().filter(|x| x.is_finite()).count()
            )));
        }
        if self.shape.nodes == 0 || ef == 0 {
            return Ok(Some(NearestRows::default()));
        }
        let mut walk = Walk {
            graph: self,
            values: self.file.section(VECTORS)?,
            nodes: self.file.section(GRAPH)?,
            kernel: Kernel::detect(),
            query,
            compared: 0,
        };
        let nearest = walk.descend(cancel)?;
        walk.spread(nearest, ef, allowed, budget, cancel)
    }
}

struct Walk<'a> {
    graph: &'a Graph,
    values: Section<'a>,
    nodes: Section<'a>,
    kernel: Kernel,
    query: &'a [f16],
    compared: u64,
}

impl<'a> Walk<'a> {
    /// Greedily through the levels above 0.
    fn descend(&mut self, cancel: &Cancel) -> Result<Neighbour, QueryError> {
        let shape = self.graph.shape;
        // The entry is below the number of nodes, which fits.
        let entry = shape.entry as u32;
        let mut best = Neighbour(self.distance(entry)?, entry);
        for level in (1..=shape.top).rev() {
            loop {
                cancel.check()?;
                let from = best;
                for slot in self.list(from.1, level)? {
                    let near = Neighbour(self.distance(slot)?, slot);
                    best = best.min(near);
                }
                if best == from {
                    break;
                }
            }
        }
        Ok(best)
    }

    /// Best first at level 0.
    fn spread(
        mut self,
        start: Neighbour,
        ef: usize,
        allowed: impl Fn(u64) -> bool,
        budget: u64,
        cancel: &Cancel,
    ) -> Result<Option<NearestRows>, QueryError> {
        let mut seen = vec![0u64; (self.graph.shape.nodes as usize).div_ceil(64)];
        let mut first_time = |slot: u32| {
            let word = seen.get_mut(slot as usize / 64);
            let bit = 1u64 << (slot % 64);
            word.is_some_and(|word| {
                let new = *word & bit == 0;
                *word |= bit;
                new
            })
        };
        // Never more than the graph has, whatever was asked for.
        let ef = ef.min(self.graph.shape.nodes as usize);
        let mut open = BinaryHeap::from([Reverse(start)]);
        let mut kept: BinaryHeap<Neighbour> = BinaryHeap::new();
        first_time(start.1);
        if allowed(self.row(start.1)?) {
            kept.push(start);
        }
        while let Some(Reverse(near)) = open.pop() {
            cancel.check()?;
            if kept.len() >= ef && kept.peek().is_some_and(|worst| near > *worst) {
                break;
            }
            for slot in self.list(near.1, 0)? {
                if !first_time(slot) {
                    continue;
                }
                if self.compared >= budget {
                    return Ok(None);
                }
                let next = Neighbour(self.distance(slot)?, slot);
                if kept.len() >= ef && kept.peek().is_some_and(|worst| next > *worst) {
                    continue;
                }
                open.push(Reverse(next));
                if allowed(self.row(slot)?) {
                    kept.push(next);
                    if kept.len() > ef {
                        kept.pop();
                    }
                }
            }
        }
        let mut rows = Vec::with_capacity(kept.len());
        for Neighbour(distance, slot) in kept.into_sorted_vec() {
            rows.push((distance, self.row(slot)?));
        }
        Ok(Some(NearestRows { rows, compared: self.compared }))
    }

    fn distance(&mut self, slot: u32) -> Result<f32, QueryError> {
        let each = 2 * self.query.len() as u64;
        let at = u64::from(slot) * each;
        let bytes = self.values.view(at..at + each)?;
        let vector: &[f16] =
            bytemuck::try_cast_slice(bytes).map_err(|error| self.broken(format!("a vector: {error}")))?;
        self.compared += 1;
        let distance = 1.0 - self.kernel.half_dot(self.query, vector);
        // A forged file can hold what is not finite: such a vector is the farthest,
        // whatever the sign of its NaN.
        Ok(if distance.is_nan() { f32::INFINITY } else { distance })
    }

    /// Where a node begins, and its level.
    fn place(&self, slot: u32) -> Result<(u64, u64), QueryError> {
        let shape = self.graph.shape;
        let slot = u64::from(slot);
        let first = slot / STRIDE * STRIDE;
        let at = shape.levels_at() + 2 * first;
        let bytes = self.nodes.view(at..at + 2 * (slot - first + 1))?;
        let before = self.graph.levels.get((slot / STRIDE) as usize).copied();
        let mut sum = before.ok_or_else(|| self.broken("a slot is beyond its end".into()))?;
        let mut level = 0;
        // Every one was checked when the graph was opened.
        for stored in bytes.chunks_exact(2) {
            sum += level;
            level = shape.level(i16_at(stored, 0).unwrap_or(-1)).map_err(|why| self.broken(why))?;
        }
        Ok((shape.nodes_at() + slot * shape.base_node() + sum * shape.list(), level))
    }

    fn row(&self, slot: u32) -> Result<u64, QueryError> {
        let (at, _) = self.place(slot)?;
        let bytes = self.nodes.view(at..at + 8)?;
        u64_at(bytes, 0).ok_or_else(|| self.broken("a node is cut".into()))
    }

    /// The neighbours of a node at a level.
    fn list(&self, slot: u32, level: u64) -> Result<impl Iterator<Item = u32> + use<'a>, QueryError> {
        let shape = self.graph.shape;
        let (at, own) = self.place(slot)?;
        if level > own {
            return Err(self.broken(format!("a node of level {own} is an end of an edge at level {level}")));
        }
        let (at, len) = match level {
            0 => (at + NODE_HEAD, shape.base_list()),
            _ => (at + NODE_HEAD + shape.base_list() + (level - 1) * shape.list(), shape.list()),
        };
        let bytes = self.nodes.view(at..at + len)?;
        let count = u32_at(bytes, 0).unwrap_or(u32::MAX) as usize;
        let slots = bytes.get(4..).unwrap_or_default().get(..count.saturating_mul(4));
        let slots = slots.ok_or_else(|| self.broken(format!("a node has {count} edges")))?;
        let slot = |bytes: &[u8]| u32_at(bytes, 0).unwrap_or(u32::MAX);
        if slots.chunks_exact(4).any(|bytes| u64::from(slot(bytes)) >= shape.nodes) {
            return Err(self.broken("an edge leads out of it".into()));
        }
        Ok(slots.chunks_exact(4).map(slot))
    }

    fn broken(&self, why: String) -> QueryError {
        // Its digests agree, so a build would keep it.
        unusable(&self.graph.file, &self.graph.feature, &why, true)
    }
}

/// Why the file of a graph cannot be used; `rebuild`: whether a build has to be told to make it again.
fn unusable(file: &IndexFile, feature: &str, why: &str, rebuild: bool) -> QueryError {
    let build = Remedy::Index { kind: KIND, feature, rebuild };
    QueryError::Graph(format!("{} cannot be used: {why}; {build} rebuilds it", file.file()))
}
