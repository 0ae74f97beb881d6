//! Archives as `torch.save` writes them: a ZIP of a protocol 2 pickle and raw tensor storages.

use std::io::{BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::until_error::UntilError;

/// A value of the saved object.
#[derive(Debug, Clone)]
pub enum SavedValue<'a> {
    /// `None`
    None,
    /// `True` and `False`
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(String),
    /// A list.
    List(Vec<SavedValue<'a>>),
    /// A pair.
    Pair(Box<[SavedValue<'a>; 2]>),
    /// A dict, in the order of its entries.
    Dict(Vec<(SavedValue<'a>, SavedValue<'a>)>),
    /// A contiguous f32 tensor: sizes and row-major values.
    Tensor(Vec<usize>, &'a [f32]),
}

impl<'a> SavedValue<'a> {
    /// A dict with names as its keys.
    pub fn dict(entries: impl IntoIterator<Item = (&'static str, SavedValue<'a>)>) -> SavedValue<'a> {
        SavedValue::Dict(
            entries.into_iter().map(|(key, value)| (SavedValue::Str(key.to_owned()), value)).collect(),
        )
    }
}

/// Writes `root` to `path` and flushes it; torch opens it with `weights_only` as well. `name` is the folder
/// inside the archive, for torch the file's name without its ending.
///
/// # Errors
/// What the file system refuses; the file may then be there in part.
pub fn write_torch(path: &Path, name: &str, root: &SavedValue<'_>) -> std::io::Result<()> {
    let mut pickle = PickleWriter { bytes: vec![PROTO, 2], storages: Vec::new() };
    pickle.push(root);
    pickle.bytes.push(STOP);
    let mut zip = ZipWriter::new(UntilError::new(BufWriter::new(fs_err::File::create(path)?)));
    let mut entry = |entry: &str, write: &mut dyn FnMut(&mut dyn Write) -> std::io::Result<()>, big: bool| {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT)
            .large_file(big);
        zip.start_file(format!("{name}/{entry}"), options)?;
        write(&mut zip)
    };
    entry("data.pkl", &mut |out| out.write_all(&pickle.bytes), false)?;
    entry("byteorder", &mut |out| out.write_all(b"little"), false)?;
    for (number, values) in pickle.storages.iter().enumerate() {
        let big = size_of_val(*values) as u64 > u64::from(u32::MAX) / 2;
        entry(&format!("data/{number}"), &mut |out| write_values(out, values), big)?;
    }
    entry("version", &mut |out| out.write_all(b"3\n"), false)?;
    let file = zip.finish()?.into_inner().into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// Where torch lets storages begin.
const ALIGNMENT: u16 = 64;

fn write_values(out: &mut dyn Write, values: &[f32]) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * values.len().min(1 << 16));
    for part in values.chunks(1 << 16) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|v| v.to_le_bytes()));
        out.write_all(&bytes)?;
    }
    Ok(())
}

const PROTO: u8 = 0x80;
const STOP: u8 = b'.';
const MARK: u8 = b'(';
const TUPLE: u8 = b't';
const EMPTY_TUPLE: u8 = b')';
const PAIR: u8 = 0x86;
const GLOBAL: u8 = b'c';
const REDUCE: u8 = b'R';
const FALSE: u8 = 0x89;

/// A pickle being written, and the storages that it names.
struct PickleWriter<'a> {
    bytes: Vec<u8>,
    storages: Vec<&'a [f32]>,
}

