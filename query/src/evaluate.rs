//! Evaluation of indexes by questions about rows of the feature: what planes of a sketch cost and save.

use std::collections::BTreeSet;
use std::sync::Arc;

use gstore_core::Cancel;
use gstore_store::{FeaturePart, RowFlags, SegmentRef, Snapshot};
use serde::Serialize;

use crate::error::QueryError;
use crate::influence::{
    AtHandVector, InfluenceSpec, Missing, Mode, Order, Plane, Prepared, ScanSummary, SketchMode,
};
use crate::sketch::{self, Planes, Section, padded_dim, split_mix};
use crate::values::unit;

/// Rows of an answer.
pub(crate) const LISTED: usize = 100;

/// Place of the mode that takes the planes expected to save most; exact scans are before it.
const CHOSEN: usize = 1;

/// Rows that are drawn for one that can be asked about, before the feature counts as having none.
const TRIES: u64 = 1000;

/// How planes are evaluated.
#[derive(Debug, Clone, Copy)]
pub struct PlanesOptions {
    /// Rows that are asked about.
    pub queries: usize,
    /// Decides which.
    pub seed: u64,
    /// Threads; 0 means one per core.
    pub threads: usize,
}

/// What planes of a sketch cost on disk and save in a ranking of the 100 nearest rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanesEvaluation {
    /// Rows that were asked about.
    pub queries: usize,
    /// Rows among which was looked.
    pub rows: u64,
    /// Bytes that a sketch has for each vector in addition to its planes.
    pub record_bytes: u64,
    /// Bytes that a scan reads, on average.
    pub scan_bytes_read: f64,
    /// The same of a ranking that takes of the planes those that are expected to save most.
    pub bytes_read: f64,
    /// Share of the rows that it scores.
    pub scored: f64,
    /// Rows that were asked about for which no plane is expected to save anything, so that it is a scan.
    pub scanned: usize,
    /// Why, for the last of them.
    pub why_scanned: Option<String>,
    /// Each plane by itself.
    pub planes: Vec<PlaneEvaluation>,
}

/// One plane. `certified` and `int8` use the same codes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlaneEvaluation {
    /// The plane.
    pub plane: Plane,
    /// Bytes that it has for each vector.
    pub vector_bytes: u64,
    /// For all vectors.
    pub bytes: u64,
    /// Whether the sketch keeps it.
    pub kept: bool,
    /// Bytes that a ranking by it alone reads, with those of the rows that it scores, on average; `None`: it
    /// is not kept.
    pub bytes_read: Option<f64>,
    /// Share of the rows that it scores.
    pub scored: Option<f64>,
}

/// What rankings read.
#[derive(Debug, Clone, Copy, Default)]
struct Reads {
    bytes: u64,
    rows: u64,
}

impl Reads {
    fn add(&mut self, summary: &ScanSummary) {
        self.bytes += summary.bytes_read;
        self.rows += summary.rows_scored;
    }
}

