//! Promise: a ranking has the same bits whatever vector instructions are used, and `GSTORE_MAX_ISA` takes only names
//! that it knows.

use std::path::Path;

use gstore_tests::{binary, world};

const QUESTION: &str = "SELECT id, score FROM influence('pool', 'asked', k => 60) ORDER BY score DESC, id";

fn ranking(store: &Path, instructions: Option<&str>, output: &Path) -> Vec<u8> {
    let mut command = binary::gstore(store);
    command.args(["query", QUESTION, "--force", "-o"]).arg(output);
    if let Some(instructions) = instructions {
        command.env("GSTORE_MAX_ISA", instructions);
    }
    binary::ok(&mut command);
    fs_err::read(output).expect("scores")
}

#[test]
fn rankings_have_the_same_bits_with_narrower_instructions() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, data) = (dir.path().join("store"), dir.path().join("data.jsonl"));
    world::write_samples(&data, 60);
    for dataset in ["pool", "asked"] {
        let mut command = binary::gstore(&store);
        command
            .args(["ingest", "--dataset", dataset, "--features", "grad-sgd", "--module-dim", "64", "--data"])
            .arg(&data);
        binary::ok(command.arg("--model").arg(world::demo().join("model")));
    }
    let output = dir.path().join("scores.csv");
    let widest = ranking(&store, None, &output);
    assert!(widest.len() > 60 * 10);
    for narrower in ["scalar", "avx2", "widest", ""] {
        assert!(ranking(&store, Some(narrower), &output) == widest, "{narrower}");
    }
}

#[test]
fn unknown_instructions_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let done = binary::run(binary::gstore(dir.path()).arg("status").env("GSTORE_MAX_ISA", "avx1024"));
    assert_eq!(done.code, 2);
    assert!(
        done.stderr.contains("GSTORE_MAX_ISA is \"avx1024\": it takes scalar, avx2, widest"),
        "{}",
        done.stderr
    );
}
