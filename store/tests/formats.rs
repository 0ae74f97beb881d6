//! Promise: a store of every format that was ever released opens, has its content and can be added to; a
//! store of a newer format is refused with a message that says so, and never called damaged.
//!
//! `tests/formats/<kind>/store` was written once by the version it stands for and is never written again;
//! `expected.json` is what [`rich::describe`] said of it then. `tests/formats/README.md` says
//! how to make another one.

use crate::common::overlay::Overlay;
use crate::common::*;
use gstore_store::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of a fixture, and what writes it.
type Kind = (&'static str, fn(&Path) -> Store);

/// The kinds that this version can make.
const KINDS: &[Kind] = &[
    ("v1", rich::build),
    ("v1-life", life::build),
    ("v1-tokens", tokens::build),
    ("v1-indexes", indexes::build),
    ("v1-artifacts", artifacts::build),
    ("v1-signs", signs::build),
];

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/formats")
}

/// The kept stores, each with what it must hold.
fn kept() -> Vec<(String, PathBuf, Value)> {
    let mut out = Vec::new();
    for entry in fs_err::read_dir(formats()).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("store/CURRENT").exists() {
            let expected =
                serde_json::from_slice(&fs_err::read(folder.join("expected.json")).unwrap()).unwrap();
            out.push((
                folder.file_name().unwrap().to_string_lossy().into_owned(),
                folder.join("store"),
                expected,
            ));
        }
    }
    assert!(out.iter().any(|(name, ..)| name == "v1"), "tests/formats/v1 is missing");
    out
}

/// Compares field by field, so that a difference can be read.
fn assert_same(found: &Value, expected: &Value, at: &str) {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            // A later version may say more; it may not say less.
            for (key, value) in b {
                assert_same(a.get(key).unwrap_or(&Value::Null), value, &format!("{at}.{key}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| assert_same(a, b, &format!("{at}[{i}]")));
        }
        _ => assert_eq!(found, expected, "{at}"),
    }
}

#[test]
fn stores_of_every_format_open_and_have_their_content() {
    for (name, store, expected) in kept() {
        // The overlay refuses every change, as a read-only medium does.
        let overlay = Overlay::load(&store);
        let opened = Store::open_on(Arc::new(overlay), &store).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_same(&rich::describe(&opened), &expected, &name);
    }
}

#[test]
fn stores_of_every_format_are_sound_and_can_be_added_to_at_another_place() {
    for (name, store, expected) in kept() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("another place").join(&name);
        copy(&store, &path);
        let opened = Store::open(&path).unwrap();
        assert_sound(&opened, &name);
        assert_same(&rich::describe(&opened), &expected, &name);

        let before = opened.snapshot().unwrap();
        let rows = before.dataset("pool").unwrap().rows;
        // Records that are there already are recognised, though the ledger is not part of what is kept.
        let again = add(&opened, 0..24).unwrap();
        assert_eq!((again.added, again.unchanged), (0, 24), "{name}");
        let more = add(&opened, 900_000..900_003).unwrap();
        assert_eq!(more.added, 3, "{name}");
        let mut job = opened.start_job(plan(rich::features())).unwrap();
        let next = opened.snapshot().unwrap().dataset("pool").unwrap().next_row;
        for f in 0..3 {
            assert!(!job.rows_done(f).is_empty(), "{name}: the rows of feature {f} are not found again");
            seal(&mut job, f, next - 3..next);
        }
        job.publish(None, true).unwrap();

        let now = opened.snapshot().unwrap();
        assert_eq!(now.dataset("pool").unwrap().rows, rows + 3, "{name}");
        for f in before.features().iter().take(3) {
            let old = before.open_feature(f).unwrap();
            let new = now.open_feature(now.feature_by_key(&f.key).unwrap()).unwrap();
            assert_eq!(new.row_set().unwrap().len(), old.row_set().unwrap().len() + 3, "{name}");
            for row in old.row_set().unwrap().iter() {
                // Bits, since a row may hold what is not equal to itself.
                let text = |r: &FeatureReader| format!("{:?}", r.row(row).unwrap());
                assert_eq!(text(&old), text(&new), "{name}: row {row} of {}", f.display_name());
            }
        }
        assert_sound(&opened, &name);
        // The history still has what it had.
        let described = rich::describe(&opened);
        let all = described["snapshots"].as_array().unwrap();
        let old = expected["snapshots"].as_array().unwrap();
        assert_same(&all[all.len() - old.len()..].into(), &expected["snapshots"], &name);
    }
}

#[test]
fn a_store_made_now_holds_what_the_kept_one_of_its_kind_holds() {
    for (name, build) in KINDS {
        let found = kept().into_iter().find(|(kept, ..)| kept == name);
        let (_, _, expected) = found.unwrap_or_else(|| panic!("no store of the kind {name} is kept"));
        let dir = tempdir().unwrap();
        let now = rich::describe(&build(&dir.path().join("s")));
        for what in ["datasets", "features", "runs"] {
            assert_same(&now[what], &expected[what], &format!("{name}.{what}"));
        }
        // The older ones say nothing of them.
        if let Some(artifacts) = expected.get("artifacts") {
            assert_same(&now["artifacts"], artifacts, &format!("{name}.artifacts"));
        }
    }
}

