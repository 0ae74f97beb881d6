//! Repair of features: damaged segments are replaced by sound rows of them and of other segments.

use super::Repair;
use super::origin::{is_of, salvage_own};
use super::parts::{Inventory, list};
use super::report::{Loss, LostKind};
use crate::error::{StorageError, VerifyError, if_sound, is_medium};
use crate::index::{headers, kinds};
use crate::job::attached;
use crate::layout::segment_file;
use crate::manifest::{FeaturePart, FeatureState, SegmentEntry, sort_segments};
use crate::rewrite::rows_of;
use crate::segment::{BlockBuffer, OpenedSegment, SalvagedSegment, SegmentFile, SegmentWriter};
use crate::verify::{Catalog, data_uuid};
use gstore_core::{FeatureAttrs, FeatureDesc, Remedy, RowSet, many};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Rows that damaged segments had.
#[derive(Default)]
struct LostRows {
    rows: RowSet,
    /// How many at most: ranges with gaps are given whole.
    count: u64,
}

impl LostRows {
    /// Adds those that are missing of a segment of which `saved` are left.
    fn add(&mut self, entry: &SegmentEntry, saved: &RowSet, missing: &RowSet) {
        self.count += missing.len().min(entry.rows.saturating_sub(saved.len()));
        self.rows = self.rows.union(missing);
    }

    /// Takes out those that were found elsewhere.
    fn remove(&mut self, found: &RowSet) {
        self.rows = self.rows.difference(found);
        self.count = self.count.min(self.rows.len());
    }
}

/// Replaces the damaged segments of a feature. `live`: the live rows of its dataset.
pub(super) fn repair(
    work: &mut Repair<'_>,
    catalog: &Catalog,
    part: &mut FeaturePart,
    live: &RowSet,
) -> Result<(), VerifyError> {
    let mut covered = RowSet::new();
    let mut kept = Vec::new();
    let mut bad = Vec::new();
    for entry in &part.segments {
        let name = segment_file(part.number, entry.uuid);
        if work.is_bad(&name) {
            bad.push(entry.clone());
        } else {
            covered = covered.union(&rows_of(work.env.file(work.place_of(&name)), part, entry)?);
            kept.push(entry.clone());
        }
    }
    let mut lost = LostRows::default();
    for entry in &bad {
        let name = segment_file(part.number, entry.uuid);
        let salvaged = salvage_own(work, catalog, part, entry)?;
        work.handled.insert(name.clone());
        let saved = salvaged.rows.intersection(&RowSet::from_range(entry.range()));
        let wanted = saved.difference(&covered);
        let gone = missing(work, part, entry, &saved).difference(&covered).intersection(live);
        lost.add(entry, &saved, &gone);
        let from = || format!("{} of its {}", saved.len(), many(entry.rows, "row"));
        work.report
            .saved(format!("{name} of feature {}", part.display_name()), (!saved.is_empty()).then(from));
        kept.extend(rewrite(work, part, (entry, &salvaged), &wanted)?);
        covered = covered.union(&wanted);
    }
    if !lost.rows.is_empty() {
        let found = from_others(work, catalog, part, &lost.rows)?;
        for (entry, salvaged, wanted) in found {
            work.report.notes.push(format!(
                "feature {}: {wanted} were taken from a segment that the snapshot does not list",
                part.display_name()
            ));
            kept.extend(rewrite(work, part, (&entry, &salvaged), &wanted)?);
            lost.remove(&wanted);
        }
    }
    if !lost.rows.is_empty() {
        part.state = FeatureState::Building;
        work.report.lost.push(loss(part, &lost));
    }
    sort_segments(&mut kept);
    part.segments = kept;
    Ok(())
}

/// How to get rows of a feature.
fn remedy(part: &FeaturePart) -> String {
    match part.desc.ensemble {
        Some(_) => "run what made these losses again: just these rows are computed or taken in".to_owned(),
        None => format!("run {} with the original command: it computes just these rows", Remedy::Ingest),
    }
}

/// All rows of a feature that cannot stay, because the store no longer has what they are of. `why` begins
/// the remedy.
pub(super) fn left_out(part: &FeaturePart, why: &str) -> Loss {
    let all = LostRows { rows: part.row_ranges(), count: part.rows() };
    Loss { remedy: format!("{why} {}", remedy(part)), ..loss(part, &all) }
}

fn loss(part: &FeaturePart, lost: &LostRows) -> Loss {
    let of = format!("feature {}", part.display_name());
    let mut loss = Loss::new(LostKind::Feature, &of, &lost.rows, &remedy(part));
    loss.rows.count = lost.count;
    loss.dataset = Some(part.desc.dataset.clone());
    loss.label = Some(part.attrs.label.clone());
    loss.number = Some(part.number);
    loss.feature_kind = Some(part.desc.kind.name.clone());
    loss.checkpoint = part.desc.checkpoint.as_ref().map(|c| c.short().to_owned());
    loss
}

