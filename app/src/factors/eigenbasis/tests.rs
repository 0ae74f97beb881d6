//! Promise: rows in the eigenbasis of factors give the scores of their gradients, with any damping
//! or filter and no other ingest, and factors of another checkpoint, of other data and of rows that
//! have changed are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gstore_core::{Cancel, DType, Kind};
use gstore_curvature::{
    Covariance, Damping, Eigen, Filter, Inverse, Module, ModuleFactors, Squares, Strategy, dot,
};
use gstore_ingest::curvature::{CurvatureEngine, Labels, TargetSample};
use gstore_ingest::gradient::{CheckpointSource, ModuleSelection};
use gstore_ingest::pipeline::{AddRequest, IngestError, IngestPlan, IngestRequest, Silent, add, ingest};
use gstore_ingest::projection::ProjectionSpec;
use gstore_model::cpu::Cpu;
use gstore_model::{ComputePrecision, Reduction, SavedActivations};
use gstore_query::eigen::FACTORS;
use gstore_store::{ArtifactPart, DeleteOptions, RowSet, Store};
use serde_json::json;

use super::EigenProjection;
use crate::factors::gram::tests::{assert_close, scores};
use crate::factors::stamp::rows_digest;
use crate::factors::stamp::tests::stamp;
use crate::factors::{FactorArguments, FactorContent, FactorFolder, FactorJobError, FactorStamp};

mod ignored;

/// Modules that are fitted, in the order of the model.
const MODULES: [&str; 2] = ["model.layers.0.self_attn.k_proj", "model.layers.1.self_attn.v_proj"];

/// Gradients of rows, by module.
type Gradients = Vec<Vec<Vec<f64>>>;

/// Rows of each dataset.
const ROWS: [(&str, u64); 2] = [("pool", 6), ("val", 2)];

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model")
}

fn store(path: &Path) -> Store {
    let store = Store::create(path.join("store")).unwrap();
    for (dataset, rows) in ROWS {
        let line = |row: u64| {
            let answer = format!("{} is {}", row * 3, ["even", "odd"][row as usize % 2]);
            let ask = json!({ "role": "user", "content": format!("Is {row} of {dataset} odd?") });
            let messages = json!([ask, { "role": "assistant", "content": answer }]);
            format!("{}\n", json!({ "id": format!("{dataset}{row}"), "messages": messages }))
        };
        let data = path.join(format!("{dataset}.jsonl"));
        fs_err::write(&data, (0..rows).map(line).collect::<String>()).unwrap();
        let request = AddRequest { command: "test".to_owned(), ..AddRequest::new(dataset, [data]) };
        add(&store, &request, &mut Silent).unwrap();
    }
    store
}

/// Id of the checkpoint, the modules and their factors, fitted on sequences of tokens.
fn fitted() -> (String, Vec<Module>, Vec<ModuleFactors>) {
    let source = CheckpointSource { model: model(), adapter: None, tracked: Vec::new() };
    let selection = ModuleSelection { patterns: MODULES.map(str::to_owned).to_vec(), biases: false };
    let mut engine =
        CurvatureEngine::load(&source, Cpu::new(ComputePrecision::F32), &selection, SavedActivations::All)
            .unwrap();
    let vocabulary = engine.decoder().vocab_size;
    let token = |sample: usize, at: usize| ((sample * 131 + at * 37 + at * at * sample) % vocabulary) as u32;
    let ids: Vec<Vec<u32>> = (0..8).map(|sample| (0..24).map(|at| token(sample, at)).collect()).collect();
    let targets: Vec<Vec<Option<u32>>> =
        ids.iter().map(|ids| ids.iter().copied().map(Some).collect()).collect();
    let batch: Vec<TargetSample<'_>> =
        ids.iter().zip(&targets).map(|(ids, targets)| TargetSample { ids, targets }).collect();
    let modules = engine.modules().to_vec();
    assert!(modules.iter().map(|module| module.name.as_str()).eq(MODULES));
    let empty = |module: &Module| (Covariance::new(module.input), Covariance::new(module.out));
    let mut pairs: Vec<(Covariance, Covariance)> = modules.iter().map(empty).collect();
    engine.covariances(&batch, &Labels::Data, &[0, 1], &mut pairs).unwrap();
    for (activation, gradient) in &mut pairs {
        activation.mirror();
        gradient.mirror();
    }
    let mut factors = Vec::new();
    for ((activation, gradient), module) in pairs.into_iter().zip(&modules) {
        let (activation, gradient) = (Some(activation), Some(gradient));
        let mut of_module = ModuleFactors { activation, gradient, ..ModuleFactors::default() };
        of_module.decompose(module).unwrap();
        factors.push(of_module);
    }
    engine.set_bases(&factors).unwrap();
    let mut squares: Vec<Squares> = modules.iter().map(|module| Squares::new(module.len())).collect();
    engine.squares(&batch, &Labels::Data, &[0, 1], true, &mut squares).unwrap();
    factors.iter_mut().zip(squares).for_each(|(factors, squares)| factors.lambda = Some(squares));
    (engine.checkpoint_id().to_string(), modules, factors)
}

