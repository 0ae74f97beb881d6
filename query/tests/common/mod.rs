//! Small stores made from arrays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstore_core::{Cancel, MIX_STEP, mix};
use gstore_query::influence::*;
use gstore_store::*;

#[path = "../../../store/tests/common/altered.rs"]
pub mod altered;
#[path = "../../../store/tests/common/cold.rs"]
#[allow(dead_code)]
pub mod cold;
pub mod memory;
pub mod pair_scores;
pub mod sketches;
#[path = "../../../data/tests/support/mod.rs"]
pub mod support;
pub mod trouble;
pub mod world;

pub static GO: Cancel = Cancel::new();

/// The folder of the reference results of this name (`GSTORE_SHARED`, default `../shared` next to the
/// workspace). With `CI` set its absence fails.
pub fn golden(name: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared = std::env::var_os("GSTORE_SHARED").unwrap_or_else(|| "../shared".into());
    let folder = workspace.join(shared).join("golden").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is not there, and CI is set", folder.display());
    eprintln!("skipped: no reference folder at {} (set GSTORE_SHARED)", folder.display());
    None
}

/// A row of a feature: its vector and flags; `None` where the feature lacks the row.
pub type Row = Option<(Vec<f32>, u8)>;

/// What a feature has for the tokens of a row: position, vector and flags of each; `None` where the
/// feature lacks the row.
pub type TokenRow = Option<Vec<(u32, Vec<f32>, u8)>>;

/// Row and, of a token, position of a vector.
type Key = (u64, Option<u32>);

/// The vectors of one dataset at one checkpoint.
#[derive(Debug, Clone)]
pub struct Feature {
    pub dataset: String,
    pub kind: String,
    pub checkpoint: usize,
    pub rows: Vec<Row>,
    /// Instead of `rows`, vectors of tokens.
    pub tokens: Option<Vec<TokenRow>>,
    pub dtype: DType,
    pub rotation: SignRotation,
    /// Lengths of the module groups; empty: one group.
    pub groups: Vec<u32>,
    /// Number of rows after which a new segment begins.
    pub cut: usize,
    pub projection: String,
    /// Whose 64-fold repetition is the encoding's key.
    pub encoding: char,
    pub complete: bool,
    pub change: fn(&mut FeatureAttrs),
}

impl Feature {
    pub fn new(dataset: &str, kind: &str, checkpoint: usize, rows: Vec<Row>) -> Self {
        Self {
            dataset: dataset.into(),
            kind: kind.into(),
            checkpoint,
            rows,
            tokens: None,
            dtype: DType::F32,
            rotation: SignRotation::None,
            groups: Vec::new(),
            cut: usize::MAX,
            projection: "none".into(),
            encoding: 'e',
            complete: true,
            change: |_| {},
        }
    }

    pub fn of_tokens(dataset: &str, kind: &str, checkpoint: usize, tokens: Vec<TokenRow>) -> Self {
        Self { tokens: Some(tokens), ..Self::new(dataset, kind, checkpoint, Vec::new()) }
    }

    fn dim(&self) -> u32 {
        let rows = self.rows.iter().flatten().map(|(vector, _)| vector);
        let tokens = self.tokens.iter().flatten().flatten().flatten().map(|(_, vector, _)| vector);
        rows.chain(tokens).map(|vector| vector.len() as u32).next().unwrap_or(1)
    }

    /// Row and, of tokens, position of each vector, in order.
    fn vectors(&self) -> Vec<(Key, &[f32], RowFlags)> {
        let mut all = Vec::new();
        for (row, stored) in self.rows.iter().enumerate() {
            let stored =
                stored.iter().map(|(v, flags)| ((row as u64, None), &v[..], RowFlags::from_bits(*flags)));
            all.extend(stored);
        }
        for (row, tokens) in self.tokens.iter().flatten().enumerate() {
            let tokens = tokens.iter().flatten();
            all.extend(
                tokens.map(|(pos, v, flags)| ((row as u64, Some(*pos)), &v[..], RowFlags::from_bits(*flags))),
            );
        }
        all
    }

