//! Fit of factors of curvature: covariances, eigenbases and squares of gradients, partition by partition.
//!
//! Invariants
//! - a partition's sums are written when all of them are there, and never computed again; sums of partitions
//!   are added in their order, so killed and resumed runs, and runs of an array, end with the same bits
//! - what a folder's factors are of stands in the folder, and work of something else is never gone on with

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gstore_core::{Unit, parallel};
use gstore_curvature::{Covariance, Eigen, Module, ModuleFactors, Squares, Strategy};
use gstore_store::{ArtifactError, ArtifactPart, Store};
use serde::Serialize;
use serde_json::json;

use super::begun::{begin, named, places};
use super::error::FactorJobError;
use super::folder::FactorFolder;
use super::forecast::FitForecast;
use super::passes::{Covariances, covariances, squares};
use super::plan::{FitPlan, FitRequest, own_folder};
use super::publish::{in_folder, publish};
use crate::work::Work;

/// What a fit did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FitReport {
    /// Name of the factors.
    pub name: String,
    /// How curvature is approximated.
    pub strategy: String,
    /// The dataset.
    pub dataset: String,
    /// Rows that were fitted on.
    pub rows: u64,
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
    work: &mut Work<'_>,
) -> Result<FitForecast, FactorJobError> {
    Ok(FitPlan::new(store, request, work)?.forecast)
}

/// Fits factors of curvature and publishes them as an artifact. Stopped or killed, the same request goes on
/// from the partitions that are finished.
///
/// # Errors
/// A model, data or text options that cannot be used, too little memory, factors of other arguments in the
/// folder, sums that are not finite, a name that is taken.
pub fn fit_factors(
    store: &Store,
    request: &FitRequest,
    work: &mut Work<'_>,
) -> Result<FitReport, FactorJobError> {
    ArtifactPart::check_name(&request.name)?;
    let taken = store.snapshot()?.artifacts()?.contains(&request.name);
    if taken && !request.replace {
        return Err(ArtifactError::Exists(request.name.clone()).into());
    }
    let plan = FitPlan::new(store, request, work)?;
    let path = request.factor_folder(store.path());
    let folder = begin(&path, request, &plan.stamp)?;
    let report = FitReport {
        name: request.name.clone(),
        strategy: request.strategy.name().to_owned(),
        dataset: request.ingest.dataset.clone(),
        rows: plan.forecast.rows,
        modules: plan.engine.modules().len(),
        computed: 0,
        found: 0,
        waiting: None,
        snapshot: None,
        seconds: FitSeconds::default(),
    };
    let mut fit = Fit { plan, folder, path, request, report };
    fit.report.waiting = fit.run(work)?;
    if fit.report.waiting.is_none() {
        work.cancel.check()?;
        let mut provenance = places(&request.ingest);
        provenance.insert("command".to_owned(), json!(work.command));
        let of = (&fit.plan.stamp, provenance);
        let snapshot = publish(store, &request.name, &fit.path, of, (request.replace, work.command))?;
        fit.report.snapshot = Some(snapshot.number());
        fit.clean(store.path())?;
    }
    Ok(fit.report)
}

/// A fit on its way.
struct Fit<'a> {
    plan: FitPlan,
    folder: FactorFolder,
    path: PathBuf,
    request: &'a FitRequest,
    report: FitReport,
}

