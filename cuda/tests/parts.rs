//! Promise: where a device has too little memory for what is asked of it at once, trainings and generations go
//! on with less at once, and come to the same.

use std::path::{Path, PathBuf};

use crate::backends::assert_close;
use crate::tiny::{Tiny, VOCAB};
use gstore_core::Cancel;
use gstore_cuda::{Cuda, Emulator};
use gstore_generate::{Compute as Computing, GenerateRequest, Observer, PromptSource, Stopping, generate_on};
use gstore_model::Compute;
use gstore_model::weights::ModelFolder;
use gstore_train::{Optimizer, OptimizerKind, Parameters, Sample, Trainer, TrainerOptions};

/// Of other sums of the same gradients.
const OTHER_SUMS: f32 = 1e-4;

/// What allocations of other threads may leave of memory for one that needs all of it.
const SLACK: usize = 4096;

fn device(memory: usize) -> Cuda<Emulator> {
    Cuda::new(Emulator::with_memory(memory), Compute::F32)
}

fn samples() -> Vec<Sample> {
    let sample = |seed: u32| {
        let len = 12 + seed % 5;
        let ids = (0..len).map(|i| (seed * 11 + i * i * 5) % VOCAB as u32).collect();
        Sample { ids, scored: (0..len).map(|i| i > 0).collect() }
    };
    (0..16).map(sample).collect()
}

/// Loss and gradient on a device, the gradients of all tensors one after the other.
fn gradient(on: &Cuda<Emulator>, model: &Path, threads: usize, piece_tokens: usize) -> (f64, Vec<f32>) {
    let parameters = Parameters::full(&ModelFolder::open(model).unwrap(), on.clone()).unwrap();
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
    let expected = gradient(&whole, &model, 1, 1024);
    gradient(&single, &model, 1, 1);
    let [most, least] = [&whole, &single].map(|on| on.runtime().most_held());
    assert!(least + 2 * SLACK < most, "{least} and {most} bytes");

    // Fewer threads change no bit.
    assert_eq!(gradient(&device(most + SLACK), &model, 4, 1024), expected);
    for threads in [1, 3] {
        let (loss, found) = gradient(&device((least + most) / 2), &model, threads, 1024);
        assert!((loss - expected.0).abs() < 1e-5 * expected.0, "{loss} and {}", expected.0);
        assert_close(&found, &expected.1, OTHER_SUMS, "in smaller pieces");
    }
}

#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {
    fn note(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

/// The answers, and what was said.
fn answers(on: &Cuda<Emulator>, prompts: &Path, threads: usize, batch: usize) -> (String, Vec<String>) {
    let demo: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let source = PromptSource::Files { paths: vec![prompts.to_owned()], fields: Vec::new() };
    let request = GenerateRequest {
        stopping: Stopping { max_new_tokens: 4, ..Stopping::default() },
        compute: Computing { threads, batch, ..Computing::default() },
        ..GenerateRequest::new(demo, source)
    };
    let mut notes = Notes::default();
    let mut outcome = generate_on(&request, on.clone(), &mut notes, &Cancel::new()).unwrap();
    assert!(outcome.finished);
    let mut text = Vec::new();
    outcome.answers.write_to(&mut text).unwrap();
    (String::from_utf8(text).unwrap(), notes.0)
}

#[test]
fn prompts_that_do_not_fit_a_device_are_answered_fewer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let prompts = folder.path().join("prompts.jsonl");
    let lines: String = (0..4).map(|i| format!("{{\"text\": \"Is {i} odd?\"}}\n")).collect();
    fs_err::write(&prompts, lines).unwrap();
    let (together, single) = (device(usize::MAX), device(usize::MAX));
    let (expected, said) = answers(&together, &prompts, 1, 4);
    assert_eq!((expected.lines().count(), said.len()), (4, 0), "{said:?}");
    answers(&single, &prompts, 1, 1);
    let [most, least] = [&together, &single].map(|on| on.runtime().most_held());
    assert!(least + 2 * SLACK < most, "{least} and {most} bytes");
    for threads in [1, 2] {
        let (found, said) = answers(&device((least + most) / 2), &prompts, threads, 4);
        assert_eq!(found, expected, "{threads} threads");
        // Several threads may by chance not be in the way of each other.
        assert!(threads > 1 || said.iter().any(|note| note.contains("at a time")), "{said:?}");
    }
}
