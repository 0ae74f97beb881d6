//! Promise: a model without an adapter is ingested by its own modules, with the same result for any batches,
//! threads, memory and interruptions, and can be asked by module.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gstore_data::TextOptions;
use gstore_ingest::pipeline::{
    CheckpointArg, EmbeddingForm, IngestError, IngestRequest, Kind, ProjectionChoice,
};
use gstore_model::ComputePrecision;
use gstore_model::Reduction;
use gstore_store::{DType, Store};
use gstore_tests::{binary, world};

const KINDS: [Kind; 4] = [Kind::GradSgd, Kind::EmbedMean, Kind::EmbedWeighted, Kind::Loss];

/// The demo's model, without its adapters.
fn request(dataset: &str) -> IngestRequest {
    IngestRequest {
        checkpoints: vec![CheckpointArg::base()],
        projection: ProjectionChoice::Suitable { dim: 256, module_dim: 64, seed: 0, per_checkpoint: false },
        ..world::request(dataset, &KINDS)
    }
}

pub fn ingested(dir: &Path, name: &str, samples: usize, request: IngestRequest) -> Store {
    let store = world::created(&dir.join(name), samples);
    world::run(&store, request).expect("ingested");
    store
}

#[test]
fn batches_threads_and_memory_do_not_change_a_bit() {
    let dir = tempfile::tempdir().expect("a folder");
    // The last but one: `sum` alone is the label of the one before it, from which only `bf16` tells it.
    let expected = world::digests(&ingested(dir.path(), "whole", 300, request("pool")));
    assert_eq!(expected.len(), KINDS.len());

    let other = [
        ("small", IngestRequest { batch_tokens: 64, threads: 1, ..request("pool") }),
        ("large", IngestRequest { batch_tokens: 8192, ..request("pool") }),
        (
            "tight",
            IngestRequest { max_memory: Some(least_memory(&request("pool"), dir.path())), ..request("pool") },
        ),
    ];
    for (name, request) in other {
        assert_eq!(world::digests(&ingested(dir.path(), name, 300, request)), expected, "{name}");
    }
}

/// A limit that only the least memory-hungry way keeps.
fn least_memory(request: &IngestRequest, dir: &Path) -> u64 {
    let store = world::created(&dir.join("probe"), 300);
    let error =
        world::run(&store, IngestRequest { max_memory: Some(1), ..request.clone() }).expect_err("too little");
    let IngestError::MaxMemory { least, .. } = error else { panic!("{error}") };
    least
}

#[test]
fn other_questions_are_other_features() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = ingested(dir.path(), "store", 40, request("pool"));
    let mut features = world::digests(&store).len();
    let mut changes: Vec<(&str, IngestRequest)> = vec![
        ("bf16", IngestRequest { compute: ComputePrecision::Bf16, ..request("pool") }),
        ("bf16x3", IngestRequest { compute: ComputePrecision::Bf16x3, ..request("pool") }),
        (
            "sum",
            IngestRequest {
                reduction: Reduction::Sum,
                kinds: vec![Kind::GradSgd, Kind::Loss],
                ..request("pool")
            },
        ),
        (
            "layer",
            IngestRequest {
                embedding: EmbeddingForm { layer: Some(1), unit: true },
                kinds: vec![Kind::EmbedMean, Kind::EmbedLast],
                ..request("pool")
            },
        ),
    ];
    let grads = |request| IngestRequest { kinds: vec![Kind::GradSgd], ..request };
    changes.push(("i8", IngestRequest { dtype: DType::I8, ..grads(request("pool")) }));
    changes.push(("i1", IngestRequest { dtype: DType::I1, ..grads(request("pool")) }));
    let mut modules = grads(request("pool"));
    modules.modules.patterns = vec!["*.mlp.*".to_owned(), "*norm*".to_owned()];
    changes.push(("modules", modules));
    for (name, request) in changes {
        let added = request.kinds.len();
        world::run(&store, request).unwrap_or_else(|error| panic!("{name}: {error}"));
        features += added;
        assert_eq!(world::digests(&store).len(), features, "{name} is told apart from what was there");
    }
    let labels: Vec<String> = world::digests(&store).into_keys().collect();
    for label in [
        "grad-sgd@base",
        "grad-sgd@base:bf16",
        "grad-sgd@base:bf16x3",
        "grad-sgd@base:i8",
        "grad-sgd@base:i1",
        "loss@base:bf16",
        "grad-sgd@base:sum",
        "loss@base:sum",
        "embed-mean@base:layer_1+unit",
        // The plain name was free.
        "embed-last@base",
        "grad-sgd@base:mlp+norm",
    ] {
        assert!(labels.contains(&format!("pool/{label}")), "{label} is not in {labels:?}");
    }
}

