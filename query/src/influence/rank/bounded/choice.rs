//! The planes to read for one ranking, from what they exclude of a sample. Cost only: whatever is chosen, the
//! answer promises the same.

use gstore_core::many;

use super::candidates::ScoreCut;
use super::cost::{Costs, scattered};
use super::pass::RequestedRows;
use super::sources::{CodeEstimates, EstimateSource, PickedRows};
use super::{Plan, Search, Way};
use crate::error::QueryError;
use crate::influence::scan::windows::Window;
use crate::influence::sides::{SketchSide, all_have};
use crate::influence::spec::mode::{Plane, SketchMode};

/// Rows of the sample.
const SAMPLE: usize = 1024;
/// Of which so many are neighbours.
const RUN: usize = 8;
/// Windows that they come from.
const WINDOWS: usize = 32;
/// Fewer rows are not sampled: looking for a plan would cost as much as it saves.
pub(in super::super) const LEAST_SAMPLED: u64 = 8 * SAMPLE as u64;

/// What a sample of rows says.
struct Sample {
    /// For each source the share of it that is not excluded, given the threshold that the sample suggests.
    passing: Vec<f64>,
    /// What the k-th score may be expected to reach.
    expected: Option<f32>,
}

/// What to read of sketches for one ranking of `rows` rows, or why nothing would pay.
pub(super) fn plan<'a>(
    search: &Search<'_>,
    (sides, mode, z): (&'a [Vec<SketchSide>], &SketchMode, f64),
    windows: &[Window],
    rows: u64,
) -> Result<Result<Plan<'a>, String>, QueryError> {
    let source = |plane: &Plane| EstimateSource::Codes(CodeEstimates { sides, plane: *plane, z });
    let plan = |way, expected| Plan { ways: vec![Way::new(way)], chosen: true, expected };
    if let Some(planes) = &mode.planes {
        return Ok(Ok(plan(planes.iter().map(source).collect(), None)));
    }
    let k = search.k;
    if k == 0 {
        return Ok(Err("no row is asked for".into()));
    }
    if rows < LEAST_SAMPLED {
        return Ok(Err(format!(
            "a sketch does not pay off for {}; it does from {LEAST_SAMPLED} on",
            many(rows, "row")
        )));
    }
    if k as u64 > rows / 4 {
        return Ok(Err(format!(
            "a sketch does not pay off for {k} of {rows} rows; it does up to a quarter of them"
        )));
    }
    let planes: Vec<Plane> = match mode.certified {
        true => vec![Plane::Certified],
        false => Plane::PROBABLE.into_iter().filter(|plane| all_have(sides, *plane)).collect(),
    };
    let sources: Vec<EstimateSource<'a>> = planes.iter().map(source).collect();
    let Sample { passing, expected } = sample(search, &sources, windows, rows)?;
    let pools = search.scan.pools;
    let costs = Costs::of(pools, rows, mode.is_certain());
    let exact = costs.exact(pools);
    let each: Vec<f64> = sources.iter().map(|source| costs.source(source, pools)).collect();
    let mut best: Option<(f64, Vec<EstimateSource<'a>>)> = None;
    for set in 1..1usize << sources.len() {
        let (mut cost, mut share, mut way) = (0.0, 1.0f64, Vec::new());
        for (i, source) in sources.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1) {
            cost += scattered(share) * each[i];
            share = share.min(passing[i]);
            way.push(*source);
        }
        cost += scattered(share) * exact;
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, way));
        }
    }
    match best {
        Some((cost, way)) if cost < exact => Ok(Ok(plan(way, expected))),
        _ => Ok(Err(no_gain(&planes, &passing))),
    }
}

/// Why nothing pays, with the share of a sample that each plane leaves.
fn no_gain(planes: &[Plane], passing: &[f64]) -> String {
    let left = |(plane, share): (&Plane, &f64)| format!("{plane} {:.0} %", 100.0 * share);
    let left: Vec<String> = planes.iter().zip(passing).map(left).collect();
    format!(
        "a sketch would not pay off: reading it and scoring the rows that it cannot exclude (of a sample: {}) takes longer than scoring all",
        left.join(", ")
    )
}

fn sample(
    search: &Search<'_>,
    sources: &[EstimateSource<'_>],
    windows: &[Window],
    rows: u64,
) -> Result<Sample, QueryError> {
    let has = |plane| sources.iter().any(|source| source.plane() == Some(plane));
    // The bounds of bytes are some twelve times as close as those of nibbles, whose share says enough.
    let skipped = has(Plane::Nibble).then_some(Plane::Int8);
    let read: Vec<EstimateSource<'_>> =
        sources.iter().copied().filter(|source| skipped.is_none() || source.plane() != skipped).collect();
    let only_signs = read.iter().all(|source| source.plane() == Some(Plane::Sign));
    let wanted = windows.len().min(WINDOWS);
    let picked: Vec<PickedRows> = (0..wanted)
        .map(|unit| {
            let at = unit * windows.len() / wanted;
            let mut all = Vec::new();
            search.selected(&windows[at], &mut all);
            // Runs of neighbours, which are read faster.
            let every = (all.len() * wanted / SAMPLE).max(1);
            (at as u32, all.chunks(RUN).step_by(every).flatten().copied().collect())
        })
        .collect();
    let all = ScoreCut::fixed(f32::NEG_INFINITY);
    // All planes of a window together: a stage for each would cost as much as what it reads.
    let found = search.read(windows, &read, &RequestedRows::Picked(&picked), &[all])?;
    let lists = found.into_iter().flat_map(|pass| pass.lists);
    let bounded: Vec<_> = lists.map(|list| list.into_entries()).collect();
    let Some(finest) = bounded.last().filter(|rows| !rows.is_empty()) else {
        return Ok(Sample { passing: vec![1.0; sources.len()], expected: None });
    };
    let mut estimates: Vec<f32> = finest.iter().map(|row| 0.5 * (row.lower + row.upper)).collect();
    let count = estimates.len();
    let rank = ((search.k as f64 / rows as f64 * count as f64).round() as usize).clamp(1, count);
    let mut nth = |rank: usize| *estimates.select_nth_unstable_by(rank - 1, |a, b| b.total_cmp(a)).1;
    let threshold = f64::from(nth(rank)) + search.tolerance;
    // As many of the sample may rank by chance.
    let most = rank + (4.0 * (rank as f64).sqrt()) as usize + 2;
    // Estimates from signs scatter more than the scores themselves, so the best of them promise too much.
    let expected = (!only_signs).then(|| nth(most.min(count)));
    let mut passing: Vec<f64> = Vec::new();
    for rows in &bounded {
        let passed = rows.iter().filter(|row| f64::from(row.upper) >= threshold).count();
        // Those that rank are scored first, which every plane passes.
        passing.push((passed.saturating_sub(rank) as f64).max(0.5) / count as f64);
    }
    let of_bytes = passing.last().map_or(1.0, |share| share / 8.0);
    passing.resize(sources.len(), of_bytes);
    Ok(Sample { passing, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sketch_that_leaves_nothing_may_still_cost_more_than_the_rows() {
        let said = no_gain(&[Plane::Sign, Plane::Certified], &[0.25, 0.0004]);
        assert!(said.contains("it cannot exclude (of a sample: sign 25 %, certified 0 %) takes"), "{said}");
    }
}
