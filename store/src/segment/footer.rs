//! The metadata in a segment's footer: enough to rebuild the catalog from the files.

use super::bounds::BlockBounds;
use super::layout::{ALIGN, Mismatch, SegmentShape, problem};
use crate::error::{Damage, StorageError};
use crate::manifest::{ROTATED_SIGNS, SIGN_ROWS, TOKENS, VERSION};
use gstore_core::{CELL_ROWS, DType, Digest, FeatureAttrs, FeatureDesc, Granularity, canonical_json};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;

pub(crate) const KEY_VERSION: &str = "gstore.version";
pub(crate) const KEY_REQUIRES: &str = "gstore.requires";
pub(crate) const KEY_FEATURE: &str = "gstore.feature";
pub(crate) const KEY_KEY: &str = "gstore.key";
pub(crate) const KEY_ATTRS: &str = "gstore.attrs";
pub(crate) const KEY_ROWS: &str = "gstore.rows";
pub(crate) const KEY_HEAD: &str = "gstore.head";
pub(crate) const KEY_BLOCKS: &str = "gstore.blocks";
/// Vectors of each block, where a row may have several.
pub(crate) const KEY_VECTORS: &str = "gstore.vectors";
/// Lengths and flags of the vectors of each block; may be absent.
pub(crate) const KEY_BOUNDS: &str = "gstore.bounds";

/// Rows of a segment: first, one past the last, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowSpan {
    pub first: u64,
    pub end: u64,
    pub rows: u64,
}

/// A block as the footer's metadata has it: rows and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockMeta(pub u64, pub u64, pub u64, pub Digest);

/// A block with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockInfo {
    pub offset: u64,
    pub header_len: usize,
    pub body_len: usize,
    pub first: u64,
    pub end: u64,
    /// Rows of the block, and its vectors: as many, or one for each token of the rows.
    pub rows: usize,
    pub vectors: usize,
    pub digest: Digest,
}

impl BlockInfo {
    pub(crate) fn len(&self) -> usize {
        self.header_len + self.body_len
    }

    /// Its bytes in the file.
    pub(crate) fn span(&self) -> Range<u64> {
        self.offset..self.offset + self.len() as u64
    }

    pub(crate) fn is_dense(&self) -> bool {
        self.end - self.first == self.rows as u64
    }
}

/// The parsed tail of a segment.
#[derive(Debug)]
pub(crate) struct Footer {
    pub span: RowSpan,
    pub key: String,
    pub head_len: u64,
    pub head_digest: Digest,
    pub blocks: Vec<BlockInfo>,
    pub bounds: Option<Vec<BlockBounds>>,
    pub metadata: HashMap<String, String>,
}

/// The metadata that a writer puts into the footer.
pub(crate) fn metadata(
    desc: &FeatureDesc,
    attrs: &FeatureAttrs,
    span: RowSpan,
    head: Digest,
    blocks: &[BlockMeta],
    vectors: &[u64],
    bounds: &[BlockBounds],
) -> Result<Vec<(&'static str, String)>, serde_json::Error> {
    let tokens = desc.granularity == Granularity::Token;
    let signs = desc.dtype == DType::I1;
    let rotated = !desc.rotation.is_none();
    let requires: Vec<&str> = [(tokens, TOKENS), (signs, SIGN_ROWS), (rotated, ROTATED_SIGNS)]
        .into_iter()
        .filter(|(needed, _)| *needed)
        .map(|r| r.1)
        .collect();
    let mut pairs = vec![
        (KEY_VERSION, VERSION.to_string()),
        (KEY_REQUIRES, serde_json::to_string(&requires)?),
        (KEY_FEATURE, desc.canonical()),
        (KEY_KEY, desc.key()),
        (KEY_ATTRS, canonical_json(&serde_json::to_value(attrs)?)),
        (KEY_ROWS, serde_json::to_string(&span)?),
        (KEY_HEAD, head.to_string()),
        (KEY_BLOCKS, serde_json::to_string(blocks)?),
        (KEY_BOUNDS, serde_json::to_string(bounds)?),
    ];
    if tokens {
        pairs.push((KEY_VECTORS, serde_json::to_string(vectors)?));
    }
    Ok(pairs)
}

