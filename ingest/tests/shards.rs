//! Promise: shards of an ingest, whatever stopped them and in whatever order they are attached, give
//! the bits of one process.

use std::path::{Path, PathBuf};

use gstore_core::Cancel;
use gstore_data::{TemplateKind, TextOptions};
use gstore_ingest::pipeline::{
    AddRequest, CheckpointArg, IngestError, IngestPlan, IngestRequest, Kind, Progress, RunEnding,
    ShardReport, ShardRequest, Silent, Unit, add, ingest, ingest_shard,
};
use gstore_ingest::projection::ProjectionSpec;
use gstore_store::{
    AttachError, AttachOptions, CELL_ROWS, DeleteOptions, FeatureState, GcOptions, KeptBecause, RowSet,
    ShardOutcome, SnapshotName, Store, TokenCount,
};

const ROWS: u64 = 2 * CELL_ROWS + 40;
/// Deleted, so that three cells have rows without the work of the many that fill two of them.
const GONE: [std::ops::Range<u64>; 2] = [100..CELL_ROWS - 96, CELL_ROWS + 104..2 * CELL_ROWS - 92];
/// What is left of them: [`three_shards_are_one_process`] cuts them evenly.
const LIVE: u64 = 196 + 196 + 40;

pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo")
}

/// Short samples, all different.
pub fn register(store: &Store, folder: &Path, range: std::ops::Range<u64>) {
    let mut text = String::new();
    for i in range {
        let answer = if i % 97 == 13 { "" } else { ["even", "odd"][i as usize % 2] };
        let line = serde_json::json!({ "id": format!("s{i}"), "prompt": format!("Is {i} odd?"), "completion": answer });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    let data = folder.join("pool.jsonl");
    fs_err::write(&data, text).unwrap();
    let request = AddRequest::new("pool", [data]);
    add(store, &request, &mut Silent).unwrap();
}

/// A store of [`LIVE`] samples.
fn store(folder: &Path, name: &str) -> Store {
    let store = Store::create(folder.join(name)).unwrap();
    register(&store, folder, 0..ROWS);
    let snapshot = store.snapshot().unwrap();
    let gone = RowSet::from_ranges(GONE);
    store.delete(snapshot.dataset("pool").unwrap(), &gone, DeleteOptions::default()).unwrap();
    store
}

fn request() -> IngestRequest {
    let mut folders: Vec<PathBuf> = fs_err::read_dir(demo().join("warmup"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    let folder = folders.remove(0);
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    IngestRequest {
        checkpoints: vec![CheckpointArg::of_folder(name, folder)],
        kinds: vec![Kind::GradSgd, Kind::Loss],
        projection: ProjectionSpec { dim: 32, ..ProjectionSpec::default() }.into(),
        text: TextOptions::new(TemplateKind::Plain, 64),
        batch_tokens: 32,
        threads: 2,
        run: "warmup".to_owned(),
        command: "gstore ingest --dataset pool".to_owned(),
        ..IngestRequest::new("pool", demo().join("model"))
    }
}

/// Digests, the run as JSON and token counts: all that must be equal.
fn content(store: &Store) -> (Vec<(String, String, bool)>, String, Vec<TokenCount>) {
    let snapshot = store.snapshot().unwrap();
    let features = snapshot.features().iter().map(|part| {
        let digest = snapshot.open_feature(part).unwrap().content_digest().unwrap();
        (part.display_name(), digest, part.state == FeatureState::Complete)
    });
    let part = snapshot.dataset("pool").unwrap();
    let mut counts = snapshot.encoding(&part.encodings[0]).unwrap().counts(0..u64::MAX).unwrap();
    let live = snapshot.live_rows(part).unwrap();
    counts.retain(|count| live.contains(count.row));
    (features.collect(), serde_json::to_string(&**snapshot.run("warmup").unwrap()).unwrap(), counts)
}

fn shard_request(text: &str, out: &Path) -> ShardRequest {
    ShardRequest { shard: text.parse().unwrap(), out: out.to_owned(), snapshot: None }
}

fn run_shard(
    store: &Store,
    shard: &ShardRequest,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<ShardReport, IngestError> {
    let (plan, part) = IngestPlan::for_shard(store, request(), shard, &mut Silent)?;
    ingest_shard(store, &plan, part, progress, cancel)
}

fn attach(store: &Store, folders: &[&Path]) -> Result<gstore_store::AttachReport, AttachError> {
    let folders: Vec<PathBuf> = folders.iter().map(|f| (*f).to_owned()).collect();
    store.attach(&folders, &AttachOptions { command: "attach".to_owned(), dry_run: false }, &mut |_| {})
}

/// Stops after some batches of vectors.
pub struct StopAfter<'a> {
    pub batches: usize,
    pub cancel: &'a Cancel,
    pub ingesting: bool,
}

impl Progress for StopAfter<'_> {
    fn start(&mut self, stage: &str, _: u64, _: Unit) {
        self.ingesting = stage == "ingest";
    }
    fn advance(&mut self, _: u64) {
        if self.ingesting {
            self.batches = self.batches.saturating_sub(1);
            if self.batches == 0 {
                self.cancel.raise();
            }
        }
    }
    fn finish(&mut self) {}
    fn note(&mut self, _: &str) {}
}

#[test]
fn three_shards_are_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let [store, whole] = ["s", "whole"].map(|name| store(dir.path(), name));
    let never = Cancel::new();
    let plan = IngestPlan::new(&whole, request(), &mut Silent).unwrap();
    ingest(&whole, &plan, &mut Silent, &never).unwrap();
    let expected = content(&whole);
    assert_eq!((expected.0.len(), expected.2.len() as u64), (2, LIVE));

    let out: Vec<PathBuf> = (1..=3).map(|i| dir.path().join(format!("shard{i}"))).collect();
    let requests: Vec<ShardRequest> =
        (1..=3).map(|i| shard_request(&format!("{i}/3"), &out[i - 1])).collect();
    // The second is stopped in the middle of its window, then samples arrive; it goes on with
    // the rows it began with.
    let cancel = Cancel::new();
    let mut stop = StopAfter { batches: 28, cancel: &cancel, ingesting: false };
    let report = run_shard(&store, &requests[1], &mut stop, &cancel).unwrap();
    assert_eq!((report.work.ending, report.receipt), (RunEnding::Stopped, None));
    let snapshot = store.snapshot().unwrap().number();
    for i in [0, 2] {
        let report = run_shard(&store, &requests[i], &mut Silent, &never).unwrap();
        assert_eq!(report.receipt.unwrap().note.snapshot, snapshot);
    }
    assert_eq!(store.snapshot().unwrap().number(), snapshot, "a shard publishes nothing");
    register(&store, dir.path(), ROWS..ROWS + 3);
    let report = run_shard(&store, &requests[1], &mut Silent, &never).unwrap();
    let receipt = report.receipt.unwrap();
    assert_eq!((receipt.note.snapshot, receipt.row_set().len(), report.already), (snapshot, LIVE / 3, false));
    let report = run_shard(&store, &requests[1], &mut Silent, &never).unwrap();
    assert!(report.already && report.work.computed == 0 && report.receipt == Some(receipt));

    // Shards of another split.
    let odd = dir.path().join("odd");
    let mut other = shard_request("2/2", &odd);
    other.snapshot = Some(SnapshotName::Number(snapshot));
    run_shard(&store, &other, &mut Silent, &never).unwrap();
    assert!(matches!(attach(&store, &[&out[1], &odd]), Err(AttachError::Overlap { .. })));
    assert!(matches!(attach(&whole, &[&out[1]]), Err(AttachError::OtherStore { .. })));

    let first = attach(&store, &[&out[2], &out[0]]).unwrap();
    assert_eq!(first.features[0].missing_shards, ["2/3"]);
    let second = attach(&store, &[&out[1], &out[2]]).unwrap();
    let outcomes: Vec<ShardOutcome> = second.shards.iter().map(|s| s.outcome).collect();
    assert_eq!(outcomes, [ShardOutcome::Attached, ShardOutcome::Already]);
    // The three samples that came later are in no shard: an ordinary ingest computes them, and only them.
    assert_eq!((second.features[0].missing, second.features[0].complete), (3, false));
    register(&whole, dir.path(), ROWS..ROWS + 3);
    for s in [&store, &whole] {
        let plan = IngestPlan::new(s, request(), &mut Silent).unwrap();
        let report = ingest(s, &plan, &mut Silent, &never).unwrap();
        assert_eq!(report.computed, 3);
    }
    assert_eq!(content(&store), content(&whole));

    let mut limited = request();
    limited.limit = Some(5);
    let limited = IngestPlan::for_shard(&store, limited, &shard_request("1/2", &odd), &mut Silent);
    assert!(matches!(limited, Err(IngestError::LimitedShard)));
}

#[test]
fn gc_keeps_the_snapshot_of_a_shard_while_it_is_computed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s")).unwrap();
    register(&store, dir.path(), 0..8);
    let shard = shard_request("1/2", &dir.path().join("shard"));
    let kept = || -> Vec<u64> {
        let options = GcOptions { command: "gc".to_owned(), keep: 1, ..GcOptions::default() };
        let kept = store.collect(options).unwrap().kept;
        for kept in &kept {
            let KeptBecause::Lease { command, .. } = &kept.because else { panic!("{kept:?}") };
            assert_eq!(command, "gstore ingest");
        }
        kept.iter().map(|kept| kept.snapshot).collect()
    };
    let (plan, part) = IngestPlan::for_shard(&store, request(), &shard, &mut Silent).unwrap();
    let base = part.snapshot().number();
    register(&store, dir.path(), 8..11);
    assert_eq!(kept(), [base]);
    let report = ingest_shard(&store, &plan, part, &mut Silent, &Cancel::new()).unwrap();
    assert_eq!(report.receipt.unwrap().note.snapshot, base);
    drop(plan);
    assert!(kept().is_empty());
}
