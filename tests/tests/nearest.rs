//! Promise: `nearest(...)` returns what is most similar to a text, a sample or a vector, and with graphs
//! every similarity is still that of the scan.

use gstore_tests::place::Place;
use serde_json::Value;

const PROMPT: &str = "Is 7 odd?";
const ANSWER: &str = "7 is odd, as everyone knows";

/// A pool with embeddings of a real model, and one sample that is the question itself.
fn place() -> Place {
    let place = Place::of(&[("pool", 60)]);
    let mut text = place.read("pool.jsonl");
    text.push_str(&format!("{{\"id\":\"twin\",\"prompt\":\"{PROMPT}\",\"completion\":\"{ANSWER}\"}}\n"));
    place.write("pool.jsonl", text);
    place.ingested("pool", Some(&place.path("pool.jsonl")), "embed-mean,grad-sgd");
    place
}

/// Ids and similarities.
fn found(place: &Place, call: &str, rest: &str) -> Vec<(String, String)> {
    let sql = format!("SELECT id, similarity FROM nearest('pool', {call}) {rest}");
    let of = |row: &Value| (row["id"].as_str().expect("an id").to_owned(), row["similarity"].to_string());
    place.rows(&sql).iter().map(of).collect()
}

fn refused(place: &Place, sql: &str) -> String {
    let finished = place.run(&["query", sql]);
    assert_ne!(finished.code, 0, "{sql}");
    finished.stderr
}

#[test]
fn the_documented_statement_finds_the_near_duplicates_of_a_pool() {
    let place = Place::new();
    let line = |id: &str, text: &str| format!("{{\"id\":\"{id}\",\"text\":\"{text}\"}}\n");
    let texts = [
        ("a", "Seven is odd and eight is even"),
        ("b", "The quick brown fox jumps over a lazy dog"),
        ("c", "Seven is odd and eight is even"),
        ("d", "def f(x): return x * x + 1"),
    ];
    let pool: String = texts.iter().map(|(id, text)| line(id, text)).collect();
    place.write("pool.jsonl", pool);
    place.ingested("pool", Some(&place.path("pool.jsonl")), "embed-mean");
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sql.md");
    let docs = fs_err::read_to_string(docs).expect("readable");
    let from = docs.find("SELECT target, id, score FROM influence('pool', 'pool'").expect("the statement");
    let statement = docs[from..].split(';').next().expect("an end");
    let found = place.rows(statement);
    let pairs: Vec<_> = found.iter().map(|row| (row["target"].as_str(), row["id"].as_str())).collect();
    assert_eq!(pairs, [(Some("a"), Some("c"))], "{found:?}");
}

