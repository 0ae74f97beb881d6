//! Archives written by `torch.save`: a ZIP of one pickle and the raw storages of its tensors.

use std::fmt::Display;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use zip::ZipArchive;

use super::pickle::{self, PickleError, PickleLimits, PickleValue, ScalarType, StorageRef, TensorRef};

/// Longest pickle that is read; the values of tensors lie outside it.
const MAX_PICKLE: u64 = 256 << 20;

/// Why a torch archive could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum TorchError {
    /// The file system refused; the message names the path.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(
        "{0} is not a torch ZIP archive; files written before torch 1.6 (or with the legacy format) must be saved again: torch.save(torch.load(p), p)"
    )]
    NotZip(PathBuf),
    /// The archive is damaged or lacks an entry.
    #[error("{path} is damaged: {message}")]
    Damaged { path: PathBuf, message: String },
    #[error(
        "{path}: a tensor of shape {shape:?} repeats values of its storage, which has {len}, as expand() makes it: save it after .contiguous()"
    )]
    Expanded { path: PathBuf, shape: Vec<usize>, len: usize },
    /// The pickle inside is not plain tensors and values.
    #[error("{path}: {source}")]
    Pickle { path: PathBuf, source: PickleError },
}

/// An opened archive.
pub struct TorchArchive {
    path: PathBuf,
    prefix: String,
    len: u64,
    zip: Mutex<ZipArchive<BufReader<fs_err::File>>>,
    root: PickleValue,
}

impl TorchArchive {
    /// Opens the archive and reads its pickle with the restricted reader; nothing in it is executed.
    pub fn open(path: &Path) -> Result<TorchArchive, TorchError> {
        let damaged = |e: &dyn Display| TorchError::Damaged { path: path.to_owned(), message: e.to_string() };
        let mut file = fs_err::File::open(path)?;
        let mut magic = [0u8; 4];
        let is_zip = file.read_exact(&mut magic).is_ok() && magic == *b"PK\x03\x04";
        if !is_zip {
            return Err(TorchError::NotZip(path.to_owned()));
        }
        file.seek(SeekFrom::Start(0))?;
        let len = file.metadata()?.len();
        let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(&e))?;
        let pickle_name = (0..zip.len())
            .filter_map(|i| zip.name_for_index(i)?.ok().map(|n| n.into_owned()))
            .find(|name| name == "data.pkl" || name.ends_with("/data.pkl"))
            .ok_or_else(|| damaged(&"no entry data.pkl"))?;
        let prefix = pickle_name.strip_suffix("data.pkl").unwrap_or_default().to_owned();
        let bytes = read_entry(path, &mut zip, &pickle_name, MAX_PICKLE.min(len))?;
        let order = format!("{prefix}byteorder");
        if zip.index_for_name(&order).is_some() && read_entry(path, &mut zip, &order, 16)? != b"little" {
            return Err(damaged(&"it was written on a big-endian machine"));
        }
        let root = pickle::parse(&bytes, PickleLimits::default())
            .map_err(|source| TorchError::Pickle { path: path.to_owned(), source })?;
        Ok(TorchArchive { path: path.to_owned(), prefix, len, zip: Mutex::new(zip), root })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The saved object.
    pub fn root(&self) -> &PickleValue {
        &self.root
    }

