//! The rows of the reference results in a store of our own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstore_data::TextOptions;
use gstore_ingest::pipeline::{CheckpointArg, IngestRequest, Kind, positions};
use gstore_ingest::projection::ProjectionSpec;
use gstore_query::influence::{InfluenceSpec, Prepared, SubtaskBy, TargetRef};
use gstore_store::{DType, Snapshot, Store};
use tempfile::TempDir;

use crate::golden::Manifest;
use crate::pair_scores::{PairScores, pair_scores};
use crate::rates::{LoggedRate, logged_rates};
use crate::{shared, world};

/// A store with the training rows and the target rows of the reference results, at all their checkpoints.
pub struct Reference {
    /// The reference folder.
    pub shared: PathBuf,
    /// What the results are of.
    pub manifest: Manifest,
    /// The model and its checkpoints.
    pub warmup: shared::Warmup,
    /// The ingested rows.
    pub snapshot: Arc<Snapshot>,
    _folder: TempDir,
}

/// What to compute of the training rows.
pub struct How {
    /// Feature kinds.
    pub kinds: Vec<Kind>,
    /// Projection of gradients, on both sides.
    pub projection: ProjectionSpec,
    /// Stored type.
    pub dtype: DType,
}

impl Reference {
    /// Ingests the rows.
    pub fn new(shared: PathBuf, how: &How) -> Self {
        let manifest = Manifest::read(&shared);
        let warmup = shared::golden_warmup(&shared, &manifest.checkpoints);
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::create(folder.path().join("store")).expect("created");
        let pool = folder.path().join("pool.jsonl");
        copy_lines(
            &shared.join("data").join(&manifest.train),
            &pool,
            manifest.train_offset,
            manifest.train_rows,
        );
        world::register(&store, "pool", &pool).expect("registered");
        let request = |dataset: &str, kinds: &[Kind]| request((&manifest, &warmup), dataset, kinds, how);
        world::run(&store, request("pool", &how.kinds)).expect("ingested");
        for (file, rows) in &manifest.targets {
            let name = Manifest::target_name(file);
            let data = folder.path().join(format!("{name}.jsonl"));
            copy_lines(&shared.join("data").join(file), &data, rows.start, rows.len());
            world::register(&store, &name, &data).expect("registered");
            world::run(&store, request(&name, &[Kind::GradSgd, Kind::Loss])).expect("ingested");
        }
        let snapshot = store.snapshot().expect("a snapshot");
        Self { shared, manifest, warmup, snapshot, _folder: folder }
    }

    /// All vectors of a feature, in row order.
    pub fn vectors(&self, dataset: &str, kind: &str, step: u64) -> Vec<Vec<f32>> {
        let label = format!("{kind}@checkpoint-{step}");
        let part = self
            .snapshot
            .features()
            .iter()
            .find(|part| part.desc.dataset == dataset && part.attrs.label == label)
            .unwrap_or_else(|| panic!("feature {dataset}/{label}"));
        let reader = self.snapshot.open_feature(part).expect("opens");
        let rows = self.snapshot.dataset(dataset).expect("a dataset").rows;
        (0..rows).map(|row| reader.row(row).expect("readable").expect("there").vector).collect()
    }

    /// The question of the reference results: each target file is one subtask.
    pub fn plan(&self) -> Prepared {
        let targets =
            self.manifest.targets.iter().map(|(file, _)| TargetRef::parse(&Manifest::target_name(file)));
        let spec = InfluenceSpec {
            pools: vec!["pool".to_owned()],
            targets: targets.collect(),
            by: SubtaskBy::Dataset,
            ..InfluenceSpec::default()
        };
        Prepared::new(&self.snapshot, &spec).expect("planned")
    }

    /// Every similarity of it.
    pub fn pair_scores(&self) -> PairScores {
        pair_scores(&self.plan(), None, 2).expect("scored")
    }
}

/// How the texts of the reference results become tokens: at most those of the default, or those that the model
/// has positions for.
pub fn text(manifest: &Manifest, model: &Path) -> TextOptions {
    let own = positions(model).expect("a model");
    let max_length = own.map_or(TextOptions::MAX_LENGTH, |own| own.min(TextOptions::MAX_LENGTH));
    TextOptions::new(manifest.template.clone(), max_length)
}

/// An ingest of the reference rows. It is told the weights of the checkpoints where their logs may not tell all
/// of them.
pub fn request(
    (manifest, warmup): (&Manifest, &shared::Warmup),
    dataset: &str,
    kinds: &[Kind],
    how: &How,
) -> IngestRequest {
    let checkpoints = warmup
        .checkpoints
        .iter()
        .map(|(step, path)| CheckpointArg::of_folder(format!("checkpoint-{step}"), path.clone()));
    let is_told = logged_rates(manifest, warmup).iter().all(LoggedRate::is_exact);
    IngestRequest {
        checkpoints: checkpoints.collect(),
        kinds: kinds.to_vec(),
        projection: how.projection.clone().into(),
        dtype: how.dtype,
        text: text(manifest, &warmup.model),
        threads: 2,
        run: "warmup".to_owned(),
        weights: if is_told { Vec::new() } else { manifest.mean_lr.clone() },
        command: "test".to_owned(),
        ..IngestRequest::new(dataset, warmup.model.clone())
    }
}

/// Copies some lines of a file.
pub fn copy_lines(from: &Path, to: &Path, offset: usize, count: usize) {
    let text = fs_err::read_to_string(from).expect("readable");
    let lines: Vec<&str> = text.lines().skip(offset).take(count).collect();
    assert_eq!(lines.len(), count, "{}", from.display());
    fs_err::write(to, lines.join("\n") + "\n").expect("written");
}
