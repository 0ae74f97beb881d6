//! A dataset of a question, with the features that are compared.

use std::sync::Arc;

use gstore_store::{DatasetPart, FeaturePart, Snapshot};

use crate::error::QueryError;
use crate::influence::plan::PlanSide;

/// A dataset of a question and its feature at each checkpoint.
#[derive(Debug, Clone)]
pub struct PreparedSide {
    /// The dataset.
    pub dataset: Arc<DatasetPart>,
    /// The feature kind.
    pub kind: String,
    /// One feature per checkpoint of the plan, in step with it; none where losses are compared.
    pub features: Vec<Arc<FeaturePart>>,
    /// Key of the encoding of its losses, where those are compared; empty where it is not known.
    pub losses: Option<String>,
}

impl PreparedSide {
    pub(super) fn new(snapshot: &Snapshot, side: &PlanSide) -> Result<Self, QueryError> {
        let feature = |number: &u32| {
            let found = snapshot.features().iter().find(|feature| feature.number == *number);
            found.cloned().ok_or_else(|| QueryError::unknown("feature", &number.to_string(), []))
        };
        Ok(Self {
            dataset: snapshot.dataset(&side.dataset)?.clone(),
            kind: side.kind.clone(),
            features: side.features.iter().map(feature).collect::<Result<_, _>>()?,
            losses: None,
        })
    }

    /// Key of the encoding whose tokens the features were computed from; `None` if they differ.
    pub fn encoding(&self) -> Option<&str> {
        if let Some(losses) = &self.losses {
            return Some(losses.as_str()).filter(|key| !key.is_empty());
        }
        let first = self.features.first()?.desc.encoding.as_str();
        self.features.iter().all(|f| f.desc.encoding == first).then_some(first)
    }
}
