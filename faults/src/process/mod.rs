//! The workload in a child process, which prints each acknowledged step until it is killed.

mod child;
mod vfs;

pub use child::{Child, Line, main as child_main};
pub use vfs::Fault;
pub(crate) use vfs::faulty;

use crate::check::{self, Depth, guarded};
use crate::work::Plan;
use crate::{Failure, Random, Report, Stop};
use gstore_store::vfs::{OsVfs, Vfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often stores are brought down, and with how much work.
#[derive(Debug, Clone)]
pub struct CycleOptions {
    /// Kills, or power losses.
    pub cycles: u64,
    /// Steps of a workload.
    pub steps: usize,
    /// The `faults` program, for the children.
    pub program: PathBuf,
    /// Where bad stores are kept.
    pub keep: Option<PathBuf>,
}

/// Brings down one store after the other, each until its work is done or it is bad. `one` is a cycle, and
/// says whether the work is done; none if no cycle is possible any more.
pub(crate) fn cycles(
    report: &mut Report,
    mut seed: u64,
    folder: &Path,
    options: &CycleOptions,
    stop: &Stop,
    mut one: impl FnMut(&mut Bench, &mut Report) -> Option<Result<bool, Failure>>,
) {
    let mut bench: Option<Bench> = None;
    for cycle in 0..options.cycles {
        if stop.now() {
            break;
        }
        let now = bench.get_or_insert_with(|| {
            seed += 1;
            // Bad stores of all kinds of faults are kept in one folder.
            Bench::new(folder.join(format!("{}-{seed}", report.name)), seed, options.steps)
        });
        match one(now, report) {
            None => break,
            Some(Ok(false)) => {}
            Some(Ok(true)) => {
                report.count("stores finished", 1);
                remove(&now.path, None);
                bench = None;
            }
            Some(Err(e)) => {
                report.anomaly(format!("cycle {cycle}, {}: {e}", now.place()));
                remove(&now.path, options.keep.as_deref());
                bench = None;
            }
        }
        if cycle % 100 == 99 {
            eprintln!("{}: {} cycles", report.name, cycle + 1);
        }
    }
}

/// A store on a real file system, and the progress of its workload.
#[derive(Debug)]
pub struct Bench {
    /// The workload.
    pub plan: Plan,
    /// The store's folder.
    pub path: PathBuf,
    /// Acknowledged steps.
    pub acknowledged: usize,
    /// Requested steps.
    length: usize,
}

impl Bench {
    /// A new one, in a separate folder.
    pub fn new(path: PathBuf, seed: u64, steps: usize) -> Self {
        Bench { plan: Plan::new(seed, steps), path, acknowledged: 0, length: steps }
    }

    /// Checks what a fault has left. `true` if all steps are done and passed the final check.
    pub fn examine(&mut self, random: &mut Random) -> Result<bool, Failure> {
        let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
        let depth = if random.chance(25) { Depth::History } else { Depth::Current };
        guarded(|| check::look(&self.plan, &vfs, &self.path, self.acknowledged, depth))?;
        if self.acknowledged < self.plan.steps.len() {
            return Ok(false);
        }
        guarded(|| check::finish(&self.plan, &vfs, &self.path, self.acknowledged))?;
        Ok(true)
    }

    /// Steps that are not acknowledged yet.
    pub fn steps_left(&self) -> usize {
        self.plan.steps.len().saturating_sub(self.acknowledged)
    }

    /// Its place, for reports.
    pub fn place(&self) -> String {
        format!(
            "seed {}, {} of {} steps acknowledged, in flight {:?}",
            self.plan.seed,
            self.acknowledged,
            self.plan.steps.len(),
            self.plan.steps.get(self.acknowledged)
        )
    }
}

/// Removes a store; a bad one is copied first, if there is a folder for bad stores.
pub(crate) fn remove(store: &Path, keep: Option<&Path>) {
    if let (Some(folder), Some(name)) = (keep, store.file_name()) {
        let target = folder.join(format!("bad-{}", name.display()));
        let _ = std::process::Command::new("cp").arg("-r").arg(store).arg(&target).status();
        eprintln!("the store is kept in {}", target.display());
    }
    let _ = fs_err::remove_dir_all(store);
}
