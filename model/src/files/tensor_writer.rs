//! Safetensors files of f32 tensors, as transformers and PEFT write them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, View};

/// A tensor to write.
struct TensorValues<'a> {
    shape: Vec<usize>,
    values: Cow<'a, [f32]>,
}

impl View for TensorValues<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match cfg!(target_endian = "little") {
            true => Cow::Borrowed(bytemuck::cast_slice(&self.values)),
            false => Cow::Owned(self.values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        }
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}

/// Writes tensors (name, sizes, row-major values) to `path` and flushes it.
///
/// # Errors
/// What the file system refuses; the file may then be there in part.
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, Cow<'a, [f32]>)>,
) -> std::io::Result<()> {
    let views = tensors.into_iter().map(|(name, shape, values)| (name, TensorValues { shape, values }));
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    // The library renames a temporary file that only its owner can read.
    let permissions = fs_err::File::create(path)?.metadata()?.permissions();
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => {
            std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        }
        other => std::io::Error::other(format!("{}: {other}", path.display())),
    })?;
    fs_err::set_permissions(path, permissions)?;
    fs_err::File::open(path)?.sync_all()
}
