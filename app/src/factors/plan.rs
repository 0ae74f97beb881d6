//! Plan of a fit: its rows, modules and partitions, and whether they fit in memory.

use std::sync::Arc;

use gstore_core::{CheckpointId, Remedy, RowSet, many};
use gstore_curvature::{Blocks, Covariance, Module};
use gstore_ingest::curvature::CurvatureEngine;
use gstore_ingest::pipeline::{IngestRequest, RowBatches};
use gstore_model::architectures::Decoder;
use gstore_store::{Lease, Snapshot, Store};

use super::cut::{cut, most_rows, tell_blocks};
use super::engine::{self, Engines, RowCounters};
use super::error::FactorJobError;
use super::extend::{extended, lacking};
use super::forecast::{FitForecast, FitSizes};
use super::parts::{chosen_rows, split, split_rows};
use super::request::{FitRequest, check};
use super::stamp::{FactorStamp, rows_digest};
use crate::work::JobContext;

struct FitCheckpoint {
    id: CheckpointId,
    at: IngestRequest,
}

pub(super) struct FitPlan {
    pub snapshot: Arc<Snapshot>,
    /// Engine at one of the checkpoints.
    pub engine: Engines,
    checkpoints: Vec<FitCheckpoint>,
    /// Index of the engine's checkpoint.
    here: usize,
    pub has_bases: bool,
    pub batches: RowBatches,
    /// The rows of covariances, and of squares that need no basis: those that earlier factors lack.
    pub new: Vec<RowSet>,
    /// The rows of squares in the eigenbasis: all of them.
    pub all: Vec<RowSet>,
    /// Indices of the modules of each partition.
    pub groups: Vec<Vec<usize>>,
    max_block: usize,
    pub stamp: FactorStamp,
    pub forecast: FitForecast,
    /// The rows of the first pass.
    pub seen: RowCounters,
    /// Keeps the snapshot from being collected.
    pub _lease: Option<Lease>,
}

impl FitPlan {
    pub fn new(
        store: &Store,
        request: &FitRequest,
        work: &mut JobContext<'_>,
    ) -> Result<Self, FactorJobError> {
        check(request)?;
        let (snapshot, lease) = store.snapshot_leased(None, work.command)?;
        let (extended, sums) = extended(&snapshot, request)?.unzip();
        let ingest = IngestRequest { threads: work.threads, ..request.ingest.clone() };
        let (dataset, rows) = chosen_rows(&snapshot, &ingest)?;
        check_partitions(request.partitions[0], rows.len(), "row")?;
        let engine = engine::load_as_stage(&ingest, &ingest.modules, work)?;
        let checkpoints = checkpoints(&ingest, &engine)?;
        let modules = engine.modules().to_vec();
        check_partitions(request.partitions[1], modules.len() as u64, "module")?;
        let max_block = most_rows(request, extended.as_ref());
        tell_head(&engine, &ingest, max_block, work);
        tell_blocks(&modules, request.strategy, max_block, work);
        let widest = modules.iter().map(Module::len).max().unwrap_or(0);
        let tell = &mut |note: &str| work.progress.note(note);
        let batches = RowBatches::new(&snapshot, &dataset, &ingest, 2 * widest, tell)?;
        let inside = ingest.device.bytes_inside_layer(ingest.compute);
        let sizes = FitSizes {
            modules: &modules,
            strategy: request.strategy,
            max_block,
            rows: rows.len(),
            devices: ingest.devices(),
            weights: engine::weight_bytes(&engine, &ingest),
            activations: engine::activation_bytes(&engine, &ingest, inside),
            batch: [engine::batch_tokens(&ingest), rows.len().min(batches.most_rows() as u64)],
            gradient_copies: ingest.device.gradient_copies(),
            several: checkpoints.len() > 1,
        };
        let forecast = sizes.fitted(work.threads, request.partitions, ingest.max_memory)?;
        work.tell_threads(forecast.threads, "the sums of more do not fit in memory");
        let stamp = FactorStamp {
            strategy: request.strategy.name().to_owned(),
            checkpoint: engine.checkpoint_id().to_string(),
            averaged: checkpoints.iter().skip(1).map(|checkpoint| checkpoint.id.to_string()).collect(),
            compute: ingest.compute.name().to_owned(),
            dataset: Some(ingest.dataset.clone()),
            rows: rows.pairs(),
            rows_digest: rows_digest(batches.samples(), &rows, work.cancel)?,
            encoding: Some(batches.encoding()),
            fisher: request.fisher.name().to_owned(),
            seed: request.fisher.seed(),
            modules: modules.clone(),
            partitions: request.partitions,
            batch_tokens: ingest.batch_tokens,
            extends: request.extend.clone(),
            extended: sums,
            max_block: cut(&modules, request.strategy, max_block),
            backend: ingest.device.name().to_owned(),
        };
        let new = match request.extend.as_deref().zip(extended.as_ref()) {
            Some(before) => lacking(&snapshot, before, &stamp, work.cancel)?,
            None => rows.clone(),
        };
        let parts = request.partitions[0];
        Ok(Self {
            snapshot,
            engine,
            checkpoints,
            here: 0,
            has_bases: false,
            batches,
            new: split_rows(&new, parts),
            all: split_rows(&rows, parts),
            groups: split(modules.len(), request.partitions[1]).into_iter().map(Vec::from_iter).collect(),
            max_block,
            stamp,
            forecast,
            seen: RowCounters::default(),
            _lease: lease,
        })
    }

