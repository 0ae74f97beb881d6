//! Choice of bounds for a question, and of the estimates that they come from.

use std::ops::Range;

use gstore_core::normal::upper_quantile;
use gstore_core::parallel;
use gstore_store::{DType, FeatureReader};

use super::cost::{Costs, SCATTERED, WORTH};
use super::sources::{CodeEstimates, EstimateSource};
use super::{BATCH_PAIRS, MOST_LEFT, Plan, Search, SearchOutcome, Way, choice};
use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::rank::Ask;
use crate::influence::rank::lists::Lists;
use crate::influence::scan::has_metrics;
use crate::influence::scan::kept::is_kept;
use crate::influence::scan::terms::Terms;
use crate::influence::scan::windows::windows;
use crate::influence::sides::{SketchSide, all_have};
use crate::influence::spec::mode::{Mode, Plane, SketchMode};
use crate::influence::spec::{Across, Order, Within};
use crate::kernel::{Filter, Rounding, RowProducts};
use crate::sketch::tail_excess;
use crate::values::groups;

/// Fewer rows than this for each that is wanted are scanned: too many would be candidates.
const LEAST_ROWS: u64 = 32;
/// Fewer rows than this for each that is wanted are not rounded to bytes.
const LEAST_OF_BYTES: u64 = 64;

/// More rows than this in all rankings together are found by a scan: a batch would be too small to tell which
/// rows rank.
const MOST_WANTED: usize = BATCH_PAIRS / 16;

/// Query vectors from which on a device estimates: it multiplies fewer about as fast as it reads rows.
const LEAST_ESTIMATED: usize = 9;

/// Coordinates that a device reads at once for an estimate.
const EVEN: usize = 8;

/// The rankings from estimates of all values, where there are so many query vectors that this pays.
pub(in super::super) fn of_many_values(
    prepared: &Prepared,
    operands: &Operands,
    lists: &Lists,
    ask: Ask<'_>,
) -> Result<Option<SearchOutcome>, QueryError> {
    let rows = operands.rows(ask.filter);
    let few = ask.k == 0 || rows / LEAST_ROWS < ask.k as u64;
    // Each estimate would take a length under the preconditioner, and each score once more.
    let twice = has_metrics(&operands.pools);
    if prepared.spec().per_token || few || twice || ask.k.saturating_mul(lists.len()) > MOST_WANTED {
        return Ok(None);
    }
    if let Some(device) = operands.device.as_deref().filter(|_| prepared.spec().mode == Mode::Exact) {
        return of_device(prepared, operands, (lists, device), ask);
    }
    let certain = match &prepared.spec().mode {
        Mode::Sketch(mode) => mode.is_certain(),
        _ => true,
    };
    let costs = Costs::of(&operands.pools, rows, certain);
    // For few values codes are less to read. One ranking by codes finds its planes by a sample.
    let is_many = operands.queries() >= costs.many();
    if !is_many && (prepared.spec().mode == Mode::Exact || matches!(lists, Lists::Whole)) {
        return Ok(None);
    }
    let search = search(prepared, operands, lists, ask);
    let mut sources = sources(prepared, operands, (lists, ask), costs);
    let most = WORTH * costs.exact(&operands.pools);
    sources.retain(|source| costs.source(source, &operands.pools) < most);
    if sources.is_empty() {
        return Ok(None);
    }
    let windows = windows(&operands.pools, operands.queries());
    let ways = ways(sources, costs, operands, lists);
    let plan = Plan { ways, chosen: false, expected: None };
    parallel::stages(|| search.run(&plan, &windows)).map(Some)
}

/// The ranking from estimates by a device that keeps all rows, where there are so many query vectors that it
/// would multiply for longer than it reads.
fn of_device(
    prepared: &Prepared,
    operands: &Operands,
    (lists, device): (&Lists, &dyn RowProducts),
    ask: Ask<'_>,
) -> Result<Option<SearchOutcome>, QueryError> {
    let keeps = |reader: &FeatureReader| {
        let (part, is_even) = (reader.part(), |at: usize| at.is_multiple_of(EVEN));
        let even = |group: &Range<usize>| is_even(group.start) && is_even(group.end);
        part.desc.dtype == DType::F16
            && is_even(part.desc.dim() as usize)
            && groups(part).iter().all(even)
            && reader.blocks().iter().all(|at| is_kept(Some(device), reader, *at))
    };
    let mut readers = operands.pools.iter().flat_map(|pool| &pool.readers);
    if operands.queries() < LEAST_ESTIMATED || !matches!(lists, Lists::Whole) || !readers.all(keeps) {
        return Ok(None);
    }
    let search = search(prepared, operands, lists, ask);
    let plan =
        Plan { ways: vec![Way::new(vec![EstimateSource::Device(device)])], chosen: false, expected: None };
    parallel::stages(|| search.run(&plan, &operands.scan_windows())).map(Some)
}