/// No tail that is written or read is longer: about 115 bytes for each block, and 19 for each module group of
/// a block.
pub(crate) const TAIL_LIMIT: u64 = 1 << 28;

/// Bytes that a tail with this metadata has at most.
pub(crate) fn tail_bound(metadata: &[(&str, String)], blocks: usize) -> u64 {
    /// Of a block's place, of a pair besides its text, and of all the rest.
    const PLACE: usize = 24;
    const PAIR: usize = 64;
    const REST: usize = 1 << 16;
    let text: usize = metadata.iter().map(|(key, value)| key.len() + value.len() + PAIR).sum();
    (text + PLACE * blocks + REST) as u64
}

/// The last bytes of every Arrow file.
pub(crate) const MAGIC: &[u8; 6] = b"ARROW1";
/// Footer length and magic.
pub(crate) const TRAILER: usize = 10;

/// Length of the footer by the last ten bytes of a file of `len` bytes.
pub(crate) fn footer_len(trailer: &[u8], len: u64) -> Result<usize, Mismatch> {
    let Some((l, magic)) = trailer.split_first_chunk::<4>() else {
        return problem("end of the file", "10 bytes", trailer.len());
    };
    if magic != MAGIC {
        return problem("end of the file", "ARROW1", format!("{magic:02x?}"));
    }
    match usize::try_from(i32::from_le_bytes(*l)) {
        Ok(n) if n > 0 && (n as u64) < len.saturating_sub(TRAILER as u64) => Ok(n),
        _ => problem("length of the footer", format!("1 to {len}"), i32::from_le_bytes(*l)),
    }
}

/// Where a tail comes from.
pub(crate) struct TailSource<'a> {
    /// The file, for messages.
    pub name: &'a str,
    /// Its length.
    pub len: u64,
}

impl TailSource<'_> {
    fn damage(&self, p: Mismatch) -> StorageError {
        Damage::new(self.name, p.0, p.1, p.2).into()
    }
}

impl Footer {
    /// Parses the bytes after the last block: end marker, footer, its length, magic.
    pub(crate) fn parse(place: &TailSource<'_>, tail: &[u8]) -> Result<Footer, StorageError> {
        let damage = |p| place.damage(p);
        let end = tail.len().saturating_sub(TRAILER);
        let n = footer_len(tail.split_at(end).1, place.len).map_err(damage)?;
        let Some(bytes) = end.checked_sub(n).and_then(|start| tail.get(start..end)) else {
            return Err(damage(("length of the footer".into(), format!("at most {end}"), n.to_string())));
        };
        let footer = arrow_ipc::root_as_footer(bytes)
            .map_err(|e| damage(("footer".into(), "a valid Arrow footer".into(), e.to_string())))?;
        let mut metadata = HashMap::new();
        for kv in footer.custom_metadata().iter().flat_map(|m| m.iter()) {
            if let (Some(k), Some(v)) = (kv.key(), kv.value()) {
                metadata.insert(k.to_owned(), v.to_owned());
            }
        }
        check_version(place.name, &metadata)?;
        if footer.version() != arrow_ipc::MetadataVersion::V5 {
            return Err(damage(("footer version".into(), "V5".into(), format!("{:?}", footer.version()))));
        }
        let tail_start = place.len - tail.len() as u64;
        Self::assemble(&footer, metadata, tail_start).map_err(damage)
    }

