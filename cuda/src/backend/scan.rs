//! Products of stored rows with query vectors, for questions to a store.
//!
//! Invariants
//! - products have the same bits as on the processor
//! - blocks stay on the device between questions as long as they take at most half of the memory that was
//!   free at first; the values of other blocks are copied there for each product, through pinned memory
//! - rows of any blocks that stay are multiplied by one launch: a kernel is told where each row is
//! - where scores are estimated (`estimates.rs`), only rows that may rank are multiplied
//! - where memory is too little, fewer blocks stay, then none, and then fewer products are computed at once
//! - query vectors stay on the device as long as those on the host exist

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use gstore_model::sizes::check;
use gstore_model::{BackendError, OomBackoff, OutOfMemory};
use gstore_query::kernel::{
    BlockKey, EstimatedRows, Folding, KeptRows, ProductsError, Queries, RowBlock, RowProducts,
};
use gstore_store::Values;

use super::halves::Halves;
use super::{Cuda, THREADS, from, number};
use crate::runtime::{Argument, MOST_WRITTEN, Memory, Result, Runtime};

/// A block may be evicted after that many sets of query vectors since it was last read.
const IDLE: u64 = 64;

/// The most queries for which the kernel with narrow tiles is faster.
const FEW: usize = 8;

/// A device that multiplies stored rows with queries.
pub struct CudaScan<R: Runtime> {
    pub(super) on: Cuda<R>,
    /// Many threads look up blocks for each question; blocks come and go seldom.
    kept: RwLock<Kept<R::Memory>>,
    /// Products that are computed at the same time.
    backoff: OomBackoff,
}

/// The blocks that stay on the device.
struct Kept<M> {
    blocks: HashMap<BlockKey, KeptBlock<M>>,
    /// Bytes of blocks that are being copied.
    coming: usize,
    /// Bytes that may stay in all.
    budget: usize,
    /// Sets of query vectors so far.
    questions: u64,
}

struct KeptBlock<M> {
    values: Arc<M>,
    stored: Stored,
    bytes: usize,
    /// The number of sets of query vectors when it was last read.
    read: AtomicU64,
}

/// Device data of query vectors.
pub(super) struct Vectors<M> {
    pub(super) singles: M,
    /// For estimates; created for the first one.
    pub(super) halves: Mutex<Option<Arc<Halves<M>>>>,
}

/// The type of stored values, by the number that identifies it in kernels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    F16 = 0,
    F32 = 1,
    I8 = 2,
}

impl Stored {
    fn of(values: Values<'_>) -> Result<Stored> {
        match values {
            Values::F16(_) => Ok(Stored::F16),
            Values::F32(_) => Ok(Stored::F32),
            Values::I8(_) => Ok(Stored::I8),
            Values::I1(_) => Err(BackendError::new("signs are multiplied by the processor")),
        }
    }

    /// Bytes per value.
    fn bytes(self) -> usize {
        match self {
            Stored::F16 => 2,
            Stored::F32 => 4,
            Stored::I8 => 1,
        }
    }
}

/// Operands of products with rows.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    pub(super) queries: &'a Queries,
    pub(super) groups: &'a [usize],
    /// Rows x groups of the queries.
    pub(super) of_rows: &'a [f32],
}

impl Factors<'_> {
    /// Checks that operands and products fit each other.
    fn check(&self, rows: usize, products: usize) -> Result<()> {
        let (width, columns) = (self.queries.len(), self.queries.groups());
        let fit = products == rows * width && self.of_rows.len() == rows * columns;
        check(fit && self.groups.iter().all(|group| *group < columns), || {
            let factors = self.of_rows.len();
            format!("{factors} factors of {rows} rows, and {products} products with {width} queries")
        })
    }

    /// Kernel input for the rows at some addresses: these, then the factors, then the ends and the number of
    /// each group; also where factors and groups begin. It is one piece because each copy to the device costs
    /// time, and the widest values come first so that all are aligned.
    pub(super) fn packed(self, places: &[u64]) -> Result<(Vec<u32>, [usize; 2])> {
        let mut words = bytemuck::cast_slice::<u64, u32>(places).to_vec();
        let factors_at = words.len();
        words.extend_from_slice(bytemuck::cast_slice(self.of_rows));
        let groups_at = words.len();
        for group in self.groups {
            let span = self.queries.span(*group);
            words.extend([number(span.start)?, number(span.end)?, number(*group)?]);
        }
        Ok((words, [factors_at, groups_at]))
    }
}

