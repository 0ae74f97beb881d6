//! Promise: a ground truth stays unchanged, in its folder and in the store, until another one is to replace
//! it.

use gstore_tests::binary;
use gstore_tests::place::Place;

use crate::retrained::{DRAW, retrain};

#[test]
fn a_ground_truth_is_kept_in_the_store_and_read_from_there() {
    let place = Place::of(&[("pool", 12), ("queries", 3)]);
    let queries = place.read("queries.jsonl");
    place.write("others.jsonl", queries.replace("odd?", "even?"));
    place.write("more.jsonl", place.read("pool.jsonl").replace("\"id\":\"s", "\"id\":\"t"));
    for name in ["pool", "queries", "others"] {
        place.add(name);
    }
    let kept = ["--ensemble", "retrained", "--query-dataset", "queries"];
    let draw = ["--dataset", "pool", "--count", "3", "--fraction", "0.5"];
    let nothing =
        binary::run(&mut retrain(&place, "one", &[&draw[..], &kept[..], &["--draw-only"]].concat()));
    nothing.says(0, &["no run is finished"]);
    // Members in the order in which their runs were done.
    binary::ok(&mut retrain(&place, "one", &[&kept[..], &["--runs", "1..2"]].concat()));
    assert_eq!(place.value("SELECT count(*) FROM gstore.members WHERE ensemble = 'retrained'"), "1");
    binary::run(&mut retrain(&place, "one", &kept)).says(0, &["3 members, 2 new"]);
    let told = binary::run(&mut retrain(&place, "one", &[&kept[..], &["--draw-only"]].concat()));
    assert!(told.stderr.contains("0 added, 0 replaced, 9 there already, 0 missing"), "{}", told.stderr);
    let lds = |from: &[&str]| {
        place.json(&[&["evaluate", "lds"][..], from, &["--random", "--format", "json"]].concat())
    };
    let (stored, of_folder) = (lds(&["--ensemble", "retrained"]), lds(&["--truth", "one"]));
    assert_eq!(stored["measures"], of_folder["measures"]);
    assert_eq!(stored["findings"], of_folder["findings"]);

    let given = |model: &str| format!("{{\"model\": \"{model}\", \"id\": \"s0\", \"loss\": 1.5}}\n");
    place.write("losses.jsonl", given("a") + &given("b"));
    let import = ["import", "--from", "daunce", "--ensemble", "given", "--base", "llama"];
    place.ok(&[&import[..], &["--dataset", "queries", "--losses", "losses.jsonl"]].concat());
    let more = ["--data", "more.jsonl", "--count", "2"];
    for (truth, more, words) in [
        ("one", &["--ensemble", "given", "--query-dataset", "queries"][..], "was not made by retraining"),
        ("one", &["--ensemble", "retrained", "--query-dataset", "others"][..], "has another text there"),
        (
            "one",
            &["--ensemble", "retrained", "--query-dataset", "pool"][..],
            "queries are of dataset \"pool\"",
        ),
        ("more", &[&more[..], &kept[..]].concat()[..], "share no row with its pool"),
    ] {
        binary::run(&mut retrain(&place, truth, more)).says(1, &[words]);
    }
    let refused = |ensemble: &str, words: &str| {
        place.run(&["evaluate", "lds", "--ensemble", ensemble, "--random"]).says(1, &[words]);
    };
    refused("given", "was not made by retraining");
    refused("nothing", "there is no ensemble \"nothing\"");
    place.ok(&["delete", "--dataset", "queries", "--id", "s1"]);
    refused("retrained", "dataset \"queries\" has changed");
    let files = ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--ensemble", "retrained"];
    for more in [&["--ensemble", "retrained"][..], &files] {
        binary::run(&mut retrain(&place, "two", more)).says(2, &["--query-dataset"]);
        assert!(!place.path("two").exists(), "{more:?}");
    }

    // A purge does not reach the ids of the artifact, and says so before and after.
    let purge = ["delete", "--dataset", "pool", "--id", "s3", "--purge"];
    let unsure = place.run(&purge);
    let words =
        "names 1 deleted row by id, which no purge removes from it\n  `gstore drop artifact retraining-";
    unsure.says(2, &[words]);
    let dry = place.json(&[&purge[..], &["--dry-run", "--json"]].concat());
    let report = place.json(&[&purge[..], &["--yes", "--json"]].concat());
    assert_eq!(dry["artifacts"], report["artifacts"]);
    assert_eq!(report["artifacts"][0]["rows"], 1, "{report}");
    let again = ["delete", "--dataset", "pool", "--purge", "--yes", "--json"];
    assert_eq!(place.json(&again)["artifacts"], report["artifacts"]);
    let name = report["artifacts"][0]["name"].as_str().expect("a name");
    place.ok(&["drop", "artifact", name]);
    place.ok(&["gc", "--keep", "1", "--keep-within", "0s"]);
    assert_eq!(place.json(&again)["artifacts"], serde_json::json!([]));
    assert_eq!(fs_err::read_dir(place.path("store/artifacts")).map_or(0, Iterator::count), 0);
}

