//! Fit of factors of curvature: covariances, eigenbases and squares of gradients, partition by partition.
//!
//! Invariants
//! - a partition's sums are written when all of them are there, and never computed again; sums of partitions
//!   are added in their order, so killed and resumed runs, and runs of an array, end with the same bits
//! - what was written is compared with its digest before the fit goes on with it
//! - what a folder's factors are of stands in the folder, and work of something else is never gone on with
//! - a fit has its folder for itself; only jobs that compute one partition each share theirs
//! - a fit that fails leaves nothing in the folder unless the same one, as it is, can go on from there

mod bases;
mod sums;

use std::path::{Path, PathBuf};
use std::time::Instant;

use gstore_core::{Remedy, many};
use gstore_curvature::{Module, ModuleFactors, Squares, Strategy};
use gstore_model::weights::ModelError;
use gstore_store::{ArtifactError, ArtifactPart, Snapshot, Store};
use serde::Serialize;
use serde_json::json;

use super::begun::{begin, places};
use super::error::FactorJobError;
use super::folder::{FactorError, FactorFolder, FactorParts, FactorReader, Partition};
use super::forecast::FitForecast;
use super::lock::FitLock;
use super::parts::shown;
use super::passes::{Covariances, MergedSums, covariances, squares};
use super::plan::FitPlan;
use super::publish::{publish, read_content};
use super::request::{FitRequest, own_folder};
use super::sealed::seal;
use super::stamp::FactorStamp;
use crate::work::JobContext;

/// What a fit did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FitReport {
    /// Name of the factors.
    pub name: String,
    /// How curvature is approximated.
    pub strategy: String,
    /// The dataset.
    pub dataset: String,
    /// Rows that were fitted on.
    pub rows: u64,
    /// Rows that this run added which have no scored token; none where it did not take all of them itself.
    pub no_scored: Option<u64>,
    /// Modules.
    pub modules: usize,
    /// Partitions whose sums were computed by this run.
    pub computed: usize,
    /// Partitions whose sums were there already.
    pub found: usize,
    /// What is missing until the factors are finished; none where they are.
    pub waiting: Option<String>,
    /// The snapshot that has them.
    pub snapshot: Option<u64>,
    /// Time of each step.
    pub seconds: FitSeconds,
}

/// Seconds of a fit's steps, with reading and writing their files.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FitSeconds {
    /// Covariances.
    pub covariances: f64,
    /// Eigenvectors.
    pub eigenvectors: f64,
    /// Squares of gradients.
    pub squares: f64,
}

/// What a fit will take.
///
/// # Errors
/// As [`fit_factors`], before anything is computed.
pub fn forecast_factors(
    store: &Store,
    request: &FitRequest,
    work: &mut JobContext<'_>,
) -> Result<FitForecast, FactorJobError> {
    Ok(FitPlan::new(store, request, work)?.forecast)
}