/// The padding row is not part of the identity of a checkpoint.
#[test]
fn gradients_of_an_embedding_with_another_row_of_padding_are_another_feature() {
    let dir = tempfile::tempdir().expect("a folder");
    let (demo, other) = (world::demo().join("model"), dir.path().join("other"));
    world::copy_files(&demo, &other);
    let config = other.join("config.json");
    let text = fs_err::read_to_string(&config).expect("read");
    assert!(text.contains("\"pad_token_id\": 3"), "{text}");
    fs_err::write(&config, text.replace("\"pad_token_id\": 3", "\"pad_token_id\": 5")).expect("written");
    let of = |modules: &str, model: &Path| {
        let mut of = IngestRequest { kinds: vec![Kind::GradSgd], model: model.to_owned(), ..request("pool") };
        of.modules.patterns = vec![modules.to_owned()];
        of
    };
    let store = ingested(dir.path(), "store", 5, of("model.embed_tokens", &demo));
    let mut features = 1;
    for (modules, added) in [("model.embed_tokens", 1), ("*", 2), ("*.mlp.*", 1)] {
        for model in [&demo, &other] {
            world::run(&store, of(modules, model)).expect("ingested");
        }
        features += added;
        assert_eq!(world::digests(&store).len(), features, "{modules}");
    }
}

#[test]
fn a_label_says_what_is_unlike_the_plain_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let loss = |compute, reduction, max_length| IngestRequest {
        kinds: vec![Kind::Loss],
        compute,
        reduction,
        text: TextOptions { max_length, ..TextOptions::default() },
        ..request("pool")
    };
    // The variant comes first and gets the plain name.
    let store = ingested(dir.path(), "store", 5, loss(ComputePrecision::Bf16, Reduction::Mean, 512));
    for more in [
        loss(ComputePrecision::F32, Reduction::Mean, 512),
        loss(ComputePrecision::F32, Reduction::Sum, 512),
        loss(ComputePrecision::Bf16, Reduction::Sum, 512),
        loss(ComputePrecision::Bf16, Reduction::Sum, 256),
    ] {
        world::run(&store, more).expect("ingested");
    }
    let labels: Vec<String> = world::digests(&store).into_keys().collect();
    let expected = ["", ":bf16+sum", ":compute_f32", ":sum", ":sum+length_256"];
    assert_eq!(labels, expected.map(|rest| format!("pool/loss@base{rest}")));
}

#[test]
fn a_label_names_another_run_whatever_its_script() {
    let dir = tempfile::tempdir().expect("a folder");
    let loss = |run: &str, checkpoint: CheckpointArg| IngestRequest {
        kinds: vec![Kind::Loss],
        checkpoints: vec![CheckpointArg { name: "base".to_owned(), ..checkpoint }],
        run: run.to_owned(),
        ..request("pool")
    };
    let store = ingested(dir.path(), "store", 5, loss("warmup", CheckpointArg::base()));
    let trained = world::request("pool", &[Kind::Loss]).checkpoints;
    for (run, checkpoint) in ["größe", "a b"].into_iter().zip(trained) {
        world::run(&store, loss(run, checkpoint)).expect("ingested");
    }
    let labels: Vec<String> = world::digests(&store).into_keys().collect();
    let [plain, hashed, named] = &labels[..] else { panic!("{labels:?}") };
    assert_eq!([plain, named], ["pool/loss@base", "pool/loss@base:größe"]);
    // A space would end the label where a query names it.
    assert!(hashed.starts_with("pool/loss@base:") && hashed.is_ascii(), "{hashed}");
    let sql = "SELECT count(*) FROM vectors('pool', 'loss@base:größe')";
    binary::ok(binary::gstore(&dir.path().join("store")).args(["query", sql]));
}

