//! Whether a question is answered by a shortlist, and from which estimates.

use std::sync::atomic::AtomicBool;

use gstore_store::Granularity;

use super::{MANY, NarrowSides, Outcome, Reading, Shortlist, Singles, Source, narrow_sides, singles};
use crate::error::QueryError;
use crate::influence::cascade::{deciding, margin};
use crate::influence::each::Lists;
use crate::influence::filter::RowFilter;
use crate::influence::mode::{Mode, Plane};
use crate::influence::plan::InfluencePlan;
use crate::influence::ready::Ready;
use crate::influence::scan::{Scan, ScanPool, query_count};
use crate::influence::spec::Order;
use crate::kernel::Kernel;

/// Queries from which on certain bounds come from bf16 and not from codes.
const MANY_CERTIFIED: usize = 64;

/// Fewer rows than this for each that is wanted are scanned: too many would be candidates.
const LEAST_ROWS: u64 = 32;

/// More rows than this in all rankings together are found by a scan: a batch would be too small to tell which rows rank.
const MOST_WANTED: usize = super::BATCH_PAIRS / 16;

/// What shortlists need of a question's pools.
#[derive(Default)]
pub(in crate::influence) struct Parts {
    narrow: Option<NarrowSides>,
    singles: Option<Singles>,
}

impl Parts {
    /// Of pools whose query vectors at checkpoint c are `vectors[c]`; `each`: every one of them has a ranking.
    pub(in crate::influence) fn new(pools: &[ScanPool], vectors: &[Vec<f32>], each: bool) -> Self {
        let queries = query_count(pools);
        if queries < MANY || pools.iter().any(|pool| pool.granularity != Granularity::Sample) {
            return Self::default();
        }
        Self {
            narrow: Kernel::detect().filter().map(|_| narrow_sides(pools, vectors)),
            singles: each.then(|| singles(pools, vectors)),
        }
    }
}

/// The rankings that are asked for.
pub(in crate::influence) struct Wanted<'a> {
    pub(in crate::influence) lists: &'a Lists,
    pub(in crate::influence) order: Order,
    pub(in crate::influence) k: usize,
    pub(in crate::influence) filter: Option<&'a RowFilter>,
    pub(in crate::influence) threads: usize,
}

impl InfluencePlan {
    /// The rankings by a shortlist, where that pays.
    pub(in crate::influence) fn by_shortlist(
        &self,
        ready: &Ready,
        wanted: &Wanted<'_>,
        cancel: &AtomicBool,
    ) -> Result<Option<Outcome>, QueryError> {
        let Wanted { lists, order, k, filter, threads } = *wanted;
        if ready.queries() < MANY || self.spec().per_token {
            return Ok(None);
        }
        let rows = ready.rows(filter);
        if k == 0 || rows / LEAST_ROWS < k as u64 || k.saturating_mul(lists.len()) > MOST_WANTED {
            return Ok(None);
        }
        let scan = self.scan(ready, filter, cancel);
        let sources = self.sources(ready, wanted, &scan, rows);
        if sources.is_empty() {
            return Ok(None);
        }
        let singles = match lists {
            Lists::Samples(_) => match &ready.shortlist.singles {
                None => return Ok(None),
                known => known.as_ref(),
            },
            _ => None,
        };
        Shortlist { scan, sources, lists, singles, order, k, threads }.run().map(Some)
    }

    /// Where estimates come from, the ones that read least first.
    fn sources<'a>(
        &self,
        ready: &'a Ready,
        wanted: &Wanted<'_>,
        scan: &Scan<'_>,
        rows: u64,
    ) -> Vec<Source<'a>> {
        let narrow = || match (&ready.shortlist.narrow, scan.kernel.filter()) {
            (Some(sides), Some(kernel)) => vec![Source::Narrow(kernel, sides)],
            _ => Vec::new(),
        };
        let Mode::Sketch(mode) = &self.spec().mode else { return narrow() };
        if mode.planes.is_some() {
            return Vec::new();
        }
        let Ok(sides) = self.sides(ready) else { return narrow() };
        let reading = |plane, z| Source::Codes(Reading { sides, plane, z });
        if mode.certified {
            // For many queries the products are all that counts, and two of bytes cost as much as one of bf16.
            let codes = (ready.queries() < MANY_CERTIFIED).then(|| reading(Plane::Certified, 0.0));
            return codes.into_iter().chain(narrow()).collect();
        }
        let values = match wanted.lists {
            Lists::Samples(_) => 1,
            _ => deciding(scan.terms, wanted.order),
        };
        let bounds = (wanted.k as u64).min(rows) as f64 * (wanted.lists.len() * values) as f64;
        vec![reading(Plane::Int8, margin(mode.miss, bounds, sides))]
    }
}