impl<M> Kept<M> {
    /// Reserves room for a block, if there is any after evicting idle ones.
    fn takes(&mut self, bytes: usize) -> bool {
        if !self.fits(bytes) {
            let questions = self.questions;
            self.blocks.retain(|_, block| block.read.load(Ordering::Relaxed) + IDLE > questions);
        }
        let fits = self.fits(bytes);
        if fits {
            self.coming += bytes;
        }
        fits
    }

    /// A block, which a question reads, if it is there.
    fn read(&self, key: BlockKey) -> Option<&KeptBlock<M>> {
        let block = self.blocks.get(&key)?;
        block.read.store(self.questions, Ordering::Relaxed);
        Some(block)
    }

    fn fits(&self, bytes: usize) -> bool {
        self.held().saturating_add(self.coming).saturating_add(bytes) <= self.budget
    }

    fn held(&self) -> usize {
        self.blocks.values().map(|block| block.bytes).sum()
    }
}

impl<R: Runtime> CudaScan<R> {
    /// Keeps blocks in up to half of the free memory.
    ///
    /// # Errors
    /// A lost device.
    pub fn new(on: Cuda<R>) -> Result<CudaScan<R>> {
        let budget = on.runtime.free()? / 2;
        Ok(CudaScan::with_budget(on, budget))
    }

    /// Keeps blocks in up to that many bytes.
    pub fn with_budget(on: Cuda<R>, bytes: usize) -> CudaScan<R> {
        let kept = Kept { blocks: HashMap::new(), coming: 0, budget: bytes, questions: 0 };
        CudaScan { on, kept: RwLock::new(kept), backoff: OomBackoff::default() }
    }

    /// The device.
    pub fn runtime(&self) -> &R {
        self.on.runtime()
    }

    /// Bytes of blocks on the device.
    pub fn kept_bytes(&self) -> usize {
        self.kept().held()
    }

    fn kept(&self) -> RwLockReadGuard<'_, Kept<R::Memory>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_mut(&self) -> RwLockWriteGuard<'_, Kept<R::Memory>> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies bytes to memory of the device.
    pub(super) fn bring(&self, bytes: &[u8]) -> Result<R::Memory> {
        let memory = self.on.allocate::<u8>(bytes.len())?;
        for (at, piece) in bytes.chunks(MOST_WRITTEN).enumerate() {
            self.on.runtime.write(&memory, at * MOST_WRITTEN, piece)?;
        }
        Ok(memory)
    }

    /// Memory that holds bytes `span` of a block, and where they start in it.
    fn values(&self, block: &RowBlock<'_>, span: Range<usize>) -> Result<(Arc<R::Memory>, usize)> {
        let bytes = block.values.bytes();
        if let Some(own) = self.kept().read(block.key) {
            return Ok((own.values.clone(), span.start));
        }
        let stays = self.kept_mut().takes(bytes.len());
        if !stays {
            return Ok((Arc::new(self.bring(&bytes[span])?), 0));
        }
        let brought = self.bring(bytes);
        let mut kept = self.kept_mut();
        kept.coming -= bytes.len();
        let (values, stored) = (Arc::new(brought?), Stored::of(block.values)?);
        let (bytes, read) = (bytes.len(), AtomicU64::new(kept.questions));
        kept.blocks.insert(block.key, KeptBlock { values: values.clone(), stored, bytes, read });
        Ok((values, span.start))
    }

