//! Commands and options by the names that they have in other programs, and what does their job here.

use clap::Command;

/// Commands that there are not: below which command, their names, and what does their job.
#[rustfmt::skip]
const COMMANDS: &[(&str, &[&str], &str)] = &[
    ("gstore", &["list"], "`gstore ls` lists datasets, runs and features"),
    ("gstore", &["show", "describe", "status", "stats", "inspect", "tables", "schema"],
        "`gstore ls` lists what is in the store, `gstore info` describes one entry, `gstore query .schema` the columns"),
    ("gstore", &["shell", "sql", "repl", "console", "open"],
        "`gstore query` runs SQL; without a statement it is a shell"),
    ("gstore", &["head", "tail", "count", "filter", "sample", "join"],
        "`gstore query` does it in SQL, such as SELECT * FROM pool LIMIT 10"),
    ("gstore", &["dedup", "dedupe", "deduplicate"],
        "`gstore select --distinct COSINE` passes over near-duplicates; `gstore query` finds texts that occur twice by GROUP BY text"),
    ("gstore", &["export", "dump", "save", "write", "convert"],
        "`gstore query -o FILE` writes a result, `gstore select -o FILE` the selected rows as their original lines"),
    ("gstore", &["search", "similar", "nearest", "neighbors", "neighbours"],
        "`gstore ask` ranks a pool by its influence on a given sample; in `gstore query` nearest() finds similar rows"),
    ("gstore", &["rank", "influence", "attribute", "attribution", "score-all", "less", "trak"],
        "`gstore select` takes the rows that influence a target most; in `gstore query` influence() has every score"),
    ("gstore", &["explain"],
        "`gstore ask --explain ID` says where the score of a row comes from; in `gstore query` EXPLAIN shows a plan"),
    ("gstore", &["init", "create", "new", "new-store"], "the first `gstore add` or `gstore ingest` makes the store"),
    ("gstore", &["load", "insert", "append", "register"],
        "`gstore add` registers samples, `gstore ingest` also computes their features"),
    ("gstore", &["update", "upsert", "replace"], "`gstore add --if-changed replace` takes changed samples in place of the old ones"),
    ("gstore", &["embed", "compute", "encode", "extract", "featurize"],
        "`gstore ingest --features embed-mean` computes embeddings; --features names gradients and losses, too"),
    ("gstore", &["finetune", "fine-tune", "fit", "lora"], "`gstore train` trains LoRA factors or a whole model"),
    ("gstore", &["predict", "chat", "complete", "infer", "inference"], "`gstore generate` lets a model answer prompts"),
    ("gstore", &["repair", "recover"], "`gstore verify --repair` saves what is sound of a damaged store"),
    ("gstore", &["check", "doctor", "fsck", "validate"], "`gstore verify` reads every file and checks every digest"),
    ("gstore", &["rm", "remove", "del"], "`gstore delete` deletes samples, `gstore drop` the rest"),
    ("gstore", &["vacuum", "optimize", "optimise", "defrag"],
        "`gstore compact` merges small files, `gstore gc` removes those that nothing needs"),
    ("gstore", &["clean", "cleanup", "prune", "purge"],
        "`gstore gc` removes old snapshots and what only they need, `gstore delete --purge` the deleted rows"),
    ("gstore", &["clone", "copy", "cp", "push", "upload", "sync"],
        "`gstore backup --to DIR` copies the store, `gstore restore --from DIR` makes a store of the copy"),
    ("gstore", &["download", "pull", "fetch"],
        "models and datasets of the Hub are fetched where they are named, as in `gstore ingest --model OWNER/NAME`"),
    ("gstore", &["log", "history", "diff", "changes"], "`gstore snapshots` lists what changed the store, newest first"),
    ("gstore", &["undo", "rollback", "checkout", "reset"], "`gstore revert --to N` goes back to an older snapshot"),
    ("gstore", &["rename", "mv", "move"],
        "a dataset keeps its name; `gstore view create` gives it another in SQL, `gstore add --dataset NAME` makes another of the same data"),
    ("gstore", &["pipeline", "workflow"], "`gstore run` runs the commands of a file"),
    ("evaluate", &["loss", "losses", "nll", "perplexity", "ppl"],
        "`gstore generate --perplexity` writes the loss and the perplexity of held-out texts; \
         `gstore train --eval-data` measures them during a training"),
    ("drop", &["tag"], "`gstore tag NAME --delete` removes one"),
    ("drop", &["view"], "`gstore view drop NAME` drops one"),
    ("drop", &["token"], "`gstore token revoke NAME` ends one"),
    ("drop", &["snapshot"], "`gstore gc` removes old ones"),
    ("drop", &["prefilter", "factors"], "`gstore drop artifact NAME` drops one"),
    ("prefilter", &["delete", "drop", "remove", "rm"], "`gstore drop artifact NAME` drops one"),
    ("factors", &["delete", "drop", "remove", "rm"], "`gstore drop artifact NAME` drops one"),
];

