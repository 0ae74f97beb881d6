//! Query vectors one by one, for values of single pairs.

use std::sync::Arc;

use crate::influence::scan::ScanPool;
use crate::kernel::Queries;
use crate::values::groups;

/// Each query vector packed by itself, by pool and checkpoint.
pub(crate) type Singles = Vec<Vec<Arc<Vec<Queries>>>>;

pub(super) fn singles(pools: &[ScanPool]) -> Singles {
    let mut all: Singles = Vec::new();
    for (p, pool) in pools.iter().enumerate() {
        let mut of_pool: Vec<Arc<Vec<Queries>>> = Vec::new();
        for (c, reader) in pool.readers.iter().enumerate() {
            let shared = (0..p).find(|other| Arc::ptr_eq(&pools[*other].queries[c], &pool.queries[c]));
            of_pool.push(match shared {
                Some(other) => all[other][c].clone(),
                None => {
                    let (queries, groups) = (&pool.queries[c], groups(reader.part()));
                    let single = |vector: &[f32]| Queries::new(vector, queries.dim(), &groups);
                    Arc::new(queries.vectors().chunks_exact(queries.dim()).map(single).collect())
                }
            });
        }
        all.push(of_pool);
    }
    all
}
