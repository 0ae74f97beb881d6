//! Promise: a split of a dataset of the Hub is fetched once, without the others, and is there offline.

use gstore_core::Silent;
use gstore_model::hub::{HubConfig, HubError, resolve_data};

use super::server::{COMMIT, Server};
use super::{Seen, config, offline};

const FILES: [(&str, &str); 4] = [
    ("README.md", "read me"),
    ("data/train-00000-of-00002.jsonl", "{\"text\": \"a\"}\n"),
    ("data/train-00001-of-00002.jsonl", "{\"text\": \"b\"}\n"),
    ("data/test-00000-of-00001.jsonl", "{\"text\": \"c\"}\n"),
];

#[test]
fn a_split_is_fetched_once_and_is_there_offline() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let online = config(&server, cache.path());
    let found = resolve_data("hf://org/tiny#train", &online, &mut Silent).unwrap();
    let folder = cache.path().join(format!("datasets--org--tiny/snapshots/{COMMIT}/data"));
    assert_eq!(found.files, [1, 2].map(|at: usize| folder.join(FILES[at].0.rsplit('/').next().unwrap())));
    assert_eq!(fs_err::read_to_string(&found.files[1]).unwrap(), FILES[2].1);
    let bodies =
        || server.requests().iter().filter(|r| r.starts_with("GET /datasets/org/tiny/resolve/")).count();
    assert_eq!(bodies(), 2);
    assert_eq!(
        resolve_data("hf://org/tiny", &offline(cache.path()), &mut Silent).unwrap().files,
        found.files
    );
    let error = resolve_data("hf://org/tiny#test", &offline(cache.path()), &mut Silent).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    let error = error.to_string();
    assert!(error.starts_with("hf://org/tiny#test: the dataset is incomplete in the cache"), "{error}");
    assert!(error.contains("HF_HUB_OFFLINE") && !error.contains("folder"), "{error}");
    assert_eq!(resolve_data("hf://org/tiny#test", &online, &mut Silent).unwrap().files.len(), 1);
    assert_eq!(bodies(), 3);
    // A part that is gone is noticed without a network.
    fs_err::remove_file(&found.files[0]).unwrap();
    let error = resolve_data("hf://org/tiny", &offline(cache.path()), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("missing: data/train-00000-of-00002.jsonl"), "{error}");
}

#[test]
fn a_split_of_an_earlier_commit_stays_in_use() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let online = config(&server, cache.path());
    let found = resolve_data("hf://org/tiny", &online, &mut Silent).unwrap();
    let next = "a".repeat(40);
    server.move_on(&next, &FILES.map(|(name, _)| (name, "{\"text\": \"d\"}\n")));
    let test = resolve_data("hf://org/tiny#test", &online, &mut Silent).unwrap();
    assert_eq!(test.origin.unwrap().commit, next);
    let mut seen = Seen::default();
    let again = resolve_data("hf://org/tiny", &offline(cache.path()), &mut seen).unwrap();
    assert_eq!(again, found);
    assert!(seen.notes[0].contains(&format!("so this is commit {COMMIT}")), "{:?}", seen.notes);
    // A split that is not in the cache is no split that the dataset has not.
    fs_err::remove_dir_all(cache.path().join("datasets--org--tiny/refs.gstore")).unwrap();
    let error = resolve_data("hf://org/tiny", &offline(cache.path()), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("missing: data/train-00000-of-00002.jsonl"), "{error}");
}

#[test]
fn what_the_hub_has_not_is_named_with_what_it_has() {
    let server = Server::start(&FILES);
    let cache = tempfile::tempdir().unwrap();
    let online = config(&server, cache.path());
    let refused = |text: &str| resolve_data(text, &online, &mut Silent).unwrap_err().to_string();
    assert!(refused("hf://org/tiny#validation").contains("no split validation; there are test, train"));
    assert!(refused("hf://org/tiny/other").contains("no file of samples in other"));
    assert!(refused("hf://tiny").contains("write hf://org/name"));
    let missing = refused("hf://org/missing");
    assert!(missing.starts_with("hf://org/missing: the Hugging Face Hub has no such"), "{missing}");
    assert!(missing.contains("HF_TOKEN") && !missing.contains("folder"), "{missing}");
}

#[test]
fn errors_name_the_dataset_as_it_was_named() {
    // The second part of the training data is missing.
    let server = Server::start(&[FILES[1], FILES[3]]);
    server.damage(FILES[3].0, "<html>an error page</html>");
    let cache = tempfile::tempdir().unwrap();
    let online = config(&server, cache.path());
    type IsExpected = fn(&HubError) -> bool;
    let cases: [(&str, IsExpected); 5] = [
        ("hf://org/tiny/other", |error| matches!(error, HubError::Data { .. })),
        ("hf://org/tiny#validation", |error| matches!(error, HubError::Data { .. })),
        ("hf://org/tiny#test", |error| matches!(error, HubError::Damaged { .. })),
        ("hf://org/tiny#train", |error| matches!(error, HubError::Lacking { .. })),
        ("hf://org/missing#test", |error| matches!(error, HubError::Refused { .. })),
    ];
    for (name, is_expected) in cases {
        let error = resolve_data(name, &online, &mut Silent).unwrap_err();
        assert!(is_expected(&error), "{error}");
        assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
    }
}

