//! Lookup of the parts of a snapshot by name.

use super::{Snapshot, TagInfo};
use crate::error::LookupError;
use crate::manifest::{DatasetPart, EnsemblePart, FeaturePart, RunPart, Tag, View};
use gstore_core::{CheckpointId, nearest};
use std::sync::Arc;
use uuid::Uuid;

impl Snapshot {
    /// The tags, by name.
    pub fn tags(&self) -> Vec<TagInfo> {
        self.parts.tags.iter().map(TagInfo::new).collect()
    }

    pub(crate) fn all_tags(&self) -> &[Tag] {
        &self.parts.tags
    }

    /// The saved queries, by name.
    pub fn views(&self) -> &[View] {
        &self.root.views
    }

    /// The saved query of a name.
    pub fn view(&self, name: &str) -> Result<&View, LookupError> {
        named("view", self.views(), name, |v| &v.name)
    }

    /// The tag of a name.
    pub fn tag(&self, name: &str) -> Result<TagInfo, LookupError> {
        self.tag_entry(name).map(TagInfo::new)
    }

    pub(crate) fn tag_entry(&self, name: &str) -> Result<&Tag, LookupError> {
        named("tag", &self.parts.tags, name, |t| &t.name)
    }

    /// The datasets, by number.
    pub fn datasets(&self) -> &[Arc<DatasetPart>] {
        &self.parts.datasets
    }

    /// The dataset of a name.
    pub fn dataset(&self, name: &str) -> Result<&Arc<DatasetPart>, LookupError> {
        named("dataset", &self.parts.datasets, name, |d| &d.name)
    }

    /// The runs, by number.
    pub fn runs(&self) -> &[Arc<RunPart>] {
        &self.parts.runs
    }

    /// The last step at which a run has these weights.
    pub fn step_of(&self, checkpoint: &CheckpointId) -> Option<u64> {
        let known = self.parts.runs.iter().flat_map(|run| &run.checkpoints);
        known.filter(|c| c.checkpoint == *checkpoint).filter_map(|c| c.step).max()
    }

    /// The first run that has these weights.
    pub fn run_with(&self, checkpoint: &CheckpointId) -> Option<&Arc<RunPart>> {
        let has = |run: &&Arc<RunPart>| run.checkpoints.iter().any(|c| c.checkpoint == *checkpoint);
        self.parts.runs.iter().find(has)
    }

    /// The run of a name.
    pub fn run(&self, name: &str) -> Result<&Arc<RunPart>, LookupError> {
        named("run", &self.parts.runs, name, |r| &r.name)
    }

    /// The ensembles, by number.
    pub fn ensembles(&self) -> &[Arc<EnsemblePart>] {
        &self.parts.ensembles
    }

    /// The ensemble of a name or uuid.
    pub fn ensemble(&self, name: &str) -> Result<&Arc<EnsemblePart>, LookupError> {
        let uuid = name.parse::<Uuid>().ok();
        match self.parts.ensembles.iter().find(|e| e.name == name || Some(e.uuid) == uuid) {
            Some(found) => Ok(found),
            None => named("ensemble", &self.parts.ensembles, name, |e| &e.name),
        }
    }

    /// The features, by number.
    pub fn features(&self) -> &[Arc<FeaturePart>] {
        &self.parts.features
    }

    /// The features of a dataset, by number.
    pub fn features_of(&self, dataset: &str) -> Vec<&Arc<FeaturePart>> {
        self.parts.features.iter().filter(|f| f.desc.dataset == dataset).collect()
    }

    /// The feature of a key.
    pub fn feature_by_key(&self, key: &str) -> Option<&Arc<FeaturePart>> {
        self.parts.features.iter().find(|f| f.key == key)
    }

    /// The error for a name of no feature, with the nearest, or those that there are.
    pub fn unknown_feature(&self, name: &str) -> LookupError {
        unknown_feature(name, &self.parts.features.iter().collect::<Vec<_>>())
    }

    /// A feature by its label, `dataset/label`, number, or the first eight or more digits of its key.
    pub fn feature(&self, name: &str) -> Result<&Arc<FeaturePart>, LookupError> {
        only_feature(name, &self.parts.features.iter().collect::<Vec<_>>())
    }

