//! A small store with one of everything: two datasets, rows with and without records, two encodings, features
//! of every storage type with gaps, several segments and blocks that two jobs wrote, a run of two
//! checkpoints, several snapshots.
//!
//! `tests/formats/v1` was made by [`build`]. What a later version adds gets steps of its own behind these, so
//! that a store of the kind that is kept already can still be made for comparison.

use super::*;
use serde_json::Value;
use std::ops::Range;

/// Enough samples that rows lie in two cells, so that a segment has two blocks.
pub const SAMPLES: u64 = 4_104;
/// Those with a record.
const RECORDS: u64 = 24;

pub fn short_spec() -> EncodingSpec {
    EncodingSpec { template: "plain".into(), max_length: 16, ..encoding_spec() }
}

/// The features: one of each storage type, and one of another dataset.
pub fn features() -> Vec<JobFeature> {
    let mut all = vec![
        feature("grad-adam", 6, DType::F16),
        feature("grad-sgd", 3, DType::F32),
        feature("embed-mean", 5, DType::I8),
        feature("loss", 1, DType::F32),
    ];
    all[3].desc.dataset = "task".into();
    all[3].desc.encoding = short_spec().key();
    all
}

fn append(store: &Store, dataset: &str, rows: Range<u64>, columns: Vec<ColumnSpec>) {
    let later = columns.len() > 2;
    let name = DatasetName::try_from(dataset).unwrap();
    let mut append = store.append(&name, columns, options(&format!("add --dataset {dataset}"))).unwrap();
    for i in rows {
        let line = record(i);
        let record = (!(RECORDS..SAMPLES).contains(&i)).then_some(&*line);
        let mut metadata = vec![MetaValue::Text(format!("task{}", i % 3)), MetaValue::Int(i as i64 - 5)];
        if later {
            metadata.push(MetaValue::Float(i as f64 / 4.0));
            metadata.push(if i % 3 == 0 { MetaValue::Null } else { MetaValue::Bool(i % 2 == 0) });
        }
        append.push(NewSample { id: &format!("s{i}"), record, metadata }).unwrap();
    }
    append.finish().unwrap();
}

/// Seals a segment; a few rows have flags, one is not finite, one is all zero.
fn seal_rows(job: &mut Job, feature: usize, rows: impl IntoIterator<Item = u64>) {
    let dim = job.features()[feature].desc.dim();
    let mut w = job.segment_writer(feature).unwrap();
    for row in rows {
        let (v, flags) = match row {
            3 => (vec![f32::NAN; dim as usize], RowFlags::empty()),
            5 => (vec![0.0; dim as usize], RowFlags::NO_SCORED),
            6 => (vector(row, dim), RowFlags::TRUNCATED),
            _ => (vector(row, dim), RowFlags::empty()),
        };
        w.push(row, &v, flags).unwrap();
    }
    job.seal(feature, w).unwrap();
}

fn seal_counts(job: &mut Job, dataset: &str, spec: EncodingSpec, label: &str, rows: Range<u64>) {
    let mut w = job.encoding_writer(dataset, spec, label).unwrap();
    for row in rows {
        let tokens = 10 + (row * 7 % 50) as u32;
        w.push(TokenCount { row, tokens, scored: tokens / 2, truncated: row % 5 == 0 }).unwrap();
    }
    job.seal_encoding(w).unwrap();
}

fn run(name: &str, step: u64, weight: Option<f64>, id: u8) -> RunUpdate {
    let mut provenance = Map::new();
    provenance.insert("source".into(), json!("trainer_state.json"));
    let checkpoint = RunCheckpoint {
        name: name.into(),
        step: Some(step),
        weight,
        checkpoint: checkpoint(id),
        base: "tiny-llama".into(),
        provenance,
        extra: Extra::new(),
    };
    RunUpdate { name: "warmup".into(), checkpoints: vec![checkpoint], replace_weights: false }
}