    /// Makes room where something else, such as a model, has taken memory meanwhile: fewer blocks stay than
    /// with the budget that was `seen`. Returns whether that helps.
    fn give_way(&self, seen: usize) -> bool {
        let mut kept = self.kept_mut();
        // Another thread may have done so.
        if kept.budget == seen {
            kept.budget = seen.min(kept.held()) / 2;
            kept.blocks.clear();
        }
        seen > 0
    }

    pub(super) fn vectors<'q>(&self, queries: &'q Queries) -> Result<&'q Vectors<R::Memory>> {
        let kept = queries.on_device(|| {
            self.kept_mut().questions += 1;
            let singles = self.bring(bytemuck::cast_slice(&queries.vectors()))?;
            let made: Arc<dyn Any + Send + Sync> = Arc::new(Vectors { singles, halves: Mutex::default() });
            Ok::<_, BackendError>(made)
        })?;
        kept.downcast_ref().ok_or_else(|| BackendError::new("the query vectors are on another device"))
    }

    fn multiply(
        &self,
        block: &RowBlock<'_>,
        chosen: &[usize],
        factors: Factors<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let stored = Stored::of(block.values)?;
        factors.check(chosen.len(), out.len())?;
        check(chosen.is_sorted_by(|a, b| a < b), || "rows of a block do not ascend".to_owned())?;
        let (Some(first), Some(last)) = (chosen.first(), chosen.last()) else { return Ok(()) };
        let each = factors.queries.dim() * stored.bytes();
        let rows = block.values.bytes().len() / each;
        check(*last < rows, || format!("row {last} of a block of {rows}"))?;

        let vectors = self.vectors(factors.queries)?;
        let (values, at) = self.values(block, first * each..(last + 1) * each)?;
        let start = Memory::address(&*values) + at as u64;
        let places: Vec<u64> = chosen.iter().map(|row| start + ((row - first) * each) as u64).collect();
        self.products(stored, &places, (&vectors.singles, factors), out)
    }

    /// Products of rows of resident blocks; false if not all of the blocks are.
    fn multiply_kept(&self, rows: KeptRows<'_>, factors: Factors<'_>, out: &mut [f32]) -> Result<bool> {
        factors.check(rows.places.len(), out.len())?;
        // A new set of query vectors is counted before blocks are read with it.
        let vectors = self.vectors(factors.queries)?;
        let mut values = Vec::new();
        let Some((stored, places)) = self.places(rows, factors.queries.dim(), &mut values)? else {
            return Ok(false);
        };
        self.products(stored, &places, (&vectors.singles, factors), out)?;
        Ok(true)
    }

    /// The type and the addresses of rows of `dim` values, which are valid as long as `values` lives; `None`
    /// if not all of their blocks are resident, or if there are none.
    pub(super) fn places(
        &self,
        rows: KeptRows<'_>,
        dim: usize,
        values: &mut Vec<Arc<R::Memory>>,
    ) -> Result<Option<(Stored, Vec<u64>)>> {
        check(rows.blocks.iter().map(|block| block.1).sum::<usize>() == rows.places.len(), || {
            format!("{} rows, which are not as many as those of their blocks", rows.places.len())
        })?;
        let mut found = Vec::with_capacity(rows.blocks.len());
        {
            let kept = self.kept();
            for (key, _) in rows.blocks {
                let Some(block) = kept.read(*key) else { return Ok(None) };
                values.push(block.values.clone());
                found.push((Memory::address(&*block.values), block.bytes, block.stored));
            }
        }
        // Other threads ask for their blocks meanwhile.
        let Some(&(_, _, stored)) = found.first() else { return Ok(None) };
        let each = dim * stored.bytes();
        let (mut places, mut left) = (Vec::with_capacity(rows.places.len()), rows.places);
        for ((_, count), (start, bytes, own_stored)) in rows.blocks.iter().zip(found) {
            let (own, others) = left.split_at(*count);
            left = others;
            let most = bytes / each;
            check(own_stored == stored && own.iter().all(|row| *row < most), || {
                format!("rows of {each} bytes in a block of {bytes}")
            })?;
            places.extend(own.iter().map(|row| start + (row * each) as u64));
        }
        Ok(Some((stored, places)))
    }

    /// Products of the rows at some addresses, whose memory must live until the launch.
    fn products(
        &self,
        stored: Stored,
        places: &[u64],
        (vectors, factors): (&R::Memory, Factors<'_>),
        out: &mut [f32],
    ) -> Result<()> {
        let Factors { queries, groups, .. } = factors;
        let (rows, width) = (places.len(), queries.len());
        if out.is_empty() {
            return Ok(());
        }
        let (words, [factors_at, groups_at]) = factors.packed(places)?;
        let words = self.bring(bytemuck::cast_slice(&words))?;
        let products = self.on.allocate::<f32>(out.len())?;
        // For each kernel the rows and queries of a block, its threads and its shared memory: of each row
        // its address and so many pieces of 128 bytes.
        let shared = |rows: usize, pieces: usize| rows * (8 + pieces * 128);
        let (kernel, tile, threads, shared) = match width {
            1 => ("row_products_one", [128, 1], THREADS, shared(128, 5)),
            2..=FEW => ("row_products_few", [128, 4], THREADS / 2, shared(128, 4)),
            _ => ("row_products_many", [32, 32], THREADS, 0),
        };
        let grid = [rows.div_ceil(tile[0]) * width.div_ceil(tile[1]), 1, 1];
        let arguments = [
            from::<u64, _>(&words, 0),
            Argument::U32(stored as u32),
            Argument::U32(number(rows)?),
            Argument::U32(number(queries.dim())?),
            from::<f32, _>(vectors, 0),
            Argument::U32(number(width)?),
            from::<u32, _>(&words, groups_at),
            Argument::U32(number(groups.len())?),
            from::<u32, _>(&words, factors_at),
            Argument::U32(number(queries.groups())?),
            from::<f32, _>(&products, 0),
        ];
        self.on.launch(kernel, grid, threads, shared, &arguments)?;
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
        let factors = Factors { queries, groups, of_rows: factors };
        let done = self.backoff.retry(|_| {
            loop {
                let budget = self.kept().budget;
                match self.multiply(block, chosen, factors, out) {
                    Err(error) if error.is_out_of_memory() && self.give_way(budget) => {}
                    done => return done,
                }
            }
        });
        done.map_err(ProductsError::from)
    }

    fn keeps(&self, block: BlockKey) -> bool {
        self.kept().blocks.contains_key(&block)
    }

    fn kept_dots(
        &self,
        rows: KeptRows<'_>,
        queries: &Queries,
        groups: &[usize],
        factors: &[f32],
        out: &mut [f32],
    ) -> std::result::Result<bool, ProductsError> {
        unless_short(self.multiply_kept(rows, Factors { queries, groups, of_rows: factors }, out))
    }

    fn estimates(
        &self,
        checkpoints: &[EstimatedRows<'_>],
        folding: Folding<'_>,
        scores: &mut [[f32; 2]],
    ) -> std::result::Result<bool, ProductsError> {
        unless_short(self.estimate(checkpoints, folding, scores))
    }

    fn make_room(&self) -> bool {
        let (held, budget) = {
            let kept = self.kept();
            (kept.held(), kept.budget)
        };
        held > 0 && self.give_way(budget)
    }
}

/// False where memory is short: fewer rows may fit, once blocks are evicted.
fn unless_short(done: Result<bool>) -> std::result::Result<bool, ProductsError> {
    match done {
        Err(error) if error.is_out_of_memory() => Ok(false),
        done => done.map_err(ProductsError::from),
    }
}

impl<R: Runtime> fmt::Debug for CudaScan<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaScan").field("kept_bytes", &self.kept_bytes()).finish_non_exhaustive()
    }
}
