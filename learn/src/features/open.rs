//! Features of a dataset that are open for reading.

use std::collections::BTreeMap;
use std::sync::Arc;

use gstore_store::{EncodingReader, FeaturePart, FeatureReader, SampleReader, Snapshot};

use super::find::{TrainingVectors, counted, counted_as};
use super::set::{Feature, FeatureSet, FeatureSource, MOST_VALUES};
use super::vectors::{cells, read_vectors};
use crate::error::LearnError;
use crate::matrix::Matrix;

/// The features of a set in one dataset.
pub struct OpenFeatures {
    dataset: String,
    set: FeatureSet,
    samples: SampleReader,
    counts: Option<EncodingReader>,
    /// Of each feature that is stored.
    readers: Vec<Option<FeatureReader>>,
}

impl FeatureSet {
    /// Opens them in a dataset.
    ///
    /// # Errors
    /// A feature that the dataset lacks, or has of another kind.
    pub fn open(&self, snapshot: &Snapshot, dataset: &str) -> Result<OpenFeatures, LearnError> {
        let part = snapshot.dataset(dataset)?;
        let own = snapshot.features_of(dataset);
        let own: Vec<&FeaturePart> = own.iter().map(|feature| &***feature).collect();
        let mut readers: Vec<Option<FeatureReader>> = Vec::with_capacity(self.features.len());
        for feature in &self.features {
            let FeatureSource::Stored { name, dim, space, encoding, .. } = &feature.source else {
                check_column(part, feature)?;
                readers.push(None);
                continue;
            };
            let learned = TrainingVectors { name, dim: *dim, space, encoding: encoding.as_deref() };
            let found = learned.find(snapshot, dataset, &own)?;
            readers.push(Some(snapshot.open_feature(found)?));
        }
        let count = self.features.iter().find(|feature| feature.source.is_count());
        let counts = count.map(|count| -> Result<_, LearnError> {
            let encoding = match &self.counts {
                Some(key) => counted_as(snapshot, part, (&count.name, key))?,
                None => {
                    let way_out = "which one was learned from is not known: fit the prefilter again";
                    let vectors = readers.iter().flatten();
                    let of_vectors = vectors.map(|reader| reader.part().desc.encoding.as_str());
                    counted(part, &count.name, of_vectors, way_out)?
                }
            };
            Ok(snapshot.encoding(encoding)?)
        });
        let counts = counts.transpose()?;
        let samples = snapshot.samples(part)?;
        Ok(OpenFeatures { dataset: dataset.to_owned(), set: self.clone(), samples, counts, readers })
    }
}

impl OpenFeatures {
    /// The name of the dataset.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// The features.
    pub fn set(&self) -> &FeatureSet {
        &self.set
    }

    /// Keys of those that are stored vectors.
    pub fn keys(&self) -> Vec<String> {
        self.readers.iter().flatten().map(|reader| reader.part().desc.key()).collect()
    }

    /// The samples of the dataset.
    pub fn samples(&self) -> &SampleReader {
        &self.samples
    }

    /// Chooses the values of text columns that have columns of their own: the most frequent ones of some
    /// rows, which ascend.
    ///
    /// # Errors
    /// Damage.
    pub fn learn_values(&mut self, rows: &[u64]) -> Result<(), LearnError> {
        for at in 0..self.set.features.len() {
            let FeatureSource::Text { column, .. } = &self.set.features[at].source else { continue };
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            self.texts(&column.clone(), rows, |_, text| *counts.entry(text.to_owned()).or_default() += 1)?;
            let mut sorted: Vec<(String, u64)> = counts.into_iter().collect();
            // Equal ones stay in the order of their texts.
            sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            sorted.truncate(MOST_VALUES);
            if let FeatureSource::Text { values, .. } = &mut self.set.features[at].source {
                *values = sorted.into_iter().map(|(text, _)| text).collect();
            }
        }
        Ok(())
    }

