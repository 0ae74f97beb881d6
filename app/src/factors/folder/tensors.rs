//! Safetensors files of factors and scores: streamed out, read a tensor at a time, mapped or from a folder.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use gstore_core::{TensorNote, header_bytes, tensor_header};
use gstore_curvature::{Blocks, CurvatureError};
use gstore_model::weights::{TensorEntry, TensorMap, TensorSet};
use gstore_store::FileMap;
use serde_json::{Map, Value};

use super::documents::place;
use super::error::FactorError;
use crate::number::NumberType;

/// Values that are written together.
const CHUNK: usize = 4096;

pub(super) struct Tensor<'a> {
    pub name: &'a str,
    pub shape: Vec<usize>,
    pub values: TensorValues<'a>,
}

/// Values of a tensor, row-major.
pub(super) enum TensorValues<'a> {
    /// Stored as f64, or rounded to f32.
    Numbers { values: &'a [f64], double: bool },
    /// A square matrix in blocks, stored with the zeros outside of them, as f64.
    Cut { values: &'a [f64], blocks: Blocks },
    /// Stored as they are.
    Singles(&'a [f32]),
    /// A count.
    Count(u64),
}

impl TensorValues<'_> {
    fn dtype(&self) -> &'static str {
        match self {
            TensorValues::Numbers { double: true, .. } | TensorValues::Cut { .. } => "F64",
            TensorValues::Numbers { double: false, .. } | TensorValues::Singles(_) => "F32",
            TensorValues::Count(_) => "I64",
        }
    }

    fn bytes(&self) -> usize {
        match self {
            TensorValues::Numbers { values, double } => values.len() * if *double { 8 } else { 4 },
            TensorValues::Cut { blocks, .. } => 8 * blocks.size() * blocks.size(),
            TensorValues::Singles(values) => 4 * values.len(),
            TensorValues::Count(_) => 8,
        }
    }

    /// Writes them; false where a number is not finite, or has no f32.
    fn write(&self, out: &mut dyn Write) -> std::io::Result<bool> {
        match self {
            TensorValues::Numbers { values, double: true } => {
                write_values(out, values, f64::to_le_bytes)?;
                Ok(values.iter().all(|value| value.is_finite()))
            }
            TensorValues::Numbers { values, double: false } => {
                write_values(out, values, |value| (value as f32).to_le_bytes())?;
                Ok(values.iter().all(|value| (*value as f32).is_finite()))
            }
            TensorValues::Cut { values, blocks } => {
                for row in 0..blocks.size() {
                    write_values(out, &blocks.row(values, row), f64::to_le_bytes)?;
                }
                Ok(values.iter().all(|value| value.is_finite()))
            }
            TensorValues::Singles(values) => {
                write_values(out, values, f32::to_le_bytes)?;
                Ok(values.iter().all(|value| value.is_finite()))
            }
            TensorValues::Count(count) => {
                out.write_all(&i64::try_from(*count).unwrap_or(i64::MAX).to_le_bytes())?;
                Ok(true)
            }
        }
    }
}

/// Writes the bytes of values, a few thousand values at a time.
fn write_values<T: Copy, const N: usize>(
    out: &mut dyn Write,
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(N * CHUNK);
    for part in values.chunks(CHUNK) {
        buffer.clear();
        part.iter().for_each(|value| buffer.extend_from_slice(&bytes(*value)));
        out.write_all(&buffer)?;
    }
    Ok(())
}

/// Writes a file of tensors of one dtype, by name, with texts in its header. `what` names the values in
/// errors.
pub(super) fn write(
    path: &Path,
    mut tensors: Vec<Tensor<'_>>,
    texts: &Map<String, Value>,
    what: &'static str,
) -> Result<(), FactorError> {
    tensors.sort_by(|a, b| a.name.cmp(b.name));
    let note = |tensor: &Tensor<'_>| TensorNote {
        name: tensor.name.to_owned(),
        dtype: tensor.values.dtype(),
        shape: tensor.shape.clone(),
        bytes: tensor.values.bytes(),
    };
    let twice = |name: String| FactorError::file(path, format!("two modules would be called {name}"));
    let header = tensor_header(tensors.iter().map(note), texts).map_err(twice)?;
    place(path, |out| {
        out.write_all(&header)?;
        for tensor in &tensors {
            if !tensor.values.write(out)? {
                let module = tensor.name.to_owned();
                return Err(CurvatureError::NotFinite { module, what }.into());
            }
        }
        Ok(())
    })
}

/// Reads the header of a file of tensors, and gives it with these names for theirs: the values behind it stay
/// as they are.
///
/// # Errors
/// What is no header, one name for two tensors, and what the file system refuses.
pub(in crate::factors) fn renamed_header(
    from: &mut dyn Read,
    name: &dyn Fn(&str) -> String,
) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let mut bytes = Vec::new();
    from.take(u64::from_le_bytes(length)).read_to_end(&mut bytes)?;
    let header: Map<String, Value> = serde_json::from_slice(&bytes)?;
    let mut named = Map::new();
    for (key, entry) in header {
        if named.insert(name(&key), entry).is_some() {
            return Err(std::io::Error::other(format!("two tensors would be called {}", name(&key))));
        }
    }
    Ok(header_bytes(named))
}

