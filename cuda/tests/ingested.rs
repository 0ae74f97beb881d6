//! Promise: features of gradients are the same whether a device or the host forms and projects them, for
//! models and for adapters, in every form.

use std::path::Path;

use crate::backends::{Draw, assert_close, assert_same_bits, same_bits};
use crate::models;
use crate::tiny::{Tiny, TinyAdapter, VOCAB};
use gstore_cuda::{Cuda, Emulator, Runtime};
use gstore_ingest::gradient::{
    AdamParams, BiasCorrection, CheckpointSource, Engine, EngineOptions, EpsPlacement, GradFeatures,
    GradForm, GradientBackend, ModuleSelection, Projector, RequestedOutputs, module_shapes, tensor_specs,
};
use gstore_ingest::projection::{
    FactoredProjector, FlatProjector, ModuleShape, ProjectionKind, ProjectionRoute, ProjectionSpec,
    TensorSpec, modules_of,
};
use gstore_model::cpu::Cpu;
use gstore_model::params::total_len;
use gstore_model::weights::{Adapter, ModelFolder, Moments};
use gstore_model::{ComputePrecision, PackedSample};

/// Of plain features, relative to the largest: gradients of this backend against those of the CPU backend.
const OF_THE_CPU: f32 = 1e-4;

/// Lengths of samples, and the first scored token of each: the second has none.
const SAMPLES: [(usize, usize); 3] = [(9, 1), (3, 3), (14, 5)];

const ADAM: AdamParams = AdamParams {
    b1: 0.9,
    b2: 0.999,
    eps: 1e-8,
    eps_placement: EpsPlacement::Inside,
    bias_correction: BiasCorrection::None,
};

const FORMS: [GradForm; 2] = [GradForm::Plain, GradForm::Adam(ADAM)];

/// Tokens, and which are scored.
pub type Sample = (Vec<u32>, Vec<bool>);

/// The vectors of a sample, and whether they are sound.
pub type Features = (Vec<f32>, Vec<bool>);

pub fn features(engine: &Engine, samples: &[Sample]) -> Vec<Features> {
    let batch: Vec<PackedSample<'_>> =
        samples.iter().map(|(ids, scored)| PackedSample::new(ids, scored)).collect();
    let mut found = Vec::new();
    let want = RequestedOutputs { grad: true, ..RequestedOutputs::default() };
    engine.run(&batch, want, &mut |_, of| found.push((of.grads.to_vec(), of.sound.to_vec()))).unwrap();
    assert_eq!(found.len(), batch.len());
    found
}

/// What is differentiated.
struct Checkpoint {
    source: CheckpointSource,
    tensors: Vec<TensorSpec>,
    modules: Vec<ModuleShape>,
    vocab: usize,
}

impl Checkpoint {
    /// All weights of a model.
    fn whole(model: &Path) -> Checkpoint {
        let folder = ModelFolder::open(model).unwrap();
        let decoder = folder.decoder();
        let tracked: Vec<usize> = (0..decoder.params.len()).collect();
        let tensors = tensor_specs(decoder, &tracked);
        let modules = module_shapes(decoder, &tracked, &tensors);
        let source = CheckpointSource { model: model.to_owned(), adapter: None, tracked };
        Checkpoint { source, tensors, modules, vocab: decoder.vocab_size }
    }

    fn adapted(model: &Path, adapter: &Path) -> Checkpoint {
        let folder = ModelFolder::open(model).unwrap();
        let tensors = Adapter::open(adapter).unwrap().params(&folder).unwrap();
        let source = CheckpointSource {
            model: model.to_owned(),
            adapter: Some(adapter.to_owned()),
            tracked: Vec::new(),
        };
        let (modules, vocab) = (modules_of(&tensors), folder.decoder().vocab_size);
        Checkpoint { source, tensors, modules, vocab }
    }

    fn flat(&self, kind: ProjectionKind, dim: u32) -> Projector {
        let spec = ProjectionSpec { seed: 3, ..ProjectionSpec::sized(kind, dim) };
        Projector::Flat(FlatProjector::new(&spec, &self.tensors, None).unwrap())
    }

    fn factored(&self, kind: &str, way: ProjectionRoute) -> Projector {
        let spec = ProjectionSpec { seed: 5, ..ProjectionSpec::sized(kind.parse().unwrap(), 64) };
        let projector = FactoredProjector::new(&spec, &self.modules, None).unwrap();
        Projector::Factored { projector, routes: vec![way; self.modules.len()] }
    }