/// Makes the store.
pub fn build(path: &Path) -> Store {
    let all = features();
    let store = Store::create(path).unwrap();
    append(&store, "pool", 0..SAMPLES, columns());
    append(&store, "task", 0..6, columns());
    let mut job = store.start_job(plan(all[..2].to_vec())).unwrap();
    seal_rows(&mut job, 0, 0..8);
    seal_rows(&mut job, 0, [8, 10, 11, 40]);
    seal_rows(&mut job, 0, 4_090..4_100);
    seal_rows(&mut job, 1, (0..20).filter(|r| r % 7 != 4));
    seal_counts(&mut job, "pool", encoding_spec(), "tulu", 0..24);
    job.publish(Some(run("checkpoint-7", 7, Some(2e-5), 7)), false).unwrap();
    let mut wide = columns();
    wide.push(ColumnSpec::declared("score", ColumnType::Float));
    wide.push(ColumnSpec::declared("ok", ColumnType::Bool));
    append(&store, "pool", SAMPLES..SAMPLES + 6, wide);
    let mut job = store.start_job(plan(all[1..].to_vec())).unwrap();
    seal_rows(&mut job, 0, 4_094..SAMPLES + 6);
    seal_rows(&mut job, 1, (0..30).filter(|r| *r != 9));
    seal_rows(&mut job, 1, [4_095, 4_096, 4_108]);
    seal_rows(&mut job, 2, 0..6);
    seal_counts(&mut job, "pool", encoding_spec(), "tulu", SAMPLES..SAMPLES + 6);
    seal_counts(&mut job, "pool", short_spec(), "plain", 0..10);
    seal_counts(&mut job, "task", short_spec(), "plain", 0..6);
    job.publish(Some(run("checkpoint-14", 14, None, 9)), true).unwrap();
    store
}

