//! Conversion of gradient and embedding flags into options of the pipeline.
//!
//! A flag that would change nothing is refused.

use anyhow::Result;
use gstore::factors::EigenProjection;
use gstore_ingest::gradient::{AdamParams, EpsPlacement, LossForm, ModuleSelection};
use gstore_ingest::pipeline::{CheckpointArg, EmbeddingForm, Kind, ProjectionChoice, gpus};
use gstore_ingest::projection::{DEFAULT_MODULE_DIM, ProjectionKind, ProjectionSpec};
use gstore_model::{Device, Reduction};
use gstore_store::Granularity;

use crate::args::{DeviceName, DevicesArgs, GradientArgs};
use crate::context::Context;
use crate::failure::{UsageError, refuse};

/// Which of a model's own weights are differentiated.
pub fn modules(args: &GradientArgs) -> ModuleSelection {
    ModuleSelection { patterns: args.modules.clone(), biases: args.biases }
}

/// What the loss of a token is.
pub fn loss(args: &GradientArgs) -> Result<LossForm> {
    match (args.loss.unwrap_or_default(), args.label_smoothing) {
        (LossForm::CrossEntropy { .. }, Some(smoothing)) => Ok(LossForm::CrossEntropy { smoothing }),
        (_, Some(_)) => refuse!("--label-smoothing requires --loss cross-entropy"),
        (loss, None) => Ok(loss),
    }
}

/// How a sample's losses become one.
pub fn reduction(args: &GradientArgs) -> Reduction {
    // Curvature is of summed losses.
    let of_curvature = args.projection == Some(ProjectionKind::Ekfac);
    args.reduction.unwrap_or(if of_curvature { Reduction::Sum } else { Reduction::Mean })
}

/// The constants of `grad-adam`.
pub fn adam(args: &GradientArgs) -> AdamParams {
    let usual = AdamParams::default();
    AdamParams {
        b1: args.adam_beta1.unwrap_or(usual.b1),
        b2: args.adam_beta2.unwrap_or(usual.b2),
        eps: args.adam_epsilon.unwrap_or(usual.eps),
        eps_placement: if args.adam_epsilon_outside { EpsPlacement::Outside } else { EpsPlacement::Inside },
        ..usual
    }
}

/// Source of embeddings among the hidden states.
pub fn embedding(args: &GradientArgs) -> EmbeddingForm {
    EmbeddingForm { layer: args.embed_layer, unit: args.embed_unit }
}

/// The devices that compute: the first, and the others.
pub fn devices(args: &DevicesArgs) -> Result<(Device, Vec<Device>)> {
    let one = |name: &DeviceName| match name {
        DeviceName::One(device) => Ok(*device),
        DeviceName::All => Err(UsageError("--backend all names every GPU: give it alone".to_owned())),
    };
    let devices = match &args.backend[..] {
        [DeviceName::All] => gpus()?,
        names => names.iter().map(one).collect::<Result<Vec<Device>, UsageError>>()?,
    };
    match devices.split_first() {
        Some((first, beside)) => Ok((*first, beside.to_vec())),
        None => refuse!("--backend names no device"),
    }
}

/// What a vector belongs to.
pub fn granularity(args: &GradientArgs) -> Granularity {
    if args.per_token { Granularity::Token } else { Granularity::Sample }
}

/// The projection to the eigenbasis of factors of the store, if that is asked for.
pub fn eigenbasis(context: &Context, args: &GradientArgs) -> Result<Option<EigenProjection>> {
    let (Some(ProjectionKind::Ekfac), Some(factors)) = (args.projection, &args.factors) else {
        return Ok(None);
    };
    let stray = [
        ("--dim", args.dim.is_some()),
        ("--seed", args.seed.is_some()),
        ("--projection-per-checkpoint", args.projection_per_checkpoint),
    ];
    if let Some((flag, _)) = stray.iter().find(|(_, given)| *given) {
        refuse!("{flag} has no effect with --projection ekfac");
    }
    let snapshot = context.open()?.snapshot()?;
    let module_dim = args.module_dim.unwrap_or(DEFAULT_MODULE_DIM);
    // The rows of the fit are read.
    let cancel = context.cancel_on_interrupt("stopping; press Ctrl-C again to stop at once");
    let found = EigenProjection::of(&snapshot, factors, module_dim, args.stale, &cancel)?;
    if let Some((all, (module, least))) = found.kept().filter(|(all, _)| *all < 1.0) {
        context.say(&format!(
            "note: the blocks keep {:.1} % of the squared lengths of rows, and of module {module} {:.1} %; a larger --module-dim keeps more",
            100.0 * all,
            100.0 * least
        ));
    }
    Ok(Some(found))
}

/// The projection of gradients at these checkpoints.
pub fn projection(
    args: &GradientArgs,
    checkpoints: &[CheckpointArg],
    kinds: &[Kind],
) -> Result<ProjectionChoice> {
    let (seed, per_checkpoint) = (args.seed.unwrap_or(0), args.projection_per_checkpoint);
    let module_dim = args.module_dim.unwrap_or(DEFAULT_MODULE_DIM);
    let dim = args.dim.unwrap_or(ProjectionSpec::default().dim);
    let Some(kind) = args.projection else {
        let gradients = kinds.iter().any(|kind| kind.takes_gradient());
        let adapters = checkpoints.iter().filter(|checkpoint| checkpoint.adapter().is_some()).count();
        if gradients && args.dim.is_some() && adapters == 0 {
            refuse!(
                "--dim is for projections of all modules as one vector; a model's own weights are projected module by module: give \
                 --module-dim, or --projection sjlt"
            );
        }
        if gradients && args.module_dim.is_some() && adapters == checkpoints.len() {
            refuse!(
                "--module-dim is for projections module by module; adapters are projected as one vector: give --dim, or --projection \
                 fact_sjlt"
            );
        }
        return Ok(ProjectionChoice::Suitable { dim, module_dim, seed, per_checkpoint });
    };
    let none = kind == ProjectionKind::None;
    let stray = [
        ("--dim", args.dim.is_some() && (none || kind.is_factored())),
        ("--module-dim", args.module_dim.is_some() && (none || !kind.is_factored())),
        ("--seed", args.seed.is_some() && none),
        ("--projection-per-checkpoint", per_checkpoint && none),
    ];
    if let Some((flag, _)) = stray.iter().find(|(_, stray)| *stray) {
        refuse!("{flag} has no effect with --projection {}", kind.name());
    }
    Ok(ProjectionChoice::Spec(match kind {
        ProjectionKind::None => ProjectionSpec::none(),
        kind if kind.is_factored() => {
            ProjectionSpec { seed, per_checkpoint, ..ProjectionSpec::sized(kind, module_dim) }
        }
        kind => ProjectionSpec { kind, dim, seed, per_checkpoint, basis: None },
    }))
}