    fn engine<B: GradientBackend>(&self, backend: B, forms: &[GradForm], projector: Projector) -> Engine {
        let mut draw = Draw::new(17);
        let len = total_len(&self.tensors);
        let exp_avg = draw.values(len).iter().map(|value| value * 1e-3).collect();
        let exp_avg_sq = draw.values(len).iter().map(|value| (value * 1e-2).powi(2)).collect();
        let moments = Some(Moments { exp_avg, exp_avg_sq, step: None });
        let features = GradFeatures { forms: forms.to_vec(), projector, moments };
        Engine::load(&self.source, backend, EngineOptions::default(), Some(features)).unwrap()
    }

    fn samples(&self) -> Vec<Sample> {
        let mut draw = Draw::new(23);
        let mut sample = |(len, first): (usize, usize)| -> Sample {
            let ids = (0..len).map(|_| (draw.size(self.vocab) - 1) as u32).collect();
            (ids, (0..len).map(|at| at >= first).collect())
        };
        SAMPLES.into_iter().map(&mut sample).collect()
    }

    fn features<B: GradientBackend>(
        &self,
        backend: B,
        forms: &[GradForm],
        projector: Projector,
    ) -> Vec<Features> {
        features(&self.engine(backend, forms, projector), &self.samples())
    }

    /// Compares the features of a projection with those that the host computes from the same gradients, and
    /// the plain ones, which come first, with those of the CPU backend.
    fn check<R: Runtime>(&self, on: &Cuda<R>, forms: &[GradForm], projector: &dyn Fn() -> Projector) {
        let dim = projector().dim();
        let what = format!("{:?}, {forms:?} to {dim}", self.source);
        let found = self.features(on.clone(), forms, projector());
        let expected = self.features(on.with_table_budget(0), forms, projector());
        let of_cpu = self.features(Cpu::new(ComputePrecision::F32), &forms[..1], projector());
        for (((found, sound), (expected, also)), (plain, _)) in found.iter().zip(&expected).zip(&of_cpu) {
            assert_same_bits(found, expected, &what);
            assert_eq!(sound, also, "{what}");
            assert_close(&found[..dim], plain, OF_THE_CPU, &what);
        }
        assert!(
            found[0].0.chunks_exact(dim).all(|vector| vector.iter().any(|value| *value != 0.0)),
            "{what}"
        );
    }

    /// Every projection of a device, a flat one of every form.
    fn check_projections<R: Runtime>(&self, on: &Cuda<R>) {
        let outside = AdamParams {
            eps_placement: EpsPlacement::Outside,
            bias_correction: BiasCorrection::Step(3),
            ..ADAM
        };
        let others = [GradForm::Adam(outside), GradForm::Sign, GradForm::Normalised { eps: 1e-8 }];
        self.check(on, &[&FORMS[..], &others].concat(), &|| self.flat(ProjectionKind::Sjlt { s: 4 }, 128));
        for kind in ["fact_sjlt", "two_sided", "fact_mask"] {
            for way in [ProjectionRoute::Factors, ProjectionRoute::Formed] {
                self.check(on, &FORMS, &|| self.factored(kind, way));
            }
        }
        // From factors only: no module needs its sides on the device.
        self.check(on, &FORMS[..1], &|| self.factored("fact_sjlt", ProjectionRoute::Factors));
    }
}

/// Features of models that are written here.
pub fn small_models<R: Runtime>(on: &Cuda<R>) {
    let folder = tempfile::tempdir().unwrap();
    let model = Tiny::new().with_biases().write(&folder.path().join("model"));
    Checkpoint::whole(&model).check_projections(on);
    let adapter = TinyAdapter::new(&["q_proj", "down_proj"], 3).write(&folder.path().join("adapter"));
    Checkpoint::adapted(&model, &adapter).check_projections(on);
}

/// Features of zoo models with fused modules; how many of them exist.
pub fn fused_models<R: Runtime>(on: &Cuda<R>) -> usize {
    let mut fused = models::folders();
    fused.retain(|path| path.ends_with("gpt_neox") || path.ends_with("phi3"));
    for path in &fused {
        let checkpoint = Checkpoint::whole(path);
        checkpoint.check(on, &FORMS, &|| checkpoint.flat(ProjectionKind::Sjlt { s: 1 }, 128));
        checkpoint.check(on, &FORMS, &|| checkpoint.factored("fact_sjlt", ProjectionRoute::Formed));
    }
    fused.len()
}

/// The distance of two vectors, relative to the length of the second.
pub fn apart(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let length = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    };
    let difference = length(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    // A sample without a scored token has no gradient.
    let apart = difference / length(&mut expected.iter().copied()).max(f64::MIN_POSITIVE);
    // The greatest of numbers is not NaN.
    if apart.is_nan() { f64::INFINITY } else { apart }
}