#[test]
fn another_ground_truth_takes_the_place_of_the_one_that_is_there() {
    let place = Place::of(&[("pool", 12), ("queries", 3)]);
    for name in ["pool", "queries"] {
        place.add(name);
    }
    let kept = ["--ensemble", "retrained", "--query-dataset", "queries"];
    let draw = |count| ["--dataset", "pool", "--fraction", "0.5", "--count", count];
    let run = |more: &[&str]| binary::run(&mut retrain(&place, "one", more));
    let members =
        || place.value("SELECT count(*) FROM gstore.members WHERE ensemble = 'retrained'").parse::<usize>();
    let outputs = || {
        let names = (0..4).map(|run| place.path("one").join(format!("outputs/{run:05}.parquet")));
        names.filter_map(|path| fs_err::read(path).ok()).collect::<Vec<_>>()
    };
    assert_eq!(run(&[&draw("2")[..], &kept].concat()).code, 0);
    let first = outputs();
    assert_eq!((first.len(), members()), (2, Ok(2)));
    let same = run(&[&draw("2")[..], &kept, &["--force"]].concat());
    same.says(0, &["2 of 2 runs done, 0 to do here"]).lacks(&["replaces another one"]);

    // What is refused leaves folder and ensemble as they were.
    let line = |model: &str| format!("{{\"model\": \"{model}\", \"id\": \"s0\", \"loss\": 1.5}}\n");
    place.write("losses.jsonl", line("a") + &line("b"));
    let import = ["import", "--from", "daunce", "--ensemble", "given", "--base", "llama"];
    place.ok(&[&import[..], &["--dataset", "queries", "--losses", "losses.jsonl"]].concat());
    place.write("one/notes.txt", "mine");
    let of_given = ["--ensemble", "given", "--query-dataset", "queries", "--force"];
    for (more, code, words) in [
        (&kept[..], 1, "with --force: its runs are then done once more"),
        (&[&kept[..], &["--force", "--runs", "9..10"]].concat()[..], 2, "there are only 3 runs"),
        (&[&kept[..], &["--force"]].concat()[..], 2, "holds notes.txt, which no ground truth put there"),
        (&of_given[..], 1, "was not made by retraining"),
    ] {
        if code == 1 && more.contains(&"--force") {
            fs_err::remove_file(place.path("one/notes.txt")).expect("removed");
        }
        run(&[&draw("3")[..], more].concat()).says(code, &[words]);
        assert!(outputs() == first && members() == Ok(2), "{words}");
    }

    run(&[&draw("3")[..], &kept, &["--force"]].concat()).says(0, &["replaces another one"]);
    let second = outputs();
    assert_eq!((second.len(), members()), (3, Ok(3)));
    // Another way of training, of the same rows.
    let trained = [&kept[..], &["--seed", "7"]].concat();
    run(&trained).says(1, &["trained otherwise"]);
    assert_eq!(run(&[&trained[..], &["--force"]].concat()).code, 0);
    assert_eq!((outputs().len(), members()), (3, Ok(3)));
    assert_ne!(outputs(), second);
    assert!(!place.names().iter().any(|name| name.starts_with(".truth.")));
}

