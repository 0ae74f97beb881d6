//! Products by something else than this processor, such as a GPU.

use std::fmt;
use std::ops::Range;

use gstore_store::Values;

use super::Queries;

/// Why there are no products: a device that is lost, or has too little memory.
pub type ProductsError = Box<dyn std::error::Error + Send + Sync>;

/// The segment of a block and its place there, by which it is known again.
pub type BlockKey = (u128, usize);

/// A block of stored rows, which never changes: a device may keep it.
#[derive(Debug, Clone, Copy)]
pub struct RowBlock<'a> {
    /// Identifies it.
    pub key: BlockKey,
    /// Its values, of any type but signs.
    pub values: Values<'a>,
}

/// Rows of blocks that a device keeps, block after block.
#[derive(Debug, Clone, Copy)]
pub struct KeptRows<'a> {
    /// The blocks, each with the number of its rows.
    pub blocks: &'a [(BlockKey, usize)],
    /// The rows' places in their blocks.
    pub places: &'a [usize],
}

/// One checkpoint's share of what scores are estimated from.
#[derive(Debug, Clone, Copy)]
pub struct EstimatedRows<'a> {
    /// Its rows.
    pub rows: KeptRows<'a>,
    /// For each of them the place of its score. A score without a row here is unspecified.
    pub slots: &'a [usize],
    /// As those of [`RowProducts::scaled_dots`].
    pub queries: &'a Queries,
    /// Likewise.
    pub groups: &'a [usize],
    /// Likewise.
    pub factors: &'a [f32],
}

/// How several numbers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combined {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// How the values of a row, one for each query, become its score.
#[derive(Debug, Clone, Copy)]
pub struct Folding<'a> {
    /// Queries of each subtask, of which there are some.
    pub subtasks: &'a [Range<usize>],
    /// How the values of a subtask become one.
    pub within: Combined,
    /// How those of all subtasks become one.
    pub across: Combined,
}

/// What multiplies stored rows with query vectors in place of the processor.
pub trait RowProducts: fmt::Debug + Send + Sync {
    /// [`Kernel::scaled_dots_at`](super::Kernel::scaled_dots_at) of the rows of a block at `chosen`, which
    /// ascend and of which there are some, with the same bits. Queries are multiplied by one device.
    ///
    /// # Errors
    /// Operands that do not fit each other, and a device that fails.
    fn scaled_dots(
        &self,
        block: &RowBlock<'_>,
        chosen: &[usize],
        queries: &Queries,
        groups: &[usize],
        factors: &[f32],
        out: &mut [f32],
    ) -> Result<(), ProductsError>;

    /// Whether the device keeps a block.
    fn keeps(&self, block: BlockKey) -> bool;

    /// As [`RowProducts::scaled_dots`], at once of rows of many blocks. False if a block of them is not kept
    /// any more, or if they are too many for the memory that is left: then there are no products.
    ///
    /// # Errors
    /// Operands that do not fit each other, and a device that fails.
    fn kept_dots(
        &self,
        rows: KeptRows<'_>,
        queries: &Queries,
        groups: &[usize],
        factors: &[f32],
        out: &mut [f32],
    ) -> Result<bool, ProductsError>;

    /// Estimates scores of rows that the device keeps, from the sums of their products over checkpoints:
    /// each with a bound on how far the processor's score, from exact products, is from it. One that is not
    /// finite says nothing. False as [`RowProducts::kept_dots`], and if the rows are not f16 whose groups
    /// begin and end at multiples of 8.
    ///
    /// # Errors
    /// As [`RowProducts::kept_dots`].
    fn estimates(
        &self,
        checkpoints: &[EstimatedRows<'_>],
        folding: Folding<'_>,
        scores: &mut [[f32; 2]],
    ) -> Result<bool, ProductsError>;

    /// Gives up memory of the device in which blocks are kept, for something else there such as a model;
    /// false if none were.
    fn make_room(&self) -> bool;
}
