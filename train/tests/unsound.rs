//! Promise: numbers that are none stop a training, and checkpoints before them stay.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gstore_core::Cancel;
use gstore_data::Content;

use crate::jobs::{Notes, World, go, lora};
use gstore_model::weights::TrainerState;
use gstore_train::{
    AdamW, BatchOptions, OptimizerKind, SavingOptions, Sgd, StepOptions, TrainError, TrainMethod,
    TrainRequest, run,
};

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_loss_that_is_no_number_stops_and_the_last_good_checkpoint_stays() {
    let world = World::new();
    // The first step of the warm-up has no rate, the next ones spoil the weights: so far that losses are no
    // numbers, or gradients alone.
    for rate in [1e10, 1e12, 1e14] {
        let mut request = world.request(&format!("diverges-{rate}"), TrainMethod::Full);
        request.steps.learning_rate = rate;
        request.steps.max_grad_norm = None;
        request.steps.optimizer = OptimizerKind::Sgd(Sgd::default());
        request.saving = SavingOptions { every: Some(1), limit: Some(1), ..request.saving };
        let error = go(&request).unwrap_err();
        assert!(matches!(error, TrainError::NotFinite { .. }), "{error}");
        let last = gstore_train::last_checkpoint(&request.output).unwrap().unwrap();
        assert!(error.to_string().contains(&last.folder.display().to_string()), "{error}");
        // Steps that change nothing can be taken from there.
        let mut onward = world.request(&format!("onward-{rate}"), TrainMethod::Full);
        onward.steps = StepOptions { learning_rate: 0.0, ..request.steps.clone() };
        onward.saving.resume_from = Some(last.folder);
        assert!(go(&onward).unwrap().finished);
    }
}

/// A copy of a model in f32 whose embedding of a token is no number.
fn with_an_unsound_token(model: &Path, to: &Path, token: u32) {
    fs_err::create_dir(to).unwrap();
    for file in fs_err::read_dir(model).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        fs_err::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let mut bytes = fs_err::read(to.join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let embedding = &tensors["model.embed_tokens.weight"];
    assert_eq!(embedding["dtype"], "F32");
    let [start, width] = [&embedding["data_offsets"][0], &embedding["shape"][1]].map(|n| n.as_u64().unwrap());
    let at = 8 + header + (start + 4 * u64::from(token) * width) as usize;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs_err::write(to.join("model.safetensors"), bytes).unwrap();
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_step_whose_own_samples_are_at_fault_removes_no_checkpoint() {
    let world = World::new();
    let model = world.path("unsound");
    let text =
        |n: usize| if n == 4 { "one ~ two three".to_owned() } else { format!("Line {n} of some others.") };
    let lines: Vec<String> = (0..7).map(|n| serde_json::json!({ "text": text(n) }).to_string()).collect();
    fs_err::write(&world.data, lines.join("\n")).unwrap();
    let mut request = TrainRequest { model, ..world.request("fault", lora()) };
    let encoder = request.batching.text.encoder(&world.model).unwrap();
    let ids = |n: usize| encoder.encode(&Content::Text(text(n))).unwrap().ids;
    let others: BTreeSet<u32> = (0..7).filter(|n| *n != 4).flat_map(ids).collect();
    let token = ids(4).into_iter().find(|id| !others.contains(id)).unwrap();
    with_an_unsound_token(&world.model, &request.model, token);
    request.batching = BatchOptions { micro: 1, accumulate: 1, shuffle: false, ..request.batching };
    request.saving.every = Some(1);
    let error = go(&request).unwrap_err().to_string();
    let last = request.output.join("checkpoint-4");
    let says =
        format!("step 5: the loss is NaN, so training stops; the last checkpoint is {}\n", last.display());
    assert!(error.contains(&says), "{error}");
    assert!(last.exists() && request.output.join("checkpoint-3").exists());
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_rate_that_is_too_high_is_told_where_numbers_stay_finite() {
    let world = World::new();
    let trained = |output: &str, rate: f64| {
        let mut request = world.request(output, TrainMethod::Full);
        // Decay at such a rate would make weights larger.
        let optimizer = OptimizerKind::AdamW(AdamW { weight_decay: 0.0, ..AdamW::default() });
        request.steps = StepOptions { learning_rate: rate, warmup_ratio: 0.0, optimizer, ..request.steps };
        request.saving.log_every = 1;
        let mut notes = Notes::default();
        let outcome = run(&request, &mut notes, &Cancel::new()).unwrap();
        assert!(outcome.finished);
        (notes.0.join("\n"), outcome)
    };
    let told = |output: &str, rate: f64| trained(output, rate).0;
    let usual = told("usual", 1e-4);
    assert!(!usual.contains("the loss rose") && !usual.contains("is zero"), "{usual}");
    let (high, outcome) = trained("high", 0.1);
    assert!(high.contains("the loss rose from "), "{high}");
    // With the first loss that shows it, not at the end alone.
    let folder = &outcome.checkpoints.last().unwrap().folder;
    let log = TrainerState::read(folder).unwrap().unwrap().log_history;
    let guess = {
        let config = crate::common::support::json(&world.model.join("config.json"));
        config["vocab_size"].as_f64().unwrap().ln()
    };
    let losses: Vec<(u64, f64)> = log.iter().map(|line| (line.step, line.loss.unwrap())).collect();
    let has_risen = |(_, loss): &&(u64, f64)| *loss > guess && *loss > losses[0].1 + 0.5;
    let (step, _) = losses.iter().find(has_risen).unwrap();
    assert!(high.contains(&format!(" at step {step}, above")), "{high}");
    let higher = told("higher", 1e3);
    assert!(higher.contains("is zero, so nothing is learned from it"), "{higher}");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_loss_that_begins_above_a_guess_is_told() {
    let world = World::new();
    let notes = |output: &str, tokenizer: Option<std::path::PathBuf>| {
        let mut request = world.request(output, lora());
        request.batching.text.tokenizer = tokenizer;
        request.batching.max_steps = Some(4);
        let mut notes = Notes::default();
        run(&request, &mut notes, &Cancel::new()).unwrap();
        notes.0.join("\n")
    };
    let says = "of a guess among all tokens: the tokenizer, the template or the texts are probably not those";
    let own = notes("own", None);
    assert!(!own.contains(says), "{own}");
    let other = notes("other", Some(with_other_numbers(&world)));
    assert_eq!(other.matches(says).count(), 1, "{other}");
}

/// The model's tokenizer with its tokens in the opposite order, but for those that were added to it.
fn with_other_numbers(world: &World) -> std::path::PathBuf {
    let mut tokenizer = crate::common::support::json(&world.model.join("tokenizer.json"));
    let number = |id: &serde_json::Value| id.as_u64().unwrap();
    let added: Vec<u64> =
        tokenizer["added_tokens"].as_array().unwrap().iter().map(|token| number(&token["id"])).collect();
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let ids: BTreeSet<u64> = vocabulary.values().map(number).filter(|id| !added.contains(id)).collect();
    let opposite: BTreeMap<u64, u64> = ids.iter().copied().zip(ids.iter().rev().copied()).collect();
    for id in vocabulary.values_mut() {
        if let Some(other) = opposite.get(&number(id)) {
            *id = (*other).into();
        }
    }
    let folder = world.path("other-numbers");
    fs_err::create_dir(&folder).unwrap();
    fs_err::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs_err::copy(world.model.join("tokenizer_config.json"), folder.join("tokenizer_config.json")).unwrap();
    folder
}
