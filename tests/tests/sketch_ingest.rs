//! Promise: `--sketch` builds the sketches of exactly what was just published, an interruption of it leaves
//! the vectors published, and files that are rewritten keep their sketches.

use std::path::PathBuf;

use gstore_store::{CompactOptions, DeleteOptions, RowSet, Store};
use gstore_tests::binary::{self, Finished};
use gstore_tests::place::Place;
use gstore_tests::world;
use serde_json::Value;

/// `gstore ingest` of a dataset at one checkpoint.
fn ingest(place: &Place, dataset: &str, more: &[&str]) -> Finished {
    let checkpoint = world::demo_adapter(0);
    let mut command = place.with_model(&format!("ingest --dataset {dataset} --dim 128 --run warmup"));
    binary::run(command.arg("--checkpoints").arg(checkpoint).args(more))
}

fn done(finished: Finished) -> Finished {
    finished.says(0, &[]);
    finished
}

/// Segments and sketches of each feature of a dataset, by label.
fn sketches(place: &Place, dataset: &str) -> Vec<(String, u64, u64)> {
    let report = place.json(&["index", "--dataset", dataset, "--json"]);
    let number = |line: &Value, key: &str| line[key].as_u64().expect("a number");
    let line = |line: &Value| {
        let name = line["feature"].as_str().expect("a name").to_owned();
        assert_eq!(line["unusable"], 0, "{line}");
        (name, number(line, "segments"), number(line, "sketched"))
    };
    report["features"].as_array().expect("features").iter().map(line).collect()
}

fn index_files(place: &Place) -> Vec<PathBuf> {
    let Ok(folder) = fs_err::read_dir(place.path("store/indexes")) else { return Vec::new() };
    folder.map(|entry| entry.expect("readable").path()).collect()
}

#[test]
fn an_ingest_makes_the_sketches_of_what_it_wrote() {
    let place = Place::of(&[("pool", 40), ("target", 6)]);
    done(ingest(&place, "target", &["--features", "grad-sgd", "--data", "target.jsonl"]));
    let features = ["--features", "grad-sgd,embed-mean", "--sketch"];
    let plan =
        done(ingest(&place, "pool", &[&features[..], &["--data", "pool.jsonl", "--dry-run"]].concat()));
    assert!(plan.stdout.contains("sketches  ") && index_files(&place).is_empty(), "{}", plan.stdout);
    let first = done(ingest(&place, "pool", &[&features[..], &["--data", "pool.jsonl"]].concat()));
    assert!(
        first.stderr.contains("published snapshot") && first.stderr.contains("sketches: 80 vectors"),
        "{}",
        first.stderr
    );
    let made = sketches(&place, "pool");
    assert_eq!(made.len(), 2);
    assert!(made.iter().all(|(_, segments, sketched)| sketched == segments && *segments > 0), "{made:?}");
    assert!(sketches(&place, "target").iter().all(|(_, _, sketched)| *sketched == 0));

    // A config file says it too. Rows that come later have sketches of their own.
    place.samples("pool", 55);
    place.write("options.toml", "[ingest]\nsketch = true\n");
    let more = ["--features", "grad-sgd,embed-mean", "--data", "pool.jsonl", "--config", "options.toml"];
    let later = done(ingest(&place, "pool", &more));
    assert!(later.stderr.contains("sketches: 30 vectors"), "{}", later.stderr);
    let both = sketches(&place, "pool");
    assert!(both.iter().zip(&made).all(|(now, then)| now.1 > then.1 && now.2 == now.1), "{both:?}");

    // The same command makes what is missing and nothing else.
    let again = done(ingest(&place, "pool", &features));
    assert!(
        again.stderr.contains("nothing to compute") && !again.stderr.contains("sketches:"),
        "{}",
        again.stderr
    );
    let lost = index_files(&place).swap_remove(0);
    let bytes = fs_err::read(&lost).expect("its bytes");
    fs_err::remove_file(&lost).expect("removed");
    let again = done(ingest(&place, "pool", &features));
    assert!(again.stderr.contains("vectors coded"), "{}", again.stderr);
    assert_eq!(fs_err::read(&lost).expect("made again").len(), bytes.len());
    done(place.run(&["verify"]));
}

