//! Promise: SQL that a new user tried, and that was refused or had to be rephrased, works as it was written.

use gstore_tests::binary;
use gstore_tests::place::Place;
use gstore_tests::world;

/// A store with a pool of conversations and their losses.
fn place() -> Place {
    place_with("")
}

/// The same with more lines in its pool.
fn place_with(more: &str) -> Place {
    let place = Place::of(&[("pool", 24)]);
    let pool = place.read("pool.jsonl");
    place.write("pool.jsonl", pool + more);
    place.ingested("pool", Some(&place.path("pool.jsonl")), "grad-adam,grad-sgd,loss");
    place
}

#[test]
fn records_are_read_by_key_and_columns_are_made_of_them() {
    // A question without an answer has nothing to score.
    let place =
        place_with("{\"id\":\"s24\",\"messages\":[{\"role\":\"user\",\"content\":\"Is 24 odd?\"}]}\n");
    for (sql, expected) in [
        ("SELECT record->>'source' FROM pool WHERE row = 0", "a"),
        ("SELECT json_extract_string(record, '$.messages[0].content') FROM pool WHERE row = 3", "Is 3 odd?"),
        ("SELECT prompt FROM pool WHERE row = 3", "Is 3 odd?"),
        ("SELECT completion FROM pool WHERE row = 3", "3 is odd"),
        ("SELECT count(*) FROM pool WHERE text ILIKE '%odd?%'", "25"),
        ("SELECT count(loss), count(*) - count(loss) FROM pool", "24,1"),
        ("SELECT count(*) FROM pool WHERE loss > 0 AND norm > 0", "24"),
    ] {
        assert_eq!(place.value(sql), expected, "{sql}");
    }
    // The loss is that of the newest checkpoint.
    let label = place.value(
        "SELECT label FROM gstore.features f JOIN gstore.checkpoints c ON f.checkpoint = c.name \
         WHERE kind = 'loss' ORDER BY step DESC LIMIT 1",
    );
    let sql = format!(
        "SELECT max(abs(p.loss - v.vector[1])) FROM pool p JOIN vectors('pool', '{label}') v ON p.row = v.row \
         WHERE p.loss IS NOT NULL"
    );
    assert_eq!(place.value(&sql).parse::<f64>().ok(), Some(0.0), "{sql}");
    let sql = format!("SELECT count(norm) > 0 FROM vectors('pool', '{label}')");
    assert_eq!(place.value(&sql), "true", "{sql}");
}

#[test]
fn of_checkpoints_of_one_step_the_loss_is_that_which_was_made_last() {
    let place = Place::of(&[("pool", 3)]);
    let state = world::demo().join("warmup/checkpoint-26/trainer_state.json");
    let losses = |run: &str, weights: &str| {
        let folder = place.path(run);
        world::copy_files(&world::demo().join("warmup").join(weights), &folder);
        fs_err::copy(&state, folder.join("trainer_state.json")).expect("copied");
        let line = format!("ingest --dataset pool --data pool.jsonl --run {run} --features loss");
        binary::ok(place.with_model(&line).arg("--checkpoints").arg(&folder));
        place.csv("SELECT id, loss FROM pool ORDER BY id")
    };
    assert_ne!(losses("b", "checkpoint-26"), losses("a", "checkpoint-52"));
    assert_eq!(place.value("SELECT count(DISTINCT step) FROM gstore.checkpoints"), "1");
}

#[test]
fn scripts_run_statement_by_statement() {
    let place = place();
    let script = "-- two; statements\nSELECT count(*) AS n FROM pool;\n\nSELECT 'a;b' AS t;\n";
    place.write("two.sql", script);
    let expected = "n\n24\n\nt\na;b\n";
    assert_eq!(place.ok(&["query", "--format", "csv", "-f", "two.sql"]), expected);
    assert_eq!(place.csv(script), expected);
    let done = place.run(&["query", "--format", "csv", "SELECT 1 AS a;\nSELECT nothing FROM pool"]);
    assert!(done.stdout.starts_with("a\n1\n") && done.stderr.contains("line 2, column 8"), "{}", done.stderr);
    place.run(&["query", script, "-o", "x.csv"]).fails(&["several statements"]);
}

