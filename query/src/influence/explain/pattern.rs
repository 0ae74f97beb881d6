//! The score as a weighted sum of similarities: which target samples count for a row, and how much.
//!
//! Once it is known which subtask and which sample decided, every aggregation is a weighted sum over target
//! samples (or over the folded vectors of subtasks). Rows with the same weights share a pattern.

use std::ops::Range;

use super::rows::RowVectors;
use super::{Fold, Prepared, Scored, TargetRow, Values};
use crate::error::QueryError;
use crate::influence::spec::{Across, Within};

/// The weights of the units: spans of consecutive units with one weight each, ascending.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern(Vec<(Range<usize>, f64)>);

impl Pattern {
    /// Units with their weights, ascending.
    pub(super) fn units(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.0.iter().flat_map(|(span, weight)| span.clone().map(move |unit| (unit, *weight)))
    }

    pub(super) fn weight(&self, unit: usize) -> f64 {
        let next = self.0.partition_point(|(span, _)| span.end <= unit);
        self.0.get(next).filter(|(span, _)| span.contains(&unit)).map_or(0.0, |(_, weight)| *weight)
    }
}

/// The patterns that the rows of a chunk have, and for each row the index of its own.
pub(super) fn patterns(
    prepared: &Prepared,
    chunk: &[Scored],
    lines: &[RowVectors],
    values: &Values,
    targets: &[TargetRow],
    subtasks: usize,
) -> Result<(Vec<Pattern>, Vec<usize>), QueryError> {
    let span = |s: usize| units_of(prepared, targets, s);
    let (mut patterns, mut of_row): (Vec<Pattern>, Vec<usize>) = (Vec::new(), Vec::new());
    for (i, (scored, line)) in chunk.iter().zip(lines).enumerate() {
        let decided = scored.subtask as usize;
        if decided >= subtasks {
            return Err(QueryError::Spec(format!(
                "row {} is not an answer to this question: it has subtask {decided} of {subtasks}",
                scored.row
            )));
        }
        let (which, share) = match prepared.spec().across {
            Across::Max | Across::Min => (decided..decided + 1, 1.0),
            Across::Mean => (0..subtasks, 1.0 / subtasks as f64),
            Across::Sum => (0..subtasks, 1.0),
        };
        let spans = which.map(|s| within(prepared, line, i, values, span(s), share)).collect();
        let pattern = Pattern(spans);
        let known = patterns.iter().position(|other| *other == pattern);
        of_row.push(known.unwrap_or_else(|| {
            patterns.push(pattern);
            patterns.len() - 1
        }));
    }
    Ok((patterns, of_row))
}

/// The units of a subtask: its samples, or what they are folded to.
pub(super) fn units_of(prepared: &Prepared, targets: &[TargetRow], subtask: usize) -> Range<usize> {
    match prepared.spec().fold {
        Fold::None => TargetRow::of_subtask(targets, subtask as u32),
        _ => subtask..subtask + 1,
    }
}

/// The units of a subtask that count for a row, and the weight of each.
fn within(
    prepared: &Prepared,
    line: &RowVectors,
    i: usize,
    values: &Values,
    span: Range<usize>,
    share: f64,
) -> (Range<usize>, f64) {
    let count = span.len() as f64;
    let decides = |better: fn(f64, f64) -> bool| {
        let mut best = (span.start, values.influence(line, i, span.start));
        for unit in span.clone().skip(1) {
            let value = values.influence(line, i, unit);
            if better(value, best.1) {
                best = (unit, value);
            }
        }
        (best.0..best.0 + 1, share)
    };
    match prepared.spec().within {
        Within::Mean => (span, share / count),
        Within::Sum => (span, share),
        Within::Max => decides(|a, b| a > b),
        Within::Min => decides(|a, b| a < b),
    }
}
