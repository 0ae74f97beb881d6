//! The folder of reference data that the tests compare with.

#![allow(dead_code, reason = "the tests of each crate use a part")]

use std::path::{Path, PathBuf};

/// The folder named by `GSTORE_SHARED`, else `../shared` next to the workspace. Tests that read it are ignored
/// where it has no results.
pub fn shared() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = workspace
        .join(std::env::var_os("GSTORE_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from));
    assert!(folder.is_dir(), "no reference data at {}; set GSTORE_SHARED", folder.display());
    folder
}

/// The pool whose rows a manifest names, in that folder.
pub fn pool(shared: &Path, manifest: &serde_json::Value) -> PathBuf {
    shared.join(manifest["pool"].as_str().unwrap_or("data/pool.jsonl"))
}

/// The tolerance that a manifest states under `tolerances`, or the usual one where it states none.
pub fn tolerance(manifest: &serde_json::Value, key: &str, usual: f64) -> f64 {
    match &manifest["tolerances"][key] {
        serde_json::Value::Null => usual,
        stated => stated.as_f64().unwrap_or_else(|| panic!("the tolerance of {key} is {stated}, no number")),
    }
}

/// The cases of `golden/precond` that there are tests of.
const PRECOND: [&str; 3] = ["projected", "trak", "trak_classifier"];

/// A case of `golden/precond`, the folder; none, as is said, where its manifest has only others.
pub fn precond_case(folder: &Path, name: &str) -> Option<serde_json::Value> {
    let mut manifest = json(&folder.join("manifest.json"));
    let has = |name: &str| manifest[name].is_object();
    assert!(PRECOND.into_iter().any(has), "{} has none of {PRECOND:?}", folder.display());
    if !has(name) {
        eprintln!("skipped: {} has no case {name}", folder.display());
        return None;
    }
    Some(manifest[name].take())
}

/// A JSON file of that folder.
pub fn json(path: &Path) -> serde_json::Value {
    let text = fs_err::read_to_string(path).expect("a readable file");
    serde_json::from_str(&text).expect("valid JSON")
}
