//! Subsets of a pool to train on: random ones, all but a row or a group, and all but the top of a ranking.
//!
//! Invariant: what is drawn depends on the seed, the number of the subset and the place of the row alone.

use std::collections::HashSet;

use gstore_core::{Cancel, Remedy, available_memory, many};
use gstore_generate::uniform;
use serde::{Deserialize, Serialize};

use super::scores::Scores;
use crate::error::EvaluateError;

/// What a subset is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SubsetKind {
    /// A random share of the pool.
    Random,
    /// The whole pool.
    Full,
    /// The pool without a row, or without a group of rows.
    Without {
        /// The row's id, or the group.
        group: String,
    },
    /// The pool without the rows that a method ranks highest for a query.
    Removed {
        /// The method.
        method: String,
        /// The query.
        query: String,
        /// How much of the pool is gone.
        share: f64,
    },
    /// The pool without as many random rows.
    RemovedAtRandom {
        /// How much of the pool is gone.
        share: f64,
    },
}

/// Rows to train on.
#[derive(Debug, Clone, PartialEq)]
pub struct Subset {
    /// What it is for.
    pub kind: SubsetKind,
    /// Places in the pool, ascending.
    pub rows: Vec<u32>,
}

impl Subset {
    /// The rows that are not in it, ascending.
    pub fn left_out(&self, pool: usize) -> Vec<u32> {
        complement(&self.rows, pool)
    }

    fn full(pool: usize) -> Subset {
        Subset { kind: SubsetKind::Full, rows: (0..pool as u32).collect() }
    }

    fn without(pool: usize, left_out: &[u32], kind: SubsetKind) -> Subset {
        Subset { kind, rows: complement(left_out, pool) }
    }
}

/// Why a row that a subset lists twice is refused.
pub(super) const NO_MULTISET: &str =
    "a subset has a row or has it not, and models that were trained on a row twice are not compared";

/// Places below `pool` that are not in an ascending list.
pub(super) fn complement(rows: &[u32], pool: usize) -> Vec<u32> {
    let mut rows = rows.iter().peekable();
    (0..pool as u32).filter(|row| rows.next_if_eq(&row).is_none()).collect()
}

/// `count` places of `pool`, ascending, drawn without replacement.
fn drawn(pool: usize, count: usize, seed: u64, draw: u64) -> Vec<u32> {
    let mut places: Vec<(f64, u32)> =
        (0..pool as u32).map(|row| (uniform(seed, draw, u64::from(row)), row)).collect();
    places.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut rows: Vec<u32> = places.into_iter().take(count).map(|(_, row)| row).collect();
    rows.sort_unstable();
    rows
}

/// The rows of a share of a pool: at least one, and not all.
fn rows_of_share(pool: usize, share: f64) -> Result<usize, EvaluateError> {
    let rows = (pool as f64 * share).round() as usize;
    if !(share > 0.0 && share < 1.0) || pool < 2 {
        return Err(EvaluateError::Option(format!(
            "a share of {share} of {pool} rows leaves nothing to compare: above 0 and below 1, of at least 2 rows"
        )));
    }
    Ok(rows.clamp(1, pool - 1))
}

/// Rows that a random subset has at least, and leaves out at least: a single row makes of the sums that are
/// compared the score of that row, for which the pool without it is trained on.
const LEAST: usize = 2;

/// Refuses random subsets of which nothing follows for sums.
fn check_random(pool: usize, share: f64, rows: usize) -> Result<(), EvaluateError> {
    if rows >= LEAST && pool - rows >= LEAST {
        return Ok(());
    }
    let (rows, all) = (many(rows as u64, "row"), many(pool as u64, "row"));
    let why = format!(
        "a share of {share} of {all} is {rows}: sums of scores over random subsets are compared, and each needs at least \
         {LEAST} rows and leaves out at least {LEAST}"
    );
    // In four digits, of which none leads to fewer rows.
    let least = (LEAST as f64 / pool.max(1) as f64 * 1e4).ceil() / 1e4;
    Err(EvaluateError::Option(match pool < 2 * LEAST {
        true => format!("{why}, which takes {} rows or more", 2 * LEAST),
        false => format!("{why}, as with a share from {least:.4} to {:.4}", 1.0 - least),
    }))
}

