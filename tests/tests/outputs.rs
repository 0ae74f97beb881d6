//! Promise: a command writes the format that its output's name says, and replaces no file unless told to.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gstore_tests::binary;
use gstore_tests::place::Place;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::factors;

const SELECT: [&str; 8] = ["select", "--pool", "pool", "--target", "target", "--top", "4", "-o"];

/// A pool of all shapes of records with metadata, and a target.
fn place() -> Place {
    let place = Place::new();
    let pool = [
        r#"{"id":"a","prompt":"What is one and one?","completion":"\"2\",\tor two","n":1,"ok":true,"x":0.5,"source":"math"}"#,
        r#"{"id":"b","messages":[{"role":"user","content":"Zwölf?\nOr so?"},{"role":"assistant","content":"12"}],"n":-9007199254740993}"#,
        r#"{"id":"c","prompt":"two?","completion":"2","n":3,"ok":false,"tokens":7}"#,
        r#"{"id":"d","text":"3 is three, 4 is four","source":"text"}"#,
    ];
    place.write("pool.jsonl", pool.join("\n") + "\n");
    place.samples("target", 4);
    for (dataset, kinds) in [("pool", "grad-adam"), ("target", "grad-sgd")] {
        place.ingested(dataset, Some(Path::new(&format!("{dataset}.jsonl"))), kinds);
    }
    place
}

#[test]
fn lists_and_objects_are_columns_of_their_types_and_can_be_added_again() {
    let place = Place::new();
    let pool = [
        r#"{"id":"a","prompt":"one?","completion":"it is 1","labels":["x","y"],"info":{"score":0.5},"mixed":[1],"said":"[1]","rejected":[{"role":"user","content":"one?"},{"role":"assistant","content":"no"}]}"#,
        r#"{"id":"b","prompt":"two?","completion":"it is 2","labels":[],"info":{"name":"m"},"mixed":["one"],"said":"[2]"}"#,
    ];
    place.write("pool.jsonl", pool.join("\n") + "\n");
    place.ingested("pool", Some(Path::new("pool.jsonl")), "grad-sgd");
    let select = ["select", "--pool", "pool", "--target", "pool", "--top", "2", "-o"];
    for (name, dataset) in [("x.parquet", "x1"), ("x.arrow", "x2"), ("saved/", "x3")] {
        place.ok(&[&select[..], &[name]].concat());
        place.ok(&["add", "--dataset", dataset, "--data", name]);
        let sql = format!(
            "SELECT count(*) FROM pool p JOIN {dataset} x USING (id) WHERE p.labels = x.labels AND p.info = x.info \
             AND p.mixed = x.mixed AND p.said = x.said AND p.rejected IS NOT DISTINCT FROM x.rejected"
        );
        assert_eq!(place.value(&sql), "2", "{name}");
    }
    // Where all values agree: `mixed` has lists of two types, and `said` are texts.
    let sql = "SELECT len(labels), info.score, struct_extract(rejected[2], 'content'), typeof(mixed), said FROM w ORDER BY id";
    let rows = place.ok(&["query", "--format", "csv", "--with", "w=x.parquet", sql]);
    let rows: Vec<&str> = rows.lines().skip(1).collect();
    assert_eq!(rows, ["2,0.5,no,VARCHAR,[1]", "0,,,VARCHAR,[2]"]);
}

#[test]
fn weights_of_messages_are_in_a_table_that_can_be_added_again() {
    let place = Place::new();
    let talks = [
        r#"{"id":"a","messages":[{"role":"user","content":"1?"},{"role":"assistant","content":"2","weight":0},{"role":"user","content":"no"},{"role":"assistant","content":"1"}]}"#,
        r#"{"id":"b","messages":[{"role":"user","content":"2?"},{"role":"assistant","content":"2"}]}"#,
    ];
    place.write("talks.jsonl", talks.join("\n") + "\n");
    place.ingested("talks", Some(Path::new("talks.jsonl")), "grad-sgd");
    for (i, name) in ["x.parquet", "x.arrow", "x.csv", "saved/"].into_iter().enumerate() {
        let back = format!("back{i}");
        place.ok(&["select", "--pool", "talks", "--target", "talks", "--top", "2", "-o", name]);
        place.ok(&["add", "--dataset", &back, "--data", name]);
        for (id, talk) in ["a", "b"].into_iter().zip(talks) {
            let sql = format!("SELECT record FROM {back} WHERE id = '{id}'");
            let record = place.ok(&["query", "--format", "lines", &sql]);
            assert_eq!(record.trim_end(), talk, "{name}");
        }
    }
}

