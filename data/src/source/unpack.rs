//! Decompressing reader that counts the bytes of the file.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::GzDecoder;

use super::super::jsonl::READ_SIZE;
use super::format::Compression;
use super::{DataError, DataFile};

/// Bytes read of a file, shared with the progress display.
#[derive(Clone, Debug, Default)]
pub(super) struct ByteCount(Arc<AtomicU64>);

impl ByteCount {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The plain bytes of a file.
pub(super) struct Input {
    pub(super) bytes: Box<dyn Read + Send>,
    pub(super) count: ByteCount,
}

impl Input {
    pub(super) fn open(file: &DataFile) -> Result<Self, DataError> {
        Self::unpacked(file.path(), file.compression)
    }

    /// The bytes of a file that is packed so.
    pub(super) fn unpacked(path: &Path, compression: Compression) -> Result<Self, DataError> {
        let count = ByteCount::default();
        let raw = CountedReader { inner: fs_err::File::open(path)?, count: count.clone() };
        let bytes: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(raw),
            Compression::Gzip => Box::new(ExplainedReader {
                inner: GzipMembers { member: Some(GzDecoder::new(BufReader::with_capacity(READ_SIZE, raw))) },
                name: "gzip",
            }),
            Compression::Zstd => Box::new(ExplainedReader {
                inner: zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(READ_SIZE, raw))?,
                name: "zstd",
            }),
        };
        Ok(Self { bytes, count })
    }
}

/// A file that can be read in any order: the file itself, or an unpacked copy without a name, which
/// takes disk and no memory.
pub(super) fn seekable(file: &DataFile) -> Result<std::fs::File, DataError> {
    if file.compression == Compression::None {
        return Ok(fs_err::File::open(file.path())?.into_parts().0);
    }
    let damaged = |error: std::io::Error| DataError::damaged(file.path(), None, error.to_string());
    let mut copy = tempfile::tempfile().map_err(damaged)?;
    std::io::copy(&mut Input::open(file)?.bytes, &mut copy).map_err(damaged)?;
    copy.seek(SeekFrom::Start(0)).map_err(damaged)?;
    Ok(copy)
}

struct CountedReader<R> {
    inner: R,
    count: ByteCount,
}

impl<R: Read> Read for CountedReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.0.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The members of a gzip file, one after another. Zeros after a whole one are padding, as tapes and block
/// devices leave it.
struct GzipMembers<R> {
    /// `None` after the last.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while let Some(member) = &mut self.member {
            let n = member.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            self.member = match first_after_zeros(member.get_mut())? {
                None => None,
                Some(MEMBER) => self.member.take().map(|ended| GzDecoder::new(ended.into_inner())),
                Some(_) => {
                    return Err(std::io::Error::other("after its end there are bytes of something else"));
                }
            };
        }
        Ok(0)
    }
}

/// The first byte of a member.
const MEMBER: u8 = 0x1f;

/// Passes over zeros; the byte after them, if there is one, is the next to be read.
fn first_after_zeros(input: &mut impl BufRead) -> std::io::Result<Option<u8>> {
    loop {
        let bytes = input.fill_buf()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let (first, is_end) = (bytes.get(zeros).copied(), bytes.is_empty());
        input.consume(zeros);
        if first.is_some() || is_end {
            return Ok(first);
        }
    }
}

/// Says of an error that the compressed stream is behind it, and what to do.
struct ExplainedReader<R> {
    inner: R,
    name: &'static str,
}

impl<R: Read> Read for ExplainedReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buf).map_err(|error| match error.kind() {
            std::io::ErrorKind::Interrupted => error,
            kind => {
                let what = if kind == std::io::ErrorKind::UnexpectedEof {
                    "the file ends in the middle of it".to_owned()
                } else {
                    error.to_string()
                };
                let name = self.name;
                std::io::Error::new(
                    kind,
                    format!("the {name} data is damaged or cut off: {what}; copy or download the file again"),
                )
            }
        })
    }
}
