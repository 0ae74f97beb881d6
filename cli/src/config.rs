//! The config file: the same options as the flags, in TOML.
//!
//! It is the file of `--config`, else that of `GSTORE_CONFIG` (empty: none), else `gstore.toml` in the
//! working folder. Paths in it count from its folder.
//!
//! Keys outside of any table are options common to all commands; a table named after a command holds that
//! command's, one in it those of its own commands (`[evaluate.tasks]`). An inner table goes before those
//! around it, what stands on the command line before the file, and the file before defaults:
//!
//! ```toml
//! store = "my.gstore"
//!
//! [ingest]
//! model = "llama"
//! checkpoints = ["run/checkpoint-*"]
//! features = ["grad-adam", "loss"]
//! ```

use std::any::TypeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use gstore::named_path_among;
use gstore_core::did_you_mean;

use crate::args::{ValueRole, has_first_part, in_place_of, is_template_file, role};
use crate::origin::ConfiguredOption;

/// The command line with the file's options put in where the command line is silent; `put_in` gets them.
///
/// # Errors
/// A file that cannot be read, is not TOML, or has an option that the command does not know; a switch with a
/// value that is neither true nor false.
pub fn expand(
    root: &Command,
    argv: Vec<OsString>,
    put_in: &mut Vec<ConfiguredOption>,
) -> Result<Vec<OsString>> {
    let (argv, turned_off) = turn_switches(root, argv)?;
    // Required flags may stand in the file, so this first look takes whatever it can read. An option that is
    // given twice counts as given: its error is then about the command line.
    let lenient = root.clone().ignore_errors(true).args_override_self(true);
    let Ok(seen) = lenient.try_get_matches_from(&argv) else { return Ok(argv) };
    let Some((first, mut given)) = seen.subcommand() else { return Ok(argv) };
    let named = given.get_one::<PathBuf>("config").cloned();
    let is_named = named.is_some();
    let Some(path) = named.or_else(|| default_config(first)) else { return Ok(argv) };
    let path = path.as_path();
    let Some(mut command) = root.find_subcommand(first) else { return Ok(argv) };
    let mut names = vec![first];
    while let Some((inner, of_inner)) = given.subcommand() {
        let Some(found) = command.find_subcommand(inner) else { break };
        (command, given) = (found, of_inner);
        names.push(inner);
    }
    let name = names.join(" ");

    // The flags of each option, with the table that they are of.
    let mut found: Vec<(usize, ConfiguredOption, Vec<OsString>)> = Vec::new();
    for (table, (key, value)) in in_tables(options(root, path, &names)?) {
        let (arg, long) = option_called(root, command, path, (&name, &key))?;
        let is_off = turned_off.iter().any(|off| off == long);
        if is_off || goes_before(given, arg.get_id().as_str(), is_named) || is_excluded(command, arg, given) {
            continue;
        }
        let written = value.clone();
        if !arg.get_action().takes_values() && !value.is_bool() {
            bail!("{}: `{key}` is true or false, not {value}", path.display());
        }
        let role = role(&names, arg.get_id().as_str());
        let value = resolve_paths(path, (arg, role), value);
        let mut flags = Vec::new();
        push_flag(&mut flags, long, &value).with_context(|| format!("{}: option `{key}`", path.display()))?;
        // An inner table goes before those around it, also with a `false` and with another list.
        if found.iter().any(|(of, option, _)| *of == table && option.long == long) {
            bail!("{}: `{long}` stands twice in a table, under two of its names", path.display());
        }
        found.retain(|(_, option, _)| option.long != long);
        found.push((table, configured_option(path, (arg, role), &written, &value), flags));
    }
    let mut all = Vec::new();
    for (_, option, flags) in found {
        put_in.push(option);
        all.extend(flags);
    }
    Ok(insert_behind_command(root, argv, &names, all))
}

/// Keys and values of tables, each with the number of its table.
fn in_tables(tables: Vec<toml::Table>) -> impl Iterator<Item = (usize, (String, toml::Value))> {
    let of_table = |(table, keys): (usize, toml::Table)| keys.into_iter().map(move |key| (table, key));
    tables.into_iter().enumerate().flat_map(of_table)
}

