//! Flags of the commands that keep a store in order: delete, drop, tag, revert, compact, gc, backup, restore.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use gstore_store::{SnapshotName, TagName};

use super::size::size;

#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("which").args(["id", "ids", "filter"]).multiple(true),
    after_help = "Examples:\n  \
    gstore delete --store s --dataset pool --id dolly_17 dolly_18\n  \
    gstore delete --store s --dataset pool --where \"source = 'scraped' AND tokens < 8\" --dry-run\n  \
    gstore delete --store s --dataset pool --ids opted-out.txt --purge --yes\n\n\
    Rows that any of --id, --ids and --where names are deleted; ids that do not exist are listed and are not an error. Deleted rows are hidden from every\n\
    query from the next snapshot on; older snapshots still show them until `gstore gc` removes those, and the bytes stay until\n\
    `gstore compact --max-deleted 0`. --purge is for privacy: the rows, and all that were deleted before, are written out of every file, and\n\
    the history before it goes, with its tags. Artifacts of `gstore evaluate retrain` keep ids: each that contains some is named, with the commands that remove it.\n\
    Backups and the output of shards are other folders: purge those yourself.\n\n\
    Memory: the ids of --ids, 8 bytes for each row that --where finds, 16 bytes for each run of deleted rows; and with --purge one batch of rows."
)]
pub struct DeleteArgs {
    /// Name of the dataset
    #[arg(long, value_name = "NAME")]
    pub dataset: String,
    /// Ids of rows to delete (may be repeated)
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub id: Vec<String>,
    /// File with one id a line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,
    /// Rows for which this SQL condition on the dataset's columns is true
    #[arg(long = "where", value_name = "SQL")]
    pub filter: Option<String>,
    /// Leave nothing of the rows: not in files, not in older snapshots. Cannot be undone
    #[arg(long)]
    pub purge: bool,
    /// Confirm --purge
    #[arg(long)]
    pub yes: bool,
    /// Say what would be deleted, and leave the store alone
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore drop --store s feature loss@checkpoint-112\n  gstore drop --store s dataset old_pool\n\n\
    Older snapshots still have what is dropped until `gstore gc` removes them."
)]
pub struct DropArgs {
    #[command(subcommand)]
    pub what: DropWhat,
    /// Print the report as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to drop.
#[derive(Subcommand, Debug)]
pub enum DropWhat {
    /// A feature, by label, dataset/label or number
    Feature {
        /// The feature
        name: String,
    },
    /// A dataset with all its features
    Dataset {
        /// The dataset
        name: String,
    },
    /// An artifact, such as a prefilter
    Artifact {
        /// The artifact
        name: String,
    },
    /// A run; features keep their checkpoints, which then have no name
    Run {
        /// The run
        name: String,
    },
    /// An ensemble with all its losses; the folders of its models stay
    Ensemble {
        /// The ensemble
        name: String,
    },
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore tag --store s before-cleanup\n  gstore tag --store s paper --snapshot 12\n  gstore query --store s --snapshot paper \"SELECT count(*) FROM pool\"\n\n\
    Without a name, or as `gstore tag list`, the tags are listed. A tagged snapshot is kept by `gstore gc`, whatever its age.",
    mut_arg("force", |force| force.conflicts_with("delete").help("Move a tag that exists; without a name, replace the file if it exists"))
)]
pub struct TagArgs {
    /// The tag: lower-case letters, digits, `.`, `_` and `-`; `list` lists the tags
    #[arg(value_name = "NAME")]
    pub name: Option<TagName>,
    /// The snapshot to tag [default: the current state, as the last change other than a tag made it]
    #[arg(long, value_name = "N|TAG", requires = "name", conflicts_with = "delete")]
    pub snapshot: Option<SnapshotName>,
    /// Remove the tag
    #[arg(long, requires = "name")]
    pub delete: bool,
    #[command(flatten)]
    pub output: super::ListOutputArgs,
}

