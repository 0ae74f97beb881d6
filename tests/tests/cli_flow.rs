//! Promise: the commands of the README do what it says, on the real binary.

use std::collections::HashSet;
use std::process::Command;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::Value;

/// Lines with everything that a careless copy would lose: a carriage return, odd spaces, key order, no
/// line break at the end.
const POOL: &str = concat!(
    "{\"id\":\"a\",  \"messages\": [{\"role\":\"user\",\"content\":\"one?\"},{\"role\":\"assistant\",\"content\":\"1\"}], \"n\": 1}\r\n",
    "\n",
    "{\"messages\": [{\"role\":\"user\",\"content\":\"zw\u{f6}lf?\"},{\"role\":\"assistant\",\"content\":\"12\"}], \"id\":\"b\", \"n\": 2}\n",
    "{\"id\":\"c\",\"prompt\":\"two?\",\"completion\":\"2\",\"n\":3}\n",
    "{\"id\":\"d\",\"text\":\"\\u0033 is three\",\"n\":4}"
);

#[test]
fn selected_lines_are_the_original_bytes() {
    let world = Place::new();
    world.write("pool.jsonl", POOL);
    world.write("more.jsonl", POOL.replace("\"id\":\"", "\"id\":\"z"));
    world.write(
        "target.jsonl",
        "{\"id\":\"t\",\"prompt\":\"two?\",\"completion\":\"2\",\"subtask\":\"count\"}\n",
    );
    world.ingested("pool", Some(&world.path("pool.jsonl")), "grad-adam");
    world.ingested("more", Some(&world.path("more.jsonl")), "grad-adam");
    world.ingested("target", Some(&world.path("target.jsonl")), "grad-sgd");

    world.ok(&["select", "--pool", "pool", "--target", "target", "--top", "100%", "-o", "all.jsonl"]);
    let all = fs_err::read(world.path("all.jsonl")).expect("written");
    let mut lines: Vec<&[u8]> =
        all.strip_suffix(b"\n").expect("a last line break").split(|b| *b == b'\n').collect();
    let mut expected: Vec<&[u8]> =
        POOL.as_bytes().split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    assert!(lines[0].starts_with(b"{\"id\":\"c\""), "the row that equals the target comes first");
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);

    // k is the whole part of the share, and two pools rank together.
    world.typed("select --pool pool,more --target target:count --top 49% -o some.jsonl --scores some.json");
    assert_eq!(world.read("some.jsonl").lines().count(), 3);
    let scores: Vec<Value> =
        world.read("some.json").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        (&scores[0]["id"], &scores[0]["pool"]),
        (&"c".into(), &"pool".into()),
        "equal scores: the first pool goes first"
    );
    assert_eq!((&scores[1]["id"], &scores[1]["pool"]), (&"zc".into(), &"more".into()));
    assert_eq!(scores[0]["score"], scores[1]["score"]);
    assert_eq!(scores[0]["subtask"], "count");

    // The score file next to the output, and one of all rows.
    let csv = world.read("all.jsonl.scores.csv");
    assert!(csv.starts_with("id,row,score,subtask\nc,2,"), "{csv}");
    world.typed("select --pool pool --target target --top 1 -o one.jsonl --scores s.parquet --scores-of all");
    assert!(fs_err::read(world.path("s.parquet")).expect("written").starts_with(b"PAR1"));
    let printed =
        world.ok(&["select", "--pool", "pool", "--target", "target", "--top", "1", "--worst", "-o", "-"]);
    assert_eq!(printed.lines().count(), 1);
    assert!(!printed.contains("two?"));
}

#[test]
fn a_store_can_be_listed_queried_and_verified() {
    let world = Place::new();
    world::write_samples(&world.path("pool.jsonl"), 60);
    world::write_samples(&world.path("target.jsonl"), 6);
    world.ingested("pool", Some(&world.path("pool.jsonl")), "grad-adam,embed-mean,loss");
    world.ingested("target", Some(&world.path("target.jsonl")), "grad-sgd");

    let ls = world.ok(&["ls", "--format", "json"]);
    assert!(ls.contains("\"type\":\"run\"") && ls.contains("warmup"), "{ls}");
    assert!(world.ok(&["ls"]).contains("grad-adam@checkpoint-"));
    assert!(world.ok(&["info"]).contains("datasets"));
    let pool = world.ok(&["info", "pool"]);
    assert!(pool.contains("source text"), "{pool}");
    // A line for each feature, with the number that `drop feature` takes.
    let first = |line: &str| line.split_whitespace().next()?.parse::<u64>().ok();
    let mut told: Vec<u64> = pool.lines().filter_map(first).collect();
    let objects = ls.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let of_pool = objects.filter(|line| line["type"] == "feature" && line["dataset"] == "pool");
    let mut listed: Vec<u64> = of_pool.filter_map(|line| line["number"].as_u64()).collect();
    told.sort_unstable();
    listed.sort_unstable();
    assert!(listed.len() >= 3 && told == listed, "{listed:?}:\n{pool}");
    let info: Value = serde_json::from_str(&world.ok(&["info", "warmup", "--json"])).expect("JSON");
    assert!(info["checkpoints"][0]["weight"].as_f64().is_some_and(|w| w > 0.0));
    let snapshots = world.ok(&["snapshots", "--format", "csv"]);
    assert_eq!(
        snapshots.lines().count(),
        6,
        "creation, two registrations, two ingests, and the header:\n{snapshots}"
    );

    let top = "SELECT id, score FROM influence('pool', 'target') ORDER BY score DESC LIMIT 3";
    let csv = world.csv(top);
    assert_eq!(csv.lines().count(), 4, "{csv}");
    for format in ["table", "json", "parquet", "arrow"] {
        world.ok(&["query", "--format", format, "-o", "out", "--force", top]);
        assert!(fs_err::metadata(world.path("out")).expect("written").len() > 0, "{format}");
    }
    // An earlier snapshot has no features of the target yet.
    binary::run(&mut world.gstore(&["query", "--snapshot", "2", top])).says(1, &[]);

    let verified = world.ok(&["verify"]);
    assert!(verified.contains(" 0 problems"), "{verified}");
    let segment = world::files(&world.path("store/segments")).swap_remove(0);
    let mut bytes = fs_err::read(&segment).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&segment, bytes).expect("written");
    let report = binary::run(&mut world.gstore(&["verify", "--json"])).says(3, &[]).json();
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(1), "{report}");
}