    /// The features of some rows, which ascend: a row for each, NaN where a value is missing. A missing text
    /// is 0 in all its columns.
    ///
    /// # Errors
    /// Damage.
    pub fn read(&self, rows: &[u64]) -> Result<Matrix, LearnError> {
        let width: usize = self.set.features.iter().map(|feature| feature.source.width()).sum();
        let mut found = Matrix::new(width, vec![f64::NAN; rows.len() * width]);
        let mut at = 0;
        for (feature, reader) in self.set.features.iter().zip(&self.readers) {
            match (&feature.source, reader) {
                (FeatureSource::Stored { exp, .. }, Some(reader)) => {
                    read_vectors(reader, rows, |i, values| {
                        let place = &mut found.row_mut(i)[at..at + values.len()];
                        place.iter_mut().zip(values).for_each(|(to, from)| {
                            *to = if *exp { f64::from(*from).exp() } else { f64::from(*from) };
                        });
                    })?;
                }
                (FeatureSource::Number { column }, _) => {
                    self.numbers(column, rows, |i, value| found.row_mut(i)[at] = value)?;
                }
                (FeatureSource::Text { column, values }, _) => {
                    (0..rows.len()).for_each(|i| found.row_mut(i)[at..at + values.len()].fill(0.0));
                    self.texts(column, rows, |i, text| {
                        if let Some(value) = values.iter().position(|value| value == text) {
                            found.row_mut(i)[at + value] = 1.0;
                        }
                    })?;
                }
                (source, _) => self.count(source, rows, |i, value| found.row_mut(i)[at] = value)?,
            }
            at += feature.source.width();
        }
        Ok(found)
    }

    /// For each feature its name, and how many rows have a value of it. `x`: what was read of them.
    pub fn with_value(&self, x: &Matrix) -> Vec<(&str, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        for feature in &self.set.features {
            let columns = at..at + feature.source.width();
            at = columns.end;
            // A text without a value has no column either.
            let is_there = |row: &usize| x.row(*row)[columns.clone()].iter().any(|value| value.is_finite());
            found.push((feature.name.as_str(), (0..x.rows()).filter(is_there).count()));
        }
        found
    }

    /// The names of features of which no row has a value. `x`: what was read of some rows.
    pub fn without_value(&self, x: &Matrix) -> Vec<&str> {
        self.with_value(x).into_iter().filter(|(_, rows)| *rows == 0).map(|(name, _)| name).collect()
    }

    fn count(
        &self,
        source: &FeatureSource,
        rows: &[u64],
        mut take: impl FnMut(usize, f64),
    ) -> Result<(), LearnError> {
        let Some(counts) = &self.counts else { return Ok(()) };
        for (first, range) in cells(rows) {
            let part = &rows[first..first + range.1];
            for count in counts.counts(range.0)? {
                let Ok(i) = part.binary_search(&count.row) else { continue };
                take(
                    first + i,
                    f64::from(match source {
                        FeatureSource::Tokens => count.tokens,
                        FeatureSource::ScoredTokens => count.scored,
                        _ => count.tokens.saturating_sub(count.scored),
                    }),
                );
            }
        }
        Ok(())
    }
}

/// Refuses a column that the dataset lacks, or has with another type.
fn check_column(part: &Arc<gstore_store::DatasetPart>, feature: &Feature) -> Result<(), LearnError> {
    let (column, text) = match &feature.source {
        FeatureSource::Number { column } => (column, false),
        FeatureSource::Text { column, .. } => (column, true),
        _ => return Ok(()),
    };
    let found = part.columns.iter().find(|known| known.name == *column);
    let why = match found {
        Some(found) if (found.ty == gstore_store::ColumnType::Text) == text => return Ok(()),
        Some(found) => format!(
            "of dataset `{}` is a column of type {}, and another was learned from",
            part.name, found.ty
        ),
        None => format!("dataset `{}` has no such column", part.name),
    };
    Err(LearnError::Feature { name: feature.name.clone(), why })
}
