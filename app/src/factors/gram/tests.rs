//! Promise: scores under stored Gram matrices are those of a direct solution, and matrices of other rows are
//! refused.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use gstore_core::{
    Cancel, CheckpointId, DType, DatasetName, Family, FeatureAttrs, FeatureDesc, ModuleGroup, RowFlags, Space,
};
use gstore_query::eigen::{self, EigenSpace, EigenSpaceBlock};
use gstore_query::influence::{InfluenceSpec, Prepared, TargetRef};
use gstore_sql::{SqlError, SqlOptions, SqlRunner};
use gstore_store::{
    AppendOptions, ArtifactPart, DeleteOptions, JobFeature, JobPlan, NewSample, RowSet, RunCheckpoint,
    RunUpdate, Store,
};

use super::{GramReport, GramRequest, GramShare, MixRequest, fit_gram, mix_grams};
use crate::answer::AnswerError;
use crate::work::{JobContext, Notes};

/// Module groups of the vectors.
const GROUPS: [(usize, usize); 2] = [(0, 3), (3, 2)];
const DIM: usize = 5;
/// Of the two checkpoints.
const WEIGHTS: [f64; 2] = [0.75, 0.25];

/// The vector of a row at a checkpoint: directions of very different lengths.
fn vector(dataset: &str, checkpoint: usize, row: usize) -> Vec<f32> {
    let seed = dataset.bytes().map(usize::from).sum::<usize>() + 31 * checkpoint + 7 * row;
    (0..DIM).map(|i| ((seed * (i + 3)) as f32 * 0.713).sin() * [9.0, 0.3, 1.0, 0.1, 4.0][i]).collect()
}

fn checkpoint_id(checkpoint: usize) -> CheckpointId {
    CheckpointId::try_from(format!("{:064x}", 0xabc0 + checkpoint)).unwrap()
}

fn feature(dataset: &str, checkpoint: usize) -> JobFeature {
    let space = Space {
        modules: "m".repeat(64),
        projection: "p".into(),
        ..Space::new(Family::Gradient, Some(checkpoint_id(checkpoint)), DIM as u32)
    };
    let desc = FeatureDesc::new(dataset, "e".repeat(64), "grad-sgd", space, DType::F32);
    let mut attrs = FeatureAttrs::new(format!("grad-sgd@c{checkpoint}"), DIM as u32);
    let group = |(at, (start, len)): (usize, (usize, usize))| ModuleGroup {
        name: format!("module{at}"),
        start: start as u32,
        len: len as u32,
    };
    attrs.groups = GROUPS.into_iter().enumerate().map(group).collect();
    JobFeature { desc, attrs }
}

/// A checkpoint of the run.
fn run_checkpoint(checkpoint: usize, weight: Option<f64>) -> RunCheckpoint {
    RunCheckpoint {
        name: format!("c{checkpoint}"),
        step: Some(checkpoint as u64 + 1),
        weight,
        checkpoint: checkpoint_id(checkpoint),
        base: "model".into(),
        provenance: Default::default(),
        extra: Default::default(),
    }
}

/// Appends samples to a dataset.
fn append(store: &Store, dataset: &str, rows: std::ops::Range<usize>) {
    let name = DatasetName::try_from(dataset).unwrap();
    let mut append = store.append(&name, Vec::new(), AppendOptions::default()).unwrap();
    for row in rows {
        let id = format!("{dataset}{row}");
        append.push(NewSample { id: &id, record: None, metadata: Vec::new() }).unwrap();
    }
    append.finish().unwrap();
}

/// Publishes the vectors of rows at both checkpoints, in segments of 7 rows.
fn publish(store: &Store, dataset: &str, rows: std::ops::Range<usize>) {
    publish_as(store, dataset, "grad-sgd", rows);
}

fn publish_as(store: &Store, dataset: &str, kind: &str, rows: std::ops::Range<usize>) {
    publish_projected(store, dataset, (kind, "p"), rows);
}

fn publish_projected(
    store: &Store,
    dataset: &str,
    (kind, projection): (&str, &str),
    rows: std::ops::Range<usize>,
) {
    let of_kind = |checkpoint: usize| {
        let mut feature = feature(dataset, checkpoint);
        feature.desc.kind.name = kind.to_owned();
        feature.desc.space.projection = projection.to_owned();
        feature.attrs.label = match projection {
            "p" => format!("{kind}@c{checkpoint}"),
            other => format!("{kind}@c{checkpoint}:{other}"),
        };
        feature
    };
    let plan = JobPlan {
        command: "test".into(),
        identity: serde_json::json!([dataset, kind, projection, rows.start]),
        features: (0..2).map(of_kind).collect(),
        detail: serde_json::Value::Null,
    };
    let mut job = store.start_job(plan).unwrap();
    for checkpoint in 0..2 {
        let all: Vec<usize> = rows.clone().collect();
        for part in all.chunks(7) {
            let mut writer = job.segment_writer(checkpoint).unwrap();
            for row in part {
                writer.push(*row as u64, &vector(dataset, checkpoint, *row), RowFlags::empty()).unwrap();
            }
            job.seal(checkpoint, writer).unwrap();
        }
    }
    let checkpoints =
        WEIGHTS.into_iter().enumerate().map(|(checkpoint, weight)| run_checkpoint(checkpoint, Some(weight)));
    let run = RunUpdate { name: "run".into(), checkpoints: checkpoints.collect(), replace_weights: true };
    job.publish(Some(run), true).unwrap();
}

