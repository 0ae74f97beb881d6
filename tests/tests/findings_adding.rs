//! Promise: what a new user tripped over where data comes piece by piece, and from other programs, stays
//! fixed.

use gstore_tests::place::Place;

use crate::findings_data::{add, ingest, record, scored};

/// One sample with a vote.
fn votes(place: &Place, name: &str, votes: &str) {
    place
        .write(&format!("{name}.jsonl"), format!("{{\"id\":\"{name}\",\"text\":\"t\",\"votes\":{votes}}}\n"));
}

#[test]
fn integers_and_floats_make_the_same_column_in_any_order() {
    let place = Place::new();
    votes(&place, "int", "1");
    votes(&place, "float", "3.0");
    votes(&place, "null", "null");
    let widened = "`votes` changes from int to float in all rows";
    add(&place, "up", "int.jsonl", &[]).told(0, &[]);
    add(&place, "up", "float.jsonl", &["--dry-run"]).told(0, &[widened, "columns: votes float"]);
    assert_eq!(place.value("SELECT arrow_typeof(max(votes)) FROM up"), "Int64");
    add(&place, "up", "float.jsonl", &[]).told(0, &[widened, "1 sample added"]);
    add(&place, "asked", "int.jsonl", &[]).told(0, &[]);
    add(&place, "asked", "float.jsonl", &["--column", "votes:float"]).told(0, &[widened]);
    for (dataset, files) in [("down", vec!["float.jsonl", "int.jsonl"]), ("once", vec!["int.jsonl"])] {
        for file in files {
            add(&place, dataset, file, &[]).told(0, &[]);
        }
    }
    place.run(&["add", "--dataset", "once", "--data", "int.jsonl", "float.jsonl"]).told(0, &[]);
    for dataset in ["up", "asked", "down", "once"] {
        add(&place, dataset, "null.jsonl", &[]).told(0, &[]);
        let sum = format!("SELECT sum(votes) || ' ' || arrow_typeof(max(votes)) FROM {dataset}");
        assert_eq!(place.value(&sum), "4.0 Float64", "{dataset}");
    }
    // What is there already changes nothing.
    add(&place, "two", "int.jsonl", &[]).told(0, &[]);
    votes(&place, "int", "1.0");
    let kept = add(&place, "two", "int.jsonl", &["--if-changed", "keep"]);
    kept.told(0, &["1 changed line skipped"]).lacks(&["from int to float"]);
    assert!(place.ok(&["verify"]).contains(" 0 problems"));
}

/// One value that is no number does not make text of the others of its column.
#[test]
fn the_value_that_does_not_fit_its_column_is_named_in_tables_of_text_as_in_json() {
    let place = Place::new();
    let rows = |last: &str| format!("id,prompt,completion,note\na,q,r,5\nb,q,r,6\nc,q,r,{last}\n");
    place.write("whole.csv", rows("7"));
    place.write("mixed.csv", rows("n/a"));
    let line = |(id, note): (&str, &str)| format!("{{\"id\":\"{id}\",\"text\":\"t\",\"note\":{note}}}\n");
    place.write("mixed.jsonl", [("a", "5"), ("b", "6"), ("c", "\"n/a\"")].map(line).concat());
    let asked = |file: &str| add(&place, "asked", file, &["--column", "note:int"]);
    asked("mixed.csv").told(1, &["mixed.csv", "is int as asked, but line 4 holds utf8 (\"n/a\")"]);
    asked("mixed.jsonl").told(1, &["is int as asked, but line 3 holds utf8 (\"n/a\")"]);
    place.write("fraction.csv", rows("7.5"));
    asked("fraction.csv").told(1, &["is int as asked, but line 4 holds float (7.5)"]);
    asked("whole.csv").told(0, &["3 samples added"]);
    let stored = add(&place, "asked", "mixed.csv", &[]);
    stored.told(1, &["is int in the dataset, but line 4 holds utf8 (\"n/a\")"]);
    // Text where it is asked for, and where nothing else is.
    for (dataset, options) in [("words", &["--column", "note:utf8"][..]), ("free", &[])] {
        add(&place, dataset, "mixed.csv", options).told(0, &["3 samples added"]);
        assert_eq!(place.value(&format!("SELECT min(note) FROM {dataset}")), "5");
    }
}

