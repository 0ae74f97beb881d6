//! Promise: whatever bit of a store is the other way, and whatever file ends early, a reader gets an error
//! that says so or the same answer: never another number, never a panic.
//!
//! The short form runs with the other tests: every bit of `CURRENT` and of indexes, a random bit of every byte
//! of heads, tails and other small files, one in every 2 bytes of manifests (8 of those that only older
//! snapshots have), and one in every 64 bytes of the rest; a random length in every 8 bytes, and every length
//! of `CURRENT` and of indexes. `GSTORE_FLIPS=full` takes every bit and every length of every file.
//! `GSTORE_SEED` picks other bits and lengths.
//!
//! The files are found by walking the store's folder, so a new kind of file is included as soon as
//! [`rich::build`] makes one; one that no reader touches must be named in [`WRITERS_ONLY`]. Faults are made
//! in memory, while reading.
//!
//! A fault concerns only the steps that read its place: a step is deterministic in the bytes it reads,
//! so one that reads none of the flipped byte in a sound store reads the same bytes, and answers the
//! same, in the faulty one.

use crate::common::overlay::{Fault, Overlay};
use crate::common::*;
use gstore_core::{MIX_STEP, mix};
use gstore_store::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Files that only writers open; `damage.rs` flips bits of the ledger.
const WRITERS_ONLY: [&str; 5] = ["LOCK", "ledger.redb", "ledger.sums", "leases/", "tmp/"];
/// Files up to this length are small: all their bits are flipped in the short form.
const SMALL: usize = 4096;

/// What a step says, item by item: an answer, or an error with whether it is damage.
type Answers = Vec<Result<String, (bool, String)>>;

/// A way to read a part of a store. Numbers are places in the lists of [`World`].
///
/// What a step needs before is done without the fault: if that does not read the faulty place it comes out
/// the same, and if it does, it is a separate step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// The current snapshot with all that it lists.
    Open,
    /// An older one, from an open store.
    Older(usize),
    History,
    /// Which rows of a dataset were deleted. A snapshot reads that once, so this takes a fresh one.
    LiveRows(usize, usize),
    /// Which ids of a dataset were deleted.
    DeletedIds(usize, usize),
    Samples(usize, usize),
    ScatteredSamples(usize, usize),
    Counts(usize, usize, usize),
    OpenFeature(usize, usize),
    /// From an open feature: content digest, exact rows and every value of every block.
    Blocks(usize, usize),
    /// From an open feature: every row by itself, without having checked a block.
    SingleRows(usize, usize),
    /// From an open feature: blocks without checks. Numbers may be wrong, but nothing panics.
    Unchecked(usize, usize),
    /// The indexes of a feature's segments, from an open feature.
    Indexes(usize, usize),
    /// The sections of indexes that are open.
    Sections(usize, usize),
}

struct World {
    overlay: Overlay,
    path: PathBuf,
    store: Store,
    /// Newest first.
    snapshots: Vec<Arc<Snapshot>>,
}

fn open_error(e: OpenError) -> (bool, String) {
    (e.is_damage(), e.to_string())
}

fn read_error(e: ReadError) -> (bool, String) {
    (e.is_damage(), e.to_string())
}

fn listing(s: Arc<Snapshot>) -> String {
    format!("{:?} {:?} {:?} {:?}", s.info(), s.datasets(), s.runs(), s.features())
}

impl World {
    fn new(overlay: Overlay, path: &Path) -> Self {
        let store = Store::open_on(Arc::new(overlay.clone()), path).unwrap();
        let numbers: Vec<u64> = store.history().unwrap().iter().map(|i| i.number).collect();
        let snapshots = numbers.into_iter().map(|n| store.snapshot_at(n).unwrap()).collect();
        World { overlay, path: path.to_owned(), store, snapshots }
    }

