//! Sketches: index files with matching digests, of a feature of the target, read by rankings.
//!
//! The bytes are those of an index file. Its digests are recomputed, so that changes reach the readers of
//! headers, records and codes; no digest distinguishes them from what a build wrote.

use super::MIB;
use super::index::{footer, resealed};
use crate::Target;
use crate::one_file::OneFile;
use gstore_core::Cancel;
use gstore_query::influence::{
    InfluenceSpec, Mode, Order, Plane, Prepared, Scored, Sim, SketchMode, TargetRef,
};
use gstore_query::sketch::{self, FileSections, Sketch, SketchHeader, SketchOptions};
use gstore_store::*;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// The header, records and codes of a sketch.
pub const SKETCH: Target = Target {
    name: "sketch",
    run: |data| {
        rankings(data);
        rankings(&overlaid(data));
    },
    // As an index, plus rankings of a small pool.
    per_byte: 300,
    constant: 4 * MIB,
    words: &[
        b"\"version\":1",
        b"\"seed\":\"0000000000000007\"",
        b"\"dim\":20",
        b"\"padded\":64",
        b"\"vectors\":12",
        b"\"planes\":[\"sign\",\"int8\"]",
        b"\x00\x00\x80\x7f",
        b"\x00\x00\xc0\x7f",
        b"\x00\x00\x80\xff",
    ],
};

const ROWS: usize = 12;
const DIM: usize = 20;
static NEVER: Cancel = Cancel::new();
const PLANES: [&[Plane]; 4] =
    [&[Plane::Sign], &[Plane::Nibble, Plane::Int8], &[Plane::Certified], &[Plane::Sign, Plane::Certified]];

/// A pool with its scores.
struct Known {
    store: Store,
    feature: u32,
    reader: FeatureReader,
    /// A question for each of [`PLANES`], which uses a new sketch each time.
    plans: Mutex<Vec<(Sim, Prepared)>>,
    /// By similarity and row.
    scores: HashMap<(Sim, u64), u32>,
    _folder: tempfile::TempDir,
}

/// The valid sketch with up to 64 bytes of its records and codes replaced: it is read whatever the rest of
/// the input is.
fn overlaid(data: &[u8]) -> Vec<u8> {
    let mut all = include_bytes!("../../corpus/sketch/sound").to_vec();
    if let (Some((at, bytes)), Some(end)) = (data.split_first_chunk::<2>(), footer(&all)) {
        let at = usize::from(u16::from_le_bytes(*at)) % end;
        let len = bytes.len().min(64).min(end - at);
        all[at..at + len].copy_from_slice(&bytes[..len]);
    }
    all
}

/// Ranks the pool by the sketch in the bytes, and returns the number of rankings. A returned score must be
/// that of its row, whatever the sketch says.
pub fn rankings(data: &[u8]) -> usize {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let known = KNOWN.get_or_init(known);
    let Some(data) = resealed(data) else { return 0 };
    let vfs = Arc::new(OneFile(data.into()));
    let Ok(Some((file, _))) = fuzzing::index(vfs, Path::new("sketch")) else { return 0 };
    let Ok(header) = serde_json::from_value::<SketchHeader>(file.header().clone()) else { return 0 };
    let mut sketch = Sketch::new(DIM);
    let sections = FileSections::new(file, "pool/grad-sgd".to_owned());
    if sketch.add(&header, known.reader.blocks(), Box::new(sections)).is_err() {
        return 0;
    }
    let (sketch, mut answered) = (Arc::new(sketch), 0);
    let mut plans = known.plans.lock().expect("no input failed before");
    for (sim, plan) in std::mem::take(&mut *plans) {
        let plan = plan.with_sketch(known.feature, sketch.clone());
        for order in [Order::Best, Order::Worst] {
            let Ok(found) = plan.top_k(order, 3, None, 1, &NEVER) else { continue };
            answered += usize::from(!found.summary.planes.is_empty());
            assert!(found.rows.len() <= 3);
            for row in &found.rows {
                assert_eq!(known.scores.get(&(sim, row.row)), Some(&row.score.to_bits()), "{row:?}");
            }
        }
        plans.push((sim, plan));
    }
    answered
}

