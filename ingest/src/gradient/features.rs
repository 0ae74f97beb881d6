//! Projected vectors of gradients: every form of a gradient that is asked for, through one projection.

use std::ops::Range;

use super::energies::{GradientEnergies, squares};
use super::forms::GradForm;
use super::kurtosis::KurtosisCheck;
use super::projector::Projector;
use crate::projection::{FactoredProjector, FlatProjector, tensor_modules};
use gstore_core::Cancel;
use gstore_model::LoadError;
use gstore_model::params::{TensorSpec, tensor_ranges};
use gstore_model::weights::Moments;

/// Features of each sample's gradient.
pub struct GradFeatures {
    /// The forms, in the order of the vectors.
    pub forms: Vec<GradForm>,
    /// The projection of each form.
    pub projector: Projector,
    /// Optimizer moments of the tracked tensors, if a form needs them.
    pub moments: Option<Moments>,
}

impl GradFeatures {
    /// An error unless the moments have a value for each of `values` where a form needs them.
    pub(super) fn check(&self, values: usize) -> Result<(), LoadError> {
        let moments = self.moments.as_ref();
        for form in &self.forms {
            let [first, second] = form.moments();
            let first = first.then(|| moments.map_or(0, |moments| moments.exp_avg.len()));
            let second = second.then(|| moments.map_or(0, |moments| moments.exp_avg_sq.len()));
            if let Some(found) = [first, second].into_iter().flatten().find(|found| *found != values) {
                return Err(LoadError::Moments { values, found });
            }
        }
        Ok(())
    }

    /// The first and the second moment of these coordinates; nothing of those that are not there.
    pub(super) fn moments_of(&self, coordinates: Range<usize>) -> [&[f32]; 2] {
        let Some(Moments { exp_avg, exp_avg_sq, .. }) = &self.moments else { return [&[]; 2] };
        [exp_avg, exp_avg_sq].map(|values| values.get(coordinates.clone()).unwrap_or_default())
    }
}

/// The vectors of the samples of a batch, one for each form, while tensors arrive one by one.
pub struct Accumulator<'a> {
    features: &'a GradFeatures,
    /// Looks at what a mask samples.
    kurtosis_check: Option<&'a KurtosisCheck>,
    /// Where each tracked tensor starts in the concatenated gradient.
    starts: Vec<usize>,
    sums: FormSums<'a>,
    /// Squared lengths of the gradients, where what blocks leave out is wanted.
    energies: Option<GradientEnergies>,
    /// Whether every value so far was finite, for every sample and form.
    sound: Vec<bool>,
    scratch: Vec<f32>,
    cancel: &'a Cancel,
}

/// Sums of every sample and form.
enum FormSums<'a> {
    Flat {
        projector: &'a FlatProjector,
        totals: Vec<f64>,
    },
    Factored {
        projector: &'a FactoredProjector,
        vectors: Vec<f32>,
        /// The module of each tracked tensor.
        modules: Vec<usize>,
        /// For each form a weight that waits for its bias.
        waiting: Vec<Vec<f32>>,
    },
}

