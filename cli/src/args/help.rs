//! The help of commands: options in groups, and examples that can be pasted.
//!
//! A heading of a flattened struct would also stand above every option that follows it, so the headings of
//! the commands that have such structs are set here.

use clap::{Args, Command};
use gstore_query::influence::{COVARIANCE_OPTIONS, PAIR_OPTIONS};

use super::engine::EngineArgs;
use super::gradients::GradientArgs;
use super::scoring::{METHOD, TERMS};
#[cfg(feature = "serve")]
use super::serve::RemoteArgs;
use super::text::TextArgs;
use super::{CascadeArgs, FactorsModelArgs, ModelArgs, PlotOutputArgs, RuleArgs};

/// Widest line of a help.
const WIDEST: usize = 100;

/// A heading and the options under it.
type OptionGroup = (&'static str, Vec<String>);

fn options_named(heading: &'static str, options: &[&str]) -> OptionGroup {
    (heading, options.iter().map(|option| (*option).to_owned()).collect())
}

fn options_of<A: Args>(heading: &'static str) -> OptionGroup {
    let of_struct = A::augment_args(Command::new("group"));
    (heading, of_struct.get_arguments().map(|arg| arg.get_id().to_string()).collect())
}

/// The command line with its options in groups and its texts as wide as the terminal.
pub(super) fn arrange_help(root: Command) -> Command {
    let width = console::Term::stdout().size_checked().map_or(WIDEST, |(_, columns)| usize::from(columns));
    fit_width(hide_blocks(group_options(root)), width.min(WIDEST))
}

fn group_options(root: Command) -> Command {
    let samples = || {
        options_named(
            "Samples",
            &["columns", "fields", "layout", "if_changed", "restore_deleted", "skip_bad", "duplicates"],
        )
    };
    root.mut_subcommand("add", |add| with_groups(add, [vec![samples()]]))
        .mut_subcommand("ingest", |ingest| {
            let speed =
                options_named("Speed and memory", &["backend", "batch_tokens", "compute", "max_memory"]);
            let part = options_named("Parts of the work", &["limit", "shard", "out", "snapshot"]);
            let run = options_named(
                "Before and after",
                &["dry_run", "explain", "force", "sketch", "planes", "json"],
            );
            let gradients = options_of::<GradientArgs>("Gradients and embeddings");
            let text = options_of::<TextArgs>("Text and tokens");
            with_groups(ingest, [vec![samples(), speed, part, run, gradients, text]])
        })
        .mut_subcommand("select", |select| {
            let rules = options_of::<RuleArgs>("Rules of the selection");
            let cascade = options_of::<CascadeArgs>("Cascade");
            with_groups(select, [vec![rules, cascade], questions(), writing()])
        })
        .mut_subcommand("ask", |ask| {
            with_groups(hide_options(ask, &[METHOD, COVARIANCE_OPTIONS]), [questions(), writing(), models()])
        })
        .mut_subcommand("query", |query| {
            let limits = options_named("Limits", &["memory"]);
            with_groups(query, [vec![limits], writing(), models(), reading()])
        })
        .mut_subcommand("prefilter", |prefilter| {
            prefilter.mut_subcommand("fit", label_command).mut_subcommand("evaluate", label_command)
        })
        .mut_subcommand("factors", |factors| {
            let factors = factors.mut_subcommand("fit", |fit| {
                let parts = options_named(
                    "Parts of the work",
                    &["data_partitions", "module_partitions", "partition", "folder", "extend"],
                );
                let run = options_named("Before and after", &["dry_run", "force", "json"]);
                with_groups(fit, [vec![parts, run], passing()])
            });
            factors.mut_subcommand("import", |import| {
                with_groups(import, [vec![options_of::<TextArgs>("Text and tokens")]])
            })
        })
        .mut_subcommand("score", |score| {
            let queries = options_named(
                "Queries",
                &["target", "target_data", "fields", "of_self", "queries", "measurement", "sum_queries"],
            );
            let how = ["segment", "strategy", "filter", "damping", "rotate", "rank", "stale"];
            let solver = ["solver", "iterations", "tolerance", "solver_data", "solver_rows", "keep_going"];
            let how = options_named("How scores are made", &[&how[..], &solver[..]].concat());
            let which =
                options_named("Which scores", &["per_module", "per_token", "sum_pool", "top", "limit"]);
            let place = options_named("Output", &["kronfluence", "report"]);
            with_groups(score, [vec![queries, how, which, place], passing(), writing(), reading()])
        })
        .mut_subcommand("matrix", |matrix| {
            let pairs = options_named("Which vectors are compared", PAIR_OPTIONS);
            with_groups(matrix, [vec![pairs], writing(), reading()])
        })
        .mut_subcommand("plot", |plot| {
            let plot = plot.mut_subcommands(|what| {
                let picture = options_of::<PlotOutputArgs>("Picture");
                with_groups(what, [vec![picture], questions(), models()])
            });
            plot.mut_subcommand("tokens", |tokens| hide_options(tokens, &[METHOD, COVARIANCE_OPTIONS]))
        })
}

/// A command whose labels are scores by gradients, of the rows that have some, as with `partial`: without the
/// options of covariances of losses and of rows without gradients.
fn label_command(command: Command) -> Command {
    hide_options(command, &[METHOD, COVARIANCE_OPTIONS, &["missing", "partial"]])
}

/// Commands that cannot cut texts into blocks: their samples are registered, or are questions.
fn hide_blocks(root: Command) -> Command {
    let hide = |command: Command| hide_options(command, &[&["block"]]);
    root.mut_subcommand("score", hide)
        .mut_subcommand("factors", |factors| factors.mut_subcommand("fit", hide))
        .mut_subcommand("daunce", |daunce| daunce.mut_subcommand("losses", hide))
        .mut_subcommand("evaluate", |evaluate| evaluate.mut_subcommand("tasks", hide))
}

/// The command without these options in its help. They are parsed, so that the error says why they are
/// refused.
fn hide_options(command: Command, hidden: &[&[&str]]) -> Command {
    command.mut_args(|arg| {
        let is_hidden = hidden.iter().any(|names| names.contains(&arg.get_id().as_str()));
        if is_hidden { arg.hide(true) } else { arg }
    })
}

/// A model that is passed through.
fn passing() -> Vec<OptionGroup> {
    vec![
        options_of::<FactorsModelArgs>("Model"),
        options_of::<EngineArgs>("Modules, speed and memory"),
        options_of::<TextArgs>("Text and tokens"),
    ]
}

/// How rows are scored, and who does it.
fn questions() -> Vec<OptionGroup> {
    let (sketches, terms): (Vec<&str>, Vec<&str>) =
        TERMS.iter().copied().partition(|name| matches!(*name, "mode" | "miss" | "tolerance" | "certified"));
    let mut groups = vec![
        options_named("Which vectors are compared", PAIR_OPTIONS),
        options_named("How similarities become scores", &terms),
        options_named("Sketches", &sketches),
    ];
    groups.extend(reading());
    groups
}

fn reading() -> Vec<OptionGroup> {
    vec![
        options_named("State of the store", &["snapshot", "checks"]),
        #[cfg(feature = "serve")]
        options_of::<RemoteArgs>("Server"),
    ]
}

fn writing() -> Vec<OptionGroup> {
    let options = [
        "output",
        "format",
        "as_json",
        "scores",
        "scores_of",
        "explain",
        "full",
        "plot",
        "force",
        "memory",
        "dry_run",
        "json",
    ];
    vec![options_named("Output", &options)]
}

fn models() -> Vec<OptionGroup> {
    vec![options_of::<ModelArgs>("Models of given samples")]
}

/// The command with each option under the heading of its group; one of no group is a plain option.
fn with_groups<const N: usize>(command: Command, groups: [Vec<OptionGroup>; N]) -> Command {
    command.mut_args(|arg| {
        let id = arg.get_id().as_str();
        let group = groups.iter().flatten().find(|(_, options)| options.iter().any(|option| option == id));
        let heading = group.map(|(heading, _)| *heading);
        arg.help_heading(heading)
    })
}

/// All commands with texts of this width.
fn fit_width(command: Command, width: usize) -> Command {
    let command = match command.get_after_help().map(ToString::to_string) {
        Some(text) => command.after_help(laid_out(&text, width)),
        None => command,
    };
    command.term_width(width).mut_subcommands(|inner| fit_width(inner, width))
}

/// Paragraphs in full lines, and examples in lines that a shell takes.
fn laid_out(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let is_example = line.starts_with(' ');
        if is_example {
            lines.extend(example(line, width));
        } else {
            match lines.last_mut().filter(|_| open && !line.is_empty()) {
                Some(last) => last.extend([" ", line]),
                None => lines.push(line.to_owned()),
            }
        }
        open = !is_example && !line.is_empty() && !line.ends_with(':');
    }
    lines.join("\n")
}