/// Runs a command that must be refused as wrong usage with these words, and leaves the folder as it was.
fn refused(place: &Place, args: &[&str], words: &[&str]) {
    let before = place.names();
    place.run(args).says(2, words);
    assert_eq!(place.names(), before, "{args:?}");
}

#[test]
fn a_file_that_is_there_is_replaced_only_with_force() {
    let place = place();
    let commands: [Vec<&str>; 7] = [
        [&SELECT[..], &["mine.csv"]].concat(),
        [&SELECT[..], &["new.jsonl", "--scores", "mine.csv"]].concat(),
        vec!["query", "SELECT nothing FROM pool", "-o", "mine.csv"],
        vec!["ls", "-o", "mine.csv"],
        vec!["snapshots", "-o", "mine.csv"],
        vec!["ask", "--pool", "pool", "--text", "a b c", "-o", "mine.csv"],
        vec!["matrix", "--pool", "pool", "--target", "target", "-o", "mine.parquet"],
    ];
    for file in ["mine.csv", "mine.parquet"] {
        place.write(file, "mine");
    }
    for command in &commands {
        let file = if command[0] == "matrix" { "mine.parquet" } else { "mine.csv" };
        refused(&place, command, &["error: ", file, "exists", "; --force replaces it"]);
        assert_eq!(fs_err::read(place.path(file)).expect("there"), b"mine", "{command:?}");
        if command[1] == "SELECT nothing FROM pool" {
            continue;
        }
        place.ok(&[command, &["--force"][..]].concat());
        assert_ne!(fs_err::read(place.path(file)).expect("there"), b"mine", "{command:?}");
        place.write(file, "mine");
    }
    // Scores at the default path count as well.
    place.write("s.jsonl.scores.csv", "mine");
    let select = [&SELECT[..], &["s.jsonl"]].concat();
    refused(&place, &select, &["s.jsonl.scores.csv exists"]);
    assert_eq!(place.read("s.jsonl.scores.csv"), "mine");
    fs_err::remove_file(place.path("s.jsonl.scores.csv")).expect("removed");
    let before = place.names().len();
    place.ok(&select);
    assert_eq!(place.names().len(), before + 2);
    refused(&place, &select, &["s.jsonl exists"]);
    // The file of a finished matrix needs no force: there is nothing to do.
    let matrix = ["matrix", "--pool", "pool", "--target", "target", "-o", "m.parquet"];
    place.ok(&matrix);
    place.run(&matrix).says(0, &["nothing to do"]);
}

