//! Kurtosis check of masks: how uneven the sampled coordinates are, on the gradients of one batch.

use std::cell::RefCell;

use super::projector::Projector;
use crate::projection::kurtosis;
use gstore_model::{Backend, BackendError};

/// Rows of a batch's factors that are looked at.
const ROWS: usize = 64;

/// Kurtosis of the coordinates of each differentiated tensor. Memory: two numbers for each.
///
/// The sinks of a pass look at it one after the other, on the pass's own thread.
pub(super) struct KurtosisCheck(RefCell<Vec<RunningMean>>);

#[derive(Clone, Copy, Default)]
struct RunningMean {
    sum: f64,
    values: u32,
}

impl KurtosisCheck {
    /// Of this many tensors, if their gradients are projected by a mask.
    pub fn of(projector: &Projector, tensors: usize) -> Option<KurtosisCheck> {
        let is_mask = match projector {
            Projector::Flat(flat) => flat.is_mask(),
            Projector::Factored { projector, .. } => projector.is_mask(),
        };
        is_mask.then(|| KurtosisCheck(RefCell::new(vec![RunningMean::default(); tensors])))
    }

    /// Looks at a tensor's gradient.
    pub fn formed(&self, tensor: usize, grad: &[f32]) {
        self.add(tensor, kurtosis([grad]));
    }

    /// Looks at both factors of a tensor's gradient, or at the one that a mask samples by value.
    pub fn factors<B: Backend>(
        &self,
        tensor: usize,
        backend: &B,
        factors: &[&B::Tensor],
    ) -> Result<(), BackendError> {
        let mut most = 0.0f64;
        for factor in factors {
            let (rows, width) = backend.size(factor);
            let chosen: Vec<u32> =
                (0..rows).step_by(rows.div_ceil(ROWS).max(1)).map(|row| row as u32).collect();
            let values = backend.to_host(&backend.gather(factor, &chosen)?)?;
            most = most.max(kurtosis(values.chunks_exact(width.max(1))));
        }
        self.add(tensor, most);
        Ok(())
    }

    /// The mean of each tensor; 0 where nothing but zeros was seen.
    pub fn means(&self) -> Vec<f64> {
        self.0.borrow().iter().map(|mean| mean.sum / f64::from(mean.values.max(1))).collect()
    }

    /// Zeros say nothing about coordinates.
    fn add(&self, tensor: usize, value: f64) {
        if let Some(mean) = self.0.borrow_mut().get_mut(tensor).filter(|_| value > 0.0) {
            mean.sum += value;
            mean.values += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::{FlatProjector, ProjectionKind, ProjectionSpec};
    use gstore_model::params::TensorSpec;

    fn kurtosis_check(kind: ProjectionKind) -> Option<KurtosisCheck> {
        let tensors = [("a", [4, 8]), ("b", [2, 2])]
            .map(|(name, shape)| TensorSpec { name: name.into(), shape: shape.into() });
        let spec = ProjectionSpec { kind, dim: 8, ..ProjectionSpec::default() };
        let flat = FlatProjector::new(&spec, &tensors, None).unwrap();
        KurtosisCheck::of(&Projector::Flat(flat), tensors.len())
    }

    #[test]
    fn only_a_mask_is_looked_at() {
        assert!(kurtosis_check(ProjectionKind::Sjlt { s: 4 }).is_none());
        assert!(kurtosis_check(ProjectionKind::Mask).is_some());
    }

    #[test]
    fn zeros_do_not_count() {
        let kurtosis_check = kurtosis_check(ProjectionKind::Mask).unwrap();
        assert_eq!(kurtosis_check.means(), [0.0, 0.0]);
        let mut spike = [0.0; 32];
        spike[3] = 2.0;
        kurtosis_check.formed(0, &[0.0; 32]);
        kurtosis_check.formed(0, &spike);
        kurtosis_check.formed(1, &[1.0, -1.0, 1.0, 1.0]);
        assert_eq!(kurtosis_check.means(), [32.0, 1.0]);
        kurtosis_check.formed(1, &[1.0, 0.0, 0.0, 0.0]);
        assert_eq!(kurtosis_check.means(), [32.0, 2.5]);
    }
}