    /// Every way to read, without repeating parts that snapshots share.
    fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Open, Step::History];
        steps.extend((1..self.snapshots.len()).map(Step::Older));
        let indexed = self.overlay.files().keys().any(|f| f.starts_with(self.path.join("indexes")));
        let mut seen = Vec::new();
        let mut new = |part: String| {
            let is_new = !seen.contains(&part);
            seen.push(part);
            is_new
        };
        for (s, snapshot) in self.snapshots.iter().enumerate() {
            for (d, part) in snapshot.datasets().iter().enumerate() {
                if new(format!("{:?}", part.files)) {
                    steps.extend([Step::Samples(s, d), Step::ScatteredSamples(s, d)]);
                }
                if new(format!("{:?} {:?}", part.files, snapshot.live_rows(part))) {
                    steps.insert(0, Step::LiveRows(s, d));
                }
                if part.deleted_ids.is_some() && new(format!("{:?}", part.deleted_ids)) {
                    steps.push(Step::DeletedIds(s, d));
                }
                for (e, encoding) in part.encodings.iter().enumerate() {
                    if new(format!("{:?}", encoding.files)) {
                        steps.push(Step::Counts(s, d, e));
                    }
                }
            }
            for (f, part) in snapshot.features().iter().enumerate() {
                if new(format!("{:?}", part.segments)) {
                    steps.extend([Step::OpenFeature(s, f), Step::Blocks(s, f)]);
                    steps.extend([Step::SingleRows(s, f), Step::Unchecked(s, f)]);
                    if indexed {
                        steps.extend([Step::Indexes(s, f), Step::Sections(s, f)]);
                    }
                }
            }
        }
        steps
    }

    /// What a step says while a fault is there.
    fn answer(&self, step: Step, fault: Option<(&Path, Fault)>) -> Answers {
        let begin = || {
            self.overlay.reads();
            self.overlay.set(fault);
        };
        let feature = |s: usize, f: usize, checks: Checks| {
            let part = &self.snapshots[s].features()[f];
            let reader = self.snapshots[s].open_feature_with(part, checks).unwrap();
            begin();
            reader
        };
        let answers = match step {
            Step::Blocks(s, f) => Ok(blocks(&feature(s, f, Checks::FirstTouch))),
            Step::SingleRows(s, f) => Ok(single_rows(&feature(s, f, Checks::FirstTouch))),
            Step::Unchecked(s, f) => {
                unchecked(&feature(s, f, Checks::Off));
                Ok(Vec::new())
            }
            Step::Indexes(s, f) => {
                let reader = feature(s, f, Checks::FirstTouch);
                Ok(reader.segments().iter().map(|segment| index(&reader, segment)).collect())
            }
            Step::Sections(s, f) => {
                let part = &self.snapshots[s].features()[f];
                let reader = self.snapshots[s].open_feature(part).unwrap();
                let open = |segment| reader.index(segment, indexes::KIND).unwrap().unwrap();
                let open: Vec<IndexFile> = reader.segments().iter().map(open).collect();
                begin();
                Ok(open.iter().map(|index| sections(index).map_err(read_error)).collect())
            }
            Step::LiveRows(s, d) => {
                let store = Store::open_on(Arc::new(self.overlay.clone()), &self.path).unwrap();
                let snapshot = store.snapshot_at(self.snapshots[s].number()).unwrap();
                begin();
                let rows = snapshot.live_rows(&snapshot.datasets()[d]);
                Ok(vec![rows.map(|r| r.to_string()).map_err(read_error)])
            }
            other => {
                begin();
                self.answer_here(other)
            }
        };
        self.overlay.set(None);
        answers.unwrap_or_else(|e| vec![Err(e)])
    }

    fn answer_here(&self, step: Step) -> Result<Answers, (bool, String)> {
        Ok(match step {
            Step::Open => {
                let store = Store::open_on(Arc::new(self.overlay.clone()), &self.path).map_err(open_error)?;
                vec![store.snapshot().map(listing).map_err(open_error)]
            }
            Step::Older(s) => {
                vec![self.store.snapshot_at(self.snapshots[s].number()).map(listing).map_err(open_error)]
            }
            Step::History => vec![self.store.history().map(|h| format!("{h:?}")).map_err(open_error)],
            Step::Samples(s, d) => self.samples(s, d).map_err(read_error)?,
            Step::ScatteredSamples(s, d) => self.scattered(s, d).map_err(read_error)?,
            Step::DeletedIds(s, d) => {
                let snapshot = &self.snapshots[s];
                let mut ids = snapshot.deleted_ids(&snapshot.datasets()[d]).map_err(read_error)?;
                let found = (0..100).map(|row| ids.contains(&format!("s{row}")));
                vec![found.collect::<Result<Vec<_>, _>>().map(|f| format!("{f:?}")).map_err(read_error)]
            }
            Step::Counts(s, d, e) => {
                let part = &self.snapshots[s].datasets()[d];
                let reader = self.snapshots[s].encoding(&part.encodings[e]).map_err(read_error)?;
                vec![reader.counts(0..u64::MAX).map(|c| format!("{c:?}")).map_err(read_error)]
            }
            Step::OpenFeature(s, f) => {
                let reader =
                    self.snapshots[s].open_feature(&self.snapshots[s].features()[f]).map_err(read_error)?;
                vec![Ok(format!("{:?}", reader.blocks()))]
            }
            Step::LiveRows(..)
            | Step::Blocks(..)
            | Step::SingleRows(..)
            | Step::Unchecked(..)
            | Step::Indexes(..)
            | Step::Sections(..) => Vec::new(),
        })
    }

    fn samples(&self, s: usize, d: usize) -> Result<Answers, ReadError> {
        let reader = self.snapshots[s].samples(&self.snapshots[s].datasets()[d])?;
        let schema = reader.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let batches = reader.scan(&names, None);
        Ok(batches.map(|b| b.map(|b| sha256_hex(format!("{b:?}").as_bytes())).map_err(read_error)).collect())
    }

    fn scattered(&self, s: usize, d: usize) -> Result<Answers, ReadError> {
        let part = &self.snapshots[s].datasets()[d];
        let reader = self.snapshots[s].samples(part)?;
        let live: Vec<u64> = self.snapshots[s].live_rows(part)?.iter().collect();
        let few: Vec<u64> = live.iter().rev().step_by(live.len().div_ceil(7)).copied().collect();
        let batch = reader.get(&few, &["row", "id", "record", "n"])?;
        Ok(vec![Ok(format!("{batch:?}"))])
    }
}

