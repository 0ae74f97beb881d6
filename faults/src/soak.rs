//! Readers, a writer, a compactor and a collector at the same time, checked by snapshot.
//!
//! The model of a change exists before the change is made. A reader takes a snapshot, reads all of it, and
//! learns afterwards which change was the last in that snapshot, from the snapshot numbers of the writer's
//! changes. Compaction and collection make snapshots of their own and change no content.

use crate::check::guarded;
use crate::work::{Context, State, Step, Workload};
use crate::{Failure, Report, Stop};
use gstore_core::locked;
use gstore_store::vfs::OsVfs;
use gstore_store::{ChangeError, CompactOptions, Snapshot, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct SoakOptions {
    /// How long.
    pub time: Duration,
    /// Readers.
    pub readers: usize,
}

/// What the writer has reported.
#[derive(Debug, Default)]
struct Model {
    /// The content after each change, by its number.
    states: BTreeMap<u64, Arc<State>>,
    /// Finished changes: their indices, with the number of the current snapshot before and after.
    done: BTreeMap<u64, (u64, u64)>,
}

#[derive(Debug)]
struct Shared {
    model: Mutex<Model>,
    /// The change that began last.
    begun: AtomicU64,
    end: AtomicBool,
    report: Mutex<Report>,
}

/// Snapshots that an anomaly lists.
const HISTORY: usize = 8;

/// Contents that are kept.
const STATES: u64 = 4_000;

impl Shared {
    fn model(&self) -> MutexGuard<'_, Model> {
        locked(&self.model)
    }

    /// The finished changes whose snapshots are near `number`.
    fn around(&self, number: u64) -> Vec<(u64, (u64, u64))> {
        let near = |(_, (_, after)): &(&u64, &(u64, u64))| after.abs_diff(number) < 8;
        self.model().done.iter().filter(near).map(|(change, numbers)| (*change, *numbers)).collect()
    }

    fn report(&self, f: impl FnOnce(&mut Report)) {
        f(&mut locked(&self.report));
    }

    /// Contents that snapshot `number` may have if it was taken when change `begun` at most had begun; `None`
    /// while that is unknown.
    fn contents(&self, number: u64, begun: u64) -> Option<Vec<Arc<State>>> {
        let model = self.model();
        if !model.done.contains_key(&begun) {
            return None;
        }
        let before = model.done.range(..=begun).rev().find(|(_, (_, after))| *after <= number);
        let last = before.map_or(0, |(change, _)| *change);
        let mut out: Vec<Arc<State>> = model.states.get(&last).cloned().into_iter().collect();
        // A change that takes several snapshots: those in between have the content before it or after it.
        if let Some((from, to)) = model.done.get(&(last + 1))
            && *from < number
            && number < *to
        {
            out.extend(model.states.get(&(last + 1)).cloned());
        }
        Some(out)
    }
}

/// Runs it in a folder in memory.
pub fn run(seed: u64, options: &SoakOptions, stop: &Stop) -> Report {
    let mut report = Report::new("soak");
    let folder = match crate::kill::temporary() {
        Ok(folder) => folder,
        Err(e) => {
            report.anomaly(format!("no folder to work in: {e}"));
            return report.finish();
        }
    };
    let path = folder.path().join("store");
    let shared = Shared {
        model: Mutex::new(Model::default()),
        begun: AtomicU64::new(0),
        end: AtomicBool::new(false),
        report: Mutex::new(report),
    };
    let mut workload = Workload::new(seed);
    let mut writer = Context::new(Arc::new(OsVfs), &path);
    shared.model().states.insert(0, Arc::new(State::default()));
    if let Err(e) = Step::Create.run(&mut writer) {
        shared.report(|r| r.anomaly(format!("the store cannot be made: {e}")));
    } else {
        shared.model().done.insert(0, (0, 0));
        let time = Stop::after(Some(options.time));
        std::thread::scope(|scope| {
            for _ in 0..options.readers {
                scope.spawn(|| until(&shared, "read", || read(&shared, &path)));
            }
            scope.spawn(|| {
                let mut change = 0;
                until(&shared, "write", || {
                    change += 1;
                    write(&shared, &mut workload, &mut writer, change)
                });
            });
            scope.spawn(|| until(&shared, "compact", || compact(&path)));
            scope.spawn(|| until(&shared, "collect", || collect(&path)));
            while !time.now() && !stop.now() {
                std::thread::sleep(Duration::from_millis(20));
            }
            shared.end.store(true, Ordering::SeqCst);
        });
    }
    shared.report.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
}

