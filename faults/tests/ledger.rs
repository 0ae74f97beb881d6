//! Promise: power lost at any instant, with any of the changes that were not flushed gone, leaves a ledger
//! that is right or rebuilt, and never one that is called damaged.

use gstore_faults::Random;
use gstore_faults::check::sound;
use gstore_faults::disk::{Image, Replay, SimDisk, choices, numbers};
use gstore_faults::sim::path;
use gstore_faults::work::{Context, State, Step};
use gstore_store::IfChanged;
use gstore_store::vfs::Vfs;
use std::sync::Arc;

/// Images of each point.
const IMAGES: u64 = 5;

fn append(samples: impl IntoIterator<Item = (u64, u32)>) -> Step {
    let samples = samples.into_iter().collect();
    Step::Append { dataset: "pool".into(), samples, changed: IfChanged::Replace, restore: false }
}

/// Adds new samples, and others for some that are there.
fn change() -> Step {
    append((15..25).map(|id| (id, u32::from(id < 18))))
}

fn context(disk: &SimDisk) -> Context {
    Context::new(Arc::new(disk.clone()), &path())
}

fn content(context: &mut Context) -> State {
    State::read(&context.store().unwrap().snapshot().unwrap()).unwrap()
}

/// A store with twenty samples.
fn begun() -> SimDisk {
    let disk = SimDisk::new();
    let mut context = context(&disk);
    [Step::Create, append((0..20).map(|id| (id, 0)))].iter().for_each(|step| step.run(&mut context).unwrap());
    disk
}

fn lost_anywhere(base: &Image, least: usize) {
    let disk = SimDisk::from_image(base);
    let mut now = context(&disk);
    let before = content(&mut now);
    change().run(&mut now).unwrap();
    disk.mark(1);
    let mut after = before.clone();
    change().apply(&mut after);
    let trace = disk.trace();
    assert!(trace.len() > least, "{}", trace.len());
    let mut replay = Replay::new(base.clone(), 0);
    for (at, op) in (0..).zip(&trace) {
        replay.apply(op);
        for number in numbers(&replay.pending, IMAGES, &mut Random::of(&[at])) {
            let what = format!("after operation {at} ({}), image {number}", op.describe());
            let choice = choices(&replay.pending, number, &mut Random::of(&[at, number]));
            let mut now = context(&SimDisk::from_image(&Image::of(&replay, &choice)));
            let found = content(&mut now);
            if replay.acknowledged == 1 || before.difference(&found).is_some() {
                assert_eq!(after.difference(&found), None, "{what}");
            }
            sound(now.store().unwrap()).unwrap_or_else(|e| panic!("{what}: {e}"));
            change().run(&mut now).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(after.difference(&content(&mut now)), None, "{what}");
            let report = sound(now.store().unwrap()).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(report.notes.is_empty(), "{what}: {:?}", report.notes);
        }
    }
}

#[test]
fn a_ledger_that_was_closed_in_order() {
    lost_anywhere(&begun().image(), 40);
}

#[test]
fn a_ledger_that_is_rebuilt_because_it_was_damaged() {
    let disk = begun();
    disk.remove(&path().join("ledger.sums")).unwrap();
    let ledger = disk.open_random(&path().join("ledger.redb")).unwrap();
    ledger.set_len(0).unwrap();
    ledger.write_at(b"not a database", 0).unwrap();
    lost_anywhere(&disk.image(), 50);
}