#[test]
fn an_ingest_makes_sketches_of_the_planes_that_it_is_told() {
    let place = Place::of(&[("pool", 20)]);
    let with = |more: &[&str]| {
        ingest(&place, "pool", &[&["--features", "grad-sgd", "--data", "pool.jsonl"][..], more].concat())
    };
    let refused = |more: &[&str], says: &str| {
        with(more).says(2, &[says]);
    };
    refused(&["--planes", "sign"], "--sketch");
    refused(&["--sketch", "--planes", "sign,nibbles"], "sign, nibble, int8");
    let size = |more: &[&str]| {
        let plan = done(with(&[&["--sketch", "--dry-run"][..], more].concat())).stdout;
        plan.lines().find(|line| line.starts_with("sketches")).expect("a line").to_owned()
    };
    // 128 coordinates, 20 vectors: records of 12 bytes; codes and factors of 24, 72 and 144.
    assert!(size(&[]).contains("4.92 KiB"), "{}", size(&[]));
    let chosen = ["--sketch", "--planes", "nibble,sign"];
    assert!(size(&chosen[1..]).contains("2.11 KiB"), "{}", size(&chosen[1..]));
    let keeps = |planes: &[&str]| {
        let report = place.json(&["index", "--dataset", "pool", "--json"]);
        let feature = &report["features"][0];
        assert_eq!(feature["planes"], serde_json::json!(planes), "{report}");
        assert_eq!(feature["sketched"], feature["segments"], "{report}");
    };
    done(with(&chosen));
    keeps(&["sign", "nibble"]);

    // Others are an option that differs: nothing is computed, and the message says what changes them.
    place.samples("pool", 30);
    let rows = || sketches(&place, "pool");
    let before = rows();
    for more in [&["--sketch", "--planes", "int8"][..], &["--sketch", "--planes", "int8", "--dry-run"]] {
        refused(more, "keep sign, nibble");
    }
    refused(&["--sketch", "--planes", "int8"], "`gstore index --sketch --planes int8 pool/grad-sgd");
    assert_eq!(rows(), before);
    assert_eq!(place.json(&["info", "pool", "--json"])["rows"], 20, "no sample is registered");
    done(with(&chosen));
    keeps(&["sign", "nibble"]);
    assert!(rows()[0].1 > before[0].1, "new rows have files of their own");
    done(place.run(&["verify"]));
}

#[test]
fn shards_have_their_sketches_made_when_they_are_attached() {
    let place = Place::of(&[("pool", 30)]);
    place.add("pool");
    let refused =
        ingest(&place, "pool", &["--features", "grad-sgd", "--shard", "1/2", "--out", "one", "--sketch"]);
    refused.says(2, &["gstore attach --sketch"]);
    let shard =
        |out: &str| done(ingest(&place, "pool", &["--features", "grad-sgd", "--shard", "1/1", "--out", out]));
    shard("one");
    place.ok(&["attach", "one"]);
    assert!(index_files(&place).is_empty(), "no sketches were requested");
    place.samples("pool", 45);
    place.add("pool");
    shard("two");
    let report = place.json(&["attach", "one", "two", "--sketch", "--json"]);
    assert!(report["snapshot"].is_u64(), "{report}");
    let made = sketches(&place, "pool");
    assert!(made.iter().all(|(_, segments, sketched)| sketched == segments && *segments > 1), "{made:?}");
    assert_eq!(place.run(&["attach", "one", "--sketch", "--dry-run"]).code, 2);
}

#[test]
fn shards_that_are_attached_get_the_planes_that_were_asked_for() {
    let place = Place::new();
    let shard = |rows: usize, out: &str| {
        place.samples("pool", rows);
        place.add("pool");
        done(ingest(&place, "pool", &["--features", "grad-sgd", "--shard", "1/1", "--out", out]));
    };
    let planes = || place.json(&["index", "--dataset", "pool", "--json"])["features"][0]["planes"].clone();
    shard(20, "one");
    place.run(&["attach", "one", "--planes", "sign"]).says(2, &["--sketch"]);
    place.ok(&["attach", "one", "--sketch", "--planes", "sign,nibble"]);
    assert_eq!(planes(), serde_json::json!(["sign", "nibble"]));

    shard(30, "two");
    let before = place.value("SELECT max(number) FROM gstore.snapshots");
    place.run(&["attach", "two", "--sketch", "--planes", "int8"]).says(2, &["keep sign, nibble"]);
    assert_eq!(place.value("SELECT max(number) FROM gstore.snapshots"), before, "nothing was attached");
    // Without the option they are those that the feature has.
    place.ok(&["attach", "two", "--sketch"]);
    assert_eq!(planes(), serde_json::json!(["sign", "nibble"]));
    let made = sketches(&place, "pool");
    assert!(made.iter().all(|(_, segments, sketched)| sketched == segments && *segments > 1), "{made:?}");
}