#[test]
fn a_config_file_and_a_dry_run() {
    let world = Place::new();
    world::write_samples(&world.path("pool.jsonl"), 30);
    let demo = world::demo();
    let config = format!(
        "store = {:?}\n[ingest]\nmodel = {:?}\ncheckpoints = [{:?}]\nfeatures = [\"grad-sgd\", \"loss\"]\ndim = 128\nadam-epsilon-outside = true\n[add]\ndata = {:?}\n",
        world.path("store"),
        demo.join("model"),
        demo.join("warmup/checkpoint-*"),
        world.path("pool.jsonl"),
    );
    world.write("g.toml", &config);
    let bare = |args: &[&str]| binary::ok(world.bare(args).args(["--dataset", "pool", "--config", "g.toml"]));
    bare(&["add"]);
    let before = fs_err::read(world.path("store/CURRENT")).expect("a store");
    let estimate = bare(&["ingest", "--dry-run"]);
    for word in ["rows         30", "disk", "memory", "tokens", "grad-sgd f16 x 128"] {
        assert!(estimate.contains(word), "no {word:?} in {estimate}");
    }
    assert_eq!(fs_err::read(world.path("store/CURRENT")).expect("a store"), before);
    bare(&["ingest"]);
    assert!(world.ok(&["ls"]).contains("loss@checkpoint-"));
    // The dimension is for those ingests that project, the place of epsilon for those of grad-adam.
    bare(&["ingest", "--features", "loss"]);
    // Nor does a loss mind a projection that lacks its factors, or values that exclude each other.
    for projection in ["\"ekfac\"", "\"none\"\nseed = 1"] {
        let more = format!("[ingest]\nprojection = {projection}\nmodule-dim = 64\n");
        world.write("g.toml", config.replace("[ingest]\n", &more));
        bare(&["ingest", "--features", "loss"]);
    }
}

