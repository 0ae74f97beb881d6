//! Products of stored rows with query vectors, for questions to a store.
//!
//! Invariants
//! - products have the bits of the processor's
//! - blocks stay on the device from one question to the next as long as they take no more than half of the
//!   memory that was free at first; of others the values are brought there for each product, through pinned
//!   memory
//! - where memory is too little, fewer blocks stay, then none, and then fewer products are computed at once
//! - query vectors are on the device as long as those of the host are there

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstore_model::sizes::check;
use gstore_model::{BackendError, OomBackoff, OutOfMemory};
use gstore_query::kernel::{ProductsError, Queries, RowBlock, RowProducts};
use gstore_store::Values;

use super::{Cuda, THREADS, from, number};
use crate::runtime::{Argument, Result, Runtime};

/// Bytes that go to the device at a time: as many as a runtime takes through pinned memory.
const PIECE: usize = 1 << 20;

/// A block gives way to others once so many sets of query vectors have come since it was read.
const IDLE: u64 = 64;

/// Queries up to which tiles of few are faster.
const FEW: usize = 8;

/// A device that multiplies stored rows.
pub struct CudaScan<R: Runtime> {
    on: Cuda<R>,
    kept: Mutex<Kept<R::Memory>>,
    /// Products that are computed at the same time.
    backoff: OomBackoff,
}

/// The blocks that stay on the device.
struct Kept<M> {
    blocks: HashMap<(u128, usize), KeptBlock<M>>,
    /// Bytes of blocks that are on their way.
    coming: usize,
    /// Bytes of all that may stay.
    budget: usize,
    /// Sets of query vectors so far.
    questions: u64,
}

struct KeptBlock<M> {
    values: Arc<M>,
    bytes: usize,
    /// How many sets of query vectors there were when it was read last.
    read: u64,
}

impl<M> Kept<M> {
    /// Takes room for a block, if there is some once idle ones have given way.
    fn takes(&mut self, bytes: usize) -> bool {
        if !self.fits(bytes) {
            let questions = self.questions;
            self.blocks.retain(|_, block| block.read + IDLE > questions);
        }
        let fits = self.fits(bytes);
        if fits {
            self.coming += bytes;
        }
        fits
    }

    fn fits(&self, bytes: usize) -> bool {
        self.held().saturating_add(self.coming).saturating_add(bytes) <= self.budget
    }

    fn held(&self) -> usize {
        self.blocks.values().map(|block| block.bytes).sum()
    }
}

impl<R: Runtime> CudaScan<R> {
    /// Keeps blocks in up to half of the memory that is free.
    ///
    /// # Errors
    /// A device that is lost.
    pub fn new(on: Cuda<R>) -> Result<CudaScan<R>> {
        let budget = on.runtime.free()? / 2;
        Ok(CudaScan::with_budget(on, budget))
    }

    /// Keeps blocks in so many bytes.
    pub fn with_budget(on: Cuda<R>, bytes: usize) -> CudaScan<R> {
        let kept = Kept { blocks: HashMap::new(), coming: 0, budget: bytes, questions: 0 };
        CudaScan { on, kept: Mutex::new(kept), backoff: OomBackoff::default() }
    }

    /// The device.
    pub fn runtime(&self) -> &R {
        self.on.runtime()
    }

    /// Bytes of blocks that stay on the device.
    pub fn kept_bytes(&self) -> usize {
        self.kept().held()
    }

    fn kept(&self) -> MutexGuard<'_, Kept<R::Memory>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes in memory of the device.
    fn bring(&self, bytes: &[u8]) -> Result<Arc<R::Memory>> {
        let memory = self.on.allocate::<u8>(bytes.len())?;
        for (at, piece) in bytes.chunks(PIECE).enumerate() {
            self.on.runtime.write(&memory, at * PIECE, piece)?;
        }
        Ok(Arc::new(memory))
    }

    /// Memory that has bytes `span` of a block, and where they start there.
    fn values(&self, block: &RowBlock<'_>, span: Range<usize>) -> Result<(Arc<R::Memory>, usize)> {
        let bytes = block.values.bytes();
        let stays = {
            let mut kept = self.kept();
            let questions = kept.questions;
            if let Some(own) = kept.blocks.get_mut(&block.key) {
                own.read = questions;
                return Ok((own.values.clone(), span.start));
            }
            kept.takes(bytes.len())
        };
        if !stays {
            return Ok((self.bring(&bytes[span])?, 0));
        }
        let brought = self.bring(bytes);
        let mut kept = self.kept();
        kept.coming -= bytes.len();
        let (values, bytes, read) = (brought?, bytes.len(), kept.questions);
        kept.blocks.insert(block.key, KeptBlock { values: values.clone(), bytes, read });
        Ok((values, span.start))
    }

