//! Promise: with the candle backend, losses, embeddings, gradients, Adam features and their cosines on real
//! checkpoints agree with the reference implementation. The stored values of the cpu backend are compared in
//! `tests/tests/golden_less.rs`.

use crate::common::reference::{Shared, WarmUp, shared, tensors};
use crate::common::{GRAD, Sample, assert_near, norm, packed, raw_engine, relative_error};
use gstore_curvature::{product, transposed};
use gstore_ingest::gradient::{AdamParams, Engine, GradForm, RequestedOutputs};
use gstore_model::candle::Candle;
use gstore_model::weights::{Moments, TensorSet};
use serde_json::Value;

const TOLERANCE: f64 = 1e-4;
const WANTED: RequestedOutputs = RequestedOutputs { embed_mean: true, embed_last: true, ..GRAD };

struct Reference {
    shared: Shared,
    manifest: Value,
    warm_up: WarmUp,
    train: Vec<Sample>,
    targets: Vec<Sample>,
}

fn reference() -> Reference {
    let shared = shared();
    let manifest = shared.json("golden/less/manifest.json");
    let warm_up = shared.warm_up();
    let template = manifest["template"].as_str().unwrap_or("tulu").parse().expect("a template");
    let rows = |file: &Value, first: &Value, count: &Value| {
        let first = first.as_u64().unwrap_or(0) as usize;
        let rows = first..first + count.as_u64().unwrap() as usize;
        shared.rows(file.as_str().unwrap(), rows, &warm_up.model, &template)
    };
    let train = rows(&manifest["train"], &manifest["train_offset"], &manifest["train_rows"]);
    let targets = manifest["targets"].as_array().unwrap().iter();
    let targets = targets.flat_map(|t| rows(&t["file"], &t["offset"], &t["rows"])).collect();
    Reference { shared, manifest, warm_up, train, targets }
}

impl Reference {
    fn golden(&self, stem: &str) -> TensorSet {
        tensors(&self.shared.path("golden/less"), stem)
    }

