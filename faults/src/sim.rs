//! Power loss on the simulated disk, at every operation, with every fate of changes that were not durable.

use crate::check::{self, Depth, guarded};
use crate::disk::{Image, Op, Pending, Replay, SimDisk, choices, numbers};
use crate::work::{Context, Plan};
use crate::{Failure, Random, Report, Stop};
use gstore_core::locked;
use gstore_store::vfs::Vfs;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct SimOptions {
    /// Steps of the workload.
    pub steps: usize,
    /// Images per point of the record at most.
    pub images: u64,
    /// In one of this many images the work continues to its end.
    pub onward: u64,
    /// Threads.
    pub threads: usize,
}

/// Folder of the store on the disk.
pub fn path() -> PathBuf {
    PathBuf::from("/store")
}

/// Runs a plan on an empty disk, and records it.
pub fn record(plan: &Plan) -> Result<(SimDisk, Vec<Image>), Failure> {
    let disk = SimDisk::new();
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let mut context = Context::new(Arc::clone(&vfs), &path());
    let mut before = Vec::new();
    for (i, step) in plan.steps.iter().enumerate() {
        before.push(disk.image());
        guarded(|| step.run(&mut context)).map_err(|e| check::in_step(i, step, &e))?;
        disk.mark(i + 1);
        // A step alone, without any fault, must match the model.
        let after = SimDisk::from_image(&disk.image());
        let vfs: Arc<dyn Vfs> = Arc::new(after);
        let done = check::look(plan, &vfs, &path(), i + 1, Depth::Current)
            .map_err(|e| check::in_step(i, step, &e))?;
        if done != i + 1 {
            return Err(check::in_step(i, step, &"it did more than it should".into()));
        }
    }
    drop(context);
    before.push(disk.image());
    Ok((disk, before))
}

/// One seed: records the workload, then checks images of every point of it.
pub fn run(seed: u64, options: &SimOptions, stop: &Stop, report: &mut Report) {
    let plan = Plan::new(seed, options.steps);
    let trace = match record(&plan) {
        Ok((disk, _)) => disk.trace(),
        Err(e) => return report.anomaly(format!("seed {seed}: without any fault: {e}")),
    };
    report.count("workloads", 1);
    report.count("operations", trace.len() as u64);
    let seen = Mutex::new(HashSet::new());
    let found = Mutex::new(Report::new("sim"));
    std::thread::scope(|scope| {
        for thread in 0..options.threads {
            let (plan, trace, seen, found) = (&plan, &trace, &seen, &found);
            scope.spawn(move || {
                let mut mine = Report::new("sim");
                walk(plan, trace, options, thread, seen, stop, &mut mine);
                locked(found).merge(mine);
            });
        }
    });
    report.merge(found.into_inner().unwrap_or_else(PoisonError::into_inner));
}

/// Every point that belongs to this thread.
fn walk(
    plan: &Plan,
    trace: &[Op],
    options: &SimOptions,
    thread: usize,
    seen: &Mutex<HashSet<(u64, usize)>>,
    stop: &Stop,
    report: &mut Report,
) {
    let mut replay = Replay::default();
    let mut known = HashMap::new();
    for (at, op) in trace.iter().enumerate() {
        replay.apply(op);
        if at % options.threads != thread || stop.now() {
            continue;
        }
        report.count("points", 1);
        if Random::of(&[plan.seed, at as u64, 5]).below(options.onward) < 4 {
            report.count("killed, then lost power", 1);
            if let Err(e) = guarded(|| killed(plan, &replay)) {
                report.anomaly(format!(
                    "seed {}, steps {}, killed after operation {at} ({}): {e}\n  replay: faults sim --seed {} --steps {} --at {at} --killed",
                    plan.seed, options.steps, op.describe(), plan.seed, options.steps
                ));
            }
        }
        let random = &mut Random::of(&[plan.seed, at as u64, 77]);
        for number in numbers(&replay.pending, options.images, random) {
            let choice = choices(&replay.pending, number, &mut Random::of(&[plan.seed, at as u64, number]));
            let image = Image::of(&replay, &choice);
            let digest = image.digest(&mut known);
            if !locked(seen).insert((digest, replay.acknowledged)) {
                report.count("equal images", 1);
                continue;
            }
            report.count("images", 1);
            let onward = digest.is_multiple_of(options.onward);
            if onward {
                report.count("continued", 1);
            }
            if let Err(e) = guarded(|| examine(plan, &image, replay.acknowledged, onward)) {
                report.anomaly(format!(
                    "seed {}, steps {}, after operation {at} ({}), image {number}: {e}\n  replay: faults sim --seed {} --steps {} --at {at} --image {number}",
                    plan.seed, options.steps, op.describe(), plan.seed, options.steps
                ));
            }
            known.retain(|_, (content, _)| Arc::strong_count(content) > 1);
        }
    }
}