/// Registers another run of both checkpoints, of which the first alone has a weight, with a vector of a row.
fn publish_weights(store: &Store, run: &str) {
    append(store, "val", 3..4);
    let plan = JobPlan {
        command: "test".into(),
        identity: serde_json::json!(["weights", run]),
        features: vec![feature("val", 0)],
        detail: serde_json::Value::Null,
    };
    let mut job = store.start_job(plan).unwrap();
    let mut writer = job.segment_writer(0).unwrap();
    writer.push(3, &vector("val", 0, 3), RowFlags::empty()).unwrap();
    job.seal(0, writer).unwrap();
    let checkpoints = [(0, Some(1.0)), (1, None)].map(|(at, weight)| run_checkpoint(at, weight)).to_vec();
    let run = RunUpdate { name: run.into(), checkpoints, replace_weights: true };
    job.publish(Some(run), true).unwrap();
}

fn store(folder: &tempfile::TempDir) -> Store {
    let store = Store::create(folder.path().join("store")).unwrap();
    for (dataset, rows) in [("pool", 20), ("other", 9), ("val", 3)] {
        append(&store, dataset, 0..rows);
        publish(&store, dataset, 0..rows);
    }
    store
}

fn fit(
    store: &Store,
    name: &str,
    datasets: &[&str],
    change: fn(&mut GramRequest),
) -> Result<GramReport, AnswerError> {
    let datasets = datasets.iter().map(|name| (*name).to_owned()).collect();
    let mut request = GramRequest { name: name.into(), datasets, ..GramRequest::default() };
    change(&mut request);
    fit_gram(store, &request, &mut JobContext::silent("test"))
}

/// The scores of a relation, by id.
pub(in crate::factors) fn scores(store: &Store, relation: &str) -> Result<BTreeMap<String, f64>, String> {
    let snapshot = store.snapshot().unwrap();
    let sql = format!("SELECT id, score FROM {relation}");
    let batches =
        crate::query(&snapshot, &sql, None, &JobContext::silent("test")).map_err(|e| e.to_string())?;
    let mut found = BTreeMap::new();
    for batch in &batches {
        let ids = arrow_cast::cast(batch.column(0), &arrow_schema::DataType::Utf8).unwrap();
        let scores = batch.column(1).as_primitive::<Float32Type>();
        for (id, score) in ids.as_string::<i32>().iter().zip(scores.values()) {
            found.insert(id.unwrap().to_owned(), f64::from(*score));
        }
    }
    Ok(found)
}

/// `H^-1 q` with H the mean of the outer products of rows, and 0.1 (or `part`) of its mean eigenvalue added,
/// by elimination, one module group after another.
fn preconditioned(rows: &[Vec<f32>], query: &[f64], part: f64) -> Vec<f64> {
    let shares = vec![1.0 / rows.len() as f64; rows.len()];
    solved(rows, &shares, query, part)
}

/// The same with H the sum of the outer products of rows, each times its share.
fn solved(rows: &[Vec<f32>], shares: &[f64], query: &[f64], part: f64) -> Vec<f64> {
    let mut solved = Vec::new();
    for (start, len) in GROUPS {
        let mut matrix = vec![vec![0.0; len + 1]; len];
        for (row, share) in rows.iter().zip(shares) {
            for (i, j) in (0..len).flat_map(|i| (0..len).map(move |j| (i, j))) {
                matrix[i][j] += f64::from(row[start + i]) * f64::from(row[start + j]) * share;
            }
        }
        let mean = (0..len).map(|i| matrix[i][i]).sum::<f64>() / len as f64;
        for i in 0..len {
            matrix[i][i] += part * mean;
            matrix[i][len] = query[start + i];
        }
        for pivot in 0..len {
            let line = matrix[pivot].clone();
            for (_, other) in matrix.iter_mut().enumerate().filter(|(at, _)| *at != pivot) {
                let factor = other[pivot] / line[pivot];
                other.iter_mut().zip(&line).for_each(|(x, y)| *x -= factor * y);
            }
        }
        solved.extend((0..len).map(|i| matrix[i][len] / matrix[i][i]));
    }
    solved
}

