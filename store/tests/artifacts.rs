//! Promise: an artifact is there under its name from the commit that has it on, whole or not at all, for as
//! long as a snapshot that has it is kept.

use crate::common::crash::CrashVfs;
use crate::common::keep::*;
use crate::common::*;
use gstore_store::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

static GO: Cancel = Cancel::new();

fn artifact(name: &str, content: Value) -> ArtifactPart {
    ArtifactPart::new(name, "prefilter", vec!["pool".to_owned()], content)
}

fn content_of(snapshot: &Snapshot, name: &str) -> Value {
    snapshot.artifact(name).unwrap().content
}

/// Publishes an artifact with these files.
fn put(store: &Store, name: &str, given: &[(&str, &[u8])]) -> Result<Arc<Snapshot>, ArtifactError> {
    let mut files = store.artifact_files()?;
    for (name, bytes) in given {
        files.write(name, |out| out.write_all(bytes))?;
    }
    store.put_artifact(artifact(name, json!(1)), Some(files), Some(&*store.snapshot()?), "fit")
}

fn file_of(snapshot: &Snapshot, name: &str, file: &str) -> Result<Vec<u8>, ArtifactError> {
    let part = snapshot.artifact(name)?;
    Ok(snapshot.artifact_file(&part, file)?.as_bytes().to_vec())
}

/// A store with a few samples.
fn small(path: &Path) -> Store {
    let store = Store::create(path).unwrap();
    add(&store, 0..3).unwrap();
    store
}

/// What the current root requires.
fn required(path: &Path) -> Value {
    let read = |path| serde_json::from_slice::<Value>(&fs_err::read(path).unwrap()).unwrap();
    let current = read(path.join("CURRENT"));
    read(path.join("manifests").join(current["root"]["file"].as_str().unwrap()))["requires"].clone()
}

