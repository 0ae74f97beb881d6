//! Promise: the ledger never gives a wrong row and never lets an id in twice, whatever became of its files;
//! and opening it does not take longer for more ids.

use crate::common::count::CountVfs;
use crate::common::crash::CrashVfs;
use crate::common::hook::HookVfs;
use crate::common::*;
use gstore_core::{Progress, Silent, Unit};
use gstore_store::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const LEDGER: &str = "ledger.redb";
const SUMS: &str = "ledger.sums";
const PAGE: usize = 4096;

/// Runs a test in a process of its own, where no other test's panic is printed, and asserts that none is.
fn quietly(name: &str, test: impl FnOnce()) {
    if std::env::var_os("GSTORE_LEDGER_TEST").is_some() {
        return test();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("ledger::{name}"), "--nocapture"])
        .env("GSTORE_LEDGER_TEST", "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{printed}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "no test of this name");
    assert!(!printed.contains("panicked"), "a panic was printed: {printed}");
}

fn ids(store: &Store) -> Vec<String> {
    use arrow_array::cast::AsArray;
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    let mut out = Vec::new();
    for batch in reader.scan(&["id"], None) {
        out.extend(batch.unwrap().column(0).as_string::<i32>().iter().map(|s| s.unwrap().to_owned()));
    }
    out
}

/// Adds samples `0..n` of which all but the last `new` are there.
fn again(store: &Store, n: u64, new: u64, what: &str) {
    let report = add(store, 0..n).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!((report.added, report.unchanged), (new, n - new), "{what}");
}

fn each_once(store: &Store, n: u64, what: &str) {
    let ids = ids(store);
    assert_eq!(ids.len() as u64, n, "{what}");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len() as u64, n, "{what}");
}

struct Good {
    path: PathBuf,
    ledger: Vec<u8>,
    sums: Vec<u8>,
}

impl Good {
    fn of(path: &Path) -> Good {
        let read = |name: &str| fs_err::read(path.join(name)).unwrap();
        Good { path: path.to_owned(), ledger: read(LEDGER), sums: read(SUMS) }
    }
    fn restore(&self) {
        fs_err::write(self.path.join(LEDGER), &self.ledger).unwrap();
        fs_err::write(self.path.join(SUMS), &self.sums).unwrap();
    }
}

#[test]
fn flipped_bits_of_the_ledger_are_found_and_it_is_made_anew() {
    quietly("flipped_bits_of_the_ledger_are_found_and_it_is_made_anew", || {
        let (_dir, path) = place();
        let store = Store::create(&path).unwrap();
        let mut n = 600;
        add(&store, 0..n).unwrap();
        let mut good = Good::of(&path);
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        for page in 0..good.ledger.len() / PAGE {
            let start = page * PAGE;
            if good.ledger.len() < start + PAGE {
                break;
            }
            // A page that was never written to is never read: one flip shows that.
            let used = good.ledger[start..start + PAGE].iter().any(|b| *b != 0);
            for flip in 0..if used { 10 } else { 1 } {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let bit = random as usize % (PAGE * 8);
                let what = format!("page {page} bit {bit}");
                let mut bad = good.ledger.clone();
                bad[start + bit / 8] ^= 1 << (bit % 8);
                fs_err::write(path.join(LEDGER), &bad).unwrap();
                let report = verify(&store);
                assert!(report.problems.iter().any(|p| p.file == LEDGER), "{what}: verify found nothing");
                assert_eq!(report.problems[0].offset, Some(start as u64), "{what}");
                assert!(
                    fs_err::read(path.join(LEDGER)).unwrap() == bad,
                    "{what}: verify wrote to the ledger"
                );
                assert!(fs_err::read(path.join(SUMS)).unwrap() == good.sums, "{what}: verify wrote the sums");
                if flip == 0 && used {
                    again(&store, n + 1, 1, &what);
                    n += 1;
                    again(&store, n, 0, &what);
                    each_once(&store, n, &what);
                    // What is left of the damage is in pages that are never read.
                    fs_err::remove_file(path.join(LEDGER)).unwrap();
                    again(&store, n, 0, &what);
                    good = Good::of(&path);
                } else {
                    again(&store, n, 0, &what);
                    good.restore();
                }
            }
        }
        assert!(verify(&store).is_sound());
    });
}

