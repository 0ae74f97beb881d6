//! Promise: nothing on disk can cause a panic or a wrong number; damage is an error, and `verify`
//! finds every flipped byte.

use crate::common::*;
use gstore_store::*;
use std::path::Path;

/// A small store with samples, token counts, two segments and a run; and everything that can be read from it.
fn small(path: &Path) -> JobFeature {
    let f = feature("grad-sgd", 6, DType::F16);
    let store = Store::create(path).unwrap();
    add(&store, 0..12).unwrap();
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..7);
    seal(&mut job, 0, (7..12).filter(|r| *r != 9));
    seal_counts(&mut job, 0..12).unwrap();
    job.publish(None, false).unwrap();
    f
}

/// Reads everything. An error is fine; what is returned must be right.
fn read(path: &Path) -> Result<Vec<String>, (bool, String)> {
    let store = Store::open(path).map_err(|e| (e.is_damage(), e.to_string()))?;
    let snapshot = store.snapshot().map_err(|e| (e.is_damage(), e.to_string()))?;
    let fail = |e: ReadError| (e.is_damage(), e.to_string());
    let mut out = Vec::new();
    for part in snapshot.datasets() {
        let reader = snapshot.samples(part).map_err(fail)?;
        for batch in reader.scan(&["row", "id", "record", "n"], None) {
            out.push(format!("{:?}", batch.map_err(fail)?));
        }
        for e in &part.encodings {
            out.push(format!("{:?}", snapshot.encoding(e).map_err(fail)?.counts(0..100).map_err(fail)?));
        }
    }
    for part in snapshot.features() {
        let reader = snapshot.open_feature(part).map_err(fail)?;
        for row in 0..13 {
            out.push(format!("{:?}", reader.row(row).map_err(fail)?));
        }
        out.push(reader.content_digest().map_err(fail)?);
        let fresh = snapshot.open_feature(part).map_err(fail)?;
        out.push(fresh.content_digest().map_err(fail)?);
        out.push(fresh.row_set().map_err(fail)?.to_string());
        // Without checks numbers may be wrong, but nothing may panic.
        if let Ok(reader) = snapshot.with_checks(Checks::Off).open_feature(part) {
            for b in reader.blocks() {
                let _ = reader.read_block(*b, &mut BlockBuffer::new());
            }
        }
    }
    Ok(out)
}

fn report(path: &Path) -> Result<VerifyReport, VerifyError> {
    Store::verify_folder(path, VerifyOptions { all_snapshots: true, ..VerifyOptions::default() }, &mut |_| {})
}

fn each_damage(mut each: impl FnMut(&Path, &Path, &str)) {
    let (_dir, path, _) = placed(small);
    // It has its own test; without it nothing here waits for the disk.
    fs_err::remove_file(path.join("ledger.redb")).unwrap();
    fs_err::remove_file(path.join("ledger.sums")).unwrap();
    for file in files(&path) {
        let name = file.to_string_lossy().into_owned();
        if name.starts_with("tmp") || name == "LOCK" {
            continue;
        }
        let good = fs_err::read(path.join(&file)).unwrap();
        each(&path, &file, &name);
        fs_err::write(path.join(&file), good).unwrap();
    }
    assert!(report(&path).unwrap().is_sound(), "the test did not put everything back");
}

#[test]
fn every_flipped_byte_is_an_error_or_harmless_and_verify_finds_it() {
    // All of them with GSTORE_EXHAUSTIVE; a prime step touches every kind of field all the same.
    let step = if std::env::var_os("GSTORE_EXHAUSTIVE").is_some() { 1 } else { 3 };
    let dir = tempdir().unwrap();
    small(&dir.path().join("s"));
    let mut harmless = 0;
    each_damage(|path, file, name| {
        let expected = read(path).unwrap();
        let good = fs_err::read(path.join(file)).unwrap();
        for i in (0..good.len()).step_by(step) {
            let mut bad = good.clone();
            bad[i] ^= 1 << (i * 7 % 8);
            fs_err::write(path.join(file), &bad).unwrap();
            let found = report(path);
            let sound = found.as_ref().is_ok_and(VerifyReport::is_sound);
            match read(path) {
                Ok(data) => assert_eq!(data, expected, "{name} byte {i}"),
                // CURRENT can turn into that of a newer format, or of no store at all.
                Err((damage, text)) => assert!(damage || name == "CURRENT", "{name} byte {i}: {text}"),
            }
            if name == "CURRENT" {
                harmless += usize::from(sound);
            } else {
                assert!(!sound, "{name} byte {i}: verify found nothing");
            }
        }
    });
    // White space between the fields.
    assert!(harmless < 60, "{harmless}");
}

