//! What a command reads and writes, from its arguments.
//!
//! Arguments are known by the parser's names for them, which commands share: `data` is read and `output` is
//! written wherever they stand. A value of any other argument counts as read if it looks like a path and is
//! one.

use std::path::{Path, PathBuf};

use super::resource::is_pattern;
use super::{Call, PipelineError, Resource, Stage};

/// Arguments whose values are files, folders or patterns that must be there.
const READ: [&str; 5] = ["data", "rows", "ids", "resume_from_checkpoint", "from"];

/// The same; they may also name a repository of the Hub.
const MODELS: [&str; 5] = ["model", "adapter", "checkpoints", "checkpoint_folders", "tokenizer"];

/// Arguments whose values are files or folders that are written.
const WRITTEN: [&str; 4] = ["output", "scores", "out", "to"];

/// What a stage reads and writes.
#[derive(Debug, Clone, Default)]
pub struct Uses {
    /// What it reads, of the store too.
    pub reads: Vec<Resource>,
    /// Paths that it may read: values that look like one.
    pub may_read: Vec<Resource>,
    /// What it writes.
    pub writes: Vec<Resource>,
}

impl Uses {
    /// Of a stage that runs in the folder `base`. `is_dataset` says which words of a statement are datasets.
    ///
    /// # Errors
    /// A command that needs a store where none is named.
    pub fn of(
        stage: &Stage,
        call: &Call,
        base: &Path,
        is_dataset: &dyn Fn(&str) -> bool,
    ) -> Result<Self, PipelineError> {
        let mut uses = Self::default();
        uses.paths(call, base);
        let store = call.store().map(|store| super::resource::below(base, store));
        match &store {
            Some(store) => uses.of_store(call, store, is_dataset),
            None if needs_store(call) => {
                let message =
                    format!("stage {}: which store? give the pipeline `store = \"DIR\"`", stage.name);
                return Err(PipelineError::new(stage.says.line, message));
            }
            None => {}
        }
        for (named, to) in [(&stage.says.reads, &mut uses.reads), (&stage.says.writes, &mut uses.writes)] {
            for text in named {
                to.push(explicit(text, base, store.as_deref()).ok_or_else(|| {
                    let message = format!("stage {}: {text} is of a store, and there is none", stage.name);
                    PipelineError::new(stage.says.line, message)
                })?);
            }
        }
        for list in [&mut uses.reads, &mut uses.writes, &mut uses.may_read] {
            list.sort();
            list.dedup();
        }
        // What a stage itself changes is no input of it: it would never be up to date.
        uses.reads.retain(|read| !uses.writes.contains(read));
        Ok(uses)
    }

    fn paths(&mut self, call: &Call, base: &Path) {
        for (id, values) in call.given() {
            let paths = values.iter().map(|value| Resource::path(base, value));
            match id {
                "store" | "threads" => {}
                id if READ.contains(&id) => self.reads.extend(paths),
                id if MODELS.contains(&id) => {
                    for value in values {
                        let path = value.split_once('=').map_or(value.as_str(), |(name, path)| {
                            if name.is_empty() || name.contains('/') { value.as_str() } else { path }
                        });
                        match may_be_of_the_hub(path, base) {
                            true => self.may_read.push(Resource::path(base, path)),
                            false => self.reads.push(Resource::path(base, path)),
                        }
                    }
                }
                id if WRITTEN.contains(&id) => {
                    let files = values.iter().filter(|value| *value != "-" && !value.starts_with("/dev/"));
                    self.writes.extend(files.map(|value| Resource::path(base, value)));
                }
                "folders" => self.reads.extend(paths),
                _ => {
                    let looks = |value: &&String| value.contains(['/', '.']) && !value.contains(['\n', ' ']);
                    let paths = values.iter().filter(looks).map(|value| Resource::path(base, value));
                    self.may_read.extend(paths);
                }
            }
        }
        let output = call.value("output").filter(|output| *output != "-" && !output.starts_with("/dev/"));
        if let (Some(output), "select", None) = (output, call.words[0].as_str(), call.value("scores")) {
            self.writes.push(Resource::path(base, &format!("{output}.scores.csv")));
        }
    }

