use std::collections::BTreeMap;
use std::process::Command;

use gstore_curvature::{Blocks, Covariance, Damping, Eigen, Squares, Strategy, dot};
use gstore_store::FileMap;
use serde_json::Value;

use super::*;

/// Files that Kronfluence wrote, by `tests/kronfluence/make.py`.
fn given(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kronfluence").join(name)
}

fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance * largest, "{what}: {found} in place of {expected}");
    }
}

/// The header of a file of tensors, and the bytes behind it.
fn parts(path: &Path) -> (BTreeMap<String, Value>, Vec<u8>) {
    let bytes = fs_err::read(path).unwrap();
    let len = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    assert!(len.is_multiple_of(8), "{}", path.display());
    (serde_json::from_slice(&bytes[8..8 + len]).unwrap(), bytes[8 + len..].to_vec())
}

/// Gradients of the samples, by module.
fn gradients() -> BTreeMap<String, Vec<Vec<f64>>> {
    let tensors = Tensors::open(given("gradients.safetensors")).unwrap().unwrap();
    let of = |name: String| {
        let shape = tensors.shape(&name).unwrap();
        let values = tensors.numbers(&name).unwrap();
        let rows = values.chunks(shape[1] * shape[2]).map(<[f64]>::to_vec).collect();
        (name, rows)
    };
    tensors.names().into_iter().map(of).collect()
}

fn dataset_note(path: &Path) -> DatasetNote {
    documents::read(path).unwrap().unwrap()
}

/// Some quantities of all modules, whose files are there.
fn read(
    folder: &FactorFolder,
    parts: FactorParts,
    partition: Option<Partition>,
) -> Result<Vec<(Module, ModuleFactors)>, FactorError> {
    let reader = folder.quantities(parts, partition)?.unwrap();
    reader.chosen(None)?.iter().map(|name| reader.module(name)).collect()
}

/// The sums of activations and of gradients.
type Sums = (Covariance, Covariance);

/// The covariances of all modules, by their names.
fn covariances(
    folder: &FactorFolder,
    partition: Option<Partition>,
) -> Result<Vec<(String, Sums)>, FactorError> {
    let found = read(folder, FactorParts::COVARIANCES, partition)?.into_iter();
    let sums = |found: ModuleFactors| found.activation.zip(found.gradient).unwrap();
    Ok(found.map(|(module, found)| (module.name, sums(found))).collect())
}

#[test]
fn factors_of_kronfluence_are_read() {
    let folder = FactorFolder::open(&given("factors_mlp")).unwrap();
    assert_eq!(folder.arguments.strategy(), Strategy::Ekfac);
    assert!(folder.arguments.is_empirical());
    assert_eq!(folder.arguments.partitions_of(FactorStage::Covariance), (2, 2));
    assert_eq!(folder.arguments.partitions_of(FactorStage::Lambda), (1, 1));
    let note = dataset_note(&folder.dataset(FactorStage::Lambda));
    assert_eq!((note.kind.as_str(), note.dataset_size, note.indices), ("TensorDataset", 7, None));

    // Partitions add up to the whole.
    let whole = covariances(&folder, None).unwrap();
    for (name, (activation, gradient)) in &whole {
        let (mut a, mut g) = (Covariance::new(activation.size), Covariance::new(gradient.size));
        for partition in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let parts = covariances(&folder, Some(partition)).unwrap();
            for (_, (part_a, part_g)) in parts.iter().filter(|part| part.0 == *name) {
                a.merge(part_a);
                g.merge(part_g);
            }
        }
        assert_eq!((a.count, g.count, activation.count, gradient.count), (7, 7, 7, 7));
        close("activation", &a.sums, &activation.sums, 1e-6);
        close("gradient", &g.sums, &gradient.sums, 1e-6);
    }
    assert!(folder.quantities(FactorParts::COVARIANCES, Some((2, 0))).unwrap().is_none());

    // The eigenbases and squares are those of the sums and of the gradients.
    let all = folder.factors(None).unwrap();
    let gradients = gradients();
    assert_eq!(
        all.iter().map(|(module, _)| (module.out, module.input)).collect::<Vec<_>>(),
        [(4, 4), (2, 4)]
    );
    for (module, factors) in all {
        let mut again = ModuleFactors {
            activation: factors.activation.clone(),
            gradient: factors.gradient.clone(),
            ..ModuleFactors::default()
        };
        again.decompose(&module).unwrap();
        let (theirs, ours) = (factors.activation_eigen.clone().unwrap(), again.activation_eigen.unwrap());
        close("eigenvalues", &ours.values, &theirs.values, 1e-5);
        let basis = factors.inverse(&module, Strategy::Kfac, Damping::Value(1.0)).unwrap();
        let mut sums = vec![0.0; module.len()];
        for gradient in &gradients[&module.name] {
            sums.iter_mut().zip(basis.rotated(gradient)).for_each(|(sum, value)| *sum += value * value);
        }
        close("lambda", &sums, &factors.lambda.unwrap().sums, 1e-5);
    }
    let one = folder.factors(Some(&["2".to_owned()])).unwrap();
    assert_eq!(one.len(), 1);
    let refused = folder.factors(Some(&["3".to_owned()])).unwrap_err().to_string();
    assert!(refused.ends_with("has no factors of module `3`; it has 0, 2"), "{refused}");
}

