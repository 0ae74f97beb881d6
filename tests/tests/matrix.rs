//! Promise: `gstore matrix` gives the same bytes wherever it was killed, other tools read from it what SQL
//! says, and a changed store or a full disk is a clear error.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gstore_query::influence::{InfluenceSpec, Prepared, TargetRef};
use gstore_query::matrix::{MatrixJob, MatrixOptions, MatrixOutput};
use gstore_store::{Cancel, Store};
use gstore_tests::disk::SmallDisk;
use gstore_tests::made::{Numbers, append, gradients};
use gstore_tests::place::Place;
use gstore_tests::{binary, world};

const DIM: u32 = 64;
const SAMPLES: u64 = 12;

/// A pool of which one row is not finite, and target samples.
fn place() -> Place {
    let place = Place::new();
    fill(&place.path("store"));
    place
}

fn fill(path: &Path) {
    let store = Store::create(path).expect("a store");
    let mut numbers = Numbers(5);
    for (dataset, rows) in [("pool", 2000), ("q", SAMPLES)] {
        append(&store, dataset, rows);
        gradients(&store, dataset, rows, DIM, |row| {
            let mut vector = numbers.vector(DIM);
            if (dataset, row) == ("pool", 77) {
                vector[0] = f32::NAN;
            }
            vector
        });
    }
}

/// `--memory` for two samples at a time.
const MEMORY: &str = "1024";

fn args<'a>(output: &'a str, memory: &'a str) -> Vec<&'a str> {
    vec!["matrix", "--pool", "pool", "--target", "q", "--memory", memory, "-o", output]
}

#[test]
fn a_killed_command_goes_on_and_gives_the_same_bytes() {
    let place = place();
    for (whole, killed, memory) in [("whole", "killed", MEMORY), ("whole.parquet", "killed.parquet", "1GiB")]
    {
        let took = std::time::Instant::now();
        place.ok(&args(whole, memory));
        let took = took.elapsed();
        let mut state = 9u64;
        let mut kills = 0;
        for _ in 0..40 {
            let mut child = binary::start(&mut place.gstore(&args(killed, memory)));
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(took.mul_f64((state >> 33) as f64 / (1u64 << 31) as f64));
            // Already at its end if it cannot be killed.
            let _ = child.kill();
            kills += u32::from(!child.wait().expect("ends").success());
            if place.path(killed).exists() {
                break;
            }
        }
        place.ok(&args(killed, memory));
        let same = match place.path(whole).is_dir() {
            true => world::bytes(&place.path(whole)) == world::bytes(&place.path(killed)),
            false => fs_err::read(place.path(whole)).ok() == fs_err::read(place.path(killed)).ok(),
        };
        assert!(same, "{killed} after {kills} kills");
        let hidden = place.path(&format!(".{killed}.part"));
        assert!(!hidden.exists(), "nothing is left next to it");
    }
}

#[test]
fn a_changed_store_is_refused_until_its_old_state_is_named() {
    let place = place();
    let mut child = binary::start(&mut place.gstore(&args("m", MEMORY)));
    let begun = place.path(".m.part").join("question.json");
    while !begun.exists() && child.try_wait().expect("asked").is_none() {
        std::thread::sleep(Duration::from_micros(200));
    }
    let _ = child.kill();
    child.wait().expect("ends");
    if place.path("m").exists() {
        eprintln!("skipped: the command was done before it could be killed");
        return;
    }
    let store = place.store();
    let before = store.snapshot().expect("a snapshot").number().to_string();
    append(&store, "more", 3);
    for more in [&[][..], &["--dry-run"]] {
        let refused = place.run(&[&args("m", MEMORY)[..], more].concat());
        refused.says(1, &["unfinished work", "--snapshot", "--force"]);
    }
    let mut old = args("m", MEMORY);
    old.extend(["--snapshot", &before]);
    place.ok(&old);
    assert!(place.run(&old).stderr.contains("nothing to do"));
    for more in [&[][..], &["--dry-run"]] {
        let refused = place.run(&[&args("m", MEMORY)[..], more].concat());
        refused.says(1, &["another question", "--force replaces it"]);
    }
    place.run(&[&args("m", MEMORY)[..], &["--force"]].concat()).says(0, &["target samples written to m"]);
    assert!(place.run(&args("m", MEMORY)).stderr.contains("nothing to do"));
}

#[test]
fn what_it_takes_is_told_before_and_nothing_is_written() {
    let place = place();
    let mut dry = args("m", MEMORY);
    dry.extend(["--dry-run", "--json"]);
    let told = place.json(&dry);
    assert_eq!(
        (&told["rows"], &told["samples"], &told["passes"]),
        (&2000.into(), &SAMPLES.into(), &6.into())
    );
    assert!(!place.path("m").exists() && !place.path(".m.part").exists());
    let mut made = args("m", MEMORY);
    made.push("--json");
    let made = place.json(&made);
    assert_eq!((&made["rows"], &made["excluded"]["non_finite"]), (&1999.into(), &1.into()));
    let (told, made) = (told["bytes"].as_u64().expect("bytes"), made["bytes"].as_u64().expect("bytes"));
    assert!(made < 2 * told && told < 2 * made, "{told} told and {made} made");
    let finished = place.run(&args("m.parquet", MEMORY));
    assert!(finished.stderr.contains("name a folder"), "{}", finished.stderr);
}

