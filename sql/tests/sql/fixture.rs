//! A small store with everything that SQL can meet: several pools and targets, two checkpoints, subtasks,
//! ties, flagged rows, gaps, two encodings, columns with awkward names.

use std::path::Path;
use std::sync::Arc;

use gstore_core::{Cancel, Silent};
use gstore_query::gram::{self, GramContent, GramDataset};
use gstore_query::influence::{InfluenceSpec, Missing, Prepared, Sim, TargetRef};
use gstore_store::{
    AppendOptions, ArtifactPart, CheckpointId, ColumnSpec, ColumnType, DType, DatasetName, EncodingSpec,
    Family, FeatureAttrs, FeatureDesc, Granularity, Job, JobFeature, JobPlan, MetaValue, NewSample, RowFlags,
    RunCheckpoint, RunUpdate, Snapshot, Space, Store, TokenCount,
};
use serde_json::{Map, Value, json};

const DIM: u32 = 4;

/// Weights 3 and 1: normalised 0.75 and 0.25.
const CHECKPOINTS: [(&str, u64, f64); 2] = [("checkpoint-1", 1, 3.0), ("checkpoint-2", 2, 1.0)];

/// Makes the store in an empty folder.
pub fn store(path: &Path) -> Arc<Snapshot> {
    let store = Store::create(path).unwrap();
    pool(&store);
    extra(&store);
    plain(&store, "target", 4, &[("subtask", &["a", "a", "b", ""])]);
    plain(&store, "other", 2, &[]);
    plain(&store, "foreign", 2, &[]);
    plain(&store, "bare", 2, &[]);
    plain(&store, "holes", 4, &[]);
    encodings(&store);
    features(&store);
    tokens(&store);
    store.snapshot().unwrap()
}

/// Puts Gram matrices of the gradients of the pool into the store.
pub fn put_grams(path: &Path, name: &str) -> Arc<Snapshot> {
    let store = Store::open(path).unwrap();
    let snapshot = store.snapshot().unwrap();
    let kind = "grad-sgd".to_owned();
    let itself = InfluenceSpec {
        pools: vec!["pool".into()],
        targets: vec![TargetRef::parse("pool")],
        sim: Sim::Dot,
        missing: Missing::Exclude,
        pool_kind: Some(kind.clone()),
        target_kind: Some(kind.clone()),
        ..InfluenceSpec::default()
    };
    let plan = Prepared::new(&snapshot, &itself).unwrap();
    let all = plan.grams(&[], 1, &Cancel::new(), &mut Silent).unwrap();
    let content = GramContent {
        kind,
        datasets: vec![GramDataset { name: "pool".into(), end: snapshot.dataset("pool").unwrap().next_row }],
        checkpoints: all.iter().map(|grams| grams.checkpoint.clone()).collect(),
        mixture: None,
    };
    let mut files = store.artifact_files().unwrap();
    files.write(gram::FILE, |out| gram::write(out, &all)).unwrap();
    let content = serde_json::to_value(content).unwrap();
    let artifact = ArtifactPart::new(name, gram::KIND, vec!["pool".into()], content);
    store.put_artifact(artifact, Some(files), None, "test").unwrap()
}

fn pool(store: &Store) {
    let columns = vec![
        ColumnSpec::inferred("source", ColumnType::Text),
        ColumnSpec::inferred("length", ColumnType::Int),
        ColumnSpec::inferred("quality", ColumnType::Float),
        ColumnSpec::inferred("ok", ColumnType::Bool),
        ColumnSpec::inferred("Topic", ColumnType::Text),
        ColumnSpec::inferred("subtask", ColumnType::Text),
        ColumnSpec::inferred("tokens", ColumnType::Int),
    ];
    let sources = ["math", "code", "chat"];
    append(store, "pool", columns, 12, |i| {
        vec![
            MetaValue::Text(sources[i % 3].into()),
            if i == 7 { MetaValue::Null } else { MetaValue::Int(i as i64) },
            MetaValue::Float(i as f64 / 4.0),
            MetaValue::Bool(i % 2 == 0),
            MetaValue::Text(format!("T{}", i / 4)),
            if i < 6 { MetaValue::Null } else { MetaValue::Text("own".into()) },
            MetaValue::Int(1000 + i as i64),
        ]
    });
}

fn extra(store: &Store) {
    let columns = vec![
        ColumnSpec::inferred("source", ColumnType::Text),
        ColumnSpec::inferred("length", ColumnType::Float),
        ColumnSpec::inferred("ok", ColumnType::Text),
        ColumnSpec::inferred("lang", ColumnType::Text),
    ];
    append(store, "extra", columns, 3, |i| {
        vec![
            MetaValue::Text("web".into()),
            MetaValue::Float(0.5 + i as f64),
            MetaValue::Text("yes".into()),
            MetaValue::Text(["de", "en", "fr"][i].into()),
        ]
    });
}

