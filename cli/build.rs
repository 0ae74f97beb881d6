#![allow(clippy::disallowed_methods)] // a build script has no fs_err, and its errors reach only developers
//! Lists the bundled demo files, so that `gstore demo` works wherever the binary is.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What of `demo/` goes into the binary.
const PARTS: [&str; 3] = ["model", "warmup", "data"];

fn main() -> io::Result<()> {
    let demo = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?)
        .join("../demo")
        .canonicalize()?;
    println!("cargo::rerun-if-changed={}", demo.display());
    let mut files = Vec::new();
    for part in PARTS {
        collect(&demo.join(part), &mut files)?;
    }
    files.sort();
    let mut code = String::from(
        "/// Path below the folder of the demo, and content.\npub static FILES: &[(&str, &[u8])] = &[\n",
    );
    for file in &files {
        let name = file.strip_prefix(&demo).map_err(io::Error::other)?;
        writeln!(code, "    ({name:?}, include_bytes!({file:?})),").map_err(io::Error::other)?;
    }
    code.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR").map_err(io::Error::other)?).join("demo_files.rs"), code)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
