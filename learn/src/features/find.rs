//! Lookup of stored features and token counts, by name and by what a prefilter was fitted on.

use gstore_core::shortened;
use gstore_store::{DatasetPart, EncodingEntry, FeaturePart, Granularity, Snapshot};

use crate::error::LearnError;

/// Digits of a digest in a message.
const DIGITS: usize = 8;

/// The features with this label, else those of this kind.
fn named<'a>(own: &[&'a FeaturePart], name: &str) -> Vec<&'a FeaturePart> {
    let by_label: Vec<&FeaturePart> = own.iter().filter(|f| f.attrs.label == name).copied().collect();
    match by_label.is_empty() {
        false => by_label,
        true => own.iter().filter(|f| f.desc.kind.name == name).copied().collect(),
    }
}

fn labels(parts: &[&FeaturePart]) -> String {
    parts.iter().map(|part| part.attrs.label.as_str()).collect::<Vec<_>>().join(", ")
}

/// The one feature with this label, or of this kind.
pub(super) fn find<'a>(
    dataset: &str,
    own: &[&'a FeaturePart],
    name: &str,
) -> Result<&'a FeaturePart, LearnError> {
    let refuse = |why: String| Err(LearnError::Feature { name: name.to_owned(), why });
    match named(own, name).as_slice() {
        [one] if one.desc.granularity == Granularity::Token => refuse(of_tokens()),
        [one] => Ok(*one),
        [] => refuse(none_of(dataset)),
        several => refuse(format!("dataset `{dataset}` has several: {}; name one of them", labels(several))),
    }
}

pub(super) struct TrainingVectors<'a> {
    pub(super) name: &'a str,
    pub(super) dim: u32,
    pub(super) space: &'a str,
    /// Key of the encoding, where it was noted.
    pub(super) encoding: Option<&'a str>,
}

impl TrainingVectors<'_> {
    /// The feature of a dataset that has the same of its rows. Others of the same name may have come since.
    pub(super) fn find<'a>(
        &self,
        snapshot: &Snapshot,
        dataset: &str,
        own: &[&'a FeaturePart],
    ) -> Result<&'a FeaturePart, LearnError> {
        let refuse = |why: String| Err(LearnError::Feature { name: self.name.to_owned(), why });
        let mut found = named(own, self.name);
        if found.is_empty() {
            return refuse(none_of(dataset));
        }
        found.retain(|part| part.desc.dim() == self.dim && part.desc.space.id() == self.space);
        if found.is_empty() {
            return refuse(format!(
                "of dataset `{dataset}` is from another model, layer or projection than what was learned from"
            ));
        }
        found.retain(|part| part.desc.granularity == Granularity::Sample);
        let Some(first) = found.first() else { return refuse(of_tokens()) };
        if let Some(key) = self.encoding {
            let other = words(snapshot, &first.desc.encoding);
            found.retain(|part| part.desc.encoding == key);
            if found.is_empty() {
                return refuse(format!(
                    "of dataset `{dataset}` is of another encoding ({other}) than what was learned from ({})",
                    words(snapshot, key)
                ));
            }
        }
        match found.as_slice() {
            [one] => Ok(*one),
            several => refuse(format!(
                "dataset `{dataset}` has several that may be what was learned from: {}; fit the prefilter again, with one of \
                 these names",
                labels(several)
            )),
        }
    }
}

fn none_of(dataset: &str) -> String {
    format!("dataset `{dataset}` has no feature of this name")
}

fn of_tokens() -> String {
    "has a vector for each token, and a prefilter reads one for each sample".to_owned()
}

/// The encoding whose tokens are counted, of the count `name`: that of the vectors, whose keys these are;
/// without any the only one. `way_out` of several.
pub(super) fn counted<'a, 'k>(
    part: &'a DatasetPart,
    name: &str,
    mut of_vectors: impl Iterator<Item = &'k str>,
    way_out: &str,
) -> Result<&'a EncodingEntry, LearnError> {
    let only = if let [one] = part.encodings.as_slice() { Some(one) } else { None };
    let found = of_vectors.find_map(|key| part.encoding(key)).or(only);
    let dataset = &part.name;
    found.ok_or_else(|| {
        let why = match part.encodings.is_empty() {
            true => not_counted(dataset),
            false => format!("dataset `{dataset}` has several encodings; {way_out}"),
        };
        LearnError::Feature { name: name.to_owned(), why }
    })
}

/// The token counts of a dataset in the encoding whose counts were learned from.
pub(super) fn counted_as<'a>(
    snapshot: &Snapshot,
    part: &'a DatasetPart,
    (name, key): (&str, &str),
) -> Result<&'a EncodingEntry, LearnError> {
    part.encoding(key).ok_or_else(|| {
        let why = match part.encodings.first() {
            None => not_counted(&part.name),
            Some(other) => format!(
                "dataset `{}` has token counts of another encoding ({}) than what was learned from ({})",
                part.name,
                words(snapshot, &other.key),
                words(snapshot, key)
            ),
        };
        LearnError::Feature { name: name.to_owned(), why }
    })
}

fn not_counted(dataset: &str) -> String {
    format!("dataset `{dataset}` has no token counts yet: features of it have to be computed first")
}

/// An encoding in words.
fn words(snapshot: &Snapshot, key: &str) -> String {
    match snapshot.datasets().iter().find_map(|dataset| dataset.encoding(key)) {
        Some(EncodingEntry { spec, .. }) => format!(
            "tokenizer {}, template {}, at most {} tokens",
            shortened(&spec.tokenizer, DIGITS),
            spec.template,
            spec.max_length
        ),
        None if key.is_empty() => "not known".to_owned(),
        None => format!("key {}", shortened(key, DIGITS)),
    }
}
