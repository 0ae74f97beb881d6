//! Promise: a full disk, or a limit on file sizes, is a clear error, loses nothing, and the same command
//! works once there is space. A disk that cannot be written to is detected before any work.

use std::path::{Path, PathBuf};
use std::process::Command;

use gstore_tests::binary::Finished;
use gstore_tests::disk::SmallDisk;
use gstore_tests::place::Place;
use gstore_tests::{binary, world};

use crate::factors::{self, fit};
use crate::served::{Served, token};
use crate::staged::{go, ran};

#[test]
fn a_full_disk_loses_nothing_and_the_same_command_goes_on() {
    let Some(disk) = SmallDisk::mount(1200) else { return };
    let data = tempfile::tempdir().expect("a folder");
    world::write_samples(&data.path().join("small.jsonl"), 20);
    world::write_samples(&data.path().join("large.jsonl"), 600);
    let store = disk.path("store");
    let ingest = |dataset: &str, file: &str| {
        let mut command = binary::gstore(&store);
        command.args(["ingest", "--dataset", dataset, "--features", "grad-sgd", "--dim", "1024", "--data"]);
        command.arg(data.path().join(file)).arg("--model").arg(world::demo().join("model"));
        command.arg("--checkpoints").arg(world::demo().join("warmup/checkpoint-*"));
        command
    };
    binary::ok(&mut ingest("small", "small.jsonl"));
    let query =
        "SELECT id, score FROM influence('small', 'small', kind => 'grad-sgd') ORDER BY score DESC LIMIT 5";
    let answer = binary::ok(binary::gstore(&store).args(["query", "--format", "csv", query]));

    // What a killed command left behind.
    let leftover = store.join("samples/1/00000000-0000-4000-8000-000000000000.parquet");
    fs_err::write(&leftover, [1]).expect("written");
    // What cannot fit is refused before anything is registered or computed.
    let dry = binary::ok(ingest("large", "large.jsonl").arg("--dry-run"));
    let line = dry.lines().find(|line| line.starts_with("disk ")).expect("a line on the disk");
    assert!(line.contains("MiB") && line.ends_with(" free"), "{line}");
    let refused = || {
        let finished = binary::run(&mut ingest("large", "large.jsonl"));
        finished.says(1, &["more on disk", "are free there", "--dry-run", "--force"]);
    };
    refused();
    let datasets = ["query", "--format", "csv", "SELECT count(*) FROM gstore.datasets"];
    assert_eq!(binary::ok(binary::gstore(&store).args(datasets)).lines().nth(1), Some("1"));
    assert!(
        fs_err::read_dir(store.join("tmp")).expect("listed").all(|f| !f
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .starts_with("append-"))
    );

    let failed = binary::run(ingest("large", "large.jsonl").arg("--force"));
    failed.says(1, &["No space left on device", "free some space there"]).lacks(&["panicked"]);
    assert!(failed.stderr.contains("gstore gc --drop-jobs"), "{}", failed.stderr);
    assert!(unfinished(&store).is_empty(), "{:?}", unfinished(&store));
    assert_eq!(binary::ok(binary::gstore(&store).args(["query", "--format", "csv", query])), answer);
    assert!(binary::ok(binary::gstore(&store).arg("verify")).contains(" 0 problems"));
    // Its samples are registered now; what is missing of their vectors is refused all the same.
    refused();

    // Not a byte is left: what only removes still works, and what does not says what to do.
    let _ = fs_err::write(disk.path("fill"), vec![1; 2 << 20]);
    let shorter = ["gc", "--keep", "1", "--keep-within", "0d"];
    let failed = binary::run(binary::gstore(&store).args(shorter));
    failed.says(1, &["nothing was removed", "free some space there", "--keep N"]);
    let wide = "SELECT id, repeat('x', 100000) AS x FROM small";
    let failed = binary::run(binary::gstore(&store).args(["query", wide, "-o"]).arg(disk.path("all.csv")));
    failed.says(1, &["the disk is full: free some space"]);
    assert!(!disk.path("all.csv").exists());
    binary::ok(binary::gstore(&store).args(["gc", "--keep", "1000"]));
    assert!(!leftover.exists());

    disk.resize(64 << 10);
    fs_err::remove_file(disk.path("fill")).expect("it is there");
    binary::ok(&mut ingest("large", "large.jsonl"));
    assert_eq!(binary::ok(binary::gstore(&store).args(["query", "--format", "csv", query])), answer);
    assert!(binary::ok(binary::gstore(&store).arg("verify")).contains(" 0 problems"));
}

