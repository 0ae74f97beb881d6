//! Promise: perturbed copies are those of the reference step by step, the same bits however they are trained,
//! and what cannot be trained is refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::path::Path;

use crate::common::golden::encoded;
use crate::common::support::{json, pool, shared};
use crate::jobs::{World, files, lora};
use crate::tensors;
use gstore_core::{Cancel, available_memory};
use gstore_data::TextOptions;
use gstore_model::ComputePrecision;
use gstore_model::cpu::Cpu;
use gstore_model::params::ParamStore;
use gstore_model::weights::{Adapter, ModelFolder, TensorSet, canonical};
use gstore_store::vfs::FileLock;
use gstore_train::daunce::{
    BaseStates, EnsembleObserver, EnsembleOutcome, EnsembleRequest, EnsembleStart, FirstRate, MemberOutcome,
    ModelDraw, Normalizer, Perturbation, PerturbedHead, PerturbedRow, SubsetSize, Variant, forecast,
    forget_weights, prepare, read_members, train,
};
use gstore_train::{
    AdamW, Optimizer, OptimizerKind, Parameters, Sample, SavingOptions, Schedule, ScheduleKind, StepOptions,
    TrainError, TrainMethod, Trainer, TrainerOptions,
};
use serde_json::Value;

/// Relative tolerance of the adapters' values; of how far they have moved it is a hundred times that, which
/// is about their share of the values.
const TOLERANCE: f64 = 1e-4;

pub fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().into_iter().flatten().filter_map(|v| Some(v.as_u64()? as usize)).collect()
}

/// What losses of texts are divided by, as words of the reference say it.
fn normalizer(text: &str) -> Normalizer {
    let has = |word: &str| text.split(|c: char| !c.is_alphanumeric()).any(|own| own == word);
    let (is_mean, is_own) = (has("mean") && has("number"), has("row") || has("own") || has("each"));
    match Normalizer::parse(text) {
        Some(named) => named,
        None if has("scored") && is_mean => Normalizer::Step,
        None if has("scored") && is_own => Normalizer::Row,
        None => panic!(
            "loss_normaliser of the manifest is neither the mean number of scored tokens of a batch nor that of each \
             row: {text:?}"
        ),
    }
}

/// The constants of AdamW and the norm that gradients are clipped to, as the reference says them: `AdamW,
/// betas 0.9 0.999, eps 1e-8, weight decay 0, no clipping`.
pub fn optimizer(text: &str) -> (AdamW, Option<f64>) {
    let (mut constants, mut clip) = (AdamW::default(), None);
    let mut parts = text.split(',').map(str::trim);
    assert_eq!(parts.next(), Some("AdamW"), "optimizer of the manifest: {text:?}");
    for part in parts {
        let (name, values) = part.split_at(part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len()));
        let values: Vec<f64> = values.split_whitespace().filter_map(|value| value.parse().ok()).collect();
        match (name.trim(), &values[..]) {
            ("betas", [first, second]) => (constants.beta1, constants.beta2) = (*first, *second),
            ("eps", [eps]) => constants.eps = *eps,
            ("weight decay", [decay]) => constants.weight_decay = *decay,
            ("clip", [norm]) => clip = Some(*norm),
            ("no weight decay" | "no clipping", []) => {}
            _ => panic!(
                "optimizer of the manifest: {part:?} of {text:?} is none of betas, eps, weight decay, clip"
            ),
        }
    }
    (constants, clip)
}

#[test]
fn words_of_the_reference_say_how_copies_are_trained() {
    let step = "mean number of scored tokens of the rows of the batch";
    for (text, due) in [
        (step, Normalizer::Step),
        ("number of scored tokens of the row", Normalizer::Row),
        ("each row's own number of scored tokens", Normalizer::Row),
        ("row", Normalizer::Row),
    ] {
        assert_eq!(normalizer(text), due, "{text}");
    }
    assert_eq!(
        optimizer("AdamW, betas 0.9 0.999, eps 1e-8, weight decay 0, no clipping"),
        (AdamW::default(), None)
    );
    let other = AdamW { beta1: 0.8, beta2: 0.95, eps: 1e-6, weight_decay: 0.1 };
    assert_eq!(optimizer("AdamW, betas 0.8 0.95, eps 1e-6, weight decay 0.1, clip 1.0"), (other, Some(1.0)));
}

