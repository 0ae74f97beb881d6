//! Names of features, and what they are in a dataset.

use gstore_core::Kind;
use gstore_store::{DatasetPart, FeaturePart, Snapshot, nearest};
use serde::{Deserialize, Serialize};

use super::find::{counted, find};
use super::passes::Passes;
use crate::error::LearnError;

/// Values of a text column that have a column of their own.
pub(crate) const MOST_VALUES: usize = 64;

/// The exponential of the loss; what comes behind it is that of the loss's label.
const PERPLEXITY: &str = "perplexity";

/// The features of a prefilter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FeatureSet {
    pub(super) features: Vec<Feature>,
    /// Key of the encoding whose tokens are counted, where they are; none of a prefilter that did not note
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) counts: Option<String>,
}

/// A feature as its user named it, and what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) source: FeatureSource,
}

/// Where a feature's numbers come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FeatureSource {
    Tokens,
    /// Tokens that count for the loss.
    ScoredTokens,
    /// The others.
    PromptTokens,
    Stored {
        /// What it is in a dataset that it is looked for in: a label, or a kind that has one feature.
        name: String,
        dim: u32,
        /// What its vectors can be compared with.
        space: String,
        /// Whether the numbers are taken as exponents.
        exp: bool,
        /// Whether it is a gradient, which takes a backward pass too.
        #[serde(default)]
        gradient: bool,
        /// Id of the weights that it was taken at, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// Key of the encoding that it was taken of; none of a prefilter that did not note it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        encoding: Option<String>,
    },
    /// A metadata column of numbers or truth values.
    Number {
        column: String,
    },
    /// A metadata column of text: a column of 0 and 1 for each of its most frequent values.
    Text {
        column: String,
        /// The values, in the order of their columns.
        values: Vec<String>,
    },
}

impl FeatureSet {
    /// What names mean in a dataset: `tokens`, `scored_tokens`, `prompt_tokens`; `perplexity`, the
    /// exponential of `loss`, and `perplexity@base` of `loss@base`; a stored feature by its label or kind; a
    /// metadata column. `feature:` and `column:` in front of a name choose between the last two.
    ///
    /// # Errors
    /// A name that means nothing, or several things.
    pub fn resolve(snapshot: &Snapshot, dataset: &str, names: &[String]) -> Result<FeatureSet, LearnError> {
        let part = snapshot.dataset(dataset)?;
        let own = snapshot.features_of(dataset);
        let own: Vec<&FeaturePart> = own.iter().map(|feature| &***feature).collect();
        let mut features: Vec<Feature> = Vec::new();
        for name in names {
            if features.iter().any(|feature| feature.name == *name) {
                return Err(LearnError::Feature { name: name.clone(), why: "is named twice".to_owned() });
            }
            let source = source_of_name(part, &own, name)?;
            if let Some(same) = features.iter().find(|other| is_same(dataset, &own, &other.source, &source)) {
                let why = format!("is the same as {}, and would count twice", same.name);
                return Err(LearnError::Feature { name: name.clone(), why });
            }
            features.push(Feature { name: name.clone(), source });
        }
        if features.is_empty() {
            return Err(LearnError::Invalid("a prefilter needs a feature".to_owned()));
        }
        let count = features.iter().find(|feature| feature.source.is_count());
        let of_vectors = features.iter().filter_map(|feature| match &feature.source {
            FeatureSource::Stored { encoding, .. } => encoding.as_deref(),
            _ => None,
        });
        let way_out = "name a stored feature as well, whose encoding is taken";
        let counted = count.map(|count| counted(part, &count.name, of_vectors, way_out)).transpose()?;
        let counts = counted.map(|encoding| encoding.key.clone());
        Ok(FeatureSet { features, counts })
    }

    /// Names of the columns.
    pub fn columns(&self) -> Vec<String> {
        let of = |feature: &Feature| -> Vec<String> {
            match &feature.source {
                FeatureSource::Stored { dim, .. } if *dim > 1 => {
                    (0..*dim).map(|i| format!("{}[{i}]", feature.name)).collect()
                }
                FeatureSource::Text { values, .. } => {
                    values.iter().map(|value| format!("{}={value}", feature.name)).collect()
                }
                _ => vec![feature.name.clone()],
            }
        };
        self.features.iter().flat_map(of).collect()
    }

    /// Names as they were given.
    pub fn names(&self) -> Vec<&str> {
        self.features.iter().map(|feature| feature.name.as_str()).collect()
    }

    /// Forward passes that a row's features take.
    pub fn passes(&self) -> Passes {
        let mut passes = Passes::default();
        for feature in &self.features {
            if let FeatureSource::Stored { gradient, model, space, .. } = &feature.source {
                passes.add(model.as_deref().unwrap_or(space), *gradient);
            }
        }
        passes
    }
}

impl FeatureSource {
    pub(super) fn is_count(&self) -> bool {
        matches!(self, Self::Tokens | Self::ScoredTokens | Self::PromptTokens)
    }

