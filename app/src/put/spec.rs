//! The feature that vectors computed elsewhere make or extend.

use gstore_core::{
    CheckpointId, DType, Family, FeatureAttrs, FeatureDesc, Granularity, Kind, Space, sha256_hex,
};
use gstore_store::{DatasetPart, FeaturePart, JobFeature, RunCheckpoint, RunPart, RunUpdate, Snapshot};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Map;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

use super::{PutError, VectorShape};

/// What vectors from elsewhere are, as far as somebody says. What is left out of a feature that is there is
/// what it has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorSpec {
    /// The dataset whose samples they are of.
    pub dataset: String,
    /// The feature's label; that of the kind and checkpoint where none is given. Vectors are added to a
    /// feature that has it, if it is of the checkpoint that is named.
    pub feature: Option<String>,
    /// How they follow from the samples: `loss`, or a name that begins with `grad` or `embed`.
    pub kind: Option<String>,
    /// The run that the checkpoint belongs to.
    pub run: Option<String>,
    /// The checkpoint by its name in the run; one that the run lacks is added to it.
    pub checkpoint: Option<String>,
    /// Step of a checkpoint that is added or has none yet.
    pub step: Option<u64>,
    /// Weight in sums of a checkpoint that is added or has none yet.
    pub weight: Option<f64>,
    /// What they may be compared with.
    pub space: Option<SpaceSpec>,
    /// How they are stored.
    pub dtype: Option<DType>,
    /// They have length 1, so a dot product means nothing.
    pub unit: Option<bool>,
}

/// A space.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SpaceSpec {
    /// One that was made elsewhere: `external:` and a UUID. Vectors with the same one, of one checkpoint and
    /// family, are compared.
    External(String),
    /// All of it.
    Whole(Space),
}

impl<'de> Deserialize<'de> for SpaceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpaceVisitor)
    }
}

/// Takes a text or an object. serde also reads the fields of a type from a list, in the order of its source
/// code.
struct SpaceVisitor;

