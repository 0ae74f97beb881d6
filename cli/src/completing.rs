//! Completion of a command line in the user's shell: names of the store that it asks, and words of options.
//!
//! The script of `gstore completions` calls this program with the words so far; what cannot be read then is
//! not offered, and nothing is printed.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate};
use gstore_core::Kind;
use gstore_query::influence::{Function, Takes};
use gstore_sql::{SqlOptions, SqlRunner};
use gstore_store::Store;

use crate::args;
use crate::pipeline::PipelineFile;
use crate::terminal::texts;

/// The variable by which a shell says that it asks for completions.
pub const VARIABLE: &str = "COMPLETE";

/// Answers a shell that asks for completions and ends; returns where none asks.
pub fn answer() {
    CompleteEnv::with_factory(|| with_values(args::command())).var(VARIABLE).complete();
}

fn with_values(command: Command) -> Command {
    let name = command.get_name().to_owned();
    command.mut_args(|arg| with_completer(&name, arg)).mut_subcommands(with_values)
}

fn with_completer(command: &str, arg: Arg) -> Arg {
    const DATASETS: &str = "SELECT dataset FROM gstore.datasets ORDER BY 1";
    const LABELS: &str = "SELECT DISTINCT label FROM gstore.features ORDER BY 1";
    const TAGS: &str = "SELECT tag FROM gstore.tags ORDER BY 1";
    const RUNS: &str = "SELECT DISTINCT run FROM gstore.checkpoints ORDER BY 1";
    const CHECKPOINTS: &str = "SELECT DISTINCT name FROM gstore.checkpoints ORDER BY 1";
    const ENSEMBLES: &str = "SELECT DISTINCT ensemble FROM gstore.members ORDER BY 1";
    let id = arg.get_id().to_string();
    let sql = match (command, id.as_str()) {
        ("ingest", "features") | (_, "kind" | "pool_kind" | "target_kind") => {
            return arg.add(ArgValueCompleter::new(|typed: &OsStr| {
                begun(Kind::ALL.iter().map(|kind| kind.name()), typed)
            }));
        }
        ("run", "only" | "from" | "force") => {
            return arg.add(ArgValueCompleter::new(|typed: &OsStr| {
                let stages = stages().unwrap_or_default();
                begun(stages.iter().map(String::as_str), typed)
            }));
        }
        // Folders, and the name that a new run gets.
        ("ingest" | "train" | "generate" | "evaluate" | "serve", "checkpoints") | ("train", "run") => {
            return arg;
        }
        (_, "pool" | "target" | "other" | "dataset" | "datasets" | "reference_dataset" | "solver_data")
        | ("dataset", "name") => DATASETS,
        (_, "features" | "feature") | ("feature", "name") => LABELS,
        ("run", "name") => RUNS,
        ("ensemble", "name") => ENSEMBLES,
        ("artifact", "name") => "SELECT name FROM gstore.artifacts ORDER BY 1",
        ("drop", "name") => "SELECT name FROM gstore.views ORDER BY 1",
        ("select", "quota_by") | ("sources", "column") => {
            "SELECT DISTINCT name FROM gstore.columns WHERE key IS NOT NULL ORDER BY 1"
        }
        // Those that make an ensemble give it its name.
        ("losses" | "diagnose" | "query" | "select" | "import" | "attribution", "ensemble") => ENSEMBLES,
        ("score" | "ingest", "factors") | ("fit", "extend") | ("export" | "inspect", "name" | "against") => {
            "SELECT name FROM gstore.artifacts WHERE kind = 'ekfac' ORDER BY 1"
        }
        (_, "snapshot") | ("revert", "to") | ("tag", "name") => TAGS,
        (_, "precondition") | ("gram", "mix") => {
            "SELECT name FROM gstore.artifacts WHERE kind = 'gram' ORDER BY 1"
        }
        (_, "checkpoints" | "checkpoint") => CHECKPOINTS,
        (_, "run") => RUNS,
        ("info", "name") => {
            "SELECT dataset FROM gstore.datasets UNION SELECT label FROM gstore.features UNION SELECT run FROM gstore.checkpoints ORDER BY 1"
        }
        (_, option) => {
            let all = Function::Influence.options();
            let words = all.filter(|known| known.name == option).find_map(|known| match known.takes {
                Takes::Word(words) => Some(words),
                _ => None,
            });
            return match words {
                Some(words) => {
                    arg.add(ArgValueCompleter::new(move |typed: &OsStr| begun(words.iter().copied(), typed)))
                }
                None => arg,
            };
        }
    };
    arg.add(ArgValueCompleter::new(move |typed: &OsStr| {
        let names = query_store(sql).unwrap_or_default();
        begun(names.iter().map(String::as_str), typed)
    }))
}

/// Those that begin with what is typed.
fn begun<'a>(words: impl Iterator<Item = &'a str>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    words.filter(|word| word.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

/// The first column of a statement on the store that the command line names.
fn query_store(sql: &str) -> Option<Vec<String>> {
    let store = Store::open(store_path()?).ok()?;
    let options = SqlOptions { threads: 1, ..SqlOptions::default() };
    let runner = SqlRunner::new(store.snapshot().ok()?, options).ok()?;
    Some(texts::<1>(&runner, sql).ok()?.into_iter().map(|[name]| name).collect())
}

/// The stages of the pipeline that the words so far name.
fn stages() -> Option<Vec<String>> {
    let is_toml = |word: &str| word.to_ascii_lowercase().ends_with(".toml");
    let read =
        |word: &OsString| fs_err::read_to_string(word).ok().filter(|_| word.to_str().is_some_and(is_toml));
    let file = PipelineFile::parse(&typed_words().iter().find_map(read)?).ok()?;
    Some(file.stages.into_iter().map(|stage| stage.name).collect())
}

fn typed_words() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1).collect()
}

/// The store of the words so far, else of the environment, else of the config file.
fn store_path() -> Option<PathBuf> {
    named_store(&typed_words()).or_else(|| named_store(&args_of_config()?))
}

/// The store of the words of a command line, which need not parse, else of the environment.
pub fn named_store(words: &[OsString]) -> Option<PathBuf> {
    let joined: Option<PathBuf> =
        words.iter().find_map(|word| Some(word.to_str()?.strip_prefix("--store=")?.into()));
    let next = || {
        let at = words.iter().position(|word| word == "--store")?;
        words.get(at + 1).map(PathBuf::from)
    };
    let named = joined.or_else(next).or_else(|| std::env::var_os("GSTORE_STORE").map(PathBuf::from));
    named.filter(|path| path != Path::new(""))
}

/// What the config file adds to a plain command.
fn args_of_config() -> Option<Vec<OsString>> {
    let argv = vec!["gstore".into(), "ls".into()];
    crate::config::expand(&args::command(), argv, &mut Vec::new()).ok()
}