fn dot(row: &[f32], query: &[f64]) -> f64 {
    row.iter().zip(query).map(|(x, y)| f64::from(*x) * y).sum()
}

/// What the mean over the target's rows gives each row of the pool, with matrices of the pool.
fn expected(rows: usize, part: f64) -> BTreeMap<String, f64> {
    let mut scores = BTreeMap::new();
    for (checkpoint, weight) in WEIGHTS.into_iter().enumerate() {
        let pool: Vec<Vec<f32>> = (0..rows).map(|row| vector("pool", checkpoint, row)).collect();
        let targets: Vec<Vec<f32>> = (0..3).map(|row| vector("val", checkpoint, row)).collect();
        let mean: Vec<f64> =
            (0..DIM).map(|i| targets.iter().map(|q| f64::from(q[i])).sum::<f64>() / 3.0).collect();
        let query = preconditioned(&pool, &mean, part);
        for (row, vector) in pool.iter().enumerate() {
            *scores.entry(format!("pool{row}")).or_insert(0.0) += weight * dot(vector, &query);
        }
    }
    scores
}

/// The same of cosines under the matrices, with weights of the module groups.
fn cosines(rows: usize, weights: [f64; 2]) -> BTreeMap<String, f64> {
    let mut scores = BTreeMap::new();
    for (checkpoint, weight) in WEIGHTS.into_iter().enumerate() {
        let of = |dataset: &str, row| vector(dataset, checkpoint, row);
        let pool: Vec<Vec<f32>> = (0..rows).map(|row| of("pool", row)).collect();
        let under = |vector: &[f32]| {
            let mut solved =
                preconditioned(&pool, &vector.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), 0.1);
            for ((start, len), weight) in GROUPS.into_iter().zip(weights) {
                solved[start..start + len].iter_mut().for_each(|x| *x *= weight);
            }
            let length = dot(vector, &solved).sqrt();
            (solved, length)
        };
        let queries: Vec<(Vec<f64>, f64)> = (0..3).map(|row| under(&of("val", row))).collect();
        for (row, vector) in pool.iter().enumerate() {
            let own = under(vector).1;
            let sum: f64 = queries.iter().map(|(query, length)| dot(vector, query) / length / own).sum();
            *scores.entry(format!("pool{row}")).or_insert(0.0) += weight * sum / 3.0;
        }
    }
    scores
}

pub(in crate::factors) fn assert_close(found: &BTreeMap<String, f64>, expected: &BTreeMap<String, f64>) {
    assert!(found.keys().eq(expected.keys()), "{:?}", found.keys());
    let largest = expected.values().fold(0.0_f64, |most, score| most.max(score.abs()));
    for (id, score) in expected {
        assert!((found[id] - score).abs() <= 1e-5 * largest, "{id}: {} is not {score}", found[id]);
    }
}

fn ranked(scores: &BTreeMap<String, f64>) -> Vec<&String> {
    let mut ids: Vec<&String> = scores.keys().collect();
    ids.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    ids
}

#[test]
fn preconditioned_scores_are_those_of_a_direct_solution() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let report = fit(&store, "gram", &["pool"], |_| {}).unwrap();
    let rows: Vec<(&str, u64, u64, u64)> =
        report.checkpoints.iter().map(|at| (at.name.as_str(), at.rows, at.groups, at.largest)).collect();
    assert_eq!(rows, [("c0", 20, 2, 3), ("c1", 20, 2, 3)]);
    assert_eq!((report.bytes, report.kind.as_str(), report.changed), (2 * (9 + 4) * 8, "grad-sgd", true));
    let part = store.snapshot().unwrap().artifact("gram").unwrap();
    assert_eq!((part.kind.as_str(), &part.provenance["run"]), ("gram", &serde_json::json!("run")));

    let ask = |options: &str| scores(&store, &format!("influence('pool', 'val', sim => 'dot'{options})"));
    let usual = ask(", precondition => 'gram'").unwrap();
    assert_close(&usual, &expected(20, 0.1));
    assert_eq!(ask(", precondition => 'gram', damping => 'auto'").unwrap(), usual);
    let little = ask(", precondition => 'gram', damping => 1e-4").unwrap();
    assert_close(&little, &expected(20, 1e-4));
    let plain = ask("").unwrap();
    assert_ne!(ranked(&usual), ranked(&little));
    assert_ne!(ranked(&usual), ranked(&plain));
    // Cosines divide by the lengths under H, of all module groups together, which may be weighted.
    for weights in [[1.0, 1.0], [0.25, 2.0]] {
        let modules = format!("module0={}, module1={}", weights[0], weights[1]);
        let relation = format!("influence('pool', 'val', precondition => 'gram', modules => '{modules}')");
        assert_close(&scores(&store, &relation).unwrap(), &cosines(20, weights));
    }
    // Filters are of eigenvalues that are known, which these are not.
    for (options, says) in [
        (", precondition => 'gram', filter => 'identity'", "`inversion` is for"),
        (", filter => 'identity'", "`filter` says how a preconditioner is used"),
    ] {
        let error = ask(options).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    // A ranking of few rows has the same scores.
    let top = ask(", precondition => 'gram', k => 5").unwrap();
    assert!(top.iter().all(|(id, score)| usual[id] == *score), "{top:?}");

    let itself = scores(&store, "self_influence('pool', precondition => 'gram')").unwrap();
    let own: BTreeMap<String, f64> = (0..20)
        .map(|row| {
            let at = |checkpoint: usize| {
                let pool: Vec<Vec<f32>> = (0..20).map(|row| vector("pool", checkpoint, row)).collect();
                let query: Vec<f64> = pool[row].iter().map(|x| f64::from(*x)).collect();
                WEIGHTS[checkpoint] * dot(&pool[row], &preconditioned(&pool, &query, 0.1))
            };
            (format!("pool{row}"), at(0) + at(1))
        })
        .collect();
    assert_close(&itself, &own);
}