#[test]
fn a_filtered_selection_is_written_as_it_came() {
    let place = place();
    let sql = "SELECT record FROM pool WHERE source = 'b' ORDER BY row";
    place.ok(&["query", sql, "--format", "lines", "-o", "b.jsonl"]);
    let written = place.read("b.jsonl");
    let given = place.read("pool.jsonl");
    let wanted: Vec<&str> = given.lines().filter(|line| line.contains(r#""source":"b""#)).collect();
    assert_eq!(written.lines().collect::<Vec<_>>(), wanted);
    place.run(&["query", "SELECT id, record FROM pool", "--format", "lines"]).fails(&["one column"]);
}

#[test]
fn files_of_ones_own_are_joined_by_name() {
    let place = place();
    place.write("labels.csv", "id,good\ns1,true\ns2,false\n");
    let sql = "SELECT count(*) FROM pool JOIN labels USING (id) WHERE good";
    let answer = place.ok(&["query", "--format", "csv", "--with", "labels=labels.csv", sql]);
    assert_eq!(answer.lines().nth(1), Some("1"));
    // Tables from Windows begin with a byte order mark.
    let marked = "\u{feff}{\"id\": \"s1\", \"good\": true}\n{\"id\": \"s2\", \"good\": false}\n";
    place.write("labels.jsonl", marked);
    let over = ["query", "--with", "labels=labels.csv", "-o", "labels.csv", "--force", sql];
    place.run(&over).says(2, &["labels.csv is read by this command"]);
    let again = place.ok(&["query", "--format", "csv", "--with", "labels=labels.jsonl", sql]);
    assert_eq!(again, answer);
    // What a query wrote is read again, packed or not.
    for file in ["written.csv.gz", "written.tsv.gz", "written.jsonl.gz", "written.json.zst"] {
        place.ok(&["query", "SELECT 's1' AS id, true AS good UNION ALL SELECT 's2', false", "-o", file]);
        let with = format!("labels={file}");
        assert_eq!(place.ok(&["query", "--format", "csv", "--with", &with, sql]), answer, "{file}");
    }
    let packed = fs_err::read(place.path("written.csv.gz")).expect("written");
    place.write("cut.csv.gz", &packed[..packed.len() / 2]);
    place.write("semicolons.csv", "id;good\ns1;true\n");
    let done = place.run(&["query", "--format", "csv", "--with", "labels=semicolons.csv", sql]);
    let note = "semicolons.csv: its columns are separated by `;`";
    assert!(done.code == 0 && done.stdout == answer && done.stderr.contains(note), "{}", done.stderr);
    for (with, says) in [
        ("labels=cut.csv.gz", "cut.csv.gz cannot be read as a table: the gzip data is damaged or cut off"),
        ("pool=labels.csv", "give the table another name: `gstore query --with NAME=FILE --store "),
        ("labels", "NAME=FILE"),
        ("labels.csv", "labels=labels.csv"),
        ("labels=none.csv", "none.csv"),
    ] {
        place.run(&["query", "--with", with, sql]).fails(&[says]);
    }
}

#[test]
fn views_are_saved_listed_read_and_dropped() {
    let place = place();
    place.ok(&["view", "create", "odd", "SELECT id, prompt FROM pool WHERE completion LIKE '% odd'"]);
    assert_eq!(place.value("SELECT count(*) > 0 FROM odd"), "true");
    assert!(place.ok(&["view", "list", "--format", "csv"]).contains("odd,"));
    place.run(&["view", "create", "odd", "SELECT 1"]).fails(&["--force"]);
    for (sql, says) in [
        ("SELECT nothing FROM pool", "no column"),
        ("DELETE FROM pool", "not allowed"),
        ("SELECT $1", "no parameters"),
    ] {
        place.run(&["view", "create", "bad", sql]).fails(&[says]);
    }
    place.run(&["view", "create", "V4", "SELECT 1 AS one"]).says(2, &["\"V4\" cannot name a dataset"]);
    place.ok(&["view", "create", "of_odd", "SELECT prompt FROM odd"]);
    for sql in ["SELECT id FROM odd", "SELECT prompt FROM of_odd"] {
        place.run(&["view", "create", "odd", sql, "--force"]).says(2, &["the view odd would name itself"]);
    }
    place.run(&["view", "drop", "odd"]).says(0, &["the view `of_odd` cannot be read until"]);
    let done = place.run(&["query", "SELECT 1 AS one,\n  prompt FROM of_odd"]);
    let says = "the view `of_odd` cannot be read: there is no table `odd` (line 1, column 20 of its text)";
    done.fails(&[says]);
    let done = place.run(&["query", "SELECT 1 AS a; SELECT 2 AS b", "--plot"]);
    done.says(2, &["of one statement, and these are 2"]);
    place.write("one.sql", "SELECT 1");
    place.run(&["query", "-f", "one.sql", "--plot=x.svg"]).says(2, &["--plot does not go with -f FILE"]);
    place.run(&["query", ".tables", "--plot"]).says(2, &["of one statement, and dot commands have none"]);
    place.run(&["query", "SELECT * FROM odd"]).fails(&["no table"]);
    place.run(&["query", "CREATE VIEW v AS SELECT 1"]).fails(&["`gstore view create --store "]);
}

#[test]
fn a_parameter_is_that_of_any_of_several_statements() {
    let place = place();
    let both = "SELECT 1 AS one; SELECT $n + 1 AS two";
    let done = place.run(&["query", both, "--param", "n=1", "--format", "json"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "{\"one\":1}\n{\"two\":2}\n"), "{}", done.stderr);
    let done = place.run(&["query", both, "--param", "n=1", "--param", "m=2"]);
    done.fails(&["none of the statements has a parameter $m", "they have $n"]);
    assert_eq!(done.stdout, "");
}

#[test]
fn headings_and_errors_are_in_the_words_of_the_statement() {
    let messages = r#"[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]"#;
    let place = place_with(&format!("{{\"id\":\"s24\",\"quality.score\":0.5,\"messages\":{messages}}}\n"));
    let sql = "SELECT source, avg(row), 1, count(*) FROM pool GROUP BY source ORDER BY source LIMIT 1";
    let text = place.csv(sql);
    assert_eq!(text.lines().next(), Some("source,avg(row),1,count(*)"));
    let sql = "SELECT 1 AS Most, r.Stars, r.\"Kept\" FROM (SELECT 2 AS Stars, 3 AS \"Kept\") r";
    let text = place.csv(sql);
    assert_eq!(text.lines().next(), Some("Most,stars,Kept"));
    for (sql, says) in [
        ("SELECT id FROM pool WHERE source = \"dates\"", "single quotes: 'dates'"),
        ("SELECT quality.score FROM pool", "did you mean \"quality.score\"? Write such a name in double"),
        ("SELECT id FROM pool WHERE Quality.Score > 0", "did you mean \"quality.score\"?"),
        ("SELECT influence('pool', 'pool')", "write FROM influence(..)"),
        ("PIVOT pool ON source, id", "write ON (a || '_' || b)"),
        ("SELEC 1", "syntax error at SELEC"),
    ] {
        let done = place.run(&["query", sql]);
        done.fails(&[says]);
        assert!(done.stderr.lines().count() <= 2 && !done.stderr.contains("Ident"), "{}", done.stderr);
    }
    for sql in ["SELECT count(*) FROM pool p ANTI JOIN pool q ON p.row = q.row", "SUMMARIZE pool"] {
        place.csv(sql);
    }
}

#[test]
fn conditions_choose_the_candidates_of_a_selection() {
    let place = place();
    let select = |condition: &str, output: &str| {
        place.run(&[
            "select", "--pool", "pool", "--target", "pool", "--top", "5", "--where", condition, "-o", output,
            "--scores", "none.csv", "--force",
        ])
    };
    select("source = 'b' AND prompt LIKE 'Is 1%'", "b.jsonl").says(0, &[]);
    let written = place.read("b.jsonl");
    assert!(!written.is_empty() && written.lines().all(|line| line.contains(r#""source":"b""#)), "{written}");
    for (condition, says) in [
        ("source = 'b'\nAND sorce = 'b'", "--where: there is no column `sorce` (line 2, column 5)"),
        (
            "source = wiki",
            "--where: there is no column `wiki` (line 1, column 10)\n  write text in single quotes: 'wiki'",
        ),
        ("score > 0.1", "rows have scores in influence(): SELECT id, score FROM influence("),
        ("row = 0 AND source = 1", "its value 'a' is not a number to compare with 1 (line 1, column 13)"),
        ("1 = 1) or (1 = 1", "--where: syntax error at ): the condition ends before it (line 1, column 6)"),
        ("", "--where: the condition is empty: write one, such as source = 'scraped'"),
    ] {
        select(condition, "x.jsonl").fails(&[says]);
        place.run(&["delete", "--dataset", "pool", "--where", condition, "--dry-run"]).fails(&[says]);
    }
    for condition in [r"prompt = E'it\'s :)'", "prompt LIKE $$%:)$$", "/* a /* b */ ) */ row < 0"] {
        select(condition, "x.jsonl").says(1, &["--where: the condition is true for none of 24 rows"]);
    }
    // AND and OR end a comparison by IS DISTINCT FROM.
    let condition = "row > 20 IS DISTINCT FROM true AND row < 2";
    let args = ["delete", "--dataset", "pool", "--where", condition, "--dry-run", "--json"];
    assert_eq!(place.json(&args)["deleted"], 2);
    let done = select("row > 20 IS DISTINCT FROM false AND row < 2", "x.jsonl");
    done.says(1, &["is true for none of 24 rows"]);
    // Empty files would stop the command that is meant.
    select("source = 'nix'", "x.jsonl").says(1, &["--where: the condition is true for none of 24 rows"]);
    assert!(!place.path("x.jsonl").exists());
    assert_eq!(place.value("SELECT count(*) FROM pool"), "24");
}

#[test]
fn a_file_of_ones_own_is_parquet_by_its_first_bytes() {
    let place = Place::of(&[("pool", 7)]);
    place.add("pool");
    place.ok(&["query", "-o", "p.parquet", "SELECT id, source FROM pool"]);
    fs_err::rename(place.path("p.parquet"), place.path("p.csv")).expect("renamed");
    let done = place.run(&["query", "--format", "csv", "--with", "t=p.csv", "SELECT count(id) AS n FROM t"]);
    assert!(done.code == 0 && done.stdout == "n\n7\n", "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("p.csv: it is Parquet"), "{}", done.stderr);
}