#[test]
fn a_full_disk_is_told_and_the_same_command_goes_on() {
    let Some(disk) = SmallDisk::mount(160) else { return };
    let place = place();
    place.ok(&args("whole", MEMORY));
    let out = disk.path("m");
    let output = out.display().to_string();
    let says = [&*output, "will take about 375.00 KiB more on disk", "are free there", "--dry-run"];
    place.run(&args(&output, MEMORY)).says(1, &says);
    assert!(fs_err::read_dir(disk.path("")).expect("listed").next().is_none());
    // A disk that another process fills meanwhile: the library does not ask how much is free.
    let filled = fill_up(&place, &out);
    assert!(filled.contains("No space left on device"), "{filled}");
    assert!(filled.contains("run the same command again to continue"), "{filled}");
    disk.resize(4 << 10);
    place.run(&args(&output, MEMORY)).says(0, &["parts were there from an earlier run"]);
    assert!(world::bytes(&place.path("whole")) == world::bytes(&out));
}

#[test]
fn work_that_cannot_begin_promises_no_parts() {
    let place = place();
    place.write(".m.part", "notes");
    place.run(&args("m", MEMORY)).fails(&[".m.part"]).lacks(&["parts are kept"]);
    assert_eq!(fs_err::read(place.path(".m.part")).expect("readable"), b"notes");
}

#[test]
fn a_file_that_cannot_have_its_name_leaves_its_parts_alone() {
    let place = place();
    let plan = question(&place);
    let cancel = Cancel::new();
    let options = MatrixOptions { replace: true, ..MatrixOptions::default() };
    let job = MatrixJob::new(&plan, options, &cancel).expect("a matrix");
    let output = place.path("m.parquet");
    // Another program puts a folder there meanwhile.
    let mut take = |_: u64, _: bool| fs_err::create_dir_all(&output).expect("made");
    let error =
        job.write(MatrixOutput::File(&output), &mut take, &cancel).expect_err("a folder has the name");
    assert!(error.to_string().contains("finished parts are kept"), "{error}");
    let left = world::files(&place.path(".m.parquet.part"));
    let has = |ending: &str| left.iter().any(|path| path.extension().is_some_and(|e| e == ending));
    assert!(has("parquet") && !has("tmp"), "{left:?}");
    fs_err::remove_dir(&output).expect("removed");
    place.ok(&["matrix", "--pool", "pool", "--target", "q", "-o", "m.parquet"]);
}

/// The question of [`args`].
fn question(place: &Place) -> Prepared {
    let spec = InfluenceSpec {
        pools: vec!["pool".to_owned()],
        targets: vec![TargetRef::parse("q")],
        ..InfluenceSpec::default()
    };
    Prepared::new(&place.snapshot(), &spec).expect("a question")
}

/// The error of making the matrix of [`args`] by the library.
fn fill_up(place: &Place, output: &Path) -> String {
    let plan = question(place);
    let (memory, cancel) = (MEMORY.parse().expect("a number"), Cancel::new());
    let options = MatrixOptions { memory, ..MatrixOptions::default() };
    let job = MatrixJob::new(&plan, options, &cancel).expect("a matrix");
    let made = job.write(MatrixOutput::Folder(output), &mut |_, _| {}, &cancel);
    made.expect_err("the disk is too small").to_string()
}

