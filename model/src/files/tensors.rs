//! Named tensors in one or several safetensors files, read one at a time.
//!
//! Invariants
//! - opening checks every header against the length of its file, so later reads fail only if the file changes
//! - reads are positioned reads into memory that the caller owns: a file cut short meanwhile is an
//!   error, never a signal
//! - a tensor costs memory only while it is read

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::error::ModelError;
use super::json;

/// Longest header that is read; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;
const CHUNK: usize = 1 << 20;

/// Where a tensor lies and what it is.
#[derive(Debug, Clone)]
pub struct TensorEntry {
    /// Element type in the file.
    pub dtype: Dtype,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    file: usize,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The tensors of a folder under their names in the files.
#[derive(Debug, Clone)]
pub struct TensorSet {
    /// What lacks a tensor that is missing: the folder, or the one file that was opened.
    folder: PathBuf,
    files: Vec<PathBuf>,
    entries: BTreeMap<String, TensorEntry>,
}

impl TensorSet {
    /// Opens `{stem}.safetensors`, or the shards named by `{stem}.safetensors.index.json`.
    pub fn open(folder: &Path, stem: &str) -> Result<TensorSet, ModelError> {
        let single = folder.join(format!("{stem}.safetensors"));
        let index = folder.join(format!("{stem}.safetensors.index.json"));
        let mut set = TensorSet { folder: folder.to_owned(), files: Vec::new(), entries: BTreeMap::new() };
        if single.exists() {
            for (name, entry) in read_header(&single, 0)? {
                set.entries.insert(name, entry);
            }
            set.files.push(single);
            return Ok(set);
        }
        if !index.exists() {
            return Err(missing_weights(folder, stem));
        }
        set.open_shards(&index)?;
        Ok(set)
    }

    /// Opens one file, whatever its name.
    pub fn open_file(path: &Path) -> Result<TensorSet, ModelError> {
        let entries = read_header(path, 0)?;
        Ok(TensorSet { folder: path.to_owned(), files: vec![path.to_owned()], entries })
    }

    fn open_shards(&mut self, index: &Path) -> Result<(), ModelError> {
        let config = |message: String| ModelError::Config { path: index.to_owned(), message };
        let value = json::read(index)?;
        let map = value
            .get("weight_map")
            .and_then(|m| m.as_object())
            .ok_or_else(|| config("weight_map is missing".into()))?;
        let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().ok_or_else(|| config(format!("weight_map.{tensor} is not a string")))?;
            if Path::new(file).file_name().is_none_or(|n| n != file) {
                return Err(config(format!("weight_map.{tensor} leaves the folder: {file:?}")));
            }
            shards.entry(file).or_default().push(tensor);
        }
        for (file, tensors) in shards {
            let path = self.folder.join(file);
            if !path.exists() {
                return Err(ModelError::MissingFile {
                    folder: self.folder.clone(),
                    file: file.to_owned(),
                    hint: format!("; {} names it", index.display()),
                });
            }
            let mut header = read_header(&path, self.files.len())?;
            for name in tensors {
                let entry = header
                    .remove(name)
                    .ok_or_else(|| config(format!("tensor {name} is not in {}", path.display())))?;
                self.entries.insert(name.to_owned(), entry);
            }
            self.files.push(path);
        }
        Ok(())
    }

    /// The folder, or the one file that was opened.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names in the files, sorted by bytes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// What is known of a tensor without reading it.
    pub fn get(&self, name: &str) -> Option<&TensorEntry> {
        self.entries.get(name)
    }

    /// The entry of a tensor that must be there.
    pub fn require(&self, name: &str) -> Result<&TensorEntry, ModelError> {
        self.get(name).ok_or_else(|| self.missing(name))
    }

    /// The error of a tensor that is not there: GPTQ and AWQ have others in place of a weight, and their older
    /// versions say nothing of it in `config.json`.
    fn missing(&self, name: &str) -> ModelError {
        let packed = name.strip_suffix(".weight").map(|stem| format!("{stem}.qweight"));
        match packed.and_then(|packed| Some((self.get(&packed)?, packed))) {
            Some((entry, packed)) => {
                let path = self.file_of(entry).to_owned();
                ModelError::Quantised { path, what: format!("tensor {packed}") }
            }
            None => ModelError::MissingTensor { folder: self.folder.clone(), name: name.to_owned() },
        }
    }

    pub(crate) fn file_of(&self, entry: &TensorEntry) -> &Path {
        self.files.get(entry.file).unwrap_or(&self.folder)
    }

