//! Reconstruction of the request that made a stored feature, from its description.
//!
//! A description holds digests; what they are digests of is read from what the feature's provenance says in
//! words. Whether that is right shows when the description is made again: it must be the same.

use std::path::PathBuf;

use gstore_core::Kind;
use gstore_store::{EncodingSpec, FeaturePart, Granularity};
use serde_json::Value;

use super::SampleEncoderError;
use super::locate::CheckpointFolders;
use crate::gradient::{AdamParams, LossForm, ModuleSelection};
use crate::pipeline::describe::{parse_adam, parse_loss};
use crate::pipeline::plan::CheckpointPlan;
use crate::pipeline::request::{EmbeddingForm, IngestRequest, ProjectionChoice};
use crate::projection::{ProjectionKind, ProjectionSpec};
use gstore_data::TextOptions;
use gstore_model::{ComputePrecision, Device, Reduction};

/// What a message calls the dataset of given samples.
const DATASET: &str = "given";

/// The request that gives vectors of `kind` like those of a feature.
pub(super) fn request(
    part: &FeaturePart,
    kind: Kind,
    encoding: &EncodingSpec,
    located: &CheckpointFolders,
    device: Device,
) -> Result<IngestRequest, SampleEncoderError> {
    let refuse = |what: String| SampleEncoderError::Feature { feature: part.display_name(), what };
    let unknown = |what: String| refuse(format!("{what}, which is not known here"));
    let (desc, space) = (&part.desc, &part.desc.space);
    let text = |key: &str| part.attrs.provenance.get(key).and_then(Value::as_str);
    let compute = ComputePrecision::parse(&desc.compute)
        .ok_or_else(|| unknown(format!("they were computed in {}", desc.compute)))?;
    device.check(compute).map_err(|error| refuse(error.to_string()))?;
    let (mut loss, mut reduction) = (LossForm::default(), Reduction::default());
    let mut projection = ProjectionChoice::default();
    let mut embedding = EmbeddingForm::default();
    if kind.is_gradient() {
        loss = parse_loss(&space.loss).ok_or_else(|| unknown(format!("their loss is `{}`", space.loss)))?;
        reduction = Reduction::parse(&space.reduction)
            .ok_or_else(|| unknown(format!("their losses are reduced by `{}`", space.reduction)))?;
        if text("projection").is_some_and(|text| text.starts_with(ProjectionKind::Ekfac.name())) {
            let why =
                "they are in the eigenbasis of factors, to which only samples of a dataset are projected";
            return Err(refuse(why.to_owned()));
        }
        let spec = match (space.projection.as_str(), text("projection")) {
            ("none", _) => Some(ProjectionSpec::none()),
            (_, text) => text.and_then(ProjectionSpec::from_text),
        };
        projection =
            spec.filter(|spec| spec.fingerprint() == space.projection).map(Into::into).ok_or_else(|| {
                refuse(
                    "nothing says which projection its fingerprint stands for, or they disagree".to_owned(),
                )
            })?;
    } else {
        let unit = desc.kind.params.get("unit").and_then(Value::as_bool).unwrap_or(false);
        let layer = match space.layer.as_deref() {
            None | Some("final_norm") => None,
            Some(layer) => {
                let number = layer.strip_prefix("layer_").and_then(|number| number.parse().ok());
                Some(number.ok_or_else(|| unknown(format!("they are of layer `{layer}`")))?)
            }
        };
        embedding = EmbeddingForm { layer, unit };
    }
    if part.attrs.dot_scale != 1.0 {
        return Err(refuse(format!("their dot products are to be multiplied by {}", part.attrs.dot_scale)));
    }
    let options = TextOptions::of_spec(encoding)
        .ok_or_else(|| unknown(format!("their template is `{}`", encoding.template)))?;
    let has_it = |folder: &&PathBuf| options.encoder(folder).is_ok_and(|encoder| encoder.spec() == *encoding);
    let tokenizer = located.tokenizers.iter().find(has_it).or(located.tokenizers.first()).cloned();
    Ok(IngestRequest {
        checkpoints: vec![located.arg.clone()],
        kinds: vec![kind],
        modules: text("modules").map_or_else(ModuleSelection::default, ModuleSelection::from_text),
        loss,
        reduction,
        granularity: Granularity::Sample,
        embedding,
        projection,
        device,
        compute,
        dtype: desc.dtype,
        text: TextOptions { tokenizer: tokenizer.filter(|folder| *folder != located.model), ..options },
        adam: if kind.needs_moments() { parse_adam(&desc.kind.params) } else { AdamParams::default() },
        ..IngestRequest::new(DATASET, &located.model)
    })
}

/// Compares what would be computed with what is stored.
pub(super) fn check(
    part: &FeaturePart,
    plan: &CheckpointPlan,
    encoding: (&EncodingSpec, &EncodingSpec),
) -> Result<(), SampleEncoderError> {
    let refuse = |what: String| Err(SampleEncoderError::Feature { feature: part.display_name(), what });
    let (stored, own) = encoding;
    if stored != own {
        return refuse(format!("the tokens would differ: {}", encoding_difference(stored, own)));
    }
    let Some(feature) = plan.features.first() else { return refuse("nothing was planned".to_owned()) };
    if let Some(difference) = part.desc.space.difference(&feature.desc.space) {
        return refuse(format!("stored against computed now, {difference}"));
    }
    if part.desc.kind.name == feature.desc.kind.name && part.desc.kind != feature.desc.kind {
        let params = |params| Value::Object(params).to_string();
        return refuse(format!(
            "stored against computed now, {} {} against {}",
            part.desc.kind.name,
            params(part.desc.kind.params.clone()),
            params(feature.desc.kind.params.clone())
        ));
    }
    if part.attrs.groups != feature.attrs.groups {
        return refuse("its coordinates belong to other modules".to_owned());
    }
    Ok(())
}

fn encoding_difference(stored: &EncodingSpec, own: &EncodingSpec) -> String {
    let short = |text: &str| text.chars().take(12).collect::<String>();
    if stored.tokenizer != own.tokenizer {
        return format!(
            "the tokenizer of the model has digest {}, that of the pool's encoding {} ; earlier versions did not \
             count tokens that only the files next to tokenizer.json add: with such tokens, ingest the pool again",
            short(&own.tokenizer),
            short(&stored.tokenizer)
        );
    }
    "the model's template or its end token is not that of the pool's encoding".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_back() {
        for loss in [
            LossForm::default(),
            LossForm::CrossEntropy { smoothing: 0.1 },
            LossForm::CrossEntropy { smoothing: f32::MIN_POSITIVE },
            LossForm::Margin,
            LossForm::KlToBase,
        ] {
            assert_eq!(parse_loss(&crate::pipeline::describe::loss_name(loss)), Some(loss));
        }
        assert_eq!(parse_loss("dpo"), None);
    }
}
