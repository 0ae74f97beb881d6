//! Promise: where a device has too little memory for the whole work at once, trainings and generations
//! continue with smaller parts, and give the same results; on several devices they have the bits of one.

use std::path::{Path, PathBuf};
use std::slice;

use crate::backends::assert_close;
use crate::tiny::{Tiny, VOCAB};
use gstore_core::Cancel;
use gstore_cuda::{Cuda, Emulator};
use gstore_generate::{
    ComputeOptions as Computing, GenerateError, GenerateObserver, GenerateRequest, PromptSource,
    StoppingCriteria, generate_on,
};
use gstore_model::weights::ModelFolder;
use gstore_model::{ComputePrecision, Device};
use gstore_train::{LoraChoice, Optimizer, OptimizerKind, Parameters, Sample, Trainer, TrainerOptions};

/// Tolerance for sums of the same gradients in another order.
const OTHER_SUMS: f32 = 1e-4;

/// Memory that allocations of other threads may leave for one that needs all of it.
const SLACK: usize = 4096;

fn device(memory: usize) -> Cuda<Emulator> {
    Cuda::new(Emulator::with_memory(memory), ComputePrecision::F32)
}

fn samples() -> Vec<Sample> {
    let sample = |seed: u32| {
        let len = 12 + seed % 5;
        let ids = (0..len).map(|i| (seed * 11 + i * i * 5) % VOCAB as u32).collect();
        Sample { ids, scored: (0..len).map(|i| i > 0).collect() }
    };
    (0..16).map(sample).collect()
}

/// Loss and gradient on devices, the gradients of all tensors one after the other.
fn gradient(on: &[Cuda<Emulator>], model: &Path, threads: usize, piece_tokens: usize) -> (f64, Vec<f32>) {
    let parameters = Parameters::full(&ModelFolder::open(model).unwrap(), on[0].clone()).unwrap();
    let parameters = parameters.beside(None, on[1..].to_vec()).unwrap();
    let kind: OptimizerKind = "sgd".parse().unwrap();
    let optimizer = Optimizer::new(kind, parameters.store().specs().len());
    let options = TrainerOptions { threads, piece_tokens, ..TrainerOptions::default() };
    let (trainer, samples) = (Trainer::new(parameters, optimizer, options), samples());
    let (loss, gradient) = trainer.gradient(&[samples.iter().collect()], &Cancel::new()).unwrap();
    assert!(trainer.evaluate(&samples, &Cancel::new()).unwrap().is_some_and(f64::is_finite));
    (loss, gradient.into_iter().flatten().collect())
}

#[test]
fn a_step_that_does_not_fit_a_device_is_computed_on_fewer_threads_and_then_in_smaller_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let model = Tiny::new().write(&folder.path().join("model"));
    let (whole, single) = (device(usize::MAX), device(usize::MAX));
    let expected = gradient(slice::from_ref(&whole), &model, 1, 1024);
    gradient(slice::from_ref(&single), &model, 1, 1);
    let [most, least] = [&whole, &single].map(|on| on.runtime().most_held());
    assert!(least + 2 * SLACK < most, "{least} and {most} bytes");

    // The number of threads changes no bit.
    let enough = || device(most + SLACK);
    assert_eq!(gradient(&[enough()], &model, 4, 1024), expected);
    assert_eq!(gradient(&[enough(), enough()], &model, 4, 1024), expected);
    let little = || device((least + most) / 2);
    for (on, threads) in [(vec![little()], 1), (vec![little()], 3), (vec![little(), little()], 3)] {
        let (loss, found) = gradient(&on, &model, threads, 1024);
        assert!((loss - expected.0).abs() < 1e-5 * expected.0, "{loss} and {}", expected.0);
        assert_close(&found, &expected.1, OTHER_SUMS, "in smaller pieces");
    }
}

#[test]
fn a_training_on_several_devices_has_the_bits_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let base = ModelFolder::open(&Tiny::new().write(&folder.path().join("model"))).unwrap();
    let choice = LoraChoice { rank: 2, alpha: 4.0, targets: vec!["all-linear".to_owned()] };
    let samples = samples();
    for is_full in [false, true] {
        let trained = |on: &[Cuda<Emulator>]| {
            let parameters = match is_full {
                true => Parameters::full(&base, on[0].clone()),
                false => Parameters::new_lora(&base, &choice, 1, on[0].clone()),
            };
            let parameters = parameters.unwrap().beside(Some(&base), on[1..].to_vec()).unwrap();
            let kind: OptimizerKind = "sgd".parse().unwrap();
            let optimizer = Optimizer::new(kind, parameters.store().specs().len());
            let options = TrainerOptions { piece_tokens: 30, ..TrainerOptions::default() };
            let mut trainer = Trainer::new(parameters, optimizer, options);
            let read: Vec<usize> = on.iter().map(|on| on.runtime().bytes_read()).collect();
            let mut losses = Vec::new();
            for _ in 0..2 {
                let report = trainer.step(&[samples.iter().collect()], 0.1, &Cancel::new()).unwrap();
                losses.push((report.loss, report.grad_norm));
            }
            let is_used = on.iter().zip(read).all(|(on, read)| on.runtime().bytes_read() > read);
            assert!(is_used, "each of {} devices gives gradients", on.len());
            (losses, trainer.parameters.store().values().to_vec())
        };
        let on = |devices: usize| (0..devices).map(|_| device(usize::MAX)).collect::<Vec<_>>();
        assert!(trained(&on(3)) == trained(&on(1)), "all tensors: {is_full}");
    }
    // Factors cannot be allocated next to a model that is not named.
    let parameters = Parameters::new_lora(&base, &choice, 1, device(usize::MAX)).unwrap();
    assert!(parameters.beside(None, vec![device(usize::MAX)]).is_err());
}