    fn assemble(
        footer: &arrow_ipc::Footer<'_>,
        metadata: HashMap<String, String>,
        tail_start: u64,
    ) -> Result<Footer, Mismatch> {
        let span: RowSpan = read_json(&metadata, KEY_ROWS)?;
        let metas: Vec<BlockMeta> = read_json(&metadata, KEY_BLOCKS)?;
        let head = read_text(&metadata, KEY_HEAD)?;
        let head_digest = head
            .parse::<Digest>()
            .or_else(|e| problem(format!("footer metadata {KEY_HEAD}"), "a digest", e))?;
        let key = read_text(&metadata, KEY_KEY)?.to_owned();
        if footer.dictionaries().is_some_and(|d| !d.is_empty()) {
            return problem("footer", "no dictionaries", "some");
        }
        let places: Vec<arrow_ipc::Block> =
            footer.recordBatches().iter().flat_map(|b| b.iter().copied()).collect();
        if places.len() != metas.len() || places.is_empty() {
            return problem("blocks of the footer", metas.len().max(1), places.len());
        }
        let vectors: Vec<u64> = match metadata.contains_key(KEY_VECTORS) {
            true => read_json(&metadata, KEY_VECTORS)?,
            false => metas.iter().map(|meta| meta.2).collect(),
        };
        if vectors.len() != metas.len() {
            return problem(format!("footer metadata {KEY_VECTORS}"), metas.len(), vectors.len());
        }
        let bounds = match metadata.contains_key(KEY_BOUNDS) {
            true => Some(read_json(&metadata, KEY_BOUNDS)?),
            false => None,
        };
        let mut blocks: Vec<BlockInfo> = Vec::with_capacity(places.len());
        for ((place, meta), count) in places.iter().zip(metas).zip(vectors) {
            blocks.push(block_info(place, meta, count, blocks.last(), tail_start)?);
        }
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
            return problem("blocks of the footer", "one or more", 0);
        };
        let rows: u64 = blocks.iter().map(|b| b.rows as u64).sum();
        let actual = RowSpan { first: first.first, end: last.end, rows };
        if actual != span {
            return problem("rows of the segment", format!("{span:?}"), format!("{actual:?}"));
        }
        let last_end = last.offset + last.len() as u64;
        if last_end != tail_start {
            return problem("end of the last block", tail_start, last_end);
        }
        Ok(Footer { span, key, head_len: first.offset, head_digest, blocks, bounds, metadata })
    }

    /// Says what is wrong with the bounds of the blocks of vectors with `groups` module
    /// groups, if anything is.
    pub(crate) fn check_bounds(&self, groups: usize) -> Result<(), Mismatch> {
        let vectors: Vec<usize> = self.blocks.iter().map(|b| b.vectors).collect();
        self.bounds.as_ref().map_or(Ok(()), |bounds| BlockBounds::check_all(bounds, &vectors, groups))
    }

    /// The feature's description, as the file has it.
    pub(crate) fn description(&self) -> Result<(FeatureDesc, FeatureAttrs), Mismatch> {
        let desc: FeatureDesc = read_json(&self.metadata, KEY_FEATURE)?;
        let attrs: FeatureAttrs = read_json(&self.metadata, KEY_ATTRS)?;
        let tokens = desc.granularity == Granularity::Token;
        if tokens != self.metadata.contains_key(KEY_VECTORS) {
            return problem(format!("footer metadata {KEY_VECTORS}"), tokens, !tokens);
        }
        if desc.key() != self.key {
            return problem("key of the feature", desc.key(), &self.key);
        }
        match attrs.groups_problem(desc.dim()) {
            Some(p) => problem("module groups", "groups that cover every coordinate once", p),
            None => Ok((desc, attrs)),
        }
    }
}

fn block_info(
    place: &arrow_ipc::Block,
    meta: BlockMeta,
    vectors: u64,
    before: Option<&BlockInfo>,
    tail_start: u64,
) -> Result<BlockInfo, Mismatch> {
    let BlockMeta(first, end, rows, digest) = meta;
    let where_ = || format!("{}+{}+{}", place.offset(), place.metaDataLength(), place.bodyLength());
    let (Ok(offset), Ok(header_len), Ok(body_len)) = (
        u64::try_from(place.offset()),
        usize::try_from(place.metaDataLength()),
        usize::try_from(place.bodyLength()),
    ) else {
        return problem("place of a block", "a place inside the file", where_());
    };
    let aligned = [offset, header_len as u64, body_len as u64].iter().all(|n| n.is_multiple_of(ALIGN as u64));
    let stop = (header_len as u64).checked_add(body_len as u64).and_then(|n| n.checked_add(offset));
    let start = before.map_or(offset, |b| b.offset + b.len() as u64);
    if !aligned || offset != start || header_len < ALIGN || stop.is_none_or(|s| s > tail_start) {
        return problem("place of a block", format!("aligned, from {start}, inside {tail_start}"), where_());
    }
    let cell = first / CELL_ROWS;
    let in_order = before.is_none_or(|b| b.end <= first);
    let valid = rows > 0 && end > first && rows <= end - first && (end - 1) / CELL_ROWS == cell && in_order;
    if !valid {
        return problem(
            "rows of a block",
            "an ascending range inside one cell",
            format!("{first}..{end}, {rows} rows"),
        );
    }
    // A vector takes more than a byte, so this bounds what follows from the number.
    if vectors < rows || vectors > body_len as u64 {
        return problem("vectors of a block", format!("{rows} to {body_len}"), vectors);
    }
    let (rows, vectors) = (rows as usize, vectors as usize);
    Ok(BlockInfo { offset, header_len, body_len, first, end, rows, vectors, digest })
}

