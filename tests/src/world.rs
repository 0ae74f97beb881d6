//! Stores made from the bundled demo model and small generated files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gstore_data::TextOptions;
use gstore_ingest::pipeline::{
    AddReport, AddRequest, CheckpointArg, IngestError, IngestPlan, IngestReport, IngestRequest, Kind, Silent,
    add, ingest,
};
use gstore_ingest::projection::ProjectionSpec;
use gstore_store::{CELL_ROWS, Cancel, DeleteOptions, RowSet, Store};

/// The folder of the demo's model, checkpoints and data.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo")
}

/// Makes a folder with the tokenizer of the demo's model: the same tokens from other bytes, which are another
/// encoding.
pub fn other_tokenizer(folder: &Path) {
    fs_err::create_dir(folder).expect("made");
    for name in ["tokenizer_config.json", "chat_template.jinja", "tokenizer.json"] {
        fs_err::copy(demo().join("model").join(name), folder.join(name)).expect("copied");
    }
    let file = folder.join("tokenizer.json");
    let text = fs_err::read_to_string(&file).expect("read");
    fs_err::write(&file, text + "\n").expect("written");
}

/// Copies the content of a folder into another one.
pub fn copy_files(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).expect("made");
    for entry in fs_err::read_dir(from).expect("listed") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_files(&path, &target);
        } else {
            fs_err::copy(path, target).expect("copied");
        }
    }
}

/// Changes a bit of a file, in the byte that is so far from its end.
pub fn flip(path: &Path, from_end: usize) {
    let mut bytes = fs_err::read(path).expect("read");
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    fs_err::write(path, bytes).expect("written");
}

/// The files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The bytes of the files below a folder, by their paths in it.
pub fn bytes(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let named = |path: PathBuf| {
        let bytes = fs_err::read(&path).expect("read");
        (path.strip_prefix(folder).expect("inside").to_owned(), bytes)
    };
    files(folder).into_iter().map(named).collect()
}

/// The demo's checkpoints in order.
pub fn demo_checkpoints() -> Vec<CheckpointArg> {
    let mut steps: Vec<(u64, PathBuf)> = fs_err::read_dir(demo().join("warmup"))
        .expect("the demo has checkpoints")
        .map(|entry| entry.expect("readable").path())
        .filter_map(|path| {
            Some((path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()?, path))
        })
        .collect();
    steps.sort();
    steps
        .into_iter()
        .map(|(step, path)| CheckpointArg::of_folder(format!("checkpoint-{step}"), path))
        .collect()
}

/// The folder of one of them.
pub fn demo_adapter(at: usize) -> PathBuf {
    demo_checkpoints()[at].folder().expect("an adapter").to_owned()
}

/// A question with choices, as a line of a task.
pub const QUESTION: &str =
    r#"{"id": "a", "task": "odd", "question": "Is 7 odd?", "choices": ["yes", "no"], "answer": 0}"#;

/// Writes `count` short samples, all different.
pub fn write_samples(path: &Path, count: usize) {
    let mut text = String::new();
    for i in 0..count {
        let answer = if i % 97 == 13 {
            String::new()
        } else {
            format!("{} is {}", i % 10, ["odd", "even"][(i + 1) % 2])
        };
        let source = ["a", "b", "c"][i % 3];
        let line = serde_json::json!({
            "id": format!("s{i}"), "source": source,
            "messages": [{"role": "user", "content": format!("Is {i} odd?")}, {"role": "assistant", "content": answer}],
        });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    fs_err::write(path, text).expect("written");
}

/// Writes `count` texts, each at least as long as the one before: the last has a hundred times the first.
pub fn write_growing_texts(path: &Path, count: usize) {
    let words = |i: usize| vec![format!("number {}", i % 10); 1 + 144 * i * i / (count * count)].join(" ");
    let line = |i: usize| format!("{}\n", serde_json::json!({ "id": format!("s{i}"), "text": words(i) }));
    fs_err::write(path, (0..count).map(line).collect::<String>()).expect("written");
}

/// A store with a dataset `pool` of so many samples, whose file lies next to it.
pub fn created(path: &Path, samples: usize) -> Store {
    let data = path.with_file_name("pool.jsonl");
    write_samples(&data, samples);
    let store = Store::create(path).expect("created");
    register(&store, "pool", &data).expect("registered");
    store
}

/// An ingest of a dataset with the demo's model: two checkpoints, small projected gradients.
pub fn request(dataset: &str, kinds: &[Kind]) -> IngestRequest {
    IngestRequest {
        checkpoints: demo_checkpoints().into_iter().take(2).collect(),
        kinds: kinds.to_vec(),
        projection: ProjectionSpec { dim: 256, ..ProjectionSpec::default() }.into(),
        text: TextOptions { max_length: 512, ..TextOptions::default() },
        batch_tokens: 512,
        threads: 2,
        run: "warmup".to_owned(),
        command: "test".to_owned(),
        ..IngestRequest::new(dataset, demo().join("model"))
    }
}

/// Registers a file.
///
/// # Errors
/// As [`add`].
pub fn register(store: &Store, dataset: &str, data: &Path) -> Result<AddReport, IngestError> {
    let request = AddRequest { command: "test".to_owned(), ..AddRequest::new(dataset, [data.to_owned()]) };
    add(store, &request, &mut Silent)
}

/// Rows of [`two_windows`], deleted ones included.
pub const WINDOW_ROWS: usize = CELL_ROWS as usize + 100;

/// Registers [`WINDOW_ROWS`] samples of a file, and deletes most of those in the middle: a few hundred live
/// rows lie in two cells, so an ingest has two windows without the work of the many rows that fill one.
pub fn two_windows(store: &Store, dataset: &str, data: &Path) {
    write_samples(data, WINDOW_ROWS);
    register(store, dataset, data).expect("registered");
    let snapshot = store.snapshot().expect("a snapshot");
    let middle = RowSet::from_range(200..CELL_ROWS - 50);
    let part = snapshot.dataset(dataset).expect("registered");
    store.delete(part, &middle, DeleteOptions::default()).expect("deleted");
}

/// Plans and runs an ingest to its end.
///
/// # Errors
/// As [`ingest`].
pub fn run(store: &Store, request: IngestRequest) -> Result<IngestReport, IngestError> {
    let plan = IngestPlan::new(store, request, &mut Silent)?;
    ingest(store, &plan, &mut Silent, &Cancel::new())
}

/// Content digest of every feature of the current snapshot, by dataset and label.
pub fn digests(store: &Store) -> BTreeMap<String, String> {
    let snapshot = store.snapshot().expect("a snapshot");
    snapshot
        .features()
        .iter()
        .map(|part| {
            let reader = snapshot.open_feature(part).expect("opens");
            (part.display_name(), reader.content_digest().expect("reads"))
        })
        .collect()
}
