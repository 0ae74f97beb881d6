//! Promise: what `gstore ask` computes for a text is what an ingest of the same sample stores, and anything
//! that would change it is an error that names the cause.

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::Value;

use crate::served::{Served, token};
use crate::terminal::Terminal;

const PROMPT: &str = "Is 7 odd?";
const ANSWER: &str = "7 is odd, as everyone knows";

/// A pool with the sample itself in it, and the sample as a dataset.
fn place(pool: &str, target: &str) -> Place {
    let place = Place::of(&[("pool", 40)]);
    let mut text = place.read("pool.jsonl");
    text.push_str(&format!("{{\"id\":\"twin\",\"prompt\":\"{PROMPT}\",\"completion\":\"{ANSWER}\"}}\n"));
    place.write("pool.jsonl", text);
    let sample = format!("{{\"id\":\"q\",\"prompt\":\"{PROMPT}\",\"completion\":\"{ANSWER}\"}}\n");
    place.write("q.jsonl", sample);
    for (dataset, kinds) in [("pool", pool), ("q", target)] {
        place.ingested(dataset, Some(&place.path(&format!("{dataset}.jsonl"))), kinds);
    }
    place
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Rows and scores, best first.
fn ranking(rows: &[Value]) -> Vec<(u64, String)> {
    rows.iter().map(|r| (r["row"].as_u64().expect("a row"), r["score"].to_string())).collect()
}

fn ask<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["ask", "--pool", "pool", "--prompt", PROMPT, "--completion", ANSWER], args].concat()
}

fn ok(place: &Place, args: &[&str]) -> String {
    place.ok(&ask(args))
}

fn fails(place: &Place, args: &[&str], code: i32) -> String {
    let finished = place.run(args);
    finished.says(code, &[]);
    finished.stderr
}

#[test]
fn asking_equals_ingesting_the_sample_and_asking_for_it() {
    let place = place("grad-adam,embed-mean", "grad-sgd,embed-mean");
    let drawn = place.ok(&["plot", "scores", "--pool", "pool", "--target", "q"]);
    assert!(drawn.contains("pool for q (grad-adam, of the target grad-sgd)"), "{drawn}");
    for (flags, options) in [
        (vec![], ""),
        (vec!["--sim", "dot"], ", sim => 'dot'"),
        (vec!["--kind", "embed-mean"], ", kind => 'embed-mean'"),
    ] {
        let sql = |target: &str| {
            let sql = format!(
                "SELECT row, score FROM influence('pool', {target}{options}) WHERE score > 0 ORDER BY score DESC"
            );
            ranking(&place.rows(&sql))
        };
        let stored = sql("'q'");
        assert!(stored.len() > 5);
        assert_eq!(stored, sql(&format!("prompt => '{PROMPT}', completion => '{ANSWER}'")), "{options}");
        let flags: Vec<&str> =
            [&["--proponents", "--top", "1000", "--format", "json"][..], flags.as_slice()].concat();
        let asked = lines(&ok(&place, &flags));
        assert_eq!(ranking(&asked), stored, "{options}");
        assert!(asked.iter().all(|row| row["side"] == "proponent"));
    }
    // A server computes the same of a text, unless it is told to compute nothing.
    let token = token(&place, "asker");
    let sql = format!(
        "SELECT row, score FROM influence('pool', prompt => '{PROMPT}', completion => '{ANSWER}') ORDER BY score DESC LIMIT 5"
    );
    let here = place.csv(&sql);
    let there = |server: &Served| {
        let remote = ["--remote", &server.address, "--token", &token];
        place.run(&[&["query", "--format", "csv", &sql][..], &remote[..]].concat())
    };
    let computed = there(&Served::start(&place, &[]));
    assert_eq!((computed.code, computed.stdout), (0, here), "{}", computed.stderr);
    assert_ne!(there(&Served::start(&place, &["--no-encoder"])).code, 0);
}

