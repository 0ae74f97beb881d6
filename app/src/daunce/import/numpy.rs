//! Header of a NumPy file.

use std::fs::File;
use std::io::Read;

use crate::number::NumberType;

/// Where the values of an array lie.
pub(super) struct Array {
    pub offset: u64,
    pub number: NumberType,
    pub shape: Vec<usize>,
    /// Whether the first axis varies fastest.
    pub fortran: bool,
}

/// Longest header of a NumPy file that is read.
const MAX_HEADER: usize = 1 << 16;

/// The header of a NumPy file: a Python dictionary with `descr`, `fortran_order` and `shape`.
pub(super) fn numpy(file: &mut File) -> Result<Array, String> {
    let short = |_| "it is too short for a NumPy array".to_owned();
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
    let descr = descr.strip_prefix('\'').and_then(|d| d.split_once('\'')).ok_or_else(bad)?.0;
    let number = NumberType::parse(descr).ok_or_else(|| not_losses(descr))?;
    let fortran = match after("fortran_order").ok_or_else(bad)? {
        order if order.starts_with("True") => true,
        order if order.starts_with("False") => false,
        _ => return Err(bad()),
    };
    let shape = after("shape").ok_or_else(bad)?;
    let shape = shape.strip_prefix('(').and_then(|s| s.split_once(')')).ok_or_else(bad)?.0;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape: Vec<usize> = sizes.map(|size| size.parse().map_err(|_| bad())).collect::<Result<_, _>>()?;
    Ok(Array { offset: (lead + len) as u64, number, shape, fortran })
}

/// Why values of a type are no losses.
fn not_losses(descr: &str) -> String {
    let kind = descr.trim_start_matches(['<', '>', '|', '=']);
    let what = match (kind.chars().next(), kind.get(1..).unwrap_or_default()) {
        (Some('i' | 'u'), bytes) => format!("integers of {bytes} bytes"),
        (Some('f'), _) if descr.starts_with('>') => "big-endian floats".to_owned(),
        (Some('f'), bytes) => format!("floats of {bytes} bytes"),
        (Some('O'), _) => "Python objects".to_owned(),
        _ => "no floats".to_owned(),
    };
    format!("it holds {what} ({descr}); losses are little-endian floats of 8, 4 or 2 bytes")
}
