//! Promise: a training that was stopped goes on with the same bits, its checkpoints are complete, and what
//! cannot be trained is refused.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gstore_core::Cancel;
use gstore_data::TextOptions;
use gstore_model::architectures::Param;
use gstore_model::weights::{Adapter, ModelFolder, TrainerState};
use gstore_train::{
    AdamW, BatchOptions, CURVES, DataSource, DataSubset, LoraChoice, OptimizerKind, SavingOptions,
    ScheduleKind, Sgd, SilentObserver, StepOptions, StepReport, TrainError, TrainMethod, TrainObserver,
    TrainOutcome, TrainRequest, run,
};

/// How samples become tokens: of longer ones there may be no scored token.
fn texts() -> TextOptions {
    TextOptions { max_length: 96, ..TextOptions::default() }
}

/// A model with a tokenizer, and data for it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub model: PathBuf,
    /// One of its samples has no scored token.
    pub data: PathBuf,
    /// How many have some.
    pub samples: usize,
}

impl World {
    pub fn new() -> World {
        let model = base();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("pool.jsonl");
        let pool = crate::common::support::shared().join("data/pool.jsonl");
        let text = fs_err::read_to_string(pool).unwrap();
        let encoder = texts().encoder(&model).unwrap();
        let fits = |line: &&str| {
            let record = gstore_data::parse_record(line.as_bytes()).unwrap();
            encoder.encode(&record.content).is_ok_and(|encoded| encoded.scored_tokens() > 0)
        };
        let unscored = serde_json::json!({
            "id": "nothing is scored", "prompt": "Some words. ".repeat(600), "completion": "Yes."
        });
        let unscored = unscored.to_string();
        let mut lines: Vec<&str> = text.lines().filter(fits).take(23).collect();
        let samples = lines.len();
        lines.insert(samples / 2, &unscored);
        fs_err::write(&data, lines.join("\n")).unwrap();
        World { folder, model, data, samples }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn request(&self, output: &str, method: TrainMethod) -> TrainRequest {
        let data = DataSource::Files { paths: vec![self.data.clone()], fields: Vec::new() };
        TrainRequest {
            batching: BatchOptions {
                micro: 3,
                accumulate: 2,
                max_steps: Some(7),
                text: texts(),
                ..BatchOptions::default()
            },
            steps: StepOptions {
                learning_rate: 1e-3,
                warmup_ratio: 0.3,
                optimizer: OptimizerKind::AdamW(AdamW { weight_decay: 0.1, ..AdamW::default() }),
                ..StepOptions::default()
            },
            saving: SavingOptions { every: Some(3), log_every: 2, ..SavingOptions::default() },
            ..TrainRequest::new(&self.model, self.path(output), method, data)
        }
    }
}

/// Factors of the maps of queries and values; of all maps of attention in a family with other names.
pub(crate) fn lora() -> TrainMethod {
    let base = ModelFolder::open(&base()).unwrap();
    let is_there = |name: &&str| {
        let last = |param: &Param| param.module().rsplit('.').next() == Some(*name);
        base.decoder().params.iter().any(last)
    };
    let targets = ["q_proj", "v_proj"].into_iter().filter(is_there).map(str::to_owned).collect();
    TrainMethod::Lora(LoraChoice { rank: 4, alpha: 8.0, targets })
}

/// The model of the reference runs.
fn base() -> PathBuf {
    let shared = crate::common::support::shared();
    let manifest = crate::common::support::json(&shared.join("golden/train/manifest.json"));
    shared.join(manifest["base"].as_str().unwrap())
}

pub(crate) fn go(request: &TrainRequest) -> Result<TrainOutcome, TrainError> {
    run(request, &mut SilentObserver, &Cancel::new())
}

/// Tells the training to stop after some steps.
struct StopAfter<'a> {
    steps: u64,
    cancel: &'a Cancel,
}

impl TrainObserver for StopAfter<'_> {
    fn step(&mut self, _: u64, _: &StepReport) {
        self.steps -= 1;
        if self.steps == 0 {
            self.cancel.raise();
        }
    }
}

pub(crate) fn go_for(request: &TrainRequest, steps: u64) -> TrainOutcome {
    let cancel = Cancel::new();
    run(request, &mut StopAfter { steps, cancel: &cancel }, &cancel).unwrap()
}

