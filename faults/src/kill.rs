//! kill -9 at random instants of the workload, cycle after cycle on the same store until its work is done.

use crate::process::{Bench, Child, CycleOptions, cycles};
use crate::{Failure, Random, Report, Stop};
use std::path::Path;
use std::time::Duration;

/// When a child is killed.
#[derive(Debug, Clone, Copy)]
enum Aim {
    /// This long after its start.
    Time(Duration),
    /// This long after it begins a step.
    Step(usize, Duration),
    /// At this change of the medium, by its own hand.
    Change(u64),
}

/// The cycles.
pub fn run(seed: u64, options: &CycleOptions, stop: &Stop) -> Report {
    let mut report = Report::new("kill");
    let mut random = Random::of(&[seed, 9]);
    match temporary() {
        Ok(folder) => cycles(&mut report, seed, folder.path(), options, stop, |bench, report| {
            let aim = aim(bench, &mut random);
            let done = one(bench, aim, &options.program, &mut random, report);
            Some(done.map_err(|e| format!("{aim:?}: {e}").into()))
        }),
        Err(e) => report.anomaly(format!("no folder to work in: {e}")),
    }
    report.finish()
}

/// A folder in memory if possible: a killed process leaves the same behind there, and faster.
pub(crate) fn temporary() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

fn aim(bench: &Bench, random: &mut Random) -> Aim {
    match random.below(3) {
        0 => Aim::Time(Duration::from_micros(random.below(50_000))),
        1 => {
            let step = bench.acknowledged + random.below(bench.steps_left().min(6) as u64) as usize;
            Aim::Step(step, Duration::from_micros(random.below(4_000)))
        }
        _ => Aim::Change(1 + random.below(150)),
    }
}

/// One cycle; `true` if the workload is done and the store passed the final check.
fn one(
    bench: &mut Bench,
    aim: Aim,
    program: &Path,
    random: &mut Random,
    report: &mut Report,
) -> Result<bool, Failure> {
    let die = if let Aim::Change(n) = aim { Some(n) } else { None };
    let mut child = Child::start(program, bench, die)?;
    match aim {
        Aim::Time(time) => {
            child.wait_for(0, Duration::from_secs(10));
            std::thread::sleep(time);
        }
        Aim::Step(step, time) => {
            child.wait_for(step, Duration::from_secs(10));
            std::thread::sleep(time);
        }
        Aim::Change(_) => child.wait_for(usize::MAX, Duration::from_secs(20)),
    }
    let end = child.kill()?;
    report.count("cycles", 1);
    report.count("steps acknowledged", (child.acknowledged - bench.acknowledged) as u64);
    report.count(if end.finished { "came to the end" } else { "killed" }, 1);
    bench.acknowledged = child.acknowledged;
    if let Some(e) = end.error {
        return Err(format!("the process reported an error: {e}").into());
    }
    bench.examine(random)
}
