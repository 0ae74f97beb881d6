//! Promise: an ingest that is stopped or killed goes on from what it sealed, and ends with the content of one that was not.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gstore_ingest::pipeline::{Ending, IngestPlan, Kind, Progress, Silent, Unit, ingest};
use gstore_ingest::projection::ProjectionSpec;
use gstore_store::Store;
use gstore_tests::{binary, world};

const KINDS: [Kind; 3] = [Kind::GradAdam, Kind::EmbedMean, Kind::Loss];

/// Raises the flag after so many batches.
struct StopAfter<'a> {
    batches: usize,
    cancel: &'a AtomicBool,
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
            self.cancel.store(true, Ordering::SeqCst);
        }
    }
    fn finish(&mut self) {}
    fn note(&mut self, _: &str) {}
}

#[test]
fn threads_limits_and_stops_do_not_change_a_bit() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");
    world::write_samples(&data, 4300);

    let whole = Store::create(dir.path().join("whole")).expect("created");
    world::register(&whole, "pool", &data).expect("registered");
    world::run(&whole, world::request("pool", &KINDS)).expect("ingested");
    let expected = world::digests(&whole);
    assert_eq!(expected.len(), 6);

    // One thread, features one after the other, a limit first: three ways to cut the work differently.
    let parts = Store::create(dir.path().join("parts")).expect("created");
    world::register(&parts, "pool", &data).expect("registered");
    let mut limited = world::request("pool", &[Kind::GradAdam]);
    limited.limit = Some(100);
    world::run(&parts, limited).expect("ingested");
    for kind in KINDS {
        let mut request = world::request("pool", &[kind]);
        request.threads = 1;
        world::run(&parts, request).expect("ingested");
    }
    assert_eq!(world::digests(&parts), expected);

    // Stopped again and again.
    let stopped = Store::create(dir.path().join("stopped")).expect("created");
    world::register(&stopped, "pool", &data).expect("registered");
    let mut stops = 0;
    loop {
        let plan = IngestPlan::new(&stopped, world::request("pool", &KINDS), &mut Silent).expect("planned");
        let cancel = AtomicBool::new(false);
        let mut progress = StopAfter { batches: 200, cancel: &cancel, ingesting: false };
        let report = ingest(&stopped, &plan, &mut progress, &cancel).expect("no error");
        if report.ending == Ending::Finished {
            assert!(report.resumed > 0, "the last run took over what earlier ones had sealed");
            break;
        }
        assert!(report.snapshot.is_none(), "nothing is published before everything is there");
        assert!(stopped.snapshot().expect("readable").features().is_empty());
        stops += 1;
        assert!(stops < 50, "every run seals at least one window");
    }
    assert!(stops > 0);
    assert_eq!(world::digests(&stopped), expected);
}

#[test]
fn killed_at_any_instant_the_same_command_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");
    world::write_samples(&data, 4200);
    let expected = Store::create(dir.path().join("expected")).expect("created");
    world::register(&expected, "pool", &data).expect("registered");
    let mut request = world::request("pool", &[Kind::GradAdam, Kind::Loss]);
    request.projection = ProjectionSpec { dim: 256, ..ProjectionSpec::default() };
    world::run(&expected, request).expect("ingested");

    let store = dir.path().join("killed");
    let command = || {
        let mut command = binary::gstore(&store);
        let demo = world::demo();
        command.args(["ingest", "--dataset", "pool", "--features", "grad-adam,loss", "--dim", "256", "--threads", "2"]);
        command.args(["--max-length", "512", "--batch-tokens", "512", "--run", "warmup"]).arg("--data").arg(&data);
        command.arg("--model").arg(demo.join("model"));
        for checkpoint in world::demo_checkpoints().into_iter().take(2) {
            command.arg("--checkpoints").arg(checkpoint.adapter.expect("an adapter"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut delay = Duration::from_millis(150);
    for _ in 0..12 {
        let mut child = command().spawn().expect("started");
        std::thread::sleep(delay);
        if child.try_wait().expect("a state").is_some() {
            break;
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        // Whatever the kill hit, a reader finds a whole store or none yet.
        if let Ok(store) = Store::open(&store) {
            store.snapshot().expect("a whole snapshot");
        }
        delay = delay.mul_f64(1.6);
    }
    let finished = binary::run(&mut command());
    assert_eq!(finished.code, 0);
    let store = Store::open(&store).expect("opens");
    assert_eq!(world::digests(&store), world::digests(&expected));
}