/// Fits factors of curvature and publishes them as an artifact. Stopped or killed, the same request goes on
/// from the partitions that are finished.
///
/// # Errors
/// A model, data or text options that cannot be used, too little memory or disk, factors of other arguments
/// in the folder, another fit at work there, sums that are not finite, a name that is taken.
pub fn fit_factors(
    store: &Store,
    request: &FitRequest,
    work: &mut JobContext<'_>,
) -> Result<FitReport, FactorJobError> {
    ArtifactPart::check_name(&request.name)?;
    let path = request.factor_folder(store.path());
    let lock = FitLock::of(&path, request.only)?;
    let snapshot = store.snapshot()?;
    if snapshot.artifacts()?.contains(&request.name) && !request.replace {
        let is_own = request.folder.is_none() && request.only.is_none();
        if is_own && is_published(&path, &snapshot, &request.name) {
            // What cannot be removed now goes with a later command.
            let _ = remove_own(lock, store);
        }
        return Err(ArtifactError::Exists(request.name.clone()).into());
    }
    let plan = FitPlan::new(store, request, work)?;
    // A job of an array writes the sums of its part alone.
    if request.only.is_none() && !request.replace {
        plan.forecast.check_room(&path, store.path())?;
    }
    let folder = match begin(&path, request, &plan.stamp) {
        Err(error) if request.begins_again() && error.is_of_other_factors() => {
            lock.clear(|_| true)?;
            begin(&path, request, &plan.stamp)?
        }
        begun => begun?,
    };
    let report = FitReport {
        name: request.name.clone(),
        strategy: request.strategy.name().to_owned(),
        dataset: request.ingest.dataset.clone(),
        rows: plan.forecast.rows,
        modules: plan.engine.modules().len(),
        ..FitReport::default()
    };
    let mut fit = FitJob { plan, folder, path, request, report };
    fit.report.waiting = match fit.run(work) {
        Err(error) if matches!(error, FactorJobError::NothingScored) || !fit.has_sums() => {
            // What cannot be removed is as a kill would leave it; the error is what is to be told.
            let _ = give_up(lock, store, request);
            return Err(error);
        }
        ended => ended?,
    };
    let rows: u64 = fit.data().into_iter().map(|data| fit.plan.new[data].len()).sum();
    fit.report.no_scored = fit.plan.seen.unscored(rows, fit.plan.checkpoints() as u64);
    if fit.report.waiting.is_none() {
        if request.folder.is_some() {
            seal(&fit.path, &fit.plan.stamp, work.cancel)?;
        }
        let mut provenance = places(&request.ingest);
        provenance.insert("command".to_owned(), json!(work.command));
        let of = (&fit.plan.stamp, provenance);
        let over = request.replace.then_some(&*fit.plan.snapshot);
        let snapshot = publish(store, &request.name, &fit.path, of, (over, work.command), work.cancel)?;
        fit.report.snapshot = Some(snapshot.number());
        // The factors are published: what stays is as a kill would leave it.
        if request.folder.is_none()
            && let Err(error) = remove_own(lock, store)
        {
            let left = fit.path.display();
            work.progress
                .note(&format!("{left} is not needed any more, and was not removed: {error}; remove it"));
        }
    }
    Ok(fit.report)
}

/// Whether a folder has the sums of the factors that are published under a name: their fit was killed before
/// it removed the folder.
fn is_published(folder: &Path, snapshot: &Snapshot, name: &str) -> bool {
    let stamp = FactorStamp::read(folder).ok().flatten();
    let content = snapshot.artifact(name).ok().and_then(|part| read_content(&part).ok());
    stamp.is_some() && stamp == content.map(|content| content.stamp)
}

/// Removes the folder of a fit next to the store.
fn remove_own(lock: FitLock, store: &Store) -> std::io::Result<()> {
    lock.remove()?;
    // Another fit may be at work there.
    let _ = fs_err::remove_dir(own_folder(store.path()));
    Ok(())
}

/// Removes what a fit that came to nothing has written, unless other jobs of its array are at work there: a
/// fit of other rows or options would be refused for it.
fn give_up(lock: FitLock, store: &Store, request: &FitRequest) -> std::io::Result<()> {
    match request.folder {
        _ if !lock.is_alone() => Ok(()),
        None => remove_own(lock, store),
        // Others may have files there. The folder itself goes with the lock if it was made for it.
        Some(_) => lock.clear(FactorFolder::is_written),
    }
}

/// Whether a file is not what was written.
fn is_damage(error: &FactorError) -> bool {
    matches!(error, FactorError::File { .. } | FactorError::Tensors(ModelError::Safetensors { .. }))
}

/// An error of the fit's own files: it computes again what is not there.
fn of_files(error: FactorError) -> FactorJobError {
    of_damage(error, "")
}

/// The same of a file whose damage shows when it is opened, which a fit that begins again passes over.
fn of_opening(error: FactorError) -> FactorJobError {
    let [folder, force] = ["folder", "force"].map(|option| Remedy::Option(option, ""));
    of_damage(error, &format!("; without {folder}, {force} does so as it is"))
}

fn of_damage(error: FactorError, also: &str) -> FactorJobError {
    match is_damage(&error) {
        true => FactorJobError::Refused(format!(
            "{error}\n  the fit is not finished: remove the file and run the same command again, which computes it \
             again{also}"
        )),
        false => error.into(),
    }
}

/// What the fit's own files have of a module.
fn of_module<S>(
    files: &FactorReader,
    module: &Module,
    of: impl Fn(ModuleFactors) -> Option<S>,
) -> Result<S, FactorJobError> {
    let (_, found) = files.module(&module.name).map_err(of_files)?;
    of(found)
        .ok_or_else(|| FactorJobError::Refused(format!("the files have nothing of module `{}`", module.name)))
}

fn covariances_in(found: ModuleFactors) -> Option<Covariances> {
    found.activation.zip(found.gradient)
}

struct FitJob<'a> {
    plan: FitPlan,
    folder: FactorFolder,
    path: PathBuf,
    request: &'a FitRequest,
    report: FitReport,
}

