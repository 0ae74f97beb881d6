//! Promise: transformers and PEFT go on from what a training wrote, with the losses that it has itself.

use std::process::Command;

use crate::common::assert_close;
use crate::jobs::{World, go, lora};
use gstore_model::weights::TrainerState;
use gstore_train::{TrainMethod, TrainOutcome, TrainRequest};
use serde_json::{Value, json};

/// The step after which the Trainer goes on.
const FROM: u64 = 3;

/// Relative tolerance of the losses.
const TOLERANCE: f64 = 1e-4;

/// `GSTORE_PYTHON`, else `python3`, if it has the packages.
fn python() -> Option<String> {
    let python = std::env::var("GSTORE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import torch, transformers, peft"]).output();
    if has.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!(
        "skipped: {python} cannot import torch, transformers and peft; set GSTORE_PYTHON to one that can"
    );
    None
}

/// The samples as tokens, those with scored ones.
fn samples(world: &World, request: &TrainRequest) -> Vec<Value> {
    let encoder = request.batching.text.encoder(&world.model).unwrap();
    let text = fs_err::read_to_string(&world.data).unwrap();
    let encoded = text.lines().map(|line| {
        let record = gstore_data::parse_record(line.as_bytes()).unwrap();
        encoder.encode(&record.content).unwrap()
    });
    let encoded = encoded.filter(|encoded| encoded.scored_tokens() > 0);
    encoded.map(|encoded| json!({ "input_ids": encoded.ids, "labels": encoded.labels() })).collect()
}

/// A run of the Trainer that goes on from the checkpoint of a step.
fn run(request: &TrainRequest, outcome: &TrainOutcome) -> Value {
    let checkpoint = outcome.checkpoints.iter().find(|checkpoint| checkpoint.step == FROM).unwrap();
    json!({
        "checkpoint": checkpoint.folder,
        "arguments": {
            "per_device_train_batch_size": request.batching.micro,
            "gradient_accumulation_steps": request.batching.accumulate,
            "max_steps": request.batching.max_steps,
            "learning_rate": request.steps.learning_rate,
            "warmup_steps": request.steps.warmup_steps,
            "weight_decay": 0.1,
            "lr_scheduler_type": "linear",
        },
    })
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn transformers_and_peft_go_on_from_what_is_written() {
    let Some(python) = python() else { return };
    let world = World::new();
    // What the moments of an adapter do to its losses shows at a high rate.
    let trained = [("full", TrainMethod::Full, 1e-3), ("lora", lora(), 1e-2)].map(|(name, method, rate)| {
        let mut request = world.request(name, method);
        request.batching.shuffle = false;
        request.steps.learning_rate = rate;
        (request.steps.warmup_steps, request.steps.warmup_ratio) = (Some(2), 0.0);
        request.saving.log_every = 1;
        let outcome = go(&request).unwrap();
        (name, request, outcome)
    });
    let runs = trained.iter().map(|(name, request, outcome)| ((*name).to_owned(), run(request, outcome)));
    let runs: serde_json::Map<String, Value> = runs.collect();
    let recipe = json!({
        "model": world.model,
        "output": world.path("python"),
        "samples": samples(&world, &trained[0].1),
        "runs": runs,
    });
    let path = world.path("recipe.json");
    fs_err::write(&path, recipe.to_string()).unwrap();
    let mut command = Command::new(python);
    command.args(["-c", include_str!("continued.py")]).arg(&path);
    command.envs([("OMP_NUM_THREADS", "1"), ("HF_HUB_OFFLINE", "1"), ("TOKENIZERS_PARALLELISM", "false")]);
    let output = command.output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{said}");
    let logged = printed.lines().find_map(|line| line.strip_prefix("logged ")).expect("a log");
    let logged: Value = serde_json::from_str(logged).unwrap();

    for (name, _, outcome) in &trained {
        let last = &outcome.checkpoints.last().unwrap().folder;
        let own = TrainerState::read(last).unwrap().unwrap().log_history;
        let theirs = logged[name].as_array().unwrap();
        assert_eq!((own.len(), theirs.len()), (7, 7), "{name}");
        for (own, theirs) in own.iter().zip(theirs).skip(FROM as usize) {
            let place = format!("{name} step {}", own.step);
            assert_eq!(theirs["step"], own.step, "{place}");
            assert_close(theirs["loss"].as_f64().unwrap(), own.loss.unwrap(), TOLERANCE, &place);
            let rate = theirs["learning_rate"].as_f64().unwrap();
            assert_close(rate, own.learning_rate.unwrap(), 1e-12, &place);
        }
    }
}
