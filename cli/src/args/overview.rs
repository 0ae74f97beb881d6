//! Command lines that do not parse: those without a command get all commands in short, a file its option, and
//! what has another name here that name.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use gstore_core::{did_you_mean, nearest};
use gstore_store::Store;

use super::elsewhere::{has_option, in_place_of, named_command, other_command};
use crate::wording::shell_word;

/// How names of files end that are data, before what they are packed with.
const DATA_ENDINGS: [&str; 7] = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet", "arrow"];

/// The commands by what they are for.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Begin", &["demo", "add", "ingest"]),
    ("Ask", &["query", "select", "ask", "score", "matrix", "factors", "prefilter", "plot"]),
    ("Models", &["train", "merge", "generate", "evaluate", "daunce"]),
    ("Store", &["ls", "info", "snapshots", "tag", "view", "delete", "drop", "revert"]),
    ("Upkeep", &["index", "compact", "gc", "backup", "restore", "verify"]),
    ("More", &["run", "import", "attach", "serve", "token", "completions"]),
];

/// What is said of a command line without a command, of `root` or of the command that it has; `None` of
/// another error.
pub fn without_command(root: &Command, argv: &[OsString], error: &clap::Error) -> Option<String> {
    let is_command = |word: &OsString| word.to_str().is_some_and(|word| root.find_subcommand(word).is_some());
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else {
                return None;
            };
            if let Some(said) = misplaced_store(argv, name) {
                return Some(said);
            }
            let before = argv.iter().skip(1).take_while(|word| *word != name.as_str());
            let command = named_command(root, before.filter_map(|word| word.to_str()));
            let similar = match error.get(ContextKind::SuggestedSubcommand) {
                Some(ContextValue::Strings(names)) => names.as_slice(),
                Some(ContextValue::String(name)) => std::slice::from_ref(name),
                _ => &[],
            };
            let hint = match other_command(command.get_name(), name) {
                Some(meant) => format!("; {meant}"),
                None => did_you_mean(name, similar.iter().map(String::as_str)),
            };
            if command.get_name() == root.get_name() {
                return Some(format!("error: there is no command `{name}`{hint}\n\n{}", overview(root)));
            }
            let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            let (of, known) = (command.get_name(), known.join(", "));
            Some(format!("error: `gstore {of}` has no command `{name}`{hint}\n  its commands are {known}"))
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            if !argv.iter().skip(1).any(is_command) =>
        {
            Some(format!("error: which command?\n\n{}", overview(root)))
        }
        ErrorKind::MissingSubcommand => {
            let command = named_command(root, argv.iter().skip(1).filter_map(|word| word.to_str()));
            let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            let (of, known) = (command.get_name(), known.join(", "));
            Some(format!("error: which command of `gstore {of}`? It has {known}"))
        }
        _ => None,
    }
}