    fn steps(&self) -> Vec<u64> {
        self.manifest["checkpoints"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
    }

    fn folder(&self, step: u64) -> &std::path::Path {
        &self.warm_up.checkpoints.iter().find(|(s, _)| *s == step).unwrap().1
    }

    fn engine(&self, step: u64) -> Engine {
        raw_engine(&self.warm_up.model, Some(self.folder(step)), Candle::cpu())
    }
}

/// What one row gave.
#[derive(Default)]
struct Output {
    loss: f32,
    mean: Vec<f32>,
    last: Vec<f32>,
    grad: Vec<f32>,
}

/// Runs rows in batches of about `tokens` tokens.
fn run(engine: &Engine, rows: &[Sample], want: RequestedOutputs, tokens: usize) -> Vec<Output> {
    let mut outputs = Vec::new();
    let mut start = 0;
    while start < rows.len() {
        let mut end = start + 1;
        let mut total = rows[start].ids.len();
        while end < rows.len() && total + rows[end].ids.len() <= tokens {
            total += rows[end].ids.len();
            end += 1;
        }
        engine
            .run(&packed(&rows[start..end]), want, &mut |_, o| {
                outputs.push(Output {
                    loss: o.loss,
                    mean: o.embed_mean.to_vec(),
                    last: o.embed_last.to_vec(),
                    grad: o.grads.to_vec(),
                });
            })
            .unwrap();
        start = end;
    }
    outputs
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn losses_embeddings_and_cosines_agree() {
    let reference = reference();
    let step = reference.steps()[0];
    let engine = reference.engine(step);
    let losses = reference.golden("losses");
    let embeddings = reference.golden("embeddings");
    // Candle takes many times as long as the other backend.
    let row = |name: &str| name.strip_prefix(&format!("{step}.mean."))?.parse::<usize>().ok();
    let last = embeddings.names().filter_map(row).max().expect("an embedding to compare with");
    let count = reference.train.len().min((last + 1).max(64));
    let train = run(&engine, &reference.train[..count], WANTED, 1024);
    let targets = run(&engine, &reference.targets, GRAD, 512);
    let rows = [reference.train.len(), reference.targets.len()];
    for ((outputs, name), rows) in [(&train, "train"), (&targets, "target")].into_iter().zip(rows) {
        let expected = losses.read_f32(&format!("{name}.{step}")).unwrap();
        assert_eq!(expected.len(), rows);
        for (row, (output, expected)) in outputs.iter().zip(expected).enumerate() {
            let what = format!("loss of {name} row {row} at {step}");
            assert_near(output.loss, expected, TOLERANCE as f32, &what);
        }
    }
    check_embeddings(&embeddings, step, &train);
    let cosines = cosines(&reference, step, &engine, &train, &targets);
    let expected = reference.golden("influence").read_f32(&format!("cos.{step}")).unwrap();
    assert_eq!(expected.len(), rows[0] * rows[1]);
    let worst = cosines.iter().zip(&expected).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max);
    println!("checkpoint {step}: worst cosine error {worst:.2e}");
    assert!(worst < TOLERANCE, "worst cosine at {step} is off by {worst}");
}

fn check_embeddings(golden: &TensorSet, step: u64, outputs: &[Output]) {
    let mut checked = 0;
    for (row, output) in outputs.iter().enumerate() {
        for (name, found) in [("mean", &output.mean), ("last", &output.last)] {
            let Ok(expected) = golden.read_f32(&format!("{step}.{name}.{row}")) else { continue };
            let error = relative_error(found, &expected);
            assert!(error < TOLERANCE, "{name} embedding of row {row} at {step}: relative error {error}");
            checked += 1;
        }
    }
    assert!(checked > 0, "no embedding at {step} to compare with");
}

fn cosines(
    reference: &Reference,
    step: u64,
    engine: &Engine,
    train: &[Output],
    targets: &[Output],
) -> Vec<f64> {
    let path = Moments::find(reference.folder(step)).unwrap();
    let moments = Moments::load(&path, engine.tensors()).unwrap();
    let features: Vec<f64> = train.iter().flat_map(|output| unit(&adam(&output.grad, &moments))).collect();
    let queries: Vec<f64> = targets.iter().flat_map(|output| unit(&output.grad)).collect();
    let (rows, cols, dim) = (train.len(), targets.len(), features.len() / train.len());
    product(&features, &transposed(&queries, cols, dim), (rows, dim, cols))
}

fn adam(grad: &[f32], moments: &Moments) -> Vec<f32> {
    let mut out = vec![0.0; grad.len()];
    let form = GradForm::Adam(AdamParams::default());
    form.apply(grad, &moments.exp_avg, &moments.exp_avg_sq, &mut out);
    out
}

fn unit(v: &[f32]) -> Vec<f64> {
    let norm = norm(v).max(1e-12);
    v.iter().map(|x| f64::from(*x) / norm).collect()
}

/// The reference stores gradients of a few rows at one checkpoint that it does not name;
/// exactly one of ours must fit.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn gradients_agree() {
    let reference = reference();
    let golden = reference.golden("grads");
    let rows: Vec<usize> = (0..reference.train.len())
        .filter(|row| golden.names().any(|n| n.starts_with(&format!("{row}."))))
        .collect();
    assert!(!rows.is_empty());
    let mut fitting = Vec::new();
    for step in reference.steps() {
        let engine = reference.engine(step);
        let moments =
            Moments::load(&Moments::find(reference.folder(step)).unwrap(), engine.tensors()).unwrap();
        let outputs = run(&engine, &reference.train[..=rows[rows.len() - 1]], GRAD, 512);
        let mut worst = 0f64;
        for row in &rows {
            let grad = &outputs[*row].grad;
            for (kind, found) in [("sgd", grad), ("adam", &adam(grad, &moments))] {
                let expected: Vec<f32> = engine
                    .tensors()
                    .iter()
                    .flat_map(|spec| golden.read_f32(&format!("{row}.{kind}.{}", spec.name)).unwrap())
                    .collect();
                worst = worst.max(relative_error(found, &expected));
            }
        }
        println!("checkpoint {step}: worst relative error {worst:.2e}");
        if worst < TOLERANCE {
            fitting.push(step);
        }
    }
    assert_eq!(fitting.len(), 1, "checkpoints whose gradients fit: {fitting:?}");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn bits_do_not_depend_on_threads_and_hardly_on_batches() {
    let reference = reference();
    let engine = reference.engine(reference.steps()[0]);
    let rows = &reference.train[..reference.train.len().min(12)];
    let alone = run(&engine, rows, WANTED, 512);
    let side_by_side: Vec<Vec<Output>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| run(&engine, rows, WANTED, 512))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for outputs in &side_by_side {
        for (a, b) in alone.iter().zip(outputs) {
            assert_eq!(a.loss.to_bits(), b.loss.to_bits());
            assert!(a.grad == b.grad && a.mean == b.mean && a.last == b.last);
        }
    }
    for tokens in [1, 200, 2048] {
        for (a, b) in alone.iter().zip(run(&engine, rows, WANTED, tokens)) {
            let error = relative_error(&b.grad, &a.grad);
            assert!(error < 1e-5, "gradients of batches of {tokens} tokens differ by {error}");
            assert!(relative_error(&b.mean, &a.mean) < 1e-5 && (a.loss - b.loss).abs() < 1e-5);
        }
    }
    // Without embeddings the last layer runs at scored rows only.
    for (a, b) in alone.iter().zip(run(&engine, rows, RequestedOutputs { loss: false, ..GRAD }, 512)) {
        assert!(relative_error(&b.grad, &a.grad) < 1e-5);
    }
}
