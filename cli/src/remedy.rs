//! Remedies of errors as commands and flags.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gstore_core::{Kind, Remedy};

use crate::wording::shell_word;

/// The store that the command at hand is for, and the end of commands that messages propose for it.
static STORE: OnceLock<(PathBuf, String)> = OnceLock::new();

/// From now on commands of the history are shown with this store, wherever it was when they were given; `at_store`
/// is the end of others.
pub fn name_store(store: &Path, at_store: String) {
    // A process has one command.
    let _ = STORE.set((store.to_owned(), at_store));
}

fn asked() -> Option<&'static Path> {
    STORE.get().map(|(store, _)| store.as_path())
}

fn at_store() -> &'static str {
    STORE.get().map_or("", |(_, end)| end.as_str())
}

/// The command or flag that is meant.
pub fn words(remedy: &Remedy<'_>) -> String {
    let command = match *remedy {
        Remedy::Option(name, value) => {
            return format!("--{} {value}", name.replace('_', "-")).trim_end().to_owned();
        }
        Remedy::Add => "add".into(),
        Remedy::Ingest => "ingest".into(),
        Remedy::IngestKind { kind, per_token, dataset, run } => {
            let (dataset, run) = (flag("dataset", dataset), flag("run", run));
            let tokens = if per_token { " --per-token" } else { "" };
            format!("ingest{dataset}{run}{tokens} --features {kind}")
        }
        Remedy::IngestLike { dataset, command } if can_repeat(command) => {
            return format!("`{}`", with_store(&of_stored(command, dataset), asked(), at_store()));
        }
        Remedy::IngestLike { .. } => {
            return format!("`gstore ingest{}` with the options of the others", at_store());
        }
        Remedy::IngestAs { dataset, options, command, .. } if can_repeat(command) => {
            let command = with_options(&of_stored(command, dataset), options);
            return format!("`{}`", with_store(&command, asked(), at_store()));
        }
        Remedy::IngestAs { dataset, kind, per_token, run, options, .. } => {
            let (dataset, run) = (flag("dataset", dataset), flag("run", run));
            let tokens = if per_token { " --per-token" } else { "" };
            let options: String = options.iter().map(|option| format!(" {}", quoted(option))).collect();
            format!("ingest{run}{dataset} --features {kind}{tokens}{options}")
        }
        Remedy::Verify => "verify --all".into(),
        Remedy::Repair => "verify --repair".into(),
        Remedy::Index { kind: "", .. } => {
            return format!("`gstore index{}` (--sketch or --hnsw, with the feature's name)", at_store());
        }
        Remedy::Index { kind, feature, rebuild } => {
            format!("index --{kind}{} {feature}", if rebuild { " --rebuild" } else { "" })
        }
        // The store of the command line may be either of their two folders.
        Remedy::Backup => return "`gstore backup --to DIR`".into(),
        Remedy::Restore => return "`gstore restore`".into(),
        Remedy::Delete(dataset) => format!("delete --dataset {dataset} --id ID ..."),
        Remedy::Purge(dataset) => format!("delete --dataset {dataset} --purge --yes"),
        Remedy::DropFeature(name) => format!("drop feature {name}"),
        Remedy::DropEnsemble(name) => format!("drop ensemble {name}"),
        Remedy::RemoveLeftovers => {
            return format!("`gstore gc --keep N{}` with N at least the number of snapshots", at_store());
        }
        Remedy::DropJobs => "gc --drop-jobs".into(),
        Remedy::AskWithModels => return format!("`gstore ask{0}` or `gstore query{0}`", at_store()),
        Remedy::Solve => "score --solver cg".into(),
        Remedy::WriteResult => {
            return format!("`gstore query -o FILE{}` (in the shell `.once FILE`)", at_store());
        }
        Remedy::OwnTable => "query --with NAME=FILE".into(),
        Remedy::RepeatedTexts(dataset) => {
            let sql = format!(
                "SELECT text, count(*) AS copies, min(id), max(id) FROM \"{dataset}\" GROUP BY text HAVING copies > 1"
            );
            format!("query {}", shell_word(&sql))
        }
        Remedy::RevokeToken(name) => format!("token revoke {name}"),
        Remedy::InsteadOf(statement) => match statement {
            "UPDATE" | "MERGE" => "add --if-changed replace",
            "DELETE" | "TRUNCATE" => "delete",
            "DROP TABLE" => "drop",
            "CREATE INDEX" => "index",
            "CREATE VIEW" => "view create",
            "DROP VIEW" => "view drop",
            "VACUUM" => "compact",
            _ => "add",
        }
        .into(),
    };
    format!("`gstore {command}{}`", at_store())
}

