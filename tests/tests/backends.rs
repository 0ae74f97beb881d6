//! Promise: a user may choose the backend; the vectors equal those of the others up to rounding, and what a
//! backend does not support is refused by name.

use gstore_ingest::pipeline::{CheckpointArg, IngestRequest, Kind, ProjectionChoice};
use gstore_model::{CandleDevice, Device};
use gstore_store::Store;
use gstore_tests::place::Place;
use gstore_tests::world;

use crate::whole_model::ingested;

const ROWS: u64 = 60;
const CANDLE: Device = Device::Candle(CandleDevice::Host);
const KINDS: [Kind; 5] = [Kind::GradAdam, Kind::GradSgd, Kind::GradSign, Kind::EmbedMean, Kind::Loss];

/// The vectors of every feature, by label.
fn vectors(store: &Store) -> Vec<(String, Vec<Vec<f32>>)> {
    let snapshot = store.snapshot().expect("a snapshot");
    let of_feature = |part: &_| {
        let reader = snapshot.open_feature(part).expect("opens");
        (0..ROWS).map(|row| reader.row(row).expect("reads").expect("there").vector).collect()
    };
    snapshot.features().iter().map(|part| (part.display_name(), of_feature(part))).collect()
}

/// The largest distance of two vectors, in lengths of the second.
fn distance(found: &Store, expected: &Store, skip: &str) -> f64 {
    let mut worst = 0.0f64;
    for ((name, found), (same, expected)) in vectors(found).iter().zip(&vectors(expected)) {
        assert_eq!(name, same);
        for (found, expected) in found.iter().zip(expected).filter(|_| !name.contains(skip)) {
            let square =
                |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
            let apart = square(&mut found.iter().zip(expected).map(|(a, b)| a - b));
            let length = square(&mut expected.iter().copied());
            worst = worst.max((apart / length.max(f64::MIN_POSITIVE)).sqrt());
        }
    }
    worst
}

fn backends(store: &Store) -> Vec<Option<String>> {
    let snapshot = store.snapshot().expect("a snapshot");
    let said = |part: &std::sync::Arc<gstore_store::FeaturePart>| {
        part.attrs.provenance.get("backend").and_then(|name| name.as_str()).map(str::to_owned)
    };
    snapshot.features().iter().map(said).collect()
}

#[test]
fn candle_gives_the_vectors_of_the_cpu_backend() {
    let dir = tempfile::tempdir().expect("a folder");
    let adapters = || world::request("pool", &KINDS);
    let whole = || IngestRequest {
        checkpoints: vec![CheckpointArg::base()],
        kinds: vec![Kind::GradSgd, Kind::EmbedLast],
        projection: ProjectionChoice::Suitable { dim: 256, module_dim: 64, seed: 0, per_checkpoint: false },
        ..adapters()
    };
    let requests: [(&str, &dyn Fn() -> IngestRequest); 2] = [("adapters", &adapters), ("whole", &whole)];
    for (name, request) in requests {
        let f32 = || IngestRequest { dtype: gstore_store::DType::F32, ..request() };
        let on = |device, name: &str, batch_tokens| {
            ingested(dir.path(), name, ROWS as usize, IngestRequest { device, batch_tokens, ..f32() })
        };
        let cpu = on(Device::Cpu, &format!("{name}-cpu"), 512);
        let candle = on(CANDLE, &format!("{name}-candle"), 512);
        // A sign flips where a gradient is zero but for rounding.
        let apart = distance(&candle, &cpu, "sign");
        println!("{name}: candle and cpu {apart:.1e}");
        assert!(apart < 1e-4, "{name}: {apart}");
        assert!(backends(&cpu).iter().all(Option::is_none));
        assert!(backends(&candle).iter().all(|backend| backend.as_deref() == Some("candle")));

        let again = on(CANDLE, &format!("{name}-again"), 512);
        assert_eq!(world::digests(&again), world::digests(&candle), "{name}: the same batches");
        let cut = on(CANDLE, &format!("{name}-cut"), 96);
        let apart = distance(&cut, &candle, "sign");
        println!("{name}: candle in other batches {apart:.1e}");
        assert!(apart < 1e-4, "{name}: {apart}");
    }
}

#[test]
fn what_a_backend_cannot_do_is_refused_by_name() {
    let place = Place::new();
    let data = place.path("pool.jsonl");
    world::write_samples(&data, 5);
    let model = world::demo().join("model");
    let ingest = |more: &[&str]| {
        let mut command =
            place.gstore(&["ingest", "--dataset", "pool", "--features", "loss", "--data", "pool.jsonl"]);
        command.arg("--model").arg(&model).args(more);
        gstore_tests::binary::run(&mut command)
    };
    for (flags, code, says) in [
        (
            vec!["--backend", "candle", "--compute", "bf16"],
            2,
            "`candle` does not compute in bf16; the backends `cpu` and `cuda` do",
        ),
        (vec!["--compute", "tf32"], 2, "`cpu` does not compute in tf32; the backend `cuda` does"),
        (vec!["--compute", "i8"], 2, "`cpu` does not compute in i8; the backend `cuda` does"),
        (vec!["--backend", "candle:cuda"], 2, "made without the feature `candle-cuda`"),
        (vec!["--backend", "cuda"], 2, "made without the feature `cuda`"),
        (vec!["--backend", "gpu"], 2, "no backend `gpu`"),
        (vec!["--devices", "all"], 2, "made without the feature `cuda`"),
        (vec!["--devices", "cpu,gpu"], 2, "no backend `gpu`"),
        (vec!["--devices", "cpu,candle"], 1, "`cpu` and `candle` do not compute the same bits"),
    ] {
        ingest(&flags).says(code, &[says]);
    }
    assert_eq!(ingest(&["--devices", "cpu,cpu"]).code, 0);
    // What scripts have said so far.
    assert_eq!(ingest(&["--device", "cpu"]).code, 0);
    // Nor is it accepted where nothing is left to compute.
    assert_eq!(ingest(&["--backend", "candle:cuda"]).code, 2);
}