/// That of the rows of the pool.
fn digest_of_pool(store: &Store) -> String {
    let snapshot = store.snapshot().unwrap();
    let samples = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    rows_digest(&samples, &RowSet::from_ranges([0..6]), &Cancel::new()).unwrap()
}

/// Publishes factors under a name.
fn publish(
    store: &Store,
    path: &Path,
    name: &str,
    checkpoint: &str,
    modules: &[Module],
    all: &[ModuleFactors],
) {
    let path = path.join(name);
    let folder = FactorFolder::create(&path, &FactorArguments::new(Strategy::Ekfac).in_f64()).unwrap();
    let eigen = |factors: &ModuleFactors| -> (Eigen, Eigen) {
        (factors.activation_eigen.clone().unwrap(), factors.gradient_eigen.clone().unwrap())
    };
    folder.write_eigen(modules, &all.iter().map(eigen).collect::<Vec<_>>()).unwrap();
    let squares: Vec<Squares> = all.iter().map(|factors| factors.lambda.clone().unwrap()).collect();
    folder.write_lambda(None, modules, &squares).unwrap();
    let mut files = store.artifact_files().unwrap();
    for entry in fs_err::read_dir(&path).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        files.write(&name, |out| out.write_all(&fs_err::read(&file)?)).unwrap();
    }
    let stamp = FactorStamp {
        checkpoint: checkpoint.to_owned(),
        rows: vec![[0, 6]],
        rows_digest: digest_of_pool(store),
        encoding: None,
        fisher: "empirical".to_owned(),
        seed: None,
        modules: modules.to_vec(),
        ..stamp()
    };
    let content = serde_json::to_value(FactorContent { stamp, samples: 8 }).unwrap();
    let part = ArtifactPart::new(name, FACTORS, Vec::new(), content);
    store.put_artifact(part, Some(files), None, "test").unwrap();
}

/// Summed losses, vectors in f32.
fn request(dataset: &str, projection: ProjectionSpec) -> IngestRequest {
    IngestRequest {
        kinds: vec![Kind::GradSgd],
        reduction: Reduction::Sum,
        projection: projection.into(),
        dtype: DType::F32,
        weights: vec![1.0],
        command: "test".to_owned(),
        ..IngestRequest::new(dataset, model())
    }
}

fn run(store: &Store, request: IngestRequest) -> Result<(), IngestError> {
    let plan = IngestPlan::new(store, request, &mut Silent)?;
    ingest(store, &plan, &mut Silent, &Cancel::new()).map(drop)
}

/// The gradients themselves of a dataset's rows, by module.
fn gradients(store: &Store, dataset: &str, rows: u64, modules: &[Module]) -> Gradients {
    let mut plain = request(dataset, ProjectionSpec::none());
    plain.modules.patterns = MODULES.map(str::to_owned).to_vec();
    run(store, plain).unwrap();
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.features().iter().find(|part| part.desc.dataset == dataset).unwrap();
    let reader = snapshot.open_feature(part).unwrap();
    let of_row = |row: u64| -> Vec<Vec<f64>> {
        let vector = reader.row(row).unwrap().unwrap().vector;
        let mut start = 0;
        let of_module = |module: &Module| {
            let values = &vector[start..start + module.len()];
            start += module.len();
            values.iter().map(|value| f64::from(*value)).collect()
        };
        modules.iter().map(of_module).collect()
    };
    (0..rows).map(of_row).collect()
}

/// Scores by id of the rows of a dataset: the mean over targets of the products of gradients, with
/// filtered factors between them.
fn scores_of_gradients(
    (modules, factors): (&[Module], &[ModuleFactors]),
    (dataset, rows, targets): (&str, &Gradients, &Gradients),
    filter: Filter,
) -> BTreeMap<String, f64> {
    let inverse = |(module, factors): (&Module, &ModuleFactors)| -> Inverse {
        factors.filtered(module, Strategy::Ekfac, filter).unwrap()
    };
    let inverses: Vec<Inverse> = modules.iter().zip(factors).map(inverse).collect();
    let mut scores = BTreeMap::new();
    for (row, gradient) in rows.iter().enumerate() {
        let with = |target: &Vec<Vec<f64>>| -> f64 {
            let of_module = |((inverse, target), own): ((&Inverse, &Vec<f64>), &Vec<f64>)| {
                dot(&inverse.apply(target), own)
            };
            inverses.iter().zip(target).zip(gradient).map(of_module).sum()
        };
        scores
            .insert(format!("{dataset}{row}"), targets.iter().map(with).sum::<f64>() / targets.len() as f64);
    }
    scores
}

