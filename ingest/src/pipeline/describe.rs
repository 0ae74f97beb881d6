//! Features as the store knows them: identity, space, attributes.
//!
//! What enters the identity is frozen: see `docs/design.md`, "Identity". Two kinds that may be compared
//! (`grad-adam` of a pool with `grad-sgd` of a target) share their space and differ in their kind.

use gstore_core::{GradientForm, Kind, KindSource};
use gstore_store::{
    CheckpointId, Family, FeatureAttrs, FeatureDesc, FeatureKind, Granularity, ModuleGroup, Space, key_of,
};
use serde_json::{Map, Value, json};

use super::lengths::RESIDUAL_NUMBERS;
use super::request::IngestRequest;
use super::tracked::{GradientSizes, TrackedTensors};
use crate::gradient::{AdamParams, BiasCorrection, EpsPlacement, LossForm};
use gstore_model::params::TensorSpec;
use gstore_model::{Device, Reduction};

/// What the features of one checkpoint have in common.
pub(super) struct FeatureContext<'a> {
    pub request: &'a IngestRequest,
    /// Key of the encoding.
    pub encoding: &'a str,
    pub checkpoint: &'a CheckpointId,
    /// Its name in the run.
    pub checkpoint_name: &'a str,
    /// What is differentiated there, and how it is projected.
    pub tracked: &'a TrackedTensors,
    pub measure: &'a GradientSizes,
    /// Digest of the optimizer moments.
    pub moments: Option<&'a str>,
}

impl FeatureContext<'_> {
    /// Identity and attributes of one kind.
    pub fn describe(&self, kind: Kind) -> (FeatureDesc, FeatureAttrs) {
        let request = self.request;
        let (space, dtype) = (self.space(kind), request.dtype_of(kind));
        let identity = FeatureKind { name: kind.name().to_owned(), params: self.params_of(kind) };
        let desc = FeatureDesc {
            compute: request.compute.name().to_owned(),
            granularity: request.granularity,
            ..FeatureDesc::new(&request.dataset, self.encoding, identity, space, dtype)
        };
        let is_number = matches!(kind.source(), KindSource::Loss | KindSource::Entropy);
        let variant = match request.granularity {
            Granularity::Sample => String::new(),
            // Queries read probabilities out of it: a label must not mean them in one store and parts of a
            // mean in another.
            Granularity::Token if is_number && request.reduction != Reduction::default() => {
                format!(":token:{}", request.reduction.name())
            }
            Granularity::Token => ":token".to_owned(),
        };
        let label = format!("{}@{}{variant}", kind.name(), self.checkpoint_name);
        let mut attrs = self.measure.attrs(kind, label);
        if kind.is_embedding() {
            attrs.unit = request.embedding.unit;
        }
        if request.device != Device::default() {
            attrs.provenance.insert("backend".to_owned(), json!(request.device.to_string()));
        }
        if let Some(tokenizer) = &request.text.tokenizer {
            // A later search for it may start in another folder.
            let folder = std::path::absolute(tokenizer).unwrap_or_else(|_| tokenizer.clone());
            attrs.provenance.insert("tokenizer".to_owned(), json!(folder));
        }
        if kind.takes_gradient() {
            attrs.provenance.insert("projection".to_owned(), json!(self.tracked.projection.to_string()));
            // Empty with an adapter, and for the usual ones.
            let modules = request.modules.to_string();
            if !modules.is_empty() {
                attrs.provenance.insert("modules".to_owned(), json!(modules));
            }
        }
        (desc, attrs)
    }

    fn space(&self, kind: Kind) -> Space {
        let gradient = kind.takes_gradient();
        let (loss, reduction) = (|| loss_name(self.request.loss), self.request.reduction.name());
        let (family, layer, loss, reduction) = match kind.source() {
            KindSource::Gradient(_) => (Family::Gradient, None, loss(), reduction),
            KindSource::Embedding(pooling) => {
                let layer = match self.request.embedding.layer {
                    None => "final_norm".to_owned(),
                    Some(layer) => format!("layer_{layer}"),
                };
                (Family::Embedding, Some(layer), String::new(), pooling.name())
            }
            KindSource::Loss | KindSource::Residual => (Family::Loss, None, loss(), reduction),
            KindSource::Entropy => (Family::Loss, None, kind.name().to_owned(), reduction),
        };
        Space {
            family,
            checkpoint: Some(self.checkpoint.clone()),
            modules: if gradient { module_map_digest(self.tracked) } else { String::new() },
            projection: if gradient { self.tracked.projection.fingerprint() } else { "none".to_owned() },
            layer,
            loss,
            reduction: reduction.to_owned(),
            dim: self.measure.lengths.of(kind),
        }
    }

    fn params_of(&self, kind: Kind) -> Map<String, Value> {
        let mut params = Map::new();
        if matches!(kind.source(), KindSource::Gradient(_) | KindSource::Loss) {
            params.insert("objective".to_owned(), json!(loss_name(self.request.loss)));
            // Positive: a proponent's gradient points where the target's loss falls.
            params.insert("sign".to_owned(), json!(1));
        }
        match kind.source() {
            KindSource::Gradient(GradientForm::Adam) => {
                params.extend(adam_identity(&self.request.adam));
                params.insert("moments".to_owned(), json!(self.moments));
            }
            KindSource::Gradient(GradientForm::Normalised) => {
                params.insert("eps".to_owned(), json!(self.request.adam.eps));
                params.insert("moments".to_owned(), json!(self.moments));
            }
            KindSource::Embedding(_) if self.request.embedding.unit => {
                params.insert("unit".to_owned(), json!(true));
            }
            KindSource::Gradient(GradientForm::Plain | GradientForm::Sign)
            | KindSource::Embedding(_)
            | KindSource::Loss
            | KindSource::Entropy
            | KindSource::Residual => {}
        }
        params
    }
}