fn plain(store: &Store, name: &str, rows: usize, columns: &[(&str, &[&str])]) {
    let specs = columns.iter().map(|(key, _)| ColumnSpec::inferred(*key, ColumnType::Text)).collect();
    append(store, name, specs, rows, |i| {
        let value = |text: &str| if text.is_empty() { MetaValue::Null } else { MetaValue::Text(text.into()) };
        columns.iter().map(|(_, values)| value(values[i])).collect()
    });
}

fn append(
    store: &Store,
    name: &str,
    columns: Vec<ColumnSpec>,
    rows: usize,
    metadata: impl Fn(usize) -> Vec<MetaValue>,
) {
    let letter = name.chars().next().unwrap();
    append_samples(store, name, columns, rows, |i| {
        let id = format!("{letter}{i}");
        let record = format!("{{\"id\": \"{id}\", \"text\": \"{name} {i}\"}}");
        (id, record, metadata(i))
    });
}

/// Appends samples with the ids, records and metadata that `sample` gives.
pub fn append_samples(
    store: &Store,
    name: &str,
    columns: Vec<ColumnSpec>,
    rows: usize,
    sample: impl Fn(usize) -> (String, String, Vec<MetaValue>),
) {
    let options = AppendOptions { command: format!("add {name}"), ..AppendOptions::default() };
    let mut append = store.append(&DatasetName::try_from(name).unwrap(), columns, options).unwrap();
    for i in 0..rows {
        let (id, record, metadata) = sample(i);
        append.push(NewSample { id: &id, record: Some(record.as_bytes()), metadata }).unwrap();
    }
    append.finish().unwrap();
}

fn encoding(template: &str) -> EncodingSpec {
    EncodingSpec {
        tokenizer: "0".repeat(64),
        template: template.into(),
        template_source: None,
        system: None,
        template_digest: None,
        max_length: 2048,
    }
}

fn encodings(store: &Store) {
    for (dataset, template, rows) in [("pool", "tulu", 12), ("extra", "tulu", 3), ("extra", "plain", 2)] {
        let identity = json!({"encode": dataset, "template": template});
        let mut job = start(store, &format!("encode {dataset} {template}"), identity, vec![]);
        let mut writer = job.encoding_writer(dataset, encoding(template), template).unwrap();
        for row in 0..rows {
            let tokens = 10 * row as u32 + 8;
            writer.push(TokenCount { row, tokens, scored: tokens / 2, truncated: row == 3 }).unwrap();
        }
        job.seal_encoding(writer).unwrap();
        job.publish(None, true).unwrap();
    }
}

fn checkpoint(step: u64) -> CheckpointId {
    CheckpointId::try_from(format!("{step:064x}").as_str()).unwrap()
}

pub fn description(
    dataset: &str,
    kind: &str,
    step: u64,
    projection: &str,
    dim: u32,
    dtype: DType,
) -> FeatureDesc {
    let template = if dataset == "bare" { "plain" } else { "tulu" };
    let space = Space {
        modules: "m".repeat(64),
        projection: projection.into(),
        ..Space::new(Family::Gradient, Some(checkpoint(step)), dim)
    };
    FeatureDesc::new(dataset, encoding(template).key(), kind, space, dtype)
}

/// Starts a job; `identity` tells it from others.
pub fn start(store: &Store, command: &str, identity: Value, features: Vec<JobFeature>) -> Job {
    let plan = JobPlan { command: command.into(), identity, features, detail: json!({}) };
    store.start_job(plan).unwrap()
}

/// The next of a row of numbers that are the same on every machine, below 2^24.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 40
}

/// The same from -0.5 up to 0.5.
pub fn centred(state: &mut u64) -> f32 {
    next(state) as f32 / 16_777_216.0 - 0.5
}

/// Vectors of small whole numbers, so that scores are the same on every machine. Rows 4 and 5
/// of the pool are equal.
fn vector(dataset: &str, kind: &str, row: u64, step: u64) -> [f32; DIM as usize] {
    let row = if (dataset, row) == ("pool", 5) { 4 } else { row };
    let mut state = (dataset.bytes().chain(kind.bytes()))
        .fold(step * 7919 + row * 104_729, |h, b| h.wrapping_mul(31) + u64::from(b));
    std::array::from_fn(|_| (next(&mut state) % 9) as f32 - 4.0)
}

fn flags(dataset: &str, row: u64) -> RowFlags {
    match (dataset, row) {
        ("pool", 10) => RowFlags::NO_SCORED,
        ("pool", 3) => RowFlags::TRUNCATED,
        _ => RowFlags::from_bits(0),
    }
}

