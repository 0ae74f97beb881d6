//! `gstore daunce report`: for each target sample its best and worst rows with text, score and error.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use gstore::daunce::ReportRequest;
use gstore_core::many;

use super::super::ask::text;
use super::{STOPPING, spec};
use crate::args::DaunceReportArgs;
use crate::context::Context;
use crate::failure::refuse;
use crate::output::{Output, OutputTarget, check};
use crate::packing::ending_of;

/// How a report is written.
#[derive(Clone, Copy)]
enum ReportForm {
    Markdown,
    Html,
    Json,
}

fn form(path: Option<&Path>) -> Result<ReportForm> {
    let Some(path) = path.filter(|path| OutputTarget::of(Some(path)) != OutputTarget::Stdout) else {
        return Ok(ReportForm::Markdown);
    };
    Ok(match ending_of(path).as_deref() {
        Some("md") => ReportForm::Markdown,
        Some("html" | "htm") => ReportForm::Html,
        Some("json") => ReportForm::Json,
        _ => refuse!(
            "{}: a report is written as .md, .html or .json, by the ending of its name",
            path.display()
        ),
    })
}

pub fn run(context: &Context, args: &DaunceReportArgs) -> Result<()> {
    let form = form(args.output.as_deref())?;
    check(context, &[args.output.as_deref()], args.force)?;
    let request = ReportRequest { spec: spec(&args.ranking)?, top: args.top, queries: args.queries };
    let (snapshot, _lease) = context.open_at(args.ranking.snapshot.as_ref())?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    let is_whole = args.full || matches!(form, ReportForm::Json);
    let text = |record: &[u8]| text::record_text(record, is_whole);
    let mut reporter = context.reporter();
    let work = &mut context.work(&mut reporter, &cancel);
    let report = gstore::daunce::report(&snapshot, &request, &text, work)?;
    let bytes = match form {
        ReportForm::Markdown => report.markdown(),
        ReportForm::Html => report.html(),
        ReportForm::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    let mut output = Output::create(args.output.as_deref(), args.force)?;
    output.write_all(bytes.as_bytes())?;
    output.finish()?;
    context.say(&format!("{} reported", many(report.queries.len() as u64, "target sample")));
    Ok(())
}
