//! Inputs and outputs of a stage, by the roles of its arguments.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gstore::named_path_among;

use super::resource::{StageUses, is_pattern};
use super::store_uses::{KnownNames, StageStore};
use super::{PipelineError, PipelineStage, Resource, StageCall};
use crate::args::{ValueRole, has_first_part, is_template_file, role};

/// What an argument of a stage names, if files or folders.
fn role_in(call: &StageCall, id: &str) -> Option<ValueRole> {
    // Of a run of the store they are names or steps.
    let of_run = call.words[0] == "ingest" && call.has("run") && !call.has("model");
    if of_run && id == "checkpoints" { None } else { role(&call.words, id) }
}

/// Whether an argument of a stage names folders of models.
pub(super) fn is_model(call: &StageCall, id: &str) -> bool {
    matches!(role_in(call, id), Some(ValueRole::Model | ValueRole::NamedModel))
}

impl StageUses {
    /// Of a stage that runs in the folder `base`. `known` says which words of a statement are datasets and
    /// runs, and what stages write.
    ///
    /// # Errors
    /// A command that needs a store where none is named.
    pub fn of(
        stage: &PipelineStage,
        call: &StageCall,
        base: &Path,
        known: &KnownNames,
    ) -> Result<Self, PipelineError> {
        let mut uses = Self::default();
        uses.paths(call, base, known);
        let store = call.store().map(|store| super::resource::relative_to(base, store));
        match &store {
            Some(store) => StageStore { store, known }.add(call, &mut uses),
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
        // Not of features that only a condition may read: whether it does is not known.
        let read = uses.reads.iter().filter(|read| !uses.from_above.contains(read));
        let runs: BTreeSet<Resource> = read.filter_map(Resource::runs).collect();
        uses.reads.extend(runs);
        Ok(uses)
    }

    fn paths(&mut self, call: &StageCall, base: &Path, known: &KnownNames) {
        let path = |value: &str| Resource::path(base, value);
        for (id, values) in call.given() {
            let Some(role) = role_in(call, id) else { continue };
            for value in values {
                match role {
                    ValueRole::Aside => {}
                    ValueRole::Read if value.starts_with(gstore_model::hub::DATA_PREFIX) => {}
                    ValueRole::Read => self.reads.push(path(value)),
                    ValueRole::NamedRead => self.reads.push(path(path_of(value, base, &known.written))),
                    ValueRole::Model => self.model(value, base),
                    ValueRole::NamedModel => self.model(path_of(value, base, &known.written), base),
                    ValueRole::Segment => {
                        let folders = value.split_once('@').map(|(_, folders)| folders.split(','));
                        folders.into_iter().flatten().for_each(|folder| self.model(folder, base));
                    }
                    ValueRole::Template if is_template_file(value) => self.reads.push(path(value)),
                    ValueRole::Template => {}
                    ValueRole::Written if is_stream(value) => {}
                    ValueRole::Written => self.writes.push(path(value)),
                }
            }
        }
        let output = call.value("output").filter(|output| !is_stream(output));
        if let (Some(output), "select", None) = (output, call.words[0].as_str(), call.value("scores")) {
            self.writes.push(path(&format!("{}.scores.csv", output.trim_end_matches('/'))));
        }
    }

    fn model(&mut self, value: &str, base: &Path) {
        match may_be_of_the_hub(value, base) {
            true => self.may_read.push(Resource::path(base, value)),
            false => self.reads.push(Resource::path(base, value)),
        }
    }
}

/// The path of `NAME=PATH`, or a path alone, for a command in the folder `base` after stages have `written`
/// theirs.
pub(super) fn path_of<'v>(value: &'v str, base: &Path, written: &[Resource]) -> &'v str {
    let is_made = |path: &str| written.iter().any(|written| written.overlaps(&Resource::path(base, path)));
    named_path_among(value, |path| has_first_part(base, path) || is_made(path)).1
}

fn is_stream(text: &str) -> bool {
    text == "-" || text.starts_with("/dev/")
}

const STORELESS: [&str; 7] = ["daunce", "demo", "evaluate", "generate", "merge", "plot", "train"];

fn needs_store(call: &StageCall) -> bool {
    let word = call.words[0].as_str();
    let of_ensembles = call.words.get(1).is_some_and(|word| word != "train" && word != "prepare");
    !STORELESS.contains(&word) && !call.has("remote")
        || word == "plot" && call.has("pool")
        || word == "daunce" && of_ensembles
        || word == "evaluate" && call.has("ensemble")
        || ["dataset", "reference_dataset", "eval_dataset", "query_dataset", "run"]
            .iter()
            .any(|id| call.has(id))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn what_does_without_a_store_is_a_command() {
        let root = args::command();
        let is_command = |name: &&str| root.get_subcommands().any(|command| command.get_name() == *name);
        assert_eq!(STORELESS.iter().find(|name| !is_command(name)), None);
    }
}