/// Names of the files of artifacts, and of what is in `tmp/` besides locks.
fn left(path: &Path) -> Vec<String> {
    let names = files(path).into_iter().map(|file| file.to_string_lossy().into_owned());
    names
        .filter(|n| n.starts_with("artifacts/") || (n.starts_with("tmp/") && n.matches('/').count() > 1))
        .collect()
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
    let (_dir, path, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    assert!(store.snapshot().unwrap().artifacts().unwrap().is_empty());
    let value = json!({"weights": [0.1, 1e-300, 123_456_789.123_456_78]});
    let first = store.put_artifact(artifact("cheap", value.clone()), None, None, "fit").unwrap();
    assert_eq!(content_of(&first, "cheap"), value, "every bit of a number comes back");
    let again = Store::open(&path).unwrap().snapshot().unwrap();
    assert_eq!(
        (again.artifacts().unwrap(), content_of(&again, "cheap")),
        (vec!["cheap".to_owned()], value.clone())
    );
    let taken = store.put_artifact(artifact("cheap", json!(2)), None, None, "fit").unwrap_err();
    assert!(matches!(&taken, ArtifactError::Exists(name) if name == "cheap"), "{taken}");
    let second = store.put_artifact(artifact("cheap", json!(2)), None, Some(&*first), "fit").unwrap();
    assert_eq!((content_of(&second, "cheap"), content_of(&first, "cheap")), (json!(2), value));
    assert_eq!(second.artifact("cheap").unwrap().number, second.number() as u32);
    // What is published next keeps it.
    add(&store, 100..101).unwrap();
    assert_eq!(content_of(&store.snapshot().unwrap(), "cheap"), json!(2));
    let unknown = second.artifact("chep").unwrap_err().to_string();
    assert!(unknown.contains("cheap"), "{unknown}");
    for (name, dataset) in [("", "pool"), ("a b", "pool"), ("x", "nothing")] {
        let part = ArtifactPart::new(name, "prefilter", vec![dataset.to_owned()], json!(1));
        assert!(store.put_artifact(part, None, None, "fit").is_err(), "{name:?} of {dataset}");
    }
    let seen = store.snapshot().unwrap();
    assert!(store.drop_artifact(&seen, "other", "drop").is_err());
    // Replaced or dropped by another process meanwhile: the one that was meant is not there.
    store.put_artifact(artifact("cheap", json!(3)), None, Some(&*seen), "fit").unwrap();
    let replaced = store.put_artifact(artifact("cheap", json!(4)), None, Some(&*seen), "fit").unwrap_err();
    assert!(
        matches!(&replaced, ArtifactError::Changed(ConcurrentChange::Gone { replaced: true, .. })),
        "what was seen was replaced: {replaced}"
    );
    let e = store.drop_artifact(&seen, "cheap", "drop").unwrap_err();
    assert!(matches!(&e, ChangeError::Changed(ConcurrentChange::Gone { replaced: true, .. })), "{e}");
    let seen = store.snapshot().unwrap();
    assert_eq!(content_of(&seen, "cheap"), json!(3));
    let report = store.drop_artifact(&seen, "cheap", "drop").unwrap();
    assert_eq!((report.artifact.as_deref(), report.kind.as_deref()), (Some("cheap"), Some("prefilter")));
    assert_eq!(report.bytes, seen.artifact_bytes("cheap"));
    let e = store.drop_artifact(&seen, "cheap", "drop").unwrap_err();
    assert!(matches!(&e, ChangeError::Changed(ConcurrentChange::Gone { replaced: false, .. })), "{e}");
    assert!(store.snapshot().unwrap().artifact("cheap").is_err());
    let e = store.put_artifact(artifact("cheap", json!(5)), None, Some(&*seen), "fit").unwrap_err();
    assert!(matches!(&e, ArtifactError::Changed(ConcurrentChange::Gone { replaced: false, .. })), "{e}");
    // Where there was none, it replaces none that came meanwhile.
    let none = store.snapshot().unwrap();
    store.put_artifact(artifact("cheap", json!(6)), None, Some(&*none), "fit").unwrap();
    let e = store.put_artifact(artifact("cheap", json!(7)), None, Some(&*none), "fit").unwrap_err();
    assert!(
        matches!(&e, ArtifactError::Changed(c @ ConcurrentChange::Came { .. }) if !c.can_repeat()),
        "{e}"
    );
    assert_eq!(
        e.to_string(),
        "artifact cheap was made by another process in the meantime; nothing was changed"
    );
    assert_eq!(content_of(&store.snapshot().unwrap(), "cheap"), json!(6));
    assert_clean(&store);
}

#[test]
fn gc_keeps_what_a_kept_snapshot_has_and_removes_the_rest() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    store.put_artifact(artifact("cheap", json!(1)), None, None, "fit").unwrap();
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
    let mut cheap = artifact("cheap", json!([1.5]));
    cheap.provenance.insert("command".to_owned(), json!("fit --labels-of another"));
    store.put_artifact(cheap, None, None, "fit").unwrap();
    let imported = ArtifactPart::new("imported", "factors", Vec::new(), json!(1));
    let snapshot = store.put_artifact(imported, None, None, "import").unwrap();
    store.backup(&to, &BackupOptions::default(), &mut |_| {}, &GO).unwrap();
    assert_eq!(content_of(&Store::open(&to).unwrap().snapshot().unwrap(), "cheap"), json!([1.5]));
    let nothing = snapshot.only(|_| false);
    assert!(nothing.artifacts().unwrap().is_empty() && nothing.artifact("cheap").is_err());
    let some = snapshot.only(|name| name == "pool");
    assert_eq!(some.artifacts().unwrap(), ["cheap"]);
    assert_eq!(content_of(&some, "cheap"), json!([1.5]));
    // The command that made it may name what is hidden.
    assert!(some.artifact("cheap").unwrap().provenance.is_empty());
    // So may what names no dataset.
    assert!(some.artifact("imported").is_err() && snapshot.artifact("imported").is_ok());
    assert!(!snapshot.artifact("cheap").unwrap().provenance.is_empty());
}

#[test]
fn damage_is_found_and_a_repair_goes_on_without_it() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    store.put_artifact(artifact("cheap", json!("abcdefgh")), None, None, "fit").unwrap();
    drop(store);
    let place = file(&path);
    flip(&place, |bytes| bytes.windows(4).position(|four| four == b"abcd").unwrap());
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
        let (_dir, path, store) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
        let first = store.put_artifact(artifact("cheap", json!(1)), None, None, "fit").unwrap();
        let last =
            store.put_artifact(artifact("cheap", json!(2)), None, Some(&*first), "fit").unwrap().number();
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

