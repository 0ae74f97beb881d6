//! Arguments of `gstore add`, and how sample files are read.

use std::path::PathBuf;

use clap::Args;
use gstore_data::{Duplicates, Layout};
use gstore_ingest::pipeline::ExistingDataset;
use gstore_store::IfChanged;

use super::words::{Word, one_of};

#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  \
    gstore add --store s --dataset pool --data pool.jsonl extra.parquet 'more/*.csv.gz'\n  \
    gstore add --store s --dataset pool --data alpaca.json --skip-bad 20 --duplicates first\n  \
    gstore add --store s --dataset pool --data alpaca.json --dry-run\n\n\
    A record has `messages`, or `prompt` and `completion`, or `text`; `id`; any other key becomes a column. Alpaca, ShareGPT, OpenAI, preference and FLAN data is recognised. Formats and rules: docs/data.md\n\n\
    Memory: one line, or one batch of rows of the file, and about 250 bytes for each new sample (300 if the dataset has rows already).")]
pub struct AddArgs {
    /// Name of the dataset, which is made or appended to: lower-case letters, digits and _ [default: each
    /// file or folder of --data is a dataset, called after it; 'DIR/*.jsonl' makes one of each file]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Files, folders or patterns: .jsonl, .parquet, .arrow, .csv or .tsv, also .gz or .zst, saved Hugging
    /// Face datasets; hf://org/name#split for one of the Hub; `-` for JSON lines from standard input
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    #[command(flatten)]
    pub samples: SampleArgs,
    /// Show what would be added and in which columns, and leave the store alone
    #[arg(long)]
    pub dry_run: bool,
    /// Print what was done, or with --dry-run what would be, as JSON
    #[arg(long)]
    pub json: bool,
}

/// How sample files are read.
#[derive(Args, Debug, Clone)]
pub struct SampleArgs {
    /// Type of a metadata column: bool, int, float or utf8 (may be repeated)
    #[arg(long = "column", value_name = "NAME:TYPE")]
    pub columns: Vec<String>,
    /// Key that holds what gstore calls text, prompt, completion, messages, role, content, id or
    /// subtask (may be repeated); one within an object with dots, as in prompt=translation.en
    #[arg(long = "field", value_name = "FIELD=KEY", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// Layout of the records: openai, sharegpt, alpaca, preference, flan or trl
    /// [default: found by their keys]
    #[arg(long, value_name = "LAYOUT")]
    pub layout: Option<Layout>,
    /// Leave out up to N records that cannot be read; with more of them nothing is added
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip_bad: u64,
    /// What to do with a record whose id an earlier one of the same files has
    #[arg(long, value_parser = one_of(DUPLICATES), default_value = "refuse")]
    pub duplicates: Duplicates,
    /// What to do with a line that differs from the stored sample of the same id
    #[arg(long, value_parser = one_of(IF_CHANGED), default_value = "refuse")]
    pub if_changed: IfChanged,
    /// Add lines whose ids were deleted or purged from the dataset before; without it they are left out,
    /// whatever they hold now
    #[arg(long)]
    pub restore_deleted: bool,
    /// What a dataset takes that is there
    #[arg(skip)]
    pub existing: ExistingDataset,
}

impl SampleArgs {
    /// The same for a dataset that is named, or that is called after its file: other data whose file happens
    /// to have that name is not meant for it.
    pub fn for_dataset(&self, name: Option<&str>) -> Self {
        let existing = if name.is_some() { ExistingDataset::Append } else { ExistingDataset::Continue };
        Self { existing, ..self.clone() }
    }
}

pub(super) const DUPLICATES: &[Word<Duplicates>] = &[
    ("refuse", "Stop with an error; nothing is done", Duplicates::Refuse),
    ("first", "Keep the first one, leave out and count the others", Duplicates::First),
];

pub(super) const IF_CHANGED: &[Word<IfChanged>] = &[
    ("refuse", "Stop with an error; nothing is added", IfChanged::Refuse),
    ("keep", "Keep the stored sample, skip the line and count it", IfChanged::Keep),
    (
        "replace",
        "Delete the stored sample and add the line as a new row under the same id",
        IfChanged::Replace,
    ),
];
