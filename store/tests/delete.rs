//! Promise: a deleted row is nowhere to be seen from the next snapshot on, an older snapshot still has it,
//! its id can be added again, and a delete or drop happens as a whole or not at all.

use crate::common::every::at_every_operation;
use crate::common::*;
use arrow_array::cast::AsArray;
use gstore_store::*;
use std::path::PathBuf;

fn ids(store: &Store) -> Vec<String> {
    let snapshot = store.snapshot().unwrap();
    ids_of(&snapshot)
}

fn ids_of(snapshot: &Snapshot) -> Vec<String> {
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    let batches: Vec<_> = reader.scan(&["id"], None).collect::<Result<_, _>>().unwrap();
    let column = |b: &arrow_array::RecordBatch| -> Vec<String> {
        b.column(0).as_string::<i32>().iter().map(|t| t.unwrap().to_owned()).collect()
    };
    batches.iter().flat_map(column).collect()
}

fn names(rows: impl IntoIterator<Item = u64>) -> Vec<String> {
    rows.into_iter().map(|i| format!("s{i}")).collect()
}

#[test]
fn deleted_rows_are_hidden_and_older_snapshots_keep_them() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, _, store) = placed(|path| filled(path, 30, &f, 10));
    let (before, all) = (store.snapshot().unwrap(), digest(&store, &f));
    let report = delete(&store, [3, 4, 29, 29, 30, 1000]);
    assert_eq!((report.deleted, report.ignored, report.purged), (3, 2, 0));
    assert_eq!(report.snapshot, Some(before.number() + 1));
    assert_eq!(ids(&store), names((0..3).chain(5..29)));
    assert_ne!(digest(&store, &f), all);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.dataset("pool").unwrap().rows, 27);
    assert_eq!(snapshot.info().changes, ["dataset pool: 3 rows deleted"]);
    let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
    assert!(reader.row(3).unwrap().is_none() && reader.row(5).unwrap().is_some());
    assert_eq!(ids_of(&store.snapshot_at(before.number()).unwrap()), names(0..30));
    let again = delete(&store, [3, 4, 40]);
    assert_eq!((again.snapshot, again.deleted, again.ignored), (None, 0, 3));
    assert_eq!(store.snapshot().unwrap().number(), snapshot.number());
    assert_tidy(&store);
}

#[test]
fn the_id_of_a_deleted_row_can_be_added_again() {
    let (_dir, _, store) = with_samples(20);
    delete(&store, 5..8);
    assert_eq!(restore(&store, 0..20).unwrap(), {
        let mut r = AppendReport::default();
        (r.added, r.unchanged, r.snapshot) = (3, 17, Some(3));
        r
    });
    assert_eq!(ids(&store), names((0..5).chain(8..20).chain(5..8)));
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().next_row, 23);
    delete(&store, [21]);
    assert_eq!(restore(&store, 6..7).unwrap().added, 1);
    assert!(verify(&store).is_sound(), "{:?}", verify(&store).problems);
}

#[test]
fn many_deletes_leave_few_bitmaps() {
    let (_dir, _, store) = with_samples(100);
    for row in 0..30 {
        delete(&store, [row * 3]);
        let snapshot = store.snapshot().unwrap();
        let part = snapshot.dataset("pool").unwrap();
        assert!(part.tombstones.len() <= 8, "{}", part.tombstones.len());
        assert_eq!(part.rows, 99 - row);
    }
    assert_eq!(ids(&store), names((0..100).filter(|i| i % 3 != 0 || *i >= 90)));
}

#[test]
fn a_delete_works_while_a_job_runs_and_hides_what_the_job_computes() {
    let dir = tempdir().unwrap();
    let f = feature("grad-sgd", 6, DType::F16);
    let store = Store::create(dir.path().join("s")).unwrap();
    add(&store, 0..20).unwrap();
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..10);
    delete(&store, 5..12);
    seal(&mut job, 0, 10..20);
    let snapshot = job.publish(None, true).unwrap();
    let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
    assert_eq!(reader.row_set().unwrap(), RowSet::from_ranges([0..5, 12..20]));
    let other = Store::create(dir.path().join("o")).unwrap();
    add(&other, 0..20).unwrap();
    delete(&other, 5..12);
    publish_rows(&other, &f, (0..5).chain(12..20), true);
    assert_eq!(digest(&store, &f), digest(&other, &f));
}