#[derive(Default)]
struct Notes(Vec<String>);

impl GenerateObserver for Notes {
    fn note(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

/// The answers, and the messages.
fn answers(
    on: &[Cuda<Emulator>],
    prompts: &Path,
    threads: usize,
    batch: usize,
) -> Result<(String, Vec<String>), GenerateError> {
    let demo: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let source = PromptSource::Files { paths: vec![prompts.to_owned()], fields: Vec::new() };
    let request = GenerateRequest {
        stopping: StoppingCriteria { max_new_tokens: 4, ..StoppingCriteria::default() },
        compute: Computing {
            device: Device::Cuda(0),
            beside: (1..on.len()).map(Device::Cuda).collect(),
            threads,
            batch,
            ..Computing::default()
        },
        ..GenerateRequest::new(demo, source)
    };
    let mut notes = Notes::default();
    let mut outcome = generate_on(&request, on.to_vec(), &mut notes, &Cancel::new())?;
    assert!(outcome.finished);
    let mut text = Vec::new();
    outcome.answers.write_to(&mut text).unwrap();
    Ok((String::from_utf8(text).unwrap(), notes.0))
}

fn prompts_in(folder: &Path) -> PathBuf {
    let prompts = folder.join("prompts.jsonl");
    let lines: String = (0..4).map(|i| format!("{{\"text\": \"Is {i} odd?\"}}\n")).collect();
    fs_err::write(&prompts, lines).unwrap();
    prompts
}

#[test]
fn prompts_that_do_not_fit_a_device_are_answered_fewer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let prompts = prompts_in(folder.path());
    let (together, single) = (device(usize::MAX), device(usize::MAX));
    let (expected, said) = answers(slice::from_ref(&together), &prompts, 1, 4).unwrap();
    assert_eq!((expected.lines().count(), said.len()), (4, 0), "{said:?}");
    answers(slice::from_ref(&single), &prompts, 1, 1).unwrap();
    let [most, least] = [&together, &single].map(|on| on.runtime().most_held());
    assert!(least + 2 * SLACK < most, "{least} and {most} bytes");
    for threads in [1, 2] {
        let (found, said) = answers(&[device((least + most) / 2)], &prompts, threads, 4).unwrap();
        assert_eq!(found, expected, "{threads} threads");
        // Several threads may by chance not compete for memory.
        assert!(threads > 1 || said.iter().any(|note| note.contains("at a time")), "{said:?}");
    }
    // A device with enough memory works as before.
    let (found, said) = answers(&[device((least + most) / 2), together], &prompts, 1, 8).unwrap();
    assert!(found == expected, "{found} and {expected}, {said:?}");
}

#[test]
fn answers_on_several_devices_are_those_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let prompts = prompts_in(folder.path());
    let on = |devices: usize| (0..devices).map(|_| device(usize::MAX)).collect::<Vec<_>>();
    let (expected, _) = answers(&on(1), &prompts, 1, 1).unwrap();
    for (devices, threads, batch) in [(2, 1, 1), (2, 3, 3), (3, 3, 64), (6, 1, 2)] {
        let on = on(devices);
        let (found, said) = answers(&on, &prompts, threads, batch).unwrap();
        assert!(found == expected && said.is_empty(), "{devices} devices: {found}, {said:?}");
        // There are four prompts, and a device without room for a prompt holds no weights.
        let loaded = on.iter().filter(|on| on.runtime().bytes_written() > 0).count();
        assert_eq!(loaded, devices.min(4), "of {devices} devices");
        assert!(devices > 2 || on.iter().all(|on| on.runtime().bytes_read() > 0), "both answer");
    }
    let failed = answers(&[device(usize::MAX), device(1000)], &prompts, 1, 2).unwrap_err().to_string();
    assert!(failed.contains("`cuda:1`: ") && failed.contains("out of memory"), "{failed}");
}