#[test]
fn a_label_names_the_part_of_the_encoding_that_differs() {
    let dir = tempfile::tempdir().expect("a folder");
    let tokenizer = dir.path().join("tokenizer");
    world::other_tokenizer(&tokenizer);
    let loss = |tokenizer| IngestRequest {
        kinds: vec![Kind::Loss],
        text: TextOptions { max_length: 128, tokenizer, ..TextOptions::default() },
        ..request("pool")
    };
    let store = ingested(dir.path(), "store", 5, loss(None));
    world::run(&store, loss(Some(tokenizer))).expect("ingested");
    let labels: Vec<String> = world::digests(&store).into_keys().collect();
    assert_eq!(labels, ["pool/loss@base", "pool/loss@base:tokenizer"]);
}

#[test]
fn a_fine_tune_with_another_tokenizer_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");
    world::write_samples(&data, 5);
    let (store, tuned) = (dir.path().join("store"), dir.path().join("tuned"));
    fs_err::create_dir(&tuned).expect("created");
    for file in ["config.json", "model.safetensors"] {
        fs_err::copy(world::demo().join("model").join(file), tuned.join(file)).expect("copied");
    }
    let own = tuned.join("tokenizer.json");
    let text = fs_err::read_to_string(world::demo().join("model/tokenizer.json")).expect("read");
    fs_err::write(&own, text.replacen("\"add_prefix_space\": false", "\"add_prefix_space\": true", 1))
        .expect("written");
    let more = ["--features", "loss", "--checkpoints", &format!("full={}", tuned.display())];

    let base = world::demo().join("model").display().to_string();
    let told = ["`full`", &base, &own.display().to_string(), "pre_tokenizer", "--model"];
    binary::run(&mut ingest(&store, "pool", &data, &more)).says(1, &told);
    assert!(!store.exists(), "the samples of a refused checkpoint are not registered");

    fs_err::remove_file(&own).expect("removed");
    binary::ok(&mut ingest(&store, "pool", &data, &more));
}

#[test]
fn adapters_that_cannot_be_used_or_told_apart_are_refused_before_anything_is_registered() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");
    world::write_samples(&data, 5);
    let checkpoint = world::demo_checkpoints().swap_remove(0);
    for run in ["a", "b"] {
        world::copy_files(checkpoint.folder().expect("an adapter"), &dir.path().join(run).join("train"));
    }
    let store = dir.path().join("store");
    let refused = |checkpoints: &[String], says: &[&str]| {
        let mut command = ingest(&store, "pool", &data, &["--features", "loss", "--checkpoints"]);
        binary::run(command.args(checkpoints)).says(1, says);
        assert!(!store.exists());
    };
    let pattern = [format!("{}/*/train", dir.path().display())];
    refused(&pattern, &["two checkpoints are called `train`", "name=folder"]);
    let named = ["a", "b"].map(|run| format!("{run}={}/{run}/train", dir.path().display()));
    refused(&named, &["`a` and `b` hold the same weights"]);
    fs_err::create_dir_all(dir.path().join("c/train")).expect("created");
    refused(&pattern, &["c/train has no adapter_config.json"]);
}

