//! Promise: bad input gets a clear error and a non-zero exit code, and leaves the store as it was.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gstore_tests::binary::{self, Finished};
use gstore_tests::world;
use tempfile::TempDir;

/// A store with a small pool and target, and a folder for bad files.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().expect("a folder") };
        world::write_samples(&world.path("pool.jsonl"), 40);
        world::write_samples(&world.path("target.jsonl"), 8);
        binary::ok(
            world.ingest("pool", "grad-adam,embed-mean,loss").arg("--data").arg(world.path("pool.jsonl")),
        );
        binary::ok(
            world.ingest("target", "grad-sgd,embed-mean").arg("--data").arg(world.path("target.jsonl")),
        );
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gstore(&self) -> Command {
        binary::gstore(&self.path("store"))
    }

    fn ingest(&self, dataset: &str, features: &str) -> Command {
        let checkpoint = world::demo_adapter(0);
        self.ingest_with(dataset, features, &world::demo().join("model"), &checkpoint)
    }

    fn ingest_with(&self, dataset: &str, features: &str, model: &Path, checkpoint: &Path) -> Command {
        let mut command = self.gstore();
        let dim = if features.contains("grad") { " --dim 128" } else { "" };
        command.args(
            format!("ingest --dataset {dataset} --features {features}{dim} --run warmup --model").split(' '),
        );
        command.arg(model).arg("--checkpoints").arg(checkpoint);
        command
    }

    /// Runs a command that must fail with `code` and an error that has all of `words`,
    /// without a new snapshot.
    fn refused(&self, command: &mut Command, code: i32, words: &[&str]) {
        let before = fs_err::read(self.path("store/CURRENT")).expect("a store");
        binary::run(command).says(code, words).lacks(&["panicked"]);
        assert_eq!(
            fs_err::read(self.path("store/CURRENT")).expect("a store"),
            before,
            "{command:?} changed the store"
        );
    }

    fn add(&self, dataset: &str, content: &[u8]) -> Command {
        fs_err::write(self.path("bad.jsonl"), content).expect("written");
        let mut command = self.gstore();
        command.args(["add", "--dataset", dataset, "--data"]).arg(self.path("bad.jsonl"));
        command
    }

    /// A copy of a folder in which one file is changed or removed.
    fn damaged(&self, name: &str, from: &Path, change: impl FnOnce(&Path)) -> PathBuf {
        let to = self.path(name);
        world::copy_files(from, &to);
        change(&to);
        to
    }
}

