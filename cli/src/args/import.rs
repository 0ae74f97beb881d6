//! Flags of `gstore import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore import --store s --from daunce manifest.json\n  \
    gstore import --store s --from daunce --ensemble gpt --base gpt-4o-mini --dataset pool --losses losses.jsonl\n\n\
    The manifest names the models, what was recorded, and for each dataset the file of losses: .npy, .safetensors or raw floats with the ids of\n\
    their rows, or JSON lines, CSV, Parquet or Arrow. A record has `model`, `id` and `loss`; or `id` and a column for each model. Register the samples\n\
    first, with `gstore add`. Format of the manifest: docs/daunce.md\n\n\
    Memory: about 200 bytes for each id, and 4096 rows of losses.")]
pub struct ImportArgs {
    /// Where the data comes from
    #[arg(long, value_enum, default_value = "daunce")]
    pub from: ImportFrom,
    /// What the losses are: a file in JSON; needed for matrices
    #[arg(value_name = "MANIFEST", required_unless_present = "losses")]
    pub manifest: Option<PathBuf>,
    /// Name of the ensemble [default: the manifest's]
    #[arg(long, value_name = "NAME")]
    pub ensemble: Option<String>,
    /// Which model the others come from, theta_0: any name [default: the manifest's, or that of the ensemble
    /// in the store]
    #[arg(long, value_name = "NAME")]
    pub base: Option<String>,
    /// Dataset whose samples --losses are of
    #[arg(long, value_name = "NAME", requires = "losses")]
    pub dataset: Option<String>,
    /// A table of losses without a manifest, or in addition to those of the manifest
    #[arg(long, value_name = "FILE", requires = "dataset")]
    pub losses: Option<PathBuf>,
    /// Take losses that differ from those of the store, or of an earlier record or file, in their place; else they are
    /// refused
    #[arg(long)]
    pub replace: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where imported data comes from.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFrom {
    /// Losses of the models of an ensemble
    Daunce,
}
