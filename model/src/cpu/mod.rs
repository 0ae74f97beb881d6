//! The CPU backend: row-major slices, micro-kernels, and loops compiled for the vector instructions at hand.
//!
//! Invariants
//! - every operation runs on the calling thread: no pool of threads, no environment variable. The one lock is
//!   that of a layer's panels for the backward, while the first worker that needs them makes them
//! - results do not depend on the batch: a sample (span) gets the same bits alone and packed with others, at
//!   every level and precision
//! - sizes are checked before anything is computed; what does not fit is a [`BackendError`]
//! - unsafe code is in `level` (dispatch) and `gemm` (kernels) alone
//!
//! Precision: with [`crate::backend::ComputePrecision::Bf16`] both factors of linear layers and of the head
//! are rounded to bf16 (to nearest, ties to even) and their products summed in f32, and so are those of a
//! weight's gradient over a whole batch. Attention, norms, residuals, losses and gradients of single samples
//! stay in f32. CPUs without bf16 products multiply the same rounded values in f32. The last bits differ
//! between the two: the instruction adds products in pairs, treats denormals as zero, and fuses as its maker
//! chose. f32 results are equal bit for bit on AVX-512, AVX2 and NEON; [`SimdLevel::Scalar`] rounds every
//! product before it is added.

#[macro_use]
mod level;
mod activation;
mod attention;
mod factors;
mod gemm;
mod head;
mod linear;
mod math;
mod norm;
mod operations;
mod pool;
mod rope;
mod rows;
mod sample_rows;
mod tensor;
mod vectors;

pub use self::attention::CpuCache;
pub use self::level::{SimdLevel, vectorised};
pub use self::linear::CpuLinear;
pub use self::sample_rows::CpuRows;
pub use self::tensor::CpuTensor;
pub use self::vectors::Vectors;

#[cfg(test)]
pub(crate) use self::gemm::counted;
pub(crate) use self::gemm::transpose;

use self::gemm::Kernels;
use self::level::Simd;
use crate::backend::{BackendError, ComputePrecision, MultiDevice};

/// The backend of this CPU.
#[derive(Clone)]
pub struct Cpu {
    kernels: Kernels,
    compute: ComputePrecision,
}

/// There is one.
impl MultiDevice for Cpu {
    fn beside(&self, _: usize) -> Result<Cpu, BackendError> {
        Ok(self.clone())
    }
}

impl Cpu {
    /// The backend with the widest instructions that this CPU has.
    pub fn new(compute: ComputePrecision) -> Cpu {
        Cpu { kernels: Kernels::new(Simd::widest()), compute }
    }

    /// Bytes that a packed weight takes in each direction of a product.
    pub(crate) fn bytes_per_weight(&self) -> u64 {
        // Without products of bf16 pairs rounded weights are held as f32.
        if self.compute == ComputePrecision::Bf16 && self.kernels.paired.is_some() { 2 } else { 4 }
    }

    /// The backend with the instructions of a level; an error if this CPU lacks them.
    pub fn with_level(compute: ComputePrecision, level: SimdLevel) -> Result<Cpu, BackendError> {
        let simd = Simd::new(level).ok_or_else(|| BackendError::new(format!("this CPU has no {level:?}")))?;
        Ok(Cpu { kernels: Kernels::new(simd), compute })
    }

    /// The instructions in use.
    pub fn level(&self) -> SimdLevel {
        self.kernels.simd.level()
    }

    /// The precision of the factors of linear layers.
    pub fn compute(&self) -> ComputePrecision {
        self.compute
    }
}