/// A flag with its value, if that is known.
fn flag(name: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" --{name} {}", shell_word(value)) }
}

/// An option as messages have it, as a shell reads it.
fn quoted(option: &str) -> String {
    match option.split_once(' ') {
        Some((flag, value)) => format!("{flag} {}", shell_word(value)),
        None => option.to_owned(),
    }
}

/// Options of an ingest that say which data is added first, and how.
const OF_DATA: [&str; 10] = [
    "--data",
    "--block",
    "--block-size",
    "--column",
    "--field",
    "--layout",
    "--skip-bad",
    "--duplicates",
    "--if-changed",
    "--restore-deleted",
];

/// Options of an ingest that are for gradients, and were taken without one before they were refused there.
const OF_PROJECTION: [&str; 4] = ["--projection", "--dim", "--module-dim", "--seed"];

/// A command of the history as it can be given again: an ingest without gradients lacks what is for these.
pub fn given_again(command: &str) -> String {
    let options = options_of(command);
    let kinds = values(&options, "--features").map(|name| name.trim().parse::<Kind>());
    // Where they are not all known, what is for gradients stays.
    let kinds = kinds.collect::<Result<Vec<Kind>, _>>().unwrap_or_default();
    let is_projected = kinds.is_empty() || kinds.iter().any(|kind| kind.takes_gradient());
    if is_projected || !command.contains(" ingest ") {
        return command.to_owned();
    }
    // Factors also say how texts become tokens.
    let has_factors = values(&options, "--projection").any(|kind| kind == "ekfac");
    without(&options, |name| OF_PROJECTION.contains(&name) && !(has_factors && name == "--projection"))
}

/// An ingest of the history for the samples that a dataset has by now: its data may have changed since, and
/// added again it would undo what was done to the samples.
fn of_stored(command: &str, dataset: &str) -> String {
    let command = given_again(command);
    let options = options_of(&command);
    let is_named = options.iter().any(|(name, _)| *name == "--dataset");
    let dataset = if is_named { String::new() } else { flag("dataset", dataset) };
    without(&options, |name| OF_DATA.contains(&name)) + &dataset
}

/// The options of a command of the history by their names, each with its words; first what is before them.
fn options_of(command: &str) -> Vec<(&str, Vec<&str>)> {
    let mut options: Vec<(&str, Vec<&str>)> = Vec::new();
    for word in quoted_words(command) {
        let name = unquoted(word).split('=').next().unwrap_or_default();
        let behind = name.strip_prefix('-').unwrap_or_default();
        let is_option = behind.starts_with(|c: char| c == '-' || c.is_alphabetic());
        match options.last_mut() {
            Some((_, words)) if !is_option => words.push(word),
            _ => options.push((name, vec![word])),
        }
    }
    options
}

fn values<'a>(options: &'a [(&str, Vec<&'a str>)], of: &'a str) -> impl Iterator<Item = &'a str> {
    let words = options.iter().filter(move |(name, _)| *name == of).flat_map(|(_, words)| words);
    let values = words.flat_map(|word| word.trim_matches('\'').split(['=', ',']));
    values.filter(move |value| *value != of && !value.is_empty())
}

/// The command of these options, but for some.
fn without(options: &[(&str, Vec<&str>)], is_left_out: impl Fn(&str) -> bool) -> String {
    let kept = options.iter().filter(|(name, _)| !is_left_out(name));
    kept.flat_map(|(_, words)| words.iter().copied()).collect::<Vec<&str>>().join(" ")
}

