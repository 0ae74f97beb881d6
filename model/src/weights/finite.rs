//! Check that weights are finite.

use std::path::Path;

use crate::files::ModelError;

/// An error if a tensor that was read from a folder has a value which is not finite.
///
/// # Errors
/// Names the tensor and the first such value.
pub fn check_finite(folder: &Path, name: &str, values: &[f32]) -> Result<(), ModelError> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(&value) => {
            Err(ModelError::NotFinite { folder: folder.to_owned(), tensor: name.to_owned(), value })
        }
    }
}
