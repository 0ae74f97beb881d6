//! From gradients to projected vectors: every form of a gradient that is asked for, through one projection.

use super::forms::GradForm;
use crate::checkpoint::Moments;
use crate::params::TensorSpec;
use crate::projection::FlatProjector;

/// What is made of each sample's gradient.
pub struct GradFeatures {
    /// The forms, in the order of the vectors.
    pub forms: Vec<GradForm>,
    /// The projection of each form.
    pub projector: Projector,
    /// Optimizer moments of the tracked tensors, if a form needs them.
    pub moments: Option<Moments>,
}

/// How a gradient becomes short.
pub enum Projector {
    /// All tensors as one vector.
    Flat(FlatProjector),
}

impl Projector {
    /// Length of a projected vector.
    pub fn dim(&self) -> usize {
        match self {
            Projector::Flat(flat) => flat.dim(),
        }
    }
}

/// The vectors of the samples of a batch, one for each form, while tensors arrive one by one.
pub(super) struct Accumulator<'a> {
    features: &'a GradFeatures,
    /// Where each tracked tensor starts in the concatenated gradient.
    starts: Vec<usize>,
    /// Sums of every sample and form.
    totals: Vec<f64>,
    /// Whether every value so far was finite, for every sample and form.
    sound: Vec<bool>,
    scratch: Vec<f32>,
}

impl<'a> Accumulator<'a> {
    pub fn new(features: &'a GradFeatures, tensors: &[TensorSpec], samples: usize) -> Accumulator<'a> {
        let mut start = 0;
        let starts = tensors.iter().map(|tensor| {
            let this = start;
            start += tensor.numel();
            this
        });
        let vectors = samples * features.forms.len();
        Accumulator {
            features,
            starts: starts.collect(),
            totals: vec![0.0; vectors * features.projector.dim()],
            sound: vec![true; vectors],
            scratch: Vec::new(),
        }
    }

    /// Adds the gradient of one tensor of one sample.
    pub fn add(&mut self, tensor: usize, sample: usize, grad: &[f32]) {
        let GradFeatures { forms, projector, moments } = self.features;
        let (start, dim) = (self.starts[tensor], projector.dim());
        let moment = |values: Option<&'a Vec<f32>>| {
            values.and_then(|values| values.get(start..start + grad.len())).unwrap_or_default()
        };
        let m = moment(moments.as_ref().map(|moments| &moments.exp_avg));
        let v = moment(moments.as_ref().map(|moments| &moments.exp_avg_sq));
        for (index, form) in forms.iter().enumerate() {
            let vector = sample * forms.len() + index;
            self.sound[vector] &= form.is_sound(grad);
            let values = match form {
                GradForm::Plain => grad,
                form => {
                    self.scratch.resize(grad.len(), 0.0);
                    form.apply(grad, m, v, &mut self.scratch);
                    &self.scratch[..]
                }
            };
            let totals = &mut self.totals[vector * dim..(vector + 1) * dim];
            match projector {
                Projector::Flat(flat) => flat.project_slice(start, values, totals),
            }
        }
    }

    /// Rounds the sums of one sample to its vectors; says which of them are made of finite values.
    pub fn finish(&self, sample: usize, out: &mut [f32]) -> &[bool] {
        let (count, dim) = (self.features.forms.len(), self.features.projector.dim());
        for (index, out) in out.chunks_exact_mut(dim).enumerate() {
            let vector = sample * count + index;
            let totals = &self.totals[vector * dim..(vector + 1) * dim];
            match &self.features.projector {
                Projector::Flat(flat) => flat.finish(totals, out),
            }
        }
        &self.sound[sample * count..(sample + 1) * count]
    }
}
