//! A plain index to test with: the rows of a segment and the bytes of its vectors, in sections that grow side
//! by side. `tests/formats/v1-indexes` was made by [`build`].

use super::*;
use serde_json::Value;

pub const KIND: &str = "plain";

/// Chunks of the sections, small enough that each has several.
pub const CHUNKS: [u64; 2] = [64, 192];

/// What the sections of the index of a segment hold: `rows`, `values`, `empty`.
pub fn expected(reader: &FeatureReader, segment: &SegmentRef) -> [Vec<u8>; 3] {
    let mut out = [Vec::new(), Vec::new(), Vec::new()];
    for b in reader.blocks_of(segment).unwrap() {
        let mut scratch = BlockBuffer::new();
        let block = reader.read_block(b, &mut scratch).unwrap();
        out[0].extend_from_slice(bytemuck::cast_slice(block.rows));
        out[1].extend_from_slice(block.values.bytes());
    }
    out
}

/// Builds the index of a segment, block by block.
pub fn build_one(
    store: &Store,
    reader: &FeatureReader,
    segment: &SegmentRef,
    kind: &str,
) -> Result<IndexNote, IndexError> {
    let mut w = store.write_index(segment, kind)?;
    let rows = w.section("rows", CHUNKS[0])?;
    let values = w.section("values", CHUNKS[1])?;
    w.section("empty", 64)?;
    let mut scratch = BlockBuffer::new();
    for b in reader.blocks_of(segment).unwrap() {
        let block = reader.read_block(b, &mut scratch).map_err(|e| match e {
            ReadError::Storage(e) => e,
            other => panic!("{other}"),
        })?;
        w.append(rows, bytemuck::cast_slice(block.rows))?;
        w.append(values, block.values.bytes())?;
    }
    w.finish(header(segment))
}

pub fn header(segment: &SegmentRef) -> Value {
    json!({ "vectors": segment.vectors(), "seed": 7, "error": 0.125 })
}

/// Builds the indexes of all segments of all features that have none.
pub fn build_all(store: &Store, kind: &str) -> Result<u64, IndexError> {
    let snapshot = store.snapshot().unwrap();
    let mut built = 0;
    for part in snapshot.features() {
        let reader = snapshot.open_feature(part).unwrap();
        for segment in reader.segments() {
            if reader.index(segment, kind).unwrap().is_none() {
                build_one(store, &reader, segment, kind)?;
                built += 1;
            }
        }
    }
    Ok(built)
}

/// Every section of an index, read in full.
pub fn read_all(index: &IndexFile) -> Result<Vec<Vec<u8>>, ReadError> {
    let names: Vec<&str> = index.sections().collect();
    let mut scratch = BlockBuffer::new();
    let read = |name: &&str| {
        let section = index.section(name)?;
        Ok(section.read(0..section.len(), &mut scratch)?.to_vec())
    };
    names.iter().map(read).collect()
}

/// How many indexes of a kind are there; each is compared with its segment.
pub fn check_all(store: &Store, kind: &str) -> usize {
    let snapshot = store.snapshot().unwrap();
    let mut found = 0;
    for part in snapshot.features() {
        let reader = snapshot.open_feature(part).unwrap();
        for segment in reader.segments() {
            let Some(index) = reader.index(segment, kind).unwrap() else { continue };
            assert_eq!(read_all(&index).unwrap(), expected(&reader, segment));
            assert_eq!(*index.header(), header(segment));
            found += 1;
        }
    }
    found
}

/// The index files of a store.
pub fn index_files(store: &Path) -> Vec<PathBuf> {
    files(store).into_iter().filter(|f| f.starts_with("indexes")).collect()
}

/// Changes the footer of an index and makes its digest agree again.
pub fn forge(file: &Path, edit: impl FnOnce(&mut Value)) {
    let mut bytes = fs_err::read(file).unwrap();
    let trailer = bytes.len() - 32;
    let n = u64::from_le_bytes(bytes[trailer..trailer + 8].try_into().unwrap()) as usize;
    let mut footer: Value = serde_json::from_slice(&bytes[trailer - n..trailer]).unwrap();
    edit(&mut footer);
    let text = serde_json::to_vec(&footer).unwrap();
    bytes.truncate(trailer - n);
    bytes.extend_from_slice(&text);
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&xxhash_rust::xxh3::xxh3_128(&text).to_le_bytes());
    bytes.extend_from_slice(b"GSINDEX\n");
    fs_err::write(file, bytes).unwrap();
}

/// The store of [`super::rich`] with an index of every segment.
pub fn build(path: &Path) -> Store {
    let store = rich::build(path);
    build_all(&store, KIND).unwrap();
    store
}

/// A store of two small segments with an index each.
pub fn small(path: &Path) -> Store {
    let store = filled(path, 40, &feature("grad-sgd", 6, DType::F16), 20);
    build_all(&store, KIND).unwrap();
    store
}
