//! Promise: people can stay in the shell, and tables, files and pictures show what was asked for.

use std::process::Command;

use gstore_tests::made;
use gstore_tests::place::Place;
use rustix::process::Signal;

use crate::terminal::Terminal;

/// A pool of 2,040 rows and a target of 3, with vectors.
pub fn place() -> Place {
    made::place(2040, 3)
}

/// A command whose home is the folder of the test.
fn at_home(place: &Place, args: &[&str]) -> Command {
    let mut command = place.gstore(args);
    command.env("XDG_STATE_HOME", place.path("state")).env_remove("PAGER").env_remove("GSTORE_PAGER");
    command.env_remove("GSTORE_CONFIG");
    command
}

const PROMPT: &str = "gstore> ";

/// The shell in a terminal.
struct Shell(Terminal);

impl Shell {
    /// One of 100 columns and 60 lines, without times.
    fn new(place: &Place) -> Option<Self> {
        let mut shell = Self(Terminal::run(&at_home(place, &["query"]), 100, 60)?);
        shell.line(".timer off");
        Some(shell)
    }

    /// Types a line; returns what is shown up to the next prompt.
    fn line(&mut self, line: &str) -> String {
        self.0.answer(line, PROMPT)
    }

    /// Leaves by Ctrl-D.
    fn leave(mut self) {
        self.0.ready(PROMPT);
        self.0.keys("\u{4}");
        assert_eq!(self.0.end(), 0);
    }
}

/// A check of several words in what was shown.
fn has(shown: &str, words: &[&str]) {
    for word in words {
        assert!(shown.contains(word), "no {word:?} in {shown}");
    }
}

/// The shell's input from a file: what it prints, what it says, and whether it went well.
fn piped(place: &Place, args: &[&str], script: impl AsRef<[u8]>) -> (String, String, bool) {
    place.write("script", script);
    let input = fs_err::File::open(place.path("script")).expect("opens").into_file();
    let done = at_home(place, args).stdin(input).output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&done.stdout), text(&done.stderr), done.status.success())
}

/// A supervisor sends one signal and waits.
#[test]
fn a_signal_ends_the_shell_at_its_prompt() {
    let place = place();
    for signal in [Signal::TERM, Signal::HUP] {
        let Some(mut shell) = Shell::new(&place) else { return };
        // Ctrl-C stays a key.
        shell.0.keys("SELECT\u{3}");
        has(&shell.line("SELECT 20 + 3 AS n;"), &["23"]);
        shell.0.ready(PROMPT);
        assert_eq!(shell.0.end_by(signal), (130, true), "{signal:?}");
    }
}

#[test]
fn a_command_in_an_open_statement_is_told_and_not_read_as_sql() {
    let place = place();
    let Some(mut shell) = Shell::new(&place) else { return };
    shell.0.ready(PROMPT);
    shell.0.keys("SELECT 1\r.quit\r");
    shell.0.until("a statement is open");
    shell.0.keys("\u{3}");
    has(&shell.line("SELECT 20 + 3 AS n;"), &["23"]);
    shell.leave();
}

