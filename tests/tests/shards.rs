//! Promise: `gstore ingest --shard` and `gstore attach` do on the command line what the library promises:
//! killed shards can be continued, a read-only store is enough to compute from, and errors say how to
//! proceed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use gstore_ingest::pipeline::Kind;
use gstore_ingest::projection::ProjectionSpec;
use gstore_store::Store;
use gstore_tests::{binary, world};

/// `gstore ingest` of the dataset `pool` with the demo's model.
pub fn ingest(store: &Path) -> Command {
    let mut command = binary::gstore(store);
    let demo = world::demo();
    command.args(["ingest", "--dataset", "pool", "--features", "grad-adam,loss", "--dim", "256"]);
    command.args(["--threads", "2", "--max-length", "512", "--batch-tokens", "512", "--run", "warmup"]);
    command.arg("--model").arg(demo.join("model"));
    for checkpoint in world::demo_checkpoints().into_iter().take(2) {
        command.arg("--checkpoints").arg(checkpoint.folder().expect("an adapter"));
    }
    command
}

fn shard(store: &Path, shard: &str, out: &Path) -> Command {
    let mut command = ingest(store);
    command.args(["--shard", shard]).arg("--out").arg(out);
    command
}

#[test]
fn killed_shards_go_on_and_end_as_one_process_would() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");
    let two_windows = |path: &Path| {
        let store = Store::create(path).expect("created");
        world::two_windows(&store, "pool", &data);
        store
    };
    let expected = two_windows(&dir.path().join("expected"));
    let mut request = world::request("pool", &[Kind::GradAdam, Kind::Loss]);
    request.projection = ProjectionSpec { dim: 256, ..ProjectionSpec::default() }.into();
    world::run(&expected, request).expect("ingested");

    let path = dir.path().join("s");
    two_windows(&path);
    let out: Vec<PathBuf> = (1..=2).map(|i| dir.path().join(format!("shard{i}"))).collect();
    let mut delay = Duration::from_millis(60);
    for _ in 0..7 {
        let mut child = binary::start(&mut shard(&path, "1/2", &out[0]));
        std::thread::sleep(delay);
        if child.try_wait().expect("a state").is_some() {
            break;
        }
        // While it lives, no other process may have its folder.
        let second = binary::run(&mut shard(&path, "1/2", &out[0]));
        assert!(
            second.code == 0 || (second.code == 1 && second.stderr.contains("in use by another process")),
            "{}",
            second.stderr
        );
        // It may have ended by itself meanwhile.
        let _ = child.kill();
        child.wait().expect("gone");
        delay = delay.mul_f64(1.6);
    }
    for i in [1, 0] {
        binary::ok(&mut shard(&path, &format!("{}/2", i + 1), &out[i]));
    }
    binary::run(&mut shard(&path, "2/2", &out[1])).says(0, &["is finished; nothing to do"]);

    let dry = binary::ok(binary::gstore(&path).args(["attach", "--dry-run"]).args(&out));
    assert!(dry.contains("would be attached") && dry.contains("nothing was changed"), "{dry}");
    let json = binary::ok(binary::gstore(&path).args(["attach", "--json"]).arg(&out[1]));
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(report["features"][0]["missing_shards"], serde_json::json!(["1/2"]));
    let text = binary::ok(binary::gstore(&path).arg("attach").args(&out));
    assert!(text.contains("attached already") && text.contains("complete"), "{text}");
    let store = Store::open(&path).expect("opens");
    assert_eq!(world::digests(&store), world::digests(&expected));
    binary::run(&mut ingest(&path)).says(0, &["nothing to compute"]);
}

#[test]
fn rows_are_cut_evenly_and_shards_without_rows_say_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s");
    world::created(&path, 30);
    let run = |name: &str, out: &str| binary::done(&mut shard(&path, name, &dir.path().join(out))).stderr;
    for (i, rows) in [(1, 8), (2, 8), (3, 7), (4, 7)] {
        let said = run(&format!("{i}/4"), &format!("quarter{i}"));
        assert!(said.contains(&format!("shard {i}/4 is finished: {rows} rows of pool")), "{said}");
        assert!(!said.contains("has work for"), "{said}");
    }
    let said = run("32/40", "none");
    assert!(said.contains("pool has work for 30 shards; from 31/40 on they are empty"), "{said}");
    assert!(said.contains("shard 32/40 is finished: 0 rows of pool"), "{said}");
    let folders: Vec<PathBuf> = (1..=4).map(|i| dir.path().join(format!("quarter{i}"))).collect();
    let text = binary::ok(binary::gstore(&path).arg("attach").args(&folders));
    assert!(text.contains("complete"), "{text}");
    binary::run(&mut ingest(&path)).says(0, &["nothing to compute"]);
}

#[test]
fn shards_of_other_options_are_not_attached_together() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s");
    world::created(&path, 30);
    let number = || Store::open(&path).expect("opens").snapshot().expect("readable").number();
    let out = |name: &str| dir.path().join(name);
    let losses = |shard: &str, max_length: &str, name: &str| {
        let mut command = binary::gstore(&path);
        command.args(["ingest", "--dataset", "pool", "--features", "loss", "--threads", "2"]);
        command.args(["--max-length", max_length, "--shard", shard]).arg("--out").arg(out(name));
        binary::ok(command.arg("--model").arg(world::demo().join("model")));
    };
    losses("1/2", "512", "one");
    losses("2/2", "256", "other");
    let before = number();
    let said = ["are of different jobs: feature pool/loss@base, max_length ", "of one job only"];
    for dry in [&["--dry-run"][..], &[]] {
        let mut attach = binary::gstore(&path);
        attach.arg("attach").args(dry).args([out("one"), out("other")]);
        binary::run(&mut attach).says(1, &said);
    }
    assert_eq!(number(), before);
    for name in ["one", "other"] {
        binary::ok(binary::gstore(&path).arg("attach").arg(out(name)));
    }
    let snapshot = Store::open(&path).expect("opens").snapshot().expect("readable");
    let labels: Vec<&str> = snapshot.features().iter().map(|part| part.attrs.label.as_str()).collect();
    assert!(
        labels.len() == 2 && labels[0] == "loss@base" && labels[1].starts_with("loss@base:"),
        "{labels:?}"
    );
}

#[test]
fn wrong_usage_is_explained() {
    let dir = tempfile::tempdir().expect("a folder");
    let [path, out, data] = ["s", "o", "pool.jsonl"].map(|name| dir.path().join(name));
    world::created(&path, 5);
    let refused = |command: &mut Command, code: i32, says: &str| {
        binary::run(command).says(code, &[says]);
        assert!(!out.exists());
    };
    refused(&mut shard(&path, "0/4", &out), 2, "the first is 1/4");
    refused(&mut shard(&path, "5/4", &out), 2, "the last is 4/4");
    refused(&mut shard(&path, "half", &out), 2, "write i/n");
    refused(ingest(&path).args(["--shard", "1/2"]), 2, "--out");
    refused(ingest(&path).args(["--snapshot", "1"]), 2, "--shard");
    refused(shard(&path, "1/2", &out).arg("--data").arg(&data), 2, "gstore add");
    refused(shard(&path, "1/2", &out).args(["--limit", "3"]), 2, "--limit and --shard");
    refused(&mut shard(&path, "1/2", &path.join("tmp/x")), 1, "inside the store");
    refused(shard(&path, "1/2", &out).args(["--snapshot", "99"]), 1, "no snapshot 99");
    refused(binary::gstore(&path).arg("attach"), 2, "DIR");
    refused(binary::gstore(&path).arg("attach").arg(&out), 1, "nothing of that name");
}
