//! JSON files as Kronfluence writes them, and files that appear when they are whole.

use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gstore_core::if_there;
use gstore_store::vfs::{parent, sync_folder};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::error::FactorError;

/// How the names of files begin that are being written.
pub(in crate::factors) const PART: &str = ".part-";

/// Writes a file under another name, and renames it: under its own there is the old one or the new one.
pub(super) fn place(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), FactorError>,
) -> Result<(), FactorError> {
    let folder = parent(path);
    let open = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(PART).permissions(open).tempfile_in(folder)?;
    let mut out = BufWriter::with_capacity(1 << 16, file.as_file_mut());
    let named =
        |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    fill(&mut out).and_then(|()| out.flush().map_err(FactorError::from)).map_err(|error| match error {
        FactorError::Io(error) => FactorError::Io(named(error)),
        error => error,
    })?;
    drop(out);
    file.as_file().sync_all().map_err(named)?;
    file.persist(path).map_err(|error| named(error.error))?;
    Ok(sync_folder(folder)?)
}

/// Writes a value as Python's json does with an indent of 4.
pub(in crate::factors) fn write(path: &Path, value: &impl Serialize) -> Result<(), FactorError> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).map_err(|error| FactorError::file(path, error.to_string()))?;
    place(path, |out| out.write_all(&bytes).map_err(FactorError::from))
}

/// Reads a value; none where there is no file.
pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, FactorError> {
    let Some(bytes) = if_there(fs_err::read(path))? else { return Ok(None) };
    let value = serde_json::from_slice(&bytes).map_err(|error| FactorError::file(path, error.to_string()))?;
    Ok(Some(value))
}
