//! Which planes to read, from what they exclude of a sample.
//!
//! Cost only: whatever is chosen, the answer promises the same.

use super::Cascade;
use super::bound::{Bounder, Found, Scratch, sections};
use super::score::row_bytes;
use crate::error::QueryError;
use crate::influence::scan::windows::Window;
use crate::influence::spec::mode::Plane;
use crate::sketch::Section;
use gstore_core::parallel;

/// Rows of the sample.
const SAMPLE: usize = 1024;
/// Of which so many are neighbours.
const RUN: usize = 8;
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

/// What to read.
pub(super) struct Choice {
    pub(super) planes: Vec<Plane>,
    /// What the k-th score may be expected to reach.
    pub(super) expected: Option<f32>,
}

/// What to read, or why nothing would pay.
pub(super) fn planes(
    cascade: &Cascade<'_>,
    bounder: &Bounder<'_>,
    windows: &[Window],
) -> Result<Result<Choice, String>, QueryError> {
    if cascade.k == 0 {
        return Ok(Err("no row is wanted".into()));
    }
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
    let Sample { passing, expected } = sample(cascade, bounder, windows, planes)?;
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
        Some((cost, planes)) if cost < exact => Ok(Ok(Choice { planes, expected })),
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

/// What a sample of rows says.
struct Sample {
    /// For each plane the share of it that is not excluded, given the threshold that the sample suggests.
    passing: Vec<f64>,
    /// What the k-th score may be expected to reach.
    expected: Option<f32>,
}

fn sample(
    cascade: &Cascade<'_>,
    bounder: &Bounder<'_>,
    windows: &[Window],
    planes: &[Plane],
) -> Result<Sample, QueryError> {
    let wanted = windows.len().min(32);
    let read: Vec<Plane> = planes.iter().copied().filter(|plane| *plane != Plane::Int8).collect();
    // All planes of a window together: a stage for each would cost as much as what it reads.
    let parts = parallel::unordered::<_, QueryError>(
        wanted,
        cascade.threads,
        cascade.scan.cancel,
        || (Scratch::default(), Vec::from_iter(read.iter().map(|_| Found::default()))),
        |(scratch, found), unit| {
            let window = &windows[unit * windows.len() / wanted];
            let all = bounder.selected(window);
            // Runs of neighbours, which are read faster.
            let every = (all.len() * wanted / SAMPLE).max(1);
            let offsets: Vec<u32> = all.chunks(RUN).step_by(every).flatten().copied().collect();
            for (plane, found) in read.iter().zip(found) {
                bounder.window(window, *plane, Some(&offsets), scratch, found)?;
            }
            Ok::<_, QueryError>(())
        },
    )?;
    let mut of_planes: Vec<(Vec<f32>, Vec<f32>)> = vec![Default::default(); read.len()];
    for (_, part) in parts {
        for ((estimates, bounds), found) in of_planes.iter_mut().zip(part) {
            estimates.extend(found.estimates);
            bounds.extend(found.bounds);
        }
    }
    let signed = |x: f32| f64::from(cascade.order.sign() * x);
    let Some((finest, _)) = of_planes.last().filter(|(rows, _)| !rows.is_empty()) else {
        return Ok(Sample { passing: vec![1.0; planes.len()], expected: None });
    };
    let mut estimates: Vec<f64> = finest.iter().map(|estimate| signed(*estimate)).collect();
    let count = estimates.len();
    let rank = ((cascade.k as f64 / cascade.rows as f64 * count as f64).round() as usize).clamp(1, count);
    let mut nth = |rank: usize| *estimates.select_nth_unstable_by(rank - 1, |a, b| b.total_cmp(a)).1;
    let threshold = nth(rank) + cascade.mode.tolerance;
    // As many of the sample may rank by chance.
    let most = rank + (4.0 * (rank as f64).sqrt()) as usize + 2;
    let expected = Some(signed(nth(most.min(count)) as f32) as f32);
    let share = |(_, bounds): &(Vec<f32>, Vec<f32>)| {
        let passed = bounds.iter().filter(|bound| signed(**bound) >= threshold).count();
        // Those that rank are seeds, which every plane passes.
        (passed.saturating_sub(rank) as f64).max(0.5) / count as f64
    };
    let mut shares: Vec<f64> = of_planes.iter().map(share).collect();
    // The bounds of bytes are some twelve times as close as those of nibbles, whose share says enough.
    let of_bytes = shares.last().map_or(1.0, |share| share / 8.0);
    shares.resize(planes.len(), of_bytes);
    Ok(Sample { passing: shares, expected })
}
