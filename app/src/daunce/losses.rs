//! Losses of an ensemble by forward passes: first those of theta_0, then a column for each member.

mod forecast;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstore_core::{Kind, RowSet, many};
use gstore_ingest::gradient::LossForm;
use gstore_ingest::pipeline::{
    CheckpointArg, CheckpointWeights, IngestError, IngestPlan, IngestRequest, RunEnding, ingest_column,
};
use gstore_model::weights::{Adapter, ModelFolder, checkpoint_id};
use gstore_model::{ComputePrecision, Reduction};
use gstore_store::{
    CheckpointId, EnsembleBase, EnsemblePart, EnsembleUpdate, FeaturePart, JobError, JobFeature, LossColumns,
    LossError, LossWanted, Member, MemberWeights, OffsetOf, Snapshot, Store,
};
use serde::Serialize;

pub use self::forecast::{LossesForecast, forecast_losses};
use super::DaunceError;
use crate::folders::stored_folder;
use crate::work::JobContext;

/// Models of an ensemble with known folders.
#[derive(Debug, Clone, Default)]
pub struct GivenModels {
    /// Folder of the adapter of theta_0; none if it is the base model itself.
    pub base: Option<PathBuf>,
    /// The members; their names are their ids.
    pub members: Vec<CheckpointArg>,
}

/// Which losses to compute.
#[derive(Debug, Clone)]
pub struct LossesRequest {
    /// Name of the ensemble.
    pub ensemble: String,
    /// Dataset, base model, texts, device and precision. Kinds, checkpoints, run, threads and command are
    /// overwritten.
    pub ingest: IngestRequest,
    /// Range of the members wanted; none for all whose weights are available.
    pub members: Option<Range<usize>>,
    /// Models to register first.
    pub given: Option<GivenModels>,
}

impl LossesRequest {
    /// Range of the members wanted, out of `members`.
    fn wanted(&self, members: usize) -> Result<Range<usize>, DaunceError> {
        let wanted = self.members.clone().unwrap_or(0..members);
        match wanted.end > members {
            true => {
                let ensemble = self.ensemble.clone();
                Err(DaunceError::NoMembers { ensemble, from: wanted.start, to: wanted.end, members })
            }
            false => Ok(wanted),
        }
    }

    /// Models to register that are not among these members.
    fn new_members(&self, members: &[Member]) -> Vec<&CheckpointArg> {
        let given = self.given.iter().flat_map(|given| &given.members);
        given.filter(|arg| members.iter().all(|member| member.id != arg.name)).collect()
    }
}

/// What was computed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LossesReport {
    /// Members of the ensemble.
    pub members: usize,
    /// Columns that were computed now, fully or in part.
    pub computed: usize,
    /// Members whose losses were complete already.
    pub present: usize,
    /// Ids of the members whose weights are not available.
    pub without_weights: Vec<String>,
    /// Rows of the dataset.
    pub rows: u64,
    /// Whether it was stopped: the same request continues from there.
    pub stopped: bool,
    /// Members whose losses are not finite, with what was found; they have no column.
    pub diverged: Vec<String>,
    /// The newest snapshot that this job made.
    pub snapshot: Option<u64>,
}

