//! `gstore query`: statements, or an interactive shell.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use gstore_sql::{Notes, Parameters};

use crate::args::{Format, OutputArgs, QueryArgs};
use crate::context::Context;
use crate::ending::format_of;
use crate::failure::refuse;
use crate::models::encoder;
use crate::output::check_unread;
use crate::shell::dot::has_commands;
use crate::statements::{
    NULL, STOPPING, check_place, own_tables, parameters, report, session, statement_text, write_result,
};
use crate::streams::{is_standard_input, out};
use crate::terminal;

/// Runs the statements, or the shell.
pub fn run(context: &Context, args: &QueryArgs) -> Result<()> {
    if args.draw.plot.is_some() {
        return super::plotted::run(context, args);
    }
    let sql = statements(args)?;
    if sql.is_none() && !args.parameters.is_empty() {
        refuse!("--param requires a statement");
    }
    let values = parameters(&args.parameters)?;
    let own = args.with.iter().filter_map(|table| table.split_once('=')).map(|(_, file)| Path::new(file));
    check_unread(&[args.output.output.as_deref()], own.chain(args.file.as_deref()), [])?;
    #[cfg(feature = "serve")]
    if args.server.remote.is_some() {
        return ask_server(context, args, sql.as_deref(), &values);
    }
    let store = context.open()?;
    let (snapshot, lease) = context.state(&store, &args.state)?;
    // Of one statement only once its models are there, so that one Ctrl-C ends a download.
    let cancel = || context.cancel_on_interrupt(STOPPING);
    match sql {
        Some(text) if has_commands(&text) => {
            // Each statement takes the newest snapshot, as in the shell.
            drop(lease);
            terminal::script(context, &store, args, &cancel(), place(args), &text)?;
        }
        Some(sql) => {
            let encoder = encoder(context, &args.models)?;
            let options = args.sql_options(Some(encoder), own_tables(context, &args.with)?);
            let (runner, cancel) = (session(context, snapshot, options)?, cancel());
            run_all(context, &sql, &values, &args.output, &|sql, values| {
                let mut rows = runner.run_with(sql, values, &cancel)?;
                let schema = Arc::clone(rows.schema());
                write_result(context, (&args.output, NULL), &schema, &mut rows)?;
                Ok(rows.notes())
            })?;
            drop(lease);
        }
        None if args.output.output.is_some() => {
            bail!("the shell prints to the terminal; give a statement with --output")
        }
        None => {
            // An idle shell keeps nothing: each statement takes the newest snapshot.
            drop(lease);
            terminal::run(context, &store, args, &cancel())?;
        }
    }
    Ok(())
}

/// The statements; none where somebody is there to type them.
fn statements(args: &QueryArgs) -> Result<Option<String>> {
    let bytes = match (args.sql.as_deref(), &args.file) {
        (Some("-"), _) => read_stdin()?,
        (Some(sql), _) => return Ok(Some(sql.to_owned())),
        (None, Some(file)) if is_standard_input(file) => read_stdin()?,
        (None, Some(file)) => fs_err::read(file)?,
        (None, None) if !std::io::stdin().is_terminal() => read_stdin()?,
        (None, None) => return Ok(None),
    };
    statement_text(bytes, place(args)).map(Some)
}

/// What a message calls the place that they are from.
fn place(args: &QueryArgs) -> &Path {
    match (&args.file, args.sql.as_deref()) {
        (Some(file), _) if !is_standard_input(file) => file.as_path(),
        (None, Some(sql)) if sql != "-" => Path::new("the statements given"),
        _ => Path::new("standard input"),
    }
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same, asked of a server.
#[cfg(feature = "serve")]
fn ask_server(context: &Context, args: &QueryArgs, sql: Option<&str>, values: &Parameters) -> Result<()> {
    let Some(sql) = sql else {
        refuse!("give a statement: the shell works only with a local store");
    };
    if has_commands(sql) {
        refuse!(
            "dot commands are for a store on this machine: ask a server SHOW TABLES and DESCRIBE, and say with --format and --output how and where results are written"
        );
    }
    let cancel = context.cancel_on_interrupt(STOPPING);
    let server = connect(context, &args.server, args.state.snapshot.as_ref())?;
    run_all(context, sql, values, &args.output, &|sql, values| {
        let mut rows = server.run(sql, values, &cancel)?;
        let schema = Arc::clone(rows.schema());
        write_result(context, (&args.output, NULL), &schema, &mut rows)?;
        Ok(rows.notes())
    })
}

/// A connection to the server that flags name.
#[cfg(feature = "serve")]
pub fn connect(
    context: &Context,
    server: &crate::args::RemoteArgs,
    snapshot: Option<&gstore_store::SnapshotName>,
) -> Result<gstore_server::Remote> {
    // Config file, environment and pipeline name the store of all commands.
    let for_all = crate::origin::is_configured("store") || std::env::var_os(crate::context::STAGE).is_some();
    if context.named_store().is_some() && !for_all {
        refuse!(
            "--store is a store on this machine, and with --remote a server has its own: give one of them"
        );
    }
    let connected = gstore_server::Remote::connect(&gstore_server::RemoteOptions {
        address: server.remote.clone().unwrap_or_default(),
        token: server.token.clone(),
        ca: server.tls_ca.clone(),
        identity: server.tls_cert.clone().zip(server.tls_key.clone()),
        snapshot: snapshot.map(ToString::to_string),
    });
    // Nothing is asked yet: what is invalid is an option.
    connected.map_err(|error| match error.kind() {
        gstore_sql::SqlErrorKind::Invalid => crate::failure::UsageError(error.to_string()).into(),
        _ => error.into(),
    })
}

/// Runs statements one after the other by `answer`, which writes a result, up to the first that fails. Their
/// results follow each other; one that goes into a file is alone.
fn run_all(
    context: &Context,
    sql: &str,
    values: &Parameters,
    to: &OutputArgs,
    answer: &dyn Fn(&str, &Parameters) -> Result<Notes>,
) -> Result<()> {
    let statements = gstore_sql::statements(sql);
    if statements.len() > 1 {
        let format = format_of(to)?;
        if to.output.is_some() || format.is_whole() {
            refuse!(
                "several statements have several results: give one for a file or such a format, or print all as table, csv, tsv, json, lines or markdown"
            );
        }
    }
    check_place(context, to)?;
    let spaced = statements.len() > 1 && !matches!(format_of(to)?, Format::Json | Format::Lines);
    for (i, (statement, values)) in statements.iter().zip(values.of_each(&statements)?).enumerate() {
        if spaced && i > 0 {
            out!("");
        }
        report(context, &answer(statement, &values)?);
    }
    if statements.is_empty() {
        // What is no statement says so.
        report(context, &answer(sql, values)?);
    }
    Ok(())
}