#[test]
fn text_id_and_vector_find_the_same_rows_with_and_without_graphs() {
    let place = place();
    let checkpoint = place.value("SELECT name FROM gstore.checkpoints ORDER BY step LIMIT 1");
    let at = format!("checkpoint => '{checkpoint}'");
    let text = format!("prompt => '{PROMPT}', completion => '{ANSWER}', {at}");
    let by_text = found(&place, &text, "LIMIT 61");
    assert_eq!(by_text.len(), 61);
    assert_eq!(by_text[0].0, "twin");
    let first: f64 = by_text[0].1.parse().expect("a number");
    assert!((first - 1.0).abs() < 1e-3, "its own twin: {first}");
    assert!(by_text.iter().map(|row| row.1.parse::<f64>().expect("a number")).is_sorted_by(|a, b| a >= b));

    // The scan is the influence of the same text by cosine.
    let sql = format!(
        "SELECT id, score AS similarity FROM influence('pool', prompt => '{PROMPT}', completion => '{ANSWER}', kind => 'embed-mean', checkpoints => '{checkpoint}') ORDER BY score DESC"
    );
    let scores: Vec<String> = place.rows(&sql).iter().map(|row| row["similarity"].to_string()).collect();
    assert_eq!(by_text.iter().map(|row| row.1.clone()).collect::<Vec<_>>(), scores);

    let by_id = found(&place, &format!("id => 'twin', {at}"), "LIMIT 61");
    assert_eq!(by_id.len(), 60, "itself is left out");
    assert!(by_id.iter().all(|row| row.0 != "twin"));
    let label = format!("embed-mean@{checkpoint}");
    let vector = place.rows(&format!("SELECT vector FROM vectors('pool', '{label}') WHERE id = 'twin'"));
    let by_vector = found(&place, &format!("vector => {}, {at}", vector[0]["vector"]), "LIMIT 61");
    // A stored vector is compared by the length it had before it was rounded for storage,
    // a given one by its own.
    for (given, stored) in by_vector[1..].iter().zip(&by_id) {
        assert_eq!(given.0, stored.0, "the stored vector");
        let number = |row: &(String, String)| row.1.parse::<f64>().expect("a number");
        assert!((number(given) / number(stored) - 1.0).abs() < 1e-4, "{given:?} {stored:?}");
    }

    let made: Value = place.json(&["index", "--hnsw", "--dataset", "pool", "--json"]);
    let features = made["features"].as_array().expect("a list");
    assert!(features.iter().all(|line| line["graphed"] == 1 && line["linked"] == 61), "{made}");
    assert!(
        features.iter().all(|line| line["feature"].as_str().is_some_and(|name| name.contains("embed-mean")))
    );
    let again: Value = place.json(&["index", "--hnsw", "--dataset", "pool", "--json"]);
    assert!(again["features"].as_array().expect("a list").iter().all(|line| line["linked"] == 0));
    // Of a dataset with a name beside it only what is named: gradients are left alone.
    let named: Value = place.json(&["index", "--hnsw", "--dataset", "pool", &label, "--json"]);
    let lines = named["features"].as_array().expect("a list");
    assert!(lines.len() == 1 && lines[0]["feature"] == format!("pool/{label}"), "{named}");

    for (call, exact) in [(&text, &by_text), (&format!("id => 'twin', {at}"), &by_id)] {
        // So few rows are scanned unless graphs are asked for.
        let graph = found(&place, &format!("{call}, exact => false"), "LIMIT 10");
        assert_eq!(graph[..], exact[..10]);
        assert_eq!(found(&place, &format!("{call}, exact => true"), "LIMIT 10")[..], exact[..10]);
        assert_eq!(found(&place, &format!("{call}, exact => false, k => 10"), "")[..], exact[..10]);
        let some: Vec<_> = exact.iter().filter(|row| row.0.ends_with('3')).take(3).cloned().collect();
        assert_eq!(found(&place, &format!("{call}, exact => false"), "WHERE id LIKE '%3' LIMIT 3"), some);
        let by_row = found(&place, &format!("{call}, exact => false"), "ORDER BY row LIMIT 2");
        assert_eq!(by_row.iter().map(|row| &row.0).collect::<Vec<_>>(), ["s0", "s1"]);
    }
    let sql = |options: &str| {
        format!("EXPLAIN SELECT id FROM nearest('pool', id => 'twin', {at}{options}) LIMIT 5")
    };
    let explained = |options: &str| place.csv(&sql(options));
    assert!(explained("").contains("by=scan (segments are too small for graphs"), "{}", explained(""));
    let asked = explained(", exact => false");
    assert!(asked.contains("by=graphs of 1 of 1 segments (ef=128)"), "{asked}");
    assert!(explained(", exact => true").contains("by=scan"), "{}", explained(", exact => true"));
    let sql = format!("SELECT id FROM nearest('pool', id => 'twin', {at}, exact => false) LIMIT 5");
    let noted = place.run(&["query", &sql]);
    assert!(
        noted.stderr.contains("approximate") && noted.stderr.contains("in the graphs of 1 segment "),
        "{}",
        noted.stderr
    );

    place.ok(&["delete", "--dataset", "pool", "--id", &by_id[0].0]);
    let after = found(&place, &format!("id => 'twin', {at}, exact => false"), "LIMIT 10");
    assert_eq!(after[..], by_id[1..11]);

    let evaluated: Value =
        place.json(&["index", "--evaluate", "--dataset", "pool", "--queries", "10", "--json"]);
    let first = &evaluated["features"][0]["evaluation"];
    assert_eq!((first["queries"].as_u64(), first["rows"].as_u64()), (Some(10), Some(60)), "{evaluated}");
    assert!(first["recall_at_10"].as_f64() >= Some(0.99), "{evaluated}");
    let table = place.ok(&["index", "--evaluate", "--dataset", "pool", "--queries", "5"]);
    assert!(table.contains("recall@100"), "{table}");
    assert!(table.contains("keeps 128 candidates, one for 100 rows 200"), "{table}");
    place.ok(&["verify", "--all"]);
}

