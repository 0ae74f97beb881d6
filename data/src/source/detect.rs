//! Detection of formats, by the first bytes of a file where they tell, else by its name; of what separates
//! the columns of text, by its header line.

use std::io::Read;
use std::path::Path;

use gstore_core::separator;

use super::super::jsonl::{UTF8_MARK, convert_wide};
use super::format::{Compression, Format, format_of};
use super::stream::CONTINUATION;
use super::unpack::Input;
use super::{DataError, DataFile};

impl DataFile {
    /// Looks at the name and the first bytes of a file.
    ///
    /// # Errors
    /// A file that cannot be read, text in UTF-16 or UTF-32, what is no text by its first bytes though its
    /// name says so, and a file whose format is not known.
    pub fn detect(path: &Path) -> Result<Self, DataError> {
        let compression = compression_of(&first_bytes(&mut fs_err::File::open(path)?)?);
        let (mut start, mut header) = (Vec::new(), Vec::new());
        // A packed stream that is damaged at once keeps the format of its name; reading it says what is
        // wrong.
        if let Ok(mut input) = Input::unpacked(path, compression) {
            start = first_bytes(&mut input.bytes).unwrap_or_default();
            if let Some(Format::Csv { .. }) = format_of(path) {
                header.clone_from(&start);
                // What cannot be read is reported where all of it is.
                let _ = input.bytes.take(HEADER).read_to_end(&mut header);
            }
        }
        let by_content = if start.starts_with(b"PAR1") {
            Some(Format::Parquet)
        } else if start.starts_with(b"ARROW1") {
            Some(Format::ArrowFile)
        } else if start.starts_with(&CONTINUATION) {
            Some(Format::ArrowStream)
        } else {
            None
        };
        let format =
            by_content.or_else(|| format_of(path)).ok_or_else(|| DataError::Unknown(path.to_owned()))?;
        if let (Format::Lines | Format::Csv { .. }, Some(why)) = (format, no_text(&start)) {
            return Err(DataError::damaged(path, None, why));
        }
        let other = match format {
            Format::Csv { delimiter } => other_separator(&header, delimiter),
            _ => None,
        };
        let format = other.map_or(format, |(delimiter, _)| Format::Csv { delimiter });
        Ok(Self::new(path, format, compression, other.map(|(_, called)| called)))
    }
}

/// Bytes within which a header line ends.
const HEADER: u64 = 64 << 10;

/// What separates the columns of a text's header line where the separator of its ending does not.
fn other_separator(text: &[u8], usual: u8) -> Option<(u8, &'static str)> {
    let text = text.strip_prefix(UTF8_MARK).unwrap_or(text);
    let header = text.split(|byte| *byte == b'\n').next()?;
    separator(String::from_utf8_lossy(header).trim_end(), usual)
}

/// Why a file is no text in UTF-8, as far as its first bytes tell.
fn no_text(start: &[u8]) -> Option<&'static str> {
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    // Of bzip2, which begins with letters.
    let is_packed = matches!(start, [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&']);
    if let Some(why) = convert_wide(start) {
        Some(why)
    } else if compression_of(start) != Compression::None {
        Some("it is compressed twice; unpack it once, as with `gzip -dc FILE > NEW.gz` or `zstd -dc`")
    } else if is_packed || start.iter().any(is_control) {
        Some("it is binary data, not text; if its format is supported, give it the ending of that format")
    } else {
        None
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
