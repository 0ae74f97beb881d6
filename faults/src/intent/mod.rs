//! Pairs of commands of two processes: the second commits while the first waits.
//!
//! The first has determined what to change and waits for the writer lock, the second commits, then the first
//! continues.
//!
//! - ordered pairs, all or some of them, and each time that the first command takes the writer lock
//! - the store then has what the commands were told in this order, by ids, names and conditions and not by
//!   numbers of rows; if the second removes what the first was told about, the first takes nothing else with
//!   the same name for it
//! - a refused command changes nothing

mod command;

pub use command::{Command, Outcome};

use crate::check::{guarded, sound};
use crate::disk::{Image, SimDisk};
use crate::sim::path;
use crate::work::{Context, State, Step};
use crate::{Failure, Random, Report, Stop};
use command::Thing;
use gstore_core::locked;
use gstore_store::vfs::Vfs;
use gstore_store::{IfChanged, SnapshotName, Store};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct IntentOptions {
    /// Number of stores, each with its own commands.
    pub seeds: u64,
    /// Pairs of each store at most, drawn with its seed.
    pub pairs: usize,
    /// Threads to use.
    pub threads: usize,
}

/// A store, and what the commands refer to.
struct Base {
    image: Image,
    state: State,
    /// The content that the store's tag points to.
    tagged: State,
    commands: Vec<Command>,
}

/// Two commands at once.
struct Meeting {
    first: Outcome,
    second: Outcome,
}

/// All pairs, on the stores of consecutive seeds.
pub fn run(seed: u64, options: &IntentOptions, stop: &Stop) -> Report {
    let mut report = Report::new("intent");
    for seed in seed..seed + options.seeds {
        match guarded(|| Base::new(seed)) {
            Ok(base) => pairs(seed, &base, options, stop, &mut report),
            Err(e) => report.anomaly(format!("seed {seed}: the store cannot be made: {e}")),
        }
    }
    report.finish()
}

fn pairs(seed: u64, base: &Base, options: &IntentOptions, stop: &Stop, report: &mut Report) {
    let drawn = draw(seed, base, options.pairs);
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Report::new("intent")));
    let work = || loop {
        let Some((a, b)) = drawn.get(next.fetch_add(1, Ordering::SeqCst)) else { return };
        if stop.now() {
            return;
        }
        let met = guarded(|| pair(base, a, b));
        let mut report = locked(&found);
        report.count("pairs", 1);
        match met {
            Ok(meetings) => meetings.iter().for_each(|met| met.count(&mut report)),
            Err(e) => report.anomaly(format!("seed {seed}, {a:?} after {b:?}: {e}")),
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(work);
        }
    });
    report.merge(found.into_inner().unwrap_or_else(PoisonError::into_inner));
}

/// Pairs of commands in random order, at most that many.
fn draw(seed: u64, base: &Base, most: usize) -> Vec<(&Command, &Command)> {
    // Between the two commands of a remake there is no dataset that the other command could refer to.
    let firsts = base.commands.iter().filter(|command| **command != Command::Remake);
    let mut all: Vec<_> = firsts.flat_map(|a| base.commands.iter().map(move |b| (a, b))).collect();
    let mut random = Random::of(&[seed, 37]);
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at as u64 + 1) as usize);
    }
    all.truncate(most);
    all
}

impl Meeting {
    fn count(&self, report: &mut Report) {
        report.count("meetings", 1);
        for outcome in [self.first, self.second] {
            match outcome {
                Outcome::Done => report.count("commands done", 1),
                Outcome::Gone => report.count("refused: what was meant is gone", 1),
                Outcome::Busy => report.count("refused: the other is at work", 1),
            }
        }
    }
}

/// Two commands, once for each time that the first takes the writer lock.
fn pair(base: &Base, first: &Command, second: &Command) -> Result<Vec<Meeting>, Failure> {
    let mut meetings = Vec::new();
    while let Some(met) =
        meet(base, first, second, meetings.len()).map_err(|e| format!("lock {}: {e}", meetings.len()))?
    {
        meetings.push(met);
    }
    if meetings.is_empty() { Err("the first command takes no lock".into()) } else { Ok(meetings) }
}

