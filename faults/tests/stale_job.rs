//! Promise: vectors that a job had computed for a dataset are never shown for the samples of another dataset
//! that took over its name.

use gstore_faults::disk::{Choice, Image, Pending, Replay, SimDisk};
use gstore_faults::work::{Context, State, Step};
use gstore_store::IfChanged;
use gstore_store::vfs::Vfs;
use std::sync::Arc;

fn append(ids: std::ops::Range<u64>) -> Step {
    let samples = ids.map(|id| (id, 0)).collect();
    Step::Append { dataset: "side".into(), samples, changed: IfChanged::Refuse, restore: false }
}

fn job(stop: Option<u64>) -> Step {
    Step::Job { features: vec![3], upto: u64::MAX, window: 5, stop, checkpoint: None }
}

/// An interrupted job, and another dataset in place of the job's.
fn begun() -> [Step; 5] {
    [Step::Create, append(0..10), job(Some(1)), Step::DropDataset("side".into()), append(100..110)]
}

fn context(disk: &SimDisk) -> Context {
    Context::new(Arc::new(disk.clone()), &gstore_faults::sim::path())
}

/// Runs steps, and keeps the expected content after them.
fn run(context: &mut Context, expected: &mut State, steps: impl IntoIterator<Item = Step>) {
    for step in steps {
        step.run(context).unwrap();
        step.apply(expected);
    }
}

fn difference(context: &mut Context, expected: &State) -> Option<String> {
    expected.difference(&State::read(&context.store().unwrap().snapshot().unwrap()).unwrap())
}

#[test]
fn an_interrupted_job_of_a_dropped_dataset_is_not_gone_on_with() {
    let (mut now, mut expected) = (context(&SimDisk::new()), State::default());
    run(&mut now, &mut expected, begun().into_iter().chain([job(None)]));
    assert_eq!(difference(&mut now, &expected), None);
}

#[test]
fn nor_after_a_loss_of_power_that_takes_back_the_removal_of_its_files() {
    let disk = SimDisk::new();
    let (mut now, mut expected) = (context(&disk), State::default());
    run(&mut now, &mut expected, begun());
    let before = disk.image();
    let done = disk.trace().len();
    run(&mut now, &mut expected, [job(None)]);
    let mut replay = Replay::new(before, 0);
    let mut undone = 0;
    for op in &disk.trace()[done..] {
        replay.apply(op);
        let lost = |change: &Pending| matches!(change, Pending::Unlink(_));
        undone += usize::from(replay.pending.iter().any(lost));
        let kept: Vec<Choice> =
            replay.pending.iter().map(|c| if lost(c) { Choice::Lost } else { Choice::Whole }).collect();
        let mut now = context(&SimDisk::from_image(&Image::of(&replay, &kept)));
        job(None).run(&mut now).unwrap();
        assert_eq!(difference(&mut now, &expected), None, "after {}", op.describe());
    }
    assert!(undone > 3, "the job removes what another one sealed");
}

#[test]
fn nor_what_a_publish_that_was_cut_short_had_moved() {
    let disk = SimDisk::new();
    let (mut now, mut expected) = (context(&disk), State::default());
    run(&mut now, &mut expected, [Step::Create, append(0..10)]);
    let (before, done) = (disk.image(), disk.trace().len());
    job(None).run(&mut now).unwrap();
    // Killed with every file in place, just before the commit.
    let trace = disk.trace();
    let commit = trace.iter().rposition(|op| op.describe().ends_with("to /store/CURRENT")).unwrap();
    let disk = SimDisk::from_image(&Replay::new(before, 0).after(&trace[done..commit]).live());

    let mut now = context(&disk);
    run(&mut now, &mut expected, [Step::DropDataset("side".into()), append(100..110)]);
    // What a collection leaves that is killed while it removes the job's folder.
    let tmp = gstore_faults::sim::path().join("tmp");
    let folder = disk.list(&tmp).unwrap().into_iter().find(|name| name.starts_with("job-")).unwrap();
    disk.remove(&tmp.join(&folder).join("job.json")).unwrap();
    assert!(disk.list(&tmp.join(&folder)).unwrap().contains(&"publish.json".to_owned()));
    run(&mut now, &mut expected, [job(None)]);
    assert_eq!(difference(&mut now, &expected), None);
}

#[test]
fn nor_where_nothing_tells_whose_its_files_are() {
    let disk = SimDisk::new();
    let (mut now, mut expected) = (context(&disk), State::default());
    run(&mut now, &mut expected, begun());
    let tmp = gstore_faults::sim::path().join("tmp");
    let folder = disk.list(&tmp).unwrap().into_iter().find(|name| name.starts_with("job-")).unwrap();
    disk.remove(&tmp.join(folder).join("job.json")).unwrap();
    run(&mut now, &mut expected, [job(None)]);
    assert_eq!(difference(&mut now, &expected), None);
}
