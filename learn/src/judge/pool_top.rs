//! The bound on the recall of a pool's true top where its labelled rows are always kept.
//!
//! Of the K rows of the top k are labelled, at random. Cuts leave out the lowest rows of the top, in an order
//! that knows nothing of which are labelled, until c + 1 labelled ones were met; a cut lies at the last of
//! these. Each choice of k of the K places is as likely as another. More than L of the others are lost if and
//! only if the first L + c + 1 places have at most c labelled rows, and the number of these is
//! hypergeometric: it is the distribution of how many of a second sample lie below an order statistic of a
//! first one (Wilks 1942). Labelled rows count as found, so the recall of the whole top is at least 1 - L/K
//! with 95 % confidence where that has a probability of at most 5 %. For a pool that is large against its
//! labels this is the bound of Clopper and Pearson of k - c hits, and so it is where k is below ten.

use super::bounds::{CONFIDENCE, first, ln_sum};
use super::order::kept_rows;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolTop {
    /// Its rows.
    pub rows: usize,
    /// Those of them that are labelled, and so are kept.
    pub labelled: usize,
}

/// Labelled rows of the top with which it is taken for the pool's: the lowest of a few may well
/// not be of that.
const LEAST: usize = 10;

/// Rows of the top of a pool whose size is not known: labels are no part of it.
pub(super) const ENDLESS: usize = 1 << 40;

impl PoolTop {
    /// The top of a pool with so many rows of it, some of them labelled. No row counts as found where these
    /// are too few to tell which rows are of the top.
    pub fn new(rows: usize, labelled: usize) -> PoolTop {
        PoolTop { rows: if labelled < LEAST { ENDLESS } else { rows }, labelled }
    }

    /// Rows that are not labelled.
    fn others(self) -> usize {
        self.rows.saturating_sub(self.labelled)
    }

    /// Whether at most `lost` rows are lost, with 95 % confidence, by a cut below which `misses`
    /// labelled ones are.
    fn loses_at_most(self, lost: usize, misses: usize) -> bool {
        // The counts of the other case add up to less than all rows.
        lost >= self.others()
            || misses < self.labelled
                && ln_at_most(misses, (self.rows, self.labelled), lost + misses + 1)
                    <= (1.0 - CONFIDENCE).ln()
    }

    /// Whether a cut below which `misses` labelled rows are keeps this recall.
    pub fn keeps(self, recall: f64, misses: usize) -> bool {
        self.loses_at_most(kept_rows(1.0 - recall, self.rows), misses)
    }

    /// The most labelled rows that may be below a cut; none where no cut is known to keep this recall.
    pub(super) fn most_misses(self, recall: f64) -> Option<usize> {
        first(self.labelled, |misses| !self.keeps(recall, misses)).checked_sub(1)
    }

    /// The lower bound of the recall of a cut below which `misses` labelled rows are.
    pub fn bound(self, misses: usize) -> f64 {
        let lost = first(self.others(), |lost| self.loses_at_most(lost, misses));
        (self.rows - lost.min(self.rows)) as f64 / self.rows.max(1) as f64
    }
}

/// ln of the probability of at most `most` marked ones among `drawn` of `all`, of which `marked` are marked.
/// `most` is less than `drawn` and than `marked`, which are at most `all`.
fn ln_at_most(most: usize, (all, marked): (usize, usize), drawn: usize) -> f64 {
    // So many are marked of any that are drawn.
    let least = (drawn + marked).saturating_sub(all);
    if least > most {
        return f64::NEG_INFINITY;
    }
    let mut term = ln_ways(drawn, least) + ln_ways(all - drawn, marked - least) - ln_ways(all, marked);
    let mut terms = vec![term];
    // Each from the one before.
    for i in least..most {
        let more = (drawn - i) as f64 / (i + 1) as f64;
        term += (more * ((marked - i) as f64 / (all + i + 1 - drawn - marked) as f64)).ln();
        terms.push(term);
    }
    ln_sum(&terms)
}

