//! `gstore delete`: deletes rows of a dataset, by id or by a condition.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use gstore::{NamedRows, RowNames, find_rows};
use gstore_core::{Cancel, first_of, many, many_of};
use gstore_evaluate::attribution::artifacts_naming;
use gstore_store::{ChangeError, DatasetPart, DeleteOptions, DeleteReport, RowSet, Snapshot, Store};
use serde_json::{Value, json};

use crate::args::DeleteArgs;
use crate::context::Context;
use crate::failure::{condition_error, refuse};
use crate::sketches::{STOPPING, restore};
use crate::streams::{is_standard_input, out, print_json, say};

/// Ids that a message lists at most.
const LISTED: usize = 5;

/// Times that rows are found and deleted, where other processes change the store in between.
const ATTEMPTS: usize = 10;

/// How a change that made a snapshot, and removed something, is undone.
pub(super) fn way_back(context: &Context, snapshot: u64, removed: &str) -> String {
    let (before, store) = (snapshot.saturating_sub(1), context.at_store());
    format!("snapshot {before} still has {removed}: `gstore revert --to {before}{store}` goes back to it")
}

pub fn run(context: &Context, args: &DeleteArgs) -> Result<ExitCode> {
    let names_rows = !args.id.is_empty() || args.ids.is_some() || args.filter.is_some();
    if !names_rows && !args.purge {
        refuse!("which rows? give --id, --ids or --where");
    }
    let store = context.open()?;
    let cancel = context
        .cancel_on_interrupt("stopping, if nothing is deleted yet; press Ctrl-C again to stop at once");
    let dataset = Arc::clone(store.snapshot()?.dataset(&args.dataset)?);
    let names = RowNames { ids: ids_to_delete(args)?, condition: args.filter.clone() };
    let request = Deletion { context, args, store: &store, names, dataset, cancel };
    let found = request.find()?;
    if args.dry_run {
        return dry_run(context, args, &found);
    }
    if args.purge && !args.yes {
        tell_artifacts(context, &found.naming);
        refuse!(
            "--purge cannot be undone: it removes {} of {:?}, {} that were deleted before, and every older snapshot and tag\n  \
             --yes confirms",
            many(found.rows.len(), "row"),
            args.dataset,
            found.earlier
        );
    }
    let (mut found, report) = request.delete(found)?;
    // What the purge did is told in any case.
    let naming = request.still_named().map(|naming| found.naming = naming);
    print(context, args, &found, &report)?;
    if !args.purge {
        return Ok(ExitCode::SUCCESS);
    }
    // What Ctrl-C could have kept from happening has happened.
    let cancel = context.cancel_on_interrupt(STOPPING);
    let restored = restore(context, &store, Some(args.dataset.as_str()), &cancel)?;
    naming.context("the rows are purged, but artifacts that name them by id could not be looked for")?;
    Ok(restored)
}

/// What is to be deleted, in the words of the command line.
struct Deletion<'a> {
    context: &'a Context,
    args: &'a DeleteArgs,
    store: &'a Store,
    names: RowNames,
    /// The dataset that had the name when the command began.
    dataset: Arc<DatasetPart>,
    cancel: Arc<Cancel>,
}

/// The rows that the flags name in a snapshot.
struct MatchedRows {
    snapshot: Arc<Snapshot>,
    dataset: Arc<DatasetPart>,
    rows: RowSet,
    missing: Vec<String>,
    /// Rows that were deleted before and are still in the files: a purge takes them too.
    earlier: u64,
    /// Artifacts that a purge leaves with ids of its rows, and how many each has.
    naming: Vec<(String, u64)>,
}

impl Deletion<'_> {
    /// Finds the rows in the current snapshot, and tells which ids are not there. The lease ends with it: a
    /// purge leaves no older snapshot to hold.
    fn find(&self) -> Result<MatchedRows> {
        let (snapshot, _lease) = self.context.snapshot(self.store, None)?;
        let dataset = Arc::clone(snapshot.same_dataset(&self.dataset)?);
        let NamedRows { rows, missing } =
            find_rows(&snapshot, &dataset, &self.names, self.context.threads, &self.cancel)
                .map_err(condition_error)?;
        tell_missing(self.context, self.args, &missing);
        let earlier = dataset.tombstones.iter().filter(|t| !t.purged).map(|t| t.rows).sum();
        // After a purge its own list of ids says more.
        let naming = match self.args.purge && (self.args.dry_run || !self.args.yes) {
            true => artifacts_naming(&snapshot, &dataset, &rows, &self.cancel)?,
            false => Vec::new(),
        };
        Ok(MatchedRows { snapshot, dataset, rows, missing, earlier, naming })
    }

    /// Artifacts that have ids of purged rows, once these are purged.
    fn still_named(&self) -> Result<Vec<(String, u64)>> {
        if !self.args.purge {
            return Ok(Vec::new());
        }
        let (snapshot, _lease) = self.context.snapshot(self.store, None)?;
        let Ok(dataset) = snapshot.same_dataset(&self.dataset) else {
            bail!(
                "dataset {} was dropped by another process in the meantime, with its list of ids",
                self.args.dataset
            );
        };
        Ok(artifacts_naming(&snapshot, dataset, &RowSet::new(), &self.cancel)?)
    }

    /// Deletes what was found. Where another process changed it in between, it is found again.
    fn delete(&self, mut found: MatchedRows) -> Result<(MatchedRows, DeleteReport)> {
        for _ in 0..ATTEMPTS {
            self.cancel.check().map_err(ChangeError::from)?;
            let options = DeleteOptions {
                command: self.context.command.clone(),
                purge: self.args.purge,
                asked: self.args.filter.as_ref().map(|_| Arc::clone(&found.snapshot)),
                cancel: Some(Arc::clone(&self.cancel)),
            };
            match self.store.delete(&found.dataset, &found.rows, options) {
                Err(ChangeError::Changed(changed)) if changed.can_repeat() => {
                    self.context
                        .say(&format!("{}: changed by another process; looking again", self.args.dataset));
                    found = self.find()?;
                }
                done => return Ok((found, done?)),
            }
        }
        bail!(
            "dataset {} was changed by other processes each of the {ATTEMPTS} times that the rows were looked up; nothing is deleted\n  \
             try again when less is written to the store",
            self.args.dataset
        )
    }
}

