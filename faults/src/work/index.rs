//! Indexes of the workload: checks of vectors in two sections, and sketches as `gstore index` makes them.

use super::state::read_ahead;
use crate::Failure;
use gstore_query::IndexStatus;
use gstore_query::QueryError;
use gstore_query::sketch::{self, Planes, Rotation, Section, SketchOptions, check as can_have, encode_block};
use gstore_store::Cancel;
use gstore_store::*;
use serde_json::json;

const KIND: &str = "checks";

/// Seed of the sketches' rotation: a workload has the same bytes each time.
const SEED: u64 = 5;

/// Builds the missing ones.
pub(super) fn build(store: &Store, features: impl Fn(&FeaturePart) -> bool) -> Result<(), Failure> {
    let (snapshot, _lease) = store.snapshot_leased(None, "index")?;
    for part in snapshot.features().iter().filter(|part| features(part)) {
        let reader = snapshot.open_feature(part)?;
        for segment in reader.segments() {
            if reader.index(segment, KIND)?.is_some() {
                continue;
            }
            match build_one(store, &reader, segment) {
                // Another process removed what no lease protects, where leases are not possible.
                Ok(()) | Err(IndexError::Gone { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        build_sketch(store, &reader)?;
    }
    Ok(())
}

/// The sketch of a feature that can have one.
fn build_sketch(store: &Store, reader: &FeatureReader) -> Result<(), Failure> {
    if can_have(reader).is_err() {
        return Ok(());
    }
    let options = SketchOptions { seed: Some(SEED), threads: 1, ..SketchOptions::default() };
    match sketch::build(store, reader, &options, &mut |_| {}, &Cancel::new()) {
        Ok(_) | Err(QueryError::Index(IndexError::Gone { .. })) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Compares the existing sketches with freshly computed codes.
fn check_sketches(reader: &FeatureReader) -> Result<(), Failure> {
    let mut scratch = BlockBuffer::new();
    let rotation = Rotation::new(reader.part().desc.dim() as usize, SEED);
    for segment in reader.segments() {
        let Some(index) = reader.index(segment, sketch::KIND)? else { continue };
        let mut codes = Vec::new();
        for block in reader.blocks_of(segment)? {
            codes.push(encode_block(reader, block, &rotation, Planes::ALL, &mut scratch)?);
        }
        for section in Section::ALL {
            let expected: Vec<u8> = codes.iter().flat_map(|c| c.section(section)).copied().collect();
            let found = index.section(section.name())?;
            let mut wants = SpanRequests::new();
            found.want(&(0..found.len()), true, &mut wants)?;
            let mut scratch = read_ahead(wants);
            if found.read(0..found.len(), &mut scratch)? != expected.as_slice() {
                return Err(
                    format!("section {} of {} is not of its segment", section.name(), index.file()).into()
                );
            }
        }
        if sketch::found(reader, segment) != IndexStatus::Usable {
            return Err(format!("{} is not a sketch that can be used", index.file()).into());
        }
    }
    Ok(())
}

fn build_one(store: &Store, reader: &FeatureReader, segment: &SegmentRef) -> Result<(), IndexError> {
    let mut writer = store.write_index(segment, KIND)?;
    let sections = [writer.section("even", 64)?, writer.section("odd", 128)?];
    let content = content(reader, segment).map_err(|e| IndexError::Header(e.to_string()))?;
    for (section, bytes) in sections.into_iter().zip(&content) {
        writer.append(section, bytes)?;
    }
    writer.finish(json!({ "vectors": segment.vectors() }))?;
    Ok(())
}

/// The content of a segment's index.
fn content(reader: &FeatureReader, segment: &SegmentRef) -> Result<[Vec<u8>; 2], ReadError> {
    let mut out = [Vec::new(), Vec::new()];
    let mut scratch = BlockBuffer::new();
    for b in reader.blocks_of(segment)? {
        let block = reader.read_block(b, &mut scratch)?;
        for (row, check) in block.rows.iter().zip(block.check) {
            let [even, odd] = &mut out;
            let section = if row.is_multiple_of(2) { even } else { odd };
            section.extend_from_slice(&check.to_le_bytes());
        }
    }
    Ok(out)
}

/// Compares the existing indexes with their segments.
pub(super) fn check(reader: &FeatureReader) -> Result<(), Failure> {
    check_sketches(reader)?;
    let mut scratch = BlockBuffer::new();
    for segment in reader.segments() {
        let Some(index) = reader.index(segment, KIND)? else { continue };
        let expected = content(reader, segment)?;
        for (name, bytes) in ["even", "odd"].into_iter().zip(&expected) {
            let section = index.section(name)?;
            if section.read(0..section.len(), &mut scratch)? != bytes.as_slice() {
                return Err(format!("section {name} of {} is not of its segment", index.file()).into());
            }
        }
        if *index.header() != json!({ "vectors": segment.vectors() }) {
            return Err(format!("the header of {} is not of its segment", index.file()).into());
        }
    }
    Ok(())
}
