//! Arguments of `gstore snapshots`, `gstore info` and `gstore verify`.

use clap::Args;
use gstore_store::SnapshotName;

use super::ListOutputArgs;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore snapshots --store s\n  gstore snapshots --store s -o history.csv"
)]
pub struct SnapshotsArgs {
    #[command(flatten)]
    pub output: ListOutputArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore info --store s\n  gstore info --store s pool\n  gstore info --store s loss@checkpoint-112 --json"
)]
pub struct InfoArgs {
    /// A dataset, a run, or the label or number of a feature [default: the store]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore verify --store s\n  gstore verify --store s --repair --dry-run\n\n\
    Reads every file that the current snapshot names. Exit code 3 if anything is damaged.\n\n\
    --repair puts files back that are under each other's names, rebuilds manifests and indexes from the files' own footers, saves what is sound of a\n\
    damaged file, and lists the rows that are lost: the original `gstore add` and `gstore ingest` commands fill just those. It publishes a new\n\
    snapshot, unless files were only put back; no data file is removed.\n\n\
    Memory: one block; up to about 110 bytes for each id of the largest dataset."
)]
pub struct VerifyArgs {
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Also check the files of all earlier snapshots
    #[arg(long)]
    pub all: bool,
    /// Rebuild what can be rebuilt, and list what cannot
    #[arg(long, conflicts_with = "all")]
    pub repair: bool,
    /// With --repair: say what would be done, and leave the store alone
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
    /// With --repair: give up deletes whose record is damaged, so that their rows show again
    #[arg(long, requires = "repair")]
    pub forget_deletes: bool,
}
