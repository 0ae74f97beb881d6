//! Work plan of a request: its checkpoints, its features, and the windows that are missing.
//!
//! Planning reads the weights once (to identify the checkpoints) and writes nothing but a lease.

mod checkpoint;
mod inputs;
mod job;
mod other_texts;

use std::sync::Arc;

use gstore_store::{DatasetPart, EncodingSpec, Lease, RowSet, Snapshot, Store};

use super::column::EnsembleColumn;
use super::foreign::check_stored;
use super::request::IngestRequest;
use super::{IngestError, Progress, Unit};
use gstore_data::TextEncoder;
use gstore_model::weights::{BaseDigests, ModelFolder};

pub use checkpoint::{CheckpointPlan, PlannedFeature, check_weights};
pub(super) use checkpoint::{describe_checkpoint, refuse_twins};
pub use inputs::check_inputs;
pub(super) use inputs::encoder;
pub(super) use job::check_run_name;

use checkpoint::{adam_notes, plan_checkpoint, unrotated_note, unused_notes};
use inputs::{check_request, refuse_same_names, steps_and_weights};

/// Everything that an ingest will do.
pub struct IngestPlan {
    /// The request.
    pub request: IngestRequest,
    /// The dataset as it is now.
    pub dataset: Arc<DatasetPart>,
    /// The state of the store that was planned on.
    pub snapshot: Arc<Snapshot>,
    /// Tokenizer and template.
    pub encoder: TextEncoder,
    /// Description of the encoding.
    pub encoding: EncodingSpec,
    /// The checkpoints, in the order of the run.
    pub checkpoints: Vec<CheckpointPlan>,
    /// Rows asked for.
    pub rows: RowSet,
    /// Keeps the snapshot from being collected as long as the plan is there.
    pub lease: Option<Lease>,
    /// What its losses are relative to, where they become a column of an ensemble.
    pub(super) column: Option<EnsembleColumn>,
}

impl IngestPlan {
    /// Plans an ingest of registered samples.
    ///
    /// # Errors
    /// Anything that would stop the run: an unknown dataset, a folder that does not fit,
    /// moments that are missing.
    pub fn new(
        store: &Store,
        request: IngestRequest,
        progress: &mut dyn Progress,
    ) -> Result<Self, IngestError> {
        Self::with_base_digests(store, request, &mut BaseDigests::default(), progress)
    }

    /// The same, where weights of bases were read before; computing looks whether they have changed since.
    ///
    /// # Errors
    /// As [`IngestPlan::new`].
    pub fn with_base_digests(
        store: &Store,
        request: IngestRequest,
        bases: &mut BaseDigests,
        progress: &mut dyn Progress,
    ) -> Result<Self, IngestError> {
        // Computing takes hours: the samples must not be collected meanwhile.
        let (snapshot, lease) = store.snapshot_leased(None, &request.command)?;
        Ok(Self { lease, ..Self::planned(snapshot, request, bases, progress)? })
    }

    /// The same on a given state of the store.
    ///
    /// # Errors
    /// As [`IngestPlan::new`].
    pub fn at(
        snapshot: Arc<Snapshot>,
        request: IngestRequest,
        progress: &mut dyn Progress,
    ) -> Result<Self, IngestError> {
        Self::planned(snapshot, request, &mut BaseDigests::default(), progress)
    }

    fn planned(
        snapshot: Arc<Snapshot>,
        request: IngestRequest,
        bases: &mut BaseDigests,
        progress: &mut dyn Progress,
    ) -> Result<Self, IngestError> {
        check_request(&request)?;
        refuse_same_names(&request.checkpoints)?;
        let dataset = Arc::clone(snapshot.dataset(&request.dataset)?);
        if dataset.rows == 0 {
            return Err(IngestError::EmptyDataset { dataset: request.dataset });
        }
        // The model goes first: of a folder of another architecture that is what the user should hear.
        let base = ModelFolder::open(&request.model)?;
        let encoder = encoder(&request)?;
        for note in encoder.check_vocabulary(base.decoder().vocab_size)? {
            progress.note(&note);
        }
        let encoding = encoder.spec();
        let live = snapshot.live_rows(&dataset)?;
        let rows = match &request.rows {
            Some(chosen) => first_rows(&live.intersection(chosen), request.limit),
            None => first_rows(&live, request.limit),
        };
        check_stored(&encoder, &snapshot, &dataset, &rows, progress)?;
        let trained = steps_and_weights(&request)?;
        let mut checkpoints = Vec::with_capacity(request.checkpoints.len());
        progress.start("reading weights", request.checkpoints.len() as u64, Unit::Checkpoints);
        for (arg, trained) in request.checkpoints.iter().zip(trained) {
            let plan = plan_checkpoint(&request, &snapshot, &base, arg, trained, &encoding, bases)?;
            checkpoints.push(plan);
            progress.advance(1);
        }
        progress.finish();
        unused_notes(&request, &base, &checkpoints).iter().for_each(|note| progress.note(note));
        adam_notes(&request, &checkpoints).iter().for_each(|note| progress.note(note));
        refuse_twins(checkpoints.iter().map(|plan| (&plan.arg.name, &plan.id)))?;
        let features = checkpoints.iter().flat_map(|checkpoint| &checkpoint.features);
        features
            .filter_map(|feature| unrotated_note(&snapshot, feature))
            .for_each(|note| progress.note(&note));
        let (lease, column) = (None, None);
        let plan = Self { request, dataset, snapshot, encoder, encoding, checkpoints, rows, lease, column };
        plan.guessed_weights().iter().for_each(|note| progress.note(note));
        Ok(plan)
    }

    /// Whether there is nothing to compute and nothing to publish.
    pub fn is_done(&self) -> bool {
        self.has_all_rows() && self.run_is_current()
    }

    /// Whether there is nothing to compute: the run may still have other weights or folders than the store has.
    pub fn has_all_rows(&self) -> bool {
        let stored = |f: &PlannedFeature| {
            self.rows.difference(&f.published).is_empty() && (f.complete || self.request.is_partial())
        };
        self.features().all(stored) && self.is_counted()
    }

    /// Whether every row has its token counts. Features may be complete without them after a repair.
    fn is_counted(&self) -> bool {
        let entry = self.dataset.encoding(&self.encoding.key());
        entry.is_some_and(|entry| self.rows.difference(&entry.rows()).is_empty())
    }

    /// Whether the run in the store has these checkpoints, where they are, with these weights if they were
    /// given.
    fn run_is_current(&self) -> bool {
        self.checkpoints.iter().zip(self.run_checkpoints()).all(|(checkpoint, planned)| {
            self.stored(checkpoint).is_some_and(|stored| {
                stored.provenance == planned.provenance
                    && (self.request.weights.is_empty() || stored.weight == checkpoint.weight)
            })
        })
    }

    /// The rows that batches are cut over, where they are not all of a cell.
    pub(super) fn chosen(&self) -> Option<&RowSet> {
        self.request.rows.is_some().then_some(&self.rows)
    }

    /// All features, checkpoint by checkpoint.
    pub fn features(&self) -> impl Iterator<Item = &PlannedFeature> {
        self.checkpoints.iter().flat_map(|checkpoint| &checkpoint.features)
    }
}

/// The first of some rows, or all of them.
pub(super) fn first_rows(live: &RowSet, limit: Option<u64>) -> RowSet {
    let Some(mut left) = limit else { return live.clone() };
    let mut rows = RowSet::new();
    for range in live.ranges() {
        let end = range.end.min(range.start.saturating_add(left));
        rows.insert(range.start..end);
        left -= end - range.start;
    }
    rows
}
