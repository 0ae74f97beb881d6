//! The condition `reference_results` of build scripts: set where results that tests compare with are there,
//! be it those of one kind; tests that need some are ignored elsewhere.
//!
//! With `CI` set it is always set, so that a missing folder fails.

use std::env;
use std::path::{Path, PathBuf};

/// Sets it for the package that is being built, a folder of the workspace.
pub fn set_condition() {
    println!("cargo::rustc-check-cfg=cfg(reference_results)");
    for name in ["GSTORE_SHARED", "CI"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let folder = workspace
        .join(env::var_os("GSTORE_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from));
    let golden = folder.join("golden");
    let found = results(&golden);
    println!("cargo::rerun-if-changed={}", found.as_ref().unwrap_or(&golden).display());
    if found.is_some() || env::var_os("CI").is_some() {
        println!("cargo::rustc-cfg=reference_results");
    }
}

/// The first file of results, each kind of which has a folder: any is enough, and tests of
/// another kind say what they lack.
fn results(golden: &Path) -> Option<PathBuf> {
    let entries = |folder: &Path| folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    entries(golden).flat_map(|folder| entries(&folder)).filter(is_json).min()
}