/// Runs the second command right before the first takes the writer lock for the n-th time; `None` if it takes
/// it less often.
fn meet(base: &Base, first: &Command, second: &Command, n: usize) -> Result<Option<Meeting>, Failure> {
    let disk = SimDisk::from_image(&base.image);
    let open = |disk: &SimDisk| Store::open_on(Arc::new(disk.clone()) as Arc<dyn Vfs>, &path());
    let store = open(&disk)?;
    let met = Arc::new(Mutex::new(None));
    let (place, other, command, mut left) = (Arc::clone(&met), disk.clone(), second.clone(), n);
    disk.before_lock(move |name| {
        if !name.ends_with("LOCK") {
            return;
        }
        if left == 0 {
            let done = open(&other).map_err(Failure::from).and_then(|store| command.run(&store));
            locked(&place).get_or_insert(done);
        }
        left = left.wrapping_sub(1);
    });
    let outcome = first.run(&store)?;
    disk.before_lock(|_| {});
    let Some(other) = locked(&met).take() else { return Ok(None) };
    let met = Meeting { first: outcome, second: other? };
    compare(base, first, second, &met, &open(&disk)?)?;
    Ok(Some(met))
}

fn compare(
    base: &Base,
    first: &Command,
    second: &Command,
    met: &Meeting,
    store: &Store,
) -> Result<(), Failure> {
    let (mut expected, mut purged) = (base.state.clone(), BTreeSet::new());
    match met.second {
        Outcome::Done => second.apply(&mut expected, &base.state, &mut purged),
        Outcome::Busy if first.keeps_out(second) => {}
        other => return Err(format!("the second command: {other:?}").into()),
    }
    let removed = |thing: Thing| met.second == Outcome::Done && second.removes().contains(&thing);
    let gone = first.needs().is_some_and(removed);
    match (met.first, gone) {
        (Outcome::Done, false) => first.apply(&mut expected, &base.state, &mut purged),
        (Outcome::Gone, true) => {}
        (other, _) => return Err(format!("the first command: {other:?}, gone: {gone}").into()),
    }
    let snapshot = store.snapshot()?;
    if let Some(difference) = expected.difference(&State::read(&snapshot)?) {
        return Err(difference.into());
    }
    for tag in &expected.tags {
        let name = SnapshotName::Tag(tag.parse().map_err(|_| "a tag with a bad name")?);
        let meant = if tag == command::KEPT { &base.tagged } else { &base.state };
        if !State::read(&*store.snapshot_named(&name)?)?.same_content(meant) {
            return Err(format!("tag {tag} is on another snapshot than the one that was meant").into());
        }
    }
    let history = if purged.is_empty() { Vec::new() } else { store.history()? };
    for info in history {
        let state = State::read(&*store.snapshot_at(info.number)?)?;
        let mut samples = state.datasets.get("pool").into_iter().flat_map(|d| d.rows.values());
        if let Some((id, _)) = samples.find(|sample| purged.contains(*sample)) {
            return Err(format!("snapshot {} has {id}, which was purged", info.number).into());
        }
    }
    sound(store).map(drop)
}

impl Base {
    /// A store with several files of everything, deleted rows, an ensemble, an artifact, a view, a tag, and a
    /// shard that is not attached.
    fn new(seed: u64) -> Result<Base, Failure> {
        let mut random = Random::of(&[seed, 31]);
        let disk = SimDisk::new();
        let mut context = Context::new(Arc::new(disk.clone()), &path());
        let (mut state, mut tagged) = (State::default(), State::default());
        let append = |dataset: &str, ids: std::ops::Range<u64>| Step::Append {
            dataset: dataset.into(),
            samples: ids.map(|id| (id, 0)).collect(),
            changed: IfChanged::Refuse,
            restore: false,
        };
        let job = |features: Vec<usize>, checkpoint| Step::Job {
            features,
            upto: u64::MAX,
            window: 7,
            stop: None,
            checkpoint,
        };
        let (pool, more) = (random.from(12..20), random.from(4..9));
        let deleted = random.some(&(0..pool).collect::<Vec<u64>>(), 15);
        let steps = [
            Step::Create,
            append("pool", 0..pool),
            append("side", 3..8),
            job(vec![0], Some(1)),
            job(vec![3, 4], None),
            Step::Members(2),
            Step::Losses(0),
            Step::Artifact { name: command::NAMED.into(), content: 1 },
            Step::Tag(command::KEPT.into()),
            append("pool", pool..pool + more),
            Step::Artifact { name: command::NAMED.into(), content: 2 },
            Step::View { name: command::NAMED.into(), sql: "SELECT 1".into() },
            Step::Delete { dataset: "pool".into(), rows: deleted.clone(), purge: false },
        ];
        for step in &steps {
            step.run(&mut context)?;
            if matches!(step, Step::Tag(_)) {
                tagged = state.clone();
            }
            step.apply(&mut state);
        }
        command::make_shard(context.store()?)?;
        let live: Vec<u64> = (0..pool + more).filter(|id| !deleted.contains(id)).collect();
        let commands = Command::all(&live, &mut random);
        Ok(Base { image: disk.image(), state, tagged, commands })
    }
}