/// The option of a command that a key of the file is, with its flag.
fn option_called<'a>(
    root: &'a Command,
    command: &'a Command,
    path: &Path,
    (name, key): (&str, &str),
) -> Result<(&'a Arg, &'a str)> {
    let Some(arg) = command.get_arguments().chain(root.get_arguments()).find(|arg| is_called(arg, key))
    else {
        return Err(no_option(root, command, path, (name, key)));
    };
    let Some(long) = arg.get_long() else {
        bail!(
            "{}: `{key}` cannot be set in a config file: it is an argument of `gstore {name}` without a flag",
            path.display()
        )
    };
    if long == "config" {
        bail!(
            "{}: `config` cannot be set in a config file: --config and GSTORE_CONFIG name that file",
            path.display()
        );
    }
    Ok((arg, long))
}

/// The command line with `--switch=true` as `--switch` and without `--switch=false`, which is how one of the
/// file is turned off; with the switches that are, as their flags without hyphens.
fn turn_switches(root: &Command, argv: Vec<OsString>) -> Result<(Vec<OsString>, Vec<String>)> {
    let command = commands(root, &argv).last().map_or(root, |(_, command)| *command);
    let (mut turned, mut off) = (Vec::with_capacity(argv.len()), Vec::new());
    let mut words = argv.into_iter();
    for word in words.by_ref() {
        let is_end = word == "--";
        let given =
            word.to_str().and_then(|word| word.strip_prefix("--")).and_then(|word| word.split_once('='));
        let switch = given.and_then(|(name, value)| Some((switch_called(root, command, name)?, value)));
        match switch {
            Some((long, "true")) => turned.push(format!("--{long}").into()),
            Some((long, "false")) => off.push(long.to_owned()),
            Some((long, other)) => bail!("--{long} is true or false, not {other}"),
            None => turned.push(word),
        }
        if is_end {
            break;
        }
    }
    turned.extend(words);
    Ok((turned, off))
}

/// The flag, without hyphens, of the option without a value that a command calls so.
fn switch_called<'a>(root: &'a Command, command: &'a Command, name: &str) -> Option<&'a str> {
    let is_switch =
        |arg: &&Arg| matches!(arg.get_action(), ArgAction::SetTrue) && flags(arg).any(|flag| flag == name);
    command.get_arguments().chain(root.get_arguments()).find(is_switch).and_then(Arg::get_long)
}

/// The flags of an option, without hyphens before them: its own, then its aliases.
pub fn flags(arg: &Arg) -> impl Iterator<Item = &str> {
    arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default())
}

/// Whether a key is that of an argument: its flag, or another one that it has, without hyphens before it.
/// Without a flag it has its name alone.
fn is_called(arg: &Arg, key: &str) -> bool {
    match arg.get_long() {
        Some(_) => flags(arg).any(|flag| flag == key.replace('_', "-")),
        None => arg.get_id() == key.replace('-', "_").as_str(),
    }
}

/// The error for a key that is not an option of its command, with a suggestion.
fn no_option(root: &Command, command: &Command, path: &Path, (name, key): (&str, &str)) -> Error {
    let known = command.get_arguments().chain(root.get_arguments()).filter_map(Arg::get_long);
    let meant = || in_place_of(command, key).map(|meant| format!("; {meant}"));
    let hint = other_command_option(root, key).or_else(meant);
    let hint = hint.unwrap_or_else(|| did_you_mean(key, known));
    anyhow!("{}: `gstore {name}` has no option `{key}`{hint}", path.display())
}

/// Where an option of other commands belongs, as each of a file's first lines is one of all commands.
fn other_command_option(root: &Command, key: &str) -> Option<String> {
    let is_option = |arg: &Arg| arg.get_long().is_some() && is_called(arg, key);
    let has = |command: &&Command| command.get_arguments().any(is_option);
    let commands: Vec<&str> = root.get_subcommands().filter(has).map(Command::get_name).collect();
    let first = commands.first()?;
    let more = if commands.len() > 1 { " and others" } else { "" };
    Some(format!(
        "; it is an option of `gstore {first}`{more}: put it under the name of its command, [{first}]"
    ))
}

/// An option as messages name it; its key is its flag.
fn configured_option(
    path: &Path,
    (arg, role): (&Arg, Option<ValueRole>),
    written: &toml::Value,
    value: &toml::Value,
) -> ConfiguredOption {
    let long = arg.get_long().unwrap_or_default();
    let values: Vec<String> = match value {
        toml::Value::Array(items) => items.iter().filter_map(|item| scalar(item).ok()).collect(),
        value => scalar(value).into_iter().collect(),
    };
    let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    ConfiguredOption {
        long: long.to_owned(),
        values,
        is_path: is_path(arg) || matches!(role, Some(ValueRole::Model | ValueRole::NamedModel)),
        written: if long == "token" { "a token".to_owned() } else { format!("{long} = {written}") },
        place: file.display().to_string(),
    }
}

