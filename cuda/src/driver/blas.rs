//! Products of matrices by cuBLAS; by cuBLASLt where it adds a bias.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use cudarc::cublas::result::gemm_ex;
use cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cublasStatus_t, cudaDataType,
};
use gstore_core::locked;
use gstore_model::BackendError;

use super::memory::DeviceMemory;
use super::operand::Operand;
use super::raw::Driver;
use crate::runtime::{Precision, Product, Result};

impl Driver {
    /// cuBLAS is column-major, so it computes the transpose: the right factor comes first.
    pub(super) fn product(&self, product: &Product<'_, DeviceMemory>) -> Result<()> {
        let [rows, cols, terms] = product.size;
        let (memory, offset, stride) = product.to;
        let width = match product.precision {
            Precision::Single | Precision::Tf32 => 4,
            Precision::Bf16 => 2,
        };
        let left = Operand::of(&product.left, [rows, terms], width)?;
        let right = Operand::of(&product.right, [terms, cols], width)?;
        let address = memory.at(offset * 4, ((rows.max(1) - 1) * stride + cols) * 4)?;
        let to = Operand { address, size: [cols, rows], stride, turned: false };
        let operands = [right, left, to];
        self.bind()?;
        if let Some((bias, first)) = product.bias {
            let bias = bias.at(first * 4, cols * 4)?;
            if locked(&self.lt).multiply(product, operands, bias, self.stream.cu_stream())? {
                return Ok(());
            }
        }
        let sums = product.write_bias(self)?;
        self.without_bias(product, operands, sums)
    }

    /// The context is bound to the thread.
    fn without_bias(
        &self,
        product: &Product<'_, DeviceMemory>,
        [right, left, to]: [Operand; 3],
        sums: bool,
    ) -> Result<()> {
        let [rows, cols, terms] = product.size;
        let (kind, units) = match product.precision {
            Precision::Single => (cudaDataType::CUDA_R_32F, cublasComputeType_t::CUBLAS_COMPUTE_32F),
            Precision::Tf32 => (cudaDataType::CUDA_R_32F, cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32),
            Precision::Bf16 => (cudaDataType::CUDA_R_16BF, cublasComputeType_t::CUBLAS_COMPUTE_32F),
        };
        let (scale, kept) = (product.scale, if sums { 1.0f32 } else { 0.0 });
        let blas = locked(&self.blas);
        // SAFETY: the ranges of all three matrices were checked, and the handle is alive.
        let done = unsafe {
            gemm_ex(
                *blas.handle(),
                operation(right),
                operation(left),
                size(cols)?,
                size(rows)?,
                size(terms)?,
                (&raw const scale).cast(),
                right.address as *const c_void,
                kind,
                size(right.stride)?,
                left.address as *const c_void,
                kind,
                size(left.stride)?,
                (&raw const kept).cast(),
                to.address as *mut c_void,
                cudaDataType::CUDA_R_32F,
                size(to.stride)?,
                units,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        done.map_err(|error| {
            let message = format!("cuBLAS, a product of {:?}: {error}", product.size);
            match error.0 {
                cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => BackendError::out_of_memory(message),
                _ => BackendError::new(message),
            }
        })
    }

    /// Kinds of products with a bias so far: those whose bias cuBLASLt adds, and those that it refuses, which
    /// take another kernel.
    pub fn kinds_with_bias(&self) -> (usize, usize) {
        locked(&self.lt).kinds()
    }
}

fn operation(operand: Operand) -> cublasOperation_t {
    if operand.turned { cublasOperation_t::CUBLAS_OP_T } else { cublasOperation_t::CUBLAS_OP_N }
}

fn size(of: usize) -> Result<c_int> {
    c_int::try_from(of)
        .map_err(|_| BackendError::new(format!("{of} rows or columns are more than cuBLAS takes")))
}