#[test]
fn without_sums_everything_is_checked_once_and_nothing_panics_aloud() {
    quietly("without_sums_everything_is_checked_once_and_nothing_panics_aloud", || {
        let (_dir, path, store) = with_samples(300);
        let good = Good::of(&path);
        let used: Vec<usize> = (0..good.ledger.len()).filter(|i| good.ledger[*i] != 0).collect();
        for i in used.iter().step_by((used.len() / 300).max(1)) {
            let mut bad = good.ledger.clone();
            bad[*i] ^= 0x41;
            fs_err::write(path.join(LEDGER), &bad).unwrap();
            let _ = fs_err::remove_file(path.join(SUMS));
            assert!(verify(&store).is_sound(), "byte {i}: a crash may have left it so");
            again(&store, 300, 0, &format!("byte {i}"));
            assert!(path.join(SUMS).exists(), "byte {i}");
            assert!(verify(&store).is_sound(), "byte {i}");
        }
    });
}

#[test]
fn flipped_bits_of_the_sums_are_found() {
    let (_dir, path, store) = with_samples(100);
    let good = Good::of(&path);
    // Every bit with GSTORE_EXHAUSTIVE; a prime step touches every field and every bit of a byte all the
    // same.
    let step = if std::env::var_os("GSTORE_EXHAUSTIVE").is_some() { 1 } else { 23 };
    for bit in (0..good.sums.len() * 8).step_by(step) {
        let mut bad = good.sums.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs_err::write(path.join(SUMS), &bad).unwrap();
        let report = verify(&store);
        assert!(report.problems.iter().any(|p| p.file == SUMS), "bit {bit}: {:?}", report.problems);
        again(&store, 100, 0, &format!("bit {bit}"));
        assert!(verify(&store).is_sound(), "bit {bit}");
        good.restore();
    }
}

#[test]
fn cut_and_longer_files_are_found() {
    let (_dir, path, store) = with_samples(300);
    let good = Good::of(&path);
    for (file, bytes) in [(LEDGER, &good.ledger), (SUMS, &good.sums)] {
        let lengths = [0, 1, 8, 40, 320, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE];
        let ends = [bytes.len() / 2, bytes.len().saturating_sub(PAGE), bytes.len() - 1];
        for len in lengths.into_iter().chain(ends).filter(|n| *n < bytes.len()) {
            let what = format!("{file} cut to {len}");
            fs_err::write(path.join(file), &bytes[..len]).unwrap();
            let report = verify(&store);
            assert!(report.problems.iter().any(|p| p.file == file), "{what}: {:?}", report.problems);
            again(&store, 300, 0, &what);
            assert!(verify(&store).is_sound(), "{what}");
            good.restore();
        }
        let mut longer = bytes.clone();
        longer.resize(longer.len() + PAGE, 0);
        fs_err::write(path.join(file), longer).unwrap();
        assert!(!verify(&store).is_sound(), "{file} longer");
        again(&store, 300, 0, file);
        assert!(verify(&store).is_sound(), "{file} longer");
        good.restore();
    }
}

#[test]
fn what_a_crash_explains_is_a_note() {
    let (_dir, path, store) = with_samples(50);
    let behind = Good::of(&path);
    add(&store, 50..60).unwrap();
    assert!(verify(&store).notes.is_empty());
    behind.restore();
    let report = verify(&store);
    assert!(report.is_sound() && report.notes.iter().any(|n| n.contains("behind")), "{report:?}");
    fs_err::remove_file(path.join(SUMS)).unwrap();
    assert!(verify(&store).is_sound());
    fs_err::remove_file(path.join(LEDGER)).unwrap();
    let report = verify(&store);
    assert!(report.is_sound() && report.notes.iter().any(|n| n.contains("no index of ids")), "{report:?}");
    assert!(!path.join(LEDGER).exists());
    again(&store, 60, 0, "rebuilt");
    assert!(verify(&store).notes.is_empty());
}

#[test]
fn datasets_that_it_is_behind_are_one_note() {
    let (_dir, path) = place();
    let store = Store::create(&path).unwrap();
    let more = |range: std::ops::Range<u64>| {
        let other = DatasetName::try_from("other").unwrap();
        let mut append = store.append(&other, vec![], options("add")).unwrap();
        for i in range {
            let record = record(i);
            append.push(NewSample { id: &format!("s{i}"), record: Some(&record), metadata: vec![] }).unwrap();
        }
        append.finish().unwrap();
    };
    add(&store, 0..50).unwrap();
    more(0..5);
    let behind = Good::of(&path);
    add(&store, 50..60).unwrap();
    more(5..6);
    behind.restore();
    let report = verify(&store);
    let said: Vec<&String> = report.notes.iter().filter(|n| n.contains("behind")).collect();
    assert!(report.is_sound() && said.len() == 1 && said[0].contains("behind 2 datasets"), "{report:?}");
}

