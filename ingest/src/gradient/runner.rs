//! One batch through a model: losses, embeddings and the features of gradients.

use std::ops::Range;
use std::sync::Arc;

use super::device::{BatchVectors, DeviceFeatures, GradientBackend, reordered_gradients};
use super::error::EngineError;
use super::features::{Accumulator, GradFeatures};
use super::kurtosis::KurtosisCheck;
use super::options::{EngineOptions, LossForm, RequestedOutputs, SampleOutput};
use super::projector::Projector;
use super::weights::WeightGradients;
use crate::projection::FlatProjector;
use gstore_core::Cancel;
use gstore_model::gradients::{LoraFactors, LoraSink, TensorSlice};
use gstore_model::params::{TensorSpec, tensor_ranges, total_len};
use gstore_model::{BackendError, Forward, ForwardOptions, LastRows, Layout, Model, Objective, PackedSample};

/// An engine without the type of its backend.
pub(super) trait Runner: Send + Sync {
    /// Runs a batch, unless `cancel` is raised before its end; `kurtosis_check` looks at its gradients.
    fn run(
        &self,
        batch: &[PackedSample<'_>],
        want: RequestedOutputs,
        kurtosis_check: Option<&KurtosisCheck>,
        cancel: &Cancel,
        out: &mut dyn FnMut(usize, SampleOutput<'_>),
    ) -> Result<(), EngineError>;
}

pub(super) enum GradientSource<B: GradientBackend> {
    /// LoRA factors: small, formed whole, in one vector.
    Adapter {
        factors: LoraFactors<B>,
        /// Where each tensor is in it.
        places: Vec<TensorSlice>,
    },
    Weights(WeightGradients<B>),
}

impl<B: GradientBackend> GradientSource<B> {
    pub fn of_adapter(factors: LoraFactors<B>, tensors: &[TensorSpec]) -> GradientSource<B> {
        let places = factors.places(tensors);
        GradientSource::Adapter { factors, places }
    }

    /// The features on the device that has the gradients; none if the host computes them.
    pub fn on_device(
        &self,
        backend: &B,
        features: &GradFeatures,
        tensors: &[TensorSpec],
    ) -> Result<Option<B::Features>, BackendError> {
        match (self, &features.projector) {
            // A flat projection sums over the bounds of an adapter's tensors: they are one part, whose rows
            // stay where they are.
            (GradientSource::Adapter { factors, .. }, Projector::Flat(_)) if !factors.orders.is_empty() => {
                Ok(None)
            }
            (GradientSource::Adapter { .. }, Projector::Flat(flat)) => {
                B::Features::prepare(backend, features, &[0..flat.inputs()])
            }
            _ => B::Features::prepare(backend, features, &tensor_ranges(tensors).collect::<Vec<_>>()),
        }
    }
}

pub(super) struct BatchRunner<B: GradientBackend> {
    pub model: Model<B>,
    /// The base model, where the loss is the divergence from it.
    pub reference: Option<Model<B>>,
    pub options: EngineOptions,
    pub gradients: GradientSource<B>,
    pub features: Option<Arc<GradFeatures>>,
    /// The same on the backend's device, if that computes them.
    pub device: Option<B::Features>,
    pub tensors: Vec<TensorSpec>,
}

/// The vectors of a batch: one after the other for each sample, empty where not wanted.
#[derive(Default)]
struct BatchResults {
    losses: Vec<f32>,
    entropies: Vec<f32>,
    means: Vec<f32>,
    lasts: Vec<f32>,
    weighted: Vec<f32>,
    grads: Vec<f32>,
    residuals: Vec<f32>,
    sound: Vec<bool>,
}

impl<B: GradientBackend> Runner for BatchRunner<B> {
    fn run(
        &self,
        batch: &[PackedSample<'_>],
        want: RequestedOutputs,
        kurtosis_check: Option<&KurtosisCheck>,
        cancel: &Cancel,
        out: &mut dyn FnMut(usize, SampleOutput<'_>),
    ) -> Result<(), EngineError> {
        let layout = Layout::new(batch, wants_embeddings(want), self.options.reduction);
        let scored_spans = layout.scored_spans.clone();
        let mut results = BatchResults::default();
        self.compute(layout, want, kurtosis_check, cancel, &mut results)?;
        // Projections end early then.
        cancel.check()?;
        let (mut token_losses, mut token_entropies) = (Vec::new(), Vec::new());
        let hidden = self.model.decoder().hidden_size;
        let forms = self.features.as_ref().map_or(0, |features| features.forms.len());
        let dim = self.features.as_ref().map_or(0, |features| forms * features.projector.dim());
        let residual = self.features.as_ref().map_or(0, |features| 2 * features.projector.residual_modules());
        for (index, span) in scored_spans.iter().enumerate() {
            let divisor = self.divisor(batch[index].scored_tokens());
            let of_sample = |values: &[f32], parts: &mut Vec<f32>| {
                reduce_values(values.get(span.clone()).unwrap_or_default(), divisor, parts)
            };
            let loss = of_sample(&results.losses, &mut token_losses);
            let entropy = of_sample(&results.entropies, &mut token_entropies);
            let result = SampleOutput {
                loss,
                scored: span.len() as u32,
                token_losses: &token_losses,
                entropy,
                token_entropies: &token_entropies,
                embed_mean: row(&results.means, index, hidden),
                embed_last: row(&results.lasts, index, hidden),
                embed_weighted: row(&results.weighted, index, hidden),
                grads: row(&results.grads, index, dim),
                residual: row(&results.residuals, index, residual),
                sound: row(&results.sound, index, forms),
            };
            out(index, result);
        }
        Ok(())
    }
}

impl<B: GradientBackend> BatchRunner<B> {
    /// What a sample's sum of losses is divided by, in full precision.
    fn divisor(&self, tokens: usize) -> f64 {
        match self.options.reduction {
            gstore_model::Reduction::Mean => tokens.max(1) as f64,
            gstore_model::Reduction::Sum => 1.0,
        }
    }

    fn compute(
        &self,
        layout: Layout,
        want: RequestedOutputs,
        kurtosis_check: Option<&KurtosisCheck>,
        cancel: &Cancel,
        results: &mut BatchResults,
    ) -> Result<(), BackendError> {
        let samples = layout.spans.len();
        let embeds = wants_embeddings(want);
        let scores = !layout.scored_rows.is_empty();
        let reads_scores = scores && (want.loss || want.entropy || want.grad);
        let mut gradients = GradientPass { runner: self, samples, want, kurtosis_check, cancel, results };
        if layout.rows() == 0 || !(embeds || reads_scores) {
            return gradients.without_scores();
        }
        if let (Some(layer), false) = (self.options.embed_layer, reads_scores) {
            let x = self.model.residual_stream(&layout, layer)?;
            self.embed(&x, &layout.spans, want, gradients.results)?;
            return gradients.without_scores();
        }
        let keep_from = if scores { gradients.lowest()? } else { None };
        let layers = self.model.decoder().layers;
        let all = embeds && self.options.embed_layer.is_none_or(|layer| layer >= layers);
        let pass = ForwardOptions {
            last_rows: if all { LastRows::All } else { LastRows::Scored },
            keep_from,
            keep: self.options.keep,
            tap: self.options.embed_layer.filter(|_| embeds),
        };
        let reference = match &self.reference {
            Some(reference) if scores && (want.loss || want.grad) => {
                let pass = ForwardOptions { last_rows: LastRows::Scored, keep_from: None, tap: None, ..pass };
                Some(reference.forward(layout.clone(), pass)?.hidden)
            }
            _ => None,
        };
        let objective = match (self.options.loss, &reference) {
            (LossForm::KlToBase, Some(reference)) => Objective::Kl { reference },
            (LossForm::CrossEntropy { smoothing }, _) => Objective::CrossEntropy { smoothing },
            (LossForm::Margin, _) => Objective::Margin,
            (LossForm::KlToBase, None) => Objective::CrossEntropy { smoothing: 0.0 },
        };
        let forward = self.model.forward(layout, pass)?;
        if embeds {
            let x = forward.tapped.as_ref().unwrap_or(&forward.hidden);
            self.embed(x, &forward.layout.spans, want, gradients.results)?;
        }
        if !scores {
            return gradients.without_scores();
        }
        if want.grad {
            return gradients.backward(forward, objective);
        }
        if want.entropy {
            let (losses, entropies) = self.model.losses_and_entropies(&forward, objective)?;
            results.entropies = entropies;
            if want.loss {
                results.losses = losses;
            }
        } else if want.loss {
            results.losses = self.model.losses(&forward, objective)?;
        }
        Ok(())
    }

    /// Pools the rows of each sample.
    fn embed(
        &self,
        x: &B::Tensor,
        spans: &[Range<usize>],
        want: RequestedOutputs,
        results: &mut BatchResults,
    ) -> Result<(), BackendError> {
        let backend = self.model.backend();
        let pool = |weight: &dyn Fn(&Range<usize>, usize) -> f32| {
            let weights: Vec<f32> =
                spans.iter().flat_map(|span| (0..span.len()).map(|i| weight(span, i))).collect();
            backend.span_sums(x, &weights, spans)
        };
        if want.embed_mean {
            results.means = pool(&|span, _| 1.0 / span.len() as f32)?;
        }
        if want.embed_weighted {
            results.weighted = pool(&|span, i| {
                let n = span.len() as f64;
                ((i + 1) as f64 / (n * (n + 1.0) / 2.0)) as f32
            })?;
        }
        if want.embed_last {
            let rows: Vec<u32> = spans.iter().map(|span| span.end.saturating_sub(1) as u32).collect();
            results.lasts = backend.to_host(&backend.gather(x, &rows)?)?;
        }
        if self.options.embed_unit {
            let hidden = self.model.decoder().hidden_size;
            for vectors in [&mut results.means, &mut results.lasts, &mut results.weighted] {
                vectors.chunks_exact_mut(hidden).for_each(normalise);
            }
        }
        Ok(())
    }
}

/// The sum of a sample's values over a divisor, and the part of each in it.
fn reduce_values(values: &[f32], divisor: f64, parts: &mut Vec<f32>) -> f32 {
    // Begun at 0: a sum of nothing is -0.
    let sum = values.iter().fold(0.0, |sum, value| sum + f64::from(*value));
    parts.clear();
    parts.extend(values.iter().map(|value| (f64::from(*value) / divisor) as f32 + 0.0));
    (sum / divisor) as f32
}

/// Divides a vector by its L2 norm; zeros stay zeros.
fn normalise(vector: &mut [f32]) {
    let norm = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
    }
}

struct GradientPass<'a, B: GradientBackend> {
    runner: &'a BatchRunner<B>,
    samples: usize,
    want: RequestedOutputs,
    kurtosis_check: Option<&'a KurtosisCheck>,
    cancel: &'a Cancel,
    results: &'a mut BatchResults,
}

impl<'a, B: GradientBackend> GradientPass<'a, B> {
    /// The lowest layer that must be kept.
    fn lowest(&self) -> Result<Option<usize>, BackendError> {
        if !self.want.grad {
            return Ok(None);
        }
        let model = &self.runner.model;
        Ok(match &self.runner.gradients {
            GradientSource::Adapter { factors, .. } => {
                model.lowest_wanted(&LoraSink { factors, out: None, entropies: None })
            }
            GradientSource::Weights(weights) => {
                self.runner.features.as_ref().and_then(|features| weights.lowest_wanted(model, features))
            }
        })
    }

    /// Features of gradients of zero.
    fn without_scores(&mut self) -> Result<(), BackendError> {
        let (true, Some(features)) = (self.want.grad, &self.runner.features) else { return Ok(()) };
        match &self.runner.gradients {
            GradientSource::Adapter { factors, places } => {
                let backend = self.runner.model.backend();
                let mut rows = backend.rows(self.samples, total_len(&self.runner.tensors), None)?;
                self.project_adapter(features, factors, places, &mut rows)
            }
            GradientSource::Weights(weights) => {
                let mut sums = self.accumulator(features);
                weights.zeros(self.samples, &mut sums);
                self.finish(features, &BatchVectors::Host(sums))
            }
        }
    }

    fn backward(
        &mut self,
        forward: Forward<B>,
        objective: Objective<'_, B::Tensor>,
    ) -> Result<(), BackendError> {
        let Some(features) = &self.runner.features else { return Ok(()) };
        let model = &self.runner.model;
        match &self.runner.gradients {
            GradientSource::Adapter { factors, places } => {
                let mut rows = model.backend().rows(self.samples, total_len(&self.runner.tensors), None)?;
                let entropies = self.want.entropy.then_some(&mut self.results.entropies);
                let mut sink = LoraSink { factors, out: Some(&mut rows), entropies };
                self.results.losses = model.backward(forward, objective, &mut sink)?;
                self.project_adapter(features, factors, places, &mut rows)
            }
            GradientSource::Weights(weights) => {
                let mut sums = self.sums(features)?;
                let entropies = self.want.entropy.then_some(&mut self.results.entropies);
                let into = (&mut sums, entropies);
                self.results.losses =
                    weights.backward(model, forward, objective, features, self.kurtosis_check, into)?;
                self.finish(features, &sums)
            }
        }
    }

    fn project_adapter(
        &mut self,
        features: &GradFeatures,
        factors: &LoraFactors<B>,
        places: &[TensorSlice],
        rows: &mut B::Rows,
    ) -> Result<(), BackendError> {
        let (backend, width) = (self.runner.model.backend(), total_len(&self.runner.tensors));
        let joined = [TensorSlice { tensor: 0, offset: 0, len: width, order: None }];
        let places = match (&features.projector, self.device()) {
            (Projector::Flat(flat), None) => {
                self.project_flat(
                    features,
                    flat,
                    reordered_gradients(backend, rows, width, &factors.orders)?,
                );
                return Ok(());
            }
            (Projector::Flat(_), Some(_)) => &joined[..],
            (Projector::Factored { .. }, _) => places,
        };
        let mut sums = self.sums(features)?;
        sums.add_formed(backend, rows, width, places)?;
        self.finish(features, &sums)
    }

    /// Features of gradients that lie whole in memory.
    fn project_flat(&mut self, features: &GradFeatures, flat: &FlatProjector, grads: &[f32]) {
        let width = flat.inputs();
        let [m, v] = features.moments_of(0..width);
        let mut formed = vec![0.0; width];
        for grad in grads.chunks_exact(width.max(1)) {
            if let Some(kurtosis_check) = self.kurtosis_check {
                let parts = tensor_ranges(&self.runner.tensors).enumerate();
                parts.for_each(|(tensor, part)| kurtosis_check.formed(tensor, &grad[part]));
            }
            for form in &features.forms {
                form.apply(grad, m, v, &mut formed);
                let start = self.results.grads.len();
                self.results.grads.resize(start + flat.dim(), 0.0);
                flat.project(&formed, &mut self.results.grads[start..], self.cancel);
                self.results.sound.push(form.is_sound(grad));
            }
        }
    }

    /// The device's features. Who looks at gradients does so on the host.
    fn device(&self) -> Option<&'a B::Features> {
        let device = self.runner.device.as_ref();
        device.filter(|_| self.kurtosis_check.is_none())
    }

    fn sums<'f>(&self, features: &'f GradFeatures) -> Result<BatchVectors<'f, B>, BackendError>
    where
        'a: 'f,
    {
        Ok(match self.device() {
            Some(device) => {
                BatchVectors::Device(device, device.sums(self.runner.model.backend(), self.samples)?)
            }
            None => BatchVectors::Host(self.accumulator(features)),
        })
    }