/// Repeats something until the end or its first failure.
fn until(shared: &Shared, what: &str, mut f: impl FnMut() -> Result<(), Failure>) {
    while !shared.end.load(Ordering::SeqCst) {
        match guarded(&mut f) {
            Ok(()) => shared.report(|r| r.count(what, 1)),
            Err(e) => {
                shared.report(|r| r.anomaly(format!("{what}: {e}")));
                shared.end.store(true, Ordering::SeqCst);
            }
        }
    }
}

fn write(
    shared: &Shared,
    workload: &mut Workload,
    context: &mut Context,
    change: u64,
) -> Result<(), Failure> {
    let (step, state) = workload.next_bounded();
    let before = context.store()?.snapshot()?.number();
    shared.model().states.insert(change, Arc::new(state));
    shared.begun.store(change, Ordering::SeqCst);
    step.run(context).map_err(|e| format!("change {change}, {step:?}: {e}"))?;
    let after = context.store()?.snapshot()?.number();
    let mut model = shared.model();
    model.done.insert(change, (before, after));
    if let Some(old) = change.checked_sub(STATES) {
        model.states.remove(&old);
        model.done.remove(&old);
    }
    Ok(())
}

fn compact(path: &Path) -> Result<(), Failure> {
    std::thread::sleep(Duration::from_millis(15));
    let options = CompactOptions { target_bytes: 1 << 20, max_dead_share: 0.1, ..CompactOptions::default() };
    match Store::open(path)?.compact(options, &mut |_| {}) {
        // The collector reads the work folders of compactors.
        Ok(_) | Err(ChangeError::Compacting) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn collect(path: &Path) -> Result<(), Failure> {
    std::thread::sleep(Duration::from_millis(15));
    Step::Collect { keep: 2 }.run(&mut Context::new(Arc::new(OsVfs), path))
}

fn read(shared: &Shared, path: &Path) -> Result<(), Failure> {
    let store = Store::open(path)?;
    for _ in 0..20 {
        let (snapshot, lease) = store.snapshot_leased(None, "soak")?;
        if lease.is_none() {
            return Err("there is no lease of the snapshot".into());
        }
        let begun = shared.begun.load(Ordering::SeqCst);
        compare(shared, &snapshot, begun)?;
        if shared.end.load(Ordering::SeqCst) {
            break;
        }
    }
    Ok(())
}

fn compare(shared: &Shared, snapshot: &Snapshot, begun: u64) -> Result<(), Failure> {
    let number = snapshot.number();
    let found = State::read(snapshot).map_err(|e| format!("snapshot {number}: {e}"))?;
    let end = Instant::now() + Duration::from_secs(60);
    let expected = loop {
        match shared.contents(number, begun) {
            Some(expected) => break expected,
            None if Instant::now() > end || shared.end.load(Ordering::SeqCst) => return Ok(()),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    shared.report(|r| r.count("snapshots compared", 1));
    let mut differences = expected.iter().map(|e| e.difference(&found));
    if expected.is_empty() || differences.clone().any(|d| d.is_none()) {
        return Ok(());
    }
    let first = differences.next().flatten().unwrap_or_default();
    let history: Vec<String> = snapshot.history().map_or_else(
        |e| vec![e.to_string()],
        |all| all.iter().take(HISTORY).map(|s| format!("{} {}", s.number, s.changes.join("; "))).collect(),
    );
    let model: Vec<String> = shared.around(number).iter().map(|(c, n)| format!("{c} {n:?}")).collect();
    Err(format!(
        "snapshot {number}, change {begun} or before, has not the content of its change: {first}\n  history: {}\n  changes: {}",
        history.join(" | "),
        model.join(" | ")
    )
    .into())
}