#[test]
fn every_length_is_an_error() {
    each_damage(|path, file, name| {
        let good = fs_err::read(path.join(file)).unwrap();
        let step = (good.len() / 200).max(1);
        let lengths = (0..good.len()).step_by(step).chain(good.len().saturating_sub(20)..good.len());
        for n in lengths {
            if name == "CURRENT" && n + 1 == good.len() {
                continue; // only the last line's end is gone
            }
            fs_err::write(path.join(file), &good[..n]).unwrap();
            match read(path) {
                // Files of older snapshots only.
                Ok(_) => assert!(name.starts_with("manifests/"), "{name} cut to {n}"),
                Err((damage, text)) => assert!(damage, "{name} cut to {n}: {text}"),
            }
            assert!(!report(path).is_ok_and(|r| r.is_sound()), "{name} cut to {n}: verify found nothing");
        }
        let mut longer = good.clone();
        longer.extend_from_slice(b"more");
        fs_err::write(path.join(file), &longer).unwrap();
        assert!(!report(path).is_ok_and(|r| r.is_sound()), "{name} longer: verify found nothing");
        fs_err::remove_file(path.join(file)).unwrap();
        assert!(!report(path).is_ok_and(|r| r.is_sound()), "{name} removed: verify found nothing");
        let _ = read(path);
    });
}

/// Corruption that digests do not protect from: what a reader without the catalog, or with
/// forged digests, meets.
#[test]
fn sealed_files_of_a_job_are_read_without_a_catalog_and_never_panic() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, _, store) = with_samples(12);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..12);
    let path = job.sealed(0)[0].path().to_owned();
    drop(job);
    let good = fs_err::read(&path).unwrap();
    let mut kept = 0;
    for i in (0..good.len() * 8).step_by(17) {
        let mut bad = good.clone();
        bad[i / 8] ^= 1 << (i % 8);
        fs_err::write(&path, &bad).unwrap();
        let job = store.start_job(plan(vec![f.clone()])).unwrap();
        if !job.rows_done(0).is_empty() {
            kept += 1;
            assert_eq!(job.rows_done(0), RowSet::from_range(0..12), "bit {i}");
        }
    }
    // Only flatbuffer padding and attributes that do not matter can change unseen in a file
    // whose digest no catalog has.
    assert!(kept < good.len() * 8 / 17 / 5, "{kept} of {}", good.len() * 8 / 17);
    for n in (0..good.len()).step_by(37).chain(good.len() - 30..good.len()) {
        fs_err::write(&path, &good[..n]).unwrap();
        let job = store.start_job(plan(vec![f.clone()])).unwrap();
        assert!(job.rows_done(0).is_empty(), "cut to {n}");
    }
}

#[test]
fn flipped_bytes_of_the_ledger_never_panic_and_never_duplicate_an_id() {
    let (_dir, path, _) = placed(small);
    let ledger = path.join("ledger.redb");
    let good = fs_err::read(&ledger).unwrap();
    let used: Vec<usize> = (0..good.len()).filter(|i| good[*i] != 0).collect();
    let step = (used.len() / 150).max(1);
    for i in used.iter().step_by(step) {
        let mut bad = good.clone();
        bad[*i] ^= 0x41;
        fs_err::write(&ledger, &bad).unwrap();
        report(&path).unwrap();
        let store = Store::open(&path).unwrap();
        let again = add(&store, 0..12).unwrap_or_else(|e| panic!("byte {i}: {e}"));
        assert_eq!((again.added, again.unchanged), (0, 12), "byte {i}");
    }
}

