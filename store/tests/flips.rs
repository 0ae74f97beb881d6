//! Promise: whatever bit of a store is the other way, and whatever file ends early, a reader gets an error
//! that says so or the same answer: never another number, never a panic.
//!
//! The short form runs with the other tests: every bit of `CURRENT` and of indexes, a random bit of every
//! byte of heads, tails and other small files, one in every 2 bytes of manifests (8 of those that only older
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

mod world;

use self::world::{Answers, Step, World};
use crate::common::overlay::{Fault, Overlay};
use crate::common::*;
use gstore_core::{MIX_STEP, mix};
use gstore_store::Store;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Files that only writers open; `damage.rs` flips bits of the ledger.
const WRITERS_ONLY: [&str; 5] = ["LOCK", "ledger.redb", "ledger.sums", "leases/", "tmp/"];
/// Files up to this length are small: all their bits are flipped in the short form.
const SMALL: usize = 4096;

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
    let (_dir, path) = place();
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
