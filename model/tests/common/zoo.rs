//! The zoo's configurations, and model folders of noise in their form.

use std::path::{Path, PathBuf};

use gstore_model::architectures::{Decoder, Param};
use safetensors::Dtype;
use serde_json::Value;
use tempfile::TempDir;

use super::support;
use super::tiny::{Weights, noise, write_json, write_weights};

pub fn zoo() -> Option<PathBuf> {
    Some(support::shared()?.join("models/zoo"))
}

/// The models of the zoo.
pub fn folders() -> Option<Vec<PathBuf>> {
    let mut folders: Vec<_> = fs_err::read_dir(zoo()?).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "no model is in the zoo");
    Some(folders)
}

pub fn fixture(name: &str) -> Value {
    support::json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
}

/// The configurations of the zoo, by folder.
pub fn configs(zoo: &Path) -> impl Fn(&str) -> Value {
    move |name| support::json(&zoo.join(name).join("config.json"))
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
