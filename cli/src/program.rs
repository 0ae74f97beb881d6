//! The program: from the words of a command line to the exit code of its command.
//!
//! Flags are parsed into plain values first, objects are built after.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::error::ErrorKind;
use clap::parser::ValueSource;

use gstore_core::instructions::Instructions;
use gstore_store::Store;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::failure::done;
use crate::options::check_options;
use crate::origin::{self, ConfiguredOption};
use crate::streams::say;
use crate::wording::{reword_file_errors, shell_word};
use crate::{args, commands, completing, config, failure, remedy};

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    gstore_core::survive_file_limit();
    gstore_core::Remedy::word_with(remedy::words);
    completing::answer();
    if let Err(error) = Instructions::asked() {
        return failure::usage(&error.into());
    }
    let root = args::command();
    let mut given = Vec::new();
    let argv = match config::expand(&root, std::env::args_os().collect(), &mut given) {
        Ok(argv) => argv,
        Err(error) => return failure::usage(&error),
    };
    let argv = args::join_negative(&root, argv);
    let parsed = root.try_get_matches_from(&argv).and_then(|matches| {
        let of_environment = matches.value_source("store") == Some(ValueSource::EnvVariable);
        Ok((Cli::from_arg_matches(&matches)?, of_environment))
    });
    let (cli, store_of_environment) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return exit_with_usage(&argv, error, &given),
    };
    if let Some(store) = cli.common.store.as_ref().filter(|_| store_of_environment) {
        given.push(ConfiguredOption::of_environment("store", "GSTORE_STORE", &store.display().to_string()));
    }
    origin::remember(given);
    match run(cli, store_of_environment) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

/// A command line that does not parse, or asks for its help.
fn exit_with_usage(argv: &[OsString], error: clap::Error, given: &[ConfiguredOption]) -> ExitCode {
    let error = args::without_far_tip(with_tip(argv.to_vec(), error));
    let root = args::command();
    let text = args::without_command(&root, argv, &error)
        .or_else(|| args::misplaced_hint(&root, argv, &error))
        .or_else(|| args::explained_missing(&root, argv, &error, &|| runs(argv)))
        .or_else(|| reword_message(&error, given).filter(|_| error.use_stderr()));
    match text {
        Some(text) => {
            say!("{}", text.trim_end());
            ExitCode::from(failure::USAGE)
        }
        None => error.exit(),
    }
}

/// The runs of the store that a command line names, though it does not parse. Without a store that can be
/// read there are none to propose.
fn runs(argv: &[OsString]) -> Vec<String> {
    let store = completing::named_store(argv).and_then(|path| Store::open(path).ok());
    let snapshot = store.and_then(|store| store.snapshot().ok());
    snapshot.map(|found| found.runs().iter().map(|run| run.name.clone()).collect()).unwrap_or_default()
}

/// A message in the words of the config file, with files and numbers in plain words; `None` where it is about
/// none of them.
fn reword_message(error: &clap::Error, given: &[ConfiguredOption]) -> Option<String> {
    let text = args::with_expected_number(error);
    let said = with_hyphens(&reword_file_errors(&origin::reword(&text, given).unwrap_or(text)));
    (said != error.to_string()).then_some(said)
}