/// A command of the history with further options. A template among them replaces its own; what else it says
/// itself stays.
fn with_options(command: &str, options: &[String]) -> String {
    let name = |word: &str| unquoted(word).split(['=', ' ']).next().unwrap_or_default().replace('_', "-");
    let is_template = |word: &str| matches!(name(word).as_str(), "--template" | "--conversation-template");
    let has_template = options.iter().any(|option| is_template(option));
    let (mut line, mut own) = (Vec::new(), Vec::new());
    let mut words = quoted_words(command);
    while let Some(word) = words.next() {
        if has_template && is_template(word) {
            // Its value is the next word, or behind a `=`.
            if !word.contains('=') {
                words.next();
            }
            continue;
        }
        own.push(name(word));
        line.push(word.to_owned());
    }
    line.extend(options.iter().filter(|option| !own.contains(&name(option))).map(|option| quoted(option)));
    line.join(" ")
}

/// A command of the history with this store where it names its own: that may have been copied or moved since.
/// One that names none, since its environment did, ends `at_store`.
fn with_store(command: &str, store: Option<&Path>, at_store: &str) -> String {
    let Some(store) = store else { return command.to_owned() };
    let store = format!("--store {}", shell_word(store));
    let (mut line, mut is_named) = (Vec::new(), false);
    let mut words = quoted_words(command);
    while let Some(word) = words.next() {
        let is_whole = unquoted(word).starts_with("--store=");
        if word == "--store" {
            // Its value.
            words.next();
        }
        let is_store = is_whole || word == "--store";
        is_named |= is_store;
        line.push(if is_store { store.as_str() } else { word });
    }
    format!("{}{}", line.join(" "), if is_named { "" } else { at_store })
}

/// The words of a command of the history, with the quotes that [`shell_word`] puts around them.
fn quoted_words(command: &str) -> impl Iterator<Item = &str> {
    let (mut in_quotes, mut is_escaped) = (false, false);
    command.split(move |c: char| {
        in_quotes ^= c == '\'' && !is_escaped;
        is_escaped = c == '\\' && !in_quotes;
        c == ' ' && !in_quotes
    })
}

/// A word without the quotes that it begins with.
fn unquoted(word: &str) -> &str {
    word.strip_prefix('$').unwrap_or(word).trim_start_matches('\'')
}

