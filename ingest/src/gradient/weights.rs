//! Gradients of a model's own tensors: projected from their factors, or formed where that is needed.
//!
//! Factors are used where that is possible and cheaper.

use std::ops::Range;

use super::device::{BatchVectors, GradientBackend};
use super::energies::{GradientEnergies, HeadPieces};
use super::factored::{FactorMaps, FactorSink};
use super::features::{Accumulator, GradFeatures};
use super::forms::GradForm;
use super::kurtosis::KurtosisCheck;
use super::projector::Projector;
use crate::projection::{GradientShape, ModuleShape, modules_of, tensor_modules};
use gstore_model::architectures::{Decoder, NormId, Param, TensorRole};
use gstore_model::gradients::{FormedSink, GradLayout, GradientBuffers};
use gstore_model::params::TensorSpec;
use gstore_model::{
    BackendError, Forward, LinearFactors, Model, NormFactors, Objective, Sink, Slot, TableFactors,
};

/// How the gradient of each tracked tensor becomes part of a vector.
pub(super) struct WeightGradients<B: GradientBackend> {
    formed: GradLayout,
    /// The plain form's number, and the modules whose plain gradient is projected from factors.
    factors: Option<(usize, FactorMaps<B>)>,
}

impl<B: GradientBackend> WeightGradients<B> {
    /// `tracked`: the tensors, as indices into `decoder.params`.
    pub fn new(
        backend: &B,
        decoder: &Decoder,
        tracked: &[usize],
        features: Option<&GradFeatures>,
    ) -> Result<WeightGradients<B>, BackendError> {
        let Some(GradFeatures { forms, projector: Projector::Factored { projector, .. }, .. }) = features
        else {
            return Ok(WeightGradients {
                formed: GradLayout::new(decoder, tracked, |_| true),
                factors: None,
            });
        };
        let plain = forms.iter().position(|form| *form == GradForm::Plain);
        let others = forms.iter().any(|form| *form != GradForm::Plain);
        let from_factors =
            |module| plain.is_some() && features.is_some_and(|f| f.projector.uses_factors(module));
        let modules = tensor_modules(projector.modules());
        let params = |tensor: usize| decoder.params.get(*tracked.get(tensor)?);
        let chosen: Vec<(usize, &Param)> = (0..modules.len())
            .filter(|tensor| *tensor == 0 || modules[tensor - 1] != modules[*tensor])
            .filter(|tensor| from_factors(modules[*tensor]))
            .filter_map(|tensor| Some((modules[tensor], params(tensor)?)))
            .collect();
        let projected = |tensor: usize| modules.get(tensor).is_some_and(|module| from_factors(*module));
        let formed = GradLayout::new(decoder, tracked, |tensor| others || !projected(tensor));
        let factors = match (plain, chosen.is_empty()) {
            (Some(plain), false) => Some((plain, FactorMaps::new(backend, decoder, projector, chosen)?)),
            _ => None,
        };
        Ok(WeightGradients { formed, factors })
    }

    /// The lowest layer that must be kept.
    pub fn lowest_wanted(&self, model: &Model<B>, features: &GradFeatures) -> Option<usize> {
        let mut spare = GradientBuffers::<B>::default();
        let formed = FormedSink::new(&self.formed, None, &mut spare, |_, _, _| Ok(()));
        model.lowest_wanted(&WeightSink {
            formed,
            factors: self.factor_sink(features, None, None),
            entropies: None,
        })
    }

