//! Gradients scaled in the eigenbasis of a module, with every filter.

use gstore_curvature::{Filter, Inverse, Module, ModuleFactors, Rotation, SampleGradient, Strategy};

use crate::factors::error::FactorJobError;

/// What several filters do in one eigenbasis, with memory that is used for each gradient again.
pub(super) struct FilterScaling {
    /// The first that scales; none where gradients stay as they are, and when its rotation is made.
    inverse: Option<Inverse>,
    rotation: Option<Rotation>,
    /// The scale of each filter, none for the identity.
    scales: Vec<Option<Vec<f64>>>,
    rotated: Vec<f64>,
    columns: Vec<Vec<f64>>,
}

impl FilterScaling {
    pub(super) fn new(
        module: &Module,
        factors: &ModuleFactors,
        strategy: Strategy,
        filters: &[Filter],
    ) -> Result<Self, FactorJobError> {
        if filters.is_empty() {
            return Err(FactorJobError::Option("there is no filter to score with".to_owned()));
        }
        let mut first: Option<Inverse> = None;
        let mut scales = Vec::with_capacity(filters.len());
        for filter in filters {
            // Each inverse has copies of the bases, of which one is enough.
            let (scale, _) = factors.scale(module, strategy, *filter).map_err(FactorJobError::of_inverse)?;
            if scale.is_some() && first.is_none() {
                first =
                    Some(factors.filtered(module, strategy, *filter).map_err(FactorJobError::of_inverse)?);
            }
            scales.push(scale);
        }
        let columns = vec![Vec::new(); scales.len()];
        Ok(Self { inverse: first, rotation: None, scales, rotated: Vec::new(), columns })
    }

    /// A gradient preconditioned with each filter: rotated into the eigenbasis once, and back with each.
    pub(super) fn columns(&mut self, gradient: &SampleGradient) -> &[Vec<f64>] {
        if let Some(inverse) = self.inverse.take() {
            self.rotation = inverse.rotation();
        }
        match &mut self.rotation {
            Some(rotation) => rotation.rotated(gradient, &mut self.rotated),
            None => put_wide(gradient, &mut self.rotated),
        }
        let Self { rotation, scales, rotated, columns, .. } = self;
        for (column, scale) in columns.iter_mut().zip(&*scales) {
            match (scale, rotation.as_mut()) {
                (Some(scale), Some(rotation)) => {
                    let scaled = rotated.iter().zip(scale).map(|(value, scale)| value * scale);
                    rotation.unrotated(scaled, column);
                }
                (Some(scale), None) => {
                    column.clear();
                    column.extend(rotated.iter().zip(scale).map(|(value, scale)| value * scale));
                }
                (None, _) => put_wide(gradient, column),
            }
        }
        columns
    }
}

/// Its values in f64, overwriting `to`.
fn put_wide(gradient: &SampleGradient, to: &mut Vec<f64>) {
    to.clear();
    to.extend(gradient.values().iter().map(|value| f64::from(*value)));
}
