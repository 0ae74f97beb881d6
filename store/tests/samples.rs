//! Promise: samples keep their rows, ids and bytes; an append adds everything or nothing, and the
//! same input adds nothing.

use crate::common::*;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use gstore_core::Silent;
use gstore_store::*;

fn scan(store: &Store, columns: &[&str], rows: Option<std::ops::Range<u64>>) -> Vec<RecordBatch> {
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    reader.scan(columns, rows).collect::<Result<Vec<_>, _>>().unwrap()
}

#[test]
fn samples_come_back_in_row_order_and_in_any_order() {
    let (_dir, store) = created();
    assert_eq!(add(&store, 0..3000).unwrap().added, 3000);
    assert_eq!(
        add(&store, 3000..3500).unwrap(),
        AppendReport { added: 500, snapshot: Some(2), ..AppendReport::default() }
    );
    let batches = scan(&store, &["row", "id", "record", "subtask", "n"], None);
    let mut next = 0;
    for b in &batches {
        for i in 0..b.num_rows() {
            assert_eq!(b.column(0).as_primitive::<UInt64Type>().value(i), next);
            assert_eq!(b.column(1).as_string::<i32>().value(i), format!("s{next}"));
            assert_eq!(b.column(2).as_binary::<i32>().value(i), record(next));
            assert_eq!(b.column(3).as_string::<i32>().value(i), format!("task{}", next % 3));
            assert_eq!(b.column(4).as_primitive::<Int64Type>().value(i), next as i64);
            next += 1;
        }
    }
    assert_eq!(next, 3500);
    let some: usize = scan(&store, &["id"], Some(2990..3010)).iter().map(RecordBatch::num_rows).sum();
    assert_eq!(some, 20);
    let none: usize = scan(&store, &[], Some(10..400)).iter().map(RecordBatch::num_rows).sum();
    assert_eq!(none, 390);
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    let ranges = RowSet::from_ranges([3..4, 10..12, 2999..3001, 3499..4000]);
    let rows = reader
        .scan_rows(&["row"], ranges)
        .flat_map(|batch| batch.unwrap().column(0).as_primitive::<UInt64Type>().values().to_vec());
    assert_eq!(rows.collect::<Vec<_>>(), [3, 10, 11, 2999, 3000, 3499]);
    let wanted = [3200u64, 5, 5, 2999, 0, 3499, 131];
    let b = reader.get(&wanted, &["record", "row"]).unwrap();
    for (i, row) in wanted.iter().enumerate() {
        assert_eq!(b.column(0).as_binary::<i32>().value(i), record(*row));
        assert_eq!(b.column(1).as_primitive::<UInt64Type>().value(i), *row);
    }
    assert_eq!(reader.get(&[], &["record"]).unwrap().num_rows(), 0);
    assert_eq!(reader.get(&[1, 2], &[]).unwrap().num_rows(), 2);
    assert!(matches!(reader.get(&[3500], &["id"]), Err(ReadError::NoRow { row: 3500, .. })));
    assert_eq!(reader.ids(&[3200, 5, 5]).unwrap(), ["s3200", "s5", "s5"]);
    let mut seen = Vec::new();
    reader.each_id(&Cancel::new(), |row, id| seen.push((row, id.to_owned()))).unwrap().unwrap();
    assert_eq!(seen, (0..3500).map(|row| (row, format!("s{row}"))).collect::<Vec<_>>());
    let stopped = reader.each_id(&Cancel::raised(), |row, id| seen.push((row, id.to_owned()))).unwrap();
    assert!(stopped.is_err() && seen.len() == 3500);
    match reader.get(&[0], &["subtsak"]) {
        Err(e @ ReadError::NoColumn { .. }) => {
            assert!(e.to_string().contains("did you mean \"subtask\""), "{e}")
        }
        other => panic!("{other:?}"),
    }
    assert!(verify(&store).is_sound());
}

#[test]
fn batches_are_no_larger_where_large_records_follow_small_ones() {
    let (_dir, store) = created();
    let large = vec![b'x'; 1 << 20];
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    for i in 0..2048 + 64 {
        let record = if i < 2048 { &large[..20] } else { &large[..] };
        append.push(NewSample { id: &format!("s{i}"), record: Some(record), metadata: vec![] }).unwrap();
    }
    append.finish().unwrap();
    let batches = scan(&store, &["record"], None);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2048 + 64);
    for batch in batches {
        let bytes = batch.column(0).as_binary::<i32>().value_data().len();
        assert!(bytes <= 33 << 20, "{bytes} bytes in {} rows", batch.num_rows());
    }
}