/// The rates of some steps, as a part of the reference's manifest says them.
pub fn schedule(of: &Value, steps: usize) -> Schedule {
    let number = |key: &str| of[key].as_f64().unwrap_or_else(|| panic!("{key}"));
    let more = of.get("lr_scheduler_kwargs").filter(|more| more.is_object()).map(Value::to_string);
    let kind = ScheduleKind::named(of["schedule"].as_str().unwrap(), more.as_deref(), number("lr"));
    Schedule {
        kind: kind.unwrap(),
        peak: number("lr"),
        warmup: number("warmup_steps") as u64,
        total: steps as u64,
    }
}

/// Rows of a data file as tokens, in the order of `rows`.
pub fn samples(data: &Path, model: &Path, template: &str, rows: &[usize]) -> Vec<Sample> {
    let encoder = TextOptions::new(template.parse().unwrap(), 2048).encoder(model).unwrap();
    let found = encoded(data, &encoder, &rows.iter().copied().collect());
    rows.iter().map(|row| found[row].clone()).collect()
}

/// Asserts that factors, which were trained from `begun`, are those of an adapter.
pub fn assert_trained_to(
    expected: &Adapter,
    base: &ModelFolder,
    begun: &ParamStore,
    trainer: &Trainer<Cpu>,
    name: &str,
) {
    let (mut off, mut moved, mut size) = (0.0, 0.0, 0.0);
    for fitted in expected.fit(base).unwrap() {
        for name in [&fitted.lora.a, &fitted.lora.b] {
            let due = expected.tensors().read_f32(name).unwrap();
            let found = trainer.parameters.store().get(&canonical(name)).unwrap();
            let from = begun.get(&canonical(name)).unwrap();
            for ((due, found), from) in due.iter().zip(found).zip(from) {
                off += f64::from(due - found).powi(2);
                moved += f64::from(due - from).powi(2);
                size += f64::from(*due).powi(2);
            }
        }
    }
    let (of_size, of_way) = ((off / size).sqrt(), (off / moved).sqrt());
    assert!(of_size <= TOLERANCE && of_way <= 100.0 * TOLERANCE, "{name}: {of_size:e} {of_way:e}");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_train() {
    let shared = shared();
    let folder = shared.join("golden/daunce");
    let manifest = json(&folder.join("manifest.json"));
    let of = &manifest["perturbation"];
    let (base, theta0) = manifest["base"].as_str().unwrap().split_once(" + ").expect("a base and an adapter");
    let base = ModelFolder::open(&shared.join(base)).unwrap();
    let theta0 = Adapter::open(&folder.join(theta0)).unwrap();
    let parameters = Parameters::from_adapter(&base, &theta0, Cpu::new(ComputePrecision::F32)).unwrap();
    let begun = parameters.store().clone();
    let start = EnsembleStart::new(parameters);
    let template = manifest["template"].as_str().unwrap();
    let samples =
        samples(&pool(&shared, &manifest), base.path(), template, &numbers(&manifest["train_rows"]));
    let number = |key: &str| of[key].as_f64().unwrap_or_else(|| panic!("{key}"));
    let (steps, batch) = (number("steps") as usize, number("batch") as usize);
    let variant = of["variant"].as_str().unwrap().trim_start_matches("daunce-");
    let perturbation = Perturbation {
        variant: variant.parse().unwrap(),
        rho: number("rho"),
        gamma: number("gamma"),
        normalizer: normalizer(of["loss_normaliser"].as_str().unwrap()),
    };
    let (constants, max_grad_norm) = optimizer(of["optimizer"].as_str().unwrap());
    let schedule = schedule(of, steps);
    let tensors = tensors::read(&folder.join("daunce.safetensors"));
    let mut compared = 0;
    for (place, model) in numbers(&manifest["models"]).into_iter().enumerate() {
        let Ok(expected) = Adapter::open(&folder.join(format!("model-{model:02}"))) else { continue };
        let options = TrainerOptions { max_grad_norm, threads: 2, ..TrainerOptions::default() };
        let parameters = start.copy(None, 0).unwrap();
        let optimizer = Optimizer::new(OptimizerKind::AdamW(constants), begun.specs().len());
        let mut trainer = Trainer::new(parameters, optimizer, options);
        let rows = &tensors["subset"].1[place * steps * batch..][..steps * batch];
        let noise = &tensors["xi"].1[place * samples.len()..][..samples.len()];
        let head = PerturbedHead { perturbation, start: &start };
        for (step, rows) in rows.chunks(batch).enumerate() {
            let row = |row: &f64| PerturbedRow {
                sample: &samples[*row as usize],
                number: *row as usize,
                xi: noise[*row as usize],
            };
            let rows: Vec<PerturbedRow<'_>> = rows.iter().map(row).collect();
            let rate = FirstRate::Zero.rate(schedule, step as u64);
            let due = manifest["learning_rates"][step].as_f64().unwrap();
            assert!((rate - due).abs() <= 1e-12 * schedule.peak, "step {step}: {rate} instead of {due}");
            let report = trainer.perturbed_step(&rows, &head, rate, &Cancel::new()).unwrap();
            let due = tensors["objective"].1[place * steps + step];
            let off = (report.loss - due).abs();
            assert!(off <= 1e-3 * due.abs() + 2e-6, "model {model} step {step}: {} {due}", report.loss);
        }
        assert_trained_to(&expected, &base, &begun, &trainer, &format!("model {model}"));
        compared += 1;
    }
    assert!(compared > 0);
}

/// Four texts of a vocabulary, of different lengths, whatever they say.
fn texts(base: &ModelFolder) -> Vec<Sample> {
    let tokens = (base.decoder().vocab_size as u32 - 3).min(900);
    let text = |number: u32| {
        let length = 5 + 4 * number;
        let ids = (0..length).map(|at| 3 + (at * 7 + number * 31) % tokens).collect();
        Sample { ids, scored: (0..length).map(|at| at % 3 != 1).collect() }
    };
    (0..4).map(text).collect()
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn gradients_are_slopes_of_the_objective() {
    let world = World::new();
    let base = ModelFolder::open(&world.model).unwrap();
    let TrainMethod::Lora(choice) = lora() else { unreachable!() };
    let (texts, never) = (texts(&base), Cancel::new());
    let noise = [0.9, 0.05, 0.6, 0.3];
    let rows: Vec<PerturbedRow<'_>> =
        (0..4).map(|i| PerturbedRow { sample: &texts[i], number: i, xi: noise[i] }).collect();
    let backend = || Cpu::new(ComputePrecision::F32);
    for variant in [Variant::If, Variant::Efim, Variant::Subset] {
        for normalizer in [Normalizer::Step, Normalizer::Row] {
            let start = EnsembleStart::new(Parameters::new_lora(&base, &choice, 5, backend()).unwrap());
            let perturbation = Perturbation { variant, rho: 2.0, gamma: 0.8, normalizer };
            let head = PerturbedHead { perturbation, start: &start };
            let parameters = start.copy(None, 0).unwrap();
            let optimizer =
                Optimizer::new(OptimizerKind::AdamW(Default::default()), parameters.trained().len());
            let options = TrainerOptions { threads: 2, ..TrainerOptions::default() };
            let mut trainer = Trainer::new(parameters, optimizer, options);
            for _ in 0..4 {
                trainer.perturbed_step(&rows, &head, 2e-2, &never).unwrap();
            }
            let (_, gradient) = trainer.perturbed_gradient(&rows, &head, &never).unwrap();
            let flat: Vec<f64> = gradient.iter().flatten().map(|v| f64::from(*v)).collect();
            let norm = flat.iter().map(|v| v * v).sum::<f64>().sqrt();
            let here = trainer.parameters.store().values().to_vec();
            let mut value_at = |step: f64| {
                let moved = here.iter().zip(&flat).map(|(v, g)| (f64::from(*v) + step * g / norm) as f32);
                let moved: Vec<f32> = moved.collect();
                trainer.parameters.change(2, |store| store.values_mut().copy_from_slice(&moved)).unwrap();
                trainer.perturbed_gradient(&rows, &head, &never).unwrap().0
            };
            let step = 3e-3;
            let slope = (value_at(step) - value_at(-step)) / (2.0 * step);
            assert!((slope - norm).abs() <= 0.02 * norm + 1e-4, "{variant:?} {normalizer:?}: {slope} {norm}");
        }
    }
}

/// At the starting point the objective is zero, and only noise has a slope.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn without_noise_nothing_moves() {
    let world = World::new();
    let base = ModelFolder::open(&world.model).unwrap();
    let TrainMethod::Lora(choice) = lora() else { unreachable!() };
    let start =
        EnsembleStart::new(Parameters::new_lora(&base, &choice, 5, Cpu::new(ComputePrecision::F32)).unwrap());
    let parameters = start.copy(None, 0).unwrap();
    let optimizer = Optimizer::new(OptimizerKind::AdamW(Default::default()), parameters.trained().len());
    let trainer = Trainer::new(parameters, optimizer, TrainerOptions::default());
    let texts = texts(&base);
    let rows: Vec<PerturbedRow<'_>> =
        (0..4).map(|i| PerturbedRow { sample: &texts[i], number: i, xi: 0.8 }).collect();
    let of = |rho: f64| {
        let perturbation = Perturbation { rho, ..Perturbation::default() };
        let head = PerturbedHead { perturbation, start: &start };
        let (value, gradient) = trainer.perturbed_gradient(&rows, &head, &Cancel::new()).unwrap();
        (value, gradient.iter().flatten().fold(0f32, |most, v| most.max(v.abs())))
    };
    assert_eq!(of(0.0), (0.0, 0.0));
    let (value, slope) = of(1.0);
    assert!(value == 0.0 && slope > 1e-4, "{value} {slope}");
}

fn request(world: &World, output: &str, models: Range<u64>) -> EnsembleRequest {
    let mut training = world.request(output, lora());
    training.batching.micro = 3;
    training.batching.accumulate = 1;
    training.batching.max_steps = Some(3);
    training.batching.epochs = 1.0;
    training.steps = StepOptions {
        learning_rate: 2e-3,
        schedule: ScheduleKind::Cosine,
        warmup_steps: Some(1),
        max_grad_norm: None,
        ..StepOptions::default()
    };
    training.saving = SavingOptions::default();
    EnsembleRequest {
        training,
        perturbation: Perturbation::default(),
        subset: SubsetSize::OfSteps,
        models,
        round: 2,
        at_once: None,
        states: BaseStates::Auto,
        states_file: None,
        first_rate: FirstRate::Rising,
    }
}

/// Notes models, and tells the job to stop after some.
struct Watch<'a> {
    trained: Vec<u64>,
    stop_after: Option<usize>,
    cancel: &'a Cancel,
}

