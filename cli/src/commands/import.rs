//! `gstore import`: imports what was computed elsewhere.

use anyhow::Result;
use gstore::daunce::{ImportReport, ImportRequest, import};
use gstore_core::many;

use super::daunce::note_findings;
use crate::args::{ImportArgs, ImportFrom};
use crate::context::Context;
use crate::streams::print_json;

pub fn run(context: &Context, args: &ImportArgs) -> Result<()> {
    let ImportFrom::Daunce = args.from;
    let request = ImportRequest {
        manifest: args.manifest.clone(),
        ensemble: args.ensemble.clone(),
        base: args.base.clone(),
        tables: args.dataset.clone().zip(args.losses.clone()).into_iter().collect(),
        replace: args.replace,
    };
    let store = context.open()?;
    let cancel = context.cancel_on_interrupt("stopping; nothing more is written");
    let report = import(&store, &request, &mut context.work(&mut context.reporter(), &cancel))?;
    if args.json {
        print_json(&report)?;
    } else {
        print(context, &report);
    }
    let datasets: Vec<String> = report.tables.iter().map(|table| table.dataset.clone()).collect();
    note_findings(context, &store, &report.ensemble, &datasets, &cancel)
}

/// Says what was taken in.
pub fn print(context: &Context, report: &ImportReport) {
    context.say(&format!(
        "ensemble {}: {}, {} new; snapshot {}",
        report.ensemble,
        many(report.members as u64, "member"),
        report.added,
        report.snapshot
    ));
    for table in &report.tables {
        context.say(&format!(
            "{}: losses of {} of {}; {} added, {} replaced, {} there already, {} missing",
            table.dataset,
            table.rows,
            many(table.of, "row"),
            table.added,
            table.replaced,
            table.unchanged,
            table.missing
        ));
    }
}