    /// Runs the backward pass and adds the features of every sample's gradient to `sums`. Returns the
    /// losses of the scored rows; their entropies go where they are wanted.
    pub fn backward(
        &self,
        model: &Model<B>,
        forward: Forward<B>,
        objective: Objective<'_, B::Tensor>,
        features: &GradFeatures,
        kurtosis_check: Option<&KurtosisCheck>,
        (sums, entropies): (&mut BatchVectors<'_, B>, Option<&mut Vec<f32>>),
    ) -> Result<Vec<f32>, BackendError> {
        let samples = forward.layout.spans.len();
        let width = self.factors.as_ref().map_or(0, |(_, maps)| maps.width);
        let backend = model.backend();
        let mut accumulated = backend.rows(samples, width, None)?;
        let mut energies = sums.no_energies();
        let (layout, mut spare) = (&self.formed, GradientBuffers::<B>::default());
        let formed = FormedSink::new(layout, Some(samples), &mut spare, |backend, group, rows| match rows {
            Some(rows) => sums.add_formed(backend, rows, layout.widths[group], &layout.groups[group]),
            None => Ok(()),
        });
        let factors = self.factor_sink(features, kurtosis_check, Some((&mut accumulated, energies.as_mut())));
        let losses = model.backward(forward, objective, &mut WeightSink { formed, factors, entropies })?;
        if let Some(energies) = &energies {
            sums.add_energies(energies);
        }
        if let (Some((plain, maps)), Some(projector)) = (&self.factors, features.projector.factored()) {
            sums.add_factored(backend, &mut accumulated, (maps, projector), *plain)?;
        }
        Ok(losses)
    }

    /// Adds the features of gradients of zero to `sums`, in the order of a backward pass, so that a sample's
    /// bits are the same either way.
    pub fn zeros(&self, samples: usize, sums: &mut Accumulator<'_>) {
        let (loose, layers) = self.formed.groups.split_at(1);
        for group in layers.iter().rev().chain(loose) {
            for sample in 0..samples {
                group.iter().for_each(|place| sums.add(place.tensor, sample, &vec![0.0; place.len]));
            }
        }
    }

    fn factor_sink<'a>(
        &'a self,
        features: &'a GradFeatures,
        kurtosis_check: Option<&'a KurtosisCheck>,
        into: Option<(&'a mut B::Rows, Option<&'a mut GradientEnergies>)>,
    ) -> Option<FactorSink<'a, B>> {
        let ((_, maps), projector) = (self.factors.as_ref()?, features.projector.factored()?);
        let (out, energies) = into.map_or((None, None), |(out, energies)| (Some(out), energies));
        Some(FactorSink { maps, projector, kurtosis_check, out, energies, head: HeadPieces::default() })
    }
}

/// The tensors as the vectors' modules: shapes of tables are told from those of linear layers.
pub fn module_shapes(decoder: &Decoder, tracked: &[usize], tensors: &[TensorSpec]) -> Vec<ModuleShape> {
    let mut modules = modules_of(tensors);
    let params = || tracked.iter().filter_map(|index| decoder.params.get(*index));
    for module in &mut modules {
        let role = params().find(|param| param.name == module.name).map(|param| &param.role);
        if let (
            Some(TensorRole::Embedding | TensorRole::Positions),
            GradientShape::Linear { out, input, .. },
        ) = (role, module.shape)
        {
            module.shape = GradientShape::Embedding { vocab: out, hidden: input };
        }
    }
    modules
}

/// Hands each slot's factors to what forms its gradient and to what projects them.
struct WeightSink<'a, B: GradientBackend, F> {
    formed: FormedSink<'a, B, F>,
    factors: Option<FactorSink<'a, B>>,
    entropies: Option<&'a mut Vec<f32>>,
}

impl<B, F> Sink<B> for WeightSink<'_, B, F>
where
    B: GradientBackend,
    F: FnMut(&B, usize, Option<&mut B::Rows>) -> Result<(), BackendError>,
{
    fn wants(&self, slot: Slot) -> bool {
        self.formed.wants(slot) || self.factors.as_ref().is_some_and(|sink| sink.wants(slot))
    }

    fn entropies(&mut self) -> Option<&mut Vec<f32>> {
        self.entropies.as_deref_mut()
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        if let Some(factors) = &mut self.factors {
            factors.linear(backend, maps)?;
        }
        self.formed.linear(backend, maps)
    }

    fn norm(
        &mut self,
        backend: &B,
        id: NormId,
        factors: &NormFactors<'_, B::Tensor>,
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        self.formed.norm(backend, id, factors, spans)
    }

    fn table(&mut self, backend: &B, factors: &TableFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        if let Some(sink) = &mut self.factors {
            sink.table(backend, factors)?;
        }
        self.formed.table(backend, factors)
    }

    fn finished(&mut self, backend: &B, layer: Option<usize>) -> Result<(), BackendError> {
        if let Some(factors) = &mut self.factors {
            factors.finished(backend, layer)?;
        }
        self.formed.finished(backend, layer)
    }
}