#[test]
fn tables_of_the_hub_stand_in_for_files_of_other_kinds() {
    let server = Server::start(&[("script.py", "print()")]);
    server.convert(&[("default/train/0000.parquet", "rows"), ("default/test/0000.parquet", "others")]);
    let cache = tempfile::tempdir().unwrap();
    let found = resolve_data("hf://org/tiny", &config(&server, cache.path()), &mut Silent).unwrap();
    assert!(found.files.len() == 1 && found.files[0].ends_with("default/train/0000.parquet"), "{found:?}");
    let again = resolve_data("hf://org/tiny", &offline(cache.path()), &mut Silent).unwrap();
    assert_eq!(again.files, found.files);
    // So they do where the Hub cannot be asked, if they are in the cache.
    let away = HubConfig { offline: false, ..offline(cache.path()) };
    let mut seen = Seen::default();
    let again = resolve_data("hf://org/tiny", &away, &mut seen).unwrap();
    assert_eq!(again.files, found.files);
    assert!(seen.notes[0].contains("no files of its own can be had ("), "{:?}", seen.notes);
    assert!(seen.notes[0].contains("taking its tables in the cache"), "{:?}", seen.notes);
    let error = resolve_data("hf://org/other", &away, &mut Silent).unwrap_err();
    assert!(matches!(error, HubError::Failed { .. }), "{error}");
    assert!(error.to_string().starts_with("hf://org/other: the download from the Hugging Face"), "{error}");
}

#[test]
fn what_hinders_tables_is_told() {
    let server = Server::start(&[("script.py", "print()")]);
    server.convert(&[("default/train/0000.parquet", "rows")]);
    let cache = tempfile::tempdir().unwrap();
    // It stands in the way of a folder.
    fs_err::write(cache.path().join(".locks"), "").unwrap();
    let error = resolve_data("hf://org/tiny", &config(&server, cache.path()), &mut Silent).unwrap_err();
    assert!(matches!(error, HubError::Unwritable { .. }), "{error}");
    let error = error.to_string();
    assert!(error.starts_with("hf://org/tiny: the download cannot be written to the cache: "), "{error}");
}

#[test]
fn a_table_of_the_first_part_stands_in_for_nothing() {
    let resolved = |text: &str| {
        let server = Server::start(&[("corpus.txt", "text")]);
        server.convert(&[("default/partial-train/0000.parquet", "a"), ("default/test/0000.parquet", "b")]);
        let cache = tempfile::tempdir().unwrap();
        resolve_data(text, &config(&server, cache.path()), &mut Silent)
    };
    let error = resolved("hf://org/tiny").unwrap_err().to_string();
    assert!(error.contains("no more than the first part of the split train"), "{error}");
    let found = resolved("hf://org/tiny#partial-train").unwrap();
    assert!(found.files[0].ends_with("default/partial-train/0000.parquet"), "{found:?}");
}

#[test]
fn a_part_in_the_cache_is_not_taken_for_all_of_it() {
    let server = Server::start(&[("train/a.jsonl", "1"), ("train/b.jsonl", "2"), ("test/a.jsonl", "3")]);
    let cache = tempfile::tempdir().unwrap();
    let repository = cache.path().join("datasets--org--tiny");
    let put = |name: &str, text: &str| {
        let path = repository.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    };
    put("refs/main", COMMIT);
    put(&format!("snapshots/{COMMIT}/train/a.jsonl"), "1");
    let of = |name: &str, config: &HubConfig| {
        let mut seen = Seen::default();
        let found = resolve_data(&format!("hf://org/{name}@{COMMIT}"), config, &mut seen);
        (found.map(|found| found.files.len()).map_err(|error| error.to_string()), seen.notes)
    };
    let resolved = |config: &HubConfig| of("tiny", config);
    // Another tool left a part, and nothing tells what else there is.
    let (found, notes) = resolved(&offline(cache.path()));
    assert_eq!(found, Ok(1));
    assert!(notes[0].contains("does not tell which files the repository has"), "{notes:?}");
    // A list that huggingface_hub keeps tells it.
    let file =
        |name: &str| format!("\"{name}\": {{\"size\": 1, \"blob_id\": \"{COMMIT}\", \"xet_hash\": null}}");
    let files = format!("{}, {}", file("train/a.jsonl"), file("train/b.jsonl"));
    put(&format!("trees/{COMMIT}.json"), &format!("{{\"format_version\": 1, \"files\": {{{files}}}}}"));
    let (found, _) = resolved(&offline(cache.path()));
    assert!(found.clone().is_err_and(|error| error.contains("missing: train/b.jsonl")), "{found:?}");
    fs_err::remove_dir_all(repository.join("trees")).unwrap();

    // A commit whose files are not known is asked for, once.
    let online = config(&server, cache.path());
    assert_eq!(resolved(&online), (Ok(2), Vec::new()));
    let asked = server.requests().len();
    assert_eq!(resolved(&online), (Ok(2), Vec::new()));
    assert_eq!(resolved(&offline(cache.path())), (Ok(2), Vec::new()));
    assert_eq!(server.requests().len(), asked);
    // What goes later is missed.
    fs_err::remove_file(repository.join(format!("snapshots/{COMMIT}/train/b.jsonl"))).unwrap();
    let (found, _) = resolved(&offline(cache.path()));
    assert!(found.is_err_and(|error| error.contains("missing: train/b.jsonl")));
    assert_eq!(resolved(&online).0, Ok(2));
    // What a commit has stays, also for who may not see the repository any more.
    put(&format!("../datasets--org--private/snapshots/{COMMIT}/train.jsonl"), "1");
    let (found, notes) = of("private", &online);
    assert_eq!(found, Ok(1));
    assert!(notes[0].contains("taking what is in the cache"), "{notes:?}");
}
