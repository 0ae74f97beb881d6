//! Feature descriptions, whose digests are keys, and further attributes of features.
//!
//! Invariants
//! - every field of [`FeatureDesc`] (and of what it holds) enters the feature's key; nothing of
//!   [`FeatureAttrs`] does
//! - every field of [`Space`] enters the space's id; two vectors may be compared only if the ids are equal

use super::canonical::{canonical_json, key_of};
use super::dtype::DType;
use super::names::CheckpointId;
use super::remedy::Remedy;
use super::rotation::SignRotation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Content of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// A gradient of the loss, or a function of one.
    Gradient,
    /// A hidden state.
    Embedding,
    /// The loss itself.
    Loss,
}

/// The coordinates `start..start + len` of a vector, which belong to one module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModuleGroup {
    /// Canonical module name; `all` where a projection mixes the modules.
    pub name: String,
    /// First coordinate.
    pub start: u32,
    /// Number of coordinates, at least 1.
    pub len: u32,
}

/// What two vectors must share to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// Gradient, embedding or loss.
    pub family: Family,
    /// The weights that the vectors were taken at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointId>,
    /// SHA-256 of the canonical JSON of the module map `[[name, shape], ...]`, or of `{modules, padding_row}`
    /// where a row of the embedding has no gradient; empty when not a gradient.
    pub modules: String,
    /// Fingerprint of the projection, or `none`.
    pub projection: String,
    /// The layer of an embedding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// The loss, for example `cross_entropy`.
    pub loss: String,
    /// How the loss of tokens becomes that of a sample, for example `mean`.
    pub reduction: String,
    /// Number of coordinates.
    pub dim: u32,
}

impl Space {
    /// What the projection of vectors begins with that were computed elsewhere; a UUID follows.
    pub const EXTERNAL: &'static str = "external:";

    /// A space as most are: of vectors that are not projected, under the mean cross-entropy of the scored
    /// tokens; embeddings have no loss. `modules` is empty.
    pub fn new(family: Family, checkpoint: Option<CheckpointId>, dim: u32) -> Self {
        let loss = if family == Family::Embedding { "" } else { "cross_entropy" };
        Space {
            family,
            checkpoint,
            modules: String::new(),
            projection: "none".into(),
            layer: None,
            loss: loss.into(),
            reduction: "mean".into(),
            dim,
        }
    }

    /// SHA-256 of the canonical JSON of the fields.
    pub fn id(&self) -> String {
        key_of(self)
    }

    /// The first part in which two spaces differ, with both values, in words for a message;
    /// `None` if they are equal.
    pub fn difference(&self, other: &Space) -> Option<String> {
        let parts = |s: &Space| serde_json::to_value(s).ok();
        let (Some(Value::Object(a)), Some(Value::Object(b))) = (parts(self), parts(other)) else {
            return None;
        };
        const ORDER: [&str; 8] =
            ["family", "checkpoint", "modules", "projection", "layer", "loss", "reduction", "dim"];
        let show = |v: Option<&Value>| match v {
            None | Some(Value::Null) => "none".to_owned(),
            Some(Value::String(s)) if s.is_empty() => "none".to_owned(),
            Some(Value::String(s)) => s.clone(),
            Some(v) => v.to_string(),
        };
        ORDER
            .iter()
            .find(|name| a.get(**name) != b.get(**name))
            .map(|name| format!("{name}: {} against {}", show(a.get(*name)), show(b.get(*name))))
    }
}

/// How a vector follows from a sample: a name and every parameter that changes its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureKind {
    /// `grad-sgd`, `grad-adam`, `grad-sign`, `embed-mean`, `embed-last`, `loss`, ...
    pub name: String,
    /// For example
    /// `{"b1":0.9,"b2":0.999,"eps":1e-8,"moments":"<digest>","objective":"cross_entropy","sign":1}`.
    pub params: Map<String, Value>,
}

/// The kind of a name, without parameters.
impl From<&str> for FeatureKind {
    fn from(name: &str) -> Self {
        FeatureKind { name: name.into(), params: Map::new() }
    }
}

