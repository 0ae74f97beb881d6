//! Import of vectors: stores vectors that another program computed.
//!
//! `cargo run -p gstore --example put_vectors -- STORE`, where STORE is the folder to make.

use std::error::Error;
use std::path::Path;

use gstore::{
    AppendOptions, CheckpointId, DType, DatasetName, Family, FeatureAttrs, FeatureDesc, JobFeature, JobPlan,
    NewSample, RowFlags, Space, Store, sha256_hex,
};
use serde_json::{Value, json};

/// Makes a dataset `points` of eight samples with a vector of two coordinates each.
pub fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    let store = Store::open_or_create(path)?;
    let command = "put_vectors example".to_owned();
    let mut samples = store.append(
        &DatasetName::try_from("points")?,
        Vec::new(),
        AppendOptions { command: command.clone(), ..AppendOptions::default() },
    )?;
    for i in 0..8 {
        samples.push(NewSample { id: &format!("p{i}"), record: None, metadata: Vec::new() })?;
    }
    samples.finish()?;

    // What the vectors are: two features can be compared if their spaces are equal.
    let model = CheckpointId::try_from(sha256_hex(b"my embedding model").as_str())?;
    let space = Space::new(Family::Embedding, Some(model), 2);
    let desc = FeatureDesc::new("points", "", "embed-mean", space, DType::F32);
    let feature = JobFeature { attrs: FeatureAttrs::new("mine", desc.dim()), desc };
    let identity = json!({ "put": "points", "feature": feature.desc.key() });
    let mut job =
        store.start_job(JobPlan { command, identity, features: vec![feature], detail: Value::Null })?;
    let mut segment = job.segment_writer(0)?;
    for row in 0..8u32 {
        let angle = row as f32 / 8.0;
        segment.push(row.into(), &[angle.cos(), angle.sin()], RowFlags::empty())?;
    }
    job.seal(0, segment)?;
    job.publish(None, true)?;
    Ok(())
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which store?")?;
    run(Path::new(&path))
}