impl<'a> Accumulator<'a> {
    pub(super) fn new(
        features: &'a GradFeatures,
        kurtosis_check: Option<&'a KurtosisCheck>,
        tensors: &[TensorSpec],
        samples: usize,
        cancel: &'a Cancel,
    ) -> Accumulator<'a> {
        let starts = tensor_ranges(tensors).map(|part| part.start).collect();
        let vectors = samples * features.forms.len();
        let values = vectors * features.projector.dim();
        let sums = match &features.projector {
            Projector::Flat(projector) => FormSums::Flat { projector, totals: vec![0.0; values] },
            Projector::Factored { projector, .. } => FormSums::Factored {
                projector,
                vectors: vec![0.0; values],
                modules: tensor_modules(projector.modules()),
                waiting: vec![Vec::new(); features.forms.len()],
            },
        };
        let modules = features.projector.residual_modules();
        let energies = (modules > 0).then(|| GradientEnergies::new(samples, modules));
        let sound = vec![true; vectors];
        let scratch = Vec::new();
        Accumulator { features, kurtosis_check, starts, sums, energies, sound, scratch, cancel }
    }

    /// Zeros for the squared lengths of gradients that are projected from factors, where they are wanted.
    pub(super) fn no_energies(&self) -> Option<GradientEnergies> {
        self.energies.as_ref().map(GradientEnergies::emptied)
    }

    /// Adds the squared lengths of gradients that were projected from factors.
    pub(super) fn add_energies(&mut self, others: &GradientEnergies) {
        if let Some(energies) = &mut self.energies {
            energies.extend(others);
        }
    }

    /// Adds the gradient of one tensor of one sample. Of a module with a bias the weight
    /// comes first, then its bias. Once the pass is cancelled nothing is added: the sums are of no use then.
    pub(super) fn add(&mut self, tensor: usize, sample: usize, grad: &[f32]) {
        if self.cancel.is_raised() {
            return;
        }
        let GradFeatures { forms, projector, .. } = self.features;
        let (start, dim) = (self.starts[tensor], projector.dim());
        if let Some(kurtosis_check) = self.kurtosis_check {
            kurtosis_check.formed(tensor, grad);
        }
        if let (Some(energies), FormSums::Factored { modules, .. }) = (&mut self.energies, &self.sums)
            && !projector.uses_factors(modules[tensor])
        {
            energies.add(sample, modules[tensor], squares(grad));
        }
        let [m, v] = self.features.moments_of(start..start + grad.len());
        for (index, form) in forms.iter().enumerate() {
            if let FormSums::Factored { modules, .. } = &self.sums
                && form.is_linear()
                && projector.uses_factors(modules[tensor])
            {
                continue;
            }
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
            match &mut self.sums {
                FormSums::Flat { projector, totals } => {
                    let totals = &mut totals[vector * dim..(vector + 1) * dim];
                    projector.project_slice(start, values, totals, self.cancel);
                }
                FormSums::Factored { projector, vectors, modules, waiting } => {
                    let module = modules[tensor];
                    let of_vector = &mut vectors[vector * dim..(vector + 1) * dim];
                    let out = &mut of_vector[projector.range(module)];
                    if modules.get(tensor + 1) == Some(&module) {
                        values.clone_into(&mut waiting[index]);
                    } else if tensor > 0 && modules[tensor - 1] == module {
                        projector.project_formed(module, &waiting[index], values, out);
                    } else {
                        projector.project_formed(module, values, &[], out);
                    }
                }
            }
        }
    }

    /// Takes over a sample's plain vector as far as its modules were projected from factors.
    pub(super) fn vector_mut(&mut self, sample: usize, form: usize) -> Option<(&mut [f32], &mut bool)> {
        let dim = self.features.projector.dim();
        let vector = sample * self.features.forms.len() + form;
        match &mut self.sums {
            FormSums::Flat { .. } => None,
            FormSums::Factored { vectors, .. } => {
                Some((&mut vectors[vector * dim..(vector + 1) * dim], &mut self.sound[vector]))
            }
        }
    }

    /// Rounds the sums of one sample to its vectors; says which of them come from finite values.
    pub(super) fn finish(&self, sample: usize, out: &mut [f32]) -> &[bool] {
        let (count, dim) = (self.features.forms.len(), self.features.projector.dim());
        match &self.sums {
            FormSums::Flat { projector, totals } => {
                for (index, out) in out.chunks_exact_mut(dim.max(1)).enumerate() {
                    let vector = sample * count + index;
                    projector.finish(&totals[vector * dim..(vector + 1) * dim], out);
                }
            }
            FormSums::Factored { vectors, .. } => {
                out.copy_from_slice(&vectors[sample * count * dim..(sample + 1) * count * dim]);
            }
        }
        &self.sound[sample * count..(sample + 1) * count]
    }

    /// For each module the length of what its block leaves out of a sample's gradient, and of all of it.
    /// Nothing where that is not wanted.
    pub(super) fn residual(&self, sample: usize) -> Vec<f32> {
        let forms = &self.features.forms;
        let plain = forms.iter().position(|form| *form == GradForm::Plain);
        let (Some(energies), Some(plain), FormSums::Factored { projector, vectors, .. }) =
            (&self.energies, plain, &self.sums)
        else {
            return Vec::new();
        };
        let vector = &vectors[(sample * forms.len() + plain) * projector.dim()..];
        let of_module = |(module, energy): (usize, &f64)| {
            projector.residual(module, *energy, &vector[projector.range(module)])
        };
        energies.of(sample).iter().enumerate().flat_map(of_module).collect()
    }
}