#[test]
fn more_text_than_a_batch_can_hold_is_refused() {
    let (_dir, store) = created();
    let large = vec![b'x'; 1 << 20];
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    append.push(NewSample { id: "s0", record: Some(&large), metadata: vec![] }).unwrap();
    append.finish().unwrap();
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    assert_eq!(reader.get(&[0; 3], &["record"]).unwrap().column(0).as_binary::<i32>().value(2), large);
    let refused = reader.get(&[0; 2048], &["record"]);
    assert!(matches!(refused, Err(ReadError::TooLarge { rows: 2048, .. })), "{refused:?}");
    assert_eq!(reader.get(&[0; 2048], &["id"]).unwrap().num_rows(), 2048);
}

#[test]
fn the_same_samples_again_add_nothing() {
    let (dir, _, store) = with_samples(50);
    let before = store.snapshot().unwrap().number();
    assert_eq!(add(&store, 0..50).unwrap(), AppendReport { unchanged: 50, ..AppendReport::default() });
    assert_eq!(store.snapshot().unwrap().number(), before);
    assert_eq!(add(&store, 40..60).unwrap().added, 10);
    assert_eq!(files(&dir.path().join("s")).iter().filter(|f| f.starts_with("tmp")).count(), 0);
}

/// The record of a file with CRLF ends in a carriage return.
#[test]
fn a_change_of_the_line_end_alone_says_so() {
    let (_dir, store) = created();
    let sample = |id, record| NewSample { id, record: Some(record), metadata: vec![] };
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    append.push(sample("crlf", b"{}\r")).unwrap();
    append.push(sample("lf", b"{}")).unwrap();
    append.finish().unwrap();
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    let cases: [(&str, &[u8], RecordDifference); 3] = [
        ("crlf", b"{}", RecordDifference::InLineEnd),
        ("lf", b"{}\r", RecordDifference::InLineEnd),
        ("lf", b"[]\r", RecordDifference::Otherwise),
    ];
    for (id, record, expected) in cases {
        let error = append.push(sample(id, record)).unwrap_err();
        let AppendError::Changed { differs, .. } = &error else { panic!("{id}: {error}") };
        assert_eq!(*differs, expected, "{id}: {error}");
        let is_said = error.to_string().contains("CRLF");
        assert_eq!(is_said, expected == RecordDifference::InLineEnd, "{id}: {error}");
    }
}