#[test]
fn maps_of_the_files_that_are_wanted_are_enough() {
    let folder = FactorFolder::open(&given("factors_mlp")).unwrap();
    let parts = FactorParts::of(Strategy::Ekfac);
    let maps = parts.files().into_iter().map(|name| {
        let bytes = fs_err::read(folder.path.join(&name)).unwrap();
        (name, FileMap::from_bytes(&bytes))
    });
    let reader = FactorReader::of_maps(Path::new("f"), parts, maps.collect()).unwrap();
    assert_eq!(reader.arguments, folder.arguments);
    for (module, factors) in folder.factors(None).unwrap() {
        let expected = ModuleFactors { activation: None, gradient: None, ..factors };
        assert_eq!(reader.module(&module.name).unwrap(), (module, expected));
    }
    assert!(reader.module("3").is_err());
    let none = FactorReader::of_maps(Path::new("f"), parts, BTreeMap::new()).unwrap_err().to_string();
    assert!(none.starts_with("f has no factor_arguments.json"), "{none}");
}

#[test]
fn eigenvectors_that_are_not_orthogonal_are_refused() {
    // Those of Kronfluence are in f32.
    let reader = FactorFolder::open(&given("factors_mlp")).unwrap().reader().unwrap();
    for name in reader.chosen(None).unwrap() {
        reader.check_bases(&name, &reader.module(&name).unwrap().1).unwrap();
    }
    let place = tempfile::tempdir().unwrap();
    let folder = FactorFolder::create(place.path(), &FactorArguments::new(Strategy::Kfac).in_f64()).unwrap();
    let module = Module { name: "m".to_owned(), out: 1, input: 2, bias: false };
    let check = |off: f64| {
        let activation = Eigen { values: vec![1.0, 2.0], vectors: vec![1.0, off, 0.0, 1.0] };
        let gradient = Eigen { values: vec![1.0], vectors: vec![1.0] };
        folder.write_eigen(std::slice::from_ref(&module), &[(activation, gradient)]).unwrap();
        let reader = folder.reader().unwrap();
        reader.check_bases("m", &reader.module("m").unwrap().1)
    };
    check(5e-5).unwrap();
    let refused = check(1e-3).unwrap_err().to_string();
    assert!(refused.contains("activation_eigenvectors.safetensors: module `m`: "), "{refused}");
    assert!(refused.contains("values of 1.0e-3"), "{refused}");
}

