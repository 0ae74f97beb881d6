//! Promise: other tools read the files of a store; the script in docs/python.md works as written.

use std::path::Path;
use std::process::Command;

use gstore_ingest::pipeline::{IngestRequest, Kind};
use gstore_store::{DType, DeleteOptions, RowSet};
use gstore_tests::{binary, world};

/// The Python code of a document, in order.
fn script(document: &str) -> String {
    let mut code = String::new();
    let mut inside = false;
    for line in document.lines() {
        match line {
            "```python" => inside = true,
            "```" => inside = false,
            line if inside => {
                code.push_str(line);
                code.push('\n');
            }
            _ => {}
        }
    }
    code
}

#[test]
fn pyarrow_and_polars_read_a_store() {
    let Some(python) = binary::python("import pyarrow, polars, numpy, pyroaring") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("store");
    let store = world::created(&path, 300);
    world::run(&store, world::request("pool", &[Kind::GradAdam, Kind::EmbedMean, Kind::Loss]))
        .expect("ingested");

    let request = world::request("pool", &[Kind::GradSgd]);
    world::run(&store, IngestRequest { dtype: DType::I1, ..request }).expect("ingested as signs");

    // Scattered rows and a run of them, so that the bitmap has more than one kind of container;.
    let gone = RowSet::from_ranges([3..4, 17..18, 100..150]);
    let options = DeleteOptions { command: "test".to_owned(), purge: false, ..DeleteOptions::default() };
    store.delete(store.snapshot().unwrap().dataset("pool").unwrap(), &gone, options).expect("deleted");

    // Nothing is left of this one, and no file.
    let data = dir.path().join("emptied.jsonl");
    world::write_samples(&data, 3);
    world::register(&store, "emptied", &data).expect("registered");
    world::run(&store, world::request("emptied", &[Kind::Loss])).expect("ingested");
    let options = DeleteOptions { command: "test".to_owned(), purge: true, ..DeleteOptions::default() };
    let all = RowSet::from_range(0..3);
    store.delete(store.snapshot().unwrap().dataset("emptied").unwrap(), &all, options).expect("purged");

    let document = fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/python.md"))
        .expect("the document");
    let file = dir.path().join("read_store.py");
    fs_err::write(&file, script(&document)).expect("written");
    let output = Command::new(python).arg(&file).arg(&path).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains("248 rows x 256 float16 of f16")
            && printed.contains("248 rows x 256 int8 of i1")
            && printed.contains("pool: 248 samples")
            && printed.contains("emptied: 0 samples, no file")
            && printed.lines().any(|line| line.starts_with("emptied/loss") && line.ends_with(": empty"))
            && printed.contains("polars agrees"),
        "{printed}"
    );
}
