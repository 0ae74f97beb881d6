//! Promise: on a real model the numbers are those of LESS in PyTorch: tokens, losses, gradients, embeddings,
//! influence, order.
//!
//! Everything is read from the reference folder's own manifests, so other rows, targets, checkpoints and
//! models are checked in the same way.

use std::sync::OnceLock;

use gstore_data::parse_record;
use gstore_ingest::pipeline::Kind;
use gstore_ingest::projection::ProjectionSpec;
use gstore_model::weights::{Adapter, ModelFolder};
use gstore_query::influence::Order;
use gstore_store::{Cancel, DType, Store};
use gstore_tests::golden::{Manifest, Tensors, relative_error};
use gstore_tests::rates::logged_rates;
use gstore_tests::reference::{How, Reference, copy_lines, request, text};
use gstore_tests::{shared, world};

/// Largest relative error of losses, gradients (L2) and embeddings (L2), and absolute error
/// of cosines and scores.
const TOLERANCE: f64 = 1e-4;
/// Scores closer than this may stand in either order.
const TIE: f64 = 1e-5;

/// Everything that the reference results hold, unprojected and in f32.
fn exact() -> How {
    let kinds = vec![Kind::GradAdam, Kind::GradSgd, Kind::EmbedMean, Kind::EmbedLast, Kind::Loss];
    How { kinds, projection: ProjectionSpec::none(), dtype: DType::F32 }
}

/// The reference rows, ingested once for all tests of this program that want them as they are.
pub fn reference(test: &str) -> Option<&'static Reference> {
    static REFERENCE: OnceLock<Option<Reference>> = OnceLock::new();
    let shared = shared::folder(test, "golden/less")?;
    REFERENCE.get_or_init(|| Some(Reference::new(shared, &exact()))).as_ref()
}

/// The column of the golden matrices that a target row stands in.
fn golden_column(manifest: &Manifest, target: usize, row: u64) -> usize {
    manifest.targets[..target].iter().map(|(_, rows)| rows.len()).sum::<usize>() + row as usize
}

