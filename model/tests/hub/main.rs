//! Promise: a model of the Hub is fetched once, only as far as it is needed, and is there without a network afterwards.
#![cfg(feature = "hub")]

mod server;

use std::path::Path;

use gstore_core::{Progress, Silent, Unit};
use gstore_model::hub::{HubConfig, HubError, Need, Resolved, resolve};
use server::{COMMIT, Server};

fn config(server: &Server, cache: &Path) -> HubConfig {
    HubConfig {
        endpoint: Some(server.address()),
        cache: Some(cache.to_owned()),
        token: Some("hf_test".to_owned()),
        offline: false,
    }
}

fn offline(cache: &Path) -> HubConfig {
    HubConfig { offline: true, endpoint: Some("http://127.0.0.1:9".to_owned()), ..HubConfig::default() }
        .with_cache(cache)
}

trait WithCache {
    fn with_cache(self, cache: &Path) -> Self;
}

impl WithCache for HubConfig {
    fn with_cache(self, cache: &Path) -> Self {
        Self { cache: Some(cache.to_owned()), ..self }
    }
}

fn model(text: &str, config: &HubConfig) -> Result<Resolved, HubError> {
    resolve(text, Need::Model, config, &mut Silent)
}

/// Counts what is reported.
#[derive(Default)]
struct Seen {
    stages: Vec<(String, u64, u64)>,
    notes: Vec<String>,
}

impl Progress for Seen {
    fn start(&mut self, stage: &str, total: u64, _: Unit) {
        self.stages.push((stage.to_owned(), total, 0));
    }
    fn advance(&mut self, done: u64) {
        if let Some(stage) = self.stages.last_mut() {
            stage.2 += done;
        }
    }
    fn finish(&mut self) {}
    fn note(&mut self, message: &str) {
        self.notes.push(message.to_owned());
    }
}

const FILES: [(&str, &str); 9] = [
    ("config.json", "{\"a\": 1}"),
    ("tokenizer.json", "{}"),
    // Files of equal content are one blob in the cache, fetched once or twice as it happens.
    ("tokenizer_config.json", "{\"b\": 2}"),
    ("model.safetensors", "weights of the model"),
    ("README.md", "read me"),
    ("pytorch_model.bin", "the weights again"),
    ("consolidated.safetensors", "and again"),
    ("onnx/model.onnx", "and again"),
    ("original/params.json", "{}"),
];

#[test]
fn a_model_is_fetched_once_and_is_there_offline() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let found = resolve("org/tiny", Need::Model, &config(&server, cache.path()), &mut seen).unwrap();
    assert_eq!(found.origin.as_ref().unwrap().to_string(), format!("org/tiny@main({COMMIT})"));
    assert_eq!(found.folder, cache.path().join(format!("models--org--tiny/snapshots/{COMMIT}")));
    let mut names: Vec<String> = fs_err::read_dir(&found.folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);
    assert_eq!(fs_err::read(found.folder.join("model.safetensors")).unwrap(), b"weights of the model");
    let total = 8 + 2 + 8 + 20;
    assert_eq!(seen.stages, [("downloading org/tiny".to_owned(), total, total)]);
    assert!(server.requests().iter().all(|request| request.contains("authorization: Bearer hf_test")));

    let bodies = |server: &Server| server.requests().iter().filter(|r| r.starts_with("GET /org/")).count();
    assert_eq!(bodies(&server), 4);
    assert_eq!(model("org/tiny", &config(&server, cache.path())).unwrap(), found);
    assert_eq!(bodies(&server), 4);

    // By commit there is nothing to ask, and offline nobody to ask.
    let asked = server.requests().len();
    let by_commit = model(&format!("org/tiny@{COMMIT}"), &config(&server, cache.path())).unwrap();
    assert_eq!((by_commit.folder, server.requests().len()), (found.folder.clone(), asked));
    assert_eq!(model("org/tiny", &offline(cache.path())).unwrap().folder, found.folder);

    // A Hub that cannot be reached is no reason to stop either.
    let mut seen = Seen::default();
    let away = HubConfig { offline: false, ..offline(cache.path()) };
    assert_eq!(resolve("org/tiny", Need::Model, &away, &mut seen).unwrap().folder, found.folder);
    assert!(seen.notes[0].contains("taking what is in the cache"), "{:?}", seen.notes);
}

