//! JSON files as Kronfluence writes them, and files that appear when they are whole.

use std::io::{BufWriter, IntoInnerError, Write};
use std::path::Path;

use gstore_core::if_there;
use gstore_store::vfs::{PendingFile, is_unfinished, write_whole};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::error::FactorError;

/// Whether a file of this name in a folder of factors or scores is being written; earlier versions called it
/// `.part-` and random letters.
pub(in crate::factors) fn is_part(name: &str) -> bool {
    is_unfinished(name) || name.starts_with(".part-")
}

/// Writes a file under another name, and renames it: under its own there is the old one or the new one.
pub(super) fn place(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), FactorError>,
) -> Result<(), FactorError> {
    Ok(filled(path, fill)?.finish()?)
}

/// The same, but a file that is there stays: of several processes the first one gives it its content. Returns
/// whether it is this one.
pub(super) fn place_new(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), FactorError>,
) -> Result<bool, FactorError> {
    Ok(filled(path, fill)?.finish_new()?)
}

fn filled(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), FactorError>,
) -> Result<PendingFile, FactorError> {
    let mut out = BufWriter::with_capacity(1 << 16, PendingFile::new(path)?);
    fill(&mut out)?;
    Ok(out.into_inner().map_err(IntoInnerError::into_error)?)
}

/// Writes a value as Python's json does with an indent of 4.
pub(in crate::factors) fn write(path: &Path, value: &impl Serialize) -> Result<(), FactorError> {
    Ok(write_whole(path, &python_json(path, value)?)?)
}

/// Writes a value where there is no file; otherwise, and where another process is faster, the value that is
/// there.
pub(in crate::factors) fn write_or_read<T: DeserializeOwned>(
    path: &Path,
    value: &impl Serialize,
) -> Result<Option<T>, FactorError> {
    if !path.exists() {
        let bytes = python_json(path, value)?;
        if place_new(path, |out| out.write_all(&bytes).map_err(FactorError::from))? {
            return Ok(None);
        }
    }
    parsed(path, &fs_err::read(path)?).map(Some)
}

fn python_json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, FactorError> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).map_err(|error| FactorError::file(path, error.to_string()))?;
    Ok(bytes)
}

/// Reads a value; none where there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FactorError> {
    let bytes = if_there(fs_err::read(path))?;
    bytes.map(|bytes| parsed(path, &bytes)).transpose()
}

fn parsed<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, FactorError> {
    serde_json::from_slice(bytes).map_err(|error| FactorError::file(path, error.to_string()))
}