/// Options that there are not, and those that do their job: some are of the Hugging Face Trainer and its
/// scripts, most of whose names are the same here.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["bf16", "fp16"], "compute bf16"),
    (&["tf32"], "compute tf32"),
    (&["max-seq-len", "model-max-length", "cutoff-len"], "max-length N"),
    (&["eval-strategy", "evaluation-strategy"], "eval-every N"),
    (&["train-file", "file", "input", "input-file", "json-file"], "data PATH"),
    (&["validation-file"], "eval-data PATH"),
    (&["lr"], "learning-rate X"),
    (&["target-modules"], "lora-targets NAME,..."),
    (&["n", "k", "limit", "num", "top-k"], "top N"),
    (&["adapter", "adapters", "lora", "peft"], "checkpoints GLOB"),
    (&["base-model", "model-name", "model-name-or-path"], "model DIR|REPO"),
    (&["p", "port", "host", "bind", "address", "addr"], "listen ADDR:PORT"),
    (&["gpu", "cuda"], "backend cuda"),
    (&["overwrite"], "force"),
    (&["csv"], "format csv"),
    (&["jsonl"], "format json"),
    (&["parquet"], "format parquet"),
    (&["csv", "jsonl", "parquet"], "data PATH"),
    (&["batch-size", "per-device-batch-size"], "batch-tokens N (tokens at a time)"),
    (&["projection-dim", "proj-dim"], "dim N"),
    (&["question", "query"], "prompt TEXT"),
    (&["queries", "query"], "target NAME"),
    (&["dataset", "train", "train-dataset"], "pool NAME"),
    (&["group-by"], "quota-by COLUMN"),
    (&["group-by", "quota-by"], "column COLUMN"),
];

/// What does the job of a command that `command` lacks.
pub(super) fn other_command(command: &str, word: &str) -> Option<&'static str> {
    let mut all = COMMANDS.iter();
    all.find(|(of, words, _)| *of == command && words.contains(&word)).map(|(.., meant)| *meant)
}

/// What does the job of an option that a command lacks, whether it stands on the command line or in a file.
pub fn in_place_of(command: &Command, word: &str) -> Option<String> {
    let name = word.trim_start_matches('-').replace('_', "-");
    let meant = match (command.get_name(), name.as_str()) {
        ("ask", "data") => {
            "--messages \"$(jq -c .messages FILE)\" asks about the conversation of a file; a whole file is added \
             as a dataset, and influence('pool', 'NAME') ranks by it"
        }
        ("ask", "where") => {
            "a condition is SQL: gstore query \"SELECT * FROM influence('pool', prompt => 'A', completion => 'B') \
             WHERE ...\""
        }
        ("ask" | "select" | "matrix", "per-token") => {
            "tokens are scored by `gstore query` with influence('pool', 'target', per_token => true) and drawn by \
             `gstore plot tokens`, after `gstore ingest --per-token`"
        }
        ("select", "min-score" | "threshold") => {
            "a condition on scores is SQL: gstore query \"SELECT id, score FROM influence('pool', 'target') \
             WHERE score > 0.05\""
        }
        ("select", "percentage" | "percent" | "fraction" | "share") => {
            "--top takes a share of the rows, too, such as --top 5%"
        }
        ("select", "format" | "output-format") => {
            "the ending of -o says it: .jsonl for the original lines, .csv, .tsv, .parquet or .arrow for a table"
        }
        ("snapshots", "n" | "limit" | "top" | "last") => {
            "use SQL: gstore query \"SELECT * FROM gstore.snapshots ORDER BY number DESC LIMIT 5\""
        }
        ("query", "n" | "k" | "limit" | "top") => {
            "write it in the statement: gstore query \"SELECT * FROM pool LIMIT 5\""
        }
        ("query", "c" | "e" | "command" | "execute" | "sql") => {
            "give the statement as an argument, without an option: gstore query \"SELECT 1\""
        }
        ("train", "max-train-samples") => {
            "--percentage SHARE takes a random share of the samples, --rows FILE those that a file lists"
        }
        (_, "db" | "database") => "the store is given with --store DIR",
        (_, name) => {
            let has = |option: &str| has_option(command, option.split(' ').next().unwrap_or_default());
            let (_, option) = OPTIONS.iter().find(|(names, option)| names.contains(&name) && has(option))?;
            return Some(format!("--{option} does its job"));
        }
    };
    Some(meant.to_owned())
}