    fn of_store(&mut self, call: &Call, store: &Path, is_dataset: &dyn Fn(&str) -> bool) {
        let store = || store.to_owned();
        let samples = |dataset: &str| Resource::Samples { store: store(), dataset: dataset.to_owned() };
        let features = |dataset: &str, run: Option<&str>| Resource::Features {
            store: store(),
            dataset: dataset.to_owned(),
            run: run.map(str::to_owned),
        };
        let of_run = |run: &str| Resource::Run { store: store(), run: run.to_owned() };
        let (dataset, run) = (call.value("dataset"), call.value("run"));
        let has = |id| !call.values(id).is_empty();
        match call.words[0].as_str() {
            "add" | "delete" => self.writes.extend(dataset.map(samples)),
            "ingest" => {
                let samples = dataset.map(samples);
                if has("data") {
                    self.writes.extend(samples)
                } else {
                    self.reads.extend(samples)
                }
                if !has("out") {
                    self.writes.extend(dataset.map(|dataset| features(dataset, run)));
                }
                let run = run.map(of_run);
                if has("model") && !has("out") { self.writes.extend(run) } else { self.reads.extend(run) }
            }
            "train" => {
                self.reads.extend(dataset.map(samples));
                let output = call.value("output").and_then(|output| Path::new(output).file_name());
                let folder = output.map(|name| name.to_string_lossy().into_owned());
                self.writes.extend(run.or(folder.as_deref()).map(of_run));
            }
            "select" | "matrix" | "ask" => {
                let targets = call.values("target").iter().filter_map(|target| target.split(':').next());
                for dataset in call.values("pool").iter().map(String::as_str).chain(targets) {
                    self.reads.extend([samples(dataset), features(dataset, run)]);
                }
            }
            "query" => {
                let words = call.value("sql").unwrap_or_default();
                let words = words.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                for dataset in words.filter(|word| is_dataset(word)) {
                    self.reads.extend([samples(dataset), features(dataset, None)]);
                }
            }
            "drop" => {
                let name = call.value("name").unwrap_or_default();
                match call.words.get(1).map(String::as_str) {
                    Some("dataset") => self.writes.extend([samples(name), features(name, None)]),
                    Some("run") => self.writes.push(of_run(name)),
                    _ => self.writes.extend(name.split_once('/').map(|(dataset, _)| features(dataset, None))),
                }
            }
            "index" => self.reads.extend(dataset.map(|dataset| features(dataset, None))),
            _ => {
                self.reads.extend(dataset.map(samples).into_iter().chain(run.map(of_run)));
                self.writes.extend(call.value("as").map(samples));
            }
        }
    }
}

/// Whether a command cannot do without a store.
fn needs_store(call: &Call) -> bool {
    const OF_STORES: [&str; 8] = ["add", "ingest", "select", "matrix", "query", "ask", "delete", "drop"];
    let of_stores = OF_STORES.contains(&call.words[0].as_str()) && !call.has("remote");
    of_stores || call.has("dataset") || call.has("run")
}

/// `dataset:NAME`, `features:NAME`, `run:NAME` or a path.
fn explicit(text: &str, base: &Path, store: Option<&Path>) -> Option<Resource> {
    let (kind, name) = text.split_once(':').unwrap_or_default();
    let (store, name) = (|| store.map(PathBuf::from), name.to_owned());
    Some(match kind {
        "dataset" => Resource::Samples { store: store()?, dataset: name },
        "features" => Resource::Features { store: store()?, dataset: name, run: None },
        "run" => Resource::Run { store: store()?, run: name },
        _ => Resource::path(base, text),
    })
}

/// Whether a name that is no path here has the form `org/name` or `org/name@revision`.
fn may_be_of_the_hub(text: &str, base: &Path) -> bool {
    let Some((org, name)) = text.split_once('/') else { return false };
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('/');
    plain(org) && plain(name) && !is_pattern(Path::new(text)) && !base.join(org).exists()
}