impl Fit<'_> {
    /// Does what is missing; says what others have to do first, where they have to.
    fn run(&mut self, work: &mut Work<'_>) -> Result<Option<String>, FactorJobError> {
        let strategy = self.request.strategy;
        if strategy.rotates() {
            let began = Instant::now();
            let all = self.covariances(work)?;
            self.report.seconds.covariances = began.elapsed().as_secs_f64();
            if !all {
                return Ok(Some(format!(
                    "covariances of the other {} partitions of the data",
                    self.plan.new.len() - 1
                )));
            }
            let began = Instant::now();
            self.eigen(work)?;
            self.report.seconds.eigenvectors = began.elapsed().as_secs_f64();
        }
        let began = Instant::now();
        let all = !matches!(strategy, Strategy::Ekfac | Strategy::Diagonal) || self.squares(work)?;
        self.report.seconds.squares = began.elapsed().as_secs_f64();
        if !all {
            return Ok(Some(format!(
                "squares of the other {} partitions of the data",
                self.plan.new.len() - 1
            )));
        }
        // Of an array every job but one ends before the artifact is published.
        Ok(self.request.only.map(|_| "one run without a partition, which publishes them".to_owned()))
    }

    /// The partitions of the data that this run computes.
    fn data(&self) -> Vec<usize> {
        self.request.only.map_or_else(|| (0..self.plan.new.len()).collect(), |only| vec![only])
    }

    /// Sums of covariances; false while other partitions are missing.
    fn covariances(&mut self, work: &mut Work<'_>) -> Result<bool, FactorJobError> {
        let read =
            |folder: &FactorFolder, number| folder.read_covariances(number).map_err(FactorJobError::other);
        if read(&self.folder, None)?.is_some() {
            return Ok(true);
        }
        let modules = self.plan.engine.modules().to_vec();
        let mut single = None;
        for data in self.data() {
            for group in 0..self.plan.groups.len() {
                let number = self.plan.number(data, group);
                if number.is_some() && read(&self.folder, number)?.is_some() {
                    self.report.found += 1;
                    continue;
                }
                let (rows, wanted) = (&self.plan.new[data], &self.plan.groups[group]);
                let sums = covariances(&self.plan, rows, wanted, self.request.fisher, work)?;
                self.report.computed += 1;
                match number {
                    Some(_) => {
                        let modules = self.plan.modules_of(group);
                        self.folder
                            .write_covariances(number, &modules, &sums)
                            .map_err(FactorJobError::other)?;
                    }
                    None => single = Some(sums),
                }
            }
        }
        let all = match single {
            Some(sums) => sums,
            None => {
                let Some(sums) = self.merged_covariances(&modules)? else { return Ok(false) };
                sums
            }
        };
        let all = self.with_earlier(all, work)?;
        self.folder.write_covariances(None, &modules, &all).map_err(FactorJobError::other)?;
        Ok(true)
    }

    /// The sums of all partitions, added in their order; none where one is missing.
    fn merged_covariances(&self, modules: &[Module]) -> Result<Option<Vec<Covariances>>, FactorJobError> {
        let empty = |module: &Module| (Covariance::new(module.input), Covariance::new(module.out));
        let mut all: Vec<Covariances> = modules.iter().map(empty).collect();
        for data in 0..self.plan.new.len() {
            for (group, places) in self.plan.groups.iter().enumerate() {
                let number = self.plan.number(data, group);
                let found = self.folder.read_covariances(number).map_err(FactorJobError::other)?;
                let Some(found) = found else { return Ok(None) };
                for place in places {
                    let part = named(found.iter().map(|(name, a, g)| (name, (a, g))), &modules[*place])?;
                    all[*place].0.merge(part.0);
                    all[*place].1.merge(part.1);
                }
            }
        }
        Ok(Some(all))
    }

    /// With the sums of the factors that are extended before them.
    fn with_earlier(
        &self,
        mut sums: Vec<Covariances>,
        work: &Work<'_>,
    ) -> Result<Vec<Covariances>, FactorJobError> {
        let Some(name) = &self.request.extend else { return Ok(sums) };
        let earlier = in_folder(&self.plan.snapshot, name)?;
        let found = earlier.folder.read_covariances(None).map_err(FactorJobError::other)?.unwrap_or_default();
        for (module, sum) in self.plan.engine.modules().iter().zip(&mut sums) {
            work.cancel.check()?;
            let (a, g) = named(found.iter().map(|(name, a, g)| (name, (a, g))), module)?;
            let (mut a, mut g) = (a.clone(), g.clone());
            a.merge(&sum.0);
            g.merge(&sum.1);
            *sum = (a, g);
        }
        Ok(sums)
    }

    /// Eigenbases of all covariances, one matrix a thread.
    fn eigen(&mut self, work: &mut Work<'_>) -> Result<(), FactorJobError> {
        if self.folder.read_eigen().map_err(FactorJobError::other)?.is_some() {
            return Ok(());
        }
        let modules = self.plan.engine.modules();
        let found = self.folder.read_covariances(None).map_err(FactorJobError::other)?.unwrap_or_default();
        let sums = modules
            .iter()
            .map(|module| named(found.iter().map(|(name, a, g)| (name, (a, g))), module))
            .collect::<Result<Vec<(&Covariance, &Covariance)>, _>>()?;
        let decompose = |_: &mut (), at: usize| -> Result<Eigen, FactorJobError> {
            let (module, (a, g)) = (&modules[at / 2], sums[at / 2]);
            let (sum, what) =
                if at.is_multiple_of(2) { (a, "activation covariance") } else { (g, "gradient covariance") };
            Ok(Eigen::of(&sum.mean(), sum.size, &module.name, what)?)
        };
        work.progress.start("eigendecomposition", 2 * modules.len() as u64, Unit::Matrices);
        let mut all = Vec::with_capacity(2 * modules.len());
        let progress = &mut *work.progress;
        let take = |eigen: Eigen| -> Result<ControlFlow<()>, FactorJobError> {
            all.push(eigen);
            progress.advance(1);
            Ok(ControlFlow::Continue(()))
        };
        let threads = self.plan.forecast.threads;
        let ended = parallel::ordered(2 * modules.len(), threads, work.cancel, || (), decompose, take);
        work.progress.finish();
        ended?;
        let mut all = all.into_iter();
        let pairs: Vec<(Eigen, Eigen)> = std::iter::from_fn(|| Some((all.next()?, all.next()?))).collect();
        self.folder.write_eigen(modules, &pairs).map_err(FactorJobError::other)
    }

    /// Squares of gradients; false while other partitions are missing.
    fn squares(&mut self, work: &mut Work<'_>) -> Result<bool, FactorJobError> {
        let read = |folder: &FactorFolder, number| folder.read_lambda(number).map_err(FactorJobError::other);
        if read(&self.folder, None)?.is_some() {
            return Ok(true);
        }
        let rotated = self.request.strategy == Strategy::Ekfac;
        let modules = self.plan.engine.modules().to_vec();
        let (mut single, mut has_bases) = (None, false);
        for data in self.data() {
            for group in 0..self.plan.groups.len() {
                let number = self.plan.number(data, group);
                if number.is_some() && read(&self.folder, number)?.is_some() {
                    self.report.found += 1;
                    continue;
                }
                if rotated && !has_bases {
                    self.set_bases()?;
                    has_bases = true;
                }
                let rows = if rotated { &self.plan.all[data] } else { &self.plan.new[data] };
                let (wanted, how) = (&self.plan.groups[group], (self.request.fisher, rotated));
                let sums = squares(&self.plan, rows, wanted, how, work)?;
                self.report.computed += 1;
                match number {
                    Some(_) => {
                        let modules = self.plan.modules_of(group);
                        self.folder.write_lambda(number, &modules, &sums).map_err(FactorJobError::other)?;
                    }
                    None => single = Some(sums),
                }
            }
        }
        let mut all = match single {
            Some(sums) => sums,
            None => {
                let Some(sums) = self.merged_squares(&modules)? else { return Ok(false) };
                sums
            }
        };
        if let Some(name) = self.request.extend.as_ref().filter(|_| !rotated) {
            let earlier = in_folder(&self.plan.snapshot, name)?;
            let found = earlier.folder.read_lambda(None).map_err(FactorJobError::other)?.unwrap_or_default();
            for (module, sum) in modules.iter().zip(&mut all) {
                let mut before = named(found.iter().map(|(name, sums)| (name, sums)), module)?.clone();
                before.merge(sum);
                *sum = before;
            }
        }
        self.folder.write_lambda(None, &modules, &all).map_err(FactorJobError::other)?;
        Ok(true)
    }

    fn merged_squares(&self, modules: &[Module]) -> Result<Option<Vec<Squares>>, FactorJobError> {
        let mut all: Vec<Squares> = modules.iter().map(|module| Squares::new(module.len())).collect();
        for data in 0..self.plan.new.len() {
            for (group, places) in self.plan.groups.iter().enumerate() {
                let number = self.plan.number(data, group);
                let found = self.folder.read_lambda(number).map_err(FactorJobError::other)?;
                let Some(found) = found else { return Ok(None) };
                for place in places {
                    let part = named(found.iter().map(|(name, sums)| (name, sums)), &modules[*place])?;
                    all[*place].merge(part);
                }
            }
        }
        Ok(Some(all))
    }

    /// Gives the engine the eigenbases.
    fn set_bases(&mut self) -> Result<(), FactorJobError> {
        let found = self.folder.read_eigen().map_err(FactorJobError::other)?.unwrap_or_default();
        let of = |module: &Module| {
            let (a, g) = named(found.iter().map(|(name, a, g)| (name, (a, g))), module)?;
            Ok(ModuleFactors {
                activation_eigen: Some(a.clone()),
                gradient_eigen: Some(g.clone()),
                ..ModuleFactors::default()
            })
        };
        let factors =
            self.plan.engine.modules().iter().map(of).collect::<Result<Vec<_>, FactorJobError>>()?;
        drop(found);
        self.plan.engine.set_bases(&factors).map_err(FactorJobError::other)
    }

    /// Removes the folder, unless it is the user's.
    fn clean(&self, store: &Path) -> Result<(), FactorJobError> {
        if self.request.folder.is_some() {
            return Ok(());
        }
        fs_err::remove_dir_all(&self.path)?;
        // Another fit may be at work there.
        let _ = fs_err::remove_dir(own_folder(store));
        Ok(())
    }
}
