//! Writes files as `torch.save` does: a pickle of protocol 2 and raw storages in a ZIP.

use std::io::Write;
use std::path::Path;

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// A value to be pickled.
#[derive(Clone)]
pub enum Obj {
    None,
    Int(i32),
    Float(f64),
    Str(String),
    List(Vec<Obj>),
    Dict(Vec<(Obj, Obj)>),
    /// Shape, stride, offset and the whole storage.
    Tensor(Vec<i32>, Vec<i32>, i32, Vec<f32>),
    /// A vector of so many elements, none of which is there, of a storage of this class.
    Codes(&'static str, i32),
    /// Raw instructions.
    Raw(Vec<u8>),
}

pub fn text(s: &str) -> Obj {
    Obj::Str(s.to_owned())
}

pub fn dict<const N: usize>(entries: [(&str, Obj); N]) -> Obj {
    Obj::Dict(entries.into_iter().map(|(k, v)| (text(k), v)).collect())
}

/// A contiguous tensor.
pub fn tensor(shape: &[usize], values: Vec<f32>) -> Obj {
    let shape: Vec<i32> = shape.iter().map(|d| *d as i32).collect();
    let mut stride = vec![1; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        stride[i] = stride[i + 1] * shape[i + 1];
    }
    Obj::Tensor(shape, stride, 0, values)
}

#[derive(Default)]
struct Pickler {
    out: Vec<u8>,
    storages: Vec<Vec<f32>>,
}

impl Pickler {
    fn write(&mut self, obj: &Obj) {
        match obj {
            Obj::None => self.out.push(b'N'),
            Obj::Int(v) => {
                self.out.push(b'J');
                self.out.extend(v.to_le_bytes());
            }
            Obj::Float(v) => {
                self.out.push(b'G');
                self.out.extend(v.to_be_bytes());
            }
            Obj::Str(s) => {
                self.out.push(b'X');
                self.out.extend((s.len() as u32).to_le_bytes());
                self.out.extend(s.as_bytes());
            }
            Obj::List(items) => {
                self.out.extend(b"](");
                items.iter().for_each(|item| self.write(item));
                self.out.push(b'e');
            }
            Obj::Dict(entries) => {
                self.out.extend(b"}(");
                for (key, value) in entries {
                    self.write(key);
                    self.write(value);
                }
                self.out.push(b'u');
            }
            Obj::Tensor(shape, stride, offset, values) => {
                let key = self.storages.len().to_string();
                self.tensor(("FloatStorage", key.as_str(), values.len() as i32), *offset, [shape, stride]);
                self.storages.push(values.clone());
            }
            Obj::Codes(class, len) => self.tensor((*class, "none", *len), 0, [&[*len], &[1]]),
            Obj::Raw(bytes) => self.out.extend(bytes),
        }
    }

    /// A tensor of a storage of class, key and length; its shape and strides.
    fn tensor(&mut self, (class, key, len): (&str, &str, i32), offset: i32, sizes: [&[i32]; 2]) {
        self.out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.write(&text("storage"));
        self.out.extend(format!("ctorch\n{class}\n").as_bytes());
        self.write(&text(key));
        self.write(&text("cpu"));
        self.write(&Obj::Int(len));
        self.out.extend(b"tQ");
        self.write(&Obj::Int(offset));
        for sizes in sizes {
            self.out.push(b'(');
            sizes.iter().for_each(|d| self.write(&Obj::Int(*d)));
            self.out.push(b't');
        }
        self.out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
}

/// The bytes of an archive.
pub fn bytes(root: &Obj) -> Vec<u8> {
    let mut pickler = Pickler { out: vec![0x80, 2], storages: Vec::new() };
    pickler.write(root);
    pickler.out.push(b'.');
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, data: &[u8]| {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(data).unwrap();
    };
    add("data.pkl", &pickler.out);
    add("byteorder", b"little");
    for (i, storage) in pickler.storages.iter().enumerate() {
        let data: Vec<u8> = storage.iter().flat_map(|v| v.to_le_bytes()).collect();
        add(&format!("data/{i}"), &data);
    }
    zip.finish().unwrap().into_inner()
}

/// Writes an archive.
pub fn write(path: &Path, root: &Obj) {
    fs_err::write(path, bytes(root)).unwrap();
}