#[test]
fn bad_samples_name_file_and_line() {
    let world = World::new();
    let ok = r#"{"id": "a", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}"#;
    let cases: &[(&str, &[&str])] = &[
        ("{\"id\": \"b\", ", &["bad.jsonl", "line 2"]),
        ("[1]", &["line 2"]),
        (r#"{"id": "b", "messages": []}"#, &["line 2", "messages"]),
        (
            r#"{"id": "b", "messages": [{"role": "robot", "content": "x"}]}"#,
            &["line 2", "robot", "assistant"],
        ),
        (r#"{"id": "b", "messages": [{"role": "user", "content": 3}]}"#, &["line 2", "content"]),
        (r#"{"id": "b", "what": 1}"#, &["line 2", "messages"]),
        (r#"{"id": "", "text": "x"}"#, &["line 2", "id"]),
        (&ok.replace('x', "z"), &["line 2", "\"a\""]),
        (ok, &["line 2", "\"a\""]),
        (
            r#"{"id": "b", "text": "x", "n": 1}
{"id": "c", "text": "x", "n": "one"}"#,
            &["n", "--column n:utf8"],
        ),
    ];
    for (line, words) in cases {
        world.refused(&mut world.add("fresh", format!("{ok}\n{line}\n").as_bytes()), 1, words);
    }
    world.refused(&mut world.add("fresh", b"{\"text\": \"\xff\"}\n"), 1, &["line 1", "UTF-8"]);
    world.refused(&mut world.add("Fresh!", ok.as_bytes()), 2, &["Fresh!"]);
    world.refused(&mut world.add("fresh", b"\n\n"), 1, &["bad.jsonl", "no samples"]);
    let missing = world.path("nowhere.jsonl");
    world.refused(
        world.gstore().args(["add", "--dataset", "fresh", "--data"]).arg(missing),
        1,
        &["nowhere.jsonl"],
    );
}

#[test]
fn common_mistakes_leave_no_new_store_and_none_changes_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs_err::write(&path, text).expect("written");
        path
    };
    let sample = |id: &str| format!("{{\"id\": \"{id}\", \"text\": \"x\"}}\n");
    let good = file("good.jsonl", &sample("good"));
    // Found by reading all of it: the second record repeats the id.
    let late = file("late.jsonl", &sample("a").repeat(2));
    let mistakes = [
        vec![dir.path().join("nowhere.jsonl")],
        vec![good.clone(), dir.path().join("nowhere.jsonl")],
        vec![file("notes.docx", "PK")],
        vec![good.clone(), file("no.parquet", "no table")],
        vec![file("bad.jsonl", &format!("{{\"id\": 1\n{}", sample("b")))],
        vec![file("empty.jsonl", "\n")],
    ];
    let store = dir.path().join("new/store");
    let model = world::demo().join("model");
    let add = |data: &[PathBuf], more: &[&str]| {
        let mut command = binary::gstore(&store);
        binary::run(command.args(["add", "--dataset", "pool", "--data"]).args(data).args(more))
    };
    let ingest = |data: &[PathBuf], model: &Path| {
        let mut command = binary::gstore(&store);
        command.args(["ingest", "--dataset", "pool", "--features", "loss", "--max-length", "64", "--data"]);
        binary::run(command.args(data).arg("--model").arg(model))
    };
    let all = || {
        let mut finished: Vec<Finished> = mistakes.iter().map(|data| add(data, &[])).collect();
        finished.extend(mistakes.iter().map(|data| ingest(data, &model)));
        finished.push(ingest(std::slice::from_ref(&good), dir.path()));
        finished.push(add(std::slice::from_ref(&good), &["--column", "n:complex"]));
        finished
    };
    for finished in all() {
        assert!([1, 2].contains(&finished.code), "{}", finished.stderr);
        assert!(!store.exists(), "{}", finished.stderr);
    }
    // A link to nothing is no place for a store, and no other process is to blame.
    fs_err::create_dir_all(dir.path().join("new")).expect("created");
    std::os::unix::fs::symlink("nothing", &store).expect("linked");
    add(std::slice::from_ref(&good), &[]).says(1, &["is a link to a place"]);
    fs_err::remove_file(&store).expect("removed");
    // A folder that was there stays as it was.
    fs_err::create_dir_all(&store).expect("created");
    assert_eq!(add(&mistakes[0], &[]).code, 1);
    assert_eq!(fs_err::read_dir(&store).expect("listed").count(), 0);
    // What shows only later leaves an empty store, which is a good one.
    let finished = add(std::slice::from_ref(&late), &[]);
    finished.says(1, &["line 2"]);
    binary::ok(binary::gstore(&store).arg("verify"));
    assert_eq!(add(std::slice::from_ref(&good), &[]).code, 0);
    // A store that was there is not touched.
    let before = fs_err::read(store.join("CURRENT")).expect("a store");
    for finished in all().into_iter().chain([add(&[late], &[])]) {
        assert!([1, 2].contains(&finished.code), "{}", finished.stderr);
    }
    assert_eq!(fs_err::read(store.join("CURRENT")).expect("a store"), before);
}

#[cfg(unix)]
#[test]
fn an_interrupted_add_says_that_nothing_was_added() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = dir.path().join("store");
    for command in ["add", "ingest --features loss --max-length 64"] {
        let mut gstore = binary::gstore(&store);
        gstore.args(command.split(' ')).args(["--dataset", "pool", "--data", "-"]);
        if command.starts_with("ingest") {
            gstore.arg("--model").arg(world::demo().join("model"));
        }
        gstore.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = gstore.spawn().expect("started");
        // Held open: the command waits for more. It asks for the signal before it reads the first byte.
        let mut input = child.stdin.take().expect("a pipe");
        let page = vec![b' '; 1 << 16];
        for _ in 0..4 {
            input.write_all(&page).expect("read by the command");
        }
        binary::interrupt(&child);
        let finished = Finished::from(child.wait_with_output().expect("ends"));
        drop(input);
        finished.says(130, &["stopped; nothing was added"]).lacks(&["error:"]);
        assert!(!store.exists());
    }
}

#[test]
fn changed_lines_are_refused_and_the_same_file_adds_nothing() {
    let world = World::new();
    let again = binary::run(
        world.gstore().args(["add", "--dataset", "pool", "--data"]).arg(world.path("pool.jsonl")),
    );
    again.says(0, &["nothing to add"]);
    let text = fs_err::read_to_string(world.path("pool.jsonl")).expect("readable");
    let changed = text.replacen("Is 7 odd?", "Is 7 even?", 1);
    world.refused(&mut world.add("pool", changed.as_bytes()), 1, &["line 8", "s7", "different content"]);
    let twice = "{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"a\", \"text\": \"y\"}\n";
    let words = ["line 2", "occurs twice", "--duplicates first"];
    world.refused(&mut world.add("twice", twice.as_bytes()), 1, &words);
    binary::ok(world.add("pool", changed.as_bytes()).args(["--if-changed", "keep"]));
    // A changed line that comes twice is the same twice.
    let line = changed.lines().nth(7).expect("the line of s7");
    let twice = format!("{line}\n{line}\n");
    let add = |more: &[&str]| {
        let mut command = world.add("pool", twice.as_bytes());
        binary::run(command.args(["--if-changed", "keep"]).args(more))
    };
    let refused = add(&[]);
    let says = "id \"s7\" is on an earlier";
    refused.says(1, &[says]);
    add(&["--duplicates", "first"]).says(0, &[]);
    binary::run(&mut world.ingest("pool", "grad-adam,embed-mean,loss")).says(0, &["nothing to compute"]);
}

#[test]
fn unknown_names_come_with_the_nearest() {
    let world = World::new();
    let select = |pool: &str, target: &str| {
        let mut command = world.gstore();
        command
            .args(["select", "--pool", pool, "--target", target, "--top", "3", "-o"])
            .arg(world.path("out.jsonl"));
        command
    };
    world.refused(&mut select("pol", "target"), 1, &["pol", "pool"]);
    world.refused(&mut select("pool", "targt"), 1, &["targt", "target"]);
    world.refused(&mut select("pool", "target:nothing"), 1, &["nothing"]);
    world.refused(
        select("pool", "target").args(["--checkpoints", "checkpoint-99999"]),
        1,
        &["checkpoint-99999"],
    );
    world.refused(select("pool", "target").args(["--within", "median"]), 2, &["median", "mean"]);
    world.refused(select("pool", "target").args(["--kind", "grad-sign"]), 1, &["grad-sign"]);
    let mut top = world.gstore();
    top.args(["select", "--pool", "pool", "--target", "target", "-o", "out.jsonl", "--top", "-5%"]);
    world.refused(&mut top, 2, &["cannot take the top `-5%`"]);
    // 2 % of 40 rows are less than one.
    for top in ["0%", "2%", "101%", "-3", "many", "5 %x"] {
        let mut command = world.gstore();
        command.args(["select", "--pool", "pool", "--target", "target", "-o"]).arg(world.path("out.jsonl"));
        command.arg(format!("--top={top}"));
        binary::run(&mut command).says(2, &[]);
    }
    // What is wrong whatever the store holds is said before one is looked for.
    for (top, why) in [
        ("0", "it asks for no rows"),
        ("110%", "above 0 and at most 100"),
        ("-1", "neither a number of rows nor a percentage"),
        ("5.5", "(say `500` or `5%`)"),
    ] {
        for command in [&["select", "-o", "out.jsonl"][..], &["plot", "scores"], &["plot", "overlap"]] {
            let mut words = binary::gstore(&world.path("nowhere"));
            words.args(command).args(["--pool", "pool", "--target", "target", "--top", top]);
            world.refused(&mut words, 2, &["--top <N|P%>", why]);
        }
    }
    world.refused(select("pool", "target").arg("--scores").arg(world.path("scores.xyz")), 2, &["scores.xyz"]);
    world.refused(world.gstore().args(["query", "SELECT nam FROM pool"]), 1, &["nam"]);
    world.refused(
        world.gstore().args(["query", "SELECT * FROM influence('pool', 'target', witin => 'mean')"]),
        1,
        &["witin", "within"],
    );
    world.refused(world.gstore().args(["query", "DROP TABLE pool"]), 1, &[]);
    world.refused(
        world.gstore().args(["ask", "--pool", "pool", "--prompt", "Is 7 odd?"]),
        2,
        &["a prompt alone has no loss", "--completion", "--text"],
    );
    world.refused(world.gstore().args(["info", "grad-adm@checkpoint"]), 1, &["there is no"]);
    world.refused(&mut world.ingest("poool", "loss"), 1, &["poool", "pool"]);
    world.refused(&mut world.ingest("pool", "grad-adan"), 2, &["grad-adan", "grad-adam"]);
    // A target in another space: the difference is named.
    let mut other = world.ingest("other", "grad-sgd");
    binary::ok(other.args(["--seed", "7", "--data"]).arg(world.path("target.jsonl")));
    world.refused(&mut select("pool", "other"), 1, &["projection"]);
    assert!(!world.path("out.jsonl").exists(), "a refused selection writes nothing");
}

#[test]
fn models_adapters_and_moments_that_do_not_fit_are_named() {
    let world = World::new();
    let model = world::demo().join("model");
    let checkpoint = world::demo_adapter(0);
    let edit = |file: &'static str, from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let path = folder.join(file);
            let text = fs_err::read_to_string(&path).expect("readable");
            assert!(text.contains(from), "{from} in {file}");
            fs_err::write(&path, text.replace(from, to)).expect("written");
        }
    };
    let remove =
        |file: &'static str| move |folder: &Path| fs_err::remove_file(folder.join(file)).expect("removed");

    let cases: Vec<(PathBuf, PathBuf, Vec<&str>)> = vec![
        (world.damaged("m1", &model, remove("config.json")), checkpoint.clone(), vec!["config.json"]),
        (
            world.damaged("m2", &model, remove("model.safetensors")),
            checkpoint.clone(),
            vec!["model.safetensors"],
        ),
        (
            world.damaged("m3", &model, remove("tokenizer.json")),
            checkpoint.clone(),
            vec!["no tokenizer.json", "tokenizer_config.json", "copy"],
        ),
        (
            world.damaged("m7", &model, |folder| {
                fs_err::rename(folder.join("tokenizer.json"), folder.join("tokenizer.model"))
                    .expect("renamed");
            }),
            checkpoint.clone(),
            vec!["no tokenizer.json", "tokenizer.model", "save_pretrained"],
        ),
        (
            world.damaged("m4", &model, edit("config.json", "LlamaForCausalLM", "MambaForCausalLM")),
            checkpoint.clone(),
            vec!["MambaForCausalLM", "Llama"],
        ),
        (
            world.damaged(
                "m5",
                &model,
                edit("config.json", "{", "{\"quantization_config\": {\"quant_method\": \"gptq\"},"),
            ),
            checkpoint.clone(),
            vec!["quanti"],
        ),
        (
            model.clone(),
            world.damaged("a1", &checkpoint, remove("adapter_config.json")),
            vec!["adapter_config.json"],
        ),
        (model.clone(), world.damaged("a2", &checkpoint, remove("optimizer.pt")), vec!["optimizer.pt"]),
        (
            model.clone(),
            world.damaged("a3", &checkpoint, |f| {
                fs_err::write(f.join("optimizer.pt"), b"PK\x03\x04 not much").expect("written")
            }),
            vec!["optimizer.pt"],
        ),
        (
            model.clone(),
            world.damaged("a4", &checkpoint, |f| {
                fs_err::write(f.join("adapter_model.safetensors"), [9; 64]).expect("written")
            }),
            vec!["adapter_model.safetensors"],
        ),
    ];
    for (model, checkpoint, words) in cases {
        world.refused(&mut world.ingest_with("pool", "grad-adam", &model, &checkpoint), 1, &words);
    }
    let bare = world.damaged("a5", &checkpoint, remove("optimizer.pt"));
    let mut normalised = world.ingest_with("pool", "grad-normalised", &model, &bare);
    world.refused(&mut normalised, 1, &["nor optimizer.bin; grad-normalised needs the moments"]);
    let fresh = world.damaged("m6", &model, remove("config.json"));
    let mut with_data = world.ingest_with("fresh", "grad-adam", &fresh, &checkpoint);
    world.refused(with_data.arg("--data").arg(world.path("pool.jsonl")), 1, &["config.json"]);
    let mut base = world.gstore();
    base.args(["ingest", "--dataset", "pool", "--features", "grad-adam", "--model"]).arg(&model);
    world.refused(&mut base, 1, &["optimizer moments", "grad-sgd"]);
}