#[test]
fn mixtures_precondition_with_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    fit(&store, "gram", &["pool"], |_| {}).unwrap();
    fit(&store, "of_val", &["val"], |_| {}).unwrap();
    let mix_with = |queries: &str, name: &str, share| {
        let (name, pool, queries) = (name.to_owned(), "gram".to_owned(), queries.to_owned());
        let request = MixRequest { name, pool, queries, share, replace: false };
        mix_grams(&store, &request, &mut JobContext::silent("test"))
    };
    let mix = |name: &str, share| mix_with("of_val", name, share);
    let fixed = mix("fixed", GramShare::Fixed(0.3)).unwrap();
    let balanced = mix("balanced", GramShare::Balanced(Some(2))).unwrap();
    let lambdas =
        |report: &GramReport| report.checkpoints.iter().map(|at| at.share.unwrap()).collect::<Vec<_>>();
    assert_eq!((lambdas(&fixed), fixed.checkpoints[0].rows, fixed.bytes), (vec![0.3, 0.3], 23, 2 * 13 * 8));
    assert_ne!(lambdas(&balanced)[0], lambdas(&balanced)[1]);
    for report in [&fixed, &balanced] {
        let mut expected = BTreeMap::new();
        for (checkpoint, lambda) in lambdas(report).into_iter().enumerate() {
            assert!(lambda > 0.0 && lambda < 1.0, "{lambda}");
            let of = |(dataset, row)| vector(dataset, checkpoint, row);
            let pool = (0..20).map(|row| ("pool", row));
            let rows: Vec<Vec<f32>> = pool.chain((0..3).map(|row| ("val", row))).map(of).collect();
            let mut shares = vec![(1.0 - lambda) / 20.0; 20];
            shares.extend([lambda / 3.0; 3]);
            let mean: Vec<f64> =
                (0..DIM).map(|i| rows[20..].iter().map(|q| f64::from(q[i])).sum::<f64>() / 3.0).collect();
            let query = solved(&rows, &shares, &mean, 0.1);
            for (row, vector) in rows[..20].iter().enumerate() {
                *expected.entry(format!("pool{row}")).or_insert(0.0) +=
                    WEIGHTS[checkpoint] * dot(vector, &query);
            }
        }
        let relation = format!("influence('pool', 'val', sim => 'dot', precondition => '{}')", report.name);
        assert_close(&scores(&store, &relation).unwrap(), &expected);
    }

    let error = mix("fixed", GramShare::Fixed(0.5)).unwrap_err().to_string();
    assert!(error.contains("already"), "{error}");
    let error = mix("much", GramShare::Fixed(1.5)).unwrap_err().to_string();
    assert!(error.contains("from 0 to 1, not 1.5"), "{error}");
    let error = mix("far", GramShare::Balanced(Some(6))).unwrap_err().to_string();
    assert!(error.contains("number 1 to 5 from the largest, not number 6"), "{error}");
    // There are fewer coordinates than TrackStar's number.
    let usual = mix("usual", GramShare::Balanced(None)).unwrap();
    assert_eq!(lambdas(&usual), lambdas(&mix("last", GramShare::Balanced(Some(5))).unwrap()));
    let part = store.snapshot().unwrap().artifact("usual").unwrap();
    assert_eq!(part.content["mixture"]["components"], 5, "{}", part.content);
    // Two vectors have two eigenvalues above 0, in groups of three and of two coordinates: the rest is
    // rounding.
    append(&store, "few", 0..2);
    publish(&store, "few", 0..2);
    fit(&store, "of_few", &["few"], |_| {}).unwrap();
    let mix = |name: &str, components| mix_with("of_few", name, GramShare::Balanced(components));
    let error = mix("noise", Some(5)).unwrap_err().to_string();
    assert!(error.contains("number 1 to 4 from the largest, not number 5"), "{error}");
    let shares = lambdas(&mix("few", None).unwrap());
    assert!(shares.iter().all(|share| *share > 0.0 && *share < 1.0), "{shares:?}");
    assert_eq!(shares, lambdas(&mix("four", Some(4)).unwrap()));
    let error = fit(&store, "fixed", &["pool"], |request| request.extend = true).unwrap_err().to_string();
    assert!(error.contains("is a mixture of `gram` and `of_val`"), "{error}");
}