#[test]
fn eigenvalues_that_are_not_those_of_the_covariances_are_refused() {
    // Those of Kronfluence are in f32.
    let reader = FactorFolder::open(&given("factors_mlp")).unwrap().reader().unwrap();
    for name in reader.chosen(None).unwrap() {
        reader.check_eigenvalues(&name, &reader.module(&name).unwrap().1).unwrap();
    }
    let place = tempfile::tempdir().unwrap();
    let module = Module { name: "m".to_owned(), out: 1, input: 2, bias: false };
    let modules = std::slice::from_ref(&module);
    let check = |sums: Option<[f64; 4]>, values: [f64; 2]| {
        let path = place.path().join(if sums.is_some() { "sums" } else { "none" });
        let folder = FactorFolder::create(&path, &FactorArguments::new(Strategy::Kfac).in_f64()).unwrap();
        let activation = Eigen { values: values.to_vec(), vectors: vec![1.0, 0.0, 0.0, 1.0] };
        let gradient = Eigen { values: vec![1.0], vectors: vec![1.0] };
        folder.write_eigen(modules, &[(activation, gradient)]).unwrap();
        if let Some(sums) = sums {
            let activation = Covariance { size: 2, sums: sums.to_vec(), count: 2 };
            let gradient = Covariance { size: 1, sums: vec![2.0], count: 2 };
            folder.write_covariances(None, modules, &[(activation, gradient)]).unwrap();
        }
        let reader = folder.reader().unwrap();
        let checked = reader.check_eigenvalues("m", &reader.module("m").unwrap().1);
        checked.map_err(|error| error.to_string())
    };
    let diagonal = Some([4.0, 0.0, 0.0, 6.0]);
    // As rounding may leave it: one value is below 0, or was and is 0.
    let indefinite = Some([2.0, 4.0, 4.0, 2.0]);
    for (sums, values) in [
        (diagonal, [2.0, 3.0]),
        (diagonal, [2.0, 3.0002]),
        (indefinite, [-1.0, 3.0]),
        (indefinite, [0.0, 3.0]),
        (Some([0.0; 4]), [0.0, 0.0]),
        (None, [-1e-5, 3.0]),
        (None, [0.0, 1e9]),
    ] {
        check(sums, values).unwrap();
    }
    for (sums, values, says) in [
        (
            diagonal,
            [2.0, 3.01],
            "add up to 5.0100e0, but the diagonal of the covariance beside them to 5.0000e0",
        ),
        (diagonal, [-1000.0, 3.0], "add up to -9.9700e2"),
        (diagonal, [2.0, 1e9], "add up to 1.0000e9"),
        (diagonal, [0.0, 1e9], "add up to 1.0000e9"),
        (diagonal, [0.0, 3.0], "add up to 3.0000e0"),
        (indefinite, [0.0, 3.1], "add up to 3.1000e0"),
        (None, [-0.01, 3.0], "eigenvalue 1 of 2 is -0.01, and those of a covariance are not below 0"),
        (None, [-1000.0, 3.0], "eigenvalue 1 of 2 is -1000"),
    ] {
        let refused = check(sums, values).unwrap_err();
        let of = "activation_eigenvalues.safetensors: module `m`: ";
        assert!(refused.contains(of) && refused.contains(says), "{sums:?} {values:?}: {refused}");
    }
}

#[test]
fn sums_over_nothing_and_missing_files_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = FactorFolder::create(place.path(), &FactorArguments::new(Strategy::Kfac).in_f64()).unwrap();
    let module = Module { name: "m".to_owned(), out: 1, input: 1, bias: false };
    let modules = std::slice::from_ref(&module);
    let one = |count| Covariance { size: 1, sums: vec![1.0], count };
    for (activation, gradient, bad) in
        [(2, 2, None), (0, 2, Some("num_activation_cov")), (2, 0, Some("num_gradient_cov"))]
    {
        folder.write_covariances(None, modules, &[(one(activation), one(gradient))]).unwrap();
        let checked = folder.reader().unwrap().check_counts("m");
        let says = |file: &str| format!("{file}ariance_processed.safetensors: module `m`: its count is 0, ");
        match bad {
            None => checked.unwrap(),
            Some(file) => {
                let refused = checked.unwrap_err().to_string();
                assert!(refused.contains(&says(file)), "{refused}");
            }
        }
    }

    let eigen = || Eigen { values: vec![1.0], vectors: vec![1.0] };
    let refused = folder.check_files().unwrap_err().to_string();
    assert!(refused.contains(" has no activation_eigenvectors.safetensors, which"), "{refused}");
    folder.write_eigen(modules, &[(eigen(), eigen())]).unwrap();
    folder.check_files().unwrap();
    let covariances = COVARIANCES.into_iter().chain(COVARIANCE_COUNTS);
    for (removed, what) in (1..).zip(covariances) {
        fs_err::remove_file(place.path().join(file_name(what, None))).unwrap();
        match folder.check_files() {
            Ok(()) => assert_eq!(removed, 4),
            Err(error) => {
                let refused = error.to_string();
                let first = " has no activation_covariance.safetensors, which the other covariances need";
                assert!(removed < 4 && refused.ends_with(first), "{refused}");
            }
        }
    }
    fs_err::remove_file(place.path().join("gradient_eigenvalues.safetensors")).unwrap();
    let refused = folder.check_files().unwrap_err().to_string();
    assert!(
        refused
            .ends_with(" has no gradient_eigenvalues.safetensors, which factors of the strategy kfac need"),
        "{refused}"
    );
}

