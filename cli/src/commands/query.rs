//! `gstore query`: statements, or an interactive shell.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use gstore_core::{Cancel, many, many_of};
use gstore_query::influence::Encoder;
use gstore_sql::output::{ResultWriter, TableStyle};
use gstore_sql::{Notes, OwnTable, Parameters, SqlError, SqlOptions, SqlRunner};
use gstore_store::Snapshot;

use crate::args::{Checks, Format, OutputArgs, QueryArgs};
use crate::context::Context;
use crate::ending::{check_terminal, format_of};
use crate::failure::UsageError;
use crate::models::encoder;
use crate::output::{Output, Place, check, out};
use crate::shell::dot::has_commands;
use crate::{summary, terminal};

/// Runs the statements, or the shell.
pub fn run(context: &Context, args: &QueryArgs) -> Result<ExitCode> {
    if args.draw.plot.is_some() {
        return super::plotted::run(context, args);
    }
    let sql = match (args.sql.as_deref(), &args.file) {
        (Some("-"), _) => Some(read_stdin()?),
        (Some(sql), _) => Some(sql.to_owned()),
        (None, Some(file)) if file == Path::new("-") => Some(read_stdin()?),
        (None, Some(file)) => Some(without_mark(fs_err::read_to_string(file)?)),
        (None, None) if !std::io::stdin().is_terminal() => Some(read_stdin()?),
        (None, None) => None,
    };
    if sql.is_none() && !args.parameters.is_empty() {
        bail!(UsageError("--param is for a statement, and there is none".to_owned()));
    }
    let values = parameters(&args.parameters)?;
    #[cfg(feature = "serve")]
    if args.server.remote.is_some() {
        return ask_server(context, args, sql.as_deref(), &values);
    }
    let store = context.open()?;
    let (snapshot, lease) = context.snapshot(&store, args.snapshot.as_ref())?;
    let snapshot = checked(snapshot, args.checks);
    let cancel = context.cancel_on_interrupt(STOPPING)?;
    match sql {
        Some(text) if has_commands(&text) => {
            // Each statement takes the newest snapshot, as in the shell.
            drop(lease);
            let from = match (&args.file, args.sql.as_deref()) {
                (Some(file), _) if file != Path::new("-") => file.as_path(),
                (None, Some(sql)) if sql != "-" => Path::new("what is given"),
                _ => Path::new("standard input"),
            };
            terminal::script(context, &store, args, &cancel, from, &text)?;
        }
        Some(sql) => {
            let encoder = encoder(context, &args.models)?;
            let engine = Engine::with_own(context, snapshot, Some(encoder), own_tables(&args.with)?)?;
            run_all(context, &engine, &sql, &values, &args.output, &cancel)?;
            drop(lease);
        }
        None if args.output.output.is_some() => {
            bail!("the shell prints to the terminal; give a statement with --output")
        }
        None => {
            // An idle shell keeps nothing: each statement takes the newest snapshot.
            drop(lease);
            terminal::run(context, &store, args, &cancel)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What Ctrl-C says.
pub const STOPPING: &str = "stopping the query; once more to stop at once";

/// The same, asked of a server.
#[cfg(feature = "serve")]
fn ask_server(
    context: &Context,
    args: &QueryArgs,
    sql: Option<&str>,
    values: &Parameters,
) -> Result<ExitCode> {
    let Some(sql) = sql else {
        bail!(UsageError("give a statement: the shell is for a store on this machine".to_owned()));
    };
    let cancel = context.cancel_on_interrupt(STOPPING)?;
    let server = connect(&args.server, args.snapshot.as_ref())?;
    run_all(context, &Engine::Server(Box::new(server)), sql, values, &args.output, &cancel)?;
    Ok(ExitCode::SUCCESS)
}

/// A connection to the server that flags name.
#[cfg(feature = "serve")]
pub fn connect(
    server: &crate::args::RemoteArgs,
    snapshot: Option<&gstore_store::SnapshotName>,
) -> Result<gstore_server::Remote> {
    Ok(gstore_server::Remote::connect(&gstore_server::RemoteOptions {
        address: server.remote.clone().unwrap_or_default(),
        token: server.token.clone(),
        ca: server.tls_ca.clone(),
        identity: server.tls_cert.clone().zip(server.tls_key.clone()),
        snapshot: snapshot.map(ToString::to_string),
    })?)
}

/// Runs statements one after the other, up to the first that fails. Their results follow each other; one that
/// goes into a file is alone.
fn run_all(
    context: &Context,
    engine: &Engine,
    sql: &str,
    values: &Parameters,
    to: &OutputArgs,
    cancel: &Cancel,
) -> Result<()> {
    let statements = gstore_sql::statements(sql);
    if statements.len() > 1 {
        let format = format_of(to)?;
        if to.output.is_some() || format.is_binary() {
            let why = "several statements have several results; write one of them to a file, or all as text";
            bail!(UsageError(why.to_owned()));
        }
    }
    let spaced = statements.len() > 1 && !matches!(format_of(to)?, Format::Json | Format::Lines);
    for (i, statement) in statements.iter().enumerate() {
        if spaced && i > 0 {
            out!("");
        }
        report(context, &engine.run_with(context, statement, values, to, cancel)?);
    }
    if statements.is_empty() {
        // What is no statement says so.
        report(context, &engine.run_with(context, sql, values, to, cancel)?);
    }
    Ok(())
}

/// `NAME=FILE`: files of the user's own as tables.
pub fn own_tables(given: &[String]) -> Result<Vec<OwnTable>> {
    let table = |text: &String| {
        let wrong = || {
            let name = Path::new(text).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let example = match Path::new(text).is_file() && !name.is_empty() && name.chars().all(plain) {
                true => format!(": write {name}={text}"),
                false => String::new(),
            };
            UsageError(format!("a table is given as NAME=FILE, not `{text}`{example}"))
        };
        let (name, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(wrong)?;
        OwnTable::open(name, Path::new(file))
            .map_err(|error| anyhow::Error::from(UsageError(error.to_string())))
    };
    given.iter().map(table).collect()
}

/// `NAME=VALUE`: a value that is JSON is taken as that, all else as text.
pub fn parameters(given: &[String]) -> Result<Parameters> {
    let mut values = Parameters::default();
    for text in given {
        let wrong = || UsageError(format!("a parameter is given as NAME=VALUE or 1=VALUE, not `{text}`"));
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            bail!(wrong());
        }
        let value = match serde_json::from_str(value) {
            Ok(serde_json::Value::Object(_)) | Err(_) => serde_json::Value::from(value),
            Ok(value) => value,
        };
        values.add(Some(name), &value).map_err(|error| UsageError(error.to_string()))?;
    }
    Ok(values)
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
    Ok(without_mark(sql))
}

/// A text without the byte order mark with which editors of Windows begin files.
pub fn without_mark(text: String) -> String {
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}

/// Runs statements and writes their results.
pub enum Engine {
    /// On a snapshot of a store here.
    Store(SqlRunner),
    /// On a server.
    #[cfg(feature = "serve")]
    Server(Box<gstore_server::Remote>),
}

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
        Self::with_own(context, snapshot, encoder, Vec::new())
    }

    /// The same with files of the user's own as tables.
    pub fn with_own(
        context: &Context,
        snapshot: Arc<Snapshot>,
        encoder: Option<Arc<dyn Encoder>>,
        own: Vec<OwnTable>,
    ) -> Result<Self> {
        let options = SqlOptions { threads: context.threads, encoder, own, ..SqlOptions::default() };
        Ok(Self::Store(SqlRunner::new(snapshot, options)?))
    }

    /// The session on a store here.
    pub fn runner(&self) -> Option<&SqlRunner> {
        match self {
            Self::Store(runner) => Some(runner),
            #[cfg(feature = "serve")]
            Self::Server(_) => None,
        }
    }

    /// Runs a statement of the program and writes its result as a list, in which nulls are blank.
    pub fn run(&self, context: &Context, sql: &str, to: &OutputArgs, cancel: &Cancel) -> Result<Notes> {
        self.print(context, (sql, &Parameters::default()), (to, BLANK), cancel)
    }

    /// Runs a statement of the user, with values for its parameters, and writes its result.
    pub fn run_with(
        &self,
        context: &Context,
        sql: &str,
        values: &Parameters,
        to: &OutputArgs,
        cancel: &Cancel,
    ) -> Result<Notes> {
        self.print(context, (sql, values), (to, NULL), cancel)
    }

    fn print(
        &self,
        context: &Context,
        (sql, values): (&str, &Parameters),
        (to, null): (&OutputArgs, &'static str),
        cancel: &Cancel,
    ) -> Result<Notes> {
        check_place(context, to)?;
        match self {
            Self::Store(runner) => {
                let mut rows = runner.run_with(sql, values, cancel)?;
                let schema = Arc::clone(rows.schema());
                put(context, (to, null), &schema, &mut rows)?;
                Ok(rows.notes())
            }
            #[cfg(feature = "serve")]
            Self::Server(server) => {
                let mut rows = server.run(sql, values, cancel)?;
                let schema = Arc::clone(rows.schema());
                put(context, (to, null), &schema, &mut rows)?;
                Ok(rows.notes())
            }
        }
    }
}

/// Refuses a place that a result cannot go to, before any work.
pub(super) fn check_place(context: &Context, to: &OutputArgs) -> Result<()> {
    let path = to.output.as_deref();
    check(context, &[path], to.force)?;
    check_terminal(format_of(to)?, path)
}

/// What stands for null in a table.
pub const NULL: &str = "NULL";
const BLANK: &str = "";

/// Writes a list to the place and in the format that the flags say.
pub fn write(
    context: &Context,
    to: &OutputArgs,
    schema: &SchemaRef,
    rows: &mut dyn Iterator<Item = Result<RecordBatch, SqlError>>,
) -> Result<()> {
    put(context, (to, BLANK), schema, rows)
}

/// Writes a result with this word for null to the place and in the format that the flags say.
pub fn put(
    context: &Context,
    (to, null): (&OutputArgs, &'static str),
    schema: &SchemaRef,
    rows: &mut dyn Iterator<Item = Result<RecordBatch, SqlError>>,
) -> Result<()> {
    check_place(context, to)?;
    // What fails before its first rows prints no header either.
    let first = rows.next().transpose()?;
    let mut output = Output::create(to.output.as_deref(), to.force)?;
    // A file is not as wide as the terminal that there may be.
    let style = match Place::of(to.output.as_deref()) {
        Place::Stdout => style(),
        _ => TableStyle { width: None, column: None },
    };
    let writer = ResultWriter::new(format_of(to)?.into(), schema, &mut output, style)?;
    let mut writer = writer.with_null(null);
    for batch in first.into_iter().map(Ok).chain(rows) {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    output.finish()
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
