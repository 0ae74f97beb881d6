//! Samples with long records and many tokens: what is read of a sample once does not become as
//! much as there are tokens.

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{UInt32Type, UInt64Type};
use futures::StreamExt;
use gstore_sql::{SqlOptions, SqlSession};
use gstore_store::{
    ColumnSpec, ColumnType, DType, FeatureAttrs, FeatureDesc, Granularity, JobFeature, MetaValue, RowFlags,
    Snapshot, Store,
};

use crate::fixture;

const ROWS: usize = 8;
const TOKENS: u32 = 1_100;
/// With the record of its sample each, the tokens are more than a column of text can hold,
/// and more than one batch.
const RECORD: usize = 300_000;

/// What a batch of the result may take: 16 MiB of text, and the other columns.
const MOST: usize = 17 << 20;

fn store(path: &Path) -> Arc<Snapshot> {
    let store = Store::create(path).unwrap();
    for (name, rows, length) in [("pool", ROWS, RECORD), ("target", 1, 8)] {
        let columns = vec![ColumnSpec::inferred("source", ColumnType::Text)];
        fixture::append_samples(&store, name, columns, rows, |i| {
            (format!("{name}{i}"), record(i as u64, length), vec![MetaValue::Text("web".into())])
        });
    }
    let feature = |dataset, granularity, label: &str| JobFeature {
        desc: FeatureDesc {
            granularity,
            ..fixture::description(dataset, "grad-sgd", 1, "none", 1, DType::F32)
        },
        attrs: FeatureAttrs::new(label, 1),
    };
    let features = vec![
        feature("pool", Granularity::Token, "grad-sgd-tokens@checkpoint-1"),
        feature("target", Granularity::Sample, "grad-sgd@checkpoint-1"),
    ];
    let mut job = fixture::start(&store, "ingest", serde_json::json!({}), features);
    let mut writer = job.segment_writer(0).unwrap();
    for row in 0..ROWS as u64 {
        for pos in 1..=TOKENS {
            // The best tokens of a sample come after the best of the others.
            let value = (u64::from(pos) * ROWS as u64 + row) as f32;
            writer.push_token((row, pos), &[value], RowFlags::from_bits(0)).unwrap();
        }
    }
    job.seal(0, writer).unwrap();
    let mut writer = job.segment_writer(1).unwrap();
    writer.push(0, &[1.0], RowFlags::from_bits(0)).unwrap();
    job.seal(1, writer).unwrap();
    job.publish(Some(fixture::run(&[("checkpoint-1", 1, 1.0)])), true).unwrap();
    store.snapshot().unwrap()
}

fn record(row: u64, length: usize) -> String {
    let digits = row.to_string();
    format!("{}{digits}", "0".repeat(length - digits.len()))
}

/// Row, position and record of every result in turn.
async fn each(session: &SqlSession, sql: &str, mut see: impl FnMut(u64, u32, &str)) {
    let mut rows = session.run(sql).await.unwrap().stream;
    while let Some(batch) = rows.next().await {
        let batch: RecordBatch = batch.unwrap();
        assert!(batch.get_array_memory_size() < MOST, "{} bytes", batch.get_array_memory_size());
        let numbers = batch.column(0).as_primitive::<UInt64Type>().values();
        let positions = batch.column(1).as_primitive::<UInt32Type>().values();
        let records = batch.column(2).as_string::<i32>();
        numbers.iter().zip(positions).zip(records).for_each(|((row, pos), r)| see(*row, *pos, r.unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_not_multiplied_by_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqlOptions { threads: 2, ..SqlOptions::default() };
    let session = SqlSession::new(store(&folder.path().join("store")), options).unwrap();
    let records: Vec<String> = (0..ROWS as u64).map(|row| record(row, RECORD)).collect();
    let relation = "influence('pool', 'target', per_token => true, sim => 'dot')";
    let all: Vec<(u64, u32)> =
        (0..ROWS as u64).flat_map(|row| (1..=TOKENS).map(move |pos| (row, pos))).collect();

    let mut seen = Vec::new();
    each(&session, &format!("SELECT row, pos, record FROM {relation}"), |row, pos, record| {
        assert_eq!(record, records[row as usize]);
        seen.push((row, pos));
    })
    .await;
    assert_eq!(seen, all);

    // Ranked, so that a batch has all samples in turn; and kept by what is known only after scoring,
    // together with the record.
    let sql = format!(
        "SELECT row, pos, record FROM {relation} WHERE record <> CAST(score AS VARCHAR) ORDER BY score DESC LIMIT 8500"
    );
    let mut seen = Vec::new();
    each(&session, &sql, |row, pos, record| {
        assert_eq!(record.len(), RECORD);
        assert!(record.ends_with(&row.to_string()));
        seen.push((row, pos));
    })
    .await;
    let mut best = all;
    best.sort_by_key(|(row, pos)| std::cmp::Reverse((*pos, *row)));
    assert_eq!(seen, best[..8500]);
}