/// A file of tensors.
#[derive(Debug)]
pub(super) struct Tensors {
    path: PathBuf,
    held: TensorSource,
}

/// Where its bytes are.
#[derive(Debug)]
enum TensorSource {
    /// In a file that others may change: it is read, not mapped.
    File(TensorSet),
    /// In a map of a published file.
    Map(TensorMap<FileMap>),
}

impl Tensors {
    /// Opens a file; none where there is none.
    pub(super) fn open(path: PathBuf) -> Result<Option<Self>, FactorError> {
        if !path.exists() {
            return Ok(None);
        }
        let held = TensorSource::File(TensorSet::open_file(&path)?);
        Ok(Some(Self { path, held }))
    }

    /// Of a map, which errors call `path`.
    pub(super) fn of_map(path: PathBuf, map: FileMap) -> Result<Self, FactorError> {
        let held = TensorSource::Map(TensorMap::new(&path, map)?);
        Ok(Self { path, held })
    }

    /// Names of its tensors, in byte order.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.held {
            TensorSource::File(set) => set.names().map(str::to_owned).collect(),
            TensorSource::Map(map) => map.names().map(str::to_owned).collect(),
        }
    }

    /// Sizes of a tensor.
    pub(super) fn shape(&self, name: &str) -> Result<Vec<usize>, FactorError> {
        Ok(self.entry(name)?.shape.clone())
    }

    /// Blocks of a square matrix.
    pub(super) fn blocks(&self, name: &str) -> Result<Blocks, FactorError> {
        let shape = self.shape(name)?;
        let found = match shape[..] {
            [rows, cols] => Blocks::of_shape(rows, cols),
            _ => None,
        };
        found.ok_or_else(|| {
            self.wrong(
                name,
                &format!("expected a square matrix, or one in equal blocks, not one of {shape:?}"),
            )
        })
    }

    fn entry(&self, name: &str) -> Result<&TensorEntry, FactorError> {
        let found = match &self.held {
            TensorSource::File(set) => set.require(name),
            TensorSource::Map(map) => map.require(name),
        };
        found.map_err(|_| FactorError::file(&self.path, format!("tensor {name} is missing")))
    }

    /// Hands on the bytes of a tensor, in pieces of whole values.
    fn stream(&self, name: &str, sink: &mut dyn FnMut(&[u8])) -> Result<(), FactorError> {
        match &self.held {
            TensorSource::File(set) => set.stream(name, sink)?,
            TensorSource::Map(map) => sink(map.tensor(name)?),
        }
        Ok(())
    }

    /// By how much of itself a value of a tensor may be off, from the type that it is stored in; at least
    /// that of F32, in which most are computed.
    pub(super) fn rounding(&self, name: &str) -> Result<f64, FactorError> {
        Ok(match format!("{:?}", self.entry(name)?.dtype).as_str() {
            "BF16" => 2.0_f64.powi(-8),
            "F16" => 2.0_f64.powi(-11),
            _ => 2.0_f64.powi(-24),
        })
    }

    /// Values of a tensor of F32, F64, BF16 or F16.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f64>, FactorError> {
        let entry = self.entry(name)?;
        let dtype = format!("{:?}", entry.dtype);
        let number = NumberType::parse(&dtype).filter(|number| !number.is_integer());
        let number = number.ok_or_else(|| {
            let detail = format!("tensor {name} holds {dtype}; factors are F64, F32, BF16 or F16");
            FactorError::file(&self.path, detail)
        })?;
        let mut values = Vec::with_capacity(entry.shape.iter().product());
        self.stream(name, &mut |bytes| number.decode(bytes, &mut values))?;
        Ok(values)
    }

    /// Values of a module, all of which have to be finite.
    pub(super) fn finite(&self, module: &str) -> Result<Vec<f64>, FactorError> {
        let values = self.numbers(module)?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => {
                let detail = format!("value {} of {} is {}", at + 1, values.len(), values[at]);
                Err(self.wrong(module, &detail))
            }
        }
    }

    /// The count of a tensor of one I64.
    pub(super) fn count(&self, name: &str) -> Result<u64, FactorError> {
        let entry = self.entry(name)?;
        let wrong = || FactorError::file(&self.path, format!("tensor {name} is not one count"));
        if format!("{:?}", entry.dtype) != "I64" || entry.shape.iter().product::<usize>() != 1 {
            return Err(wrong());
        }
        let mut bytes = Vec::new();
        self.stream(name, &mut |part| bytes.extend_from_slice(part))?;
        let count = bytes.first_chunk().map(|bytes| i64::from_le_bytes(*bytes));
        count.and_then(|count| u64::try_from(count).ok()).ok_or_else(wrong)
    }

    /// The file, with something wrong about a module.
    pub(super) fn wrong(&self, module: &str, detail: &str) -> FactorError {
        FactorError::file(&self.path, format!("module `{module}`: {detail}"))
    }
}
