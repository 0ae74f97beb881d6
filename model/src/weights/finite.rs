//! Check that weights are finite.

use std::path::Path;

use safetensors::Dtype;

use super::folder::ModelFolder;
use crate::architectures::TensorRole;
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

/// What is said of a model that gave values which are no numbers.
pub const NOT_NUMBERS: &str = "the model gives values that are not numbers";

/// The same with the first of its tables of tokens and positions that has some, and one of them, if there is
/// one. All other weights are refused before anything is computed.
pub fn unsound_model(model: &ModelFolder) -> String {
    let is_table = |role: &TensorRole| matches!(role, TensorRole::Embedding | TensorRole::Positions);
    let mut tables = model.decoder().params.iter().filter(|param| is_table(&param.role));
    let unsound = tables.find_map(|param| {
        let (tensors, name) = (model.tensors(), model.file_name(param));
        let dtype = tensors.require(name).ok()?.dtype;
        let mut found: Option<f32> = None;
        let mut look = |bytes: &[u8]| found = found.or_else(|| not_finite_in(dtype, bytes));
        tensors.stream(name, &mut look).ok()?;
        Some((&param.name, found?))
    });
    unsound.map_or_else(
        || NOT_NUMBERS.to_owned(),
        |(name, value)| format!("{NOT_NUMBERS}: {name} of {} has the value {value}", model.path().display()),
    )
}

/// The first value of a piece of a tensor's bytes that is not finite; none in other types than those of
/// weights.
pub(super) fn not_finite_in(dtype: Dtype, bytes: &[u8]) -> Option<f32> {
    match dtype {
        Dtype::F32 => {
            let is_bad = |bytes| u32::from_le_bytes(bytes) & 0x7f80_0000 == 0x7f80_0000;
            first_bad_element(bytes, is_bad).map(f32::from_le_bytes)
        }
        Dtype::BF16 => {
            let is_bad = |bytes| u16::from_le_bytes(bytes) & 0x7f80 == 0x7f80;
            first_bad_element(bytes, is_bad).map(|bytes| half::bf16::from_le_bytes(bytes).to_f32())
        }
        Dtype::F16 => {
            let is_bad = |bytes| u16::from_le_bytes(bytes) & 0x7c00 == 0x7c00;
            first_bad_element(bytes, is_bad).map(|bytes| half::f16::from_le_bytes(bytes).to_f32())
        }
        _ => None,
    }
}

/// The first element that is so. Most pieces have none: a loop that may end at any element is not turned into
/// vector code.
fn first_bad_element<const N: usize>(bytes: &[u8], is_bad: impl Fn([u8; N]) -> bool) -> Option<[u8; N]> {
    let elements = bytes.as_chunks::<N>().0;
    if !elements.iter().fold(false, |found, element| found | is_bad(*element)) {
        return None;
    }
    elements.iter().copied().find(|element| is_bad(*element))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_finite_are_found_in_bytes() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let values = [0.0, -1.5, 65504.0, bad, 1e-7];
            let full: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let half: Vec<u8> =
                values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
            let brain: Vec<u8> =
                values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect();
            for (dtype, bytes, size) in
                [(Dtype::F32, full, 4), (Dtype::F16, half, 2), (Dtype::BF16, brain, 2)]
            {
                let found = not_finite_in(dtype, &bytes).unwrap();
                assert!(found == bad || (found.is_nan() && bad.is_nan()), "{dtype:?}: {found}");
                assert_eq!(not_finite_in(dtype, &bytes[..3 * size]), None);
            }
        }
        assert_eq!(not_finite_in(Dtype::I32, &[0xff; 8]), None);
    }
}
