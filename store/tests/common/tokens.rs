//! Features with a vector for each scored token. `tests/formats/v1-tokens` was made by [`build`].

use super::*;

pub fn token_feature(dim: u32, dtype: DType) -> JobFeature {
    let mut f = feature("grad-sgd", dim, dtype);
    f.desc.granularity = Granularity::Token;
    f
}

/// Positions of a row's scored tokens: none to four.
pub fn positions(row: u64) -> Vec<u32> {
    (0..row % 5).map(|i| (3 + row % 7 + 2 * i) as u32).collect()
}

/// What is stored of a row: keys and vectors.
pub fn stored(row: u64, dim: u32) -> Vec<(u32, Vec<f32>, RowFlags)> {
    match positions(row).as_slice() {
        [] => vec![(0, vec![0.0; dim as usize], RowFlags::NO_SCORED)],
        some => {
            some.iter().map(|p| (*p, vector(row * 1000 + u64::from(*p), dim), RowFlags::empty())).collect()
        }
    }
}

pub fn seal_tokens(job: &mut Job, rows: impl IntoIterator<Item = u64>) {
    let dim = job.features()[0].desc.dim();
    let mut w = job.segment_writer(0).unwrap();
    for row in rows {
        for (pos, vector, flags) in stored(row, dim) {
            w.push_token((row, pos), &vector, flags).unwrap();
        }
    }
    job.seal(0, w).unwrap();
}

pub fn filled_with_tokens(path: &Path, samples: u64, f: &JobFeature, cut: u64) -> Store {
    let store = Store::create(path).unwrap();
    add(&store, 0..samples).unwrap();
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    for start in (0..samples).step_by(cut as usize) {
        seal_tokens(&mut job, start..(start + cut).min(samples));
    }
    job.publish(None, true).unwrap();
    store
}

/// The store of [`super::rich`] with such a feature: rows in two cells, three segments, rows without a
/// scored token, deleted ones.
pub fn build(path: &Path) -> Store {
    let store = rich::build(path);
    let mut job = store.start_job(plan(vec![token_feature(4, DType::F16)])).unwrap();
    for rows in [0..2_000, 2_000..4_000, 4_000..rich::SAMPLES] {
        seal_tokens(&mut job, rows);
    }
    job.publish(None, false).unwrap();
    let options = DeleteOptions { command: "delete".into(), purge: false, ..DeleteOptions::default() };
    store.delete(&pool(&store), &RowSet::from_rows([31, 36, 4_097]), options).unwrap();
    store
}
