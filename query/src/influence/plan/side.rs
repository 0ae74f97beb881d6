//! A dataset of a question, with the features that are compared.

use std::sync::Arc;

use gstore_store::{DatasetPart, FeaturePart};

/// A dataset of a question and its feature at each checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanSide {
    /// The dataset.
    pub dataset: Arc<DatasetPart>,
    /// The feature kind.
    pub kind: String,
    /// One feature per checkpoint of the plan, in step with it; none where losses are compared.
    pub features: Vec<Arc<FeaturePart>>,
    /// Key of the encoding of its losses, where those are compared; empty where it is not known.
    pub losses: Option<String>,
}

impl PlanSide {
    /// Key of the encoding whose tokens the features were computed from; `None` if they differ.
    pub fn encoding(&self) -> Option<&str> {
        if let Some(losses) = &self.losses {
            return Some(losses.as_str()).filter(|key| !key.is_empty());
        }
        let first = self.features.first()?.desc.encoding.as_str();
        self.features.iter().all(|f| f.desc.encoding == first).then_some(first)
    }
}