impl EnsembleObserver for Watch<'_> {
    fn trained(&mut self, trained: &MemberOutcome) {
        self.trained.push(trained.model());
        if self.stop_after == Some(self.trained.len()) {
            self.cancel.raise();
        }
    }
}

/// Hears nothing.
struct Quiet;

impl EnsembleObserver for Quiet {}

fn go(request: &EnsembleRequest) -> Result<EnsembleOutcome, TrainError> {
    train(request, &mut Quiet, &mut |_| Ok::<_, TrainError>(ControlFlow::Continue(())), &Cancel::new())
}

/// Files of the models, without those of the starting point.
fn models(request: &EnsembleRequest) -> BTreeMap<String, Vec<u8>> {
    files(&request.training.output.join("members"))
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn models_have_the_same_bits_however_they_are_trained() {
    let world = World::new();
    let plain = request(&world, "plain", 0..4);
    let outcome = go(&plain).unwrap();
    assert!(outcome.finished && outcome.steps == 3 && outcome.models.len() == 4);
    let complete = |trained: &MemberOutcome| match trained {
        MemberOutcome::Complete(member) => member.clone(),
        MemberOutcome::Refused(refused) => panic!("{refused:?}"),
    };
    let members: Vec<_> = outcome.models.iter().map(complete).collect();
    let distinct = |of: &dyn Fn(usize) -> String| (0..4).map(of).collect::<BTreeSet<_>>().len() == 4;
    assert!(
        distinct(&|i| members[i].checkpoint.to_string()) && distinct(&|i| members[i].rows_digest.clone())
    );
    assert!(members.iter().all(|member| member.rows == 9 && member.objective.len() == 3));
    assert!(plain.training.output.join("base/hidden.states").is_file());

    for (name, threads, at_once, states, round) in [
        ("threads", 3, None, BaseStates::Stored, 3),
        ("one-at-a-time", 2, Some(1), BaseStates::Forward, 1),
        ("both", 2, Some(2), BaseStates::Auto, 8),
    ] {
        let mut other = request(&world, name, 0..4);
        other.training.compute.threads = threads;
        (other.at_once, other.states, other.round) = (at_once, states, round);
        go(&other).unwrap();
        assert_eq!(models(&other), models(&plain), "{name}");
    }
    // Parts of the models, in any order, in one folder.
    for range in [2..4, 0..1, 1..3] {
        go(&request(&world, "parts", range)).unwrap();
    }
    assert_eq!(models(&request(&world, "parts", 0..4)), models(&plain));
    assert_eq!(read_members(&plain.training.output).unwrap(), outcome.models);
}

/// Notes that a limit of memory is too low.
struct TooLow(usize);

impl EnsembleObserver for TooLow {
    fn note(&mut self, message: &str) {
        self.0 += usize::from(message.contains("more than was allowed"));
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_limit_of_memory_is_exceeded_only_where_one_copy_takes_more_and_that_is_said() {
    let world = World::new();
    let of = |threads: usize, limit: u64| {
        let mut request = request(&world, "limited", 0..6);
        request.training.method = TrainMethod::Full;
        (request.training.compute.threads, request.training.compute.max_memory) = (threads, Some(limit));
        let mut too_low = TooLow(0);
        let told = forecast(&request, &mut too_low, &Cancel::new()).unwrap();
        (told.memory, told.at_once, too_low.0)
    };
    // Enough for each text, and not for a program.
    let (least, at_once, noted) = of(1, 16 << 20);
    assert_eq!((at_once, noted), (1, 1));
    assert_eq!(of(4, least - 1), (least, 1, 1));
    for limit in [least, least + (1 << 20), least + (16 << 20), least + (64 << 20)] {
        let (memory, _, noted) = of(4, limit);
        assert!(memory <= limit && noted == 0, "{memory} of {limit}");
    }
}

/// Notes what is said.
#[derive(Default)]
struct Said(Vec<String>);

impl EnsembleObserver for Said {
    fn note(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_forecast_tells_what_the_machine_has_not_the_memory_for() {
    let world = World::new();
    let mut large = request(&world, "large", 0..2);
    let measured = forecast(&large, &mut Quiet, &Cancel::new()).unwrap();
    assert!(measured.seconds.is_some());
    // More than any machine has, by its threads.
    large.training.compute.threads = 1 << 30;
    let mut said = Said::default();
    let told = forecast(&large, &mut said, &Cancel::new()).unwrap();
    assert_eq!((told.seconds, told.weights, told.states), (None, measured.weights, measured.states));
    assert!(told.memory > measured.memory);
    let lack = said.0.iter().filter(|said| said.contains("MB of memory are needed")).count();
    assert_eq!(lack, 1, "{:?}", said.0);
    assert!(matches!(go(&large), Err(TrainError::Memory { .. })));
    assert!(!large.training.output.exists());
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn hidden_states_alone_need_no_memory_for_a_copy() {
    if available_memory().is_none() {
        return;
    }
    let world = World::new();
    let mut request = request(&world, "states", 0..1);
    request.training.method = TrainMethod::Full;
    // Enough for each text, and not for a program: the forecast is of the least that a copy takes.
    (request.training.compute.threads, request.training.compute.piece_tokens) = (4, 64);
    request.training.compute.max_memory = Some(16 << 20);
    let least = forecast(&request, &mut Quiet, &Cancel::new()).unwrap().memory;
    request.training.compute.max_memory = Some(least - 1);
    let mut too_low = TooLow(0);
    forecast(&request, &mut too_low, &Cancel::new()).unwrap();
    assert_eq!(too_low.0, 1);
    prepare(&request, &mut too_low, &Cancel::new()).unwrap();
    assert_eq!(too_low.0, 1);
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn hidden_states_that_the_machine_has_not_the_memory_for_are_refused() {
    let world = World::new();
    let mut request = request(&world, "states", 0..1);
    // More than any machine has, by its threads.
    request.training.compute.threads = 1 << 30;
    let refused = prepare(&request, &mut Quiet, &Cancel::new());
    assert!(matches!(refused, Err(TrainError::Memory { .. })), "{refused:?}");
    assert!(!request.training.output.exists());
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn what_was_killed_goes_on() {
    let world = World::new();
    let plain = request(&world, "plain", 0..4);
    go(&plain).unwrap();

    let killed = EnsembleRequest { at_once: Some(1), round: 1, ..request(&world, "killed", 0..4) };
    go(&request(&world, "killed", 3..4)).unwrap();
    let cancel = Cancel::new();
    let mut watch = Watch { trained: Vec::new(), stop_after: Some(2), cancel: &cancel };
    let outcome =
        train(&killed, &mut watch, &mut |_| Ok::<_, TrainError>(ControlFlow::Continue(())), &cancel).unwrap();
    assert!(!outcome.finished && watch.trained == [0, 1], "{:?}", watch.trained);
    assert_eq!(outcome.models, read_members(&killed.training.output).unwrap());
    assert_eq!(outcome.models.iter().map(MemberOutcome::model).collect::<Vec<_>>(), [0, 1, 3]);
    // What a kill leaves: weights without a record, and a folder that is not finished.
    let members = killed.training.output.join("members");
    fs_err::remove_file(members.join("00001.json")).unwrap();
    fs_err::create_dir_all(members.join(".unfinished-00002")).unwrap();
    fs_err::write(members.join(".unfinished-00002/adapter_model.safetensors"), b"half").unwrap();
    assert!(go(&killed).unwrap().finished);
    assert_eq!(models(&killed), models(&plain));

    // The caller has enough.
    let rounds = RefCell::new(0);
    let enough = &mut |_: &[MemberOutcome]| {
        *rounds.borrow_mut() += 1;
        Ok::<_, TrainError>(ControlFlow::Break(()))
    };
    let outcome = train(&request(&world, "enough", 0..4), &mut Quiet, enough, &Cancel::new()).unwrap();
    assert!(outcome.finished && outcome.models.len() == 2 && *rounds.borrow() == 1);

    // A model whose weights were not kept is not trained again; one whose folder was removed is.
    let MemberOutcome::Complete(member) = &read_members(&plain.training.output).unwrap()[3] else { panic!() };
    let without = forget_weights(&plain.training.output, member).unwrap();
    assert_eq!(without.folder, None);
    // As a process leaves them that is killed between the record and their removal.
    let left = plain.training.output.join("members/00003");
    fs_err::create_dir(&left).unwrap();
    fs_err::write(left.join("adapter_model.safetensors"), b"left").unwrap();
    assert_eq!(forget_weights(&plain.training.output, &without).unwrap(), without);
    assert!(!left.exists());
    assert_eq!(go(&plain).unwrap().models[3], MemberOutcome::Complete(without));
    fs_err::remove_dir_all(members.join("00000")).unwrap();
    go(&killed).unwrap();
    assert!(members.join("00000/adapter_model.safetensors").is_file());
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn other_variants_and_whole_models_are_trained() {
    let world = World::new();
    let mut seen = BTreeSet::new();
    for (name, variant) in [("if", Variant::If), ("efim", Variant::Efim), ("subset", Variant::Subset)] {
        let mut request = request(&world, name, 0..2);
        request.perturbation.variant = variant;
        for trained in go(&request).unwrap().models {
            let MemberOutcome::Complete(member) = trained else { panic!("{name}") };
            assert!(seen.insert(member.checkpoint), "{name}");
        }
        let states = request.training.output.join("base").exists();
        assert_eq!(states, variant != Variant::Subset, "{name}");
    }
    let mut whole = request(&world, "whole", 0..2);
    whole.training.method = TrainMethod::Full;
    whole.training.steps.learning_rate = 1e-4;
    let prepared = prepare(&whole, &mut Quiet, &Cancel::new()).unwrap();
    let bytes = fs_err::metadata(&prepared.file).unwrap().len();
    assert!(bytes >= prepared.bytes && bytes < prepared.bytes + 1000, "{bytes} {prepared:?}");
    let outcome = go(&whole).unwrap();
    for trained in &outcome.models {
        let MemberOutcome::Complete(member) = trained else { panic!("{trained:?}") };
        let folder = member.folder.as_ref().unwrap();
        assert!(TensorSet::open(folder, "model").is_ok() && folder.join("config.json").is_file());
        // The first objective is that of the starting point itself.
        assert!(
            member.objective[0].abs() < 1e-6 && member.objective[2].abs() > 0.0,
            "{:?}",
            member.objective
        );
    }
    let forward = EnsembleRequest { states: BaseStates::Forward, ..whole.clone() };
    let mut elsewhere = forward.clone();
    elsewhere.training.output = world.path("whole-forward");
    go(&elsewhere).unwrap();
    assert_eq!(models(&elsewhere), models(&whole));
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn what_cannot_be_trained_is_refused() {
    let world = World::new();
    let refused = |change: &dyn Fn(&mut EnsembleRequest)| {
        let mut request = request(&world, "refused", 0..2);
        change(&mut request);
        go(&request).unwrap_err().to_string()
    };
    type Mistake<'a> = &'a dyn Fn(&mut EnsembleRequest);
    let cases: [(Mistake<'_>, &str); 10] = [
        (&|r| r.training.batching.max_steps = Some(1000), "3000 rows"),
        (&|r| r.subset = SubsetSize::Rows(24), "24 rows"),
        (&|r| r.subset = SubsetSize::Share(0.0), "at most 1, not 0"),
        (&|r| r.perturbation.rho = f64::NAN, "rho of NaN"),
        (&|r| r.perturbation.variant = Variant::Trak, "trak"),
        (&|r| r.training.method = TrainMethod::FromScratch, "random weights"),
        (&|r| r.training.batching.packing = true, "batch of rows"),
        (&|r| r.models = 3..3, "no model"),
        (&|r| r.training.steps.learning_rate = 0.0, "no rate is above zero"),
        (&|r| r.models = 0..u64::MAX, "at most 1000000"),
    ];
    for (change, words) in cases {
        let error = refused(change);
        assert!(error.contains(words), "{words}: {error}");
    }

    // One that diverges is named and noted, and not tried again.
    let mut wild = request(&world, "wild", 0..2);
    wild.training.steps.learning_rate = 1e38;
    wild.training.batching.max_steps = Some(4);
    for _ in 0..2 {
        for trained in go(&wild).unwrap().models {
            let MemberOutcome::Refused(refused) = trained else { panic!("{trained:?}") };
            assert!(refused.reason.contains("step"), "{refused:?}");
        }
    }
    assert!(models(&wild).keys().all(|name| name.ends_with(".json")), "{:?}", models(&wild).keys());

    let first = request(&world, "first", 0..1);
    go(&first).unwrap();
    let mut other = request(&world, "first", 0..2);
    other.perturbation.rho = 2.0;
    let error = go(&other).unwrap_err();
    assert!(matches!(&error, TrainError::OtherTraining { what, .. } if what.contains("rho")), "{error}");
    other.training.saving.overwrite = true;
    assert_eq!(go(&other).unwrap().models.len(), 2);
    assert!(read_members(&world.path("nothing")).is_err());
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn what_is_refused_changes_nothing() {
    let world = World::new();
    let subset = |models: Range<u64>| {
        let mut request = request(&world, "kept", models);
        request.perturbation.variant = Variant::Subset;
        request
    };
    go(&subset(0..2)).unwrap();
    let output = subset(0..2).training.output;
    let before = files(&output);
    // Another start, also for models of other numbers: the note of the start is of all.
    for range in [0..2, 2..4] {
        let mut other = subset(range);
        other.training.method = TrainMethod::Adapter(output.join("members/00000"));
        let error = go(&other).unwrap_err();
        assert!(matches!(error, TrainError::OtherTraining { .. }), "{error}");
        other.training.saving.overwrite = true;
        let error = go(&other).unwrap_err().to_string();
        assert!(error.contains("start from it"), "{error}");
    }
    let mut nothing = subset(0..2);
    nothing.training.steps.learning_rate = 0.0;
    nothing.training.saving.overwrite = true;
    go(&nothing).unwrap_err();
    assert_eq!(files(&output), before);
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn leave_to_overwrite_spares_what_was_stopped_and_what_is_read() {
    let world = World::new();
    let mut again = request(&world, "again", 0..2);
    go(&again).unwrap();
    let output = again.training.output.clone();
    let MemberOutcome::Complete(first) = &read_members(&output).unwrap()[0] else { panic!() };
    let without = MemberOutcome::Complete(forget_weights(&output, first).unwrap());
    fs_err::remove_file(output.join("members/00001.json")).unwrap();
    again.training.saving.overwrite = true;
    assert_eq!(go(&again).unwrap().models[0], without, "it was stopped");
    assert_ne!(go(&again).unwrap().models[0], without, "it was finished");

    // Hidden states that are given may be those of other jobs.
    let given = world.path("given.states");
    fs_err::copy(output.join("base/hidden.states"), &given).unwrap();
    let bytes = fs_err::read(&given).unwrap();
    let mut other = request(&world, "other", 0..2);
    other.training.method = TrainMethod::Adapter(output.join("members/00000"));
    other.training.saving.overwrite = true;
    other.states = BaseStates::Stored;
    let with_given = EnsembleRequest { states_file: Some(given.clone()), ..other.clone() };
    let error = go(&with_given).unwrap_err();
    assert!(matches!(error, TrainError::OtherTraining { .. }), "{error}");
    assert_eq!(fs_err::read(&given).unwrap(), bytes);
    let own = other.training.output.join("base/hidden.states");
    fs_err::create_dir_all(own.parent().unwrap()).unwrap();
    fs_err::copy(&given, &own).unwrap();
    go(&other).unwrap();
    assert_ne!(fs_err::read(&own).unwrap(), bytes);
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn one_process_at_a_time_trains_a_copy() {
    let world = World::new();
    let plain = request(&world, "plain", 0..3);
    go(&plain).unwrap();
    let shared = request(&world, "shared", 0..3);
    let members = shared.training.output.join("members");
    // Another process is writing its weights.
    let unfinished = members.join(".unfinished-00001");
    fs_err::create_dir_all(&unfinished).unwrap();
    let theirs = FileLock::of(&members.join(".00001.lock")).unwrap().unwrap();
    let error = go(&shared).unwrap_err();
    assert!(matches!(&error, TrainError::BusyCopy { model: 1, .. }), "{error}");
    assert!(unfinished.is_dir() && members.join("00000.json").is_file());
    drop(theirs);
    // What a killed process left is no lock.
    fs_err::write(members.join(".00002.lock"), b"").unwrap();
    go(&shared).unwrap();
    assert_eq!(models(&shared), models(&plain));
    // A copy on record needs none.
    let _theirs = FileLock::of(&members.join(".00001.lock")).unwrap().unwrap();
    assert_eq!(go(&shared).unwrap().models.len(), 3);
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn tasks_of_an_array_replace_the_copies_of_a_folder_together() {
    let world = World::new();
    let of = |output: &str, models: Range<u64>, rho: f64| {
        let mut request = request(&world, output, models);
        request.perturbation.rho = rho;
        request.training.saving.overwrite = true;
        request
    };
    let [array, plain] = ["array", "plain"].map(|output| of(output, 0..4, 1.0));
    let members = |output: &str| world.path(output).join("members");
    go(&array).unwrap();
    let old = models(&array);
    std::thread::scope(|scope| {
        // While one removes copies, the other waits for it; hidden states took it that long, say.
        let replacing = FileLock::of(&members("array").join(".replacing.lock")).unwrap().unwrap();
        let second = scope.spawn(|| go(&of("array", 2..4, 2.0)));
        go(&of("first", 0..2, 2.0)).unwrap();
        let mut found = models(&array);
        assert_eq!(found.remove(".replacing.lock"), Some(Vec::new()));
        assert_eq!(found, old);
        for model in ["00000", "00001", "00002", "00003"] {
            let record = format!("{model}.json");
            fs_err::remove_dir_all(members("array").join(model)).unwrap();
            fs_err::remove_file(members("array").join(&record)).unwrap();
            // What the first task has trained since.
            for name in [model, record.as_str()].into_iter().filter(|_| model < "00002") {
                fs_err::rename(members("first").join(name), members("array").join(name)).unwrap();
            }
        }
        drop(replacing);
        second.join().unwrap().unwrap();
    });
    go(&of("plain", 0..4, 2.0)).unwrap();
    assert_eq!(models(&array), models(&plain));

    std::thread::scope(|scope| {
        let tasks = [0..2, 2..4].map(|models| scope.spawn(move || go(&of("array", models, 3.0))));
        for task in tasks {
            task.join().unwrap().unwrap();
        }
    });
    go(&of("plain", 0..4, 3.0)).unwrap();
    assert_eq!(models(&array), models(&plain));
}

#[test]
fn draws_do_not_depend_on_other_rows() {
    let rows: Vec<u64> = (0..40).collect();
    let draw = ModelDraw::new(3, 11, &rows, 40).unwrap();
    assert_eq!(draw, ModelDraw::new(3, 11, &rows, 40).unwrap());
    let half = ModelDraw::new(3, 11, &rows, 20).unwrap();
    assert_eq!(half.samples, draw.samples[..20]);
    assert_eq!(half.noise, draw.noise[..20]);
}