    /// Makes room where something else, such as a model, has the memory by now: fewer blocks stay than with
    /// the budget that was `seen`. Whether that helps.
    fn give_way(&self, seen: usize) -> bool {
        let mut kept = self.kept();
        // Another thread may have done so.
        if kept.budget == seen {
            kept.budget = seen.min(kept.held()) / 2;
            kept.blocks.clear();
        }
        seen > 0
    }

    fn vectors<'q>(&self, queries: &'q Queries) -> Result<&'q R::Memory> {
        let kept = queries.on_device(|| {
            self.kept().questions += 1;
            let made: Arc<dyn Any + Send + Sync> = Arc::new(self.on.upload(&queries.vectors())?);
            Ok::<_, BackendError>(made)
        })?;
        kept.downcast_ref().ok_or_else(|| BackendError::new("the query vectors are on another device"))
    }

    fn multiply(
        &self,
        block: &RowBlock<'_>,
        chosen: &[usize],
        (queries, groups): (&Queries, &[usize]),
        factors: &[f32],
        out: &mut [f32],
    ) -> Result<()> {
        let (kind, size) = match block.values {
            Values::F16(_) => (0, 2),
            Values::F32(_) => (1, 4),
            Values::I8(_) => (2, 1),
            Values::I1(_) => return Err(BackendError::new("signs are multiplied by the processor")),
        };
        let (dim, width, columns) = (queries.dim(), queries.len(), queries.groups());
        let (rows, each) = (chosen.len(), dim * size);
        let ascend = chosen.is_sorted_by(|a, b| a < b);
        let fit = out.len() == rows * width && factors.len() == rows * columns;
        check(ascend && fit && groups.iter().all(|group| *group < columns), || {
            format!(
                "{} factors of {rows} rows, and {} products with {width} queries",
                factors.len(),
                out.len()
            )
        })?;
        let (Some(first), Some(last), 1..) = (chosen.first(), chosen.last(), width) else { return Ok(()) };
        let stored = block.values.bytes().len() / each;
        check(*last < stored, || format!("row {last} of a block of {stored}"))?;

        let vectors = self.vectors(queries)?;
        // What belongs to this product goes to the device at once.
        let mut words: Vec<u32> = factors.iter().map(|factor| factor.to_bits()).collect();
        let groups_at = words.len();
        for group in groups {
            let span = queries.span(*group);
            words.extend([number(span.start)?, number(span.end)?, number(*group)?]);
        }
        let chosen_at = words.len();
        let follow = last - first + 1 == rows;
        if !follow {
            words.extend(chosen.iter().map(|row| (row - first) as u32));
        }
        let words = self.on.upload(&words)?;
        let (values, at) = self.values(block, first * each..(last + 1) * each)?;
        let products = self.on.allocate::<f32>(out.len())?;
        let (kernel, tile) = match width {
            ..=FEW => ("row_products_few", [64, 4]),
            _ => ("row_products_many", [32, 32]),
        };
        let grid = [rows.div_ceil(tile[0]), width.div_ceil(tile[1]), 1];
        let arguments = [
            Argument::At(&*values, at),
            Argument::U32(kind),
            if follow { Argument::Null } else { from::<u32, _>(&words, chosen_at) },
            Argument::U32(number(rows)?),
            Argument::U32(number(dim)?),
            from::<f32, _>(vectors, 0),
            Argument::U32(number(width)?),
            from::<u32, _>(&words, groups_at),
            Argument::U32(number(groups.len())?),
            from::<u32, _>(&words, 0),
            Argument::U32(number(columns)?),
            from::<f32, _>(&products, 0),
        ];
        self.on.launch(kernel, grid, THREADS, 0, &arguments)?;
        self.on.runtime.read(&products, 0, bytemuck::cast_slice_mut(out))
    }
}

impl<R: Runtime> RowProducts for CudaScan<R> {
    fn scaled_dots(
        &self,
        block: &RowBlock<'_>,
        chosen: &[usize],
        queries: &Queries,
        groups: &[usize],
        factors: &[f32],
        out: &mut [f32],
    ) -> std::result::Result<(), ProductsError> {
        let done = self.backoff.retry(|_| {
            loop {
                let budget = self.kept().budget;
                match self.multiply(block, chosen, (queries, groups), factors, out) {
                    Err(error) if error.is_out_of_memory() && self.give_way(budget) => {}
                    done => return done,
                }
            }
        });
        done.map_err(ProductsError::from)
    }

    fn make_room(&self) -> bool {
        let (held, budget) = {
            let kept = self.kept();
            (kept.held(), kept.budget)
        };
        held > 0 && self.give_way(budget)
    }
}

impl<R: Runtime> fmt::Debug for CudaScan<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaScan").field("kept_bytes", &self.kept_bytes()).finish_non_exhaustive()
    }
}