#[test]
fn one_damaged_segment_hides_no_other_and_its_rows_are_named() {
    let dir = tempdir().unwrap();
    let f = feature("grad-sgd", 6, DType::F16);
    let path = dir.path().join("s");
    let store = filled(&path, 100, &f, 25);
    let segments: Vec<_> = files(&path).into_iter().filter(|p| p.starts_with("segments")).collect();
    let snapshot = store.snapshot().unwrap();
    let part = &snapshot.features()[0];
    let file = |i: usize| path.join(format!("segments/1/{}.arrow", part.segments[i].uuid));
    assert_eq!(segments.len(), 4);
    flip(&file(1), |bytes| bytes.len() / 3);
    fs_err::remove_file(file(3)).unwrap();
    let mut seen = Vec::new();
    let report = store.verify(VerifyOptions::default(), &mut |p| seen.push(p)).unwrap();
    assert_eq!(report.problems.len(), 2, "{:#?}", report.problems);
    let rows: Vec<_> = report.problems.iter().map(|p| p.rows.clone().unwrap()).collect();
    assert_eq!(rows[0].of, "feature pool/grad-sgd@checkpoint-7");
    assert_eq!((&*rows[0].ranges, &*rows[1].ranges), (&[[25, 50]][..], &[[75, 100]][..]));
    assert!(seen.is_sorted_by_key(|p| p.bytes_done), "{seen:?}");
    assert!(seen.last().is_some_and(|p| p.bytes_done == p.bytes_total), "{seen:?}");
    // Not only from file to file.
    seen.dedup_by_key(|p| p.bytes_done);
    assert!(seen.len() as u64 > report.files + 1, "{seen:?}");
    assert!(serde_json::to_string(&report).unwrap().contains("\"ranges\":[[25,50]]"));
    fs_err::write(file(3), b"").unwrap();
    let e = snapshot.open_feature(part).unwrap_err();
    assert!(e.is_damage(), "{e}");
    let text = e.to_string();
    for part in [
        "segments/1/",
        "is damaged",
        "rows 75..100 of feature pool/grad-sgd@checkpoint-7",
        "run a verification",
        "an ingest",
    ] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

/// Moves each file of some folders away and lets `take` put something else in its place, which is reported as
/// the damage `found`.
fn each_taken(folders: &[&str], found: &str, take: impl Fn(&Path)) {
    let (_dir, path, _) = placed(small);
    let aside = path.with_file_name("aside");
    for name in files(&path) {
        let name = name.to_str().unwrap();
        if !folders.iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        fs_err::rename(path.join(name), &aside).unwrap();
        take(&path.join(name));
        match report(&path) {
            Ok(report) => {
                let said = report.problems.iter().any(|p| p.file == name && p.found.starts_with(found));
                assert!(said, "{name}: {report:#?}");
            }
            Err(e) => {
                let text = e.to_string();
                assert!(e.is_damage() && text.contains(name) && text.contains(found), "{name}: {text}");
            }
        }
        fs_err::rename(&aside, path.join(name)).unwrap();
    }
    assert!(report(&path).unwrap().is_sound());
}

#[test]
fn a_file_that_is_gone_is_named_by_its_place_in_the_store() {
    each_taken(&["manifests/", "samples/", "segments/", "encodings/"], "no such file", |_| {});
}

#[test]
fn a_named_pipe_in_place_of_a_file_is_damage_and_is_not_waited_for() {
    let folders = ["CURRENT", "manifests/", "samples/", "segments/", "encodings/"];
    each_taken(&folders, "a named pipe", |place| {
        assert!(std::process::Command::new("mkfifo").arg(place).status().unwrap().success());
    });
}

#[test]
fn folders_that_are_no_store_and_newer_stores_are_named_as_such() {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(matches!(Store::open(&missing), Err(OpenError::NotFound(_))));
    let other = dir.path().join("other");
    fs_err::create_dir_all(&other).unwrap();
    fs_err::write(other.join("notes.txt"), "x").unwrap();
    assert!(matches!(Store::open(&other), Err(OpenError::NotAStore(_))));
    assert!(matches!(Store::open(other.join("notes.txt")), Err(OpenError::NotAFolder(_))));
    assert!(matches!(Store::create(&other), Err(CreateError::NotEmpty { .. })));
    assert!(matches!(Store::open_or_create(&other), Err(CreateError::NotEmpty { .. })));
    let path = dir.path().join("s");
    small(&path);
    assert!(matches!(Store::create(&path), Err(CreateError::Exists(_))));
    let current = path.join("CURRENT");
    let text = fs_err::read_to_string(&current).unwrap();
    for newer in [
        text.replace("\"version\": 1", "\"version\": 2"),
        text.replace("\"requires\": []", "\"requires\": [\"purge\"]"),
    ] {
        assert_ne!(newer, text);
        fs_err::write(&current, newer).unwrap();
        let e = Store::open(&path).unwrap_err();
        assert!(!e.is_damage() && e.to_string().contains("newer gstore"), "{e}");
    }
    let more = text.replacen('{', "{\n  \"later\": {\"x\": 1},", 1);
    fs_err::write(&current, more).unwrap();
    Store::open(&path).unwrap();
    fs_err::remove_file(&current).unwrap();
    let e = Store::open(&path).unwrap_err();
    assert!(e.is_damage() && e.to_string().contains("snapshot 2"), "{e}");
    assert!(
        Store::create(&path).is_err() && Store::open_or_create(&path).is_err(),
        "a store that lost CURRENT is not made anew"
    );
}

#[test]
fn a_creation_that_was_cut_short_is_completed() {
    for n in 0.. {
        let (_dir, path) = place();
        let vfs = crate::common::crash::CrashVfs::new(n);
        let result = Store::create_on(std::sync::Arc::new(vfs.clone()), &path);
        let store = Store::open_or_create(&path).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
        assert!(verify(&store).is_sound());
        if result.is_ok() && vfs.left() > 0 {
            assert!(n > 10, "{n}");
            break;
        }
    }
}

#[test]
fn unknown_fields_of_parts_are_kept() {
    let (_dir, _, store) = with_samples(3);
    // A later version of the same format wrote these parts.
    let snapshot = store.snapshot().unwrap();
    let mut json = serde_json::to_value(&**snapshot.dataset("pool").unwrap()).unwrap();
    json["later"] = serde_json::json!({"x": 1});
    json["files"][0]["later"] = serde_json::json!(2);
    let part: DatasetPart = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&part).unwrap(), json);
}
