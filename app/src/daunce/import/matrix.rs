//! Matrices of losses in files: NumPy arrays, safetensors, raw floats; read a few examples at a time.
//!
//! Invariants
//! - the header is checked against the length of the file, so a file that is too short is refused at once
//! - nothing of a file is executed: pickled objects are refused

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use gstore_data::NumpyArray;
use gstore_model::weights::TensorSet;

use super::manifest::Orientation;
use crate::daunce::DaunceError;
use crate::number::NumberType;

/// Where the values of an array lie.
struct Array {
    offset: u64,
    number: NumberType,
    /// Whether the highest byte of a value is the first.
    big_endian: bool,
    shape: Vec<usize>,
    /// Whether the first axis varies fastest.
    fortran: bool,
}

/// A matrix of examples x models in a file, either of them first.
#[derive(Debug)]
pub(super) struct LossMatrix {
    pub path: PathBuf,
    file: File,
    offset: u64,
    pub number: NumberType,
    big_endian: bool,
    pub examples: usize,
    pub models: usize,
    /// Whether an example's values lie one after the other.
    by_example: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MatrixValues {
    Losses,
    /// Which losses there are: 0 where one is missing.
    Mask,
}

impl MatrixValues {
    /// The type of a name, if values can be of it.
    fn number(self, name: &str) -> Option<NumberType> {
        NumberType::parse(name).filter(|number| self == Self::Mask || !number.is_integer())
    }

    /// What they can be, for messages.
    const fn forms(self) -> &'static str {
        match self {
            Self::Losses => "losses are floats of 8, 4 or 2 bytes",
            Self::Mask => "a mask is of bools, integers, or floats of 8, 4 or 2 bytes",
        }
    }
}

/// Which matrix of a file is meant, and how large it must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatrixSpec<'a> {
    pub path: &'a Path,
    pub tensor: Option<&'a str>,
    pub orientation: Orientation,
    pub values: MatrixValues,
    /// Type of the values where the file does not say it.
    pub number: Option<NumberType>,
    pub examples: usize,
    pub models: usize,
}

/// Whether a file is a matrix by its name, and no table of records.
pub(super) fn is_matrix(path: &Path) -> bool {
    let endings = ["npy", "npz", "safetensors", "f32", "bin", "raw", "pkl", "pt", "pth"];
    endings.contains(&ending(path).as_str())
}

fn ending(path: &Path) -> String {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase()
}

impl LossMatrix {
    /// Opens a matrix, and checks that it has as many examples and models as are expected.
    pub fn open(wanted: &MatrixSpec<'_>) -> Result<Self, DaunceError> {
        let path = wanted.path;
        let mut file = fs_err::File::open(path)?.into_parts().0;
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(wanted.wrong("it is a folder, not a file"));
        }
        let len = about.len();
        let ending = ending(path);
        let array = match ending.as_str() {
            "npy" => numpy(&mut file, wanted).map_err(|detail| wanted.wrong(detail))?,
            "safetensors" => tensor(wanted)?,
            "npz" => {
                return Err(wanted.wrong("an .npz is an archive of arrays; save that of the losses as .npy"));
            }
            "pkl" | "pt" | "pth" => {
                return Err(wanted
                    .wrong("a pickle can run code and is not read; save the array as .npy or .safetensors"));
            }
            _ => {
                let number = wanted.number.unwrap_or(NumberType::F32);
                let shape = match wanted.orientation {
                    Orientation::ModelMajor => vec![wanted.models, wanted.examples],
                    Orientation::ExampleMajor => vec![wanted.examples, wanted.models],
                };
                Array { offset: 0, number, big_endian: false, shape, fortran: false }
            }
        };
        let by_example = (wanted.orientation == Orientation::ExampleMajor) != array.fortran;
        let (examples, models) = wanted.check(&array)?;
        let bytes = examples.checked_mul(models).and_then(|n| n.checked_mul(array.number.size()));
        let needed = bytes.and_then(|n| array.offset.checked_add(n as u64));
        if needed.is_none_or(|needed| needed > len) {
            let values = (len.saturating_sub(array.offset)) / array.number.size() as u64;
            return Err(wanted.wrong(format!(
                "it has {values} values, too few for {examples} examples x {models} models"
            )));
        }
        if ending != "safetensors" && needed != Some(len) {
            return Err(wanted.wrong(format!(
                "it has {len} bytes, {examples} examples x {models} models of {} take {}",
                array.number.name(),
                needed.unwrap_or_default()
            )));
        }
        let Array { offset, number, big_endian, .. } = array;
        Ok(Self { path: path.to_owned(), file, offset, number, big_endian, examples, models, by_example })
    }

    /// A matrix of a file of our own.
    pub(crate) fn of_own(file: File, path: &Path, examples: usize, models: usize) -> Self {
        let (path, number) = (path.to_owned(), NumberType::Inverted);
        Self { path, file, offset: 0, number, big_endian: false, examples, models, by_example: true }
    }

    /// The values of some examples, example after example, each with one value a model. `out` is
    /// cleared and filled.
    pub fn read(&self, examples: &[usize], out: &mut Vec<f64>) -> Result<(), DaunceError> {
        out.clear();
        let runs = examples.chunk_by(|a, b| a.checked_add(1) == Some(*b));
        if self.by_example {
            for run in runs {
                let Some(first) = run.first() else { continue };
                self.read_run(first * self.models, run.len() * self.models, out)?;
            }
            return Ok(());
        }
        out.resize(examples.len() * self.models, f64::NAN);
        let mut column = Vec::with_capacity(examples.len());
        for model in 0..self.models {
            column.clear();
            for run in examples.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
                let Some(first) = run.first() else { continue };
                self.read_run(model * self.examples + first, run.len(), &mut column)?;
            }
            for (to, value) in out.iter_mut().skip(model).step_by(self.models.max(1)).zip(&column) {
                *to = *value;
            }
        }
        Ok(())
    }

    fn read_run(&self, first: usize, count: usize, out: &mut Vec<f64>) -> Result<(), DaunceError> {
        let size = self.number.size();
        let mut bytes = vec![0; count * size];
        let at = self.offset + (first * size) as u64;
        let mut file = &self.file;
        let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|error| {
            DaunceError::file(&self.path, format!("it could not be read at byte {at}: {error}"))
        })?;
        if self.big_endian {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        self.number.decode(&bytes, out);
        Ok(())
    }
}

