//! Products with a bias or another matrix by cuBLASLt, which adds both before it writes them: no kernel goes over
//! them again.
//!
//! Invariants
//! - an algorithm is chosen once for each kind of product, and again after many kinds
//! - an algorithm that divides the terms keeps its sums in f32 in the workspace and adds them in a second step,
//!   so the order of a sum depends on the kind alone
//! - all products use the workspace, in the order of one stream
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtEpilogue_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t, cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t,
    cublasLtMatrixLayout_t, cublasLtReductionScheme_t, cublasStatus_t, cudaDataType,
};
use cudarc::driver::sys::CUstream;
use gstore_model::BackendError;

use super::memory::DeviceMemory;
use super::operand::Operand;
use crate::runtime::{Memory, Precision, Product, Result};

/// What a call of the library gives.
type Given<T> = std::result::Result<T, CublasError>;

/// More algorithms are not kept: batches differ in their rows.
const MOST_PLANS: usize = 4096;

/// The largest alignment of addresses, in bytes, that makes a difference: what the library expects.
const MOST_ALIGNED: u32 = 256;

/// What the choice of an algorithm depends on. Matrices are in the library's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    sizes: [[usize; 2]; 3],
    strides: [usize; 3],
    /// Of the factors.
    turned: [bool; 2],
    precision: Precision,
    narrow: bool,
    /// Of the matrices, the one that is added, and the bias, if there are these.
    aligned: [u32; 3],
    aligned_added: Option<u32>,
    aligned_bias: Option<u32>,
}

/// Addresses of a matrix that is added, and of a bias.
type Added = (Option<u64>, Option<u64>);

impl Kind {
    fn of(product: &Product<'_, DeviceMemory>, operands: [Operand; 3], (added, bias): Added) -> Kind {
        Kind {
            sizes: operands.map(|operand| operand.size),
            strides: operands.map(|operand| operand.stride),
            turned: [operands[0].turned, operands[1].turned],
            precision: product.precision,
            narrow: product.narrow,
            aligned: operands.map(|operand| alignment(operand.address)),
            aligned_added: added.map(alignment),
            aligned_bias: bias.map(alignment),
        }
    }
}

/// The largest power of two that divides an address.
fn alignment(address: u64) -> u32 {
    1 << address.trailing_zeros().min(MOST_ALIGNED.trailing_zeros())
}

struct Operation(cublasLtMatmulDesc_t);

impl Operation {
    /// The library copies the value, whose size it checks.
    fn set<T: Copy>(&self, attribute: cublasLtMatmulDescAttributes_t, value: T) -> Given<()> {
        // SAFETY: the description and the value are alive.
        unsafe {
            result::set_matmul_desc_attribute(self.0, attribute, (&raw const value).cast(), size_of::<T>())
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: nothing uses it any more.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// Sizes of a matrix in memory.
struct Layout(cublasLtMatrixLayout_t);

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: nothing uses it any more.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// Conditions on an algorithm.
struct Conditions(cublasLtMatmulPreference_t);

impl Conditions {
    /// The library copies the value, whose size it checks.
    fn set<T: Copy>(&self, attribute: cublasLtMatmulPreferenceAttributes_t, value: T) -> Given<()> {
        // SAFETY: the conditions and the value are alive.
        unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, (&raw const value).cast(), size_of::<T>())
        }
    }

    fn new(kind: &Kind) -> Given<Conditions> {
        use cublasLtMatmulPreferenceAttributes_t as Attribute;
        let conditions = Conditions(result::create_matmul_pref()?);
        conditions.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, Lt::WORKSPACE as u64)?;
        // Algorithms that do not divide the terms are always allowed.
        let divided = cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        conditions.set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, divided as u32)?;
        let [first, second, to] = kind.aligned;
        let added = kind.aligned_added.unwrap_or(to);
        conditions.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, first)?;
        conditions.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, second)?;
        conditions.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, added)?;
        conditions.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, to)?;
        Ok(conditions)
    }
}

