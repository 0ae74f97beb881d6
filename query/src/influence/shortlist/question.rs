//! Whether a question is answered by a shortlist, and from which estimates.

use std::sync::atomic::AtomicBool;

use gstore_store::Granularity;

use super::{MANY, MANY_NARROW, NarrowSides, Outcome, Shortlist, Singles, Source, narrow_sides, singles};
use crate::error::QueryError;
use crate::influence::cascade::{deciding, margin};
use crate::influence::each::Lists;
use crate::influence::filter::RowFilter;
use crate::influence::mode::Mode;
use crate::influence::plan::InfluencePlan;
use crate::influence::ready::Ready;
use crate::influence::scan::ScanPool;
use crate::influence::spec::Order;
use crate::kernel::Kernel;

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
        let queries = pools.first().and_then(|pool| pool.queries.first()).map_or(0, |queries| queries.len());
        if queries < MANY || pools.iter().any(|pool| pool.granularity != Granularity::Sample) {
            return Self::default();
        }
        Self {
            narrow: Kernel::detect()
                .filter()
                .filter(|_| queries >= MANY_NARROW)
                .map(|_| narrow_sides(pools, vectors)),
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
        let count = |(p, pool): (usize, &ScanPool)| match filter.and_then(|filter| filter.pool(p)) {
            Some(mask) => mask.len(),
            None => pool.live.len(),
        };
        let rows: u64 = ready.pools.iter().enumerate().map(count).sum();
        if k == 0 || rows / LEAST_ROWS < k as u64 || k.saturating_mul(lists.len()) > MOST_WANTED {
            return Ok(None);
        }
        let scan = self.scan(ready, filter, cancel);
        let sides = match &self.spec().mode {
            Mode::Sketch(mode) if !mode.certified && mode.planes.is_none() => {
                self.sides(ready).ok().map(|sides| (mode, sides))
            }
            _ => None,
        };
        let source = match (sides, &ready.shortlist.narrow, scan.kernel.filter()) {
            (Some((mode, sides)), ..) => {
                let wanted = (k as u64).min(rows) as f64 * lists.len() as f64;
                let values = match lists {
                    Lists::Samples(_) => 1,
                    _ => deciding(scan.terms, order),
                };
                Source::Codes(sides, margin(mode.miss, wanted * values as f64, sides))
            }
            (None, Some(sides), Some(kernel)) => Source::Narrow(kernel, sides),
            _ => return Ok(None),
        };
        let singles = match lists {
            Lists::Samples(_) => match &ready.shortlist.singles {
                None => return Ok(None),
                known => known.as_ref(),
            },
            _ => None,
        };
        Shortlist { scan, source, lists, singles, order, k, threads }.run().map(Some)
    }
}