/// Rows that a damaged segment had and that were not saved; ranges with gaps are given whole.
fn missing(work: &Repair<'_>, part: &FeaturePart, entry: &SegmentEntry, saved: &RowSet) -> RowSet {
    if saved.len() >= entry.rows {
        return RowSet::new();
    }
    let all = match SegmentFile::open_of(work.env, part, entry) {
        Err(_) => RowSet::from_range(entry.range()),
        Ok(file) => {
            let hurt = file.blocks.iter().filter(|b| {
                let here = saved.within(b.first..b.end).map(|r| r.end - r.start).sum::<u64>();
                here < b.rows as u64
            });
            RowSet::from_ranges(hurt.map(|b| b.first..b.end))
        }
    };
    all.difference(saved)
}

/// Lost rows that segments have which the part does not list: inputs of a compaction, for example.
fn from_others(
    work: &mut Repair<'_>,
    catalog: &Catalog,
    part: &FeaturePart,
    lost: &RowSet,
) -> Result<Vec<(SegmentEntry, SalvagedSegment, RowSet)>, VerifyError> {
    // Without a footer only an older state of the feature says whose rows these are.
    let states = catalog.features.iter().map(|f| &f.part).filter(|f| f.key == part.key);
    let listed: HashMap<Uuid, &SegmentEntry> =
        states.flat_map(|f| &f.segments).map(|s| (s.uuid, s)).collect();
    let mut out = Vec::new();
    let mut lost = lost.clone();
    for (uuid, name) in segments(work, part.number)? {
        if lost.is_empty() || part.segments.iter().any(|s| s.uuid == uuid) {
            continue;
        }
        let entry = match SegmentFile::open_unlisted(work.env.file(name), uuid) {
            Ok(opened) => is_of(part, &opened.desc, &opened.attrs).then_some(opened.entry),
            Err(_) => listed.get(&uuid).copied().cloned(),
        };
        let Some(entry) = entry else { continue };
        let salvaged = salvage_own(work, catalog, part, &entry)?;
        let wanted = salvaged.rows.intersection(&lost);
        if !wanted.is_empty() {
            lost = lost.difference(&wanted);
            out.push((entry, salvaged, wanted));
        }
    }
    Ok(out)
}

/// The segments in the folder of a feature.
fn all_segments(work: &Repair<'_>, number: u32) -> Result<Vec<(Uuid, String)>, VerifyError> {
    let folder = format!("segments/{number}");
    let names = list(work.env, &folder)?.into_iter();
    Ok(names.filter_map(|n| Some((data_uuid(&n, "arrow")?, format!("{folder}/{n}")))).collect())
}

/// Those that no interrupted job claims.
fn segments(work: &Repair<'_>, number: u32) -> Result<Vec<(Uuid, String)>, VerifyError> {
    let mut all = all_segments(work, number)?;
    all.retain(|(_, name)| !work.claimed.contains(name));
    Ok(all)
}

/// Writes some sound rows of a segment into a new one, bit for bit, which notes the indexes of the old one.
fn rewrite(
    work: &mut Repair<'_>,
    part: &FeaturePart,
    (old, from): (&SegmentEntry, &SalvagedSegment),
    rows: &RowSet,
) -> Result<Option<SegmentEntry>, VerifyError> {
    if rows.is_empty() || work.options.dry_run {
        return Ok(None);
    }
    let uuid = Uuid::new_v4();
    let path = work.files.path(&format!("{uuid}.arrow"))?;
    let mut writer = SegmentWriter::create(work.env.vfs(), &path, uuid, &part.desc, &part.attrs)?;
    from.copy(rows, &mut writer)?;
    let mut entry = writer.finish()?.entry;
    // A folder of indexes that cannot be listed keeps no row from being saved.
    let kinds = kinds(work.env).unwrap_or_default();
    entry.note_indexes(headers(work.env, std::slice::from_ref(old), &kinds));
    work.files.add(path, segment_file(part.number, entry.uuid));
    Ok(Some(entry))
}

/// Sources of a feature whose part is lost.
struct Candidate {
    entry: SegmentEntry,
    desc: FeatureDesc,
    attrs: FeatureAttrs,
    rows: RowSet,
    sound: bool,
}

/// Sound segments that have no row in common.
struct DisjointSegments {
    segments: Vec<SegmentEntry>,
    /// Their rows.
    covered: RowSet,
    /// Those that were not taken.
    rest: Vec<SegmentEntry>,
}

