//! The bytes of an index file around its sections.
//!
//! ```text
//! magic, zeros to 64 | section, zeros to a multiple of 64 | ...
//!     | footer (JSON) | its length (u64) | its XXH3-128 | magic
//! ```
//!
//! Sections tile the file: each begins where the one before it, filled up to 64, ends, and the footer follows
//! the last one. So no byte is without a meaning, and a place that a footer names is inside the file.

use crate::error::{Damage, StorageError};
use crate::manifest::{VERSION, parse};
use crate::vfs::VfsRead;
use gstore_core::{Digest, Remedy};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::ops::Range;
use uuid::Uuid;

/// First and last bytes of the file.
pub(super) const MAGIC: &[u8; 8] = b"GSINDEX\n";
/// Sections and the footer begin on multiples of this; so do chunks in their sections.
pub(super) const ALIGN: u64 = 64;
/// Magic, and zeros up to the first section.
pub(super) const HEAD: u64 = ALIGN;
/// Length and digest of the footer, and the magic.
pub(super) const TRAILER: u64 = 32;
/// No chunk is longer: it is read at once.
pub(super) const MAX_CHUNK: u64 = 1 << 26;
/// No footer is longer: 35 bytes for each chunk, with room to spare.
const FOOTER_LIMIT: u64 = 1 << 28;