#[test]
fn covariances_that_are_not_symmetric_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = FactorFolder::create(place.path(), &FactorArguments::new(Strategy::Kfac).in_f64()).unwrap();
    let module = Module { name: "m".to_owned(), out: 2, input: 1, bias: false };
    let read = |below: f64| {
        let gradient = Covariance { size: 2, sums: vec![2.0, 1.0, below, 2.0], count: 1 };
        let activation = Covariance { size: 1, sums: vec![1.0], count: 1 };
        folder.write_covariances(None, std::slice::from_ref(&module), &[(activation, gradient)]).unwrap();
        covariances(&folder, None)
    };
    assert!(read(1.0).is_ok() && read(1.0 + 1e-6).is_ok());
    let refused = read(0.5).unwrap_err().to_string();
    for says in
        ["gradient_covariance.safetensors: module `m`: ", "is not symmetric", "fit such factors again"]
    {
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn scores_of_kronfluence_come_out_again() {
    let scores = ScoreFolder::open(&given("scores_mlp")).unwrap();
    assert_eq!(scores.arguments.partitions_of(), (2, 1));
    let queries = dataset_note(&scores.dataset(ScoreSide::Query)).indices;
    assert_eq!(queries, Some(vec![0, 2]));
    let [pairwise, of_itself] =
        [ScoreKind::Pairwise, ScoreKind::OfItself].map(|kind| scores.read(kind).unwrap().unwrap());
    let gradients = gradients();
    for (module, factors) in FactorFolder::open(&given("factors_mlp")).unwrap().factors(None).unwrap() {
        let inverse = factors.inverse(&module, Strategy::Ekfac, Damping::OfMean).unwrap();
        let rows = &gradients[&module.name];
        let of = |tables: &[ScoreTable<f64>]| -> (Vec<usize>, Vec<f64>) {
            let table = tables.iter().find(|table| table.key == module.name).unwrap();
            (table.shape.clone(), table.values.clone())
        };
        let (shape, expected) = of(&pairwise);
        assert_eq!(shape, [2, 7]);
        let found: Vec<f64> = [0, 2]
            .iter()
            .flat_map(|query| {
                let ready = inverse.apply(&rows[*query]);
                rows.iter().map(move |row| dot(&ready, row)).collect::<Vec<f64>>()
            })
            .collect();
        close("pairwise", &found, &expected, 1e-4);
        let (shape, expected) = of(&of_itself);
        assert_eq!(shape, [7]);
        let found: Vec<f64> = rows.iter().map(|row| dot(&inverse.apply(row), row)).collect();
        close("self", &found, &expected, 1e-4);
    }
}

/// Everything of the given folders, written again.
fn written_again(to: &Path) -> (PathBuf, PathBuf) {
    let from = FactorFolder::open(&given("factors_mlp")).unwrap();
    let arguments = FactorArguments::new(Strategy::Ekfac)
        .empirical_fisher(true)
        .partitions(FactorStage::Covariance, (2, 2));
    assert_eq!(arguments, from.arguments);
    let folder = FactorFolder::create(&to.join("factors_again"), &arguments).unwrap();
    for stage in [FactorStage::Covariance, FactorStage::Lambda] {
        folder.write_dataset(stage, &dataset_note(&from.dataset(stage))).unwrap();
    }
    let all: BTreeMap<String, Module> =
        from.factors(None).unwrap().into_iter().map(|(module, _)| (module.name.clone(), module)).collect();
    for partition in [None, Some((0, 0)), Some((0, 1)), Some((1, 0)), Some((1, 1))] {
        let found = covariances(&from, partition).unwrap();
        let modules: Vec<Module> = found.iter().map(|(name, _)| all[name].clone()).collect();
        let sums: Vec<(Covariance, Covariance)> = found.into_iter().map(|(_, sums)| sums).collect();
        folder.write_covariances(partition, &modules, &sums).unwrap();
    }
    let modules: Vec<Module> = all.into_values().collect();
    let bases = read(&from, FactorParts::EIGEN, None).unwrap().into_iter();
    let bases = bases.map(|(_, found)| found.activation_eigen.zip(found.gradient_eigen).unwrap());
    folder.write_eigen(&modules, &bases.collect::<Vec<_>>()).unwrap();
    let squares = read(&from, FactorParts::LAMBDA, None).unwrap().into_iter();
    let squares = squares.map(|(_, found)| found.lambda.unwrap());
    folder.write_lambda(None, &modules, &squares.collect::<Vec<_>>()).unwrap();

    let from = ScoreFolder::open(&given("scores_mlp")).unwrap();
    let score_arguments = ScoreArguments::default().apart(true, false).partitions((2, 1));
    assert_eq!(score_arguments, from.arguments);
    let scores = ScoreFolder::create(&to.join("scores_again"), &score_arguments, &arguments).unwrap();
    for side in [ScoreSide::Query, ScoreSide::Train] {
        scores.write_dataset(side, &dataset_note(&from.dataset(side))).unwrap();
    }
    for kind in [ScoreKind::Pairwise, ScoreKind::OfItself] {
        let tables =
            from.read(kind).unwrap().unwrap().into_iter().map(|ScoreTable { key, shape, values }| {
                ScoreTable { key, shape, values: values.into_iter().map(|value| value as f32).collect() }
            });
        scores.write(kind, None, &tables.collect::<Vec<_>>()).unwrap();
    }
    (to.join("factors_again"), to.join("scores_again"))
}

#[test]
fn what_is_written_is_what_kronfluence_writes() {
    let place = tempfile::tempdir().unwrap();
    let (factors, scores) = written_again(place.path());
    for (ours, theirs) in [(&factors, given("factors_mlp")), (&scores, given("scores_mlp"))] {
        let mut files = 0;
        for entry in fs_err::read_dir(ours).unwrap() {
            let (ours, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
            let theirs = theirs.join(&name);
            files += 1;
            match ours.extension().and_then(|ending| ending.to_str()) {
                Some("json") => assert_eq!(
                    fs_err::read_to_string(&ours).unwrap(),
                    fs_err::read_to_string(&theirs).unwrap(),
                    "{name:?}"
                ),
                _ if name.to_string_lossy().starts_with("activation_eigen")
                    || name.to_string_lossy().starts_with("gradient_eigen") =>
                {
                    // Eigenvalues below zero are written as 0.
                    assert_eq!(parts(&ours).0, parts(&theirs).0, "{name:?}");
                }
                _ => assert_eq!(parts(&ours), parts(&theirs), "{name:?}"),
            }
        }
        assert!(files == 29 || files == 6, "{files}");
    }
    // Begun with these arguments, and with no others.
    let other = FactorArguments::new(Strategy::Kfac);
    let refused = FactorFolder::create(&factors, &other).unwrap_err().to_string();
    assert!(refused.contains("strategy \"ekfac\" where \"kfac\" was asked for"), "{refused}");
    // Lists of ids lie next to its files.
    let folder = ScoreFolder::open(&scores).unwrap();
    let settle = |side, ids: &[&str]| {
        folder.settle_ids(side, &ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    };
    for _ in 0..2 {
        settle(ScoreSide::Train, &["a", " b ", "", "d", "e", "f", "g"]).unwrap();
        settle(ScoreSide::Query, &["q", "r"]).unwrap();
    }
    let listed = fs_err::read_to_string(scores.join("rows.txt")).unwrap();
    assert_eq!(listed, "a\n b \n\nd\ne\nf\ng\n");
    fs_err::write(scores.join("queries.txt"), "\u{feff}q\r\nr\r\n").unwrap();
    settle(ScoreSide::Query, &["q", "r"]).unwrap();
    let refused = settle(ScoreSide::Query, &["q"]).unwrap_err().to_string();
    assert!(refused.contains("queries.txt: it lists different ids"), "{refused}");
    let refused = settle(ScoreSide::Query, &["q", "r\ns"]).unwrap_err().to_string();
    assert!(refused.contains("\"r\\ns\" has a line break"), "{refused}");
    read_by_kronfluence(&factors, &scores);
}

/// Kronfluence itself loads the folders and goes on with them, where Python has it.
fn read_by_kronfluence(factors: &Path, scores: &Path) {
    let python = std::env::var("GSTORE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import kronfluence"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} cannot import kronfluence; set GSTORE_PYTHON to one that can");
        return;
    }
    let output =
        Command::new(python).arg(given("make.py")).arg("check").args([factors, scores]).output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("all checked"), "{printed}\n{said}");
}

#[test]
fn partitions_of_scores_are_put_together() {
    let place = tempfile::tempdir().unwrap();
    let factors = FactorArguments::new(Strategy::Ekfac);
    let arguments = ScoreArguments::default().partitions((2, 2));
    let folder = ScoreFolder::create(place.path(), &arguments, &factors).unwrap();
    let write = |kind, partition, shape: &[usize], values: &[f32]| {
        let table =
            ScoreTable { key: ALL_MODULES.to_owned(), shape: shape.to_vec(), values: values.to_vec() };
        folder.write(kind, partition, &[table])
    };
    let part = |partition, shape: &[usize], values: &[f32]| {
        write(ScoreKind::Pairwise, Some(partition), shape, values).unwrap();
    };
    assert_eq!(folder.read(ScoreKind::Pairwise).unwrap(), None);
    part((0, 0), &[2, 1], &[1.0, 4.0]);
    part((0, 1), &[2, 1], &[10.0, 40.0]);
    let missing = folder.read(ScoreKind::Pairwise).unwrap_err().to_string();
    let [first, second] = [0, 1].map(|group| file_name("pairwise_scores", Some((1, group))));
    assert!(missing.ends_with(&format!(" has no {first}, {second}")), "{missing}");
    part((1, 0), &[2, 2], &[2.0, 3.0, 5.0, 6.0]);
    part((1, 1), &[2, 2], &[20.0, 30.0, 50.0, 60.0]);
    let values = vec![11.0, 22.0, 33.0, 44.0, 55.0, 66.0];
    let expected = ScoreTable { key: ALL_MODULES.to_owned(), shape: vec![2, 3], values };
    assert_eq!(folder.read(ScoreKind::Pairwise).unwrap(), Some(vec![expected.clone()]));
    assert_eq!(folder.total(ScoreKind::Pairwise).unwrap(), expected);
    assert!(write(ScoreKind::OfItself, None, &[3], &[1.0]).is_err());
    assert_eq!(folder.read(ScoreKind::OfItself).unwrap(), None);
    let other = folder.total(ScoreKind::OfItself).unwrap_err().to_string();
    assert!(
        other.ends_with(" has no self_scores.safetensors: its pairwise_scores are of queries with samples"),
        "{other}"
    );
}

#[test]
fn scores_of_modules_are_summed_where_they_fit_together() {
    let given = ScoreFolder::open(&given("scores_mlp")).unwrap();
    for (kind, shape) in [(ScoreKind::Pairwise, vec![2, 7]), (ScoreKind::OfItself, vec![7])] {
        let (total, modules) = (given.total(kind).unwrap(), given.read(kind).unwrap().unwrap());
        assert_eq!((total.key.as_str(), total.shape, modules.len()), (ALL_MODULES, shape, 2));
        for (at, sum) in total.values.iter().enumerate() {
            assert_eq!(*sum, modules[0].values[at] + modules[1].values[at]);
        }
    }
    let place = tempfile::tempdir().unwrap();
    let (arguments, factors) = (ScoreArguments::default(), FactorArguments::new(Strategy::Ekfac));
    let folder = ScoreFolder::create(place.path(), &arguments, &factors).unwrap();
    let table = |key: &str, shape: &[usize]| ScoreTable {
        key: key.to_owned(),
        shape: shape.to_vec(),
        values: vec![1.0; shape.iter().product()],
    };
    for (tables, words) in [
        (
            &[table("a", &[2, 3]), table("b", &[3, 2])][..],
            "`b` has the shape [3, 2], but other modules have [2, 3]",
        ),
        (&[table("a", &[2, 3, 4])], "expected [queries, samples]: scores of tokens are those of samples"),
        (&[table("a", &[6])], "`a` has the shape [6], expected [queries, samples]"),
        (&[table(ALL_MODULES, &[2, 3]), table("b", &[2, 3])], "it has both `all_modules` and single modules"),
        (&[], "it has no scores"),
    ] {
        folder.write(ScoreKind::Pairwise, None, tables).unwrap();
        let refused = folder.total(ScoreKind::Pairwise).unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
}

#[test]
fn matrices_in_blocks_are_read_as_they_were_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = FactorFolder::create(place.path(), &FactorArguments::new(Strategy::Kfac).in_f64()).unwrap();
    let module = Module { name: "m".to_owned(), out: 3, input: 7, bias: false };
    let summed = |size: usize| {
        let blocks = Blocks::new(size, 3);
        let mut sums = Covariance::in_blocks(blocks);
        for token in 1..5 {
            let value = |at: usize| (at * at + token * at + token) as f32 / 8.0;
            for block in blocks.ranges() {
                let outer = block.clone().flat_map(|a| block.clone().map(move |b| value(a) * value(b)));
                sums.add_block(&block, 0..block.len(), 0, &outer.collect::<Vec<_>>());
            }
            sums.count += 1;
        }
        sums.mirror();
        sums
    };
    let sums = (summed(7), summed(3));
    let bases = [&sums.0, &sums.1].map(|sums| Eigen::of_covariance(sums, "m", "covariance").unwrap());
    let [activation, gradient] = bases;
    let bases = (activation, gradient);
    let modules = std::slice::from_ref(&module);
    folder.write_covariances(None, modules, std::slice::from_ref(&sums)).unwrap();
    folder.write_eigen(modules, std::slice::from_ref(&bases)).unwrap();
    assert_eq!(folder.reader().unwrap().widest().unwrap(), Some(3));
    let (found, factors) = folder.factors(None).unwrap().remove(0);
    assert_eq!(found, module);
    // A folder that says so has blocks, of this many rows; whole matrices are what any may have.
    let check = |factors: &ModuleFactors, most| check_blocks(place.path(), "m", factors, most);
    assert!(check(&factors, Some(3)).is_ok());
    for (most, due) in [(None, "does not say that there are blocks"), (Some(4), "blocks of at most 4 rows")] {
        let refused = check(&factors, most).unwrap_err().to_string();
        assert!(refused.contains("module `m`: a matrix is 7 x 3: ") && refused.contains(due), "{refused}");
    }
    let whole = ModuleFactors { gradient: Some(Covariance::new(3)), ..ModuleFactors::default() };
    assert!([None, Some(2)].into_iter().all(|most| check(&whole, most).is_ok()));
    assert_eq!((factors.activation, factors.gradient), (Some(sums.0.clone()), Some(sums.1)));
    assert_eq!((factors.activation_eigen, factors.gradient_eigen), (Some(bases.0), Some(bases.1)));
    // Three blocks: of three rows, and twice of two.
    let (header, bytes) = parts(&place.path().join("activation_covariance.safetensors"));
    assert_eq!((header["m"]["shape"].to_string().as_str(), bytes.len()), ("[7,3]", 8 * 21));
    // No blocks are stored so.
    let torn = Covariance { size: 7, sums: vec![0.0; 35], count: 1 };
    let refused = folder.write_covariances(None, modules, &[(torn, summed(3))]).unwrap_err().to_string();
    assert!(refused.contains("module `m`: 35 values for a matrix of 7 x 7"), "{refused}");
}

#[test]
fn sums_keep_f64_where_arguments_say_so_and_bad_files_are_named() {
    let place = tempfile::tempdir().unwrap();
    let arguments = FactorArguments::new(Strategy::Diagonal).in_f64();
    let folder = FactorFolder::create(place.path(), &arguments).unwrap();
    let module = Module { name: "m".to_owned(), out: 1, input: 2, bias: false };
    let modules = std::slice::from_ref(&module);
    let exact = Squares { sums: vec![1.0 + 1e-15, 0.1], count: 3 };
    folder.write_lambda(None, modules, std::slice::from_ref(&exact)).unwrap();
    let all = folder.factors(None).unwrap();
    assert_eq!(
        (&all[0].0, all[0].1.diagonal.as_ref(), all[0].1.lambda.as_ref()),
        (&module, Some(&exact), None)
    );

    let write = |sums: Vec<f64>| {
        folder.write_lambda(None, modules, &[Squares { sums, count: 1 }]).unwrap_err().to_string()
    };
    assert!(write(vec![1.0]).ends_with("module `m`: 1 values for a matrix of 1 x 2"));
    assert!(write(vec![1.0, f64::NAN]).contains("module `m`: lambda_matrix is not finite"));
    // What could not be written has not touched what is there.
    let squares = || read(&folder, FactorParts::LAMBDA, None);
    assert_eq!(squares().unwrap()[0].1.diagonal.as_ref(), Some(&exact));

    // Another module than those of the counts.
    let other = Module { name: "n".to_owned(), ..module.clone() };
    let counts = place.path().join("num_lambda_processed.safetensors");
    let kept = fs_err::read(&counts).unwrap();
    folder.write_lambda(None, std::slice::from_ref(&other), std::slice::from_ref(&exact)).unwrap();
    fs_err::write(&counts, kept).unwrap();
    let refused = squares().unwrap_err().to_string();
    assert!(refused.ends_with("num_lambda_processed.safetensors: tensor n is missing"), "{refused}");
    folder.write_lambda(None, modules, std::slice::from_ref(&exact)).unwrap();
    // An error of the disk names the file.
    let path = place.path().join("lambda_matrix.safetensors");
    let away = place.path().join("away").join("lambda_matrix.safetensors");
    let refused = documents::place(&away, |_| Ok(())).unwrap_err().to_string();
    let says = "cannot be written: No such file or directory (os error 2)";
    assert_eq!(refused, format!("{} {says}", away.display()));
    // What a killed process left of it goes with the next one.
    let left = "lambda_matrix.unfinished-1";
    fs_err::write(place.path().join(left), "left").unwrap();
    assert!(FactorFolder::is_written(left));
    folder.write_lambda(None, modules, std::slice::from_ref(&exact)).unwrap();
    assert!(!place.path().join(left).exists());
    // Nor has what came too late.
    let whole = fs_err::read(&path).unwrap();
    let late = documents::place_new(&path, |out| Ok(out.write_all(b"late")?)).unwrap();
    assert!(!late && fs_err::read(&path).unwrap() == whole);

    fs_err::write(&path, &whole[..whole.len() - 1]).unwrap();
    let refused = squares().unwrap_err().to_string();
    assert!(refused.contains("lambda_matrix.safetensors is not a valid safetensors file"), "{refused}");
    let none = place.path().join("none");
    let refused = FactorFolder::open(&none).unwrap_err().to_string();
    assert_eq!(refused, format!("{}: there is no such folder", none.display()));
}

#[test]
fn values_that_are_not_finite_are_refused_with_file_and_module() {
    let module = Module { name: "m".to_owned(), out: 1, input: 2, bias: false };
    let modules = std::slice::from_ref(&module);
    let eigen = Eigen { values: vec![1.0, 2.0], vectors: vec![1.0, 0.0, 0.0, 1.0] };
    let bases = [(eigen, Eigen { values: vec![1.0], vectors: vec![1.0] })];
    let squares = [Squares { sums: vec![1.0, 2.0], count: 1 }];
    for (name, count) in [("activation_eigenvectors", 4), ("activation_eigenvalues", 2), ("lambda_matrix", 2)]
    {
        for value in [f64::NAN, f64::INFINITY] {
            let place = tempfile::tempdir().unwrap();
            let arguments = FactorArguments::new(Strategy::Ekfac).in_f64();
            let folder = FactorFolder::create(place.path(), &arguments).unwrap();
            folder.write_eigen(modules, &bases).unwrap();
            folder.write_lambda(None, modules, &squares).unwrap();
            assert_eq!(folder.factors(None).unwrap().len(), 1);
            let path = place.path().join(format!("{name}.safetensors"));
            let mut bytes = fs_err::read(&path).unwrap();
            let end = bytes.len();
            bytes[end - 8..].copy_from_slice(&value.to_le_bytes());
            fs_err::write(&path, &bytes).unwrap();
            let refused = folder.factors(None).unwrap_err().to_string();
            let says = format!("{name}.safetensors: module `m`: value {count} of {count} is {value}");
            assert!(refused.ends_with(&says), "{refused}");
        }
    }
}
