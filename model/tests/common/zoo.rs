//! The models of the zoo in the reference folder, what fixtures have of models like them, and models of noise
//! in their form.

use std::path::{Path, PathBuf};

use gstore_core::sha256_hex;
use gstore_model::architectures::{Decoder, Param};
use safetensors::Dtype;
use serde_json::Value;
use tempfile::TempDir;

use super::support;
use super::tiny::{Weights, noise, write_json, write_weights};

pub fn zoo() -> PathBuf {
    support::shared().join("models/zoo")
}

/// The models of the zoo.
pub fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs_err::read_dir(zoo()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("config.json").is_file());
    folders.sort();
    assert!(!folders.is_empty(), "no model is in the zoo");
    folders
}

pub fn fixture(name: &str) -> Value {
    support::json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
}

/// Whether a folder has the files that lines of `sha256sum` name: results that are known of them hold for no
/// others. Where one is another, it is said that what compares with these is skipped.
pub fn has_files(folder: &Path, lines: &str) -> bool {
    let is_there = |line: &str| {
        let (digest, file) = line.split_once("  ").expect("a digest and a file");
        fs_err::read(folder.join(file)).is_ok_and(|bytes| sha256_hex(&bytes) == digest)
    };
    let other = lines.lines().find(|line| !is_there(line));
    if let Some(line) = other {
        println!("skipped: results are known of another file than that in {}: {line}", folder.display());
    }
    other.is_none()
}

/// The configuration of a family, in the sizes of the fixtures.
pub fn config(family: &str) -> Value {
    fixture("families.json")[family]["config"].take()
}

pub fn read(config: &Value) -> Result<Decoder, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    write_json(&path, config);
    Decoder::read(&path).map_err(|e| e.to_string())
}

/// Writes a model folder of noise.
pub fn write_model(folder: &Path, config: &Value, name_of: impl Fn(&Param) -> String) -> PathBuf {
    let decoder = read(config).unwrap();
    let tensor = |(i, param): (usize, &Param)| {
        let shape = param.file_shape();
        let values = noise(i as u64 + 1, shape.iter().product(), 0.1);
        (name_of(param), (shape, values))
    };
    let weights: Weights = decoder.params.iter().enumerate().map(tensor).collect();
    fs_err::create_dir_all(folder).unwrap();
    write_json(&folder.join("config.json"), config);
    write_weights(&folder.join("model.safetensors"), &weights, Dtype::F32);
    folder.to_owned()
}
