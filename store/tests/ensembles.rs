//! Promise: losses of an ensemble are rows x members, appended member by member without touching a file that
//! is there, and everything that keeps a store in order keeps them.

use crate::common::every::at_every_operation;
use crate::common::*;
use gstore_core::Cancel;
use gstore_store::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ROWS: u64 = 5000;

fn update(members: Range<usize>) -> EnsembleUpdate {
    EnsembleUpdate {
        name: "e".into(),
        base: EnsembleBase { id: "theta".into(), name: Some("tiny".into()), adapter: None },
        members: members.map(member).collect(),
    }
}

fn member(i: usize) -> Member {
    Member {
        seed: Some(i as u64),
        variant: Some("if".into()),
        settings: MemberSettings { rho: Some(1.0), gamma: Some(1.0), lr: Some(1e-3), steps: Some(16) },
        subset: Some(SubsetNote { size: 256, digest: sha256_hex(&[i as u8]) }),
        ..Member::new(format!("m{i}"), "theta")
    }
}

fn ensemble(store: &Store) -> Arc<EnsemblePart> {
    Arc::clone(store.snapshot().unwrap().ensemble("e").unwrap())
}

fn columns(store: &Store) -> LossColumns {
    LossColumns::new(&ensemble(store), "pool", encoding_spec().key())
}

/// The delta of a row under a member.
fn delta(row: u64, member: usize) -> f32 {
    (row as f32).sin() * 0.01 + member as f32
}

/// Writes losses of some members as one feature; `of` says what a cell is.
fn write(
    store: &Store,
    feature: JobFeature,
    rows: impl IntoIterator<Item = u64>,
    of: impl Fn(u64) -> Vec<f32>,
) -> Result<Arc<Snapshot>, CommitError> {
    let plan = LossColumns::plan("losses", vec![feature], &Value::Null);
    let mut job = store.start_job(plan).unwrap();
    let mut writer = job.segment_writer(0).unwrap();
    for row in rows {
        writer.push(row, &of(row), RowFlags::empty()).unwrap();
    }
    job.seal(0, writer).unwrap();
    job.publish(None, true)
}

/// Members `range` with one feature.
fn append(store: &Store, range: Range<usize>, rows: Range<u64>) {
    store.update_ensemble(&update(range.clone()), "train").unwrap();
    let feature = columns(store).members(range.clone(), 0);
    write(store, feature, rows, |row| range.clone().map(|m| delta(row, m)).collect()).unwrap();
}

/// A store with 5,000 rows, offsets, and the losses of three members: two together, one alone.
fn filled(path: &Path) -> Store {
    filled_with(path, ROWS)
}

fn filled_with(path: &Path, rows: u64) -> Store {
    let store = Store::create(path).unwrap();
    add(&store, 0..rows).unwrap();
    store.update_ensemble(&update(0..2), "train").unwrap();
    let offset = columns(&store).offset(OffsetOf::Base);
    write(&store, offset, 0..rows, |row| vec![2.0 + row as f32]).unwrap();
    append(&store, 0..2, 0..rows);
    append(&store, 2..3, 0..rows);
    store
}

fn read(snapshot: &Snapshot) -> (LossTable, BTreeMap<u64, (f32, Vec<f32>)>) {
    let ensemble = snapshot.ensemble("e").unwrap();
    let reader = snapshot.open_losses(ensemble, &LossWanted::of("pool")).unwrap();
    let (mut all, mut block) = (BTreeMap::new(), LossBlock::default());
    for cell in reader.cells() {
        reader.read_cell(cell, None, &mut block).unwrap();
        assert!(block.rows.is_sorted());
        assert_eq!(block.missing, block.values.iter().filter(|v| v.is_nan()).count());
        for (i, row) in block.rows.iter().enumerate() {
            all.insert(*row, (block.offset[i], block.row(i).to_vec()));
        }
    }
    (reader.table().clone(), all)
}