impl<'de> Visitor<'de> for SpaceVisitor {
    type Value = SpaceSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a space as a text or an object")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<SpaceSpec, E> {
        Ok(SpaceSpec::External(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<SpaceSpec, A::Error> {
        Space::deserialize(MapAccessDeserializer::new(members)).map(SpaceSpec::Whole)
    }
}

/// A feature to write, and the run that is to know its checkpoint.
#[derive(Debug)]
pub(super) struct ResolvedFeature {
    pub(super) feature: JobFeature,
    pub(super) run: Option<RunUpdate>,
}

/// The weights that vectors belong to.
struct ResolvedCheckpoint {
    id: CheckpointId,
    run: Option<RunUpdate>,
}

impl VectorSpec {
    /// What the kind of vectors is, for those who give another.
    pub const KINDS: &str =
        "the `kind` of vectors begins with embed or grad; losses have an upload of their own, put.losses";

    /// The feature that is meant. What has to be made up follows from the key, if there is one, so that a
    /// repetition means the same.
    pub(super) fn resolve(
        &self,
        snapshot: &Snapshot,
        shape: VectorShape,
        key: Option<&str>,
    ) -> Result<ResolvedFeature, PutError> {
        let dataset = snapshot.dataset(&self.dataset)?;
        if self.weight.is_some_and(|weight| !weight.is_finite() || weight < 0.0) {
            return Err(refused("`weight` must be finite and not negative"));
        }
        if self.checkpoint.is_none() && (self.step.is_some() || self.weight.is_some()) {
            return Err(refused(
                "`step` and `weight` belong to a checkpoint; name it by `run` and `checkpoint`",
            ));
        }
        let dim = u32::try_from(shape.dim).map_err(|_| refused("a vector has at most 2^32 - 1 values"))?;
        if let Some(part) = self.existing(snapshot)? {
            self.check(&part, dim)?;
            let run = self.same_weights(snapshot, &part)?;
            let feature = JobFeature { desc: part.desc.clone(), attrs: part.attrs.clone() };
            return Ok(ResolvedFeature { feature, run });
        }
        let family = self.family()?;
        if family == Family::Loss && (dim != 1 || self.dtype.is_some_and(|dtype| dtype != DType::F32)) {
            return Err(refused("a loss is one value of 32 bits"));
        }
        let space = self.space_name(dataset, key)?;
        let weights = self.weights(snapshot, &space)?;
        let space = match &self.space {
            Some(SpaceSpec::Whole(space)) if space.dim != dim || space.family != family => {
                return Err(refused(
                    "the space has another family or number of coordinates than the vectors",
                ));
            }
            Some(SpaceSpec::Whole(space)) => space.clone(),
            _ => Space {
                projection: space,
                loss: String::new(),
                reduction: String::new(),
                ..Space::new(family, Some(weights.id.clone()), dim)
            },
        };
        let label = self.label().unwrap_or_default();
        if label.is_empty() || label.len() > 200 || label.chars().any(char::is_control) {
            return Err(refused("a label is a text of 1 to 200 bytes without control characters"));
        }
        let dtype = match family {
            Family::Loss => DType::F32,
            _ => self.dtype.unwrap_or(shape.dtype),
        };
        let kind = self.kind.as_deref().unwrap_or_default();
        let desc = FeatureDesc {
            checkpoint: Some(weights.id),
            ..FeatureDesc::new(&self.dataset, "", kind, space, dtype)
        };
        let mut attrs = FeatureAttrs::new(label, dim);
        attrs.unit = self.unit.unwrap_or(false);
        Ok(ResolvedFeature { feature: JobFeature { desc, attrs }, run: weights.run })
    }

    /// The label that is given, or that of the kind and checkpoint.
    fn label(&self) -> Option<String> {
        match (&self.feature, &self.kind, &self.checkpoint) {
            (None, Some(kind), Some(checkpoint)) => Some(format!("{kind}@{checkpoint}")),
            (label, kind, _) => label.clone().or_else(|| kind.clone()),
        }
    }

    /// The feature of the dataset with the label.
    fn existing(&self, snapshot: &Snapshot) -> Result<Option<Arc<FeaturePart>>, PutError> {
        let Some(label) = self.label() else { return Ok(None) };
        let mut found = snapshot.features_of(&self.dataset).into_iter().filter(|f| f.attrs.label == label);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(refused(&format!(
                "dataset `{}` has several features `{label}`; give this one a label of its own",
                self.dataset
            ))),
            (one, _) => Ok(one.cloned()),
        }
    }

    /// Whether what is said is true of a feature that is there.
    fn check(&self, part: &FeaturePart, dim: u32) -> Result<(), PutError> {
        let desc = &part.desc;
        let differs = match () {
            () if desc.dim() != dim => Some(format!("its vectors have {} values, these {dim}", desc.dim())),
            () if desc.ensemble.is_some() => Some("it has losses of an ensemble".to_owned()),
            () if desc.granularity != Granularity::Sample => Some("its vectors are of tokens".to_owned()),
            () if self.kind.as_ref().is_some_and(|kind| *kind != desc.kind.name) => {
                Some(format!("its kind is {}", desc.kind.name))
            }
            () if self.dtype.is_some_and(|dtype| dtype != desc.dtype) => {
                Some(format!("it is stored as {}", desc.dtype))
            }
            () if self.unit.is_some_and(|unit| unit != part.attrs.unit) => {
                Some("`unit` is another".to_owned())
            }
            () => match &self.space {
                Some(SpaceSpec::External(name)) if *name != desc.space.projection => {
                    Some(format!("its space is {}", desc.space.projection))
                }
                Some(SpaceSpec::Whole(space)) => desc.space.difference(space),
                _ => None,
            },
        };
        match differs {
            Some(why) => {
                let label = &part.attrs.label;
                Err(refused(&format!(
                    "feature {label} of dataset `{}` is a different one: {why}",
                    self.dataset
                )))
            }
            None => Ok(()),
        }
    }

    /// Whether the weights that are named, if any, are those of a feature that is there: a label does not say
    /// of which run it is. What the run is to know then.
    fn same_weights(&self, snapshot: &Snapshot, part: &FeaturePart) -> Result<Option<RunUpdate>, PutError> {
        if self.run.is_none() && self.checkpoint.is_none() {
            return Ok(None);
        }
        let weights = self.weights(snapshot, &part.desc.space.projection)?;
        if part.desc.checkpoint.as_ref() == Some(&weights.id) {
            return Ok(weights.run);
        }
        Err(refused(&format!(
            "feature {} of dataset `{}` has vectors of another checkpoint than the one that is named; give these a label of their own",
            part.attrs.label, self.dataset
        )))
    }

    fn family(&self) -> Result<Family, PutError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        match self.kind.as_deref() {
            Some(name) if name == Kind::Loss.name() => Ok(Family::Loss),
            Some(name) if name.len() > 64 || !name.chars().all(fits) => {
                Err(refused("the `kind` of vectors is up to 64 of the letters a to z, digits, `-` and `_`"))
            }
            Some(name) if Kind::names_gradient(name) => Ok(Family::Gradient),
            Some(name) if Kind::names_embedding(name) => Ok(Family::Embedding),
            _ => Err(refused(Self::KINDS)),
        }
    }