fn blocks(reader: &FeatureReader) -> Answers {
    let mut out: Answers = Vec::new();
    for b in reader.blocks() {
        let mut buffer = BlockBuffer::new();
        let block = reader.read_block(*b, &mut buffer);
        out.push(block.map(|b| sha256_hex(format!("{b:?}").as_bytes())).map_err(read_error));
    }
    out.push(reader.row_set().map(|r| r.to_string()).map_err(read_error));
    out.push(reader.content_digest().map_err(read_error));
    out
}

/// Header and sections of an index. That there is none is as good as damage: it can be rebuilt.
fn index(reader: &FeatureReader, segment: &SegmentRef) -> Result<String, (bool, String)> {
    match reader.index_state(segment, indexes::KIND).map_err(read_error)? {
        IndexState::Ready(index) => {
            Ok(format!("{} {}", index.header(), sections(&index).map_err(read_error)?))
        }
        other => Err((true, format!("{other:?}"))),
    }
}

/// Each section as it is read and as it is seen in the map.
fn sections(index: &IndexFile) -> Result<String, ReadError> {
    let mut text = format!("{:?}", indexes::read_all(index)?);
    for name in index.sections() {
        let section = index.section(name)?;
        text.push_str(&format!(" {name} {:?}", section.view(0..section.len())?));
    }
    Ok(sha256_hex(text.as_bytes()))
}

fn single_rows(reader: &FeatureReader) -> Answers {
    let spans = reader.part().row_ranges();
    let beyond = spans.ranges().last().map_or(0, |r| r.end);
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let one = |row: u64| -> Result<String, ReadError> {
        let stored = reader.row(row)?;
        Ok(format!("{row} {:?}", stored.map(|r| (bits(&r.vector), bits(&r.norm), r.flags.bits()))))
    };
    spans.iter().chain([beyond]).map(|row| one(row).map_err(read_error)).collect()
}

fn unchecked(reader: &FeatureReader) {
    for b in reader.blocks() {
        let _ = reader.read_block(*b, &mut BlockBuffer::new());
    }
    for row in reader.part().row_ranges().iter() {
        let _ = reader.row(row);
    }
}

/// What the sound store says, and who reads what.
struct Sound {
    steps: Vec<(Step, Answers)>,
    /// Per file: which step reads which bytes of it.
    readers: BTreeMap<PathBuf, Vec<(usize, Range<u64>)>>,
}

impl Sound {
    fn new(world: &World) -> Self {
        let mut readers: BTreeMap<PathBuf, Vec<(usize, Range<u64>)>> = BTreeMap::new();
        let mut steps = Vec::new();
        for (i, step) in world.steps().into_iter().enumerate() {
            let answers = world.answer(step, None);
            assert!(answers.iter().all(Result::is_ok), "{step:?}: {answers:?}");
            for (file, range) in world.overlay.reads() {
                let of = readers.entry(file).or_default();
                if !of.contains(&(i, range.clone())) {
                    of.push((i, range));
                }
            }
            steps.push((step, answers));
        }
        Sound { steps, readers }
    }

