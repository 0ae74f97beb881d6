//! Reads past the system's memory that go wrong while a store is looked at.
//!
//! Invariants: one that says so is done again in the ordinary way, and nobody notices; bytes that are not
//! those of the file are damage that is named, or were not needed; nothing wrong is remembered.

use super::{DirectFault, FailOptions, FailVfs, Fault};
use crate::check::guarded;
use crate::disk::{Image, SimDisk};
use crate::sim::path;
use crate::work::{Plan, State};
use crate::{Failure, Report, Stop};
use gstore_store::Store;
use std::sync::Arc;

/// Every way of going wrong, at every so manieth of the reads of a plan's last state.
pub(super) fn run(
    (seed, plan): (u64, &Plan),
    end: &Image,
    options: &FailOptions,
    stop: &Stop,
    report: &mut Report,
) {
    let Some(expected) = plan.state(plan.steps.len()) else { return };
    for fault in DirectFault::ALL {
        let mut n = seed % options.stride;
        let mut count = 0;
        while !stop.now() {
            match guarded(|| one(end, expected, fault, n)) {
                Ok(false) => break,
                Ok(true) => {}
                Err(e) => report.anomaly(format!("seed {seed}, {fault:?} at direct read {n}: {e}")),
            }
            count += 1;
            n += options.stride;
        }
        report.count("direct reads that went wrong", count);
        if count == 0 && !stop.now() {
            report.anomaly(format!("seed {seed}: nothing is read past the system's memory"));
        }
    }
}

/// One of them; `false` if there are fewer reads.
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

fn same(expected: &State, found: &State) -> Result<(), Failure> {
    expected.difference(found).map_or(Ok(()), |difference| Err(difference.into()))
}
