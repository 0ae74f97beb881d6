//! Forecast of losses by forward passes: texts, tokens, time, memory and disk.

use std::path::{Path, PathBuf};

use gstore_core::RowSet;
use gstore_ingest::pipeline::{IngestPlan, IngestRequest, estimate};
use gstore_store::{EnsemblePart, OffsetOf, Snapshot, Store};

use super::{Job, LossesRequest, passes, theta_0};
use crate::daunce::DaunceError;
use crate::work::Work;

/// What losses will take.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// Their tokens, extrapolated from the first rows.
    pub tokens: u64,
    /// Bytes of the new columns.
    pub disk: u64,
    /// Bytes of memory at the peak, about.
    pub memory: u64,
    /// Seconds, by the time of a batch under theta_0.
    pub seconds: f64,
}

/// Tells what [`super::losses`] would take: one batch is computed, and nothing is written.
///
/// # Errors
/// An ensemble, dataset or model that is not there.
pub fn forecast_losses(
    store: &Store,
    request: &LossesRequest,
    work: &mut Work<'_>,
) -> Result<LossesForecast, DaunceError> {
    let snapshot = store.snapshot()?;
    let known = match snapshot.ensemble(&request.ensemble) {
        Ok(part) => Some(EnsemblePart::clone(part)),
        Err(_) if request.given.is_some() => None,
        Err(error) => return Err(error.into()),
    };
    let ingest = passes(request, work.threads, work.command);
    let rows = RowSet::clone(&*snapshot.live_rows(snapshot.dataset(&ingest.dataset)?)?);
    let adapter = match (&known, &request.given) {
        (Some(known), _) => known.base.adapter.as_ref().map(PathBuf::from),
        (None, given) => given.as_ref().and_then(|given| given.base.clone()),
    };
    let encoding = ingest.text.encoder(&ingest.model)?.spec().key();
    let job = known.map(|ensemble| Job { store, request: ingest.clone(), ensemble, encoding });
    let columns = Columns::find(job.as_ref(), &snapshot, request, &rows)?;
    let mut forecast = LossesForecast { rows: rows.len(), ..columns.forecast };
    let Some(first) = columns.first else { return Ok(forecast) };
    let of_base = IngestRequest { checkpoints: vec![theta_0(adapter)], ..ingest };
    let mut plan = IngestPlan::at(snapshot, of_base, work.progress)?;
    for feature in plan.checkpoints.iter_mut().flat_map(|checkpoint| &mut checkpoint.features) {
        // What is missing of the first column stands for all of them.
        feature.published = rows.difference(&first);
        feature.complete = false;
    }
    let of_first = estimate(&plan)?;
    let times = forecast.passes as f64 / of_first.passes.max(1) as f64;
    forecast.tokens = (times * of_first.tokens as f64) as u64;
    forecast.disk = (times * of_first.disk as f64) as u64;
    forecast.memory = of_first.memory;
    forecast.seconds = times * of_first.seconds;
    Ok(forecast)
}

/// Which columns lack rows.
#[derive(Default)]
struct Columns {
    forecast: LossesForecast,
    /// The rows that the first of them lacks.
    first: Option<RowSet>,
}

impl Columns {
    fn find(
        job: Option<&Job<'_>>,
        snapshot: &Snapshot,
        request: &LossesRequest,
        rows: &RowSet,
    ) -> Result<Self, DaunceError> {
        let mut columns = Self::default();
        let of_base = match job.and_then(|job| snapshot.loss_offset(&job.columns(), OffsetOf::Base)) {
            Some(part) => snapshot.open_feature(part)?.row_set()?,
            None => RowSet::new(),
        };
        columns.lacks(rows.difference(&of_base));
        let members = job.map_or(&[][..], |job| &job.ensemble.members[..]);
        let given = request.given.iter().flat_map(|given| &given.members);
        let new = given.filter(|arg| members.iter().all(|member| member.id != arg.name)).count();
        let all = members.len() + new;
        let wanted = request.members.clone().unwrap_or(0..all);
        if wanted.end > all {
            let ensemble = request.ensemble.clone();
            return Err(DaunceError::NoMembers {
                ensemble,
                from: wanted.start,
                to: wanted.end,
                members: all,
            });
        }
        columns.forecast.members = all;
        for place in wanted {
            let missing = match (job, members.get(place)) {
                (Some(job), Some(_)) => rows.difference(&job.rows_of(snapshot, place)?),
                _ => rows.clone(),
            };
            let folder = members.get(place).map(|member| {
                member.weights.as_ref().and_then(|weights| weights.folder.as_ref()).map(Path::new)
            });
            match folder {
                _ if missing.is_empty() => columns.forecast.present += 1,
                Some(folder) if !folder.is_some_and(Path::exists) => columns.forecast.without_weights += 1,
                _ => {
                    columns.forecast.to_compute += 1;
                    columns.lacks(missing);
                }
            }
        }
        Ok(columns)
    }

    fn lacks(&mut self, missing: RowSet) {
        self.forecast.passes += missing.len();
        if self.first.is_none() && !missing.is_empty() {
            self.first = Some(missing);
        }
    }
}
