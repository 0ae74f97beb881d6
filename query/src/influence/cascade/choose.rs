//! Which planes to read, from what they exclude of a sample.
//!
//! Cost only: whatever is chosen, the answer promises the same.

use super::super::drive;
use super::super::mode::Plane;
use super::super::spec::Order;
use super::super::windows::Window;
use super::Cascade;
use super::bound::{Bounder, Scratch, sections};
use super::score::row_bytes;
use crate::error::QueryError;
use crate::sketch::Section;

/// Rows of the sample.
const SAMPLE: usize = 1024;
/// Fewer rows than this many samples are scanned: looking for a plan would cost as much.
const LEAST_SAMPLES: u64 = 8;
/// Single rows cost this much more than rows in a stream.
const SCATTERED: f64 = 2.0;
/// Bytes that a scan reads while a core multiplies one coordinate of one query, in a stream of a machine's memory: for the exact scan, sign
/// bits, nibbles, int8. Ratios of these are what counts.
const EXACT_BYTES: f64 = 0.35;
const CODE_BYTES: [f64; 4] = [0.068, 0.117, 0.132, 0.264];
/// However few queries there are, rows of so few bytes are not read at the speed of memory: what is done for each row takes longer.
const SHORT_ROWS: [f64; 4] = [1.7, 1.0, 1.0, 1.0];

/// The planes to read, or why none would pay.
pub(super) fn planes(
    cascade: &Cascade<'_>,
    bounder: &Bounder<'_>,
    windows: &[Window],
) -> Result<Result<Vec<Plane>, String>, QueryError> {
    if cascade.rows < LEAST_SAMPLES * SAMPLE as u64 {
        let least = LEAST_SAMPLES * SAMPLE as u64;
        return Ok(Err(format!("a sketch does not pay for {} rows; it does from {least} on", cascade.rows)));
    }
    if cascade.k as u64 > cascade.rows / 4 {
        let (k, rows) = (cascade.k, cascade.rows);
        return Ok(Err(format!(
            "a sketch does not pay for {k} of {rows} rows; it does up to a quarter of them"
        )));
    }
    let planes: &[Plane] = if cascade.mode.certified { &[Plane::Certified] } else { &Plane::PROBABLE };
    let passing = passing(cascade, bounder, windows, planes)?;
    let exact = exact_cost(cascade);
    let mut best: Option<(f64, Vec<Plane>)> = None;
    for set in 1..1usize << planes.len() {
        let (mut cost, mut share, mut path) = (0.0, 1.0f64, Vec::new());
        for (i, plane) in planes.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1) {
            cost += scattered(share) * plane_cost(cascade, *plane);
            share = share.min(passing[i]);
            path.push(*plane);
        }
        cost += scattered(share) * exact;
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, path));
        }
    }
    match best {
        Some((cost, path)) if cost < exact => Ok(Ok(path)),
        _ => Ok(Err(format!(
            "a sketch would not pay: of a sample of rows, {} could not be excluded",
            planes
                .iter()
                .zip(&passing)
                .map(|(plane, share)| format!("{:.0} % by {plane}", 100.0 * share))
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

/// The cost of reading this share of the rows, in parts of reading them all.
fn scattered(share: f64) -> f64 {
    (share * SCATTERED).min(1.0)
}

/// Per row, in bytes of a stream.
fn exact_cost(cascade: &Cascade<'_>) -> f64 {
    let each = cascade.scan.pools.iter().map(|pool| {
        let coordinates: f64 =
            pool.queries.iter().map(|queries| queries.dim() as f64 * queries.len() as f64).sum();
        (row_bytes(&pool.readers) as f64).max(EXACT_BYTES * coordinates)
    });
    each.fold(0.0, f64::max)
}

fn plane_cost(cascade: &Cascade<'_>, plane: Plane) -> f64 {
    let (_, codes, factors) = sections(plane);
    let each = cascade.sides.iter().zip(cascade.scan.pools).map(|(sides, pool)| {
        let of = |(side, queries): (&super::SketchSide, &std::sync::Arc<crate::kernel::Queries>)| {
            let padded = side.sketch.padded();
            let bytes: usize = [Section::Rows, codes, factors].iter().map(|s| s.vector_bytes(padded)).sum();
            let multiplied = CODE_BYTES[plane as usize] * (padded * queries.len()) as f64;
            (SHORT_ROWS[plane as usize] * bytes as f64).max(multiplied)
        };
        sides.iter().zip(&pool.queries).map(of).sum::<f64>()
    });
    each.fold(0.0, f64::max)
}

/// For each plane the share of the sample that it does not exclude, given the threshold that the sample suggests.
fn passing(
    cascade: &Cascade<'_>,
    bounder: &Bounder<'_>,
    windows: &[Window],
    planes: &[Plane],
) -> Result<Vec<f64>, QueryError> {
    let wanted = windows.len().min(32);
    let mut rows = Vec::new();
    for i in 0..wanted {
        let at = i * windows.len() / wanted;
        let offsets = bounder.selected(&windows[at]);
        let step = (offsets.len() * wanted / SAMPLE).max(1);
        rows.push((at, offsets.into_iter().step_by(step).collect::<Vec<u32>>()));
    }
    let read: Vec<Plane> = planes.iter().copied().filter(|plane| *plane != Plane::Int8).collect();
    // All planes of a window together: a stage for each would cost as much as what it reads.
    let parts = drive::unordered(
        rows.len(),
        cascade.threads,
        cascade.scan.cancel,
        || (Scratch::default(), vec![(Vec::new(), Vec::new()); read.len()]),
        |(scratch, of_planes), unit| {
            let (window, offsets) = &rows[unit];
            for (plane, (estimates, bounds)) in read.iter().zip(of_planes) {
                let found = bounder.window(&windows[*window], *plane, Some(offsets), scratch)?;
                estimates.extend(found.estimates);
                bounds.extend(found.bounds);
            }
            Ok(())
        },
    )?;
    let mut of_planes: Vec<(Vec<f32>, Vec<f32>)> = vec![Default::default(); read.len()];
    for (_, part) in parts {
        for ((estimates, bounds), (other_estimates, other_bounds)) in of_planes.iter_mut().zip(part) {
            estimates.extend(other_estimates);
            bounds.extend(other_bounds);
        }
    }
    let up = |x: f32| if cascade.order == Order::Best { f64::from(x) } else { -f64::from(x) };
    let Some((finest, _)) = of_planes.last().filter(|(rows, _)| !rows.is_empty()) else {
        return Ok(vec![1.0; planes.len()]);
    };
    let mut estimates: Vec<f64> = finest.iter().map(|estimate| up(*estimate)).collect();
    estimates.sort_unstable_by(|a, b| b.total_cmp(a));
    let count = estimates.len();
    let rank = ((cascade.k as f64 / cascade.rows as f64 * count as f64).round() as usize).clamp(1, count);
    let threshold = estimates[rank - 1] + cascade.mode.tolerance;
    let share = |(_, bounds): &(Vec<f32>, Vec<f32>)| {
        let passed = bounds.iter().filter(|bound| up(**bound) >= threshold).count();
        // Those that rank are seeds, which every plane passes.
        (passed.saturating_sub(rank) as f64).max(0.5) / count as f64
    };
    let mut shares: Vec<f64> = of_planes.iter().map(share).collect();
    // The bounds of bytes are some twelve times as close as those of nibbles, whose share says enough.
    let of_bytes = shares.last().map_or(1.0, |share| share / 8.0);
    shares.resize(planes.len(), of_bytes);
    Ok(shares)
}