#[test]
fn flags_that_say_nothing_of_a_ground_truth_are_refused() {
    let place = Place::of(&[("pool", 6), ("queries", 2)]);
    let refused = |truth: &str, more: &[&str], words: &[&str]| {
        binary::run(&mut retrain(&place, truth, &[more, &["--draw-only"]].concat())).says(2, words);
        assert!(truth == "one" || !place.path(truth).exists(), "{more:?}");
    };
    // Those of another design.
    let data = ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--design"];
    for more in [
        &["random", "--group", "source"][..],
        &["random", "--shares", "0.2"],
        &["random", "--draws", "2"],
        &["leave-one-out", "--fraction", "0.4"],
        &["leave-one-out", "--fraction", "0.5"],
        &["random", "--missing", "error"],
        &["leave-one-out", "--sql", "a=SELECT 1"],
        &["leave-group-out", "--group", "source", "--count", "2"],
        &["leave-group-out", "--group", "source", "--subset-seed", "2"],
        &["removal", "--scores", "best.csv", "--group", "source"],
        &["removal", "--scores", "best.csv", "--fraction", "0.4"],
    ] {
        refused("other", &[&data[..], more].concat(), &["has no effect with --design", "it is for --design"]);
    }
    // Random rows are removed anyway, next to those of methods, and each share is trained once.
    refused("other", &[&data[..], &["removal", "--random"]].concat(), &["unexpected argument '--random'"]);
    refused("other", &[&data[..], &["removal"]].concat(), &["--design removal requires --scores or --sql"]);
    place.write("best.csv", "id,score\ns0,6\ns1,5\ns2,4\ns3,3\ns4,2\ns5,1\n");
    let removal = [&data[..], &["removal", "--scores", "best.csv"]].concat();
    refused(
        "other",
        &[&removal[..], &["--shares", "0.2", "0.4", "0.2"]].concat(),
        &["share 0.2 is named twice"],
    );
    // More than there are.
    for (more, words) in [
        (&["random"][..], "there are 20 of 3 of 6 rows"),
        (&["leave-one-out", "--count", "7"][..], "there are 6 rows"),
        (&["removal", "--scores", "best.csv", "--count", "3"][..], "has only 2 queries"),
    ] {
        refused("other", &[&data[..], more].concat(), &[words]);
    }
    // All of them where the folder is there, which stays what it is.
    binary::ok(&mut retrain(&place, "one", &[&DRAW[..], &["--draw-only"]].concat()));
    let before = place.read("one/subsets.jsonl");
    for more in [
        ["--query-data", "queries.jsonl"],
        ["--query-dataset", "queries"],
        ["--rows", "pool.jsonl"],
        ["--field", "text=answer"],
        ["--count", "2"],
        ["--fraction", "0.2"],
        ["--design", "leave-one-out"],
        ["--group", "source"],
        ["--shares", "0.2"],
        ["--draws", "2"],
        ["--repeats", "2"],
        ["--subset-seed", "3"],
        ["--scores", "best.csv"],
        ["--sql", "a=SELECT 1"],
        // Also what would hold without the flag.
        ["--fraction", "0.5"],
        ["--design", "random"],
        ["--repeats", "1"],
        ["--subset-seed", "0"],
        ["--shares", "0.05,0.1,0.2"],
        ["--draws", "5"],
        ["--missing", "error"],
    ] {
        refused("one", &more, &["is already a ground truth", more[0]]);
    }
    assert_eq!(place.read("one/subsets.jsonl"), before);
    binary::ok(&mut retrain(&place, "one", &["--draw-only"]));
    binary::ok(&mut retrain(&place, "one", &[&DRAW[..], &["--draw-only"]].concat()));
}

#[test]
fn files_of_a_user_are_not_replaced_by_a_ground_truth() {
    let place = Place::new();
    fs_err::create_dir(place.path("mine")).expect("made");
    place.samples("mine/pool", 6);
    place.samples("mine/queries", 2);
    let before = ["pool.jsonl", "queries.jsonl"].map(|name| place.read(&format!("mine/{name}")));
    let data =
        ["--data", "mine/pool.jsonl", "--query-data", "mine/queries.jsonl", "--count", "3", "--draw-only"];
    let told = binary::run(&mut retrain(&place, "mine", &data));
    told.says(2, &[]);
    let says = told.stderr.contains("which no ground truth put there; give another folder with --truth");
    assert!(says && told.stderr.contains("mine holds "), "{}", told.stderr);
    let after = ["pool.jsonl", "queries.jsonl"].map(|name| place.read(&format!("mine/{name}")));
    assert!(before == after && !place.path("mine/manifest.json").exists(), "{}", told.stderr);
    binary::ok(&mut retrain(&place, "mine/truth", &data));
}
