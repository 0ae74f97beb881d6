//! Reference runs of training: `golden/train`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gstore_core::if_there;
use gstore_data::{FieldNames, TextEncoder, TextOptions, find};
use gstore_model::ComputePrecision;
use gstore_model::cpu::Cpu;
use gstore_model::weights::{Adapter, ModelFolder};
use gstore_train::{
    AdamW, LossMean, Optimizer, OptimizerKind, Parameters, Sample, Schedule, ScheduleKind, Sgd, Trainer,
    TrainerOptions,
};
use serde_json::Value;

use super::support;

/// The manifest.
pub struct Golden {
    pub shared: PathBuf,
    pub folder: PathBuf,
    pub runs: Vec<Run>,
    base: String,
    initial: String,
    template: String,
    pool: PathBuf,
    max_length: u32,
}

/// Some samples of a file as tokens, by their rows.
pub fn encoded(data: &Path, encoder: &TextEncoder, wanted: &BTreeSet<usize>) -> BTreeMap<usize, Sample> {
    let files = find(&[data.to_owned()]).unwrap();
    let mut source = files[0].open(&FieldNames::default()).unwrap();
    let (mut samples, mut row) = (BTreeMap::new(), 0);
    while let Some(record) = source.next_record() {
        if wanted.contains(&row) {
            let record = gstore_data::parse_record(record.unwrap().json).unwrap();
            let encoded = encoder.encode(&record.content).unwrap();
            samples.insert(row, Sample { ids: encoded.ids, scored: encoded.scored });
        }
        row += 1;
    }
    samples
}

/// One run.
pub struct Run {
    pub name: String,
    pub kind: String,
    pub steps: usize,
    pub loss: Vec<f64>,
    pub loss_f64: Vec<f64>,
    pub grad_norm: Vec<f64>,
    pub grad_norm_f64: Vec<f64>,
    pub learning_rate: Vec<f64>,
    /// Relative tolerance of losses, norms and parameters of a run that does not drift.
    pub(super) usual: f64,
    /// The same of moments, which follow gradients without averaging their rounding away.
    pub(super) usual_of_moments: f64,
    pub(super) value: Value,
    /// Rows of the pool, or numbers of token lists: step, micro-batch, row.
    plan: Vec<Vec<Vec<usize>>>,
}

impl Golden {
    pub fn read() -> Golden {
        let shared = support::shared();
        let folder = shared.join("golden/train");
        let manifest = support::json(&folder.join("manifest.json"));
        let text = |key: &str| manifest[key].as_str().expect(key).to_owned();
        let usual = support::tolerance(&manifest, "parameters", 1e-4);
        let usual_of_moments = support::tolerance(&manifest, "moments", 1e-3);
        let described = manifest["runs"].as_object().expect("runs");
        let run = |(name, value): (&String, &Value)| {
            // "as NAME": the rows of another run.
            let rows = match value["rows"].as_str() {
                Some(other) => &described[other.trim_start_matches("as ")]["rows"],
                None => &value["rows"],
            };
            Run {
                name: name.clone(),
                usual,
                usual_of_moments,
                kind: value["kind"].as_str().expect("kind").to_owned(),
                steps: value["steps"].as_u64().expect("steps") as usize,
                loss: numbers(value, "loss"),
                loss_f64: numbers(value, "loss_f64"),
                grad_norm: numbers(value, "grad_norm"),
                grad_norm_f64: numbers(value, "grad_norm_f64"),
                learning_rate: numbers(value, "learning_rate"),
                plan: plan(rows, &value["batches"]),
                value: value.clone(),
            }
        };
        assert!(!described.is_empty(), "the manifest has no runs");
        Golden {
            runs: described.iter().map(run).collect(),
            base: text("base"),
            initial: manifest["initial_adapter"].as_str().unwrap_or("initial").to_owned(),
            template: text("template"),
            pool: support::pool(&shared, &manifest),
            max_length: manifest["max_length"].as_u64().map_or(2048, |length| length as u32),
            shared,
            folder,
        }
    }
}

impl Golden {
    /// Folders of models: those of the zoo, and those that runs start from.
    pub fn models(&self) -> BTreeSet<PathBuf> {
        let zoo = fs_err::read_dir(self.shared.join("models/zoo")).into_iter().flatten().flatten();
        let zoo = zoo.map(|entry| entry.path()).filter(|path| path.join("config.json").is_file());
        zoo.chain(self.runs.iter().map(|run| run.model(self))).collect()
    }

