//! Header of a NumPy file (`.npy`). Nothing of it is executed: it is read by its three fields.

use std::io::{Error, ErrorKind, Read};

use super::source::shortest_float;

const MAX_HEADER: usize = 1 << 16;

/// An array in a NumPy file: where its values lie, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumpyArray {
    /// First byte of the values.
    pub offset: u64,
    /// Type of a value as NumPy writes it: `<f8`.
    pub descr: String,
    /// Whether the highest byte of a value is the first.
    pub big_endian: bool,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Whether the first axis varies fastest.
    pub fortran: bool,
}

impl NumpyArray {
    /// Reads a header, a Python dictionary with `descr`, `fortran_order` and `shape`, up to the first value.
    ///
    /// # Errors
    /// What is no NumPy file, and what is not one array of plain values, as a sentence about "it".
    pub fn read(file: &mut impl Read) -> Result<Self, String> {
        let short = |error: Error| match error.kind() {
            ErrorKind::UnexpectedEof => "it is too short for a NumPy array".to_owned(),
            _ => format!("it could not be read: {error}"),
        };
        let mut start = [0; 8];
        file.read_exact(&mut start).map_err(short)?;
        let Some([major, _]) = start.strip_prefix(b"\x93NUMPY") else {
            return Err("it is not a NumPy array".to_owned());
        };
        let (len, lead) = if *major == 1 {
            let mut len = [0; 2];
            file.read_exact(&mut len).map_err(short)?;
            (usize::from(u16::from_le_bytes(len)), 10)
        } else {
            let mut len = [0; 4];
            file.read_exact(&mut len).map_err(short)?;
            (u32::from_le_bytes(len) as usize, 12)
        };
        if len > MAX_HEADER {
            return Err(format!("its header claims {len} bytes"));
        }
        let mut header = vec![0; len];
        file.read_exact(&mut header).map_err(short)?;
        let header = String::from_utf8_lossy(&header).into_owned();
        let after = |key: &str| {
            let (_, rest) = header.split_once(&format!("'{key}'"))?;
            Some(rest.trim_start().strip_prefix(':')?.trim_start().to_owned())
        };
        let bad = || format!("its header is not one of a plain array: {}", header.trim());
        let descr = after("descr").ok_or_else(bad)?;
        let descr = descr.strip_prefix('\'').and_then(|d| d.split_once('\'')).ok_or_else(bad)?.0.to_owned();
        let fortran = match after("fortran_order").ok_or_else(bad)? {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            _ => return Err(bad()),
        };
        let shape = after("shape").ok_or_else(bad)?;
        let shape = shape.strip_prefix('(').and_then(|s| s.split_once(')')).ok_or_else(bad)?.0;
        let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
        // Python 2 writes an L behind a number.
        let sizes = sizes.map(|size| size.strip_suffix('L').unwrap_or(size));
        let shape: Vec<usize> =
            sizes.map(|size| size.parse().map_err(|_| bad())).collect::<Result<_, _>>()?;
        Ok(Self { offset: (lead + len) as u64, big_endian: descr.starts_with('>'), descr, shape, fortran })
    }

    /// Bytes of a value, if the values are floats.
    pub fn float_size(&self) -> Option<usize> {
        match self.descr.trim_start_matches(['<', '>']) {
            "f2" => Some(2),
            "f4" => Some(4),
            "f8" => Some(8),
            _ => None,
        }
    }

    /// The float of some bytes of the file, which are as many as a value has. It is what it is in tables, so
    /// that sums that tie in decimal digits tie in every kind of file.
    pub fn float(&self, bytes: &[u8]) -> Option<f64> {
        let mut turned = [0; 8];
        let turned = turned.get_mut(..bytes.len())?;
        turned.copy_from_slice(bytes);
        if self.big_endian {
            turned.reverse();
        }
        shortest_float(turned)
    }
}