/// JSON lines by Python's `json.dumps` and a table of the same rows.
#[test]
fn a_change_of_the_spelling_alone_says_so() {
    let (_dir, store) = created();
    let stored = br#"{"id": "a", "text": "\u00e9", "n": null, "m": {"x": 1, "y": null}, "l": [null, 2]}"#;
    let long = br#"{"text": "t", "n": 340282366920938463463374607431768211455}"#;
    let sample = |id, record| NewSample { id, record: Some(record), metadata: vec![] };
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    append.push(sample("a", stored)).unwrap();
    append.push(sample("long", long)).unwrap();
    append.finish().unwrap();
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    for (id, record, is_spelling) in [
        ("a", r#"{"text":"é","id":"a","m":{"x":1},"l":[null,2]}"#, true),
        ("a", r#"{"id":"a","text":"é","m":{"x":1},"l":[2]}"#, false),
        ("a", r#"{"id":"a","text":"é","m":{"x":1.0},"l":[null,2]}"#, false),
        ("a", r#"{"id":"a","text":"é","m":{"x":1},"l":[null,2],"more":0}"#, false),
        ("a", "no JSON", false),
        ("long", r#"{"text":"t","n":340282366920938463463374607431768211456}"#, false),
    ] {
        let error = append.push(sample(id, record.as_bytes())).unwrap_err().to_string();
        assert_eq!(error.contains("only the spelling of the JSON differs"), is_spelling, "{record}: {error}");
    }
}

#[test]
fn changed_and_duplicate_samples_are_refused() {
    let (_dir, _, store) = with_samples(5);
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    let sample = |id, record| NewSample { id, record: Some(record), metadata: vec![] };
    assert_eq!(append.push(sample("new", b"a")).unwrap(), AppendOutcome::Added(5));
    assert_eq!(append.push(sample("new", b"a")).unwrap(), AppendOutcome::Repeated(5));
    assert!(matches!(append.push(sample("new", b"b")), Err(AppendError::DuplicateId { .. })));
    assert!(matches!(append.push(sample("s3", b"b")), Err(AppendError::Changed { row: 3, .. })));
    assert!(matches!(append.push(sample("", b"b")), Err(AppendError::IdLength(0))));
    drop(append);
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().rows, 5, "a dropped append left something");
    let keep = AppendOptions { if_changed: IfChanged::Keep, ..options("add") };
    let mut append = store.append(&dataset(), vec![], keep).unwrap();
    assert_eq!(append.push(sample("s3", b"b")).unwrap(), AppendOutcome::Kept(3));
    assert_eq!(append.push(sample("s3", b"b")).unwrap(), AppendOutcome::Repeated(3));
    assert!(matches!(append.push(sample("s3", b"c")), Err(AppendError::DuplicateId { .. })));
    assert_eq!(append.push(sample("s7", b"b")).unwrap(), AppendOutcome::Added(5));
    let report = append.finish().unwrap();
    assert_eq!((report.added, report.kept), (1, 1));
}

#[test]
fn columns_may_come_later_and_become_text() {
    let (_dir, store) = created();
    let push = |columns: Vec<ColumnSpec>, id: &str, metadata: Vec<MetaValue>| {
        let mut append = store.append(&dataset(), columns, options("add"))?;
        append.push(NewSample { id, record: None, metadata })?;
        append.finish()
    };
    let int = |k: &str| ColumnSpec::inferred(k, ColumnType::Int);
    push(vec![int("a"), int("score")], "x", vec![MetaValue::Int(1), MetaValue::Int(2)]).unwrap();
    push(vec![ColumnSpec::inferred("b", ColumnType::Float)], "y", vec![MetaValue::Int(3)]).unwrap();
    let e = push(vec![int("a")], "z", vec![MetaValue::Text("one".into())]).unwrap_err();
    assert!(e.to_string().contains("column=a:utf8") && e.to_string().contains("\"one\""), "{e}");
    push(vec![ColumnSpec::declared("a", ColumnType::Text)], "z", vec![MetaValue::Text("one".into())])
        .unwrap();
    // The same sample without a record is still the same after its column became text.
    let again = push(vec![int("score"), int("a")], "x", vec![MetaValue::Int(2), MetaValue::Int(1)]).unwrap();
    assert_eq!((again.added, again.unchanged), (0, 1));
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    let names: Vec<_> = reader.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["row", "id", "record", "a", "score_", "b"]);
    let b = reader.get(&[0, 1, 2], &["a", "score_", "b", "record"]).unwrap();
    let a = b.column(0).as_string::<i32>();
    assert_eq!((a.value(0), a.is_null(1), a.value(2)), ("1", true, "one"));
    assert_eq!(b.column(1).as_primitive::<Int64Type>().value(0), 2);
    assert!(b.column(2).is_null(0));
    assert_eq!(b.column(2).as_primitive::<Float64Type>().value(1), 3.0);
    assert_eq!(b.column(3).null_count(), 3);
    assert!(verify(&store).is_sound());
}

/// The index of ids may be rebuilt from the files, which have the column as it was.
#[test]
fn a_large_float_is_the_same_sample_once_its_column_is_text() {
    let (dir, store) = created();
    let push = |column: ColumnSpec, samples: &[(&str, MetaValue)]| {
        let mut append = store.append(&dataset(), vec![column], options("add")).unwrap();
        for (id, value) in samples {
            append.push(NewSample { id, record: None, metadata: vec![value.clone()] }).unwrap();
        }
        append.finish().unwrap()
    };
    let float = ("x", MetaValue::Float(1e20));
    push(ColumnSpec::inferred("a", ColumnType::Float), std::slice::from_ref(&float));
    let text = ColumnSpec::declared("a", ColumnType::Text);
    push(text.clone(), &[("y", MetaValue::Text("one".into())), ("z", MetaValue::Float(1e20))]);
    fs_err::remove_file(dir.path().join("s/ledger.redb")).unwrap();
    let again = push(text, &[float, ("z", MetaValue::Float(1e20))]);
    assert_eq!((again.added, again.unchanged), (0, 2));
    let batches = scan(&store, &["a"], None);
    let texts = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
    assert_eq!(texts.collect::<Vec<_>>(), ["1e+20", "one", "1e+20"]);
}

#[test]
fn integers_become_floats_if_none_is_lost_by_it() {
    let (_dir, store) = created();
    let push = |column: ColumnSpec, id: &str, record: Option<&[u8]>, value: MetaValue| {
        let mut append = store.append(&dataset(), vec![column], options("add"))?;
        append.push(NewSample { id, record, metadata: vec![value] })?;
        append.finish()
    };
    let int = |key: &str| ColumnSpec::inferred(key, ColumnType::Int);
    let float = |key: &str| ColumnSpec::inferred(key, ColumnType::Float);
    push(int("a"), "x", Some(b"x"), MetaValue::Int(1)).unwrap();
    push(int("b"), "y", Some(b"y"), MetaValue::Int((1 << 53) + 1)).unwrap();
    push(int("c"), "z", None, MetaValue::Int(1)).unwrap();
    push(float("a"), "u", Some(b"u"), MetaValue::Float(0.5)).unwrap();
    let e = push(float("b"), "v", Some(b"v"), MetaValue::Float(0.5)).unwrap_err().to_string();
    for says in ["holds 9007199254740993 in row 1", "column=b:utf8", "column=b:float"] {
        assert!(e.contains(says), "{e}");
    }
    push(ColumnSpec::declared("b", ColumnType::Float), "v", Some(b"v"), MetaValue::Float(0.5)).unwrap();
    // The digest of a sample without a record is that of its integers.
    for column in [float("c"), ColumnSpec::declared("c", ColumnType::Float)] {
        let e = push(column, "w", Some(b"w"), MetaValue::Float(0.5)).unwrap_err().to_string();
        assert!(e.contains("holds int, float does not fit") && e.contains("column=c:utf8"), "{e}");
    }
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    let b = reader.get(&[0, 1, 3, 4], &["a", "b"]).unwrap();
    let of = |column: usize, row: usize| b.column(column).as_primitive::<Float64Type>().value(row);
    assert_eq!((of(0, 0), of(1, 1), of(0, 2), of(1, 3)), (1.0, 9007199254740992.0, 0.5, 0.5));
    assert!(verify(&store).is_sound());
}

#[test]
fn looking_at_the_integers_of_a_column_can_be_stopped() {
    let (_dir, _, store) = with_samples(5);
    let column = ColumnSpec::inferred("n", ColumnType::Float);
    let start = |cancel: &Cancel| {
        let columns = vec![column.clone()];
        let append = store.append_until(&dataset(), columns, options("add"), &mut Silent, cancel);
        append.unwrap().is_some()
    };
    assert!(!start(&Cancel::raised()));
    assert!(start(&Cancel::new()));
}

#[test]
fn a_missing_or_foreign_or_damaged_ledger_is_made_anew() {
    let (dir, _, store) = with_samples(200);
    let ledger = dir.path().join("s/ledger.redb");
    let good = fs_err::read(&ledger).unwrap();
    let check = |what: &str| {
        let report = add(&store, 0..200).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((report.added, report.unchanged), (0, 200), "{what}");
    };
    fs_err::remove_file(&ledger).unwrap();
    check("missing");
    fs_err::write(&ledger, b"not a database").unwrap();
    check("not a database");
    for n in [0, 1, 100, 4096, good.len() / 2, good.len() - 1] {
        fs_err::write(&ledger, &good[..n]).unwrap();
        check(&format!("cut to {n}"));
    }
    let other = Store::create(dir.path().join("t")).unwrap();
    add(&other, 0..3).unwrap();
    fs_err::copy(dir.path().join("t/ledger.redb"), &ledger).unwrap();
    check("of another store");
    // Behind: from before the last append.
    let before = fs_err::read(&ledger).unwrap();
    add(&store, 200..300).unwrap();
    fs_err::write(&ledger, before).unwrap();
    assert_eq!(add(&store, 150..310).unwrap().added, 10);
    assert!(verify(&store).is_sound());
}

#[test]
fn names_of_datasets_are_found_or_guessed() {
    let (_dir, _, store) = with_samples(3);
    let e = store.snapshot().unwrap().dataset("pol").unwrap_err();
    assert_eq!(e.to_string(), "there is no dataset \"pol\"; did you mean \"pool\"?");
}