fn features(store: &Store) {
    let wanted: [(&str, &str, u64, &str); 7] = [
        ("pool", "grad-adam", 12, "none"),
        ("pool", "grad-sgd", 12, "none"),
        ("extra", "grad-adam", 3, "none"),
        ("target", "grad-sgd", 4, "none"),
        ("other", "grad-sgd", 2, "none"),
        ("foreign", "grad-sgd", 2, "another"),
        ("holes", "grad-adam", 4, "none"),
    ];
    for (name, step, _) in CHECKPOINTS {
        let jobs = wanted.iter().map(|(dataset, kind, _, projection)| JobFeature {
            desc: description(dataset, kind, step, projection, DIM, DType::F32),
            attrs: FeatureAttrs::new(format!("{kind}@{name}"), DIM),
        });
        let mut job = start(store, &format!("ingest {name}"), json!({"step": step}), jobs.collect());
        for (i, (dataset, kind, rows, _)) in wanted.iter().enumerate() {
            let mut writer = job.segment_writer(i).unwrap();
            for row in (0..*rows).filter(|row| (*dataset, *row, step) != ("holes", 2, 2)) {
                let mut values = vector(dataset, kind, row, step);
                if (*dataset, row) == ("pool", 11) {
                    values[0] = f32::NAN;
                }
                writer.push(row, &values, flags(dataset, row)).unwrap();
            }
            job.seal(i, writer).unwrap();
        }
        job.publish(Some(run(&CHECKPOINTS[..step as usize])), true).unwrap();
    }
}

/// One to three tokens for each row of the pool, at the positions 1, 3 and 5; row 10 has none, one of row 11
/// is not finite, and rows 4 and 5 are equal. Of `grad-sign` there are only tokens.
fn tokens(store: &Store) {
    let kinds = ["grad-sgd", "grad-sign"];
    for (name, step, _) in CHECKPOINTS {
        let features = kinds.map(|kind| JobFeature {
            desc: FeatureDesc {
                granularity: Granularity::Token,
                ..description("pool", kind, step, "none", DIM, DType::F32)
            },
            attrs: FeatureAttrs::new(format!("{kind}-tokens@{name}"), DIM),
        });
        let command = format!("ingest tokens {name}");
        let mut job = start(store, &command, json!({"tokens": step}), features.into());
        for (i, kind) in kinds.iter().enumerate() {
            let mut writer = job.segment_writer(i).unwrap();
            for row in 0..12 {
                let positions: &[u32] = match row {
                    10 => &[0],
                    _ => &[1, 3, 5][..=(row / 2 % 3) as usize],
                };
                for pos in positions {
                    let mut values =
                        vector(&format!("pool{pos}"), kind, if row == 5 { 4 } else { row }, step);
                    if (row, *pos) == (11, 3) {
                        values[0] = f32::NAN;
                    }
                    writer.push_token((row, *pos), &values, flags("pool", row)).unwrap();
                }
            }
            job.seal(i, writer).unwrap();
        }
        job.publish(None, true).unwrap();
    }
}

pub fn run(checkpoints: &[(&str, u64, f64)]) -> RunUpdate {
    let checkpoint = |(name, step, weight): &(&str, u64, f64)| RunCheckpoint {
        name: (*name).into(),
        step: Some(*step),
        weight: Some(*weight),
        checkpoint: checkpoint(*step),
        base: "tiny".into(),
        provenance: Map::new(),
        extra: Map::new(),
    };
    RunUpdate {
        name: "warmup".into(),
        checkpoints: checkpoints.iter().map(checkpoint).collect(),
        replace_weights: true,
    }
}

/// A store of the size of a small real one: a pool, a target, f16 features at some checkpoints.
pub fn large(path: &Path, rows: usize, target_rows: usize, dim: u32, checkpoints: u64) {
    let store = Store::create(path).unwrap();
    let columns = || vec![ColumnSpec::inferred("source", ColumnType::Text)];
    for (name, rows) in [("pool", rows), ("target", target_rows)] {
        append(&store, name, columns(), rows, |i| {
            vec![MetaValue::Text(["math", "code", "chat"][i % 3].into())]
        });
    }
    for step in 1..=checkpoints {
        let sides = [("pool", "grad-adam", rows), ("target", "grad-sgd", target_rows)];
        let features = sides.iter().map(|(dataset, kind, _)| JobFeature {
            desc: description(dataset, kind, step, "none", dim, DType::F16),
            attrs: FeatureAttrs::new(format!("{kind}@checkpoint-{step}"), dim),
        });
        let mut job = start(&store, "ingest", json!({"step": step}), features.collect());
        let mut state = step;
        for (i, (_, _, rows)) in sides.iter().enumerate() {
            let mut writer = job.segment_writer(i).unwrap();
            for row in 0..*rows as u64 {
                let values: Vec<f32> = (0..dim).map(|_| centred(&mut state)).collect();
                writer.push(row, &values, RowFlags::from_bits(0)).unwrap();
            }
            job.seal(i, writer).unwrap();
        }
        let name = format!("checkpoint-{step}");
        job.publish(Some(run(&[(name.as_str(), step, 1.0)])), true).unwrap();
    }
}