/// ln of the number of ways to choose `count` of `of`.
fn ln_ways(of: usize, count: usize) -> f64 {
    let count = count.min(of - count);
    (1..=count).map(|i| ((of - count + i) as f64 / i as f64).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{lower_bound, top_k};
    use crate::random;

    #[test]
    fn small_pools_have_what_is_counted_by_hand() {
        // Two of four are marked. Two that are drawn have none of them in one of six ways, at most one in
        // five.
        assert!((ln_at_most(0, (4, 2), 2) - (1.0f64 / 6.0).ln()).abs() < 1e-12);
        assert!((ln_at_most(1, (4, 2), 2) - (5.0f64 / 6.0).ln()).abs() < 1e-12);
        // Three of four that are drawn have at least one: one alone in two of four ways.
        assert_eq!(ln_at_most(0, (4, 2), 3), f64::NEG_INFINITY);
        assert!((ln_at_most(1, (4, 2), 3) - 0.5f64.ln()).abs() < 1e-12);
        // Of 20 rows one may be lost for 95 %. A cut at the lowest of 16 labelled ones loses more if the two
        // lowest of all are among the 4 others, in 6 of 190 cases; with 15 labelled ones in 10 of 190.
        assert_eq!(PoolTop { rows: 20, labelled: 16 }.most_misses(0.95), Some(0));
        assert_eq!(PoolTop { rows: 20, labelled: 15 }.most_misses(0.95), None);
        assert_eq!(PoolTop { rows: 20, labelled: 16 }.bound(0), 0.95);
        assert_eq!(PoolTop { rows: 20, labelled: 15 }.bound(0), 0.9);
        // Where all are labelled nothing is lost.
        assert_eq!(PoolTop { rows: 20, labelled: 20 }.bound(7), 1.0);
        assert_eq!(PoolTop { rows: 20, labelled: 20 }.most_misses(0.95), Some(19));
        assert_eq!(PoolTop { rows: 20, labelled: 0 }.most_misses(0.95), None);
        assert_eq!(PoolTop { rows: 0, labelled: 0 }.bound(0), 0.0);
    }

    #[test]
    fn a_few_labelled_rows_do_not_say_which_rows_are_of_the_top() {
        // One labelled row is not known to be the one row of the top, and nothing is certain of it.
        assert!((PoolTop::new(1, 1).bound(0) - 0.05).abs() < 1e-9);
        assert_eq!(PoolTop::new(9, 9).most_misses(0.95), None);
        assert_eq!(PoolTop::new(20, 16), PoolTop { rows: 20, labelled: 16 });
    }

    #[test]
    fn a_large_pool_has_the_bound_of_its_labels_alone() {
        for (misses, k) in [(0, 59), (3, 160), (40, 500)] {
            let found = PoolTop { rows: 10_000_000, labelled: k }.bound(misses);
            assert!((found - lower_bound(k - misses, k)).abs() < 1e-4, "{misses} of {k}: {found}");
            let small = PoolTop { rows: 2 * k, labelled: k }.bound(misses);
            assert!(small > found, "{misses} of {k}: {small} and {found}");
        }
    }

    #[test]
    fn the_bound_holds_as_often_as_it_is_said() {
        // 51 of 100 are labelled, and the cut lies at the second lowest of them: more than 5 others are below
        // it in 4.99 % of all choices.
        let (rows, labelled, runs) = (100usize, 51usize, 4000);
        let pool = PoolTop { rows, labelled };
        assert_eq!((pool.most_misses(0.95), pool.bound(1)), (Some(1), 0.95));
        let mut kept = 0;
        for run in 0..runs {
            let drawn: Vec<f64> = (0..rows as u64).map(|row| random::uniform(run, 6, row)).collect();
            let is_labelled = top_k(&drawn, labelled);
            let second = (0..rows).filter(|row| is_labelled[*row]).nth(1).expect("many are labelled");
            // Five others and the lowest of the labelled ones.
            kept += u32::from(second <= 6);
        }
        let share = f64::from(kept) / runs as f64;
        assert!((0.936..0.965).contains(&share), "{share}");
    }
}