#[test]
fn matrices_are_extended_and_stale_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    fit(&store, "gram", &["pool"], |_| {}).unwrap();
    let of = |pool: &str, options: &str| {
        scores(&store, &format!("influence('{pool}', 'val', sim => 'dot', precondition => {options})"))
    };
    // Names and kinds.
    let refused = [
        (of("pool", "'gran'"), "gram"),
        (of("other", "'gram'"), "it was fitted on rows of pool"),
        (scores(&store, "influence('pool', 'val', sim => 'dot', damping => 1)"), "none is named"),
    ];
    for (answer, says) in refused {
        let error = answer.unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    store
        .put_artifact(
            ArtifactPart::new("else", "prefilter", Vec::new(), serde_json::json!({})),
            None,
            None,
            "test",
        )
        .unwrap();
    let error = of("pool", "'else'").unwrap_err();
    assert!(error.contains("of the kind prefilter"), "{error}");
    assert_eq!(of("other", "'gram', stale => true").unwrap().len(), 9);
    let error = fit(&store, "gram", &["pool"], |_| {}).unwrap_err().to_string();
    assert!(error.contains("already"), "{error}");
    // Before rows are looked for.
    let error = fit(&store, "a/b", &["nowhere"], |_| {}).unwrap_err().to_string();
    assert!(error.contains("\"a/b\" is not a name of an artifact"), "{error}");

    // Rows of the same dataset that came later, and of another one.
    append(&store, "pool", 20..30);
    publish(&store, "pool", 20..30);
    let more = fit(&store, "gram", &[], |request| request.extend = true).unwrap();
    assert_eq!((more.checkpoints[0].rows, more.checkpoints[0].added), (30, 10));
    assert_close(&of("pool", "'gram'").unwrap(), &expected(30, 0.1));
    let none = fit(&store, "gram", &[], |request| request.extend = true).unwrap();
    assert!(!none.changed && none.snapshot == more.snapshot, "{none:?}");
    fit(&store, "both", &["pool", "other"], |_| {}).unwrap();
    let more = fit(&store, "gram", &["other"], |request| request.extend = true).unwrap();
    assert_eq!((more.datasets.len(), more.checkpoints[1].rows), (2, 39));
    let (extended, whole) = (of("other", "'gram'").unwrap(), of("other", "'both'").unwrap());
    assert_close(&extended, &whole);
    let again = fit(&store, "gram", &["pool"], |request| request.replace = true).unwrap();
    assert_eq!((again.datasets.len(), again.checkpoints[1].rows), (1, 30));

    // At one checkpoint only.
    fit(&store, "late", &["pool"], |request| request.checkpoints = Some(vec!["c1".into()])).unwrap();
    let error = of("pool", "'late'").unwrap_err();
    assert!(error.contains("stale for c0"), "{error}");
    assert_eq!(of("pool", "'late', checkpoints => 'c1'").unwrap().len(), 30);
}