/// A message that proposes flags as help lists them; they are taken with underscores, too.
fn with_hyphens(text: &str) -> String {
    let line = |line: &str| match line.split_once("similar argument") {
        Some((before, names)) => format!("{before}similar argument{}", names.replace('_', "-")),
        None => line.to_owned(),
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// `gstore help selec` is as wrong as `gstore selec`, whose message knows a similar command.
fn with_tip(mut argv: Vec<OsString>, error: clap::Error) -> clap::Error {
    let help = argv.iter().position(|word| word == "help");
    let Some(help) = help.filter(|_| error.kind() == ErrorKind::InvalidSubcommand) else { return error };
    argv.remove(help);
    match args::command().try_get_matches_from(argv) {
        Err(same) if same.kind() == ErrorKind::InvalidSubcommand => same,
        _ => error,
    }
}

/// Whether a command runs a model over batches, and ends with them.
fn computes(command: &Command) -> bool {
    matches!(
        command,
        Command::Ingest(_)
            | Command::Train(_)
            | Command::Generate(_)
            | Command::Evaluate(_)
            | Command::Daunce(_)
            | Command::Select(_)
            | Command::Factors(_)
            | Command::Score(_)
    )
}

/// The end of commands that messages of a command propose. Clients of a server have no folder of its store, and
/// a restore speaks of the backup that it reads.
fn at_store(command: &Command, context: &Context) -> String {
    match command {
        #[cfg(feature = "serve")]
        Command::Serve(_) => String::new(),
        Command::Restore(args) => format!(" --store {}", shell_word(&args.from)),
        _ => context.at_store(),
    }
}

fn run(cli: Cli, store_of_environment: bool) -> anyhow::Result<ExitCode> {
    let context = Context::new(cli.common, store_of_environment)?;
    if let Some(store) = context.named_store() {
        remedy::name_store(store, at_store(&cli.command, &context));
    }
    check_options(&cli.command, |run| context.has_run(run))?;
    if cli.command.changes_store() {
        context.check_writable(cli.command.may_make_store())?;
    }
    if computes(&cli.command) {
        gstore_core::keep_freed_memory();
        gstore_core::use_large_pages();
    }
    match cli.command {
        Command::Demo(args) => commands::demo::run(&context, &args),
        Command::Add(args) => done(commands::add::run(&context, &args)),
        Command::Ingest(args) => commands::ingest::run(&context, &args),
        Command::Train(args) => commands::train::run(&context, &args),
        Command::Merge(args) => done(commands::merge::run(&context, &args)),
        Command::Generate(args) => commands::generate::run(&context, &args),
        Command::Run(args) => commands::run::run(&context, &args),
        Command::Evaluate(args) => commands::evaluate::run(&context, &args),
        Command::Daunce(args) => commands::daunce::run(&context, &args),
        Command::Import(args) => done(commands::import::run(&context, &args)),
        Command::Attach(args) => commands::attach::run(&context, &args),
        Command::Query(args) => done(commands::query::run(&context, &args)),
        Command::Select(args) => done(commands::select::run(&context, &args)),
        Command::Prefilter(args) => done(commands::prefilter::run(&context, &args)),
        Command::Factors(args) => done(commands::factors::run(&context, &args)),
        Command::Score(args) => done(commands::score::run(&context, &args)),
        Command::Matrix(args) => done(commands::matrix::run(&context, &args)),
        Command::Ask(args) => done(commands::ask::run(&context, &args)),
        Command::Plot(args) => done(commands::plot::run(&context, &args)),
        Command::Ls(args) => done(commands::ls::run(&context, &args)),
        Command::Info(args) => done(commands::info::run(&context, &args)),
        Command::Snapshots(args) => done(commands::snapshots::run(&context, &args)),
        Command::Tag(args) => done(commands::tag::run(&context, &args)),
        Command::View(args) => done(commands::view::run(&context, &args)),
        Command::Delete(args) => commands::delete::run(&context, &args),
        Command::Drop(args) => done(commands::drop::run(&context, &args)),
        Command::Revert(args) => done(commands::revert::run(&context, &args)),
        Command::Index(args) => done(commands::index::run(&context, &args)),
        Command::Compact(args) => commands::compact::run(&context, &args),
        Command::Gc(args) => done(commands::gc::run(&context, &args)),
        Command::Backup(args) => done(commands::backup::backup(&context, &args)),
        Command::Restore(args) => done(commands::backup::restore(&context, &args)),
        Command::Verify(args) => commands::verify::run(&context, &args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => done(commands::serve::run(&context, &args)),
        #[cfg(feature = "serve")]
        Command::Token(args) => done(commands::token::run(&context, &args)),
        Command::Completions(args) => done(commands::completions::run(&args)),
    }
}
