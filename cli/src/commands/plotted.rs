//! `gstore query --plot`: the result of a statement as a picture.

use std::sync::Arc;

use anyhow::{Result, bail};
use arrow_array::RecordBatch;
use gstore::picture;

use crate::args::{DrawArgs, PictureArgs, QueryArgs};
use crate::context::Context;
use crate::drawing::{begun, check_file, draw};
use crate::failure::refuse;
use crate::models::encoder;
use crate::output::{Output, OutputTarget, check_apart};
use crate::shell::dot::has_commands;
use crate::statements::{NULL, STOPPING, check_place, own_tables, parameters, report, session, write_result};

/// Rows of a result that is drawn, at most.
const MOST: usize = 10_000_000;

/// Runs the statement, writes its result where that has a place of its own, and draws it.
pub fn run(context: &Context, args: &QueryArgs) -> Result<()> {
    let (sql, picture) = plot_request(args)?;
    #[cfg(feature = "serve")]
    if args.server.remote.is_some() {
        refuse!("--plot works only with a local store, not with --remote");
    }
    let (place, rows_place) = (picture.output.as_deref(), args.output.output.as_deref());
    let is_shown = OutputTarget::of(place) == OutputTarget::Stdout;
    // A picture in the terminal takes the place of the rows there.
    let has_rows = rows_place.is_some() || !is_shown;
    if !is_shown {
        check_apart(rows_place.into_iter().chain(place))?;
    }
    if has_rows {
        check_place(context, &args.output)?;
    }
    check_file(context, place, picture.force)?;
    let (snapshot, _lease) = context.state(&context.open()?, &args.state)?;
    let models = encoder(context, &args.models)?;
    // Only now, so that one Ctrl-C ends a download.
    let cancel = context.cancel_on_interrupt(STOPPING);
    let options = args.sql_options(Some(models), own_tables(context, &args.with)?);
    let runner = session(context, snapshot, options)?;
    let mut rows = runner.run_with(&sql, &parameters(&args.parameters)?, &cancel)?;
    let schema = Arc::clone(rows.schema());
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut held = 0;
    for batch in rows.by_ref() {
        let batch = batch?;
        held += batch.num_rows();
        if held > MOST {
            bail!(
                "the result has more than {MOST} rows, which are too many for a picture; draw a sample or a count of them"
            );
        }
        batches.push(batch);
    }
    // One that cannot be drawn or written leaves no rows behind.
    let drawn = picture::table(&batches)?;
    let file = begun(&picture, &drawn)?;
    if has_rows {
        write_result(context, (&args.output, NULL), &schema, &mut batches.iter().cloned().map(Ok))?;
    }
    file.map_or_else(|| draw(&picture, &drawn), Output::finish)?;
    if let Some(file) = place.filter(|place| OutputTarget::of(Some(*place)).is_file()) {
        context.say(&format!("picture written to {}", file.display()));
    }
    report(context, &rows.notes());
    Ok(())
}

/// The statement, and where the picture goes. A statement behind `--plot` is parsed as its file.
fn plot_request(args: &QueryArgs) -> Result<(String, PictureArgs)> {
    let force = args.output.force;
    let given = args.draw.picture(force).unwrap_or(PictureArgs { output: None, force, width: None });
    let words = given.output.as_deref().and_then(std::path::Path::to_str).map(str::to_owned);
    let words = words.filter(|text| text.contains(char::is_whitespace));
    let (sql, picture) = match (&args.sql, words) {
        _ if args.file.is_some() => {
            refuse!("--plot does not go with -f FILE; give the one statement that it draws as an argument")
        }
        (Some(sql), _) if sql != "-" => (sql.clone(), given),
        (None, Some(sql)) => {
            let terminal = DrawArgs { plot: Some("-".into()) };
            (sql, terminal.picture(force).unwrap_or(given))
        }
        _ => refuse!("--plot draws the result of one statement; give it as an argument"),
    };
    if has_commands(&sql) {
        refuse!("--plot draws the result of one statement, and dot commands have none");
    }
    match gstore_sql::statements(&sql).len() {
        0 | 1 => Ok((sql, picture)),
        n => refuse!("--plot draws the result of one statement, and these are {n}"),
    }
}