#[test]
fn a_side_without_rows_is_said_to_have_none() {
    let place = Place::new();
    let twin = format!("{{\"id\":\"twin\",\"prompt\":\"{PROMPT}\",\"completion\":\"{ANSWER}\"}}\n");
    place.write("pool.jsonl", twin);
    place.ingested("pool", Some(&place.path("pool.jsonl")), "grad-sgd");
    let run = |more: &[&str]| place.done(&ask(more));
    // A sample helps itself.
    let says = "no opponents: 1 row has a score, and none is below zero\n";
    let table = run(&["--opponents", "--format", "table"]);
    assert_eq!(table.stdout, says);
    let list = run(&["--opponents", "--format", "json"]);
    assert!(list.stdout.is_empty() && list.stderr.contains(says), "{}{}", list.stdout, list.stderr);
    let both = run(&["--format", "json"]);
    assert!(both.stdout.contains("twin") && both.stderr.contains(says), "{}{}", both.stdout, both.stderr);
    let none = run(&["--exclude-target", "--format", "table"]);
    assert_eq!(none.stdout, "no proponents: no row has a score\nno opponents: no row has a score\n");
}

#[test]
fn opponents_texts_and_marks() {
    let place = place("grad-sgd", "grad-sgd");
    let rows = lines(&ok(&place, &["--format", "json", "--top", "3"]));
    let of = |side: &str| rows.iter().filter(|r| r["side"] == side).cloned().collect::<Vec<_>>();
    let (best, worst) = (of("proponent"), of("opponent"));
    assert_eq!((best[0]["id"].as_str(), best[0]["rank"].as_u64()), (Some("twin"), Some(1)));
    assert_eq!(best[0]["in_target"], true);
    assert!(best[0]["score"].as_f64().is_some_and(|score| (score - 1.0).abs() < 1e-3), "its own twin");
    assert!(rows.iter().filter(|r| r["in_target"] == true).count() == 1);
    assert!(worst.iter().all(|r| r["score"].as_f64().is_some_and(|score| score < 0.0)));
    ok(&place, &["--opponents", "--top", "3", "--plot=worst.html"]);
    let page = place.read("worst.html");
    assert!(worst.is_empty() || page.contains(&format!("worst {}", worst.len())), "{page}");
    assert!(!page.contains("best 3"), "{page}");
    assert!(best[0]["text"].as_str().is_some_and(|text| text.contains(PROMPT) && text.contains(ANSWER)));

    let without = lines(&ok(&place, &["--format", "json", "--proponents", "--exclude-target", "--top", "2"]));
    assert_eq!(without[0]["id"], best[1]["id"]);
    assert_eq!(without[0]["score"], best[1]["score"]);
    for (name, from) in [
        ("in_target => true", "'q'"),
        ("k => 41", &format!("prompt => '{PROMPT}', completion => '{ANSWER}'")),
    ] {
        let sql = format!("SELECT id FROM influence('pool', {from}, {name}) WHERE in_target");
        assert_eq!(place.csv(&sql), "id\ntwin\n");
    }
    let sql = "SELECT count(*) AS n FROM influence('pool', 'q', exclude_target => true)";
    let all = "SELECT count(*) AS n FROM influence('pool', 'q')";
    let count = |sql| place.value(sql).parse::<u64>().expect("a number");
    assert_eq!(count(sql) + 1, count(all));
    place.typed("select --pool pool --target q --top 1 --exclude-target -o best.jsonl");
    assert!(!place.read("best.jsonl").contains("twin"));

    // A pool this small is scored row by row, and that is said.
    place.ok(&["index", "--sketch", "--dataset", "pool"]);
    let by_sketch = place.run(&ask(&["--format", "json", "--top", "3", "--mode", "sketch"]));
    assert_eq!(lines(&by_sketch.stdout), rows, "{}", by_sketch.stderr);
    assert!(by_sketch.stderr.contains("every row was scored"), "{}", by_sketch.stderr);

    for format in ["table", "csv", "parquet", "arrow"] {
        ok(&place, &["--format", format, "-o", "out", "--force", "--full"]);
        assert!(fs_err::metadata(place.path("out")).expect("written").len() > 0, "{format}");
    }
}

