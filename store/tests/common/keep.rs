//! Helpers of retention tests: a snapshot made by hand, and reading everything of a store.

use super::*;
use arrow_array::cast::AsArray;
use serde_json::Value;
use std::collections::BTreeMap;

fn read(path: PathBuf) -> Value {
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

/// Publishes a snapshot whose root is the current one after `edit`.
pub fn republish(store: &Path, edit: impl FnOnce(&mut Value)) {
    let mut current = read(store.join("CURRENT"));
    let mut root = read(store.join("manifests").join(current["root"]["file"].as_str().unwrap()));
    let number = root["snapshot"].as_u64().unwrap() + 1;
    root["snapshot"] = number.into();
    root["parent"] = current["root"].clone();
    edit(&mut root);
    let text = serde_json::to_vec_pretty(&root).unwrap();
    let digest = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&text));
    let file = format!("root-{number}-{digest}.json");
    fs_err::write(store.join("manifests").join(&file), &text).unwrap();
    current["snapshot"] = number.into();
    current["root"] = json!({ "file": file, "digest": digest, "len": text.len() });
    fs_err::write(store.join("CURRENT.new"), serde_json::to_vec_pretty(&current).unwrap()).unwrap();
    fs_err::rename(store.join("CURRENT.new"), store.join("CURRENT")).unwrap();
}

/// Publishes a snapshot without features.
pub fn drop_features(store: &Path) {
    republish(store, |root| root["features"] = json!([]));
}

pub fn gc(keep: u64) -> GcOptions {
    GcOptions { command: "gc".into(), keep, ..GcOptions::default() }
}

pub fn tag_name(name: &str) -> TagName {
    name.parse().unwrap()
}

/// Reads everything of a snapshot: content digests by feature, and the ids of each dataset.
pub fn content(snapshot: &Snapshot) -> Result<BTreeMap<String, String>, ReadError> {
    let mut out = BTreeMap::new();
    for d in snapshot.datasets() {
        let mut ids = String::new();
        for batch in snapshot.samples(d)?.scan(&["id", "record"], None) {
            let batch = batch?;
            let (id, record) = (batch.column(0).as_string::<i32>(), batch.column(1).as_binary::<i32>());
            for (id, record) in id.iter().zip(record) {
                ids.push_str(&format!("{id:?} {record:?}\n"));
            }
        }
        for e in &d.encodings {
            out.insert(e.label.clone(), format!("{:?}", snapshot.encoding(e)?.counts(0..u64::MAX)?));
        }
        out.insert(d.name.clone(), ids);
    }
    for f in snapshot.features() {
        out.insert(f.display_name(), snapshot.open_feature(f)?.content_digest()?);
    }
    Ok(out)
}

/// Reads everything of all snapshots that the store says it has.
pub fn all_content(store: &Store) -> BTreeMap<u64, BTreeMap<String, String>> {
    let history = store.history().unwrap();
    history.iter().map(|i| (i.number, content(&store.snapshot_at(i.number).unwrap()).unwrap())).collect()
}

/// Nothing lies around that a `gc` would remove.
pub fn assert_clean(store: &Store) {
    let report = store.collect(GcOptions { dry_run: true, ..gc(u64::MAX) }).unwrap();
    assert_eq!((report.swept.files(), report.snapshots_removed), (0, 0), "{report:?}");
}