/// Bits, so that NaN is equal to NaN.
fn bits(rows: &BTreeMap<u64, (f32, Vec<f32>)>) -> Vec<(u64, u32, Vec<u32>)> {
    let of = |(row, (offset, values)): (&u64, &(f32, Vec<f32>))| {
        (*row, offset.to_bits(), values.iter().map(|v| v.to_bits()).collect())
    };
    rows.iter().map(of).collect()
}

fn data_files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let segments = |f: &PathBuf| f.starts_with("segments");
    files(path)
        .into_iter()
        .filter(segments)
        .map(|f| (f.clone(), fs_err::read(path.join(f)).unwrap()))
        .collect()
}

#[test]
fn losses_are_rows_by_members_whatever_their_files() {
    let (_dir, _, store) = placed(filled);
    let snapshot = store.snapshot().unwrap();
    let (table, rows) = read(&snapshot);
    assert_eq!(table.members, [0, 1, 2]);
    assert!(table.base);
    assert_eq!((table.signal.as_str(), table.compute.as_str()), ("loss", "f32"));
    assert_eq!(rows.len() as u64, ROWS);
    for (row, (offset, values)) in &rows {
        assert_eq!(*offset, 2.0 + *row as f32);
        assert_eq!(values, &[0, 1, 2].map(|m| delta(*row, m)));
    }
    assert_eq!(snapshot.loss_tables(&ensemble(&store)), [table]);
    let reader = snapshot.open_losses(&ensemble(&store), &LossWanted::of("pool")).unwrap();
    let some = reader.read_rows(&RowSet::from_rows([4999, 3, 4096, 9999])).unwrap();
    assert_eq!(some.rows, [3, 4096, 4999]);
    assert_eq!(some.row(1), [0, 1, 2].map(|m| delta(4096, m)));
    assert_eq!(reader.rows_of(2).unwrap().len(), ROWS);
    assert!(verify(&store).is_sound());
}

#[test]
fn a_member_that_is_appended_writes_its_column_only() {
    let (_dir, path, store) = placed(filled);
    let before = data_files(&path);
    append(&store, 3..4, 0..ROWS);
    let after = data_files(&path);
    let new: Vec<&PathBuf> = after.keys().filter(|f| !before.contains_key(*f)).collect();
    assert!(before.iter().all(|(f, bytes)| after.get(f) == Some(bytes)), "a file was written again");
    let size: usize = new.iter().map(|f| after[*f].len()).sum();
    // A row of one member has 29 bytes in all columns, and a file a head and a footer.
    assert!(size < ROWS as usize * 29 + 16_384, "{size} bytes for {ROWS} losses in {new:?}");
    assert_eq!(read(&store.snapshot().unwrap()).0.members, [0, 1, 2, 3]);
}

#[test]
fn cells_that_are_missing_are_kept_as_such_and_filled_or_replaced_by_a_revision() {
    let (_dir, _, store) = placed(filled);
    store.update_ensemble(&update(3..5), "import").unwrap();
    // Member 3 lacks every other row; member 4 has a gap in the middle of its rows.
    let gaps = |row: u64| vec![if row.is_multiple_of(2) { f32::NAN } else { delta(row, 3) }, delta(row, 4)];
    write(&store, columns(&store).members(3..5, 0), (0..ROWS).filter(|row| *row != 7), gaps).unwrap();
    let snapshot = store.snapshot().unwrap();
    let (_, rows) = read(&snapshot);
    assert!(rows[&2].1[3].is_nan() && rows[&2].1[4] == delta(2, 4));
    assert!(rows[&7].1[3].is_nan() && rows[&7].1[4].is_nan() && rows[&7].1[2] == delta(7, 2));
    let part =
        snapshot.features().iter().find(|f| f.desc.dim() == 2 && f.attrs.label.ends_with("3-4")).unwrap();
    let stored = snapshot.open_feature(part).unwrap().row(2).unwrap().unwrap();
    assert!(stored.flags.contains(RowFlags::MISSING) && stored.norm[0].is_finite());
    // A later revision fills in some cells and replaces one; NaN leaves what is there.
    let table = snapshot.loss_tables(&ensemble(&store)).remove(0);
    let revision = snapshot.next_loss_revision(&ensemble(&store), &table);
    assert_eq!(revision, 1);
    let over = |row: u64| vec![delta(row, 3), if row == 4 { 9.0 } else { f32::NAN }];
    write(&store, columns(&store).members(3..5, revision), [2, 4], over).unwrap();
    let (_, rows) = read(&store.snapshot().unwrap());
    assert_eq!(rows[&2].1[3..], [delta(2, 3), delta(2, 4)]);
    assert_eq!(rows[&4].1[3..], [delta(4, 3), 9.0]);
    assert!(rows[&6].1[3].is_nan());
    assert!(verify(&store).is_sound());
}