#[test]
fn fields_of_csv_stay_as_they_are_in_a_column_of_text() {
    let place = Place::new();
    place.write("words.csv", "id,text,v\nw,some more words,n/a\n");
    let rows = "a,some words,1.10\nb,some words,.5\nc,some words,2\n";
    place.write("versions.csv", format!("id,text,v\n{rows}"));
    let is_text = &["--column", "v:utf8"][..];
    let stored =
        |dataset: &str| place.value(&format!("SELECT string_agg(v, ' ' ORDER BY row) FROM {dataset}"));
    // As the command says, and as the dataset has it.
    add(&place, "asked", "versions.csv", is_text).told(0, &["3 samples added"]);
    assert_eq!(stored("asked"), "1.10 .5 2");
    add(&place, "held", "words.csv", &[]).told(0, &["1 sample added"]);
    add(&place, "held", "versions.csv", &[]).told(0, &["3 samples added"]);
    assert_eq!(stored("held"), "n/a 1.10 .5 2");
    let values = [0, 1, 2].map(|row| record(&place, "asked", row)["v"].to_string());
    assert_eq!(values, ["\"1.10\"", "\".5\"", "2"]);
    // Both know the file again, and so does a forecast.
    for (dataset, more) in [("asked", is_text), ("asked", &[]), ("held", &[])] {
        add(&place, dataset, "versions.csv", more).told(0, &["nothing to add"]);
    }
    let dry = ingest(&place, &["--dataset", "held", "--data", "versions.csv", "--dry-run"], "loss");
    dry.told(0, &["0 samples to add, 3 there already"]);
    // Earlier versions stored numbers, whose texts are often the same.
    let lines = ["{\"id\":\"c\",\"text\":\"t\",\"v\":2}", "{\"id\":\"d\",\"text\":\"t\",\"v\":-2.5}"];
    place.write("before.jsonl", lines.map(|line| format!("{line}\n")).concat());
    add(&place, "before", "before.jsonl", is_text).told(0, &["2 samples added"]);
    place.write("same.csv", "id,text,v\nc,t,2\nd,t,-2.5\n");
    add(&place, "before", "same.csv", &[]).told(0, &["nothing to add"]);
    // Texts that are cut are copied before they are added.
    let blocks = ["--dataset", "blocks", "--data", "versions.csv", "--block", "64"];
    ingest(&place, &[&blocks[..], is_text].concat(), "loss").told(0, &["3 samples added"]);
    assert_eq!(stored("blocks"), "1.10 .5 2");
}

#[test]
fn keys_within_objects_are_fields_in_json_and_in_tables() {
    let place = Place::new();
    let pair = ["--field", "prompt=translation.en,completion=translation.fr"];
    let line =
        |id: &str| format!("{{\"id\": \"{id}\", \"translation\": {{\"en\": \"go\", \"fr\": \"va\"}}}}\n");
    place.write("wmt.jsonl", line("a"));
    // The hints lead to it.
    let whole = add(&place, "json", "wmt.jsonl", &["--field", "text=translation"]);
    whole.told(1, &["name a key within it: --field text=translation.en"]);
    let wrong = add(&place, "json", "wmt.jsonl", &["--field", "text=translation.em"]);
    wrong.told(1, &["did you mean `translation.en`?"]);
    add(&place, "json", "wmt.jsonl", &pair).told(0, &["1 sample added"]);
    let table = "SELECT 'a' AS id, named_struct('en', 'go', 'fr', 'va') AS translation";
    for file in ["wmt.parquet", "wmt.arrow"] {
        place.ok(&["query", table, "--force", "-o", file]);
        let dataset = file.replace('.', "_");
        add(&place, &dataset, file, &["--field", "text=translation.em"]).told(1, &["`translation.en`?"]);
        add(&place, &dataset, file, &pair).told(0, &["1 sample added"]).lacks(&["no record has a value"]);
        assert_eq!(place.value(&format!("SELECT prompt || completion FROM {dataset}")), "gova");
        // The rows are those of the JSON lines.
        add(&place, "json", file, &pair).told(0, &["nothing to add"]);
    }
}