/// The config file where none is named.
fn default_config(command: &str) -> Option<PathBuf> {
    // The demo has a store of its own, and a completion script none.
    if matches!(command, "demo" | "completions") {
        return None;
    }
    match std::env::var_os("GSTORE_CONFIG") {
        Some(path) => (!path.is_empty()).then(|| path.into()),
        None => Some(PathBuf::from(DEFAULT)).filter(|path| path.is_file()),
    }
}

/// The config file in the working folder.
const DEFAULT: &str = "gstore.toml";

/// The same value with paths that count from the folder of the file.
fn resolve_paths(file: &Path, of: (&Arg, Option<ValueRole>), value: toml::Value) -> toml::Value {
    let Some(folder) = file.parent().filter(|folder| *folder != Path::new("")) else { return value };
    match value {
        toml::Value::String(text) => toml::Value::String(resolved(folder, of, &text)),
        toml::Value::Array(items) => {
            toml::Value::Array(items.into_iter().map(|item| resolve_paths(file, of, item)).collect())
        }
        other => other,
    }
}

/// One text of such a value.
fn resolved(folder: &Path, (arg, role): (&Arg, Option<ValueRole>), text: &str) -> String {
    if text == "-" || text.contains("://") {
        return text.to_owned();
    }
    let path = |path: &str| folder.join(path).display().to_string();
    // A name of the Hub stays one where no such folder is next to the file.
    let model = |name: &str| if is_there(folder, name) { path(name) } else { name.to_owned() };
    let (_, value) = named_path_among(text, |path| has_first_part(folder, path));
    let name = text.strip_suffix(value).unwrap_or_default();
    match role {
        _ if is_path(arg) => path(text),
        Some(ValueRole::NamedRead) => format!("{name}{}", path(value)),
        Some(ValueRole::Model) => model(text),
        Some(ValueRole::NamedModel) => format!("{name}{}", model(value)),
        Some(ValueRole::Segment) => match text.split_once('@') {
            Some((what, folders)) => {
                let folders: Vec<String> = folders.split(',').map(model).collect();
                format!("{what}@{}", folders.join(","))
            }
            None => text.to_owned(),
        },
        Some(ValueRole::Template) if is_template_file(text) => path(text),
        _ => text.to_owned(),
    }
}

fn is_path(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

/// Whether the first part of a path or pattern is in a folder.
fn is_there(folder: &Path, path: &str) -> bool {
    let is_pattern = path.split('/').next().is_some_and(|first| first.contains(['*', '?', '[']));
    is_pattern || has_first_part(folder, path)
}

/// Whether an option is set by what goes before the file: the command line, and before a file that was only
/// found also the environment.
fn goes_before(given: &ArgMatches, id: &str, is_named: bool) -> bool {
    let source = given.try_contains_id(id).ok().and_then(|_| given.value_source(id));
    match source {
        Some(ValueSource::CommandLine) => true,
        Some(ValueSource::EnvVariable) => !is_named,
        _ => false,
    }
}

/// Whether the command line has an option that cannot stand beside this one of the file. Which of two
/// excludes the other may be said with either.
fn is_excluded(command: &Command, arg: &Arg, given: &ArgMatches) -> bool {
    let excludes = |one: &Arg, other: &Arg| {
        // Those that every command takes exclude nothing, and a command does not know them before it is
        // built.
        !one.is_global_set()
            && command.get_arg_conflicts_with(one).iter().any(|found| found.get_id() == other.get_id())
    };
    let mut of_command =
        command.get_arguments().filter(|other| goes_before(given, other.get_id().as_str(), true));
    of_command.any(|other| other.get_id() != arg.get_id() && (excludes(arg, other) || excludes(other, arg)))
        || is_of_server(command, arg) && goes_before(given, "store", true)
}

/// Whether an option says which server is asked instead of a store here, or how it is reached. `gstore serve`
/// has certificates of its own.
fn is_of_server(command: &Command, arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "remote" | "tls_ca" | "tls_cert" | "tls_key")
        && command.get_arguments().any(|other| other.get_id() == "remote")
}

