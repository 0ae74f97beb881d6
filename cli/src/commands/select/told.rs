//! Report of a selection, for people and for programs.

use std::path::Path;

use anyhow::Result;
use gstore::SelectedRows;
use gstore_core::{many, many_of};
use gstore_query::influence::ScanSummary;
use serde_json::{Value, json};

use crate::args::{EachSelection, SelectArgs};
use crate::context::Context;
use crate::output::path_text;
use crate::streams::{out, print_json};
use crate::summary;

/// Says how many candidates rules of the selection kept out.
pub(super) fn tell_passed_over(context: &Context, args: &SelectArgs, passed_over: Option<(u64, u64)>) {
    let Some((over_quota, near_duplicates)) = passed_over else { return };
    let mut passed = Vec::new();
    if args.rules.quota.is_some() {
        passed.push(format!("{over_quota} over a quota"));
    }
    if args.rules.distinct.is_some() {
        passed.push(many(near_duplicates, "near-duplicate"));
    }
    if over_quota + near_duplicates > 0 {
        let over = many_of(over_quota + near_duplicates, "candidate was", "candidates were");
        context.say(&format!("{over} passed over: {}", passed.join(", ")));
    }
}

/// Says that one of several targets decided nearly all rows: which one, and how many.
pub(super) fn tell_decided(context: &Context, selected: usize, decided: Option<(&str, u64)>) {
    let Some((target, count)) = decided else { return };
    let of = if count == selected as u64 { "all".to_owned() } else { format!("{count} of") };
    context.say(&format!(
        "note: {of} {selected} rows were taken for {target}; --round-robin target gives each target its share, --each target makes a file for \
         each"
    ));
}

/// What is told of a selection.
pub(super) struct SelectionReport<'a> {
    pub(super) selected: usize,
    /// Rows that were asked for.
    pub(super) wanted: usize,
    pub(super) summary: &'a ScanSummary,
    /// Whether rules kept rows out.
    pub(super) ruled: bool,
    /// How many candidates: over a quota, and near-duplicates; a server does not say it.
    pub(super) passed_over: Option<(u64, u64)>,
    /// The target that decided nearly all rows, and how many.
    pub(super) decided: Option<(&'a str, u64)>,
}

impl<'a> SelectionReport<'a> {
    /// Of a selection of the store, of which `decided` is the target that decided nearly all rows.
    pub(super) fn of(found: &'a SelectedRows, decided: Option<(&'a str, u64)>) -> Self {
        Self {
            selected: found.rows().len(),
            wanted: found.wanted,
            summary: &found.ranking.summary,
            ruled: found.passed_over.is_some(),
            passed_over: found.passed_over,
            decided,
        }
    }
}

/// Tells what was selected, and what was not; with `--json` for programs as well.
pub(super) fn summarise(
    context: &Context,
    args: &SelectArgs,
    found: &SelectionReport<'_>,
    scores: Option<&Path>,
) -> Result<()> {
    let summary = found.summary;
    summary::tell(context, summary);
    context.say(&format!(
        "{} of {} selected from {} for {}",
        found.selected,
        many(summary.live, "row"),
        args.pool.join(", "),
        args.target.join(", ")
    ));
    summary::tell_excluded(context, &summary.excluded, ("was never a candidate", "were never candidates"));
    summary::tell_in_target(context, summary.in_target);
    if found.selected < found.wanted {
        let why = match found.ruled {
            // Rows of full sources are not even ranked any more, so the count of what was passed over is not
            // the rest.
            true if summary.eligible > found.selected as u64 => {
                format!(
                    "the rules of the selection leave {} of the {} that can be ranked",
                    found.selected, summary.eligible
                )
            }
            _ => format!("only {} can be ranked", summary.eligible),
        };
        context.say(&format!("{} asked for; {why}", many_of(found.wanted as u64, "row was", "rows were")));
    }
    if let Some(path) = scores {
        context.say(&format!("scores: {}", path.display()));
    }
    if args.json { print(args, &value(args, found, scores)) } else { Ok(()) }
}

/// The same for programs.
fn value(args: &SelectArgs, found: &SelectionReport<'_>, scores: Option<&Path>) -> Value {
    let summary = found.summary;
    json!({
        "pools": args.pool, "targets": args.target, "wanted": found.wanted, "selected": found.selected,
        "live": summary.live, "eligible": summary.eligible, "excluded": summary.excluded,
        "in_target": summary.in_target, "over_quota": found.passed_over.map(|(over_quota, _)| over_quota),
        "near_duplicates": found.passed_over.map(|(_, near_duplicates)| near_duplicates),
        "decided_by": found.decided.map(|(target, _)| target),
        "decided_rows": found.decided.map(|(_, rows)| rows),
        "guarantee": summary.guarantee, "notes": summary.notes,
        "output": args.output.as_deref().map(path_text), "scores": scores.map(path_text),
        "plot": args.draw.plot.as_deref().map(path_text),
    })
}

/// Prints a report as JSON; where each target has its own, each on a line.
pub(super) fn print(args: &SelectArgs, report: &Value) -> Result<()> {
    match args.each {
        None => print_json(report)?,
        Some(EachSelection::Target) => out!("{report}"),
    }
    Ok(())
}
