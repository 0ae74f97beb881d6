//! Promise: docs/json.md lists exactly the keys that commands print with `--json`, each with its type.

use std::collections::BTreeMap;
use std::path::Path;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::Value;

/// The tables of the page: of each heading, key and type.
fn page() -> BTreeMap<String, Vec<(Vec<String>, String)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md");
    let text = fs_err::read_to_string(path).expect("the page");
    let mut tables: BTreeMap<String, Vec<(Vec<String>, String)>> = BTreeMap::new();
    let mut heading = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            heading = name;
        }
        let mut cells = line.split('|').map(str::trim).skip(1);
        if let (Some(key), Some(ty)) = (cells.next(), cells.next())
            && let Some(key) = key.strip_prefix('`').and_then(|k| k.strip_suffix('`'))
        {
            tables.entry(heading.to_owned()).or_default().push((steps(key), ty.to_owned()));
        }
    }
    tables
}

/// `shards[].folder` as `shards`, `[]`, `folder`.
fn steps(key: &str) -> Vec<String> {
    let key = key.replace("[]", ".[]");
    key.split('.').map(str::to_owned).collect()
}

fn fits(documented: &[String], path: &[String]) -> bool {
    documented.len() == path.len() && documented.iter().zip(path).all(|(d, p)| d == p || d == "*")
}

fn is_of(value: &Value, ty: &str) -> bool {
    let (ty, may_be_null) = ty.strip_suffix('?').map_or((ty, false), |ty| (ty, true));
    match ty {
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        _ => false,
    }
    .max(may_be_null && value.is_null())
}

/// What of a value the table does not say.
fn strangers(value: &Value, path: &mut Vec<String>, table: &[(Vec<String>, String)], out: &mut Vec<String>) {
    let entry = table.iter().find(|(documented, _)| fits(documented, path));
    if entry.is_some_and(|(_, ty)| ty == "*open*") {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                path.push(key.clone());
                strangers(value, path, table, out);
                path.pop();
            }
        }
        Value::Array(items) => {
            path.push("[]".to_owned());
            items.iter().for_each(|item| strangers(item, path, table, out));
            path.pop();
        }
        value => match entry {
            Some((_, ty)) if is_of(value, ty) => {}
            Some((_, ty)) => out.push(format!("{} is {value}, not {ty}", path.join("."))),
            None => out.push(format!("{} is not on the page", path.join("."))),
        },
    }
}