#[test]
fn rows_in_an_eigenbasis_are_asked_with_any_damping() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let (lambda, fitted) = ([&[0.5, 2.0, 0.0][..], &[1.0, 4.0]], [0.25, 0.5]);
    let block = |at: usize| EigenSpaceBlock {
        module: format!("module{at}"),
        len: lambda[at].len() as u64,
        damping: fitted[at],
    };
    let factors = ArtifactPart::new("f", eigen::FACTORS, Vec::new(), serde_json::json!({}));
    let number = store.put_artifact(factors, None, None, "test").unwrap().number() as u32;
    let blocks = vec![block(0), block(1)];
    let (dataset, rows, encoding, checkpoint) = (None, None, None, None);
    let (projection, factors) = ("p".to_owned(), "f".to_owned());
    let space = EigenSpace { projection, factors, number, dataset, rows, encoding, checkpoint, blocks };
    let content = serde_json::to_value(&space).unwrap();
    let part = ArtifactPart::new(&EigenSpace::artifact("p"), eigen::KIND, Vec::new(), content);
    let ask = |options: &str| scores(&store, &format!("influence('pool', 'val', sim => 'dot'{options})"));
    let error = ask(", precondition => 'f'").unwrap_err();
    assert!(error.contains("no eigenvalues are known"), "{error}");
    let mut files = store.artifact_files().unwrap();
    files.write(eigen::FILE, |out| eigen::write(out, lambda)).unwrap();
    store.put_artifact(part, Some(files), None, "test").unwrap();

    // Rows are as they were stored; the mean of the target's is scaled.
    let filtered = |filter: &dyn Fn(f64, f64) -> f64| {
        let mut scores = BTreeMap::new();
        for (checkpoint, weight) in WEIGHTS.into_iter().enumerate() {
            let targets: Vec<Vec<f32>> = (0..3).map(|row| vector("val", checkpoint, row)).collect();
            let of = lambda
                .iter()
                .zip(fitted)
                .flat_map(|(lambda, fitted)| lambda.iter().map(move |l| (l + fitted) * filter(*l, fitted)));
            let query: Vec<f64> = of
                .enumerate()
                .map(|(i, scale)| scale * targets.iter().map(|q| f64::from(q[i])).sum::<f64>() / 3.0)
                .collect();
            for row in 0..20 {
                let score = weight * dot(&vector("pool", checkpoint, row), &query);
                *scores.entry(format!("pool{row}")).or_insert(0.0) += score;
            }
        }
        scores
    };
    let expected = |damping: Option<f64>| filtered(&|l, fitted| 1.0 / (l + damping.unwrap_or(fitted)));
    assert_close(&ask("").unwrap(), &expected(None));
    assert_close(&ask(", filter => 'inverse', damping => 2.5").unwrap(), &expected(Some(2.5)));
    assert_close(&ask(", filter => 'identity'").unwrap(), &filtered(&|_, _| 1.0));
    let unrolled = |l: f64, _: f64| if l > 0.0 { (1.0 - (-2.0 * l).exp()) / l } else { 2.0 };
    assert_close(&ask(", precondition => 'f', filter => 'source:10*0.2'").unwrap(), &filtered(&unrolled));
    assert_close(&ask(", damping => 2.5").unwrap(), &expected(Some(2.5)));
    assert_close(&ask(", precondition => 'f', damping => 1e-2").unwrap(), &expected(Some(1e-2)));
    assert_close(&ask(", precondition => 'f', damping => 'auto'").unwrap(), &expected(None));
    let error = ask(", damping => 0.0").unwrap_err();
    assert!(error.contains("module0") && error.contains("1 of 3 eigenvalues are 0"), "{error}");
    // Factors that were replaced since.
    let factors = ArtifactPart::new("f", eigen::FACTORS, Vec::new(), serde_json::json!({}));
    store.put_artifact(factors, None, Some(&*store.snapshot().unwrap()), "test").unwrap();
    let error = ask(", precondition => 'f'").unwrap_err();
    assert!(error.contains("leave `precondition` out"), "{error}");
    assert_close(&ask(", precondition => 'f', damping => 1, stale => true").unwrap(), &expected(Some(1.0)));
}

#[test]
fn named_features_decide_whose_matrices_are_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    publish_as(&store, "pool", "grad-adam", 0..20);
    let of = |name: &str, change: fn(&mut GramRequest)| {
        let fitted = fit(&store, name, &["pool"], change)?;
        Ok::<_, AnswerError>((fitted.kind, fitted.checkpoints.len()))
    };
    assert_eq!(of("usual", |_| {}).unwrap(), ("grad-adam".to_owned(), 2));
    let both = of("both", |r| r.features = vec!["grad-sgd@c0".into(), "grad-sgd@c1".into()]);
    assert_eq!(both.unwrap(), ("grad-sgd".to_owned(), 2));
    let one = of("one", |r| r.features = vec!["pool/grad-sgd@c1".into()]);
    assert_eq!(one.unwrap(), ("grad-sgd".to_owned(), 1));
    let mixed = of("mixed", |r| r.features = vec!["grad-sgd@c0".into(), "grad-adam@c1".into()]);
    let said = mixed.unwrap_err().to_string();
    assert!(said.contains("`grad-adam@c1`") && said.contains("one kind of each side"), "{said}");
}