#[test]
fn dot_commands_work_through_a_pipe() {
    let place = place();
    let script =
        ".timer off\n.mode json\nSELECT 1 AS one;\n-- now text\n.mode csv\nSELECT id\nFROM pool LIMIT 50";
    let (shown, said, fine) = piped(&place, &["query"], script);
    assert!(fine && said.is_empty(), "{said}");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1], lines[51]), (52, "{\"one\":1}", "id", "pool49"), "{shown}");
    let (shown, said, fine) = piped(&place, &["query", "-"], "SELECT 1 AS one;\n.mode tabel\nSELECT 2;");
    assert!(!fine && shown == "one\n1\n", "{shown}");
    has(&said, &["standard input, line 2", "`tabel`"]);
    // Places are those of the whole text, also where a line has several statements.
    let three = "SELECT 1 AS one; SELECT bad; SELECT 3;\n";
    let (_, said, fine) = piped(&place, &["query"], format!(".mode json\n{three}"));
    assert!(!fine && said.contains("`bad` (line 2, column 25)"), "{said}");
    place.write("three.sql", three);
    for args in [&["query", ".read three.sql"][..], &["query", "-f", "three.sql"]] {
        let said = place.run(args).stderr;
        assert!(said.contains("`bad` (line 1, column 25)"), "{said}");
    }
    // The ends of lines within a text are those of the script.
    let (shown, said, fine) = piped(&place, &["query"], ".mode json\r\nSELECT 'a\r\nb' AS t;\r\n");
    assert!(fine && shown == "{\"t\":\"a\\r\\nb\"}\n", "{shown}{said}");
    let (_, said, fine) = piped(&place, &["query", "-o", "x.csv"], ".tables");
    assert!(!fine && said.contains(".output FILE"), "{said}");
    // Pages do not follow each other.
    let (shown, said, fine) = piped(&place, &["query", "--format", "html"], ".tables\nSELECT 1;\nSELECT 2;");
    assert!(!fine && shown.is_empty() && said.contains("formats of one result (html"), "{shown}{said}");
    // On the command line as well.
    assert_eq!(place.ok(&["query", ".tables targ"]), "target\n");
    // One result goes to a file, records below each other and back, and a view is a table.
    let script = ".once one.csv\nSELECT 1 AS a;\nSELECT 2 AS b;\n\\x\nSELECT 3 AS c;\n\\x\nSELECT 4 AS d;";
    let (shown, said, fine) = piped(&place, &["query", "--format", "csv"], script);
    assert!(fine && shown.starts_with("b\n2\n") && shown.ends_with("\nd\n4\n"), "{shown}{said}");
    assert!(shown.contains("c = 3\n"), "{shown}");
    assert_eq!(place.read("one.csv"), "a\n1\n");
    let half = ".output part.csv\nSELECT 1 AS n;\nSELECT 1 // (9000 - range) AS n FROM range(30000);";
    let (_, said, fine) = piped(&place, &["query"], half);
    assert!(!fine && said.contains("divided by 0"), "{said}");
    assert_eq!(place.read("part.csv"), "n\n1\n");
    // A script that failed can be repeated.
    for statement in ["SELECT nothing", "SELECT 1 // (9000 - range) AS n FROM range(30000)"] {
        for command in [".once", ".output"] {
            let (_, said, fine) = piped(&place, &["query"], format!("{command} none.parquet\n{statement};"));
            assert!(!fine && !said.contains("exists"), "{said}");
            assert!(!place.path("none.parquet").exists());
        }
    }
    let (_, said, fine) = piped(&place, &["query"], ".output missing/one.csv\nSELECT 1 AS a;");
    assert!(!fine && said.contains("there is no such folder"), "{said}");
    // An ending says the format, as for `-o`, and without one the mode does.
    let (_, said, fine) = piped(&place, &["query"], ".output one.foo\nSELECT 1 AS a;");
    assert!(!fine && said.contains("one.foo: the format cannot be told from the ending"), "{said}");
    assert!(!place.path("one.foo").exists());
    let script = ".mode json\n.output one.txt\nSELECT 1 AS a;\n.output one\nSELECT 1 AS a;";
    let (shown, said, fine) = piped(&place, &["query"], script);
    assert!(fine && shown.is_empty(), "{shown}{said}");
    let written = |name: &str| place.read(name);
    assert!(written("one") == "{\"a\":1}\n" && !written("one.txt").contains('{'), "{}", written("one.txt"));
    // A Markdown table has one header, as a CSV file has.
    let script = ".output one.md\nSELECT 1 AS a;\nSELECT 2 AS a;\n.output\n.mode box\nSELECT 3 AS a;";
    let (shown, said, fine) = piped(&place, &["query"], script);
    assert!(fine && shown.contains("a\n") && !shown.contains(','), "{shown}{said}");
    assert_eq!(written("one.md"), "| a |\n| ---: |\n| 1 |\n| 2 |\n");
    place.ok(&["view", "create", "odd_ones", "SELECT id, row FROM pool"]);
    assert_eq!(place.ok(&["query", ".tables odd"]), "odd_ones\n");
    has(&place.ok(&["query", ".schema odd_ones"]), &["odd_ones\n", "  id ", "  row "]);
    let finished = place.run(&["query", "SELECT 1 AS one;\n.nothing"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (1, "one\n1\n"), "{}", finished.stderr);
    has(&finished.stderr, &["the statements given, line 2", "there is no command `.nothing`"]);
}

