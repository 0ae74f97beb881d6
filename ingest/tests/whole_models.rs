//! Promise: whatever is made of the gradient of a whole model is made of the same gradient, and a row has the same bits in any company.

mod common;
mod support;
#[path = "common/zoo.rs"]
mod zoo;

use std::path::{Path, PathBuf};

use common::autograd::{Sample, gradients, packed, project_modules, raw_features, samples, whole};
use common::reference::shared;
use common::tiny::noise;
use common::{assert_says, relative_error};
use gstore_ingest::checkpoint::{Moments, MomentsFile, Trained};
use gstore_ingest::family::{Decoder, NormId, Role};
use gstore_ingest::gradient::{
    AdamParams, CheckpointSource, Engine, EngineOptions, GradFeatures, GradForm, ModuleSelection, Projector,
    SelectionError, Want, adam_feature, normalised_feature, sign_feature, tensor_specs,
};
use gstore_ingest::model::cpu::{Compute, Cpu, Level};
use gstore_ingest::model::portable::Portable;
use gstore_ingest::model::{Backend, Keep, PackedSample};
use gstore_ingest::params::TensorSpec;
use gstore_ingest::projection::{
    FactoredProjector, FlatProjector, ModuleShape, ProjectionKind, ProjectionSpec, Way,
};
use tempfile::TempDir;

const TOLERANCE: f64 = 1e-5;
const FACTORED: [&str; 3] = ["two_sided", "fact_mask", "fact_sjlt"];

/// A model with all of its tensors tracked.
struct Whole {
    name: String,
    source: CheckpointSource,
    tensors: Vec<TensorSpec>,
    modules: Vec<ModuleShape>,
    vocab: usize,
}

impl Whole {
    fn new(path: &Path) -> Whole {
        let (source, tensors, modules) = whole(path);
        let vocab = Decoder::read(&path.join("config.json")).unwrap().vocab_size;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Whole { name, source, tensors, modules, vocab }
    }

    fn engine<B: Backend + Clone>(&self, backend: B, keep: Keep, features: GradFeatures) -> Engine {
        let options = EngineOptions { keep, ..EngineOptions::default() };
        Engine::load(&self.source, backend, options, Some(features)).unwrap()
    }

    fn raw<B: Backend + Clone>(&self, backend: B) -> Engine {
        self.engine(backend, Keep::All, raw_features(&self.tensors))
    }

    fn factored(&self, kind: &str) -> FactoredProjector {
        let spec = ProjectionSpec { seed: 3, ..ProjectionSpec::sized(kind.parse().unwrap(), 64) };
        FactoredProjector::new(&spec, &self.modules, None).unwrap()
    }

    fn factored_features(&self, kind: &str, way: Way, forms: &[GradForm]) -> GradFeatures {
        let projector =
            Projector::Factored { projector: self.factored(kind), ways: vec![way; self.modules.len()] };
        GradFeatures { forms: forms.to_vec(), projector, moments: None }
    }

    fn flat(&self, kind: ProjectionKind) -> FlatProjector {
        let spec = ProjectionSpec { kind, dim: 512, seed: 5, per_checkpoint: false };
        FlatProjector::new(&spec, &self.tensors, None).unwrap()
    }

    fn flat_features(&self, kind: ProjectionKind, forms: &[GradForm]) -> GradFeatures {
        GradFeatures { forms: forms.to_vec(), projector: Projector::Flat(self.flat(kind)), moments: None }
    }

    /// A sequence of noise, scored from token `first` on.
    fn noise(&self, seed: u64, len: usize, first: usize) -> Sample {
        let token = |v: &f32| ((v + 1.0) * 0.5 * self.vocab as f32) as u32 % self.vocab as u32;
        let ids = noise(seed, len, 1.0).iter().map(token).collect();
        Sample { ids, scored: (0..len).map(|i| i >= first).collect() }
    }
}

