//! Promise: options, the config file, completions and help do what they say.

use std::process::Command;

use gstore_tests::binary;
use gstore_tests::place::Place;

use crate::findings_data::scored;
use crate::findings_shell::place;

#[test]
fn what_is_no_option_or_table_says_what_is_meant() {
    let place = place();
    let select = ["select", "--pool", "p", "--target", "t", "--top", "1", "-o", "x.jsonl"];
    let on_server = [&select[..], &["--remote", "grpc://127.0.0.1:1", "--backend", "candle"]].concat();
    let by_candle = [&select[..], &["--backend", "candle"]].concat();
    let cases: [(&str, &[&str], &[&str]); 12] = [
        ("", &["add", "pool.jsonl"], &["data is given with --data pool.jsonl\n", " add --data pool.jsonl\n"]),
        ("", &["select", "-n", "5"], &["there is no -n; --top N does its job"]),
        ("", &["shell"], &["there is no command `shell`; `gstore query` runs SQL"]),
        ("model = \"m\"", &["ls"], &["`gstore ls` has no option `model`", "put it under the name", ", ["]),
        ("[select]\nexclude-target = \"yes\"", &select, &["`exclude-target` is true or false, not \"yes\""]),
        ("", &["query", "--with", "r=*.parquet", "SELECT 1"], &["r=*.parquet", "one file", "UNION ALL"]),
        (
            "",
            &["query", "--with", "a=x.csv", "b=y.csv", "SELECT 1"],
            &["repeat the option for each table: --with b=y.csv"],
        ),
        ("", &["ls", "--remote", "h:1"], &["`gstore ls` cannot query a server", "have --remote"]),
        ("", &["query", "--with", "my table=script", "SELECT 1"], &["a table or a view"]),
        ("", &on_server, &["--backend has no effect with --remote", "start the server with"]),
        ("", &by_candle, &["--backend candle computes features", "--cascade", "cpu or cuda"]),
        ("", &["serve", "--no-encoder", "--backend", "candle"], &["--no-encoder", "cannot be used with"]),
    ];
    for (file, args, words) in cases {
        place.write("gstore.toml", file);
        place.run(args).fails(words);
    }
    // Without a store on the command line, one that stands there by itself is meant for it.
    let done = binary::run(&mut place.bare(&["query", "store", "SELECT 1"]));
    let says = "error: the store is given with --store store\n  gstore query --store store 'SELECT 1'\n";
    assert_eq!((done.code, done.stderr.as_str()), (2, says));
}

#[test]
fn a_statement_has_as_much_memory_as_the_command_line_says() {
    let place = place();
    let sql = "SELECT range FROM range(300000) ORDER BY range % 1000, range";
    place.run(&["query", "--memory", "1MiB", sql]).fails(&["needs more memory"]);
    place.ok(&["query", "-o", "sorted.csv", sql]);
    assert_eq!(place.read("sorted.csv").lines().count(), 300_001);
}

#[test]
fn the_config_file_of_the_working_folder_is_found() {
    let place = place();
    let listed = |command: &mut Command| {
        let finished = binary::run(command);
        (finished.code, finished.stdout, finished.stderr)
    };
    let run = |folder: &str| {
        let mut command = binary::bare(&place.path(folder));
        command.args(["query", "SELECT count(*) FROM pool"]);
        command
    };
    let (code, _, says) = listed(&mut run(""));
    assert!(code == 2 && says.contains("which store?"), "{says}");
    place.write("gstore.toml", "store = \"store\"\n[query]\nformat = \"json\"\n");
    let (code, shown, says) = listed(&mut run(""));
    assert!(code == 0 && shown.contains("{\"count(*)\":2040}"), "{shown}{says}");
    // Paths count from the folder of the file.
    fs_err::create_dir_all(place.path("elsewhere")).expect("made");
    let (code, shown, says) = listed(run("elsewhere").env("GSTORE_CONFIG", "../gstore.toml"));
    assert!(code == 0 && shown.contains("2040"), "{says}");
    // The environment goes before a file that was only found, and behind one that is named.
    let elsewhere = |more: &[&str]| {
        let mut command = run("");
        let finished = binary::run(command.args(more).env("GSTORE_STORE", place.path("nothing")));
        (finished.code, finished.stderr)
    };
    assert_eq!(elsewhere(&[]).0, 1, "{}", elsewhere(&[]).1);
    assert_eq!(elsewhere(&["--config", "gstore.toml"]).0, 0);
    // An empty variable is none: the file goes before it.
    let finished = binary::run(run("").env("GSTORE_STORE", ""));
    assert!(finished.code == 0 && finished.stdout.contains("2040"), "{}", finished.stderr);
    let (code, _, says) = listed(run("").env("GSTORE_CONFIG", ""));
    assert!(code == 2 && says.contains("which store?"), "{says}");
    let (code, _, says) = listed(run("").env("GSTORE_CONFIG", "missing.toml"));
    assert!(code == 2 && says.contains("missing.toml"), "{says}");
}

