//! Power loss on a real file system.
//!
//! An ext4 image on a loop device is shut down by the file system's own call, without a flush of its log,
//! then mounted again.

mod mount;

pub use mount::Mounted;

use crate::process::{Bench, Child, CycleOptions, cycles};
use crate::{Failure, Random, Report, Stop};
use std::path::Path;
use std::time::Duration;

/// The cycles, on an image of a few mebibytes; skipped where images cannot be mounted.
pub fn run(seed: u64, mebibytes: u64, options: &CycleOptions, stop: &Stop) -> Report {
    let mut disk = match Mounted::new(mebibytes) {
        Ok(disk) => disk,
        Err(why) => return Report::skipped("power", why),
    };
    let mut report = Report::new("power");
    let mut random = Random::of(&[seed, 11]);
    let folder = disk.folder().to_owned();
    cycles(&mut report, seed, &folder, options, stop, |bench, report| {
        disk.is_mounted().then(|| one(bench, &mut disk, &options.program, &mut random, report))
    });
    if let Err(e) = disk.close() {
        report.anomaly(format!("cleaning up: {e}"));
    }
    report.finish()
}

/// One cycle; `true` if the workload is done and the store passed the final check.
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
    // From here on no write reaches the image; what the child reports after this was durable before.
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