#[test]
fn a_script_says_which_statement_is_open_above_a_command() {
    let place = place();
    let open = "line 4: the statement above (line 2) is still open: end it with `;` before `.mode csv`";
    let script = "SELECT 1 AS one;\nSELECT 2\n  AS two\n.mode csv\nSELECT 3;\n";
    let (shown, said, fine) = piped(&place, &["query"], script);
    assert!(
        !fine && shown == "one\n1\n" && said.contains(&format!("standard input, {open}")),
        "{shown}{said}"
    );
    for args in [&["query", "-f", "script"][..], &["query", ".read script"]] {
        place.run(args).says(1, &[&format!("script, {open}")]);
    }
    // A number and a line of a text are no commands.
    let script = "SELECT '\n.mode csv\n' AS t, 1 +\n.5 AS n";
    let (shown, said, fine) = piped(&place, &["query", "--format", "json"], script);
    assert!(fine && shown == "{\"t\":\"\\n.mode csv\\n\",\"n\":1.5}\n", "{shown}{said}");
}

#[test]
fn a_byte_that_is_not_utf_8_is_an_error_of_its_line() {
    let place = place();
    let (shown, said, fine) = piped(&place, &["query"], b"SELECT 1;\nSELECT '\xe9';\n");
    assert!(!fine && shown.is_empty(), "{shown}");
    has(&said, &["standard input, line 2: the byte 0xE9 is not UTF-8"]);
    place.run(&["query", ".read script"]).says(1, &["script, line 2: the byte 0xE9 is not UTF-8"]);
    // The shell goes on.
    let Some(mut shell) = Shell::new(&place) else { return };
    shell.0.ready(PROMPT);
    shell.0.keys(b"SELECT \xff");
    shell.0.until("what was typed is not UTF-8");
    has(&shell.line("SELECT 20 + 3 AS n;"), &["23"]);
    shell.leave();
}

#[test]
fn rows_are_counted_and_the_first_are_shown() {
    let place = place();
    let Some(mut shell) = Shell::new(&place) else { return };
    let shown = shell.line("SELECT id FROM pool;");
    has(&shown, &["pool39", "(2040 rows, 40 shown)"]);
    assert!(!shown.contains("pool40"), "{shown}");
    shell.line(".maxrows 2");
    let shown = shell.line("SELECT id FROM pool;");
    has(&shown, &["pool1", "(2040 rows, 2 shown)"]);
    assert!(!shown.contains("pool2"), "{shown}");
    let shown = shell.line("SELECT NULL AS a, '' AS b;");
    assert!(shown.lines().any(|line| line.trim() == "NULL") && shown.contains("(1 row)"), "{shown}");
    shell.line(".mode line");
    has(&shell.line("SELECT row, id FROM pool LIMIT 1;"), &["row = 0\n", " id = pool0\n", "(1 row)"]);
    for alone in [".mode", ".maxrows"] {
        has(&shell.line(alone), &["mode line, maxrows 2, timer off"]);
    }
    has(&shell.line(".timer"), &["timer on"]);
    has(&shell.line("SELECT 1 AS one;"), &["(1 row) 0."]);
    shell.leave();
}