    fn accumulator<'f>(&self, features: &'f GradFeatures) -> Accumulator<'f>
    where
        'a: 'f,
    {
        Accumulator::new(features, self.kurtosis_check, &self.runner.tensors, self.samples, self.cancel)
    }

    fn finish(&mut self, features: &GradFeatures, sums: &BatchVectors<'_, B>) -> Result<(), BackendError> {
        let sums = match sums {
            BatchVectors::Host(sums) => sums,
            BatchVectors::Device(device, sums) => {
                let vectors = device.finished(self.runner.model.backend(), features, sums)?;
                (self.results.grads, self.results.sound) = vectors;
                return Ok(());
            }
        };
        let width = features.forms.len() * features.projector.dim();
        self.results.grads.resize(self.samples * width, 0.0);
        for (sample, out) in self.results.grads.chunks_exact_mut(width.max(1)).enumerate() {
            self.results.sound.extend_from_slice(sums.finish(sample, out));
            self.results.residuals.extend(sums.residual(sample));
        }
        Ok(())
    }
}

fn wants_embeddings(want: RequestedOutputs) -> bool {
    want.embed_mean || want.embed_last || want.embed_weighted
}

fn row<T>(values: &[T], index: usize, width: usize) -> &[T] {
    values.get(index * width..(index + 1) * width).unwrap_or_default()
}