#[test]
fn members_are_only_appended_and_never_become_others() {
    let (_dir, _, store) = placed(filled);
    let before = store.snapshot().unwrap().number();
    store.update_ensemble(&update(0..3), "train").unwrap();
    assert_eq!(store.snapshot().unwrap().number(), before, "nothing new is no snapshot");
    let mut other = update(0..1);
    other.members[0].seed = Some(77);
    let error = store.update_ensemble(&other, "train").unwrap_err();
    assert!(matches!(&error, CommitError::MemberConflict { what: "seed", .. }), "{error}");
    let mut other = update(0..1);
    other.base.id = "another".into();
    assert!(matches!(store.update_ensemble(&other, "t").unwrap_err(), CommitError::EnsembleBase { .. }));
    let mut nameless = update(0..0);
    nameless.members.push(Member::new("", "theta"));
    assert!(matches!(store.update_ensemble(&nameless, "t").unwrap_err(), CommitError::EnsembleName { .. }));
    // Where its weights are may be said later.
    let weights = MemberWeights { checkpoint: checkpoint(9), folder: Some("out/m0".into()) };
    let mut kept = update(0..1);
    kept.members[0].weights = Some(weights.clone());
    store.update_ensemble(&kept, "attach").unwrap();
    assert_eq!(ensemble(&store).members[0].weights, Some(weights));
    assert_eq!(ensemble(&store).members.len(), 3);
}

#[test]
fn a_column_of_no_member_is_refused_before_anything_is_computed() {
    let (_dir, _, store) = placed(filled);
    let start = |feature: JobFeature| store.start_job(plan(vec![feature])).map(drop);
    let beyond = columns(&store).members(2..4, 0);
    assert!(matches!(start(beyond), Err(JobError::Description { .. })));
    let mut stranger = columns(&store);
    stranger.ensemble.0 = uuid::Uuid::from_u128(1);
    assert!(matches!(start(stranger.members(0..1, 0)), Err(JobError::Description { .. })));
    let mut half = columns(&store).members(0..1, 0);
    half.desc.dtype = DType::F16;
    assert!(matches!(start(half), Err(JobError::Description { .. })));
}

#[test]
fn deleting_purging_and_compacting_keep_the_other_rows() {
    let (_dir, path, store) = placed(filled);
    // More rows come later, in files of their own.
    add(&store, ROWS..ROWS + 100).unwrap();
    append(&store, 0..2, ROWS..ROWS + 100);
    let gone = RowSet::from_rows([0, 7, 4096, ROWS + 3]);
    let options = |purge| DeleteOptions { command: "delete".into(), purge, ..DeleteOptions::default() };
    store.delete(&pool(&store), &gone, options(false)).unwrap();
    let (_, kept) = read(&store.snapshot().unwrap());
    assert_eq!(kept.len() as u64, ROWS + 100 - 4);
    assert!(gone.iter().all(|row| !kept.contains_key(&row)));
    assert!(kept[&(ROWS + 1)].1[2].is_nan(), "member 2 has no losses of the new rows");
    let files_before = data_files(&path).len();
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(bits(&read(&store.snapshot().unwrap()).1), bits(&kept));
    let purged = RowSet::from_rows([1, 4097]);
    store.delete(&pool(&store), &purged, options(true)).unwrap();
    let (_, left) = read(&store.snapshot().unwrap());
    let mut expected = kept.clone();
    expected.retain(|row, _| !purged.contains(*row));
    assert_eq!(bits(&left), bits(&expected));
    assert!(verify(&store).is_sound());
    assert!(files_before >= 4);
}

