//! Promise: a model of the Hub is fetched once, only as far as it is needed, and is there
//! without a network afterwards.
#![cfg(feature = "hub")]

mod data;
mod server;

use std::path::{Path, PathBuf};

use gstore_core::{Progress, Silent, Unit};
use gstore_model::hub::{FolderContent, HubConfig, HubError, ResolvedFolder, resolve};
use server::{COMMIT, Faults, Server, sha256};

fn config(server: &Server, cache: &Path) -> HubConfig {
    HubConfig {
        endpoint: Some(server.address()),
        cache: Some(cache.to_owned()),
        token: Some("hf_test".to_owned()),
        offline: false,
    }
}

fn offline(cache: &Path) -> HubConfig {
    HubConfig {
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        cache: Some(cache.to_owned()),
        offline: true,
        ..HubConfig::default()
    }
}

fn model(text: &str, config: &HubConfig) -> Result<ResolvedFolder, HubError> {
    resolve(text, FolderContent::Model, config, &mut Silent)
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

const FILES: [(&str, &str); 11] = [
    ("config.json", "{\"a\": 1}"),
    ("tokenizer.json", "{}"),
    ("tokenizer_config.json", "{\"b\": 2}"),
    // Files of equal content are one in the cache, and an empty one has nothing to fetch.
    ("special_tokens_map.json", "{}"),
    ("chat_template.jinja", ""),
    ("model.safetensors", "weights of the model"),
    ("README.md", "read me"),
    ("pytorch_model.bin", "the weights again"),
    ("consolidated.safetensors", "and again"),
    ("onnx/model.onnx", "and again"),
    ("original/params.json", "{}"),
];

/// How many files were asked for.
fn bodies(server: &Server) -> usize {
    server.requests().iter().filter(|request| request.starts_with("GET /org/")).count()
}

#[test]
fn a_model_is_fetched_once_and_is_there_offline() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let found = resolve("org/tiny", FolderContent::Model, &config(&server, cache.path()), &mut seen).unwrap();
    assert_eq!(found.origin.as_ref().unwrap().to_string(), format!("org/tiny@main({COMMIT})"));
    assert_eq!(found.folder, cache.path().join(format!("models--org--tiny/snapshots/{COMMIT}")));
    let mut names: Vec<String> = fs_err::read_dir(&found.folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let small = ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(names, [&["chat_template.jinja", "config.json", "model.safetensors"], &small[..]].concat());
    assert_eq!(fs_err::read(found.folder.join("model.safetensors")).unwrap(), b"weights of the model");
    let total = 8 + 2 + 8 + 20;
    assert_eq!(seen.stages, [("downloading org/tiny".to_owned(), total, total)]);
    // The token is for the Hub, and for no host that it sends us to.
    for request in server.requests() {
        let is_hub = !request.starts_with("GET /cdn/");
        assert_eq!(request.contains("authorization: Bearer hf_test"), is_hub, "{request}");
    }
    assert_eq!(bodies(&server), 4);
    assert_eq!(model("org/tiny", &config(&server, cache.path())).unwrap(), found);
    assert_eq!(bodies(&server), 4);

    // A commit needs no request, and offline there is none.
    let asked = server.requests().len();
    let by_commit = model(&format!("org/tiny@{COMMIT}"), &config(&server, cache.path())).unwrap();
    assert_eq!((by_commit.folder, server.requests().len()), (found.folder.clone(), asked));
    assert_eq!(model("org/tiny", &offline(cache.path())).unwrap().folder, found.folder);

    // A Hub that cannot be reached is no reason to stop either.
    let mut seen = Seen::default();
    let away = HubConfig { offline: false, ..offline(cache.path()) };
    assert_eq!(resolve("org/tiny", FolderContent::Model, &away, &mut seen).unwrap().folder, found.folder);
    assert!(seen.notes[0].contains("taking what is in the cache"), "{:?}", seen.notes);
}

#[test]
fn optional_files_that_lack_are_named_where_the_hub_is_not_asked() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let online = config(&server, cache.path());
    let found = model("org/tiny", &online).unwrap();
    let optional = ["chat_template.jinja", "tokenizer_config.json"].map(|name| found.folder.join(name));
    optional.iter().for_each(|file| fs_err::remove_file(file).unwrap());
    let away = HubConfig { offline: false, ..offline(cache.path()) };
    for config in [&offline(cache.path()), &away] {
        for text in ["org/tiny".to_owned(), format!("org/tiny@{COMMIT}")] {
            let mut seen = Seen::default();
            let again = resolve(&text, FolderContent::Model, config, &mut seen).unwrap();
            assert_eq!(again.folder, found.folder);
            let note = &seen.notes[0];
            assert!(note.contains("the cache lacks ") && !note.contains("special"), "{note}");
            assert!(note.contains("chat_template.jinja") && note.contains("tokenizer_config.json"), "{note}");
        }
    }
    // Weights that are there in part are not optional.
    let weights = found.folder.join("model.safetensors");
    fs_err::remove_file(&weights).unwrap();
    fs_err::write(&weights, "weights").unwrap();
    let error = model("org/tiny", &offline(cache.path())).unwrap_err().to_string();
    assert!(error.contains("missing: model.safetensors"), "{error}");
    assert_eq!(model("org/tiny", &online).unwrap(), found);
    assert!(optional.iter().all(|file| file.exists()));
    assert_eq!(fs_err::read(&weights).unwrap(), b"weights of the model");
}