#[test]
fn folders_that_are_no_store_and_newer_stores_are_refused() {
    let world = World::new();
    let ls = |path: &Path| binary::run(binary::gstore(path).arg("ls"));
    let plain = world.path("plain");
    fs_err::create_dir_all(&plain).expect("created");
    fs_err::write(plain.join("file"), "x").expect("written");
    for (path, word) in [
        (plain.as_path(), "not a"),
        (&world.path("nowhere"), "nowhere"),
        (&world.path("pool.jsonl"), "pool.jsonl"),
    ] {
        ls(path).says(1, &[word]);
    }
    let current = world.path("store/CURRENT");
    let text = fs_err::read_to_string(&current).expect("readable");
    fs_err::write(&current, text.replace("\"version\": 1", "\"version\": 999")).expect("written");
    let finished = ls(&world.path("store"));
    // A newer store is no damage.
    finished.says(1, &[]);
    assert!(finished.stderr.contains("newer") || finished.stderr.contains("999"), "{}", finished.stderr);
    fs_err::write(&current, text.replace("\"digest\": \"", "\"digest\": \"0")).expect("written");
    assert_eq!(ls(&world.path("store")).code, 3);
    let verified = binary::run(binary::gstore(&world.path("store")).arg("verify"));
    assert_eq!(verified.code, 3);
    let told =
        verified.stdout.contains("CURRENT is damaged: ") && !verified.stdout.contains("`gstore verify --all");
    assert!(told, "{}", verified.stdout);
    fs_err::remove_file(&current).expect("removed");
    fs_err::create_dir(&current).expect("made");
    ls(&world.path("store"))
        .says(3, &["CURRENT is damaged", "found a folder", "move what is in its place away"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let dir = tempfile::tempdir().expect("a folder");
    for args in
        [&["ingest"][..], &["select", "--pool", "a"], &["fly"], &["query", "--format", "xml", "SELECT 1"]]
    {
        let finished = binary::run(binary::gstore(dir.path()).args(args));
        assert_eq!(finished.code, 2, "{args:?}");
        let lists = finished.stderr.contains("add, ingest\n") && finished.stderr.contains("no command `fly`");
        assert_eq!(lists, args[0] == "fly", "{}", finished.stderr);
    }
    // What stands in a file is not blamed on a flag.
    fs_err::write(dir.path().join("gstore.toml"), "store = \"nowhere\"\nthreads = \"x\"\n").expect("written");
    let place = |key: &str| format!("`{key}` in {}", dir.path().join("gstore.toml").display());
    let mut of_file = binary::bare(dir.path());
    let finished = binary::run(of_file.arg("ls"));
    assert!(finished.stderr.contains(&place("threads = \"x\"")), "{}", finished.stderr);
    let finished = binary::run(of_file.args(["--threads", "1"]));
    let has = format!("{} has store = \"nowhere\"", dir.path().join("gstore.toml").display());
    finished.says(1, &[&has]);
    let finished = binary::run(of_file.args(["--stor", "s"]));
    finished.says(2, &[&format!("tip: a similar argument exists: '--store'\n  {has}\n")]);
    let ingest = ["ingest", "--dataset", "a", "--model", "m", "--features", "loss"];
    for (option, value, wanted) in [
        ("--limit", "-1", "at least 1"),
        ("--limit", "0", "at least 1"),
        ("--threads", "-2", "from 1 to 1024"),
        ("--threads", "100000", "from 1 to 1024"),
        ("--seed", "-1", "at least 0"),
        ("--embed-layer", "-1", "at least 0"),
        ("--dim", "-8", "from 1 to 16777216"),
        ("--max-length", "-1", "at least 1"),
        ("--label-smoothing", "-0.1", "at least 0"),
        ("--max-memory", "-1", "expected a size"),
        ("--max-memory", "-1GB", "expected a size"),
        ("--shard", "-1/4", "write i/n"),
    ] {
        let finished = binary::run(binary::gstore(dir.path()).args(ingest).args([option, value]));
        finished.says(2, &[option, value, wanted]);
    }
    // What would be ignored is refused.
    let select = ["select", "--pool", "p", "--target", "t", "--top", "3", "-o", "x"];
    for (args, named) in [
        ([&select[..], &["--quota-by", "source"]].concat(), "--quota"),
        (vec!["ask", "--pool", "p", "--text", "a b", "--explain", "i", "--top", "3"], "--top"),
        (vec!["index", "--sketch", "--sim", "dot", "--dataset", "p"], "--sim"),
        (vec!["index", "--evaluate", "--queries", "0", "--dataset", "p"], "--queries"),
    ] {
        binary::run(binary::gstore(dir.path()).args(&args)).says(2, &[named]);
    }
    let mut without = Command::new(binary::path());
    binary::run(without.arg("ls").env_remove("GSTORE_STORE")).says(2, &["--store"]);
    // An empty variable is none, and an option of the command line goes before it.
    binary::run(without.env("GSTORE_STORE", "")).says(2, &["which store?"]);
    binary::run(without.args(["--store", "nowhere"])).says(1, &["nowhere"]);
}

#[test]
fn samples_without_a_scored_token_are_flagged_counted_and_never_selected() {
    let world = World::new();
    let long = "word ".repeat(200);
    let cut = serde_json::json!({"id": "cut", "messages": [{"role": "user", "content": long}, {"role": "assistant", "content": "y"}]});
    let data = format!("{}{cut}\n", fs_err::read_to_string(world.path("pool.jsonl")).expect("readable"));
    fs_err::write(world.path("cut.jsonl"), data).expect("written");
    binary::ok(
        world.ingest("cut", "grad-adam").args(["--max-length", "64", "--data"]).arg(world.path("cut.jsonl")),
    );
    let out = world.path("selected.jsonl");
    let finished = binary::run(
        world
            .gstore()
            .args(["select", "--pool", "cut", "--target", "target", "--top", "100%", "-o"])
            .arg(&out),
    );
    finished.says(0, &["without a scored token"]);
    let selected = fs_err::read_to_string(&out).expect("readable");
    assert!(!selected.contains("\"cut\"") && selected.lines().count() == 40, "{}", selected.lines().count());
    let reasons = binary::ok(world.gstore().args([
        "query",
        "--format",
        "csv",
        "SELECT id, reason FROM excluded('cut', 'target')",
    ]));
    assert!(reasons.contains("cut,no_scored"), "{reasons}");
}

#[test]
fn a_selection_says_what_its_rules_did() {
    let world = World::new();
    let select = |quota: &str, by: &str, top: &str| {
        let mut command = world.gstore();
        command.args(["select", "--pool", "pool", "--target", "target", "--top", top, "--quota", quota]);
        command.args(["--quota-by", by, "--force", "-o"]).arg(world.path("out.jsonl"));
        command
    };
    // Before anything is scored or written.
    world.refused(&mut select("a=1", "sorce", "5"), 1, &["metadata column", "did you mean \"source\""]);
    world.refused(
        &mut select("a=1", "zzzz", "5"),
        1,
        &["metadata column `zzzz`", "`--quota-by ", "`source`"],
    );
    assert!(!world.path("out.jsonl").exists());
    let finished = binary::run(&mut select("a=1,b=1,c=1,d=7", "source", "30"));
    finished.says(0, &["the quota of `d` has no effect"]);
    let says = "30 rows were asked for; the rules of the selection leave 3 of the";
    assert!(finished.stderr.contains(says), "{}", finished.stderr);
    let finished = binary::run(&mut select("a=1", "source", "1000"));
    assert!(finished.stderr.contains("1000 rows were asked for; the rules"), "{}", finished.stderr);
    let mut plain = world.gstore();
    plain.args(["select", "--pool", "pool", "--target", "target", "--top", "1000", "--force", "-o"]);
    let finished = binary::run(plain.arg(world.path("out.jsonl")));
    assert!(
        finished.stderr.contains("1000 rows were asked for; only 40 can be ranked"),
        "{}",
        finished.stderr
    );
}