fn close(got: f32, expected: f32, what: &str) {
    let difference = f64::from((got - expected).abs());
    assert!(difference <= TOLERANCE, "{what}: {got} instead of {expected}");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn tokens_and_labels_are_exact() {
    let Some(shared) = shared::folder("tokens_and_labels_are_exact", "golden/less") else { return };
    let manifest = Manifest::read(&shared);
    let warmup = shared::golden_warmup(&shared, &manifest.checkpoints);
    let encoder = text(&manifest, &warmup.model).encoder(&warmup.model).expect("a tokenizer");
    let text = fs_err::read_to_string(shared.join("data").join(&manifest.train)).expect("readable");
    let lines: Vec<&str> = text.lines().skip(manifest.train_offset).collect();
    assert!(!manifest.tokens.is_empty());
    for (row, ids, labels) in &manifest.tokens {
        let record = parse_record(lines[*row as usize].as_bytes()).expect("a record");
        let encoded = encoder.encode(&record.content).expect("encodes");
        assert_eq!(&encoded.ids, ids, "token ids of row {row}");
        assert_eq!(&encoded.labels(), labels, "labels of row {row}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn weights_come_from_the_trainer_state() {
    let Some(reference) = reference("weights_come_from_the_trainer_state") else { return };
    let (run, manifest) = (reference.snapshot.run("warmup").expect("the run"), &reference.manifest);
    assert_eq!(run.checkpoints.len(), manifest.checkpoints.len());
    let logged = logged_rates(manifest, &reference.warmup);
    let expected = manifest.checkpoints.iter().zip(&manifest.mean_lr);
    for ((checkpoint, (step, rate)), logged) in run.checkpoints.iter().zip(expected).zip(logged) {
        assert_eq!(checkpoint.step, Some(*step));
        let weight = checkpoint.weight.expect("a weight");
        assert!((weight / rate - 1.0).abs() < 1e-9, "step {step}: {weight} instead of {rate}");
        match logged.mean {
            Some(mean) => {
                let is_near = (mean / rate - 1.0).abs() <= logged.leeway;
                assert!(is_near, "step {step}: the log tells {mean} instead of {rate}");
            }
            None => {
                assert!(!logged.is_exact(), "step {step}: the log has enough rates, and its mean is a guess");
                eprintln!("left out: the weight of step {step}, of which the log has too few rates");
            }
        }
    }
    let plan = reference.plan();
    assert_eq!(plan.checkpoints().len(), reference.manifest.weights.len());
    for (checkpoint, weight) in plan.checkpoints().iter().zip(&reference.manifest.weights) {
        assert!(
            (checkpoint.weight - weight).abs() < 1e-9,
            "{}: {} instead of {weight}",
            checkpoint.name,
            checkpoint.weight
        );
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn losses_agree() {
    let Some(reference) = reference("losses_agree") else { return };
    let golden = Tensors::read(&reference.shared, "losses");
    for step in &reference.manifest.checkpoints {
        let mut got = vec![("train", reference.vectors("pool", "loss", *step))];
        let targets = reference.manifest.targets.iter();
        got.push((
            "target",
            targets
                .flat_map(|(file, _)| reference.vectors(&Manifest::target_name(file), "loss", *step))
                .collect(),
        ));
        for (side, losses) in got {
            let (_, expected) = golden.get(&format!("{side}.{step}"));
            assert_eq!(losses.len(), expected.len());
            for (row, (loss, expected)) in losses.iter().zip(&expected).enumerate() {
                let error = f64::from((loss[0] - expected).abs() / expected.abs());
                assert!(
                    error <= TOLERANCE,
                    "{side} row {row} at step {step}: {} instead of {expected}",
                    loss[0]
                );
            }
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn gradients_agree() {
    let Some(reference) = reference("gradients_agree") else { return };
    let golden = Tensors::read(&reference.shared, "grads");
    let mut rows: Vec<u64> =
        golden.names().iter().filter_map(|name| name.split('.').next()?.parse().ok()).collect();
    rows.dedup();
    rows.sort_unstable();
    rows.dedup();
    assert!(!rows.is_empty());
    let base = ModelFolder::open(&reference.warmup.model).expect("a model");
    let adapter = Adapter::open(&reference.warmup.checkpoints[0].1).expect("an adapter");
    let params = adapter.params(&base).expect("parameters");
    let gradient = |row: u64, kind: &str| -> Vec<f32> {
        params.iter().flat_map(|p| golden.get(&format!("{row}.{kind}.{}", p.name)).1).collect()
    };
    let in_file = golden.names().iter().filter(|name| name.starts_with(&format!("{}.sgd.", rows[0]))).count();
    assert_eq!(in_file, params.len(), "every parameter is compared");
    // The files do not say which checkpoint they are of: it is the one that fits.
    let first = gradient(rows[0], "sgd");
    let step = *reference
        .manifest
        .checkpoints
        .iter()
        .min_by(|a, b| {
            let error = |step: u64| {
                relative_error(&reference.vectors("pool", "grad-sgd", step)[rows[0] as usize], &first)
            };
            error(**a).total_cmp(&error(**b))
        })
        .expect("checkpoints");
    for (name, label) in [("sgd", "grad-sgd"), ("adam", "grad-adam")] {
        let stored = reference.vectors("pool", label, step);
        for row in &rows {
            let error = relative_error(&stored[*row as usize], &gradient(*row, name));
            assert!(error <= TOLERANCE, "{label} of row {row} at step {step}: relative error {error:.2e}");
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn embeddings_agree() {
    let Some(reference) = reference("embeddings_agree") else { return };
    let golden = Tensors::read(&reference.shared, "embeddings");
    let names = golden.names();
    assert!(!names.is_empty());
    for step in &reference.manifest.checkpoints {
        for (kind, label) in [("mean", "embed-mean"), ("last", "embed-last")] {
            let stored = reference.vectors("pool", label, *step);
            let of_this = format!("{step}.{kind}.");
            assert!(
                names.iter().any(|name| name.starts_with(&of_this)),
                "nothing to compare with for {of_this}"
            );
            for name in names.iter().filter(|name| name.starts_with(&of_this)) {
                let row: usize = name.rsplit('.').next().and_then(|row| row.parse().ok()).expect("a row");
                let error = relative_error(&stored[row], &golden.get(name).1);
                assert!(error <= TOLERANCE, "{name}: relative error {error:.2e}");
            }
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn cosines_influence_and_scores_agree() {
    let Some(reference) = reference("cosines_influence_and_scores_agree") else { return };
    let golden = Tensors::read(&reference.shared, "influence");
    let found = reference.pair_scores();
    let width = found.targets.len();
    let columns: Vec<usize> =
        found.targets.iter().map(|t| golden_column(&reference.manifest, t.target as usize, t.row)).collect();
    for (step, sims) in reference.manifest.checkpoints.iter().zip(&found.sim) {
        let (shape, expected) = golden.get(&format!("cos.{step}"));
        assert_eq!(shape, [found.rows.len(), width]);
        for i in 0..found.rows.len() {
            for (j, column) in columns.iter().enumerate() {
                close(
                    sims[i * width + j],
                    expected[i * width + column],
                    &format!("cosine {i},{column} at {step}"),
                );
            }
        }
    }
    let (_, influence) = golden.get("influence");
    let (_, means) = golden.get("subtask_mean");
    let subtasks = &reference.manifest.subtasks;
    for i in 0..found.rows.len() {
        for (j, column) in columns.iter().enumerate() {
            close(
                found.influence[i * width + j],
                influence[i * width + column],
                &format!("influence {i},{column}"),
            );
        }
        for (s, name) in found.subtasks.iter().enumerate() {
            let column = subtasks.iter().position(|n| n == name).expect("a subtask of the manifest");
            let got = found.subtask[i * found.subtasks.len() + s];
            close(got, means[i * subtasks.len() + column], &format!("mean of {name}, row {i}"));
        }
    }
    let (_, scores) = golden.get("score");
    let ranking = reference.plan().top_k(Order::Best, scores.len(), None, 2, &Cancel::new()).expect("ranked");
    assert_eq!(ranking.rows.len(), scores.len());
    for scored in &ranking.rows {
        close(scored.score, scores[scored.row as usize], &format!("score of row {}", scored.row));
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn the_best_rows_come_in_the_same_order() {
    let Some(reference) = reference("the_best_rows_come_in_the_same_order") else { return };
    let top = &reference.manifest.top;
    let ranking = reference.plan().top_k(Order::Best, top.len(), None, 2, &Cancel::new()).expect("ranked");
    assert_eq!(ranking.rows.len(), top.len());
    let (_, scores) = Tensors::read(&reference.shared, "influence").get("score");
    for (got, (row, id, score)) in ranking.rows.iter().zip(top) {
        if got.row == *row {
            continue;
        }
        let other = f64::from(scores[got.row as usize]);
        assert!((other - score).abs() <= TIE, "row {} stands where {id} ({score}) should", got.row);
    }
    let samples =
        reference.snapshot.samples(reference.snapshot.dataset("pool").expect("a dataset")).expect("samples");
    let rows: Vec<u64> = top.iter().map(|(row, _, _)| *row).collect();
    let batch = samples.get(&rows, &["id"]).expect("readable");
    let ids = arrow_array::cast::AsArray::as_string::<i32>(batch.column(0));
    assert!(ids.iter().zip(top).all(|(stored, (_, id, _))| stored == Some(id)));
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn other_batches_move_only_the_last_bits() {
    let Some(reference) = reference("other_batches_move_only_the_last_bits") else { return };
    let kinds = [Kind::GradAdam, Kind::GradSgd, Kind::EmbedMean, Kind::Loss];
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::create(folder.path().join("store")).expect("created");
    let data = folder.path().join("pool.jsonl");
    let rows = reference.manifest.train_rows.min(48);
    copy_lines(
        &reference.shared.join("data").join(&reference.manifest.train),
        &data,
        reference.manifest.train_offset,
        rows,
    );
    world::register(&store, "pool", &data).expect("registered");
    let mut request = request((&reference.manifest, &reference.warmup), "pool", &kinds, &exact());
    request.batch_tokens = 1;
    request.checkpoints.truncate(1);
    request.weights.truncate(1);
    world::run(&store, request).expect("ingested");
    let snapshot = store.snapshot().expect("a snapshot");
    let step = reference.manifest.checkpoints[0];
    for part in snapshot.features() {
        let reader = snapshot.open_feature(part).expect("opens");
        let whole = reference.vectors("pool", &part.desc.kind.name, step);
        for (row, expected) in whole.iter().enumerate().take(rows) {
            let single = reader.row(row as u64).expect("readable").expect("there").vector;
            let error = relative_error(&single, expected);
            assert!(error <= 1e-5, "{} of row {row}: {error:.2e} between batch sizes", part.attrs.label);
        }
    }
}