#[test]
fn without_a_checkpoint_the_newest_is_asked_and_named() {
    let place = place();
    let newest = place.value("SELECT name FROM gstore.checkpoints ORDER BY step DESC LIMIT 1");
    let vector =
        place.rows(&format!("SELECT vector FROM vectors('pool', 'embed-mean@{newest}') WHERE id = 's1'"));
    for what in [
        "text => '7 is odd'".to_owned(),
        "id => 's1'".to_owned(),
        format!("vector => {}", vector[0]["vector"]),
    ] {
        let named = found(&place, &format!("{what}, checkpoint => '{newest}'"), "LIMIT 5");
        assert_eq!(found(&place, &what, "LIMIT 5"), named, "{what}");
        let sql = format!("SELECT id FROM nearest('pool', {what}) LIMIT 5");
        let said = place.run(&["query", &sql]).stderr;
        assert!(said.contains(&format!("at `{newest}`, the newest of the ")), "{said}");
    }
    // A feature that is named is that of its checkpoint.
    let oldest = place.value("SELECT name FROM gstore.checkpoints ORDER BY step LIMIT 1");
    let at = found(&place, &format!("id => 's1', checkpoint => '{oldest}'"), "LIMIT 5");
    let named = found(&place, &format!("id => 's1', features => 'embed-mean@{oldest}'"), "LIMIT 5");
    assert_eq!(named, at);
    assert_ne!(named, found(&place, "id => 's1'", "LIMIT 5"));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_way_out() {
    let place = place();
    let checkpoint = place.value("SELECT name FROM gstore.checkpoints ORDER BY step LIMIT 1");
    for (call, says) in [
        (format!("id => 'twni', checkpoint => '{checkpoint}'"), "did you mean \"twin\""),
        (format!("checkpoint => '{checkpoint}'"), "takes exactly one thing"),
        (format!("id => 's1', text => 'x', checkpoint => '{checkpoint}'"), "takes exactly one thing"),
        ("vector => [NULL]".to_owned(), "`vector` must be numbers; number 1 of the list is NULL"),
        ("vector => [1.0, NULL]".to_owned(), "number 2 of the list is NULL"),
        (format!("vector => [1.0, 2.0], checkpoint => '{checkpoint}'"), "the vector has 2 values"),
        (
            format!("id => 's1', sim => 'dot', checkpoint => '{checkpoint}'"),
            "a scan of dot products is exact",
        ),
        (format!("id => 's1', kind => 'embed-last', checkpoint => '{checkpoint}'"), "embed-last"),
        (format!("id => 's1', ef => 0, checkpoint => '{checkpoint}'"), "at least 1"),
        ("id => 's1', near => 3".to_owned(), "no option `near`"),
    ] {
        let message = refused(&place, &format!("SELECT id FROM nearest('pool', {call}) LIMIT 3"));
        assert!(message.contains(says), "{call}: {message}");
    }
    let score = format!("SELECT score FROM nearest('pool', id => 's1', checkpoint => '{checkpoint}')");
    assert!(refused(&place, &score).contains("nearest() calls it `similarity`"));
    for (args, code, says) in [
        (vec!["index", "--hnsw"], 2, "graphs of what?"),
        (vec!["index", "--hnsw", "--dataset", "pool", "--sim", "dot"], 2, "a scan of dot products is exact"),
        (vec!["index", "--evaluate", "--dataset", "pool"], 2, "gstore index --hnsw"),
        (vec!["index", "--rebuild", "--dataset", "pool"], 2, "--hnsw"),
        (
            vec!["index", "--hnsw", "--dataset", "pool", "--kind", "loss"],
            2,
            "of kind loss; the kinds there are embed-",
        ),
    ] {
        place.run(&args).says(code, &[says]);
    }
    // Gradients on request, and a damaged graph.
    place.ok(&["index", "--hnsw", "--dataset", "pool", "--kind", "grad-sgd"]);
    let call = format!(
        "nearest('pool', id => 's1', kind => 'grad-sgd', checkpoint => '{checkpoint}', exact => false)"
    );
    assert_eq!(place.rows(&format!("SELECT id FROM {call} LIMIT 4")).len(), 4);
    for entry in fs_err::read_dir(place.path("store/indexes")).expect("readable") {
        let path = entry.expect("readable").path();
        let bytes = fs_err::read(&path).expect("readable");
        let half = bytes.len() / 2;
        let flipped: Vec<u8> =
            bytes.iter().enumerate().map(|(i, b)| if i > 64 && i < half { b ^ 1 } else { *b }).collect();
        fs_err::remove_file(&path).expect("removed");
        fs_err::write(&path, flipped).expect("written");
    }
    let message = refused(&place, &format!("SELECT id FROM {call} LIMIT 4"));
    let rebuilt = "`gstore index --hnsw pool/grad-sgd@";
    assert!(message.contains("damaged") && message.contains(rebuilt), "{message}");
    place.ok(&["index", "--hnsw", "--dataset", "pool", "--kind", "grad-sgd"]);
    assert_eq!(place.rows(&format!("SELECT id FROM {call} LIMIT 4")).len(), 4);
}
