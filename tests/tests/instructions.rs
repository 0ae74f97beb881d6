//! Promise: a ranking has the same bits with any vector instructions, and `GSTORE_MAX_ISA` accepts only names
//! that it knows.

use std::path::Path;
use std::process::Command;

use gstore_model::cpu::SimdLevel;
use gstore_query::kernel::Kernel;
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
    for narrower in ["scalar", "avx2", "avxvnni", "widest", ""] {
        assert!(ranking(&store, Some(narrower), &output) == widest, "{narrower}");
    }
}

#[test]
fn narrower_instructions_leave_fewer_kernels() {
    const MARK: &str = "kernels: ";
    let names = || {
        let of_queries = Kernel::available().into_iter().map(|kernel| kernel.name().to_owned());
        of_queries
            .chain(SimdLevel::available().iter().map(|level| format!("{level:?}")))
            .collect::<Vec<_>>()
            .join(" ")
    };
    if std::env::var_os("GSTORE_MAX_ISA").is_some_and(|name| !name.is_empty()) {
        println!("{MARK}{}", names());
        return;
    }
    // This program once more, with this test alone.
    let of = |instructions: &str| {
        let program = std::env::current_exe().expect("its own path");
        let test = "instructions::narrower_instructions_leave_fewer_kernels";
        let done = Command::new(program)
            .args([test, "--exact", "--nocapture"])
            .env("GSTORE_MAX_ISA", instructions)
            .output()
            .expect("ran");
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        let at = told.find(MARK).expect("names of kernels") + MARK.len();
        told[at..].lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(of("widest"), names());
    if cfg!(target_arch = "x86_64") {
        assert_eq!(of("scalar"), "portable Scalar");
        let without = |wider: &[&str]| {
            let names = names();
            let kept = names.split(' ').filter(|name| !wider.contains(&name.to_lowercase().as_str()));
            kept.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("avxvnni"), without(&["avx512"]));
        assert_eq!(of("avx2"), without(&["avx512", "avxvnni"]));
    }
}

#[test]
fn unknown_instructions_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let done = binary::run(binary::gstore(dir.path()).arg("status").env("GSTORE_MAX_ISA", "avx1024"));
    done.says(2, &["GSTORE_MAX_ISA is \"avx1024\": it takes scalar, avx2, avxvnni, widest"]);
}
