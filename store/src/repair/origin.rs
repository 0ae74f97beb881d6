//! Whose vectors a segment file has.
//!
//! The check of a row covers its number and its values, not the feature, and other features have the same
//! rows in the same shape. So a row is taken only if something else speaks for the feature: the footer, with
//! the digests of its blocks; or else the feature's key in what is left of it, or that the file can be no
//! listed segment of another feature.

use super::Repair;
use crate::error::VerifyError;
use crate::layout::segment_file;
use crate::manifest::{FeaturePart, SegmentEntry};
use crate::segment::{SalvagedSegment, SegmentFile, SegmentShape, mentions, salvage};
use crate::verify::Catalog;
use gstore_core::{DType, Digest, FeatureAttrs, FeatureDesc, RowSet};
use std::collections::HashSet;

/// Whether a footer with this description and these attributes is one of the feature.
pub(super) fn is_of(part: &FeaturePart, desc: &FeatureDesc, attrs: &FeatureAttrs) -> bool {
    *desc == part.desc && attrs.groups == part.attrs.groups
}

/// The sound rows of a segment of a feature. Those that are, or may be, another feature's are left out, and a
/// note says so.
pub(super) fn salvage_own(
    work: &mut Repair<'_>,
    catalog: &Catalog,
    part: &FeaturePart,
    entry: &SegmentEntry,
) -> Result<SalvagedSegment, VerifyError> {
    let (name, feature) = (segment_file(part.number, entry.uuid), part.display_name());
    let file = work.env.file(&name);
    let mut found = salvage(file.clone(), &SegmentShape::new(&part.desc, &part.attrs))?;
    // One that cannot be opened says nothing; if it cannot be read at all, there are no rows.
    let opened = SegmentFile::open_unlisted(file.clone(), entry.uuid).ok();
    if let Some(other) = opened.as_ref().filter(|o| !is_of(part, &o.desc, &o.attrs)) {
        let says = format!("{}/{}", other.desc.dataset, other.attrs.label);
        work.report.notes.push(format!("{name} is a segment of feature {says}, not of {feature}"));
        found.leave_out(|_| true);
        return Ok(found);
    }
    let own: Option<HashSet<Digest>> = opened.map(|o| o.file.blocks.iter().map(|b| b.digest).collect());
    let unproven = found.blocks().filter(|(digest, _)| own.as_ref().is_none_or(|own| !own.contains(digest)));
    let (digests, rows): (HashSet<Digest>, Vec<RowSet>) = unproven.unzip();
    if digests.is_empty() {
        return Ok(found);
    }
    let rows = rows.iter().fold(RowSet::new(), |all, rows| all.union(rows));
    let others = Others::find(work, catalog, part, &rows);
    let theirs: HashSet<Digest> = digests.intersection(&others.blocks).copied().collect();
    if !theirs.is_empty() {
        work.report
            .notes
            .push(format!("{name} has vectors of another feature in place of those of {feature}"));
        found.leave_out(|digest| own.is_none() || theirs.contains(digest));
    } else if let Some(other) = others.unreadable
        && own.is_none()
        && !mentions(&file, entry.len.saturating_sub(entry.tail_len), &part.key)
    {
        work.report.notes.push(format!(
            "{name} does not say that it is of feature {feature}, and it may be {other}, which is damaged too"
        ));
        found.leave_out(|_| true);
    }
    Ok(found)
}

/// Segments of other features that have some of the same rows in the same shape.
#[derive(Default)]
struct Others {
    /// Digests of their blocks.
    blocks: HashSet<Digest>,
    /// One of which they are not known, and that could have all of the rows.
    unreadable: Option<String>,
}

impl Others {
    /// Reads the tails of these segments.
    fn find(work: &Repair<'_>, catalog: &Catalog, part: &FeaturePart, rows: &RowSet) -> Self {
        let mut found = Others::default();
        let mut seen = HashSet::new();
        let features = catalog.features.iter().map(|f| &f.part);
        for other in features.filter(|f| f.key != part.key && columns(f) == columns(part)) {
            for entry in &other.segments {
                let both = rows.intersection(&RowSet::from_range(entry.range()));
                let name = segment_file(other.number, entry.uuid);
                if both.is_empty() || !seen.insert(name.clone()) {
                    continue;
                }
                let file = work.env.file(work.place_of(&name));
                match SegmentFile::open_at(file, other, entry) {
                    Ok(file) => found.blocks.extend(file.blocks.iter().map(|b| b.digest)),
                    Err(_) if both == *rows => found.unreadable = Some(name),
                    Err(_) => {}
                }
            }
        }
        found
    }
}

/// What the blocks of a feature are told apart by, without a footer.
fn columns(part: &FeaturePart) -> (DType, usize, usize, bool) {
    let shape = SegmentShape::new(&part.desc, &part.attrs);
    (shape.dtype, shape.items(), shape.groups.len(), shape.has_positions())
}
