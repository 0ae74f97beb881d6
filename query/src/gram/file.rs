//! The file of matrices: sums in f64 in the format safetensors.
//!
//! Tensors are `<checkpoint id>/<module group>`, `[size, size]`, and `<checkpoint id>/count`, `[1]`: the
//! number of vectors. They come in the order of the checkpoints and their groups.

use std::io::{self, Write};

use gstore_core::{TensorNote, tensor_header};
use gstore_curvature::Gram;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Map;

use super::content::{CheckpointGrams, GramCheckpoint};
use crate::error::QueryError;

/// Name of the tensor with the number of vectors.
const COUNT: &str = "count";

/// Writes matrices without a copy of them, value by value to a writer with a buffer.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut dyn Write, all: &[CheckpointGrams]) -> io::Result<()> {
    let note = |name: String, shape: Vec<usize>, values: usize| TensorNote {
        name,
        dtype: "F64",
        shape,
        bytes: values * size_of::<f64>(),
    };
    let mut notes = Vec::new();
    for CheckpointGrams { checkpoint, grams } in all {
        for (group, gram) in checkpoint.groups.iter().zip(grams) {
            let name = tensor(checkpoint, &group.name);
            notes.push(note(name, vec![gram.size, gram.size], gram.sums.len()));
        }
        notes.push(note(tensor(checkpoint, COUNT), vec![1], 1));
    }
    let twice = |name: String| io::Error::other(format!("two matrices would be called {name}"));
    out.write_all(&tensor_header(notes, &Map::new()).map_err(twice)?)?;
    for CheckpointGrams { checkpoint, grams } in all {
        for value in grams.iter().flat_map(|gram| &gram.sums) {
            out.write_all(&value.to_le_bytes())?;
        }
        out.write_all(&(checkpoint.rows as f64).to_le_bytes())?;
    }
    Ok(())
}

fn tensor(checkpoint: &GramCheckpoint, name: &str) -> String {
    format!("{}/{name}", &*checkpoint.id)
}

/// Matrices of a file that is in memory or mapped.
pub struct GramFile<'a>(SafeTensors<'a>);

impl<'a> GramFile<'a> {
    /// Reads what the file has.
    ///
    /// # Errors
    /// What is no such file.
    pub fn new(bytes: &'a [u8]) -> Result<Self, QueryError> {
        let tensors = SafeTensors::deserialize(bytes);
        tensors.map(Self).map_err(|error| QueryError::Spec(format!("the file of Gram matrices: {error}")))
    }

    /// The matrix of a group, by its place.
    ///
    /// # Errors
    /// A matrix that the file does not have, or that has another shape.
    pub fn gram(&self, checkpoint: &GramCheckpoint, group: usize) -> Result<Gram, QueryError> {
        let bad = |why: String| QueryError::Spec(format!("the file of Gram matrices: {why}"));
        let group = checkpoint.groups.get(group).ok_or_else(|| bad(format!("there is no group {group}")))?;
        let name = tensor(checkpoint, &group.name);
        let view = self.0.tensor(&name).map_err(|error| bad(error.to_string()))?;
        let size = group.len as usize;
        if view.dtype() != Dtype::F64 || view.shape() != [size, size] {
            let why =
                format!("{name} is {:?} of {:?}, not [{size}, {size}] of F64", view.shape(), view.dtype());
            return Err(bad(why));
        }
        let values = view.data().as_chunks::<8>().0;
        let sums = values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        Ok(Gram { size, sums, count: checkpoint.rows })
    }

    /// All matrices of a checkpoint.
    ///
    /// # Errors
    /// As [`GramFile::gram`].
    pub fn checkpoint(&self, checkpoint: &GramCheckpoint) -> Result<CheckpointGrams, QueryError> {
        let grams = (0..checkpoint.groups.len()).map(|group| self.gram(checkpoint, group));
        Ok(CheckpointGrams { checkpoint: checkpoint.clone(), grams: grams.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use gstore_store::{CheckpointId, Family, ModuleGroup, Space};

    use super::*;

    #[test]
    fn a_file_gives_back_what_was_written() {
        let id = CheckpointId::try_from("5".repeat(64)).unwrap();
        let space = Space {
            modules: "m".repeat(64),
            projection: "p".into(),
            ..Space::new(Family::Gradient, Some(id.clone()), 5)
        };
        let group = |name: &str, start, len| ModuleGroup { name: name.into(), start, len };
        let groups = vec![group("a", 0, 2), group("b.c", 2, 3)];
        let checkpoint = GramCheckpoint { name: "c-1".into(), id, space, groups, rows: 3, of: Vec::new() };
        let gram = |size: usize| {
            let sums = (0..size * size).map(|i| (i as f64 * 0.7).sin()).collect();
            Gram { size, sums, count: 3 }
        };
        let mut written = CheckpointGrams { checkpoint, grams: vec![gram(2), gram(3)] };
        let mut bytes = Vec::new();
        write(&mut bytes, std::slice::from_ref(&written)).unwrap();
        let file = GramFile::new(&bytes).unwrap();
        let read = file.checkpoint(&written.checkpoint).unwrap();
        assert_eq!(read, written);
        written.merge(&read).unwrap();
        assert_eq!((written.checkpoint.rows, written.grams[1].count), (6, 6));
        assert_eq!(written.grams[0].sums[3], 2.0 * read.grams[0].sums[3]);
        let mut other = read.clone();
        other.checkpoint.groups[1].len = 2;
        assert!(written.merge(&other).is_err() && file.checkpoint(&other.checkpoint).is_err());
        assert!(GramFile::new(b"no such file").is_err());
    }
}
