//! Promise: no bytes from outside make a parser panic or take more memory than its bound.
//!
//! Every kept input is run, then random changes of kept inputs for `GSTORE_FUZZ_SECONDS` seconds a target
//! (default 1), from `GSTORE_SEED`. A failing input is written to a file that the message names; it belongs
//! in `corpus/` once the parser is fixed.

use gstore_fuzz::Target;
use gstore_fuzz::change::{Random, changed};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// The kept inputs of a target.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<PathBuf> = fs_err::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|f| (f.clone(), fs_err::read(f).unwrap())).collect()
}

/// Runs an input; saves it if it fails.
fn try_input(target: &Target, data: &[u8], from: &str) -> usize {
    catch_unwind(AssertUnwindSafe(|| target.check(data))).unwrap_or_else(|_| {
        let file =
            std::env::temp_dir().join(format!("{}-{:016x}", target.name, Random(data.len() as u64).number()));
        fs_err::write(&file, data).unwrap();
        panic!("{}: {from} fails; the input is in {}", target.name, file.display())
    })
}

fn fuzz(name: &str) {
    let target = gstore_fuzz::target(name).unwrap();
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{name} has no kept input");
    let seed = number("GSTORE_SEED", 1);
    let mut random =
        Random(seed ^ name.bytes().fold(0, |n: u64, b| n.wrapping_mul(31).wrapping_add(u64::from(b))));
    let mut most = 0.0f64;
    let mut check = |data: &[u8], from: &str| {
        let peak = try_input(target, data, from);
        most = most.max(peak as f64 / (target.per_byte * data.len() + target.constant) as f64);
    };
    for (file, data) in &corpus {
        check(data, &file.display().to_string());
    }
    let end = Instant::now() + Duration::from_secs(number("GSTORE_FUZZ_SECONDS", 1));
    let mut inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, data)| data).collect();
    let kept = inputs.len();
    let mut runs = 0u64;
    while Instant::now() < end {
        let from = &inputs[random.below(inputs.len())];
        let other = &inputs[random.below(inputs.len())];
        let data = changed(from, other, target.words, &mut random);
        check(&data, &format!("run {runs} of GSTORE_SEED={seed}"));
        runs += 1;
        // Some changed inputs are changed again.
        if random.below(64) == 0 {
            let at = kept + random.below(256);
            if at < inputs.len() { inputs[at] = data } else { inputs.push(data) }
        }
    }
    println!("{name}: GSTORE_SEED={seed}, {runs} runs, at most {:.0} % of the memory bound", most * 100.0);
}

/// The kept input reaches a ranking, so changes of it do too.
#[test]
fn a_sound_sketch_is_used() {
    for (file, data) in corpus(gstore_fuzz::target("sketch").unwrap()) {
        let used = gstore_fuzz::targets::sketch::rankings(&data);
        assert!(used > 0 || !file.ends_with("sound"), "{}", file.display());
    }
}

/// The kept input reaches an answer (`write_a_sound_graph` in `query/tests/ann.rs` writes it).
#[test]
fn a_sound_graph_is_searched() {
    for (file, data) in corpus(gstore_fuzz::target("graph").unwrap()) {
        let found = gstore_fuzz::targets::graph::searches(&data);
        assert!(found > 0 || !file.ends_with("sound"), "{}", file.display());
    }
}

/// The kept streams reach the store, so changes of them do too.
#[test]
fn sound_uploads_are_read() {
    let mut sound = 0;
    for (file, data) in corpus(gstore_fuzz::target("upload").unwrap()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("bad-") {
            assert_eq!(gstore_fuzz::targets::upload::rows(&data), 5, "{name}");
            sound += 1;
        }
    }
    assert!(sound >= 5, "{sound}");
}

#[test]
#[ignore = "writes the kept input"]
fn write_a_sound_sketch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/sketch");
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(folder.join("sound"), gstore_fuzz::targets::sketch::sound()).unwrap();
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            fuzz(stringify!($name));
        })*

        #[test]
        fn every_target_is_run() {
            let names: Vec<&str> = gstore_fuzz::targets::ALL.iter().map(|t| t.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets!(
    segment,
    catalog,
    ledger,
    bitmap,
    index,
    sketch,
    graph,
    receipt,
    pickle,
    torch,
    safetensors,
    model_config,
    adapter_config,
    trainer_state,
    tokenizer,
    tokenizer_config,
    chat_template,
    samples,
    config,
    request,
    upload,
);