#[test]
fn a_format_of_the_config_file_is_for_what_has_no_name_with_one() {
    let place = place();
    let count = "SELECT count(*) AS n FROM pool";
    let short = place.run(&["query", count, "--json", "-o", "n.parquet"]);
    short.says(2, &["n.parquet is parquet by its name, but JSON is asked for"]).lacks(&["--format"]);
    for (options, shown) in [("format = \"table\"", "----"), ("json = true", "{\"n\":2040}")] {
        place.write("gstore.toml", format!("[query]\n{options}\n"));
        let printed = place.ok(&["query", count]);
        assert!(printed.contains(shown) && printed.contains("2040"), "{options}: {printed}");
        place.ok(&["query", count, "--force", "-o", "n.csv"]);
        assert_eq!(place.read("n.csv"), "n\n2040\n", "{options}");
    }
    let both = place.run(&["query", count, "--force", "--format", "table", "-o", "n.csv"]);
    both.says(2, &["--format says table"]);
    // There `json` is the report, and the format stands on the command line.
    place.write("gstore.toml", "[score]\njson = true\n");
    let of = ["score", "--factors", "none", "--pool", "pool", "--target", "pool"];
    place.run(&[&of[..], &["--format", "csv", "-o", "n.parquet"]].concat()).says(2, &["--format says csv"]);
}

/// What the user's shell offers to complete the last of some words with.
fn offered(place: &Place, words: &[&str]) -> String {
    let mut command = place.bare(&["--", "gstore"]);
    command.args(words).env("COMPLETE", "fish").env("GSTORE_STORE", place.path("store"));
    binary::ok(&mut command)
}

#[test]
fn the_shell_of_the_user_completes_names_of_the_store() {
    let place = place();
    let pools = offered(&place, &["select", "--pool", ""]);
    assert!(pools.contains("pool") && pools.contains("target"), "{pools}");
    assert_eq!(offered(&place, &["select", "--pool", "tar"]).trim(), "target");
    let sims = offered(&place, &["select", "--sim", ""]);
    assert!(sims.contains("cosine") && sims.contains("dot"), "{sims}");
    assert!(offered(&place, &["ingest", "--features", "grad-s"]).contains("grad-sgd"));
    assert!(offered(&place, &["sel"]).contains("select"));
    let other = offered(&place, &["select", "--store", "nothing", "--pool", ""]);
    assert!(!other.contains("target"), "{other}");
}

/// Whatever names something of the store, and stages of a pipeline.
#[test]
fn the_shell_of_the_user_completes_what_has_a_name() {
    let place = scored();
    place.ok(&["tag", "good"]);
    place.ok(&["view", "create", "best", "SELECT id FROM pool"]);
    let stages = "[[stage]]\nname = \"first\"\ncommand = \"ls\"\n";
    place.write("less.toml", stages);
    for (words, name) in [
        (&["drop", "dataset", "tar"][..], "target"),
        (&["drop", "feature", "grad-s"], "grad-sgd"),
        (&["drop", "run", ""], "warmup"),
        (&["ingest", "--run", ""], "warmup"),
        (&["generate", "--run", ""], "warmup"),
        (&["view", "drop", ""], "best"),
        (&["revert", "--to", ""], "good"),
        (&["tag", ""], "good"),
        (&["query", "--snapshot", ""], "good"),
        (&["run", "less.toml", "--only", ""], "first"),
        (&["select", "--quota-by", ""], "source"),
        (&["plot", "overlap", "--with", "tar"], "target"),
    ] {
        let found = offered(&place, words);
        assert!(found.lines().any(|line| line.starts_with(name)), "{words:?}: {found:?}");
    }
}

#[test]
fn help_has_true_groups_and_examples_that_paste() {
    let place = Place::new();
    let help = place.ok(&["select", "--help"]);
    let group = |heading: &str| {
        let after =
            help.split(&format!("\n{heading}:\n")).nth(1).unwrap_or_else(|| panic!("{heading} in {help}"));
        after.split("\n\n").take_while(|part| part.starts_with("  ")).collect::<Vec<_>>().join("\n")
    };
    assert!(group("Output").contains("--output <FILE>"));
    assert!(!group("Rules of the selection").contains("--output"));
    assert!(group("Sketches").contains("--certified"));
    for command in ["attach", "matrix", "ask", "delete", "index", "compact", "gc", "backup", "verify"] {
        let help = place.ok(&[command, "--help"]);
        let text = help.rsplit("Common options:").next().unwrap_or_default();
        // Paragraphs are full lines: none that ends early is followed by a word that had room in it.
        let lines: Vec<&str> = text.lines().collect();
        let prose = |line: &&str| line.starts_with(char::is_alphanumeric) && !line.ends_with(':');
        for pair in lines.windows(2).filter(|pair| pair.iter().all(&prose)) {
            let next = pair[1].split(' ').next().unwrap_or_default();
            let room = pair[0].chars().count() + 1 + next.chars().count() <= 100;
            assert!(!room, "{command}: {pair:?}");
        }
    }
    place.run(&["help", "selec"]).says(2, &["did you mean `select`?"]);
}
