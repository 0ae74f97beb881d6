//! Linking the vectors of a segment: by usearch, and again those that it left out.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use gstore_core::locked;
use gstore_core::parallel;
use gstore_store::{Block, BlockBuffer, RowFlags};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind, VectorType};

use super::super::format::{CONNECTIVITY, EXPANSION};
use super::super::format::{GraphHeader, LeftOut};
use super::super::mend::{Links, NEAR, NOBODY};
use super::{SegmentGraph, failed};
use crate::error::QueryError;
use crate::kernel::usearch_metric;
use crate::values::{NoDirection, groups, unit};

/// Steps of all threads: each vector is linked, and then looked for.
pub(super) struct StepCounter<'a> {
    done: AtomicU64,
    progress: Mutex<&'a mut (dyn FnMut(u64) + Send)>,
}

impl<'a> StepCounter<'a> {
    pub(super) fn new(progress: &'a mut (dyn FnMut(u64) + Send)) -> Self {
        Self { done: AtomicU64::new(0), progress: Mutex::new(progress) }
    }

    fn count(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(64) {
            locked(&self.progress)(done);
        }
    }
}

impl SegmentGraph<'_> {
    /// Links every vector that has a direction.
    pub(super) fn link(&self, dim: usize, steps: &StepCounter<'_>) -> Result<(Index, LeftOut), QueryError> {
        let room = usize::try_from(self.segment.vectors()).unwrap_or(usize::MAX);
        if self.segment.vectors() > u64::from(u32::MAX) {
            return Err(QueryError::Graph(format!(
                "{} has more than {} vectors",
                self.segment.file(),
                u32::MAX
            )));
        }
        let options = IndexOptions {
            dimensions: dim,
            metric: MetricKind::Cos,
            quantization: ScalarKind::F16,
            connectivity: CONNECTIVITY,
            expansion_add: EXPANSION,
            expansion_search: EXPANSION,
            multi: false,
        };
        let mut index = Index::new(&options).map_err(|error| failed("begin", &error))?;
        <usearch::f16 as VectorType>::change_metric(&mut index, usearch_metric(dim))
            .map_err(|error| failed("begin", &error))?;
        index
            .reserve_capacity_and_threads(room.max(1), self.threads)
            .map_err(|error| failed("find memory for", &error))?;
        let left_out = self.each(dim, steps, |row, unit| {
            index.add(row, unit).map_err(|error| failed("add a vector to", &error))
        })?;
        Ok((index, left_out))
    }

    /// Hands out the row and the unit vector of every vector that has a direction; returns the others.
    fn each(
        &self,
        dim: usize,
        steps: &StepCounter<'_>,
        take: impl Fn(u64, &[usearch::f16]) -> Result<(), QueryError> + Sync,
    ) -> Result<LeftOut, QueryError> {
        let blocks = self.reader.blocks_of(self.segment)?;
        let groups = groups(self.reader.part());
        let states = parallel::unordered::<_, QueryError>(
            blocks.len(),
            self.threads,
            self.cancel,
            || (BlockBuffer::new(), Scratch::new(dim), LeftOut::default()),
            |(buffer, scratch, left_out), at| {
                let block = self.reader.read_block(blocks[at], buffer)?;
                for i in 0..block.len() {
                    self.cancel.check()?;
                    block.vector(i, &groups, &mut scratch.vector);
                    if scratch.unit(&block, i, left_out) {
                        take(block.rows[i], usearch::f16::from_i16s(&scratch.unit))?;
                    }
                    steps.count();
                }
                Ok(())
            },
        )?;
        let mut left_out = LeftOut::default();
        for (_, _, part) in states {
            left_out.no_scored += part.no_scored;
            left_out.non_finite += part.non_finite;
            left_out.zero += part.zero;
        }
        Ok(left_out)
    }

    /// The links of a graph with those that usearch left out.
    pub(super) fn mend(
        &self,
        index: &Index,
        graph: Vec<u8>,
        header: &GraphHeader,
        steps: &StepCounter<'_>,
    ) -> Result<Vec<u8>, QueryError> {
        let mut links = Links::read(graph, header).map_err(QueryError::Graph)?;
        let rows = links.rows();
        let slot = |row: u64| {
            rows.binary_search_by_key(&row, |known| known.0)
                .ok()
                .and_then(|at| rows.get(at))
                .map_or(NOBODY, |known| known.1)
        };
        let near: Vec<AtomicU32> = (0..rows.len() * NEAR).map(|_| AtomicU32::new(NOBODY)).collect();
        self.each(header.dim, steps, |own, unit| {
            let found = index.search(unit, NEAR + 1).map_err(|error| failed("search", &error))?;
            let at = slot(own) as usize;
            let others = found.keys.iter().filter(|row| **row != own);
            let places = near.get(at * NEAR..(at + 1) * NEAR).into_iter().flatten();
            places.zip(others).for_each(|(near, row)| near.store(slot(*row), Ordering::Relaxed));
            Ok(())
        })?;
        links.add(|slot, i| near.get(slot * NEAR + i).map_or(NOBODY, |near| near.load(Ordering::Relaxed)));
        Ok(links.bytes)
    }
}

struct Scratch {
    vector: Vec<f32>,
    /// The bits of its f16.
    unit: Vec<i16>,
}

impl Scratch {
    fn new(dim: usize) -> Self {
        Self { vector: vec![0.0; dim], unit: vec![0; dim] }
    }

    /// Divides the vector by its length; false if it has none, and is counted as left out.
    fn unit(&mut self, block: &Block<'_>, i: usize, left_out: &mut LeftOut) -> bool {
        let flags = RowFlags::from_bits(block.flags[i]);
        if flags.contains(RowFlags::NO_SCORED) {
            left_out.no_scored += 1;
            return false;
        }
        let is_finite = !flags.intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING));
        match unit(&self.vector) {
            Ok(values) if is_finite => {
                self.unit.iter_mut().zip(values).for_each(|(out, x)| *out = x.to_bits() as i16);
                return true;
            }
            Err(NoDirection::Zero) if is_finite => left_out.zero += 1,
            _ => left_out.non_finite += 1,
        }
        false
    }
}