#[test]
fn weights_in_several_files_are_those_that_the_index_names() {
    let named = |other: &str| {
        let index = format!(
            "{{\"weight_map\": {{\"a\": \"pytorch_model-00001-of-00001.safetensors\", \"b\": \"{other}\"}}}}"
        );
        let server = Server::start(&[
            ("config.json", "{}"),
            ("tokenizer.json", "{}"),
            ("model.safetensors.index.json", index.as_str()),
            ("pytorch_model-00001-of-00001.safetensors", "weights"),
            ("own.safetensors", "others"),
            ("model-00001-of-00002.safetensors", "of no index"),
            ("../own.safetensors", "outside"),
            ("/own.safetensors", "outside"),
        ]);
        let cache = tempfile::tempdir().unwrap();
        let found = model("org/tiny", &config(&server, cache.path()));
        (found, server, cache)
    };
    let (found, server, cache) = named("own.safetensors");
    let folder = found.unwrap().folder;
    for (name, is_there) in [
        ("pytorch_model-00001-of-00001.safetensors", true),
        ("own.safetensors", true),
        ("model-00001-of-00002.safetensors", false),
    ] {
        assert_eq!(folder.join(name).exists(), is_there, "{name}");
    }
    assert_eq!(bodies(&server), 4);
    assert_eq!(model("org/tiny", &offline(cache.path())).unwrap().folder, folder);
    // One that is there in part is missing.
    fs_err::remove_file(folder.join("own.safetensors")).unwrap();
    fs_err::write(folder.join("own.safetensors"), "oth").unwrap();
    let error = model("org/tiny", &offline(cache.path())).unwrap_err().to_string();
    assert!(error.contains("missing: own.safetensors"), "{error}");
    // The folder is not left.
    for outside in ["../own.safetensors", "/own.safetensors"] {
        let (found, server, _cache) = named(outside);
        assert!(matches!(found.unwrap_err(), HubError::Lacking { file, .. } if file == outside));
        assert!(!server.requests().iter().any(|request| request.contains("/own")), "{outside}");
    }
}