/// How many subsets of some rows a pool has; `u64::MAX`: that many or more.
fn distinct(pool: usize, rows: usize) -> u64 {
    let rows = rows.min(pool - rows) as u128;
    let mut count: u128 = 1;
    for taken in 1..=rows {
        // Whole each time: the number of those of `taken` rows, of a pool without the rows that are not
        // taken.
        count = count * (pool as u128 - rows + taken) / taken;
        if count >= u128::from(u64::MAX) {
            return u64::MAX;
        }
    }
    count as u64
}

/// Bytes of a subset besides its rows, about: what it is for, and its line with the digest.
const OF_SUBSET: u64 = 500;

/// Bytes of a row's id in the line of a subset, which is there as it is written and as it is read again,
/// about.
const OF_ID: u64 = 60;

/// Refuses subsets that take more memory than there is, before the first is made: so many of each number of
/// rows. Fewer are had by an option.
fn check_room(count: usize, pool: usize, sizes: &[usize], fewer: &'static str) -> Result<(), EvaluateError> {
    let Some(available) = available_memory() else { return Ok(()) };
    let needed = sizes.iter().fold(0u64, |sum, rows| sum.saturating_add(bytes_of(count, pool, *rows)));
    if needed <= available {
        return Ok(());
    }
    let rows = sizes.iter().max().copied().unwrap_or_default();
    Err(EvaluateError::Option(format!(
        "{} subsets of up to {} take about {} MB of memory, and {} MB are available: ask for fewer with {}",
        count.saturating_mul(sizes.len()),
        many(rows as u64, "row"),
        needed / 1_000_000,
        available / 1_000_000,
        Remedy::Option(fewer, "")
    )))
}

/// Bytes that subsets of some rows each take at the peak, about: each is there twice, and its line names its
/// rows or those that it leaves out.
fn bytes_of(count: usize, pool: usize, rows: usize) -> u64 {
    let written = rows.min(pool - rows) as u64;
    let of_one = 8 * rows as u64 + OF_ID * written + OF_SUBSET;
    (count as u64).saturating_mul(of_one)
}

/// Random subsets, each of a share of the pool, and none of them twice.
///
/// # Errors
/// A share outside of its range, or that has or leaves out a single row; fewer than two subsets, more than
/// there are, and more than there is memory for; being told to stop.
pub fn random_subsets(
    pool: usize,
    count: usize,
    share: f64,
    seed: u64,
    cancel: &Cancel,
) -> Result<Vec<Subset>, EvaluateError> {
    if count < 2 {
        return Err(EvaluateError::Option(
            "subsets are compared with each other: at least two are needed".into(),
        ));
    }
    let rows = rows_of_share(pool, share)?;
    check_random(pool, share, rows)?;
    let most = distinct(pool, rows);
    if count as u64 > most {
        return Err(EvaluateError::Option(format!(
            "{count} random subsets are asked for, and there are {most} of {rows} of {}: others would be trained on twice",
            many(pool as u64, "row")
        )));
    }
    check_room(count, pool, &[rows], "count")?;
    let (mut known, mut subsets) = (HashSet::new(), Vec::new());
    for number in 0.. {
        cancel.check()?;
        let rows = drawn(pool, rows, seed, number);
        if known.insert(rows.clone()) {
            subsets.push(Subset { kind: SubsetKind::Random, rows });
        }
        if subsets.len() == count {
            break;
        }
    }
    Ok(subsets)
}

