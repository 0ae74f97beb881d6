//! `gstore query`: one statement, or an interactive shell.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use gstore_core::Cancel;
use gstore_query::influence::Encoder;
use gstore_sql::output::{ResultWriter, TableStyle};
use gstore_sql::{Notes, SqlOptions, SqlRunner};
use gstore_store::Snapshot;

use crate::args::{Checks, OutputArgs, QueryArgs};
use crate::context::Context;
use crate::ending::format_of;
use crate::models::encoder;
use crate::output::{Output, Place, check};
use crate::words::{many, many_of};
use crate::{shell, summary};

/// Runs the statement, or the shell.
pub fn run(context: &Context, args: &QueryArgs) -> Result<ExitCode> {
    let store = context.open()?;
    let (snapshot, lease) = context.snapshot(&store, args.snapshot.as_ref())?;
    let snapshot = checked(snapshot, args.checks);
    let sql = match args.sql.as_deref() {
        Some("-") => Some(read_stdin()?),
        Some(sql) => Some(sql.to_owned()),
        None if !std::io::stdin().is_terminal() => Some(read_stdin()?),
        None => None,
    };
    let cancel = context.cancel_on_interrupt("stopping the query; once more to stop at once")?;
    match sql {
        Some(sql) => {
            let encoder = encoder(context, &args.models)?;
            let notes = Engine::with_encoder(context, snapshot, Some(encoder))?.run(
                context,
                &sql,
                &args.output,
                &cancel,
            )?;
            report(context, &notes);
            drop(lease);
        }
        None if args.output.output.is_some() => {
            bail!("the shell prints to the terminal; give a statement with --output")
        }
        None => {
            // An idle shell keeps nothing: each statement takes the newest snapshot.
            drop(lease);
            shell::run(context, &store, args, &cancel)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The snapshot, read with this choice of checks.
pub fn checked(snapshot: Arc<Snapshot>, checks: Checks) -> Arc<Snapshot> {
    match checks {
        Checks::FirstTouch => snapshot,
        Checks::Off => Arc::new(snapshot.with_checks(gstore_store::Checks::Off)),
    }
}

fn read_stdin() -> Result<String> {
    let mut sql = String::new();
    std::io::stdin().read_to_string(&mut sql)?;
    Ok(sql)
}

/// Runs statements and writes their results.
pub struct Engine(SqlRunner);

impl Engine {
    /// A session on a snapshot.
    pub fn new(context: &Context, snapshot: Arc<Snapshot>) -> Result<Self> {
        Self::with_encoder(context, snapshot, None)
    }

    /// The same with models for samples that statements give.
    pub fn with_encoder(
        context: &Context,
        snapshot: Arc<Snapshot>,
        encoder: Option<Arc<dyn Encoder>>,
    ) -> Result<Self> {
        let options = SqlOptions { threads: context.threads, encoder, ..SqlOptions::default() };
        Ok(Self(SqlRunner::new(snapshot, options)?))
    }

    /// Runs one statement and writes its result.
    pub fn run(&self, context: &Context, sql: &str, to: &OutputArgs, cancel: &Cancel) -> Result<Notes> {
        let path = to.output.as_deref();
        check(context, &[path], to.force)?;
        let format = format_of(to)?;
        if format.is_binary() && Place::of(path) == Place::Stdout && std::io::stdout().is_terminal() {
            bail!("{format:?} is not for a terminal; name a file with --output");
        }
        let mut rows = self.0.run(sql, cancel)?;
        // What fails before its first rows prints no header either.
        let first = rows.next().transpose()?;
        let mut output = Output::create(path, to.force)?;
        let mut writer = ResultWriter::new(format.into(), rows.schema(), &mut output, style())?;
        for batch in first.into_iter().map(Ok).chain(&mut rows) {
            writer.write(&batch?)?;
        }
        writer.finish()?;
        output.finish()?;
        Ok(rows.notes())
    }
}

/// Tells what a scan left out and what its answer is worth.
pub fn report(context: &Context, notes: &Notes) {
    for note in &notes.influence {
        for line in &note.resolution {
            context.say(&format!("note: {line}"));
        }
        let summary = &note.summary;
        summary::tell(context, summary);
        let excluded = summary.excluded.total();
        if excluded > 0 {
            let scanned = summary.scanned;
            let what = match (note.per_token, summary.whole_rows) {
                (false, _) => format!("{excluded} of {}", many(scanned, "row")),
                (true, 0) => format!("{excluded} of {}", many(scanned, "token")),
                (true, rows) => format!(
                    "{} of {} tokens, and {} (no scored token, or no vector),",
                    excluded - rows,
                    scanned - rows,
                    many(rows, "whole row")
                ),
            };
            let verb = if excluded == 1 && note.summary.whole_rows == 0 { "has" } else { "have" };
            context.say(&format!("{what} {verb} no score; excluded() lists them with the reason"));
        }
        summary::tell_in_target(context, summary.in_target);
        let left_out = summary.target_excluded.total();
        if left_out > 0 {
            context.say(&format!(
                "{} left out: no scored token, not finite, or no vector",
                many_of(left_out, "target row was", "target rows were")
            ));
        }
    }
}

/// Tables fit the terminal; a file or a pipe gets the whole text.
pub fn style() -> TableStyle {
    match console::Term::stdout().size_checked() {
        Some((_, columns)) => TableStyle { width: Some(columns.into()), ..TableStyle::default() },
        None => TableStyle { width: None, column: None },
    }
}