impl GradientSizes {
    /// Attributes of a kind's vectors, with the groups that they have.
    pub fn attrs(&self, kind: Kind, label: String) -> FeatureAttrs {
        let attrs = FeatureAttrs::new(label, self.lengths.of(kind));
        match kind.source() {
            KindSource::Residual => FeatureAttrs { groups: residual_groups(&self.gradient_groups), ..attrs },
            KindSource::Gradient(_) => FeatureAttrs { groups: self.gradient_groups.clone(), ..attrs },
            _ => attrs,
        }
    }
}

/// Groups of two numbers for each module.
fn residual_groups(modules: &[ModuleGroup]) -> Vec<ModuleGroup> {
    let starts = (0..).step_by(RESIDUAL_NUMBERS as usize);
    let group = |(module, start): (&ModuleGroup, u32)| ModuleGroup {
        name: module.name.clone(),
        start,
        len: RESIDUAL_NUMBERS,
    };
    modules.iter().zip(starts).map(group).collect()
}

/// The loss as it enters a feature's identity.
pub(super) fn loss_name(loss: LossForm) -> String {
    match loss {
        LossForm::CrossEntropy { smoothing: 0.0 } => "cross_entropy".to_owned(),
        LossForm::CrossEntropy { smoothing } => format!("cross_entropy, smoothing {smoothing}"),
        LossForm::Margin => "margin".to_owned(),
        LossForm::KlToBase => "kl_to_base".to_owned(),
    }
}

pub(super) fn parse_loss(name: &str) -> Option<LossForm> {
    match name {
        "cross_entropy" => Some(LossForm::default()),
        "margin" => Some(LossForm::Margin),
        "kl_to_base" => Some(LossForm::KlToBase),
        _ => {
            let smoothing = name.strip_prefix("cross_entropy, smoothing ")?.parse().ok()?;
            Some(LossForm::CrossEntropy { smoothing })
        }
    }
}

/// The constants of the Adam feature in the parameters of a kind; those that are not there are the usual
/// ones.
pub(super) fn parse_adam(params: &Map<String, Value>) -> AdamParams {
    let mut adam = AdamParams::default();
    let number = |name: &str| params.get(name).and_then(Value::as_f64);
    adam.b1 = number("b1").unwrap_or(adam.b1);
    adam.b2 = number("b2").unwrap_or(adam.b2);
    adam.eps = number("eps").unwrap_or(adam.eps);
    if params.get("eps_placement").and_then(Value::as_str) == Some("outside") {
        adam.eps_placement = EpsPlacement::Outside;
    }
    if let Some(step) = params.get("bias_correction").and_then(|c| c.get("step")).and_then(Value::as_u64) {
        adam.bias_correction = BiasCorrection::Step(step);
    }
    adam
}

/// Digest of the canonical module map: names and shapes of the trainable parameters, in order. With the
/// embedding among them also the row whose lookups have no gradient, which the checkpoint's id does not know.
fn module_map_digest(tracked: &TrackedTensors) -> String {
    let pair = |tensor: &TensorSpec| json!([tensor.name, tensor.shape]);
    let map: Value = tracked.tensors.iter().map(pair).collect();
    match tracked.padding_row() {
        None => key_of(&map),
        Some(row) => key_of(&json!({ "modules": map, "padding_row": row })),
    }
}

/// The constants of the Adam feature, as they enter its identity.
fn adam_identity(adam: &AdamParams) -> [(String, Value); 5] {
    let placement = match adam.eps_placement {
        EpsPlacement::Inside => "inside",
        EpsPlacement::Outside => "outside",
    };
    let correction = match adam.bias_correction {
        BiasCorrection::None => json!("none"),
        BiasCorrection::Step(step) => json!({ "step": step }),
    };
    [
        ("b1", json!(adam.b1)),
        ("b2", json!(adam.b2)),
        ("eps", json!(adam.eps)),
        ("eps_placement", json!(placement)),
        ("bias_correction", correction),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}