#[test]
fn a_listing_that_may_lack_files_is_read_page_by_page() {
    let others: Vec<String> = (0..1000).map(|at| format!("logs/{at}.txt")).collect();
    let mut files: Vec<(&str, &str)> = others.iter().map(|name| (name.as_str(), "")).collect();
    files.extend(&FILES);
    for listed in [0, 1001] {
        let server = Server::start(&files);
        server.list_only(listed);
        let cache = tempfile::tempdir().unwrap();
        let found = model("org/tiny", &config(&server, cache.path())).unwrap();
        assert_eq!(fs_err::read(found.folder.join("model.safetensors")).unwrap(), b"weights of the model");
        let pages = server.requests().iter().filter(|request| request.contains("/tree/")).count();
        assert_eq!(pages, 3, "{listed}");
    }
    // What is listed whole needs no other request.
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    model("org/tiny", &config(&server, cache.path())).unwrap();
    assert!(!server.requests().iter().any(|request| request.contains("/tree/")));
}

#[test]
fn a_kept_list_has_files_without_a_digest() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    model("org/tiny", &config(&server, cache.path())).unwrap();
    let list = repository(cache.path()).join(format!("trees/{COMMIT}.gstore.json"));
    let text = fs_err::read_to_string(&list).unwrap();
    fs_err::write(&list, text.replace(&sha256("read me")[..40], "")).unwrap();
    let mut seen = Seen::default();
    resolve("org/tiny", FolderContent::Model, &offline(cache.path()), &mut seen).unwrap();
    assert_eq!(seen.notes, [""; 0]);
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
    let need = |moments| FolderContent::Adapter { moments };
    let found = resolve("org/tiny@v1", need(false), &config, &mut Silent).unwrap();
    assert!(found.folder.join("trainer_state.json").exists() && !found.folder.join("optimizer.pt").exists());
    let error =
        resolve("org/tiny@v1", need(true), &offline(cache.path()), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("missing: optimizer.pt") && error.contains("HF_HUB_OFFLINE"), "{error}");
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
    assert!(error.contains("missing: model.safetensors"), "{error}");
    fs_err::write(snapshot.join("model.safetensors"), "").unwrap();
    assert_eq!(model("org/ready", &offline(cache.path())).unwrap().folder, snapshot);
    let error = model("org/ready@v2", &offline(cache.path())).unwrap_err().to_string();
    assert!(
        error.contains("org/ready@v2: there is no such folder") && error.contains("missing: everything"),
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
    let error =
        resolve("org/tiny", FolderContent::Adapter { moments: false }, &config, &mut Silent).unwrap_err();
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

/// The folder of the repository in a cache.
fn repository(cache: &Path) -> PathBuf {
    cache.join("models--org--tiny")
}

#[test]
fn a_download_that_was_killed_goes_on() {
    let digest = sha256("weights of the model");
    let (part, garbage) = ("weights of", "weights on");
    for (left, no_ranges, ranges) in [
        (part, false, vec!["range: bytes=10-"]),
        (part, true, vec!["range: bytes=10-"]),
        // What is not what the Hub has is fetched again.
        (garbage, false, vec!["range: bytes=10-", ""]),
        ("weights of the m\u{f6}del", false, vec![""]),
        ("weights of the model, and more", false, vec![""]),
        ("weights of the model", false, vec![]),
    ] {
        let server = Server::start(&FILES);
        server.fail(Faults { no_ranges, ..Faults::default() });
        let cache = tempfile::tempdir().unwrap();
        let blobs = repository(cache.path()).join("blobs");
        fs_err::create_dir_all(&blobs).unwrap();
        fs_err::write(blobs.join(format!("{digest}.incomplete")), left).unwrap();
        // Without a digest a part is not trusted.
        let small = &sha256("{\"a\": 1}")[..40];
        fs_err::write(blobs.join(format!("{small}.incomplete")), "{\"a\"").unwrap();
        let mut seen = Seen::default();
        let found =
            resolve("org/tiny", FolderContent::Model, &config(&server, cache.path()), &mut seen).unwrap();
        assert_eq!(fs_err::read(found.folder.join("model.safetensors")).unwrap(), b"weights of the model");
        assert_eq!(fs_err::read(found.folder.join("config.json")).unwrap(), b"{\"a\": 1}");
        assert_eq!(seen.stages, [("downloading org/tiny".to_owned(), 38, 38)]);
        let asked: Vec<String> =
            server.requests().into_iter().filter(|request| request.starts_with("GET /cdn/")).collect();
        assert_eq!(asked.len(), ranges.len(), "{left}");
        assert!(asked.iter().zip(&ranges).all(|(request, range)| request.contains(range)), "{asked:?}");
        assert!(
            asked.iter().zip(&ranges).all(|(request, range)| request.contains("range:") != range.is_empty())
        );
        let names =
            fs_err::read_dir(blobs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.contains("incomplete")).count(), 0);
    }
}