impl DisjointSegments {
    /// Those with the most live rows. Of two with the same live rows the one with fewer deleted ones: it was
    /// written after a purge.
    fn of(mut sound: Vec<Candidate>, live: &RowSet) -> Self {
        sound.sort_unstable_by_key(|c| {
            let here = c.rows.intersection(live).len();
            (std::cmp::Reverse(here), c.rows.len() - here, c.entry.uuid)
        });
        let mut chosen = Self { segments: Vec::new(), covered: RowSet::new(), rest: Vec::new() };
        for c in sound {
            if chosen.covered.intersection(&c.rows).is_empty() && !c.rows.intersection(live).is_empty() {
                chosen.covered = chosen.covered.union(&c.rows);
                chosen.segments.push(c.entry);
            } else {
                chosen.rest.push(c.entry);
            }
        }
        chosen
    }
}

/// A feature part by the footers of the segments in its folder. `None`, with a word in the report, if
/// nothing says what it was.
pub(super) fn rebuild(
    work: &mut Repair<'_>,
    (catalog, inventory): (&Catalog, &Inventory),
    number: u32,
    name: Option<&str>,
    live: &dyn Fn(&str) -> RowSet,
) -> Result<Option<FeaturePart>, VerifyError> {
    let (mut all, unknown) = candidates(work, number)?;
    let versions = || inventory.features.iter().map(|v| &v.part).filter(|p| p.number == number);
    let Some((desc, mut attrs)) = described(name, &versions, &all) else {
        let what = name.map_or_else(|| format!("segments/{number}"), |n| format!("feature {n}"));
        let remedy = format!("run {} with the original command", Remedy::Ingest);
        work.report.lost.push(Loss::new(LostKind::Feature, &what, &RowSet::new(), &remedy));
        return Ok(None);
    };
    // Footers have the label from before the publish, which may have given another.
    if let Some(label) = name.and_then(|name| name.strip_prefix(&desc.dataset)?.strip_prefix('/')) {
        attrs.label = label.to_owned();
    }
    let mut part = FeaturePart::new(number, desc, attrs);
    // What was attached only grows, so of several versions the one with the most receipts
    // has all that are known.
    let own = || versions().filter(|p| p.key == part.key);
    if let Some(version) = own().max_by_key(|p| (attached(p).len(), p.rows())) {
        part.extra = version.extra.clone();
    }
    let listed: HashMap<Uuid, &SegmentEntry> = own().flat_map(|p| &p.segments).map(|s| (s.uuid, s)).collect();
    for found in &mut all {
        if let Some(entry) = listed.get(&found.entry.uuid) {
            // What a footer does not say.
            found.entry.extra = entry.extra.clone();
        }
    }
    let live = live(&part.desc.dataset);
    let same = |c: &Candidate| is_of(&part, &c.desc, &c.attrs);
    let (own, others): (Vec<Candidate>, Vec<Candidate>) = all.into_iter().partition(same);
    let (sound, hurt): (Vec<Candidate>, Vec<Candidate>) = own.into_iter().partition(|c| c.sound);
    let DisjointSegments { segments, mut covered, mut rest } = DisjointSegments::of(sound, &live);
    part.segments = segments;
    let whole = part.segments.len() as u64;
    rest.extend(hurt.into_iter().map(|c| c.entry));
    let mut strange: Vec<String> = others.iter().map(|c| segment_file(number, c.entry.uuid)).collect();
    for (uuid, file) in unknown {
        // Without a footer only the catalog knows whose rows these are; the shape alone says nothing.
        match listed.get(&uuid) {
            Some(entry) => rest.push((*entry).clone()),
            None => strange.push(file),
        }
    }
    // A file that is gone has no row left.
    let there: HashSet<Uuid> = all_segments(work, number)?.into_iter().map(|(uuid, _)| uuid).collect();
    rest.extend(listed.values().copied().filter(|e| !there.contains(&e.uuid)).cloned());
    for file in strange {
        let feature = part.display_name();
        let note = format!("{file} does not say that it is of feature {feature}; it was left out");
        work.report.notes.push(note);
    }
    let mut lost = LostRows::default();
    for entry in rest {
        let salvaged = salvage_own(work, catalog, &part, &entry)?;
        let wanted = salvaged.rows.intersection(&live).difference(&covered);
        part.segments.extend(rewrite(work, &part, (&entry, &salvaged), &wanted)?);
        covered = covered.union(&wanted);
        let gone = missing(work, &part, &entry, &salvaged.rows).intersection(&live);
        lost.add(&entry, &salvaged.rows, &gone);
    }
    lost.remove(&covered);
    sort_segments(&mut part.segments);
    let lacking = live.difference(&covered);
    part.state = if lacking.is_empty() { FeatureState::Complete } else { FeatureState::Building };
    let (whole, rows) = (many(whole, "sound segment"), many(covered.len(), "row"));
    let from = format!("the footers of {whole}, {rows} in all");
    work.report.rebuilt(format!("feature {}", part.display_name()), from);
    report_lacking(work, &part, &lost, &lacking);
    Ok(Some(part))
}