#[test]
fn only_a_table_has_beginnings_of_texts() {
    let place = Place::new();
    let words = "word ".repeat(60);
    let long =
        serde_json::json!({"id": "long", "prompt": PROMPT, "completion": format!("{ANSWER}\n\n{words}end")});
    let twin = serde_json::json!({"id": "twin", "prompt": PROMPT, "completion": ANSWER});
    place.write("pool.jsonl", format!("{long}\n{twin}\n"));
    place.ingested("pool", Some(&place.path("pool.jsonl")), "grad-sgd");
    let whole = format!("prompt: {PROMPT}\ncompletion: {ANSWER}\n\n{words}end");

    let rows = lines(&ok(&place, &["--json"]));
    let row = rows.iter().find(|row| row["id"] == "long").expect("a row");
    assert_eq!(row["text"], whole);
    for args in [&["--format", "csv"][..], &["-o", "rows.csv"]] {
        let shown = ok(&place, args);
        let written = fs_err::read_to_string(place.path("rows.csv")).unwrap_or(shown);
        assert!(written.contains(&whole), "{args:?}: {written}");
    }
    let finished = place.run(&ask(&["--format", "table"]));
    assert!(finished.stderr.contains("--full shows whole texts"), "{}", finished.stderr);
    let table = finished.stdout;
    let heading = table.lines().next().expect("a line");
    assert!(heading.contains("prompt") && heading.contains("completion"), "{table}");
    assert!(table.contains("-----") && table.contains('…') && !table.contains("end"), "{table}");
    let full = ok(&place, &["--format", "table", "--full"]);
    assert!(full.contains(&format!("completion: {ANSWER}\n\n  {words}end\n")), "{full}");
    assert!(
        !place
            .run(&["ask", "--pool", "pool", "--text", "7 is odd", "--format", "table", "--full"])
            .stderr
            .contains("--full")
    );
    assert!(full.contains("side proponent  rank 1  score ") && !full.contains("-----"), "{full}");

    // A terminal with little room for texts has them below their rows, another in a table.
    let command = place.gstore(&ask(&[]));
    for (columns, is_table, text) in [(80, false, "word word"), (160, true, "word w…")] {
        let Some(mut terminal) = Terminal::run(&command, columns, 60) else { return };
        let shown = terminal.until(text);
        assert_eq!(shown.contains("-----"), is_table, "{columns}: {shown}");
        assert_eq!(shown.contains("  id long"), !is_table, "{columns}: {shown}");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn one_row_is_explained() {
    let place = place("grad-sgd", "grad-sgd");
    let json: Value =
        serde_json::from_str(&ok(&place, &["--explain", "s3", "--format", "json"])).expect("JSON");
    let number = |value: &Value| value.as_f64().expect("a number");
    let checkpoints = json["checkpoints"].as_array().expect("a list");
    assert_eq!(checkpoints.len(), 4);
    let sum: f64 = checkpoints.iter().map(|c| number(&c["part"])).sum();
    assert!((sum - number(&json["score"])).abs() < 1e-5, "{json}");
    // The noise of the pair is that of the row in a ranking.
    let sql = format!(
        "SELECT stderr, noise_floor FROM influence('pool', prompt => '{PROMPT}', completion => '{ANSWER}', explain => true) WHERE id = 's3'"
    );
    let noise = place.rows(&sql).swap_remove(0);
    for key in ["stderr", "noise_floor"] {
        assert!(
            number(&json[key]) > 0.0 && (number(&json[key]) - number(&noise[key])).abs() < 1e-6,
            "{key}: {json}"
        );
    }
    let sql = format!(
        "SELECT target_id FROM influence('pool', prompt => '{PROMPT}', completion => '{ANSWER}', explain => true, k => 1)"
    );
    assert_eq!(place.value(&sql), "1", "given samples are numbered from 1");
    let shares: f64 = checkpoints.iter().map(|c| number(&c["share"])).sum();
    assert!((shares - 100.0).abs() < 1e-6);
    let sql = format!(
        "SELECT id FROM influence('pool', prompt => '{PROMPT}', completion => '{ANSWER}', k => {})",
        json["rank"]
    );
    let ranked = place.csv(&sql);
    assert_eq!(ranked.lines().last(), Some("s3"), "the rank is the place in the ranking");
    assert_eq!(
        (json["in_target"].as_bool(), json["given"][0]["scored_tokens"].as_u64() > Some(0)),
        (Some(false), true)
    );

    let text = ok(&place, &["--explain", "twin"]);
    assert!(text.contains("rank        1 of") && text.contains("in target   yes"), "{text}");
    assert!(text.contains("\nerror       0.") && text.contains("\nnoise       0."), "{text}");
    let missing = fails(&place, &ask(&["--explain", "twni"]), 1);
    assert!(missing.contains("did you mean `twin`?"), "{missing}");
}

#[test]
fn models_that_moved_are_found_where_the_user_says_and_others_are_refused() {
    let place = Place::of(&[("pool", 12)]);
    world::copy_files(&world::demo().join("model"), &place.path("model"));
    world::copy_files(&world::demo().join("warmup"), &place.path("warmup"));
    place.typed(
        "ingest --dataset pool --data pool.jsonl --model model --checkpoints warmup/checkpoint-* \
         --features grad-sgd --dim 256",
    );
    let before = ok(&place, &["--format", "json"]);

    fs_err::rename(place.path("warmup"), place.path("moved")).expect("moved");
    let args = ask(&["--format", "json"]);
    let gone = fails(&place, &args, 1);
    assert!(gone.contains("warmup/checkpoint-") && gone.contains("--checkpoint-folders"), "{gone}");
    let folders = ["--checkpoint-folders", "moved/checkpoint-*"];
    assert_eq!(ok(&place, &[&["--format", "json"], &folders[..]].concat()), before);
    let sql = format!(
        "SELECT id FROM influence('pool', prompt => '{PROMPT}', completion => '{ANSWER}') ORDER BY score DESC LIMIT 1"
    );
    place.ok(&[&["query", &sql], &folders[..]].concat());

    fs_err::rename(place.path("model"), place.path("base")).expect("moved");
    let gone = fails(&place, &[&args[..], &folders[..]].concat(), 1);
    assert!(gone.contains("--model"), "{gone}");
    assert_eq!(ok(&place, &[&["--format", "json", "--model", "base"], &folders[..]].concat()), before);

    // Weights that are not those of the checkpoint.
    fs_err::rename(place.path("base"), place.path("model")).expect("moved");
    let mut folders: Vec<_> = fs_err::read_dir(place.path("moved"))
        .expect("readable")
        .map(|e| e.expect("readable").path())
        .collect();
    folders.sort();
    let weights = "adapter_model.safetensors";
    fs_err::create_dir_all(place.path("warmup")).expect("created");
    for folder in &folders {
        world::copy_files(folder, &place.path("warmup").join(folder.file_name().expect("a name")));
    }
    let first = place.path("warmup").join(folders[0].file_name().expect("a name")).join(weights);
    fs_err::copy(folders[1].join(weights), first).expect("copied");
    let other = fails(&place, &args, 1);
    assert!(other.contains("are not those of checkpoint"), "{other}");
    // The one that moved is named, the others are where they were.
    let one = folders[0].display().to_string();
    assert_eq!(ok(&place, &["--format", "json", "--checkpoint-folders", &one]), before);
    let wrong = folders[1].display().to_string();
    let none = fails(&place, &[&args[..], &["--checkpoint-folders", &wrong]].concat(), 1);
    assert!(none.contains("none of the 1 checkpoints") && none.contains("no longer in"), "{none}");
    let nowhere = fails(&place, &[&args[..], &["--checkpoint-folders", "nowhere/*"]].concat(), 1);
    assert!(nowhere.contains("--checkpoint-folders nowhere/*"), "{nowhere}");
}

#[test]
fn samples_that_would_be_another_are_refused() {
    let place = place("grad-sgd", "grad-sgd");
    let run = |args: &[&str], code| fails(&place, &[&["ask", "--pool", "pool"], args].concat(), code);
    let long = "word ".repeat(3000);
    let error = run(&["--prompt", &long, "--completion", "x"], 1);
    assert!(error.contains("longer than the 2048 tokens"), "{error}");
    let error = run(&["--messages", r#"[{"role":"user","content":"only a question"}]"#], 1);
    assert!(error.contains("no scored token"), "{error}");
    let error = run(&["--messages", r#"[{"role":"nobody","content":"x"}]"#], 1);
    assert!(error.contains("unknown role") || error.contains("known roles"), "{error}");
    let error = run(&["--prompt", "x"], 2);
    assert!(error.contains("a prompt alone has no loss"), "{error}");
    run(&[], 2);
    let error = run(&["--text", "7"], 1);
    assert!(error.contains("two tokens at least"), "{error}");
    for (words, says) in [
        (&["--target", "q", "--prompt", "x", "--completion", "y"][..], "influence('pool', 'q')"),
        (&["What is 7*8?"], "--prompt"),
        (&["--prompt", "x", "--completion", "y", "What"], "unexpected argument \"What\""),
        (&["--messages", "hello there"], "\"hello there\" is not JSON"),
        (&["--messages", "[{\"role\": \"user\", }]"], "column"),
        (&["--messages", "{\"role\": \"user\", \"content\": \"x\"}"], "not a list"),
        (&["--prompt", "x", "--completion", "y", "--miss", "0.1"], "`miss` is an option"),
    ] {
        let error = run(words, 2);
        assert!(error.contains(says) && !error.contains("expected value"), "{words:?}: {error}");
    }
    let error =
        run(&["--prompt", PROMPT, "--completion", ANSWER, "--exclude-target", "--explain", "twin"], 1);
    assert!(error.contains("--exclude-target leaves"), "{error}");
    let error = fails(&place, &["query", "SELECT * FROM influence('pool', prompt => 'x')"], 1);
    assert!(error.contains("`prompt` needs `completion`"), "{error}");
    let both = "SELECT * FROM influence('pool', target => 'q', prompt => 'x', completion => 'y')";
    assert!(fails(&place, &["query", both], 1).contains("not both"));

    let mut other =
        place.gstore(&["ask", "--pool", "pool", "--text", "7 is odd", "--top", "2", "--opponents"]);
    assert_eq!(binary::run(&mut other).code, 0);
    let chat = ["ask", "--pool", "pool", "--top", "1", "--chat"];
    place.ok(&[&chat[..], &["--prompt", "Is 3 odd?", "--completion", "3 is odd"]].concat());
}

/// A prompt that stands without roles in a pool of conversations ranks other rows, and looks
/// like the same question.
#[test]
fn a_pair_is_asked_of_conversations_as_one() {
    let place = Place::of(&[("talks", 80)]);
    let texts: String = (0..12)
        .map(|i| format!("{{\"id\":\"t{i}\",\"prompt\":\"Is {i} odd?\",\"completion\":\"{i} may be\"}}\n"))
        .collect();
    place.write("texts.jsonl", texts);
    for pool in ["talks", "texts"] {
        place.ingested(pool, Some(&place.path(&format!("{pool}.jsonl"))), "grad-sgd,embed-mean");
    }
    let talk =
        format!(r#"[{{"role":"user","content":"{PROMPT}"}},{{"role":"assistant","content":"{ANSWER}"}}]"#);
    let query = |from: &str, what: &str| {
        let finished = place.done(&[
            "query",
            "--format",
            "csv",
            &format!("SELECT row, score FROM influence({from}, {what}) ORDER BY score DESC, row"),
        ]);
        (finished.stdout, finished.stderr)
    };
    let ask = |pool: &str, flags: &[&str]| {
        let finished =
            place.done(&[&["ask", "--pool", pool, "--format", "json", "--top", "9"], flags].concat());
        (finished.stdout, finished.stderr)
    };
    let pair = format!("prompt => '{PROMPT}', completion => '{ANSWER}'");
    let flags = ["--prompt", PROMPT, "--completion", ANSWER];
    let with = |flag: &'static str| [&flags[..], &[flag]].concat();
    let as_one = "the pool's samples are conversations, so the prompt with its completion is asked as one";
    let as_text = "the pool's samples are conversations, and the prompt with its completion is asked as text";

    let (talks, note) = query("'talks'", &pair);
    assert!(note.contains(as_one) && note.contains("`raw => true` asks"), "{note}");
    assert_eq!(talks, query("'talks'", &format!("messages => '{talk}'")).0);
    let (raw, note) = query("'talks'", &format!("{pair}, raw => true"));
    assert!(note.contains(as_text) && raw != talks, "{note}");
    let (asked, note) = ask("talks", &flags);
    assert!(note.contains(as_one) && note.contains("`--raw` asks"), "{note}");
    assert_eq!(asked, ask("talks", &["--messages", &talk]).0);
    assert_eq!(asked, ask("talks", &with("--chat")).0);
    let (raw, note) = ask("talks", &with("--raw"));
    assert!(note.contains(as_text) && raw != asked, "{note}");

    // Of other pools it is the text that it says.
    let (texts, note) = query("'texts'", &pair);
    assert!(!note.contains("conversation"), "{note}");
    assert_eq!(texts, query("'texts'", &format!("{pair}, raw => true")).0);
    assert_ne!(texts, query("'texts'", &format!("messages => '{talk}'")).0);
    let (mixed, note) = query("['texts', 'talks']", &pair);
    let other = "those of the pool `texts` (12 of 12 samples looked at) are prompts with completions";
    assert!(note.contains("of the pool `talks` are conversations") && note.contains(other), "{note}");
    assert_eq!(mixed, query("['texts', 'talks']", &format!("{pair}, raw => true")).0);

    // A stored target is ranked for as it is, and a note says so.
    let forms = "those of the target `texts` (12 of 12 samples looked at) are prompts with completions";
    let note = query("'talks'", "'texts'").1;
    assert!(
        note.contains(forms)
            && note.contains("ingest --dataset texts --features grad-sgd,embed-mean --dim 256 ")
            && note.contains(" --template tulu_chat --max-length 2048`"),
        "{note}"
    );
    let note = query("['texts', 'talks']", "'texts'").1;
    let both = "those of the target `texts` (12 of 12 samples looked at) and the pool `texts` (12 of 12";
    assert!(note.contains("of the pool `talks` are conversations") && note.contains(both), "{note}");
    for same in ["'texts'", "'talks'"] {
        let (_, note) = query(same, same);
        assert!(!note.contains("two forms"), "{same}: {note}");
    }
    let note = query("'texts'", "'talks'").1;
    assert!(note.contains("of the target `talks` are conversations") && note.contains(other), "{note}");

    let near = |what: &str| {
        place.csv(&format!("SELECT row, similarity FROM nearest('talks', {what}, checkpoint => 'checkpoint-52') ORDER BY similarity DESC, row LIMIT 5"))
    };
    assert_eq!(near(&pair), near(&format!("messages => '{talk}'")));
    assert_ne!(near(&pair), near(&format!("{pair}, raw => true")));
    let error = fails(
        &place,
        &["query", &format!("SELECT * FROM influence('talks', text => '{ANSWER}', raw => true)")],
        1,
    );
    assert!(error.contains("`raw` says how a `prompt`"), "{error}");
    let error = fails(&place, &[&["ask", "--pool", "talks", "--raw"], &with("--chat")[..]].concat(), 2);
    assert!(error.contains("--chat") && error.contains("--raw"), "{error}");
}

#[test]
fn every_form_of_a_vector_is_made_again() {
    let adapters = world::demo().join("warmup/checkpoint-52").display().to_string();
    let lora = ["--checkpoints", adapters.as_str()];
    let cases: [(&str, &str, Vec<&str>); 9] = [
        (
            "grad-sgd",
            "",
            "--modules *.mlp.* --reduction sum --label-smoothing 0.1 --template plain --dtype f32"
                .split(' ')
                .collect(),
        ),
        ("grad-sgd", "", vec!["--biases", "--projection", "two_sided", "--module-dim", "64", "--seed", "7"]),
        ("grad-sgd", "", [&lora[..], &["--template", "qwen2_5", "--system", "Be brief."]].concat()),
        (
            "grad-sgd",
            "",
            vec!["--modules", "model.layers.0.self_attn.*", "--projection", "none", "--max-length", "99"],
        ),
        ("grad-sgd", "", [&lora[..], &["--loss", "kl", "--dim", "512", "--compute", "bf16"]].concat()),
        (
            "embed-last",
            ", kind => 'embed-last'",
            vec!["--embed-layer", "1", "--embed-unit", "--template", "chat"],
        ),
        ("grad-adam", ", target_kind => 'grad-adam'", [&lora[..], &["--dim", "512"]].concat()),
        (
            "grad-sign",
            ", kind => 'grad-sign', target_kind => 'grad-sign'",
            [&lora[..], &["--projection", "mask"]].concat(),
        ),
        (
            "grad-normalised",
            ", kind => 'grad-normalised', target_kind => 'grad-normalised'",
            [&lora[..], &["--projection", "rademacher", "--dim", "256"]].concat(),
        ),
    ];
    for (kind, options, flags) in cases {
        let place = Place::of(&[("pool", 12)]);
        let sample = format!("{{\"id\":\"q\",\"prompt\":\"{PROMPT}\",\"completion\":\"{ANSWER}\"}}\n");
        place.write("q.jsonl", sample);
        for dataset in ["pool", "q"] {
            let line = format!("ingest --dataset {dataset} --data {dataset}.jsonl --features {kind}");
            binary::ok(place.with_model(&line).args(&flags));
        }
        let sql = |target: &str| {
            let sql =
                format!("SELECT row, score FROM influence('pool', {target}{options}) ORDER BY score DESC");
            place.ok(&["query", "--format", "json", &sql])
        };
        let given = sql(&format!("prompt => '{PROMPT}', completion => '{ANSWER}', raw => true"));
        assert!(given.lines().count() > 5);
        assert_eq!(sql("'q'"), given, "{kind} {flags:?}");
    }
}

#[test]
fn each_feature_is_asked_with_its_own_tokenizer() {
    let place = place("embed-mean", "embed-mean");
    // The run is there already.
    world::other_tokenizer(&place.path("tokenizer"));
    let line = "ingest --dataset other --data pool.jsonl --features embed-mean --tokenizer tokenizer";
    binary::ok(place.with_model(line).arg("--checkpoints").arg(world::demo().join("warmup/checkpoint-*")));
    for pool in ["pool", "other"] {
        let ask = ["ask", "--pool", pool, "--prompt", PROMPT, "--completion", ANSWER];
        let asked = place.ok(&[&ask[..], &["--kind", "embed-mean", "--format", "json"]].concat());
        assert!(!lines(&asked).is_empty(), "{pool}");
    }
}
