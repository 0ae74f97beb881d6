//! Features of a plan that the store has of other texts.

use std::collections::BTreeMap;

use gstore_core::many;
use gstore_store::FeatureDesc;

use super::{IngestPlan, PlannedFeature};

impl IngestPlan {
    /// What people should know before anything is computed: which of the features that the plan begins are
    /// stored with other options of their texts, by these options; and that tables lose the token counts.
    pub fn other_texts(&self) -> Vec<String> {
        let stored = self.snapshot.features_of(&self.dataset.name);
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        // One that has lost all of its rows is filled again.
        let begun = |feature: &&PlannedFeature| self.snapshot.feature_by_key(&feature.desc.key()).is_none();
        for feature in self.features().filter(begun) {
            for part in &stored {
                let encoding = part.desc.encoding.clone();
                if (FeatureDesc { encoding, ..feature.desc.clone() }) == part.desc {
                    found.entry(&part.desc.encoding).or_default().push(&part.attrs.label);
                }
            }
        }
        let note = |(encoding, labels): (&str, Vec<&str>)| {
            let spec = &self.dataset.encoding(encoding)?.spec;
            let options = match spec.options_unlike(&self.encoding).join(", ") {
                same if same.is_empty() => "the template of another model folder".to_owned(),
                options => options,
            };
            let computes = match labels.len() {
                1 => "a second feature".to_owned(),
                several => format!("{several} more features"),
            };
            Some(format!(
                "{} has {} with {options}; this computes {computes}, for all {}",
                self.dataset.name,
                labels.join(", "),
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
                "note: with this, {} has two encodings: `tokens`, `scored_tokens` and `truncated` are no columns of its table any more; \
                 gstore.samples has those of both",
                self.dataset.name
            )
        })
    }
}