/// Options of the file that concern this command, which `names` lead to: those of each table, outer ones
/// first.
fn options(root: &Command, path: &Path, names: &[&str]) -> Result<Vec<toml::Table>> {
    let text = fs_err::read_to_string(path).context("the config file")?;
    let mut table: toml::Table = text
        .parse()
        .with_context(|| format!("{} is not valid TOML{}", path.display(), unquoted_hint(&text)))?;
    let (mut found, mut command) = (Vec::new(), Some(root));
    let run = names.iter().try_fold(root, |command, name| command.find_subcommand(name));
    let takes = |key: &str| run.is_some_and(|run| run.get_arguments().any(|arg| is_called(arg, key)));
    let mut above = String::new();
    for name in names.iter().map(Some).chain([None]) {
        let (mut own, mut next) = (toml::Table::new(), toml::Table::new());
        let has_commands = command.is_some_and(Command::has_subcommands);
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) if has_commands => {
                    check_command(command, path, &key)?;
                    if name.is_some_and(|name| *name == key) {
                        next = inner;
                    } else if let Some(other) = command.and_then(|command| command.find_subcommand(&key)) {
                        check_keys((root, other), path, &format!("{above}{key}"), &inner)?;
                    }
                }
                // The table of a group has options of all its commands.
                _ if has_commands
                    && !above.is_empty()
                    && !takes(&key)
                    && command.is_some_and(|group| knows(group, &key)) => {}
                value => {
                    own.insert(key, value);
                }
            }
        }
        found.push(own);
        table = next;
        command = command.zip(name).and_then(|(command, name)| command.find_subcommand(name));
        above.extend(name.into_iter().flat_map(|name| [*name, " "]));
    }
    Ok(found)
}

/// What is said of the first line whose text stands without quotes, if there is one.
fn unquoted_hint(toml: &str) -> String {
    let line = |line: &str| {
        let (key, value) = line.split_once('=').filter(|(key, _)| !key.trim_start().starts_with('#'))?;
        let value = value.split(" #").next()?.trim();
        let begins = value.starts_with(|c: char| c.is_ascii_alphabetic() || "./~".contains(c));
        let is_word = matches!(value, "true" | "false" | "inf" | "nan");
        (begins && !is_word).then(|| format!(" (write text in quotes: {} = \"{value}\")", key.trim()))
    };
    toml.lines().find_map(line).unwrap_or_default()
}

/// An error unless a table is named after a command.
fn check_command(parent: Option<&Command>, path: &Path, key: &str) -> Result<()> {
    if parent.is_none_or(|parent| parent.find_subcommand(key).is_some()) {
        return Ok(());
    }
    let known = parent.into_iter().flat_map(Command::get_subcommands).map(Command::get_name);
    bail!("{}: there is no command [{key}]{}", path.display(), did_you_mean(key, known));
}

/// Refuses unknown keys in the table of a command that does not run: each is an option of it or of one of its
/// subcommands.
fn check_keys(
    (root, command): (&Command, &Command),
    path: &Path,
    name: &str,
    table: &toml::Table,
) -> Result<()> {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) if command.has_subcommands() => {
                check_command(Some(command), path, key)?;
                if let Some(own) = command.find_subcommand(key) {
                    check_keys((root, own), path, &format!("{name} {key}"), inner)?;
                }
            }
            _ if knows(command, key) || root.get_arguments().any(|arg| is_called(arg, key)) => {}
            _ => return Err(no_option(root, command, path, (name, key))),
        }
    }
    Ok(())
}

/// Whether a command or one of its own has an option that is called so.
fn knows(command: &Command, key: &str) -> bool {
    command.get_arguments().any(|arg| is_called(arg, key))
        || command.get_subcommands().any(|inner| knows(inner, key))
}

fn push_flag(flags: &mut Vec<OsString>, long: &str, value: &toml::Value) -> Result<()> {
    match value {
        toml::Value::Boolean(true) => flags.push(format!("--{long}").into()),
        toml::Value::Boolean(false) => {}
        toml::Value::Array(items) => {
            for item in items {
                flags.push(format!("--{long}={}", scalar(item)?).into());
            }
        }
        value => flags.push(format!("--{long}={}", scalar(value)?).into()),
    }
    Ok(())
}

fn scalar(value: &toml::Value) -> Result<String> {
    Ok(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(n) => n.to_string(),
        toml::Value::Float(x) => x.to_string(),
        other => bail!("a {} cannot be the value of an option", other.type_str()),
    })
}

/// The command line with flags behind the command that `names` lead to.
fn insert_behind_command(
    root: &Command,
    mut argv: Vec<OsString>,
    names: &[&str],
    flags: Vec<OsString>,
) -> Vec<OsString> {
    let last = names.len().checked_sub(1).and_then(|last| commands(root, &argv).get(last).copied());
    let at = last.map_or(argv.len(), |(at, _)| at + 1);
    argv.splice(at..at, flags);
    argv
}