impl TagArgs {
    /// Whether the tags are listed.
    pub fn lists(&self) -> bool {
        let is_list = |name: &str| matches!(name, "list" | "ls");
        !self.delete && self.snapshot.is_none() && self.name.as_deref().is_none_or(is_list)
    }
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore revert --store s --to before-cleanup --dry-run\n  gstore revert --store s --to 12\n\n\
    Publishes a new snapshot with the datasets, runs and features of an older one. Nothing is lost by it: the state before is in the history,\n\
    and `gstore revert` goes back to that too. Refused if files of the snapshot are gone, or while an ingest or a compaction is at work.\n\n\
    Memory: 16 bytes for each run of deleted rows."
)]
pub struct RevertArgs {
    /// The snapshot to go back to: a number or a tag
    #[arg(long, value_name = "N|TAG")]
    pub to: SnapshotName,
    /// Say what would change, and leave the store alone
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore compact --store s --dry-run\n  gstore compact --store s --dataset pool --max-deleted 0\n\n\
    Merges small files and leaves out deleted rows. Runs concurrently with readers and ingests; Ctrl-C keeps what is done. What was merged stays for\n\
    older snapshots until `gstore gc`. Vectors are copied bit for bit. Features that had sketches get those of the new files at the end.\n\nMemory: one block, or one batch of samples; up to about 160 bytes for each dropped row."
)]
pub struct CompactArgs {
    /// Only this dataset and its features
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Segments are merged up to this size, and while their footers have at most 64 MiB together
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub segment_size: u64,
    /// Rewrite a file that needs no merging once more than this share of its rows is deleted; 0
    /// rewrites all that have one
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    pub max_deleted: f64,
    /// Say which files would be merged and about how many bytes that saves, and leave the store alone
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore gc --store s --dry-run\n  gstore gc --store s --keep 5 --keep-within 7d\n\n\
    Keeps the last --keep snapshots and those younger than --keep-within, every tagged one, and those that a running reader holds; removes the\n\
    files that none of them needs. A snapshot that was made while the clock was behind counts as older, and so do all before it. Files that gstore did not\n\
    make are never touched.\n\nMemory: about 50 bytes for each file of the kept snapshots."
)]
pub struct GcArgs {
    /// Keep this many of the last snapshots
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = super::at_least::<u64>(1))]
    pub keep: u64,
    /// Keep snapshots younger than this, such as 30d, 12h or 0s
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = age)]
    pub keep_within: Duration,
    /// Also remove the progress of interrupted ingests
    #[arg(long)]
    pub drop_jobs: bool,
    /// Say what would be removed, and leave the store alone
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gstore backup --store s --to /backup/s\n  gstore backup --store s --to paper-store --snapshot paper\n\n\
    Copies one snapshot into a folder that is a store itself; every digest is checked on the way. Into the folder of an earlier backup of the same store,\n\
    only what is new is copied. Ingests may run meanwhile.\n\nMemory: one buffer of a few MiB."
)]
pub struct BackupArgs {
    /// Folder of the backup
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// The snapshot to copy [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  gstore restore --store s --from /backup/s\n\n\
    Copies a backup into the folder that --store names, which must be missing or empty; every digest is checked on the way.")]
pub struct RestoreArgs {
    /// Folder of the backup
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = super::fraction(text).filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1".to_owned())
}

/// `30d`, `12h`, `15m`, `0s`.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let units = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
    let found = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, seconds)));
    found
        .and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(*seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "expected an age such as 30d, 12h, 15m or 0s".to_owned())
}

/// An age that is not nothing.
#[cfg(any(feature = "serve", test))]
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    // Such times are added to dates, and calendars end.
    let most = Duration::from_hours(24 * 365 * 1000);
    let time = age(text).ok().filter(|time| !time.is_zero() && *time <= most);
    time.ok_or_else(|| "expected a time above 0 and up to 1000 years, such as 30d, 12h, 15m or 1s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_shares() {
        assert_eq!(some_time("1s"), Ok(Duration::from_secs(1)));
        assert!(some_time("0s").is_err() && some_time("x").is_err() && some_time("999999d").is_err());
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(age("0s"), Ok(Duration::ZERO));
        for bad in ["", "30", "d", "-1d", "1w", "999999999999999999d"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        assert!(share("1.1").is_err() && share("nan").is_err());
    }
}
