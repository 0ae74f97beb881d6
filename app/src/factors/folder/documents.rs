//! JSON files as Kronfluence writes them, and files that appear when they are whole.

use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gstore_core::if_there;
use gstore_store::vfs::{parent, sync_folder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{PrettyFormatter, Serializer};
use tempfile::NamedTempFile;

use super::error::FactorError;

/// How the names of files begin that are being written.
pub(in crate::factors) const PART: &str = ".part-";

/// Writes a file under another name, and renames it: under its own there is the old one or the new one.
pub(super) fn place(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), FactorError>,
) -> Result<(), FactorError> {
    filled(path, fill)?.persist(path).map_err(|error| named(path, &error.error))?;
    Ok(sync_folder(parent(path))?)
}

/// The same, but a file that is there stays: of several processes the first one gives it its content. Returns
/// whether it is this one.
pub(super) fn place_new(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), FactorError>,
) -> Result<bool, FactorError> {
    let is_first = match filled(path, fill)?.persist_noclobber(path) {
        Ok(_) => true,
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(named(path, &error.error).into()),
    };
    // Also where another process has just named it.
    sync_folder(parent(path))?;
    Ok(is_first)
}

/// The bytes of a file on the medium, under a name that does not stay.
fn filled(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), FactorError>,
) -> Result<NamedTempFile, FactorError> {
    let open = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(PART).permissions(open).tempfile_in(parent(path))?;
    let mut out = BufWriter::with_capacity(1 << 16, file.as_file_mut());
    fill(&mut out).and_then(|()| out.flush().map_err(FactorError::from)).map_err(|error| match error {
        FactorError::Io(error) => FactorError::Io(named(path, &error)),
        error => error,
    })?;
    drop(out);
    file.as_file().sync_all().map_err(|error| named(path, &error))?;
    Ok(file)
}

fn named(path: &Path, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Writes a value as Python's json does with an indent of 4.
pub(in crate::factors) fn write(path: &Path, value: &impl Serialize) -> Result<(), FactorError> {
    let bytes = python_json(path, value)?;
    place(path, |out| out.write_all(&bytes).map_err(FactorError::from))
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
