//! Promise: an ingest that is stopped or killed continues from what it sealed, and ends with the content of
//! one that was not.

use std::path::Path;
use std::time::Duration;

use gstore_ingest::pipeline::{
    IngestError, IngestPlan, IngestRequest, Kind, Progress, RunEnding, Silent, Unit, estimate, ingest,
};
use gstore_ingest::projection::ProjectionSpec;
use gstore_model::Device;
use gstore_store::{Cancel, FeatureState, Granularity, RowSet, Store};
use gstore_tests::{binary, world};

use crate::per_token;
use crate::shards::ingest as ingest_pool;

const KINDS: [Kind; 3] = [Kind::GradAdam, Kind::EmbedMean, Kind::Loss];

/// Raises the flag after so many batches.
struct StopAfter<'a> {
    batches: usize,
    cancel: &'a Cancel,
    ingesting: bool,
}

impl Progress for StopAfter<'_> {
    fn start(&mut self, stage: &str, _: u64, _: Unit) {
        self.ingesting = stage == "ingest";
    }
    fn advance(&mut self, _: u64) {
        if !self.ingesting {
            return;
        }
        self.batches = self.batches.saturating_sub(1);
        if self.batches == 0 {
            self.cancel.raise();
        }
    }
    fn finish(&mut self) {}
    fn note(&mut self, _: &str) {}
}

#[test]
fn threads_limits_and_stops_do_not_change_a_bit() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");

    let whole = Store::create(dir.path().join("whole")).expect("created");
    world::two_windows(&whole, "pool", &data);
    world::run(&whole, world::request("pool", &KINDS)).expect("ingested");
    let expected = world::digests(&whole);
    assert_eq!(expected.len(), 6);

    // One thread; some rows first, in batches of their own, then a limit that ends in the middle of a batch.
    let parts = Store::create(dir.path().join("parts")).expect("created");
    world::two_windows(&parts, "pool", &data);
    let live = (0..200).chain(gstore_store::CELL_ROWS - 50..world::WINDOW_ROWS as u64);
    let some = RowSet::from_rows(live.filter(|row| row % 12 == 7));
    for (rows, limit) in [(Some(some), None), (None, Some(100)), (None, None)] {
        let mut request = world::request("pool", &KINDS);
        (request.rows, request.limit) = (rows, limit);
        request.threads = 1;
        world::run(&parts, request).expect("ingested");
    }
    assert_eq!(world::digests(&parts), expected);
    let complete = |store: &Store| {
        let snapshot = store.snapshot().expect("readable");
        snapshot.features().iter().all(|feature| feature.state == FeatureState::Complete)
    };
    assert!(complete(&parts));

    // A limit that happens to be the number of rows leaves a feature building until a run without one.
    let small = Store::create(dir.path().join("small")).expect("created");
    let few = dir.path().join("few.jsonl");
    world::write_samples(&few, 5);
    world::register(&small, "pool", &few).expect("registered");
    for (limit, done) in [(Some(5), false), (None, true)] {
        let mut request = world::request("pool", &[Kind::Loss]);
        request.limit = limit;
        world::run(&small, request).expect("ingested");
        assert_eq!(complete(&small), done);
    }

    // Stopped again and again, each time after a window and before its checkpoint is done.
    let stopped = Store::create(dir.path().join("stopped")).expect("created");
    world::two_windows(&stopped, "pool", &data);
    let mut stops = 0;
    loop {
        let plan = IngestPlan::new(&stopped, world::request("pool", &KINDS), &mut Silent).expect("planned");
        let cancel = Cancel::new();
        let mut progress = StopAfter { batches: 15, cancel: &cancel, ingesting: false };
        let report = ingest(&stopped, &plan, &mut progress, &cancel).expect("no error");
        if report.ending == RunEnding::Finished {
            assert!(report.resumed > 0, "the last run took over what earlier ones had sealed");
            break;
        }
        assert!(report.snapshot.is_none(), "nothing is published before everything is there");
        assert!(stopped.snapshot().expect("readable").features().is_empty());
        stops += 1;
        assert!(stops < 50, "every run seals at least one window");
    }
    assert!(stops > 1);
    assert_eq!(world::digests(&stopped), expected);
}

#[test]
fn rows_whose_tokens_are_all_there_are_kept_by_a_stop() {
    let dir = tempfile::tempdir().expect("a folder");
    let [whole, stopped] = ["whole", "stopped"].map(|name| world::created(&dir.path().join(name), 60));
    // A row's tokens lie in several batches.
    let request = || IngestRequest {
        batch_tokens: 64,
        threads: 1,
        ..per_token::request(&[Kind::GradSgd, Kind::Loss], Granularity::Token)
    };
    world::run(&whole, request()).expect("ingested");
    let mut stops = 0;
    loop {
        let plan = IngestPlan::new(&stopped, request(), &mut Silent).expect("planned");
        let cancel = Cancel::new();
        let mut progress = StopAfter { batches: 40, cancel: &cancel, ingesting: false };
        let report = ingest(&stopped, &plan, &mut progress, &cancel).expect("no error");
        if report.ending == RunEnding::Finished {
            assert!(report.resumed > 0, "rows of the same window are not computed again");
            break;
        }
        stops += 1;
        assert!(stops < 50, "every run seals at least one row");
    }
    assert!(stops > 1);
    assert_eq!(world::digests(&stopped), world::digests(&whole));
}

