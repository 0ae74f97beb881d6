//! Promise: trained again by its recipe, the point that an ensemble starts from is that of the reference,
//! `golden/daunce`, and so are its losses where the rows of a group weigh nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::slice;

use crate::common::support::{json, pool, shared};
use crate::daunce::{assert_trained_to, numbers, optimizer, samples, schedule};
use crate::tensors::{self, Tensors};
use gstore_core::Cancel;
use gstore_model::ComputePrecision;
use gstore_model::cpu::Cpu;
use gstore_model::weights::{Adapter, ModelFolder};
use gstore_train::{LossMean, Optimizer, OptimizerKind, Parameters, Sample, Trainer, TrainerOptions};
use serde_json::Value;

/// Agreement of losses.
const TOLERANCE: f64 = 1e-4;

/// At most so many groups are left out: each takes a training.
const LEFT_OUT: usize = 2;

/// The reference.
struct Golden {
    /// Its folder.
    folder: PathBuf,
    manifest: Value,
    base: ModelFolder,
    /// The point that the ensemble starts from.
    point: Adapter,
    rows: Vec<Sample>,
    queries: Vec<Sample>,
    tensors: Tensors,
}

impl Golden {
    fn read() -> Golden {
        let shared = shared();
        let folder = shared.join("golden/daunce");
        let manifest = json(&folder.join("manifest.json"));
        let (base, point) =
            manifest["base"].as_str().unwrap().split_once(" + ").expect("a base and an adapter");
        let base = ModelFolder::open(&shared.join(base)).unwrap();
        let template = manifest["template"].as_str().unwrap();
        let rows =
            samples(&pool(&shared, &manifest), base.path(), template, &numbers(&manifest["train_rows"]));
        let targets = shared.join(manifest["targets"].as_str().unwrap_or("data/targets"));
        let of_target = |queries: &[Value]| -> Vec<Sample> {
            let file = targets.join(format!("{}.jsonl", queries[0]["target"].as_str().unwrap()));
            let rows: Vec<usize> =
                queries.iter().map(|query| query["row"].as_u64().unwrap() as usize).collect();
            samples(&file, base.path(), template, &rows)
        };
        let queries = manifest["queries"].as_array().unwrap();
        let queries = queries.chunk_by(|a, b| a["target"] == b["target"]).flat_map(of_target).collect();
        Golden {
            point: Adapter::open(&folder.join(point)).unwrap(),
            tensors: tensors::read(&folder.join("daunce.safetensors")),
            folder,
            rows,
            queries,
            manifest,
            base,
        }
    }

    /// Rows of each group that was left out, by its name: those of a source are all that are from it.
    fn groups(&self) -> BTreeMap<&str, BTreeSet<usize>> {
        let sources = self.manifest["train_source"].as_array().unwrap();
        assert_eq!(sources.len(), self.rows.len());
        let mut groups = BTreeMap::new();
        for (name, (_, rows)) in &self.tensors {
            let name = name.strip_prefix("without.").and_then(|name| name.strip_suffix(".rows"));
            let Some(group) = name else { continue };
            let rows: BTreeSet<usize> = rows.iter().map(|row| *row as usize).collect();
            assert!(rows.iter().all(|row| *row < self.rows.len()), "{group}: {rows:?}");
            if let Some(source) = group.strip_prefix("source-") {
                let all = (0..sources.len()).filter(|row| sources[*row] == source);
                assert_eq!(rows, all.collect::<BTreeSet<usize>>(), "{group}");
            }
            groups.insert(group, rows);
        }
        groups
    }

    /// What the recipe starts from.
    fn initial(&self) -> Parameters<Cpu> {
        let initial = self.folder.join(self.manifest["theta0"]["from"].as_str().unwrap());
        let initial = Adapter::open(&initial).unwrap();
        Parameters::from_adapter(&self.base, &initial, Cpu::new(ComputePrecision::F32)).unwrap()
    }

    /// Trains by the recipe, with weight 0 of some rows.
    fn trained_without(&self, left_out: &BTreeSet<usize>) -> Trainer<Cpu> {
        let recipe = &self.manifest["theta0"];
        let loss = recipe["loss"].as_str().unwrap();
        let divisor = loss.split_once("weight * mean over scored tokens / ").map(|(_, rest)| rest.parse());
        let Some(Ok(divisor)) = divisor else { panic!("loss of the manifest: {loss:?}") };
        let (constants, max_grad_norm) = optimizer(recipe["optimizer"].as_str().unwrap());
        let options = TrainerOptions {
            mean: LossMean::MicroBatches,
            max_grad_norm,
            threads: 2,
            ..TrainerOptions::default()
        };
        let parameters = self.initial();
        let optimizer = Optimizer::new(OptimizerKind::AdamW(constants), parameters.store().specs().len());
        let mut trainer = Trainer::new(parameters, optimizer, options);
        // Each row is a micro-batch, and one of weight 0 an empty one. The sum is divided by how many there
        // are, so that a step of fewer rows has more empty ones.
        let micro_batch = |row: usize| -> Vec<&Sample> {
            if left_out.contains(&row) { Vec::new() } else { vec![&self.rows[row]] }
        };
        let order = recipe["order"].as_array().unwrap();
        let schedule = schedule(recipe, order.len());
        for (step, rows) in order.iter().enumerate() {
            let mut batch: Vec<Vec<&Sample>> = numbers(rows).into_iter().map(micro_batch).collect();
            assert!(batch.len() <= divisor, "{} rows in step {step}", batch.len());
            batch.resize(divisor, Vec::new());
            trainer.step(&batch, schedule.rate(step as u64), &Cancel::new()).unwrap();
        }
        trainer
    }

    /// Asserts that the queries' losses are those of a tensor.
    fn assert_losses(&self, trainer: &Trainer<Cpu>, name: &str) {
        let (_, expected) = &self.tensors[name];
        assert_eq!(expected.len(), self.queries.len(), "{name}");
        let mut worst = 0.0_f64;
        for (number, (query, due)) in self.queries.iter().zip(expected).enumerate() {
            let loss = trainer.evaluate(slice::from_ref(query), &Cancel::new()).unwrap();
            let loss = loss.expect("scored tokens");
            let off = (loss - due).abs();
            assert!(off <= TOLERANCE, "{name} of query {number}: {loss} instead of {due}");
            worst = worst.max(off);
        }
        println!("largest difference of {name}: {worst:.2e}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_retraining() {
    let golden = Golden::read();
    let (groups, folder) = (golden.groups(), golden.folder.display());
    let has_recipe = golden.manifest["theta0"].is_object();
    if !has_recipe && groups.is_empty() {
        assert!(!golden.tensors.keys().any(|name| name.starts_with("without.")), "{folder}");
        eprintln!("skipped: {folder} does not say how the point was trained that the ensemble starts from");
        return;
    }
    assert!(has_recipe, "{folder} has losses without groups of rows, and does not say how to train");
    assert!(!groups.is_empty(), "{folder} says how to train, and has no losses without a group of rows");
    let trainer = golden.trained_without(&BTreeSet::new());
    assert_trained_to(&golden.point, &golden.base, golden.initial().store(), &trainer, "theta0");
    golden.assert_losses(&trainer, "base_query_loss");
    for (group, rows) in groups.iter().take(LEFT_OUT) {
        let trainer = golden.trained_without(rows);
        golden.assert_losses(&trainer, &format!("without.{group}.query_loss"));
    }
}
