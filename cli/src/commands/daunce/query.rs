//! `gstore daunce query`: the best and the worst rows of a pool, with the errors of their scores.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Result, bail};
use gstore_core::many;
use gstore_query::influence::{Order, Ranking};
use gstore_sql::output::{ResultWriter, TableStyle};

use super::super::ask::text;
use super::super::query::style;
use super::{STOPPING, spec};
use crate::args::DaunceQueryArgs;
use crate::context::{Context, command_line};
use crate::ending::format_of;
use crate::failure::UsageError;
use crate::output::{Output, Place, check};
use crate::summary;

/// Ranks the pool from both ends.
pub fn run(context: &Context, args: &DaunceQueryArgs) -> Result<ExitCode> {
    let format = format_of(&args.output)?;
    let stdout = Place::of(args.output.output.as_deref()) == Place::Stdout;
    if format.is_binary() && stdout && std::io::stdout().is_terminal() {
        bail!(UsageError(format!("{format:?} is not for a terminal; name a file with --output")));
    }
    check(context, &[args.output.output.as_deref()], args.output.force)?;
    let spec = spec(&args.ranking)?;
    let store = context.open()?;
    let (snapshot, _lease) = context.snapshot(&store, args.ranking.snapshot.as_ref())?;
    let cancel = context.cancel_on_interrupt(STOPPING)?;
    let (command, mut reporter) = (command_line(), context.reporter());
    let mut work = context.work(&command, &mut reporter, &cancel);
    let rankings = gstore::daunce::rank_losses(&snapshot, &spec, &mut work)?;
    let mut batches = Vec::new();
    let mut last: Option<Ranking> = None;
    for order in [Order::Best, Order::Worst] {
        let ranking = rankings.rank(order, args.top, &work)?;
        batches.push(rankings.table(order, &ranking.rows, |record| text::of_record(record, args.full))?);
        last = Some(ranking);
    }
    let mut output = Output::create(args.output.output.as_deref(), args.output.force)?;
    let style = if args.full { TableStyle { width: None, column: None } } else { style() };
    if let Some(first) = batches.first() {
        let mut writer = ResultWriter::new(format.into(), &first.schema(), &mut output, style)?;
        for batch in &batches {
            writer.write(batch)?;
        }
        writer.finish()?;
    }
    output.finish()?;
    if let Some(ranking) = last {
        let have = if ranking.eligible == 1 { "has" } else { "have" };
        context.say(&format!("{} of {} {have} a score", ranking.eligible, many(ranking.live, "row")));
        summary::tell(context, &ranking.summary);
    }
    Ok(ExitCode::SUCCESS)
}
