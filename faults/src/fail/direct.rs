//! Faults of direct reads, which bypass the page cache, while a store is checked.
//!
//! Invariants: a direct read that fails is repeated through the page cache, with the same result; bytes that
//! differ from the file's are reported as damage, unless they are not needed; no wrong byte is kept.

use super::{FailOptions, FailVfs, Fault};
use crate::check::guarded;
use crate::disk::{Image, SimDisk};
use crate::sim::{path, record};
use crate::work::{Plan, State};
use crate::{Failure, Report, Stop};
use gstore_store::Store;
use gstore_store::vfs::VfsRead;
use std::io::{self, Error, ErrorKind};
use std::sync::Arc;

/// How a direct read fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectFault {
    /// The file system does not support direct reads of this file.
    Missing,
    /// It refuses one, as for an unsupported offset.
    Invalid,
    /// An error of the device.
    Device,
    /// The read ends early.
    Short,
    /// One bit of the data is flipped.
    Flipped,
    /// The second half of the buffer was never written.
    Zeroed,
}

impl DirectFault {
    /// All of them.
    pub const ALL: [DirectFault; 6] = [
        DirectFault::Missing,
        DirectFault::Invalid,
        DirectFault::Device,
        DirectFault::Short,
        DirectFault::Flipped,
        DirectFault::Zeroed,
    ];

    /// Whether a read reports success but returns other bytes than the file has.
    pub fn changes_bytes(self) -> bool {
        matches!(self, DirectFault::Flipped | DirectFault::Zeroed)
    }

    /// A read of a file with the fault.
    pub(super) fn read(self, buf: &mut [u8], file: &dyn VfsRead, offset: u64) -> io::Result<()> {
        let half = buf.len() / 2;
        match self {
            DirectFault::Missing | DirectFault::Device => Err(Error::other("injected: input/output error")),
            DirectFault::Invalid => Err(ErrorKind::InvalidInput.into()),
            DirectFault::Short => {
                file.read_at(buf.split_at_mut(half).0, offset)?;
                Err(ErrorKind::UnexpectedEof.into())
            }
            DirectFault::Flipped => {
                file.read_at(buf, offset)?;
                buf.iter_mut().skip(half).take(1).for_each(|byte| *byte ^= 4);
                Ok(())
            }
            DirectFault::Zeroed => {
                file.read_at(buf, offset)?;
                buf.iter_mut().skip(half).for_each(|byte| *byte = 0);
                Ok(())
            }
        }
    }
}

/// Every fault, at every `stride`-th read of a plan's last state.
pub(super) fn run(
    (seed, plan): (u64, &Plan),
    end: &Image,
    options: &FailOptions,
    stop: &Stop,
    report: &mut Report,
) {
    let Some(expected) = plan.state(plan.steps.len()) else { return };
    let steps = options.steps;
    for fault in DirectFault::ALL {
        let replay =
            |n: u64| format!("replay: faults fail --seed {seed} --steps {steps} --direct {fault:?} --n {n}");
        // Seeds start at different reads, so that over many seeds a stride skips none.
        let mut n = seed % options.stride;
        let mut count = 0;
        while !stop.now() {
            match guarded(|| one(end, expected, fault, n)) {
                // There may be fewer reads than that.
                Ok(false) if count == 0 && n > 0 => {
                    n = 0;
                    continue;
                }
                Ok(false) => break,
                Ok(true) => {}
                Err(e) => {
                    report.anomaly(format!(
                        "seed {seed}, steps {steps}, {fault:?} at direct read {n}: {e}\n  {}",
                        replay(n)
                    ));
                    count += 1;
                    break;
                }
            }
            count += 1;
            n += options.stride;
        }
        report.count("direct reads that went wrong", count);
        if count == 0 && expected.has_vectors() && !stop.now() {
            report.anomaly(format!(
                "seed {seed}, steps {steps}: nothing is read past the system's memory\n  {}",
                replay(0)
            ));
        }
    }
}

/// One fault; `false` if there are fewer reads.
fn one(image: &Image, expected: &State, fault: DirectFault, n: u64) -> Result<bool, Failure> {
    let failing = FailVfs::new(SimDisk::from_image(image), Fault::Direct(fault), n);
    let store = Store::open_on(Arc::new(failing.clone()), &path())?;
    let snapshot = store.snapshot()?;
    failing.arm(true);
    let found = guarded(|| State::read(&snapshot));
    failing.arm(false);
    match found {
        Ok(found) => same(expected, &found)?,
        Err(e) if fault.changes_bytes() && failing.fired() => {
            let text = e.to_string();
            if !(text.contains("is damaged") && text.contains("digest")) {
                return Err(format!("damage that is not named: {text}").into());
            }
        }
        Err(e) => return Err(format!("it was not read in the ordinary way: {e}").into()),
    }
    same(expected, &State::read(&snapshot)?)?;
    Ok(failing.fired())
}

/// Repeats one fault, given in words.
pub fn replay_direct(seed: u64, options: &FailOptions, fault: &str, n: u64) -> Result<(), Failure> {
    let fault = DirectFault::ALL
        .into_iter()
        .find(|f| format!("{f:?}") == fault)
        .ok_or_else(|| format!("no such fault of direct reads: {fault}; there are {:?}", DirectFault::ALL))?;
    let plan = Plan::new(seed, options.steps);
    let (_, images) = record(&plan)?;
    let expected = plan.state(plan.steps.len()).ok_or("the workload has no last state")?;
    let image = images.last().ok_or("the workload has no last image")?;
    match guarded(|| one(image, expected, fault, n))? {
        true => Ok(()),
        false => Err("there are fewer direct reads".into()),
    }
}

fn same(expected: &State, found: &State) -> Result<(), Failure> {
    expected.difference(found).map_or(Ok(()), |difference| Err(difference.into()))
}