#[test]
fn a_line_that_is_no_command_is_an_error_at_once() {
    let place = place();
    let Some(mut shell) = Shell::new(&place) else { return };
    has(&shell.line(".tabels"), &["did you mean `.tables`?"]);
    has(&shell.line("\\zz"), &["there is no command `\\zz`"]);
    has(&shell.line(".open other"), &["there is no command `.open`; there is one store", "--store DIR"]);
    has(&shell.line("selec 3;"), &["did you mean `SELECT`?"]);
    let tables = shell.line(".tables targ");
    assert!(tables.contains("target\n") && !tables.contains("pool"), "{tables}");
    has(&shell.line("\\d pool"), &["record", "VARCHAR", "UBIGINT"]);
    has(&shell.line(".schema poool"), &["did you mean `pool`?"]);
    has(&shell.line(".help"), &[".maxrows", "Ctrl-C", "Ctrl-D leaves where nothing is typed"]);
    // What is typed may have several lines, and Ctrl-C gives it up.
    has(&shell.line("SELECT 41\r+ 1 AS answer;"), &["42", "(1 row)"]);
    shell.0.ready(PROMPT);
    shell.0.keys("SELECT 50\r");
    shell.0.until("... `;` runs the statement");
    // Ctrl-D deletes what stands behind the cursor: nothing here.
    shell.0.keys("\u{4}+ 1 AS answer;\r");
    shell.0.until("51");
    shell.0.ready(PROMPT);
    shell.0.keys("SELECT 'half a text;\r\u{3}");
    has(&shell.line("SELECT 6 * 9 AS answer; SELECT 5 * 5 AS more;"), &["54", "25"]);
    has(&shell.line("SELECT nothing;"), &["error: "]);
    shell.leave();
}

#[test]
fn tab_completes_tables_options_and_values() {
    let place = place();
    let odd = "{\"id\": \"a\", \"text\": \"t\", \"Topic Name\": \"green\"}\n";
    place.write("odd.jsonl", odd);
    place.ok(&["add", "--data", "odd.jsonl"]);
    place.write("my script=1.sql", "SELECT 70 + 7 AS n;\n");
    let Some(mut shell) = Shell::new(&place) else { return };
    has(
        &shell.line("sel\t 70 + 8 AS n from odd whe\t id = 'a' ord\t by id;"),
        &["78", "from odd where id = 'a' order by"],
    );
    has(&shell.line("SELECT topic\t FROM odd;"), &["\"Topic Name\" FROM odd", "green"]);
    has(&shell.line(".read my\t"), &["77"]);
    has(&shell.line("SELECT count(*) AS n FROM po\t;"), &["2040", "(1 row)"]);
    let call = "SELECT count(*) + 5 AS n FROM influence('p\t', 'tar\t', wit\t'mea\t', sim\t'do\t');";
    let whole = "influence('pool', 'target', within => 'mean', sim => 'dot')";
    has(&shell.line(call), &["2045", whole]);
    has(&shell.line("SELECT count(*) + 7 AS n FROM pool, tar\t;"), &["6127", "FROM pool, target;"]);
    shell.line(".mo\tli\t");
    has(&shell.line("SELECT 1 AS one;"), &["one = 1"]);
    shell.leave();
}

#[test]
fn the_history_lasts_from_one_run_to_the_next() {
    let place = place();
    let Some(mut first) = Shell::new(&place) else { return };
    has(&first.line("SELECT 123000 + 456\rAS kept;"), &["123456"]);
    first.leave();
    assert!(place.path("state/gstore/history").is_file());
    let Some(second) = Terminal::run(&at_home(&place, &["query"]), 100, 60) else { return };
    let mut second = Shell(second);
    has(&second.line("\u{1b}[A"), &["SELECT 123000 + 456\nAS kept;", "123456"]);
    second.leave();
}