#[test]
fn backup_collection_and_repair_keep_an_ensemble() {
    let dir = tempdir().unwrap();
    let [path, to, back] = ["s", "b", "r"].map(|n| dir.path().join(n));
    let store = filled(&path);
    let (_, rows) = read(&store.snapshot().unwrap());
    store.backup(&to, &BackupOptions::default(), &mut |_| {}, &Cancel::new()).unwrap();
    Store::restore(&to, &back, &mut |_| {}, &Cancel::new()).unwrap();
    let restored = Store::open(&back).unwrap();
    assert_eq!(bits(&read(&restored.snapshot().unwrap()).1), bits(&rows));
    assert_eq!(*ensemble(&restored), *ensemble(&store));
    store.collect(GcOptions { keep: 1, ..GcOptions::default() }).unwrap();
    assert_eq!(bits(&read(&store.snapshot().unwrap()).1), bits(&rows));
    assert!(verify(&store).is_sound());
}

#[test]
fn a_lost_manifest_of_an_ensemble_comes_back_as_far_as_it_is_known() {
    let (_dir, path, store) = placed(filled);
    drop(store);
    let mut manifests: Vec<PathBuf> = files(&path)
        .into_iter()
        .filter(|f| f.to_string_lossy().starts_with("manifests/ensemble-1-"))
        .collect();
    let members = |f: &PathBuf| -> usize {
        let text = fs_err::read_to_string(path.join(f)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["members"].as_array().unwrap().len()
    };
    manifests.sort_by_key(members);
    assert_eq!(manifests.len(), 2, "{manifests:?}");
    let repair = |manifest: &PathBuf| {
        fs_err::remove_file(path.join(manifest)).unwrap();
        let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
        assert!(report.unrepaired.is_empty(), "{report:#?}");
        let store = Store::open(&path).unwrap();
        assert_sound(&store, "after the repair");
        let lost: Vec<(String, u64)> =
            report.lost.into_iter().map(|loss| (loss.rows.of, loss.rows.count)).collect();
        (store.snapshot().unwrap(), lost)
    };
    let feature = |label: &str| (format!("feature pool/{label}"), ROWS);
    let (snapshot, lost) = repair(&manifests[1]);
    assert_eq!(read(&snapshot).0.members, [0, 1]);
    assert_eq!(lost, [feature("loss@e:2")]);
    // The first one is what is left.
    let (snapshot, lost) = repair(&manifests[0]);
    assert!(snapshot.features().is_empty() && snapshot.ensembles().is_empty());
    assert_eq!(lost, [("ensemble e".to_owned(), 0), feature("loss@e:base"), feature("loss@e:0-1")]);
}

#[test]
fn a_lost_manifest_after_a_revert_gives_no_losses_to_the_members_before_it() {
    let (_dir, path, store) = placed(|path| {
        let store = filled_with(path, 20);
        let history = store.history().unwrap();
        // Before the third member was registered.
        let before = store.snapshot_at(history[2].number).unwrap();
        store.revert(&before, &RevertOptions::default()).unwrap();
        store
    });
    let revert = store.snapshot().unwrap().number();
    store.update_ensemble(&update(3..4), "train").unwrap();
    let feature = columns(&store).members(2..3, 0);
    write(&store, feature, 0..20, |row| vec![delta(row, 3)]).unwrap();
    let last = ensemble(&store);
    assert_eq!(last.members.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["m0", "m1", "m3"]);
    drop(store);
    let manifest = files(&path).into_iter().find(|f| {
        f.to_string_lossy().starts_with("manifests/ensemble-1-")
            && fs_err::read_to_string(path.join(f)).unwrap().contains("\"m3\"")
    });
    fs_err::remove_file(path.join(manifest.unwrap())).unwrap();
    let good = path.with_extension("good");
    copy(&path, &good);
    let repaired = |path: &Path| {
        let report = Store::repair_folder(path, RepairOptions::default(), &mut |_| {}).unwrap();
        let lost: Vec<String> = report.lost.iter().map(|loss| loss.rows.of.clone()).collect();
        assert!(lost.contains(&"feature pool/loss@e:2".to_owned()), "{report:#?}");
        let store = Store::open(path).unwrap();
        assert_sound(&store, "after the repair");
        assert_eq!(read(&store.snapshot().unwrap()).0.members, [0, 1]);
        ensemble(&store).members.len()
    };
    assert_eq!(repaired(&path), 2, "as it was after the revert, though it once had more");
    // With the root of the revert gone, the member that it took away is back, without losses of another.
    let is_revert = |f: &PathBuf| f.to_string_lossy().starts_with(&format!("manifests/root-{revert}-"));
    let mut roots: Vec<PathBuf> = files(&good).into_iter().filter(is_revert).collect();
    fs_err::write(good.join(roots.pop().unwrap()), "{}").unwrap();
    assert_eq!(repaired(&good), 3);
}

#[test]
fn at_every_operation_a_member_is_there_with_its_column_or_not_at_all() {
    let dir = tempdir().unwrap();
    let prepared = dir.path().join("prepared");
    let before = bits(&read(&filled_with(&prepared, 20).snapshot().unwrap()).1);
    let append = |store: &Store| -> Result<(), String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let snapshot = store.update_ensemble(&update(3..4), "train").map_err(|e| text(&e))?;
        let part = snapshot.ensemble("e").map_err(|e| text(&e))?;
        let feature = LossColumns::new(part, "pool", encoding_spec().key()).members(3..4, 0);
        let mut job = store.start_job(plan(vec![feature])).map_err(|e| text(&e))?;
        if job.rows_done(0).is_empty() {
            let mut writer = job.segment_writer(0).map_err(|e| text(&e))?;
            for row in 0..20 {
                writer.push(row, &[delta(row, 3)], RowFlags::empty()).map_err(|e| text(&e))?;
            }
            job.seal(0, writer).map_err(|e| text(&e))?;
        }
        job.publish(None, true).map(drop).map_err(|e| text(&e))
    };
    at_every_operation(&prepared, append, |store, done| {
        let (table, rows) = read(&store.snapshot().unwrap());
        assert!(ensemble(store).members.len() >= table.members.len());
        assert!(!done || table.members.len() == 4);
        let width = table.members.len();
        assert!(rows.iter().all(|(row, (_, v))| v.len() == width && (width < 4 || v[3] == delta(*row, 3))));
        let first: BTreeMap<_, _> = rows.iter().map(|(row, (o, v))| (*row, (*o, v[..3].to_vec()))).collect();
        assert_eq!(bits(&first), before);
    });
}