    /// The runs of which something holds; where there are none, it is said that their test is skipped.
    pub fn runs_of(&self, what: &str, of: impl Fn(&Run) -> bool) -> Vec<&Run> {
        let (others, runs): (Vec<&Run>, Vec<&Run>) =
            self.runs.iter().filter(|run| of(run)).partition(|run| run.decays_all());
        for run in others {
            eprintln!("skipped: run {} decays biases and norms, which no training here does", run.name);
        }
        if runs.is_empty() {
            eprintln!("skipped: {} has no run of {what}", self.folder.display());
        }
        runs
    }
}

/// A list of numbers; empty where there is none.
pub fn numbers(of: &Value, key: &str) -> Vec<f64> {
    of[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// Pool rows as listed; token lists are numbered in their order.
fn plan(rows: &Value, batches: &Value) -> Vec<Vec<Vec<usize>>> {
    let mut next = 0;
    let mut number = |row: &Value| match row.as_u64() {
        Some(row) => row as usize,
        None => {
            next += 1;
            next - 1
        }
    };
    let steps = rows.as_array().or(batches.as_array()).expect("rows or batches");
    let mut micro = |list: &Value| list.as_array().expect("rows").iter().map(&mut number).collect();
    steps
        .iter()
        .map(|step| step.as_array().expect("micro-batches").iter().map(&mut micro).collect())
        .collect()
}

impl Run {
    fn number(&self, key: &str) -> f64 {
        self.value[key].as_f64().unwrap_or_else(|| panic!("{} has {key}", self.name))
    }

    /// A number that may be left out where it is the usual one.
    fn number_or(&self, key: &str, usual: f64) -> f64 {
        if self.value[key].is_null() { usual } else { self.number(key) }
    }

    /// The model that it starts from: of the zoo by its name, or by its path.
    pub fn model(&self, golden: &Golden) -> PathBuf {
        match self.value["zoo"].as_str() {
            Some(path) if path.contains('/') => golden.shared.join(path),
            Some(name) => {
                let folder = |of: &str| golden.shared.join(of).join(name);
                let there = ["models/zoo", "models/zoo-next", "models"].map(folder);
                there.into_iter().find(|path| path.is_dir()).unwrap_or_else(|| folder("models/zoo"))
            }
            None => golden.shared.join(self.value["model"].as_str().unwrap_or(&golden.base)),
        }
    }

    /// The rates by our own schedule.
    pub fn schedule(&self) -> Schedule {
        let (total, peak) = (self.steps as u64, self.number("lr"));
        let name = self.value["schedule"].as_str().expect("schedule");
        let options = &self.value["lr_scheduler_kwargs"];
        let given =
            options.as_object().is_some_and(|options| !options.is_empty()).then(|| options.to_string());
        let kind = match options["num_cycles"].as_u64() {
            Some(cycles) if name == "cosine_with_restarts" => {
                ScheduleKind::CosineWithRestarts { cycles: cycles as u32 }
            }
            _ => ScheduleKind::named(name, given.as_deref(), peak).expect("a schedule"),
        };
        Schedule {
            kind,
            peak,
            warmup: Schedule::warmup_of_ratio(self.number_or("warmup_ratio", 0.0), total),
            total,
        }
    }

    /// The optimizer's constants.
    pub fn optimizer(&self) -> OptimizerKind {
        let weight_decay = self.number_or("weight_decay", 0.0);
        let stated = &self.value["optimizer"];
        let name = if stated.is_null() { "adamw" } else { stated.as_str().expect("optimizer") };
        let named = name.parse::<OptimizerKind>();
        match named.unwrap_or_else(|error| panic!("optimizer of {}: {error}", self.name)) {
            OptimizerKind::Sgd(_) => {
                OptimizerKind::Sgd(Sgd { momentum: self.number_or("momentum", 0.0), weight_decay })
            }
            OptimizerKind::AdamW(_) => {
                let beta = |at: usize, usual| self.value["betas"][at].as_f64().unwrap_or(usual);
                OptimizerKind::AdamW(AdamW {
                    beta1: beta(0, 0.9),
                    beta2: beta(1, 0.999),
                    eps: self.number_or("eps", 1e-8),
                    weight_decay,
                })
            }
        }
    }

    /// Whether all tensors are in one group of the optimizer, the first.
    pub(super) fn is_in_one_group(&self) -> bool {
        let others = &self.value["optimizer_index"]["no_decay"];
        others.as_u64() == Some(0) || others.as_array().is_some_and(Vec::is_empty)
    }

    /// Whether that group decays biases and norms of a model, as no training here does.
    fn decays_all(&self) -> bool {
        self.kind != "lora" && self.is_in_one_group() && self.number_or("weight_decay", 0.0) != 0.0
    }

    /// Micro-batches averaged, or all tokens.
    pub fn mean(&self) -> LossMean {
        let note = self.value["loss_normalisation"].as_str().expect("loss_normalisation");
        if note.contains("mean of each micro-batch") { LossMean::MicroBatches } else { LossMean::Tokens }
    }

    /// The parameters at the start.
    pub fn parameters(&self, golden: &Golden) -> Parameters<Cpu> {
        let base = ModelFolder::open(&self.model(golden)).unwrap();
        let backend = Cpu::new(ComputePrecision::F32);
        match self.kind.as_str() {
            "lora" => {
                let adapter = Adapter::open(&golden.folder.join(&golden.initial)).unwrap();
                Parameters::from_adapter(&base, &adapter, backend).unwrap()
            }
            _ => Parameters::full(&base, backend).unwrap(),
        }
    }

    /// How steps are computed.
    pub fn options(&self) -> TrainerOptions {
        TrainerOptions {
            mean: self.mean(),
            // 0 is none, as for the Trainer.
            max_grad_norm: self.value["clip"].as_f64().filter(|norm| *norm > 0.0),
            threads: 2,
            ..TrainerOptions::default()
        }
    }

    /// A trainer that has taken no step.
    pub fn trainer(&self, golden: &Golden) -> Trainer<Cpu> {
        let parameters = self.parameters(golden);
        let optimizer = Optimizer::new(self.optimizer(), parameters.store().specs().len());
        Trainer::new(parameters, optimizer, self.options())
    }

    /// The samples that it trains on, by their numbers in the plan.
    pub fn samples(&self, golden: &Golden) -> BTreeMap<usize, Sample> {
        if let Some(steps) = self.value["batches"].as_array() {
            let rows = steps.iter().flat_map(|step| step.as_array().expect("micro-batches"));
            let rows = rows.flat_map(|micro| micro.as_array().expect("rows"));
            return rows.map(sample_of_tokens).enumerate().collect();
        }
        let template = golden.template.parse().unwrap();
        let encoder = TextOptions::new(template, golden.max_length).encoder(&self.model(golden)).unwrap();
        let wanted = self.plan.iter().flatten().flatten().copied().collect();
        encoded(&golden.pool, &encoder, &wanted)
    }

    /// The micro-batches of a step, counted from 0.
    pub fn batch<'s>(&self, samples: &'s BTreeMap<usize, Sample>, step: usize) -> Vec<Vec<&'s Sample>> {
        self.plan[step].iter().map(|micro| micro.iter().map(|row| &samples[row]).collect()).collect()
    }

    /// The folder with what the run left: its last checkpoint if there are some. None, as is said, where the
    /// manifest alone has the run.
    pub fn last_folder(&self, golden: &Golden) -> Option<PathBuf> {
        let folder = golden.folder.join(&self.name);
        if !folder.is_dir() {
            eprintln!("skipped: what run {} left is not compared: no folder {}", self.name, folder.display());
            return None;
        }
        Some(self.checkpoints(golden).pop().map_or(folder, |(_, path)| path))
    }

    /// Its checkpoints by step.
    pub fn checkpoints(&self, golden: &Golden) -> Vec<(usize, PathBuf)> {
        let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok();
        let entries = if_there(fs_err::read_dir(golden.folder.join(&self.name))).unwrap();
        let entries = entries.into_iter().flatten().flatten();
        let mut found: Vec<(usize, PathBuf)> =
            entries.filter_map(|entry| Some((step(&entry.path())?, entry.path()))).collect();
        found.sort();
        found
    }
}

/// A list of tokens and how many of the first are not scored.
fn sample_of_tokens(row: &Value) -> Sample {
    let ids: Vec<u32> =
        row[0].as_array().expect("tokens").iter().map(|id| id.as_u64().expect("id") as u32).collect();
    let unscored = row[1].as_u64().expect("a count") as usize;
    let scored = (0..ids.len()).map(|i| i >= unscored.max(1)).collect();
    Sample { ids, scored }
}
