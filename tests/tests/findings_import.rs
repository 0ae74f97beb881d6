//! Promise: what a new user tripped over in data files, and in what is written about them, stays fixed.

use gstore_tests::binary;
use gstore_tests::place::Place;

use crate::findings_data::add;

#[test]
fn integers_are_never_rounded_in_silence() {
    let place = Place::new();
    let lines = |values: &[&str]| -> String {
        values.iter().map(|value| format!("{{\"text\":\"t{value}\",\"n\":{value}}}\n")).collect()
    };
    place.write("a.jsonl", lines(&["1", "9007199254740993", "0.5"]));
    let refused = add(&place, "pool", "a.jsonl", &[]);
    let says = "a.jsonl: column \"n\" holds 9007199254740993 (a float would round it) in line 2 and float in line 3; \
                say what it is, for example --column n:utf8";
    refused.told(1, &[says]);
    add(&place, "pool", "a.jsonl", &["--column", "n:utf8"]).told(0, &["3 samples added"]);
    assert_eq!(place.value("SELECT n FROM pool WHERE row = 1"), "9007199254740993");
    place.write("b.jsonl", lines(&["1", "18446744073709551615"]));
    let says = "holds int in line 1 and an integer of 20 digits (64 bits with a sign do not hold it, so it is text) in line 2";
    add(&place, "b", "b.jsonl", &[]).told(1, &["b.jsonl", says, "--column n:utf8"]);
    // Unsigned numbers of a Parquet file, as hashes are.
    let hashes = "SELECT a AS text, h::UBIGINT AS h FROM (VALUES ('a', '1'), ('b', '18446744073709551615')) AS v(a, h)";
    place.ok(&["query", hashes, "-o", "h.parquet"]);
    let refused = add(&place, "h", "h.parquet", &[]);
    let says = "h.parquet: column \"h\" holds int in row 0 and an integer of 20 digits";
    refused.told(1, &[says, "64 bits with a sign", "in row 1", "--column h:utf8"]);
    place.ok(&["add", "--dataset", "h", "--data", "h.parquet", "--column", "h:utf8"]);
    assert_eq!(place.value("SELECT max(h) FROM h"), "18446744073709551615");
    // A column of a table is text in all of its rows.
    place.write("c.csv", "text,n\na,9007199254740993\nb,0.5\n");
    add(&place, "c", "c.csv", &[]).told(0, &["2 samples added"]);
    assert_eq!(place.value("SELECT min(n) FROM c"), "0.5");
}

#[test]
fn standard_input_is_called_so() {
    let place = Place::new();
    let piped = |text: &str, more: &[&str]| {
        place.write("piped", text);
        let mut command = place.gstore(&[&["add", "--dataset", "pool", "--data", "-"], more].concat());
        let input = fs_err::File::open(place.path("piped")).expect("opens");
        let finished = binary::run(command.stdin(input.into_file()));
        assert!(!finished.stderr.contains("gstore-input"), "{}", finished.stderr);
        finished
    };
    let cut = "{\"text\":\"a\"}\n{\"text\":\n";
    piped(cut, &[]).told(1, &["error: standard input, line 2: malformed JSON"]);
    let mixed = "{\"text\":\"a\",\"n\":1}\n{\"text\":\"b\",\"n\":\"x\"}\n";
    piped(mixed, &[])
        .told(1, &["error: standard input: column \"n\" holds int in line 1 and utf8 in line 2"]);
    piped("", &[]).told(1, &["standard input has no samples"]);
    piped("{\"text\":\"a\"}\n", &["--data", "/dev/stdin"]).told(1, &["error: standard input: named twice"]);
    let mut by_its_path = place.gstore(&["add", "--dataset", "other", "--data", "/dev/stdin"]);
    place.write("piped", "{\"text\":\"a\"}\n");
    let input = fs_err::File::open(place.path("piped")).expect("opens");
    binary::run(by_its_path.stdin(input.into_file())).told(0, &["1 sample added"]);
    piped(cut, &["--skip-bad", "1"])
        .told(0, &["1 sample added", "\n  standard input, line 2: malformed JSON"]);
}

