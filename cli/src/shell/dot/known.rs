//! List of the dot commands, for help and for completion.

use gstore_core::did_you_mean;

use super::super::settings::Mode;

/// Dot commands, what they take and what they do, in the order in which help lists them.
#[rustfmt::skip]
pub const COMMANDS: &[(&str, &str, &str)] = &[
    (".tables", "[TEXT]", "the tables, or those whose name contains a text"),
    (".schema", "[TABLE]", "the columns of a table, or of every dataset"),
    (".mode", "[MODE]", "how results look: table, line (a record below the other), csv, tsv, json, lines, markdown or html"),
    (".maxrows", "[N|all]", "how many rows of a result are shown"),
    (".timer", "[on|off]", "whether the time of each statement is shown"),
    (".pager", "[on|off]", "whether a result longer than the screen goes through a pager"),
    (".output", "[FILE]", "write all rows of what follows to a file; without one, show them again"),
    (".once", "FILE", "write all rows of the next result to a file"),
    (".read", "FILE", "run the statements and dot commands of a file"),
    (".help", "", "this list"),
    (".quit", "", "leave, as Ctrl-D does"),
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

pub(super) fn unknown_command(name: &str) -> String {
    if let Some((_, meant)) = ELSEWHERE.iter().find(|(names, _)| names.contains(&name)) {
        return format!("there is no command `{name}`; {meant}");
    }
    match did_you_mean(name, COMMANDS.iter().map(|(known, ..)| *known)).as_str() {
        "" => format!("there is no command `{name}`; .help lists them"),
        meant => format!("there is no command `{name}`{meant} .help lists them"),
    }
}

/// The list of commands.
pub fn help() -> String {
    let mut text = String::from(
        "Statements end with `;` and may have several lines. Tab completes names, options and values.\n\
         Ctrl-C discards the input or stops the running statement, Ctrl-R searches earlier statements,\n\
         Ctrl-D leaves where nothing is typed.\n\n",
    );
    for (name, takes, about) in COMMANDS {
        let left = format!("{name} {takes}");
        text.push_str(&format!("  {left:<18} {about}\n"));
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
            COMMANDS.iter().map(|(name, ..)| format!("{name} ").replace(".help ", ".help")).collect()
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
