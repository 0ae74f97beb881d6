//! Promise: with `--per-token` each scored token of a sample has a vector of its own; their sum is the
//! sample's, and neither batches, threads, limits, stops nor the kinds computed in the same run change a bit.

use std::collections::BTreeMap;
use std::path::Path;

use gstore_ingest::pipeline::{CheckpointArg, IngestRequest, Kind, ProjectionChoice};
use gstore_ingest::projection::{ProjectionKind, ProjectionSpec};
use gstore_store::{DType, FeatureReader, FeatureState, Granularity, RowFlags, Store};
use gstore_tests::{binary, world};

const ROWS: u64 = 120;

pub fn request(kinds: &[Kind], granularity: Granularity) -> IngestRequest {
    let sides = ProjectionKind::TwoSided { k_out: 0, k_in: 0 };
    IngestRequest {
        checkpoints: vec![CheckpointArg::base()],
        projection: ProjectionChoice::Spec(ProjectionSpec::sized(sides, 16)),
        dtype: DType::F32,
        granularity,
        ..world::request("pool", kinds)
    }
}

fn created(dir: &Path, name: &str) -> Store {
    world::created(&dir.join(name), ROWS as usize)
}

fn reader(store: &Store, label: &str) -> FeatureReader {
    let snapshot = store.snapshot().expect("a snapshot");
    let feature = snapshot.feature(label).expect("a feature");
    snapshot.open_feature(feature).expect("opens")
}

#[test]
fn the_tokens_of_a_sample_make_the_sample() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = created(dir.path(), "store");
    let kinds = [Kind::GradSgd, Kind::Loss];
    world::run(&store, request(&kinds, Granularity::Sample)).expect("ingested");
    world::run(&store, request(&kinds, Granularity::Token)).expect("ingested together");
    let counts = {
        let snapshot = store.snapshot().expect("a snapshot");
        let dataset = snapshot.dataset("pool").expect("there");
        let encoding = snapshot.encoding(&dataset.encodings[0]).expect("opens");
        encoding.counts(0..ROWS).expect("counted")
    };
    for kind in ["grad-sgd", "loss"] {
        let (whole, parts) =
            (reader(&store, &format!("{kind}@base")), reader(&store, &format!("{kind}@base:token")));
        assert_eq!(parts.part().desc.granularity, Granularity::Token);
        assert_eq!(parts.part().state, FeatureState::Complete);
        assert_eq!(parts.part().desc.space, whole.part().desc.space, "they may be compared");
        for row in 0..ROWS {
            let sample = whole.row(row).expect("reads").expect("there");
            let tokens = parts.row_vectors(row).expect("reads");
            let scored = counts[row as usize].scored as usize;
            assert_eq!(tokens.len(), scored.max(1), "row {row}");
            if scored == 0 {
                assert_eq!(tokens[0].pos, Some(0));
                assert!(tokens[0].flags.contains(RowFlags::NO_SCORED));
                continue;
            }
            assert!(tokens.is_sorted_by_key(|token| token.pos));
            assert!(tokens.iter().all(|token| token.pos < Some(counts[row as usize].tokens)));
            let norm = sample.vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let sum = |i: usize| tokens.iter().map(|token| f64::from(token.vector[i])).sum::<f64>();
            let off =
                sample.vector.iter().enumerate().map(|(i, v)| (sum(i) - f64::from(*v)).powi(2)).sum::<f64>();
            assert!(off.sqrt() <= 2e-6 * norm, "{kind} of row {row}: {} of {norm}", off.sqrt());
        }
    }
}

#[test]
fn nothing_beside_changes_a_bit() {
    let dir = tempfile::tempdir().expect("a folder");
    let tokens = |kinds: &[Kind]| request(kinds, Granularity::Token);
    let both = created(dir.path(), "both");
    world::run(&both, tokens(&[Kind::GradSgd, Kind::Loss])).expect("ingested");
    let expected: BTreeMap<String, String> = world::digests(&both);
    assert_eq!(expected.len(), 2);

    // Losses of all tokens come from one pass where no gradient is asked for.
    let apart = created(dir.path(), "apart");
    world::run(&apart, tokens(&[Kind::Loss])).expect("ingested");
    for limit in [Some(37), None] {
        let small = IngestRequest { batch_tokens: 64, threads: 1, limit, ..tokens(&[Kind::GradSgd]) };
        world::run(&apart, small).expect("ingested");
    }
    assert_eq!(world::digests(&apart), expected);
}