    pub fn desc(&self) -> FeatureDesc {
        let embedding = self.kind.starts_with("embed");
        let family = match self.kind.as_str() {
            "loss" => Family::Loss,
            _ if embedding => Family::Embedding,
            _ => Family::Gradient,
        };
        let space = Space {
            modules: if embedding { String::new() } else { "m".repeat(64) },
            projection: self.projection.clone(),
            loss: "cross_entropy".into(),
            ..Space::new(family, Some(checkpoint_id(self.checkpoint)), self.dim())
        };
        let encoding = self.encoding.to_string().repeat(64);
        FeatureDesc {
            granularity: match self.tokens {
                Some(_) => Granularity::Token,
                None => Granularity::Sample,
            },
            rotation: self.rotation,
            ..FeatureDesc::new(&self.dataset, encoding, self.kind.as_str(), space, self.dtype)
        }
    }

    pub fn attrs(&self) -> FeatureAttrs {
        let of = if self.tokens.is_some() { "-tokens" } else { "" };
        let label = format!("{}{of}@{}", self.kind, checkpoint_name(self.checkpoint));
        let mut attrs = FeatureAttrs::new(label, self.dim());
        if !self.groups.is_empty() {
            let mut start = 0;
            attrs.groups = self
                .groups
                .iter()
                .enumerate()
                .map(|(i, &len)| {
                    start += len;
                    ModuleGroup { name: format!("module{i}"), start: start - len, len }
                })
                .collect();
        }
        (self.change)(&mut attrs);
        attrs
    }
}

pub fn checkpoint_id(c: usize) -> CheckpointId {
    CheckpointId::try_from(format!("{:064x}", 0xabc0 + c)).unwrap()
}

pub fn checkpoint_name(c: usize) -> String {
    format!("checkpoint-{}", 100 * (c + 1))
}

pub fn present(vectors: &[Vec<f32>]) -> Vec<Row> {
    vectors.iter().map(|vector| Some((vector.clone(), 0))).collect()
}

/// Gradients of a pool and of its target.
pub fn gradients(pool: &[Vec<f32>], target: &[Vec<f32>]) -> [Feature; 2] {
    [("pool", pool), ("val", target)]
        .map(|(dataset, vectors)| Feature::new(dataset, "grad-sgd", 0, present(vectors)))
}

pub struct TestStore {
    pub store: Store,
    folder: tempfile::TempDir,
}

impl TestStore {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: Store::create(folder.path().join("store")).unwrap(), folder }
    }

    /// A store with datasets of so many samples, without metadata.
    pub fn with(datasets: &[(&str, usize)]) -> Self {
        let store = Self::new();
        for (name, rows) in datasets {
            store.dataset(name, *rows);
        }
        store
    }

    /// A store of features, each of another dataset, and of these datasets.
    pub fn of(features: &[Feature]) -> Self {
        let store = Self::new();
        for feature in features {
            let rows = feature.tokens.as_ref().map_or(feature.rows.len(), Vec::len);
            store.dataset(&feature.dataset, rows);
        }
        store.features(features, None);
        store
    }

    /// The first feature of the dataset `pool`.
    pub fn reader(&self) -> FeatureReader {
        let snapshot = self.snapshot();
        snapshot.open_feature(snapshot.features_of("pool")[0]).unwrap()
    }

    /// Deletes rows of the dataset `pool`.
    pub fn delete(&self, rows: impl IntoIterator<Item = u64>) {
        self.delete_from("pool", rows);
    }

    pub fn delete_from(&self, dataset: &str, rows: impl IntoIterator<Item = u64>) {
        let snapshot = self.snapshot();
        let (dataset, rows) = (snapshot.dataset(dataset).unwrap(), RowSet::from_rows(rows));
        self.store.delete(dataset, &rows, DeleteOptions::default()).unwrap();
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("store")
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.store.snapshot().unwrap()
    }

    /// Appends `rows` samples without metadata.
    pub fn dataset(&self, name: &str, rows: usize) -> &Self {
        let from = self.snapshot().dataset(name).map_or(0, |d| d.next_row);
        self.append(name, (0..rows).map(|i| (format!("{name}_{}", from + i as u64), None)).collect())
    }

    /// Appends samples, each with its subtask; `None` is null.
    pub fn dataset_of(&self, name: &str, subtasks: &[Option<&str>]) -> &Self {
        let samples = subtasks.iter().enumerate();
        self.append(name, samples.map(|(i, s)| (format!("{name}_{i}"), Some(s.map(str::to_owned)))).collect())
    }

    fn append(&self, name: &str, samples: Vec<(String, Option<Option<String>>)>) -> &Self {
        let with_column = samples.first().is_some_and(|(_, subtask)| subtask.is_some());
        let columns =
            if with_column { vec![ColumnSpec::inferred("subtask", ColumnType::Text)] } else { Vec::new() };
        let options = AppendOptions { command: "test".into(), ..AppendOptions::default() };
        let mut append = self.store.append(&DatasetName::try_from(name).unwrap(), columns, options).unwrap();
        for (id, subtask) in samples {
            let metadata = subtask.into_iter().map(|s| s.map_or(MetaValue::Null, MetaValue::Text)).collect();
            append.push(NewSample { id: &id, record: None, metadata }).unwrap();
        }
        append.finish().unwrap();
        self
    }

    /// Registers a run of checkpoints `0..weights.len()`.
    pub fn run(&self, name: &str, weights: &[Option<f64>]) -> RunUpdate {
        let checkpoints = weights
            .iter()
            .enumerate()
            .map(|(c, weight)| RunCheckpoint {
                name: checkpoint_name(c),
                step: Some(100 * (c as u64 + 1)),
                weight: *weight,
                checkpoint: checkpoint_id(c),
                base: "model".into(),
                provenance: Default::default(),
                extra: Default::default(),
            })
            .collect();
        RunUpdate { name: name.into(), checkpoints, replace_weights: true }
    }

    pub fn features(&self, features: &[Feature], run: Option<RunUpdate>) -> &Self {
        let plan = JobPlan {
            command: "test".into(),
            identity: serde_json::json!({ "features": features.iter().map(|f| f.desc().key()).collect::<Vec<_>>() }),
            features: features.iter().map(|f| JobFeature { desc: f.desc(), attrs: f.attrs() }).collect(),
            detail: serde_json::Value::Null,
        };
        let mut job = self.store.start_job(plan).unwrap();
        for (i, feature) in features.iter().enumerate() {
            let vectors = feature.vectors();
            // All vectors of a row are in one segment.
            let rows: Vec<_> = vectors.chunk_by(|a, b| a.0.0 == b.0.0).collect();
            for part in rows.chunks(feature.cut.min(rows.len().max(1))) {
                let mut writer = job.segment_writer(i).unwrap();
                for ((row, pos), vector, flags) in part.iter().copied().flatten() {
                    match pos {
                        Some(pos) => writer.push_token((*row, *pos), vector, *flags),
                        None => writer.push(*row, vector, *flags),
                    }
                    .unwrap();
                }
                job.seal(i, writer).unwrap();
            }
        }
        job.publish(run, features.iter().all(|f| f.complete)).unwrap();
        self
    }
}