#[test]
fn a_ledger_that_only_this_process_cannot_open_stays() {
    let (_dir, path, _) = with_samples(50);
    let good = Good::of(&path);
    let add_after = |number: i32| {
        let failed = AtomicBool::new(false);
        let vfs = HookVfs::new(move |operation, p| {
            let fails = operation == "open_random" && p.ends_with(LEDGER);
            match fails && !failed.swap(true, Ordering::SeqCst) {
                true => Err(std::io::Error::from_raw_os_error(number)),
                false => Ok(()),
            }
        });
        add(&Store::open_on(vfs, &path).unwrap(), 0..50)
    };
    for number in [libc::EMFILE, libc::EACCES] {
        let e = add_after(number).unwrap_err().to_string();
        assert!(e.contains("could not open ledger.redb"), "{e}");
        assert!(fs_err::read(path.join(LEDGER)).unwrap() == good.ledger, "{e}");
        assert!(fs_err::read(path.join(SUMS)).unwrap() == good.sums, "{e}");
    }
    assert_eq!(add_after(libc::EIO).unwrap().unchanged, 50, "made anew");
}

#[test]
fn sums_are_there_only_while_nobody_writes() {
    let (_dir, path, store) = with_samples(50);
    assert!(path.join(SUMS).exists());
    let append = store.append(&dataset(), vec![], options("add")).unwrap();
    assert!(!path.join(SUMS).exists());
    drop(append);
    assert!(path.join(SUMS).exists());
    assert!(verify(&store).is_sound());
}

/// Appends new rows, and others for some that are there.
fn change(store: &Store) -> Result<(), CommitError> {
    let options = AppendOptions { if_changed: IfChanged::Replace, ..options("add") };
    let mut append = store.append(&dataset(), columns(), options)?;
    for i in 15..25u64 {
        let record = if i < 18 { b"changed".to_vec() } else { record(i) };
        let metadata = vec![MetaValue::Null, MetaValue::Int(i as i64)];
        append.push(NewSample { id: &format!("s{i}"), record: Some(&record), metadata })?;
    }
    append.finish().map(|_| ())
}

#[test]
fn a_crash_at_any_operation_leaves_a_ledger_that_is_right_or_made_anew() {
    let dir = tempdir().unwrap();
    let base = dir.path().join("base");
    add(&Store::create(&base).unwrap(), 0..20).unwrap();
    for once in [false, true] {
        for n in 0.. {
            let path = dir.path().join(format!("{once}-{n}"));
            copy(&base, &path);
            let vfs = if once { CrashVfs::once(n) } else { CrashVfs::new(n) };
            let crashed = Store::open_on(Arc::new(vfs.clone()), &path)
                .map_err(CommitError::from)
                .and_then(|store| change(&store))
                .is_err();
            let what = format!("after {n} operations (once: {once})");
            let store = Store::open(&path).unwrap();
            assert_sound(&store, &what);
            change(&store).unwrap_or_else(|e| panic!("{what}: {e}"));
            each_once(&store, 25, &what);
            let report = verify(&store);
            assert!(report.is_sound() && report.notes.is_empty(), "{what}: {report:?}");
            fs_err::remove_dir_all(&path).unwrap();
            if !crashed && vfs.left() > 0 {
                assert!(n > 40, "{n}");
                break;
            }
        }
    }
}

/// Raises a flag once so many ids are indexed, and counts the stages and notes.
struct StopAt<'a> {
    left: u64,
    cancel: &'a Cancel,
    stages: Vec<String>,
    notes: Vec<String>,
}

impl<'a> StopAt<'a> {
    fn new(left: u64, cancel: &'a Cancel) -> Self {
        StopAt { left, cancel, stages: Vec::new(), notes: Vec::new() }
    }
}

impl Progress for StopAt<'_> {
    fn start(&mut self, stage: &str, total: u64, _: Unit) {
        self.stages.push(format!("{stage}: {total}"));
    }
    fn advance(&mut self, done: u64) {
        self.left = self.left.saturating_sub(done);
        if self.left == 0 {
            self.cancel.raise();
        }
    }
    fn finish(&mut self) {}
    fn note(&mut self, message: &str) {
        self.notes.push(message.to_owned());
    }
}

/// An append of samples without metadata, each with the content `version`.
fn appended(store: &Store, range: std::ops::Range<u64>, version: u64, changed: IfChanged) -> SampleAppend {
    let options = AppendOptions { if_changed: changed, ..options("add") };
    let mut append = store.append(&dataset(), vec![], options).unwrap();
    let record = record(version);
    for i in range {
        append.push(NewSample { id: &format!("s{i}"), record: Some(&record), metadata: vec![] }).unwrap();
    }
    append
}