impl FitJob<'_> {
    /// Does what is missing; says what others have to do first, where they have to.
    fn run(&mut self, work: &mut JobContext<'_>) -> Result<Option<String>, FactorJobError> {
        let strategy = self.request.strategy;
        if strategy.rotates() {
            let began = Instant::now();
            let missing = self.covariances(work)?;
            self.report.seconds.covariances = began.elapsed().as_secs_f64();
            if !missing.is_empty() {
                return self.others("covariances", &missing).map(Some);
            }
            let began = Instant::now();
            self.eigen(work)?;
            self.report.seconds.eigenvectors = began.elapsed().as_secs_f64();
        }
        let began = Instant::now();
        let missing = match strategy {
            Strategy::Ekfac | Strategy::Diagonal => self.squares(work)?,
            _ => Vec::new(),
        };
        self.report.seconds.squares = began.elapsed().as_secs_f64();
        if !missing.is_empty() {
            return self.others("squares", &missing).map(Some);
        }
        // Of an array every job but one ends before the artifact is published.
        Ok(self.request.only.map(|_| "one run without a partition, which publishes them".to_owned()))
    }

    /// Whether sums were written from which a later run can go on.
    fn has_sums(&self) -> bool {
        let has = |number| {
            let sums = [FactorParts::COVARIANCES, FactorParts::LAMBDA];
            sums.into_iter().any(|parts| self.folder.has(parts, number))
        };
        let of_data = |data| (0..self.plan.groups.len()).any(|group| has(self.plan.number(data, group)));
        has(None) || (0..self.plan.new.len()).any(of_data)
    }

    /// What other runs compute: sums of the partitions of the data that are missing.
    fn others(&self, sums: &str, missing: &[usize]) -> Result<String, FactorJobError> {
        if self.request.only.is_none() {
            return Err(FactorJobError::Refused(format!(
                "{}: files with {sums} were removed while the fit was at work; run the same command again: it computes them again",
                self.path.display()
            )));
        }
        let others = many(missing.len() as u64, "other partition");
        Ok(format!("{sums} of {others} of the data: {}", shown(missing)))
    }

    /// The partitions of the data that this run computes.
    fn data(&self) -> Vec<usize> {
        self.request.only.map_or_else(|| (0..self.plan.new.len()).collect(), |only| vec![only])
    }

    /// The sums of all partitions, added in their order; those of this run that are not there are computed
    /// and written first. While others are missing, which ones.
    fn partitions<S>(
        &mut self,
        parts: FactorParts,
        of: impl Fn(ModuleFactors) -> Option<S>,
        mut compute: impl FnMut(&mut Self, usize, usize) -> Result<Vec<S>, FactorJobError>,
        write: impl Fn(&FactorFolder, Option<Partition>, &[Module], &[S]) -> Result<(), FactorError>,
        empty: impl Fn(&FitPlan, &Module) -> S,
        merge: impl Fn(&mut S, &S),
    ) -> Result<Result<Vec<S>, Vec<usize>>, FactorJobError> {
        for data in self.data() {
            for group in 0..self.plan.groups.len() {
                let number = self.plan.number(data, group);
                if number.is_some() && self.are_there(parts, number)? {
                    self.report.found += 1;
                    continue;
                }
                let sums = compute(self, data, group)?;
                self.report.computed += 1;
                if number.is_none() {
                    // The fit is one partition.
                    return Ok(Ok(sums));
                }
                write(&self.folder, number, &self.plan.modules_of(group), &sums)?;
            }
        }
        let lacks = |data: &usize| {
            (0..self.plan.groups.len()).any(|group| !self.folder.has(parts, self.plan.number(*data, group)))
        };
        let missing: Vec<usize> = (0..self.plan.new.len()).filter(lacks).collect();
        if !missing.is_empty() {
            return Ok(Err(missing));
        }
        let modules = self.plan.engine.modules();
        let mut all: Vec<S> = modules.iter().map(|module| empty(&self.plan, module)).collect();
        for data in 0..self.plan.new.len() {
            for (group, places) in self.plan.groups.iter().enumerate() {
                let files = self.folder.quantities(parts, self.plan.number(data, group)).map_err(of_files)?;
                let Some(files) = files else { return Ok(Err(vec![data])) };
                for place in places {
                    merge(&mut all[*place], &of_module(&files, &modules[*place], &of)?);
                }
            }
        }
        Ok(Ok(all))
    }

    /// Whether the files of some quantities are there, and as they were written. Damaged ones are not, if they
    /// may be replaced.
    fn are_there(&self, parts: FactorParts, number: Option<Partition>) -> Result<bool, FactorJobError> {
        match self.folder.quantities(parts, number) {
            Err(error) if self.request.begins_again() && is_damage(&error) => Ok(false),
            found => Ok(found.map_err(of_opening)?.is_some()),
        }
    }

    /// Sums of covariances; gives the partitions that are missing.
    fn covariances(&mut self, work: &mut JobContext<'_>) -> Result<Vec<usize>, FactorJobError> {
        if self.are_there(FactorParts::COVARIANCES, None)? {
            return Ok(Vec::new());
        }
        let merge = |sum: &mut Covariances, part: &Covariances| {
            sum.0.merge(&part.0);
            sum.1.merge(&part.1);
        };
        let all = self.partitions(
            FactorParts::COVARIANCES,
            covariances_in,
            |fit, data, group| fit.covariances_of(data, group, work),
            FactorFolder::write_covariances,
            FitPlan::no_sums,
            merge,
        )?;
        let all = match all {
            Ok(all) => self.with_earlier(all, work)?,
            Err(missing) => return Ok(missing),
        };
        self.folder.write_covariances(None, self.plan.engine.modules(), &all)?;
        Ok(Vec::new())
    }

    /// The sum of what `pass` gives at each of the checkpoints.
    fn over_checkpoints<S: MergedSums + Default>(
        &mut self,
        mut pass: impl FnMut(&mut Self) -> Result<S, FactorJobError>,
    ) -> Result<S, FactorJobError> {
        let mut sums: Option<S> = None;
        for place in self.plan.places() {
            self.plan.go_to(place)?;
            let part = pass(self)?;
            match &mut sums {
                None => sums = Some(part),
                Some(sums) => sums.merge(&part),
            }
        }
        Ok(sums.unwrap_or_default())
    }

    /// Covariances of a partition, over all checkpoints.
    fn covariances_of(
        &mut self,
        data: usize,
        group: usize,
        work: &mut JobContext<'_>,
    ) -> Result<Vec<Covariances>, FactorJobError> {
        let mut sums = self.over_checkpoints(|fit| {
            let (rows, wanted) = (&fit.plan.new[data], &fit.plan.groups[group]);
            covariances(&fit.plan, rows, wanted, fit.request.fisher, work)
        })?;
        for (activation, gradient) in &mut sums {
            activation.mirror();
            gradient.mirror();
        }
        Ok(sums)
    }

    /// Squares of gradients of a partition, over all checkpoints, in one basis where there is one.
    fn squares_of(
        &mut self,
        data: usize,
        group: usize,
        work: &mut JobContext<'_>,
    ) -> Result<Vec<Squares>, FactorJobError> {
        let rotated = self.request.strategy == Strategy::Ekfac;
        self.over_checkpoints(|fit| {
            if rotated && !fit.plan.has_bases {
                fit.set_bases()?;
            }
            let rows = if rotated { &fit.plan.all[data] } else { &fit.plan.new[data] };
            let (wanted, how) = (&fit.plan.groups[group], (fit.request.fisher, rotated));
            squares(&fit.plan, rows, wanted, how, work)
        })
    }

    /// Squares of gradients; gives the partitions that are missing.
    fn squares(&mut self, work: &mut JobContext<'_>) -> Result<Vec<usize>, FactorJobError> {
        if self.are_there(FactorParts::LAMBDA, None)? {
            return Ok(Vec::new());
        }
        let all = self.partitions(
            FactorParts::LAMBDA,
            |found| found.lambda.or(found.diagonal),
            |fit, data, group| fit.squares_of(data, group, work),
            FactorFolder::write_lambda,
            |_, module| Squares::new(module.len()),
            Squares::merge,
        )?;
        let mut all = match all {
            Ok(all) => all,
            Err(missing) => return Ok(missing),
        };
        if self.request.strategy != Strategy::Ekfac {
            self.add_earlier_squares(&mut all)?;
            // Where there are eigenbases, their covariances were looked at.
            if all.iter().all(|squares| squares.sums.iter().all(|value| *value == 0.0)) {
                return Err(FactorJobError::NothingScored);
            }
        }
        self.folder.write_lambda(None, self.plan.engine.modules(), &all)?;
        Ok(Vec::new())
    }
}
