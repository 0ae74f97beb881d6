//! Promise: pictures show what the store and the logs hold, with the same bytes each time, in self-contained
//! files and in text that fits.

use std::path::Path;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};

fn warmup() -> String {
    world::demo().join("warmup").display().to_string()
}

/// A pool of 60 samples and a target of 9, with projected gradients of the demo's model.
fn filled() -> Place {
    let place = Place::new();
    for (dataset, rows) in [("pool", 60), ("target", 9)] {
        let data = place.path(&format!("{dataset}.jsonl"));
        world::write_samples(&data, rows);
        place.ingested(dataset, Some(&data), "grad-sgd");
    }
    place
}

/// Refuses lines of more than 80 characters.
fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn the_curves_of_the_documentation_are_those_of_the_command() {
    let place = Place::new();
    place.ok(&["plot", "train", &warmup(), "-o", "curves.svg"]);
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plots/training.svg");
    let drawn = place.read("curves.svg");
    assert!(
        drawn == fs_err::read_to_string(shown).expect("documented"),
        "docs/plots/training.svg is now\n{drawn}"
    );
}

#[test]
fn trainings_are_drawn_in_every_form() {
    let place = Place::new();
    let text = place.ok(&["plot", "train", &warmup()]);
    fits(&text);
    for part in ["Training warmup", "learning rate", "gradient norm", "104 of 104 steps", "step"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let narrow = place.ok(&["plot", "train", &warmup(), "--width", "40"]);
    assert_eq!(narrow.lines().map(|line| line.chars().count()).max(), Some(40), "{narrow}");

    // Two checkpoints of one training have curves of their own.
    let checkpoints = [26, 104].map(|step| format!("{}/checkpoint-{step}", warmup()));
    place.ok(&["plot", "train", &checkpoints[0], &checkpoints[1], "-o", "two.html"]);
    let page = place.read("two.html");
    assert!(page.contains("checkpoint-26") && page.contains("checkpoint-104"), "{page}");
    assert!(page.starts_with("<!DOCTYPE html>") && !page.contains("<script"), "{page}");

    place.ok(&["plot", "train", &warmup(), "-o", "curves.png"]);
    let png = fs_err::read(place.path("curves.png")).expect("drawn");
    assert_eq!((&png[..8], &png[12..16]), (&b"\x89PNG\r\n\x1a\n"[..], &b"IHDR"[..]));
    assert_eq!(u32::from_be_bytes(png[16..20].try_into().expect("four")), 1440);

    place.ok(&["plot", "train", &warmup(), "-o", "curves.txt"]);
    assert_eq!(place.read("curves.txt"), text);
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let place = Place::new();
    let refused = |args: &[&str], code: i32, words: &str| {
        let finished = place.run(args);
        assert!(finished.code == code && finished.stderr.contains(words), "{args:?}: {finished:?}");
    };
    place.write("there.svg", "mine");
    refused(&["plot", "train", &warmup(), "-o", "there.svg"], 2, "--force");
    assert_eq!(place.read("there.svg"), "mine");
    place.ok(&["plot", "train", &warmup(), "-o", "there.svg", "--force"]);
    refused(&["plot", "train", &warmup(), "-o", "curves.pdf"], 2, ".svg");
    refused(&["plot", "train", &warmup(), "--width", "100000000000"], 2, "1000");
    refused(&["plot", "train", "missing"], 1, "no log of a training: there is no such folder");
    refused(&["plot", "train", "there.svg"], 1, "it is a file; give the output folder");
    fs_err::create_dir_all(place.path("empty")).expect("made");
    refused(&["plot", "train", "empty"], 1, "no log of a training");
    fs_err::create_dir_all(place.path("broken")).expect("made");
    place.write("broken/trainer_state.json", "{");
    refused(&["plot", "train", "broken"], 1, "trainer_state.json");
    refused(&["plot", "scores", "--pool", "pool", "--target", "target"], 1, "store");
}

#[test]
fn scores_sources_and_overlap_are_drawn() {
    let place = filled();
    let of = ["--pool", "pool", "--target", "target"];
    let drawn = |what: &str, more: &[&str]| place.ok(&[&["plot", what][..], &of[..], more].concat());

    let scores = drawn("scores", &["--top", "10%"]);
    fits(&scores);
    let scored = place.value("SELECT count(*) FROM influence('pool', 'target')");
    assert!(scores.contains(&format!("scores of {scored} rows")), "{scores}");
    assert!(scores.contains("noise floor") && scores.contains("best 10%"), "{scores}");
    drawn("scores", &["-o", "scores.svg"]);
    let bytes = fs_err::read(place.path("scores.svg")).expect("drawn");
    drawn("scores", &["-o", "scores.svg", "--force", "--threads", "1"]);
    assert_eq!(fs_err::read(place.path("scores.svg")).expect("drawn"), bytes);

    let sources = drawn("sources", &["--top", "12"]);
    fits(&sources);
    assert!(sources.matches("33.3 %").count() >= 3, "{sources}");
    let best = "SELECT count(*) FROM (SELECT source FROM influence('pool', 'target') ORDER BY score DESC LIMIT 12) WHERE source = 'a'";
    let share: f64 = place.value(best).parse::<f64>().expect("a number") / 12.0 * 100.0;
    assert!(sources.contains(&format!("{share:.1} %")), "{share}: {sources}");
    // As in SQL, where only one column fits.
    assert_eq!(drawn("sources", &["--top", "12", "--column", "SOURCE"]), sources);
    let unknown = place.run(&[&["plot", "sources"][..], &of[..], &["--column", "sauce"]].concat());
    unknown.says(1, &["sauce", "--column NAME names one of source"]);
    let both = ["plot", "sources", "--pool", "pool", "target", "--target", "target", "--top", "5"];
    let pools = place.ok(&[&both[..], &["--column", "pool"]].concat());
    assert!(pools.contains("pool ") && pools.contains("target "), "{pools}");
    let one = place.run(&[&["plot", "sources"][..], &of[..], &["--column", "pool"]].concat());
    one.says(1, &["no metadata column `pool`"]);

    let select = |more: &[&str]| {
        let args = ["select", "--top", "5", "-o", "five.jsonl", "--force", "--quota-by"];
        place.run(&[&args[..], more, &of[..]].concat())
    };
    let drawn_by = select(&["source", "--plot=five.html"]);
    assert!(drawn_by.code == 0 && !drawn_by.stderr.contains("not drawn"), "{drawn_by:?}");
    let page = place.read("five.html");
    assert!(page.contains("share of rows by source"), "{page}");
    let both = ["select", "--pool", "pool", "target", "--target", "target", "--top", "5", "-o", "both.jsonl"];
    let by_pool = place.run(&[&both[..], &["--quota-by", "pool", "--plot=both.html"]].concat());
    assert!(by_pool.code == 0 && !by_pool.stderr.contains("not drawn"), "{by_pool:?}");
    assert!(place.read("both.html").contains("share of rows by pool"), "{by_pool:?}");
    let missing = select(&["sauce", "--plot=none.html"]);
    let note = "note: shares of `sauce` are not drawn, because dataset `pool` has no such metadata column";
    missing.says(0, &[note]);
    select(&["source"]).says(2, &["--quota-by requires --quota or --plot"]);

    let same = drawn("overlap", &["--with", "target", "--top", "20"]);
    fits(&same);
    assert!(same.contains("100.0 % of the best 20 rows are the same"), "{same}");
    let other = drawn("overlap", &["--with-option", "sim=dot", "--top", "20"]);
    assert!(other.contains("of the best 20 rows are the same") && other.contains("sim=dot"), "{other}");
    for (more, words) in [
        (&[][..], "--with"),
        (&["--with-option", "simm=dot"][..], "simm"),
        (&["--with-option", "partial=yes"][..], "true or false"),
        (&["--with-option", "k=3"], "it does not change how rows are scored"),
        (&["--with-option", "target=gsm8k"], "are given with `--with`"),
    ] {
        place.run(&[&["plot", "overlap"][..], &of[..], more].concat()).says(2, &[words]);
    }
}

#[test]
fn a_selection_is_written_also_where_it_cannot_be_drawn() {
    let place = filled();
    let none = ["select", "--pool", "target", "--target", "target", "--exclude-target", "--top", "5"];
    let plot = ["--plot=none.html", "-o", "none.jsonl"];
    let found = place.run(&[&none[..], &plot[..]].concat());
    found.says(0, &["note: no picture is drawn, because no row has a score"]);
    assert!(place.read("none.jsonl").is_empty() && !place.path("none.html").exists());
    // More sources than there are bars for, of rows that have no vectors.
    let line = |i: usize| {
        let id = format!("more{i}");
        serde_json::json!({ "id": id, "source": id, "text": "No." }).to_string() + "\n"
    };
    place.write("more.jsonl", (0..10_001).map(line).collect::<String>());
    place.ok(&["add", "--dataset", "pool", "--data", "more.jsonl"]);
    let of = ["--pool", "pool", "--target", "target", "--missing", "exclude", "--partial", "--top", "5"];
    let found = place.run(&[&["select", "-o", "five.jsonl", "--plot=five.html"][..], &of[..]].concat());
    let why = "column source of `pool` has more than 10,000 different values, which are too many for bars";
    found.says(0, &[&format!("note: shares of `source` are not drawn, because {why}")]);
    assert_eq!(place.read("five.jsonl").lines().count(), 5);
    assert!(place.read("five.html").contains("Scores of pool"));
    let found = place.run(&[&["plot", "sources"][..], &of[..]].concat());
    found.says(1, &[why]);
}

#[test]
fn tokens_are_drawn_with_their_losses() {
    let place = Place::of(&[("pool", 12)]);
    let line = "ingest --dataset pool --data pool.jsonl --per-token --features loss --max-length 256";
    binary::ok(&mut place.with_model(line));
    let text = place.ok(&["plot", "tokens", "--dataset", "pool", "--id", "s3"]);
    fits(&text);
    assert!(text.contains("Tokens of s3 in pool") && text.contains("loss@base:token"), "{text}");
    let sql = "SELECT count(*) FROM vectors('pool', 'loss@base:token') WHERE row = 3";
    let bars = text.lines().filter(|line| line.contains('█') || line.contains('▏')).count();
    assert!(bars > 0 && bars <= place.value(sql).parse().expect("a number"), "{text}");
    place.ok(&["plot", "tokens", "--dataset", "pool", "--id", "s3", "-o", "tokens.svg"]);
    // A token's own loss, of which its share of the sample's mean is stored.
    let sql = "SELECT max(vector[1]) * count(*) FROM vectors('pool', 'loss@base:token') WHERE row = 3";
    let largest: f64 = place.value(sql).parse().expect("a number");
    let svg = place.read("tokens.svg");
    let shown = svg.split("The largest is ").nth(1).and_then(|rest| rest.split(' ').next()).expect("told");
    let shown: f64 = shown.parse().expect("a number");
    assert!((shown - largest).abs() <= 0.02 * largest, "{shown} of {largest}");
    // What is missing is told as the dataset's other features were computed.
    place.ok(&["add", "--dataset", "bare", "--data", "pool.jsonl"]);
    let bare = place.run(&["plot", "tokens", "--dataset", "bare", "--id", "s3"]);
    let ingest = "gstore ingest --run model --dataset bare --features loss --per-token";
    bare.says(1, &[&format!("`{ingest}{}` computes one", place.at_store())]);
    for (args, words) in [
        (&["--id", "nobody"][..], "nobody"),
        (&["--id", "s3", "--feature", "grad"][..], "loss@base:token"),
        (&["--id", "s3", "--sim", "dot"][..], "--target"),
    ] {
        place.run(&[&["plot", "tokens", "--dataset", "pool"][..], args].concat()).fails(&[words]);
    }
    // Of several checkpoints the newest, as in the column `loss`.
    let checkpoint = world::demo_adapter(0);
    let line = "ingest --dataset pool --per-token --run later --features loss --max-length 256";
    binary::ok(place.with_model(line).arg("--checkpoints").arg(checkpoint));
    let text = place.ok(&["plot", "tokens", "--dataset", "pool", "--id", "s3"]);
    assert!(text.contains("loss@checkpoint-") && !text.contains("loss@base"), "{text}");
    // With a run, what is proposed needs no model.
    let bare = place.run(&["plot", "tokens", "--dataset", "bare", "--id", "s3"]);
    let says = "ingest --run later --dataset bare --features loss --per-token";
    bare.says(1, &[&format!("`gstore {says}{}` computes one", place.at_store())]);
    place.typed(says);
    place.ok(&["plot", "tokens", "--dataset", "bare", "--id", "s3"]);
}

#[test]
fn a_training_leaves_its_curves() {
    let place = Place::of(&[("pool", 8)]);
    let train = |more: &[&str]| {
        let mut command =
            place.bare(&["train", "--data", "pool.jsonl", "--output", "out", "--lora-rank", "2"]);
        command.args(["--learning-rate", "1e-3", "--max-length", "256", "--num-train-epochs", "1"]);
        command.args(["--per-device-train-batch-size", "2", "--model"]).arg(world::demo().join("model"));
        command.args(more);
        command
    };
    binary::run(&mut train(&["--plot", "curves.pdf"])).says(2, &[".svg"]);
    assert!(!place.path("out").exists());
    binary::ok(&mut train(&["--plot", "curves.html"]));
    let (curves, page) = (place.read("out/loss.svg"), place.read("curves.html"));
    for part in ["Training out", "learning rate", "gradient norm", "4 of 4 steps"] {
        assert!(curves.contains(part) && page.contains(part), "{part}: {curves}");
    }
    place.ok(&["plot", "train", "out", "-o", "later.svg"]);
    assert_eq!(place.read("later.svg"), curves);
    // The same command finds all done, and its picture is drawn once more.
    fs_err::remove_file(place.path("curves.html")).expect("removed");
    binary::ok(&mut train(&["--plot", "curves.html"]));
    assert_eq!(place.read("curves.html"), page);
}
