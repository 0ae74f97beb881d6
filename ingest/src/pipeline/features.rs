//! The features of a planned checkpoint's gradients.

use gstore_core::Kind;

use super::IngestError;
use super::plan::CheckpointPlan;
use super::projector::{ProjectorInputs, moments};
use super::request::IngestRequest;
use crate::gradient::{GradFeatures, Projector};

/// What the gradient kinds of a request need at a planned checkpoint; none without such a kind.
pub fn features(plan: &CheckpointPlan, request: &IngestRequest) -> Result<Option<GradFeatures>, IngestError> {
    let forms = request.forms();
    if forms.is_empty() {
        return Ok(None);
    }
    let moments = match request.kinds.iter().find(|kind| kind.needs_moments()) {
        Some(kind) => {
            let file = moments(&plan.arg, *kind, &plan.decoder, &plan.tensors)?;
            if plan.moments.as_deref() != Some(file.digest()?.as_str()) {
                return Err(IngestError::WeightsChanged { checkpoint: plan.arg.name.clone() });
            }
            Some(file.load(forms.iter().any(|form| form.moments()[0]))?)
        }
        None => None,
    };
    let source = ProjectorInputs::new(&plan.decoder, &plan.tracked, &plan.tensors, &plan.projection);
    let projector = match source.projector(&plan.id)? {
        Projector::Factored { projector, routes } if request.kinds.contains(&Kind::Residual) => {
            Projector::Factored { projector: projector.with_residual(), routes }
        }
        projector => projector,
    };
    Ok(Some(GradFeatures { forms, projector, moments }))
}