fn check_version(name: &str, metadata: &HashMap<String, String>) -> Result<(), StorageError> {
    let bad = |p: Mismatch| StorageError::from(Damage::new(name, p.0, p.1, p.2));
    let version: u32 = read_json(metadata, KEY_VERSION).map_err(bad)?;
    let requires: Vec<String> = read_json(metadata, KEY_REQUIRES).map_err(bad)?;
    crate::manifest::check_version(name, version, &requires)
}

fn read_text<'a>(metadata: &'a HashMap<String, String>, key: &str) -> Result<&'a str, Mismatch> {
    match metadata.get(key) {
        Some(text) => Ok(text),
        None => problem(format!("footer metadata {key}"), "a value", "nothing"),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(
    metadata: &HashMap<String, String>,
    key: &str,
) -> Result<T, Mismatch> {
    // From bytes, as manifests are: a type is compiled for each form that it is read from.
    serde_json::from_slice(read_text(metadata, key)?.as_bytes())
        .or_else(|e| problem(format!("footer metadata {key}"), "JSON of this format", e))
}

/// Checks that the schema in a footer is the one that `shape` has, so that other Arrow
/// readers see what we see.
pub(crate) fn check_schema(tail: &[u8], shape: &SegmentShape) -> Result<(), Mismatch> {
    let end = tail.len().saturating_sub(TRAILER);
    let n = footer_len(tail.split_at(end).1, u64::MAX)?;
    // A footer that cannot be parsed has no columns, which is what the problem then says.
    let bytes = end.checked_sub(n).and_then(|s| tail.get(s..end));
    let schema = bytes.and_then(|b| arrow_ipc::root_as_footer(b).ok()).and_then(|f| f.schema());
    let fields: Vec<_> = schema.and_then(|s| s.fields()).iter().flatten().collect();
    let names: Vec<_> = fields.iter().filter_map(|f| f.name()).collect();
    let pos = shape.has_positions().then_some("pos");
    let expected: Vec<&str> =
        ["row"].into_iter().chain(pos).chain(["vector", "scale", "norm", "flags", "check"]).collect();
    if names != expected {
        return problem("columns of the segment", format!("{expected:?}"), format!("{names:?}"));
    }
    let groups = shape.groups.len() as i32;
    for (name, want) in [("vector", shape.items() as i32), ("scale", groups), ("norm", groups)] {
        let list = fields.iter().find(|f| f.name() == Some(name)).and_then(|f| f.type_as_fixed_size_list());
        let found = list.map(|l| l.listSize());
        if found != Some(want) {
            return problem(format!("list size of column {name}"), want, format!("{found:?}"));
        }
    }
    let item = fields
        .iter()
        .find(|f| f.name() == Some("vector"))
        .and_then(|f| f.children())
        .and_then(|c| c.iter().next());
    let found = item.and_then(|i| match (i.type_as_floating_point(), i.type_as_int()) {
        (Some(f), _) if f.precision() == arrow_ipc::Precision::HALF => Some(DType::F16),
        (Some(f), _) if f.precision() == arrow_ipc::Precision::SINGLE => Some(DType::F32),
        (_, Some(i)) if i.bitWidth() == 8 && i.is_signed() => Some(DType::I8),
        (_, Some(i)) if i.bitWidth() == 64 && !i.is_signed() => Some(DType::I1),
        _ => None,
    });
    if found != Some(shape.dtype) {
        return problem("storage type of column vector", shape.dtype, format!("{found:?}"));
    }
    Ok(())
}
