//! Promise: a saved query is there in each snapshot from the one that saved it to the one that removed it.

use crate::common::keep::*;
use crate::common::*;
use gstore_store::*;

fn view(name: &str) -> DatasetName {
    DatasetName::try_from(name).unwrap()
}

#[test]
fn views_are_versioned() {
    let (_dir, _, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    let begun = store.snapshot().unwrap().number();
    let options = |replace| ViewOptions { command: "view".into(), replace };
    let saved = store.create_view(None, &view("best"), "SELECT 1", options(false)).unwrap();
    assert_eq!((saved.number(), saved.view("best").unwrap().sql.as_str()), (begun + 1, "SELECT 1"));
    assert_eq!(
        store.create_view(None, &view("best"), "SELECT 1", options(false)).unwrap().number(),
        begun + 1
    );
    let e = store.create_view(None, &view("best"), "SELECT 2", options(false)).unwrap_err();
    assert!(matches!(e, ChangeError::ViewExists { .. }), "{e}");
    let e = store.create_view(None, &dataset(), "SELECT 2", options(true)).unwrap_err();
    assert!(matches!(e, ChangeError::ViewDataset { .. }), "{e}");
    let taken = store.append(&view("best"), Vec::new(), AppendOptions::default());
    assert!(matches!(taken, Err(AppendError::View { .. })));
    store.create_view(None, &view("best"), "SELECT 2", options(true)).unwrap();
    store.create_view(None, &view("a"), "SELECT 3", options(false)).unwrap();
    let names: Vec<String> = store.snapshot().unwrap().views().iter().map(|v| v.name.clone()).collect();
    assert_eq!(names, ["a", "best"]);
    // Saved again or dropped by another process meanwhile: the one that was meant is not there.
    let gone = |e: ChangeError| match e {
        ChangeError::Changed(ConcurrentChange::Gone { replaced, .. }) => replaced,
        other => panic!("{other}"),
    };
    assert!(gone(store.drop_view(saved.view("best").unwrap(), "view").unwrap_err()));
    let seen = store.snapshot().unwrap();
    let dropped = store.drop_view(seen.view("best").unwrap(), "view").unwrap();
    assert_eq!(dropped.views().len(), 1);
    assert!(!gone(store.drop_view(seen.view("best").unwrap(), "view").unwrap_err()));
    assert_eq!(store.snapshot_at(begun + 1).unwrap().view("best").unwrap().sql, "SELECT 1");
    assert!(store.snapshot_at(begun).unwrap().views().is_empty());
    assert_clean(&store);
}

#[test]
fn a_view_is_saved_beside_the_views_that_it_was_planned_with() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    let options = || ViewOptions { command: "view".into(), replace: true };
    let seen = store.create_view(None, &view("a"), "SELECT 1", options()).unwrap();
    // What is no view may change.
    drop_features(&path);
    let saved = store.create_view(Some(&seen), &view("b"), "SELECT * FROM a", options()).unwrap();
    let changed = match store.create_view(Some(&seen), &view("a"), "SELECT * FROM b", options()) {
        Err(ChangeError::Changed(changed)) => changed,
        other => panic!("{other:?}"),
    };
    assert!(matches!(changed, ConcurrentChange::Store { .. }) && changed.can_repeat(), "{changed}");
    assert_eq!(store.snapshot().unwrap().number(), saved.number());
    store.create_view(Some(&saved), &view("a"), "SELECT 2", options()).unwrap();
}

#[test]
fn who_may_not_see_a_dataset_sees_no_view_that_names_it() {
    let (_dir, _, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    let statements = [
        ("direct", "SELECT id FROM data.\"pool\""),
        ("in_text", "SELECT influence(target => 'POOL:task=x') FROM other"),
        ("indirect", "SELECT * FROM direct"),
        ("other", "SELECT * FROM pools WHERE carpool = 1"),
    ];
    for (name, sql) in statements {
        let options = ViewOptions { command: "view".into(), replace: false };
        store.create_view(None, &view(name), sql, options).unwrap();
    }
    let snapshot = store.snapshot().unwrap();
    let names =
        |snapshot: &Snapshot| -> Vec<String> { snapshot.views().iter().map(|v| v.name.clone()).collect() };
    assert_eq!(names(&snapshot.only(|_| false)), ["other"]);
    assert_eq!(names(&snapshot.only(|name| name == "pool")), names(&snapshot));
}
