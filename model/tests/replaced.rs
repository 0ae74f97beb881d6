//! Promise: a model whose weights are replaced in memory computes the bits of one that is built of them, on
//! any number of threads, and leaves alone what it shares.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::tiny::{Tiny, noise};
use crate::common::zoo::folders;
use gstore_model::architectures::{Decoder, Param};
use gstore_model::candle::Candle;
use gstore_model::cpu::Cpu;
use gstore_model::weights::{ModelError, ModelFolder};
use gstore_model::{
    Backend, BackendError, ComputePrecision, ForwardOptions, LastRows, Layout, LinearFactors, Model,
    Objective, PackedSample, Reduction, SavedActivations, Sink, Slot, TableFactors,
};

/// The bits of all gradients that pass the maps and reach the tables.
#[derive(Default)]
struct Gradients(Vec<Vec<u32>>);

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

impl<B: Backend> Sink<B> for Gradients {
    fn wants(&self, _: Slot) -> bool {
        true
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        for (_, grad) in maps.grads {
            self.0.push(bits(&backend.to_host(grad)?));
        }
        Ok(())
    }

    fn table(&mut self, backend: &B, factors: &TableFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        self.0.push(bits(&backend.to_host(factors.grad)?));
        Ok(())
    }
}

/// Losses of a sample, and gradients on the way down.
fn computed<B: Backend>(model: &Model<B>) -> Vec<Vec<u32>> {
    let ids: Vec<u32> = (0..9).map(|i| i * 7 % 31).collect();
    let layout = Layout::new(&[PackedSample::new(&ids, &[true; 9])], false, Reduction::Sum);
    let mut gradients = Gradients::default();
    let keep_from = model.lowest_wanted(&gradients);
    let pass =
        ForwardOptions { last_rows: LastRows::Scored, keep_from, keep: SavedActivations::All, tap: None };
    let forward = model.forward(layout, pass).unwrap();
    let objective = Objective::CrossEntropy { smoothing: 0.0 };
    let losses = model.backward(forward, objective, &mut gradients).unwrap();
    gradients.0.push(bits(&losses));
    gradients.0
}

type Values = BTreeMap<String, Vec<f32>>;

fn values(decoder: &Decoder, seed: u64) -> Values {
    let of = |(i, param): (usize, &Param)| {
        (param.name.clone(), noise(seed + i as u64, param.shape.iter().product(), 0.1))
    };
    decoder.params.iter().enumerate().map(of).collect()
}

fn check<B: Backend + Clone>(decoder: &Decoder, backend: &B, about: &str) {
    let built = |values: &Values| {
        Model::build(decoder, backend.clone(), &mut |param| Ok(values[&param.name].clone())).unwrap()
    };
    let (first, second) = (values(decoder, 1), values(decoder, 1000));
    let expected = computed(&built(&second));
    let old = built(&first);
    let before = computed(&old);
    assert!(before != expected, "{about}");
    let replaced = |old, threads| {
        let lent = |param: &Param| Ok(&second[&param.name][..]);
        let model = Model::from_values(decoder, backend.clone(), old, lent, threads).unwrap();
        assert!(computed(&model) == expected, "{about}, {threads} threads");
    };
    replaced(None, 1);
    replaced(Some(old.share()), 2);
    assert!(computed(&old) == before, "{about}");
    replaced(Some(old), 3);
}

#[test]
fn weights_are_replaced_on_every_backend() {
    let folder = tempfile::TempDir::new().unwrap();
    let folder = ModelFolder::open(&Tiny::new().write(folder.path())).unwrap();
    for compute in [ComputePrecision::F32, ComputePrecision::Bf16, ComputePrecision::Bf16x3] {
        check(folder.decoder(), &Cpu::new(compute), compute.name());
    }
    check(folder.decoder(), &Candle::cpu(), "candle");
    let missing =
        |param: &Param| Err(ModelError::MissingTensor { folder: PathBuf::new(), name: param.name.clone() });
    assert!(Model::from_values(folder.decoder(), Candle::cpu(), None, missing, 2).is_err());
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn weights_of_every_family_are_replaced() {
    let folders = folders();
    for path in folders {
        let folder = ModelFolder::open(&path).unwrap();
        for compute in [ComputePrecision::F32, ComputePrecision::Bf16, ComputePrecision::Bf16x3] {
            check(folder.decoder(), &Cpu::new(compute), &format!("{} {}", path.display(), compute.name()));
        }
    }
}
