//! `gstore daunce agreement`: how alike halves of the models rank, by their number.

use anyhow::{Result, bail};
use gstore::picture;
use gstore_query::daunce::Agreement;

use super::{STOPPING, spec};
use crate::args::DaunceAgreementArgs;
use crate::context::Context;
use crate::drawing::{check_file, draw};
use crate::streams::{out, print_json};

/// Prints a table or JSON, or draws a picture.
pub fn run(context: &Context, args: &DaunceAgreementArgs) -> Result<()> {
    check_file(context, args.picture.output.as_deref(), args.picture.force)?;
    let spec = spec(&args.ranking)?;
    let (snapshot, _lease) = context.open_at(args.ranking.snapshot.as_ref())?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut reporter = context.reporter();
    let mut work = context.work(&mut reporter, &cancel);
    let rankings = gstore::ask(&snapshot, &spec, None, &mut work)?;
    let found = rankings.agreement(args.top, &work)?;
    if found.rows == 0 || found.queries == 0 {
        match found.left_out() {
            Some(why) => {
                bail!(
                    "{why}; record the losses that are missing, or leave out models with --missing drop_model"
                )
            }
            None => bail!("the pool or the target has no rows to compare"),
        }
    }
    if args.json {
        return print_json(&found);
    }
    if args.picture.output.is_none() {
        table(&found)?;
    }
    draw(&args.picture, &picture::agreement(&found))
}

/// The numbers, a line for each number of models.
fn table(found: &Agreement) -> Result<()> {
    let number = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{x:.3}"));
    let overlap = format!("top {} in common", found.top);
    out!("{:>7}  {:>10}  {:>13}  {overlap:>17}", "models", "split half", "all, expected");
    if found.at.is_empty() {
        out!("too few models: halves of them have no rankings to compare");
    }
    for at in &found.at {
        out!(
            "{:>7}  {:>10}  {:>13}  {:>17}",
            at.models,
            number(at.split_half),
            number(at.spearman_brown),
            at.top_overlap.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", 100.0 * share))
        );
    }
    out!("{} rows, {} queries; by chance {:.1}%", found.rows, found.queries, 100.0 * found.overlap_by_chance);
    if let Some(left_out) = found.left_out() {
        out!("{left_out}");
    }
    out!("");
    Ok(())
}
