//! Detection of formats, by the first bytes of a file where they tell, else by its name.

use std::io::Read;
use std::path::Path;

use super::format::{Compression, Format, format_of};
use super::unpack::Input;
use super::{DataError, DataFile};

impl DataFile {
    /// Looks at the name and the first bytes of a file.
    ///
    /// # Errors
    /// A file that cannot be read, or whose format is not known.
    pub fn detect(path: &Path) -> Result<Self, DataError> {
        let compression = compression_of(&first_bytes(&mut fs_err::File::open(path)?)?);
        let mut start = Vec::new();
        // A packed stream that is damaged at once keeps the format of its name; reading it says what is
        // wrong.
        if let Ok(mut input) = Input::unpacked(path, compression) {
            start = first_bytes(&mut input.bytes).unwrap_or_default();
        }
        let by_content = if start.starts_with(b"PAR1") {
            Some(Format::Parquet)
        } else if start.starts_with(b"ARROW1") {
            Some(Format::ArrowFile)
        } else {
            None
        };
        let format = by_content
            .or_else(|| format_of(path))
            .ok_or_else(|| DataError::Unknown { path: path.to_owned() })?;
        Ok(Self::new(path, format, compression))
    }
}

fn compression_of(start: &[u8]) -> Compression {
    if start.starts_with(&[0x1F, 0x8B]) {
        Compression::Gzip
    } else if start.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
        Compression::Zstd
    } else {
        Compression::None
    }
}

fn first_bytes(source: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    source.take(8).read_to_end(&mut start)?;
    Ok(start)
}
