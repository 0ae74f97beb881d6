//! Influence of LESS on a backend, compared with the reference results: `golden/less`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::ingested::{Features, Sample, features};
use gstore_data::{TextEncoder, parse_record};
use gstore_ingest::gradient::{
    AdamParams, CheckpointSource, Engine, EngineOptions, GradFeatures, GradForm, GradientBackend, Projector,
};
use gstore_ingest::projection::{FlatProjector, ProjectionSpec};
use gstore_model::weights::{Adapter, ModelFolder, Moments};
use gstore_tests::golden::{Manifest, Tensors};
use gstore_tests::reference::text;
use gstore_tests::shared::golden_warmup;

/// Samples of a batch.
const BATCH: usize = 32;

/// Reference results, and how much of them is compared.
#[derive(Debug, Clone)]
pub struct Golden {
    /// The folder that has `golden/`, `models/` and `data/`.
    pub shared: PathBuf,
    /// Limits on training rows, target rows and checkpoints.
    pub rows: usize,
    pub targets: usize,
    pub checkpoints: usize,
}

/// The largest differences from the reference.
#[derive(Debug)]
pub struct Differences {
    pub rows: usize,
    pub cosines: f64,
    /// None unless everything that scores consist of was computed.
    pub scores: Option<f64>,
}

/// Rows of a file of `data/` as tokens.
fn samples(golden: &Golden, encoder: &TextEncoder, file: &str, rows: &Range<usize>) -> Vec<Sample> {
    let text = fs_err::read_to_string(golden.shared.join("data").join(file)).unwrap();
    let encoded = text.lines().skip(rows.start).take(rows.len()).map(|line| {
        let encoded = encoder.encode(&parse_record(line.as_bytes()).unwrap().content).unwrap();
        (encoded.ids, encoded.scored)
    });
    encoded.collect()
}

/// An engine for the plain gradient and Adam's step of an adapter, without projection, and the length of
/// each.
fn engine<B: GradientBackend>(backend: B, model: &Path, adapter: &Path) -> (Engine, usize) {
    let params = Adapter::open(adapter).unwrap().params(&ModelFolder::open(model).unwrap()).unwrap();
    let features = GradFeatures {
        forms: vec![GradForm::Plain, GradForm::Adam(AdamParams::default())],
        projector: Projector::Flat(FlatProjector::new(&ProjectionSpec::none(), &params, None).unwrap()),
        moments: Some(Moments::load(&Moments::find(adapter).unwrap(), &params).unwrap()),
    };
    let len = features.projector.dim();
    let source =
        CheckpointSource { model: model.to_owned(), adapter: Some(adapter.to_owned()), tracked: Vec::new() };
    (Engine::load(&source, backend, EngineOptions::default(), Some(features)).unwrap(), len)
}

/// Sums of products at a time, for vector instructions.
const LANES: usize = 8;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let ((a, rest_of_a), (b, rest_of_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let rest = rest_of_a.iter().zip(rest_of_b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// Cosines of the first row with each query, then of the next row, on all cores.
fn cosines(rows: &[&[f32]], queries: &[&[f32]]) -> Vec<f64> {
    let squares: &Vec<f64> = &queries.iter().map(|query| dot(query, query)).collect();
    let mut cosines = vec![0.0; rows.len() * queries.len()];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = rows.len().div_ceil(cores);
    std::thread::scope(|scope| {
        for (rows, out) in rows.chunks(share).zip(cosines.chunks_mut(share * queries.len())) {
            scope.spawn(move || {
                for (row, out) in rows.iter().zip(out.chunks_exact_mut(queries.len())) {
                    let square = dot(row, row);
                    for ((out, query), of_query) in out.iter_mut().zip(queries).zip(squares) {
                        *out = dot(row, query) / (square * of_query).sqrt().max(f64::MIN_POSITIVE);
                    }
                }
            });
        }
    });
    cosines
}

/// Computes what the reference contains, and compares.
pub fn differences<B: GradientBackend>(backend: &B, golden: &Golden) -> Differences {
    let manifest = Manifest::read(&golden.shared);
    let warmup = golden_warmup(&golden.shared, &manifest.checkpoints);
    let encoder = text(&manifest, &warmup.model).encoder(&warmup.model).unwrap();
    let first = manifest.train_offset;
    let count = manifest.train_rows.min(golden.rows);
    let rows = samples(golden, &encoder, &manifest.train, &(first..first + count));
    let files = manifest.targets.iter();
    let mut targets: Vec<Sample> =
        files.flat_map(|(file, rows)| samples(golden, &encoder, file, rows)).collect();
    let columns = targets.len();
    targets.truncate(golden.targets);

    let expected = Tensors::read(&golden.shared, "influence");
    let mut influence = vec![0.0; rows.len() * targets.len()];
    let mut worst: f64 = 0.0;
    let steps = warmup.checkpoints.iter().zip(&manifest.weights).take(golden.checkpoints);
    for ((step, adapter), weight) in steps {
        let (engine, len) = engine(backend.clone(), &warmup.model, adapter);
        let of = |samples: &[Sample]| -> Vec<Features> {
            samples.chunks(BATCH).flat_map(|batch| features(&engine, batch)).collect()
        };
        let (of_rows, of_targets) = (of(&rows), of(&targets));
        let of_rows: Vec<&[f32]> = of_rows.iter().map(|(vectors, _)| &vectors[len..]).collect();
        let of_targets: Vec<&[f32]> = of_targets.iter().map(|(vectors, _)| &vectors[..len]).collect();
        let (_, wanted) = expected.get(&format!("cos.{step}"));
        for (at, cosine) in cosines(&of_rows, &of_targets).into_iter().enumerate() {
            let (i, j) = (at / targets.len(), at % targets.len());
            // The greatest of numbers is not NaN.
            assert!(cosine.is_finite(), "row {i}, target {j}: {cosine}");
            worst = worst.max((cosine - f64::from(wanted[i * columns + j])).abs());
            influence[at] += weight * cosine;
        }
    }
    let is_all = targets.len() == columns && golden.checkpoints >= warmup.checkpoints.len();
    let scores = is_all.then(|| {
        let (_, scores) = expected.get("score");
        let of_row = |(row, expected): (&[f64], &f32)| (score(&manifest, row) - f64::from(*expected)).abs();
        influence.chunks_exact(columns).zip(&scores).map(of_row).fold(0.0, f64::max)
    });
    Differences { rows: rows.len(), cosines: worst, scores }
}

/// The largest mean over a subtask.
fn score(manifest: &Manifest, row: &[f64]) -> f64 {
    let mean = |subtask: &String| {
        let of_subtask = row.iter().zip(&manifest.target_row_order).filter(|(_, of)| *of == subtask);
        let values: Vec<f64> = of_subtask.map(|(value, _)| *value).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    manifest.subtasks.iter().map(mean).fold(f64::NEG_INFINITY, f64::max)
}
