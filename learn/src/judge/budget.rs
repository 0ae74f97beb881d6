//! The budget: how many rows have to be kept for a recall with confidence.
//!
//! Of the k true top rows the prediction orders, the h-th bounds the recall as a quantile does in
//! conformal prediction. A budget is a cascade of one stage, whose labelled rows of the top count as
//! found. Rows that do not, as those that a stored cut is judged on, bound a recall by its hits alone
//! (Clopper and Pearson 1934).

use gstore_core::correlation::descending;
use serde::{Deserialize, Serialize};

use super::bounds::{CONFIDENCE, ln_sum};
use super::cascade::cascade;
use super::order::{is_predicted, kept_rows};
use super::pool_top::{ENDLESS, PoolTop};

/// A budget as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// So many rows that the lower bound of the recall reaches this.
    Recall(f64),
    /// This share of rows.
    Share(f64),
}

/// Which rows of a target are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TargetCut {
    /// Predictions from here on are kept; none: all rows are, as nothing less is known to reach the recall.
    pub from: Option<f64>,
    /// Share of the labelled rows with a prediction that this keeps.
    pub share: f64,
    /// Share of the true top that is kept, rows without a prediction among it.
    pub recall: f64,
    /// Its one-sided 95 % lower bound.
    pub bound: f64,
    /// Where the bound counts the labelled rows of a pool's top as found, the recall that does so too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_labelled: Option<f64>,
}

impl TargetCut {
    /// What a cut keeps of some labelled rows; it keeps those of which nothing is predicted, whose prediction
    /// is infinite. `of_pool`: how many rows of a pool are of the true top, where the labelled ones of them
    /// count as found.
    pub fn on(from: Option<f64>, predictions: &[f64], top: &[bool], of_pool: Option<usize>) -> TargetCut {
        let Some(least) = from else {
            return TargetCut { from, share: 1.0, recall: 1.0, bound: 1.0, with_labelled: None };
        };
        let is_kept = |prediction: &f64| *prediction >= least;
        let known = || predictions.iter().filter(|prediction| is_predicted(prediction));
        let kept = known().filter(|prediction| is_kept(prediction)).count();
        let hits =
            predictions.iter().zip(top).filter(|(prediction, top)| **top && is_kept(prediction)).count();
        let k = top.iter().filter(|top| **top).count();
        let recall = hits as f64 / k.max(1) as f64;
        let pool = of_pool.map(|rows| PoolTop::new(rows, k)).filter(|pool| pool.rows != ENDLESS);
        // The labelled rows of the top are all kept, the others as often as the cut keeps labelled ones.
        let with_labelled =
            |PoolTop { rows, .. }| (k as f64 + rows.saturating_sub(k) as f64 * recall) / rows.max(1) as f64;
        TargetCut {
            from,
            share: kept as f64 / known().count().max(1) as f64,
            recall,
            with_labelled: pool.map(with_labelled),
            bound: match pool {
                Some(pool) => pool.bound(k - hits),
                None => lower_bound(hits, k),
            },
        }
    }
}