/// The index file that a build writes for the pool, without its last 32 bytes.
pub fn sound() -> Vec<u8> {
    let known = known();
    let snapshot = known.store.snapshot().expect("a snapshot");
    let reader = snapshot.open_feature(snapshot.features_of("pool")[0]).expect("a reader");
    let options = SketchOptions { seed: Some(7), threads: 1, ..SketchOptions::default() };
    sketch::build(&known.store, &reader, &options, &mut |_| {}, &NEVER).expect("a sketch");
    let folder = known.store.path().join("indexes");
    let file = fs_err::read_dir(folder).expect("indexes").next().expect("an index").expect("an entry");
    let mut bytes = fs_err::read(file.path()).expect("an index");
    bytes.truncate(bytes.len() - 32);
    bytes
}

fn question(sim: Sim) -> InfluenceSpec {
    InfluenceSpec {
        pools: vec!["pool".into()],
        targets: vec![TargetRef::parse("val")],
        sim,
        ..InfluenceSpec::default()
    }
}

fn known() -> Known {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::create(folder.path().join("store")).expect("a store");
    fill(&store).expect("vectors");
    let snapshot = store.snapshot().expect("a snapshot");
    let mut scores = HashMap::new();
    for sim in [Sim::Cosine, Sim::Dot] {
        let plan = Prepared::new(&snapshot, &question(sim)).expect("a plan");
        let take = |part: &[Scored]| {
            scores.extend(part.iter().map(|s| ((sim, s.row), s.score.to_bits())));
            ControlFlow::Continue(())
        };
        plan.scores(None, 1, &NEVER, take).expect("scores");
    }
    let planned = |(planes, sim): (&&[Plane], Sim)| {
        let mode = Mode::Sketch(SketchMode { planes: Some(planes.to_vec()), ..SketchMode::default() });
        let spec = InfluenceSpec { mode, ..question(sim) };
        (sim, Prepared::new(&snapshot, &spec).expect("a plan"))
    };
    let sims = [Sim::Cosine, Sim::Dot, Sim::Cosine, Sim::Dot];
    let plans = Mutex::new(PLANES.iter().zip(sims).map(planned).collect());
    let feature = snapshot.features_of("pool")[0];
    let reader = snapshot.open_feature(feature).expect("a reader");
    Known { feature: feature.number, reader, plans, scores, store, _folder: folder }
}

fn fill(store: &Store) -> Result<(), Box<dyn std::error::Error>> {
    let mut features = Vec::new();
    for (dataset, rows) in [("pool", ROWS), ("val", 2)] {
        let options = AppendOptions { command: "fuzz".into(), ..AppendOptions::default() };
        let mut append = store.append(&DatasetName::try_from(dataset)?, Vec::new(), options)?;
        for i in 0..rows {
            append.push(NewSample { id: &i.to_string(), record: None, metadata: Vec::new() })?;
        }
        append.finish()?;
        let checkpoint = CheckpointId::try_from("c".repeat(64))?;
        let space =
            Space { modules: "m".repeat(64), ..Space::new(Family::Gradient, Some(checkpoint), DIM as u32) };
        let desc = FeatureDesc::new(dataset, "e".repeat(64), "grad-sgd", space, DType::F16);
        features.push(JobFeature { desc, attrs: FeatureAttrs::new("grad-sgd", DIM as u32) });
    }
    let plan = JobPlan {
        command: "fuzz".into(),
        identity: serde_json::json!(1),
        features,
        detail: serde_json::Value::Null,
    };
    let mut job = store.start_job(plan)?;
    for (feature, rows) in [(0, ROWS), (1, 2)] {
        let mut writer = job.segment_writer(feature)?;
        for row in 0..rows {
            let value = |k: usize| ((row * 31 + k * 17 + feature * 5) % 23) as f32 - 11.0;
            let vector: Vec<f32> = (0..DIM).map(value).collect();
            writer.push(row as u64, &vector, RowFlags::default())?;
        }
        job.seal(feature, writer)?;
    }
    job.publish(None, true)?;
    Ok(())
}