#[test]
fn a_dropped_ensemble_takes_its_losses_along() {
    let (_dir, path, store) = placed(filled);
    let part = ensemble(&store);
    // Without their offset, losses would be other losses.
    let drop = |label: &str| store.drop_feature(store.snapshot().unwrap().feature(label).unwrap(), "drop");
    let refused = drop("loss@e:base").unwrap_err();
    assert!(
        matches!(&refused, ChangeError::Offset { feature } if feature == "pool/loss@e:base"),
        "{refused}"
    );
    drop("loss@e:2").unwrap();
    let report = store.drop_ensemble(&part, "drop").unwrap();
    assert_eq!(report.features.len(), 2);
    let snapshot = store.snapshot().unwrap();
    // A version that does not know ensembles would give out their numbers again.
    let root = format!("manifests/root-{}-", snapshot.number());
    let root = files(&path).into_iter().find(|f| f.to_string_lossy().starts_with(&root)).unwrap();
    assert!(fs_err::read_to_string(path.join(root)).unwrap().contains("\"ensembles\""));
    assert!(snapshot.features().is_empty() && snapshot.ensembles().is_empty());
    assert!(matches!(snapshot.ensemble("e"), Err(LookupError::Unknown { .. })));
    assert!(matches!(store.drop_ensemble(&part, "drop"), Err(ChangeError::Changed(_))), "it is gone");
    // The name is free, and its number is not given out again.
    store.update_ensemble(&update(0..1), "train").unwrap();
    assert_ne!((ensemble(&store).number, ensemble(&store).uuid), (part.number, part.uuid));
    assert!(verify(&store).is_sound());
}

