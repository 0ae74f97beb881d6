//! Link repair: edges that usearch leaves out.
//!
//! Of a node's neighbours usearch keeps those that are nearer to the node than to each other, and drops a
//! link back where a list is full. Among gradients, with their hubs and copies, that leaves lists of 64 with
//! 7 links each, and one node in four with no link that leads to it: no search finds it, however many
//! candidates it keeps. The room is there, so it is used: first for links that lead to such nodes, then for
//! what is nearest (`keepPrunedConnections` of Malkov and Yashunin 2018, algorithm 4).
//!
//! Invariants
//! - links are only added, at level 0, and only where a list has room: the form of the file stays usearch's
//! - what is added is a function of the graph and of the neighbours that are handed in

use super::format::{GraphHeader, GraphShape, NODE_HEAD, i16_at, u32_at, u64_at};

/// Neighbours of a node that are looked at.
pub(super) const NEAR: usize = 64;
/// Links that lead to a node at least, where its neighbours have room.
const LEADING: u32 = 8;
pub(super) const NOBODY: u32 = u32::MAX;

/// The section `graph` in memory.
pub(super) struct Links {
    pub(super) bytes: Vec<u8>,
    /// Where the list of each node at level 0 begins.
    at: Vec<usize>,
    /// Slots that a list may have.
    most: usize,
}

impl Links {
    pub(super) fn read(bytes: Vec<u8>, header: &GraphHeader) -> Result<Self, String> {
        let shape = GraphShape::read(&bytes, header)?;
        let (mut at, mut next) = (Vec::new(), shape.nodes_at());
        for node in 0..shape.nodes {
            at.push((next + NODE_HEAD) as usize);
            let stored = i16_at(&bytes, (shape.levels_at() + 2 * node) as usize).unwrap_or(-1);
            next += shape.base_node() + shape.level(stored)? * shape.list();
        }
        match next == bytes.len() as u64 {
            true => Ok(Self { bytes, at, most: shape.base_edges as usize }),
            false => Err(format!("its nodes take {next} bytes, and it has {}", bytes.len())),
        }
    }

    /// The row and slot of each node, by row.
    pub(super) fn rows(&self) -> Vec<(u64, u32)> {
        let row = |at: usize| u64_at(&self.bytes, at - NODE_HEAD as usize).unwrap_or(u64::MAX);
        let mut rows: Vec<(u64, u32)> = self.at.iter().zip(0..).map(|(at, slot)| (row(*at), slot)).collect();
        rows.sort_unstable();
        rows
    }

    /// Adds links; `near` has for each slot its [`NEAR`] neighbours, nearest first, and [`NOBODY`]
    /// where there are fewer.
    pub(super) fn add(&mut self, near: impl Fn(usize, usize) -> u32) {
        let mut leading = vec![0u32; self.at.len()];
        for slot in 0..self.at.len() {
            for other in self.list(slot) {
                if let Some(n) = leading.get_mut(other as usize) {
                    *n += 1;
                }
            }
        }
        for (slot, leading) in leading.iter_mut().enumerate() {
            for i in 0..NEAR {
                if *leading >= LEADING {
                    break;
                }
                *leading += u32::from(self.link(near(slot, i), slot as u32));
            }
        }
        for slot in 0..self.at.len() {
            for i in 0..NEAR {
                if near(slot, i) != NOBODY {
                    self.link(slot as u32, near(slot, i));
                }
            }
        }
    }

    fn list(&self, slot: usize) -> impl Iterator<Item = u32> + '_ {
        let at = self.at.get(slot).copied().unwrap_or(usize::MAX - 4);
        let count = u32_at(&self.bytes, at).unwrap_or(0) as usize;
        (0..count.min(self.most)).filter_map(move |i| u32_at(&self.bytes, at + 4 + 4 * i))
    }

    /// Lets a link lead from one node to another; false where it was there, or there is no room.
    fn link(&mut self, from: u32, to: u32) -> bool {
        let Some(at) = self.at.get(from as usize).copied().filter(|_| from != to) else { return false };
        let mut count = 0;
        for other in self.list(from as usize) {
            if other == to {
                return false;
            }
            count += 1;
        }
        if count >= self.most {
            return false;
        }
        let place = at + 4 + 4 * count;
        for (at, word) in [(place, to), (at, count as u32 + 1)] {
            if let Some(bytes) = self.bytes.get_mut(at..at + 4) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
        true
    }
}
