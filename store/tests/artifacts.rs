//! Promise: an artifact is there under its name from the commit that has it on, whole or not at all, for as
//! long as a snapshot that has it is kept.

use crate::common::keep::*;
use crate::common::*;
use gstore_store::*;
use serde_json::{Value, json};

static GO: Cancel = Cancel::new();

fn artifact(name: &str, content: Value) -> ArtifactPart {
    ArtifactPart::new(name, "prefilter", vec!["pool".to_owned()], content)
}

fn content_of(snapshot: &Snapshot, name: &str) -> Value {
    snapshot.artifact(name).unwrap().content
}

/// The manifest of the only artifact.
fn file(path: &std::path::Path) -> std::path::PathBuf {
    let found = files(&path.join("manifests"))
        .into_iter()
        .filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("artifact-")));
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), 1, "{found:?}");
    path.join("manifests").join(&found[0])
}

#[test]
fn an_artifact_is_published_replaced_and_dropped() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = filled(&path, 20, &feature("grad-sgd", 6, DType::F16), 5);
    assert!(store.snapshot().unwrap().artifacts().unwrap().is_empty());
    let value = json!({"weights": [0.1, 1e-300, 123_456_789.123_456_78]});
    let first = store.put_artifact(artifact("cheap", value.clone()), false, "fit").unwrap();
    assert_eq!(content_of(&first, "cheap"), value, "every bit of a number comes back");
    let again = Store::open(&path).unwrap().snapshot().unwrap();
    assert_eq!(
        (again.artifacts().unwrap(), content_of(&again, "cheap")),
        (vec!["cheap".to_owned()], value.clone())
    );
    let taken = store.put_artifact(artifact("cheap", json!(2)), false, "fit").unwrap_err();
    assert!(matches!(&taken, ArtifactError::Exists(name) if name == "cheap"), "{taken}");
    let second = store.put_artifact(artifact("cheap", json!(2)), true, "fit").unwrap();
    assert_eq!((content_of(&second, "cheap"), content_of(&first, "cheap")), (json!(2), value));
    assert_eq!(second.artifact("cheap").unwrap().number, second.number() as u32);
    // What is published next keeps it.
    add(&store, 100..101).unwrap();
    assert_eq!(content_of(&store.snapshot().unwrap(), "cheap"), json!(2));
    let unknown = second.artifact("chep").unwrap_err().to_string();
    assert!(unknown.contains("cheap"), "{unknown}");
    for (name, dataset) in [("", "pool"), ("a b", "pool"), ("x", "nothing")] {
        let part = ArtifactPart::new(name, "prefilter", vec![dataset.to_owned()], json!(1));
        assert!(store.put_artifact(part, false, "fit").is_err(), "{name:?} of {dataset}");
    }
    let seen = store.snapshot().unwrap();
    assert!(store.drop_artifact(&seen, "other", "drop").is_err());
    // Replaced or dropped by another process meanwhile: the one that was meant is not there.
    store.put_artifact(artifact("cheap", json!(3)), true, "fit").unwrap();
    let e = store.drop_artifact(&seen, "cheap", "drop").unwrap_err();
    assert!(matches!(&e, ChangeError::Changed(Changed::Gone { replaced: true, .. })), "{e}");
    let seen = store.snapshot().unwrap();
    assert_eq!(content_of(&seen, "cheap"), json!(3));
    store.drop_artifact(&seen, "cheap", "drop").unwrap();
    let e = store.drop_artifact(&seen, "cheap", "drop").unwrap_err();
    assert!(matches!(&e, ChangeError::Changed(Changed::Gone { replaced: false, .. })), "{e}");
    assert!(store.snapshot().unwrap().artifact("cheap").is_err());
    assert_clean(&store);
}

