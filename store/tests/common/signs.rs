//! A feature that is stored as signs. `tests/formats/v1-signs` was made by [`build`].

use super::*;

/// The store of [`super::rich`] with such a feature: two modules of more than a word, a row that is not
/// finite, one of zeros, rows in two cells and two segments.
pub fn build(path: &Path) -> Store {
    let store = rich::build(path);
    let mut job = store.start_job(plan(vec![unrotated(feature("grad-sign", 140, DType::I1))])).unwrap();
    for rows in [0..4_000, 4_000..rich::SAMPLES] {
        let mut w = job.segment_writer(0).unwrap();
        for row in rows {
            let vector = match row {
                3 => vec![f32::NAN; 140],
                5 => vec![0.0; 140],
                _ => vector(row, 140),
            };
            w.push(row, &vector, RowFlags::empty()).unwrap();
        }
        job.seal(0, w).unwrap();
    }
    job.publish(None, false).unwrap();
    store
}