impl Drop for Conditions {
    fn drop(&mut self) {
        // SAFETY: nothing uses it any more.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// How products of a kind are computed.
struct Plan {
    operation: Operation,
    /// Of the factors, the product, and what is added.
    layouts: [Layout; 4],
    algorithm: cublasLtMatmulAlgo_t,
}

impl Plan {
    /// The context is bound to the thread.
    fn new(handle: cublasLtHandle_t, kind: &Kind, bias: Option<u64>) -> Given<Plan> {
        use cublasLtMatmulDescAttributes_t as Attribute;
        let (values, units) = match kind.precision {
            Precision::Single => (cudaDataType::CUDA_R_32F, cublasComputeType_t::CUBLAS_COMPUTE_32F),
            Precision::Tf32 => (cudaDataType::CUDA_R_32F, cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32),
            Precision::Bf16 => (cudaDataType::CUDA_R_16BF, cublasComputeType_t::CUBLAS_COMPUTE_32F),
        };
        let operation = Operation(result::create_matmul_desc(units, cudaDataType::CUDA_R_32F)?);
        // Numbers of `cublasOperation_t`: 0 as it is, 1 transposed.
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, i32::from(kind.turned[0]))?;
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, i32::from(kind.turned[1]))?;
        if let Some(bias) = bias {
            // One value for each row of the library's matrix, of the type of the matrix.
            let epilogue = cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue as u32)?;
            // The choice depends on its alignment.
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias)?;
        }
        let layout = |matrix: usize, values: cudaDataType| -> Given<Layout> {
            let ([rows, cols], stride) = (kind.sizes[matrix], kind.strides[matrix]);
            Ok(Layout(result::create_matrix_layout(values, rows as u64, cols as u64, stride as i64)?))
        };
        let result = if kind.narrow { cudaDataType::CUDA_R_16BF } else { cudaDataType::CUDA_R_32F };
        // A description of its own for what is added: the same one would mean the same place.
        let layouts = [layout(0, values)?, layout(1, values)?, layout(2, result)?, layout(2, result)?];
        let [first, second, to, added] = [0, 1, 2, 3].map(|matrix: usize| layouts[matrix].0);
        let added = if kind.aligned_added.is_some() { added } else { to };
        let conditions = Conditions::new(kind)?;
        // SAFETY: the handle and all descriptions are alive.
        let found = unsafe {
            result::get_matmul_algo_heuristic(handle, operation.0, first, second, added, to, conditions.0)?
        };
        Ok(Plan { operation, layouts, algorithm: found.algo })
    }
}

/// Whether the library does not compute products of a kind, which it finds before it computes anything.
fn is_refusal(error: &CublasError) -> bool {
    matches!(
        error.0,
        cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED | cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE
    )
}

fn failed(product: &Product<'_, DeviceMemory>, error: &CublasError) -> BackendError {
    let message = format!("cuBLASLt, a product of {:?}: {error}", product.size);
    match error.0 {
        cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => BackendError::out_of_memory(message),
        _ => BackendError::new(message),
    }
}

/// The library on one stream.
pub(super) struct Lt {
    handle: cublasLtHandle_t,
    workspace: DeviceMemory,
    /// None for kinds that it refuses.
    plans: HashMap<Kind, Option<Plan>>,
}

// SAFETY: it owns the handle and the descriptions, which belong to no thread.
unsafe impl Send for Lt {}

impl Lt {
    /// Bytes of the workspace: what NVIDIA advises for Hopper.
    pub(super) const WORKSPACE: usize = 32 << 20;

    /// The context of the workspace is bound to the thread.
    pub(super) fn new(workspace: DeviceMemory) -> Result<Lt> {
        let handle =
            result::create_handle().map_err(|error| BackendError::new(format!("cuBLASLt: {error}")))?;
        Ok(Lt { handle, workspace, plans: HashMap::new() })
    }

    /// Kinds of products that it computes, and that it refuses.
    pub(super) fn kinds(&self) -> (usize, usize) {
        let refused = self.plans.values().filter(|plan| plan.is_none()).count();
        (self.plans.len() - refused, refused)
    }

    /// Computes a product with what is added to it, unless the library refuses this kind: whether it did. The
    /// ranges of the matrices and the bias were checked, and the context is bound to the thread.
    pub(super) fn multiply(
        &mut self,
        product: &Product<'_, DeviceMemory>,
        operands: [Operand; 3],
        added: Added,
        stream: CUstream,
    ) -> Result<bool> {
        let (handle, kind, (matrix, bias)) = (self.handle, Kind::of(product, operands, added), added);
        let workspace = self.workspace.address() as *mut c_void;
        if self.plans.len() >= MOST_PLANS {
            self.plans.clear();
        }
        let known = match self.plans.entry(kind) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => match Plan::new(handle, &kind, bias) {
                Ok(plan) => free.insert(Some(plan)),
                Err(error) if is_refusal(&error) => free.insert(None),
                Err(error) => return Err(failed(product, &error)),
            },
        };
        let Some(plan) = known else { return Ok(false) };
        let [first, second, to] = operands.map(|operand| operand.address as *mut c_void);
        let [first_layout, second_layout, to_layout, added_layout] =
            [0, 1, 2, 3].map(|matrix: usize| plan.layouts[matrix].0);
        let (matrix, matrix_layout, kept) = match matrix {
            Some(address) => (address as *mut c_void, added_layout, 1.0f32),
            None => (to, to_layout, 0.0),
        };
        let scale = product.scale;
        let given = bias.map_or(Ok(()), |bias| {
            plan.operation.set(cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias)
        });
        // SAFETY: the ranges were checked; the handle and all descriptions are alive; work on the stream ends
        // in its order, so nothing else uses the workspace.
        let done = given.and_then(|()| unsafe {
            result::matmul(
                handle,
                plan.operation.0,
                (&raw const scale).cast(),
                (&raw const kept).cast(),
                first,
                first_layout,
                second,
                second_layout,
                matrix,
                matrix_layout,
                to,
                to_layout,
                &raw const plan.algorithm,
                workspace,
                Lt::WORKSPACE,
                stream.cast(),
            )
        });
        match done {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(&error) => {
                *known = None;
                Ok(false)
            }
            Err(error) => Err(failed(product, &error)),
        }
    }
}

impl Drop for Lt {
    fn drop(&mut self) {
        // SAFETY: the device waits for all work before its parts are dropped.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}