#[test]
fn a_new_store_without_room_is_named_by_its_place() {
    let Some(disk) = SmallDisk::mount(1200) else { return };
    let data = tempfile::tempdir().expect("a folder");
    world::write_samples(&data.path().join("large.jsonl"), 600);
    let store = disk.path("store");
    let mut command = binary::gstore(&store);
    command.args(["ingest", "--dataset", "large", "--features", "grad-sgd", "--dim", "1024", "--data"]);
    command.arg(data.path().join("large.jsonl")).arg("--model").arg(world::demo().join("model"));
    command.arg("--checkpoints").arg(world::demo().join("warmup/checkpoint-*"));
    let failed = binary::run(&mut command);
    failed.says(1, &[]);
    let named = format!("{} will take about", store.display());
    assert!(failed.stderr.contains(&named) && !failed.stderr.contains(".gstore-new"), "{}", failed.stderr);
    assert!(!store.exists());
}

#[test]
fn vectors_of_the_long_rows_at_the_end_are_counted_before_they_are_computed() {
    let Some(disk) = SmallDisk::mount(1200) else { return };
    let data = tempfile::tempdir().expect("a folder");
    // Were all rows as short as the first 256, their vectors would have room.
    world::write_growing_texts(&data.path().join("growing.jsonl"), 600);
    let store = disk.path("store");
    let command = |words: &str| {
        let mut command = binary::gstore(&store);
        command.args(words.split(' ')).args(["--dataset", "growing"]);
        command
    };
    let ingest = || {
        let mut command = command("ingest --features loss --per-token --max-length 512");
        command.arg("--model").arg(world::demo().join("model"));
        command
    };
    let data = data.path().join("growing.jsonl");
    let refused = ["more on disk", "are free there"];
    binary::run(ingest().arg("--data").arg(&data)).says(1, &refused);
    assert!(!store.exists());
    binary::ok(command("add").arg("--data").arg(&data));
    binary::run(&mut ingest()).says(1, &refused);
}

#[test]
fn a_spill_folder_that_is_full_or_cannot_be_used_is_told_as_the_server_s() {
    let Some(disk) = SmallDisk::mount(256) else { return };
    let place = Place::with_store();
    let token = token(&place, "laptop");
    let folder = disk.path("spill");
    let spill = folder.display().to_string();
    let server = Served::start(&place, &["--spill", &spill, "--memory", "64MiB"]);
    let sql = "SELECT count(DISTINCT range % 1000000) FROM range(1500000)";
    let ask = || place.run(&["query", sql, "--remote", &server.address, "--token", &token]);
    let full = ask();
    full.says(1, &["no space is left in the server's spill folder", "select fewer rows"]);
    full.lacks(&["disk is full", "os error"]);

    disk.resize(256 << 10);
    let answered = ask();
    assert!(answered.code == 0 && answered.stdout.contains("1000000"), "{}", answered.stderr);
    fs_err::remove_dir(&folder).expect("files in it have no names");
    assert_eq!(ask().code, 0);
    fs_err::remove_dir(&folder).expect("it was made again");
    fs_err::write(&folder, "").expect("written");
    let away = ask();
    away.says(1, &["the server's spill folder cannot be used: ", "; its log names it"]);
    assert!(!away.stderr.contains(&spill) && place.read("serve.log").contains(&spill), "{}", away.stderr);
}

