//! Columns of losses to be written: the features of a job.

use crate::job::{JobFeature, JobPlan};
use crate::manifest::{EnsemblePart, OffsetOf, Stripe, StripePart};
use gstore_core::{DType, Family, FeatureAttrs, FeatureDesc, Space, canonical_json, sha256_hex};
use serde_json::{Map, Value, json};
use std::ops::Range;
use uuid::Uuid;

/// What losses of an ensemble have in common that are to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct LossColumns {
    /// The ensemble, and its name.
    pub ensemble: (Uuid, String),
    /// The samples.
    pub dataset: String,
    /// Key of their encoding; empty where it is not known how they became tokens.
    pub encoding: String,
    /// What is recorded: `loss`, `neg_margin`, `prob`, `true_logit`.
    pub signal: String,
    /// The loss of a token, for example `cross_entropy`.
    pub loss: String,
    /// How it becomes that of a sample, for example `mean`.
    pub reduction: String,
    /// The precision in which they were computed or given.
    pub compute: String,
    /// Where they come from, for people.
    pub provenance: Map<String, Value>,
}

impl LossColumns {
    /// Losses as they are mostly: mean cross-entropy of the scored tokens, computed in single precision.
    pub fn new(ensemble: &EnsemblePart, dataset: impl Into<String>, encoding: impl Into<String>) -> Self {
        LossColumns {
            ensemble: (ensemble.uuid, ensemble.name.clone()),
            dataset: dataset.into(),
            encoding: encoding.into(),
            signal: "loss".into(),
            loss: "cross_entropy".into(),
            reduction: "mean".into(),
            compute: "f32".into(),
            provenance: Map::new(),
        }
    }

    /// The feature with the losses of some members; of cells that other features have too, the highest
    /// revision counts.
    pub fn members(&self, range: Range<usize>, revision: u64) -> JobFeature {
        let name = &self.ensemble.1;
        let label = match (range.len(), revision) {
            (1, 0) => format!("{}@{name}:{}", self.signal, range.start),
            (1, _) => format!("{}@{name}:{}.{revision}", self.signal, range.start),
            (_, 0) => format!("{}@{name}:{}-{}", self.signal, range.start, range.end.saturating_sub(1)),
            _ => format!("{}@{name}:{}-{}.{revision}", self.signal, range.start, range.end.saturating_sub(1)),
        };
        self.feature(StripePart::Members { range, revision }, label)
    }

    /// The feature with the offsets of the rows.
    pub fn offset(&self, of: OffsetOf) -> JobFeature {
        let label = match of {
            OffsetOf::Base => format!("{}@{}:base", self.signal, self.ensemble.1),
            OffsetOf::Mean => format!("{}@{}:offset", self.signal, self.ensemble.1),
        };
        self.feature(StripePart::Offset(of), label)
    }

    fn feature(&self, part: StripePart, label: String) -> JobFeature {
        let stripe = Stripe { signal: self.signal.clone(), part };
        let dim = u32::try_from(stripe.columns()).unwrap_or(u32::MAX);
        let space = Space {
            loss: self.loss.clone(),
            reduction: self.reduction.clone(),
            ..Space::new(Family::Loss, None, dim)
        };
        let desc = FeatureDesc {
            ensemble: Some(self.ensemble.0),
            compute: self.compute.clone(),
            ..FeatureDesc::new(&self.dataset, &self.encoding, stripe.kind(), space, DType::F32)
        };
        let mut attrs = FeatureAttrs::new(label, dim);
        attrs.provenance = self.provenance.clone();
        JobFeature { desc, attrs }
    }

    /// A job that writes some features of an ensemble; `besides` is what their values depend on besides them.
    pub fn plan(command: &str, features: Vec<JobFeature>, besides: &Value) -> JobPlan {
        let keys: Vec<String> = features.iter().map(|f| f.desc.key()).collect();
        let digest = sha256_hex(canonical_json(&json!({ "features": keys, "besides": besides })).as_bytes());
        let identity = json!({ "what": "losses of an ensemble", "digest": digest });
        JobPlan { command: command.to_owned(), identity, features, detail: Value::Null }
    }
}