#[test]
fn a_server_that_fails_now_and_then_is_asked_again() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    server.fail(Faults { busy: 2, cut: 3, ..Faults::default() });
    let mut seen = Seen::default();
    let found = resolve("org/tiny", FolderContent::Model, &config(&server, cache.path()), &mut seen).unwrap();
    assert_eq!(fs_err::read(found.folder.join("model.safetensors")).unwrap(), b"weights of the model");
    assert_eq!(seen.stages[0].2, 38);
    assert!(server.requests().iter().any(|request| request.contains("range: bytes=")));
}

#[test]
fn the_snapshot_before_holds_until_the_next_is_whole() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let (before, refs) = ("f".repeat(40), repository(cache.path()).join("refs"));
    let folder = repository(cache.path()).join("snapshots").join(&before);
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::create_dir_all(&refs).unwrap();
    fs_err::write(refs.join("main"), &before).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs_err::write(folder.join(name), "{}").unwrap();
    }
    server.fail(Faults { busy: 1000, ..Faults::default() });
    let mut seen = Seen::default();
    let found = resolve("org/tiny", FolderContent::Model, &config(&server, cache.path()), &mut seen).unwrap();
    assert!(
        found.folder == folder && seen.notes[0].contains("503 Service Unavailable: later"),
        "{:?}",
        seen.notes
    );
    assert_eq!(model("org/tiny", &offline(cache.path())).unwrap().folder, folder);
    server.repair();
    let noted = cache.path().join("noted");
    fs_err::hard_link(refs.join("main"), &noted).unwrap();
    let found = model("org/tiny", &config(&server, cache.path())).unwrap();
    assert_eq!(found.origin.unwrap().commit, COMMIT);
    assert_eq!(fs_err::read_to_string(refs.join("main")).unwrap(), COMMIT);
    // Another file has the name now: none was there in part, which would be no commit.
    assert_eq!(fs_err::read_to_string(noted).unwrap(), before);
    assert_eq!(fs_err::read_dir(&refs).unwrap().count(), 1);
    // A branch whose name is a path.
    let found = model("org/tiny@refs/pr/1", &config(&server, cache.path())).unwrap();
    assert_eq!(model("org/tiny@refs/pr/1", &offline(cache.path())).unwrap(), found);
}

#[test]
fn an_earlier_commit_stays_in_use_until_the_last_one_is_whole() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let (online, next) = (config(&server, cache.path()), "a".repeat(40));
    let found = model("org/tiny", &online).unwrap();
    server.move_on(
        &next,
        &[("config.json", "{}"), ("tokenizer.json", "{\"a\": 2}"), ("model.safetensors", "other")],
    );
    let tokenizer = |config: &HubConfig| resolve("org/tiny", FolderContent::Tokenizer, config, &mut Silent);
    let smaller = tokenizer(&online).unwrap();
    assert_eq!(smaller.origin.as_ref().unwrap().commit, next);
    server.fail(Faults { busy: 1000, ..Faults::default() });
    for config in [&offline(cache.path()), &online] {
        let mut seen = Seen::default();
        let again = resolve("org/tiny", FolderContent::Model, config, &mut seen).unwrap();
        assert_eq!(again, found);
        let note = &seen.notes[0];
        assert!(note.contains("missing: model.safetensors") && note.contains(COMMIT), "{note}");
    }
    assert_eq!(tokenizer(&offline(cache.path())).unwrap(), smaller);
    // What was never this revision is not taken for it.
    for text in [format!("org/tiny@{next}"), "org/tiny@v1".to_owned()] {
        let error = model(&text, &offline(cache.path())).unwrap_err();
        assert!(matches!(error, HubError::Offline { .. }), "{text}: {error}");
    }
    server.repair();
    assert_eq!(model("org/tiny", &online).unwrap().folder, smaller.folder);
    let mut seen = Seen::default();
    let last = resolve("org/tiny", FolderContent::Model, &offline(cache.path()), &mut seen).unwrap();
    assert_eq!((last.folder, seen.notes), (smaller.folder, Vec::new()));
}