/// The places of the words that name a command, each with its command. Values of options before it, such as
/// the folder of a store, may be called as a command is.
fn commands<'a>(root: &'a Command, argv: &[OsString]) -> Vec<(usize, &'a Command)> {
    let mut found: Vec<(usize, &Command)> = Vec::new();
    let mut command = root;
    let mut words = argv.iter().enumerate().skip(1);
    while let Some((at, word)) = words.next() {
        let word = word.to_string_lossy();
        if word.starts_with('-') {
            // Those of the root stand behind every command.
            if root.get_arguments().chain(command.get_arguments()).any(|arg| takes_next(arg, &word)) {
                words.next();
            }
        } else if let Some(inner) = command.find_subcommand(&*word) {
            command = inner;
            found.push((at, inner));
        }
    }
    found
}

/// Whether a word is the flag of an option whose value is the next word.
fn takes_next(arg: &Arg, word: &str) -> bool {
    let is_flag = match word.strip_prefix("--") {
        Some(long) => arg.get_long_and_visible_aliases().is_some_and(|longs| longs.contains(&long)),
        None => {
            arg.get_short().is_some_and(|short| word.strip_prefix('-').is_some_and(|of| of.ends_with(short)))
        }
    };
    let least = arg.get_num_args().map_or(1, |number| number.min_values());
    is_flag && arg.get_action().takes_values() && least > 0
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn run(toml: &str, args: &[&str]) -> Result<Vec<String>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("c.toml");
        fs_err::write(&file, toml)?;
        let mut argv: Vec<OsString> = vec!["gstore".into()];
        argv.extend(args.iter().map(|a| OsString::from(a.replace("FILE", &file.display().to_string()))));
        let root = Cli::command();
        Ok(expand(&root, argv, &mut Vec::new())?
            .into_iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect())
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let argv = run(
            "store = 's'\n[ingest]\nmodel = 'm'\ndim = 64\nfeatures = ['loss', 'grad-sgd']\n[select]\ntop = '5%'\n",
            &["ingest", "--config", "FILE", "--dim", "32", "--dataset", "d"],
        )
        .expect("valid");
        let text = argv.join(" ");
        assert!(text.starts_with("gstore ingest --") && text.ends_with("--dim 32 --dataset d"), "{text}");
        // Paths count from the folder of the file.
        for part in ["/s --", "--store=/", "--model=m", "--features=loss --features=grad-sgd"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(!text.contains("--dim=64") && !text.contains("--top"), "{text}");
    }

    #[test]
    fn what_the_command_line_excludes_is_left_out_of_the_file() {
        let file = "[query]\nformat = 'csv'\n[train]\ndata = ['a']\npercentage = 0.5\n";
        for (words, left_out, kept) in [
            (&["query", "--json", "SELECT 1"][..], "--format", ""),
            (&["train", "--dataset", "pool"], "--data=", "--percentage=0.5"),
            (&["query", "-o", "x.csv", "SELECT 1"], "--json", "--format=csv"),
        ] {
            let words = [words, &["--config", "FILE"][..]].concat();
            let argv = run(file, &words).expect("valid").join(" ");
            assert!(!argv.contains(left_out) && argv.contains(kept), "{argv}");
        }
        let argv =
            run("[query]\njson = true\n", &["query", "--format", "csv", "--config", "FILE", "SELECT 1"]);
        assert!(!argv.expect("valid").contains(&"--json".to_owned()));
    }

    #[test]
    fn the_command_line_turns_off_what_the_file_turns_on() {
        let file = "quiet = true\n[select]\nexclude-target = true\nforce = true\n";
        let line = ["select", "--exclude-target=false", "--quiet=false", "--config", "FILE", "--force=true"];
        let argv = run(file, &line).expect("valid").join(" ");
        assert!(!argv.contains("exclude-target") && !argv.contains("quiet"), "{argv}");
        assert_eq!(argv.matches("--force").count(), 1, "{argv}");
        let error =
            run(file, &["select", "--force=no", "--config", "FILE"]).expect_err("refused").to_string();
        assert_eq!(error, "--force is true or false, not no");
        // Behind `--` and of other commands they are what they were.
        for word in ["--exclude-target=false", "--top=5"] {
            let argv = run("", &["query", "--config", "FILE", "--", word]).expect("valid");
            assert_eq!(argv.last().map(String::as_str), Some(word));
        }
    }

    #[test]
    fn what_the_command_line_gives_twice_is_not_taken_from_the_file() {
        let file = "store = 's'\n[ingest]\nmodel = 'm'\n";
        for words in [
            &["--store", "a", "--store", "b", "ls", "--config", "FILE"][..],
            &["ls", "--store", "a", "--store", "b", "--config", "FILE"],
            &["ingest", "--store", "a", "--model", "a", "--model", "b", "--config", "FILE"],
        ] {
            let argv = run(file, words).expect("valid").join(" ");
            assert!(!argv.contains("--store=") && !argv.contains("--model="), "{argv}");
            let error = Cli::command().try_get_matches_from(argv.split(' ')).expect_err("given twice");
            assert!(error.to_string().contains("cannot be used multiple times"), "{error}");
        }
    }

    #[cfg(feature = "serve")]
    #[test]
    fn a_store_of_the_command_line_goes_before_a_server_of_the_file() {
        let file = "[query]\nremote = 'grpc+tls://h:1'\ntls-ca = 'ca.pem'\nformat = 'csv'\n[serve]\n\
                    tls-cert = 'c.pem'\n";
        let argv =
            |words: &[&str]| run(file, &[words, &["--config", "FILE"]].concat()).expect("valid").join(" ");
        for words in [&["query", "--store", "s", "SELECT 1"][..], &["--store", "s", "query", "SELECT 1"]] {
            let argv = argv(words);
            assert!(argv.contains("--format=csv"), "{argv}");
            assert!(!argv.contains("--remote") && !argv.contains("--tls-ca"), "{argv}");
        }
        let of_file = argv(&["query", "SELECT 1"]);
        assert!(of_file.contains("--remote=grpc+tls://h:1") && of_file.contains("--tls-ca="), "{of_file}");
        assert!(argv(&["serve", "--store", "s"]).contains("--tls-cert="));
    }

    #[test]
    fn a_table_in_a_table_is_of_a_command_of_a_command() {
        let file = "[evaluate.tasks]\nmodel = 'm'\n[evaluate.text]\nseed = 3\n[ingest]\ndim = 3\n";
        let argv = run(file, &["evaluate", "tasks", "--config", "FILE", "--data", "tasks"]).expect("valid");
        assert!(argv.join(" ").starts_with("gstore evaluate tasks --model=m --config"), "{argv:?}");
        let error = run("[evaluate.task]\nx = 1\n", &["evaluate", "tasks", "--config", "FILE"]);
        let error = error.expect_err("unknown command").to_string();
        assert!(error.contains("did you mean `tasks`"), "{error}");
        let error =
            run("store = ../s # mine\n", &["ls", "--config", "FILE"]).expect_err("no TOML").to_string();
        assert!(error.ends_with("(write text in quotes: store = \"../s\")"), "{error}");
        let error = run("# store = ../t\nstore = ../s\n", &["ls", "--config", "FILE"])
            .expect_err("no TOML")
            .to_string();
        assert!(error.ends_with("(write text in quotes: store = \"../s\")"), "{error}");
    }

    #[test]
    fn an_inner_table_goes_before_those_around_it() {
        let file = "threads = 8\nquiet = true\n[ingest]\nthreads = 16\nquiet = false\n\
                    [evaluate]\nforce = true\nthreads = 4\n[evaluate.tasks]\nforce = false\n";
        let of =
            |words: &[&str]| run(file, &[words, &["--config", "FILE"]].concat()).expect("valid").join(" ");
        let ingest = of(&["ingest"]);
        assert!(ingest.contains("--threads=16") && !ingest.contains("--threads=8"), "{ingest}");
        assert!(!ingest.contains("--quiet"), "{ingest}");
        let tasks = of(&["evaluate", "tasks"]);
        assert!(!tasks.contains("--force") && tasks.contains("--threads=4"), "{tasks}");
        assert_eq!(tasks.matches("--threads").count(), 1, "{tasks}");
        // Another command of the group has what stands around.
        let text = of(&["evaluate", "text"]);
        assert!(text.contains("--force") && text.contains("--quiet"), "{text}");
        // A list is replaced as a whole.
        let file = "[evaluate]\ndata = ['a.jsonl', 'b.jsonl']\n[evaluate.text]\ndata = ['c.jsonl']\n";
        let text = run(file, &["evaluate", "text", "--config", "FILE"]).expect("valid").join(" ");
        assert!(text.contains("/c.jsonl") && !text.contains("a.jsonl"), "{text}");
        // Two names in one table are neither outer nor inner.
        let file = "[ingest]\nmax-length = 5\nmax_length = 6\n";
        let error = run(file, &["ingest", "--config", "FILE"]).expect_err("refused").to_string();
        assert!(error.ends_with("`max-length` stands twice in a table, under two of its names"), "{error}");
    }

    #[test]
    fn a_store_may_be_called_as_the_command_is() {
        let file = "[query]\nformat = 'csv'\n[evaluate.tasks]\nmodel = 'm'\n";
        for (words, begins) in [
            (&["--store", "query", "query"][..], "gstore --store query query --format=csv --config"),
            (
                &["evaluate", "--store", "tasks", "tasks"],
                "gstore evaluate --store tasks tasks --model=m --config",
            ),
        ] {
            let argv = run(file, &[words, &["--config", "FILE"]].concat()).expect("valid").join(" ");
            assert!(argv.starts_with(begins), "{argv}");
        }
    }

    #[test]
    fn paths_count_from_the_folder_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        for made in ["llama", "lr=1e-3"] {
            fs_err::create_dir_all(folder.path().join(made)).expect("made");
        }
        let file = folder.path().join("c.toml");
        fs_err::write(
            &file,
            "store = 's'\n[ingest]\nmodel = 'llama'\ncheckpoints = ['w/c-*', 'a=llama', 'org/name', 'lr=1e-3/c-*']\ndata = ['x.jsonl', '-', '/y']\nrun = 'llama'\n",
        )
        .expect("written");
        let argv: Vec<OsString> =
            ["gstore", "ingest", "--config", &file.display().to_string()].map(OsString::from).into();
        let mut given = Vec::new();
        let argv = expand(&Cli::command(), argv, &mut given).expect("valid");
        let argv: Vec<String> = argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let here = |name: &str| folder.path().join(name).display().to_string();
        for flag in [
            format!("--store={}", here("s")),
            format!("--model={}", here("llama")),
            "--checkpoints=w/c-*".to_owned(),
            format!("--checkpoints=a={}", here("llama")),
            "--checkpoints=org/name".to_owned(),
            format!("--checkpoints={}", here("lr=1e-3/c-*")),
            format!("--data={}", here("x.jsonl")),
            "--data=-".to_owned(),
            "--data=/y".to_owned(),
            "--run=llama".to_owned(),
        ] {
            assert!(argv.contains(&flag), "no {flag} in {argv:?}");
        }
        let store = given.iter().find(|option| option.long == "store").expect("put in");
        assert_eq!((store.written.as_str(), &store.place), ("store = \"s\"", &file.display().to_string()));
        assert!(store.is_path && store.values == [here("s")], "{store:?}");
        // A file may have a `=` in its own name, behind another name or alone.
        fs_err::write(folder.path().join("lr=1.jsonl"), "").expect("written");
        fs_err::write(&file, "[evaluate.text]\ndata = ['lr=1.jsonl', 'a=lr=1.jsonl']\n").expect("written");
        let argv = ["gstore", "evaluate", "text", "--config", &file.display().to_string()];
        let argv = argv.map(OsString::from).into();
        let argv = expand(&Cli::command(), argv, &mut Vec::new()).expect("valid");
        for data in [here("lr=1.jsonl"), format!("a={}", here("lr=1.jsonl"))] {
            assert!(argv.contains(&OsString::from(format!("--data={data}"))), "no {data} in {argv:?}");
        }
    }

    #[test]
    fn keys_are_flags_and_files_behind_names_count_from_the_folder_of_the_file() {
        let file =
            "quiet = true\n[query]\njson = true\nparam = ['a=1']\nwith = ['t=data/t.csv', 'u=/u.csv']\n";
        let argv = run(file, &["query", "--config", "FILE", "SELECT 1"]).expect("valid");
        for flag in ["--quiet", "--json", "--param=a=1", "--with=u=/u.csv"] {
            assert!(argv.iter().any(|word| word == flag), "no {flag} in {argv:?}");
        }
        let located = |word: &String| word.starts_with("--with=t=/") && word.ends_with("/data/t.csv");
        assert!(argv.iter().any(located), "{argv:?}");
        let file = "[evaluate.text]\ndata = ['base=a.jsonl', 'b.jsonl']\n";
        let argv = run(file, &["evaluate", "text", "--config", "FILE"]).expect("valid");
        for (begin, end) in [("--data=base=/", "/a.jsonl"), ("--data=/", "/b.jsonl")] {
            let located = |word: &String| word.starts_with(begin) && word.ends_with(end);
            assert!(argv.iter().any(located), "no {begin} in {argv:?}");
        }
    }

    #[test]
    fn templates_and_checkpoints_of_all_commands_count_from_the_folder_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::create_dir_all(folder.path().join("run/250")).expect("made");
        let file = folder.path().join("c.toml");
        let text = "[ingest]\ntemplate = 'mine.jinja'\n[train]\ntemplate = 'tulu'\n\
                    [factors.fit]\ncheckpoint = 'run/250'\naverage = ['a=run/250', 'org/name']\n\
                    [score]\ncheckpoint = 'run/250'\nsegment = ['late=5*1e-4@run/250,org/name', 'first=5*1e-4']\n\
                    [factors.gram]\ncheckpoints = ['run']\n";
        fs_err::write(&file, text).expect("written");
        let config = file.display().to_string();
        let here = |name: &str| folder.path().join(name).display().to_string();
        for (words, wanted) in [
            (&["ingest"][..], vec![format!("--template={}", here("mine.jinja"))]),
            (&["train"], vec!["--template=tulu".to_owned()]),
            (
                &["factors", "fit"],
                vec![
                    format!("--checkpoint={}", here("run/250")),
                    format!("--average=a={}", here("run/250")),
                    "--average=org/name".to_owned(),
                ],
            ),
            (
                &["score"],
                vec![
                    format!("--checkpoint={}", here("run/250")),
                    format!("--segment=late=5*1e-4@{},org/name", here("run/250")),
                    "--segment=first=5*1e-4".to_owned(),
                ],
            ),
            // Names of checkpoints in the store.
            (&["factors", "gram"], vec!["--checkpoints=run".to_owned()]),
        ] {
            let argv = [&["gstore"][..], words, &["--config", &config]].concat();
            let argv = argv.into_iter().map(OsString::from).collect();
            let argv = expand(&Cli::command(), argv, &mut Vec::new()).expect("valid");
            for flag in wanted {
                assert!(argv.iter().any(|word| *word == *flag), "no {flag} in {argv:?}");
            }
        }
    }

    #[test]
    fn what_a_file_cannot_set_is_refused_and_not_ignored() {
        for (file, says) in [
            (
                "[query]\nsql = 'SELECT 2'\n",
                "`sql` cannot be set in a config file: it is an argument of `gstore query`",
            ),
            ("config = 'x'\n", "`config` cannot be set in a config file: --config and GSTORE_CONFIG"),
        ] {
            let error =
                run(file, &["query", "--config", "FILE", "SELECT 1"]).expect_err("refused").to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn keys_of_other_commands_are_checked_too() {
        let args = ["query", "--config", "FILE", "SELECT 1"];
        for (file, says) in [
            ("[select]\ntopp = '5%'\n", "`gstore select` has no option `topp`; did you mean `top`?"),
            (
                "[evaluate.tasks]\nlimt = 5\n",
                "`gstore evaluate tasks` has no option `limt`; did you mean `limit`?",
            ),
            ("[evaluate]\nlimt = 5\n", "`gstore evaluate` has no option `limt`"),
        ] {
            let error = run(file, &args).expect_err("refused").to_string();
            assert!(error.contains(says), "{error}");
        }
        // The options of all commands of a group may stand in its table, and those of all commands in each.
        let file = "[evaluate]\nlimit = 5\nquiet = true\n[evaluate.text]\nforce = true\n";
        run(file, &args).expect("valid");
        run(file, &["evaluate", "text", "--config", "FILE"]).expect("valid");
        run("[ingest]\ndevices = 'cpu'\n", &args).expect("valid");
        let file = "[evaluate.tasks]\nlimt = 5\n";
        let error = run(file, &["evaluate", "text", "--config", "FILE"]).expect_err("refused").to_string();
        assert!(error.contains("`gstore evaluate tasks` has no option `limt`"), "{error}");
    }

    #[test]
    fn unknown_names_are_errors_with_the_nearest() {
        let error = run("[ingest]\ndimm = 3\n", &["ingest", "--config", "FILE"]).expect_err("unknown option");
        assert!(error.to_string().contains("did you mean `dim`"), "{error}");
        let error = run("[train]\nlr = 1e-3\n", &["train", "--config", "FILE"]).expect_err("unknown option");
        assert!(error.to_string().ends_with("no option `lr`; --learning-rate X does its job"), "{error}");
        let error = run("[ingst]\ndim = 3\n", &["ingest", "--config", "FILE"]).expect_err("unknown command");
        assert!(error.to_string().contains("did you mean `ingest`"), "{error}");
    }
}
