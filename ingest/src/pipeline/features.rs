//! The features of a planned checkpoint's gradients.

use gstore_core::Kind;

use super::IngestError;
use super::plan::CheckpointPlan;
use super::projector::{ProjectorInputs, moments};
use super::request::forms;
use crate::gradient::{AdamParams, GradFeatures, Projector};

/// What the gradient kinds of a planned checkpoint need; none without such a kind.
pub fn features(plan: &CheckpointPlan, adam: AdamParams) -> Result<Option<GradFeatures>, IngestError> {
    let kinds = plan.features.iter().map(|feature| feature.kind);
    let forms = forms(kinds.clone(), adam);
    if forms.is_empty() {
        return Ok(None);
    }
    let needs = plan.features.iter().map(|feature| feature.kind).find(|kind| kind.needs_moments());
    let moments = match needs {
        Some(kind) => {
            let file = moments(&plan.arg, kind, &plan.decoder, &plan.tensors)?;
            if plan.moments.as_deref() != Some(file.digest()?.as_str()) {
                return Err(IngestError::WeightsChanged { checkpoint: plan.arg.name.clone() });
            }
            Some(file.load(forms.iter().any(|form| form.moments()[0]))?)
        }
        None => None,
    };
    let has_residual = kinds.clone().any(|kind| kind == Kind::Residual);
    let source = ProjectorInputs::new(&plan.decoder, &plan.tracked, &plan.tensors, &plan.projection);
    let projector = match (source.projector(&plan.id)?, has_residual) {
        (Projector::Factored { projector, routes }, true) => {
            Projector::Factored { projector: projector.with_residual(), routes }
        }
        (projector, _) => projector,
    };
    Ok(Some(GradFeatures { forms, projector, moments }))
}