#[test]
fn a_dry_run_knows_what_is_there() {
    let world = Place::new();
    let all = world.path("all.jsonl");
    world::write_samples(&all, 30);
    let text = fs_err::read_to_string(&all).expect("read");
    let lines: Vec<&str> = text.lines().collect();
    let file = |name: &str, lines: &[String]| {
        world.write(name, lines.join("\n"));
    };
    let of = |range: std::ops::Range<usize>| lines[range].iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
    file("first.jsonl", &of(0..20));
    // Ten that are there, in another order, and ten that are not.
    file("second.jsonl", &of(10..30).into_iter().rev().collect::<Vec<_>>());
    let model = world::demo().join("model").display().to_string();
    let ingest = |data: &str, more: &[&str]| {
        let path = world.path(data).display().to_string();
        let mut arguments = vec!["ingest", "--dataset", "pool", "--data", &path, "--model", &model];
        arguments.extend(["--max-length", "256", "--features", "loss,embed-mean"]);
        arguments.extend(more);
        binary::run(&mut world.gstore(&arguments))
    };
    let says = |data: &str, more: &[&str], printed: &[&str], said: &str| {
        let finished = ingest(data, &[&["--dry-run"], more].concat());
        finished.says(0, &[]);
        for part in printed {
            assert!(finished.stdout.contains(part), "{data} {more:?}: no {part:?} in {}", finished.stdout);
        }
        assert!(finished.stderr.contains(said), "{data} {more:?}: no {said:?} in {}", finished.stderr);
    };
    // Without a store.
    let empty = ["rows         20\n", "loss f32 x 1: 20 rows missing", "passes       20\n"];
    says("first.jsonl", &[], &empty, "pool: 20 samples to add, 0 there already");
    assert!(!world.path("store").exists());

    ingest("first.jsonl", &[]).says(0, &[]);
    let before = fs_err::read(world.path("store/CURRENT")).expect("a store");
    says(
        "first.jsonl",
        &[],
        &["rows         20\n", "1: 0 rows missing", "passes       0\n"],
        "0 samples to add, 20 there",
    );
    let both = ["rows         30\n", "1: 10 rows missing", "passes       10\n"];
    says("second.jsonl", &[], &both, "10 samples to add, 10 there already");
    says(
        "second.jsonl",
        &["--limit", "25"],
        &["rows         25\n", "1: 5 rows missing"],
        "10 samples to add",
    );
    says("second.jsonl", &["--limit", "5"], &["rows         5\n", "1: 0 rows missing"], "10 samples to add");

    // A changed line is what `--if-changed` says.
    let changed = of(18..22).iter().map(|line| line.replace("odd?", "odd??")).collect::<Vec<_>>();
    file("changed.jsonl", &changed);
    ingest("changed.jsonl", &["--dry-run"]).says(1, &["with different content", "s18"]);
    // The lines that are there, ended by CRLF.
    file("windows.jsonl", &of(18..20).iter().map(|line| format!("{line}\r")).collect::<Vec<_>>());
    ingest("windows.jsonl", &["--dry-run"]).says(1, &["one of the two files has CRLF"]);
    let kept = ["rows         22\n", "1: 2 rows missing"];
    says(
        "changed.jsonl",
        &["--if-changed", "keep"],
        &kept,
        "2 samples to add, 0 there already, 0 to replace, 2 changed",
    );
    let replaced = ["rows         22\n", "1: 4 rows missing"];
    says(
        "changed.jsonl",
        &["--if-changed", "replace"],
        &replaced,
        "2 samples to add, 0 there already, 2 to replace",
    );
    // A limit counts rows that stay: the first two go, and the next five have their losses.
    let first = of(0..2).iter().map(|line| line.replace("odd?", "odd??")).collect::<Vec<_>>();
    file("first_changed.jsonl", &first);
    let limited = ["rows         5\n", "1: 0 rows missing", "passes       0\n"];
    says(
        "first_changed.jsonl",
        &["--if-changed", "replace", "--limit", "5"],
        &limited,
        "0 samples to add, 0 there already, 2 to replace",
    );
    assert_eq!(fs_err::read(world.path("store/CURRENT")).expect("a store"), before);
}

#[test]
fn the_demo_finds_the_right_skill() {
    let world = Place::new();
    let printed = binary::ok(&mut world.bare(&["demo"]));
    let shares: Vec<(String, f64, f64)> = printed
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let percent = |word: &str| word.strip_suffix('%')?.parse().ok();
            match words.as_slice() {
                [name, pool, top, _, "ms"] => Some(((*name).to_owned(), percent(pool)?, percent(top)?)),
                _ => None,
            }
        })
        .collect();
    assert!(shares.len() >= 2, "{printed}");
    assert_eq!(shares.iter().map(|s| &s.0).collect::<HashSet<_>>().len(), shares.len());
    for (target, pool, top) in &shares {
        assert!(
            *top >= 60.0 && *top >= 2.0 * pool,
            "{target}: {top} % of the top rows, {pool} % of the pool\n{printed}"
        );
    }
    // The commands that it suggests work as printed.
    let steps: Vec<&str> = printed.lines().skip_while(|line| !line.starts_with("4. ")).skip(1).collect();
    let steps: Vec<&str> = steps.into_iter().take_while(|line| !line.starts_with("Done")).collect();
    assert!(steps.len() >= 8, "{printed}");
    std::os::unix::fs::symlink(binary::path(), world.path("gstore")).expect("linked");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::env::join_paths([world.path("")].into_iter().chain(std::env::split_paths(&paths)));
    world.write("typed.sql", "SHOW TABLES");
    let pasted = Command::new("sh")
        .args(["-e", "-c", &steps.join("\n")])
        .current_dir(world.path(""))
        .env("PATH", paths.expect("a path"))
        .stdin(fs_err::File::open(world.path("typed.sql")).expect("opens").into_file())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&pasted.stderr);
    let shown = String::from_utf8_lossy(&pasted.stdout);
    assert!(
        pasted.status.success() && shown.contains("noise_floor") && shown.contains("embed-mean"),
        "{shown}{said}"
    );
    assert!(world.path("selected.jsonl.scores.csv").is_file());
    // A store that the environment names for every command stays as it is.
    let own = world.path("gstore-demo/store");
    let again = binary::run(world.bare(&["demo"]).env("GSTORE_STORE", &own));
    assert!(
        again.stderr.contains("is a store, which stays as it is") && !own.join("input").exists(),
        "{again:?}"
    );
    assert!(again.stdout.contains("there already"), "{again:?}");
    // Another projection makes no question about the first one ambiguous.
    let exact = binary::ok(&mut world.bare(&["demo", "--projection", "none"]));
    assert!(exact.contains("--store gstore-demo/store-none"), "{exact}");
}
