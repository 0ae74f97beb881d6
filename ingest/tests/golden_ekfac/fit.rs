//! Factors of the rows of a reference folder, with the labels of its cases.

use std::ops::Range;

use gstore_curvature::{Covariance, Eigen, Module, ModuleFactors, Squares};
use gstore_ingest::curvature::{CurvatureEngine, Labels};

use super::folder::{Case, Row, Tensors, rows, samples};

/// Rows that go through the model together.
pub const BATCH: usize = 8;

/// Both halves of a range, each on a thread of its own, in order.
fn halves<T: Send>(len: usize, of: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let (of, half) = (&of, len / 2);
    std::thread::scope(|scope| {
        let threads = [0..half, half..len].map(|range| scope.spawn(move || of(range)));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The number of a module of this name.
fn number(engine: &CurvatureEngine, name: &str) -> usize {
    engine.modules().iter().position(|module| module.name == name).unwrap()
}

/// All factors, with the stored eigenvectors in place of own ones for the modules that are returned.
pub fn fit(
    engine: &mut CurvatureEngine,
    file: &Tensors,
    cases: &[Case],
    diagonal: bool,
) -> (Vec<ModuleFactors>, Vec<usize>) {
    let modules = engine.modules().to_vec();
    let all: Vec<usize> = (0..modules.len()).collect();
    let (train, _) = rows(file, "train", &cases[0].labels("covariance"));
    let sums = halves(train.len(), |range| {
        let empty = |module: &Module| (Covariance::new(module.input), Covariance::new(module.out));
        let mut sums: Vec<_> = modules.iter().map(empty).collect();
        for batch in train[range].chunks(BATCH) {
            engine.covariances(&samples(batch), &Labels::Data, &all, &mut sums).unwrap();
        }
        for (activation, gradient) in &mut sums {
            activation.mirror();
            gradient.mirror();
        }
        sums
    });
    let mut factors = vec![ModuleFactors::default(); modules.len()];
    for half in &sums {
        for (of, (activation, gradient)) in factors.iter_mut().zip(half) {
            of.activation.get_or_insert_with(|| Covariance::new(activation.size)).merge(activation);
            of.gradient.get_or_insert_with(|| Covariance::new(gradient.size)).merge(gradient);
        }
    }
    let decomposed = halves(modules.len(), |range| {
        let mut part = factors[range.clone()].to_vec();
        part.iter_mut().zip(&modules[range]).for_each(|(of, module)| of.decompose(module).unwrap());
        part
    });
    let mut factors = decomposed.concat();
    let stored = use_stored(engine, cases, &mut factors);
    engine.set_bases(&factors).unwrap();
    let (train, _) = rows(file, "train", &cases[0].labels("lambda"));
    for rotated in [false, true].into_iter().filter(|rotated| *rotated || diagonal) {
        let sums = squares(engine, &train, rotated);
        for (of, sums) in factors.iter_mut().zip(sums) {
            *(if rotated { &mut of.lambda } else { &mut of.diagonal }) = Some(sums);
        }
    }
    (factors, stored)
}

fn squares(engine: &CurvatureEngine, train: &[Row], rotated: bool) -> Vec<Squares> {
    let all: Vec<usize> = (0..engine.modules().len()).collect();
    let empty = || engine.modules().iter().map(|module| Squares::new(module.len())).collect::<Vec<_>>();
    let sums = halves(train.len(), |range| {
        let mut sums = empty();
        for batch in train[range].chunks(BATCH) {
            engine.squares(&samples(batch), &Labels::Data, &all, rotated, &mut sums).unwrap();
        }
        sums
    });
    let mut whole = empty();
    for half in &sums {
        whole.iter_mut().zip(half).for_each(|(whole, half)| whole.merge(half));
    }
    whole
}

fn use_stored(engine: &CurvatureEngine, cases: &[Case], factors: &mut [ModuleFactors]) -> Vec<usize> {
    let mut stored = Vec::new();
    for case in cases {
        let (Some(file), names) = (&case.factors, case.listed("eigenvectors")) else { continue };
        for name in names {
            let module = number(engine, name);
            let of = &mut factors[module];
            for (eigen, side) in
                [(&mut of.activation_eigen, "activation"), (&mut of.gradient_eigen, "gradient")]
            {
                let vectors = file.get(&format!("{name}.{side}_eigenvectors")).unwrap();
                let values = eigen.take().unwrap().values;
                *eigen = Some(Eigen { values, vectors });
            }
            stored.push(module);
        }
    }
    stored
}
