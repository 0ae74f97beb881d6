//! Every damage of every file, alone and in pairs.

use super::support::*;
use crate::common::*;
use gstore_store::*;
use std::path::Path;

#[test]
fn each_damage_of_each_file() {
    let (_dir, path, store) = placed(original);
    let was = content(&store);
    drop(store);
    let good = bytes(&path);
    // Every second damage of a file, beginning with another one in the next; all with GSTORE_EXHAUSTIVE.
    let full = std::env::var_os("GSTORE_EXHAUSTIVE").is_some();
    let mut repairs = 0;
    for (number, file) in damageable(&path).into_iter().enumerate() {
        let name = file.to_string_lossy().into_owned();
        for (i, (how, damage)) in damages(good[&file].len()).into_iter().enumerate() {
            if !full && (i + number) % 2 == 1 {
                continue;
            }
            let what = format!("{name} {how}");
            damage(&path.join(&file));
            if is_sound(&path) {
                reset(&path, &good); // White space in CURRENT.
                continue;
            }
            let before = bytes(&path);
            let dry = RepairOptions { dry_run: true, ..RepairOptions::default() };
            let dry = match try_repair(&path, dry) {
                Ok(dry) => dry,
                // A bit can make CURRENT one of a newer format, which is none of ours to repair.
                Err(e) => {
                    assert!(name == "CURRENT" && !e.is_damage(), "{what}: {e}");
                    reset(&path, &good);
                    continue;
                }
            };
            assert!(bytes(&path) == before, "{what}: a dry run changed something");
            let report = repair(&path);
            repairs += 1;
            assert_eq!(dry.snapshot, report.snapshot, "{what}");
            assert_eq!(dry.lost.len(), report.lost.len(), "{what}: {dry:#?} {report:#?}");
            if name.starts_with("tombstones") && !report.unrepaired.is_empty() {
                // Nothing was repaired, so nothing is given up.
                assert_eq!((report.snapshot, report.history_from), (None, None), "{what}: {report:#?}");
                tombstone(&path, &was, &what);
                reset(&path, &good);
                continue;
            }
            let after = check_all(&path).unwrap();
            assert!(after.is_sound(), "{what}: {:#?}\n{report:#?}", after.problems);
            let now = content(&Store::open(&path).unwrap());
            compare(&was, &now, &report, &what);
            if name.starts_with("manifests") || name == "CURRENT" {
                assert_eq!(
                    (&now.samples, &now.features),
                    (&was.samples, &was.features),
                    "{what}: {report:#?}"
                );
            }
            let again = repair(&path);
            assert!(again.is_sound(), "{what}: repaired twice: {again:#?}");
            refill(&path, &was, &report, &what);
            assert!(serde_json::to_string(&report).unwrap().contains("\"problems\""));
            reset(&path, &good);
        }
    }
    assert!(repairs > if full { 150 } else { 70 }, "{repairs}");
}

/// A lost bitmap: nothing comes back without an explicit command.
fn tombstone(path: &Path, was: &Content, what: &str) {
    let store = Store::open(path).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.samples(snapshot.dataset("pool").unwrap()).is_err(), "{what}");
    drop((store, snapshot));
    let forget = RepairOptions { forget_deletes: true, ..RepairOptions::default() };
    let report = try_repair(path, forget).unwrap();
    let back: u64 = report.lost.iter().filter(|l| l.kind == LostKind::Deletes).map(|l| l.rows.count).sum();
    assert!(is_sound(path), "{what}: {report:#?}");
    let now = content(&Store::open(path).unwrap());
    assert_eq!(now.samples.len() as u64, was.samples.len() as u64 + back, "{what}");
    assert!(back > 0 && was.samples.iter().all(|(row, s)| now.samples.get(row) == Some(s)), "{what}");
}

#[test]
fn pairs_of_damaged_files() {
    let (_dir, path, store) = placed(original);
    let was = content(&store);
    drop(store);
    let good = bytes(&path);
    let all = damageable(&path);
    let full = std::env::var_os("GSTORE_EXHAUSTIVE").is_some();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % n as u64) as usize
    };
    for round in 0..if full { 2000 } else { 150 } {
        let mut what = format!("round {round}:");
        let mut deletes = false;
        for _ in 0..2 {
            let file = &all[next(all.len())];
            if !path.join(file).exists() || fs_err::read(path.join(file)).unwrap() != good[file] {
                continue;
            }
            let mut ways = damages(good[file].len());
            let (how, damage) = ways.swap_remove(next(ways.len()));
            what = format!("{what} {} {how};", file.display());
            deletes |= file.starts_with("tombstones");
            damage(&path.join(file));
        }
        let report = match try_repair(&path, RepairOptions::default()) {
            Ok(report) => report,
            Err(e) => {
                assert!(what.contains("CURRENT bit") && !e.is_damage(), "{what} {e}");
                reset(&path, &good);
                continue;
            }
        };
        // With a bitmap and the part that lists it gone, nothing knows of its rows.
        if deletes {
            assert!(!report.unrepaired.is_empty() || is_sound(&path), "{what} {report:#?}");
            reset(&path, &good);
            continue;
        }
        let after = check_all(&path).unwrap_or_else(|e| panic!("{what} {e}\n{report:#?}"));
        assert!(after.is_sound(), "{what} {:#?}\n{report:#?}", after.problems);
        compare(&was, &content(&Store::open(&path).unwrap()), &report, &what);
        reset(&path, &good);
    }
}
