//! A folder with a store in it, and the real binary run there as a user would.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use gstore_store::{Snapshot, Store};
use serde_json::Value;
use tempfile::TempDir;

use crate::{binary, world};

/// A folder that goes away with the test.
pub struct Place {
    folder: TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A folder with files of so many samples, each of the name of its dataset.
    pub fn of(samples: &[(&str, usize)]) -> Self {
        let place = Self::new();
        samples.iter().for_each(|(name, count)| place.samples(name, *count));
        place
    }

    /// A folder with an empty store.
    pub fn with_store() -> Self {
        let place = Self::new();
        Store::create(place.path("store")).expect("a store");
        place
    }

    /// The store.
    pub fn store(&self) -> Store {
        Store::open(self.path("store")).expect("a store")
    }

    /// How a command ends that a message proposes for it.
    pub fn at_store(&self) -> String {
        format!(" --store {}", self.path("store").display())
    }

    /// Its newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.store().snapshot().expect("a snapshot")
    }

    /// Writes so many samples to the file of a dataset.
    pub fn samples(&self, dataset: &str, count: usize) {
        world::write_samples(&self.path(&format!("{dataset}.jsonl")), count);
    }

    /// Adds the file of a dataset to it.
    pub fn add(&self, dataset: &str) -> String {
        self.ok(&["add", "--dataset", dataset, "--data", &format!("{dataset}.jsonl")])
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders that it is in.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs_err::write(path, content).expect("written");
    }

    /// The text of a file.
    pub fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).expect("a text")
    }

    /// The JSON of a file.
    pub fn read_json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).expect("JSON")
    }

    /// The names in the folder, hidden ones included, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.folder.path()).expect("listed");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// `gstore` on the store in the folder, or on that of the server that `args` name, run from the folder.
    pub fn gstore(&self, args: &[&str]) -> Command {
        if args.contains(&"--remote") {
            return self.bare(args);
        }
        let mut command = binary::gstore(&self.path("store"));
        command.args(args).current_dir(self.folder.path());
        command
    }

    /// The same with the demo's model, of a command line whose words have no blanks in them.
    pub fn with_model(&self, line: &str) -> Command {
        let mut command = self.gstore(&line.split(' ').collect::<Vec<_>>());
        command.arg("--model").arg(world::demo().join("model"));
        command
    }

    /// `gstore` on no store, run from the folder.
    pub fn bare(&self, args: &[&str]) -> Command {
        let mut command = binary::bare(self.folder.path());
        command.args(args);
        command
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub fn done(&self, args: &[&str]) -> binary::Finished {
        binary::done(&mut self.gstore(args))
    }

    /// The same; returns its standard output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        binary::ok(&mut self.gstore(args))
    }

    /// The same, of a command line whose words have no blanks in them.
    #[track_caller]
    pub fn typed(&self, line: &str) -> String {
        self.ok(&line.split(' ').collect::<Vec<_>>())
    }

    /// Runs a command that must succeed and prints JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        binary::json(&mut self.gstore(args))
    }

    /// The rows of a query as CSV, with a header.
    pub fn csv(&self, sql: &str) -> String {
        self.ok(&["query", "--format", "csv", sql])
    }

    /// The rows of a query, each an object.
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        let text = self.ok(&["query", "--format", "json", sql]);
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> binary::Finished {
        binary::run(&mut self.gstore(args))
    }

    /// The single value of a query's single row.
    pub fn value(&self, sql: &str) -> String {
        self.value_at(None, sql)
    }

    /// The same, of an older snapshot.
    pub fn value_at(&self, snapshot: Option<&str>, sql: &str) -> String {
        let mut args = vec!["query", "--format", "csv", sql];
        args.extend(snapshot.iter().flat_map(|s| ["--snapshot", s]));
        let text = self.ok(&args);
        text.lines().nth(1).unwrap_or_else(|| panic!("{sql}: no row")).to_owned()
    }

    /// An ingest of a data file, or of the registered samples, with the demo's model and
    /// checkpoints, of gradients at a small dimension.
    pub fn ingest(&self, dataset: &str, data: Option<&Path>, features: &str) -> binary::Finished {
        let dim = if features.contains("grad") { " --dim 256" } else { "" };
        let line = format!("ingest --dataset {dataset} --features {features}{dim}");
        let mut command = self.with_model(&line);
        command.arg("--checkpoints").arg(world::demo().join("warmup/checkpoint-*"));
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        binary::run(&mut command)
    }

    /// The same, which must succeed.
    pub fn ingested(&self, dataset: &str, data: Option<&Path>, features: &str) {
        self.ingest(dataset, data, features).says(0, &[]);
    }
}
