//! Products by something else than this processor, such as a GPU.

use std::fmt;

use gstore_store::Values;

use super::Queries;

/// Why there are no products: a device that is lost, or has too little memory.
pub type ProductsError = Box<dyn std::error::Error + Send + Sync>;

/// A block of stored rows, which never changes: a device may keep it.
#[derive(Debug, Clone, Copy)]
pub struct RowBlock<'a> {
    /// The segment and the block's place there, by which it is known again.
    pub key: (u128, usize),
    /// Its values, which are no signs.
    pub values: Values<'a>,
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

    /// Gives up memory of the device in which blocks are kept, for something else there such as a model;
    /// false if none were.
    fn make_room(&self) -> bool;
}
