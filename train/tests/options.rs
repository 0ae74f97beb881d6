//! Promise: packing, dropout, held-out losses, a limit of memory, forecasts and merged adapters are what they
//! say.

use gstore_core::Cancel;
use gstore_data::{Duplicates, SampleSource, TextOptions};
use gstore_model::ComputePrecision;
use gstore_model::cpu::Cpu;
use gstore_model::weights::{Adapter, ModelFolder, TensorSet, TrainerState};
use gstore_train::{
    BatchOptions, DropoutRates, EvaluationOptions, Optimizer, OptimizerKind, Parameters, Sample,
    SavingOptions, SilentObserver, StepOptions, TrainMethod, TrainRequest, Trainer, TrainerOptions,
    adapter_base, forecast, merge, run,
};

use crate::jobs::{Notes, World, files, go, go_for, lora};

/// Bytes of memory that are enough for each text, and not for a program.
const LITTLE: u64 = 16 << 20;

/// A request with dropout, packing, and a loss that is watched.
fn everything(world: &World, output: &str) -> TrainRequest {
    let request = world.request(output, lora());
    let data = SampleSource::Files { paths: vec![world.data.clone()], fields: Vec::new() };
    TrainRequest {
        batching: BatchOptions {
            text: TextOptions { max_length: 512, ..request.batching.text },
            packing: true,
            micro: 1,
            ..request.batching
        },
        steps: StepOptions {
            dropout: DropoutRates { lora: 0.2, ..DropoutRates::default() },
            ..request.steps
        },
        evaluation: Some(EvaluationOptions { data, every: Some(2) }),
        ..request
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_stopped_training_drops_and_evaluates_as_one_that_was_not() {
    let world = World::new();
    let whole = everything(&world, "whole");
    let outcome = go(&whole).unwrap();
    assert!(outcome.finished);
    let steps: Vec<u64> = outcome.evaluations.iter().map(|line| line.step).collect();
    assert_eq!(steps, [2, 4, 6, 7]);
    let mut parts = everything(&world, "parts");
    parts.compute.threads = 3;
    parts.compute.max_memory = Some(LITTLE);
    assert_eq!((go_for(&parts, 2).steps, go_for(&parts, 2).steps), (2, 4));
    assert!(go(&parts).unwrap().finished);
    assert_eq!(files(&whole.output), files(&parts.output));
    // The log has both losses, and transformers' names for them.
    let last = &outcome.checkpoints.last().unwrap().folder;
    let text = fs_err::read_to_string(last.join("trainer_state.json")).unwrap();
    assert_eq!(text.matches("eval_loss").count(), 4);
    assert!(TrainerState::read(last).unwrap().is_some());
    let config = fs_err::read_to_string(last.join("adapter_config.json")).unwrap();
    assert!(config.contains("\"lora_dropout\": 0.2"), "{config}");

    let mut other = everything(&world, "whole");
    other.steps.dropout.lora = 0.1;
    assert!(go(&other).unwrap_err().to_string().contains("dropout"));
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn packed_samples_have_the_loss_that_they_have_alone() {
    let world = World::new();
    // One step over all samples: only their places in the batch differ.
    let step = |name: &str, packing: bool| {
        let mut request = world.request(name, TrainMethod::Full);
        request.batching =
            BatchOptions { micro: 64, accumulate: 1, max_steps: Some(1), packing, ..request.batching };
        request.saving = SavingOptions { log_every: 1, ..SavingOptions::default() };
        go(&request).unwrap().last.unwrap()
    };
    let (packed, plain) = (step("packed", true), step("plain", false));
    assert!((packed.loss - plain.loss).abs() < 1e-6 * plain.loss, "{packed:?} {plain:?}");
    assert!((packed.grad_norm - plain.grad_norm).abs() < 1e-5 * plain.grad_norm, "{packed:?} {plain:?}");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_forecast_writes_nothing_and_counts_what_the_training_has() {
    let world = World::new();
    let request = everything(&world, "planned");
    let told = forecast(&request, &mut SilentObserver, &Cancel::new()).unwrap();
    assert!(!request.output.exists());
    let outcome = go(&request).unwrap();
    assert_eq!(
        (told.samples, told.steps, told.parameters),
        (outcome.samples, outcome.total, outcome.parameters as u64)
    );
    assert_eq!(told.checkpoints, outcome.checkpoints.len() as u64);
    assert!(told.sequences.is_some_and(|sequences| sequences < told.samples), "{told:?}");
    assert!(
        told.seconds.is_some_and(|seconds| seconds > 0.0) && told.tokens >= told.scored && told.memory > 0,
        "{told:?}"
    );
    let written: usize = files(&request.output).values().map(Vec::len).sum();
    let disk = told.disk as usize;
    assert!(written <= disk && disk < 2 * written + 100_000, "{written} bytes were written: {told:?}");

    let mut small = request.clone();
    (small.compute.threads, small.compute.max_memory) = (4, Some(LITTLE));
    let small = forecast(&small, &mut SilentObserver, &Cancel::new()).unwrap();
    assert!(small.recomputes && small.threads == 1 && small.memory < told.memory, "{small:?}");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_merged_adapter_has_the_losses_of_base_and_adapter() {
    let world = World::new();
    let outcome = go(&world.request("lora", lora())).unwrap();
    let adapter = &outcome.checkpoints.last().unwrap().folder;
    assert!(
        std::path::Path::new(&adapter_base(adapter).unwrap()).ends_with(world.model.file_name().unwrap())
    );
    let merged = world.path("merged");
    merge(&world.model, adapter, &merged).unwrap();
    assert!(merge(&world.model, adapter, &merged).unwrap_err().to_string().contains("exists"));

    let base = ModelFolder::open(&world.model).unwrap();
    let of = |parameters: Parameters<Cpu>| {
        let kind: OptimizerKind = "sgd".parse().unwrap();
        let optimizer = Optimizer::new(kind, parameters.trained().len());
        let trainer = Trainer::new(parameters, optimizer, TrainerOptions::default());
        let sample = Sample { ids: (1..40).collect(), scored: vec![true; 39] };
        trainer.evaluate(&[sample], &Cancel::new()).unwrap().unwrap()
    };
    let backend = || Cpu::new(ComputePrecision::F32);
    let adapter = Adapter::open(adapter).unwrap();
    let apart = of(Parameters::from_adapter(&base, &adapter, backend()).unwrap());
    let whole = of(Parameters::full(&ModelFolder::open(&merged).unwrap(), backend()).unwrap());
    let plain = of(Parameters::full(&base, backend()).unwrap());
    assert!((whole - apart).abs() < 1e-5 * apart && (whole - plain).abs() > 1e-5 * plain);
    TensorSet::open(&merged, "model").unwrap();
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn options_that_mean_nothing_are_refused() {
    let world = World::new();
    let refused = |request: &TrainRequest, says: &str| {
        let error = go(request).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    let dropping = |lora: f64, hidden: f64, method: TrainMethod| {
        let request = world.request("dropping", method);
        let steps = StepOptions { dropout: DropoutRates { lora, hidden, attention: 0.0 }, ..request.steps };
        TrainRequest { steps, ..request }
    };
    refused(&dropping(1.0, 0.0, lora()), "dropout of 1");
    refused(&dropping(0.1, 0.0, TrainMethod::Full), "LoRA");
    refused(&dropping(0.0, 0.1, lora()), "hidden states");
    let mut blocks = world.request("blocks", lora());
    blocks.batching.text = TextOptions { block: Some(200), ..blocks.batching.text };
    refused(&blocks, "200 tokens");
    // One of the texts has 7,200 bytes and more.
    let mut long = world.request("long", lora());
    long.compute.max_memory = Some(1_000_000);
    refused(&long, "max_memory allows 976.56 KiB\n  give max_memory=3MB, split it");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn whole_weights_have_the_tokenizer_that_they_were_trained_with() {
    let world = World::new();
    let tokenizer = world.path("tokenizer");
    fs_err::create_dir(&tokenizer).unwrap();
    for entry in fs_err::read_dir(&world.model).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.contains("token") || name.contains("template") {
            fs_err::copy(&path, tokenizer.join(name)).unwrap();
        }
    }
    // The same tokens from other bytes.
    let file = tokenizer.join("tokenizer.json");
    let bytes = [fs_err::read(&file).unwrap(), b"\n".to_vec()].concat();
    fs_err::write(&file, &bytes).unwrap();
    for (name, method) in [("full", TrainMethod::Full), ("scratch", TrainMethod::FromScratch)] {
        let mut request = world.request(name, method);
        request.batching.max_steps = Some(1);
        request.batching.text.tokenizer = Some(tokenizer.clone());
        let outcome = go(&request).unwrap();
        let folder = &outcome.checkpoints.last().unwrap().folder;
        assert!(fs_err::read(folder.join("tokenizer.json")).unwrap() == bytes, "{name}");
        assert!(folder.join("config.json").is_file(), "{name}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn other_held_out_samples_are_another_training() {
    let world = World::new();
    let mut request = everything(&world, "watched");
    go_for(&request, 2);
    let other = world.path("other.jsonl");
    let text = fs_err::read_to_string(&world.data).unwrap();
    fs_err::write(&other, text.lines().take(3).collect::<Vec<_>>().join("\n")).unwrap();
    let watch = |path: &std::path::Path, every| {
        let data = SampleSource::Files { paths: vec![path.to_owned()], fields: Vec::new() };
        Some(EvaluationOptions { data, every })
    };
    let others = [
        (watch(&other, Some(2)), "held-out samples"),
        (watch(&world.data, Some(3)), "eval_every=3, was 2"),
        (None, "held-out samples"),
    ];
    for (evaluation, what) in others {
        request.evaluation = evaluation;
        let error = go(&request).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        // A dry run says so too.
        let told = forecast(&request, &mut SilentObserver, &Cancel::new()).unwrap_err().to_string();
        assert_eq!(told, error);
    }
    request.evaluation = watch(&world.data, Some(2));
    assert!(go(&request).unwrap().finished);
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn what_is_left_out_of_held_out_samples_is_said() {
    let world = World::new();
    let path = world.path("held-out.jsonl");
    let long = "Some words. ".repeat(200);
    let lines = [
        format!(r#"{{"id": "a", "text": "{long}"}}"#),
        r#"{"id": "b", "text": "Some words."}"#.to_owned(),
        r#"{"id": "b", "text": "Other words."}"#.to_owned(),
        format!(r#"{{"id": "c", "prompt": "{long}", "completion": "Yes."}}"#),
    ];
    fs_err::write(&path, lines.join("\n")).unwrap();
    let mut request = world.request("watched", lora());
    let data = SampleSource::Files { paths: vec![path], fields: Vec::new() };
    request.evaluation = Some(EvaluationOptions { data, every: None });
    let refused = forecast(&request, &mut SilentObserver, &Cancel::new()).unwrap_err().to_string();
    assert!(refused.contains("held-out loss") && refused.contains("\"b\" in rows 1 and 2"), "{refused}");
    request.subset.repeats = Duplicates::First;
    let mut notes = Notes(Vec::new());
    forecast(&request, &mut notes, &Cancel::new()).unwrap();
    let held_out: Vec<&str> =
        notes.0.iter().map(String::as_str).filter(|note| note.contains("held-out")).collect();
    let expected = [
        "1 held-out sample left out, as earlier ones have their ids",
        "1 held-out sample without a scored token left out",
        "2 held-out samples cut to 96 tokens",
    ];
    assert_eq!(held_out, expected);
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn an_adapter_that_is_gone_on_from_says_its_new_dropout() {
    let world = World::new();
    let first = go(&everything(&world, "first")).unwrap();
    let from = first.checkpoints.last().unwrap().folder.clone();
    let mut on = world.request("on", TrainMethod::Adapter(from));
    on.batching.max_steps = Some(1);
    on.steps.dropout.lora = 0.1;
    let mut notes = Notes(Vec::new());
    let outcome = run(&on, &mut notes, &Cancel::new()).unwrap();
    assert!(notes.0.iter().any(|note| note.contains("0.2") && note.contains("0.1")), "{:?}", notes.0);
    let config = outcome.checkpoints.last().unwrap().folder.join("adapter_config.json");
    let config = fs_err::read_to_string(config).unwrap();
    assert!(config.contains("\"lora_dropout\": 0.1") && config.contains("\"r\": 4"), "{config}");
}