#[test]
fn dropping_takes_names_away_and_nothing_else() {
    let (f, g) = (feature("grad-sgd", 6, DType::F16), feature("grad-adam", 6, DType::F16));
    let (_dir, _, store) = placed(|path| filled(path, 30, &f, 10));
    let run = warmup("checkpoint-7", 7, 1e-5);
    let mut job = store.start_job(plan(vec![g.clone()])).unwrap();
    seal(&mut job, 0, 0..30);
    job.publish(Some(run), true).unwrap();
    // A live job of the feature is in the way, also of its dataset; a job of a killed process is not.
    let job = store.start_job(plan(vec![f.clone()])).unwrap();
    for result in [
        store.drop_feature(store.snapshot().unwrap().feature("grad-sgd@checkpoint-7").unwrap(), "x"),
        store.drop_dataset(&pool(&store), "x"),
    ] {
        match result {
            Err(ChangeError::Busy { job: other, pid, .. }) => {
                assert_eq!((other.as_str(), pid), (job.id(), std::process::id()));
            }
            other => panic!("{other:?}"),
        }
    }
    store
        .drop_feature(store.snapshot().unwrap().feature("grad-adam@checkpoint-7").unwrap(), "gstore drop")
        .unwrap();
    drop(job);
    let report = store.drop_run(store.snapshot().unwrap().run("warmup").unwrap(), "gstore drop").unwrap();
    assert_eq!(report.unnamed, ["pool/grad-sgd@checkpoint-7"]);
    let report = store
        .drop_feature(store.snapshot().unwrap().feature("pool/grad-sgd@checkpoint-7").unwrap(), "gstore drop")
        .unwrap();
    assert_eq!(report.features, ["pool/grad-sgd@checkpoint-7"]);
    assert!(report.bytes > 1000);
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.features().len(), snapshot.runs().len(), snapshot.datasets().len()), (0, 0, 1));
    assert!(snapshot.feature("grad-sgd@checkpoint-7").is_err());
    // Numbers are not given out again, and older snapshots have what was dropped.
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..30);
    assert_eq!(job.publish(None, true).unwrap().features()[0].number, 3);
    let report = store.drop_dataset(&pool(&store), "gstore drop").unwrap();
    assert_eq!((report.samples, report.features.len()), (30, 1));
    add(&store, 0..3).unwrap();
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().number, 2);
    let old = store.snapshot_at(2).unwrap();
    assert_eq!(old.open_feature(&old.features()[0]).unwrap().row_set().unwrap().len(), 30);
    assert_tidy(&store);
}

/// Publishes a feature and the token counts of its encoding.
fn counted(store: &Store, spec: &EncodingSpec) -> JobFeature {
    let mut f = feature("grad-sgd", 6, DType::F16);
    f.desc.encoding = spec.key();
    f.attrs.label = format!("grad-sgd@checkpoint-7:length_{}", spec.max_length);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..20);
    let mut counts = job.encoding_writer("pool", spec.clone(), &spec.template).unwrap();
    for row in 0..20 {
        counts.push(TokenCount { row, tokens: 9, scored: 4, truncated: false }).unwrap();
    }
    job.seal_encoding(counts).unwrap();
    job.publish(None, true).unwrap();
    f
}

