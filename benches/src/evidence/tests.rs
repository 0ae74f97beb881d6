//! Promise: rankings by sketch are what their guarantee says. The short form of
//! `benches/guarantees.sh`, without a model.

use super::adversarial::Trouble;
use super::certified::{Shape, Tally, adversarial};
use super::planes::{Count, Family};
use super::tolerance;
use gstore_query::influence::Plane;
use gstore_store::DType;
use serde_json::json;

#[test]
fn certified_rankings_of_pools_that_make_trouble() {
    let mut all = Tally::default();
    for (i, trouble) in Trouble::ALL.into_iter().enumerate() {
        for (j, dim) in [1, 65, 130].into_iter().enumerate() {
            let shape = Shape {
                trouble,
                dim,
                dtype: [DType::F32, DType::F16, DType::I8][(i + j) % 3],
                groups: 1 + 3 * (i % 2),
                checkpoints: 1 + j % 2,
                rows: 240,
                tokens: trouble == Trouble::Normal && j == 1,
            };
            all.merge(adversarial(shape, 3, (i * 3 + j) as u64).unwrap());
        }
    }
    assert!(all.wrong.is_empty(), "{} of {}: {}", all.wrong.len(), all.trials, all.wrong[0]);
    assert!(all.trials > 1000 && all.each > 1000 && all.certified * 10 > all.trials * 9, "{all:?}");
}

/// A thousand trials at one in ten: fifty more than stated would be more than five standard deviations.
#[test]
fn planes_miss_as_rarely_as_stated() {
    for (name, family) in
        [("gaussian", Family::Gaussian), ("heavy", Family::Heavy), ("sparse", Family::Sparse)]
    {
        let count = Count {
            name,
            family,
            dim: 128,
            planes: &[Plane::Sign, Plane::Nibble, Plane::Int8],
            miss: 0.1,
            trials: 1000,
            queries: 8,
            together: false,
            level: if name == "sparse" { 0.0 } else { 0.1 },
            pools: 4,
        };
        let line = count.run().unwrap();
        assert!(line["missed"].as_u64().unwrap() <= 150, "{line}");
        assert!(line["missed"].as_u64().unwrap() >= 1, "rows are level, so some are missed: {line}");
    }
}

#[test]
fn scores_lie_within_the_tolerance() {
    let (rows, queries) = tolerance::synthetic(130, 900, 3, 8);
    for line in tolerance::run("some stand out", &rows, &queries, 20, 1e-6, 1).unwrap() {
        assert_eq!(line["beyond"], json!(0), "{line}");
    }
}
