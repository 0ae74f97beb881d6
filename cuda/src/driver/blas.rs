//! Products of matrices by cuBLAS; by cuBLASLt where it adds a bias or another matrix.
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
use crate::runtime::{Added, Precision, Product, Result};

impl Driver {
    /// cuBLAS is column-major, so it computes the transpose: the right factor comes first.
    pub(super) fn product(&self, product: &Product<'_, DeviceMemory>) -> Result<()> {
        product.check()?;
        let [rows, cols, terms] = product.size;
        let (memory, offset, stride) = product.to;
        let width = match product.precision {
            Precision::Single | Precision::Tf32 => 4,
            Precision::Bf16 => 2,
        };
        let left = Operand::of(&product.left, [rows, terms], width)?;
        let right = Operand::of(&product.right, [terms, cols], width)?;
        let bytes = product.width();
        let elements = (rows.max(1) - 1) * stride + cols;
        let address = memory.at(offset * bytes, elements * bytes)?;
        let to = Operand { address, size: [cols, rows], stride, turned: false };
        let operands = [right, left, to];
        self.bind()?;
        let bias = product.bias.map(|(bias, first)| bias.at(first * bytes, cols * bytes)).transpose()?;
        let added = match product.added {
            Added::Matrix(matrix, first) => Some(matrix.at(first * 4, elements * 4)?),
            Added::Nothing | Added::There => None,
        };
        if bias.is_some() || added.is_some() {
            let mut lt = locked(&self.lt);
            if lt.multiply(product, operands, (added, bias), self.stream.cu_stream())? {
                return Ok(());
            }
        }
        let sums = product.write_added(self)?;
        self.multiplied(product, operands, sums)
    }

    /// A product that is written, or added to what is there. The context is bound to the thread.
    fn multiplied(
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
                if product.narrow { cudaDataType::CUDA_R_16BF } else { cudaDataType::CUDA_R_32F },
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

    /// Kinds of products so far to which a bias or another matrix is added: those for which cuBLASLt does it, and
    /// those that it refuses, which take another kernel.
    pub fn kinds_with_sums(&self) -> (usize, usize) {
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