#[test]
fn token_counts_go_with_the_last_feature_of_their_encoding_while_others_are_left() {
    let (_dir, _, store) = with_samples(20);
    let (long, short) = (encoding_spec(), EncodingSpec { max_length: 16, ..encoding_spec() });
    let labels = || -> Vec<String> {
        let part = pool(&store);
        part.encodings.iter().map(|e| part.encoding_label(e)).collect()
    };
    let drop_it = |f: &JobFeature| {
        store.drop_feature(store.snapshot().unwrap().feature_by_key(&f.desc.key()).unwrap(), "x").unwrap()
    };
    let first = counted(&store, &long);
    assert_eq!(labels(), ["tulu"]);
    let second = counted(&store, &short);
    assert_eq!(labels(), ["tulu:length_2048", "tulu:length_16"]);
    // A live job that found the counts counts no more of them.
    let job = store.start_job(plan(vec![JobFeature {
        desc: FeatureDesc { dtype: DType::F32, ..second.desc.clone() },
        attrs: FeatureAttrs::new("other", 6),
    }]));
    drop_it(&second);
    assert_eq!(labels().len(), 2);
    drop(job);
    let third = counted(&store, &EncodingSpec { system: Some("Be brief.".into()), ..encoding_spec() });
    let bytes = store.snapshot().unwrap().feature_by_key(&third.desc.key()).unwrap().bytes();
    assert!(drop_it(&third).bytes > bytes, "with the files of the counts");
    assert_eq!(labels(), ["tulu"], "also those that were kept before");
    // Nothing else has counts: they stay.
    drop_it(&first);
    assert_eq!(labels(), ["tulu"]);
    assert_tidy(&store);
}

#[test]
fn ids_of_a_dropped_dataset_are_in_no_file_once_it_is_collected() {
    let (_dir, path) = place();
    let store = Store::create(&path).unwrap();
    for name in ["pool", "other"] {
        let dataset = DatasetName::try_from(name).unwrap();
        let mut append = store.append(&dataset, columns(), AppendOptions::default()).unwrap();
        let metadata = vec![MetaValue::Null; 2];
        append.push(NewSample { id: &format!("id-of-{name}"), record: None, metadata }).unwrap();
        append.finish().unwrap();
    }
    let named = |what: &str| -> Vec<PathBuf> {
        let has = |f: &PathBuf| {
            let bytes = fs_err::read(path.join(f)).unwrap();
            bytes.windows(what.len()).any(|w| w == what.as_bytes())
        };
        files(&path).into_iter().filter(has).collect()
    };
    assert!(named("id-of-pool").contains(&PathBuf::from("ledger.redb")));
    store.drop_dataset(&pool(&store), "gstore drop").unwrap();
    store.collect(keep::gc(1)).unwrap();
    assert_eq!(named("id-of-pool"), Vec::<PathBuf>::new());
    let dataset = DatasetName::try_from("other").unwrap();
    let mut append = store.append(&dataset, columns(), AppendOptions::default()).unwrap();
    let metadata = vec![MetaValue::Null; 2];
    append.push(NewSample { id: "id-of-other", record: None, metadata }).unwrap();
    assert_eq!(append.finish().unwrap().added, 0, "the ledger is made anew");
    assert_eq!(named("id-of-pool"), Vec::<PathBuf>::new());
}

#[test]
fn a_delete_happens_as_a_whole_or_not_at_all() {
    let dir = tempdir().unwrap();
    let prepared = dir.path().join("prepared");
    let store = filled(&prepared, 30, &feature("grad-sgd", 6, DType::F16), 10);
    for row in 0..8 {
        delete(&store, [row]);
    }
    at_every_operation(
        &prepared,
        // The ninth bitmap: all are merged.
        |store| {
            let (snapshot, rows) = (store.snapshot()?, RowSet::from_range(10..13));
            // Done again, it finds rows that are not live.
            store.delete(snapshot.dataset("pool").unwrap(), &rows, DeleteOptions::default()).map(drop)
        },
        |store, done| {
            let found = ids(store);
            let (old, new) = (names(8..30), names((8..10).chain(13..30)));
            assert!(found == new || (!done && found == old), "{found:?}");
        },
    );
}

#[test]
fn a_drop_happens_as_a_whole_or_not_at_all() {
    let dir = tempdir().unwrap();
    let prepared = dir.path().join("prepared");
    filled(&prepared, 30, &feature("grad-sgd", 6, DType::F16), 10);
    at_every_operation(
        &prepared,
        |store| match store.snapshot()?.dataset("pool") {
            Ok(part) => store.drop_dataset(part, "gstore drop").map(drop),
            // Dropped, and not acknowledged.
            Err(_) => Ok::<_, ChangeError>(()),
        },
        |store, done| {
            let snapshot = store.snapshot().unwrap();
            let found = (snapshot.datasets().len(), snapshot.features().len());
            assert!(found == (0, 0) || (!done && found == (1, 1)), "{found:?}");
        },
    );
}