/// What the store holds, through the public readers, as JSON that a later version must find again.
pub fn describe(store: &Store) -> Value {
    let mut snapshots = Vec::new();
    for info in store.history().unwrap() {
        let snapshot = store.snapshot_at(info.number).unwrap();
        let features: Map<String, Value> = snapshot
            .features()
            .iter()
            .map(|f| (f.display_name(), json!(snapshot.open_feature(f).unwrap().content_digest().unwrap())))
            .collect();
        let samples: Map<String, Value> = snapshot
            .datasets()
            .iter()
            .map(|d| (d.name.clone(), json!(sample_digest(&snapshot.samples(d).unwrap()))))
            .collect();
        snapshots.push(json!({"number": info.number, "command": info.command, "changes": info.changes,
            "samples": samples, "features": features}));
    }
    let now = store.snapshot().unwrap();
    json!({
        "store": now.info().store.to_string(),
        "snapshots": snapshots,
        "datasets": now.datasets().iter().map(|d| dataset_of(&now, d)).collect::<Vec<_>>(),
        "features": now.features().iter().map(|f| feature_of(&now, f)).collect::<Vec<_>>(),
        "artifacts": artifacts::describe(&now),
        "runs": now.runs().iter().map(|r| json!({
            "name": r.name,
            "checkpoints": r.checkpoints.iter().map(|c| json!({"name": c.name, "step": c.step,
                "weight": c.weight, "checkpoint": c.checkpoint.to_string(), "base": c.base,
                "provenance": c.provenance})).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

/// SHA-256 over the rows: each as row, id, record in hex (`-` where there is none) and
/// each value by its type.
fn sample_digest(reader: &SampleReader) -> String {
    let schema = reader.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut text = names.join("\t");
    for batch in reader.scan(&names, None) {
        lines(&batch.unwrap(), &mut text);
    }
    sha256_hex(text.as_bytes())
}

fn lines(batch: &arrow_array::RecordBatch, text: &mut String) {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
    use arrow_schema::DataType;
    for i in 0..batch.num_rows() {
        text.push('\n');
        for c in batch.columns() {
            let value = match c.data_type() {
                _ if c.is_null(i) => "-".to_owned(),
                DataType::UInt64 => c.as_primitive::<UInt64Type>().value(i).to_string(),
                DataType::Int64 => c.as_primitive::<Int64Type>().value(i).to_string(),
                DataType::Float64 => format!("{:016x}", c.as_primitive::<Float64Type>().value(i).to_bits()),
                DataType::Boolean => c.as_boolean().value(i).to_string(),
                DataType::Utf8 => format!("{:?}", c.as_string::<i32>().value(i)),
                DataType::Binary => {
                    c.as_binary::<i32>().value(i).iter().map(|b| format!("{b:02x}")).collect()
                }
                other => panic!("no text for {other}"),
            };
            text.push_str(&value);
            text.push('\t');
        }
    }
}

fn dataset_of(snapshot: &Snapshot, d: &DatasetPart) -> Value {
    use arrow_array::cast::AsArray;
    let reader = snapshot.samples(d).unwrap();
    let some = reader.get(&[4, 0, 5], &["id", "record"]).unwrap();
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    json!({
        "name": d.name, "rows": d.rows, "next_row": d.next_row, "columns": d.columns,
        "live": snapshot.live_rows(d).unwrap().to_string(),
        "rows 4, 0, 5": (0..3).map(|i| json!([some.column(0).as_string::<i32>().value(i),
            text(some.column(1).as_binary::<i32>().value(i))])).collect::<Vec<_>>(),
        "encodings": d.encodings.iter().map(|e| {
            let counts = snapshot.encoding(e).unwrap().counts(0..u64::MAX).unwrap();
            json!({"label": e.label, "key": e.key, "rows": e.rows().to_string(),
                "tokens": counts.iter().map(|c| c.tokens).sum::<u32>(),
                "scored": counts.iter().map(|c| c.scored).sum::<u32>(),
                "truncated": counts.iter().filter(|c| c.truncated).map(|c| c.row).collect::<Vec<_>>()})
        }).collect::<Vec<_>>(),
    })
}

fn feature_of(snapshot: &Snapshot, f: &FeaturePart) -> Value {
    let reader = snapshot.open_feature(f).unwrap();
    let rows = reader.row_set().unwrap();
    let bits = |v: &[f32]| v.iter().map(|x| format!("{:08x}", x.to_bits())).collect::<Vec<_>>();
    let some: Map<String, Value> = rows
        .iter()
        .step_by(5)
        .take(6)
        .map(|row| {
            let value = |stored: &StoredRow| {
                let mut value = json!({"vector": bits(&stored.vector), "norm": bits(&stored.norm),
                    "flags": stored.flags.bits()});
                if let Some(pos) = stored.pos {
                    value["pos"] = json!(pos);
                }
                value
            };
            match f.desc.granularity {
                Granularity::Sample => (row.to_string(), value(&reader.row(row).unwrap().unwrap())),
                Granularity::Token => {
                    (row.to_string(), reader.row_vectors(row).unwrap().iter().map(value).collect())
                }
            }
        })
        .collect();
    let mut described = json!({
        "name": f.display_name(), "key": f.key, "dtype": f.desc.dtype.name(), "dim": f.desc.dim(),
        "rows": rows.to_string(), "state": f.state, "segments": f.segments.len(),
        "content_digest": reader.content_digest().unwrap(), "some": some,
    });
    let found = reader.segments().iter().map(|s| reader.index(s, indexes::KIND).unwrap());
    let found: Vec<Value> = found.flatten().map(|index| index_of(&index)).collect();
    if !found.is_empty() {
        described["indexes"] = found.into();
    }
    described
}

/// Header and sections, these as SHA-256.
fn index_of(index: &IndexFile) -> Value {
    let read = indexes::read_all(index).unwrap();
    let sections = index.sections().zip(read).map(|(name, bytes)| json!([name, sha256_hex(&bytes)]));
    json!({"kind": index.kind(), "header": index.header(), "sections": sections.collect::<Vec<_>>()})
}
