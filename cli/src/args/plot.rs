//! Flags of `gstore plot`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gstore_store::SnapshotName;

use super::{ModelArgs, ScoringArgs};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore plot train warmup -o warmup.html\n  \
    gstore plot scores --store s --pool pool --target gsm8k --top 5%\n  \
    gstore plot sources --store s --pool pool --target gsm8k --top 5% -o sources.svg\n  \
    gstore plot overlap --store s --pool pool --target gsm8k --with bbh --top 1000\n  \
    gstore plot tokens --store s --dataset pool --id x17\n\n\
    Pictures are drawn in the terminal, or with -o into a file by its ending. docs/plot.md shows them.")]
pub struct PlotArgs {
    #[command(subcommand)]
    pub what: PlotWhat,
}

/// What is drawn.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // there is one in a process
pub enum PlotWhat {
    /// Loss, learning rate and gradient norm of trainings, in the same axes
    Train {
        /// Output folders of trainings, or checkpoints, of gstore or of the Hugging Face Trainer
        #[arg(value_name = "DIR", required = true)]
        folders: Vec<PathBuf>,
        #[command(flatten)]
        to: PlotOutputArgs,
    },
    /// How the scores of a pool are distributed, with the noise floor
    Scores {
        #[command(flatten)]
        ranking: RankingArgs,
        /// Mark the lowest score of so many best rows: a number, or a share of the live rows such as 5%
        #[arg(long, value_name = "N|P%", value_parser = super::top)]
        top: Option<String>,
        #[command(flatten)]
        to: PlotOutputArgs,
    },
    /// Which share each source has of the best rows, and of the pool
    Sources {
        #[command(flatten)]
        ranking: RankingArgs,
        /// How many rows are the best: a number, or a share of the live rows such as 5%
        #[arg(long, value_name = "N|P%", value_parser = super::top, default_value = "5%")]
        top: String,
        /// The metadata column whose values are the sources; of several pools also pool
        #[arg(long, value_name = "COLUMN", default_value = "source")]
        column: String,
        #[command(flatten)]
        to: PlotOutputArgs,
    },
    /// How many rows two rankings of a pool have in common, by the number of rows taken
    Overlap {
        /// Pool, and target of the first ranking
        #[command(flatten)]
        ranking: RankingArgs,
        /// Targets of the second ranking [default: those of the first]
        #[arg(long = "with", value_name = "NAME", value_delimiter = ',', num_args = 1..)]
        other: Vec<String>,
        /// What is different in the second ranking: an option of influence() in docs/sql.md, as
        /// kind=grad-sgd or checkpoints=a,b (may be repeated)
        #[arg(long = "with-option", value_name = "NAME=VALUE")]
        options: Vec<String>,
        /// How many rows are compared at most: a number, or a share of the live rows such as 5%
        #[arg(long, value_name = "N|P%", value_parser = super::top, default_value = "10%")]
        top: String,
        #[command(flatten)]
        to: PlotOutputArgs,
    },
    /// The tokens of a sample, coloured by their loss or influence; needs what `gstore ingest --per-token`
    /// computes
    Tokens {
        /// Dataset of the sample
        #[arg(long, value_name = "NAME")]
        dataset: String,
        /// Its id
        #[arg(long, value_name = "ID")]
        id: String,
        /// Feature whose values are shown, by label or number [default: the loss of the newest checkpoint,
        /// else the first feature of tokens]
        #[arg(long, value_name = "LABEL", conflicts_with = "target")]
        feature: Option<String>,
        /// Show the influence on these targets instead
        #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
        target: Vec<String>,
        /// The state of the store to read: a number or a tag [default: the current one]
        #[arg(long, value_name = "N|TAG")]
        snapshot: Option<SnapshotName>,
        #[command(flatten)]
        to: PlotOutputArgs,
        #[command(flatten)]
        scoring: ScoringArgs,
        /// Where the tokenizer is
        #[command(flatten)]
        models: ModelArgs,
    },
}

impl PlotWhat {
    /// Its word, and where it is drawn.
    pub fn drawn(&self) -> (&'static str, &PlotOutputArgs) {
        match self {
            Self::Train { to, .. } => ("train", to),
            Self::Scores { to, .. } => ("scores", to),
            Self::Sources { to, .. } => ("sources", to),
            Self::Overlap { to, .. } => ("overlap", to),
            Self::Tokens { to, .. } => ("tokens", to),
        }
    }
}

/// Where a picture is drawn, and whether that is told.
#[derive(Args, Debug)]
pub struct PlotOutputArgs {
    #[command(flatten)]
    pub picture: PictureArgs,
    /// Print what was drawn and where as JSON
    #[arg(long, requires = "output")]
    pub json: bool,
}

/// A pool, a target, and how they are compared.
#[derive(Args, Debug)]
pub struct RankingArgs<S: Args = ScoringArgs> {
    /// Datasets whose rows are scored
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub pool: Vec<String>,
    /// Target samples: a dataset, 'skill_*' for all with such a name, or dataset:subtask; several are
    /// allowed, with commas between them
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., required = true)]
    pub target: Vec<String>,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    #[command(flatten)]
    pub scoring: S,
}

/// Where a picture is drawn.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Picture")]
pub struct PictureArgs {
    /// File to write: .svg, .png, .html, or .txt for text [default: standard output, as text]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
    /// Columns of a picture of text [default: those of the terminal, else 80]
    #[arg(long, value_name = "N", value_parser = width)]
    pub width: Option<usize>,
}

/// A picture that goes with an answer.
#[derive(Args, Debug, Clone, Default)]
pub struct DrawArgs {
    /// Also draw a picture of the answer: into this file (.svg, .png, .html or .txt), or without a name in
    /// the terminal
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub plot: Option<PathBuf>,
}

impl DrawArgs {
    /// Where the picture is drawn, if one is wanted.
    pub fn picture(&self, force: bool) -> Option<PictureArgs> {
        let output = self.plot.clone()?;
        Some(PictureArgs { output: Some(output), force, width: None })
    }
}

/// Columns of a picture of text.
fn width(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (20..=1000).contains(n));
    number.ok_or_else(|| "expected a whole number from 20 to 1000".to_owned())
}