/// What is said of a file or a dataset without its option, for a command of `root` that takes it with one,
/// and of what another command or option does.
pub fn misplaced_hint(root: &Command, argv: &[OsString], error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let words = argv.iter().skip(1).filter_map(|word| word.to_str());
    let first = words.clone().find_map(|word| root.find_subcommand(word)).map(Command::get_name);
    let has_given = |long: &str| {
        argv.iter()
            .filter_map(|word| word.to_str()?.strip_prefix("--")?.split('=').next())
            .any(|word| word == long)
    };
    let missing = only_option(first).filter(|option| !has_given(option));
    let behind_table = words.clone().skip_while(|word| *word != "--with").nth(2);
    let command = named_command(root, words);
    let is_name = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_table =
        |word: &str| word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && is_name(name));
    let has = |long: &str| has_option(command, long);
    // A backup may be in a folder of such a name, and has an option of its own.
    let is_backup = missing.is_some() && first != Some("revert");
    if let Some(said) = misplaced_store(argv, word).filter(|_| !is_backup && !has_given("store")) {
        return Some(said);
    }
    match word.as_str() {
        word if has("data") && is_data(word) => Some(with_option("data is", argv, word, "data")),
        "--remote" if root.find_subcommand("query").is_some_and(|query| has_option(query, "remote")) => {
            let name = first.unwrap_or_default();
            Some(format!(
                "error: `gstore {name}` cannot query a server; only `gstore query` and `gstore select` have --remote"
            ))
        }
        _ if first == Some("query") && behind_table.is_some_and(is_table) => {
            let table = behind_table.unwrap_or_default();
            Some(format!("error: unexpected argument `{table}`; repeat the option for each table: --with {table}"))
        }
        word if first == Some("generate") && behind_text(argv, word).is_some() => behind_text(argv, word)
            .map(|option| {
                format!("error: unexpected argument `{word}`; repeat the option for each text: --{option} '{word}'")
            }),
        "--dry-run" if first == Some("drop") => {
            Some("error: `gstore drop` has no --dry-run; `gstore revert` undoes a drop".to_owned())
        }
        word if word.starts_with('-') && in_place_of(command, word).is_some() => {
            let meant = in_place_of(command, word).map(|meant| as_given(meant, argv, word));
            meant.map(|meant| format!("error: there is no {word}; {meant}"))
        }
        word if positional(command, word).is_some() => positional(command, word).map(|called| {
            format!("error: there is no {word}; give {called} as an argument, without an option")
        }),
        word if missing.is_some() && !word.starts_with('-') => {
            missing.map(|option| format!("error: unexpected argument `{word}`; give it as --{option} {word}"))
        }
        "--list" | "-l" if first == Some("tag") || command.find_subcommand("list").is_some() => {
            Some(format!("error: `gstore {} list` lists what there is", command.get_name()))
        }
        "--list" | "-l" if first == Some("index") => {
            Some("error: `gstore index` alone lists what there is".to_owned())
        }
        "-d" if first == Some("tag") => Some("error: there is no -d; --delete removes a tag".to_owned()),
        // The word before it was taken for the tag.
        word if first == Some("tag") && !word.starts_with('-') => Some(format!(
            "error: one tag at a time: `gstore tag {word}` sets it, with --delete it is removed"
        )),
        word if first == Some("ls") && is_name(word) => {
            Some(format!("error: `gstore ls` takes no name; `gstore info {word}` describes `{word}`"))
        }
        word if has("dataset") && !has_given("dataset") && is_name(word) => {
            Some(format!("error: unexpected argument `{word}`; name a dataset with --dataset {word}"))
        }
        _ => None,
    }
}

/// What is said of a store without its option: it is the word that is refused, or the one before that, which
/// was taken for something else.
fn misplaced_store(argv: &[OsString], word: &str) -> Option<String> {
    let refused = argv.iter().position(|given| given == word)?;
    let stands_alone = |at: usize| {
        let before = argv.get(at.checked_sub(1)?)?.to_str()?;
        let given = argv.get(at)?.to_str().filter(|_| !before.starts_with('-'))?;
        (given.trim_end_matches('/').ends_with(".gstore") || Store::open(given).is_ok()).then_some(given)
    };
    let store = stands_alone(refused).or_else(|| stands_alone(refused.checked_sub(1)?))?;
    Some(with_option("the store is", argv, store, "store"))
}

/// Whether a word is a file of data, or is called like one.
fn is_data(word: &str) -> bool {
    let ends_so = word.split('.').skip(1).any(|part| DATA_ENDINGS.contains(&part));
    !word.starts_with('-') && (Path::new(word).exists() || ends_so && !word.contains(char::is_whitespace))
}

/// What is said of a word without its option, with the command as it is meant.
fn with_option(what: &str, argv: &[OsString], word: &str, option: &str) -> String {
    let found = argv.iter().position(|given| given == word);
    let words = argv.iter().enumerate().skip(1).flat_map(|(at, given)| {
        let flag = (Some(at) == found).then(|| format!("--{option}"));
        flag.into_iter().chain([shell_word(given)])
    });
    let line = words.fold("gstore".to_owned(), |line, word| line + " " + &word);
    format!("error: {what} given with --{option} {}\n  {line}", shell_word(word))
}