/// Checks an image, and sometimes continues the work from there.
fn examine(plan: &Plan, image: &Image, acknowledged: usize, onward: bool) -> Result<(), Failure> {
    let vfs: Arc<dyn Vfs> = Arc::new(SimDisk::from_image(image));
    let depth = if onward { Depth::History } else { Depth::Current };
    let done = check::look(plan, &vfs, &path(), acknowledged, depth)?;
    if onward {
        // The interrupted step is repeated, even if it was done already.
        check::finish(plan, &vfs, &path(), acknowledged.min(done))?;
    }
    Ok(())
}

/// The process is killed here, another one does the interrupted step, and then power is lost: what the second
/// one acknowledged must still be there.
fn killed(plan: &Plan, replay: &Replay) -> Result<(), Failure> {
    let disk = SimDisk::from_image(&replay.live());
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let mut context = Context::new(Arc::clone(&vfs), &path());
    // An existing store is opened, not created, so only the next change can acknowledge it.
    let from = replay.acknowledged;
    let to = (from.max(1) + 1).min(plan.steps.len());
    for (i, step) in plan.steps.iter().enumerate().take(to).skip(from) {
        step.run(&mut context).map_err(|e| check::in_step(i, step, &e))?;
    }
    let lost = replay.clone().after(&disk.trace()).nothing_kept();
    let vfs: Arc<dyn Vfs> = Arc::new(SimDisk::from_image(&lost));
    let done = check::look(plan, &vfs, &path(), to, Depth::Current)
        .map_err(|e| format!("after the step again and a loss of power: {e}"))?;
    if done == to { Ok(()) } else { Err(format!("{done} steps are done, expected {to}").into()) }
}

/// Repeats a kill at a point of the record.
pub fn replay_killed(seed: u64, at: usize, options: &SimOptions) -> Result<(), Failure> {
    let plan = Plan::new(seed, options.steps);
    let (disk, _) = record(&plan)?;
    let replay = Replay::default().after(disk.trace().iter().take(at + 1));
    println!("{} steps acknowledged", replay.acknowledged);
    guarded(|| killed(&plan, &replay))
}

/// Repeats one image, given in words.
pub fn replay(seed: u64, at: usize, number: u64, options: &SimOptions) -> Result<(), Failure> {
    let plan = Plan::new(seed, options.steps);
    let (disk, _) = record(&plan)?;
    let trace = disk.trace();
    let replay = Replay::default().after(trace.iter().take(at + 1));
    for (i, op) in trace.iter().enumerate().skip(at.saturating_sub(15)).take(18) {
        println!("{} {i}: {}", if i == at { ">" } else { " " }, op.describe());
    }
    let (done, all) = (replay.acknowledged, plan.steps.len());
    println!("{done} of {all} steps acknowledged; in flight: {:?}", plan.steps.get(done));
    let choice = choices(&replay.pending, number, &mut Random::of(&[seed, at as u64, number]));
    for (change, choice) in replay.pending.iter().zip(&choice) {
        println!("  {choice:?}: {}", Pending::describe(change));
    }
    let image = Image::of(&replay, &choice);
    for (name, node) in &image.names {
        let len = match node {
            crate::disk::Node::Folder => String::new(),
            crate::disk::Node::File(id) => image.files.get(id).map_or(0, |c| c.len()).to_string(),
        };
        println!("    {} {len}", Path::new(name).display());
    }
    guarded(|| examine(&plan, &image, replay.acknowledged, true))
}
