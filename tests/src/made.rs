//! Datasets with synthetic vectors, as an ingest would have left them.

use gstore_store::{
    AppendOptions, CheckpointId, DType, DatasetName, Family, FeatureAttrs, FeatureDesc, JobFeature, JobPlan,
    NewSample, RowFlags, Space, Store,
};
use serde_json::Value;

use crate::place::Place;

/// Numbers in -1..1, always the same.
pub struct Numbers(pub u64);

impl Numbers {
    /// So many of them.
    pub fn vector(&mut self, dim: u32) -> Vec<f32> {
        (0..dim).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// A pool and a target of so many rows, with vectors of 8 coordinates.
pub fn place(pool: u64, target: u64) -> Place {
    let place = Place::with_store();
    let store = place.store();
    for (dataset, rows) in [("pool", pool), ("target", target)] {
        append(&store, dataset, rows);
        let mut numbers = Numbers(rows);
        gradients(&store, dataset, rows, 8, |_| numbers.vector(8));
    }
    place
}

/// Adds samples to a dataset: `pool0`, `pool1` and so on, with records.
pub fn append(store: &Store, dataset: &str, rows: u64) {
    let options = AppendOptions { command: "test".into(), ..AppendOptions::default() };
    let name = DatasetName::try_from(dataset).expect("a name");
    let mut append = store.append(&name, Vec::new(), options).expect("an append");
    for row in 0..rows {
        let id = format!("{dataset}{row}");
        let record = format!("{{\"id\":\"{id}\",\"text\":\"{row}\"}}");
        let sample = NewSample { id: &id, record: Some(record.as_bytes()), metadata: Vec::new() };
        append.push(sample).expect("a sample");
    }
    append.finish().expect("samples");
}

/// Gives the first `rows` samples of a dataset a feature `grad-sgd` of one checkpoint.
pub fn gradients(store: &Store, dataset: &str, rows: u64, dim: u32, vector: impl FnMut(u64) -> Vec<f32>) {
    publish(store, dataset, 0..rows, feature(dataset, dim, "none"), vector);
}

/// The same as projected gradients, whose scores have a noise that is known.
pub fn projected(store: &Store, dataset: &str, rows: u64, dim: u32, vector: impl FnMut(u64) -> Vec<f32>) {
    publish(store, dataset, 0..rows, feature(dataset, dim, "p"), vector);
}

/// Gives samples of a dataset a feature, such as a changed [`feature`].
pub fn publish(
    store: &Store,
    dataset: &str,
    rows: impl IntoIterator<Item = u64>,
    feature: JobFeature,
    mut vector: impl FnMut(u64) -> Vec<f32>,
) {
    let plan = JobPlan {
        command: "test".into(),
        identity: serde_json::json!(dataset),
        features: vec![feature],
        detail: Value::Null,
    };
    let mut job = store.start_job(plan).expect("a job");
    let mut writer = job.segment_writer(0).expect("a segment");
    for row in rows {
        writer.push(row, &vector(row), RowFlags::empty()).expect("a vector");
    }
    job.seal(0, writer).expect("sealed");
    job.publish(None, true).expect("published");
}

/// A feature `grad-sgd` of one checkpoint.
pub fn feature(dataset: &str, dim: u32, projection: &str) -> JobFeature {
    let id = CheckpointId::try_from(format!("{:064x}", 1)).expect("an id");
    let space = Space {
        modules: "m".into(),
        projection: projection.into(),
        ..Space::new(Family::Gradient, Some(id), dim)
    };
    let desc = FeatureDesc::new(dataset, "e", "grad-sgd", space, DType::F16);
    JobFeature { desc, attrs: FeatureAttrs::new("grad-sgd-sample".to_owned(), dim) }
}