impl MatrixSpec<'_> {
    fn wrong(&self, detail: impl Into<String>) -> DaunceError {
        DaunceError::file(self.path, detail)
    }

    /// Examples and models of an array. The values of one model lie the same whichever axis is that of models,
    /// or if there is none.
    fn check(&self, array: &Array) -> Result<(usize, usize), DaunceError> {
        let (examples, models) = match (array.shape.as_slice(), self.orientation) {
            ([n] | [n, 1] | [1, n], _) if self.models == 1 => (*n, 1),
            ([a, b], Orientation::ModelMajor) => (*b, *a),
            ([a, b], Orientation::ExampleMajor) => (*a, *b),
            (shape, _) => {
                return Err(
                    self.wrong(format!("an array of shape {shape:?} is not a matrix of examples and models"))
                );
            }
        };
        if models != self.models {
            let turned = if examples == self.models { "; is the `orientation` the other one?" } else { "" };
            return Err(self.wrong(format!("it has {models} models, {} are expected{turned}", self.models)));
        }
        if examples != self.examples {
            return Err(self.wrong(format!(
                "it has losses of {examples} examples, and there are {} ids",
                self.examples
            )));
        }
        Ok((examples, models))
    }
}

fn numpy(file: &mut File, wanted: &MatrixSpec<'_>) -> Result<Array, String> {
    let NumpyArray { offset, descr, big_endian, shape, fortran } = NumpyArray::read(file)?;
    let number = match (descr.as_str(), wanted.number) {
        // NumPy has no name for these floats.
        ("<V2" | "|V2", Some(NumberType::Bf16)) => Some(NumberType::Bf16),
        _ => wanted.values.number(&descr.replacen('>', "<", 1)),
    };
    let forms = wanted.values.forms();
    let number = number.ok_or_else(|| format!("it holds {} ({descr}); {forms}", described(&descr)))?;
    Ok(Array { offset, number, big_endian, shape, fortran })
}

/// Values of a type of NumPy, in words.
fn described(descr: &str) -> String {
    let kind = descr.trim_start_matches(['<', '>', '|', '=']);
    match (kind.chars().next(), kind.get(1..).unwrap_or_default()) {
        (Some('i' | 'u'), "1") => "integers of 1 byte".to_owned(),
        (Some('i' | 'u'), bytes) => format!("integers of {bytes} bytes"),
        (Some('f'), bytes) => format!("floats of {bytes} bytes"),
        (Some('O'), _) => "Python objects".to_owned(),
        (Some('V'), "2") => "values without a type: bfloat16, if `dtype` of the manifest is bf16".to_owned(),
        _ => "no floats".to_owned(),
    }
}