#[test]
fn of_earlier_commits_the_last_one_that_is_whole_is_taken() {
    for digits in ["12", "21"] {
        let server = Server::start(&FILES);
        let cache = tempfile::tempdir().unwrap();
        let online = config(&server, cache.path());
        for digit in digits.chars() {
            server.move_on(&digit.to_string().repeat(40), &FILES);
            model("org/tiny", &online).unwrap();
        }
        server.move_on(&"a".repeat(40), &[("config.json", "1"), ("tokenizer.json", "2"), FILES[5]]);
        resolve("org/tiny", FolderContent::Tokenizer, &online, &mut Silent).unwrap();
        // It has the weights of the others.
        let weights = repository(cache.path()).join("snapshots").join("a".repeat(40)).join(FILES[5].0);
        assert!(!weights.exists());
        let found = model("org/tiny", &offline(cache.path())).unwrap();
        assert_eq!(found.origin.unwrap().commit, digits[1..].repeat(40));
    }
}

#[test]
fn several_at_once_fetch_each_file_once() {
    let server = Server::start(&FILES);
    server.fail(Faults { slow: 50, ..Faults::default() });
    let cache = tempfile::tempdir().unwrap();
    let config = config(&server, cache.path());
    let found: Vec<ResolvedFolder> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| model("org/tiny", &config).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.iter().all(|one| *one == found[0]));
    assert_eq!(bodies(&server), 4);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named() {
    let server = Server::start(&FILES);
    let fill = |cache: &Path, weights: &str| {
        let blobs = repository(cache).join("blobs");
        fs_err::create_dir_all(&blobs).unwrap();
        let part = blobs.join(format!("{}.incomplete", sha256(weights)));
        fs_err::os::unix::fs::symlink("/dev/full", part).unwrap();
    };
    let cache = tempfile::tempdir().unwrap();
    fill(cache.path(), FILES[5].1);
    let error = model("org/tiny", &config(&server, cache.path())).unwrap_err();
    assert!(matches!(error, HubError::DiskFull { .. }), "{error}");
    // What is whole in the cache is taken.
    let cache = tempfile::tempdir().unwrap();
    let online = config(&server, cache.path());
    let found = model("org/tiny", &online).unwrap();
    let next = [("config.json", "1"), ("tokenizer.json", "2"), ("model.safetensors", "other weights")];
    server.move_on(&"a".repeat(40), &next);
    fill(cache.path(), next[2].1);
    let mut seen = Seen::default();
    assert_eq!(resolve("org/tiny", FolderContent::Model, &online, &mut seen).unwrap(), found);
    assert!(seen.notes[0].contains("no space is left for the download; taking what is"), "{:?}", seen.notes);
}