/// The whole pool, and the pool without each of its rows, or without each of `count` random ones. `id` names
/// a row.
///
/// # Errors
/// Fewer than two rows, more than there are, and more than there is memory for; being told to stop.
pub fn leave_one_out<'a>(
    pool: usize,
    count: Option<usize>,
    seed: u64,
    id: impl Fn(usize) -> &'a str,
    cancel: &Cancel,
) -> Result<Vec<Subset>, EvaluateError> {
    let count = count.unwrap_or(pool);
    if count > pool {
        let rows = many(pool as u64, "row");
        return Err(EvaluateError::Option(format!("{count} rows are to be left out, and there are {rows}")));
    }
    if count < 2 {
        return Err(EvaluateError::Option(
            "rows are compared with each other: at least two are needed".into(),
        ));
    }
    check_room(count, pool, &[pool - 1], "count")?;
    let mut subsets = vec![Subset::full(pool)];
    for row in drawn(pool, count, seed, 0) {
        cancel.check()?;
        let kind = SubsetKind::Without { group: id(row as usize).to_owned() };
        subsets.push(Subset::without(pool, &[row], kind));
    }
    Ok(subsets)
}

/// The whole pool, and the pool without each of its groups. `groups` has the group of each row.
///
/// # Errors
/// Fewer than two groups, and more than there is memory for; being told to stop.
pub fn leave_groups_out(groups: &[String], cancel: &Cancel) -> Result<Vec<Subset>, EvaluateError> {
    let pool = groups.len();
    let mut names: Vec<&String> = groups.iter().collect();
    names.sort_unstable();
    names.dedup();
    if names.len() < 2 {
        return Err(EvaluateError::Option(
            "groups are compared with each other: at least two are needed".into(),
        ));
    }
    check_room(names.len(), pool, &[pool - 1], "group")?;
    // Of each row, so that texts are not compared for each group again.
    let numbers: Vec<usize> =
        groups.iter().map(|group| names.partition_point(|name| *name < group)).collect();
    let mut subsets = vec![Subset::full(pool)];
    for (number, name) in names.into_iter().enumerate() {
        cancel.check()?;
        let rows = (0..pool as u32).filter(|row| numbers[*row as usize] != number).collect();
        subsets.push(Subset { kind: SubsetKind::Without { group: name.clone() }, rows });
    }
    Ok(subsets)
}

/// Name of the removal of random rows, which no method has.
pub const RANDOM: &str = "random";

/// What a removal takes away.
#[derive(Debug, Clone, PartialEq)]
pub struct Removals {
    /// Shares of the pool.
    pub shares: Vec<f64>,
    /// Places of the queries whose best rows are taken.
    pub queries: Vec<usize>,
    /// Random removals of each share.
    pub draws: usize,
    /// Seed of those.
    pub seed: u64,
}