#[test]
fn what_an_unfinished_selection_left_is_replaced_by_the_same_command() {
    let place = place();
    let pipe = place.path("pipe.svg");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let select = [&SELECT[..], &["rows.jsonl", "--scores", "scores.csv", "--plot", "pipe.svg"]].concat();
    // The picture comes behind the rows, and the command waits for a reader of it before any file appears.
    let selected = |meanwhile: &dyn Fn()| {
        let mut command = place.gstore(&select);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("gstore runs");
        let is_of_rows = |name: &String| name.starts_with(".rows.jsonl.") && name.ends_with(".part");
        while !place.names().iter().any(is_of_rows) {
            assert!(child.try_wait().expect("a state").is_none(), "it ended before it had rows");
            std::thread::sleep(Duration::from_millis(5));
        }
        meanwhile();
        let (sender, opened) = std::sync::mpsc::channel();
        let pipe = pipe.clone();
        std::thread::spawn(move || sender.send(fs_err::read(pipe)));
        opened.recv_timeout(Duration::from_secs(120)).expect("in time").expect("read");
        let output = child.wait_with_output().expect("ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // The place of the rows, which are the last, is taken meanwhile: the scores are left, as after a kill.
    let (code, said) = selected(&|| place.write("rows.jsonl", "mine"));
    assert!(code == Some(1) && said.contains("rows.jsonl exists and was kept"), "{said}");
    refused(&place, &select, &["exists; --force replaces it"]);
    fs_err::remove_file(place.path("rows.jsonl")).expect("removed");
    let scores = place.read("scores.csv");
    place.write("scores.csv", "mine");
    refused(&place, &select, &["scores.csv exists"]);
    place.write("scores.csv", &scores);
    // What is changed meanwhile is kept as well.
    let (code, said) = selected(&|| place.write("scores.csv", "mine"));
    assert!(code == Some(1) && said.contains("scores.csv exists and was kept"), "{said}");
    assert_eq!(place.read("scores.csv"), "mine");
    place.write("scores.csv", &scores);
    let (code, said) = selected(&|| ());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((place.read("rows.jsonl").lines().count(), place.read("scores.csv")), (4, scores));
    assert!(!place.path("rows.jsonl.selecting").exists());
    refused(&place, &select, &["exists; --force replaces it"]);
}

#[test]
fn what_has_the_name_of_a_note_and_is_none_is_never_replaced() {
    let place = place();
    let force = [&SELECT[..], &["rows.jsonl", "--force"]].concat();
    let note = place.path("rows.jsonl.selecting");
    // Where `generate -o rows.jsonl` keeps unfinished answers.
    place.write("rows.jsonl.part", "mine");
    place.write("rows.jsonl.selecting", "mine");
    refused(&place, &[&SELECT[..], &["rows.jsonl"]].concat(), &["rows.jsonl.selecting is in the way"]);
    refused(&place, &force, &["rows.jsonl.selecting is in the way"]);
    assert_eq!(place.read("rows.jsonl.selecting"), "mine");
    fs_err::remove_file(&note).expect("removed");
    fs_err::create_dir(&note).expect("made");
    refused(&place, &force, &["rows.jsonl.selecting is in the way"]);
    fs_err::remove_dir(&note).expect("removed");
    place.ok(&force);
    assert!(place.read("rows.jsonl.part") == "mine" && !note.exists());
}

#[test]
fn links_are_followed_and_other_names_of_a_file_keep_it() {
    let place = place();
    let query = |output: &'static str| vec!["query", "SELECT id FROM pool", "-o", output];
    let bytes = |name: &str| place.read(name);
    place.write("real.csv", "mine");
    fs_err::set_permissions(place.path("real.csv"), std::fs::Permissions::from_mode(0o600)).expect("set");
    fs_err::hard_link(place.path("real.csv"), place.path("other.csv")).expect("linked");
    symlink("real.csv", place.path("link.csv")).expect("linked");
    refused(&place, &query("link.csv"), &["link.csv exists"]);
    place.ok(&[query("link.csv"), vec!["--force"]].concat());
    assert!(place.path("link.csv").is_symlink());
    assert_eq!((bytes("real.csv").as_str(), bytes("other.csv").as_str()), ("id\na\nb\nc\nd\n", "mine"));
    let mode = fs_err::metadata(place.path("real.csv")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "who could not read the old file cannot read the new one");
    // A link to what is missing leads to where the file is made; one into the store, or to itself, to an
    // error.
    symlink("made.csv", place.path("dangling.csv")).expect("linked");
    place.ok(&query("dangling.csv"));
    assert!(place.path("dangling.csv").is_symlink() && bytes("made.csv").starts_with("id\n"));
    symlink("store/new.csv", place.path("inside.csv")).expect("linked");
    refused(&place, &query("inside.csv"), &["inside the store"]);
    fs_err::hard_link(place.path("store/CURRENT"), place.path("current.csv")).expect("linked");
    place.ok(&[query("current.csv"), vec!["--force"]].concat());
    place.ok(&["verify"]);
}

#[test]
fn devices_and_standard_output_are_written_to() {
    let place = place();
    for output in ["/dev/null", "/dev/stdout", "-"] {
        let before = place.names();
        let lines = place.ok(&[&SELECT[..], &[output]].concat());
        assert_eq!(lines.lines().count(), if output == "/dev/null" { 0 } else { 4 }, "{output}");
        assert_eq!(place.names(), before, "no scores of {output}");
    }
    // Standard output that is a file is gone on with, not replaced.
    let appended = fs_err::File::create(place.path("out.txt")).expect("made");
    let mut command = place.gstore(&["query", "SELECT count(*) AS n FROM pool", "-o", "/dev/stdout"]);
    assert!(command.stdout(appended.into_file()).status().expect("runs").success());
    assert_eq!(place.read("out.txt"), "n\n4\n");
    refused(&place, &[&SELECT[..], &["-", "--scores", "/dev/stdout"]].concat(), &["to standard output"]);
    place.ok(&[&SELECT[..], &["/dev/null", "--scores", "/dev/null"]].concat());
}

#[test]
fn the_ending_says_what_a_selection_is() {
    let place = place();
    let pool = place.read("pool.jsonl");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for name in ["x.jsonl", "x.json", "X.NDJSON", "sel.bbh.jsonl", "x"] {
        place.ok(&[&SELECT[..], &[name]].concat());
        let text = place.read(name);
        assert_eq!(sorted(&text), sorted(&pool), "{name}");
        assert!(place.path(&format!("{name}.scores.csv")).is_file(), "{name}");
    }
    // Packed lines are the same lines: each is known again.
    for name in ["x.jsonl.gz", "x.jsonl.zst"] {
        place.ok(&[&SELECT[..], &[name]].concat());
        assert!(fs_err::read(place.path(name)).expect("readable").len() < pool.len(), "{name}");
        let again = place.run(&["add", "--dataset", "pool", "--data", name]);
        assert!(again.stderr.contains("nothing to add; all 4 samples"), "{name}: {}", again.stderr);
    }
    refused(&place, &[&SELECT[..], &["x.txt"]].concat(), &["x.txt", ".jsonl", ".parquet"]);
    refused(&place, &[&SELECT[..], &["x.md"]].concat(), &["x.md", ".jsonl", ".parquet"]);
    refused(&place, &[&SELECT[..], &["x.html"]].concat(), &["x.html", ".jsonl", "--plot FILE.html"]);
    refused(&place, &[&SELECT[..], &["x.xlsx"]].concat(), &["x.xlsx", ".jsonl", ".parquet"]);
    // Two results in one file, by whatever names.
    for command in [
        "ask --pool pool --prompt p --completion c -o x.html --plot ./x.html",
        "score --pool pool --target target --factors f -o x.md --report x.md",
        "select --pool pool --target target --top 4 -o x.jsonl --scores s.svg --plot s.svg",
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        refused(&place, &args, &["are the same file"]);
    }
    // A misspelt ending would give lines where a table was meant.
    for name in ["x.foo", "x.parqet", "sel.bbh", "x.foo.gz", "x.parqet.zst"] {
        refused(
            &place,
            &[&SELECT[..], &[name]].concat(),
            &[name, "the format cannot be told", ".jsonl", ".parquet"],
        );
        assert!(!place.path(name).exists(), "{name}");
    }
    for scores in ["o.txt", "o.xyz", "o"] {
        refused(&place, &[&SELECT[..], &["y.jsonl", "--scores", scores]].concat(), &[scores, ".csv"]);
    }
    for scores in ["s.tsv", "s.csv.gz", "s.parquet", "s.arrow", "s.jsonl.zst"] {
        place.ok(&[&SELECT[..], &["y.jsonl", "--force", "--scores", scores]].concat());
    }
    assert!(place.read("s.tsv").starts_with("id\trow\tscore\tsubtask\n"));
}

#[test]
fn a_table_of_selected_records_can_be_added_again() {
    let place = place();
    let fields = "SELECT id, n, ok, x, source, tokens_ FROM";
    let expected = place.ok(&["query", "--format", "json", &format!("{fields} pool ORDER BY id")]);
    assert!(expected.contains("-9007199254740993"), "{expected}");
    // One shape of records in a table: a row has no value in the columns of another.
    for (i, (shape, ids)) in
        [("prompt", "'a', 'c'"), ("messages", "'b'"), ("text", "'d'")].into_iter().enumerate()
    {
        let lines = place.read("pool.jsonl");
        let own: Vec<&str> = lines.lines().filter(|line| line.contains(&format!("\"{shape}\":"))).collect();
        let dataset = format!("only{i}");
        place.write("only.jsonl", own.join("\n"));
        place.ingested(&dataset, Some(Path::new("only.jsonl")), "grad-adam");
        let columns = place
            .csv(&format!("SELECT name FROM gstore.columns WHERE dataset = '{dataset}' AND key IS NOT NULL"));
        let columns: Vec<&str> = columns.lines().skip(1).collect();
        let values = |dataset: &str| {
            let columns = columns.join(", ");
            let sql = format!("SELECT id, {columns} FROM {dataset} WHERE id IN ({ids}) ORDER BY id");
            place.ok(&["query", "--format", "json", &sql])
        };
        for ending in ["parquet", "arrow", "csv", "tsv", "csv.gz", "parquet.zst"] {
            let (file, back) =
                (format!("{dataset}.{ending}"), format!("back{i}_{}", ending.replace('.', "_")));
            place.ok(&["select", "--pool", &dataset, "--target", "target", "--top", "100%", "-o", &file]);
            place.ok(&["add", "--dataset", &back, "--data", &file]);
            assert_eq!(values(&back), values(&dataset), "{file}");
            for line in own.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
                let id = line["id"].as_str().expect("an id");
                let sql = format!("SELECT record FROM {back} WHERE id = '{id}'");
                let record: Value =
                    serde_json::from_str(&place.ok(&["query", "--format", "json", &sql])).expect("JSON");
                let record: Value =
                    serde_json::from_str(record["record"].as_str().expect("text")).expect("JSON");
                assert_eq!(record, line, "{file}");
            }
        }
    }
    // What has no place in a table is refused, not left out.
    let extra = r#"{"id":"e","messages":[{"role":"user","content":"1?","name":"me"},{"role":"assistant","content":"1"}]}"#;
    place.write("extra.jsonl", extra);
    place.ingested("extra", Some(Path::new("extra.jsonl")), "grad-adam");
    let finished =
        place.run(&["select", "--pool", "extra", "--target", "target", "--top", "1", "-o", "e.parquet"]);
    finished.says(1, &["`name`"]);
    assert!(!place.path("e.parquet").exists());
    // Pools of other columns share a table.
    place.ok(&["select", "--pool", "pool,extra", "--target", "target", "--top", "3", "-o", "both.jsonl"]);
    place.ok(&["select", "--pool", "only0,only2", "--target", "target", "--top", "3", "-o", "both.csv"]);
    let text = place.read("both.csv");
    assert!(text.starts_with("id,prompt,completion,text,n,ok,x,source,tokens\n"), "{text}");
}

#[test]
fn records_of_several_shapes_are_in_one_table_that_can_be_added_again() {
    let place = place();
    for (i, file) in ["x.csv", "x.tsv", "x.csv.gz", "x.parquet", "x.arrow"].into_iter().enumerate() {
        let back = format!("back{i}");
        place.ok(&[&SELECT[..], &[file]].concat());
        place.ok(&["add", "--dataset", &back, "--data", file]);
        let sql =
            format!("SELECT count(*) FROM pool p JOIN {back} b ON p.id = b.id WHERE p.record = b.record");
        assert_eq!(place.value(&sql), "4", "{file}");
    }
}

#[test]
fn a_key_that_is_text_in_one_record_and_metadata_in_another_is_no_column() {
    let place = Place::new();
    let pool = [
        r#"{"id":"a","prompt":"one?","completion":"it is 1"}"#,
        r#"{"id":"b","text":"two is a text","prompt":"and this is no part of it"}"#,
        r#"{"id":"c","prompt":"three?","completion":"it is 3"}"#,
    ];
    place.write("pool.jsonl", pool.join("\n") + "\n");
    place.ingested("pool", Some(Path::new("pool.jsonl")), "grad-sgd");
    let select = |name: &str| {
        place.run(&["select", "--pool", "pool", "--target", "pool", "--top", "100%", "-o", name])
    };
    for name in ["x.csv", "x.parquet", "x.arrow"] {
        select(name)
            .says(1, &["`prompt` is text to train on in one record and metadata in another", ".jsonl"]);
        assert!(!place.path(name).exists(), "{name}");
    }
    select("x.jsonl").says(0, &[]);
    // Without such a record in the table, its column is none of it.
    place.ok(&["delete", "--dataset", "pool", "--id", "b"]);
    select("y.csv").says(0, &[]);
    let text = place.read("y.csv");
    assert!(text.starts_with("id,prompt,completion\n"), "{text}");
}

#[test]
fn ranks_and_scores_are_in_the_records_if_they_are_asked_for() {
    let place = place();
    let select = |pool: &str, name: &str| {
        let words =
            ["select", "--pool", pool, "--target", "target", "--top", "3", "--with-scores", "-o", name];
        place.run(&words)
    };
    for (name, dataset) in [("x.jsonl", "x1"), ("x.parquet", "x2"), ("saved/", "x3")] {
        select("pool", name).says(0, &[]);
        place.ok(&["add", "--dataset", dataset, "--data", name]);
        let scores = format!("s={}.scores.csv", name.trim_end_matches('/'));
        let sql = format!(
            "SELECT count(*) FROM {dataset} AS x JOIN s ON x.id = s.id WHERE x.gstore_score = s.score AND x.gstore_rank = x.row + 1"
        );
        let alike = place.ok(&["query", "--format", "lines", "--with", &scores, &sql]);
        assert_eq!(alike, "3\n", "{name}");
    }
    assert_eq!(select("pool", "x.csv").code, 0);
    let own = ["--with", "x=x.csv", "--with", "s=x.csv.scores.csv"];
    let sql =
        "SELECT list(gstore_rank ORDER BY gstore_rank) FROM x JOIN s USING (id) WHERE gstore_score = score";
    assert_eq!(place.ok(&[&["query", "--format", "lines", sql], &own[..]].concat()), "[1,2,3]\n");
    place.ingested("again", Some(Path::new("x.jsonl")), "grad-adam");
    for name in ["y.jsonl", "y.parquet"] {
        let refused = select("again", name);
        refused.says(1, &["`gstore_rank` already, so it cannot be added: leave --with-scores out"]);
        assert!(!place.path(name).exists());
    }
}

#[test]
fn results_of_statements_follow_their_names() {
    let place = place();
    let sql = "SELECT id, n FROM pool WHERE n > 0 ORDER BY id";
    for (name, want) in [
        ("q.md", "| id | n |\n| --- | ---: |\n| a | 1 |\n| c | 3 |\n"),
        ("q.csv", "id,n\na,1\nc,3\n"),
        ("q.tsv", "id\tn\na\t1\nc\t3\n"),
        ("q.jsonl", "{\"id\":\"a\",\"n\":1}\n{\"id\":\"c\",\"n\":3}\n"),
    ] {
        place.ok(&["query", sql, "-o", name]);
        assert_eq!(place.read(name), want, "{name}");
    }
    assert_eq!(place.ok(&["query", sql, "--format", "tsv"]), "id\tn\na\t1\nc\t3\n");
    place.ok(&["query", "SELECT id, id AS text FROM pool", "-o", "q.csv.gz"]);
    place.ok(&["add", "--dataset", "q", "--data", "q.csv.gz"]);
    refused(&place, &["query", sql, "--format", "csv", "-o", "q.parquet"], &["q.parquet is parquet", "csv"]);
    refused(&place, &["query", sql, "-o", "q.xyz"], &["q.xyz", ".csv"]);
    let readable = ".txt is a table as on the terminal, .md a Markdown table, .html a page";
    place.ok(&["query", sql, "-o", "q.html"]);
    let page = place.read("q.html");
    assert!(
        page.contains("<tr><td>a</td><td class=\"n\">1</td></tr>") && page.ends_with("</html>\n"),
        "{page}"
    );
    assert_eq!(place.ok(&["query", sql, "--format", "html"]), page);
    refused(&place, &["query", "SELECT 1; SELECT 2", "--format", "html"], &["several statements"]);
    refused(&place, &["query", sql, "-o", "q.xlsx"], &["q.xlsx", ".csv", readable]);
    refused(&place, &["query", sql, "--format", "csv", "-o", "q.xlsx"], &["q.xlsx", ".csv"]);
    place.ok(&["query", sql, "--format", "csv", "-o", "q.xyz"]);
}

#[test]
fn two_results_need_two_places() {
    let place = place();
    symlink("x.csv", place.path("link.csv")).expect("linked");
    for scores in ["x.csv", "./x.csv", "store/../x.csv", "link.csv"] {
        let args = [&SELECT[..], &["x.csv", "--scores", scores]].concat();
        refused(&place, &args, &["are the same file", scores]);
    }
    place.write("y.csv", "");
    fs_err::hard_link(place.path("y.csv"), place.path("z.csv")).expect("linked");
    refused(
        &place,
        &[&SELECT[..], &["y.csv", "--scores", "z.csv", "--force"]].concat(),
        &["are the same file"],
    );
    for (output, named) in
        [("none/x.jsonl", "none/x.jsonl would be in none,"), ("none/../none/x.jsonl", "in none/../none,")]
    {
        refused(&place, &[&SELECT[..], &[output]].concat(), &[named, "no such folder"]);
    }
    refused(&place, &[&SELECT[..], &["store"]].concat(), &["inside the store"]);
    fs_err::create_dir(place.path("folder")).expect("made");
    refused(&place, &[&SELECT[..], &["folder"]].concat(), &["folder is a folder"]);
    place.write("folder/notes.txt", "mine");
    refused(&place, &[&SELECT[..], &["folder/"]].concat(), &["folder/ holds something other"]);
}

#[test]
fn a_name_has_room_for_that_of_the_unfinished_file() {
    let place = place();
    let name = |bytes: usize| format!("{}.csv", "a".repeat(bytes - 4));
    // Before the statement is read.
    refused(&place, &["query", "SELECT nothing FROM pool", "-o", &name(243)], &["too long a name"]);
    place.ok(&["query", "SELECT id FROM pool", "-o", &name(242)]);
}

#[test]
fn what_a_kill_left_of_a_file_goes_with_the_next_of_its_name() {
    let place = place();
    let left =
        [".ids.csv.aB3dE6.part", ".ids.csv.held00.part", ".ids.csv.mine.part", ".other.csv.aB3dE6.part"];
    for name in left {
        place.write(name, "");
    }
    let held = fs_err::File::open(place.path(left[1])).expect("opened");
    held.file().lock().expect("locked");
    let there = || left.map(|name| place.path(name).exists());
    place.ok(&["query", "SELECT id FROM pool", "-o", "ids.csv"]);
    assert_eq!(there(), [false, true, true, true]);
    // A file that is not written takes the place of none.
    drop(held);
    refused(&place, &["query", "SELECT id FROM pool", "-o", "ids.csv"], &["exists"]);
    assert_eq!(there(), [false, true, true, true]);
    place.ok(&["query", "SELECT id FROM pool", "-o", "ids.csv", "--force"]);
    assert_eq!(there(), [false, false, true, true]);
}

#[test]
fn a_folder_of_scores_appears_whole_and_takes_the_place_of_an_older_one_only() {
    let place = factors::place();
    factors::fit(&place, "f", &["--strategy", "diagonal"]);
    let score = ["score", "--factors", "f", "--pool", "pool", "--target", "q", "--kronfluence", "kept"];
    let begun = || place.names().iter().any(|name| name.starts_with(".kept."));
    assert!(binary::killed_once(&mut place.gstore(&score), begun), "it had ended");
    assert!(begun() && !place.path("kept").exists());
    place.ok(&score);
    assert!(!begun(), "what the killed command left is still there");
    refused(&place, &score, &["kept exists; --force replaces it"]);

    // Of another damping, of which Kronfluence has another folder.
    let other = [&score[..], &["--damping", "1e-3", "--force"]].concat();
    let scores = || fs_err::read(place.path("kept/pairwise_scores.safetensors")).expect("readable");
    let before = scores();
    place.ok(&other);
    assert_ne!(scores(), before);
    place.write("kept/notes.txt", "mine");
    refused(&place, &other, &["kept holds something other than scores as Kronfluence writes them"]);
    assert_eq!(place.read("kept/notes.txt"), "mine");
}

#[test]
fn a_table_of_many_rows_has_every_digit() {
    let place = Place::of(&[("pool", 4480)]);
    place.add("pool");
    for (sql, last) in [
        ("SELECT row FROM pool", "4479"),
        ("SELECT row * 1000000007 AS big FROM pool ORDER BY row", "4479000031353"),
        ("SELECT CAST(row AS BIGINT) * -1000000007 AS big FROM pool ORDER BY row", "-4479000031353"),
        ("SELECT CASE WHEN row = 4479 THEN 123456.789 ELSE 0 END AS v FROM pool ORDER BY row", "123457"),
        (
            "SELECT CAST(row * 1000000007 AS DECIMAL(30, 5)) * CAST(0.125 AS DECIMAL(4, 3)) AS v FROM pool ORDER BY row",
            "559875003919.12500000",
        ),
        ("SELECT [row, row * row] AS v FROM pool ORDER BY row", "[4479,20061441]"),
        ("SELECT to_timestamp(row * 1000000) AS v FROM pool ORDER BY row", "2111-12-08T06:40:00"),
        (
            "SELECT CASE WHEN row = 4479 THEN 'a long text' ELSE '' END AS v FROM pool ORDER BY row",
            "a long text",
        ),
    ] {
        let table = place.ok(&["query", "--format", "table", sql]);
        assert_eq!(table.lines().count(), 4482, "{sql}");
        assert_eq!(table.lines().last().map(str::trim), Some(last), "{sql}");
    }
}

#[test]
fn from_without_select_takes_all_columns() {
    let place = Place::of(&[("pool", 5)]);
    place.add("pool");
    for format in ["table", "csv", "tsv", "json", "parquet", "arrow"] {
        let [short, long] = ["FROM pool LIMIT 2", "SELECT * FROM pool LIMIT 2"].map(|sql| {
            let out = format!("{format}{}.{}", sql.len(), if format == "table" { "txt" } else { format });
            place.ok(&["query", "-o", &out, sql]);
            fs_err::read(place.path(&out)).expect("readable")
        });
        assert_eq!(short, long, "{format}");
    }
    place.run(&["query", "SELECT FROM pool LIMIT 2"]).says(1, &["SELECT * FROM"]);
}

/// Waits until a command handles Ctrl-C, before which it dies of the signal. False if it has ended.
fn takes_interrupts(child: &mut Child) -> bool {
    let path = format!("/proc/{}/status", child.id());
    while child.try_wait().expect("a state").is_none() {
        let status = fs_err::read_to_string(&path).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
        if caught & (1 << (Signal::INT.as_raw() - 1)) != 0 {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn an_interrupted_add_says_what_it_did() {
    let place = Place::of(&[("pool", 3000)]);
    let add = |dataset: &str| {
        let mut command = place.gstore(&["add", "--dataset", dataset, "--data", "pool.jsonl"]);
        command.stderr(Stdio::piped()).spawn().expect("runs")
    };
    let mut child = add("whole");
    takes_interrupts(&mut child);
    let begun = Instant::now();
    assert!(child.wait().expect("ends").success());
    let whole = begun.elapsed();
    for step in 0..10u32 {
        let dataset = format!("d{step}");
        let mut child = add(&dataset);
        if takes_interrupts(&mut child) {
            std::thread::sleep(whole.mul_f64(0.1 * f64::from(step)));
            // Also when it has ended by now: until it is waited for its number is its own.
            let _ = kill_process(Pid::from_child(&child), Signal::INT);
        }
        let finished: binary::Finished = child.wait_with_output().expect("ends").into();
        let said = &finished.stderr;
        let there = place.run(&["query", "--format", "csv", &format!("SELECT count(*) AS n FROM {dataset}")]);
        match there.code {
            0 => assert!(there.stdout.contains("3000") && !said.contains("nothing"), "{step}: {said}"),
            // Before the work, without a word.
            _ if said.is_empty() => assert_eq!(finished.code, 130, "{step}"),
            _ => assert!(finished.code == 130 && said.contains("nothing was added"), "{step}: {said}"),
        }
    }
}