    /// Columns of numbers.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Stored { dim, .. } => *dim as usize,
            Self::Text { values, .. } => values.len(),
            _ => 1,
        }
    }
}

/// Whether two names mean one thing: a label and a kind can both be those of one stored feature.
fn is_same(dataset: &str, own: &[&FeaturePart], a: &FeatureSource, b: &FeatureSource) -> bool {
    match (a, b) {
        (
            FeatureSource::Stored { name: a, exp: of_a, .. },
            FeatureSource::Stored { name: b, exp: of_b, .. },
        ) => {
            let part = |name: &str| find(dataset, own, name).map(|part| part.attrs.label.as_str());
            of_a == of_b && matches!((part(a), part(b)), (Ok(a), Ok(b)) if a == b)
        }
        _ => a == b,
    }
}

fn source_of_name(part: &DatasetPart, own: &[&FeaturePart], name: &str) -> Result<FeatureSource, LearnError> {
    let (only_feature, only_column) = (name.strip_prefix("feature:"), name.strip_prefix("column:"));
    match name {
        "tokens" => return Ok(FeatureSource::Tokens),
        "scored_tokens" => return Ok(FeatureSource::ScoredTokens),
        "prompt_tokens" => return Ok(FeatureSource::PromptTokens),
        _ => {}
    }
    if let Some(at) = name.strip_prefix(PERPLEXITY).filter(|at| at.is_empty() || at.starts_with('@')) {
        return stored(&part.name, own, &format!("loss{at}"), true).map_err(|error| LearnError::Feature {
            name: name.to_owned(),
            why: format!("{error} (that of `loss@base` is `{PERPLEXITY}@base`)"),
        });
    }
    if let Some(column) = only_column {
        return column_of(part, column).ok_or_else(|| unknown(part, own, name));
    }
    let label = only_feature.unwrap_or(name);
    if only_feature.is_some() || own.iter().any(|f| f.attrs.label == label || f.desc.kind.name == label) {
        return stored(&part.name, own, label, false);
    }
    column_of(part, name).ok_or_else(|| unknown(part, own, name))
}

fn column_of(part: &DatasetPart, name: &str) -> Option<FeatureSource> {
    let found = part.columns.iter().find(|column| column.name == name)?;
    let column = found.name.clone();
    Some(match found.ty {
        gstore_store::ColumnType::Text => FeatureSource::Text { column, values: Vec::new() },
        _ => FeatureSource::Number { column },
    })
}

fn unknown(part: &DatasetPart, own: &[&FeaturePart], name: &str) -> LearnError {
    let labels = own.iter().map(|feature| feature.attrs.label.as_str());
    let columns = part.columns.iter().map(|column| column.name.as_str());
    let known: Vec<&str> = ["tokens", "scored_tokens", "prompt_tokens", PERPLEXITY]
        .into_iter()
        .chain(labels)
        .chain(columns)
        .collect();
    let why = match nearest(name, known.iter().copied()) {
        Some(near) => {
            format!("dataset `{}` has no such feature or column; did you mean `{near}`?", part.name)
        }
        None => format!("dataset `{}` has no such feature or column; it has {}", part.name, known.join(", ")),
    };
    LearnError::Feature { name: name.to_owned(), why }
}

fn stored(dataset: &str, own: &[&FeaturePart], name: &str, exp: bool) -> Result<FeatureSource, LearnError> {
    let part = find(dataset, own, name)?;
    Ok(FeatureSource::Stored {
        name: name.to_owned(),
        dim: part.desc.dim(),
        space: part.desc.space.id(),
        exp,
        gradient: Kind::names_gradient(&part.desc.kind.name),
        model: part.desc.checkpoint.as_ref().map(ToString::to_string),
        encoding: Some(part.desc.encoding.clone()),
    })
}

/// The feature that a column is of: a vector or a text has several, as [`FeatureSet::columns`] names them.
pub(crate) fn feature_of(column: &str) -> &str {
    column.split(['[', '=']).next().unwrap_or(column)
}

/// The features that columns are of, those of one vector or text as one.
pub(crate) fn features_of(columns: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = columns.iter().map(|name| feature_of(name)).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn features_without_an_encoding_still_read_and_others_keep_theirs() {
        let vectors = json!({"name": "loss", "dim": 1, "space": "s", "exp": false});
        let mut value = json!({"features": [
            {"name": "tokens", "source": "tokens"},
            {"name": "loss", "source": {"stored": vectors}},
        ]});
        let older: FeatureSet = serde_json::from_value(value.clone()).unwrap();
        assert_eq!((older.names(), &older.counts), (vec!["tokens", "loss"], &None));
        value["counts"] = json!("e");
        value["features"][1]["source"]["stored"]["encoding"] = json!("e");
        let newer: FeatureSet = serde_json::from_value(value).unwrap();
        let again: FeatureSet = serde_json::from_value(serde_json::to_value(&newer).unwrap()).unwrap();
        assert_eq!(newer, again);
        assert_ne!(newer, older);
    }
}