/// `InfluenceSpec` of one pool and one target.
pub fn ask(pool: &str, target: &str) -> InfluenceSpec {
    InfluenceSpec { pools: vec![pool.into()], targets: vec![TargetRef::parse(target)], ..Default::default() }
}

/// The `k` best rows of each.
pub fn request(each: Each, k: usize) -> EachRequest<'static> {
    EachRequest { each, order: Order::Best, k, filter: None, threads: 2, memory: 1 << 30 }
}

pub fn plan(store: &TestStore, spec: &InfluenceSpec) -> Prepared {
    Prepared::new(&store.snapshot(), spec).unwrap()
}

/// Every score by (pool, row), with the name of the subtask.
pub fn scores(plan: &Prepared) -> BTreeMap<(u32, u64), (f32, String)> {
    let subtasks = plan.subtasks(&GO).unwrap();
    let mut all = BTreeMap::new();
    plan.scores(None, 2, &GO, |part| {
        for s in part {
            assert!(all.insert((s.pool, s.row), (s.score, subtasks[s.subtask as usize].clone())).is_none());
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    all
}

pub fn excluded(plan: &Prepared) -> Vec<ExcludedRow> {
    let mut all = Vec::new();
    plan.excluded(None, 2, &GO, |part| {
        all.extend_from_slice(part);
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    all
}

pub fn best(plan: &Prepared, k: usize) -> Vec<(u64, f32)> {
    let ranking = plan.top_k(Order::Best, k, None, 2, &GO).unwrap();
    ranking.rows.iter().map(|s| (s.row, s.score)).collect()
}

pub fn close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() <= tolerance, "position {i}: {g} is not {w}");
    }
}

/// Deterministic numbers in -1..1 without a dependency.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(MIX_STEP);
        mix(self.0)
    }

    pub fn next(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub fn vector(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| self.next()).collect()
    }

    pub fn vectors(&mut self, rows: usize, dim: usize) -> Vec<Vec<f32>> {
        (0..rows).map(|_| self.vector(dim)).collect()
    }
}