fn ids_to_delete(args: &DeleteArgs) -> Result<HashSet<String>> {
    let mut ids: HashSet<String> = args.id.iter().cloned().collect();
    if let Some(file) = &args.ids {
        read_ids(file, &mut ids)?;
    }
    Ok(ids)
}

fn read_ids(file: &Path, ids: &mut HashSet<String>) -> Result<()> {
    let source: Box<dyn Read> = match is_standard_input(file) {
        true => Box::new(std::io::stdin()),
        false => Box::new(fs_err::File::open(file)?),
    };
    for (number, line) in BufReader::new(source).lines().enumerate() {
        let line = line.with_context(|| format!("the ids in {} cannot be read", file.display()))?;
        let line = if number == 0 { line.trim_start_matches('\u{feff}') } else { line.as_str() };
        let id = line.trim_end_matches('\r');
        if !id.is_empty() {
            ids.insert(id.to_owned());
        }
    }
    Ok(())
}

fn tell_missing(context: &Context, args: &DeleteArgs, missing: &[String]) {
    if missing.is_empty() {
        return;
    }
    let count = many_of(missing.len() as u64, "id is", "ids are");
    context.say(&format!("{}: {count} not there: {}", args.dataset, first_of(missing, LISTED)));
}

/// The commands that remove an artifact, from older snapshots too.
fn removal(context: &Context, artifact: &str) -> [String; 2] {
    let store = context.at_store();
    [format!("gstore drop artifact {artifact}{store}"), format!("gstore gc --keep 1 --keep-within 0s{store}")]
}

fn tell_artifacts(context: &Context, naming: &[(String, u64)]) {
    for (artifact, rows) in naming {
        let [dropped, collected] = removal(context, artifact);
        say!(
            "warning: artifact {artifact} names {} by id, which no purge removes from it\n  \
             `{dropped}`, then `{collected}` remove it",
            many(*rows, "deleted row")
        );
    }
}

fn artifacts_json(context: &Context, naming: &[(String, u64)]) -> Value {
    let one = |(name, rows): &(String, u64)| {
        let commands = removal(context, name);
        json!({ "name": name, "rows": rows, "commands": commands })
    };
    naming.iter().map(one).collect()
}

fn dry_run(context: &Context, args: &DeleteArgs, found: &MatchedRows) -> Result<ExitCode> {
    tell_artifacts(context, &found.naming);
    if args.json {
        let purged = if args.purge { found.rows.len() + found.earlier } else { 0 };
        let report = json!({
            "dataset": args.dataset, "deleted": found.rows.len(), "purged": purged, "missing": found.missing,
            "artifacts": artifacts_json(context, &found.naming),
        });
        print_json(&report)?;
    } else if args.purge {
        out!(
            "{}: {} would be purged, and {} deleted before; older snapshots and tags would go",
            args.dataset,
            many(found.rows.len(), "row"),
            many_of(found.earlier, "that was", "that were")
        );
    } else {
        out!("{}: {} would be deleted", args.dataset, many(found.rows.len(), "row"));
    }
    Ok(ExitCode::SUCCESS)
}

fn print(context: &Context, args: &DeleteArgs, found: &MatchedRows, report: &DeleteReport) -> Result<()> {
    tell_artifacts(context, &found.naming);
    if args.json {
        let mut value = serde_json::to_value(report)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("missing".to_owned(), json!(found.missing));
            object.insert("artifacts".to_owned(), artifacts_json(context, &found.naming));
        }
        return print_json(&value);
    }
    match report.snapshot {
        None if report.files_removed > 0 => {
            let removed = many_of(
                report.files_removed,
                "file that nothing needs was removed",
                "files that nothing needs were removed",
            );
            out!("{}: nothing to delete; {removed}", args.dataset);
        }
        None => out!("{}: nothing to delete", args.dataset),
        Some(snapshot) if args.purge => {
            let purged = many(report.purged, "row");
            out!("{}: {purged} purged; snapshot {snapshot} begins a new history", args.dataset);
            if report.unremembered > 0 {
                let rows = many_of(report.unremembered, "row was", "rows were");
                out!(
                    "the ids of {rows} in a damaged file: they are not remembered, so `gstore add` would add them again"
                );
            }
        }
        Some(snapshot) => {
            out!("{}: {} deleted in snapshot {snapshot}", args.dataset, many(report.deleted, "row"));
            context.say(&way_back(context, snapshot, &format!("what was deleted of {}", args.dataset)));
        }
    }
    Ok(())
}
