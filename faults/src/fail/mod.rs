//! Failure of the N-th file operation, for every N, in every step of a workload.
//!
//! Invariants: no panic; an error says what failed; the store opens and nothing acknowledged is lost, even if
//! power is lost at once; the same process can repeat the step, and what it then acknowledges is durable.

mod direct;
mod vfs;

pub use direct::{DirectFault, replay_direct};
use vfs::FailVfs;
pub use vfs::Fault;

use crate::check::{self, Depth, guarded};
use crate::disk::{Image, Replay, SimDisk};
use crate::sim::{path, record};
use crate::work::{Context, Plan};
use crate::{Failure, Report, Stop};
use gstore_store::vfs::Vfs;
use std::sync::Arc;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct FailOptions {
    /// Steps of the workload.
    pub steps: usize,
    /// One in this many operations fails; 1 for all.
    pub stride: u64,
}

/// One seed: every step with every fault.
pub fn run(seed: u64, options: &FailOptions, stop: &Stop, report: &mut Report) {
    let plan = Plan::new(seed, options.steps);
    let images = match record(&plan) {
        Ok((_, images)) => images,
        Err(e) => return report.anomaly(format!("seed {seed}: without any fault: {e}")),
    };
    report.count("workloads", 1);
    for (i, image) in images.iter().take(plan.steps.len()).enumerate() {
        for fault in Fault::ALL {
            // Different steps and seeds start at different operations, so that over many of them a stride
            // skips none.
            let mut n = (seed + i as u64) % options.stride;
            while !stop.now() {
                match guarded(|| one(&plan, image, i, fault, n)) {
                    Ok(false) => break,
                    Ok(true) => {}
                    Err(e) => report.anomaly(format!(
                        "seed {seed}, steps {}, {fault:?} at operation {n} of step {i} ({:?}): {e}\n  replay: faults fail --seed {seed} --steps {} --step {i} --fault {fault:?} --n {n}",
                        options.steps, plan.steps.get(i), options.steps
                    )),
                }
                report.count("failures", 1);
                n += options.stride;
            }
        }
    }
    if let Some(end) = images.last() {
        direct::run((seed, &plan), end, options, stop, report);
    }
}

/// One failure; `false` if the step has fewer operations.
pub fn one(plan: &Plan, image: &Image, i: usize, fault: Fault, n: u64) -> Result<bool, Failure> {
    let step = plan.steps.get(i).ok_or("no such step")?;
    let disk = SimDisk::from_image(image);
    let failing = FailVfs::new(disk.clone(), fault, n);
    let vfs: Arc<dyn Vfs> = Arc::new(failing.clone());
    let mut context = Context::new(Arc::clone(&vfs), &path());
    if i > 0 {
        context.store()?;
    }
    failing.arm(true);
    let result = guarded(|| step.run(&mut context));
    failing.arm(false);
    if !failing.fired() {
        return result.map(|()| false);
    }
    let acknowledged = match &result {
        Ok(()) => i + 1,
        Err(e) => {
            check_text(&e.to_string())?;
            i
        }
    };
    let after = after_power_loss(&disk, image);
    look(plan, &after, acknowledged).map_err(|e| format!("after a loss of power ({}): {e}", say(&result)))?;
    look(plan, &disk, acknowledged).map_err(|e| format!("in the same process ({}): {e}", say(&result)))?;
    // An existing store is opened, not created, so only the next change can acknowledge it.
    let last = if i == 0 { 1 } else { i };
    for step in plan.steps.iter().take(last + 1).skip(i) {
        guarded(|| step.run(&mut context)).map_err(|e| format!("the step again ({}): {e}", say(&result)))?;
    }
    for (what, disk) in [("", &disk), (" and a loss of power", &after_power_loss(&disk, image))] {
        let done = look(plan, disk, last + 1)
            .map_err(|e| format!("after the step again{what} ({}): {e}", say(&result)))?;
        if done != last + 1 {
            return Err(
                format!("after the step again{what}: {done} steps done, expected {}", last + 1).into()
            );
        }
    }
    Ok(true)
}

fn say(result: &Result<(), Failure>) -> String {
    result.as_ref().map_or_else(|e| format!("it had said: {e}"), |()| "it had succeeded".into())
}

fn look(plan: &Plan, disk: &SimDisk, acknowledged: usize) -> Result<usize, Failure> {
    let vfs: Arc<dyn Vfs> = Arc::new(SimDisk::from_image(&disk.image()));
    check::look(plan, &vfs, &path(), acknowledged, Depth::Current)
}

/// The disk when everything that is not durable is lost.
fn after_power_loss(disk: &SimDisk, base: &Image) -> SimDisk {
    SimDisk::from_image(&Replay::new(base.clone(), 0).after(&disk.trace()).nothing_kept())
}

/// An error names a file, a folder or an action, in addition to the system's message.
fn check_text(text: &str) -> Result<(), Failure> {
    const WORDS: &[&str] = &[
        "CURRENT",
        "LOCK",
        "manifest",
        "ledger",
        "samples",
        "encodings",
        "segments",
        "tombstones",
        "deleted/",
        "artifacts",
        "indexes",
        "tmp",
        "folder",
        "lease",
        ".arrow",
        ".parquet",
        ".roaring",
        "/store",
        "list deleted",
        "list .",
        "list server/",
    ];
    if text.starts_with("PANIC") {
        return Err(text.into());
    }
    let said = text.replace("no space left on device", "").replace("input/output error", "");
    if WORDS.iter().any(|w| said.contains(w)) {
        Ok(())
    } else {
        Err(format!("an error that does not say what failed: {text}").into())
    }
}

/// Repeats one failure, given in words.
pub fn replay(seed: u64, options: &FailOptions, step: usize, fault: &str, n: u64) -> Result<(), Failure> {
    let fault = Fault::ALL.into_iter().find(|f| format!("{f:?}") == fault).ok_or("no such fault")?;
    let plan = Plan::new(seed, options.steps);
    let (_, images) = record(&plan)?;
    let image = images.get(step).ok_or("no such step")?;
    println!("step {step}: {:?}", plan.steps.get(step));
    match guarded(|| one(&plan, image, step, fault, n))? {
        true => Ok(()),
        false => Err("the step has fewer operations".into()),
    }
}