    /// Reads a tensor as f32, row-major.
    pub fn read_f32(&self, tensor: &TensorRef) -> Result<Vec<f32>, TorchError> {
        let StorageRef { key, scalar, len } = &tensor.storage;
        let damaged = |message: String| TorchError::Damaged { path: self.path.clone(), message };
        let name = format!("{}data/{key}", self.prefix);
        let indices = StridedIndices::new(tensor).ok_or_else(|| {
            let mut steps = tensor.shape.iter().zip(&tensor.stride);
            if steps.any(|(size, stride)| *size > 1 && *stride == 0) {
                let (path, shape) = (self.path.clone(), tensor.shape.clone());
                return TorchError::Expanded { path, shape, len: *len };
            }
            damaged(format!(
                "a tensor of shape {:?}, stride {:?} and offset {} does not fit its storage {key} of {len} elements",
                tensor.shape, tensor.stride, tensor.offset
            ))
        })?;
        let mut zip = self.zip.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bytes = read_entry(&self.path, &mut zip, &name, self.len)?;
        if Some(bytes.len()) != len.checked_mul(scalar.size()) {
            return Err(damaged(format!(
                "storage {key} has {} bytes, {len} elements of {scalar:?} were promised",
                bytes.len()
            )));
        }
        let values = widen(&bytes, *scalar);
        if indices.is_contiguous() {
            let end = tensor.offset + indices.count;
            // As every moment is: a copy would be there at the same time.
            if (tensor.offset, end) == (0, values.len()) {
                return Ok(values);
            }
            return Ok(values.get(tensor.offset..end).unwrap_or_default().to_vec());
        }
        Ok(indices.map(|i| values.get(i).copied().unwrap_or(0.0)).collect())
    }
}

fn read_entry(
    path: &Path,
    zip: &mut ZipArchive<BufReader<fs_err::File>>,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, TorchError> {
    let damaged = |message: String| TorchError::Damaged { path: path.to_owned(), message };
    let entry = zip.by_name(name).map_err(|e| damaged(format!("entry {name}: {e}")))?;
    if entry.size() > limit {
        return Err(damaged(format!("entry {name} claims {} bytes", entry.size())));
    }
    let mut bytes = Vec::with_capacity(entry.size() as usize);
    entry.take(limit + 1).read_to_end(&mut bytes).map_err(|e| damaged(format!("entry {name}: {e}")))?;
    Ok(bytes)
}

fn widen(bytes: &[u8], scalar: ScalarType) -> Vec<f32> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
    }
    match scalar {
        ScalarType::F32 => each(bytes, f32::from_le_bytes),
        ScalarType::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        ScalarType::F16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        ScalarType::BF16 => each(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        ScalarType::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
        ScalarType::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
        ScalarType::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
        ScalarType::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
        ScalarType::U8 | ScalarType::Bool => each(bytes, |[b]| f32::from(b)),
    }
}

/// The storage indices of a strided tensor in row-major order. It exists only if all of them lie inside the
/// storage and there are not more of them than the storage has elements, so a stride of zero cannot make a
/// small file claim much memory.
struct StridedIndices<'a> {
    tensor: &'a TensorRef,
    count: usize,
    position: Vec<usize>,
    left: usize,
}

impl<'a> StridedIndices<'a> {
    fn new(tensor: &'a TensorRef) -> Option<StridedIndices<'a>> {
        let count = tensor.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        if count > tensor.storage.len {
            return None;
        }
        if count > 0 {
            let steps = tensor.shape.iter().zip(&tensor.stride);
            let last = steps
                .map(|(d, s)| (d - 1).checked_mul(*s))
                .try_fold(tensor.offset, |n, step| n.checked_add(step?))?;
            if last >= tensor.storage.len {
                return None;
            }
        }
        Some(StridedIndices { tensor, count, position: vec![0; tensor.shape.len()], left: count })
    }

    fn is_contiguous(&self) -> bool {
        if self.count == 0 {
            return false;
        }
        let mut expected = 1;
        for (d, s) in self.tensor.shape.iter().zip(&self.tensor.stride).rev() {
            if *d > 1 && *s != expected {
                return false;
            }
            expected *= d;
        }
        true
    }
}

impl Iterator for StridedIndices<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let steps = self.position.iter().zip(&self.tensor.stride).map(|(p, s)| p * s);
        let index = self.tensor.offset + steps.sum::<usize>();
        for (p, d) in self.position.iter_mut().zip(&self.tensor.shape).rev() {
            *p += 1;
            if *p < *d {
                break;
            }
            *p = 0;
        }
        Some(index)
    }
}