/// What to do about an index that cannot be used and is made again by `build`.
pub fn remedy(build: Remedy<'_>) -> String {
    format!("an index holds only derived data: {build} rebuilds it, {} removes it", Remedy::Repair)
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Footer {
    pub version: u32,
    pub requires: Vec<String>,
    pub kind: String,
    /// Tells two builds apart that agree in everything else.
    pub build: Uuid,
    pub segment: Uuid,
    /// Digest of the segment's tail, as the catalog has it.
    pub segment_digest: Digest,
    /// Taken out of a footer that is read: what reads it has them checked.
    pub sections: Vec<StoredSection>,
    /// The caller's.
    pub header: Value,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredSection {
    pub name: String,
    pub offset: u64,
    pub len: u64,
    /// Bytes of a chunk; the last one may be shorter.
    pub chunk: u64,
    /// XXH3-128 of each chunk, 32 digits each.
    pub digests: String,
}

impl Footer {
    pub fn new(kind: &str, segment: Uuid, segment_digest: Digest, header: Value) -> Self {
        Footer {
            version: VERSION,
            requires: Vec::new(),
            kind: kind.to_owned(),
            build: Uuid::new_v4(),
            segment,
            segment_digest,
            sections: Vec::new(),
            header,
        }
    }
}

/// A section with its place in the file.
#[derive(Debug)]
pub(super) struct SectionInfo {
    pub name: String,
    pub offset: u64,
    pub len: u64,
    pub chunk: u64,
    pub digests: Vec<Digest>,
}

impl SectionInfo {
    /// The bytes of some chunks, in the file.
    pub fn span(&self, chunks: &Range<usize>) -> Range<u64> {
        let at = |i: usize| self.offset + (i as u64).saturating_mul(self.chunk).min(self.len);
        at(chunks.start)..at(chunks.end)
    }
}

/// The next multiple of [`ALIGN`].
pub(super) fn aligned(n: u64) -> u64 {
    n.saturating_add(ALIGN - 1) / ALIGN * ALIGN
}

/// Whether sections may be cut into chunks of this length.
pub(super) fn is_chunk(len: u64) -> bool {
    len.is_multiple_of(ALIGN) && (ALIGN..=MAX_CHUNK).contains(&len)
}

/// Whether a section can have this name: 1 to 64 of `a-z`, `0-9` and `_`.
pub(super) fn is_section_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

/// The end of a file: footer and trailer.
#[derive(Debug)]
pub(super) struct Tail {
    /// Where it begins.
    pub start: u64,
    pub bytes: Vec<u8>,
}

impl Tail {
    /// Reads the tail of a file of `len` bytes and compares its digest.
    pub fn read(file: &dyn VfsRead, name: &str, len: u64) -> Result<Tail, StorageError> {
        let bad = |what: &str, at: u64, expected: String, found: String| -> StorageError {
            Damage::new(name, what, expected, found).at(at).affecting(remedy(Remedy::INDEX)).into()
        };
        let read = |start: u64, n: u64| -> Result<Vec<u8>, StorageError> {
            let mut bytes = vec![0; n as usize];
            match file.read_at(&mut bytes, start) {
                Ok(()) => Ok(bytes),
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    Err(bad("length", start, format!("{len} bytes"), e.to_string()))
                }
                Err(e) => Err(StorageError::io(format!("read {name}"), e)),
            }
        };
        let Some(trailer_at) = len.checked_sub(TRAILER).filter(|at| *at >= HEAD) else {
            return Err(bad("length", 0, format!("{} bytes or more", HEAD + TRAILER), len.to_string()));
        };
        let trailer = read(trailer_at, TRAILER)?;
        let Some((n, digest, magic)) = fields(&trailer) else {
            return Err(bad("end of the file", trailer_at, format!("{TRAILER} bytes"), "fewer".into()));
        };
        if magic != MAGIC {
            let (expected, found) = (format!("{MAGIC:02x?}"), format!("{magic:02x?}"));
            return Err(bad("last bytes", len - MAGIC.len() as u64, expected, found));
        }
        let most = (trailer_at - HEAD).min(FOOTER_LIMIT);
        if n > most {
            return Err(bad("length of the footer", trailer_at, format!("{most} or less"), n.to_string()));
        }
        let start = trailer_at - n;
        let mut bytes = read(start, n)?;
        let found = Digest::of(&bytes);
        if found != digest {
            let (expected, found) = (digest.to_string(), found.to_string());
            return Err(bad("digest of the footer", start, expected, found));
        }
        bytes.extend_from_slice(&trailer);
        Ok(Tail { start, bytes })
    }

    /// The tail of a file whose footer begins at `start`.
    pub fn write(footer: Vec<u8>, start: u64) -> Tail {
        let (n, digest) = (footer.len() as u64, Digest::of(&footer));
        let mut bytes = footer;
        bytes.extend_from_slice(&n.to_le_bytes());
        bytes.extend_from_slice(&digest.number().to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        Tail { start, bytes }
    }

    /// What the footer says, and the sections that it has, checked.
    pub fn footer(&self, name: &str) -> Result<(Footer, Vec<SectionInfo>), StorageError> {
        let (json, _) = self.bytes.split_at(self.bytes.len().saturating_sub(TRAILER as usize));
        let mut footer: Footer = parse(name, json)?;
        let sections = footer.take_sections(self.start).map_err(|(what, expected, found)| {
            Damage::new(name, what, expected, found).at(self.start).affecting(remedy(Remedy::INDEX))
        })?;
        Ok((footer, sections))
    }
}

fn fields(trailer: &[u8]) -> Option<(u64, Digest, &[u8])> {
    let (n, rest) = trailer.split_first_chunk::<8>()?;
    let (digest, magic) = rest.split_first_chunk::<16>()?;
    Some((u64::from_le_bytes(*n), Digest::new(u128::from_le_bytes(*digest)), magic))
}

/// What is wrong: which part, what is expected, what is there.
type Mismatch = (String, String, String);

impl Footer {
    fn take_sections(&mut self, start: u64) -> Result<Vec<SectionInfo>, Mismatch> {
        let mut names = HashSet::new();
        let mut sections = Vec::with_capacity(self.sections.len());
        let mut next = HEAD;
        for section in self.sections.drain(..) {
            if !is_section_name(&section.name) || !names.insert(section.name.clone()) {
                let what = "name of a section".to_owned();
                return Err((what, "one of its own".into(), format!("{:?}", section.name)));
            }
            let checked = section.check(next, start)?;
            next = aligned(checked.offset + checked.len);
            sections.push(checked);
        }
        if next != start {
            return Err(("place of the footer".into(), next.to_string(), start.to_string()));
        }
        Ok(sections)
    }
}

impl StoredSection {
    /// Checks a section that must begin at `next`, before `end`.
    fn check(self, next: u64, end: u64) -> Result<SectionInfo, Mismatch> {
        let problem = |what: &str, expected: String, found: String| {
            Err((format!("{what} of section {}", self.name), expected, found))
        };
        if self.offset != next || next > end {
            return problem("place", next.to_string(), self.offset.to_string());
        }
        if self.len > end - next {
            return problem("length", format!("{} or less", end - next), self.len.to_string());
        }
        if !is_chunk(self.chunk) {
            let expected = format!("a multiple of {ALIGN} up to {MAX_CHUNK}");
            return problem("length of the chunks", expected, self.chunk.to_string());
        }
        let chunks = self.len.div_ceil(self.chunk);
        let (digits, rest) = self.digests.as_bytes().as_chunks::<32>();
        if digits.len() as u64 != chunks || !rest.is_empty() {
            let found = format!("{} digits", self.digests.len());
            return problem("digests", format!("{chunks} of 32 digits"), found);
        }
        let Some(digests) = digits.iter().map(digest).collect::<Option<Vec<Digest>>>() else {
            return problem("digests", "hexadecimal digits".into(), "others".into());
        };
        let StoredSection { name, offset, len, chunk, .. } = self;
        Ok(SectionInfo { name, offset, len, chunk, digests })
    }
}

fn digest(digits: &[u8; 32]) -> Option<Digest> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