#[test]
fn an_adapter_brings_its_optimizer_only_if_it_is_needed() {
    let server = Server::start(&[
        ("adapter_config.json", "{}"),
        ("adapter_model.safetensors", "factors"),
        ("optimizer.pt", "moments"),
        ("trainer_state.json", "{}"),
        ("training_args.bin", "no"),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let config = config(&server, cache.path());
    let need = |moments| Need::Adapter { moments };
    let found = resolve("org/tiny@v1", need(false), &config, &mut Silent).unwrap();
    assert!(found.folder.join("trainer_state.json").exists() && !found.folder.join("optimizer.pt").exists());
    let error =
        resolve("org/tiny@v1", need(true), &offline(cache.path()), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("lacking: optimizer.pt") && error.contains("HF_HUB_OFFLINE"), "{error}");
    let found = resolve("org/tiny@v1", need(true), &config, &mut Silent).unwrap();
    assert!(found.folder.join("optimizer.pt").exists() && !found.folder.join("training_args.bin").exists());
}

#[test]
fn a_prepared_cache_needs_no_network() {
    let cache = tempfile::tempdir().unwrap();
    let repo = cache.path().join("models--org--ready");
    let snapshot = repo.join("snapshots").join(COMMIT);
    fs_err::create_dir_all(&snapshot).unwrap();
    fs_err::create_dir_all(repo.join("refs")).unwrap();
    fs_err::write(repo.join("refs/main"), COMMIT).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs_err::write(snapshot.join(name), "{}").unwrap();
    }
    let error = model("org/ready", &offline(cache.path())).unwrap_err().to_string();
    assert!(error.contains("lacking: model.safetensors"), "{error}");
    fs_err::write(snapshot.join("model.safetensors"), "").unwrap();
    assert_eq!(model("org/ready", &offline(cache.path())).unwrap().folder, snapshot);
    let error = model("org/ready@v2", &offline(cache.path())).unwrap_err().to_string();
    assert!(
        error.contains("org/ready@v2: there is no such folder") && error.contains("lacking: everything"),
        "{error}"
    );
}

#[test]
fn refusals_say_what_to_do() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let config = config(&server, cache.path());
    for name in ["org/gated", "org/private", "org/missing", "org/tiny@nowhere"] {
        let error = model(name, &config).unwrap_err();
        assert!(matches!(error, HubError::Refused { .. }), "{name}: {error}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{name}: there is no such folder")) && text.contains("HF_TOKEN"),
            "{text}"
        );
    }
    let error = resolve("org/tiny", Need::Adapter { moments: false }, &config, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("has no adapter_config.json"), "{error}");
    let away = HubConfig { endpoint: Some("http://127.0.0.1:9".to_owned()), ..config };
    let error = model("org/other", &away).unwrap_err().to_string();
    assert!(
        error.contains("there is no such folder, and the download from the Hugging Face Hub failed"),
        "{error}"
    );
}

#[test]
fn what_arrives_damaged_is_not_kept() {
    let server = Server::start(&FILES);
    server.damage("model.safetensors", "<html>an error page</html>");
    let cache = tempfile::tempdir().unwrap();
    let config = config(&server, cache.path());
    let error = model("org/tiny", &config).unwrap_err();
    assert!(matches!(&error, HubError::Damaged { file, .. } if file == "model.safetensors"), "{error}");
    // The same length with another content is found by the digest.
    server.damage("model.safetensors", "weights of another..");
    let error = model("org/tiny", &config).unwrap_err();
    assert!(error.to_string().contains("another SHA-256"), "{error}");
    server.repair();
    let found = model("org/tiny", &config).unwrap();
    assert_eq!(fs_err::read(found.folder.join("model.safetensors")).unwrap(), b"weights of the model");
}
