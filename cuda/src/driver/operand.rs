//! Matrices of products as cuBLAS takes them.

use super::memory::DeviceMemory;
use crate::runtime::{Factor, Result};

/// A matrix as cuBLAS takes it, column-major: the transpose of what is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand {
    pub(super) address: u64,
    /// Its rows and columns in memory.
    pub(super) size: [usize; 2],
    /// Elements from one column to the next.
    pub(super) stride: usize,
    /// Whether its transpose is multiplied.
    pub(super) turned: bool,
}

impl Operand {
    /// A factor of that many rows and columns, its elements of `width` bytes.
    pub(super) fn of(
        factor: &Factor<'_, DeviceMemory>,
        [rows, cols]: [usize; 2],
        width: usize,
    ) -> Result<Operand> {
        let (lines, line) = if factor.transposed { (cols, rows) } else { (rows, cols) };
        let elements = lines.saturating_sub(1) * factor.stride + if lines > 0 { line } else { 0 };
        let address = factor.memory.at(factor.offset * width, elements * width)?;
        let (size, stride) = ([line, lines], factor.stride.max(1));
        Ok(Operand { address, size, stride, turned: factor.transposed })
    }
}