/// ln of the probability of at least `hits` of `k` at a chance of `p`.
fn ln_tail(hits: usize, k: usize, p: f64) -> f64 {
    if hits == 0 || p >= 1.0 {
        return 0.0;
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    // Terms from the largest number of hits down, each from the one before.
    let mut term = k as f64 * p.ln();
    let mut terms = vec![term];
    for i in (hits..k).rev() {
        term += ((i + 1) as f64 / (k - i) as f64).ln() + ((1.0 - p) / p).ln();
        terms.push(term);
    }
    ln_sum(&terms)
}

/// The lower bound of a chance of which `hits` of `k` were seen.
pub(crate) fn lower_bound(hits: usize, k: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    if hits == 0 || k == 0 {
        return 0.0;
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if ln_tail(hits, k, middle) < (1.0 - CONFIDENCE).ln() { low = middle } else { high = middle }
    }
    low
}

/// Where predictions are cut so that a share of rows is kept. Rows of the same prediction cannot be
/// told apart: of those at the cut all are kept or none, whichever is nearer to the share, and the
/// first ones always are.
pub(crate) fn cut_at_share(predictions: &[f64], share: f64) -> Option<f64> {
    let order = descending(predictions);
    let wanted = kept_rows(share, predictions.len()).max(1);
    let from = predictions[*order.get(wanted - 1)?];
    let above = order.iter().take_while(|row| predictions[**row] > from).count();
    let with = order.iter().take_while(|row| predictions[**row] >= from).count();
    let kept = if above > 0 && wanted - above < with - wanted { above } else { with };
    let least = predictions[order[kept - 1]];
    let Some(next) = order.get(kept).map(|row| predictions[*row]) else { return Some(least) };
    // Halfway to the first one that is not kept: other learners of the same data predict equal rows
    // a little lower.
    let between = 0.5 * least + 0.5 * next;
    Some(if between > next && between <= least { between } else { least })
}

/// The cut of a target, from predictions out of fold; these and `of_pool` as for [`TargetCut::on`].
pub(super) fn choose(
    predictions: &[f64],
    top: &[bool],
    of_pool: Option<usize>,
    budget: &Budget,
) -> TargetCut {
    let from = match budget {
        Budget::Share(share) => {
            let known: Vec<f64> = predictions.iter().copied().filter(is_predicted).collect();
            cut_at_share(&known, *share)
        }
        Budget::Recall(recall) => {
            let stages = cascade(&[predictions.to_vec()], top, *recall, of_pool.unwrap_or(ENDLESS));
            stages.first().and_then(|cut| cut.from)
        }
    };
    let cut = TargetCut::on(from, predictions, top, of_pool);
    if cut.share < 1.0 { cut } else { TargetCut::on(None, predictions, top, of_pool) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::top_k;

    #[test]
    fn bounds_are_those_of_tables() {
        // scipy.stats.beta.ppf(0.05, h, k - h + 1)
        for (hits, k, bound) in [(75, 75, 0.960_843), (9, 10, 0.605_836), (1, 20, 0.002_561), (0, 5, 0.0)] {
            assert!((lower_bound(hits, k) - bound).abs() < 1e-5, "{hits} of {k}: {}", lower_bound(hits, k));
        }
        // What a pool without an end takes is what these bounds take.
        let needed_hits = |recall: f64, labelled: usize| {
            PoolTop { rows: ENDLESS, labelled }.most_misses(recall).map(|misses| labelled - misses)
        };
        // ln 0.05 / ln 0.95 = 58.4
        assert_eq!((needed_hits(0.95, 58), needed_hits(0.95, 59)), (None, Some(59)));
        assert!(needed_hits(0.9, 75).is_some_and(|hits| hits < 75));
        assert_eq!((needed_hits(0.9, 0), needed_hits(1.0, 1000)), (None, None));
        for (recall, k) in [(0.5, 40), (0.9, 300), (0.95, 300), (0.99, 300)] {
            assert_eq!(
                needed_hits(recall, k),
                (1..=k).find(|hits| lower_bound(*hits, k) >= recall),
                "{recall} {k}"
            );
        }
        // Each of all numbers of hits would take minutes.
        let many = needed_hits(0.9, 200_000).expect("many rows");
        assert!((180_000..181_000).contains(&many), "{many}");
    }

    #[test]
    fn a_recall_that_counts_labelled_rows_stands_next_to_a_bound_that_does() {
        // Two of the ten labelled rows of a top of 30 pass the cut.
        let top: Vec<bool> = (0..20).map(|row| row < 10).collect();
        let predictions: Vec<f64> = (0..20).map(|row| if row < 2 { 1.0 } else { 0.0 }).collect();
        let cut = TargetCut::on(Some(0.5), &predictions, &top, Some(30));
        let with_labelled = cut.with_labelled.expect("of a pool");
        assert!((cut.recall - 0.2).abs() < 1e-12 && (with_labelled - 14.0 / 30.0).abs() < 1e-12, "{cut:?}");
        assert!(cut.bound > cut.recall && cut.bound <= with_labelled, "{cut:?}");
        assert_eq!(TargetCut::on(Some(0.5), &predictions, &top, None).with_labelled, None);
    }

    #[test]
    fn ties_are_kept_together_and_too_small_a_top_keeps_all() {
        let scores: Vec<f64> = (0..200).map(f64::from).collect();
        let top = top_k(&scores, 60);
        let cut = choose(&scores, &top, None, &Budget::Recall(0.95));
        assert_eq!((cut.from, cut.share, cut.recall), (Some(140.0), 0.3, 1.0));
        let coarse: Vec<f64> = scores.iter().map(|s| (s / 50.0).floor()).collect();
        // The first rows are kept, and of others at the cut all or none, which is nearer.
        for (share, kept) in [(0.1, 0.25), (0.3, 0.25), (0.45, 0.5), (0.5, 0.5), (0.51, 0.5), (0.7, 0.75)] {
            assert_eq!(choose(&coarse, &top, None, &Budget::Share(share)).share, kept, "{share}");
        }
        assert_eq!(choose(&scores, &top_k(&scores, 5), None, &Budget::Recall(0.95)).from, None);
        assert_eq!(choose(&[1.0; 50], &top_k(&[1.0; 50], 10), None, &Budget::Share(0.5)).from, None);
        assert_eq!(choose(&[], &[], None, &Budget::Share(0.5)).from, None);
    }

    #[test]
    fn rows_without_a_prediction_are_found_and_no_part_of_a_share() {
        let scores: Vec<f64> = (0..200).map(f64::from).collect();
        let top = top_k(&scores, 80);
        // Nothing is predicted of every second row.
        let predictions: Vec<f64> =
            (0..200).map(|row| if row % 2 == 0 { scores[row] } else { f64::INFINITY }).collect();
        let cut = choose(&predictions, &top, None, &Budget::Share(0.2));
        assert_eq!((cut.from, cut.share), (Some(159.0), 0.2));
        // All 40 of the top that have none, and half of the others.
        assert_eq!((cut.recall, cut.bound), (0.75, lower_bound(60, 80)));
        let cut = choose(&predictions, &top, None, &Budget::Recall(0.95));
        assert_eq!((cut.from, cut.share, cut.recall), (Some(120.0), 0.4, 1.0));
        // Where nothing is predicted of the top, no cut can lose any of it.
        let blind: Vec<f64> = (0..200).map(|row| if top[row] { f64::INFINITY } else { 1.0 }).collect();
        assert_eq!(choose(&blind, &top, None, &Budget::Recall(0.95)).from, None);
    }

    #[test]
    fn labelled_rows_that_count_as_found_take_fewer_labels() {
        // 51 of 100 rows of the top are labelled: too few by themselves, and enough to leave out one where
        // they are found.
        let scores: Vec<f64> = (0..200).map(f64::from).collect();
        let top = top_k(&scores, 51);
        let recall = Budget::Recall(0.95);
        assert_eq!(choose(&scores, &top, None, &recall).from, None);
        let cut = choose(&scores, &top, Some(100), &recall);
        assert_eq!((cut.from, cut.bound), (Some(150.0), 0.95));
        // The same cut of rows that do not count: 50 of 51 hits.
        let alone = TargetCut::on(cut.from, &scores, &top, None);
        assert_eq!((alone.recall, alone.bound), (cut.recall, lower_bound(50, 51)));
        assert!(alone.bound < 0.92, "{alone:?}");
        // A share is cut wherever its bound is then.
        let share = choose(&scores, &top, Some(100), &Budget::Share(0.1));
        assert_eq!((share.from, share.bound), (Some(179.5), PoolTop { rows: 100, labelled: 51 }.bound(31)));
    }
}
