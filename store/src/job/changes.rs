//! Changes of a publish: the parts of its features, datasets and runs, and the files that go into place.

use super::folder::encoding_name;
use super::plan::{JobFeature, Move, SealedEncoding};
use super::publish::{Completion, Finish, TakenLabel};
use super::rows::published_rows;
use super::run::Job;
use super::run_part::run_part;
use super::work::FeatureWork;
use crate::error::CommitError;
use crate::layout::{encoding_file, segment_file};
use crate::manifest::{Counters, DatasetPart, EncodingEntry, FeaturePart, FeatureState, sort_segments};
use crate::store::{Change, Snapshot, change_of};
use gstore_core::{FeatureAttrs, RowSet, many};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Where a feature part keeps the digests of the receipts whose rows it took in. A segment that is compacted
/// gets another name, so the names of files do not say forever what was attached.
pub(crate) const ATTACHED: &str = "attached";

impl Job {
    pub(super) fn prepare(
        &self,
        now: &Snapshot,
        finish: &Finish<'_>,
    ) -> Result<(Change, Vec<Move>), CommitError> {
        let mut change = change_of(now, &self.command);
        let mut moves = Vec::new();
        for work in &self.work {
            if let Some(part) = self.feature_part(work, now, &mut change, finish)? {
                let added: u64 = work.sealed.iter().map(|s| s.rows()).sum();
                let what = if part.state == FeatureState::Complete { "complete" } else { "building" };
                // Which snapshot added rows to a feature is told from these words, `feature NAME: ` and `
                // added` (`store::history`): those of the snapshots that are there stay as they are.
                change.changes.push(format!(
                    "feature {}: {} added, {what}",
                    part.display_name(),
                    many(added, "row")
                ));
                moves.extend(work.sealed.iter().map(|s| Move {
                    uuid: s.uuid(),
                    from: work.name_of(s.uuid()),
                    to: segment_file(part.number, s.entry.uuid),
                }));
                change.features.push(part);
            } else {
                now.dataset(&work.feature.desc.dataset)?;
            }
        }
        self.encoding_changes(now, &mut change, &mut moves)?;
        note_write(now, &mut change, finish)?;
        for update in &finish.runs {
            let there = change.runs.iter().find(|r| r.name == update.name);
            if let Some(part) = run_part(now, there, update, finish.known, &mut change.next)? {
                change.runs.retain(|r| r.name != part.name);
                change.runs.push(part);
            }
        }
        for part in &change.runs {
            change.changes.push(format!(
                "run {}: {}",
                part.name,
                many(part.checkpoints.len() as u64, "checkpoint")
            ));
        }
        Ok((change, moves))
    }

    /// The feature's part after this job; `None` if the job does not change it.
    fn feature_part(
        &self,
        work: &FeatureWork,
        now: &Snapshot,
        change: &mut Change,
        finish: &Finish<'_>,
    ) -> Result<Option<FeaturePart>, CommitError> {
        let FeatureWork { feature, published, sealed, .. } = work;
        let key = feature.desc.key();
        let old = now.feature_by_key(&key);
        let settled = |p: &Arc<FeaturePart>| {
            finish.completion == Completion::Unchanged || p.state == FeatureState::Complete
        };
        if sealed.is_empty() && old.is_none_or(settled) {
            return Ok(None);
        }
        let mut part = match old {
            Some(part) => FeaturePart::clone(part),
            None => {
                let attrs =
                    FeatureAttrs { label: new_label(feature, now, change, finish)?, ..feature.attrs.clone() };
                change.next.feature += 1;
                FeaturePart::new(change.next.feature - 1, feature.desc.clone(), attrs)
            }
        };
        let name = part.display_name();
        let mismatch = |detail: &str| CommitError::Mismatch { feature: name.clone(), detail: detail.into() };
        if part.attrs.groups != feature.attrs.groups {
            return Err(mismatch("the module groups differ"));
        }
        let dataset = now.dataset(&feature.desc.dataset)?;
        if self.base.dataset(&feature.desc.dataset).is_ok_and(|before| before.number != dataset.number) {
            return Err(mismatch(
                "its dataset was dropped in the meantime, and another one has its name now",
            ));
        }
        let end = sealed.iter().map(|s| s.entry.end_row).max();
        if let Some(end) = end.filter(|end| *end > dataset.next_row) {
            let (dataset, next_row) = (dataset.name.clone(), dataset.next_row);
            return Err(CommitError::BeyondDataset { feature: name, dataset, end, next_row });
        }
        let unchanged = self.base.feature_by_key(&key).map(|p| &p.segments) == old.map(|p| &p.segments);
        let there = if unchanged { published.clone() } else { published_rows(now, &key)? };
        let new = RowSet::from_ranges(sealed.iter().flat_map(|s| s.rows.ranges().iter().cloned()));
        let both = there.intersection(&new);
        if !both.is_empty() {
            return Err(CommitError::Overlap { feature: name, rows: both });
        }
        let before = part.clone();
        part.segments.extend(sealed.iter().map(|s| s.entry.clone()));
        sort_segments(&mut part.segments);
        let wanted = match finish.completion {
            Completion::Unchanged => None,
            Completion::Complete => Some(published.clone()),
            Completion::WithAllRows => Some(RowSet::from_range(0..dataset.next_row)),
        };
        if let Some(wanted) = wanted {
            let live = now.live_rows(dataset)?.intersection(&wanted);
            if live.difference(&there).difference(&new).is_empty() {
                part.state = FeatureState::Complete;
            }
        }
        note_receipts(&mut part, finish.receipts.get(&key));
        Ok((part != before || old.is_none()).then_some(part))
    }