#[test]
fn samples_are_added_whenever_the_index_of_ids_is_stopped_and_the_next_append_finishes_it() {
    for left in [0, 1, 2500] {
        let (_dir, store) = created();
        // A new dataset, then one that has samples.
        for end in [3000, 6000] {
            let what = format!("{left} {end}");
            let append = appended(&store, 0..end, 1, IfChanged::Refuse);
            let cancel = if left == 0 { Cancel::raised() } else { Cancel::new() };
            let mut progress = StopAt::new(left, &cancel);
            let report = append.finish_until(&mut progress, &cancel).unwrap();
            // The last advance comes when all are in: with 2500 ids and pieces of 1000 that is too late.
            let stopped = left < 2500;
            assert_eq!((report.added, report.unchanged), (3000, end - 3000), "{what}");
            assert_eq!(progress.stages, ["indexing ids: 3000"], "{what}");
            assert_eq!(progress.notes.len(), usize::from(stopped), "{what}: {:?}", progress.notes);
            each_once(&store, end, &what);
            let found = verify(&store);
            assert!(found.is_sound() && found.notes.is_empty() != stopped, "{what}: {found:?}");
            let cancel = Cancel::new();
            let mut progress = StopAt::new(u64::MAX, &cancel);
            let started = store.append_until(&dataset(), vec![], options("add"), &mut progress, &cancel);
            assert!(started.unwrap().is_some(), "{what}");
            assert_eq!(progress.stages.len(), usize::from(stopped), "{what}: {:?}", progress.stages);
            assert!(verify(&store).notes.is_empty(), "{what}");
        }
        let again = appended(&store, 0..6000, 1, IfChanged::Refuse).finish().unwrap();
        assert_eq!((again.added, again.unchanged), (0, 6000), "{left}");
    }
}

#[test]
fn ids_that_were_caught_up_in_part_are_not_known_after_a_revert() {
    let (_dir, store) = created();
    appended(&store, 0..10, 1, IfChanged::Refuse).finish().unwrap();
    let first = store.snapshot().unwrap();
    // The ids of the first samples lead to new rows, which are among those that are caught up.
    let append = appended(&store, 0..100_500, 2, IfChanged::Replace);
    append.finish_until(&mut Silent, &Cancel::raised()).unwrap();
    let cancel = Cancel::new();
    let mut progress = StopAt::new(100_000, &cancel);
    let stopped = store.append_until(&dataset(), vec![], options("add"), &mut progress, &cancel);
    assert!(stopped.unwrap().is_none() && cancel.is_raised());
    let report = verify(&store);
    assert!(report.is_sound() && report.notes.iter().any(|n| n.contains("behind")), "{report:?}");
    store.revert(&first, &RevertOptions { command: "revert".into(), dry_run: false }).unwrap();
    let report = appended(&store, 0..10, 1, IfChanged::Refuse).finish().unwrap();
    assert_eq!((report.added, report.unchanged), (0, 10));
    assert!(verify(&store).is_sound());
}

#[test]
fn verify_tells_how_far_the_comparison_of_ids_is_and_can_be_stopped_in_it() {
    let (_dir, store) = created();
    appended(&store, 0..3000, 1, IfChanged::Refuse).finish().unwrap();
    let files = verify(&store).bytes;
    let cancel = Arc::new(Cancel::new());
    let options = VerifyOptions { cancel: Some(Arc::clone(&cancel)), ..VerifyOptions::default() };
    let mut last = None;
    let stopped = store.verify(options, &mut |progress| {
        if progress.bytes_done > files {
            cancel.raise();
        }
        last = Some(progress);
    });
    assert!(matches!(stopped, Err(VerifyError::Cancelled(_))));
    let last = last.unwrap();
    assert!(files < last.bytes_done && last.bytes_done < last.bytes_total, "{last:?}");
}

#[test]
fn opening_reads_as_little_of_a_large_ledger_as_of_a_small_one() {
    let dir = tempdir().unwrap();
    for n in [1000, 100_000] {
        let path = dir.path().join(n.to_string());
        add(&Store::create(&path).unwrap(), 0..n).unwrap();
        let len = fs_err::metadata(path.join(LEDGER)).unwrap().len();
        let sums = fs_err::metadata(path.join(SUMS)).unwrap().len();
        let counting = CountVfs::default();
        let store = Store::open_on(Arc::new(counting.clone()), &path).unwrap();
        again(&store, 2, 0, "opened");
        let read = counting.take().read_random;
        println!("{n} ids: {len} bytes, {read} of them read, {sums} bytes of sums");
        assert!(read < 128 << 10, "{read} bytes read of a ledger of {n} ids");
        assert!(sums <= len / 512 + 64, "{sums} bytes of sums");
        assert!(n < 100_000 || len > 4 << 20, "the ledger is too small to show anything: {len} bytes");
    }
}