#[test]
fn lines_that_are_typed_ahead_wait_their_turn() {
    let place = place();
    let Some(mut shell) = Shell::new(&place) else { return };
    shell.line(".mode line");
    shell.0.ready(PROMPT);
    // One read of the terminal holds all of them, and a statement that spans two.
    shell.0.keys("SELECT 1000 + 1 AS a;\rSELECT 1000\r+ 2 AS b;\r.maxrows 5\rSELECT 1000 + 3 AS c;\r");
    for shown in ["a = 1001", "b = 1002", "c = 1003"] {
        shell.0.until(shown);
    }
    shell.0.ready(PROMPT);
    // What is typed while a statement runs: 2040 * 2039 / 2 pairs are in order.
    shell.0.keys("SELECT count(*) AS pairs FROM pool a, pool b WHERE a.row < b.row;\r");
    shell.0.until("b.row;\n");
    shell.0.keys("SELECT 2000 + 4 AS d;\rSELECT 2000 + 5 AS e;\r");
    for shown in ["pairs = 2079780", "d = 2004", "e = 2005"] {
        shell.0.until(shown);
    }
    shell.leave();
}

#[test]
fn ctrl_c_ends_the_statement_and_not_the_shell() {
    let place = place();
    let Some(mut shell) = Shell::new(&place) else { return };
    shell.0.ready(PROMPT);
    shell.0.keys("SELECT count(*) FROM pool a, pool b, pool c WHERE a.row + b.row + c.row = 1000000;\r");
    std::thread::sleep(std::time::Duration::from_millis(2000));
    shell.0.keys("\u{3}");
    shell.0.until("the query was cancelled");
    has(&shell.line("SELECT 6 * 9 AS answer;"), &["54"]);
    shell.leave();
}

#[test]
fn tables_and_plans_fit_the_terminal_that_there_is() {
    let place = place();
    let Some(mut shell) = Shell::new(&place) else { return };
    let label = place.value("SELECT label FROM gstore.features LIMIT 1");
    let shown = shell.line("SELECT * FROM gstore.features;");
    has(&shown, &[&label, "… stands for", "columns: "]);
    let table: Vec<&str> = shown.lines().skip_while(|line| !line.starts_with("number")).take(4).collect();
    assert!(table.len() == 4 && table.iter().all(|line| line.chars().count() <= 100), "{shown}");
    shell.0.resize(60, 60);
    let plan = shell.line("EXPLAIN SELECT id FROM influence('pool', 'target') ORDER BY score DESC LIMIT 3;");
    let physical = plan.split("physical_plan:").nth(1).unwrap_or_default();
    has(physical, &["InfluenceExec\n", "sim=cosine"]);
    assert!(physical.lines().all(|line| line.chars().count() <= 60), "{plan}");
    shell.0.resize(1000, 60);
    let whole = shell.line("SELECT * FROM gstore.features;");
    assert!(whole.contains("(2 rows)") && !whole.contains("stands for"), "{whole}");
    shell.leave();
}

