//! From the flags of gradients and embeddings to what the pipeline wants.

use anyhow::{Result, bail};
use gstore_ingest::gradient::{LossForm, ModuleSelection};
use gstore_ingest::model::Reduction;
use gstore_ingest::model::cpu::Compute;
use gstore_ingest::pipeline::{EmbeddingForm, ProjectionChoice};
use gstore_ingest::projection::{ProjectionKind, ProjectionSpec};

use crate::args;
use crate::args::GradientArgs;
use crate::failure::UsageError;

/// Which of a model's own weights are differentiated.
pub fn modules(args: &GradientArgs) -> ModuleSelection {
    ModuleSelection { patterns: args.modules.clone(), biases: args.biases }
}

/// What the loss of a token is.
pub fn loss(args: &GradientArgs) -> Result<LossForm> {
    match args.loss {
        args::Loss::CrossEntropy => Ok(LossForm::CrossEntropy { smoothing: args.label_smoothing }),
        args::Loss::Kl if args.label_smoothing != 0.0 => {
            bail!(UsageError("--label-smoothing belongs to --loss cross-entropy".to_owned()))
        }
        args::Loss::Kl => Ok(LossForm::KlToBase),
    }
}

/// How a sample's losses become one.
pub fn reduction(args: &GradientArgs) -> Reduction {
    match args.reduction {
        args::Reduction::Mean => Reduction::Mean,
        args::Reduction::Sum => Reduction::Sum,
    }
}

/// Which hidden states embeddings are made of.
pub fn embedding(args: &GradientArgs) -> EmbeddingForm {
    EmbeddingForm { layer: args.embed_layer, unit: args.embed_unit }
}

/// Precision of the factors of matrix products.
pub fn compute(args: &GradientArgs) -> Compute {
    match args.compute {
        args::Compute::F32 => Compute::F32,
        args::Compute::Bf16 => Compute::Bf16,
    }
}

/// The projection of gradients.
pub fn projection(args: &GradientArgs) -> ProjectionChoice {
    let GradientArgs { dim, module_dim, seed, .. } = *args;
    let Some(projection) = args.projection else {
        return ProjectionChoice::Suitable { dim, module_dim, seed };
    };
    let flat = |kind| ProjectionSpec { kind, dim, seed, per_checkpoint: false };
    let factored = |kind| ProjectionSpec { seed, ..ProjectionSpec::sized(kind, module_dim) };
    let (k_out, k_in) = (0, 0);
    ProjectionChoice::Spec(match projection {
        args::Projection::Sjlt => flat(ProjectionSpec::default().kind),
        args::Projection::Rademacher => flat(ProjectionKind::Rademacher),
        args::Projection::Gaussian => flat(ProjectionKind::Gaussian),
        args::Projection::Mask => flat(ProjectionKind::Mask),
        args::Projection::FactSjlt => factored(ProjectionKind::FactSjlt { k_out, k_in }),
        args::Projection::TwoSided => factored(ProjectionKind::TwoSided { k_out, k_in }),
        args::Projection::FactMask => factored(ProjectionKind::FactMask { k_out, k_in }),
        args::Projection::None => ProjectionSpec::none(),
    })
}
