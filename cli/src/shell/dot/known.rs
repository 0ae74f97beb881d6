//! List of the dot commands, for help and for completion.

use gstore_core::did_you_mean;

use super::super::settings::Mode;

/// A dot command: its name, what it takes, and what it does.
pub struct DotHelp {
    /// Its name with the dot.
    pub name: &'static str,
    /// What follows it.
    pub takes: &'static str,
    pub about: &'static str,
}

const fn dot_help(name: &'static str, takes: &'static str, about: &'static str) -> DotHelp {
    DotHelp { name, takes, about }
}

/// All of them, in the order in which help lists them.
#[rustfmt::skip]
pub const COMMANDS: &[DotHelp] = &[
    dot_help(".tables", "[TEXT]", "the tables, or those whose name contains a text"),
    dot_help(".schema", "[TABLE]", "the columns of a table, or of every dataset"),
    dot_help(".mode", "[MODE]", "how results look: table, line (a record below the other), csv, tsv, json, lines, markdown or html"),
    dot_help(".maxrows", "[N|all]", "how many rows of a result are shown"),
    dot_help(".timer", "[on|off]", "whether the time of each statement is shown"),
    dot_help(".pager", "[on|off]", "whether a result longer than the screen goes through a pager"),
    dot_help(".output", "[FILE]", "write all rows of what follows to a file; without one, show them again"),
    dot_help(".once", "FILE", "write all rows of the next result to a file"),
    dot_help(".read", "FILE", "run the statements and dot commands of a file"),
    dot_help(".help", "", "this list"),
    dot_help(".quit", "", "leave, as Ctrl-D does"),
];

/// Backslash commands that people bring from elsewhere.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("\\?", ".help"),
    ("\\h", ".help"),
    ("\\d", ".schema"),
    ("\\dt", ".tables"),
    ("\\i", ".read"),
    ("\\o", ".output"),
    ("\\timing", ".timer"),
    ("\\pset", ".mode"),
    ("\\q", ".quit"),
    (".exit", ".quit"),
    (".columns", ".schema"),
    (".show", ".mode"),
];

/// Commands of other shells, and what does their job here.
#[rustfmt::skip]
pub(super) const ELSEWHERE: &[(&[&str], &str)] = &[
    (&[".headers", ".header"], "results name their columns in every `.mode` but lines"),
    (&[".width", ".wrap", ".cols"], "tables fit the terminal; `.mode line` cuts nothing"),
    (&[".separator", ".colsep", ".rowsep"], "`.mode csv` and `.mode tsv` have their own"),
    (&[".nullvalue"], "NULL is shown as such; coalesce(x, '-') shows another text"),
    (&[".rows", ".limit", ".maxwidth"], "`.maxrows N` says how many rows are shown"),
    (&[".open", ".connect", ".attach", ".databases", ".database", "\\c", "\\connect", "\\l"],
        "there is one store, that of `gstore query --store DIR`; SHOW TABLES lists its tables"),
    (&[".import", "\\copy"], "`gstore query --with NAME=FILE` makes a file a table, `gstore add` registers samples"),
    (&[".load"], "`gstore query --with NAME=FILE` makes a file a table"),
    (&[".dump", ".fullschema", ".excel", ".export"],
        "`.output FILE` writes results, as `gstore query -o FILE` does; `gstore backup` copies the store"),
    (&[".save", ".backup", ".clone", ".restore"], "`gstore backup` copies the store, `gstore restore` makes one of a copy"),
    (&[".indexes", ".indices", ".index", "\\di"], "`gstore index` lists the indexes"),
    (&[".shell", ".system", ".sh", ".cd", "\\!", "\\cd"], "leave with `.quit`; paths count from the folder where gstore was started"),
    (&[".echo", ".print", "\\echo"], "SELECT 'text' shows a text"),
    (&[".explain", ".eqp", ".stats", ".scanstats"], "EXPLAIN shows the plan of a statement, EXPLAIN ANALYZE also what it took"),
    (&[".constant", ".keyword", ".highlight", ".highlight_colors", ".prompt", ".color"],
        "colours and the prompt stay as they are; if NO_COLOR is set, there are no colours"),
    (&[".changes", ".log"], "SQL only reads the store; `gstore snapshots` lists what changed it"),
    (&[".history", "\\s"], "Up and Ctrl-R find earlier statements"),
    (&[".edit", "\\e"], "a statement may have several lines; `.read FILE` runs one from a file"),
    (&[".views", "\\dv"], "`gstore view list` lists views, and `.tables` all tables"),
    (&[".functions", "\\df"], "SHOW FUNCTIONS lists functions"),
];

/// What is said of a name that no command has.
pub(super) fn unknown_command(name: &str) -> String {
    if let Some((_, meant)) = ELSEWHERE.iter().find(|(names, _)| names.contains(&name)) {
        return format!("there is no command `{name}`; {meant}");
    }
    match did_you_mean(name, COMMANDS.iter().map(|known| known.name)).as_str() {
        "" => format!("there is no command `{name}`; .help lists them"),
        meant => format!("there is no command `{name}`{meant} .help lists them"),
    }
}

/// The list of commands.
pub fn help() -> String {
    let mut text = String::from(
        "Statements end with `;` and may have several lines. Tab completes names, options and values.\n\
         Ctrl-C leaves what is typed or stops what runs, Ctrl-R searches earlier statements, Ctrl-D leaves.\n\n",
    );
    for known in COMMANDS {
        let left = format!("{} {}", known.name, known.takes);
        text.push_str(&format!("  {left:<18} {}\n", known.about));
    }
    text.push_str(
        "\n  SELECT id, score FROM influence('pool', 'target') ORDER BY score DESC LIMIT 10;\n  \
         DESCRIBE pool;  SELECT * FROM gstore.features;  EXPLAIN SELECT ...;",
    );
    text
}

/// Where a word of a dot command begins that is being typed, and what it may become; `tables` are the names
/// of tables.
pub fn complete_word(typed: &str, tables: impl Fn() -> Option<Vec<String>>) -> (usize, Vec<String>) {
    let blank = typed.char_indices().rev().find(|(_, c)| c.is_whitespace());
    let from = blank.map_or(0, |(at, c)| at + c.len_utf8());
    let command = typed.split_whitespace().next().unwrap_or_default();
    let mut found: Vec<String> = match command {
        _ if typed[..from].trim().is_empty() => {
            COMMANDS.iter().map(|known| format!("{} ", known.name).replace(".help ", ".help")).collect()
        }
        ".mode" => Mode::words().map(str::to_owned).collect(),
        ".timer" | ".pager" | "\\timing" => vec!["on".to_owned(), "off".to_owned()],
        ".maxrows" => vec!["all".to_owned()],
        ".schema" | ".tables" | "\\d" => tables().unwrap_or_default(),
        _ => Vec::new(),
    };
    found.retain(|word| word.starts_with(&typed[from..]));
    (from, found)
}
