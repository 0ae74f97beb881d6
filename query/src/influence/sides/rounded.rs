//! Query vectors that are multiplied with rows in bf16 or bytes.

use std::sync::Arc;

use crate::influence::scan::ScanPool;
use crate::influence::spec::modules::used_groups;
use crate::kernel::{Filter, FilterBound, FilterQueries};
use crate::values::groups;

/// The queries of one pool at one checkpoint.
pub(crate) struct RoundedSide {
    pub(crate) queries: Arc<FilterQueries>,
    pub(crate) bound: FilterBound,
    /// The module groups that count.
    pub(crate) groups: Vec<usize>,
}

/// By pool and checkpoint.
pub(crate) type RoundedSides = Vec<Vec<RoundedSide>>;

pub(super) fn rounded_sides(filter: Filter, pools: &[ScanPool]) -> RoundedSides {
    let mut all: RoundedSides = Vec::new();
    for (p, pool) in pools.iter().enumerate() {
        let mut sides = Vec::new();
        for (c, reader) in pool.readers.iter().enumerate() {
            // Pools that share the packed queries share these, if their rows are rotated alike.
            let rotation = reader.part().desc.rotation;
            let shared = (0..p).find(|other| {
                Arc::ptr_eq(&pools[*other].queries[c], &pool.queries[c])
                    && pools[*other].readers[c].part().desc.rotation == rotation
            });
            let queries = match shared {
                Some(other) => all[other][c].queries.clone(),
                None => {
                    let queries = pool.queries[c].of_signs(rotation);
                    let groups = groups(reader.part());
                    Arc::new(FilterQueries::new(filter, &queries.vectors(), queries.dim(), &groups))
                }
            };
            let mut groups = Vec::new();
            used_groups(&pool.modules[c], &mut groups);
            let bound = queries.bound(&groups, pool.readers.len());
            sides.push(RoundedSide { queries, bound, groups });
        }
        all.push(sides);
    }
    all
}