/// The largest distance of vectors of samples.
fn most_apart(found: &[Features], expected: &[Features]) -> f64 {
    let of_sample = |((found, _), (expected, _)): (&Features, &Features)| apart(found, expected);
    found.iter().zip(expected).map(of_sample).fold(0.0, f64::max)
}

/// How far features of a model are from those of the CPU backend.
#[derive(Debug)]
pub struct Distances {
    /// In f32 and in bf16, relative to the vectors' lengths.
    pub single: f64,
    pub half: f64,
    /// Whether the device's projection has the bits of the host's from the same gradients.
    pub same_bits: bool,
}

/// Plain features of all weights of a model, by a flat projection and by module projections from factors and
/// from gradients; for bits also Adam's.
pub fn distances<R: Runtime>(on: &Cuda<R>, model: &Path) -> Distances {
    let checkpoint = Checkpoint::whole(model);
    let projectors: [&dyn Fn() -> Projector; 4] = [
        &|| checkpoint.flat(ProjectionKind::Sjlt { s: 4 }, 512),
        &|| checkpoint.factored("fact_sjlt", ProjectionRoute::Factors),
        &|| checkpoint.factored("fact_sjlt", ProjectionRoute::Formed),
        &|| checkpoint.factored("two_sided", ProjectionRoute::Factors),
    ];
    let mut most = Distances { single: 0.0, half: 0.0, same_bits: true };
    for projector in projectors {
        let plain = &FORMS[..1];
        let expected = checkpoint.features(Cpu::new(ComputePrecision::F32), plain, projector());
        let single = checkpoint.features(on.with_precision(ComputePrecision::F32), plain, projector());
        let half = checkpoint.features(on.with_precision(ComputePrecision::Bf16), plain, projector());
        most.single = most.single.max(most_apart(&single, &expected));
        most.half = most.half.max(most_apart(&half, &expected));
        let [on_device, on_host] = [on.clone(), on.with_table_budget(0)]
            .map(|on| checkpoint.features(on.with_precision(ComputePrecision::F32), &FORMS, projector()));
        most.same_bits &= on_device.iter().zip(&on_host).all(|((found, sound), (expected, also))| {
            let same = |(a, b): (&f32, &f32)| same_bits(*a, *b);
            sound == also && found.len() == expected.len() && found.iter().zip(expected).all(same)
        });
    }
    most
}

/// An engine for plain gradients of the layers' maps, each projected to that many coordinates by `two_sided`.
pub fn engine_of_layers<B: GradientBackend>(model: &Path, backend: B, dim: u32) -> Engine {
    let folder = ModelFolder::open(model).unwrap();
    let tracked = ModuleSelection::default().resolve(folder.decoder()).unwrap();
    let tensors = tensor_specs(folder.decoder(), &tracked);
    let modules = module_shapes(folder.decoder(), &tracked, &tensors);
    let spec = ProjectionSpec::sized("two_sided".parse().unwrap(), dim);
    let projector = FactoredProjector::new(&spec, &modules, None).unwrap();
    let projector = Projector::Factored { projector, routes: vec![ProjectionRoute::Factors; modules.len()] };
    let features = GradFeatures { forms: vec![GradForm::Plain], projector, moments: None };
    let source = CheckpointSource { model: model.to_owned(), adapter: None, tracked };
    Engine::load(&source, backend, EngineOptions::default(), Some(features)).unwrap()
}

/// A flat projection of all weights.
pub fn of_a_small_model<R: Runtime>(on: &Cuda<R>) {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::whole(&Tiny::new().write(&folder.path().join("model")));
    assert_eq!(checkpoint.vocab, VOCAB);
    let projector = checkpoint.flat(ProjectionKind::Sjlt { s: 4 }, 64);
    checkpoint.features(on.clone(), &[GradForm::Adam(ADAM)], projector);
}

#[test]
fn a_batch_that_does_not_fit_a_device_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::whole(&Tiny::new().write(&folder.path().join("model")));
    let samples = checkpoint.samples();
    let on = |memory: usize| {
        Cuda::new(Emulator::with_memory(memory), ComputePrecision::F32).with_table_budget(usize::MAX)
    };
    let engine = |on: &Cuda<Emulator>| {
        let projector = checkpoint.flat(ProjectionKind::Sjlt { s: 4 }, 64);
        checkpoint.engine(on.clone(), &FORMS[..1], projector)
    };
    let (at_once, one_by_one) = (on(usize::MAX), on(usize::MAX));
    let expected = features(&engine(&at_once), &samples);
    let alone = engine(&one_by_one);
    samples.iter().for_each(|sample| drop(features(&alone, std::slice::from_ref(sample))));
    let [most, least] = [&at_once, &one_by_one].map(|on| on.runtime().most_held());
    assert!(least < most, "{least} and {most} bytes");

    let little = engine(&on((least + most) / 2));
    let found = features(&little, &samples);
    let tokens: usize = samples.iter().map(|(ids, _)| ids.len()).sum();
    assert!(little.backoff().tokens() < tokens, "{:?}", little.backoff());
    assert_eq!(alone.backoff().note(None), None);
    for ((found, _), (expected, _)) in found.iter().zip(&expected) {
        assert_close(found, expected, OF_THE_CPU, "in parts");
    }
}