#[test]
fn files_that_are_rewritten_keep_their_sketches() {
    let place = Place::new();
    for count in [10, 20, 30] {
        place.samples("pool", count);
        done(ingest(&place, "pool", &["--features", "grad-sgd,embed-mean", "--data", "pool.jsonl"]));
    }
    let of = |label: &str| sketches(&place, "pool").into_iter().find(|s| s.0.contains(label)).expect("there");
    let name = of("grad-sgd").0;
    place.ok(&["index", "--sketch", "--planes", "sign,nibble", &name]);
    assert_eq!(of("grad-sgd").2, 3);
    let keeps_its_planes = || {
        let report = place.json(&["index", &name, "--json"]);
        assert_eq!(report["features"][0]["planes"], serde_json::json!(["sign", "nibble"]), "{report}");
    };

    place.run(&["compact"]).says(0, &["sketches: 30 vectors"]);
    let (_, segments, sketched) = of("grad-sgd");
    assert_eq!((segments, sketched), (1, 1));
    keeps_its_planes();
    assert_eq!(of("embed-mean").2, 0, "it had none");
    place.run(&["compact"]).says(0, &[]).lacks(&["sketches:"]);

    place.samples("pool", 40);
    done(ingest(&place, "pool", &["--features", "grad-sgd", "--data", "pool.jsonl", "--sketch"]));
    assert_eq!(of("grad-sgd").2, 2);
    keeps_its_planes();

    let purged = place.done(&["delete", "--dataset", "pool", "--id", "s3", "--purge", "--yes"]);
    assert_eq!((of("grad-sgd").2, of("embed-mean").2), (2, 0), "{}", purged.stderr);
    keeps_its_planes();
    done(place.run(&["verify"]));
}

#[test]
fn sketches_that_a_kill_kept_from_being_made_are_made_by_the_next_command() {
    let place = Place::new();
    for count in [10, 20, 30] {
        place.samples("pool", count);
        done(ingest(&place, "pool", &["--features", "grad-sgd", "--data", "pool.jsonl"]));
    }
    place.ok(&["index", "--sketch", "--planes", "sign,nibble", "--dataset", "pool"]);
    let are_made = || {
        let made = sketches(&place, "pool");
        assert!(matches!(made[..], [(_, 1, 1)]), "{made:?}");
        let report = place.json(&["index", "--dataset", "pool", "--json"]);
        assert_eq!(report["features"][0]["planes"], serde_json::json!(["sign", "nibble"]), "{report}");
    };

    // As if the commands were killed once they have published files.
    let store = Store::open(place.path("store")).expect("opens");
    store.compact(CompactOptions::default(), &mut |_| {}).expect("compacted");
    place.ok(&["gc", "--keep", "1", "--keep-within", "0s"]);
    place.run(&["compact"]).says(0, &["sketches: 30 vectors"]);
    are_made();
    for row in [3, 4] {
        let dataset = store.snapshot().expect("readable").dataset("pool").expect("there").clone();
        let options = DeleteOptions { purge: true, ..DeleteOptions::default() };
        store.delete(&dataset, &RowSet::from_rows([row]), options).expect("purged");
        done(match row {
            3 => place.run(&["index", "--sketch", "--dataset", "pool"]),
            _ => place.run(&["delete", "--dataset", "pool", "--purge", "--yes"]),
        });
        are_made();
    }
}

/// Stops a command with Ctrl-C while it waits for a lock that the test holds, which every build
/// of an index takes first.
#[cfg(unix)]
fn interrupted(place: &Place, says: &str, start: impl Fn() -> std::process::Command) -> Finished {
    let path = place.path("store/tmp/start.lock");
    for seconds in [1, 2, 4, 8, 16] {
        // Long enough for the command to get there; if not, it is tried again.
        let finished = binary::interrupted_at(&path, &mut start(), seconds);
        if finished.stderr.contains("stopping;") && finished.stderr.contains(says) {
            return finished;
        }
    }
    panic!("the command never got to its sketches");
}

#[cfg(unix)]
#[test]
fn ctrl_c_is_no_error_and_leaves_what_is_published() {
    let place = Place::new();
    // A build looks at the flag between two files.
    for count in 1..=8 {
        place.samples("pool", 4 * count);
        done(ingest(&place, "pool", &["--features", "grad-sgd", "--data", "pool.jsonl"]));
    }
    let number = place.value("SELECT max(number) FROM gstore.snapshots");
    let again = interrupted(&place, "`gstore index --sketch --dataset pool --store ", || {
        let checkpoint = world::demo_adapter(0);
        let line = "ingest --dataset pool --dim 128 --run warmup --sketch --features grad-sgd";
        let mut command = place.with_model(line);
        command.arg("--checkpoints").arg(checkpoint);
        command
    });
    again.says(130, &[]).lacks(&["error"]);
    assert_eq!(place.value("SELECT max(number) FROM gstore.snapshots"), number);

    let index = interrupted(&place, "stopped", || place.gstore(&["index", "--sketch", "--dataset", "pool"]));
    index.says(130, &[]).lacks(&["error"]);
    assert!(sketches(&place, "pool")[0].2 < 8);
    // What the messages say.
    place.ok(&["index", "--sketch", "--dataset", "pool"]);
    let (_, segments, sketched) = sketches(&place, "pool").swap_remove(0);
    assert_eq!(segments, sketched);
    done(place.run(&["verify"]));
}