/// Whether a command of the history computes more rows if it is given again: an ingest of all of them.
fn can_repeat(command: &str) -> bool {
    let of_some = ["--limit", "--shard"];
    command.contains(" ingest ") && of_some.iter().all(|part| !command.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    /// Every flag behind a command, and every flag of an option, is one that the command line knows.
    fn check(words: &str) {
        let root = args::command();
        let mut command = None;
        for word in words.split([' ', '`', '(', ',']) {
            if let Some(found) = root.find_subcommand(word) {
                command = Some(found);
            } else if let Some(flag) = word.strip_prefix("--") {
                let has = |c: &clap::Command| c.get_arguments().any(|a| a.get_long() == Some(flag));
                assert!(command.map_or_else(|| root.get_subcommands().any(has), has), "{words}: {flag}");
            }
        }
        assert!(command.is_some() || words.starts_with("--"), "{words}");
    }

    #[test]
    fn commands_of_the_history_are_for_the_store_that_is_asked() {
        let at_store = " --store 'new place'";
        for (said, says) in [
            ("gstore --store /old ingest --dim 8", "gstore --store 'new place' ingest --dim 8"),
            ("gstore ingest '--store=old place' --dim 8", "gstore ingest --store 'new place' --dim 8"),
            (r"gstore ingest $'--store=\xff b' --dim 8", "gstore ingest --store 'new place' --dim 8"),
            ("gstore ingest --dim 8 --store 'old place'", "gstore ingest --dim 8 --store 'new place'"),
            (
                "gstore ingest --system 'a --store b'",
                "gstore ingest --system 'a --store b' --store 'new place'",
            ),
        ] {
            assert_eq!(with_store(said, Some(Path::new("new place")), at_store), says);
            assert_eq!(with_store(said, None, ""), said);
        }
        // The environment names it.
        assert_eq!(with_store("gstore ingest", Some(Path::new("new place")), ""), "gstore ingest");
    }

    #[test]
    fn an_ingest_without_gradients_is_given_again_without_what_is_for_them() {
        for (said, says) in [
            (
                "gstore ingest --projection sjlt --dim 8 --features embed-mean,loss --seed=3 --module-dim 4 --run r",
                "gstore ingest --features embed-mean,loss --run r",
            ),
            (
                "gstore --threads 2 ingest '--features=loss, entropy' --dim 8 -q",
                "gstore --threads 2 ingest '--features=loss, entropy' -q",
            ),
            (
                "gstore ingest --features loss --projection ekfac --factors f --module-dim 4",
                "gstore ingest --features loss --projection ekfac --factors f",
            ),
        ] {
            assert_eq!(given_again(said), says);
        }
        for same in [
            "gstore ingest --features loss grad-sgd --dim 8",
            "gstore ingest --features residual --projection ekfac --factors f --module-dim 4",
            // The kinds are those of a config file, or of another version.
            "gstore ingest --dim 8",
            "gstore ingest --features loss,new --dim 8",
            "gstore train --features loss --seed 3",
        ] {
            assert_eq!(given_again(same), same);
        }
    }

    #[test]
    fn remedies_are_commands_and_flags_that_there_are() {
        let kind = |kind, per_token| Remedy::IngestKind { kind, per_token, dataset: "", run: "" };
        let of_pool = |run| Remedy::IngestKind { kind: "embed-mean", per_token: false, dataset: "pool", run };
        let options = &["--template chat".to_owned(), "--max-length 256".to_owned()][..];
        let answer = ["--system Say yes.".to_owned()];
        let of_val = |run, per_token, options, command| Remedy::IngestAs {
            dataset: "val",
            kind: "grad-sgd",
            per_token,
            run,
            options,
            command,
        };
        let talk = |run, command| of_val(run, false, options, command);
        let quoted = "`gstore ingest --dataset pool --features loss --max-length 256`";
        let like = |dataset, command| Remedy::IngestLike { dataset, command };
        let index = |kind, rebuild| Remedy::Index { kind, feature: "pool/grad-sgd", rebuild };
        for (remedy, expected) in [
            (Remedy::Option("if_changed", "keep"), "--if-changed keep"),
            (Remedy::Option("checkpoint_folders", ""), "--checkpoint-folders"),
            (Remedy::Add, "`gstore add`"),
            (Remedy::Ingest, "`gstore ingest`"),
            (kind("loss", true), "`gstore ingest --per-token --features loss`"),
            (kind("loss", false), "`gstore ingest --features loss`"),
            (of_pool("warm"), "`gstore ingest --dataset pool --run warm --features embed-mean`"),
            (of_pool(""), "`gstore ingest --dataset pool --features embed-mean`"),
            (
                talk("", ""),
                "`gstore ingest --dataset val --features grad-sgd --template chat --max-length 256`",
            ),
            (
                talk("r", "gstore ingest --run r --template plain --dim 64"),
                "`gstore ingest --run r --dim 64 --dataset val --template chat --max-length 256`",
            ),
            (
                talk(
                    "",
                    r"gstore ingest '--template=it'\''s a.jinja' --system 'a -template b' --max-length 9",
                ),
                "`gstore ingest --system 'a -template b' --max-length 9 --dataset val --template chat`",
            ),
            (
                talk("r", "gstore ingest --conversation-template plain --limit 3"),
                "`gstore ingest --run r --dataset val --features grad-sgd --template chat --max-length 256`",
            ),
            (
                of_val("", false, &answer[..], "gstore ingest --template plain --dim 64"),
                "`gstore ingest --template plain --dim 64 --dataset val --system 'Say yes.'`",
            ),
            (
                talk("", "gstore ingest --features embed-mean --dim 256 --run r"),
                "`gstore ingest --features embed-mean --run r --dataset val --template chat --max-length 256`",
            ),
            (
                like("pool", "gstore ingest --dataset pool --features loss --dim 256"),
                "`gstore ingest --dataset pool --features loss`",
            ),
            (
                of_val("", false, &answer[..], ""),
                "`gstore ingest --dataset val --features grad-sgd --system 'Say yes.'`",
            ),
            (
                of_val("r", true, &options[1..], ""),
                "`gstore ingest --run r --dataset val --features grad-sgd --per-token --max-length 256`",
            ),
            (like("pool", quoted.trim_matches('`')), quoted),
            (
                like(
                    "pool",
                    "gstore ingest --data 'a b.jsonl' c.jsonl --block 512 --skip-bad 3 --features loss --if-changed=replace",
                ),
                "`gstore ingest --features loss --dataset pool`",
            ),
            (
                of_val(
                    "",
                    false,
                    &answer[..],
                    "gstore ingest --dataset val --restore-deleted --data - --dim 64",
                ),
                "`gstore ingest --dataset val --dim 64 --system 'Say yes.'`",
            ),
            (
                talk("", "gstore ingest --dataset val --max-length 99 --dim 8"),
                "`gstore ingest --dataset val --max-length 99 --dim 8 --template chat`",
            ),
            (like("", ""), "`gstore ingest` with the options of the others"),
            (
                like("pool", "gstore ingest --features loss --limit 3"),
                "`gstore ingest` with the options of the others",
            ),
            (Remedy::Verify, "`gstore verify --all`"),
            (Remedy::Repair, "`gstore verify --repair`"),
            (index("sketch", false), "`gstore index --sketch pool/grad-sgd`"),
            (index("hnsw", true), "`gstore index --hnsw --rebuild pool/grad-sgd`"),
            (index("", false), "`gstore index` (--sketch or --hnsw, with the feature's name)"),
            (Remedy::Backup, "`gstore backup --to DIR`"),
            (Remedy::Restore, "`gstore restore`"),
            (Remedy::Delete("pool"), "`gstore delete --dataset pool --id ID ...`"),
            (Remedy::Purge("pool"), "`gstore delete --dataset pool --purge --yes`"),
            (Remedy::DropFeature("4"), "`gstore drop feature 4`"),
            (Remedy::DropEnsemble("ens"), "`gstore drop ensemble ens`"),
            (Remedy::RemoveLeftovers, "`gstore gc --keep N` with N at least the number of snapshots"),
            (Remedy::DropJobs, "`gstore gc --drop-jobs`"),
            (Remedy::AskWithModels, "`gstore ask` or `gstore query`"),
            (Remedy::Solve, "`gstore score --solver cg`"),
            (Remedy::WriteResult, "`gstore query -o FILE` (in the shell `.once FILE`)"),
            (Remedy::OwnTable, "`gstore query --with NAME=FILE`"),
            (
                Remedy::RepeatedTexts("pool"),
                "`gstore query 'SELECT text, count(*) AS copies, min(id), max(id) FROM \"pool\" GROUP BY text HAVING copies > 1'`",
            ),
            #[cfg(feature = "serve")]
            (Remedy::RevokeToken("laptop"), "`gstore token revoke laptop`"),
            (Remedy::InsteadOf("INSERT"), "`gstore add`"),
            (Remedy::InsteadOf("UPDATE"), "`gstore add --if-changed replace`"),
            (Remedy::InsteadOf("DELETE"), "`gstore delete`"),
            (Remedy::InsteadOf("DROP TABLE"), "`gstore drop`"),
            (Remedy::InsteadOf("CREATE INDEX"), "`gstore index`"),
            (Remedy::InsteadOf("CREATE VIEW"), "`gstore view create`"),
            (Remedy::InsteadOf("VACUUM"), "`gstore compact`"),
        ] {
            assert_eq!(words(&remedy), expected);
            check(expected);
        }
    }
}