/// Says which live rows a rebuilt feature lacks: those that were lost, and those that nothing says it had.
fn report_lacking(work: &mut Repair<'_>, part: &FeaturePart, lost: &LostRows, lacking: &RowSet) {
    if !lost.rows.is_empty() {
        work.report.lost.push(loss(part, lost));
    }
    let unknown = lacking.difference(&lost.rows);
    if !unknown.is_empty() {
        work.report.notes.push(format!(
            "feature {}: nothing says that it ever had {unknown}; to have them, {}",
            part.display_name(),
            remedy(part)
        ));
    }
}

/// What the feature is: as a version of its part says, or else a footer.
fn described<'a, V: Iterator<Item = &'a FeaturePart>>(
    name: Option<&str>,
    versions: &dyn Fn() -> V,
    segments: &[Candidate],
) -> Option<(FeatureDesc, FeatureAttrs)> {
    let named = |dataset: &str, label: &str| name == Some(format!("{dataset}/{label}").as_str());
    let largest = |wanted: &dyn Fn(&FeaturePart) -> bool| {
        let found = versions().filter(|p| wanted(p)).max_by_key(|p| p.rows());
        found.map(|p| (p.desc.clone(), p.attrs.clone()))
    };
    let first = |wanted: &dyn Fn(&Candidate) -> bool| {
        let found = segments.iter().find(|c| wanted(c));
        found.map(|c| (c.desc.clone(), c.attrs.clone()))
    };
    // A part is verified by its name; a segment may be one that another feature left under this number.
    largest(&|p| named(&p.desc.dataset, &p.attrs.label))
        .or_else(|| first(&|c| named(&c.desc.dataset, &c.attrs.label)))
        .or_else(|| largest(&|_| true))
        .or_else(|| first(&|_| true))
}

/// One past the last row that segments of a dataset have in the folders of these features.
pub(super) fn end_row(
    work: &Repair<'_>,
    inventory: &Inventory,
    dataset: &str,
    features: &[u32],
) -> Result<u64, VerifyError> {
    let parts = inventory.features.iter().map(|v| &v.part);
    let parts = parts.filter(|p| p.desc.dataset == dataset && features.contains(&p.number));
    let listed = parts.flat_map(|p| &p.segments).map(|s| s.end_row);
    let mut files = Vec::new();
    for number in features {
        files.extend(all_segments(work, *number)?);
    }
    let there = files.into_iter().filter_map(|(uuid, name)| {
        // What cannot be opened is looked at when its feature is.
        let opened = SegmentFile::open_unlisted(work.env.file(name), uuid).ok();
        opened.filter(|o| o.desc.dataset == dataset).map(|o| o.entry.end_row)
    });
    Ok(listed.chain(there).max().unwrap_or(0))
}

/// Segments by their footers, and files whose footers cannot be read.
type Footers = (Vec<Candidate>, Vec<(Uuid, String)>);

/// The segments in the folder of a feature.
fn candidates(work: &Repair<'_>, number: u32) -> Result<Footers, VerifyError> {
    let (mut all, mut unknown) = (Vec::new(), Vec::new());
    for (uuid, file) in segments(work, number)? {
        match candidate(work, uuid, &file)? {
            Some(found) => all.push(found),
            None => unknown.push((uuid, file)),
        }
    }
    Ok((all, unknown))
}

/// A segment's own metadata, and whether all of it is sound.
fn candidate(work: &Repair<'_>, uuid: Uuid, name: &str) -> Result<Option<Candidate>, VerifyError> {
    let opened = if_sound(SegmentFile::open_unlisted(work.env.file(name), uuid))?;
    let Some(OpenedSegment { file, entry, desc, attrs }) = opened else { return Ok(None) };
    let mut refused = None;
    let mut sound = true;
    file.verify(
        &mut BlockBuffer::new(),
        |_| {},
        |e, _| {
            sound = false;
            if let StorageError::Io { source, .. } = &e
                && !is_medium(source)
            {
                refused = Some(e);
            }
        },
    );
    if let Some(e) = refused {
        return Err(e.into());
    }
    let rows = if sound { file.row_set(&mut BlockBuffer::new())? } else { RowSet::new() };
    Ok(Some(Candidate { entry, desc, attrs, rows, sound }))
}