    /// Checkpoints that sums are over.
    pub fn checkpoints(&self) -> usize {
        self.checkpoints.len()
    }

    /// Indices of the checkpoints in the order of a pass. Of two, the one that is loaded comes first, which
    /// saves reading weights and eigenbases again: a sum of two has the same bits in either order; a sum of
    /// more does not.
    pub fn places(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.checkpoints.len()).collect();
        if places.len() == 2 && self.here == 1 {
            places.reverse();
        }
        places
    }

    /// Moves to a checkpoint; its weights are read unless they are loaded.
    pub(crate) fn go_to(&mut self, place: usize) -> Result<(), FactorJobError> {
        if place == self.here {
            return Ok(());
        }
        let FitCheckpoint { id, at } = &self.checkpoints[place];
        let engine = engine::load_at(at, &at.modules, (id, &self.stamp.modules))?;
        (self.engine, self.here, self.has_bases) = (engine, place, false);
        Ok(())
    }

    /// Indices of a partition in file names; none if there is only one.
    pub fn number(&self, data: usize, group: usize) -> Option<(usize, usize)> {
        (self.new.len() > 1 || self.groups.len() > 1).then_some((data, group))
    }

    /// Empty covariances of inputs and of gradients.
    pub(crate) fn no_sums(&self, module: &Module) -> (Covariance, Covariance) {
        let of = |size| Covariance::in_blocks(Blocks::new(size, self.max_block));
        (of(module.input), of(module.out))
    }

    /// The modules of a partition.
    pub fn modules_of(&self, group: usize) -> Vec<Module> {
        self.groups[group].iter().map(|at| self.engine.modules()[*at].clone()).collect()
    }
}

/// Refuses more partitions than there are rows or modules; `noun` is the singular of either.
fn check_partitions(parts: usize, count: u64, noun: &str) -> Result<(), FactorJobError> {
    if parts as u64 > count {
        let all = many(count, noun);
        return Err(FactorJobError::Option(format!("{all} cannot be split into {parts} partitions")));
    }
    Ok(())
}

/// The checkpoints of a request; the engine is at the first.
fn checkpoints(
    ingest: &IngestRequest,
    engine: &CurvatureEngine,
) -> Result<Vec<FitCheckpoint>, FactorJobError> {
    let mut all = vec![FitCheckpoint { id: engine.checkpoint_id().clone(), at: ingest.clone() }];
    for checkpoint in ingest.checkpoints.iter().skip(1) {
        let at = IngestRequest { checkpoints: vec![checkpoint.clone()], ..ingest.clone() };
        let id = engine::identity(&at, engine)?;
        if all.iter().any(|other| other.id == id) {
            let text = format!("checkpoint {} is named twice, and would count twice", checkpoint.name);
            return Err(FactorJobError::Option(text));
        }
        all.push(FitCheckpoint { id, at });
    }
    Ok(all)
}

/// Notes that the head is left out where no modules were chosen, as its covariance grows with the vocabulary.
/// A tied head is not a linear layer of its own.
fn tell_head(engine: &CurvatureEngine, ingest: &IngestRequest, max_block: usize, work: &mut JobContext<'_>) {
    let Decoder { vocab_size, tied, .. } = *engine.decoder();
    if !tied && ingest.modules.patterns.is_empty() {
        let modules = many(engine.modules().len() as u64, "linear module");
        work.progress.note(&format!(
            "{modules} of the blocks; the head is left out unless {} names it (the covariance of its {vocab_size} outputs takes {:.1} MB)",
            Remedy::Option("modules", ""),
            8.0 * Blocks::new(vocab_size, max_block).values() as f64 / 1e6
        ));
    }
}
