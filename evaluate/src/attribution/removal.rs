//! Removal curves: what a query's output loses without the rows that a method ranks highest for it, next to
//! random rows.
//!
//! Of margins the smallest removal that makes the answer wrong is the brittleness of the query (Ilyas et al.
//! 2022, section 4).

use std::collections::HashMap;
use std::ops::Range;

use super::outcome::{AttributionOutcome, Comparison};
use super::removed::{Removals, label};
use super::truth::{Signal, Truth};
use crate::error::EvaluateError;
use crate::metrics::Metric;
use crate::report::{Column, Series};

/// Compares methods by what outputs lose without the rows that they rank highest; the first system is the
/// removal of random rows.
///
/// # Errors
/// No output of the whole pool, of random removals or of those of a method; being told to stop.
pub fn removal_curves(
    truth: &Truth,
    comparison: &Comparison<'_>,
) -> Result<AttributionOutcome, EvaluateError> {
    let of = Removals::of(truth)?;
    let lost = |method: usize, query: usize, share: f64| -> f64 {
        let output = |value: Option<f64>| value.unwrap_or(f64::NAN);
        output(truth.output(of.full, query)) - output(of.output(method, query, share))
    };
    let mut groups: Vec<(String, Range<usize>)> = Vec::new();
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); of.names.len()];
    let (mut lines, mut units) = (Vec::new(), Units::default());
    for share in &of.shares {
        let queries = of.whole(*share);
        if queries.is_empty() {
            continue;
        }
        let begin = values[0].len();
        for (method, name) in of.names.iter().enumerate() {
            for query in &queries {
                let lost = lost(method, *query, *share);
                values[method].push(lost);
                let id = truth.queries.id(*query).to_owned();
                lines.push(vec![share.to_string(), id, name.clone(), lost.to_string()]);
            }
        }
        groups.push((label(*share), begin..begin + queries.len()));
        units.extend(&queries);
    }
    if groups.is_empty() {
        let told = of.told();
        let what =
            format!("no share has outputs of random removals and of every method for one query: {told}");
        return Err(EvaluateError::Truth(what));
    }
    let curves = curves(&of.names, &values, &groups);
    let labels = groups.iter().map(|(name, _)| name.clone()).collect();
    let mut columns = vec![Column { metric: Metric::Removal, values, groups, corpus: None }];
    let brittle = (truth.signal == Signal::Margin).then(|| flips(&of)).flatten();
    let mut sentences = Vec::new();
    let mut units = vec![units.of_rows];
    if let Some((column, own, found)) = brittle {
        columns.push(column);
        units.push(own);
        sentences = found;
    }
    let header = ["share", "query", "method", "lost"].map(str::to_owned).to_vec();
    let names = of.names.clone();
    let of_units = (columns.as_slice(), units.as_slice());
    let mut outcome = AttributionOutcome::new("brittleness", names, of_units, (header, lines), comparison)?;
    outcome.draw("removal_curves", "What outputs lose, over % of the pool that is removed", labels, curves);
    outcome.say(of.told());
    sentences.into_iter().for_each(|sentence| outcome.say(sentence));
    Ok(outcome)
}

/// The queries of rows, numbered as they come: a query is in all shares, and counts once.
#[derive(Default)]
struct Units {
    known: Vec<usize>,
    of_rows: Vec<usize>,
}

impl Units {
    fn extend(&mut self, queries: &[usize]) {
        for query in queries {
            let place = self.known.iter().position(|known| known == query).unwrap_or(self.known.len());
            if place == self.known.len() {
                self.known.push(*query);
            }
            self.of_rows.push(place);
        }
    }
}

/// The mean of each method over each group.
fn curves(names: &[String], values: &[Vec<f64>], groups: &[(String, Range<usize>)]) -> Vec<Series> {
    let line = |(name, values): (&String, &Vec<f64>)| {
        let mean = |(_, rows): &(String, Range<usize>)| {
            values[rows.clone()].iter().sum::<f64>() / rows.len().max(1) as f64
        };
        Series::new(name, groups.iter().map(|group| (mean(group), None, None)))
    };
    names.iter().zip(values).map(line).collect()
}

/// Of queries that the whole pool answers right: the share of the models without some rows that answer wrong,
/// and of each method how many of the answers become wrong and the median of the smallest removals that make
/// them so. With the query of each row.
///
/// Of several random removals each is looked at by itself, as that of a method is, and their mean counts:
/// what most of them do would be compared with what a single one does by chance.
fn flips(of: &Removals<'_>) -> Option<(Column, Vec<usize>, Vec<String>)> {
    let right = |query: &usize| of.truth.output(of.full, *query).is_some_and(|margin| margin > 0.0);
    let mut groups: Vec<(String, Range<usize>)> = Vec::new();
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); of.names.len()];
    let mut flipped = vec![Flipped::default(); of.names.len()];
    let mut units = Units::default();
    for share in &of.shares {
        let queries: Vec<usize> = of.whole(*share).into_iter().filter(right).collect();
        let begin = values[0].len();
        for (method, flipped) in flipped.iter_mut().enumerate() {
            for query in &queries {
                values[method].push(flipped.add(*query, *share, &of.wrong(method, *query, *share)));
            }
        }
        if !queries.is_empty() {
            groups.push((label(*share), begin..begin + queries.len()));
        }
        units.extend(&queries);
    }
    if groups.is_empty() {
        return None;
    }
    let sentence = |(name, flipped): (&String, &Flipped)| flipped.sentence(name, units.known.len());
    let sentences = of.names.iter().zip(&flipped).map(sentence).collect();
    Some((Column { metric: Metric::Flipped, values, groups, corpus: None }, units.of_rows, sentences))
}

/// The answers that removals by one method make wrong.
#[derive(Debug, Clone, Default)]
struct Flipped {
    /// By query and number of the removal the smallest share.
    smallest: HashMap<(usize, usize), f64>,
    /// Removals of each share, if these are several.
    draws: usize,
}

impl Flipped {
    /// Adds what models say without a share; shares ascend. Returns how many of them answer wrong, as a
    /// share.
    fn add(&mut self, query: usize, share: f64, wrong: &[bool]) -> f64 {
        self.draws = self.draws.max(wrong.len());
        let draws = (0..wrong.len()).filter(|draw| wrong[*draw]);
        draws.clone().for_each(|draw| {
            self.smallest.entry((query, draw)).or_insert(share);
        });
        draws.count() as f64 / wrong.len().max(1) as f64
    }

    fn sentence(&self, name: &str, right: usize) -> String {
        let mut shares: Vec<f64> = self.smallest.values().copied().collect();
        shares.sort_unstable_by(f64::total_cmp);
        let median = shares.get(shares.len().saturating_sub(1) / 2);
        let median =
            median.map_or_else(String::new, |share| format!(", the median of them at {}", label(*share)));
        let (count, of) = match self.draws {
            0 | 1 => (shares.len().to_string(), String::new()),
            draws => {
                let count = format!("{:.1}", shares.len() as f64 / draws as f64);
                (count, format!(" (the mean of {draws} removals)"))
            }
        };
        format!("{name}: {count} of {right} right answers become wrong{of}{median}.")
    }
}