    /// A feature of a dataset by the same names; those of other datasets may have them too.
    pub fn feature_of(&self, dataset: &str, name: &str) -> Result<&Arc<FeaturePart>, LookupError> {
        let dataset = self.dataset(dataset)?.name.clone();
        let found = only_feature(name, &self.features_of(&dataset));
        found.map_err(|error| match error {
            LookupError::Unknown { name, nearest, known, .. } => {
                LookupError::UnknownOfDataset { dataset, name, nearest, known }
            }
            other => other,
        })
    }
}

/// The only one of some features that has a name.
fn only_feature<'a>(
    name: &str,
    features: &[&'a Arc<FeaturePart>],
) -> Result<&'a Arc<FeaturePart>, LookupError> {
    let by_key = name.len() >= 8 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let number: Option<u32> = name.parse().ok();
    let has_name = |f: &FeaturePart| {
        f.attrs.label == name
            || f.display_name() == name
            || Some(f.number) == number
            || (by_key && f.key.starts_with(name))
    };
    let found: Vec<&Arc<FeaturePart>> = features.iter().copied().filter(|f| has_name(f)).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(unknown_feature(name, features)),
        several => Err(LookupError::Ambiguous {
            what: "feature",
            name: name.to_owned(),
            candidates: several
                .iter()
                .map(|f| format!("{} (number {}, key {:.12})", f.display_name(), f.number, f.key))
                .collect(),
        }),
    }
}

/// What has a name among all of a kind.
fn named<'a, T>(
    what: &'static str,
    all: &'a [T],
    name: &str,
    name_of: fn(&T) -> &str,
) -> Result<&'a T, LookupError> {
    let found = all.iter().find(|one| name_of(one) == name);
    found.ok_or_else(|| unknown(what, name, all.iter().map(name_of).collect()))
}

/// The hint is a name that works, with its dataset: features of several often have one label. Where only a
/// kind is near, it is the first of that kind.
fn unknown_feature(name: &str, features: &[&Arc<FeaturePart>]) -> LookupError {
    let full: Vec<String> = features.iter().map(|f| f.display_name()).collect();
    let listed: Vec<String> =
        features.iter().zip(&full).map(|(f, full)| format!("#{} {full}", f.number)).collect();
    let name_of = |fits: &dyn Fn(&FeaturePart) -> bool| {
        features.iter().zip(&full).find(|(f, _)| fits(f)).map(|(_, full)| full.clone())
    };
    let by_label = nearest(name, features.iter().map(|f| f.attrs.label.as_str()));
    let by_kind = nearest(name, features.iter().map(|f| f.desc.kind.name.as_str()));
    let by_name = nearest(name, full.iter().map(String::as_str)).map(str::to_owned);
    let by_part = || {
        let labelled = by_label.and_then(|label| name_of(&|f| f.attrs.label == label));
        labelled.or_else(|| by_kind.and_then(|kind| name_of(&|f| f.desc.kind.name == kind)))
    };
    let near = if name.contains('/') { by_name } else { by_part().or(by_name) };
    match unknown("feature", name, listed.iter().map(String::as_str).collect()) {
        LookupError::Unknown { what, name, known, .. } => {
            LookupError::Unknown { what, name, nearest: near, known }
        }
        error => error,
    }
}

pub(crate) fn unknown(what: &'static str, name: &str, mut known: Vec<&str>) -> LookupError {
    known.dedup();
    LookupError::Unknown {
        what,
        name: name.to_owned(),
        nearest: nearest(name, known.iter().copied()).map(str::to_owned),
        known: first_few(known.iter().map(|name| (*name).to_owned())),
    }
}

/// The first of some names for a message, and how many more there are.
pub(crate) fn first_few(names: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    const FEW: usize = 12;
    let more = names.len().checked_sub(FEW).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    names.take(FEW).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_names_are_listed() {
        let names: Vec<String> = (10..24).map(|n| format!("dataset-{n}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let said = unknown("dataset", "nope", all.clone()).to_string();
        assert!(
            said.contains("available: dataset-10, ") && said.ends_with("dataset-21, and 2 more"),
            "{said}"
        );
        let few = unknown("dataset", "nope", all.into_iter().take(12).collect()).to_string();
        assert!(few.ends_with("dataset-20, dataset-21"), "{few}");
    }
}
