//! Overlap of two rankings of the same pool, by how many rows are taken.

use std::collections::HashSet;
use std::sync::Arc;

use gstore_query::influence::{
    InfluenceSpec, Order, Prepared, Scored, named_targets, names_for, resolve_top,
};
use gstore_store::Snapshot;

use super::super::{Axis, Body, Panel, Picture, Series};
use super::{count, question};
use crate::answer::{AnswerError, tell_notes};
use crate::work::JobContext;

/// What is drawn.
#[derive(Debug, Clone)]
pub struct OverlapRequest {
    /// The questions, which have the same pools.
    pub specs: [InfluenceSpec; 2],
    /// How the second one is asked that its name does not say, such as `within=max`.
    pub options: Vec<String>,
    /// How many rows are compared at most: a number, or a part of the live rows such as `5%`.
    pub top: String,
}

/// The share of rows that both rankings have among their best k, for each k, against that of rankings that
/// have nothing to do with each other.
///
/// # Errors
/// Questions that cannot be answered or have other pools, damage, and being told to stop.
pub fn overlap(
    snapshot: &Arc<Snapshot>,
    request: &OverlapRequest,
    work: &mut JobContext<'_>,
) -> Result<Picture, AnswerError> {
    let [one, other] = &request.specs;
    if one.pools != other.pools {
        return Err(AnswerError::Refused("rankings of different pools have no rows in common".to_owned()));
    }
    let mut ranked: Vec<Vec<Scored>> = Vec::new();
    let (mut names, mut eligible) = (Vec::new(), u64::MAX);
    let datasets = |spec: &InfluenceSpec| -> Result<Vec<String>, AnswerError> {
        let targets = named_targets(snapshot, &spec.targets)?;
        Ok(targets.into_iter().map(|target| target.dataset).collect())
    };
    let targets = [datasets(one)?, datasets(other)?];
    for (spec, own) in request.specs.iter().zip(&targets) {
        let own = [spec.pools.as_slice(), own.as_slice()].concat();
        let features = names_for(snapshot, &spec.features, &own, &targets.concat());
        let spec = &InfluenceSpec { features, ..spec.clone() };
        let prepared = Prepared::new(snapshot, spec)?;
        tell_notes(&prepared, work);
        let k = resolve_top(&request.top, prepared.live())?;
        let ranking = prepared.top_k(Order::Best, k, None, work.threads, work.cancel)?;
        eligible = eligible.min(ranking.summary.eligible);
        ranked.push(ranking.rows);
        names.push(question(spec, &prepared));
    }
    if let (Some(name), false) = (names.last_mut(), request.options.is_empty()) {
        *name += &format!(" with {}", request.options.join(", "));
    }
    let shares = shares(&ranked[0], &ranked[1]);
    let Some([k, last]) = shares.last().copied() else {
        return Err(AnswerError::Refused("no row has a score, so there is nothing to draw".to_owned()));
    };
    let chance: Vec<[f64; 2]> =
        shares.iter().map(|[k, _]| [*k, (k / eligible.max(1) as f64).min(1.0)]).collect();
    let note = format!(
        "{:.1} % of the best {} rows are the same; chance would give {:.1} %.",
        last * 100.0,
        count(k as u64),
        chance.last().map_or(0.0, |point| point[1] * 100.0)
    );
    let body = Body::Lines {
        x: Axis::log("rows taken"),
        y: Axis::linear("share of rows in both"),
        series: vec![Series::new("chance", 1, chance), Series::new("both rankings", 0, shares)],
    };
    Ok(Picture {
        title: format!("Overlap of {} and {}", names[0], names[1]),
        about: format!("Share of rows that both rankings have among their best. {note}"),
        panels: vec![Panel { heading: "share of rows in both".to_owned(), body, notes: vec![note] }],
    })
}

/// `k` and the share of rows that both have among their first k; of many k about a hundred for each power of
/// ten.
fn shares(one: &[Scored], other: &[Scored]) -> Vec<[f64; 2]> {
    let key = |row: &Scored| (row.pool, row.row, row.pos);
    let (mut seen, mut both) = (HashSet::new(), 0u64);
    let (mut points, mut next) = (Vec::new(), 1usize);
    let most = one.len().min(other.len());
    for (i, (a, b)) in one.iter().zip(other).enumerate() {
        // A row is in both once it came a second time: a ranking has it once.
        both += u64::from(!seen.insert(key(a))) + u64::from(!seen.insert(key(b)));
        let k = i + 1;
        if k >= next || k == most {
            points.push([k as f64, both as f64 / k as f64]);
            next = k + (k / 40).max(1);
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_when_both_have_it() {
        let ranked = |rows: &[u64]| -> Vec<Scored> {
            rows.iter().map(|row| Scored { pool: 0, row: *row, pos: None, score: 0.0, subtask: 0 }).collect()
        };
        let found = shares(&ranked(&[1, 2, 3, 4]), &ranked(&[2, 1, 5, 6]));
        assert_eq!(found, [[1.0, 0.0], [2.0, 1.0], [3.0, 2.0 / 3.0], [4.0, 0.5]]);
        assert!(shares(&ranked(&[]), &ranked(&[1])).is_empty());
        let many: Vec<u64> = (0..100_000).collect();
        let found = shares(&ranked(&many), &ranked(&many));
        assert!(found.len() < 500 && found.iter().all(|point| point[1] == 1.0), "{}", found.len());
        assert_eq!(found.last(), Some(&[100_000.0, 1.0]));
    }
}
