//! Columns that explain scores or say their errors, computed only for rows that are shown and if asked for.

use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::{ArrayRef, Float32Array, Float64Array, StringArray, UInt32Array, UInt64Array};
use gstore_core::Cancel;
use gstore_query::influence::{RowEstimate, RowExplanation, Scored, TargetNames, TargetRow};

use super::question::InfluenceQuestion;
use crate::error::SqlError;

/// Explanations of some rows, with the ids of the target samples that they name.
pub(super) struct Explanations<'a> {
    question: &'a InfluenceQuestion,
    rows: ScoreSources,
}

/// What stands behind scores.
enum ScoreSources {
    /// Of products of vectors.
    Vectors(Vec<RowExplanation>),
    /// Of covariances of losses.
    Losses(Vec<RowEstimate>),
}

impl<'a> Explanations<'a> {
    /// `whole`: also what takes more than the errors of covariances.
    pub(super) fn of(
        question: &'a InfluenceQuestion,
        part: &[Scored],
        whole: bool,
        cancel: &Cancel,
    ) -> Result<Self, SqlError> {
        let plan = &question.plan;
        let rows = match plan.plan().models() {
            None => ScoreSources::Vectors(plan.explain_rows(part, cancel)?),
            Some(_) => ScoreSources::Losses(plan.estimates(part, whole, cancel)?),
        };
        Ok(Self { question, rows })
    }

    /// For each row its parts, the target sample that is most like it, and how much.
    fn parts(&self) -> Vec<(Vec<Option<f32>>, TargetRow, f32)> {
        match &self.rows {
            ScoreSources::Vectors(rows) => rows
                .iter()
                .map(|row| (row.checkpoint_scores.clone(), row.nearest, row.nearest_score))
                .collect(),
            ScoreSources::Losses(rows) => {
                let small = |x: &Option<f64>| x.map(|x| x as f32);
                let behind = rows.iter().filter_map(|row| row.behind.as_ref());
                let parts = behind.map(|row| {
                    (row.of_models.iter().map(small).collect(), row.nearest, row.nearest_score as f32)
                });
                parts.collect()
            }
        }
    }

    /// A column of an explanation by its place among them.
    pub(super) fn column(&self, place: usize) -> Result<ArrayRef, SqlError> {
        let nearest = || self.parts().into_iter().map(|(_, nearest, _)| nearest).collect::<Vec<_>>();
        let names = || TargetNames::new(&self.question.plan);
        Ok(match place {
            0 => {
                let mut lists = ListBuilder::new(Float32Builder::new());
                for (parts, _, _) in self.parts() {
                    parts.into_iter().for_each(|part| lists.values().append_option(part));
                    lists.append(true);
                }
                Arc::new(lists.finish())
            }
            1 => {
                let names = names()?;
                Arc::new(nearest().iter().map(|row| Some(names.dataset_of(row))).collect::<StringArray>())
            }
            2 => Arc::new(StringArray::from(names()?.ids_of(&nearest())?)),
            3 => Arc::new(UInt64Array::from_iter_values(nearest().iter().map(|row| row.row))),
            4 => Arc::new(Float32Array::from_iter_values(self.parts().iter().map(|(_, _, score)| *score))),
            place => {
                let ScoreSources::Vectors(rows) = &self.rows else {
                    return Err(SqlError::internal("errors of vectors"));
                };
                let value: fn(&RowExplanation) -> Option<f32> = match place {
                    5 => |row| row.stderr,
                    6 => |row| row.noise_floor,
                    _ => |row| row.ignored,
                };
                Arc::new(rows.iter().map(value).collect::<Float32Array>())
            }
        })
    }

    /// A column of errors by its place among them.
    pub(super) fn error(&self, place: usize) -> Result<ArrayRef, SqlError> {
        let ScoreSources::Losses(rows) = &self.rows else {
            return Err(SqlError::internal("errors of covariances"));
        };
        let estimates = rows.iter().map(|row| row.estimate);
        Ok(match place {
            0 => Arc::new(estimates.map(|estimate| estimate.se).collect::<Float64Array>()),
            1 => Arc::new(estimates.map(|estimate| estimate.z()).collect::<Float64Array>()),
            2 => {
                let models = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                Arc::new(UInt32Array::from_iter_values(estimates.map(|estimate| models(estimate.models))))
            }
            _ => Arc::new(estimates.map(|estimate| estimate.noise_floor).collect::<Float64Array>()),
        })
    }
}