#[test]
fn an_estimate_that_is_stopped_is_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = world::created(&dir.path().join("store"), 60);
    let plan = IngestPlan::new(&store, world::request("pool", &KINDS), &mut Silent).expect("planned");
    assert!(matches!(estimate(&plan, &Cancel::raised()), Err(IngestError::Stopped(_))));
    assert_eq!(estimate(&plan, &Cancel::new()).expect("estimated").rows, 60);
}

#[test]
fn devices_beside_each_other_do_not_change_a_bit() {
    const KINDS: [Kind; 2] = [Kind::GradSgd, Kind::Loss];
    let dir = tempfile::tempdir().expect("a folder");
    let [one, several] = ["one", "several"].map(|name| world::created(&dir.path().join(name), 300));
    world::run(&one, world::request("pool", &KINDS)).expect("ingested");

    let request = |devices: usize| IngestRequest {
        threads: 1,
        beside: vec![Device::Cpu; devices - 1],
        ..world::request("pool", &KINDS)
    };
    let planned = |devices| IngestPlan::new(&several, request(devices), &mut Silent).expect("planned");
    let [alone, plan] = [1, 3].map(planned);
    let memory = |plan: &IngestPlan| plan.checkpoints[0].memory.clone();
    assert_eq!([memory(&alone).threads, memory(&plan).threads], [1, 3], "a worker for each device");
    assert!(memory(&plan).shared > memory(&alone).shared, "each has the weights");

    // Stopped on three devices, and finished on two.
    let cancel = Cancel::new();
    let mut progress = StopAfter { batches: 5, cancel: &cancel, ingesting: false };
    let stopped = ingest(&several, &plan, &mut progress, &cancel).expect("no error");
    assert_eq!(stopped.ending, RunEnding::Stopped);
    let finished = world::run(&several, request(2)).expect("ingested");
    assert!(finished.resumed > 0, "what was sealed is not computed again");
    assert_eq!(finished.ending, RunEnding::Finished);
    assert_eq!(world::digests(&several), world::digests(&one));
}

/// Whether an interrupted job has a whole segment.
fn has_sealed(store: &Path) -> bool {
    let jobs = fs_err::read_dir(store.join("tmp")).into_iter().flatten().flatten();
    jobs.filter_map(|job| fs_err::read_dir(job.path()).ok())
        .flat_map(|files| files.flatten())
        .any(|file| file.path().extension().is_some_and(|ending| ending == "arrow"))
}

#[test]
fn killed_at_any_instant_the_same_command_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let expected = Store::create(dir.path().join("expected")).expect("created");
    let store = dir.path().join("killed");
    let killed = Store::create(&store).expect("created");
    let data = dir.path().join("pool.jsonl");
    for store in [&expected, &killed] {
        world::two_windows(store, "pool", &data);
    }
    drop(killed);
    // Some are left for the command to register.
    world::write_samples(&data, world::WINDOW_ROWS + 60);
    world::register(&expected, "pool", &data).expect("registered");
    let mut request = world::request("pool", &[Kind::GradAdam, Kind::Loss]);
    request.projection = ProjectionSpec { dim: 256, ..ProjectionSpec::default() }.into();
    world::run(&expected, request).expect("ingested");

    let command = || {
        let mut command = ingest_pool(&store);
        command.arg("--data").arg(&data);
        command
    };
    let mut sealed_before_a_kill = false;
    let mut delay = Duration::from_millis(60);
    for _ in 0..12 {
        if !binary::killed_after(&mut command(), delay) {
            break;
        }
        // Whatever the kill hit, a reader finds a whole store or none yet.
        if let Ok(store) = Store::open(&store) {
            store.snapshot().expect("a whole snapshot");
        }
        sealed_before_a_kill |= has_sealed(&store);
        delay = delay.mul_f64(1.5);
    }
    let finished = binary::done(&mut command());
    // On a machine so fast that the first run was done before it could be killed there is nothing to take
    // over.
    if sealed_before_a_kill {
        assert!(
            finished.stderr.contains("note: going on with an interrupted run")
                || finished.stderr.contains("nothing to compute"),
            "{}",
            finished.stderr
        );
    }
    let store = Store::open(&store).expect("opens");
    assert_eq!(world::digests(&store), world::digests(&expected));
}