#[test]
fn a_shard_without_room_leaves_its_folder_to_another() {
    let Some(disk) = SmallDisk::mount(1200) else { return };
    let place = Place::of(&[("pool", 600)]);
    place.add("pool");
    let shard = |features: &[&str]| {
        let mut command = place.with_model("ingest --dataset pool --shard 1/1");
        command.arg("--out").arg(disk.path("shard"));
        command.arg("--checkpoints").arg(world::demo().join("warmup/checkpoint-*"));
        binary::run(command.arg("--features").args(features))
    };
    shard(&["grad-sgd", "--dim", "1024"]).says(1, &["more on disk", "compute fewer features"]);
    assert!(!disk.path("shard").exists());
    shard(&["loss"]).says(0, &["shard 1/1 is finished"]);
    // With sealed vectors it is claimed, however much room there is.
    shard(&["grad-sgd", "--dim", "1024"]).says(1, &["is the folder of another shard"]);
}

#[test]
fn a_training_goes_on_from_its_last_checkpoint_and_a_merge_begins_again() {
    // One checkpoint has room, and a second has not.
    let Some(disk) = SmallDisk::mount(480) else { return };
    let data = tempfile::tempdir().expect("a folder");
    world::write_samples(&data.path().join("pool.jsonl"), 6);
    let model = world::demo().join("model");
    let train = || {
        let mut command = binary::bare(data.path());
        command.args(["train", "--data", "pool.jsonl", "--max-length", "64", "--max-steps", "3"]);
        command.args(["--save-strategy", "steps", "--save-steps", "1", "--output"]).arg(disk.path("tuned"));
        command.arg("--model").arg(&model);
        command
    };
    let failed = binary::run(&mut train());
    let words = [
        "No space left",
        "the last checkpoint is",
        "checkpoint-1",
        "free some space",
        "run the same command again",
    ];
    failed.says(1, &words).lacks(&["ZipWriter"]);
    let merge = || {
        let mut command = binary::bare(data.path());
        command.arg("merge").arg(disk.path("tuned/checkpoint-1")).arg("--model").arg(&model);
        command.arg("-o").arg(disk.path("merged"));
        command
    };
    let failed = binary::run(&mut merge());
    failed.says(1, &["what was unfinished is removed"]);
    assert!(failed.stderr.contains("No space left") && !disk.path("merged").exists(), "{}", failed.stderr);

    disk.resize(16 << 10);
    binary::ok(&mut train());
    assert!(disk.path("tuned/checkpoint-3").exists());
    binary::ok(&mut merge());
}

#[test]
fn a_limit_of_the_size_of_files_loses_nothing_and_the_same_command_goes_on() {
    let place = Place::of(&[("small", 20)]);
    place.add("small");
    // 12 MB of hexadecimal digits of a generator, which are compressed to half of that at best.
    let mut state = 1_u64;
    let mut digits = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    let mut lines = String::new();
    for i in 0..120 {
        let answer: String = (0..12_500).map(|_| digits()).collect();
        let messages = [("user", "Which?"), ("assistant", answer.as_str())]
            .map(|(role, content)| serde_json::json!({"role": role, "content": content}));
        lines += &format!("{}\n", serde_json::json!({"id": format!("l{i}"), "messages": messages}));
    }
    place.write("large.jsonl", lines);
    // 3 MiB.
    let failed = limited(&place, &["add", "--dataset", "large", "--data", "large.jsonl"], 6144);
    failed.says(1, &[".parquet", "File too large", "raise the limit (`ulimit -f`)"]).lacks(&["panicked"]);
    let files = world::files(&place.path("store"));
    assert!(!files.iter().any(|path| path.to_string_lossy().contains("append-")), "{files:?}");
    assert!(place.ok(&["verify"]).contains(" 0 problems"));
    place.add("large");
    for (dataset, count) in [("small", "20"), ("large", "120")] {
        let counted = place.ok(&["query", "--format", "csv", &format!("SELECT count(*) FROM {dataset}")]);
        assert_eq!(counted.lines().nth(1), Some(count));
    }
    assert!(place.ok(&["verify"]).contains(" 0 problems"));
}

