//! Arguments of `gstore query`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use gstore_query::influence::Encoder;
use gstore_sql::{OwnTable, SqlOptions};
use gstore_store::{Checks, SnapshotName};

#[cfg(feature = "serve")]
use super::RemoteArgs;
use super::size::size;
use super::words::{Word, one_of};
use super::{DrawArgs, JsonArgs, ModelArgs, OutputArgs};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore query --store s \"SELECT id, score FROM influence('pool', 'gsm8k') ORDER BY score DESC LIMIT 10\"\n  \
    gstore query --store s \"SELECT id FROM influence(\\$pool, 'gsm8k', k => \\$k)\" --param pool=pool --param k=10\n  \
    gstore query --store s --with labels=labels.csv \"SELECT source, avg(ok) FROM pool JOIN labels USING (id) GROUP BY source\"\n  \
    gstore query --store s -f report.sql\n\n\
    Tables, functions and options: docs/sql.md")]
#[cfg_attr(
    feature = "serve",
    command(mut_arg("remote", |remote| remote.conflicts_with_all(["model", "checkpoint_folders", "backend", "with", "memory"])))
)]
pub struct QueryArgs {
    /// SQL statements, with `;` between them; `-` reads them from standard input; without any an interactive
    /// shell
    #[arg(value_name = "SQL")]
    pub sql: Option<String>,
    /// File with the SQL statements
    #[arg(long, short, value_name = "FILE", conflicts_with = "sql")]
    pub file: Option<PathBuf>,
    /// A file of your own as a table of this name: .parquet, .csv, .tsv, .jsonl or .json, text also with .gz
    /// or .zst (may be repeated)
    #[arg(long = "with", value_name = "NAME=FILE")]
    pub with: Vec<String>,
    /// Value of a parameter, $NAME or $1 in the statement; the first ? is 1. Numbers, true, false, null and
    /// lists as in JSON, all else is text (may be repeated)
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
    /// Bytes that sorts, joins and groupings of a statement may hold in memory
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    pub memory: u64,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub json: JsonArgs,
    #[command(flatten)]
    pub draw: DrawArgs,
    #[command(flatten)]
    pub models: ModelArgs,
    #[cfg(feature = "serve")]
    #[command(flatten)]
    pub server: RemoteArgs,
}

impl QueryArgs {
    /// What its statements may use, with models for samples that they give, and files of the user's own as
    /// tables.
    pub fn sql_options(&self, encoder: Option<Arc<dyn Encoder>>, own: Vec<OwnTable>) -> SqlOptions {
        let memory_limit = usize::try_from(self.memory).unwrap_or(usize::MAX);
        SqlOptions { memory_limit, encoder, own, ..SqlOptions::default() }
    }
}

/// The state of the store whose vectors are read, and how.
#[derive(Args, Debug, Clone)]
pub struct StateArgs {
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// When the vectors that are read are compared with their digests
    #[arg(long, value_parser = one_of(CHECKS), default_value = "first-touch")]
    pub checks: Checks,
}

const CHECKS: &[Word<Checks>] = &[
    ("first-touch", "Each block when it is first read", Checks::FirstTouch),
    ("off", "Never: a damaged block gives wrong numbers", Checks::Off),
];
