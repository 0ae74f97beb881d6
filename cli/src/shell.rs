//! The interactive shell of `gstore query`.
//!
//! Statements end with `;`, and every statement sees the newest snapshot.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use gstore_core::Cancel;
use gstore_query::influence::Encoder;
use gstore_store::Store;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::args::QueryArgs;
use crate::commands::query::{Engine, checked, report};
use crate::context::Context;
use crate::models::encoder;
use crate::output::is_closed;

const HELP: &str = "Statements end with `;`. Ctrl-C stops a running one, Ctrl-D leaves.\n  \
    SHOW TABLES;                      the datasets, and the system tables in `gstore`\n  \
    DESCRIBE pool;                    the columns of a dataset\n  \
    SELECT id, score FROM influence('pool', 'target') ORDER BY score DESC LIMIT 10;\n  \
    SELECT * FROM gstore.features;    what has been computed\n  \
    help, quit";

/// Reads and runs statements until the end of input.
pub fn run(context: &Context, store: &Store, args: &QueryArgs, cancel: &Cancel) -> Result<()> {
    let mut editor = DefaultEditor::new()?;
    context.say("gstore shell; `help` shows how, `quit` leaves");
    let mut statement = String::new();
    let mut engine: Option<(u64, Engine)> = None;
    // Models stay loaded from one statement to the next, whatever the snapshot.
    let encoder = encoder(context, &args.models)?;
    loop {
        let prompt = if statement.is_empty() { "gstore> " } else { "   ...> " };
        let line = match editor.readline(prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                statement.clear();
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if statement.is_empty() {
            match line.trim().trim_end_matches(';') {
                "" => continue,
                "quit" | "exit" | "\\q" => return Ok(()),
                "help" | "\\?" => {
                    crate::output::out!("{HELP}");
                    continue;
                }
                _ => {}
            }
        }
        statement.push_str(&line);
        statement.push('\n');
        if !line.trim_end().ends_with(';') {
            continue;
        }
        let sql = std::mem::take(&mut statement);
        editor.add_history_entry(sql.trim_end())?;
        cancel.lower();
        if let Err(error) = answer(context, store, args, &sql, (&mut engine, &encoder), cancel) {
            if is_closed() {
                return Err(error);
            }
            eprintln!("error: {error}");
        }
    }
}

fn answer(
    context: &Context,
    store: &Store,
    args: &QueryArgs,
    sql: &str,
    (engine, encoder): (&mut Option<(u64, Engine)>, &Arc<dyn Encoder>),
    cancel: &Cancel,
) -> Result<()> {
    let (snapshot, _lease) = context.snapshot(store, args.snapshot.as_ref())?;
    let snapshot = checked(snapshot, args.checks);
    let number = snapshot.number();
    let engine = match engine {
        Some((n, engine)) if *n == number => engine,
        slot => &slot.insert((number, Engine::with_encoder(context, snapshot, Some(Arc::clone(encoder)))?)).1,
    };
    let begun = Instant::now();
    let notes = engine.run(context, sql, &args.output, cancel)?;
    report(context, &notes);
    context.say(&format!("({:.3} s)", begun.elapsed().as_secs_f64()));
    Ok(())
}