#[test]
fn an_empty_answer_is_the_same_in_every_format() {
    let place = Place::new();
    place.write("csv.csv", "instruction,input,output\nAdd,1 2,3\nWait,,\n");
    let lines = "{\"instruction\":\"Add\",\"input\":\"1 2\",\"output\":\"3\"}\n\
                 {\"instruction\":\"Wait\",\"input\":\"\",\"output\":\"\"}\n";
    place.write("jsonl.jsonl", lines);
    for file in ["csv.csv", "jsonl.jsonl"] {
        place.run(&["add", "--data", file]).told(0, &["2 samples added", "--layout alpaca"]);
    }
    let same = "SELECT count(*) FROM csv AS a JOIN jsonl AS b ON a.row = b.row AND a.record = b.record";
    assert_eq!(place.value(same), "2");
}

#[test]
fn texts_that_come_again_under_other_ids_are_told() {
    let place = Place::new();
    let one = "{\"id\":\"a\",\"prompt\":\"1+1?\",\"completion\":\"2\"}\n{\"id\":\"b\",\"prompt\":\"1+2?\",\"completion\":\"3\"}\n";
    place.write("one.jsonl", one);
    let first = add(&place, "pool", "one.jsonl", &[]);
    first.told(0, &["2 samples added"]);
    let again = add(&place, "pool", "one.jsonl", &[]);
    again.told(0, &["nothing to add"]);
    for told in [&first, &again] {
        told.lacks(&["already under another id"]);
    }
    let other = "{\"id\":\"c\",\"prompt\":\"1+1?\",\"completion\":\"2\",\"source\":\"x\"}\n\
                 {\"id\":\"d\",\"prompt\":\"1+1?\",\"completion\":\"3\"}\n\
                 {\"id\":\"b\",\"prompt\":\"1+2?\",\"completion\":\"3\"}\n";
    place.write("other.jsonl", other);
    let sql =
        "SELECT text, count(*) AS copies, min(id), max(id) FROM \"pool\" GROUP BY text HAVING copies > 1";
    let says = format!(
        "of 2 new samples, 1 has a text that `pool` has already under another id: `gstore query '{sql}' --store {}` lists such texts",
        place.path("store").display()
    );
    add(&place, "pool", "other.jsonl", &["--dry-run"]).told(0, &[&says]);
    add(&place, "pool", "other.jsonl", &[]).told(0, &[&says, "2 samples added, 1 was there already"]);
    let listed = place.csv(sql);
    assert!(listed.ends_with(",2,a,c\n") && listed.matches(",2,").count() == 1, "{listed}");
}

#[test]
fn a_row_of_a_table_is_called_as_in_the_dataset() {
    let place = Place::new();
    place.write("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"\"}\n");
    add(&place, "pool", "a.jsonl", &[])
        .told(0, &["1 of 2 records has nothing to score", "empty text: line 2"]);
    place.ok(&["query", "SELECT text FROM pool ORDER BY row", "-o", "a.parquet"]);
    add(&place, "same", "a.parquet", &[])
        .told(0, &["1 of 2 records has nothing to score", "empty text: row 1"]);
    assert_eq!(place.value("SELECT row FROM same WHERE text = ''"), "1");
}

#[test]
fn a_sum_of_decimals_says_how_it_is_written() {
    let place = Place::new();
    place.write("a.jsonl", "{\"text\":\"a\"}\n");
    add(&place, "pool", "a.jsonl", &[]).told(0, &["1 sample added"]);
    let rows =
        "SELECT t AS text, a::DECIMAL(10, 2) AS amount FROM (VALUES ('a', '1.50'), ('b', '2.25')) AS v(t, a)";
    place.ok(&["query", rows, "-o", "d.parquet"]);
    place.ok(&["add", "--dataset", "d", "--data", "d.parquet"]);
    let says =
        "`amount` is text: write sum(amount::DOUBLE); decimals keep their digits as amount::DECIMAL(18, 2)";
    place.run(&["query", "SELECT sum(amount) FROM d"]).told(1, &[says]);
    for ty in ["DOUBLE", "DECIMAL(18, 2)"] {
        assert_eq!(place.value(&format!("SELECT sum(amount::{ty}) FROM d")), "3.75", "{ty}");
    }
}
