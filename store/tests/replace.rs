//! Promise: a changed sample can take the place of the stored one, in one commit; an id is
//! never on two live rows.

use crate::common::*;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_store::*;

fn sample<'a>(id: &'a str, record: &'a [u8]) -> NewSample<'a> {
    NewSample { id, record: Some(record), metadata: vec![] }
}

fn start(store: &Store) -> SampleAppend {
    let options = AppendOptions { if_changed: IfChanged::Replace, ..options("add --if-changed replace") };
    store.append(&dataset(), vec![], options).unwrap()
}

fn live(store: &Store) -> Vec<(u64, String, Vec<u8>)> {
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    let mut out = Vec::new();
    for batch in reader.scan(&["row", "id", "record"], None) {
        let batch = batch.unwrap();
        let (rows, ids) = (batch.column(0).as_primitive::<UInt64Type>(), batch.column(1).as_string::<i32>());
        let records = batch.column(2).as_binary::<i32>();
        out.extend(
            (0..batch.num_rows())
                .map(|i| (rows.value(i), ids.value(i).to_owned(), records.value(i).to_owned())),
        );
    }
    out
}

#[test]
fn a_changed_sample_takes_the_place_of_the_old_one() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, _, store) = placed(|path| filled(path, 10, &f, 4));
    let before = (store.snapshot().unwrap(), digest(&store, &f));
    let mut append = start(&store);
    assert_eq!(append.push(sample("s3", b"other")).unwrap(), AppendOutcome::Replaced { row: 10, old: 3 });
    assert_eq!(append.push(sample("s4", &record(4))).unwrap(), AppendOutcome::Unchanged(4));
    assert_eq!(append.push(sample("new", b"x")).unwrap(), AppendOutcome::Added(11));
    assert_eq!(append.push(sample("s3", b"other")).unwrap(), AppendOutcome::Repeated(10));
    assert_eq!(append.push(sample("s4", &record(4))).unwrap(), AppendOutcome::Repeated(4));
    assert!(matches!(append.push(sample("s4", b"four")), Err(AppendError::DuplicateId { .. })));
    assert!(matches!(append.push(sample("s3", b"third")), Err(AppendError::DuplicateId { .. })));
    assert_eq!(append.push(sample("s9", b"nine")).unwrap(), AppendOutcome::Replaced { row: 12, old: 9 });
    assert_eq!(append.first_row(), 10);
    let report = append.finish().unwrap();
    assert_eq!((report.added, report.replaced, report.unchanged, report.kept), (1, 2, 1, 0));
    let snapshot = store.snapshot().unwrap();
    assert_eq!(report.snapshot, Some(snapshot.number()));
    let part = snapshot.dataset("pool").unwrap();
    assert_eq!((part.rows, part.next_row), (11, 13));
    let expected: Vec<u64> = [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12].to_vec();
    assert_eq!(live(&store).iter().map(|l| l.0).collect::<Vec<_>>(), expected);
    assert_eq!(live(&store)[8], (10, "s3".into(), b"other".to_vec()));
    let reader = snapshot.samples(part).unwrap();
    assert!(matches!(reader.get(&[3], &["id"]), Err(ReadError::NoRow { row: 3, .. })));
    assert_eq!(reader.get(&[12], &["record"]).unwrap().column(0).as_binary::<i32>().value(0), b"nine");
    // What was computed of the old samples is gone with them; the new ones have to be computed.
    assert_ne!(digest(&store, &f), before.1);
    let feature = snapshot.open_feature(snapshot.feature_by_key(&f.desc.key()).unwrap()).unwrap();
    assert_eq!(feature.row_set().unwrap(), RowSet::from_rows([0, 1, 2, 4, 5, 6, 7, 8]));
    // The old snapshot shows what it showed.
    let old = before.0.samples(before.0.dataset("pool").unwrap()).unwrap();
    assert_eq!(old.get(&[3], &["record"]).unwrap().column(0).as_binary::<i32>().value(0), record(3));
    let text = store.history().unwrap()[0].changes.join(" ");
    assert!(text.contains("1 sample added, 2 replaced"), "{text}");
    assert!(verify(&store).is_sound(), "{:?}", verify(&store).problems);
}

#[test]
fn an_append_that_only_replaces_publishes_and_can_be_repeated() {
    let (dir, _, store) = with_samples(5);
    for round in 0..12u64 {
        let text = format!("round {round}").into_bytes();
        let mut append = start(&store);
        let old = if round == 0 { 2 } else { 4 + round };
        assert_eq!(
            append.push(sample("s2", &text)).unwrap(),
            AppendOutcome::Replaced { row: 5 + round, old }
        );
        let report = append.finish().unwrap();
        assert_eq!((report.added, report.replaced), (0, 1));
        let mut append = start(&store);
        assert_eq!(append.push(sample("s2", &text)).unwrap(), AppendOutcome::Unchanged(5 + round));
        assert_eq!(append.finish().unwrap().snapshot, None);
        if round % 4 == 0 {
            // Rebuilding goes over all stored rows, and the last one has the id.
            fs_err::remove_file(dir.path().join("s/ledger.redb")).unwrap();
        }
    }
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().rows, 5);
    assert_eq!(live(&store).iter().filter(|l| l.1 == "s2").count(), 1);
    assert!(verify(&store).is_sound(), "{:?}", verify(&store).problems);
    // Content that was there before is content like any other.
    let mut append = start(&store);
    assert_eq!(append.push(sample("s2", &record(2))).unwrap(), AppendOutcome::Replaced { row: 17, old: 16 });
    append.finish().unwrap();
    assert_eq!(add(&store, 0..5).unwrap().unchanged, 5);
}

#[test]
fn refusing_says_how_to_replace_and_keeping_still_keeps() {
    let (_dir, _, store) = with_samples(3);
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    let e = append.push(sample("s1", b"other")).unwrap_err().to_string();
    assert!(e.contains("if_changed=replace") && e.contains("if_changed=keep"), "{e}");
    drop(append);
    let keep = AppendOptions { if_changed: IfChanged::Keep, ..options("add") };
    let mut append = store.append(&dataset(), vec![], keep).unwrap();
    assert_eq!(append.push(sample("s1", b"other")).unwrap(), AppendOutcome::Kept(1));
    assert_eq!(append.finish().unwrap().snapshot, None);
    let dropped = start(&store).push(sample("s1", b"other")).unwrap();
    assert_eq!(dropped, AppendOutcome::Replaced { row: 3, old: 1 });
    assert_eq!(live(&store).len(), 3);
    assert_eq!(add(&store, 0..3).unwrap().unchanged, 3);
}
