//! Options of an ingest: the kinds of features, and what there is to say of each.

use anyhow::Result;
use gstore_core::UnknownKind;
use gstore_ingest::pipeline::Kind;
use gstore_ingest::projection::ProjectionKind;

use crate::args::GradientArgs;
use crate::failure::{UsageError, refuse};
use crate::origin::is_configured;

/// The kinds that are named, each once.
pub fn kinds(names: &[String]) -> Result<Vec<Kind>> {
    let mut kinds: Vec<Kind> = Vec::new();
    for name in names {
        let kind = name.trim().parse::<Kind>().map_err(|error: UnknownKind| UsageError(error.to_string()))?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// The flags without those of a config file that belong to kinds which are not asked for: a projection and
/// the numbers of Adam are there for all ingests.
pub fn of_kinds(args: &GradientArgs, kinds: &[Kind]) -> GradientArgs {
    let gradients = kinds.iter().any(|kind| kind.takes_gradient());
    let adam = kinds.contains(&Kind::GradAdam);
    let is_stray = |name: &str, fits: bool| !fits && is_configured(name);
    let mut args = args.clone();
    // Factors also say how texts become tokens.
    if is_stray("projection", gradients || args.factors.is_some()) {
        args.projection = None;
    }
    args.dim = args.dim.filter(|_| !is_stray("dim", gradients));
    args.module_dim = args.module_dim.filter(|_| !is_stray("module-dim", gradients));
    args.seed = args.seed.filter(|_| !is_stray("seed", gradients));
    args.projection_per_checkpoint &= !is_stray("projection-per-checkpoint", gradients);
    args.adam_beta1 = args.adam_beta1.filter(|_| !is_stray("adam-beta1", adam));
    args.adam_beta2 = args.adam_beta2.filter(|_| !is_stray("adam-beta2", adam));
    let has_epsilon = adam || kinds.contains(&Kind::GradNormalised);
    args.adam_epsilon = args.adam_epsilon.filter(|_| !is_stray("adam-epsilon", has_epsilon));
    args.adam_epsilon_outside &= !is_stray("adam-epsilon-outside", adam);
    args
}

/// Refuses flags that belong to kinds which are not asked for.
pub fn check(args: &GradientArgs, kinds: &[Kind]) -> Result<()> {
    let args = &of_kinds(args, kinds);
    let gradients = kinds.iter().any(|kind| kind.takes_gradient());
    let losses = gradients || kinds.contains(&Kind::Loss);
    let entropy = kinds.contains(&Kind::Entropy);
    let adam = kinds.contains(&Kind::GradAdam);
    let embeddings = kinds.iter().any(|kind| kind.is_embedding());
    let ekfac = args.projection == Some(ProjectionKind::Ekfac);
    let flags = [
        // Factors also say how texts become tokens.
        ("--projection", args.projection.is_some() && !ekfac, gradients, "a gradient"),
        ("--dim", args.dim.is_some(), gradients, "a gradient"),
        ("--module-dim", args.module_dim.is_some(), gradients, "a gradient"),
        ("--seed", args.seed.is_some(), gradients, "a gradient"),
        ("--projection-per-checkpoint", args.projection_per_checkpoint, gradients, "a gradient"),
        ("--modules", !args.modules.is_empty(), gradients, "a gradient"),
        ("--biases", args.biases, gradients, "a gradient"),
        ("--per-token", args.per_token, losses || entropy, "a gradient, the loss or the entropy"),
        ("--loss", args.loss.is_some(), losses, "a gradient or a loss"),
        ("--label-smoothing", args.label_smoothing.is_some(), losses, "a gradient or a loss"),
        ("--reduction", args.reduction.is_some(), losses || entropy, "a gradient, a loss or an entropy"),
        ("--adam-beta1", args.adam_beta1.is_some(), adam, "grad-adam"),
        ("--adam-beta2", args.adam_beta2.is_some(), adam, "grad-adam"),
        (
            "--adam-epsilon",
            args.adam_epsilon.is_some(),
            adam || kinds.contains(&Kind::GradNormalised),
            "grad-adam or grad-normalised",
        ),
        ("--adam-epsilon-outside", args.adam_epsilon_outside, adam, "grad-adam"),
        ("--embed-layer", args.embed_layer.is_some(), embeddings, "an embedding"),
        ("--embed-unit", args.embed_unit, embeddings, "an embedding"),
    ];
    match (ekfac, &args.factors) {
        (true, None) => refuse!("--projection ekfac needs fitted factors: give --factors NAME"),
        (false, Some(_)) => refuse!("--factors requires --projection ekfac"),
        (false, None) if args.stale => refuse!("--stale requires --projection ekfac"),
        _ => {}
    }
    match flags.iter().find(|(_, given, fits, _)| *given && !fits) {
        Some((flag, _, _, what)) => refuse!("{flag} has no effect: no kind in --features is {what}"),
        None => Ok(()),
    }
}
