//! Features of a plan that the store has of other texts.

use std::collections::BTreeMap;

use gstore_core::{Remedy, many};
use gstore_store::FeatureDesc;

use super::{IngestPlan, PlannedFeature};

/// Encoding of features, and their type and precision where these are not those of the plan.
type StoredForm<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

impl IngestPlan {
    /// What people should know before anything is computed: which of the features that the plan begins are
    /// stored with other options of their texts, by these options and those of their numbers; and that tables
    /// lose the token counts.
    pub fn other_texts(&self) -> Vec<String> {
        let stored = self.snapshot.features_of(&self.dataset.name);
        let mut found: BTreeMap<StoredForm<'_>, Vec<&str>> = BTreeMap::new();
        // One that has lost all of its rows is filled again.
        let begun = |feature: &&PlannedFeature| self.snapshot.feature_by_key(&feature.desc.key()).is_none();
        for feature in self.features().filter(begun) {
            for part in &stored {
                let (own, other) = (&feature.desc, &part.desc);
                let FeatureDesc { encoding, dtype, compute, rotation, .. } = other.clone();
                let like = FeatureDesc { encoding, dtype, compute, rotation, ..own.clone() };
                if own.encoding != other.encoding && like == *other {
                    let dtype = (own.dtype != other.dtype).then_some(other.dtype.name());
                    let compute = (own.compute != other.compute).then_some(other.compute.as_str());
                    found
                        .entry((other.encoding.as_str(), dtype, compute))
                        .or_default()
                        .push(&part.attrs.label);
                }
            }
        }
        let note = |((encoding, dtype, compute), labels): (StoredForm<'_>, Vec<&str>)| {
            let spec = &self.dataset.encoding(encoding)?.spec;
            let mut options = spec.options_unlike(&self.encoding);
            if options.is_empty() {
                options.push("the template of another model folder".to_owned());
            }
            for (name, value) in [("dtype", dtype), ("compute", compute)] {
                options.extend(value.map(|value| Remedy::Option(name, value).to_string()));
            }
            let computes = match labels.len() {
                1 => "another feature".to_owned(),
                several => format!("{several} more features"),
            };
            Some(format!(
                "{} has {} with {}; this computes {computes}, for all {}",
                self.dataset.name,
                labels.join(", "),
                options.join(", "),
                many(self.rows.len(), "row")
            ))
        };
        found.into_iter().filter_map(note).chain(self.second_encoding()).collect()
    }

    /// Said where the dataset gets its second encoding: a table has the counts of a single one.
    fn second_encoding(&self) -> Option<String> {
        let [first] = self.dataset.encodings.as_slice() else { return None };
        let begins = self.features().any(|feature| feature.published.is_empty());
        (begins && first.key != self.encoding.key()).then(|| {
            format!(
                "with this, {} has two encodings: `tokens`, `scored_tokens` and `truncated` are no \
                 longer columns of its table; gstore.samples has those of both",
                self.dataset.name
            )
        })
    }
}