/// A command over as many lines as it takes, broken where it stays the same command.
fn example(line: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "      ";
    let mut lines = Vec::new();
    let mut rest = line.trim_end().to_owned();
    let mut inside = false;
    while rest.chars().count() > width && line.trim_start().starts_with("gstore ") {
        let Some((at, in_text)) = last_break(&rest, width.saturating_sub(2), inside) else { break };
        let (head, tail) = rest.split_at(at);
        lines.push(format!("{}{}", head.trim_end(), if in_text { "" } else { " \\" }));
        rest = format!("{INDENT}{}", tail.trim_start());
        inside = in_text;
    }
    lines.push(rest);
    lines
}

/// The last blank within `most` characters where a line may end, and whether it is inside of double quotes,
/// where SQL takes a line break for a blank; `inside` says whether the line begins there.
fn last_break(line: &str, most: usize, inside: bool) -> Option<(usize, bool)> {
    let begin = line.len() - line.trim_start().len();
    let (mut single, mut double, mut found) = (false, inside, None);
    for (at, c) in line.char_indices().take(most + 1) {
        match c {
            '\'' => single = !single,
            '"' if !single => double = !double,
            // A comment goes on to the end of its line.
            '#' if !single && !double => break,
            ' ' if !single && at > begin => found = Some((at, double)),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::command;

    #[test]
    fn examples_stay_commands() {
        let line = "  gstore query --store s \"SELECT id, score FROM influence('a pool', 'gsm8k') LIMIT 10\" -o out.csv --force";
        let lines = example(line, 60);
        assert_eq!(
            lines,
            [
                "  gstore query --store s \"SELECT id, score FROM",
                "      influence('a pool', 'gsm8k') LIMIT 10\" -o out.csv \\",
                "      --force",
            ]
        );
        assert_eq!(example("  gstore ls", 60), ["  gstore ls"]);
        let noted = "  gstore index --store s   # which features have which indexes";
        let lines = ["  gstore index --store s \\", "      # which features have which indexes"];
        assert_eq!(example(noted, 40), lines);
        assert_eq!(
            laid_out("Examples:\n  gstore ls\n\nOne\nparagraph.\n\nAnother.", 60),
            "Examples:\n  gstore ls\n\nOne paragraph.\n\nAnother."
        );
    }

    #[test]
    fn no_line_of_an_example_is_wrapped() {
        fn check(command: &Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines().filter(|line| line.starts_with(' ')) {
                assert!(line.chars().count() <= WIDEST, "{path}: {line}");
            }
            command.get_subcommands().for_each(|inner| check(inner, &path));
        }
        check(&command(), "");
    }

    /// The words of a command line up to a comment, a pipe or a file.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => quote = Some(c),
                (None, '#' | '|' | '>') if word.is_empty() => break,
                (None, ' ') => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
                _ => word.push(c),
            }
        }
        words.extend(Some(word).filter(|word| !word.is_empty()));
        words
    }

    /// The examples of a help, each with the lines over which it goes.
    fn examples(command: &Command) -> Vec<Vec<String>> {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (mut lines, mut inside) = (Vec::<String>::new(), false);
        for line in text.lines() {
            let is_new = line.starts_with("  gstore ");
            inside = is_new || inside && line.starts_with("    ");
            let part = line.trim_end_matches('\\').trim();
            match lines.last_mut().filter(|_| !is_new) {
                Some(last) if inside => last.extend([" ", part]),
                None if is_new => lines.push(part.to_owned()),
                _ => {}
            }
        }
        lines.iter().map(|line| words(line)).collect()
    }

    #[test]
    fn every_command_has_examples_and_each_of_them_parses() {
        fn check(command: &Command) {
            let whole = |words: &Vec<String>| words.iter().all(|word| word != "...");
            for words in examples(command).into_iter().filter(whole) {
                let parsed = super::super::command().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
            }
            command.get_subcommands().for_each(check);
        }
        let root = command();
        for command in root.get_subcommands() {
            assert!(!examples(command).is_empty(), "{}", command.get_name());
            check(command);
        }
    }

    #[test]
    fn options_that_labels_refuse_are_not_in_their_help() {
        let root = command();
        let prefilter = root.find_subcommand("prefilter").expect("a command");
        for name in ["fit", "evaluate"] {
            let mut command = prefilter.find_subcommand(name).expect("a command").clone();
            let help = command.render_long_help().to_string();
            assert!(help.contains("--across") && help.contains("--precondition"), "{help}");
            assert!(!help.contains("daunce") && !help.contains("--ensemble"), "{help}");
        }
    }

    #[test]
    fn options_stand_in_their_groups() {
        let root = command();
        let heading = |name: &str, option: &str| {
            let command = root.find_subcommand(name).expect("a command");
            let arg = command.get_arguments().find(|arg| arg.get_id() == option).expect("an option");
            arg.get_help_heading().map(str::to_owned)
        };
        for (command, option, group) in [
            ("select", "output", Some("Output")),
            ("select", "quota", Some("Rules of the selection")),
            ("select", "recall", Some("Cascade")),
            ("select", "model", Some("Cascade")),
            ("select", "sim", Some("Which vectors are compared")),
            ("select", "pool", None),
            ("select", "snapshot", Some("State of the store")),
            ("ingest", "checkpoints", None),
            ("ingest", "dim", Some("Gradients and embeddings")),
            ("ingest", "backend", Some("Speed and memory")),
            ("ingest", "shard", Some("Parts of the work")),
            ("ask", "prompt", None),
            ("ask", "model", Some("Models of given samples")),
            ("query", "format", Some("Output")),
        ] {
            assert_eq!(heading(command, option).as_deref(), group, "{command} {option}");
        }
    }
}
