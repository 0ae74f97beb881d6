//! Projection of gradient rows into feature sums, on the backend that holds the rows.

use super::factored::FactorMaps;
use super::features::Accumulator;
use crate::projection::FactoredProjector;
use gstore_model::candle::Candle;
use gstore_model::cpu::Cpu;
use gstore_model::gradients::{Place, RowOrder};
use gstore_model::{Backend, BackendError};

/// Backends whose gradients become features. Each step is done on the host unless a backend has its own way;
/// the results are the same.
pub trait GradientBackend: Backend + Clone {
    /// Forms and projects finished tensors, `places` of every vector of `width` values, and adds them to the
    /// sums: by sample, then in the order of the places.
    fn add_formed(
        &self,
        rows: &mut Self::Rows,
        width: usize,
        places: &[Place],
        sums: &mut Accumulator<'_>,
    ) -> Result<(), BackendError> {
        let mut scratch = Vec::new();
        for (sample, values) in self.host_rows(rows)?.chunks_exact(width.max(1)).enumerate() {
            for Place { tensor, offset, len, order } in places {
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
    fn add_factored(
        &self,
        rows: &mut Self::Rows,
        maps: &FactorMaps<Self>,
        projector: &FactoredProjector,
        plain: usize,
        sums: &mut Accumulator<'_>,
    ) -> Result<(), BackendError> {
        for (sample, values) in self.host_rows(rows)?.chunks_exact(maps.width.max(1)).enumerate() {
            if let Some((vector, sound)) = sums.vector_mut(sample, plain) {
                *sound &= maps.finish(projector, values, vector);
            }
        }
        Ok(())
    }

    /// Gradients of adapters, `width` values each, whose rows of fused modules are put where they belong, on
    /// the host.
    fn whole<'a>(
        &self,
        rows: &'a mut Self::Rows,
        width: usize,
        orders: &[(usize, usize, RowOrder)],
    ) -> Result<&'a [f32], BackendError> {
        let values = self.host_rows(rows)?;
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
}

impl GradientBackend for Cpu {}
impl GradientBackend for Candle {}
#[cfg(feature = "cuda")]
impl<R: gstore_cuda::Runtime> GradientBackend for gstore_cuda::Cuda<R> {}