/// The command below `root` that words of a command line name, as far as they do.
pub(super) fn named_command<'a, 'w>(root: &'a Command, words: impl Iterator<Item = &'w str>) -> &'a Command {
    words.fold(root, |command, word| command.find_subcommand(word).unwrap_or(command))
}

pub(super) fn has_option(command: &Command, long: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(long))
}

/// Asserts that each command in backticks is one that there is, with its options.
#[cfg(test)]
pub fn check_commands(text: &str) {
    let root = super::command();
    for line in text.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("gstore ")) {
        let mut command = &root;
        for word in line.split(' ') {
            command = command.find_subcommand(word).unwrap_or(command);
            let has = |long: &str| has_option(command, long) || has_option(&root, long);
            assert!(word.strip_prefix("--").is_none_or(has), "{line}: {word}");
        }
        assert_ne!(command.get_name(), root.get_name(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::command;

    fn has(command: &Command, long: &str) -> bool {
        has_option(command, long) || command.get_subcommands().any(|inner| has(inner, long))
    }

    #[test]
    fn names_of_elsewhere_are_none_here_and_what_does_their_job_is() {
        let root = command();
        for (of, words, meant) in COMMANDS {
            check_commands(meant);
            let parent = root.find_subcommand(of).unwrap_or(&root);
            for word in *words {
                assert!(parent.find_subcommand(word).is_none(), "`gstore {word}` is a command");
                assert_eq!(other_command(of, word), Some(*meant), "{word}");
            }
        }
        for (_, option) in OPTIONS {
            assert!(has(&root, option.split(' ').next().unwrap_or_default()), "{option}");
        }
    }

    #[test]
    fn options_of_elsewhere_are_those_of_the_command_at_hand() {
        let root = command();
        let said = |words: &[&str], option: &str| {
            let of = words.iter().fold(&root, |of, word| of.find_subcommand(word).expect("a command"));
            in_place_of(of, option).unwrap_or_default()
        };
        for (words, option, says) in [
            (
                &["ask"][..],
                "--per-token",
                "per_token => true) and drawn by `gstore plot tokens`, after `gstore ingest",
            ),
            (&["select"], "--per_token", "`gstore plot tokens`"),
            (&["select"], "-n", "--top N does its job"),
            (&["ask"], "-k", "--top N does its job"),
            (&["select"], "--group-by", "--quota-by COLUMN does its job"),
            (&["plot", "sources"], "--group-by", "--column COLUMN does its job"),
            (&["ingest"], "--adapter", "--checkpoints GLOB does its job"),
            (&["snapshots"], "--limit", "FROM gstore.snapshots ORDER BY number DESC LIMIT 5"),
            (&["query"], "--limit", "LIMIT 5"),
            (&["query"], "-c", "gstore query \"SELECT 1\""),
            (&["ingest"], "--batch-size", "--batch-tokens N (tokens at a time) does its job"),
            (&["ingest"], "--projection-dim", "--dim N does its job"),
            (&["ask"], "--question", "--prompt TEXT does its job"),
            (&["ask"], "--query", "--prompt TEXT does its job"),
            (&["select"], "--queries", "--target NAME does its job"),
            (&["select"], "--train", "--pool NAME does its job"),
            (&["select"], "--dataset", "--pool NAME does its job"),
            (&["select"], "--percentage", "--top 5%"),
            (&["select"], "--format", "the ending of -o says it: .jsonl"),
            (&["add"], "--jsonl", "--data PATH does its job"),
            (&["query"], "--jsonl", "--format json does its job"),
            (&["ls"], "--db", "the store is given with --store DIR"),
            #[cfg(feature = "serve")]
            (&["serve"], "--port", "--listen ADDR:PORT does its job"),
        ] {
            let text = said(words, option);
            assert!(text.contains(says), "{words:?} {option}: {text}");
            check_commands(&text);
        }
        assert_eq!(said(&["ls"], "--limit"), "");
    }
}