#[test]
fn places_that_a_matrix_cannot_have_are_refused_before_the_work() {
    let place = place();
    fs_err::create_dir(place.path("v1.2")).expect("made");
    std::os::unix::fs::symlink(place.path("store"), place.path("link")).expect("linked");
    for (output, says) in [
        ("-", "standard output"),
        ("m.csv", "a matrix is not written as .csv: name it m.parquet"),
        ("m.PARQUET", "name it m.parquet"),
        ("store/m", "is inside the store"),
        ("store/m.parquet", "is inside the store"),
        ("new/../store/m", "is inside the store"),
        ("store", "is inside the store"),
        ("link/tmp/m", "is inside the store"),
        ("v1.2/../store/tmp/../m.parquet", "is inside the store"),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            place.run(&[&args(output, "1GiB"), more].concat()).says(2, &[says]);
        }
    }
    // Another store's files are its own as well.
    Store::create(place.path("other")).expect("a store");
    for command in [
        args("other/m", "1GiB"),
        args("other", "1GiB"),
        vec!["query", "SELECT 1", "-o", "other/tmp/out.csv"],
        vec!["evaluate", "lds", "--truth", "none", "--random", "--report", "other/report"],
        vec!["train", "--model", "none", "--data", "none.jsonl", "--output", "other/tuned"],
        vec!["merge", "none", "-o", "other/merged"],
        vec![
            "daunce", "train", "--model", "none", "--data", "x.jsonl", "--models", "4", "--output", "other/c",
        ],
        "daunce train --model none --data x.jsonl --models 4 --output c --hidden-states other/states"
            .split(' ')
            .collect(),
        "daunce prepare --model none --data x.jsonl --output other/states".split(' ').collect(),
    ] {
        place.run(&command).says(2, &["is inside the store", "/other; name a place outside it"]);
    }
    for command in [
        vec!["select", "--pool", "pool", "--target", "q", "--top", "5", "-o", "store/out.jsonl"],
        "select --pool pool --target q --top 5 -o out.jsonl --scores link/s.csv".split(' ').collect(),
        vec!["query", "SELECT 1", "-o", "store/out.csv"],
        vec!["snapshots", "-o", "store/out.csv"],
    ] {
        let finished = place.run(&command);
        finished.says(2, &[]);
        assert!(
            finished.stderr.contains("is inside the store store")
                || finished.stderr.contains("is inside the store /"),
            "{}",
            finished.stderr
        );
    }
    assert!(!place.path("out.jsonl").exists());
    for (command, named) in [
        (args("none/such/m", "1GiB"), "there is no such folder"),
        (vec!["select", "--pool", "pool", "--target", "q", "--top", "5", "-o", "none/out.jsonl"], "none/out"),
    ] {
        place.run(&command).fails(&[named]).lacks(&[".part"]);
        assert!(!place.path("none").exists(), "{command:?}");
    }
    let in_turn = ["--round-robin", "sample", "--within", "max"];
    let select = ["select", "--pool", "pool", "--target", "q", "--top", "5", "-o", "out.jsonl"];
    place.run(&[&select[..], &in_turn].concat()).says(2, &["--within"]);
    // Names with a dot are names of folders where nothing else can be meant.
    for output in ["v1.2", "v1.3/"] {
        place.ok(&args(output, "1GiB"));
        assert!(place.path(output).join("matrix.json").is_file(), "{output}");
    }
}

#[test]
fn a_report_says_what_was_done_and_what_does_not_fit() {
    let place = place();
    for (there, out) in [(false, "m"), (true, "m"), (false, "m.parquet"), (true, "m.parquet")] {
        let report = place.json(&[&args(out, "1GiB")[..], &["--json"]].concat());
        assert_eq!((&report["already_there"], &report["rows"]), (&there.into(), &1999.into()), "{report}");
    }
    let finished = place.run(&args("small.parquet", "1024"));
    finished.says(1, &[]);
    let says = "the vectors of 12 target samples do not fit into 1 KiB at once";
    assert!(finished.stderr.contains(says) && finished.stderr.contains("allow 6 KiB"), "{}", finished.stderr);
}

/// What docs/matrix.md shows, held against the answers of SQL.
const READ: &str = r#"
import csv, json, sys
import numpy as np, polars as pl, pyarrow.dataset as ds, pyarrow.parquet as pq

want = {(int(r["row"]), int(r["target"][1:])): float(r["score"]) for r in csv.DictReader(open("want.csv"))}
targets = pl.read_parquet("m/targets.parquet")
rows, scores = None, []
for name in targets["scores"].unique(maintain_order=True):
    part = pl.read_parquet(f"m/{name}/*.parquet")
    rows = part["row"].to_numpy()
    scores.append(part["scores"].to_numpy())
scores = np.concatenate(scores, axis=1)
assert scores.shape == (1999, 12) and scores.dtype == np.float32, (scores.shape, scores.dtype)
assert json.load(open("m/matrix.json"))["rows"] == 1999

table = pq.read_table("m.parquet")
whole = table["scores"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
assert np.array_equal(whole, scores)
listed = json.loads(pq.read_metadata("m.parquet").metadata[b"gstore.targets"])
assert [t["id"] for t in listed] == targets["id"].to_list()
assert table["id"][0].as_py() == "pool0"
assert ds.dataset("m/scores-000").to_table().num_rows == 1999
for i, row in enumerate(rows):
    for t in range(12):
        assert abs(scores[i, t] - want[(int(row), t)]) <= 1e-6, (row, t)
print("read")
"#;

#[test]
fn pyarrow_polars_and_numpy_read_what_sql_says() {
    let Some(python) = binary::python("import pyarrow, polars, numpy") else { return };
    let place = place();
    place.ok(&args("m", MEMORY));
    place.ok(&args("m.parquet", "1GiB"));
    let sql = "SELECT row, target, score FROM influence('pool', 'q', each => 'sample', k => 2000)";
    place.ok(&["query", "--format", "csv", "-o", "want.csv", sql]);
    let output = Command::new(python).args(["-c", READ]).current_dir(place.path("")).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