    /// The steps that a fault concerns.
    fn concerned(&self, file: &Path, fault: Fault) -> Vec<usize> {
        let Some(readers) = self.readers.get(file) else { return Vec::new() };
        let reads = |r: &Range<u64>| match fault {
            Fault::Flip { at, .. } => r.contains(&(at as u64)),
            _ => true,
        };
        let mut steps: Vec<usize> = readers.iter().filter(|(_, r)| reads(r)).map(|(i, _)| *i).collect();
        steps.dedup();
        steps
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Tally {
    detected: u64,
    unchanged: u64,
    unread: u64,
    /// Of `unread`, those not in the head of a segment.
    unread_elsewhere: u64,
}

/// Reads what the fault concerns and compares; says what is wrong.
fn try_fault(
    world: &World,
    sound: &Sound,
    file: &Path,
    fault: Fault,
    tally: &mut Tally,
) -> Result<(), String> {
    let concerned = sound.concerned(file, fault);
    let mut detected = false;
    for i in &concerned {
        let (step, expected) = &sound.steps[*i];
        let answers = catch_unwind(AssertUnwindSafe(|| world.answer(*step, Some((file, fault)))));
        world.overlay.set(None);
        let at = || format!("{} {fault:?}, {step:?}", file.strip_prefix(&world.path).unwrap().display());
        let answers = answers.map_err(|_| format!("{}: panic", at()))?;
        let mut failed = false;
        for (n, answer) in answers.iter().enumerate() {
            match answer {
                Ok(_) if expected.get(n) == Some(answer) => {}
                Ok(text) => return Err(format!("{}: item {n} is {text:.300}", at())),
                // One bit of CURRENT makes its version 3.
                Err((false, text)) if file.ends_with("CURRENT") && text.contains("newer gstore") => {
                    failed = true
                }
                Err((true, _)) => failed = true,
                Err((false, text)) => return Err(format!("{}: not damage: {text}", at())),
            }
        }
        if answers.len() != expected.len() && !failed {
            return Err(format!("{}: {} items, expected {}", at(), answers.len(), expected.len()));
        }
        detected |= failed;
    }
    match (concerned.is_empty(), detected) {
        (true, _) => {
            tally.unread += 1;
            tally.unread_elsewhere += u64::from(!in_head(file, &world.overlay.files()[file], fault));
        }
        (_, true) => tally.detected += 1,
        (_, false) => tally.unchanged += 1,
    }
    Ok(())
}

/// The head and the tail of a data file, or all of another small one: what the short form takes bit by bit.
fn thorough(name: &str, bytes: &[u8]) -> Vec<Range<usize>> {
    let n = bytes.len();
    let last = |at: usize| {
        let b = &bytes[n - at..n - at + 4];
        u32::from_le_bytes(b.try_into().unwrap()) as usize
    };
    if name.ends_with(".arrow") {
        let footer = arrow_ipc::root_as_footer(&bytes[n - 10 - last(10)..n - 10]).unwrap();
        let blocks: Vec<_> = footer.recordBatches().unwrap().iter().copied().collect();
        let end = blocks.last().map(|b| b.offset() + i64::from(b.metaDataLength()) + b.bodyLength()).unwrap();
        return vec![0..blocks[0].offset() as usize, end as usize..n];
    }
    if name.ends_with(".parquet") {
        return vec![0..4, n - 8 - last(8)..n];
    }
    let small = n <= SMALL || name.ends_with(".json") || name == "CURRENT";
    if small { vec![0..n] } else { Vec::new() }
}

/// Whether a fault is in what stands before the blocks of a segment.
fn in_head(file: &Path, bytes: &[u8], fault: Fault) -> bool {
    let Fault::Flip { at, .. } = fault else { return false };
    file.extension().is_some_and(|e| e == "arrow")
        && thorough(&file.to_string_lossy(), bytes)[0].contains(&at)
}

/// The blocks of a segment: nothing else of a map is looked at.
fn blocks_of(file: &Path, bytes: &[u8]) -> Range<usize> {
    match &thorough(&file.to_string_lossy(), bytes)[..] {
        [head, tail] if file.extension().is_some_and(|e| e == "arrow") => head.end..tail.start,
        _ => 0..bytes.len(),
    }
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(MIX_STEP);
    mix(*state)
}

fn seed() -> u64 {
    std::env::var("GSTORE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}

fn full() -> bool {
    static FULL: OnceLock<bool> = OnceLock::new();
    *FULL.get_or_init(|| std::env::var("GSTORE_FLIPS").is_ok_and(|v| v == "full"))
}

fn flips(name: &str, bytes: &[u8], current: bool, seed: &mut u64) -> Vec<Fault> {
    let bits = |at: usize| (0..8).map(move |bit| Fault::Flip { at, mask: 1 << bit });
    if full() {
        return (0..bytes.len()).flat_map(bits).collect();
    }
    let all = thorough(name, bytes);
    let mut out: Vec<Fault> = Vec::new();
    for range in all.iter().cloned() {
        match (every(name), name.starts_with("manifests/"), current) {
            (true, ..) => out.extend(range.flat_map(bits)),
            (_, false, _) => out.extend(one_bit_in(range, 1, seed)),
            (_, true, true) => out.extend(one_bit_in(range, 2, seed)),
            (_, true, false) => out.extend(one_bit_in(range, 8, seed)),
        }
    }
    for start in (0..bytes.len()).step_by(64) {
        let r = random(seed);
        let at = start + (r >> 8) as usize % 64.min(bytes.len() - start);
        if !all.iter().any(|range| range.contains(&at)) {
            out.push(Fault::Flip { at, mask: 1 << (r % 8) });
        }
    }
    out
}

/// Files so short, and so much in need of every bit, that the short form leaves nothing out.
fn every(name: &str) -> bool {
    name == "CURRENT" || name.starts_with("indexes/")
}

/// A random bit in every `of` bytes of a range.
fn one_bit_in(range: Range<usize>, of: usize, seed: &mut u64) -> Vec<Fault> {
    let one = |start: usize| {
        let r = random(seed);
        Fault::Flip { at: start + (r >> 8) as usize % of.min(range.end - start), mask: 1 << (r % 8) }
    };
    range.clone().step_by(of).map(one).collect()
}

fn lengths(name: &str, bytes: &[u8], _current: bool, seed: &mut u64) -> Vec<Fault> {
    let n = bytes.len();
    let mut out = vec![Fault::Longer, Fault::Gone];
    if full() {
        out.extend((0..n).map(Fault::Cut));
        return out;
    }
    let all = thorough(name, bytes);
    for range in all.iter().cloned() {
        let of = if every(name) { 1 } else { 8 };
        let one = |start: usize| start + random(seed) as usize % of.min(range.end - start);
        out.extend(range.clone().step_by(of).map(one).map(Fault::Cut));
    }
    let inside = |at: usize| all.iter().any(|range| range.contains(&at));
    let more = (0..64).map(|_| random(seed) as usize % n.max(1));
    out.extend(more.filter(|at| *at < n && !inside(*at)).map(Fault::Cut));
    out
}

/// The kind of a file, for the figures.
fn kind(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    match name.split_once('/') {
        Some(("manifests", file)) if file.contains("-page-") => "manifests/page".to_owned(),
        Some(("manifests", file)) => format!("manifests/{}", file.split('-').next().unwrap_or(file)),
        Some((folder, _)) => format!("{folder}/*.{}", last.rsplit('.').next().unwrap_or("")),
        None => name.to_owned(),
    }
}

/// Makes every fault that `faults` lists for each file of a store that is `wanted`, on two threads.
fn each_fault(
    build: fn(&Path) -> Store,
    wanted: impl Fn(&str) -> bool,
    faults: impl Fn(&str, &[u8], bool, &mut u64) -> Vec<Fault>,
) -> BTreeMap<String, Tally> {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    drop(build(&path));
    let overlay = Overlay::load(&path);
    let world = World::new(overlay.clone(), &path);
    let whole = Sound::new(&world);
    overlay.show_in_maps(blocks_of);
    let sound = Sound::new(&world);
    assert!(whole.steps == sound.steps, "something else than blocks is read from a map");
    let mut seed = seed();
    println!("GSTORE_SEED={seed}");
    let mut all: Vec<(&Path, String, Fault)> = Vec::new();
    for (file, bytes) in overlay.files() {
        let name = file.strip_prefix(&path).unwrap().to_string_lossy().into_owned();
        let writers_only = WRITERS_ONLY.iter().any(|w| name.starts_with(w));
        assert!(writers_only || sound.readers.contains_key(file), "no step of this test reads {name}");
        if !writers_only && wanted(&name) {
            let opens = |r: &(usize, Range<u64>)| sound.steps[r.0].0 == Step::Open;
            let current = sound.readers[file].iter().any(opens);
            all.extend(
                faults(&name, bytes, current, &mut seed).into_iter().map(|f| (&**file, kind(&name), f)),
            );
        }
    }
    println!("{} faults", all.len());
    let half = |start: usize| {
        let world = World::new(overlay.fork(), &path);
        world.overlay.show_in_maps(blocks_of);
        let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
        let mut failures = Vec::new();
        for (i, (file, kind, fault)) in all.iter().enumerate().skip(start).step_by(2) {
            if full() && i.is_multiple_of(200_000) {
                println!("{i} done");
            }
            let tally = tallies.entry(kind.clone()).or_default();
            failures.extend(try_fault(&world, &sound, file, *fault, tally).err());
            if failures.len() > 20 {
                break;
            }
        }
        (tallies, failures)
    };
    let (mut tallies, mut failures) = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let (mut tallies, mut failures) = half(0);
        let (more, other_failures) = other.join().unwrap();
        for (kind, t) in more {
            let tally: &mut Tally = tallies.entry(kind).or_default();
            tally.detected += t.detected;
            tally.unchanged += t.unchanged;
            tally.unread += t.unread;
            tally.unread_elsewhere += t.unread_elsewhere;
        }
        failures.extend(other_failures);
        (tallies, failures)
    });
    failures.truncate(20);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let sum = tallies.values().fold(Tally::default(), |a, t| Tally {
        detected: a.detected + t.detected,
        unchanged: a.unchanged + t.unchanged,
        unread: a.unread + t.unread,
        unread_elsewhere: a.unread_elsewhere + t.unread_elsewhere,
    });
    tallies.insert("all".into(), sum);
    for (kind, t) in &tallies {
        println!(
            "{kind:24} detected {:>8} unchanged {:>6} not read {:>6}",
            t.detected, t.unchanged, t.unread
        );
    }
    tallies
}

#[test]
fn every_flipped_bit_is_found_or_changes_nothing() {
    let tallies = each_fault(rich::build, |_| true, flips);
    let all = &tallies["all"];
    assert!(all.detected > 20_000, "{all:?}");
    // White space in CURRENT, where another blank does as well.
    assert!(all.unchanged < 100, "{all:?}");
    // Heads of segments, which `verify` checks, are there for other Arrow readers.
    assert!(full() || all.unread_elsewhere == 0, "{all:?}");
}

/// What only a store with a history has: bitmaps of deleted rows, lists of deleted ids, manifest pages, a
/// root with a tag and a beginning.
fn of_a_life(name: &str) -> bool {
    ["tombstones/", "deleted/", "manifests/"].iter().any(|folder| name.starts_with(folder))
        || name == "CURRENT"
}

#[test]
fn every_flipped_bit_of_deletes_pages_and_roots_is_found() {
    let tallies = each_fault(life::build, of_a_life, flips);
    let kinds: Vec<&String> = tallies.keys().collect();
    assert!(kinds.iter().any(|kind| kind.starts_with("tombstones/")), "{kinds:?}");
    assert!(kinds.iter().any(|kind| kind.starts_with("deleted/")), "{kinds:?}");
    assert!(kinds.iter().any(|kind| kind.contains("page")), "{kinds:?}");
    assert!(tallies["all"].detected > 10_000 && tallies["all"].unchanged < 100, "{tallies:?}");
}

#[test]
fn every_length_of_deletes_pages_and_roots_is_found() {
    let tallies = each_fault(life::build, of_a_life, lengths);
    assert!(tallies["all"].unchanged <= 2 && tallies["all"].detected > 1_000, "{tallies:?}");
}

#[test]
fn every_length_is_found() {
    let tallies = each_fault(rich::build, |_| true, lengths);
    // CURRENT without the end of its line.
    assert!(tallies["all"].unchanged <= 2 && tallies["all"].detected > 5_000, "{tallies:?}");
}

fn of_an_index(name: &str) -> bool {
    name.starts_with("indexes/")
}

#[test]
fn every_flipped_bit_of_an_index_is_found_or_is_of_no_section() {
    let tallies = each_fault(indexes::small, of_an_index, flips);
    // Magic and zeros at the start of two files, and zeros between sections, which `verify` looks at.
    let all = &tallies["all"];
    assert!(all.detected > 10_000 && all.unchanged <= 2 * 8 * (64 + 3 * 63), "{all:?}");
}

#[test]
fn every_length_of_an_index_is_found() {
    let tallies = each_fault(indexes::small, of_an_index, lengths);
    assert!(tallies["all"].unchanged == 0 && tallies["all"].detected > 1_000, "{tallies:?}");
}