/// The ranking from the planes of sketches that are expected to exclude most for least, or why every row
/// should be scored instead.
pub(in super::super) fn by_planes(
    prepared: &Prepared,
    operands: &Operands,
    (sides, mode): (&[Vec<SketchSide>], &SketchMode),
    ask: Ask<'_>,
) -> Result<Result<SearchOutcome, String>, QueryError> {
    let search = search(prepared, operands, &Lists::Whole, ask);
    let search = Search { tolerance: mode.tolerance, ..search };
    let rows = operands.rows(ask.filter);
    // A row is missed only if its own bound fails, in one of the planes; the bound of a score fails only if
    // that of certain values does.
    let values = deciding(search.scan.terms, ask.order) * Plane::PROBABLE.len();
    let bounds = (ask.k as u64).min(rows).max(1) as f64 * values as f64;
    let z = margin(mode.miss, bounds, sides);
    let windows = windows(&operands.pools, operands.queries());
    parallel::stages(|| match choice::plan(&search, (sides, mode, z), &windows, rows)? {
        Ok(plan) => search.run(&plan, &windows).map(Ok),
        Err(why) => Ok(Err(why)),
    })
}

fn search<'a>(prepared: &Prepared, operands: &'a Operands, lists: &'a Lists, ask: Ask<'a>) -> Search<'a> {
    let Ask { order, k, filter, threads, cancel } = ask;
    let each = matches!(lists, Lists::Values(_));
    let terms = &operands.target.terms;
    let is_flat = matches!(lists, Lists::Whole) && terms.is_of_values();
    Search {
        scan: operands.scan(prepared.spec(), filter, cancel),
        lists,
        singles: each.then(|| operands.bounded.singles(&operands.pools)),
        flat: is_flat.then(|| terms.flat()),
        order,
        k,
        threads,
        tolerance: 0.0,
        counted: operands.rows(filter) as f64 / operands.rows(None).max(1) as f64,
    }
}

/// Where estimates of many values come from, the ones that read least first.
fn sources<'a>(
    prepared: &Prepared,
    operands: &'a Operands,
    (lists, ask): (&Lists, Ask<'_>),
    costs: &Costs,
) -> Vec<EstimateSource<'a>> {
    let scan = operands.scan(prepared.spec(), ask.filter, ask.cancel);
    let is_many = operands.queries() >= costs.many();
    let takes = |filter: &Filter| {
        let mut readers = operands.pools.iter().flat_map(|pool| &pool.readers);
        // The bounds of bytes leave too much where a large part of the rows ranks.
        let enough = || operands.rows(ask.filter) / LEAST_OF_BYTES >= ask.k as u64;
        is_many
            && (filter.rounding() == Rounding::Bf16 || enough())
            && readers.all(|reader| filter.takes(&groups(reader.part())))
    };
    let filter = scan.kernel.filter().filter(takes);
    let rounded = || {
        let sides = |filter| operands.bounded.rounded(filter, &operands.pools);
        filter.map(|filter| EstimateSource::Rounded(filter, sides(filter)))
    };
    let Mode::Sketch(mode) = &prepared.spec().mode else { return rounded().into_iter().collect() };
    if mode.planes.is_some() {
        return Vec::new();
    }
    let Ok(sides) = operands.sides(prepared) else { return rounded().into_iter().collect() };
    // Else every row is scored, but for the one ranking by planes that may miss rows: rounded rows, which not
    // every processor multiplies, must not decide whether it does.
    let is_exact_else = mode.is_certain() || !matches!(lists, Lists::Whole);
    let rounded = || rounded().filter(|_| is_exact_else);
    let reading = |plane, z| EstimateSource::Codes(CodeEstimates { sides, plane, z });
    if !mode.certified {
        // Bounds of signs leave too much where so many values are asked for. Those of nibbles may as
        // well, and are given up for bytes where these cost more.
        let cost = |plane: &Plane| costs.source(&reading(*plane, 0.0), &operands.pools);
        let mut planes = vec![Plane::Int8, Plane::Nibble];
        planes.retain(|plane| all_have(sides, *plane));
        planes.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        if let Some(bytes) = planes.iter().position(|plane| *plane == Plane::Int8) {
            planes.truncate(bytes + 1);
        }
        if planes.is_empty() {
            return rounded().into_iter().collect();
        }
        let values = match lists {
            Lists::Values(_) => 1,
            _ => deciding(scan.terms, ask.order),
        };
        let bounds = (ask.k as u64).min(operands.rows(ask.filter)) as f64 * (lists.len() * values) as f64;
        let z = margin(mode.miss, bounds * planes.len() as f64, sides);
        return planes.into_iter().map(|plane| reading(plane, z)).collect();
    }
    let codes = (operands.queries() < costs.certified_below()).then(|| reading(Plane::Certified, 0.0));
    codes.into_iter().chain(rounded()).collect()
}