#[test]
fn the_command_asks_estimates_and_refuses() {
    let dir = tempfile::tempdir().expect("a folder");
    let (pool, store) = (dir.path().join("pool.jsonl"), dir.path().join("store"));
    world::write_samples(&pool, 30);
    let ingest = |more: &[&str]| {
        let mut command = binary::gstore(&store);
        command.args(["ingest", "--dataset", "pool", "--max-length", "256", "--data"]).arg(&pool);
        command.arg("--model").arg(world::demo().join("model")).args(more);
        command
    };
    let refused = binary::run(&mut ingest(&["--features", "loss,embed-mean", "--per-token"]));
    refused.says(2, &["embed-mean has one vector a sample"]);
    binary::run(&mut ingest(&["--features", "embed-mean", "--per-token"])).says(2, &[]);

    let grads = ["--features", "grad-sgd", "--module-dim", "16"];
    let disk = |more: &[&str]| {
        let text = binary::ok(ingest(&grads).args(["--dry-run"]).args(more));
        let line = text.lines().find(|line| line.starts_with("disk")).unwrap_or_else(|| panic!("{text}"));
        line.to_owned()
    };
    assert_ne!(disk(&[]), disk(&["--per-token"]));
    let passes = |more: &[&str]| -> u64 {
        let text = binary::ok(ingest(&grads).args(["--dry-run"]).args(more));
        let line =
            text.lines().find_map(|line| line.strip_prefix("passes")).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    assert_eq!(passes(&[]), 30);
    assert!(passes(&["--per-token"]) > 60);
    binary::ok(ingest(&grads).arg("--per-token"));
    let listed = binary::ok(binary::gstore(&store).arg("ls"));
    assert!(listed.contains("grad-sgd@base:token") && listed.contains("granularity"), "{listed}");
    let info = binary::json(binary::gstore(&store).args(["info", "grad-sgd@base:token", "--json"]));
    assert_eq!((&info["granularity"], &info["rows"]), (&"token".into(), &30.into()));
    assert!(info["vectors"].as_u64() > Some(60), "{info}");
    // A sample without a scored token: its loss is the sum of nothing, which is shown as 0 and not as -0.
    let bare = dir.path().join("bare.jsonl");
    fs_err::write(&bare, "{\"id\": \"q\", \"messages\": [{\"role\": \"user\", \"content\": \"why\"}]}\n")
        .expect("written");
    let mut command = binary::gstore(&store);
    command
        .args(["ingest", "--dataset", "bare", "--features", "loss", "--max-length", "256", "--data"])
        .arg(&bare);
    binary::ok(command.arg("--model").arg(world::demo().join("model")));
    let loss = "SELECT vector[1] FROM vectors('bare', 'loss@base')";
    let loss = binary::ok(binary::gstore(&store).args(["query", "--format", "csv", loss]));
    assert_eq!(loss.lines().nth(1), Some("0.0"), "{loss}");
    binary::ok(binary::gstore(&store).arg("verify"));
}

#[test]
fn tokens_are_shown_as_their_text() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = created(dir.path(), "store");
    world::run(&store, request(&[Kind::GradSgd], Granularity::Sample)).expect("ingested");
    world::run(&store, request(&[Kind::GradSgd], Granularity::Token)).expect("ingested beside");
    let folder = dir.path().join("store");
    let ask = |sql: &str| {
        let text = binary::ok(binary::gstore(&folder).args(["query", "--format", "json", sql]));
        let rows = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        rows.collect::<Vec<serde_json::Value>>()
    };
    let joined = |rows: &[serde_json::Value]| -> String {
        rows.iter().map(|row| row["token"].as_str().expect("a text")).collect()
    };
    let stored =
        ask("SELECT pos, token FROM vectors('pool', 'grad-sgd@base:token') WHERE row = 3 ORDER BY pos");
    assert!(joined(&stored).contains("3 is odd"), "{stored:?}");
    let scored = "FROM influence('pool', 'pool', kind => 'grad-sgd', per_token => true)";
    let scored = ask(&format!("SELECT pos, token {scored} WHERE id = 's3' ORDER BY pos"));
    assert_eq!(scored, stored);
    // Of an empty answer its end is scored.
    let end = ask("SELECT token FROM vectors('pool', 'grad-sgd@base:token') WHERE row = 13 ORDER BY pos");
    assert_eq!(joined(&end), "</s>\n");
}
