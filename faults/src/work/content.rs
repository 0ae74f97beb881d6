//! Generated samples and features of the workload.
//!
//! Everything follows from an id, a version and a row, so that any process can tell what should be stored.

use gstore_store::*;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A feature of the workload.
#[derive(Debug)]
pub struct FeatureDef {
    /// Its dataset.
    pub dataset: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its type.
    pub dtype: DType,
    /// Its length.
    pub dim: u32,
    /// Whether a row has several vectors.
    pub granularity: Granularity,
}

/// The datasets.
pub const DATASETS: [&str; 2] = ["pool", "side"];

/// The features. Each type and each granularity occurs.
pub const FEATURES: [FeatureDef; 5] = [
    FeatureDef::new("pool", "grad-sgd", DType::F16, 6, Granularity::Sample),
    FeatureDef::new("pool", "grad-adam", DType::F32, 8, Granularity::Sample),
    FeatureDef::new("pool", "embedding", DType::I1, 160, Granularity::Sample),
    FeatureDef::new("side", "grad-sgd", DType::I8, 9, Granularity::Token),
    FeatureDef::new("side", "loss", DType::F32, 1, Granularity::Sample),
];

impl FeatureDef {
    const fn new(
        dataset: &'static str,
        kind: &'static str,
        dtype: DType,
        dim: u32,
        granularity: Granularity,
    ) -> Self {
        FeatureDef { dataset, kind, dtype, dim, granularity }
    }
}

/// A digest of a value, the same in every process.
pub fn digest(value: &impl Hash) -> u64 {
    let mut hash = DefaultHasher::new();
    value.hash(&mut hash);
    hash.finish()
}

/// The name of a sample.
pub fn id_of(id: u64) -> String {
    format!("s{id}")
}

/// The record of a sample in one of its versions.
pub fn record_of(id: u64, version: u32) -> Vec<u8> {
    let long = "storage ".repeat((id % 7) as usize);
    format!("{{\"id\": \"s{id}\",  \"version\": {version}, \"text\": \"sample {id} é {long}\"}}").into_bytes()
}

/// The metadata of a sample: a text and an integer.
pub fn metadata_of(id: u64, version: u32) -> (String, i64) {
    (format!("task{}", id % 3), id as i64 * 10 + i64::from(version))
}

/// The columns of every append.
pub fn columns() -> Vec<ColumnSpec> {
    vec![ColumnSpec::inferred("subtask", ColumnType::Text), ColumnSpec::inferred("n", ColumnType::Int)]
}

/// The digest of a sample's record and metadata.
pub fn sample_digest(record: &[u8], metadata: &(String, i64)) -> u64 {
    digest(&(record, metadata))
}

/// The token counts of a row with this content.
pub fn count_of(row: u64, content: u64) -> TokenCount {
    TokenCount {
        row,
        tokens: content as u32 >> 8,
        scored: content as u32 & 255,
        truncated: content.is_multiple_of(5),
    }
}

/// The digest of a row's token counts.
pub fn count_digest(c: &TokenCount) -> u64 {
    digest(&(c.row, c.tokens, c.scored, c.truncated))
}

/// The file of an artifact with this content, if it has one: every second one does.
pub fn artifact_file(content: u32) -> Option<Vec<u8>> {
    content.is_multiple_of(2).then(|| format!("factors {content} ").repeat(9).into_bytes())
}

/// An artifact as one text: its content, and the name and digest of each of its files.
pub fn artifact_text(content: &serde_json::Value, files: &[(String, Vec<u8>)]) -> String {
    let files = files.iter().map(|(name, bytes)| format!(" {name} {:x}", digest(bytes)));
    std::iter::once(content.to_string()).chain(files).collect()
}

/// The encoding of every feature.
pub fn encoding() -> EncodingSpec {
    EncodingSpec {
        tokenizer: sha256_hex(b"tokenizer"),
        template: "tulu".into(),
        template_source: None,
        system: None,
        template_digest: None,
        max_length: 2048,
    }
}

/// A checkpoint.
pub fn checkpoint(n: u8) -> Result<CheckpointId, Box<dyn std::error::Error + Send + Sync>> {
    CheckpointId::try_from(format!("{n:064x}")).map_err(|e| e.to_string().into())
}

fn groups(dim: u32) -> Vec<ModuleGroup> {
    if dim < 4 {
        return FeatureAttrs::new("", dim).groups;
    }
    let half = dim / 2;
    vec![
        ModuleGroup { name: "a".into(), start: 0, len: half },
        ModuleGroup { name: "b".into(), start: half, len: dim - half },
    ]
}

/// A feature as a job describes it.
pub fn feature(index: usize) -> Result<JobFeature, Box<dyn std::error::Error + Send + Sync>> {
    let def = FEATURES.get(index).ok_or("the workload has no such feature")?;
    let space = Space {
        modules: sha256_hex(b"modules"),
        ..Space::new(Family::Gradient, Some(checkpoint(7)?), def.dim)
    };
    let desc = FeatureDesc {
        granularity: def.granularity,
        ..FeatureDesc::new(def.dataset, encoding().key(), def.kind, space, def.dtype)
    };
    let mut attrs = FeatureAttrs::new(label(index), def.dim);
    attrs.groups = groups(def.dim);
    Ok(JobFeature { desc, attrs })
}

/// The label of a feature, which identifies it in the model.
pub fn label(index: usize) -> String {
    FEATURES.get(index).map_or_else(String::new, |d| format!("{}@{}", d.kind, d.dataset))
}

/// The vector of a sample with this content. Whole numbers up to 127, and 127 in every group: each type
/// stores them exactly. Where signs are stored, the inverse rotation of 127 and -127: the rotation of 80
/// coordinates scales by powers of two only (64 and 16 have integer roots) and rounds nothing.
fn vector(index: usize, content: u64) -> Vec<f32> {
    let Some(FeatureDef { dim, dtype, .. }) = FEATURES.get(index) else { return Vec::new() };
    let dim = *dim;
    let mut random = crate::Random::of(&[index as u64, content]);
    if *dtype == DType::I1 {
        let mut out: Vec<f32> = (0..dim).map(|_| if random.chance(50) { -127.0 } else { 127.0 }).collect();
        out.chunks_mut(dim as usize / 2).for_each(|group| SignRotation::of(*dtype).rotate_back(group));
        return out;
    }
    let mut out: Vec<f32> = (0..dim).map(|_| random.below(255) as f32 - 127.0).collect();
    for group in groups(dim) {
        if let Some(first) = out.get_mut(group.start as usize) {
            *first = 127.0;
        }
    }
    out
}

/// The vectors of a sample with this content: one, or one per token with positions, of up to three.
pub fn vectors(index: usize, content: u64) -> Vec<(Option<u32>, Vec<f32>)> {
    match FEATURES.get(index).map(|d| d.granularity) {
        Some(Granularity::Token) => {
            let tokens = (content % 4).max(1);
            (0..tokens)
                .map(|t| (Some(2 * t as u32 + 1), vector(index, content.wrapping_add(t << 32))))
                .collect()
        }
        _ => vec![(None, vector(index, content))],
    }
}

/// Its flags.
pub fn flags(content: u64) -> RowFlags {
    if content.is_multiple_of(5) { RowFlags::TRUNCATED } else { RowFlags::empty() }
}

/// The digest of a vector with its position and its flags.
pub fn vector_digest(pos: Option<u32>, vector: &[f32], flags: u8) -> u64 {
    let bits: Vec<u32> = vector.iter().map(|v| v.to_bits()).collect();
    digest(&(pos, bits, flags))
}
