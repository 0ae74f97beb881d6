//! Forecast of losses by forward passes: texts, tokens, time, memory and disk.

use std::path::PathBuf;

use gstore_core::RowSet;
use gstore_ingest::pipeline::{CheckpointArg, IngestError, IngestPlan, IngestRequest, estimate};
use gstore_store::{EnsemblePart, OffsetOf, Snapshot, Store};
use serde::Serialize;

use super::{LossesJob, LossesRequest, passes, theta_0};
use crate::daunce::DaunceError;
use crate::work::JobContext;

/// What losses will take.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LossesForecast {
    /// Members of the ensemble, those that will be registered first among them.
    pub members: usize,
    /// Members that lack losses.
    pub to_compute: usize,
    /// Members whose losses are all there.
    pub present: usize,
    /// Members whose weights are not at hand.
    pub without_weights: usize,
    /// Rows of the dataset.
    pub rows: u64,
    /// Texts that go through a model, over theta_0 and all members.
    pub passes: u64,
    /// Their tokens, extrapolated from some of the rows.
    pub tokens: u64,
    /// Bytes of the new columns.
    pub disk: u64,
    /// Bytes of memory at the peak, about.
    pub memory: u64,
    /// Seconds, by the time of a batch under the first model that lacks losses.
    pub seconds: f64,
}

/// Tells what [`super::losses`] would take: one batch is computed, and nothing is written.
///
/// # Errors
/// An ensemble, dataset or model that is not there, theta_0 among them where its losses are missing;
/// [`DaunceError::Stopped`].
pub fn forecast_losses(
    store: &Store,
    request: &LossesRequest,
    work: &mut JobContext<'_>,
) -> Result<LossesForecast, DaunceError> {
    let snapshot = store.snapshot()?;
    let known = match snapshot.ensemble(&request.ensemble) {
        Ok(part) => Some(EnsemblePart::clone(part)),
        Err(_) if request.given.is_some() => None,
        Err(error) => return Err(error.into()),
    };
    let ingest = passes(request, work.threads, work.command);
    let rows = RowSet::clone(&*snapshot.live_rows(snapshot.dataset(&ingest.dataset)?)?);
    // What is given takes the place of what is stored.
    let adapter = request.given.as_ref().and_then(|given| given.base.clone());
    let stored = || known.as_ref()?.base.adapter.as_ref().map(PathBuf::from);
    let adapter = adapter.or_else(stored);
    let encoding = ingest.text.encoder(&ingest.model)?.spec().key();
    let job = known.map(|ensemble| LossesJob { store, request: ingest.clone(), ensemble, encoding });
    let columns = MissingColumns::find(job.as_ref(), &snapshot, request, (&rows, adapter))?;
    let mut forecast = LossesForecast { rows: rows.len(), ..columns.forecast };
    let Some((first, weights)) = columns.first else { return Ok(forecast) };
    let of_first = IngestRequest { checkpoints: vec![weights], ..ingest };
    let mut plan = IngestPlan::at(snapshot, of_first, work.progress)?;
    for feature in plan.checkpoints.iter_mut().flat_map(|checkpoint| &mut checkpoint.features) {
        // What is missing of the first column stands for all of them.
        feature.published = rows.difference(&first);
        feature.complete = false;
    }
    let of_first = estimate(&plan, work.cancel).map_err(|error| match error {
        IngestError::Stopped(stopped) => DaunceError::from(stopped),
        other => other.into(),
    })?;
    let times = forecast.passes as f64 / of_first.passes.max(1) as f64;
    forecast.tokens = (times * of_first.tokens as f64) as u64;
    forecast.disk = (times * of_first.disk as f64) as u64;
    forecast.memory = of_first.memory;
    forecast.seconds = times * of_first.seconds;
    Ok(forecast)
}

/// Which columns lack rows.
#[derive(Default)]
struct MissingColumns {
    forecast: LossesForecast,
    /// The rows that the first of them lacks, and its weights.
    first: Option<(RowSet, CheckpointArg)>,
}

impl MissingColumns {
    fn find(
        job: Option<&LossesJob<'_>>,
        snapshot: &Snapshot,
        request: &LossesRequest,
        (rows, adapter): (&RowSet, Option<PathBuf>),
    ) -> Result<Self, DaunceError> {
        let mut columns = Self::default();
        let of_base = match job.and_then(|job| snapshot.loss_offset(&job.columns(), OffsetOf::Base)) {
            Some(part) => snapshot.open_feature(part)?.row_set()?,
            None => RowSet::new(),
        };
        let missing = rows.difference(&of_base);
        if !missing.is_empty() {
            let weights = theta_0(&request.ensemble, adapter, missing.len())?;
            columns.lacks(missing, weights);
        }
        let members = job.map_or(&[][..], |job| &job.ensemble.members[..]);
        let new = request.new_members(members);
        let all = members.len() + new.len();
        columns.forecast.members = all;
        for place in request.wanted(all)? {
            let (missing, weights) = match (job, members.get(place)) {
                (Some(job), Some(member)) => {
                    let mut given = request.given.iter().flat_map(|given| &given.members);
                    let given = given.find(|arg| arg.name == member.id).cloned();
                    let folder = member.weights.as_ref().and_then(|weights| weights.folder.as_ref());
                    let folder = folder.map(PathBuf::from).filter(|folder| folder.exists());
                    let stored = folder.map(|folder| CheckpointArg::of_folder(member.id.clone(), folder));
                    (rows.difference(&job.rows_of(snapshot, place)?), given.or(stored))
                }
                _ => {
                    let arg = place.checked_sub(members.len()).and_then(|at| new.get(at));
                    (rows.clone(), arg.copied().cloned())
                }
            };
            match weights {
                _ if missing.is_empty() => columns.forecast.present += 1,
                None => columns.forecast.without_weights += 1,
                Some(weights) => {
                    columns.forecast.to_compute += 1;
                    columns.lacks(missing, weights);
                }
            }
        }
        Ok(columns)
    }

    fn lacks(&mut self, missing: RowSet, weights: CheckpointArg) {
        self.forecast.passes += missing.len();
        self.first.get_or_insert((missing, weights));
    }
}
