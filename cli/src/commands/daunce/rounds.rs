//! Losses and split-half agreement of copies, after each round of their training.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use gstore::daunce::{LossesRequest, losses};
use gstore_core::Cancel;
use gstore_ingest::pipeline::IngestRequest;
use gstore_query::influence::{Function, Options};
use gstore_store::Store;
use gstore_train::TrainRequest;
use serde_json::json;

use crate::args::DaunceTrainArgs;
use crate::context::Context;
use crate::failure::UsageError;
use crate::progress::Reporter;
use crate::question::{question_between, scoring};

/// Rows at the top whose overlap is counted; the rank correlation is what ends a training.
const TOP: usize = 20;

/// After each round.
pub struct LossRounds<'a> {
    context: &'a Context,
    args: &'a DaunceTrainArgs,
    training: &'a TrainRequest,
    ensemble: &'a str,
    cancel: &'a Cancel,
    /// Datasets whose losses are computed. Each has one reporter for all rounds, which tells a note once.
    datasets: BTreeMap<String, Reporter>,
    /// How alike halves of the copies ranked last.
    pub agreement: Option<f64>,
    /// Whether losses were stopped.
    pub stopped: bool,
}

fn datasets(args: &DaunceTrainArgs) -> BTreeSet<String> {
    let of_until = [&args.of.data.dataset, &args.models.target].into_iter().flatten();
    let of_until = of_until.filter(|_| args.models.until.is_some());
    args.keeping.losses.iter().chain(of_until).cloned().collect()
}

/// Rows that have losses computed of each copy. Refuses datasets that the store does not have, before
/// anything is trained or dropped.
pub fn rows_of_losses(store: &Store, args: &DaunceTrainArgs) -> Result<u64> {
    let snapshot = store.snapshot()?;
    if let Some(pool) = &args.of.data.dataset {
        snapshot.dataset(pool)?;
    }
    let mut rows = 0;
    for dataset in datasets(args) {
        rows += snapshot.live_rows(snapshot.dataset(&dataset)?)?.len();
    }
    Ok(rows)
}

impl<'a> LossRounds<'a> {
    /// Nothing has happened yet.
    pub fn new(
        context: &'a Context,
        args: &'a DaunceTrainArgs,
        training: &'a TrainRequest,
        ensemble: &'a str,
        cancel: &'a Cancel,
    ) -> Self {
        let datasets = datasets(args).into_iter().map(|dataset| (dataset, context.reporter())).collect();
        Self { context, args, training, ensemble, cancel, datasets, agreement: None, stopped: false }
    }

    /// Datasets whose losses are computed.
    pub fn datasets(&self) -> Vec<String> {
        self.datasets.keys().cloned().collect()
    }

    /// Computes the losses that are missing; whether there are enough copies now, or it was told to stop.
    pub fn losses_and_agreement(&mut self, store: &Store) -> Result<bool> {
        for (dataset, reporter) in &mut self.datasets {
            let compute = &self.training.compute;
            let ingest = IngestRequest {
                device: compute.device,
                beside: compute.beside.clone(),
                // Whatever the copies are trained in: losses of less precision hide how they differ.
                compute: gstore_model::ComputePrecision::F32,
                max_memory: compute.max_memory,
                text: self.training.batching.text.clone(),
                ..IngestRequest::new(dataset.clone(), self.training.model.clone())
            };
            let request =
                LossesRequest { ensemble: self.ensemble.to_owned(), ingest, members: None, given: None };
            let report = losses(store, &request, &mut self.context.work(reporter, self.cancel))?;
            if report.stopped {
                self.stopped = true;
                return Ok(true);
            }
        }
        let Some(wanted) = self.args.models.until else { return Ok(false) };
        self.agreement = self.agreement_now(store)?;
        if let Some(found) = self.agreement {
            self.context.say(&format!("halves of the copies agree by {found:.3}"));
        }
        Ok(self.agreement.is_some_and(|found| found >= wanted))
    }

    /// How alike halves of the copies rank the rows that they are trained on for the target.
    fn agreement_now(&self, store: &Store) -> Result<Option<f64>> {
        let (Some(pool), Some(target)) = (&self.args.of.data.dataset, &self.args.models.target) else {
            return Ok(None);
        };
        let snapshot = store.snapshot()?;
        // Two halves of at least two.
        if snapshot.ensemble(self.ensemble)?.members.len() < 4 {
            return Ok(None);
        }
        let mut options = Options::new(Function::Influence);
        for (name, value) in [("method", "daunce"), ("ensemble", self.ensemble)] {
            options.set(name, json!(value)).map_err(|error| UsageError(error.message))?;
        }
        let spec =
            question_between(std::slice::from_ref(pool), std::slice::from_ref(target), scoring(&options)?);
        // What there is to note of so few models is told of the finished ensemble.
        let mut reporter = Reporter::new(true);
        let mut work = self.context.work(&mut reporter, self.cancel);
        Ok(gstore::ask(&snapshot, &spec, None, &mut work)?.agreement(TOP, &work)?.last())
    }
}