/// Asks for the neighbours of rows of a feature by each plane of its sketch, by the sketch as it is used, and
/// by a scan.
///
/// # Errors
/// [`QueryError::Sketch`] where there is no sketch of all segments; those of [`Prepared::top_k`].
pub fn planes(
    snapshot: &Arc<Snapshot>,
    part: &FeaturePart,
    options: &PlanesOptions,
    progress: &mut dyn FnMut(usize),
    cancel: &Cancel,
) -> Result<PlanesEvaluation, QueryError> {
    let reader = snapshot.open_feature(part)?;
    let sketch = Arc::new(sketch::open(&reader).map_err(QueryError::Sketch)?);
    let kept = sketch.planes().unwrap_or_default();
    let asked: Vec<Plane> = Plane::ALL.into_iter().filter(|plane| kept.has(plane.codes())).collect();
    let by = |plane: &Plane| SketchMode {
        certified: *plane == Plane::Certified,
        planes: Some(vec![*plane]),
        ..SketchMode::default()
    };
    let sketches = std::iter::once(SketchMode::default()).chain(asked.iter().map(by));
    let modes: Vec<Mode> = std::iter::once(Mode::Exact).chain(sketches.map(Mode::Sketch)).collect();
    let mut reads = vec![Reads::default(); modes.len()];
    let question = question(snapshot, part);
    let rows = draw(snapshot, part, (options.queries, options.seed), cancel)?;
    let (mut scanned, mut why_scanned) = (0, None);
    for (done, row) in rows.iter().enumerate() {
        for (at, (mode, reads)) in modes.iter().zip(&mut reads).enumerate() {
            let spec = InfluenceSpec { mode: mode.clone(), ..question.clone() };
            let vector = AtHandVector::Row { pool: 0, row: *row };
            let plan = Prepared::about_vector(snapshot, &spec, vector, None)?
                .with_sketch(part.number, sketch.clone());
            let mut summary = plan.top_k(Order::Best, LISTED, None, options.threads, cancel)?.summary;
            reads.add(&summary);
            if at == CHOSEN && summary.planes.is_empty() {
                scanned += 1;
                // What a scan in place of a sketch has to say comes last.
                why_scanned = summary.notes.pop();
            }
        }
        progress(done + 1);
    }
    let live = reader.row_set()?.len();
    let of = |at: usize| {
        let reads = reads.get(at).copied().unwrap_or_default();
        let queries = rows.len().max(1) as f64;
        (reads.bytes as f64 / queries, reads.rows as f64 / queries / live.max(1) as f64)
    };
    let dim = part.desc.dim() as usize;
    let record_bytes = Section::Rows.vector_bytes(padded_dim(dim)) as u64;
    let vectors: u64 = reader.segments().iter().map(SegmentRef::vectors).sum();
    let plane = |plane: Plane| {
        let vector_bytes = Planes::only(plane.codes()).vector_bytes(dim) - record_bytes;
        let reads = asked.iter().position(|other| *other == plane).map(|at| of(CHOSEN + 1 + at));
        PlaneEvaluation {
            plane,
            vector_bytes,
            bytes: vector_bytes.saturating_mul(vectors),
            kept: reads.is_some(),
            bytes_read: reads.map(|(bytes, _)| bytes),
            scored: reads.map(|(_, scored)| scored),
        }
    };
    let (bytes_read, scored) = of(CHOSEN);
    Ok(PlanesEvaluation {
        queries: rows.len(),
        rows: live,
        record_bytes,
        scan_bytes_read: of(0).0,
        bytes_read,
        scored,
        scanned,
        why_scanned,
        planes: Plane::ALL.map(plane).into(),
    })
}

/// The question whose pool is the feature.
pub(crate) fn question(snapshot: &Snapshot, part: &FeaturePart) -> InfluenceSpec {
    let checkpoint = part.desc.checkpoint.as_ref();
    InfluenceSpec {
        pools: vec![part.desc.dataset.clone()],
        pool_kind: Some(part.desc.kind.name.clone()),
        target_kind: Some(part.desc.kind.name.clone()),
        run: checkpoint.and_then(|id| snapshot.run_with(id)).map(|run| run.name.clone()),
        checkpoints: checkpoint.map(|id| vec![id.to_string()]),
        features: vec![part.number.to_string()],
        missing: Missing::Exclude,
        partial: true,
        ..InfluenceSpec::default()
    }
}

/// Rows that have a vector with a direction, drawn by the seed, each once; fewer than asked for
/// where there are no more.
pub(crate) fn draw(
    snapshot: &Snapshot,
    part: &FeaturePart,
    (queries, seed): (usize, u64),
    cancel: &Cancel,
) -> Result<Vec<u64>, QueryError> {
    let reader = snapshot.open_feature(part)?;
    let there = reader.row_set()?;
    let mut rows = BTreeSet::new();
    let mut drawn = Vec::new();
    let wanted = queries.min(usize::try_from(there.len()).unwrap_or(usize::MAX));
    let mut state = seed;
    let tries = TRIES.saturating_mul(queries as u64);
    for _ in 0..tries {
        if drawn.len() >= wanted || rows.len() as u64 >= there.len() {
            break;
        }
        cancel.check()?;
        let place = split_mix(&mut state) % there.len();
        let Some(row) = there.iter().nth(place as usize) else { break };
        if !rows.insert(row) {
            continue;
        }
        let usable = reader.row(row)?.is_some_and(|stored| {
            !stored.flags.intersects(RowFlags::UNSCORED) && unit(&stored.vector).is_ok()
        });
        if usable {
            drawn.push(row);
        }
    }
    Ok(drawn)
}
