//! Gradient flags of `gstore ingest`: differentiated modules, losses and projections.

use std::str::FromStr;

use clap::Args;
use clap::builder::TypedValueParser;
use gstore_ingest::gradient::LossForm;
use gstore_ingest::projection::ProjectionKind;
use gstore_model::{ComputePrecision, Reduction};

use super::size::size;
use super::words::{Word, one_of};

/// What is computed of a model, and how.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Gradients and embeddings")]
pub struct GradientArgs {
    /// Modules of a model without adapter, as globs over their names ('*.mlp.*', lm_head, '*norm*')
    /// [default: the linear layers of the blocks]
    #[arg(long, value_name = "GLOB", value_delimiter = ',', num_args = 1..)]
    pub modules: Vec<String>,
    /// The biases of these linear layers as well
    #[arg(long)]
    pub biases: bool,
    /// Projection of gradients [default: sjlt of an adapter's, fact_sjlt of a model's own]
    #[arg(long, value_parser = one_of(PROJECTIONS))]
    pub projection: Option<ProjectionKind>,
    /// Dimension of gradients projected as one vector [default: 8192]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub dim: Option<u32>,
    /// Dimension of each module of gradients projected module by module [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub module_dim: Option<u32>,
    /// With --projection ekfac: the factors, by their name in the store; records become tokens as in their
    /// fit unless flags say otherwise
    #[arg(long, value_name = "NAME")]
    pub factors: Option<String>,
    /// With --projection ekfac: accept factors of another checkpoint, of rows that have changed since or of
    /// texts that became other tokens
    #[arg(long)]
    pub stale: bool,
    /// Seed of the projection [default: 0]
    #[arg(long, value_name = "N", value_parser = super::at_least::<u64>(0))]
    pub seed: Option<u64>,
    /// A projection of its own for each checkpoint: the errors of a score over several checkpoints average
    /// out, and vectors of different checkpoints cannot be compared with each other
    #[arg(long)]
    pub projection_per_checkpoint: bool,
    /// Loss of a scored token [default: cross-entropy]
    #[arg(long, value_parser = one_of(LOSSES))]
    pub loss: Option<LossForm>,
    /// Share of the uniform distribution that is mixed into the target of cross-entropy [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share::<f32>)]
    pub label_smoothing: Option<f32>,
    /// How the losses of a sample's tokens become one [default: mean; with --projection ekfac: sum]
    #[arg(long, value_parser = one_of(REDUCTIONS))]
    pub reduction: Option<Reduction>,
    /// Decay of the first moment in grad-adam [default: 0.9]
    #[arg(long, value_name = "X", value_parser = share::<f64>)]
    pub adam_beta1: Option<f64>,
    /// Decay of the second moment in grad-adam [default: 0.999]
    #[arg(long, value_name = "X", value_parser = share::<f64>)]
    pub adam_beta2: Option<f64>,
    /// Epsilon of grad-adam, added to the second moment below its root, and of grad-normalised, added to the root
    /// [default: 1e-8]
    #[arg(long, value_name = "X", value_parser = above_zero)]
    pub adam_epsilon: Option<f64>,
    /// The epsilon of grad-adam is added to the root, as by PyTorch
    #[arg(long)]
    pub adam_epsilon_outside: bool,
    /// A vector for each scored token: its part of the sample's loss, or the gradient of that part. Each
    /// token takes a pass of its own
    #[arg(long)]
    pub per_token: bool,
    /// Embeddings are the hidden states after this many layers [default: after the final norm]
    #[arg(long, value_name = "N", value_parser = super::at_least::<usize>(0))]
    pub embed_layer: Option<usize>,
    /// Embeddings are divided by their length
    #[arg(long)]
    pub embed_unit: bool,
    /// Precision of the factors of matrix products [default: f32, with --backend cuda bf16]
    #[arg(long, value_parser = one_of(&PRECISIONS))]
    pub compute: Option<ComputePrecision>,
    /// Bytes of memory to stay below where that is possible, e.g. 2GB: layers are then computed
    /// twice rather than kept
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_memory: Option<u64>,
    /// Show the modules, how each is projected and at what cost, and leave the store alone
    #[arg(long)]
    pub explain: bool,
}