#[test]
fn matrices_of_another_kind_than_the_rows_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    publish_as(&store, "pool", "grad-adam", 0..20);
    let of_kind = |name: &str, dataset: &str, kind: fn(&mut GramRequest)| {
        fit(&store, name, &[dataset], kind).unwrap();
    };
    of_kind("adam", "pool", |_| {});
    of_kind("sgd", "pool", |request| request.kind = Some("grad-sgd".into()));
    of_kind("of_val", "val", |_| {});
    for (name, pool, queries) in
        [("both", "adam", "of_val"), ("other", "sgd", "of_val"), ("turned", "sgd", "adam")]
    {
        let [name, pool, queries] = [name, pool, queries].map(str::to_owned);
        let request = MixRequest { name, pool, queries, share: GramShare::Fixed(0.5), replace: false };
        mix_grams(&store, &request, &mut JobContext::silent("test")).unwrap();
    }
    let of = |artifact: &str, kind: Option<&str>, features: &[&str]| {
        let spec = InfluenceSpec {
            pools: vec!["pool".into()],
            targets: vec![TargetRef { dataset: "val".into(), subtask: None }],
            pool_kind: kind.map(str::to_owned),
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            precondition: Some(artifact.to_owned()),
            ..InfluenceSpec::default()
        };
        let prepared = Prepared::new(&store.snapshot().unwrap(), &spec).unwrap();
        let notes = prepared.notes().iter().filter(|note| note.contains("was fitted on"));
        notes.cloned().collect::<Vec<String>>()
    };
    let said = "was fitted on grad-sgd, and the rows are grad-adam: `kind => 'grad-sgd'` scores those it was fitted on, \
                or fit it on grad-adam";
    for (artifact, kind) in [("sgd", None), ("sgd", Some("grad-adam")), ("other", None)] {
        assert_eq!(of(artifact, kind, &[]), [format!("`{artifact}` {said}")]);
    }
    let named = of("sgd", None, &["grad-adam@c0", "grad-adam@c1"]);
    assert_eq!(named, ["`sgd` was fitted on grad-sgd, and the rows are grad-adam: fit it on grad-adam"]);
    let none = [
        ("adam", None),
        ("sgd", Some("grad-sgd")),
        ("both", None),
        ("both", Some("grad-sgd")),
        ("turned", None),
    ];
    for (artifact, kind) in none {
        assert!(of(artifact, kind, &[]).is_empty(), "{artifact}");
    }
}

#[test]
fn matrices_are_fitted_whatever_weights_checkpoints_have() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    publish_weights(&store, "again");
    let error = scores(&store, "influence('pool', 'val', run => 'again')").unwrap_err();
    assert!(error.contains("c1 has no weight, others have"), "{error}");
    let again = fit(&store, "again", &["pool"], |request| request.run = Some("again".into()));
    assert_eq!(again.unwrap().checkpoints.len(), 2);
    // Runs that differ in weights alone are no choice.
    let error = scores(&store, "influence('pool', 'val')").unwrap_err();
    assert!(error.contains("name one with"), "{error}");
    assert_eq!(fit(&store, "any", &["pool"], |_| {}).unwrap().checkpoints.len(), 2);
}

#[test]
fn rows_whose_vectors_come_later_are_added_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    append(&store, "pool", 20..30);
    publish(&store, "pool", 25..30);
    let first = fit(&store, "gram", &["pool"], |_| {}).unwrap();
    assert_eq!(first.checkpoints[0].rows, 25);
    publish(&store, "pool", 20..25);
    let more = fit(&store, "gram", &[], |request| request.extend = true).unwrap();
    for at in &more.checkpoints {
        assert_eq!((at.rows, at.added), (30, 5), "{at:?}");
    }
    let none = fit(&store, "gram", &[], |request| request.extend = true).unwrap();
    assert!(!none.changed, "{none:?}");
    let found = scores(&store, "influence('pool', 'val', sim => 'dot', precondition => 'gram')").unwrap();
    assert_close(&found, &expected(30, 0.1));
}

#[test]
fn matrices_are_extended_by_vectors_of_their_projection() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    fit(&store, "gram", &["pool"], |_| {}).unwrap();
    // Of another projection there are more.
    append(&store, "pool", 20..30);
    for dataset in ["pool", "other"] {
        let rows = if dataset == "pool" { 0..30 } else { 0..9 };
        publish_projected(&store, dataset, ("grad-sgd", "q"), rows);
    }
    publish(&store, "pool", 20..25);
    let more = fit(&store, "gram", &[], |request| request.extend = true).unwrap();
    assert_eq!((more.checkpoints[0].rows, more.checkpoints[0].added), (25, 5));
    // A dataset that is new to them, too.
    let both = fit(&store, "gram", &["pool", "other"], |request| request.extend = true).unwrap();
    assert_eq!((both.checkpoints[1].rows, both.checkpoints[1].added), (34, 9));
    // Those that are named are taken, if they can be.
    let named = fit(&store, "gram", &[], |request| {
        request.extend = true;
        request.features = ["pool/grad-sgd@c0:q", "pool/grad-sgd@c1:q"].map(str::to_owned).to_vec();
    });
    assert!(named.is_err(), "{named:?}");
}

