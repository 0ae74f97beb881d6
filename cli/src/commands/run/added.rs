//! Options that a run adds to those of a stage: threads, a summary, and permission to replace results.

use std::collections::BTreeMap;
use std::path::Path;

use crate::output::OutputTarget;
use crate::pipeline::{PlannedStage, Resource, StageCall};

/// Lets a training take the folder of another one.
pub const OVERWRITE: &str = "--overwrite-output-dir";

/// Commands whose `--force` replaces more than what they wrote: all features, and the tags of others.
const KEEPING: [&str; 2] = ["ingest", "tag"];

/// Options with which a command says what it would take, with permission to replace what the stage made
/// before, if it ran.
pub fn dry_run_options(call: &StageCall, threads: usize, ran_before: bool) -> Vec<String> {
    let mut more = vec!["--dry-run".to_owned(), "--quiet".to_owned()];
    add_threads(call, threads, &mut more);
    add_json(call, &mut more);
    if ran_before && call.knows("overwrite_output_dir") {
        if !call.has("overwrite_output_dir") {
            add(call, OVERWRITE, &mut more);
        }
        add(call, "--drops-run", &mut more);
    } else if ran_before && call.knows("force") && !call.has("force") && !keeps(call) {
        add(call, "--force", &mut more);
    }
    more
}

/// Says how many threads there are, where the stage does not.
pub fn add_threads(call: &StageCall, threads: usize, more: &mut Vec<String>) {
    if !call.common.iter().any(|option| option.starts_with("--threads=")) {
        more.push(format!("--threads={threads}"));
    }
}

/// Asks for a summary where the command prints one.
pub fn add_json(call: &StageCall, more: &mut Vec<String>) {
    // Without these it prints the answers themselves.
    let prints = call.words[0] != "generate" || call.has("output") || call.has("as");
    let is_printed = |option: &&str| {
        call.value(option).is_some_and(|path| OutputTarget::of(Some(Path::new(path))) == OutputTarget::Stdout)
    };
    let results = ["output", "scores", "predictions", "plot"];
    if call.knows("json") && prints && !results.iter().any(is_printed) {
        add(call, "--json", more);
    }
}

/// Adds an option, unless the command does not take it next to those that it has.
pub fn add(call: &StageCall, option: &str, more: &mut Vec<String>) {
    more.push(option.to_owned());
    if !call.takes(more) {
        more.pop();
    }
}

/// Whether permission to replace would allow more, or something else, than a stage is meant to do.
pub fn keeps(call: &StageCall) -> bool {
    KEEPING.contains(&call.words[0].as_str()) || call.extends_own()
}

/// What a stage replaces where it is there: files, folders, runs and views. Of datasets and features it adds to
/// those that are there.
pub fn replaced_resources(stage: &PlannedStage) -> impl Iterator<Item = &Resource> {
    stage.writes.iter().filter(|written| {
        matches!(
            written,
            Resource::Path(_) | Resource::Run { .. } | Resource::Artifact { .. } | Resource::View { .. }
        )
    })
}

/// What is said where a command advises to replace what is there, which its stage may not.
pub fn in_the_way(stage: &PlannedStage, said: &str, others: &BTreeMap<String, String>) -> Option<String> {
    let is_allowed = stage.call.has("force") || stage.call.has("overwrite_output_dir");
    let is_advised = said.contains("--force") || said.contains(OVERWRITE);
    let names: Vec<&str> = others.keys().map(String::as_str).collect();
    (is_advised && !is_allowed && !names.is_empty()).then(|| {
        // The advice follows on what is wrong.
        let wrong = said.trim_start_matches("error: ").split("; ").next().unwrap_or_default();
        let names = names.join(", ");
        format!("{wrong}; {names} was there before this stage ran: move it away, or give another output")
    })
}
