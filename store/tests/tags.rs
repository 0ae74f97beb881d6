//! Promise: a tagged snapshot can be read by its name for as long as it has the tag, whatever is collected.

use crate::common::crash::CrashVfs;
use crate::common::keep::*;
use crate::common::*;
use gstore_store::*;
use std::path::PathBuf;
use std::sync::Arc;

fn tag(store: &Store, name: &TagName, at: u64) -> Result<Arc<Snapshot>, ChangeError> {
    let options = TagOptions { command: "tag".into(), move_there: false };
    store.tag(name, &*store.snapshot_at(at)?, options)
}

#[test]
fn a_tag_keeps_its_snapshot_through_gc() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    let before = content(&store.snapshot().unwrap()).unwrap();
    let v1 = tag_name("v1");
    assert_eq!(store.tag(&v1, &store.snapshot().unwrap(), TagOptions::default()).unwrap().number(), 3);
    assert_eq!(tag(&store, &v1, 2).unwrap().number(), 3, "it is there already");
    drop_features(&path);
    let report = store.collect(gc(1)).unwrap();
    assert_eq!((report.oldest, report.snapshots_removed), (4, 3), "{report:?}");
    assert_eq!(report.kept.len(), 1);
    assert!(matches!(&report.kept[0].because, KeptBecause::Tag(name) if name == "v1"));
    let tagged = store.snapshot_named(&"v1".parse().unwrap()).unwrap();
    assert_eq!(tagged.number(), 2);
    assert_eq!(content(&tagged).unwrap(), before);
    assert_eq!(content(&store.snapshot_at(2).unwrap()).unwrap(), before);
    let listed: Vec<(u64, Vec<String>)> =
        store.history().unwrap().into_iter().map(|i| (i.number, i.tags)).collect();
    assert_eq!(listed, [(5, vec![]), (4, vec![]), (2, vec!["v1".to_owned()])]);
    let e = store.snapshot_at(1).unwrap_err();
    assert!(e.to_string().contains("v1 (2)"), "{e}");
    store.untag(&store.snapshot().unwrap().tag(&v1).unwrap(), "untag").unwrap();
    let report = store.collect(gc(1)).unwrap();
    assert_eq!(report.swept.removed[&FileKind::Segments].files, 4, "{report:?}");
    assert!(store.snapshot_named(&"v1".parse().unwrap()).is_err());
    assert_clean(&store);
}

#[test]
fn tags_that_follow_each_other_name_one_state_and_none_reads_those_before_it() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    let next = |name: &str| {
        let target = store.tag_target(None).unwrap();
        store.tag(&tag_name(name), &target, TagOptions::default()).unwrap();
        target.number()
    };
    assert_eq!(["a", "b", "c"].map(next), [2, 2, 2]);
    // What the first one has recorded; only the root before the current one is read.
    let roots = fs_err::read_dir(path.join("manifests")).unwrap().map(|entry| entry.unwrap().path());
    let is_first = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("root-3-");
    let first: Vec<PathBuf> = roots.filter(is_first).collect();
    assert_eq!(first.len(), 1);
    fs_err::remove_file(&first[0]).unwrap();
    assert_eq!(next("d"), 2);
    drop_features(&path);
    assert_eq!(["e", "f"].map(next), [7, 7]);
    let named = store.tag_target(Some(&"a".parse().unwrap())).unwrap();
    assert_eq!(named.number(), 2);
    // A message has the first twelve.
    (0..8).for_each(|n| assert_eq!(next(&format!("z{n}")), 7));
    let e = store.snapshot_at(999).unwrap_err().to_string();
    assert!(e.contains("tags are a (2), ") && e.ends_with("z5 (7), and 2 more"), "{e}");
}

#[test]
fn a_tag_moves_only_when_told_to() {
    let (_dir, _, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    let v1 = tag_name("v1");
    tag(&store, &v1, 1).unwrap();
    let e = tag(&store, &v1, 2).unwrap_err();
    assert!(matches!(e, ChangeError::TagExists { snapshot: 1, wanted: 2, .. }), "{e}");
    assert!(matches!(
        tag(&store, &tag_name("v2"), 99),
        Err(ChangeError::Store(StoreError::Open(OpenError::NoSnapshot { .. })))
    ));
    assert!(store.snapshot().unwrap().tag("v2").is_err());
    assert_eq!(store.snapshot().unwrap().number(), 3, "nothing was published");
    let options = TagOptions { move_there: true, ..TagOptions::default() };
    let moved = store.tag(&v1, &store.snapshot_at(2).unwrap(), options).unwrap();
    assert_eq!(moved.tags().len(), 1);
    assert_eq!((moved.tags()[0].name.as_str(), moved.tags()[0].snapshot), ("v1", 2));
    assert_eq!(moved.info().changes, ["tag v1 moved from snapshot 1 to 2"]);
}

#[test]
fn a_word_that_does_something_to_tags_is_no_new_tag_and_an_old_one_stays() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    for word in ["list", "ls", "create", "drop", "delete", "remove", "rm"] {
        let e = tag(&store, &tag_name(word), 1).unwrap_err();
        assert!(matches!(&e, ChangeError::TagVerb { name } if name == word), "{e}");
    }
    assert!(store.snapshot().unwrap().tags().is_empty());
    // One that an earlier version has set.
    tag(&store, &tag_name("v1"), 1).unwrap();
    republish(&path, |root| root["tags"][0]["name"] = "list".into());
    let list = tag_name("list");
    assert_eq!(store.snapshot_named(&"list".parse().unwrap()).unwrap().number(), 1);
    assert_eq!(tag(&store, &list, 1).unwrap().tags().len(), 1, "it is there already");
    let options = TagOptions { move_there: true, ..TagOptions::default() };
    let moved = store.tag(&list, &store.snapshot_at(2).unwrap(), options).unwrap();
    assert_eq!(moved.tags()[0].snapshot, 2);
    let without = store.untag(&store.snapshot().unwrap().tag(&list).unwrap(), "untag").unwrap();
    assert!(without.tags().is_empty());
}

#[test]
fn a_crash_while_tagging_leaves_the_tag_or_not() {
    let dir = tempdir().unwrap();
    let whole = dir.path().join("whole");
    filled(&whole, 20, &feature("grad-sgd", 6, DType::F16), 5);
    for once in [false, true] {
        let mut crashes = 0;
        for n in 0.. {
            let path = dir.path().join(format!("{once}{n}"));
            copy(&whole, &path);
            let vfs = if once { CrashVfs::once(n) } else { CrashVfs::new(n) };
            let store = Store::open_on(Arc::new(vfs.clone()), &path).ok();
            let result = store.as_ref().map(|s| tag(s, &tag_name("v1"), 1));
            let acknowledged = matches!(result, Some(Ok(_)));
            let left = vfs.left();
            let store = Store::open(&path).unwrap();
            let tags = store.snapshot().unwrap().tags();
            assert!(!acknowledged || tags.len() == 1, "after {n} operations");
            tag(&store, &tag_name("v1"), 1).unwrap();
            store.collect(gc(1)).unwrap();
            content(&store.snapshot_named(&"v1".parse().unwrap()).unwrap()).unwrap();
            assert_clean(&store);
            if acknowledged && left > 0 {
                break;
            }
            crashes += 1;
            fs_err::remove_dir_all(&path).unwrap();
        }
        assert!(crashes > 5, "{crashes}");
    }
}
