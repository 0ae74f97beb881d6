//! Removals of a ground truth: of which method, query and share there are models, and what is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gstore_core::{first_of, many, many_of};

use super::subsets::{RANDOM, SubsetKind};
use super::truth::Truth;
use crate::error::EvaluateError;

/// Queries that are named at most.
const SHOWN: usize = 10;

/// Some queries by their ids.
fn named<'q>(queries: impl IntoIterator<Item = &'q str>) -> String {
    first_of(queries.into_iter().map(|id| format!("{id:?}")), SHOWN)
}

/// The methods whose removals are compared: those of which a model is there, in their order, behind
/// the random one.
pub fn removal_methods(truth: &Truth) -> Vec<String> {
    let mut names = vec![RANDOM.to_owned()];
    for number in truth.done(|_| true) {
        if let SubsetKind::Removed { method, .. } = &truth.subsets[number].kind
            && !names.contains(method)
        {
            names.push(method.clone());
        }
    }
    names
}

/// What was removed: the number of a method (0: random rows), a query (none: all) and a share.
pub(super) struct Removals<'a> {
    pub names: Vec<String>,
    queries: Vec<usize>,
    pub shares: Vec<f64>,
    /// Subsets by method, query and share; of random rows by share.
    found: HashMap<(usize, usize, u64), Vec<usize>>,
    asked: RequestedRemovals<'a>,
    pub truth: &'a Truth,
    pub full: usize,
}

/// All removals, also those that have no outputs.
#[derive(Default)]
struct RequestedRemovals<'a> {
    count: usize,
    methods: BTreeSet<&'a str>,
    /// By the bits of the share.
    queries: BTreeMap<u64, BTreeSet<&'a str>>,
}

impl<'a> RequestedRemovals<'a> {
    fn of(truth: &'a Truth) -> RequestedRemovals<'a> {
        let mut asked = RequestedRemovals::default();
        for subset in &truth.subsets {
            match &subset.kind {
                SubsetKind::RemovedAtRandom { share } => {
                    asked.queries.entry(share.to_bits()).or_default();
                }
                SubsetKind::Removed { method, query, share } => {
                    asked.methods.insert(method.as_str());
                    asked.queries.entry(share.to_bits()).or_default().insert(query.as_str());
                }
                _ => continue,
            }
            asked.count += 1;
        }
        asked
    }
}

impl<'a> Removals<'a> {
    /// Reads the removals that have outputs.
    pub fn of(truth: &'a Truth) -> Result<Removals<'a>, EvaluateError> {
        let bad = |what: &str| EvaluateError::Truth(what.to_owned());
        let full = truth.full()?;
        let mut of = Removals {
            names: removal_methods(truth),
            queries: Vec::new(),
            shares: Vec::new(),
            found: HashMap::new(),
            asked: RequestedRemovals::of(truth),
            truth,
            full,
        };
        if of.asked.methods.contains(RANDOM) {
            return Err(bad("a method is called random, as the removal that methods are compared with"));
        }
        let mut unasked: BTreeSet<&str> = BTreeSet::new();
        for number in truth.done(|_| true) {
            let (method, query, share) = match &truth.subsets[number].kind {
                SubsetKind::RemovedAtRandom { share } => (0, 0, *share),
                SubsetKind::Removed { method, query, share } => {
                    let Some(place) = of.names.iter().position(|name| name == method) else { continue };
                    let Some(query) = truth.queries.place(query) else {
                        unasked.insert(query);
                        continue;
                    };
                    if !of.queries.contains(&query) {
                        of.queries.push(query);
                    }
                    (place, query, *share)
                }
                _ => continue,
            };
            if !of.shares.contains(&share) {
                of.shares.push(share);
            }
            of.found.entry((method, query, share.to_bits())).or_default().push(number);
        }
        if !unasked.is_empty() {
            return Err(bad(&format!(
                "rows were removed for {}: {}; give an output of every model for them, or leave their subsets out",
                many_of(unasked.len() as u64, "query that has no output", "queries that have no output"),
                named(unasked.iter().copied())
            )));
        }
        of.shares.sort_unstable_by(f64::total_cmp);
        of.queries.sort_unstable();
        if of.names.len() < 2 {
            return Err(bad("no model was trained without the best rows of a method"));
        }
        Ok(of)
    }

    /// How many removals have outputs, and which methods, shares and queries are left out since
    /// some have none.
    pub fn told(&self) -> String {
        let done: usize = self.found.values().map(Vec::len).sum();
        let told = format!("{done} of {} with outputs.", many(self.asked.count as u64, "removal"));
        let methods =
            self.asked.methods.iter().filter(|method| !self.names.iter().any(|name| name == *method));
        let mut left: Vec<String> = methods.map(|method| format!("method {method}")).collect();
        for (share, queries) in &self.asked.queries {
            let share = f64::from_bits(*share);
            let whole: BTreeSet<&str> =
                self.whole(share).into_iter().map(|query| self.truth.queries.id(query)).collect();
            let lacking: Vec<&str> = queries.difference(&whole).copied().collect();
            match lacking.len() {
                0 if !queries.is_empty() => {}
                count if count == queries.len() => left.push(label(share)),
                count => {
                    let all = many_of(queries.len() as u64, "query", "queries");
                    left.push(format!("{count} of {all} at {} ({})", label(share), named(lacking)));
                }
            }
        }
        match left.is_empty() {
            true => told,
            false => format!("{told} Left out, since removals have none: {}.", left.join("; ")),
        }
    }

    /// The mean output for a query without what a method ranks highest; none where something was not
    /// retrained.
    pub fn output(&self, method: usize, query: usize, share: f64) -> Option<f64> {
        let of = if method == 0 { 0 } else { query };
        let subsets = self.found.get(&(method, of, share.to_bits()))?;
        let values: Option<Vec<f64>> =
            subsets.iter().map(|subset| self.truth.output(*subset, query)).collect();
        let values = values?;
        Some(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Of each model without these rows whether it answers wrong.
    pub fn wrong(&self, method: usize, query: usize, share: f64) -> Vec<bool> {
        let of = if method == 0 { 0 } else { query };
        let subsets = self.found.get(&(method, of, share.to_bits())).map_or(&[][..], Vec::as_slice);
        let is_wrong = |subset: &usize| self.truth.output(*subset, query).is_some_and(|margin| margin <= 0.0);
        subsets.iter().map(is_wrong).collect()
    }

    /// Queries that every method and the random removal have at a share.
    pub fn whole(&self, share: f64) -> Vec<usize> {
        let has = |query: &usize| (0..self.names.len()).all(|m| self.output(m, *query, share).is_some());
        self.queries.iter().copied().filter(has).collect()
    }
}

/// A share as a group is called.
pub(super) fn label(share: f64) -> String {
    format!("top {} %", (share * 1e6).round() / 1e4)
}