#[test]
fn files_come_with_their_artifact_and_go_with_the_last_snapshot_that_has_it() {
    let (_dir, path, store) = placed(small);
    assert_eq!(required(&path), json!([]));
    let sums: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let given: [(&str, &[u8]); 3] = [("gram.safetensors", &sums), ("counts", b"1 2 3"), ("empty", b"")];
    let first = put(&store, "factors", &given).unwrap();
    let reopened = Store::open(&path).unwrap().snapshot().unwrap();
    for (name, bytes) in given {
        assert!(file_of(&first, "factors", name).unwrap() == bytes, "{name}");
        assert!(file_of(&reopened, "factors", name).unwrap() == bytes, "{name}, from a store opened again");
    }
    let part = first.artifact("factors").unwrap();
    let said: Vec<_> = part.files.iter().map(|f| (f.name.as_str(), f.digest.to_string(), f.len)).collect();
    let expected: Vec<_> = given.iter().map(|(name, b)| (*name, xxh3_hex(b), b.len() as u64)).collect();
    assert_eq!(said, expected);
    assert!(part.files[0].file.ends_with(".safetensors") && part.files[1].file.ends_with(".bin"));
    assert!(first.artifact_bytes("factors") > 3_000_000 && first.artifact_bytes("other") == 0);
    let unknown = first.artifact_file(&part, "grams").unwrap_err();
    assert!(unknown.to_string().contains("gram.safetensors, counts, empty"), "{unknown}");
    // A program that does not know of files must not take them for leftovers.
    assert_eq!((required(&path), left(&path).len()), (json!(["artifact_files"]), 3));
    assert_clean(&store);
    assert!(verify(&store).is_sound() && verify(&store).unreferenced.is_empty());

    // Without files in the one that comes after it, they are of the older snapshot only.
    let mut next = part.clone();
    next.content = json!(2);
    let second = store.put_artifact(next, None, Some(&*first), "fit").unwrap();
    assert!(second.artifact("factors").unwrap().files.is_empty());
    assert_eq!(required(&path), json!([]));
    store.collect(gc(2)).unwrap();
    assert!(file_of(&first, "factors", "gram.safetensors").unwrap() == sums);
    let options = RevertOptions { command: "revert".into(), dry_run: false };
    store.revert(&first, &options).unwrap();
    assert!(file_of(&store.snapshot().unwrap(), "factors", "gram.safetensors").unwrap() == sums);
    store.revert(&second, &options).unwrap();
    let report = store.collect(gc(1)).unwrap();
    assert_eq!(report.swept.removed[&FileKind::Artifacts].files, 3, "{report:?}");
    assert!(left(&path).is_empty() && file_of(&first, "factors", "counts").is_err());
    assert!(verify(&store).is_sound());
}

#[test]
fn files_that_are_not_published_go() {
    let (_dir, path, store) = placed(small);
    let mut files = store.artifact_files().unwrap();
    files.write("a", |out| out.write_all(b"first")).unwrap();
    let twice = files.write("a", |out| out.write_all(b"second")).unwrap_err();
    assert!(matches!(&twice, ArtifactError::FileExists(name) if name == "a"), "{twice}");
    for name in ["../a", ".."] {
        assert!(matches!(files.write(name, |_| Ok(())).unwrap_err(), ArtifactError::FileName(_)));
    }
    let failed = files.write("b", |out| {
        out.write_all(b"half of it")?;
        Err(std::io::Error::other("a sum is not a number"))
    });
    assert!(failed.unwrap_err().to_string().contains("a sum is not a number"));
    // The lock, and the one that was written.
    assert_eq!(left(&path).len(), 2);
    store.collect(gc(10)).unwrap();
    assert_eq!(left(&path).len(), 2, "gc leaves those of a process that is at work");
    files.write("b", |out| out.write_all(b"all of it")).unwrap();
    let unnamed = store.put_artifact(artifact("a b", json!(1)), Some(files), None, "fit");
    assert!(matches!(unnamed.unwrap_err(), ArtifactError::Name(_)));
    assert!(left(&path).is_empty());
    assert_clean(&store);
}