#[test]
fn files_of_other_programs_are_refused_with_what_converts_them() {
    let place = Place::new();
    place.write("a.jsonl", "{\"text\":\"t\"}\n");
    add(&place, "pool", "a.jsonl", &[]).told(0, &[]);
    for (file, line) in [
        ("d.pkl", "pandas.read_pickle('d.pkl').to_parquet('d.parquet', index=False)"),
        ("d.xlsx", "pandas.read_excel('d.xlsx').to_parquet('d.parquet', index=False)"),
        ("d.zip", "to convert it: unzip d.zip -d d"),
    ] {
        place.write(file, "PK");
        add(&place, "pool", file, &[]).told(1, &["unknown format; supported: .jsonl", line]);
        let table = format!("t={file}");
        place.run(&["query", "--with", &table, "SELECT 1"]).told(2, &[".parquet, .csv, .tsv", line]);
    }
}

#[test]
fn a_column_without_a_name_has_the_same_one_in_a_dataset_and_in_a_table() {
    let place = Place::new();
    place.write("index.csv", ",text\n7,a\n8,b\n");
    add(&place, "pool", "index.csv", &[]).told(0, &["2 samples added"]);
    assert_eq!(place.value("SELECT max(column_1) FROM pool"), "8");
    let sum = "SELECT sum(column_1) FROM t";
    assert_eq!(place.ok(&["query", "--with", "t=index.csv", "--format", "lines", sum]).trim(), "15");
}

#[test]
fn a_changed_spelling_of_a_sample_is_told() {
    let place = Place::new();
    place.write("spaced.jsonl", "{\"id\": \"a\", \"text\": \"t\", \"n\": null}\n");
    place.write("compact.jsonl", "{\"id\":\"a\",\"text\":\"t\"}\n");
    add(&place, "pool", "spaced.jsonl", &[]).told(0, &[]);
    for more in [&["--dry-run"][..], &[]] {
        add(&place, "pool", "compact.jsonl", more).told(1, &["only the spelling of the JSON differs"]);
    }
}

#[test]
fn stored_integers_that_become_text_are_told() {
    let place = Place::new();
    votes(&place, "int", "7");
    votes(&place, "word", "\"many\"");
    add(&place, "pool", "int.jsonl", &[]).told(0, &[]);
    add(&place, "pool", "word.jsonl", &[]).told(1, &["--column votes:utf8"]);
    let told = ["`votes` changes from int to text in all rows: all values are text", "1 sample added"];
    add(&place, "pool", "word.jsonl", &["--column", "votes:utf8"]).told(0, &told);
    add(&place, "pool", "word.jsonl", &["--column", "votes:utf8"]).lacks(&["changes from"]);
}

#[test]
fn a_stored_integer_that_a_float_would_round_keeps_its_column() {
    let place = Place::new();
    votes(&place, "big", "9007199254740993");
    votes(&place, "float", "0.5");
    add(&place, "pool", "big.jsonl", &[]).told(0, &[]);
    let held = "would become float, and holds 9007199254740993 in row 0 (a float would round it)";
    let refused = add(&place, "pool", "float.jsonl", &[]);
    refused.told(1, &["\"votes\"", held, "--column votes:utf8", "--column votes:float"]);
    assert_eq!(place.value("SELECT max(votes) FROM pool"), "9007199254740993");
    add(&place, "pool", "float.jsonl", &["--column", "votes:float"]).told(0, &["1 sample added"]);
    assert_eq!(place.value("SELECT max(votes) = 9007199254740992 FROM pool"), "true");
    // Of several columns that change at once, the one that would lose is named.
    place.write("two.jsonl", "{\"id\":\"a\",\"text\":\"t\",\"n\":1,\"m\":9007199254740993}\n");
    place.write("both.jsonl", "{\"id\":\"b\",\"text\":\"t\",\"n\":0.5,\"m\":0.5}\n");
    add(&place, "two", "two.jsonl", &[]).told(0, &[]);
    add(&place, "two", "both.jsonl", &[]).told(1, &["\"m\"", held]);
    let told = ["`n` changes from int to float", "`m` changes from int to float"];
    add(&place, "two", "both.jsonl", &["--column", "m:float"]).told(0, &told);
    // Where the type was asked for, the way out is the one that keeps numbers.
    let asked = add(&place, "other", "float.jsonl", &["--column", "votes:int"]);
    asked.told(1, &["is int as asked, but line 1 holds float (0.5); use --column votes:float"]);
}

