//! The condition `reference_results` of build scripts: set where the folder that tests compare with is there;
//! tests that need it are ignored elsewhere.
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
    let manifest = folder.join("golden/less/manifest.json");
    println!("cargo::rerun-if-changed={}", manifest.display());
    if manifest.is_file() || env::var_os("CI").is_some() {
        println!("cargo::rustc-cfg=reference_results");
    }
}