#[test]
fn rows_in_the_eigenbasis_of_factors_give_the_scores_of_their_gradients_with_any_damping() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, plain) = (folder.path().join("whole"), folder.path().join("plain"));
    [&whole, &plain].into_iter().for_each(|path| fs_err::create_dir(path).unwrap());
    let (checkpoint, modules, factors) = fitted();
    let (store, other) = (store(&whole), store(&plain));
    publish(&store, &whole, "fit", &checkpoint, &modules, &factors);
    publish(&store, &whole, "old", &"0".repeat(64), &modules, &factors);

    let snapshot = store.snapshot().unwrap();
    let go_on = Cancel::new();
    let projection =
        |name: &str, stale| EigenProjection::of(&snapshot, name, 1 << 14, stale, &go_on).unwrap();
    let refused = run(&store, request("pool", projection("old", false).spec)).unwrap_err().to_string();
    assert!(refused.contains("the factors are stale"), "{refused}");
    let basis = projection("fit", false);
    assert_eq!(basis.kept().map(|(all, (_, least))| (all, least)), Some((1.0, 1.0)));
    let stopped = EigenProjection::of(&snapshot, "fit", 64, false, &Cancel::raised()).unwrap_err();
    assert!(matches!(stopped, FactorJobError::Stopped(_)), "{stopped}");
    let few = EigenProjection::of(&snapshot, "fit", 64, false, &go_on).unwrap();
    let (all, (module, least)) = few.kept().unwrap();
    assert!(
        MODULES.contains(&module) && 0.0 < least && least <= all && all < 1.0,
        "{module}: {least}, {all}"
    );
    assert_eq!(basis.spec.fingerprint(), projection("old", true).spec.fingerprint());
    for (dataset, _) in ROWS {
        run(&store, request(dataset, basis.spec.clone())).unwrap();
    }
    let ask = |options: &str| scores(&store, &format!("influence('pool', 'val', sim => 'dot'{options})"));
    assert!(ask(", damping => 1").unwrap_err().contains("needs the eigenvalues of the coordinates"));
    // Once is as good as twice.
    basis.publish(&store, "test").unwrap();
    basis.publish(&store, "test").unwrap();

    let [pool, val] = ROWS.map(|(dataset, rows)| gradients(&other, dataset, rows, &modules));
    let [of_pool, of_val] = [("pool", &pool, &val), ("val", &val, &pool)];
    let filtered = |filter: Filter| scores_of_gradients((&modules, &factors), of_pool, filter);
    let expected = |damping: Damping| filtered(Filter::Inverse(damping));
    let usual = ask("").unwrap();
    assert_close(&usual, &expected(Damping::OfMean));
    assert_close(&ask(", precondition => 'fit'").unwrap(), &usual);
    let fitted = factors[0].inverse(&modules[0], Strategy::Ekfac, Damping::OfMean).unwrap().damping();
    for damping in [0.5 * fitted, 20.0 * fitted] {
        let found = ask(&format!(", damping => {damping:e}")).unwrap();
        assert_close(&found, &expected(Damping::Value(damping)));
    }
    // Of the segment some directions are finished and others hardly begun.
    for filter in [Filter::Identity, Filter::Source { steps: 7, rate: 1.0 / fitted }] {
        assert_close(&ask(&format!(", filter => '{filter}'")).unwrap(), &filtered(filter));
    }
    assert!(ask(", precondition => 'old'").unwrap_err().contains("in the eigenbasis of `fit`"));

    // Rows of other data than the factors were fitted on.
    let ask = |options: &str| scores(&store, &format!("influence('val', 'pool', sim => 'dot'{options})"));
    for options in ["", ", precondition => 'fit'", ", damping => 1"] {
        let refused = ask(options).unwrap_err();
        assert!(refused.contains("`fit` was fitted on dataset `pool`, not on `val`"), "{refused}");
        assert!(refused.contains("`precondition => 'fit', stale => true`"), "{refused}");
    }
    let of_val = scores_of_gradients((&modules, &factors), of_val, Filter::Inverse(Damping::OfMean));
    assert_close(&ask(", precondition => 'fit', stale => true").unwrap(), &of_val);

    // A row that they were fitted on is not there any more.
    let rows = RowSet::from_ranges([1..2]);
    let part = store.snapshot().unwrap().dataset("pool").unwrap().clone();
    store.delete(&part, &rows, DeleteOptions::default()).unwrap();
    let ask = |options: &str| scores(&store, &format!("influence('pool', 'val', sim => 'dot'{options})"));
    for options in ["", ", precondition => 'fit'", ", damping => 1"] {
        let refused = ask(options).unwrap_err();
        assert!(refused.contains("rows of `pool` that `fit` was fitted on have changed"), "{refused}");
    }
    let left: BTreeMap<_, _> = usual.into_iter().filter(|(id, _)| id != "pool1").collect();
    assert_close(&ask(", precondition => 'fit', stale => true").unwrap(), &left);
    let snapshot = store.snapshot().unwrap();
    let refused = EigenProjection::of(&snapshot, "fit", 1 << 14, false, &go_on).unwrap_err().to_string();
    assert!(refused.contains("rows of `pool` that they were fitted on have changed"), "{refused}");
    EigenProjection::of(&snapshot, "fit", 1 << 14, true, &go_on).unwrap();
}