    fn encoding_changes(
        &self,
        now: &Snapshot,
        change: &mut Change,
        moves: &mut Vec<Move>,
    ) -> Result<(), CommitError> {
        // By dataset, each taken from the snapshot once.
        let mut parts: BTreeMap<&str, DatasetPart> = BTreeMap::new();
        for sealed in &self.encodings {
            let file = &sealed.file;
            let part = match parts.entry(&sealed.dataset) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(DatasetPart::clone(now.dataset(&sealed.dataset)?)),
            };
            if file.end_row > part.next_row {
                let (feature, dataset) = (format!("encoding {}", sealed.label), part.name.clone());
                return Err(CommitError::BeyondDataset {
                    feature,
                    dataset,
                    end: file.end_row,
                    next_row: part.next_row,
                });
            }
            if let Some(number) = add_encoding(part, sealed, &mut change.next) {
                let uuid = file.uuid;
                let counted = file.rows.saturating_sub(sealed.filled.len());
                moves.push(Move { uuid, from: encoding_name(uuid), to: encoding_file(number, uuid) });
                change.changes.push(format!(
                    "dataset {}: token counts of {} ({})",
                    part.name,
                    many(counted, "row"),
                    sealed.label
                ));
            }
        }
        for (name, part) in parts {
            // A dataset whose token counts were all there already is not changed.
            if **now.dataset(name)? != part {
                change.datasets.push(part);
            }
        }
        Ok(())
    }
}

/// The label of a new feature: its own, unless another one of its dataset and granularity has that.
fn new_label(
    feature: &JobFeature,
    now: &Snapshot,
    change: &Change,
    finish: &Finish<'_>,
) -> Result<String, CommitError> {
    let JobFeature { desc, attrs } = feature;
    let stored = now.features_of(&desc.dataset);
    let taken = |label: &str| {
        let new = change.features.iter().filter(|other| other.desc.dataset == desc.dataset);
        let mut others = stored.iter().map(|part| &***part).chain(new);
        let refused = matches!(finish.taken, TakenLabel::Refused);
        let is_rival = |other: &FeaturePart| refused || other.desc.granularity == desc.granularity;
        others.any(|other| other.attrs.label == label && is_rival(other))
    };
    if !taken(&attrs.label) {
        return Ok(attrs.label.clone());
    }
    let label = match finish.taken {
        TakenLabel::Suffixed => attrs.label.clone(),
        TakenLabel::Renamed(label) => label(now, feature),
        TakenLabel::Refused => {
            let (label, dataset) = (attrs.label.clone(), desc.dataset.clone());
            return Err(CommitError::LabelTaken { label, dataset });
        }
    };
    if !taken(&label) {
        return Ok(label);
    }
    Ok(format!("{label}:{}", desc.key().get(..8).unwrap_or_default()))
}

/// Notes the write of a client, with the features of the change, in the part of its dataset.
fn note_write(now: &Snapshot, change: &mut Change, finish: &Finish<'_>) -> Result<(), CommitError> {
    let Some((dataset, write, told)) = &finish.write else { return Ok(()) };
    let changed = change.datasets.iter().position(|d| d.name == *dataset);
    let mut part = match changed {
        Some(at) => change.datasets.remove(at),
        None => DatasetPart::clone(now.dataset(dataset)?),
    };
    let snapshot = now.number() + 1;
    let mut told = told.clone();
    told.insert("snapshot".to_owned(), snapshot.into());
    let features = change.features.iter().map(|feature| feature.number).collect();
    write.note(&mut part, (snapshot, features), told);
    change.datasets.push(part);
    Ok(())
}

/// Adds the digests of receipts to those that a feature part has.
fn note_receipts(part: &mut FeaturePart, receipts: Option<&Vec<String>>) {
    let Some(new) = receipts.filter(|r| !r.is_empty()) else { return };
    let mut all = attached(part);
    all.extend(new.iter().cloned());
    all.sort_unstable();
    all.dedup();
    part.extra.insert(ATTACHED.to_owned(), all.into());
}

/// Digests of the receipts whose rows a feature part took in.
pub(crate) fn attached(part: &FeaturePart) -> Vec<String> {
    let list = part.extra.get(ATTACHED).and_then(|list| list.as_array());
    list.into_iter().flatten().filter_map(|v| v.as_str()).map(str::to_owned).collect()
}

/// Adds a file of token counts, unless its rows are all covered. Returns the encoding's number if it was
/// added.
fn add_encoding(part: &mut DatasetPart, new: &SealedEncoding, next: &mut Counters) -> Option<u32> {
    let key = new.spec.key();
    if let Some(entry) = part.encodings.iter_mut().find(|e| e.key == key) {
        if entry.rows().covers(new.file.range()) {
            return None;
        }
        entry.files.push(new.file.clone());
        return Some(entry.number);
    }
    let number = next.encoding;
    next.encoding += 1;
    part.encodings.push(EncodingEntry { number, ..new.entry() });
    Some(number)
}
