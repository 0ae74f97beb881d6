//! Cuts of a cascade: stages that remove rows one after the other, with one bound on the recall of all.
//!
//! Each cut lies at a row of the true top, or below one. Below a cut and above those before it are
//! statistically equivalent blocks (Wald 1943, Tukey 1947): where J cuts leave out m of k labelled top rows,
//! the recall is bounded as that of a single cut which leaves out m + J - 1, whatever the stages predict and
//! however they depend on each other. Labelled rows have all gradients and take part in the selection
//! whatever is predicted of them: the bound is that of [`PoolTop`].

use serde::{Deserialize, Serialize};

use super::bounds::first;
use super::pool_top::PoolTop;

/// What a stage's cut keeps of the labelled rows, after those before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StageCut {
    /// Predictions from here on go on; none: all rows do.
    pub from: Option<f64>,
    /// Share of the labelled rows that is left.
    pub kept: f64,
    /// Share of the true top among them.
    pub recall: f64,
    /// The one-sided 95 % lower bound of the share of the pool's true top that is left or labelled.
    pub bound: f64,
}

/// The fewest labelled rows of a pool's true top, which has `top`, that bound the recall of so many stages,
/// if these leave out `misses` of them.
pub fn least_top(recall: f64, stages: usize, misses: usize, top: usize) -> usize {
    let misses = misses + stages.saturating_sub(1);
    first(top, |labelled| PoolTop::new(top, labelled).keeps(recall, misses))
}

/// How many labelled rows of the top each stage may leave out; none where they are too few to
/// bound the recall.
fn allowed(recall: f64, pool: PoolTop, stages: usize) -> Option<Vec<usize>> {
    let misses = pool.most_misses(recall)?.checked_sub(stages.saturating_sub(1))?;
    // Fixed before any prediction is looked at; what does not divide goes to the later stages, which know
    // more.
    let until = |stage: usize| misses * stage / stages.max(1);
    Some((0..stages).map(|stage| until(stage + 1) - until(stage)).collect())
}

/// The cut of each stage, from its predictions of all labelled rows out of fold, infinite of a row
/// that it cannot remove. `top` says which of these rows are of the true top, `of_pool` how many rows
/// of the pool are.
pub fn cascade(predictions: &[Vec<f64>], top: &[bool], recall: f64, of_pool: usize) -> Vec<StageCut> {
    let (n, k) = (top.len(), top.iter().filter(|top| **top).count());
    let pool = PoolTop::new(of_pool, k);
    let allowed = allowed(recall, pool, predictions.len());
    let mut left = vec![true; n];
    let mut cuts = 0usize;
    let mut found = Vec::with_capacity(predictions.len());
    for (stage, of_stage) in predictions.iter().enumerate() {
        let of_top = allowed.as_ref().and_then(|allowed| {
            let rows = (0..n).filter(|row| top[*row] && left[*row]);
            let mut sorted: Vec<f64> = rows.map(|row| of_stage[row]).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            let from = *sorted.get(allowed[stage])?;
            // If the predicted rows of the top are no more than may be missed, the best prediction is cut at.
            let known =
                (0..n).filter(|row| left[*row] && of_stage[*row].is_finite()).map(|row| of_stage[row]);
            if from.is_finite() { Some(from) } else { known.max_by(f64::total_cmp) }
        });
        // A cut that removes no labelled row is none.
        let from = of_top.filter(|from| (0..n).any(|row| left[row] && of_stage[row] < *from));
        if let Some(from) = from {
            cuts += 1;
            left.iter_mut().zip(of_stage).for_each(|(left, value)| *left &= *value >= from);
        }
        let kept = left.iter().filter(|left| **left).count();
        let hits = left.iter().zip(top).filter(|(left, top)| **left && **top).count();
        found.push(StageCut {
            from,
            kept: kept as f64 / n.max(1) as f64,
            recall: hits as f64 / k.max(1) as f64,
            bound: if cuts == 0 { 1.0 } else { pool.bound(k - hits + cuts - 1) },
        });
    }
    found
}

/// What a cascade takes against the gradients of all rows, in seconds or forward passes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CascadeCost {
    /// Rows that might be selected.
    pub rows: u64,
    /// Those that are labelled, which have all features.
    pub labelled: u64,
    /// How many of the others enter each stage, the last one with the remaining gradients too.
    pub entering: Vec<f64>,
    /// What a row takes at each stage.
    pub each: Vec<f64>,
    /// What a labelled row takes.
    pub label: f64,
    /// What a row's gradients at all checkpoints take.
    pub full: f64,
    /// Whether the unit is a second that was measured; else it is a forward pass.
    pub measured: bool,
}

impl CascadeCost {
    /// What the cascade takes.
    pub fn with(&self) -> f64 {
        let stages: f64 = self.entering.iter().zip(&self.each).map(|(rows, each)| rows * each).sum();
        self.labelled as f64 * self.label + stages
    }

    /// What the gradients of all rows take.
    pub fn without(&self) -> f64 {
        self.rows as f64 * self.full
    }

