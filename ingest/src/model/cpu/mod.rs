//! The CPU backend: row-major slices, products in micro-kernels and loops compiled for the vector instructions of the CPU at hand.
//!
//! Invariants
//! - every operation runs on the calling thread: no pool of threads, no environment variable, no lock that another worker could hold
//! - results do not depend on the batch: a sample (span) gets the same bits alone and packed with others, at every level and precision
//! - sizes are checked before anything is computed; what does not fit is a [`BackendError`]
//! - unsafe code is in `level` (dispatch) and `gemm` (kernels) alone
//!
//! Precision: with [`Compute::Bf16`] both factors of linear layers and of the head are rounded to bf16 (to nearest, ties to even) and their
//! products summed in f32. Attention, norms, residuals, losses and the products of per-sample factors stay in f32. CPUs without bf16
//! products multiply the same rounded values in f32. The last bits differ between the two: the instruction adds products in pairs, treats
//! denormals as zero, and fuses as its maker chose. f32 results are equal bit for bit on AVX-512, AVX2 and NEON; [`Level::Scalar`] rounds
//! every product before it is added.

mod activation;
mod attention;
mod factors;
mod gemm;
mod head;
mod level;
mod linear;
mod math;
mod norm;
mod pool;
mod rope;
mod rows;
mod tensor;

use std::ops::Range;

pub use self::level::Level;
pub use self::linear::CpuLinear;
pub use self::tensor::CpuTensor;

use self::gemm::Kernels;
use self::level::Simd;
use super::backend::{
    Activation, AttentionForm, AttentionPlan, Backend, BackendError, ColumnMap, HeadOutput, HeadTap,
    HeadTask, LinearWeights, LoraPart, NormForm, NormWeights, SampleRows,
};

/// The precision of the factors of linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compute {
    /// f32.
    #[default]
    F32,
    /// bf16, summed in f32.
    Bf16,
}

impl Compute {
    /// Name in the store and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Compute::F32 => "f32",
            Compute::Bf16 => "bf16",
        }
    }
}

/// The backend of this CPU.
#[derive(Clone)]
pub struct Cpu {
    kernels: Kernels,
    compute: Compute,
}

impl Cpu {
    /// The backend with the widest instructions that this CPU has.
    pub fn new(compute: Compute) -> Cpu {
        let widest = Level::available().into_iter().find_map(Simd::new);
        Cpu { kernels: Kernels::new(widest.unwrap_or_else(Simd::scalar)), compute }
    }

    /// The backend with the instructions of a level; an error if this CPU lacks them.
    pub fn with_level(compute: Compute, level: Level) -> Result<Cpu, BackendError> {
        let simd = Simd::new(level).ok_or_else(|| BackendError(format!("this CPU has no {level:?}")))?;
        Ok(Cpu { kernels: Kernels::new(simd), compute })
    }

    /// The instructions in use.
    pub fn level(&self) -> Level {
        self.kernels.simd.level()
    }

    /// The precision of the factors of linear layers.
    pub fn compute(&self) -> Compute {
        self.compute
    }
}

impl Backend for Cpu {
    type Tensor = CpuTensor;
    type Linear = CpuLinear;

    fn tensor(&self, values: Vec<f32>, rows: usize, cols: usize) -> Result<CpuTensor, BackendError> {
        CpuTensor::from_values(&values, rows, cols)
    }

    fn to_host(&self, x: &CpuTensor) -> Result<Vec<f32>, BackendError> {
        Ok(x.values().to_vec())
    }

    fn size(&self, x: &CpuTensor) -> (usize, usize) {
        x.size()
    }

    fn pack(&self, weights: LinearWeights) -> Result<CpuLinear, BackendError> {
        self.pack_linear(&weights)
    }

    fn gather(&self, x: &CpuTensor, rows: &[u32]) -> Result<CpuTensor, BackendError> {
        self.gather_rows(x, rows)
    }

    fn scatter_add(&self, acc: CpuTensor, rows: &[u32], x: &CpuTensor) -> Result<CpuTensor, BackendError> {
        self.scatter_rows(acc, rows, x)
    }

    fn add(&self, acc: CpuTensor, x: &CpuTensor) -> Result<CpuTensor, BackendError> {
        self.add_tensors(acc, x)
    }

    fn linear(
        &self,
        layer: &CpuLinear,
        x: &CpuTensor,
        residual: Option<&CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.linear_forward(layer, x, residual)
    }