/// Tokenizer, template and maximum length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodingSpec {
    /// SHA-256 of `tokenizer.json`; where tokens of other files were added, of the canonical JSON of both.
    pub tokenizer: String,
    /// `tulu`, `chat`, `plain`, another named template, or `jinja`.
    pub template: String,
    /// The template itself, of `jinja`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_source: Option<String>,
    /// The system message of conversations that have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// SHA-256 of the canonical JSON of what the template takes from the model folder, such as its end token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_digest: Option<String>,
    /// Tokens after which a sample is cut.
    pub max_length: u32,
}

impl EncodingSpec {
    /// SHA-256 of the canonical JSON of the fields.
    pub fn key(&self) -> String {
        key_of(self)
    }

    /// The options that made this encoding, but for its tokenizer.
    pub fn options(&self) -> Vec<String> {
        let mut options = vec![self.template_option(), self.length_option()];
        options.extend(self.system.as_ref().map(|text| Remedy::Option("system", text).to_string()));
        options
    }

    /// The options that made this encoding and not another one. None where both differ in nothing but what
    /// the template takes from the model folder.
    pub fn options_unlike(&self, other: &Self) -> Vec<String> {
        let mut options = Vec::new();
        if (&self.template, &self.template_source) != (&other.template, &other.template_source) {
            options.push(self.template_option());
        }
        if self.max_length != other.max_length {
            options.push(self.length_option());
        }
        if self.system != other.system {
            // Its absence cannot be given as a value.
            let none = || format!("no {}", Remedy::Option("system", ""));
            options.push(
                self.system.as_ref().map_or_else(none, |text| Remedy::Option("system", text).to_string()),
            );
        }
        if self.tokenizer != other.tokenizer {
            let digest: String = self.tokenizer.chars().take(12).collect();
            options.push(format!("the {} with digest {digest}", Remedy::Option("tokenizer", "")));
        }
        options
    }

    fn template_option(&self) -> String {
        let file = self.template_source.as_ref().map(|_| "FILE.jinja");
        Remedy::Option("template", file.unwrap_or(&self.template)).to_string()
    }

    fn length_option(&self) -> String {
        Remedy::Option("max_length", &self.max_length.to_string()).to_string()
    }
}

/// What one vector of a feature belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// A sample: one vector a row.
    #[default]
    Sample,
    /// A scored token: as many vectors a row as it has scored tokens, told apart by the token's position.
    Token,
}

// Names in descriptions.
crate::named!(Granularity { Sample = "sample", Token = "token" });

impl Granularity {
    fn is_sample(&self) -> bool {
        *self == Granularity::Sample
    }
}

/// Identity of a feature. Every field enters the key, and nothing else does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureDesc {
    /// The dataset whose samples the vectors belong to.
    pub dataset: String,
    /// Key of the encoding.
    pub encoding: String,
    /// The checkpoint, unless the vectors belong to an ensemble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointId>,
    /// The ensemble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<Uuid>,
    /// How the vectors follow from the samples.
    pub kind: FeatureKind,
    /// What they may be compared with.
    pub space: Space,
    /// How they are stored.
    pub dtype: DType,
    /// The precision they were computed in, for example `f32`.
    pub compute: String,
    /// What one vector belongs to. Left out of the canonical form where it is a sample, as it was
    /// before there was another.
    #[serde(default, skip_serializing_if = "Granularity::is_sample")]
    pub granularity: Granularity,
    /// How vectors are rotated before their signs are taken. Left out where they are not, as it was before
    /// there was a rotation.
    #[serde(default, skip_serializing_if = "SignRotation::is_none")]
    pub rotation: SignRotation,
}