    /// The share that is saved; not positive where the cascade costs more.
    pub fn saving(&self) -> f64 {
        1.0 - self.with() / self.without().max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    /// The top of a pool that is large against its labels.
    const LARGE: usize = 1_000_000;

    #[test]
    fn each_cut_after_the_first_counts_as_a_miss() {
        // The sizes without a miss and with one to five, of the beta distribution.
        for (misses, k) in [(0, 59), (1, 93), (2, 124), (3, 153), (4, 181), (5, 208)] {
            let found = (least_top(0.95, 1, misses, LARGE), least_top(0.95, misses + 1, 0, LARGE));
            assert_eq!(found, (k, k));
        }
        let allowed = |labelled| allowed(0.95, PoolTop { rows: LARGE, labelled }, 3);
        assert_eq!(
            (allowed(208), allowed(181), allowed(123)),
            (Some(vec![1, 1, 1]), Some(vec![0, 1, 1]), None)
        );
    }

    #[test]
    fn labels_are_fewer_where_they_are_a_part_of_the_top() {
        // Sums of hypergeometric probabilities in whole numbers; 224 is 5 % of 4,480 rows.
        for (top, labelled) in [
            (20, [16, 17, 18]),
            (40, [25, 30, 32]),
            (100, [39, 51, 59]),
            (200, [47, 67, 81]),
            (224, [49, 70, 85]),
            (1000, [56, 87, 113]),
            (5000, [58, 92, 122]),
            (LARGE, [59, 93, 124]),
        ] {
            assert_eq!([1, 2, 3].map(|stages| least_top(0.95, stages, 0, top)), labelled, "{top}");
        }
        assert_eq!((least_top(0.9, 3, 0, 224), least_top(0.9, 3, 3, 224)), (50, 74));
        // More stages than rows, and no row at all.
        assert_eq!((least_top(0.95, 3, 0, 2), least_top(0.95, 3, 0, 0)), (2, 0));
        let allowed = |labelled| allowed(0.95, PoolTop { rows: 224, labelled }, 3);
        assert_eq!((allowed(84), allowed(85), allowed(130)), (None, Some(vec![0; 3]), Some(vec![1, 2, 2])));
    }

    #[test]
    fn stages_remove_rows_in_turn() {
        // 93 rows of the top and as many others: the first stage knows half of these, the second the rest.
        let top: Vec<bool> = (0..186).map(|row| row < 93).collect();
        let first: Vec<f64> = (0..186).map(|row| if row < 140 { 1.0 } else { 0.0 }).collect();
        let second: Vec<f64> = (0..186).map(|row| if row < 93 { 1.0 } else { 0.0 }).collect();
        let found = cascade(&[first.clone(), second], &top, 0.95, LARGE);
        assert_eq!((found[0].from, found[0].kept, found[0].recall), (Some(1.0), 140.0 / 186.0, 1.0));
        assert_eq!((found[1].from, found[1].kept, found[1].recall), (Some(1.0), 0.5, 1.0));
        assert!(found[0].bound > found[1].bound && found[1].bound >= 0.95, "{found:?}");
        // Too few rows of the top, or predictions that say nothing: all rows go on.
        let all = StageCut { from: None, kept: 1.0, recall: 1.0, bound: 1.0 };
        assert_eq!(cascade(&[first], &top, 0.999, LARGE), [all]);
        assert_eq!(cascade(&[vec![1.0; 186]], &top, 0.95, LARGE), [all]);
    }

    #[test]
    fn rows_that_a_stage_cannot_remove_are_kept_by_it() {
        // The last 46 rows have a low prediction, unless nothing is predicted of them.
        let top: Vec<bool> = (0..186).map(|row| row < 93).collect();
        let of = |is_known: &dyn Fn(usize) -> bool| -> Vec<f64> {
            let predicted = |row: usize| if row < 140 { 1.0 } else { 0.0 };
            (0..186).map(|row| if is_known(row) { predicted(row) } else { f64::INFINITY }).collect()
        };
        let found = cascade(&[of(&|row| row % 3 > 0)], &top, 0.95, LARGE);
        let low = (140..186).filter(|row| row % 3 > 0).count();
        assert_eq!((found[0].from, found[0].kept), (Some(1.0), (186 - low) as f64 / 186.0));
        assert!(found[0].recall == 1.0 && found[0].bound >= 0.95, "{found:?}");
        // Nothing is known of the top: the best of the others are kept.
        let found = cascade(&[of(&|row| row >= 93)], &top, 0.95, LARGE);
        assert_eq!((found[0].from, found[0].kept), (Some(1.0), 140.0 / 186.0));
        assert!(found[0].recall == 1.0 && found[0].bound >= 0.95, "{found:?}");
    }

    #[test]
    fn the_recall_is_kept_as_often_as_it_is_said() {
        // Predictions of the top are uniform at both stages, so the cuts say what the true recall is.
        let (k, runs) = (130, 2000);
        let top: Vec<bool> = (0..2 * k).map(|row| row < k).collect();
        let mut kept = 0;
        for run in 0..runs {
            let stage = |stage: u64| -> Vec<f64> {
                (0..2 * k as u64).map(|row| random::uniform(run, stage, row)).collect()
            };
            let found = cascade(&[stage(1), stage(2)], &top, 0.95, LARGE);
            let recall: f64 = found.iter().map(|cut| 1.0 - cut.from.unwrap_or(0.0)).product();
            kept += u32::from(recall >= 0.95);
        }
        let share = f64::from(kept) / runs as f64;
        assert!((0.935..1.0).contains(&share), "{share}");
    }

    #[test]
    fn rows_cost_what_they_pass_through() {
        let cost = CascadeCost {
            rows: 1000,
            labelled: 100,
            entering: vec![900.0, 300.0, 90.0],
            each: vec![1.0, 3.0, 9.0],
            label: 13.0,
            full: 12.0,
            measured: false,
        };
        assert_eq!((cost.with(), cost.without()), (1300.0 + 900.0 + 900.0 + 810.0, 12_000.0));
        assert!((cost.saving() - 0.674_166).abs() < 1e-5);
    }
}