    /// The name of the space that these vectors and no others have, unless another is stated.
    fn space_name(&self, dataset: &DatasetPart, key: Option<&str>) -> Result<String, PutError> {
        let made_up = || match key {
            Some(key) => {
                let digest = sha256_hex(format!("{} {} {key:?}", dataset.name, dataset.number).as_bytes());
                let number = digest.get(..32).and_then(|hex| u128::from_str_radix(hex, 16).ok());
                number.map_or_else(Uuid::new_v4, |number| {
                    uuid::Builder::from_random_bytes(number.to_be_bytes()).into_uuid()
                })
            }
            None => Uuid::new_v4(),
        };
        match &self.space {
            Some(SpaceSpec::External(name)) => {
                match name.strip_prefix(Space::EXTERNAL).is_some_and(|id| Uuid::try_parse(id).is_ok()) {
                    true => Ok(name.clone()),
                    false => Err(refused("a space from elsewhere is `external:` and a UUID")),
                }
            }
            Some(SpaceSpec::Whole(space)) => Ok(space.projection.clone()),
            None => Ok(format!("{}{}", Space::EXTERNAL, made_up())),
        }
    }

    /// The named checkpoint, or one that stands for unknown weights.
    fn weights(&self, snapshot: &Snapshot, space: &str) -> Result<ResolvedCheckpoint, PutError> {
        let id_of = |text: &str| {
            let id = CheckpointId::try_from(sha256_hex(text.as_bytes()).as_str());
            id.map_err(|error| PutError::Spec(error.to_string()))
        };
        let stated = match &self.space {
            Some(SpaceSpec::Whole(space)) => space.checkpoint.clone(),
            _ => None,
        };
        let (run, name) = match (&self.run, &self.checkpoint) {
            (Some(run), Some(name)) => (run, name),
            (None, None) => {
                let id = stated.map_or_else(|| id_of(space), Ok)?;
                return Ok(ResolvedCheckpoint { id, run: None });
            }
            _ => {
                return Err(refused("a checkpoint is named by `run` and `checkpoint`; give both or neither"));
            }
        };
        let known = snapshot.run(run).ok().and_then(|part| part.checkpoint(name).cloned());
        if let Some(known) = known {
            if stated.is_some_and(|stated| stated != known.checkpoint) {
                return Err(refused("the space is of another checkpoint than the one that is named"));
            }
            let run = self.filled_in(run, &known)?;
            return Ok(ResolvedCheckpoint { id: known.checkpoint, run });
        }
        if snapshot.run(run).is_err() {
            RunPart::check_name(run).map_err(|error| PutError::Spec(error.to_string()))?;
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(refused("a checkpoint has a name without control characters"));
        }
        let id = stated.map_or_else(|| id_of(&format!("{}{run:?} {name:?}", Space::EXTERNAL)), Ok)?;
        let checkpoint = RunCheckpoint {
            name: name.clone(),
            step: self.step,
            weight: self.weight,
            checkpoint: id.clone(),
            base: String::new(),
            provenance: Map::new(),
            extra: Map::new(),
        };
        let update = RunUpdate { name: run.clone(), checkpoints: vec![checkpoint], replace_weights: false };
        Ok(ResolvedCheckpoint { id, run: Some(update) })
    }

    /// What a checkpoint of a run lacks and this says.
    fn filled_in(&self, run: &str, known: &RunCheckpoint) -> Result<Option<RunUpdate>, PutError> {
        if !known.lacks(run, self.step, self.weight)? {
            return Ok(None);
        }
        let checkpoint = RunCheckpoint { step: self.step, weight: self.weight, ..known.clone() };
        Ok(Some(RunUpdate { name: run.to_owned(), checkpoints: vec![checkpoint], replace_weights: false }))
    }
}

fn refused(why: &str) -> PutError {
    PutError::Spec(why.to_owned())
}