/// Compares what a command printed with its table.
pub fn check(heading: &str, value: &Value) {
    let page = page();
    let table = page.get(heading).unwrap_or_else(|| panic!("the page has no table for {heading:?}"));
    let mut wrong = Vec::new();
    strangers(value, &mut Vec::new(), table, &mut wrong);
    let missing = table.iter().filter_map(|(key, _)| key.first()).filter(|key| value.get(key).is_none());
    wrong.extend(missing.map(|key| format!("{key} was not printed")));
    assert!(wrong.is_empty(), "{heading}: {wrong:#?}\n{value:#}");
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let place = Place::of(&[("pool", 40)]);
    let data = place.path("pool.jsonl");
    place.ingested("pool", Some(&data), "grad-sgd");
    let run = place.value("SELECT run FROM gstore.checkpoints LIMIT 1");
    for (heading, args) in [
        ("info", vec!["info", "--json"]),
        ("info DATASET", vec!["info", "pool", "--json"]),
        ("info FEATURE", vec!["info", "1", "--json"]),
        ("info RUN", vec!["info", &run, "--json"]),
        ("add", vec!["add", "--dataset", "pool", "--data", "pool.jsonl", "--json"]),
        ("add --dry-run", vec!["add", "--dataset", "pool", "--data", "pool.jsonl", "--dry-run", "--json"]),
        ("index", vec!["index", "--sketch", "--dataset", "pool", "--json"]),
        (
            "matrix --dry-run",
            vec!["matrix", "--pool", "pool", "--target", "pool", "-o", "m", "--dry-run", "--json"],
        ),
        ("matrix", vec!["matrix", "--pool", "pool", "--target", "pool", "-o", "m", "--json"]),
        (
            "select",
            "select --pool pool --target pool --top 5 -o best.jsonl --quota a=1 --json".split(' ').collect(),
        ),
        ("plot", vec!["plot", "scores", "--pool", "pool", "--target", "pool", "-o", "scores.svg", "--json"]),
        ("verify", vec!["verify", "--all", "--json"]),
        (
            "ask --explain",
            vec!["ask", "--pool", "pool", "--text", "3 is odd", "--explain", "s2", "--format", "json"],
        ),
        ("view create", vec!["view", "create", "few", "SELECT id FROM pool", "--json"]),
        ("view create", vec!["view", "create", "fewer", "SELECT id FROM few", "--json"]),
        ("view drop", vec!["view", "drop", "few", "--json"]),
        ("tag", vec!["tag", "late", "--json"]),
        ("tag --delete", vec!["tag", "late", "--delete", "--json"]),
        ("token create", vec!["token", "create", "page", "--scope", "read", "--json"]),
        ("token revoke", vec!["token", "revoke", "page", "--json"]),
    ] {
        check(heading, &place.json(&args));
    }

    let mut merge = place.with_model("merge --json -o merged");
    merge.arg(world::demo().join("warmup/checkpoint-26"));
    check("merge", &binary::json(&mut merge));
    // What is printed is one object.
    let select = ["select", "--pool", "pool", "--target", "pool", "--top", "5", "-o"];
    for more in [&["-", "--json"][..], &["more.jsonl", "--json", "--plot"]] {
        place.run(&[&select[..], more].concat()).says(2, &["--json prints its report"]);
    }

    check("factors gram", &place.json(&["factors", "gram", "g", "--dataset", "pool", "--json"]));
    let module = "model.layers.1.self_attn.k_proj";
    let fit = ["factors", "fit", "f", "--dataset", "pool", "--limit", "2", "--strategy", "diagonal"];
    for (heading, dry) in [("factors fit --dry-run", true), ("factors fit", false)] {
        let mut fit = place.gstore(&fit);
        fit.args(["--modules", module, "--json", "--model"]).arg(world::demo().join("model"));
        fit.args(dry.then_some("--dry-run"));
        check(heading, &binary::json(&mut fit));
    }
    let score = ["score", "--factors", "f", "--pool", "pool", "--target", "pool", "--queries", "2"];
    let more = ["--limit", "2", "--rank", "4", "--damping", "auto,1", "-o", "scores.csv", "--json"];
    let scored = place.json(&[&score[..], &more].concat());
    check("score", &scored);
    let solver = ["--limit", "2", "--solver", "cg", "--iterations", "1", "-o", "solved.csv", "--json"];
    let solved = place.json(&[&score[..], &solver].concat());
    check("score", &solved);
    assert_eq!(solved["solved"].as_array().map(Vec::len), Some(2), "{solved}");
    let share = |key: &str| scored[key].as_f64().expect("a share");
    assert!(0.0 < share("kept_min") && share("kept_min") <= share("kept_median"), "{scored}");

    let mut train = place.with_model("train --dataset pool --lora-rank 2 --max-steps 2 --max-length 64");
    train.args(["--output", "tuned", "--json"]);
    check("train", &binary::json(&mut train));
    train.args(["--dry-run", "--overwrite-output-dir", "--run", "other"]);
    check("train --dry-run", &binary::json(&mut train));
    let copies = ["--dataset", "pool", "--max-length", "64", "--output"];
    for (heading, more) in [
        ("daunce prepare", &["prepare", "start.states"][..]),
        ("daunce train", &["train", "copies", "--models", "2", "--steps", "1", "--lora-rank", "2"]),
        (
            "daunce train --dry-run",
            &["train", "copies", "--models", "2", "--steps", "1", "--lora-rank", "2", "--dry-run"],
        ),
    ] {
        let mut daunce = place.with_model(&format!("daunce {} --json", more[0]));
        daunce.args(copies).args(&more[1..]);
        check(heading, &binary::json(&mut daunce));
    }
    check("daunce attach", &place.json(&["daunce", "attach", "--ensemble", "copies", "copies", "--json"]));
    // The run needs no paths.
    let ingest = ["ingest", "--dataset", "pool", "--run", "tuned", "--features", "loss", "--json"];
    let dry = place.json(&[&ingest[..], &["--dry-run"]].concat());
    check("ingest --dry-run", &dry);
    let missing = &dry["checkpoints"][0]["features"][0]["missing"];
    assert_eq!((missing, &dry["rows"]), (&40.into(), &40.into()), "{dry}");
    for missing in [40, 0] {
        let done = place.json(&ingest);
        check("ingest", &done);
        assert_eq!(done["features"][0]["missing"], missing, "{done}");
    }

    for (heading, args) in [
        ("generate", &["--prompt", "Is 7 odd?", "--max-new-tokens", "3", "--as", "answers", "--json"][..]),
        ("generate --perplexity", &["--perplexity", "--text", "Is 7 odd?", "-o", "loss.csv", "--json"]),
    ] {
        let told = binary::ok(place.with_model("generate").args(args));
        check(heading, &serde_json::from_str(&told).expect("JSON"));
    }

    let pipeline = "[[stage]]\nname = 'add'\ncommand = 'add'\ndataset = 'pool'\ndata = 'pool.jsonl'\n";
    place.write("p.toml", pipeline);
    check("run --dry-run", &place.json(&["run", "p.toml", "--dry-run", "--json"]));
    check("run", &place.json(&["run", "p.toml", "--json"]));

    let mut shard = place.with_model("ingest --dataset pool --features loss --shard 1/1 --out shard");
    binary::ok(shard.arg("--checkpoints").arg(world::demo().join("warmup/checkpoint-*")));
    check("attach", &place.json(&["attach", "shard", "--json"]));

    let adapter = world::demo().join("warmup/checkpoint-26");
    let losses = |more: &[&str]| -> Value {
        let mut losses = place.with_model("daunce losses --ensemble own --dataset pool --json");
        losses.arg("--adapters").arg(&adapter).args(more);
        binary::json(&mut losses)
    };
    let forecast = losses(&["--dry-run"]);
    check("daunce losses --dry-run", &forecast);
    // Those of theta_0 and of the adapter; nothing was registered.
    assert_eq!((&forecast["to_compute"], &forecast["passes"]), (&1.into(), &80.into()));
    assert!(place.run(&["info", "own"]).code != 0);
    check("daunce losses", &losses(&[]));
    place.write("losses.csv", "id,a,b\ns0,1.5,1.25\ns1,2,2.5\n");
    let import = ["import", "--from", "daunce", "--ensemble", "given", "--base", "b", "--dataset", "pool"];
    check("import", &place.json(&[&import[..], &["--losses", "losses.csv", "--json"][..]].concat()));
    check("daunce diagnose", &place.json(&["daunce", "diagnose", "--ensemble", "given", "--json"]));
    let agreement = ["daunce", "agreement", "--pool", "pool", "--target", "pool", "--ensemble", "given"];
    check("daunce agreement", &place.json(&[&agreement[..], &["--min-models", "2", "--json"][..]].concat()));
    check("info ENSEMBLE", &place.json(&["info", "own", "--json"]));

    place.ok(&["tag", "early", "--snapshot", "1"]);
    let delete = ["delete", "--dataset", "pool", "--id", "s1", "--id", "nobody", "--json", "--dry-run"];
    check("delete --dry-run", &place.json(&delete));
    check("delete", &place.json(&delete[..delete.len() - 1]));
    check("revert", &place.json(&["revert", "--to", "early", "--dry-run", "--json"]));
    for more in [&["--dry-run"][..], &[]] {
        let compact = ["compact", "--max-deleted", "0", "--json"];
        check("compact", &place.json(&[&compact[..], more].concat()));
    }
    check("gc", &place.json(&["gc", "--keep", "1", "--keep-within", "0d", "--json"]));
    check("backup", &place.json(&["backup", "--to", "copy", "--json"]));
    let mut restore = binary::gstore(&place.path("again"));
    restore.args(["restore", "--json", "--from"]).arg(place.path("copy"));
    check("backup", &binary::json(&mut restore));

    // A lost file of vectors: the reports of verify and of a repair.
    let segments = place.value("SELECT file FROM gstore.segments ORDER BY feature DESC LIMIT 1");
    fs_err::remove_file(place.path("store").join(segments)).expect("it is there");
    let damaged = place.run(&["verify", "--json"]);
    damaged.says(3, &[]);
    check("verify", &damaged.json());
    check("verify --repair", &place.json(&["verify", "--repair", "--json"]));
    check("drop", &place.json(&["drop", "feature", "1", "--json"]));
    check("drop", &place.json(&["drop", "artifact", "g", "--json"]));
}