/// Projections of gradients; sides of a factored one are chosen with its dimension.
const PROJECTIONS: &[Word<ProjectionKind>] = &[
    (
        "sjlt",
        "Sparse Johnson-Lindenstrauss, 4 non-zeros per coordinate, of all tensors as one vector",
        ProjectionKind::SJLT,
    ),
    (
        "rademacher",
        "Dense signs of all tensors as one vector: the strongest tails, slow",
        ProjectionKind::Rademacher,
    ),
    (
        "gaussian",
        "Dense normal entries of all tensors as one vector, for comparison with other tools",
        ProjectionKind::Gaussian,
    ),
    ("mask", "A stratified sample of the coordinates: fast, poor for peaked gradients", ProjectionKind::Mask),
    (
        "fact_sjlt|fact-sjlt",
        "Sparse signs on both sides of each module's gradient",
        ProjectionKind::FactSjlt { k_out: 0, k_in: 0 },
    ),
    (
        "two_sided|two-sided",
        "Dense signs on both sides of each module's gradient",
        ProjectionKind::TwoSided { k_out: 0, k_in: 0 },
    ),
    (
        "fact_mask|fact-mask",
        "A sample of both sides of each module's gradient: fastest, poor for peaked ones",
        ProjectionKind::FactMask { k_out: 0, k_in: 0 },
    ),
    ("none", "The gradient itself", ProjectionKind::None),
    (
        "ekfac",
        "The eigenbasis of fitted factors, whitened, each module cut to the block with most of the curvature: dot products are EK-FAC scores",
        ProjectionKind::Ekfac,
    ),
];

/// Those that need nothing which was fitted before.
pub(super) const WITHOUT_FACTORS: &[Word<ProjectionKind>] = match PROJECTIONS.split_last() {
    Some((_ekfac, others)) => others,
    None => PROJECTIONS,
};

const LOSSES: &[Word<LossForm>] = &[
    ("cross-entropy", "Cross-entropy", LossForm::CrossEntropy { smoothing: 0.0 }),
    ("margin", "Minus the log-odds of the token, -ln(p / (1 - p)), as TRAK differentiates", LossForm::Margin),
    ("kl", "Divergence of the adapted model's predictions from its base's", LossForm::KlToBase),
];

const REDUCTIONS: &[Word<Reduction>] =
    &[("mean", "Their mean", Reduction::Mean), ("sum", "Their sum", Reduction::Sum)];

/// Precision of the factors of matrix products.
const COMPUTED: [Word<ComputePrecision>; 4] = [
    ("f32", "Single precision", ComputePrecision::F32),
    (
        "tf32",
        "Rounded to 10 bits of mantissa by the tensor cores of an NVIDIA GPU: only with --backend cuda",
        ComputePrecision::Tf32,
    ),
    (
        "bf16x3",
        "As sums of two bf16, with 16 bits of mantissa: faster on processors with AMX if layers are wide, gradients within about 0.001 %; elsewhere as f32. Only with --backend cpu",
        ComputePrecision::Bf16x3,
    ),
    (
        "bf16",
        "Rounded to bf16 and summed in single precision: faster, gradients within about 2 %",
        ComputePrecision::Bf16,
    ),
];

/// The same where features are computed, whose models may be in a GPU's memory as bytes.
const PRECISIONS: [Word<ComputePrecision>; 5] = [
    COMPUTED[0],
    COMPUTED[1],
    COMPUTED[2],
    COMPUTED[3],
    (
        "i8",
        "As bf16, with layer weights as bytes in GPU memory, at half the size: gradients within about 3 %, only with --backend cuda",
        ComputePrecision::I8,
    ),
];

/// Reads a precision where no features are computed.
pub(super) fn precision() -> impl TypedValueParser<Value = ComputePrecision> {
    one_of(&COMPUTED)
}

fn share<T: FromStr + Into<f64> + Copy>(text: &str) -> Result<T, String> {
    let value = text.parse().ok().filter(|value: &T| (0.0..1.0).contains(&(*value).into()));
    value.ok_or_else(|| "expected a number of at least 0 and below 1".to_owned())
}

/// A number that is above 0, and finite, in single precision too: gradients are divided in that.
fn above_zero(text: &str) -> Result<f64, String> {
    let is_above = |value: &f64| *value as f32 > 0.0 && (*value as f32).is_finite();
    let value = text.parse().ok().filter(is_above);
    value.ok_or_else(|| "expected a number above 0, also in single precision".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        assert_eq!(share::<f32>("0.1"), Ok(0.1));
        for wrong in ["1", "-0.1", "nan"] {
            assert!(share::<f64>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(above_zero("1e-8"), Ok(1e-8));
        assert_eq!(above_zero("1e-38"), Ok(1e-38));
        for wrong in ["0", "-1", "nan", "inf", "1e-50", "1e39"] {
            assert!(above_zero(wrong).is_err(), "{wrong}");
        }
    }
}