/// What the value of a single row and target sample costs, in those of all at once.
const SINGLE: f64 = 7.0;

/// A way for each of some sources. Rounded rows are given up where they, with the values that they leave,
/// cost as much as all values.
fn ways<'a>(
    sources: Vec<EstimateSource<'a>>,
    costs: &Costs,
    operands: &Operands,
    lists: &Lists,
) -> Vec<Way<'a>> {
    let all = costs.exact(&operands.pools);
    let each = match lists {
        Lists::Values(_) => SINGLE * all,
        // A row that is left by one ranking is scored for all.
        _ => SCATTERED * all * lists.len() as f64,
    };
    let way = |source: EstimateSource<'a>| match source {
        EstimateSource::Rounded(..) => {
            let saved = all - costs.estimate(&source, &operands.pools);
            Way { sources: vec![source], most_left: (saved / each).clamp(0.0, MOST_LEFT) }
        }
        EstimateSource::Codes(_) | EstimateSource::Device(_) => Way::new(vec![source]),
    };
    sources.into_iter().map(way).collect()
}

/// Standard deviations between an estimate and its bound, so that the probability that any of some bounds
/// fails is at most `miss`.
fn margin(miss: f64, bounds: f64, sides: &[Vec<SketchSide>]) -> f64 {
    let smallest = sides.iter().flatten().map(|side| side.sketch.padded());
    let smallest = smallest.filter(|dim| *dim > 0).min().unwrap_or(64);
    upper_quantile(miss / bounds.max(1.0) / tail_excess(smallest))
}

/// How many of a row's values must keep their bounds for its score to keep its own. Of the best rows scores
/// are bounded from above: where the largest value counts, that one's bound is enough, and which it is does
/// not depend on the rotation; where the smallest counts, each may be it. Of the worst rows it is the other
/// way round. A sum has one error, whose deviation is at most the sum of theirs.
fn deciding(terms: &Terms, order: Order) -> usize {
    let values = || terms.subtasks.iter().map(|subtask| subtask.len()).sum::<usize>().max(1);
    let (within, across) = match order {
        Order::Best => (Within::Min, Across::Min),
        Order::Worst => (Within::Max, Across::Max),
    };
    if terms.within == within && terms.subtasks.iter().any(|subtask| subtask.len() > 1) {
        values()
    } else if terms.across == across {
        terms.subtasks.len().max(1)
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_must_hold_are_counted_for_either_end_of_the_ranking() {
        let terms = |within, across| Terms { within, across, subtasks: vec![0..2, 2..3, 3..6] };
        for (within, across, best, worst) in [
            (Within::Mean, Across::Mean, 1, 1),
            (Within::Mean, Across::Max, 1, 3),
            (Within::Mean, Across::Min, 3, 1),
            (Within::Max, Across::Max, 1, 6),
            (Within::Max, Across::Min, 3, 6),
            (Within::Min, Across::Max, 6, 3),
        ] {
            let terms = terms(within, across);
            assert_eq!(deciding(&terms, Order::Best), best, "{within} {across}");
            assert_eq!(deciding(&terms, Order::Worst), worst, "{within} {across}");
        }
        let single = Terms { within: Within::Max, across: Across::Max, subtasks: vec![0..1] };
        assert_eq!(deciding(&single, Order::Worst), 1);
    }
}
