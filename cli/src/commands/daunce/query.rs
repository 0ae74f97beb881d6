//! `gstore daunce query`: the best and the worst rows of a pool, with the errors of their scores.

use anyhow::Result;
use gstore_core::many;
use gstore_query::influence::{Order, Ranking};

use super::super::ask::{text, write};
use super::{STOPPING, spec};
use crate::args::DaunceQueryArgs;
use crate::context::Context;
use crate::ending::{check_terminal, format_of};
use crate::output::check;
use crate::summary;

/// Ranks the pool from both ends.
pub fn run(context: &Context, args: &DaunceQueryArgs) -> Result<()> {
    let format = format_of(&args.output)?;
    check_terminal(format, args.output.output.as_deref())?;
    check(context, &[args.output.output.as_deref()], args.output.force)?;
    let spec = spec(&args.ranking)?;
    let (snapshot, _lease) = context.open_at(args.ranking.snapshot.as_ref())?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut reporter = context.reporter();
    let mut work = context.work(&mut reporter, &cancel);
    let rankings = gstore::ask(&snapshot, &spec, None, &mut work)?;
    let mut batches = Vec::new();
    let mut last: Option<Ranking> = None;
    for order in [Order::Best, Order::Worst] {
        let ranking = rankings.rank(order, args.top, &work)?;
        batches.push(rankings.table(order, &ranking.rows, text::record, &cancel)?);
        last = Some(ranking);
    }
    write(context, (&args.output, args.full), format, &batches)?;
    if let Some(Ranking { summary, .. }) = last {
        let have = if summary.eligible == 1 { "has" } else { "have" };
        context.say(&format!("{} of {} {have} a score", summary.eligible, many(summary.live, "row")));
        summary::tell(context, &summary);
    }
    Ok(())
}