#[test]
fn matrices_of_what_is_not_there_any_more_are_stale() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let ask = |pool: &str, options: &str| {
        let relation = format!("influence('{pool}', 'val', sim => 'dot', precondition => '{pool}'{options})");
        scores(&store, &relation)
    };
    let refused = |pool: &str, why: &str| {
        let error = ask(pool, "").unwrap_err();
        assert!(error.contains("is stale for pool") && error.contains(why), "{error}");
        assert!(!ask(pool, ", stale => true").unwrap().is_empty());
        let extended = fit(&store, pool, &[], |request| request.extend = true).unwrap_err().to_string();
        assert!(extended.contains("cannot be extended") && extended.contains(why), "{extended}");
    };
    for name in ["pool", "other"] {
        fit(&store, name, &[name], |_| {}).unwrap();
        assert!(!ask(name, "").unwrap().is_empty());
    }
    // Another dataset under the same name, with vectors of its own.
    store.drop_dataset(store.snapshot().unwrap().dataset("other").unwrap(), "drop").unwrap();
    append(&store, "other", 0..9);
    publish(&store, "other", 0..9);
    refused("other", "it was fitted on another dataset `other`");
    // Other vectors of the same rows.
    for checkpoint in 0..2 {
        let seen = store.snapshot().unwrap();
        let label = format!("pool/grad-sgd@c{checkpoint}");
        store.drop_feature(seen.feature(&label).unwrap(), "drop").unwrap();
    }
    publish(&store, "pool", 0..20);
    refused("pool", "the vectors of `pool` that it was fitted on were dropped");
    // Rows that are gone.
    fit(&store, "pool", &["pool"], |request| request.replace = true).unwrap();
    assert!(!ask("pool", "").unwrap().is_empty());
    let seen = store.snapshot().unwrap();
    let gone = RowSet::from_rows([3]);
    store.delete(seen.dataset("pool").unwrap(), &gone, DeleteOptions::default()).unwrap();
    refused("pool", "rows of `pool` that it was fitted on have changed");
}

#[test]
fn rows_of_all_datasets_of_matrices_are_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    fit(&store, "both", &["pool", "other"], |_| {}).unwrap();
    let ask = |options: &str| {
        let relation = format!("influence('pool', 'val', sim => 'dot', precondition => 'both'{options})");
        scores(&store, &relation)
    };
    assert!(!ask("").unwrap().is_empty());
    let seen = store.snapshot().unwrap();
    let gone = RowSet::from_rows([3]);
    store.delete(seen.dataset("other").unwrap(), &gone, DeleteOptions::default()).unwrap();
    let error = ask("").unwrap_err();
    assert!(error.contains("rows of `other` that it was fitted on have changed"), "{error}");
    assert!(!ask(", stale => true").unwrap().is_empty());
}

#[test]
fn matrices_do_not_count_against_the_memory_of_a_session_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    fit(&store, "gram", &["pool"], |_| {}).unwrap();
    // The inverses of two checkpoints alone take 208 bytes.
    let options = SqlOptions { threads: 1, memory_limit: 100, ..SqlOptions::default() };
    let runner = SqlRunner::new(store.snapshot().unwrap(), options).unwrap();
    for relation in
        ["influence('pool', 'val', sim => 'dot'", "self_influence('pool'", "excluded('pool', 'val'"]
    {
        let sql = format!("SELECT row FROM {relation}, precondition => 'gram')");
        let cancel = Cancel::new();
        let batches: Result<Vec<RecordBatch>, SqlError> = runner.run(&sql, &cancel).unwrap().collect();
        assert!(batches.is_ok(), "{sql}: {batches:?}");
    }
}

#[test]
fn a_mixture_of_stale_matrices_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    fit(&store, "gram", &["pool"], |_| {}).unwrap();
    fit(&store, "of_val", &["val"], |_| {}).unwrap();
    let mix = |name: &str| {
        static RUN: Cancel = Cancel::new();
        let mut notes = Notes::default();
        let [name, pool, queries] = [name, "gram", "of_val"].map(str::to_owned);
        let request = MixRequest { name, pool, queries, share: GramShare::Fixed(0.5), replace: false };
        let mut work = JobContext { threads: 1, command: "test", progress: &mut notes, cancel: &RUN };
        mix_grams(&store, &request, &mut work).unwrap();
        notes.0
    };
    assert!(mix("sound").is_empty());
    let seen = store.snapshot().unwrap();
    let gone = RowSet::from_rows([3]);
    store.delete(seen.dataset("pool").unwrap(), &gone, DeleteOptions::default()).unwrap();
    let why = "rows of `pool` that it was fitted on have changed";
    let way = "So is the mixture: fit `gram` again, and mix again";
    assert_eq!(mix("stale"), [format!("artifact `gram` is stale: {why}. {way}")]);
    let refused = scores(&store, "influence('pool', 'val', precondition => 'stale')").unwrap_err();
    assert!(refused.contains(why), "{refused}");
}
