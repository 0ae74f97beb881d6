//! Sketches in memory.

use std::sync::Arc;

use gstore_query::influence::*;
use gstore_query::sketch::Sketch;

use super::*;

/// The sketches of all features of a dataset, with their numbers.
pub fn sketches(store: &TestStore, dataset: &str, seed: u64) -> Vec<(u32, Arc<Sketch>)> {
    let snapshot = store.snapshot();
    let features = snapshot.features_of(dataset);
    features
        .into_iter()
        .map(|feature| {
            let reader = snapshot.open_feature(feature).unwrap();
            let seed = seed + 1000 * u64::from(feature.number);
            (feature.number, Arc::new(memory::in_memory(&reader, seed, 2, &GO).unwrap()))
        })
        .collect()
}

/// The plan of a question in another mode, with sketches.
pub fn sketched(store: &TestStore, spec: &InfluenceSpec, mode: Mode, all: &[(u32, Arc<Sketch>)]) -> Prepared {
    let spec = InfluenceSpec { mode, ..spec.clone() };
    all.iter().fold(plan(store, &spec), |plan, (number, sketch)| plan.with_sketch(*number, sketch.clone()))
}