#[test]
fn a_backup_has_the_files_and_a_flipped_bit_is_found_by_all_who_read_them() {
    let dir = tempdir().unwrap();
    let (path, to) = (dir.path().join("s"), dir.path().join("copy"));
    let store = small(&path);
    put(&store, "kept", &[("f", b"not damaged")]).unwrap();
    let snapshot = put(&store, "factors", &[("gram", b"0123456789")]).unwrap();
    let backup = |to: &Path| store.backup(to, &BackupOptions::default(), &mut |_| {}, &GO);
    backup(&to).unwrap();
    // Files that are there stay, and those that are not needed go.
    fs_err::write(to.join("artifacts/67e55044-10b1-426f-9247-bb680e5fe0c8.bin"), "old").unwrap();
    let again = backup(&to).unwrap();
    assert_eq!((again.files_copied, again.swept.files()), (0, 1), "{again:?}");
    let copied = Store::open(&to).unwrap();
    assert_eq!(file_of(&copied.snapshot().unwrap(), "factors", "gram").unwrap(), b"0123456789");
    assert!(verify(&copied).is_sound());

    let name = format!("artifacts/{}", snapshot.artifact("factors").unwrap().files[0].file);
    flip(&path.join(&name), |_| 4);
    let error = file_of(&snapshot, "factors", "gram").unwrap_err();
    let damage = error.damage().unwrap();
    assert_eq!((damage.file.as_str(), damage.what.as_str()), (name.as_str(), "digest"), "{damage}");
    assert_eq!(file_of(&snapshot, "kept", "f").unwrap(), b"not damaged");
    let report = verify(&store);
    assert_eq!(report.problems.len(), 1, "{report:#?}");
    assert_eq!(report.problems[0].file, name);
    assert!(backup(&dir.path().join("other")).unwrap_err().is_damage());
    drop(store);
    let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
    let lost: Vec<&str> = report.lost.iter().map(|loss| loss.rows.of.as_str()).collect();
    assert_eq!(lost, ["artifact factors"], "{report:#?}");
    let store = Store::open(&path).unwrap();
    assert_eq!(file_of(&store.snapshot().unwrap(), "kept", "f").unwrap(), b"not damaged");
    assert_eq!(store.snapshot().unwrap().artifacts().unwrap(), ["kept"]);
    store.collect(gc(1)).unwrap();
    assert!(verify(&store).is_sound() && left(&path).len() == 1);
}

#[test]
fn an_operation_that_fails_leaves_the_artifact_whole_or_absent() {
    let dir = tempdir().unwrap();
    let base = dir.path().join("base");
    drop(small(&base));
    let given: [(&str, &[u8]); 2] = [("a", b"first"), ("b.json", b"{}")];
    for n in 0.. {
        let path = dir.path().join(n.to_string());
        copy(&base, &path);
        let vfs = CrashVfs::once(i64::MAX);
        let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        vfs.set_left(n);
        let done = put(&store, "factors", &given);
        let fired = vfs.left() < 0;
        drop(store);
        let store = Store::open(&path).unwrap();
        let now = store.snapshot().unwrap();
        let is_there = !now.artifacts().unwrap().is_empty();
        assert!(is_there || done.is_err(), "operation {n}: acknowledged and gone");
        if is_there {
            for (name, bytes) in given {
                assert!(file_of(&now, "factors", name).unwrap() == bytes, "operation {n}: {name}");
            }
        }
        if let Err(e) = &done {
            assert!(e.to_string().contains("injected"), "operation {n}: {e}");
        }
        store.collect(gc(10)).unwrap();
        assert_eq!(left(&path).len(), if is_there { 2 } else { 0 }, "operation {n}: {:?}", left(&path));
        let report = verify(&store);
        assert!(report.is_sound() && report.unreferenced.is_empty(), "operation {n}: {report:#?}");
        if !fired {
            done.unwrap();
            assert!(n > 10, "only {n} operations");
            break;
        }
    }
}