/// The whole pool, the pool without random rows, and without the best rows of each method for each query.
/// `query` names a query.
///
/// # Errors
/// Shares that are none, or of which two remove as many rows, no random removal to compare with, or a method
/// that is called as that; more subsets than there is memory for; being told to stop.
pub fn removals<'a>(
    pool: usize,
    methods: &[Scores],
    asked: &Removals,
    query: impl Fn(usize) -> &'a str,
    cancel: &Cancel,
) -> Result<Vec<Subset>, EvaluateError> {
    if asked.shares.is_empty() || asked.draws == 0 || methods.is_empty() || asked.queries.is_empty() {
        return Err(EvaluateError::Option(
            "a removal needs scores, shares, queries and at least one random removal of each share".into(),
        ));
    }
    if methods.iter().any(|scores| scores.method == RANDOM) {
        return Err(EvaluateError::Option("random rows are removed anyway: no method is called so".into()));
    }
    let sizes =
        asked.shares.iter().map(|share| rows_of_share(pool, *share)).collect::<Result<Vec<_>, _>>()?;
    for (at, (share, rows)) in asked.shares.iter().zip(&sizes).enumerate() {
        let Some(before) = sizes[..at].iter().position(|other| other == rows) else { continue };
        let what = match asked.shares[before] {
            other if other == *share => format!("share {share} is named twice"),
            other => {
                format!("shares {other} and {share} of {pool} rows both remove {}", many(*rows as u64, "row"))
            }
        };
        return Err(EvaluateError::Option(format!("{what}, and the same subsets would be trained on twice")));
    }
    let of_methods = methods.len().saturating_mul(asked.queries.len());
    let kept: Vec<usize> = sizes.iter().map(|rows| pool - rows).collect();
    let fewer = if asked.draws > of_methods { "draws" } else { "count" };
    check_room(asked.draws.saturating_add(of_methods), pool, &kept, fewer)?;
    let mut subsets = vec![Subset::full(pool)];
    for (number, (share, rows)) in asked.shares.iter().zip(sizes).enumerate() {
        for draw in 0..asked.draws {
            cancel.check()?;
            let draw = (number * asked.draws + draw) as u64;
            let kind = SubsetKind::RemovedAtRandom { share: *share };
            subsets.push(Subset::without(pool, &drawn(pool, rows, asked.seed, draw), kind));
        }
        for scores in methods {
            for place in &asked.queries {
                cancel.check()?;
                let mut top = scores.ranking(*place);
                top.truncate(rows);
                top.sort_unstable();
                let (method, query) = (scores.method.clone(), query(*place).to_owned());
                let kind = SubsetKind::Removed { method, query, share: *share };
                subsets.push(Subset::without(pool, &top, kind));
            }
        }
    }
    Ok(subsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_subsets_have_their_share_and_repeat() {
        let subsets = random_subsets(101, 20, 0.5, 7, &Cancel::new()).expect("subsets");
        assert!(subsets.iter().all(|subset| subset.rows.len() == 51 && subset.rows.is_sorted()));
        assert_eq!(subsets, random_subsets(101, 20, 0.5, 7, &Cancel::new()).expect("subsets"));
        assert_ne!(subsets[0], subsets[1]);
        // The first ones stay where there are more of them.
        assert_eq!(subsets[..5], random_subsets(101, 5, 0.5, 7, &Cancel::new()).expect("subsets"));
        for (count, share) in [(1, 0.5), (3, 0.0), (3, 1.0), (3, f64::NAN)] {
            assert!(random_subsets(101, count, share, 7, &Cancel::new()).is_err(), "{count} {share}");
        }
        for (pool, share, says) in [
            (560, 0.001, "a share of 0.001 of 560 rows is 1 row: "),
            (560, 0.001, "leaves out at least 2, as with a share from 0.0036 to 0.9964"),
            (560, 0.999, "is 559 rows: "),
            (3, 0.5, "which takes 4 rows or more"),
        ] {
            let error = random_subsets(pool, 3, share, 7, &Cancel::new()).unwrap_err().to_string();
            assert!(error.contains(says), "{says}: {error}");
        }
        assert!(
            random_subsets(560, 3, 2.0 / 560.0, 7, &Cancel::new()).is_ok()
                && random_subsets(4, 3, 0.5, 7, &Cancel::new()).is_ok()
        );
    }

    #[test]
    fn no_subset_is_drawn_twice() {
        for (pool, rows, count) in [(4, 2, 6), (5, 3, 10), (5, 2, 10), (40, 20, 137_846_528_820), (4, 4, 1)] {
            assert_eq!(distinct(pool, rows), count, "{pool} {rows}");
        }
        assert_eq!(distinct(560, 280), u64::MAX);
        let mut all: Vec<Vec<u32>> = random_subsets(4, 6, 0.5, 1, &Cancel::new())
            .expect("subsets")
            .into_iter()
            .map(|subset| subset.rows)
            .collect();
        all.sort();
        assert_eq!(all, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        let error = random_subsets(4, 32, 0.5, 1, &Cancel::new()).unwrap_err();
        assert!(error.to_string().contains("there are 6 of 2 of 4 rows") && error.is_usage(), "{error}");
        let go_on = Cancel::new();
        let error = leave_one_out(40, Some(100), 0, |_| "", &go_on).unwrap_err();
        assert!(error.to_string().contains("100 rows are to be left out, and there are 40 rows"), "{error}");
        assert!(leave_one_out(40, Some(40), 0, |_| "", &go_on).is_ok());
        assert!(leave_one_out(1, None, 0, |_| "", &go_on).is_err());
    }

    #[test]
    fn drawing_can_be_stopped_and_what_does_not_fit_in_memory_is_not_begun() {
        let stop = Cancel::raised();
        let scores = Scores::new("m", 4, vec![0.1, 0.9, 0.5, 0.7]).expect("a matrix");
        let asked = Removals { shares: vec![0.5], queries: vec![0], draws: 2, seed: 1 };
        for stopped in [
            random_subsets(560, 1000, 0.5, 1, &stop),
            leave_one_out(560, None, 1, |_| "", &stop),
            leave_groups_out(&["x", "y"].map(str::to_owned), &stop),
            removals(4, &[scores], &asked, |_| "q", &stop),
        ] {
            assert!(matches!(stopped, Err(EvaluateError::Stopped(_))), "{stopped:?}");
        }
        assert_eq!(bytes_of(2, 10, 7), 2 * (7 * 8 + 3 * OF_ID + OF_SUBSET));
        assert_eq!(bytes_of(usize::MAX, 10, 7), u64::MAX);
        // Where the system says how much there is.
        if available_memory().is_some() {
            let error = random_subsets(560, 1 << 50, 0.5, 1, &Cancel::new()).unwrap_err();
            assert!(
                error.is_usage() && error.to_string().contains(" MB are available: ask for fewer"),
                "{error}"
            );
            // One for each row, by a key such as its id.
            let groups: Vec<String> = (0..1_000_000).map(|row| format!("{row:06}")).collect();
            let error = leave_groups_out(&groups, &Cancel::new()).unwrap_err().to_string();
            assert!(
                error.starts_with("1000000 subsets of up to 999999 rows take") && error.contains("group"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_left_out_is_a_row_a_group_or_the_top() {
        let go_on = Cancel::new();
        let ones = leave_one_out(3, None, 0, |row| ["a", "b", "c"][row], &go_on).expect("subsets");
        assert_eq!((ones.len(), &ones[2].rows), (4, &vec![0, 2]));
        assert_eq!(ones[2].kind, SubsetKind::Without { group: "b".to_owned() });
        assert_eq!(leave_one_out(30, Some(4), 0, |_| "", &go_on).expect("subsets").len(), 5);
        let groups = leave_groups_out(&["x", "y", "x"].map(str::to_owned), &go_on).expect("subsets");
        assert_eq!((&groups[1].rows, groups[1].left_out(3)), (&vec![1], vec![0, 2]));
        assert!(leave_groups_out(&["x", "x"].map(str::to_owned), &go_on).is_err());
        let scores = Scores::new("m", 4, vec![0.1, 0.9, 0.5, 0.7]).expect("a matrix");
        let asked = Removals { shares: vec![0.5], queries: vec![0], draws: 2, seed: 1 };
        let removed = removals(4, &[scores], &asked, |_| "q", &go_on).expect("subsets");
        assert_eq!((removed.len(), &removed[3].rows), (4, &vec![0, 2]));
        assert!(removed[1..3].iter().all(|subset| subset.rows.len() == 2));
        let scores = Scores::new("m", 4, vec![0.1, 0.9, 0.5, 0.7]).expect("a matrix");
        let twice = Removals { shares: vec![0.5, 0.25, 0.5], ..asked };
        let error = removals(4, &[scores], &twice, |_| "q", &go_on).unwrap_err().to_string();
        assert!(error.contains("share 0.5 is named twice"), "{error}");
        let alike = Removals { shares: vec![0.1, 0.5, 0.101], ..twice };
        let scores = [Scores::new("m", 40, (0..40).map(f64::from).collect()).expect("a matrix")];
        let error = removals(40, &scores, &alike, |_| "q", &go_on).unwrap_err().to_string();
        assert!(error.contains("shares 0.1 and 0.101 of 40 rows both remove 4 rows"), "{error}");
        if available_memory().is_some() {
            let many = Removals { shares: vec![0.1, 0.5], draws: usize::MAX, ..alike };
            let error = removals(40, &scores, &many, |_| "q", &go_on).unwrap_err().to_string();
            assert!(
                error.contains("subsets of up to 36 rows take about") && error.contains("draws"),
                "{error}"
            );
        }
    }
}