#[test]
fn graphs_without_room_are_refused_before_they_are_linked() {
    let Some(disk) = SmallDisk::mount(4096) else { return };
    let data = tempfile::tempdir().expect("a folder");
    let pool = data.path().join("pool.jsonl");
    world::write_samples(&pool, 60);
    let store = disk.path("store");
    let mut ingest = binary::gstore(&store);
    ingest.args(["ingest", "--dataset", "pool", "--features", "embed-mean", "--data"]).arg(&pool);
    ingest.arg("--model").arg(world::demo().join("model"));
    binary::ok(ingest.arg("--checkpoints").arg(world::demo().join("warmup/checkpoint-*")));
    // The last 16 KiB take what a command writes before.
    let fill = disk.path("fill");
    let _ = fs_err::write(&fill, vec![1; 8 << 20]);
    let len = fs_err::metadata(&fill).expect("it is there").len();
    fs_err::OpenOptions::new()
        .write(true)
        .open(&fill)
        .and_then(|file| file.set_len(len - (16 << 10)))
        .expect("cut");
    let index = || binary::run(binary::gstore(&store).args(["index", "--hnsw", "--dataset", "pool"]));
    index().says(1, &["the graphs of pool/embed-mean@", "more on disk", "are free there; free some"]);
    fs_err::remove_file(&fill).expect("removed");
    index().says(0, &[]);
    assert!(binary::ok(binary::gstore(&store).arg("verify")).contains(" 0 problems"));
}

#[test]
fn a_graph_that_cannot_be_written_says_why_and_where() {
    let place = Place::of(&[("pool", 60)]);
    place.ingested("pool", Some(&place.path("pool.jsonl")), "embed-mean");
    let index = ["index", "--hnsw", "--dataset", "pool"];
    // 8 KiB or 16; the vectors alone take 15, and their links as much again.
    let failed = limited(&place, &index, 16);
    failed.says(1, &["store/tmp/index-", "File too large", "raise the limit (`ulimit -f`)"]);
    failed.lacks(&["usearch could not"]);
    place.ok(&index);
    assert!(place.ok(&["verify"]).contains(" 0 problems"));
}

/// Runs a command that writes files of at most so many blocks of 512 bytes, or of twice that in some shells.
fn limited(place: &Place, args: &[&str], blocks: u32) -> Finished {
    let command = place.gstore(args);
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -f {blocks} && exec \"$@\""), "-"]);
    limited.arg(command.get_program()).args(command.get_args());
    binary::run(limited.current_dir(place.path("")))
}

#[test]
fn exported_factors_appear_whole_and_take_the_place_of_older_ones_only() {
    let place = factors::place();
    fit(&place, "f", &["--strategy", "diagonal"]);
    let export = ["factors", "export", "f", "ex/factors_f"];
    let forced = [&export[..], &["--force"]].concat();
    let names = || fs_err::read_dir(place.path("ex")).expect("listed").count();
    // Its eigenvalues take 128 KiB.
    let cut_short = |args: &[&str]| {
        let failed = limited(&place, args, 64);
        failed.says(1, &["ex/factors_f/lambda_matrix.safetensors", "File too large", "`ulimit -f`"]);
    };
    cut_short(&export);
    assert!(!place.path("ex").exists(), "it was made for the result");
    place.ok(&export);
    place.run(&export).says(2, &["ex/factors_f exists; --force replaces it"]);

    // What is there stays until the new ones are complete.
    let whole = world::bytes(&place.path("ex/factors_f"));
    cut_short(&forced);
    assert!(whole == world::bytes(&place.path("ex/factors_f")) && names() == 1);
    fs_err::remove_file(place.path("ex/factors_f/lambda_matrix.safetensors")).expect("removed");
    place.ok(&forced);
    assert!(whole == world::bytes(&place.path("ex/factors_f")) && names() == 1);
    place.write("ex/factors_f/notes.txt", "mine");
    place.run(&forced).says(2, &["ex/factors_f holds something other than exported factors"]);
    assert_eq!(place.read("ex/factors_f/notes.txt"), "mine");

    // A stage of a pipeline does so with those that it exported.
    place.write("p.toml", "[[stage]]\nname = 'export'\ncommand = 'factors export'\nargs = ['f', 'out']\n");
    for more in [&[][..], &["--force", "export"]] {
        assert_eq!(ran(&go(&place, more)), ["export"]);
    }
    assert!(whole == world::bytes(&place.path("out")));
}