#[test]
fn a_cache_that_cannot_be_written_is_read() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let online = config(&server, cache.path());
    let found = model("org/tiny", &online).unwrap();
    // What stands in the way of a note does so for every user, other than permissions.
    fs_err::create_dir_all(repository(cache.path()).join("refs/v1")).unwrap();
    let mut seen = Seen::default();
    let tag = resolve("org/tiny@v1", FolderContent::Model, &online, &mut seen).unwrap();
    assert_eq!(tag.folder, found.folder);
    let note = &seen.notes[0];
    assert!(
        note.starts_with(&format!("org/tiny@v1: the cache cannot note that this is commit {COMMIT} (")),
        "{note}"
    );
    server.move_on(&"a".repeat(40), &[("config.json", "1"), ("tokenizer.json", "2"), FILES[5]]);
    let locks = cache.path().join(".locks");
    fs_err::remove_dir_all(&locks).unwrap();
    fs_err::write(&locks, "").unwrap();
    let mut seen = Seen::default();
    let again = resolve("org/tiny", FolderContent::Model, &online, &mut seen).unwrap();
    assert_eq!(again, found);
    assert!(seen.notes[0].starts_with("org/tiny: the cache cannot be written ("), "{:?}", seen.notes);
    fs_err::remove_dir_all(repository(cache.path())).unwrap();
    let error = model("org/tiny", &online).unwrap_err();
    assert!(matches!(error, HubError::Unwritable { .. }), "{error}");
}

/// What the test of the environment runs, in a process with that environment.
#[test]
fn resolved_in_this_environment() {
    if std::env::var("GSTORE_HUB_TEST").is_ok() {
        let text = match resolve("org/tiny", FolderContent::Model, &HubConfig::from_env(), &mut Silent) {
            Ok(found) => found.folder.display().to_string(),
            Err(error) => error.to_string(),
        };
        println!("resolved {text}.");
    }
}

#[test]
fn the_environment_means_what_it_means_elsewhere() {
    let server = Server::start(&FILES);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs_err::create_dir(path("home")).unwrap();
    fs_err::write(path("home/token"), "hf_file\n").unwrap();
    fs_err::write(path("other"), "hf_other\n").unwrap();
    let resolved = |variables: &[(&str, &str)]| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hub::resolved_in_this_environment", "--nocapture"])
            .env_clear()
            .envs([("GSTORE_HUB_TEST", "1"), ("HF_ENDPOINT", &server.address()), ("HF_HOME", &path("home"))])
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_once("resolved ").unwrap().1.split_once(".\n").unwrap().0.to_owned()
    };
    let last = || server.requests().last().cloned().unwrap_or_default();
    let snapshot = format!("models--org--tiny/snapshots/{COMMIT}");
    let listed = "GET /api/models/org/tiny/revision/main?blobs=true";
    let at_home = path("home/hub/") + &snapshot;
    assert_eq!(resolved(&[]), at_home);
    assert_eq!(resolved(&[]), at_home);
    assert!(last().starts_with(listed) && last().contains("Bearer hf_file"), "{}", last());
    assert_eq!(resolved(&[("HF_TOKEN", "hf_given"), ("HF_TOKEN_PATH", &path("other"))]), at_home);
    assert!(last().contains("Bearer hf_given"), "{}", last());
    assert_eq!(resolved(&[("HF_TOKEN_PATH", &path("other"))]), at_home);
    assert!(last().contains("Bearer hf_other"), "{}", last());
    assert_eq!(resolved(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), at_home);
    assert!(!last().contains("authorization"), "{}", last());
    assert_eq!(resolved(&[("HF_HUB_CACHE", &path("cache"))]), path("cache/") + &snapshot);
    let (user, asked) = (path("user"), server.requests().len());
    let away = [("HF_HOME", ""), ("HOME", &user), ("TRANSFORMERS_OFFLINE", "yes")];
    assert!(resolved(&away).contains(&format!("{user}/.cache/huggingface/hub")), "{}", resolved(&away));
    assert_eq!(resolved(&[("HF_HUB_OFFLINE", "1")]), at_home);
    let top = dir.path().display().to_string();
    let below = [("HOME", top.as_str()), ("HF_HOME", "~/home"), ("HF_HUB_OFFLINE", "1")];
    assert_eq!(resolved(&below), at_home);
    assert_eq!(server.requests().len(), asked);
}
