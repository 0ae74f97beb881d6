//! Gradients scaled in the eigenbasis of a module, with every filter.

use gstore_curvature::{Filter, Inverse, Module, ModuleFactors, Rotation, SampleGradient, Strategy};

use crate::factors::error::FactorJobError;

/// What several filters do in one eigenbasis, with memory that is used for each gradient again.
pub(in crate::factors) struct FilterScaling {
    /// The first that scales; none where gradients stay as they are, and when its rotation is made.
    inverse: Option<Inverse>,
    rotation: Option<Rotation>,
    /// The scale of each filter, none for the identity.
    scales: Vec<Option<Vec<f64>>>,
    rotated: Vec<f64>,
    columns: Vec<Vec<f64>>,
}

impl FilterScaling {
    pub(in crate::factors) fn new(
        module: &Module,
        factors: &ModuleFactors,
        strategy: Strategy,
        filters: &[Filter],
    ) -> Result<Self, FactorJobError> {
        if filters.is_empty() {
            return Err(FactorJobError::Option("there is no filter to score with".to_owned()));
        }
        let mut first = None;
        let mut scales = Vec::with_capacity(filters.len());
        for filter in filters {
            let inverse = factors.filtered(module, strategy, *filter).map_err(FactorJobError::of_inverse)?;
            scales.push(inverse.scale().map(<[f64]>::to_vec));
            if inverse.scale().is_some() {
                first.get_or_insert(inverse);
            }
        }
        let columns = vec![Vec::new(); scales.len()];
        Ok(Self { inverse: first, rotation: None, scales, rotated: Vec::new(), columns })
    }

    /// A gradient preconditioned with each filter: it is rotated into the eigenbasis once, where it `stays`
    /// or is rotated back with each filter.
    pub(super) fn columns(&mut self, gradient: &SampleGradient, stays: bool) -> &[Vec<f64>] {
        if let Some(inverse) = self.inverse.take() {
            self.rotation = inverse.rotation();
        }
        let Self { rotation, scales, rotated, columns, .. } = self;
        let put_wide = |to: &mut Vec<f64>| {
            to.clear();
            to.extend(gradient.values().iter().map(|value| f64::from(*value)));
        };
        match rotation {
            Some(rotation) => rotation.rotated(gradient, rotated),
            None => put_wide(&mut *rotated),
        }
        for (column, scale) in columns.iter_mut().zip(&*scales) {
            match (scale, rotation.as_mut()) {
                (Some(scale), Some(rotation)) if !stays => {
                    let scaled = rotated.iter().zip(scale).map(|(value, scale)| value * scale);
                    rotation.unrotated(scaled, column);
                }
                (Some(scale), _) => {
                    column.clear();
                    column.extend(rotated.iter().zip(scale).map(|(value, scale)| value * scale));
                }
                (None, Some(_)) if stays => column.clone_from(rotated),
                (None, _) => put_wide(column),
            }
        }
        columns
    }

    /// The scale of each filter alone: what self-influence needs of gradients in the eigenbasis.
    pub(in crate::factors) fn into_scales(self) -> Vec<Option<Vec<f64>>> {
        self.scales
    }
}