#[test]
fn gc_keeps_what_a_kept_snapshot_has_and_removes_the_rest() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = filled(&path, 20, &feature("grad-sgd", 6, DType::F16), 5);
    store.put_artifact(artifact("cheap", json!(1)), false, "fit").unwrap();
    add(&store, 100..101).unwrap();
    store.collect(gc(1)).unwrap();
    assert_eq!(content_of(&store.snapshot().unwrap(), "cheap"), json!(1));
    file(&path);
    store.drop_artifact(&store.snapshot().unwrap(), "cheap", "drop").unwrap();
    store.collect(gc(1)).unwrap();
    let left = files(&path.join("manifests"));
    assert!(left.iter().all(|file| !file.to_string_lossy().contains("artifact-")), "{left:?}");
    assert_clean(&store);
}

#[test]
fn a_backup_has_it_and_a_client_sees_it_with_its_datasets_only() {
    let dir = tempdir().unwrap();
    let (path, to) = (dir.path().join("s"), dir.path().join("copy"));
    let store = filled(&path, 20, &feature("grad-sgd", 6, DType::F16), 5);
    let snapshot = store.put_artifact(artifact("cheap", json!([1.5])), false, "fit").unwrap();
    store.backup(&to, &BackupOptions::default(), &mut |_| {}, &GO).unwrap();
    assert_eq!(content_of(&Store::open(&to).unwrap().snapshot().unwrap(), "cheap"), json!([1.5]));
    let nothing = snapshot.only(|_| false);
    assert!(nothing.artifacts().unwrap().is_empty() && nothing.artifact("cheap").is_err());
    assert_eq!(snapshot.only(|name| name == "pool").artifacts().unwrap(), ["cheap"]);
}

#[test]
fn damage_is_found_and_a_repair_goes_on_without_it() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = filled(&path, 20, &feature("grad-sgd", 6, DType::F16), 5);
    store.put_artifact(artifact("cheap", json!("abcdefgh")), false, "fit").unwrap();
    drop(store);
    let place = file(&path);
    let mut bytes = fs_err::read(&place).unwrap();
    let at = bytes.windows(4).position(|four| four == b"abcd").unwrap();
    bytes[at] ^= 1;
    fs_err::write(&place, bytes).unwrap();
    let store = Store::open(&path).unwrap();
    assert!(store.snapshot().unwrap().artifact("cheap").unwrap_err().is_damage());
    let report = verify(&store);
    assert!(report.problems.iter().any(|problem| problem.file.contains("artifact-")), "{report:#?}");
    drop(store);
    let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
    assert!(report.lost.iter().any(|loss| loss.kind == LostKind::Artifact), "{report:#?}");
    let store = Store::open(&path).unwrap();
    assert!(store.snapshot().unwrap().artifacts().unwrap().is_empty());
}

#[test]
fn a_repair_without_the_last_root_has_the_artifact_that_came_with_it_if_something_says_that_it_did() {
    for current_is_lost in [false, true] {
        let dir = tempdir().unwrap();
        let path = dir.path().join("s");
        let store = filled(&path, 20, &feature("grad-sgd", 6, DType::F16), 5);
        store.put_artifact(artifact("cheap", json!(1)), false, "fit").unwrap();
        let last = store.put_artifact(artifact("cheap", json!(2)), true, "fit").unwrap().number();
        drop(store);
        let root = format!("root-{last}-");
        let manifests = path.join("manifests");
        let root = files(&manifests).into_iter().find(|f| f.to_string_lossy().starts_with(&root)).unwrap();
        fs_err::remove_file(manifests.join(root)).unwrap();
        if current_is_lost {
            fs_err::write(path.join("CURRENT"), "rubbish").unwrap();
        }
        let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
        let is_back = report.rebuilt.iter().any(|r| r.what == "artifact cheap");
        let is_told =
            report.notes.iter().any(|n| n.starts_with("artifact cheap") && n.contains("left aside"));
        assert_eq!((is_back, is_told), (!current_is_lost, current_is_lost), "{report:#?}");
        let store = Store::open(&path).unwrap();
        let expected = if current_is_lost { json!(1) } else { json!(2) };
        assert_eq!(content_of(&store.snapshot().unwrap(), "cheap"), expected);
        assert!(verify(&store).is_sound());
    }
}