#[test]
#[ignore = "makes a store to keep; run it once for a new kind, with GSTORE_FIXTURE=<kind>"]
fn make_fixture() {
    let name = std::env::var("GSTORE_FIXTURE").expect("GSTORE_FIXTURE names the kind");
    let known: Vec<&str> = KINDS.iter().map(|k| k.0).collect();
    let build = KINDS.iter().find(|k| k.0 == name).unwrap_or_else(|| panic!("kinds are {known:?}")).1;
    let folder = formats().join(&name);
    assert!(!folder.exists(), "{} is kept as it is: a fixture is never made again", folder.display());
    let (_dir, path, store) = placed(build);
    let described = rich::describe(&store);
    assert!(verify(&store).is_sound());
    drop(store);
    for file in files(&path) {
        // Derived data, and files that hold nothing.
        let skipped = ["LOCK", "tmp", "ledger.redb", "ledger.sums", "leases"];
        if skipped.iter().any(|s| file.starts_with(s)) {
            continue;
        }
        let target = folder.join("store").join(&file);
        fs_err::create_dir_all(target.parent().unwrap()).unwrap();
        fs_err::copy(path.join(file), target).unwrap();
    }
    let text = format!("{}\n", serde_json::to_string_pretty(&described).unwrap());
    fs_err::write(folder.join("expected.json"), text).unwrap();
}

/// Whatever a reader asks for first.
fn read(path: &Path) -> Result<(), String> {
    let newer = |damage: bool, text: String| if damage { format!("damage: {text}") } else { text };
    let store = Store::open(path).map_err(|e| newer(e.is_damage(), e.to_string()))?;
    let snapshot = store.snapshot().map_err(|e| newer(e.is_damage(), e.to_string()))?;
    for part in snapshot.features() {
        snapshot.open_feature(part).map_err(|e| newer(e.is_damage(), e.to_string()))?;
    }
    Ok(())
}

fn assert_refused(text: &str, what: &str) {
    assert!(!text.contains("damage"), "{what}: {text}");
    for part in ["was written by a newer gstore", "use that version"] {
        assert!(text.contains(part), "{what}: {part:?} is missing in: {text}");
    }
}

#[test]
fn newer_catalogs_and_segments_are_refused_and_not_called_damaged() {
    let (dir, path, _) = placed(rich::build);
    type Edit = fn(&mut Value);
    let version: Edit = |v| v["version"] = 2.into();
    let requires: Edit = |v| v["requires"] = serde_json::json!(["what-comes-later"]);
    for (how, edit) in [("version 2", version), ("requires", requires)] {
        type Forge = fn(&Path, Edit);
        let places: [(&str, Forge); 5] = [
            ("CURRENT", |p, e| forge::current(p, e)),
            ("root", |p, e| forge::root(p, e)),
            ("dataset", |p, e| forge::part(p, "datasets", 1, e)),
            ("run", |p, e| forge::part(p, "runs", 0, e)),
            ("feature", |p, e| forge::part(p, "features", 2, e)),
        ];
        for (what, forge) in places {
            let copied = dir.path().join(format!("{what} {how}"));
            copy(&path, &copied);
            forge(&copied, edit);
            let text = read(&copied).expect_err(what);
            assert_refused(&text, what);
            assert!(text.contains("version 2") || text.contains("what-comes-later"), "{what}: {text}");
            assert!(add(&Store::open(&path).unwrap(), 0..1).is_ok());
        }
    }
    let copied = dir.path().join("segment");
    copy(&path, &copied);
    forge::tail(&copied, 1, 0, |tail| {
        let value = [1, 0, 0, 0, b'1', 0];
        let places: Vec<usize> = (0..tail.len() - 6).filter(|i| tail[*i..*i + 6] == value).collect();
        assert_eq!(places.len(), 1, "the only text `1` of a footer is its version");
        tail[places[0] + 4] = b'2';
    });
    assert_refused(&read(&copied).expect_err("segment"), "segment");
    // Forging alone is not what is refused.
    forge::tail(&path, 1, 0, |_| {});
    forge::part(&path, "runs", 0, |run| run["later"] = 1.into());
    read(&path).unwrap();
}

#[test]
fn jobs_of_a_newer_version_are_left_alone() {
    let (_dir, path, store) = with_samples(12);
    let f = feature("grad-sgd", 6, DType::F16);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..12);
    let folder = path.join("tmp").join(job.id());
    drop(job);
    let good = fs_err::read(folder.join("job.json")).unwrap();
    let mut newer: Value = serde_json::from_slice(&good).unwrap();
    newer["version"] = 2.into();
    let before = files(&folder);
    for file in ["job.json", "publish.json"] {
        fs_err::write(folder.join(file), newer.to_string()).unwrap();
        let e = store.start_job(plan(vec![f.clone()])).expect_err(file);
        assert!(!e.is_damage(), "{file}: {e}");
        assert_refused(&e.to_string(), file);
        assert_eq!(fs_err::read(folder.join(file)).unwrap(), newer.to_string().as_bytes(), "{file}");
        fs_err::write(folder.join("job.json"), &good).unwrap();
    }
    fs_err::remove_file(folder.join("publish.json")).unwrap();
    assert_eq!(files(&folder), before);
    let job = store.start_job(plan(vec![f])).unwrap();
    assert_eq!(job.rows_done(0), RowSet::from_range(0..12));
}