fn tensor(wanted: &MatrixSpec<'_>) -> Result<Array, DaunceError> {
    let set = TensorSet::open_file(wanted.path)?;
    let names: Vec<&str> = set.names().collect();
    let name = match (wanted.tensor, names.as_slice()) {
        (Some(name), _) => name,
        (None, [one]) => *one,
        (None, several) => {
            return Err(wanted.wrong(format!(
                "it has several tensors ({}); `tensor` says which one is meant",
                several.join(", ")
            )));
        }
    };
    let entry = set.require(name)?;
    let number = wanted.values.number(&format!("{:?}", entry.dtype)).ok_or_else(|| {
        wanted.wrong(format!("tensor {name} holds {:?}; {}", entry.dtype, wanted.values.forms()))
    })?;
    let (offset, shape) = (set.byte_offset(name)?, entry.shape.clone());
    Ok(Array { offset, number, big_endian: false, shape, fortran: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, fortran: bool, shape: &str, values: &[f32]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        while !(10 + header.len() + 1).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    }

    fn open(
        bytes: &[u8],
        name: &str,
        orientation: Orientation,
        sizes: (usize, usize),
    ) -> Result<Vec<f64>, String> {
        open_as(MatrixValues::Losses, bytes, name, orientation, sizes)
    }

    fn open_as(
        values: MatrixValues,
        bytes: &[u8],
        name: &str,
        orientation: Orientation,
        (examples, models): (usize, usize),
    ) -> Result<Vec<f64>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        let (tensor, number) = (None, None);
        let wanted = MatrixSpec { path: &path, tensor, orientation, values, number, examples, models };
        let matrix = LossMatrix::open(&wanted).map_err(|e| e.to_string())?;
        let mut out = Vec::new();
        let all: Vec<usize> = (0..examples).rev().collect();
        matrix.read(&all, &mut out).map_err(|e| e.to_string())?;
        Ok(out)
    }

    #[test]
    fn both_orders_of_both_axes_are_read() {
        // Models a, b and examples 0, 1, 2: a0 = 1, a1 = 2, a2 = 3, b0 = 4, ...
        let (by_model, by_example) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let expected = Ok(vec![3.0, 6.0, 2.0, 5.0, 1.0, 4.0]);
        for (fortran, shape, values, orientation) in [
            (false, "(2, 3)", by_model, Orientation::ModelMajor),
            (true, "(2, 3)", by_example, Orientation::ModelMajor),
            (false, "(3, 2)", by_example, Orientation::ExampleMajor),
            (true, "(3, 2)", by_model, Orientation::ExampleMajor),
        ] {
            let bytes = npy("<f4", fortran, shape, &values);
            assert_eq!(open(&bytes, "a.npy", orientation, (3, 2)), expected, "{shape} {fortran}");
        }
        // The same with the bytes of each value turned round.
        let mut turned = npy(">f4", false, "(2, 3)", &by_model);
        let start = turned.len() - 6 * 4;
        turned[start..].chunks_exact_mut(4).for_each(<[u8]>::reverse);
        assert_eq!(open(&turned, "a.npy", Orientation::ModelMajor, (3, 2)), expected);
        let raw: Vec<u8> = by_model.iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
        assert_eq!(open(&raw, "a.f32", Orientation::ModelMajor, (3, 2)), expected);
    }

    #[test]
    fn the_manifest_says_that_values_are_bfloat16() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let values = [0x3F80_u16, 0x4000, 0x4040].map(u16::to_le_bytes).concat();
        fs_err::write(&path, [npy("<V2", false, "(3L, 1L)", &[]), values].concat()).unwrap();
        let open = |number| {
            let (tensor, orientation) = (None, Orientation::ExampleMajor);
            let (values, examples, models) = (MatrixValues::Losses, 3, 1);
            let wanted = MatrixSpec { path: &path, tensor, orientation, values, number, examples, models };
            LossMatrix::open(&wanted).map_err(|error| error.to_string())
        };
        let mut out = Vec::new();
        open(Some(NumberType::Bf16)).unwrap().read(&[0, 1, 2], &mut out).unwrap();
        assert_eq!(out, [1.0, 2.0, 3.0]);
        for number in [None, Some(NumberType::F16)] {
            let refused = open(number).unwrap_err();
            assert!(
                refused.contains("bfloat16, if `dtype` of the manifest is bf16 (<V2); losses"),
                "{refused}"
            );
        }
    }

    #[test]
    fn one_model_has_either_axis_or_none() {
        let open = |shape: &str, fortran, orientation| {
            open(&npy("<f4", fortran, shape, &[1.0, 2.0, 3.0]), "a.npy", orientation, (3, 1))
        };
        for orientation in [Orientation::ModelMajor, Orientation::ExampleMajor] {
            for (shape, fortran) in [("(3, 1)", false), ("(3, 1)", true), ("(1, 3)", false), ("(3,)", false)]
            {
                let read = open(shape, fortran, orientation);
                assert_eq!(read, Ok(vec![3.0, 2.0, 1.0]), "{shape} {fortran} {orientation:?}");
            }
            let refused = open("(4, 1)", false, orientation).unwrap_err();
            assert!(refused.contains("it has losses of 4 examples, and there are 3 ids"), "{refused}");
        }
    }

    #[test]
    fn a_mask_may_be_of_integers() {
        let flags: [i64; 6] = [1, 0, -1, 1 << 40, 0, 1];
        // The other way round, as `open_as` reads it.
        let expected = Ok(vec![1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
        let open = |values, bytes: &[u8], name: &str| {
            open_as(values, bytes, name, Orientation::ExampleMajor, (6, 1))
        };
        let mask = |bytes: &[u8], name: &str| open(MatrixValues::Mask, bytes, name);
        let start = |descr: &str| npy(descr, false, "(6, 1)", &[]);
        let wide = flags.map(i64::to_le_bytes).concat();
        let narrow = flags.map(|flag| u8::from(flag != 0));
        let turned = flags.map(i64::to_be_bytes).concat();
        for (descr, values) in [
            ("<i8", &wide[..]),
            ("<u8", &wide),
            (">i8", &turned),
            ("|i1", &narrow),
            ("|u1", &narrow),
            ("|b1", &narrow),
            ("<i2", &narrow.map(|flag| u16::from(flag).to_le_bytes()).concat()),
            ("<u4", &narrow.map(|flag| u32::from(flag).to_le_bytes()).concat()),
        ] {
            let bytes = [&start(descr)[..], values].concat();
            assert_eq!(mask(&bytes, "a.npy"), expected, "{descr}");
            let refused = open(MatrixValues::Losses, &bytes, "a.npy").unwrap_err();
            assert!(refused.contains("; losses are floats of 8, 4 or 2 bytes"), "{descr}: {refused}");
        }
        for (dtype, values) in [("I64", &wide[..]), ("I8", &narrow), ("BOOL", &narrow)] {
            let header = format!(
                "{{\"m\":{{\"dtype\":\"{dtype}\",\"shape\":[6,1],\"data_offsets\":[0,{}]}}}}",
                values.len()
            );
            let length = (header.len() as u64).to_le_bytes();
            let bytes = [&length[..], header.as_bytes(), values].concat();
            assert_eq!(mask(&bytes, "a.safetensors"), expected, "{dtype}");
            let refused = open(MatrixValues::Losses, &bytes, "a.safetensors").unwrap_err();
            assert!(refused.contains(&format!("holds {dtype}; losses are floats")), "{refused}");
        }
        let refused = mask(&npy("|O", false, "(6, 1)", &[]), "a.npy").unwrap_err();
        assert!(
            refused.contains("it holds Python objects (|O); a mask is of bools, integers, or"),
            "{refused}"
        );
    }

    #[test]
    fn a_folder_is_no_matrix() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.npy", "a.f32", "a.safetensors"] {
            let path = folder.path().join(name);
            fs_err::create_dir(&path).unwrap();
            let (tensor, number, orientation) = (None, None, Orientation::ModelMajor);
            let values = MatrixValues::Losses;
            let (examples, models) = (3, 2);
            let wanted = MatrixSpec { path: &path, tensor, orientation, values, number, examples, models };
            let error = LossMatrix::open(&wanted).unwrap_err().to_string();
            assert!(error.ends_with(&format!("{name}: it is a folder, not a file")), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused =
            |bytes: &[u8], name: &str, sizes| open(bytes, name, Orientation::ModelMajor, sizes).unwrap_err();
        let values = [0f32; 6];
        let good = npy("<f4", false, "(2, 3)", &values);
        assert!(refused(&good, "a.npy", (4, 2)).contains("losses of 3 examples, and there are 4 ids"));
        assert!(refused(&good, "a.npy", (2, 3)).contains("orientation"));
        assert!(refused(&good[..good.len() - 4], "a.npy", (3, 2)).contains("too few"));
        assert!(refused(&npy("|O", false, "(2, 3)", &values), "a.npy", (3, 2)).contains("objects (|O)"));
        assert!(
            refused(&npy("<i8", false, "(2, 3)", &values), "a.npy", (3, 2)).contains("integers of 8 bytes")
        );
        assert!(refused(&npy("<f4", false, "(1, 2, 3)", &values), "a.npy", (3, 2)).contains("not a matrix"));
        assert!(refused(b"\x80\x04", "a.pkl", (3, 2)).contains("pickle"));
        assert!(refused(b"PK\x03\x04", "a.npz", (3, 2)).contains("save that of the losses as .npy"));
        assert!(refused(&[0; 23], "a.f32", (3, 2)).contains("too few"));
        let long = [&good[..], &[0; 4]].concat();
        assert!(refused(&long, "a.npy", (3, 2)).contains("of f32 take"));
        assert!(refused(&[0; 28], "a.f32", (3, 2)).contains("28 bytes"));
    }
}