impl<'a> PickleWriter<'a> {
    fn push(&mut self, object: &SavedValue<'a>) {
        match object {
            SavedValue::None => self.bytes.push(b'N'),
            SavedValue::Bool(true) => self.bytes.push(0x88),
            SavedValue::Bool(false) => self.bytes.push(FALSE),
            SavedValue::Int(value) => self.int(*value),
            SavedValue::Float(value) => {
                self.bytes.push(b'G');
                self.bytes.extend(value.to_be_bytes());
            }
            SavedValue::Str(text) => self.text(text),
            SavedValue::List(items) => {
                self.bytes.extend([b']', MARK]);
                items.iter().for_each(|item| self.push(item));
                self.bytes.push(b'e');
            }
            SavedValue::Pair(pair) => {
                pair.iter().for_each(|item| self.push(item));
                self.bytes.push(PAIR);
            }
            SavedValue::Dict(entries) => {
                self.bytes.extend([b'}', MARK]);
                for (key, value) in entries {
                    self.push(key);
                    self.push(value);
                }
                self.bytes.push(b'u');
            }
            SavedValue::Tensor(shape, values) => self.tensor(shape, values),
        }
    }

    /// As `torch._utils._rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict())`.
    fn tensor(&mut self, shape: &[usize], values: &'a [f32]) {
        let number = self.storages.len();
        self.storages.push(values);
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.extend([MARK, MARK]);
        self.text("storage");
        self.global("torch", "FloatStorage");
        self.text(&number.to_string());
        self.text("cpu");
        self.int(values.len() as i64);
        self.bytes.extend([TUPLE, b'Q']);
        self.int(0);
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        self.sizes(shape);
        self.sizes(&strides);
        self.bytes.push(FALSE);
        self.global("collections", "OrderedDict");
        self.bytes.extend([EMPTY_TUPLE, REDUCE, TUPLE, REDUCE]);
    }

    fn sizes(&mut self, sizes: &[usize]) {
        if sizes.is_empty() {
            return self.bytes.push(EMPTY_TUPLE);
        }
        self.bytes.push(MARK);
        sizes.iter().for_each(|size| self.int(*size as i64));
        self.bytes.push(TUPLE);
    }

    fn global(&mut self, module: &str, name: &str) {
        self.bytes.push(GLOBAL);
        self.bytes.extend(format!("{module}\n{name}\n").into_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(value) => {
                self.bytes.push(b'J');
                self.bytes.extend(value.to_le_bytes());
            }
            Err(_) => {
                // LONG1: as many bytes as follow, least first.
                self.bytes.extend([0x8a, 8]);
                self.bytes.extend(value.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::TorchArchive;
    use crate::files::pickle::PickleValue;

    #[test]
    fn the_reader_finds_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("optimizer.pt");
        let (values, step) = ([1.0, -2.5, 3.0, f32::MIN_POSITIVE, 0.0, 7.0], [4.0]);
        let root = SavedValue::dict([
            ("lr", SavedValue::Float(1e-3)),
            ("none", SavedValue::None),
            (
                "flags",
                SavedValue::List(vec![
                    SavedValue::Bool(true),
                    SavedValue::Bool(false),
                    SavedValue::Int(1 << 40),
                ]),
            ),
            ("betas", SavedValue::Pair(Box::new([SavedValue::Float(0.9), SavedValue::Float(0.999)]))),
            ("state", SavedValue::Dict(vec![(SavedValue::Int(0), SavedValue::Tensor(vec![2, 3], &values))])),
            ("step", SavedValue::Tensor(Vec::new(), &step)),
        ]);
        write_torch(&path, "optimizer", &root).unwrap();
        let archive = TorchArchive::open(&path).unwrap();
        let root = archive.root();
        assert_eq!(root.get("lr").unwrap().as_f64(), Some(1e-3));
        assert_eq!(root.get("flags").unwrap().items().unwrap()[2].as_int(), Some(1 << 40));
        let PickleValue::Tensor(tensor) = &root.get("state").unwrap().entries().unwrap()[0].1 else {
            panic!()
        };
        assert_eq!((&tensor.shape[..], &tensor.stride[..]), (&[2, 3][..], &[3, 1][..]));
        assert_eq!(archive.read_f32(tensor).unwrap(), values);
        let Some(PickleValue::Tensor(step)) = root.get("step") else { panic!() };
        assert_eq!(archive.read_f32(step).unwrap(), [4.0]);
    }
}
