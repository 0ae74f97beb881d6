//! Power loss on a real file system.
//!
//! An ext4 image on a loop device is shut down by the file system's own call, without a flush of its log,
//! then mounted again.

mod mount;

pub use mount::Mounted;

use crate::process::{Bench, Child};
use crate::{Failure, Random, Report, Stop};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much is done.
#[derive(Debug, Clone)]
pub struct PowerOptions {
    /// Losses of power.
    pub cycles: u64,
    /// Steps of a workload.
    pub steps: usize,
    /// Size of the image.
    pub mebibytes: u64,
    /// The `faults` program, for the children.
    pub program: PathBuf,
    /// Where bad stores are kept.
    pub keep: Option<PathBuf>,
}

/// The cycles; skipped where images cannot be mounted.
pub fn run(seed: u64, options: &PowerOptions, stop: &Stop) -> Report {
    let mut disk = match Mounted::new(options.mebibytes) {
        Ok(disk) => disk,
        Err(why) => return Report::skipped("power", why),
    };
    let mut report = Report::new("power");
    let mut random = Random::of(&[seed, 11]);
    let mut next_seed = seed;
    let mut bench: Option<Bench> = None;
    for cycle in 0..options.cycles {
        if stop.now() {
            break;
        }
        let now = bench.get_or_insert_with(|| {
            next_seed += 1;
            Bench::new(disk.folder(), next_seed, options.steps)
        });
        match one(now, &mut disk, &options.program, &mut random, &mut report) {
            Ok(false) => {}
            Ok(true) => {
                report.count("stores finished", 1);
                now.remove(None);
                bench = None;
            }
            Err(e) => {
                report.anomaly(format!("cycle {cycle}, {}: {e}", now.place()));
                now.remove(options.keep.as_deref());
                bench = None;
                if !disk.is_mounted() {
                    break;
                }
            }
        }
        if cycle % 100 == 99 {
            eprintln!("power: {} cycles", cycle + 1);
        }
    }
    if let Err(e) = disk.close() {
        report.anomaly(format!("cleaning up: {e}"));
    }
    report.finish()
}

/// One cycle; `true` if the workload is done and the store was looked at to the end.
fn one(
    bench: &mut Bench,
    disk: &mut Mounted,
    program: &Path,
    random: &mut Random,
    report: &mut Report,
) -> Result<bool, Failure> {
    let mut child = Child::start(program, bench, None)?;
    let step = bench.acknowledged + random.below(bench.steps_left().min(5) as u64) as usize;
    child.wait_for(step, Duration::from_secs(20));
    std::thread::sleep(Duration::from_micros(random.below(60_000)));
    // From here on no write reaches the image; what the child says after this was safe before.
    let lost = disk.lose_power();
    let end = child.kill()?;
    lost?;
    report.count("cycles", 1);
    report.count("steps acknowledged", (child.acknowledged - bench.acknowledged) as u64);
    if end.finished {
        report.count("came to the end", 1);
    }
    if end.error.is_some() {
        report.count("saw the failing disk", 1);
    }
    bench.acknowledged = child.acknowledged;
    drop(child);
    disk.again()?;
    bench.examine(random)
}
