//! State of SGD in a checkpoint, with its momentum.

use super::error::MomentsError;
use super::file::{check_float, check_values};
use super::state;
use super::trained::TrainedTensor;
use crate::files::TorchArchive;
use crate::files::pickle::{PickleValue, TensorRef};

/// An open optimizer state of SGD.
pub struct MomentumFile {
    archive: TorchArchive,
    trained: Vec<TrainedTensor>,
    /// Where each tensor stands among the entries of the state.
    places: Vec<Option<usize>>,
}

impl MomentumFile {
    /// That of an open archive. `trained` are all tensors that the optimizer trained, in `named_parameters()`
    /// order.
    ///
    /// # Errors
    /// A state of other tensors, or without any.
    pub fn of(archive: TorchArchive, trained: Vec<TrainedTensor>) -> Result<Self, MomentsError> {
        let places = state::find(&archive, &trained)?;
        Ok(Self { archive, trained, places })
    }

    /// Whether its steps are `v = momentum v + g`, `w -= rate v`: without Nesterov's look ahead, and dampening,
    /// which scales `g`.
    pub fn is_plain(&self) -> bool {
        !state::is_set(&self.archive, "nesterov")
            && self.group_values("dampening").iter().all(|share| *share == 0.0)
    }

    /// The number of each parameter group that has one under this key.
    pub fn group_values(&self, key: &str) -> Vec<f64> {
        state::group_values(&self.archive, key)
    }

    /// Reads the momentum of each trained tensor, row-major in its canonical sizes.
    ///
    /// # Errors
    /// A tensor without momentum or of another shape, a value that is not finite, and a damaged archive.
    pub fn read(&self) -> Result<Vec<Vec<f32>>, MomentsError> {
        let path = self.archive.path();
        let mismatch = |message: String| MomentsError::Mismatch { path: path.to_owned(), message };
        let read = |(tensor, place): (&TrainedTensor, &Option<usize>)| {
            let Some(momentum) = self.momentum(*place) else {
                return Err(mismatch(format!(
                    "{} has no momentum_buffer, which SGD keeps",
                    tensor.spec.name
                )));
            };
            check_float(path, "momentum_buffer", &tensor.spec, momentum)?;
            if momentum.shape != tensor.stored_shape() {
                return Err(mismatch(format!(
                    "the momentum of {} has shape {:?}, the trained tensor {:?}",
                    tensor.spec.name,
                    momentum.shape,
                    tensor.stored_shape()
                )));
            }
            let values = self.archive.read_f32(momentum)?;
            check_values(path, "momentum_buffer", &tensor.spec, &values)?;
            Ok(tensor.canonical(values))
        };
        self.trained.iter().zip(&self.places).map(read).collect()
    }

    fn momentum(&self, place: Option<usize>) -> Option<&TensorRef> {
        match state::entries(&self.archive).ok()?.get(place?)?.1.get("momentum_buffer")? {
            PickleValue::Tensor(momentum) => Some(momentum),
            _ => None,
        }
    }
}