#[test]
fn factors_without_room_are_refused_before_they_are_computed() {
    // Their eigenvalues take 128 KiB.
    let Some(disk) = SmallDisk::mount(64) else { return };
    let place = factors::place();
    let shared = disk.path("shared");
    let folder = shared.display().to_string();
    let begun = || factors::fit_run(&place, "f", &["--strategy", "diagonal", "--folder", &folder]);
    begun().says(1, &["more on disk", "are free there", "--dry-run", "--force"]);
    assert!(!shared.exists());
    disk.resize(16 << 10);
    begun().says(0, &[]);
}

#[test]
fn pictures_of_factors_appear_together() {
    let place = factors::place();
    fit(&place, "f", &["--strategy", "diagonal"]);
    let inspect = ["factors", "inspect", "f", "--layer", "1", "--plots", "plots", "-o", "f.csv"];
    // 2 or 4 KiB.
    limited(&place, &inspect, 4).says(1, &["plots/layer_1/", "File too large", "`ulimit -f`"]);
    assert!(world::files(&place.path("plots")).is_empty() && !place.path("f.csv").exists());
    place.ok(&inspect);
    assert_eq!(world::files(&place.path("plots")).len(), 4);
    // Those of other layers may stand next to them.
    let other = ["factors", "inspect", "f", "--layer", "2", "--plots", "plots"];
    place.ok(&other);
    place.run(&other).says(2, &["plots/layer_2/lambda_matrix.png exists; --force replaces it"]);
    place.ok(&[&other[..], &["--force"]].concat());
    assert_eq!(world::files(&place.path("plots")).len(), 8);
}

/// Files of the store that were begun and not finished.
fn unfinished(store: &Path) -> Vec<PathBuf> {
    let begun = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "part");
    world::files(store).into_iter().filter(begun).collect()
}

#[test]
fn a_store_that_cannot_be_written_is_named_before_any_work() {
    let Some(disk) = SmallDisk::mount(1200) else { return };
    let data = tempfile::tempdir().expect("a folder");
    let pool = data.path().join("pool.jsonl");
    world::write_samples(&pool, 5);
    let store = disk.path("store");
    binary::ok(binary::gstore(&store).args(["add", "--dataset", "pool", "--data"]).arg(&pool));
    disk.only_read();
    let says =
        format!("error: the store {} cannot be written: the file system is read-only", store.display());
    // Whatever else is wrong, or would take long.
    for args in [
        "add --dataset pool --data missing.jsonl",
        "ingest --dataset pool --data missing.jsonl --model missing --features loss",
        "prefilter fit cheap --pool pool --target missing --inputs tokens",
        "factors gram g --dataset missing",
        "index --sketch --dataset missing",
        "delete --dataset pool --id s1",
        "tag first",
        "compact",
        "gc",
    ] {
        let refused = binary::run(binary::gstore(&store).args(args.split(' ')));
        refused.says(1, &[]);
        assert!(refused.stderr.starts_with(&says), "{args}: {}", refused.stderr);
    }
    let other = disk.path("other");
    let on = |args: &str| binary::run(binary::gstore(&other).args(args.split(' '))).stderr;
    let says = format!("error: the store {} cannot be made: ", other.display());
    let made = on("ingest --dataset pool --data missing.jsonl --model missing --features loss");
    assert!(made.starts_with(&says) && made.contains("the file system is read-only"), "{made}");
    assert!(on("compact").contains("there is no store"), "{}", on("compact"));
    for args in ["ls", "tag", "prefilter list", "revert --to 0 --dry-run"] {
        binary::ok(binary::gstore(&store).args(args.split(' ')));
    }
}