#[test]
fn texts_with_a_token_of_the_fine_tune_are_named_at_once_and_before_anything_is_registered() {
    let dir = tempfile::tempdir().expect("a folder");
    let (data, tuned) = (dir.path().join("pool.jsonl"), dir.path().join("tuned"));
    fs_err::create_dir(&tuned).expect("created");
    for file in ["config.json", "model.safetensors"] {
        fs_err::copy(world::demo().join("model").join(file), tuned.join(file)).expect("copied");
    }
    let text = fs_err::read_to_string(world::demo().join("model/tokenizer.json")).expect("read");
    let mut tokenizer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let added = tokenizer["added_tokens"].as_array_mut().expect("a list");
    let number = 768 + added.len();
    added.push(serde_json::json!({
        "id": number, "content": "<|think|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    }));
    fs_err::write(tuned.join("tokenizer.json"), tokenizer.to_string()).expect("written");
    let samples: String = (0..20)
        .map(|i| {
            let text = if i % 3 == 1 { "a <|think|> b" } else { "a b" };
            format!("{{\"id\": \"s{i}\", \"text\": \"{text}\"}}\n")
        })
        .collect();
    fs_err::write(&data, samples).expect("written");
    let tuned = format!("full={}", tuned.display());
    let more = ["--features", "loss", "--template", "plain", "--checkpoints", &tuned];
    let store = dir.path().join("store");
    let found = ["7 of 20 samples", "\"<|think|>\"", "--model"];
    let told = ["pool.jsonl, line 2;", "line 14; ...", "nothing was registered"];
    binary::run(&mut ingest(&store, "pool", &data, &more)).says(1, &[&found[..], &told].concat());
    assert!(!store.exists());

    // Registered for the base alone, they are found before any work.
    binary::ok(&mut ingest(&store, "pool", &data, &more[..4]));
    let before = fs_err::read(store.join("CURRENT")).expect("a store");
    let mut stored = binary::gstore(&store);
    stored.args(["ingest", "--dataset", "pool", "--max-length", "256"]).args(more);
    stored.arg("--model").arg(world::demo().join("model"));
    let told = ["s1; s4;", "gstore delete --dataset pool"];
    binary::run(&mut stored).says(1, &[&found[..], &told].concat());
    assert_eq!(fs_err::read(store.join("CURRENT")).expect("a store"), before);
    assert!(
        !fs_err::read_dir(store.join("tmp"))
            .expect("listed")
            .any(|entry| { entry.expect("an entry").file_name().to_string_lossy().starts_with("job-") })
    );
}

#[test]
fn a_mask_that_misses_the_gradients_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");
    world::write_samples(&data, 40);
    let checkpoint = world::demo_adapter(0).display().to_string();
    let cases: [(&str, &[&str], Option<&str>); 4] = [
        ("factors", &["--projection", "fact_mask", "--module-dim", "64"], Some("--projection fact_sjlt")),
        ("formed", &["--projection", "mask", "--dim", "512"], Some("--projection sjlt")),
        (
            "adapter",
            &["--projection", "mask", "--dim", "512", "--checkpoints", &checkpoint],
            Some("--projection sjlt"),
        ),
        ("other", &["--projection", "fact_sjlt", "--module-dim", "64"], None),
    ];
    for (name, more, better) in cases {
        let store = dir.path().join(name);
        let dry = binary::run(
            ingest(&store, "pool", &data, &["--features", "grad-sgd"]).args(more).arg("--dry-run"),
        );
        let real = binary::run(ingest(&store, "pool", &data, &["--features", "grad-sgd"]).args(more));
        for finished in [dry, real] {
            finished.says(0, &[]);
            let said = finished.stderr.contains("kurtosis above 10, up to ");
            assert_eq!(said, better.is_some(), "{name}: {}", finished.stderr);
            assert!(
                better.is_none_or(|better| finished.stderr.contains(better)),
                "{name}: {}",
                finished.stderr
            );
        }
    }
}

fn ingest(store: &Path, dataset: &str, data: &Path, more: &[&str]) -> Command {
    let mut command = binary::gstore(store);
    command.args(["ingest", "--dataset", dataset, "--max-length", "256", "--threads", "2"]);
    command.arg("--data").arg(data).arg("--model").arg(world::demo().join("model")).args(more);
    command
}

#[test]
fn modules_can_be_explained_and_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let (pool, target) = (dir.path().join("pool.jsonl"), dir.path().join("target.jsonl"));
    world::write_samples(&pool, 60);
    world::write_samples(&target, 5);
    let store = dir.path().join("store");
    let more = ["--features", "grad-sgd,loss", "--module-dim", "64"];

    let explained = binary::ok(ingest(&store, "pool", &pool, &more).arg("--explain"));
    for part in ["fact_sjlt", "self_attn.q_proj", "mlp.down_proj", "factors"] {
        assert!(explained.contains(part), "{part} is not in\n{explained}");
    }
    assert!(!store.exists(), "an explanation leaves nothing behind");

    binary::ok(&mut ingest(&store, "pool", &pool, &more));
    binary::ok(&mut ingest(&store, "target", &target, &more));
    let query = |options: &str| {
        let sql =
            format!("SELECT id, score FROM influence('pool', 'target'{options}) ORDER BY score DESC LIMIT 3");
        binary::run(binary::gstore(&store).args(["query", "--format", "csv", &sql]))
    };
    let all = query("");
    let mlp = query(", modules => '*.mlp.*'");
    let same = query(", modules => '*=1'");
    let two = query(", modules => '*.mlp.*, *.self_attn.*=0.5'");
    let list = query(", modules => ['*.mlp.*', '*.self_attn.*=0.5']");
    assert_eq!((list.code, &list.stdout), (0, &two.stdout), "{}", list.stderr);
    assert_ne!(two.stdout, mlp.stdout);
    assert_eq!((all.code, mlp.code), (0, 0), "{}{}", all.stderr, mlp.stderr);
    assert_eq!(all.stdout, same.stdout);
    assert_ne!(all.stdout, mlp.stdout);
    query(", modules => '*.mlp.*, no.such=0.5'").says(1, &["no.such' matches no module of", "self_attn"]);
}

#[test]
fn what_a_model_cannot_do_is_said_before_any_work() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");
    world::write_samples(&data, 5);
    let store = dir.path().join("store");
    for (more, parts) in [
        (vec!["--features", "grad-sgd", "--modules", "*.nothing"], vec!["matches no module", "self_attn"]),
        (vec!["--features", "grad-sgd", "--modules", "["], vec!["--modules ["]),
        (vec!["--features", "grad-adam"], vec!["moments", "grad-sgd"]),
        (vec!["--features", "loss", "--loss", "kl"], vec!["no LoRA adapter"]),
        (vec!["--features", "embed-mean", "--embed-layer", "99"], vec!["--embed-layer 99", "layers"]),
        (
            vec!["--features", "grad-sgd", "--max-memory", "1MB"],
            vec!["--max-memory", "needs about", "or give a smaller --batch-tokens or --module-dim"],
        ),
    ] {
        binary::run(&mut ingest(&store, "pool", &data, &more)).says(1, &parts);
    }
    for more in [vec!["--max-memory", "much"], vec!["--label-smoothing", "2"], vec!["--projection", "magic"]]
    {
        let mut arguments = vec!["--features", "grad-sgd"];
        arguments.extend(&more);
        assert_eq!(binary::run(&mut ingest(&store, "pool", &data, &arguments)).code, 2, "{more:?}");
    }
    for more in [["--projection", "sjlt"], ["--dim", "8"], ["--module-dim", "8"], ["--seed", "1"]] {
        let arguments = [&["--features", "loss,embed-mean"][..], &more].concat();
        let says = format!("{} has no effect: no kind in --features is a gradient", more[0]);
        binary::run(&mut ingest(&store, "pool", &data, &arguments)).says(2, &[&says]);
    }
}