#[test]
fn a_column_that_was_planned_for_one_model_is_not_written_for_another() {
    let (_dir, _, store) = placed(|path| filled_with(path, 20));
    let before = store.snapshot().unwrap();
    store.update_ensemble(&update(3..4), "train").unwrap();
    let planned = store.snapshot().unwrap();
    let start = |place: usize| {
        let feature = columns(&store).members(place..place + 1, 1);
        let plan = LossColumns::plan("losses", vec![feature], &Value::Null);
        store.start_job_on(&planned, plan, &Cancel::new()).map(drop)
    };
    store.update_ensemble(&update(4..5), "train").unwrap();
    start(3).unwrap();
    let changed = |error: JobError, says: &str| {
        let said = error.to_string();
        assert!(matches!(error, JobError::Changed(_)) && said.contains(says), "{said}");
    };
    // The place of a model is given to another one.
    store.revert(&before, &RevertOptions::default()).unwrap();
    store.update_ensemble(&update(5..6), "train").unwrap();
    changed(start(3).unwrap_err(), "model m3 of ensemble e");
    start(2).unwrap();
    // Losses are differences to offsets, which may be others when they are computed again.
    store.revert(&store.snapshot_at(2).unwrap(), &RevertOptions::default()).unwrap();
    let offset = columns(&store).offset(OffsetOf::Base);
    write(&store, offset, 0..20, |row| vec![3.0 + row as f32]).unwrap();
    changed(start(0).unwrap_err(), "loss@e:base");
}

#[test]
fn several_losses_of_a_dataset_are_told_apart() {
    let (_dir, _, store) = placed(filled);
    let mut margin = columns(&store);
    margin.signal = "neg_margin".into();
    write(&store, margin.members(0..1, 0), 0..10, |row| vec![row as f32]).unwrap();
    let snapshot = store.snapshot().unwrap();
    let part = ensemble(&store);
    let error = snapshot.open_losses(&part, &LossWanted::of("pool")).unwrap_err();
    assert!(matches!(error, LossError::Ambiguous { .. }), "{error}");
    let wanted = LossWanted { signal: Some("neg_margin"), ..LossWanted::of("pool") };
    let reader = snapshot.open_losses(&part, &wanted).unwrap();
    assert!(!reader.table().base);
    assert_eq!(reader.read_rows(&RowSet::from_range(3..5)).unwrap().values, [3.0, 4.0]);
    let wanted = LossWanted { signal: Some("prob"), ..LossWanted::of("pool") };
    assert!(matches!(snapshot.open_losses(&part, &wanted), Err(LossError::None { .. })));
    assert!(matches!(snapshot.open_losses(&part, &LossWanted::of("none")), Err(LossError::Lookup(_))));
}