#[test]
fn layers_above_an_embedding_run_only_for_a_loss() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::whole(&Tiny::new().write(&folder.path().join("model")));
    let samples = checkpoint.samples();
    let batch: Vec<PackedSample<'_>> =
        samples.iter().map(|(ids, scored)| PackedSample::new(ids, scored)).collect();
    // Kernels of a pass, and the embeddings' bits.
    let of = |batch: &[PackedSample<'_>], embed_layer: Option<usize>, loss: bool| -> (usize, Vec<u32>) {
        let on = Cuda::new(Emulator::default(), ComputePrecision::F32);
        let options = EngineOptions { embed_layer, ..EngineOptions::default() };
        let engine = Engine::load(&checkpoint.source, on.clone(), options, None).unwrap();
        let (loaded, mut found) = (on.runtime().launches(), Vec::new());
        let want = RequestedOutputs { embed_mean: true, loss, ..RequestedOutputs::default() };
        engine
            .run(batch, want, &mut |_, of| found.extend(of.embed_mean.iter().map(|value| value.to_bits())))
            .unwrap();
        (on.runtime().launches() - loaded, found)
    };
    let mut before = 0;
    for layer in [Some(0), Some(1), Some(2), None] {
        let (launches, found) = of(&batch, layer, false);
        assert!(before < launches, "{layer:?}: {launches} kernels after {before}");
        before = launches;
        assert!(found == of(&batch, layer, true).1, "{layer:?}");
        // The second sample has no scored token.
        let (unscored, _) = of(&batch[1..2], layer, true);
        assert_eq!(unscored, of(&batch[1..2], layer, false).0, "{layer:?}");
    }
}

#[test]
fn a_checkpoint_on_two_devices_has_the_bits_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let model = Tiny::new().with_biases().write(&folder.path().join("model"));
    let adapter = TinyAdapter::new(&["q_proj", "down_proj"], 3).write(&folder.path().join("adapter"));
    for checkpoint in [Checkpoint::whole(&model), Checkpoint::adapted(&model, &adapter)] {
        let on = || Cuda::new(Emulator::default(), ComputePrecision::F32);
        let first = checkpoint.engine(on(), &FORMS, checkpoint.flat(ProjectionKind::Sjlt { s: 4 }, 64));
        let second = first.beside(on()).unwrap();
        assert_eq!(first.checkpoint_id(), second.checkpoint_id());
        let samples = &checkpoint.samples();
        let expected = features(&first, samples);
        let both = std::thread::scope(|scope| {
            let running = [&first, &second].map(|engine| scope.spawn(move || features(engine, samples)));
            running.map(|thread| thread.join().unwrap())
        });
        for found in &both {
            for ((found, sound), (expected, also)) in found.iter().zip(&expected) {
                assert_same_bits(found, expected, "beside another device");
                assert_eq!(sound, also);
            }
        }
    }
}

/// What docs/cuda.md says of `--compute i8`: the distance of two vectors, relative to the second's length.
const OF_BYTES: f64 = 0.04;

#[test]
fn weights_in_bytes_move_features_by_little() {
    let folder = tempfile::tempdir().unwrap();
    let model = Tiny::new().with_biases().write(&folder.path().join("model"));
    let adapter = TinyAdapter::new(&["q_proj", "down_proj"], 3).write(&folder.path().join("adapter"));
    let adapted = Checkpoint::adapted(&model, &adapter);
    for (name, checkpoint) in [("an adapter", adapted), ("all weights", Checkpoint::whole(&model))] {
        let of = |compute: ComputePrecision| {
            let projector = checkpoint.flat(ProjectionKind::Sjlt { s: 4 }, 64);
            checkpoint.features(Cuda::new(Emulator::default(), compute), &FORMS[..1], projector)
        };
        let [exact, half, bytes] =
            [ComputePrecision::F32, ComputePrecision::Bf16, ComputePrecision::I8].map(of);
        let [of_half, of_bytes] = [&half, &bytes].map(|found| most_apart(found, &exact));
        println!("gradients of {name}: bf16 {of_half:.4}, i8 {of_bytes:.4} of their length");
        assert!(bytes != half, "{name}: no weight was a byte");
        assert!(of_bytes < OF_BYTES, "{name}: {of_bytes}");
    }
}