#[test]
fn integers_of_one_pool_and_floats_of_another_make_one_table() {
    let place = scored();
    for (pool, values) in
        [("whole", ["1", "2"]), ("parts", ["0.5", "2.5"]), ("big", ["9007199254740993", "1"])]
    {
        let line = |(at, n): (usize, &&str)| {
            format!("{{\"text\":\"{pool} {at} is a text\",\"id\":\"{pool}{at}\",\"n\":{n}}}\n")
        };
        let file = format!("{pool}.jsonl");
        place.write(&file, values.iter().enumerate().map(line).collect::<String>());
        ingest(&place, &["--dataset", pool, "--data", &file], "grad-sgd").told(0, &[]);
    }
    let select = |pools: &str, output: &str| {
        place.run(&["select", "--pool", pools, "--target", "target", "--top", "4", "-o", output])
    };
    for (pools, output) in [("whole,parts", "one.parquet"), ("parts,whole", "other.csv")] {
        select(pools, output).told(0, &[]);
        let table = format!("t={output}");
        let sum = "SELECT sum(n) || ' ' || count(n) || ' ' || arrow_typeof(max(n)) FROM t";
        let found = place.ok(&["query", "--with", &table, "--format", "lines", sum]);
        assert_eq!(found.trim(), "6.0 4 Float64", "{pools}");
    }
    let rounded = "`n` is int in one pool and float in another, and 9007199254740993 is not exact as a float: \
                   write .jsonl instead of a table";
    select("parts,big", "big.parquet").told(1, &[rounded]);
    assert!(!place.path("big.parquet").exists());
}

#[test]
fn text_in_utf_16_is_named_as_such_wherever_it_is_read() {
    let place = Place::new();
    votes(&place, "one", "1");
    add(&place, "pool", "one.jsonl", &[]).told(0, &[]);
    let says = "it is text in UTF-16; save it as UTF-8, or `iconv -f UTF-16 -t UTF-8 FILE > NEW` makes it so";
    for (name, text) in
        [("u.csv", "id,text\n1,\"a, b\"\n"), ("u.tsv", "id\ttext\n1\ta\n"), ("u.jsonl", "{\"text\":\"a\"}\n")]
    {
        for wide in [u16::to_le_bytes, u16::to_be_bytes] {
            let bytes: Vec<u8> = std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(wide).collect();
            place.write(name, bytes);
            add(&place, "pool", name, &[]).told(1, &[name, says]);
            place.run(&["query", "--with", &format!("t={name}"), "SELECT * FROM t"]).told(2, &[name, says]);
        }
    }
    let says = "it is text in UTF-32; save it as UTF-8, or `iconv -f UTF-32 -t UTF-8 FILE > NEW` makes it so";
    for wide in [u32::to_le_bytes, u32::to_be_bytes] {
        let text = "\u{feff}{\"text\":\"a\"}\n";
        place.write("u.jsonl", text.chars().map(u32::from).flat_map(wide).collect::<Vec<u8>>());
        add(&place, "pool", "u.jsonl", &[]).told(1, &["u.jsonl", says]);
    }
    assert_eq!(place.value("SELECT count(*) FROM pool"), "1");
}
