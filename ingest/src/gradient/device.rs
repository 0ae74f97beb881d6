//! Features of a batch while gradients are added to them: on the host, or on the device that has the
//! gradients.

use std::ops::Range;

use super::energies::GradientEnergies;
use super::factored::FactorMaps;
use super::features::{Accumulator, GradFeatures};
use crate::projection::FactoredProjector;
use gstore_model::candle::Candle;
use gstore_model::cpu::Cpu;
use gstore_model::gradients::{RowOrder, TensorSlice};
use gstore_model::{Backend, BackendError};

/// Backends whose gradients become features.
pub trait GradientBackend: Backend + Clone {
    /// How its device computes features of the gradients that lie there.
    type Features: DeviceFeatures<Self>;
}

impl GradientBackend for Cpu {
    type Features = HostFeatures;
}

impl GradientBackend for Candle {
    type Features = HostFeatures;
}

/// Forms and projections that were brought to a device. The results are those of the host.
pub trait DeviceFeatures<B: Backend>: Send + Sync + Sized {
    /// The vectors of a batch, on the device.
    type Sums;

    /// Brings features to the device; none if the host has to compute them. Gradients are summed in these
    /// parts of the concatenated gradient.
    fn prepare(
        backend: &B,
        features: &GradFeatures,
        parts: &[Range<usize>],
    ) -> Result<Option<Self>, BackendError>;

    /// Zeros for the vectors of a batch.
    fn sums(&self, backend: &B, samples: usize) -> Result<Self::Sums, BackendError>;

    /// Forms and projects finished parts. Of a module with a bias the weight comes first, then its bias.
    fn add_formed(
        &self,
        backend: &B,
        rows: &B::Rows,
        places: &[TensorSlice],
        sums: &mut Self::Sums,
    ) -> Result<(), BackendError>;

    /// Turns what was accumulated from factors into the modules' coordinates of each vector of form `plain`.
    fn add_factored(
        &self,
        backend: &B,
        rows: &B::Rows,
        maps: &FactorMaps<B>,
        plain: usize,
        sums: &mut Self::Sums,
    ) -> Result<(), BackendError>;

    /// The vectors of all samples and forms, and of each whether it comes from finite values.
    fn finished(
        &self,
        backend: &B,
        features: &GradFeatures,
        sums: &Self::Sums,
    ) -> Result<(Vec<f32>, Vec<bool>), BackendError>;
}

/// Of backends whose gradients become features on the host: there is none.
#[derive(Clone, Copy)]
pub enum HostFeatures {}

impl<B: Backend> DeviceFeatures<B> for HostFeatures {
    type Sums = HostFeatures;

    fn prepare(_: &B, _: &GradFeatures, _: &[Range<usize>]) -> Result<Option<Self>, BackendError> {
        Ok(None)
    }

    fn sums(&self, _: &B, _: usize) -> Result<HostFeatures, BackendError> {
        match *self {}
    }

    fn add_formed(
        &self,
        _: &B,
        _: &B::Rows,
        _: &[TensorSlice],
        _: &mut HostFeatures,
    ) -> Result<(), BackendError> {
        match *self {}
    }

    fn add_factored(
        &self,
        _: &B,
        _: &B::Rows,
        _: &FactorMaps<B>,
        _: usize,
        _: &mut HostFeatures,
    ) -> Result<(), BackendError> {
        match *self {}
    }

    fn finished(
        &self,
        _: &B,
        _: &GradFeatures,
        _: &HostFeatures,
    ) -> Result<(Vec<f32>, Vec<bool>), BackendError> {
        match *self {}
    }
}

/// The vectors of the samples of a batch, one for each form, while gradients are added to them.
pub(super) enum BatchVectors<'a, B: GradientBackend> {
    Host(Accumulator<'a>),
    Device(&'a B::Features, <B::Features as DeviceFeatures<B>>::Sums),
}

impl<B: GradientBackend> BatchVectors<'_, B> {
    /// Forms and projects finished tensors, `places` of every vector of `width` values: by sample, then in
    /// the order of the places.
    pub fn add_formed(
        &mut self,
        backend: &B,
        rows: &mut B::Rows,
        width: usize,
        places: &[TensorSlice],
    ) -> Result<(), BackendError> {
        let sums = match self {
            BatchVectors::Device(features, sums) => return features.add_formed(backend, rows, places, sums),
            BatchVectors::Host(sums) => sums,
        };
        let mut scratch = Vec::new();
        for (sample, values) in backend.host_rows(rows)?.chunks_exact(width.max(1)).enumerate() {
            for TensorSlice { tensor, offset, len, order } in places {
                let formed = &values[*offset..offset + len];
                match order {
                    Some(order) => {
                        order.apply(formed, &mut scratch);
                        sums.add(*tensor, sample, &scratch);
                    }
                    None => sums.add(*tensor, sample, formed),
                }
            }
        }
        Ok(())
    }

    /// Turns what was accumulated from factors into the modules' coordinates of each sample's vector of form
    /// `plain`.
    pub fn add_factored(
        &mut self,
        backend: &B,
        rows: &mut B::Rows,
        (maps, projector): (&FactorMaps<B>, &FactoredProjector),
        plain: usize,
    ) -> Result<(), BackendError> {
        let sums = match self {
            BatchVectors::Device(features, sums) => {
                return features.add_factored(backend, rows, maps, plain, sums);
            }
            BatchVectors::Host(sums) => sums,
        };
        for (sample, values) in backend.host_rows(rows)?.chunks_exact(maps.width.max(1)).enumerate() {
            if let Some((vector, sound)) = sums.vector_mut(sample, plain) {
                *sound &= maps.finish(projector, values, vector);
            }
        }
        Ok(())
    }

    /// Zeros for the squared lengths of gradients that are projected from factors, where they are wanted: no
    /// device computes the features that want them.
    pub(crate) fn no_energies(&self) -> Option<GradientEnergies> {
        match self {
            BatchVectors::Host(sums) => sums.no_energies(),
            BatchVectors::Device(..) => None,
        }
    }

    /// Adds the squared lengths of gradients that were projected from factors.
    pub(crate) fn add_energies(&mut self, others: &GradientEnergies) {
        if let BatchVectors::Host(sums) = self {
            sums.add_energies(others);
        }
    }
}

/// Gradients of adapters, `width` values each, whose rows of fused modules are put where they belong, on the
/// host.
pub(super) fn reordered_gradients<'a, B: Backend>(
    backend: &B,
    rows: &'a mut B::Rows,
    width: usize,
    orders: &[(usize, usize, RowOrder)],
) -> Result<&'a [f32], BackendError> {
    let values = backend.host_rows(rows)?;
    let mut scratch = Vec::new();
    for gradient in values.chunks_exact_mut(width.max(1)) {
        for (offset, len, order) in orders {
            let formed = &mut gradient[*offset..offset + len];
            order.apply(formed, &mut scratch);
            formed.copy_from_slice(&scratch);
        }
    }
    Ok(values)
}