/// Computes the missing losses of an ensemble for a dataset, member by member; each column is published when
/// it is complete, and stored losses are not computed again.
///
/// # Errors
/// An unknown ensemble, weights that are not those of its members, a loss of theta_0 that is not finite;
/// columns published before stay. A member with losses that are not finite is noted and left out.
pub fn losses(
    store: &Store,
    request: &LossesRequest,
    work: &mut JobContext<'_>,
) -> Result<LossesReport, DaunceError> {
    // Neither an unknown dataset nor members that there are not may leave models behind.
    let snapshot = store.snapshot()?;
    snapshot.dataset(&request.ingest.dataset)?;
    if let Some(given) = &request.given {
        let known = snapshot.ensembles().iter().find(|ensemble| ensemble.name == request.ensemble);
        let members = known.map_or(&[][..], |ensemble| &ensemble.members[..]);
        request.wanted(members.len() + request.new_members(members).len())?;
        register(store, request, given, work)?;
    }
    let job = LossesJob::new(store, request, work.threads, work.command)?;
    let mut report = LossesReport { members: job.ensemble.members.len(), ..LossesReport::default() };
    let wanted = request.wanted(report.members)?;
    if !job.base_losses(work, &mut report)? {
        return Ok(report);
    }
    for place in wanted {
        if work.cancel.is_raised() {
            report.stopped = true;
            break;
        }
        match job.member(place, work, &mut report) {
            Ok(true) => {}
            Ok(false) => break,
            Err(DaunceError::Ingest(error @ IngestError::Diverged { .. })) => {
                work.progress.note(&error.to_string());
                report.diverged.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// Registers models with given folders, as a new ensemble or as further members of one.
fn register(
    store: &Store,
    request: &LossesRequest,
    given: &GivenModels,
    work: &mut JobContext<'_>,
) -> Result<(), DaunceError> {
    let model = &request.ingest.model;
    let folder = ModelFolder::open(model)?;
    let snapshot = store.snapshot()?;
    let known = snapshot.ensembles().iter().find(|e| e.name == request.ensemble);
    let base = id_of(&folder, given.base.as_deref())?;
    let mut members = Vec::with_capacity(given.members.len());
    for arg in &given.members {
        let there = known.and_then(|e| e.member(&arg.name)).and_then(|(_, member)| member.weights.as_ref());
        if there.is_some_and(|weights| weights.folder == arg.folder().map(stored_folder)) {
            // Whether they are still the same is checked when they are used.
            continue;
        }
        let checkpoint = match &arg.weights {
            CheckpointWeights::Base => base.clone(),
            CheckpointWeights::Adapter(adapter) => id_of(&folder, Some(adapter))?,
            CheckpointWeights::Model(model) => checkpoint_id(&ModelFolder::open(model)?, None)?,
        };
        let weights = MemberWeights { checkpoint, folder: arg.folder().map(stored_folder) };
        members.push(Member { weights: Some(weights), ..Member::new(arg.name.clone(), base.to_string()) });
    }
    let base = EnsembleBase {
        id: base.to_string(),
        name: Some(stored_folder(model)),
        adapter: given.base.as_deref().map(stored_folder),
    };
    store.update_ensemble(&EnsembleUpdate { name: request.ensemble.clone(), base, members }, work.command)?;
    Ok(())
}

fn id_of(model: &ModelFolder, adapter: Option<&Path>) -> Result<CheckpointId, DaunceError> {
    let adapter = adapter.map(Adapter::open).transpose()?;
    Ok(checkpoint_id(model, adapter.as_ref())?)
}

fn passes(request: &LossesRequest, threads: usize, command: &str) -> IngestRequest {
    IngestRequest {
        kinds: vec![Kind::Loss],
        // Tables are distinguished by their signal; this one is mean cross-entropy.
        loss: LossForm::default(),
        reduction: Reduction::default(),
        // No run gets the checkpoints, so this must not be the name of one.
        run: format!("ensemble {}", request.ensemble),
        threads,
        command: command.to_owned(),
        ..request.ingest.clone()
    }
}

/// What all passes of a request have in common.
struct LossesJob<'a> {
    store: &'a Store,
    request: IngestRequest,
    ensemble: EnsemblePart,
    encoding: String,
}

impl<'a> LossesJob<'a> {
    fn new(
        store: &'a Store,
        request: &LossesRequest,
        threads: usize,
        command: &str,
    ) -> Result<Self, DaunceError> {
        let ensemble = EnsemblePart::clone(store.snapshot()?.ensemble(&request.ensemble)?);
        let ingest = passes(request, threads, command);
        let encoding = ingest.text.encoder(&ingest.model)?.spec().key();
        Ok(Self { store, request: ingest, ensemble, encoding })
    }

    fn columns(&self) -> LossColumns {
        LossColumns {
            compute: self.request.compute.name().to_owned(),
            ..LossColumns::new(&self.ensemble, self.request.dataset.clone(), self.encoding.clone())
        }
    }

    /// The precision of the offsets: one for all rows, whatever is asked for now. Stored losses are relative
    /// to the offsets, even if these are lost and have to be computed again.
    fn offset_compute(&self, snapshot: &Snapshot) -> ComputePrecision {
        let columns = self.columns();
        let is_of_table = |part: &&Arc<FeaturePart>| {
            let desc = &part.desc;
            desc.ensemble == Some(columns.ensemble.0)
                && desc.dataset == columns.dataset
                && desc.encoding == columns.encoding
        };
        // Without offsets the first column decides: one request computed both.
        let stored = snapshot
            .loss_offset(&columns, OffsetOf::Base)
            .or_else(|| snapshot.features().iter().find(is_of_table));
        stored.and_then(|part| ComputePrecision::parse(&part.desc.compute)).unwrap_or(self.request.compute)
    }

    fn plan(
        &self,
        weights: CheckpointArg,
        compute: ComputePrecision,
        work: &mut JobContext<'_>,
    ) -> Result<IngestPlan, DaunceError> {
        let request = IngestRequest { checkpoints: vec![weights], compute, ..self.request.clone() };
        let plan = IngestPlan::new(self.store, request, work.progress)?;
        // The members before took hours: a place may be another model's by now.
        let members = 0..self.ensemble.members.len();
        plan.snapshot.same_members(&self.ensemble, members).map_err(JobError::from)?;
        Ok(plan)
    }

    fn wanted(&self, snapshot: &Snapshot) -> Result<RowSet, DaunceError> {
        let dataset = snapshot.dataset(&self.request.dataset)?;
        Ok(RowSet::clone(&*snapshot.live_rows(dataset)?))
    }

    /// Computes the losses of theta_0, which are the offsets of the rows, where they are missing. False if
    /// stopped.
    fn base_losses(&self, work: &mut JobContext<'_>, report: &mut LossesReport) -> Result<bool, DaunceError> {
        let snapshot = self.store.snapshot()?;
        let rows = self.wanted(&snapshot)?;
        report.rows = rows.len();
        let compute = self.offset_compute(&snapshot);
        let columns = LossColumns { compute: compute.name().to_owned(), ..self.columns() };
        let stored = snapshot.loss_offset(&columns, OffsetOf::Base);
        let missing = match stored {
            Some(part) => rows.difference(&snapshot.open_feature(part)?.row_set()?),
            None => rows,
        };
        if missing.is_empty() && stored.is_some() {
            return Ok(true);
        }
        let adapter = self.ensemble.base.adapter.as_ref().map(PathBuf::from);
        let arg = theta_0(&self.ensemble.name, adapter, missing.len())?;
        if compute != self.request.compute {
            let (own, name) = (compute.name(), &self.request.dataset);
            work.progress.note(&format!("theta_0 is computed in {own}, as it was for the losses of {name}"));
        }
        let plan = self.plan(arg, compute, work)?;
        self.check_weights(&plan, "theta_0", &self.ensemble.base.id)?;
        let offset = match stored {
            Some(part) => JobFeature { desc: part.desc.clone(), attrs: part.attrs.clone() },
            None => columns.offset(OffsetOf::Base),
        };
        let plan = plan.into_column(offset, None, &RowSet::new())?;
        self.run(&plan, work, report)
    }

    /// Computes a member's losses. False if stopped.
    fn member(
        &self,
        place: usize,
        work: &mut JobContext<'_>,
        report: &mut LossesReport,
    ) -> Result<bool, DaunceError> {
        let Some(member) = self.ensemble.members.get(place) else { return Ok(true) };
        let snapshot = self.store.snapshot()?;
        let done = self.rows_of(&snapshot, place)?;
        let missing = self.wanted(&snapshot)?.difference(&done);
        if missing.is_empty() {
            report.present += 1;
            return Ok(true);
        }
        let columns = self.columns();
        // Rows added after theta_0 was computed wait: the next run begins with theta_0.
        let Some(offset) = snapshot.loss_offset(&columns, OffsetOf::Base) else { return Ok(true) };
        if snapshot.open_feature(offset)?.row_set()?.intersection(&missing).is_empty() {
            report.present += 1;
            return Ok(true);
        }
        let known = member.weights.as_ref().and_then(|weights| Some((weights, weights.folder.as_ref()?)));
        let Some((weights, folder)) = known.filter(|(_, folder)| Path::new(folder).exists()) else {
            report.without_weights.push(member.id.clone());
            return Ok(true);
        };
        let arg = CheckpointArg::of_folder(member.id.clone(), folder.into());
        work.progress.part(&format!("{} ({} of {})", member.id, place + 1, self.ensemble.members.len()));
        let plan = self.plan(arg, self.request.compute, work)?;
        self.check_weights(&plan, &member.id, &weights.checkpoint)?;
        // The plan may be made on a later state, which its job starts from.
        let planned = Arc::clone(&plan.snapshot);
        let done = self.rows_of(&planned, place)?;
        let Some(offset) = planned.loss_offset(&columns, OffsetOf::Base) else { return Ok(true) };
        let plan = plan.into_column(columns.members(place..place + 1, 0), Some(&**offset), &done)?;
        let finished = self.run(&plan, work, report)?;
        report.computed += usize::from(finished);
        Ok(finished)
    }

    /// The rows with a loss of a member, or a note that it has none.
    fn rows_of(&self, snapshot: &Snapshot, place: usize) -> Result<RowSet, DaunceError> {
        let wanted = LossWanted {
            dataset: &self.request.dataset,
            encoding: Some(&self.encoding),
            signal: Some(&self.columns().signal),
        };
        match snapshot.open_losses(&self.ensemble, &wanted) {
            Ok(reader) => Ok(reader.rows_of(place)?),
            Err(LossError::None { .. }) => Ok(RowSet::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn run(
        &self,
        plan: &IngestPlan,
        work: &mut JobContext<'_>,
        report: &mut LossesReport,
    ) -> Result<bool, DaunceError> {
        let done = ingest_column(self.store, plan, work.progress, work.cancel)?;
        report.snapshot = done.snapshot.map(|snapshot| snapshot.number()).or(report.snapshot);
        report.stopped = done.ending == RunEnding::Stopped;
        Ok(!report.stopped)
    }

    fn check_weights(&self, plan: &IngestPlan, who: &str, expected: &str) -> Result<(), DaunceError> {
        match plan.checkpoints.first() {
            Some(found) if *found.id == *expected => Ok(()),
            found => Err(DaunceError::OtherWeights {
                ensemble: self.ensemble.name.clone(),
                who: who.to_owned(),
                expected: expected.chars().take(8).collect(),
                found: found.map_or_else(String::new, |found| found.id.short().to_owned()),
            }),
        }
    }
}

/// Weights of theta_0: the base model, with its adapter if any. `rows`: how many lack its losses.
fn theta_0(ensemble: &str, adapter: Option<PathBuf>, rows: u64) -> Result<CheckpointArg, DaunceError> {
    if let Some(folder) = adapter.as_ref().filter(|folder| !folder.exists()) {
        return Err(DaunceError::NoBase { ensemble: ensemble.to_owned(), folder: folder.clone(), rows });
    }
    let weights = adapter.map_or(CheckpointWeights::Base, CheckpointWeights::Adapter);
    Ok(CheckpointArg { name: "theta0".to_owned(), weights })
}

impl LossesReport {
    /// Summary in a line.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "losses of {} under {}: {} computed, {} there already",
            many(self.rows, "row"),
            many(self.members as u64, "member"),
            self.computed,
            self.present
        );
        if !self.without_weights.is_empty() {
            text.push_str(&format!(", {} without weights here", self.without_weights.len()));
        }
        text
    }
}