/// What is meant by an option, with its number and with the store of the command line.
fn as_given(meant: String, argv: &[OsString], word: &str) -> String {
    let meant = match value_of(argv, word).and_then(|value| value.parse::<u64>().ok()) {
        Some(number) => meant.replace("LIMIT 5", &format!("LIMIT {number}")),
        None => meant,
    };
    match value_of(argv, "--store") {
        Some(store) => {
            meant.replace("gstore query \"", &format!("gstore query --store {} \"", shell_word(store)))
        }
        None => meant,
    }
}

fn value_of<'a>(argv: &'a [OsString], word: &str) -> Option<&'a str> {
    let joined = || argv.iter().find_map(|given| given.to_str()?.strip_prefix(word)?.strip_prefix('='));
    let at = argv.iter().position(|given| given == word);
    at.and_then(|at| argv.get(at + 1)?.to_str()).or_else(joined)
}

/// The option whose text the word before a lone one is.
fn behind_text(argv: &[OsString], word: &str) -> Option<&'static str> {
    let at = argv.iter().position(|given| given == word).filter(|_| !word.starts_with('-'))?;
    let flag = argv.get(at.checked_sub(2)?)?.to_str()?.strip_prefix("--")?;
    ["text", "prompt"].into_iter().find(|option| *option == flag)
}

/// The same error without what clap proposes that does not help: a similar option that is far from the one
/// that is given (clap takes any with some letters in common), and to take an option for a text, unless it
/// looks like one.
pub fn without_far_tip(mut error: clap::Error) -> clap::Error {
    let is_text = |text: &ContextValue| text.to_string().contains(char::is_whitespace);
    let is_of_text = |tip: &ContextValue| tip.to_string().contains("as a value");
    if error.get(ContextKind::Suggested).is_some_and(is_of_text)
        && !error.get(ContextKind::InvalidArg).is_some_and(is_text)
    {
        error.remove(ContextKind::Suggested);
    }
    let plain = |kind| match error.get(kind) {
        Some(ContextValue::String(flag)) => Some(flag.trim_start_matches('-').replace('_', "-")),
        _ => None,
    };
    let both = plain(ContextKind::InvalidArg).zip(plain(ContextKind::SuggestedArg));
    if both.is_some_and(|(given, proposed)| !is_near(&given, &proposed)) {
        error.remove(ContextKind::SuggestedArg);
    }
    error
}

/// Whether one name may be meant by another: it is a slip of it, or has its words and more.
fn is_near(given: &str, proposed: &str) -> bool {
    let has_words = |long: &str, short: &str| {
        let mut words = short.split('-');
        words.all(|word| long.split('-').any(|other| other == word))
    };
    nearest(given, [proposed]).is_some() || has_words(given, proposed) || has_words(proposed, given)
}

/// The option of a command that says all it needs to know.
fn only_option(command: Option<&str>) -> Option<&'static str> {
    match command? {
        "backup" | "revert" => Some("to"),
        "restore" => Some("from"),
        _ => None,
    }
}

/// The value without an option that a command takes under the name of this one.
fn positional<'a>(command: &'a Command, word: &str) -> Option<&'a str> {
    let name = word.strip_prefix("--")?.split('=').next()?;
    let called = command.get_positionals().filter_map(|arg| arg.get_value_names()?.first());
    called.map(|called| called.as_str()).find(|called| called.eq_ignore_ascii_case(name))
}

