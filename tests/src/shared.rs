//! The folder of models, data and reference results that tests compare with.
//!
//! It is `../shared` next to the workspace, or `GSTORE_SHARED`. Nothing in it is assumed by name where its
//! manifests and listings can tell, so that the same tests run on another folder of the same layout.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder, whether it exists or not.
pub fn root() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    workspace.join(std::env::var_os("GSTORE_SHARED").unwrap_or_else(|| "../shared".into()))
}

/// The folder with what a test reads in it, such as `golden/less`, or `None` after saying that the test is
/// skipped.
///
/// # Panics
/// If that is missing although `CI` is set: there the tests must not be skipped.
pub fn folder(test: &str, needed: &str) -> Option<PathBuf> {
    let root = root();
    if root.join(needed).is_dir() {
        return Some(root);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{test}: no {needed} in {}; set GSTORE_SHARED to the folder of reference results",
        root.display()
    );
    eprintln!("skipped: {test} needs {needed} of the reference results; set GSTORE_SHARED to their folder");
    None
}

/// The pool whose rows a manifest names.
pub fn pool(shared: &Path, manifest: &Value) -> PathBuf {
    shared.join(manifest["pool"].as_str().unwrap_or("data/pool.jsonl"))
}

/// A model with its warm-up checkpoints.
#[derive(Debug, Clone)]
pub struct Warmup {
    /// Folder of the base model.
    pub model: PathBuf,
    /// Checkpoint folders by step, ascending.
    pub checkpoints: Vec<(u64, PathBuf)>,
}

/// The models that have a folder of warm-up checkpoints named after them, in order of their names.
pub fn warmups(shared: &Path) -> Vec<Warmup> {
    let mut found = Vec::new();
    for model in folders(&shared.join("models")) {
        let Some(name) = model.file_name().and_then(|n| n.to_str()) else { continue };
        let mut checkpoints: Vec<(u64, PathBuf)> =
            folders(&shared.join("models").join(format!("{name}-warmup")))
                .into_iter()
                .filter_map(|path| {
                    Some((path.file_name()?.to_str()?.rsplit('-').next()?.parse().ok()?, path))
                })
                .collect();
        checkpoints.sort();
        if model.join("config.json").is_file() && !checkpoints.is_empty() {
            found.push(Warmup { model, checkpoints });
        }
    }
    found
}

/// The warm-up that has every step of the golden results, with these alone, in their order.
///
/// # Panics
/// If no model has them all.
pub fn golden_warmup(shared: &Path, steps: &[u64]) -> Warmup {
    let mut warmup = warmups(shared)
        .into_iter()
        .find(|w| steps.iter().all(|step| w.checkpoints.iter().any(|(s, _)| s == step)))
        .expect("a model with the checkpoints of the golden results");
    let of_step = |step: &u64| warmup.checkpoints.iter().find(|(own, _)| own == step).expect("there").clone();
    warmup.checkpoints = steps.iter().map(of_step).collect();
    warmup
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(path) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    found.sort();
    found
}