fn each_model(test: &str, check: impl Fn(&Whole, &[Sample])) {
    let Some(shared) = shared(test) else { return };
    for path in shared.zoo() {
        check(&Whole::new(&path), &samples(&path));
    }
}

fn levels(compute: Compute) -> impl Iterator<Item = Cpu> {
    Level::available().into_iter().map(move |level| Cpu::with_level(compute, level).unwrap())
}

/// The largest relative error of any vector, and of any stretch of `width` values.
fn errors(found: &[Vec<f32>], expected: &[Vec<f32>], width: usize) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let (mut whole, mut part): (f64, f64) = (0.0, 0.0);
    for (found, expected) in found.iter().zip(expected) {
        assert!(expected.iter().any(|v| *v != 0.0));
        whole = whole.max(relative_error(found, expected));
        for (found, expected) in found.chunks(width).zip(expected.chunks(width)) {
            part = part.max(relative_error(found, expected));
        }
    }
    (whole, part)
}

fn check_factored<B: Backend + Clone>(model: &Whole, backend: B, batch: &[PackedSample<'_>]) -> (f64, f64) {
    let raw = gradients(&model.raw(backend.clone()), batch);
    let mut worst: (f64, f64) = (0.0, 0.0);
    for kind in FACTORED {
        let projector = model.factored(kind);
        let expected: Vec<_> = raw.iter().map(|g| project_modules(&projector, &model.tensors, g)).collect();
        for way in [Way::Factors, Way::Formed] {
            let features = model.factored_features(kind, way, &[GradForm::Plain]);
            let found = gradients(&model.engine(backend.clone(), Keep::All, features), batch);
            let (error, module) = errors(&found, &expected, projector.module_dim());
            assert!(
                error < TOLERANCE && module < 1e-4,
                "{}, {kind}, {way:?}: {error:e}, {module:e}",
                model.name
            );
            worst = (worst.0.max(error), worst.1.max(module));
        }
    }
    worst
}

/// Makes the features of some forms.
type Make<'a> = &'a dyn Fn(&[GradForm]) -> GradFeatures;

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn factored_projections_are_those_of_the_gradient() {
    each_model("factored_projections_are_those_of_the_gradient", |model, samples| {
        let batch = packed(samples);
        let mut worst = check_factored(model, Portable, &batch);
        for backend in levels(Compute::F32) {
            let found = check_factored(model, backend, &batch);
            worst = (worst.0.max(found.0), worst.1.max(found.1));
        }
        println!("{}: largest error {:.1e} of a vector, {:.1e} of a module", model.name, worst.0, worst.1);
    });
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn flat_projections_are_those_of_the_gradient() {
    fn check<B: Backend + Clone>(model: &Whole, backend: B, batch: &[PackedSample<'_>]) {
        let raw = gradients(&model.raw(backend.clone()), batch);
        for kind in [ProjectionKind::Sjlt { s: 4 }, ProjectionKind::Rademacher, ProjectionKind::Mask] {
            let features = model.flat_features(kind, &[GradForm::Plain, GradForm::Sign]);
            let found = gradients(&model.engine(backend.clone(), Keep::All, features), batch);
            let projector = model.flat(kind);
            for (found, gradient) in found.iter().zip(&raw) {
                let mut signs = vec![0.0; gradient.len()];
                sign_feature(gradient, &mut signs);
                for (found, values) in found.chunks_exact(projector.dim()).zip([gradient, &signs]) {
                    let mut expected = vec![0.0; projector.dim()];
                    projector.project(values, &mut expected);
                    let error = relative_error(found, &expected);
                    assert!(error < TOLERANCE, "{}, {kind}: {error:e}", model.name);
                }
            }
        }
    }
    each_model("flat_projections_are_those_of_the_gradient", |model, samples| {
        check(model, Portable, &packed(samples));
        levels(Compute::F32).for_each(|backend| check(model, backend, &packed(samples)));
    });
}

/// A run whose optimizer state is among the fixtures, as a model of noise.
fn finetune(folder: &TempDir, name: &str) -> (Whole, Option<Vec<f32>>, Vec<f32>) {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/finetunes").join(name);
    let config = support::json(&run.join("config.json"));
    let path = zoo::write_model(&folder.path().join(name), &config, |param| param.name.clone());
    let trained = Trained::all(&Decoder::read(&run.join("config.json")).unwrap());
    let file = MomentsFile::open(&Moments::find(&run).unwrap(), trained, |_| true).unwrap();
    let model = Whole::new(&path);
    assert_eq!(file.specs(), model.tensors);
    let read: Vec<_> = (0..model.tensors.len()).map(|i| file.read(i).unwrap()).collect();
    let first = file.has_first().then(|| read.iter().flat_map(|m| m.exp_avg.clone().unwrap()).collect());
    (model, first, read.into_iter().flat_map(|m| m.exp_avg_sq).collect())
}

#[test]
fn forms_of_a_fine_tune_are_those_of_the_gradient() {
    let folder = TempDir::new().unwrap();
    let adam = AdamParams::default();
    for name in ["gpt2-adamw", "qwen2-adamw", "gpt_neox-adamw", "gpt2-adafactor"] {
        let (model, first, second) = finetune(&folder, name);
        let samples = [model.noise(1, 8, 2), model.noise(2, 5, 1), model.noise(3, 7, 7)];
        let batch = packed(&samples);
        let mut forms = vec![GradForm::Plain, GradForm::Normalised { eps: 1e-6 }, GradForm::Sign];
        if first.is_some() {
            forms.push(GradForm::Adam(adam));
        }
        let m = first.unwrap_or_default();
        for backend in levels(Compute::F32) {
            let raw = gradients(&model.raw(backend.clone()), &batch);
            let formed: Vec<Vec<Vec<f32>>> = raw
                .iter()
                .map(|g| {
                    let of = |form: &GradForm| {
                        let mut out = vec![0.0; g.len()];
                        match form {
                            GradForm::Plain => out.clone_from(g),
                            GradForm::Adam(params) => adam_feature(g, &m, &second, params, &mut out),
                            GradForm::Normalised { eps } => normalised_feature(g, &second, *eps, &mut out),
                            GradForm::Sign => sign_feature(g, &mut out),
                        }
                        out
                    };
                    forms.iter().map(of).collect()
                })
                .collect();
            let moments = || Some(Moments { exp_avg: m.clone(), exp_avg_sq: second.clone(), step: Some(3) });
            let sjlt = ProjectionKind::Sjlt { s: 4 };
            let flat = model.flat(sjlt);
            let features = GradFeatures { moments: moments(), ..model.flat_features(sjlt, &forms) };
            let found = gradients(&model.engine(backend.clone(), Keep::All, features), &batch);
            check_forms(&format!("{name}, flat"), &found, &formed, |values| {
                let mut out = vec![0.0; flat.dim()];
                flat.project(values, &mut out);
                out
            });
            for kind in FACTORED {
                let projector = model.factored(kind);
                for way in [Way::Factors, Way::Formed] {
                    let features =
                        GradFeatures { moments: moments(), ..model.factored_features(kind, way, &forms) };
                    let found = gradients(&model.engine(backend.clone(), Keep::All, features), &batch);
                    check_forms(&format!("{name}, {kind}, {way:?}"), &found, &formed, |values| {
                        project_modules(&projector, &model.tensors, values)
                    });
                }
            }
        }
    }
}

fn check_forms(
    what: &str,
    found: &[Vec<f32>],
    formed: &[Vec<Vec<f32>>],
    project: impl Fn(&[f32]) -> Vec<f32>,
) {
    for (found, formed) in found.iter().zip(formed) {
        let width = found.len() / formed.len();
        for (form, (found, values)) in found.chunks_exact(width).zip(formed).enumerate() {
            let error = relative_error(found, &project(values));
            assert!(error < TOLERANCE, "{what}, form {form}: {error:e}");
        }
    }
}

/// Everything that a run says of a sample, in bits.
#[derive(Debug, Clone, PartialEq, Default)]
struct Bits {
    loss: u32,
    embeddings: Vec<u32>,
    grads: Vec<u32>,
    sound: Vec<bool>,
}

fn bits(engine: &Engine, batch: &[PackedSample<'_>], want: Want) -> Vec<Bits> {
    let mut all = Vec::new();
    let of = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    engine
        .run(batch, want, &mut |_, o| {
            let embeddings = [of(o.embed_mean), of(o.embed_last), of(o.embed_weighted)].concat();
            all.push(Bits {
                loss: o.loss.to_bits(),
                embeddings,
                grads: of(o.grads),
                sound: o.sound.to_vec(),
            });
        })
        .unwrap();
    all
}

fn alone(engine: &Engine, batch: &[PackedSample<'_>], want: Want) -> Vec<Bits> {
    batch.iter().flat_map(|sample| bits(engine, &[*sample], want)).collect()
}

const GRAD: Want =
    Want { loss: true, embed_mean: false, embed_last: false, embed_weighted: false, grad: true };
const EMBED: Want =
    Want { loss: false, embed_mean: true, embed_last: true, embed_weighted: true, grad: false };
const EVERYTHING: Want =
    Want { loss: true, embed_mean: true, embed_last: true, embed_weighted: true, grad: true };

/// Asserts equality without printing whole vectors.
#[track_caller]
fn same(found: &[Bits], expected: &[Bits], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert_eq!(f32::from_bits(f.loss), f32::from_bits(e.loss), "{what}: loss of sample {i}");
        assert_eq!(f.sound, e.sound, "{what}: sample {i}");
        for (f, e, name) in [(&f.embeddings, &e.embeddings, "embeddings"), (&f.grads, &e.grads, "gradient")] {
            assert_eq!(f.len(), e.len(), "{what}: {name} of sample {i}");
            let differ = f.iter().zip(e).filter(|(f, e)| f != e).count();
            let first = f.iter().zip(e).position(|(f, e)| f != e);
            let values = first.map(|at| (at, f32::from_bits(f[at]), f32::from_bits(e[at])));
            assert_eq!(differ, 0, "{what}: {name} of sample {i} of {} values, first {values:?}", f.len());
        }
    }
}

/// The embeddings alone, and all but them.
fn parts(of: &[Bits]) -> (Vec<Bits>, Vec<Bits>) {
    let embeddings = of.iter().map(|b| Bits { embeddings: b.embeddings.clone(), ..Bits::default() });
    let rest = of.iter().map(|b| Bits { embeddings: Vec::new(), ..b.clone() });
    (embeddings.collect(), rest.collect())
}

fn check_bits(
    model: &Whole,
    what: &str,
    backend: &Cpu,
    batch: &[PackedSample<'_>],
    features: &dyn Fn() -> GradFeatures,
) {
    let what = |how: &str| format!("{}, {what}, {:?}: {how}", model.name, backend.level());
    let engine = model.engine(backend.clone(), Keep::All, features());
    let expected = alone(&engine, batch, GRAD);
    same(&bits(&engine, batch, GRAD), &expected, &what("packed"));
    let found: Vec<Bits> = batch.chunks(3).flat_map(|part| bits(&engine, part, GRAD)).collect();
    same(&found, &expected, &what("in batches of three"));
    let turned: Vec<_> = batch.iter().rev().copied().collect();
    let mut found = bits(&engine, &turned, GRAD);
    found.reverse();
    same(&found, &expected, &what("in another order"));

    let recomputing = model.engine(backend.clone(), Keep::Inputs, features());
    same(&bits(&recomputing, batch, GRAD), &expected, &what("layers run again"));

    let embeddings = parts(&alone(&engine, batch, EMBED)).0;
    for (found, how) in [
        (alone(&engine, batch, EVERYTHING), "with embeddings, alone"),
        (bits(&engine, batch, EVERYTHING), "with embeddings, packed"),
        (bits(&recomputing, batch, EVERYTHING), "with embeddings, layers run again"),
    ] {
        let (embedded, rest) = parts(&found);
        same(&rest, &expected, &what(how));
        same(&embedded, &embeddings, &what(how));
    }

    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let engine = &engine;
                scope.spawn(move || {
                    let mut own = batch.to_vec();
                    own.rotate_left(thread);
                    let mut found = bits(engine, &own, GRAD);
                    found.rotate_right(thread);
                    found
                })
            })
            .collect();
        for thread in threads {
            same(&thread.join().unwrap(), &expected, &what("on several threads"));
        }
    });
}

/// The zoo's sequences, and others that fill more than one chunk of the head together, or have nothing to score.
fn company(model: &Whole, mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.push(model.noise(1, 9, 9));
    samples.push(model.noise(2, 97, 1));
    samples.push(model.noise(3, 1, 0));
    samples.push(model.noise(4, 128, 3));
    samples.push(model.noise(5, 33, 20));
    samples
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_row_has_the_same_bits_in_any_company() {
    each_model("a_row_has_the_same_bits_in_any_company", |model, _| {
        let samples = company(model, samples(&model.source.model));
        let batch = packed(&samples);
        let sjlt = ProjectionKind::Sjlt { s: 4 };
        let raw = || raw_features(&model.tensors);
        let factored = |kind| model.factored_features(kind, Way::Factors, &[GradForm::Plain]);
        for compute in [Compute::F32, Compute::Bf16] {
            for backend in levels(compute) {
                check_bits(model, &format!("raw, {compute:?}"), &backend, &batch, &raw);
                let what = format!("two_sided, {compute:?}");
                check_bits(model, &what, &backend, &batch, &|| factored("two_sided"));
            }
        }
        let backend = Cpu::new(Compute::F32);
        for kind in ["fact_mask", "fact_sjlt"] {
            check_bits(model, kind, &backend, &batch, &|| factored(kind));
        }
        let forms = [GradForm::Plain, GradForm::Sign];
        check_bits(model, "sjlt", &backend, &batch, &|| model.flat_features(sjlt, &forms));
    });
}

/// The first form is the plain one, whatever else is asked for.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_form_has_the_same_bits_beside_others() {
    each_model("a_form_has_the_same_bits_beside_others", |model, samples| {
        let batch = packed(samples);
        for backend in levels(Compute::F32) {
            let run = |features| gradients(&model.engine(backend.clone(), Keep::All, features), &batch);
            let sjlt = ProjectionKind::Sjlt { s: 4 };
            let features: [Make<'_>; 4] = [
                &|forms| model.flat_features(sjlt, forms),
                &|forms| model.factored_features("two_sided", Way::Factors, forms),
                &|forms| model.factored_features("fact_sjlt", Way::Factors, forms),
                &|forms| model.factored_features("fact_mask", Way::Formed, forms),
            ];
            for features in features {
                let expected = run(features(&[GradForm::Plain]));
                let found = run(features(&[GradForm::Plain, GradForm::Sign]));
                for (found, expected) in found.iter().zip(&expected) {
                    let plain = &found[..expected.len()];
                    assert!(
                        plain.iter().zip(expected).all(|(f, e)| f.to_bits() == e.to_bits()),
                        "{}",
                        model.name
                    );
                }
            }
        }
    });
}

/// A sample without a scored token has the same features alone and with others, momentum included.
#[test]
fn a_row_without_a_label_has_the_same_bits_in_any_company() {
    let folder = TempDir::new().unwrap();
    for name in ["gpt2-adamw", "qwen2-adamw", "gpt_neox-adamw"] {
        let (model, first, second) = finetune(&folder, name);
        let samples =
            [model.noise(1, 6, 6), model.noise(2, 8, 1), model.noise(3, 7, 7), model.noise(4, 1, 0)];
        let batch = packed(&samples);
        let features = |features: GradFeatures| {
            let moments = Moments { exp_avg: first.clone().unwrap(), exp_avg_sq: second.clone(), step: None };
            GradFeatures { moments: Some(moments), ..features }
        };
        let forms = [GradForm::Adam(AdamParams::default()), GradForm::Plain];
        for backend in levels(Compute::F32) {
            let sjlt = ProjectionKind::Sjlt { s: 4 };
            check_bits(&model, "adam, sjlt", &backend, &batch, &|| {
                features(model.flat_features(sjlt, &forms))
            });
            check_bits(&model, "adam, fact_sjlt", &backend, &batch, &|| {
                features(model.factored_features("fact_sjlt", Way::Factors, &forms))
            });
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn backends_agree() {
    each_model("backends_agree", |model, samples| {
        let batch = packed(samples);
        let expected = gradients(&model.raw(Portable), &batch);
        let mut worst: f64 = 0.0;
        for backend in levels(Compute::F32) {
            let (error, _) = errors(&gradients(&model.raw(backend), &batch), &expected, usize::MAX);
            assert!(error < TOLERANCE, "{}: {error:e}", model.name);
            worst = worst.max(error);
        }
        let (mut rounded, mut projected): (f64, f64) = (0.0, 0.0);
        for backend in levels(Compute::Bf16) {
            let raw = gradients(&model.raw(backend.clone()), &batch);
            let (error, _) = errors(&raw, &expected, usize::MAX);
            assert!(error < 0.03, "{} in bf16: {error:e}", model.name);
            rounded = rounded.max(error);
            // Factors are projected by linear maps, whose factors are rounded, too.
            for kind in FACTORED {
                let features = model.factored_features(kind, Way::Factors, &[GradForm::Plain]);
                let found = gradients(&model.engine(backend.clone(), Keep::All, features), &batch);
                let projector = model.factored(kind);
                let of_raw: Vec<_> =
                    raw.iter().map(|g| project_modules(&projector, &model.tensors, g)).collect();
                projected = projected.max(errors(&found, &of_raw, usize::MAX).0);
            }
        }
        println!(
            "{}: cpu and portable {worst:.1e}; bf16 {rounded:.1e}, its projected factors {projected:.1e}",
            model.name
        );
        assert!(projected < 0.01, "{} in bf16, projected from factors: {projected:e}", model.name);
    });
}

/// Gradients of a selection are those parts of the whole gradient.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_selection_has_the_gradients_of_the_whole() {
    each_model("a_selection_has_the_gradients_of_the_whole", |model, samples| {
        let batch = packed(samples);
        let backend = Cpu::new(Compute::F32);
        let decoder = Decoder::read(&model.source.model.join("config.json")).unwrap();
        let whole = gradients(&model.raw(backend.clone()), &batch);
        let named = |wanted: &dyn Fn(&Role) -> bool| -> Vec<String> {
            decoder.params.iter().filter(|p| wanted(&p.role)).map(|p| p.module().to_owned()).collect()
        };
        let last = decoder.layers - 1;
        let norms =
            named(&|role| matches!(role, Role::NormWeight(NormId::Layer { layer, .. }) if *layer == last));
        let final_norm = named(&|role| *role == Role::NormWeight(NormId::Final));
        let tables = named(&|role| matches!(role, Role::Embedding | Role::Positions));
        let head = decoder.params.last().unwrap().module().to_owned();
        for (patterns, biases) in [
            (vec![], false),
            (vec![], true),
            (vec!["*mlp*".to_owned()], true),
            (vec![format!("*.{last}.mlp.*")], false),
            (norms, false),
            (final_norm, true),
            (tables, false),
            (vec![head], false),
        ] {
            let selection = ModuleSelection { patterns: patterns.clone(), biases };
            let tracked = match selection.resolve(&decoder) {
                Ok(tracked) => tracked,
                Err(error) => panic!("{}: {patterns:?}: {error}", model.name),
            };
            assert!(!tracked.is_empty() && tracked.is_sorted());
            let tensors = tensor_specs(&decoder, &tracked);
            let source = CheckpointSource { tracked: tracked.clone(), ..model.source.clone() };
            let engine = Engine::load(
                &source,
                backend.clone(),
                EngineOptions::default(),
                Some(raw_features(&tensors)),
            );
            for (found, whole) in gradients(&engine.unwrap(), &batch).iter().zip(&whole) {
                let mut expected = Vec::with_capacity(found.len());
                let mut start = 0;
                for (index, tensor) in model.tensors.iter().enumerate() {
                    if tracked.contains(&index) {
                        expected.extend_from_slice(&whole[start..start + tensor.numel()]);
                    }
                    start += tensor.numel();
                }
                assert!(*found == expected, "{}: {patterns:?}", model.name);
            }
        }
    });
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn selections_choose_by_module() {
    each_model("selections_choose_by_module", |model, _| {
        let decoder = Decoder::read(&model.source.model.join("config.json")).unwrap();
        let resolve = |patterns: &[&str], biases: bool| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            ModuleSelection { patterns, biases }.resolve(&decoder)
        };
        let names = |patterns: &[&str], biases: bool| -> Vec<String> {
            resolve(patterns, biases).unwrap().into_iter().map(|i| decoder.params[i].name.clone()).collect()
        };
        let layer = |name: &str| name.contains(".0.") || name.contains(".1.");
        let linear = names(&[], false);
        assert!(linear.iter().all(|name| layer(name) && name.ends_with("weight") && !name.contains("norm")));
        let with_biases = names(&[], true);
        let biased = decoder.params.iter().filter(|p| matches!(p.role, Role::Bias(_))).count();
        assert_eq!(with_biases.len(), linear.len() + biased, "{}", model.name);
        assert!(!with_biases.iter().any(|name| name.contains("ln_") || name.contains("layernorm.bias")));
        assert_eq!(names(&["*"], true).len(), decoder.params.len());
        assert_eq!(names(&["*.mlp.*", "*.mlp.*"], false), names(&["*.mlp.*"], false));

        let embedding = decoder.params.iter().find(|p| p.role == Role::Embedding).unwrap();
        match resolve(&["lm_head"], false) {
            Err(SelectionError::TiedHead { embedding: module }) => {
                assert!(decoder.tied);
                assert_eq!(module, embedding.module());
                assert_eq!(names(&[module.as_str()], false), [embedding.name.as_str()]);
            }
            Err(SelectionError::NoMatch { .. }) => {
                assert_eq!(names(&["embed_out"], false), ["embed_out.weight"])
            }
            found => assert_eq!(found.unwrap(), [decoder.params.len() - 1]),
        }
        let error = resolve(&["*.mlp.*", "*.Mlp.*"], false).unwrap_err();
        assert!(matches!(&error, SelectionError::NoMatch { pattern, .. } if pattern == "*.Mlp.*"));
        assert_says(&error.to_string(), &["*.Mlp.*", decoder.architecture, embedding.module()]);
        assert_says(&resolve(&["a[", "*"], false).unwrap_err().to_string(), &["--modules a[:"]);
    });
}

/// A glob of the head that is more than its name.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_tied_head_is_named() {
    let Some(shared) = shared("a_tied_head_is_named") else { return };
    let path: PathBuf = shared.path("models/zoo/gpt2");
    let decoder = Decoder::read(&path.join("config.json")).unwrap();
    for pattern in ["lm_head", "lm_*", "lm_head.weight"] {
        let error =
            ModuleSelection { patterns: vec![pattern.into()], biases: false }.resolve(&decoder).unwrap_err();
        assert_says(&error.to_string(), &["transformer.wte"]);
    }
}
