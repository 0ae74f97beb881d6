//! The momentum that SGD keeps.

use std::path::Path;

use super::error::MomentsError;
use super::file::check_float;
use super::state;
use super::trained::TrainedTensor;
use crate::files::TorchArchive;
use crate::files::pickle::PickleValue;

/// Reads the momentum of each trained tensor, row-major in its canonical sizes.
///
/// # Errors
/// A state of another optimizer or of other tensors, and a damaged archive.
pub fn read_momentum(path: &Path, trained: &[TrainedTensor]) -> Result<Vec<Vec<f32>>, MomentsError> {
    let archive = TorchArchive::open(path)?;
    let found = state::find(&archive, trained)?;
    let entries = state::entries(&archive)?;
    let mismatch = |message: String| MomentsError::Mismatch { path: path.to_owned(), message };
    let read = |(tensor, place): (&TrainedTensor, Option<usize>)| {
        let entry = place.and_then(|place| entries.get(place)).map(|entry| &entry.1);
        let Some(PickleValue::Tensor(momentum)) = entry.and_then(|entry| entry.get("momentum_buffer")) else {
            return Err(mismatch(format!("{} has no momentum_buffer, which SGD keeps", tensor.spec.name)));
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
        Ok(tensor.canonical(archive.read_f32(momentum)?))
    };
    trained.iter().zip(found).map(read).collect()
}