#[test]
fn a_narrow_list_keeps_names_datasets_and_rows() {
    let place = place();
    for columns in [60, 80] {
        let Some(mut terminal) = Terminal::run(&at_home(&place, &["ls"]), columns, 60) else { return };
        let shown = terminal.until("columns: ");
        let heading = shown.lines().find(|line| line.starts_with("name")).expect("a heading");
        has(heading, &["dataset", "rows"]);
        has(&shown, &["2040"]);
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn a_long_result_goes_through_the_pager() {
    let place = place();
    let mut command = at_home(&place, &["query"]);
    // It goes when a key was typed, which Ctrl-C is to it as well.
    command.env("PAGER", "trap '' INT; sed s/^/paged:/; read key </dev/tty");
    let Some(terminal) = Terminal::run(&command, 100, 20) else { return };
    let mut shell = Shell(terminal);
    shell.0.ready(PROMPT);
    shell.0.keys("SELECT id FROM pool;\r");
    shell.0.until("paged:pool39");
    std::thread::sleep(std::time::Duration::from_millis(300));
    shell.0.keys("\u{3}");
    std::thread::sleep(std::time::Duration::from_millis(100));
    shell.0.keys("\r");
    let shown = shell.0.until("(2040 rows, 40 shown)");
    assert!(!shown.contains("stopping"), "{shown}");
    shell.line(".pager off");
    let shown = shell.line("SELECT id FROM pool;");
    assert!(shown.contains("pool39") && !shown.contains("paged:"), "{shown}");
    shell.leave();
}

#[test]
fn results_go_to_files_and_statements_come_from_files() {
    let place = place();
    let script = "-- two statements\n.mode csv\nSELECT 1 AS a\n;\nSELECT 2 AS b; SELECT 3 AS c\n";
    place.write("script.sql", script);
    place.write("bad.sql", "SELECT 1 AS fine;\n\nSELECT nothing;\n");
    place.write("there.csv", "mine");
    let Some(mut shell) = Shell::new(&place) else { return };
    shell.line(".output rows.csv");
    has(&shell.line("SELECT id FROM pool;"), &["(2040 rows to rows.csv)"]);
    has(&shell.line("SELECT id FROM target;"), &["(3 rows to rows.csv)"]);
    has(&shell.line("SELECT row FROM target;"), &["rows.csv has different columns (id)"]);
    shell.line(".output");
    let rows = place.read("rows.csv");
    assert_eq!((rows.lines().count(), rows.lines().last()), (2044, Some("target2")));
    has(&shell.line(".output there.csv"), &["exists; .output begins a new file"]);
    has(&shell.line(".output rows.csv.gz"), &["the shell cannot write compressed files"]);
    for name in ["rows.xlsx", "rows.odd"] {
        let refused = shell.line(&format!(".output {name}"));
        has(&refused, &[".parquet or .arrow; .txt is a table"]);
        assert!(!refused.contains(".gz"), "{refused}");
    }
    // What was meant for a file does not come to the screen unasked.
    has(&shell.line(".once there.csv"), &["exists; .once begins a new file"]);
    let refused = shell.line("SELECT 40 + 2 AS n;");
    assert!(refused.contains("not run, as the file") && !refused.contains("(1 row"), "{refused}");
    has(&shell.line("SELECT 40 + 2 AS n;"), &["42", "(1 row"]);
    shell.line(".once there.csv");
    shell.line(".once once.csv");
    has(&shell.line("SELECT 40 + 2 AS n;"), &["(1 row to once.csv)"]);
    // A Parquet file is one result. What fails leaves nothing of itself in any file.
    shell.line(".output rows.parquet");
    has(&shell.line("SELECT nothing;"), &["error: "]);
    has(&shell.line("SELECT 1 // (9000 - range) AS n FROM range(30000);"), &["divided by 0"]);
    has(&shell.line("SELECT id FROM pool;"), &["(2040 rows to rows.parquet)"]);
    has(&shell.line("SELECT id FROM target;"), &["rows.parquet already has a result and holds only one"]);
    // Nor does a page.
    shell.line(".output rows.html");
    has(&shell.line("SELECT 1 AS n;"), &["(1 row to rows.html)"]);
    has(&shell.line("SELECT 2 AS n;"), &["rows.html already has a result and holds only one"]);
    shell.line(".output rows.json");
    has(&shell.line("SELECT 1 // (9000 - range) AS n FROM range(30000);"), &["divided by 0"]);
    has(&shell.line("SELECT 7 AS n;"), &["(1 row to rows.json)"]);
    shell.line(".output");
    assert_eq!(place.read("rows.json"), "{\"n\":7}\n");
    let with = ["query", "--with", "rows=rows.parquet", "--format", "csv", "SELECT count(id) AS n FROM rows"];
    assert_eq!(place.ok(&with), "n\n2040\n");
    has(&shell.line(".read script.sql"), &["a\n1\n", "b\n2\n", "c\n3\n"]);
    has(&shell.line(".read bad.sql"), &["fine", "bad.sql: there is no column `nothing` (line 3, column 8)"]);
    shell.leave();
    assert_eq!(place.read("there.csv"), "mine");
}

#[test]
fn answers_are_drawn_with_the_flag() {
    let place = place();
    let sql = "SELECT score FROM influence('pool', 'target')";
    let histogram = place.ok(&["query", sql, "--plot"]);
    assert!(histogram.contains("score of 2,040 rows"), "{histogram}");
    assert_eq!(place.ok(&["query", "--plot", sql]), histogram);
    let bars =
        place.ok(&["query", "--plot=bars.svg", "SELECT id, row AS place, 1.5 AS part FROM pool LIMIT 3"]);
    assert!(bars.starts_with("id,place,part\n"), "{bars}");
    assert!(place.read("bars.svg").contains("pool2"));
    let select = ["select", "--pool", "pool", "--target", "target", "--top", "5%"];
    let again =
        place.run(&["query", "--plot=bars.svg", "--force", "SELECT id, row AS place FROM pool LIMIT 3"]);
    has(&again.stderr, &["picture written to bars.svg"]);
    place.ok(&[&select[..], &["-o", "best.jsonl", "--plot", "best.html"]].concat());
    let page = place.read("best.html");
    assert!(page.contains("selected 102") && page.contains("scores of 2,040 rows"), "{page}");
    // Taken in turn, the last row has no score at which the selection ends.
    let in_turn = ["--round-robin", "sample", "-o", "turns.jsonl", "--plot", "turns.html"];
    place.ok(&[&select[..], &in_turn].concat());
    let turns = place.read("turns.html");
    assert!(!turns.contains("selected 102") && turns.contains("scores of 2,040 rows"), "{turns}");
    assert!(!page.contains("<script") && !page.contains("src="), "{page}");
    for (args, words) in [
        (&["-o", "x.jsonl", "--plot", "x.pdf"][..], ".svg"),
        (&["-o", "-", "--plot"][..], "to standard output"),
        (&["-o", "x.jsonl", "--plot", "best.html"][..], "--force"),
    ] {
        place.run(&[&select[..], args].concat()).says(2, &[words]);
    }
    assert!(!place.path("x.jsonl").exists());
    place.run(&["query", "SELECT id FROM pool WHERE row < 0", "--plot"]).says(1, &["nothing to draw"]);
    // What cannot be drawn or written is found before the rows are there.
    let none = "SELECT id FROM pool WHERE row < 0";
    place.run(&["query", none, "--plot", "none.svg", "-o", "none.csv"]).says(1, &["nothing to draw"]);
    let both = ["query", sql, "--format", "csv", "-o", "both.svg", "--plot", "both.svg"];
    place.run(&both).says(2, &["are the same file"]);
    for file in ["none.csv", "none.svg", "both.svg"] {
        assert!(!place.path(file).exists(), "{file}");
    }
}

#[test]
fn numbers_of_days_are_a_line_over_them() {
    let place = place();
    let sql = "SELECT CAST(day AS DATE) AS day, n FROM (VALUES ('2026-03-20', 4), ('2026-01-10', 1), ('2026-02-14', 9)) AS t(day, n)";
    let text = place.ok(&["query", sql, "--plot"]);
    assert!(text.contains("day, 2026-01-10 to 2026-03-20") && text.contains("2026-02"), "{text}");
    assert!(!text.contains('█'), "{text}");
    for file in ["days.svg", "days.html", "days.png"] {
        place.ok(&["query", sql, "--plot", file]);
    }
    let svg = place.read("days.svg");
    let line = svg.lines().find(|line| line.contains("\"s0l\"")).expect("a line");
    let points = line.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("points");
    let places: Vec<f64> =
        points.split([' ', ',']).step_by(2).map(|x| x.parse().expect("a number")).collect();
    assert!(places.len() == 3 && places.is_sorted(), "{line}");
    assert!(fs_err::read(place.path("days.png")).expect("drawn").starts_with(b"\x89PNG"));
}

#[test]
fn explanations_have_the_names_of_sql() {
    let place = place();
    let select =
        ["select", "--pool", "pool", "--target", "target", "--top", "3", "--explain", "-o", "x.jsonl"];
    place.ok(&select);
    let scores = place.read("x.jsonl.scores.csv");
    let sql = place.csv("SELECT * FROM influence('pool', 'target', explain => true) LIMIT 1");
    let names = scores.lines().next().unwrap_or_default();
    assert!(names.contains("target_dataset,target_id,target_row"), "{names}");
    assert!(sql.contains("target_dataset,target_id,target_row"), "{sql}");
}