impl FeatureDesc {
    /// A feature as most are: a vector for each sample, at the checkpoint of its space, computed in single
    /// precision, and rotated as new features of the type are.
    pub fn new(
        dataset: impl Into<String>,
        encoding: impl Into<String>,
        kind: impl Into<FeatureKind>,
        space: Space,
        dtype: DType,
    ) -> Self {
        FeatureDesc {
            dataset: dataset.into(),
            encoding: encoding.into(),
            checkpoint: space.checkpoint.clone(),
            ensemble: None,
            kind: kind.into(),
            space,
            dtype,
            compute: "f32".into(),
            granularity: Granularity::Sample,
            rotation: SignRotation::of(dtype),
        }
    }

    /// SHA-256 of the canonical JSON of the fields.
    pub fn key(&self) -> String {
        key_of(self)
    }

    /// Coordinates of a vector.
    pub fn dim(&self) -> u32 {
        self.space.dim
    }

    /// The canonical JSON that the key is the digest of.
    pub fn canonical(&self) -> String {
        canonical_json(&serde_json::to_value(self).unwrap_or(Value::Null))
    }
}

/// Whether vectors were multiplied by a preconditioner before they came here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preconditioned {
    /// They were not.
    #[default]
    None,
    /// Not known.
    Unknown,
    /// By this artifact.
    Artifact(String),
}

/// Attributes of a feature that are not part of its identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureAttrs {
    /// Short name, for example `grad-adam@checkpoint-112`.
    pub label: String,
    /// The module groups: contiguous, from coordinate 0 to the end.
    pub groups: Vec<ModuleGroup>,
    /// Vectors were scaled to length 1 before they came here, so a dot product would mean nothing.
    #[serde(default)]
    pub unit: bool,
    /// Whether the vectors are preconditioned.
    #[serde(default)]
    pub preconditioned: Preconditioned,
    /// What a dot product must be multiplied by.
    #[serde(default = "one")]
    pub dot_scale: f64,
    /// Where the vectors come from, for people.
    #[serde(default)]
    pub provenance: Map<String, Value>,
}

fn one() -> f64 {
    1.0
}

impl FeatureAttrs {
    /// Attributes of vectors made here, in one module group.
    pub fn new(label: impl Into<String>, dim: u32) -> Self {
        FeatureAttrs {
            label: label.into(),
            groups: vec![ModuleGroup { name: "all".into(), start: 0, len: dim }],
            unit: false,
            preconditioned: Preconditioned::None,
            dot_scale: 1.0,
            provenance: Map::new(),
        }
    }

    /// In what the vectors of two features differ by these, in words; `None` if in nothing.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        if self.groups != other.groups {
            return Some("the module groups differ");
        }
        let is_same = (self.unit, &self.preconditioned) == (other.unit, &other.preconditioned)
            && self.dot_scale == other.dot_scale;
        (!is_same).then_some("unit, preconditioned or dot_scale differ")
    }

    /// Bytes of the stored values of a vector.
    pub fn value_bytes(&self, dtype: DType) -> u64 {
        self.groups.iter().map(|group| (dtype.items(group.len as usize) * dtype.item_bytes()) as u64).sum()
    }

    /// Bytes of a vector in its segment: row, position where a row has several, values, a scale and a norm of
    /// each group, flags and check.
    pub fn vector_bytes(&self, dtype: DType, granularity: Granularity) -> u64 {
        let position = if granularity == Granularity::Token { 4 } else { 0 };
        self.value_bytes(dtype) + 8 * self.groups.len() as u64 + position + 17
    }

    /// Says what is wrong with the module groups of a vector of `dim` coordinates, if anything is.
    pub fn groups_problem(&self, dim: u32) -> Option<String> {
        if dim == 0 {
            return Some("a vector needs at least one coordinate".into());
        }
        let mut next = 0u32;
        for g in &self.groups {
            if g.start != next || g.len == 0 {
                return Some(format!(
                    "module group {:?} covers {}+{}, expected to start at {next}",
                    g.name, g.start, g.len
                ));
            }
            next = match next.checked_add(g.len) {
                Some(n) if n <= dim => n,
                _ => return Some(format!("module group {:?} ends beyond the {dim} coordinates", g.name)),
            };
        }
        (next != dim).then(|| format!("the module groups cover {next} of {dim} coordinates"))
    }
}
