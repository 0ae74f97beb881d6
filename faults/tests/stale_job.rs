//! Promise: vectors that a job had computed of a dataset are never shown for the samples of another
//! one that got its name.

use gstore_faults::disk::{Choice, Image, Pending, Replay, SimDisk};
use gstore_faults::work::{Context, Mode, State, Step};
use gstore_store::vfs::Vfs;
use std::sync::Arc;

fn append(ids: std::ops::Range<u64>) -> Step {
    let samples = ids.map(|id| (id, 0)).collect();
    Step::Append { dataset: "side".into(), samples, mode: Mode::Refuse, restore: false }
}

fn job(stop: Option<u64>) -> Step {
    Step::Job { features: vec![3], upto: u64::MAX, window: 5, stop, checkpoint: None }
}

#[test]
fn an_interrupted_job_of_a_dropped_dataset_is_not_gone_on_with() {
    let disk: Arc<dyn Vfs> = Arc::new(gstore_faults::disk::SimDisk::new());
    let mut context = Context::new(disk, &gstore_faults::sim::path());
    let mut expected = State::default();
    let drop = Step::DropDataset("side".into());
    for step in [Step::Create, append(0..10), job(Some(1)), drop, append(100..110), job(None)] {
        step.run(&mut context).unwrap();
        step.apply(&mut expected);
    }
    let found = State::read(&context.store().unwrap().snapshot().unwrap()).unwrap();
    assert_eq!(expected.difference(&found), None);
}

#[test]
fn nor_after_a_loss_of_power_that_takes_back_the_removal_of_its_files() {
    let disk = SimDisk::new();
    let mut context = Context::new(Arc::new(disk.clone()), &gstore_faults::sim::path());
    let mut expected = State::default();
    let drop = Step::DropDataset("side".into());
    for step in [Step::Create, append(0..10), job(Some(1)), drop, append(100..110)] {
        step.run(&mut context).unwrap();
        step.apply(&mut expected);
    }
    let before = disk.image();
    let done = disk.trace().len();
    job(None).run(&mut context).unwrap();
    job(None).apply(&mut expected);
    let mut replay = Replay::new(before, 0);
    let mut undone = 0;
    for op in &disk.trace()[done..] {
        replay.apply(op);
        let lost = |change: &Pending| matches!(change, Pending::Unlink { .. });
        undone += usize::from(replay.pending.iter().any(lost));
        let kept: Vec<Choice> =
            replay.pending.iter().map(|c| if lost(c) { Choice::Lost } else { Choice::Whole }).collect();
        let left = SimDisk::from_image(&Image::of(&replay, &kept));
        let mut context = Context::new(Arc::new(left), &gstore_faults::sim::path());
        job(None).run(&mut context).unwrap();
        let found = State::read(&context.store().unwrap().snapshot().unwrap()).unwrap();
        assert_eq!(expected.difference(&found), None, "after {}", op.describe());
    }
    assert!(undone > 3, "the job removes what another one sealed");
}

#[test]
fn nor_what_a_publish_that_was_cut_short_had_moved() {
    let disk = SimDisk::new();
    let mut context = Context::new(Arc::new(disk.clone()), &gstore_faults::sim::path());
    for step in [Step::Create, append(0..10)] {
        step.run(&mut context).unwrap();
    }
    let mut replay = Replay::new(disk.image(), 0);
    let done = disk.trace().len();
    job(None).run(&mut context).unwrap();
    // Killed with every file in its place, just before the commit.
    let trace = disk.trace();
    let commit = trace.iter().rposition(|op| op.describe().ends_with("to /store/CURRENT")).unwrap();
    trace[done..commit].iter().for_each(|op| replay.apply(op));
    let disk = SimDisk::from_image(&replay.live());

    let mut context = Context::new(Arc::new(disk.clone()), &gstore_faults::sim::path());
    let mut expected = State::default();
    append(0..10).apply(&mut expected);
    for step in [Step::DropDataset("side".into()), append(100..110)] {
        step.run(&mut context).unwrap();
        step.apply(&mut expected);
    }
    // What a collection leaves that is killed in the middle of the job's folder.
    let tmp = gstore_faults::sim::path().join("tmp");
    let folder = disk.list(&tmp).unwrap().into_iter().find(|name| name.starts_with("job-")).unwrap();
    disk.remove(&tmp.join(&folder).join("job.json")).unwrap();
    assert!(disk.list(&tmp.join(&folder)).unwrap().contains(&"publish.json".to_owned()));
    job(None).run(&mut context).unwrap();
    job(None).apply(&mut expected);
    let found = State::read(&context.store().unwrap().snapshot().unwrap()).unwrap();
    assert_eq!(expected.difference(&found), None);
}

#[test]
fn nor_where_nothing_tells_whose_its_files_are() {
    let disk = SimDisk::new();
    let mut context = Context::new(Arc::new(disk.clone()), &gstore_faults::sim::path());
    let mut expected = State::default();
    let drop = Step::DropDataset("side".into());
    for step in [Step::Create, append(0..10), job(Some(1)), drop, append(100..110)] {
        step.run(&mut context).unwrap();
        step.apply(&mut expected);
    }
    let tmp = gstore_faults::sim::path().join("tmp");
    let folder = disk.list(&tmp).unwrap().into_iter().find(|name| name.starts_with("job-")).unwrap();
    disk.remove(&tmp.join(folder).join("job.json")).unwrap();
    job(None).run(&mut context).unwrap();
    job(None).apply(&mut expected);
    let found = State::read(&context.store().unwrap().snapshot().unwrap()).unwrap();
    assert_eq!(expected.difference(&found), None);
}