    fn linear_backward(
        &self,
        layer: &CpuLinear,
        grad: &CpuTensor,
        acc: Option<CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.linear_gradient(layer, grad, acc)
    }

    fn norm(
        &self,
        x: &CpuTensor,
        weights: &NormWeights<CpuTensor>,
        form: NormForm,
    ) -> Result<(CpuTensor, CpuTensor), BackendError> {
        self.norm_forward(x, weights, form)
    }

    fn norm_backward(
        &self,
        grad: &CpuTensor,
        x: &CpuTensor,
        stats: &CpuTensor,
        weights: &NormWeights<CpuTensor>,
        form: NormForm,
        acc: Option<CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.norm_gradient(grad, x, stats, weights, form, acc)
    }

    fn norm_grads(
        &self,
        grad: &CpuTensor,
        x: &CpuTensor,
        stats: &CpuTensor,
        width: usize,
        form: NormForm,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: Option<usize>,
        bias_offset: Option<usize>,
    ) -> Result<(), BackendError> {
        self.norm_weight_grads(grad, x, stats, width, form, spans, out, offset, bias_offset)
    }

    fn rope(
        &self,
        x: CpuTensor,
        cos: &CpuTensor,
        sin: &CpuTensor,
        head_dim: usize,
        inverse: bool,
    ) -> Result<CpuTensor, BackendError> {
        self.rotate(x, cos, sin, head_dim, inverse)
    }

    fn attention(
        &self,
        q: &CpuTensor,
        k: &CpuTensor,
        v: &CpuTensor,
        form: AttentionForm,
        plan: &AttentionPlan,
    ) -> Result<(CpuTensor, CpuTensor), BackendError> {
        self.attention_forward(q, k, v, form, plan)
    }

    fn attention_backward(
        &self,
        grad: &CpuTensor,
        q: &CpuTensor,
        k: &CpuTensor,
        v: &CpuTensor,
        out: &CpuTensor,
        log_sum: &CpuTensor,
        form: AttentionForm,
        plan: &AttentionPlan,
    ) -> Result<[CpuTensor; 3], BackendError> {
        self.attention_gradient(grad, q, k, v, out, log_sum, form, plan)
    }

    fn gated(&self, act: Activation, gate: &CpuTensor, up: &CpuTensor) -> Result<CpuTensor, BackendError> {
        self.gated_forward(act, gate, up)
    }

    fn gated_backward(
        &self,
        act: Activation,
        grad: &CpuTensor,
        gate: &CpuTensor,
        up: &CpuTensor,
    ) -> Result<[CpuTensor; 2], BackendError> {
        self.gated_gradient(act, grad, gate, up)
    }

    fn activate(&self, act: Activation, x: &CpuTensor) -> Result<CpuTensor, BackendError> {
        Ok(self.activate_forward(act, x))
    }

    fn activate_backward(
        &self,
        act: Activation,
        grad: CpuTensor,
        x: &CpuTensor,
    ) -> Result<CpuTensor, BackendError> {
        self.activate_gradient(act, grad, x)
    }

    fn head(
        &self,
        layer: &CpuLinear,
        x: &CpuTensor,
        task: &HeadTask<'_, CpuTensor>,
        tap: Option<HeadTap<'_, CpuTensor>>,
    ) -> Result<HeadOutput<CpuTensor>, BackendError> {
        self.head_losses(layer, x, task, tap)
    }

    fn span_sums(
        &self,
        x: &CpuTensor,
        weights: &[f32],
        spans: &[Range<usize>],
    ) -> Result<Vec<f32>, BackendError> {
        self.sums_of_spans(x, weights, spans)
    }

    fn lora_grads(
        &self,
        x: &CpuTensor,
        parts: &[LoraPart<'_, CpuTensor>],
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
    ) -> Result<(), BackendError> {
        self.lora_factor_grads(x, parts, spans, out)
    }

    fn weight_grads(
        &self,
        x: &CpuTensor,
        grad: &CpuTensor,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: usize,
    ) -> Result<(), BackendError> {
        self.full_weight_grads(x, grad, spans, out, offset)
    }

    fn table_grads(
        &self,
        ids: &[u32],
        grad: &CpuTensor,
        scale: f32,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: usize,
    ) -> Result<(), BackendError> {
        self.table_row_grads(ids, grad, scale, spans, out, offset)
    }

    fn map_columns(&self, x: &CpuTensor, map: &ColumnMap) -> Result<CpuTensor, BackendError> {
        self.map_all_columns(x, map)
    }
}