    /// Checks that a tensor is there, has floating-point elements and the given shape.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<&TensorEntry, ModelError> {
        let entry = self.require(name)?;
        let path = || self.file_of(entry).to_owned();
        match entry.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => {}
            Dtype::F64 => {
                return Err(ModelError::UnsupportedOption {
                    path: path(),
                    setting: format!("element type F64 of tensor {name}"),
                    supported: "weights must be F32, F16 or BF16".into(),
                });
            }
            other => {
                return Err(ModelError::Quantised {
                    path: path(),
                    what: format!("tensor {name} ({other:?})"),
                });
            }
        }
        if entry.shape != shape {
            return Err(ModelError::WrongShape {
                path: path(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: entry.shape.clone(),
            });
        }
        Ok(entry)
    }

    /// Reads a tensor as f32; f16 and bf16 widen exactly.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let entry = self.require(name)?;
        let mut values = Vec::with_capacity(entry.shape.iter().product());
        let dtype = entry.dtype;
        self.stream(name, &mut |bytes| match dtype {
            Dtype::F16 => {
                values.extend(bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()))
            }
            Dtype::BF16 => {
                values.extend(bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()));
            }
            _ => values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
        })?;
        Ok(values)
    }

    /// Hands the bytes of a tensor to `sink` in pieces whose length is a multiple of eight, except the last.
    pub fn stream(&self, name: &str, sink: &mut dyn FnMut(&[u8])) -> Result<(), ModelError> {
        let entry = self.require(name)?;
        let mut file = fs_err::File::open(self.file_of(entry))?;
        file.seek(SeekFrom::Start(entry.offset))?;
        let mut left = entry.len;
        let mut buffer = vec![0u8; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
        while left > 0 {
            let n = buffer.len().min(usize::try_from(left).unwrap_or(CHUNK));
            file.read_exact(&mut buffer[..n])?;
            sink(&buffer[..n]);
            left -= n as u64;
        }
        Ok(())
    }

    /// Where a tensor's bytes begin in its file.
    pub fn byte_offset(&self, name: &str) -> Result<u64, ModelError> {
        Ok(self.require(name)?.offset)
    }

    /// Length of a tensor's bytes.
    pub fn byte_len(&self, name: &str) -> Result<u64, ModelError> {
        Ok(self.require(name)?.len)
    }
}

fn missing_weights(folder: &Path, stem: &str) -> ModelError {
    let pickled = ["pytorch_model.bin", "adapter_model.bin", "pytorch_model.bin.index.json"]
        .into_iter()
        .find(|name| folder.join(name).exists());
    let hint = match pickled {
        Some(name) => {
            let what = if name.ends_with(".json") { "names pickles" } else { "is a pickle" };
            format!("; {name} {what}, which gstore does not load: save with safe_serialization=True")
        }
        None => "; put it back from a copy, or give another folder".to_owned(),
    };
    ModelError::MissingFile {
        folder: folder.to_owned(),
        file: format!("{stem}.safetensors or {stem}.safetensors.index.json"),
        hint,
    }
}

fn read_header(path: &Path, file: usize) -> Result<BTreeMap<String, TensorEntry>, ModelError> {
    let mut input = fs_err::File::open(path)?;
    let file_len = input.metadata()?.len();
    parse_header(path, file, &mut input, file_len)
}

/// The tensors of a file of `file_len` bytes, from its beginning.
pub(super) fn parse_header(
    path: &Path,
    file: usize,
    input: &mut dyn Read,
    file_len: u64,
) -> Result<BTreeMap<String, TensorEntry>, ModelError> {
    let damaged = |message: String| ModelError::Safetensors { path: path.to_owned(), message };
    let mut length = [0u8; 8];
    if file_len < 8 {
        return Err(damaged(format!("it has {file_len} bytes, too few for a header")));
    }
    input.read_exact(&mut length)?;
    let header_len = u64::from_le_bytes(length);
    if header_len > MAX_HEADER || header_len > file_len - 8 {
        return Err(damaged(format!("its header claims {header_len} bytes, the file has {file_len}")));
    }
    let mut header = vec![0u8; usize::try_from(header_len).map_err(|e| damaged(e.to_string()))?];
    input.read_exact(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| damaged(e.to_string()))?;
    let data_start = 8 + header_len;
    if metadata.data_len() as u64 != file_len - data_start {
        return Err(damaged(format!(
            "its tensors take {} bytes, the file holds {}",
            metadata.data_len(),
            file_len - data_start
        )));
    }
    Ok(metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let entry = TensorEntry {
                dtype: info.dtype,
                shape: info.shape.clone(),
                file,
                offset: data_start + start as u64,
                len: (end - start) as u64,
            };
            (name, entry)
        })
        .collect())
}
