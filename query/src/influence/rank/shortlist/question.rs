//! Whether a question is answered by a shortlist, and from which estimates.

use std::sync::OnceLock;

use super::{MANY, NarrowSides, Outcome, Reading, Shortlist, Singles, Source, narrow_sides, singles};
use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::rank::Ask;
use crate::influence::rank::cascade::{deciding, margin};
use crate::influence::rank::each::Lists;
use crate::influence::scan::Scan;
use crate::influence::spec::mode::{Mode, Plane};

/// Queries from which on certain bounds come from bf16 and not from codes.
const MANY_CERTIFIED: usize = 64;

/// Fewer rows than this for each that is wanted are scanned: too many would be candidates.
const LEAST_ROWS: u64 = 32;

/// More rows than this in all rankings together are found by a scan: a batch would be too small to tell which rows rank.
const MOST_WANTED: usize = super::BATCH_PAIRS / 16;

/// What shortlists need of a question's pools, made for the first one.
#[derive(Default)]
pub(crate) struct Parts {
    narrow: OnceLock<NarrowSides>,
    singles: OnceLock<Singles>,
}

/// The rankings by a shortlist, where that pays.
pub(crate) fn rankings(
    prepared: &Prepared,
    operands: &Operands,
    lists: &Lists,
    ask: Ask<'_>,
) -> Result<Option<Outcome>, QueryError> {
    let Ask { order, k, filter, threads, cancel } = ask;
    if operands.queries() < MANY || prepared.spec().per_token {
        return Ok(None);
    }
    let rows = operands.rows(filter);
    if k == 0 || rows / LEAST_ROWS < k as u64 || k.saturating_mul(lists.len()) > MOST_WANTED {
        return Ok(None);
    }
    let scan = operands.scan(prepared.spec(), filter, cancel);
    let sources = sources(prepared, operands, (lists, ask), &scan, rows);
    if sources.is_empty() {
        return Ok(None);
    }
    let singles = match lists {
        Lists::Samples(_) => Some(operands.shortlist.singles.get_or_init(|| singles(&operands.pools))),
        _ => None,
    };
    Shortlist { scan, sources, lists, singles, order, k, threads }.run().map(Some)
}

/// Where estimates come from, the ones that read least first.
fn sources<'a>(
    prepared: &Prepared,
    operands: &'a Operands,
    (lists, ask): (&Lists, Ask<'_>),
    scan: &Scan<'_>,
    rows: u64,
) -> Vec<Source<'a>> {
    let narrow = || {
        let source = |kernel| {
            Source::Narrow(kernel, operands.shortlist.narrow.get_or_init(|| narrow_sides(&operands.pools)))
        };
        scan.kernel.filter().map(source).into_iter().collect::<Vec<_>>()
    };
    let Mode::Sketch(mode) = &prepared.spec().mode else { return narrow() };
    if mode.planes.is_some() {
        return Vec::new();
    }
    let Ok(sides) = operands.sides(prepared) else { return narrow() };
    let reading = |plane, z| Source::Codes(Reading { sides, plane, z });
    if mode.certified {
        // For many queries the products are all that counts, and two of bytes cost as much as one of bf16.
        let codes = (operands.queries() < MANY_CERTIFIED).then(|| reading(Plane::Certified, 0.0));
        return codes.into_iter().chain(narrow()).collect();
    }
    let values = match lists {
        Lists::Samples(_) => 1,
        _ => deciding(scan.terms, ask.order),
    };
    let bounds = (ask.k as u64).min(rows) as f64 * (lists.len() * values) as f64;
    vec![reading(Plane::Int8, margin(mode.miss, bounds, sides))]
}
