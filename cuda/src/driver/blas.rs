//! Products of matrices by cuBLAS.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use cudarc::cublas::result::gemm_ex;
use cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cublasStatus_t, cudaDataType,
};
use gstore_core::locked;
use gstore_model::BackendError;

use super::raw::{DeviceMemory, Driver};
use crate::runtime::{Factor, Precision, Product, Result};

impl Driver {
    /// cuBLAS is column-major, so it computes the transpose: the right factor comes first.
    pub(super) fn product(&self, product: &Product<'_, DeviceMemory>) -> Result<()> {
        let [rows, cols, terms] = product.size;
        let (memory, offset, stride) = product.to;
        let (kind, units, width) = match product.precision {
            Precision::Single => (cudaDataType::CUDA_R_32F, cublasComputeType_t::CUBLAS_COMPUTE_32F, 4),
            Precision::Tf32 => {
                (cudaDataType::CUDA_R_32F, cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32, 4)
            }
            Precision::Bf16 => (cudaDataType::CUDA_R_16BF, cublasComputeType_t::CUBLAS_COMPUTE_32F, 2),
        };
        let factor = |factor: &Factor<'_, DeviceMemory>, rows: usize, cols: usize| {
            let (lines, line) = if factor.transposed { (cols, rows) } else { (rows, cols) };
            let elements = lines.saturating_sub(1) * factor.stride + if lines > 0 { line } else { 0 };
            let address = factor.memory.at(factor.offset * width, elements * width)?;
            let turned = if factor.transposed {
                cublasOperation_t::CUBLAS_OP_T
            } else {
                cublasOperation_t::CUBLAS_OP_N
            };
            Ok::<_, BackendError>((address as *const c_void, turned, size(factor.stride.max(1))?))
        };
        let (left, left_turned, left_stride) = factor(&product.left, rows, terms)?;
        let (right, right_turned, right_stride) = factor(&product.right, terms, cols)?;
        let to = memory.at(offset * 4, ((rows.max(1) - 1) * stride + cols) * 4)? as *mut c_void;
        let (scale, kept) = (product.scale, if product.sums { 1.0f32 } else { 0.0 });
        self.bind()?;
        let blas = locked(&self.blas);
        // SAFETY: the ranges of all three matrices were checked, and the handle is alive.
        let done = unsafe {
            gemm_ex(
                *blas.handle(),
                right_turned,
                left_turned,
                size(cols)?,
                size(rows)?,
                size(terms)?,
                (&raw const scale).cast(),
                right,
                kind,
                right_stride,
                left,
                kind,
                left_stride,
                (&raw const kept).cast(),
                to,
                cudaDataType::CUDA_R_32F,
                size(stride)?,
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
        })?;
        product.add_bias(self)
    }
}

fn size(of: usize) -> Result<c_int> {
    c_int::try_from(of)
        .map_err(|_| BackendError::new(format!("{of} rows or columns are more than cuBLAS takes")))
}