#[test]
fn a_row_whose_text_would_take_too_much_memory_is_named_before_it_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let (data, store) = (dir.path().join("pool.jsonl"), dir.path().join("store"));
    world::write_growing_texts(&data, 5);
    let long = serde_json::json!({ "id": "long", "text": "one two ".repeat(125_000) });
    let lines = fs_err::read_to_string(&data).expect("read");
    fs_err::write(&data, format!("{lines}{long}\n")).expect("written");
    let more = ["--features", "loss", "--max-memory", "200MB"];
    let parts =
        ["row 5: its text of 1000000 bytes", "286.10 MiB", "--max-memory allows 190.73 MiB", "split it"];
    binary::run(&mut ingest(&store, "pool", &data, &more)).says(1, &parts);
}

#[test]
fn killed_at_any_instant_the_same_command_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");
    let more = ["--features", "grad-sgd,loss", "--module-dim", "16", "--compute", "bf16"];
    let (expected, store) = (dir.path().join("expected"), dir.path().join("killed"));
    for path in [&expected, &store] {
        world::two_windows(&Store::create(path).expect("created"), "pool", &data);
    }
    // Some are left for the command to register.
    world::write_samples(&data, world::WINDOW_ROWS + 60);
    binary::ok(&mut ingest(&expected, "pool", &data, &more));

    let mut delay = Duration::from_millis(50);
    let mut kills = 0;
    for _ in 0..12 {
        if !binary::killed_after(&mut ingest(&store, "pool", &data, &more), delay) {
            break;
        }
        kills += 1;
        delay = delay.mul_f64(1.5);
    }
    assert!(kills > 0, "the first run was over before it could be killed");
    binary::ok(&mut ingest(&store, "pool", &data, &more));
    let open = |path: &Path| world::digests(&Store::open(path).expect("opens"));
    assert_eq!(open(&store), open(&expected));
}
