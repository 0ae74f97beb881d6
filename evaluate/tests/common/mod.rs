//! Helpers of the tests: what other programs computed, and the demo's model.

use std::path::{Path, PathBuf};

use gstore_evaluate::statistics::Bootstrap;
use gstore_evaluate::tasks::Question;
use gstore_evaluate::{System, TasksRequest};
use gstore_generate::ComputeOptions;
use serde_json::Value;

#[path = "../../../data/tests/support/mod.rs"]
pub mod support;

/// A file of `fixtures/`, which `make.py` there wrote.
pub fn fixture(name: &str) -> Value {
    support::json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
}

/// The demo's model.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model")
}

/// The numbers under a key.
pub fn numbers(value: &Value, key: &str) -> Vec<f64> {
    let list = value[key].as_array().unwrap_or_else(|| panic!("{key} of {value}"));
    list.iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// The texts under a key.
pub fn texts(value: &Value, key: &str) -> Vec<String> {
    let list = value[key].as_array().unwrap_or_else(|| panic!("{key} of {value}"));
    list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// Questions that are to be answered by some models, the first of which is the base.
pub fn asking(questions: Vec<Question>, systems: Vec<System>) -> TasksRequest {
    TasksRequest {
        benchmark: "small".to_owned(),
        questions,
        systems,
        base: 0,
        bootstrap: Bootstrap { resamples: 10, seed: 3 },
        compute: ComputeOptions::default(),
        journal: None,
        overwrite: false,
    }
}

/// A folder with these files.
pub fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs_err::write(path, text).expect("written");
    }
    folder
}