fn overview(root: &Command) -> String {
    let mut text = "Usage: gstore [OPTIONS] <COMMAND>\n\n".to_owned();
    for (group, names) in GROUPS {
        let there: Vec<&str> =
            names.iter().copied().filter(|name| root.find_subcommand(name).is_some()).collect();
        text.push_str(&format!("  {group:<8}{}\n", there.join(", ")));
    }
    text + "\nBegin with `gstore demo`; `gstore help COMMAND` explains a command, `gstore --help` lists them all."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::command;

    fn said(words: &[&str]) -> Option<String> {
        let argv: Vec<OsString> = ["gstore"].iter().chain(words).map(OsString::from).collect();
        let error = command().try_get_matches_from(&argv).expect_err("refused");
        without_command(&command(), &argv, &error)
    }

    #[test]
    fn every_command_is_in_one_group() {
        let root = command();
        for command in root.get_subcommands() {
            let groups = GROUPS.iter().filter(|(_, names)| names.contains(&command.get_name())).count();
            assert_eq!(groups, 1, "{}", command.get_name());
        }
        let text = overview(&root);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn only_an_option_that_is_near_is_proposed() {
        for (words, tip) in [
            (&["ask", "--data", "x"][..], None),
            (&["select", "--threshold", "1"], None),
            (&["select", "--distinkt"], Some("'--distinct'")),
            (&["train", "--learn-rate", "1"], Some("'--learning-rate'")),
            (&["index", "--nothing"], None),
        ] {
            let argv = ["gstore"].iter().chain(words);
            let error = command().try_get_matches_from(argv).expect_err("refused");
            let text = without_far_tip(error).to_string();
            assert!(!text.contains("as a value"), "{text}");
            let proposed = text.contains("similar argument exists");
            assert_eq!((proposed, tip.is_none_or(|tip| text.contains(tip))), (tip.is_some(), true), "{text}");
        }
    }

    #[test]
    fn a_statement_that_is_proposed_has_the_number_and_the_store() {
        for words in [&["query", "--limit", "3"][..], &["query", "--limit=3"], &["snapshots", "-n", "3"]] {
            let argv: Vec<OsString> = ["gstore"].iter().chain(words).map(OsString::from).collect();
            let error = command().try_get_matches_from(&argv).expect_err("refused");
            let text = misplaced_hint(&command(), &argv, &error).unwrap_or_default();
            assert!(text.contains(" LIMIT 3\""), "{words:?}: {text}");
        }
        let argv = ["gstore", "query", "--store", "my s", "--limit", "3"].map(OsString::from);
        let error = command().try_get_matches_from(&argv).expect_err("refused");
        assert_eq!(
            misplaced_hint(&command(), &argv, &error).as_deref(),
            Some(
                "error: there is no --limit; write it in the statement: gstore query --store 'my s' \
                 \"SELECT * FROM pool LIMIT 3\""
            )
        );
    }

    #[test]
    fn a_line_without_a_command_gets_the_commands_and_a_file_its_option() {
        for (words, begins) in [
            (&["selct"][..], "error: there is no command `selct`; did you mean `select`?\n\nUsage: gstore"),
            (&["--store", "s", "fly"], "error: there is no command `fly`\n\nUsage: gstore"),
            (&[], "error: which command?\n\nUsage: gstore"),
            (&["--store", "s"], "error: which command?"),
        ] {
            let text = said(words).expect("the commands");
            assert!(text.starts_with(begins) && text.contains("\n  Begin   demo, add, ingest\n"), "{text}");
        }
        let argv: Vec<OsString> = ["gstore", "add", "Cargo.toml"].map(OsString::from).into();
        let error = command().try_get_matches_from(&argv).expect_err("refused");
        assert_eq!(
            misplaced_hint(&command(), &argv, &error).as_deref(),
            Some("error: data is given with --data Cargo.toml\n  gstore add --data Cargo.toml")
        );
        for (words, says) in [
            (&["delete", "notes", "--id", "1"][..], "name a dataset with --dataset notes"),
            (&["ingest", "pool", "--features", "loss", "--model", "m"], "--dataset pool"),
            (&["ls", "pool"], "`gstore info pool`"),
            (&["drop", "dataset", "pool", "--dry-run"], "`gstore revert`"),
            (&["tag", "--list"], "`gstore tag list` lists"),
            (&["tag", "v1", "-d"], "--delete removes a tag"),
            (&["tag", "drop", "v1"], "`gstore tag v1` sets it, with --delete"),
            (&["index", "-l"], "`gstore index` alone lists"),
            (&["view", "--list"], "`gstore view list` lists"),
            (
                &["ingest", "pool.jsonl.gz", "--features", "loss"],
                "data is given with --data pool.jsonl.gz\n  gstore ingest --data pool.jsonl.gz --features loss",
            ),
            (
                &["query", "my.gstore", "SELECT 1"],
                "the store is given with --store my.gstore\n  gstore query --store my.gstore 'SELECT 1'",
            ),
            (&["ls", "x/my.gstore/"], "gstore ls --store x/my.gstore/"),
            (&["delete", "my.gstore", "--dataset", "pool"], "gstore delete --store my.gstore --dataset pool"),
            (&["index", "--db", "my.gstore"], "there is no --db; the store is given with --store DIR"),
            (&["select", "-n", "5"], "there is no -n; --top N does its job"),
            (&["ask", "--per-token"], "there is no --per-token; tokens are scored by `gstore query`"),
            (&["restore", "my.gstore"], "give it as --from my.gstore"),
            (&["revert", "99"], "give it as --to 99"),
            (&["train", "--bf16", "true"], "there is no --bf16; --compute bf16 does its job"),
            (&["train", "--max_seq_len", "512"], "--max-length N"),
            (&["ingest", "--fp16"], "--compute bf16"),
            (&["ask", "--data", "x.jsonl"], "--messages \"$(jq -c .messages FILE)\""),
            (&["ask", "--where", "n > 1"], "FROM influence('pool', prompt => 'A', completion => 'B') WHERE"),
            (&["select", "--min-score", "0.1"], "WHERE score > 0.05"),
            (&["select", "--threshold", "0.1"], "WHERE score > 0.05"),
            (&["train", "--max_train_samples", "9"], "--percentage SHARE takes"),
            (&["backup", "bk"], "give it as --to bk"),
            (
                &["generate", "--perplexity", "--text", "A", "B c"],
                "repeat the option for each text: --text 'B c'",
            ),
            (&["generate", "--prompt", "A", "B"], "repeat the option for each text: --prompt 'B'"),
            (&["restore", "bk"], "give it as --from bk"),
            (
                &["merge", "--model", "m", "--adapter", "w/checkpoint-4", "-o", "x"],
                "there is no --adapter; give ADAPTER as an argument",
            ),
        ] {
            let argv: Vec<OsString> = ["gstore"].iter().chain(words).map(OsString::from).collect();
            let error = command().try_get_matches_from(&argv).expect_err("refused");
            let text = misplaced_hint(&command(), &argv, &error).unwrap_or_default();
            assert!(text.contains(says), "{words:?}: {text}");
        }
        // A condition that the shell took apart is no dataset.
        let argv: Vec<OsString> = ["gstore", "delete", "--dataset", "pool", "--where", "id", "is", "null"]
            .map(OsString::from)
            .into();
        let error = command().try_get_matches_from(&argv).expect_err("refused");
        assert_eq!(misplaced_hint(&command(), &argv, &error), None);
        for (words, says) in [
            (&["list"][..], "`gstore ls` lists"),
            (&["shell"], "there is no command `shell`; `gstore query` runs SQL"),
            (&["export"], "`gstore query -o FILE`"),
            (&["my.gstore", "ls"], "given with --store my.gstore\n  gstore --store my.gstore ls"),
            (&["repair"], "there is no command `repair`; `gstore verify --repair` saves"),
            (&["drop", "view", "v"], "`gstore drop` has no command `view`; `gstore view drop NAME`"),
            (&["drop", "tag", "v"], "`gstore tag NAME --delete`"),
            (&["prefilter", "rm", "p"], "`gstore drop artifact NAME`"),
            (&["evaluate", "loss"], "has no command `loss`; `gstore generate --perplexity` writes"),
        ] {
            let text = said(words).unwrap_or_default();
            assert!(text.contains(says), "{words:?}: {text}");
        }
        for words in [&["view", "ls"][..], &["view", "rm", "v"], &["prefilter", "ls"]] {
            assert!(command().try_get_matches_from(["gstore"].iter().chain(words)).is_ok(), "{words:?}");
        }
        let inner = said(&["evaluate", "task"]).expect("the commands");
        assert!(
            inner.starts_with(
                "error: `gstore evaluate` has no command `task`; did you mean `tasks`?\n  its commands are text,"
            ),
            "{inner}"
        );
        assert_eq!(
            said(&["view", "--store", "s"]).as_deref(),
            Some("error: which command of `gstore view`? It has create, list, drop")
        );
        for words in [&["evaluate"][..], &["ls", "--fly"]] {
            assert_eq!(said(words), None, "{words:?}");
        }
    }
}