/// Every file below a folder with its bytes.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true => found
                .extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes))),
            false => {
                found.insert(name, fs_err::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_stopped_training_goes_on_with_the_same_bits() {
    let world = World::new();
    let sgd = OptimizerKind::Sgd(Sgd { momentum: 0.9, weight_decay: 0.01 });
    for (name, method, optimizer) in
        [("lora", lora(), None), ("full", TrainMethod::Full, None), ("sgd", lora(), Some(sgd))]
    {
        let request = |output: &str, threads: usize| {
            let mut request = world.request(&format!("{name}-{output}"), method.clone());
            request.compute.threads = threads;
            request.steps.optimizer = optimizer.unwrap_or(request.steps.optimizer);
            request
        };
        let whole = request("whole", 1);
        let outcome = go(&whole).unwrap();
        assert!(outcome.finished && outcome.steps == 7, "{outcome:?}");
        assert_eq!(outcome.samples, world.samples);
        let steps: Vec<u64> = outcome.checkpoints.iter().map(|c| c.step).collect();
        assert_eq!(steps, [3, 6, 7]);

        let parts = request("parts", 3);
        assert_eq!((go_for(&parts, 1).steps, go_for(&parts, 3).steps), (1, 4));
        // What a killed process leaves behind.
        fs_err::create_dir(parts.output.join(".unfinished-checkpoint-5")).unwrap();
        assert!(go(&parts).unwrap().finished);
        let (a, b) = (files(&whole.output), files(&parts.output));
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{name}");
        for (file, bytes) in &a {
            assert!(b[file] == *bytes, "{name}: {file} differs");
        }
        // There is nothing left to do.
        assert_eq!(go_for(&parts, 1).steps, 7);
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn checkpoints_are_models_and_adapters() {
    let world = World::new();
    let base = ModelFolder::open(&world.model).unwrap();
    let choice = LoraChoice { rank: 4, alpha: 8.0, targets: vec!["all-linear".into()] };
    let outcome = go(&world.request("lora", TrainMethod::Lora(choice))).unwrap();
    let last = &outcome.checkpoints.last().unwrap().folder;
    let adapter = Adapter::open(last).unwrap();
    let maps = base.decoder().params.iter().filter(|param| param.is_map_of_layer()).count();
    assert_eq!(adapter.fit(&base).unwrap().len(), maps);
    let state = TrainerState::read(last).unwrap().unwrap();
    assert_eq!((state.global_step, state.max_steps), (7, Some(7)));
    assert_eq!(state.log_history.iter().map(|line| line.step).collect::<Vec<_>>(), [2, 4, 6, 7]);

    // An adapter is gone on from with a new optimizer; a model is trained as it lies there.
    let more = go(&world.request("more", TrainMethod::Adapter(last.clone()))).unwrap();
    assert!(more.last.unwrap().loss < outcome.last.unwrap().loss + 1.0);
    let full = go(&world.request("full", TrainMethod::Full)).unwrap();
    let folder = ModelFolder::open(&full.checkpoints.last().unwrap().folder).unwrap();
    let names = |folder: &ModelFolder| -> Vec<String> {
        folder.decoder().params.iter().map(|param| param.name.clone()).collect()
    };
    assert_eq!(names(&folder), names(&base));

    let mut scratch = world.request("scratch", TrainMethod::FromScratch);
    scratch.subset = DataSubset { share: Some(0.5), ..DataSubset::default() };
    let scratch = go(&scratch).unwrap();
    // Half of the lines, one of which may have no scored token.
    let half = world.samples.div_ceil(2);
    assert!((half - 1..=half).contains(&scratch.samples), "{scratch:?}");
    // Random weights guess among all tokens.
    let guess = (base.decoder().vocab_size as f64).ln();
    assert!(scratch.last.unwrap().loss > 0.66 * guess, "{scratch:?}");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_training_is_overwritten_only_when_nothing_else_can_be_refused() {
    let world = World::new();
    let request = world.request("some", lora());
    assert_eq!(go_for(&request, 4).steps, 4);
    // One that was stopped goes on, whether it may overwrite or not.
    let mut again = request.clone();
    again.saving.overwrite = true;
    let forecast = gstore_train::forecast(&again, &mut SilentObserver, &Cancel::new()).unwrap();
    assert_eq!((forecast.taken, forecast.steps), (4, 7));
    assert_eq!(go_for(&again, 1).steps, 5);
    assert_eq!(go_for(&again, 2).steps, 7);
    let whole = world.request("whole", lora());
    go(&whole).unwrap();
    let before = files(&request.output.join("checkpoint-7"));
    assert!(files(&whole.output.join("checkpoint-7")) == before);
    // A finished one is trained again, to the same bits, and its curves go with its checkpoints.
    fs_err::write(request.output.join(CURVES), "<svg/>").unwrap();
    assert_eq!(go_for(&again, 4).steps, 4);
    assert!(!request.output.join("checkpoint-7").exists() && !request.output.join(CURVES).exists());
    assert!(go(&request).unwrap().finished);
    assert!(files(&request.output.join("checkpoint-7")) == before);

    let before = files(&request.output);
    let kept = |request: &TrainRequest, says: &str| {
        let error = go(request).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(files(&request.output) == before, "{says}");
    };
    let of = |rank, alpha, target: &str| {
        let method = TrainMethod::Lora(LoraChoice { rank, alpha, targets: vec![target.to_owned()] });
        TrainRequest { method, ..again.clone() }
    };
    kept(&of(2, 8.0, "v_porj"), "ends in v_porj");
    kept(&of(2, f32::NAN.into(), "all-linear"), "a LoRA alpha of NaN cannot be used");
    let mut damaged = again.clone();
    damaged.saving.resume_from = Some(world.path("damaged"));
    copy(&whole.output.join("checkpoint-3"), &world.path("damaged"));
    fs_err::write(world.path("damaged").join("optimizer.pt"), b"PK").unwrap();
    kept(&damaged, "optimizer.pt");
    // What another program wrote is not replaced, though it has the name of a checkpoint.
    let foreign = TrainRequest { output: world.path("foreign"), ..request };
    fs_err::create_dir_all(foreign.output.join("checkpoint-3")).unwrap();
    fs_err::write(foreign.output.join("checkpoint-3/adapter_model.safetensors"), b"weights").unwrap();
    let before = files(&foreign.output);
    for overwrite in [false, true] {
        let mut request = foreign.clone();
        request.saving.overwrite = overwrite;
        let error = go(&request).unwrap_err().to_string();
        assert!(error.contains("another program wrote it"), "{error}");
        assert!(files(&foreign.output) == before);
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn every_family_writes_the_state_of_every_optimizer() {
    let world = World::new();
    // As short as the texts of any model may be.
    let text = |n: usize| serde_json::json!({ "text": format!("Line {n} of some others.") }).to_string();
    fs_err::write(&world.data, (0..6).map(text).collect::<Vec<_>>().join("\n")).unwrap();
    let shared = crate::common::support::shared();
    let vocabulary = crate::common::support::json(&world.model.join("config.json"))["vocab_size"].clone();
    let sgd = |momentum| OptimizerKind::Sgd(Sgd { momentum, weight_decay: 0.1 });
    let optimizers = [OptimizerKind::AdamW(AdamW::default()), sgd(0.9), sgd(0.0)];
    let mut families: Vec<PathBuf> =
        fs_err::read_dir(shared.join("models/zoo")).unwrap().map(|entry| entry.unwrap().path()).collect();
    families.retain(|family| family.join("config.json").is_file());
    families.sort();
    assert!(!families.is_empty(), "no model is in the zoo");
    for family in families {
        let name = family.file_name().unwrap().to_string_lossy().into_owned();
        let model = world.path(&name);
        fs_err::create_dir(&model).unwrap();
        let mut config = crate::common::support::json(&family.join("config.json"));
        config["vocab_size"] = vocabulary.clone();
        fs_err::write(model.join("config.json"), config.to_string()).unwrap();
        for (number, optimizer) in optimizers.into_iter().enumerate() {
            let mut request = world.request(&format!("{name}-{number}"), TrainMethod::FromScratch);
            request.model.clone_from(&model);
            request.batching.text.tokenizer = Some(world.model.clone());
            request.batching.text.max_length = 32;
            request.batching.max_steps = Some(2);
            request.steps.optimizer = optimizer;
            request.saving.every = Some(1);
            go_for(&request, 1);
            let outcome = go(&request).unwrap_or_else(|error| panic!("{name}, {optimizer:?}: {error}"));
            assert!(outcome.finished, "{name}");
            let last = request.output.join("checkpoint-2");
            assert!(last.join("optimizer.pt").is_file());
            // Weights have the permissions of the other files.
            let mode = |file: &str| fs_err::metadata(last.join(file)).unwrap().permissions().mode();
            assert_eq!(mode("model.safetensors"), mode("trainer_state.json"));
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_changed_bit_of_a_checkpoint_is_found_before_a_training_goes_on_from_it() {
    let world = World::new();
    let of_adapter = ["adapter_model.safetensors", "adapter_config.json", "optimizer.pt"];
    let of_model = ["model.safetensors", "optimizer.pt"];
    for (name, method, written) in
        [("lora", lora(), &of_adapter[..]), ("full", TrainMethod::Full, &of_model[..])]
    {
        let request = world.request(name, method);
        assert_eq!(go_for(&request, 6).steps, 6);
        let last = request.output.join("checkpoint-6");
        for file in written {
            let path = last.join(file);
            let sound = fs_err::read(&path).unwrap();
            let mut bytes = sound.clone();
            // Of a configuration a digit, with which it says another number.
            let alpha = b"\"lora_alpha\": ";
            let digit = bytes.windows(alpha.len()).position(|word| word == alpha);
            let at = digit.filter(|_| file.ends_with(".json")).map_or(sound.len() / 2, |at| at + alpha.len());
            bytes[at] ^= 1;
            fs_err::write(&path, bytes).unwrap();
            let error = go(&request).unwrap_err().to_string();
            let before = request.output.join("checkpoint-3");
            let ways = [format!("{file} is damaged"), format!("go on from {}", before.display())];
            assert!(ways.iter().all(|says| error.contains(says)), "{error}");
            fs_err::write(&path, sound).unwrap();
        }
        // An earlier version wrote no digests.
        let path = last.join("gstore_state.json");
        let mut state: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        assert_eq!(state["files"].as_object().unwrap().len(), written.len());
        state.as_object_mut().unwrap().remove("files");
        fs_err::write(&path, state.to_string()).unwrap();
        assert!(go(&request).unwrap().finished);
    }
}

/// Copies the files of a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        fs_err::create_dir_all(to).unwrap();
        fs_err::write(to.join(name), bytes).unwrap();
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn another_checkpoint_in_the_place_of_the_one_gone_on_from_is_noticed() {
    let world = World::new();
    for (name, method) in [("lora", lora()), ("full", TrainMethod::Full)] {
        let first = world.request(&format!("{name}-first"), method.clone());
        assert_eq!(go_for(&first, 4).steps, 4);
        let mut second = world.request(&format!("{name}-second"), method.clone());
        second.batching.seed += 1;
        assert_eq!(go_for(&second, 4).steps, 4);
        let [place, moved] = ["place", "moved"].map(|place| world.path(&format!("{name}-{place}")));
        copy(&first.output.join("checkpoint-3"), &place);
        copy(&place, &moved);
        let mut onward = world.request(&format!("{name}-onward"), method.clone());
        onward.saving.resume_from = Some(place.clone());
        assert!(go(&onward).unwrap().finished);
        // The same one in another place.
        let mut again = onward.clone();
        again.saving.resume_from = Some(moved);
        assert_eq!(go(&again).unwrap().before, 7);
        fs_err::remove_dir_all(&place).unwrap();
        copy(&second.output.join("checkpoint-3"), &place);
        let error = go(&onward).unwrap_err();
        assert!(matches!(error, TrainError::OtherTraining { .. }), "{name}: {error}");
    }
}

/// Keeps what it is told.
#[derive(Default)]
pub struct Notes(pub Vec<String>);

impl TrainObserver for Notes {
    fn note(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_finished_training_only_removes_what_a_kill_kept_it_from() {
    let world = World::new();
    let request = world.request("finished", lora());
    go(&request).unwrap();
    let before = files(&request.output);
    assert!(go(&request).unwrap().finished);
    assert!(files(&request.output) == before);

    // A kill behind the last checkpoint, before those in between and beyond the limit are removed.
    let [third, interim] = ["checkpoint-3", "checkpoint-4"].map(|name| request.output.join(name));
    fs_err::create_dir(&interim).unwrap();
    for file in fs_err::read_dir(&third).unwrap().map(Result::unwrap) {
        fs_err::copy(file.path(), interim.join(file.file_name())).unwrap();
    }
    let state = fs_err::read_to_string(interim.join("gstore_state.json")).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
    state["interim"] = true.into();
    fs_err::write(interim.join("gstore_state.json"), state.to_string()).unwrap();
    let steps = |outcome: TrainOutcome| outcome.checkpoints.iter().map(|c| c.step).collect::<Vec<_>>();
    assert_eq!(steps(go(&request).unwrap()), [3, 6, 7]);
    assert!(files(&request.output) == before);
    let mut limited = request.clone();
    limited.saving.limit = Some(2);
    assert_eq!(steps(go(&limited).unwrap()), [6, 7]);
}

/// Begins the same training once more while it runs.
struct Twice<'a> {
    request: &'a TrainRequest,
    refused: Option<String>,
}

impl TrainObserver for Twice<'_> {
    fn step(&mut self, _: u64, _: &StepReport) {
        self.refused.get_or_insert_with(|| go(self.request).unwrap_err().to_string());
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn one_training_at_a_time_writes_to_a_folder() {
    let world = World::new();
    let request = world.request("twice", lora());
    let mut twice = Twice { request: &request, refused: None };
    assert!(run(&request, &mut twice, &Cancel::new()).unwrap().finished);
    let refused = twice.refused.unwrap();
    assert!(refused.contains("is being written by another training"), "{refused}");

    // What another one left unfinished is not touched by a training that is refused.
    let unfinished = request.output.join(".unfinished-checkpoint-9");
    fs_err::create_dir(&unfinished).unwrap();
    let mut other = request.clone();
    other.steps.learning_rate = 2e-3;
    assert!(matches!(go(&other), Err(TrainError::OtherTraining { .. })));
    assert!(unfinished.exists());
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn what_cannot_be_trained_is_refused() {
    let world = World::new();
    let refused = |request: &TrainRequest, says: &str| {
        let error = go(request).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    let request = world.request("first", lora());
    go(&request).unwrap();
    let mut other = request.clone();
    other.steps.learning_rate = 2e-3;
    refused(&other, "learning_rate=0.002, was 0.001");
    let mut both = other.clone();
    both.batching.accumulate += 1;
    refused(&both, "gradient_accumulation_steps=");
    refused(&both, "learning_rate=0.002, was 0.001");
    // What was being removed when a process was killed is no checkpoint.
    let killed = TrainRequest { output: world.path("killed"), ..request.clone() };
    let removed = killed.output.join(".unfinished-removed-checkpoint-1");
    fs_err::create_dir_all(&removed).unwrap();
    fs_err::write(removed.join("trainer_state.json"), "{}").unwrap();
    assert!(go(&killed).unwrap().finished);
    assert!(!removed.exists());
    // What a training begins with is not overwritten by it.
    other.saving.overwrite = true;
    let before = files(&request.output);
    let begun = request.output.join("checkpoint-3");
    let mut onward = other.clone();
    onward.saving.resume_from = Some(begun.clone());
    refused(&onward, "is to overwrite it");
    refused(&TrainRequest { method: TrainMethod::Adapter(begun), ..other.clone() }, "is to overwrite it");
    assert!(files(&request.output) == before);
    assert!(go(&other).unwrap().finished);

    let strange = LoraChoice { rank: 4, alpha: 8.0, targets: vec!["v_porj".into()] };
    refused(&world.request("strange", TrainMethod::Lora(strange)), "ends in v_porj");
    let none = LoraChoice { rank: 0, alpha: 8.0, targets: Vec::new() };
    refused(&world.request("none", TrainMethod::Lora(none)), "rank");
    let changed = |method: TrainMethod, change: &dyn Fn(&mut TrainRequest), says: &str| {
        let mut request = world.request("changed", method);
        change(&mut request);
        refused(&request, says);
    };
    changed(lora(), &|r| r.batching.text.max_length = 1, "no sample with a scored token");
    changed(lora(), &|r| r.subset.ids = Some(["no such id".to_owned()].into()), "no such id");
    for alpha in [0.0, -8.0, f64::INFINITY] {
        let choice = LoraChoice { rank: 4, alpha, targets: Vec::new() };
        let says = format!("a LoRA alpha of {alpha} cannot be used");
        refused(&world.request("alpha", TrainMethod::Lora(choice)), &says);
    }
    // Less than the least f32 is zero, too.
    for eps in [0.0, 1e-60] {
        let optimizer = OptimizerKind::AdamW(AdamW { eps, ..AdamW::default() });
        changed(lora(), &|r| r.steps.optimizer = optimizer, "would divide by zero");
    }
    changed(lora(), &|r| r.steps.learning_rate = f64::NAN, "learning rate");
    changed(lora(), &|r| r.steps.schedule = ScheduleKind::Constant, "constant_with_warmup");
    let polynomial = |r: &mut TrainRequest| {
        r.steps.schedule = ScheduleKind::Polynomial;
        r.steps.learning_rate = 1e-7;
    };
    changed(lora(), &polynomial, "polynomial ends at a rate of 1e-7, so its learning rate is higher");
    // What is no checkpoint is none of all weights.
    for (from, says) in [
        (world.path("nowhere"), "there is no such folder"),
        (world.model.clone(), "it has no trainer_state.json"),
        (request.output.clone(), "has some in it: name one, such as"),
    ] {
        changed(lora(), &|r| r.saving.resume_from = Some(from.clone()), says);
    }
    // Nor can weights without an optimizer be gone on from.
    let bare = world.path("bare");
    copy(&request.output.join("checkpoint-3"), &bare);
    fs_err::remove_file(bare.join("optimizer.pt")).unwrap();
    let says = "so a training cannot continue from it: adapter=";
    changed(lora(), &|r| r.saving.resume_from = Some(bare.clone()), says);
    // Nothing is left to do behind a checkpoint, and an adapter is not all weights.
    for (method, says) in
        [(lora(), "has taken 7 steps, and this training has 7"), (TrainMethod::Full, "is an adapter")]
    {
        let mut behind = world.request("behind", method);
        behind.saving.resume_from = Some(request.output.join("checkpoint-7"));
        refused(&behind, says);
        assert!(!behind.output.exists());
        assert!(gstore_train::forecast(&behind, &mut SilentObserver, &Cancel::new()).is_err());
    }
    let file = world.path("file");
    fs_err::write(&file, "").unwrap();
    refused(&TrainRequest { output: file, ..request.clone() }, "is a file: give a folder");
    refused(&TrainRequest { output: world.model.clone(), ..request.clone() }, "holds the model to train");
    // Nor is a model an adapter.
    let mut whole = world.request("whole", TrainMethod::Full);
    go(&whole).unwrap();
    whole.saving.overwrite = true;
    refused(
        &TrainRequest { model: whole.output.join("checkpoint-3"), ..whole.clone() },
        "is to overwrite it",
    );
    let third = whole.output.join("checkpoint-3");
    let says = "it has all weights, and an adapter is to be trained";
    changed(lora(), &|r| r.saving.resume_from = Some(third.clone()), says);
    // Later checkpoints would have the model's configuration, and the weights of the checkpoint's.
    let other = world.path("other");
    copy(&whole.output.join("checkpoint-3"), &other);
    let mut config = crate::common::support::json(&other.join("config.json"));
    config["rms_norm_eps"] = 0.1.into();
    fs_err::write(other.join("config.json"), config.to_string()).unwrap();
    let mut onward = world.request("onward", TrainMethod::Full);
    onward.saving.resume_from = Some(other);
    refused(&onward, "its config.json is not that of the model to be trained; name it as the model too");
    onward.saving.resume_from = Some(whole.output.join("checkpoint-3"));
    onward.steps.optimizer = OptimizerKind::Sgd(Sgd { momentum: 0.0, ..Sgd::default() });
    refused(&onward, "its optimizer was AdamW, so a training by SGD without momentum cannot continue");
    // A tokenizer with more tokens than the model.
    let small = world.path("small");
    fs_err::create_dir(&small).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs_err::copy(world.model.join(name), small.join(name)).unwrap();
    }
    let mut config = crate::common::support::json(&world.model.join("config.json"));
    config["vocab_size"] = 50.into();
    fs_err::write(small.join("config.json"), config.to_string()).unwrap();
    let few = TrainRequest { model: small, ..world.request("few", TrainMethod::FromScratch) };
    refused(&few, "the model's vocabulary has 50: the tokenizer belongs to another model");
    // An adapter of another model.
    let mut adapted = world.request("adapted", TrainMethod::Adapter(request.output.join("checkpoint-7")));
    adapted.model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    refused(&adapted, "is an adapter for another model");
}
