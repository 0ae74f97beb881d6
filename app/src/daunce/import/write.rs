//! Writing given losses: comparison with the store, new cells, and the features that take them.
//!
//! Invariants
//! - one process at a time writes a table: its job has both kinds of offsets, of which it writes one
//! - what was compared with the file is what the store has when the job begins

mod agreement;

use std::ops::Range;
use std::sync::Arc;

use gstore_core::{CELL_ROWS, RowSet, Unit};
use gstore_store::{
    EnsemblePart, FeaturePart, FeatureReader, JobError, JobFeature, LossBlock, LossColumns, LossError,
    LossReader, LossWanted, OffsetOf, Snapshot, Store,
};

use super::TableReport;
use super::sink::LossJobWriter;
use super::source::LossSource;
use super::window::CellLosses;
use crate::daunce::DaunceError;
use crate::work::JobContext;

pub(super) use agreement::compare_tables;

/// Compares a table with what a snapshot has of it, under an ensemble that may have more members there.
///
/// # Errors
/// Losses that the table cannot take.
pub(super) fn compare(
    snapshot: &Snapshot,
    ensemble: &EnsemblePart,
    source: &LossSource,
    replace: bool,
    work: &mut JobContext<'_>,
) -> Result<(), DaunceError> {
    ImportedTable::open(snapshot, ensemble, source, replace)?.compare(&mut TableReport::default(), work)
}

/// Writes a table, whose rows were found in `seen`, and publishes it. Returns the number of the snapshot that
/// has it.
pub(super) fn write(
    store: &Store,
    (seen, ensemble): (&Snapshot, &EnsemblePart),
    source: &LossSource,
    replace: bool,
    work: &mut JobContext<'_>,
) -> Result<(TableReport, u64), DaunceError> {
    let snapshot = store.snapshot()?;
    snapshot.same_members(ensemble, 0..ensemble.members.len()).map_err(JobError::from)?;
    let mut table = ImportedTable::open(&snapshot, ensemble, source, replace)?;
    let live = snapshot.live_rows(snapshot.dataset(&source.dataset)?)?;
    let mut report = TableReport {
        dataset: source.dataset.clone(),
        rows: source.rows.ids.len() as u64,
        of: live.len(),
        ..TableReport::default()
    };
    table.compare(&mut report, work)?;
    let features = table.plan(&snapshot, ensemble);
    if table.groups.iter().all(|group| group.feature.is_none()) {
        return Ok((report, snapshot.number()));
    }
    let mut sink = table.claim(store, (seen, &snapshot), features, work.command)?;
    table.write(&mut sink, work)?;
    let whole = live.difference(&RowSet::from_rows(source.rows.rows.iter().copied())).is_empty();
    let number = sink.publish(whole)?;
    Ok((report, number))
}

/// Members whose places lie one after the other: the columns of one feature.
struct MemberGroup {
    range: Range<usize>,
    /// The column of the file of each of them.
    columns: Vec<usize>,
    /// Rows that already have a column of one of them.
    there: RowSet,
    /// Rows with cells to write.
    new: Vec<u64>,
    /// Whether all cells of a row are written, or the new ones alone.
    whole: bool,
    /// Number of its feature in the job.
    feature: Option<usize>,
}

/// Given losses, compared with those of the store.
struct ImportedTable<'a> {
    source: &'a LossSource,
    replace: bool,
    columns: LossColumns,
    stored: Option<LossReader>,
    /// The offsets of the store, and the rows that have one.
    offset: Option<(FeatureReader, RowSet)>,
    of: OffsetOf,
    groups: Vec<MemberGroup>,
    /// Rows and their places in the file, by cell.
    cells: Vec<Vec<(u64, usize)>>,
}

/// What a cell of the table is to the store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum CellChange {
    New,
    Replaced,
    Unchanged,
    Missing,
}

impl<'a> ImportedTable<'a> {
    fn open(
        snapshot: &Snapshot,
        ensemble: &EnsemblePart,
        source: &'a LossSource,
        replace: bool,
    ) -> Result<Self, DaunceError> {
        let columns = LossColumns {
            signal: source.signal.name().to_owned(),
            loss: source.signal.name().to_owned(),
            reduction: "given".to_owned(),
            compute: source.compute.clone(),
            ..LossColumns::new(ensemble, source.dataset.clone(), "")
        };
        let wanted =
            LossWanted { dataset: &source.dataset, encoding: Some(""), signal: Some(&columns.signal) };
        let stored = match snapshot.open_losses(ensemble, &wanted) {
            Ok(reader) => Some(reader),
            Err(LossError::None { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let found = [OffsetOf::Base, OffsetOf::Mean]
            .into_iter()
            .find_map(|of| Some((of, snapshot.loss_offset(&columns, of)?)));
        let (of, offset) = match found {
            Some((of, part)) => {
                let reader = snapshot.open_feature(part)?;
                let rows = reader.row_set()?;
                (of, Some((reader, rows)))
            }
            None if source.has_base() => (OffsetOf::Base, None),
            None => (OffsetOf::Mean, None),
        };
        let groups = groups(ensemble, source, stored.as_ref())?;
        let by_row = source.rows.by_row();
        let cells = by_row.chunk_by(|(a, _), (b, _)| a / CELL_ROWS == b / CELL_ROWS).map(<[_]>::to_vec);
        let cells = cells.collect();
        Ok(Self { source, replace, columns, stored, offset, of, groups, cells })
    }

    /// Reads what is given and stored of a cell.
    fn window(&self, rows: &[(u64, usize)], window: &mut CellLosses) -> Result<(), DaunceError> {
        let Some((first, _)) = rows.first() else { return Ok(()) };
        let cell = first / CELL_ROWS;
        window.rows = rows.to_vec();
        let examples: Vec<usize> = rows.iter().map(|(_, place)| *place).collect();
        self.source.cells(&examples, &mut window.given)?;
        let has_base = self.source.base(&examples, &mut window.base)?;
        match &self.stored {
            Some(reader) => reader.read_cell(cell, None, &mut window.stored)?,
            None => window.stored = LossBlock::default(),
        }
        let stored = match &self.offset {
            Some((reader, _)) => reader.offsets(cell)?,
            None => Vec::new(),
        };
        window.offset.clear();
        for (at, (row, place)) in rows.iter().enumerate() {
            let base = window.base.get(at).copied().filter(|base| has_base && base.is_finite());
            let there = self.offset.as_ref().is_some_and(|(_, rows)| rows.contains(*row));
            // What theta_0 says of a row can be said again; another constant would be another one.
            let known = there || (self.of == OffsetOf::Base && self.offset.is_some() && base.is_some());
            if !known && window.has_stored(at) {
                let (path, id) = (self.source.path.clone(), self.id_of(*place));
                return Err(DaunceError::NoOffset { path, id });
            }
            let offset = match (there, base, self.of) {
                (true, base, _) => {
                    let offset = stored.get((row % CELL_ROWS) as usize).copied().unwrap_or(f32::NAN);
                    let is_base = self.of == OffsetOf::Base;
                    if let Some(base) = base.filter(|base| !is_base || *base as f32 != offset) {
                        let stored = Some(offset).filter(|offset| is_base && offset.is_finite());
                        return Err(self.other_base(*place, stored, base));
                    }
                    offset
                }
                (false, Some(base), OffsetOf::Base) => base as f32,
                (false, Some(base), OffsetOf::Mean) => return Err(self.other_base(*place, None, base)),
                (false, None, OffsetOf::Base) => f32::NAN,
                (false, None, OffsetOf::Mean) => window.mean(at, self.source.models.len()),
            };
            window.offset.push(offset);
        }
        Ok(())
    }

    fn differs(&self, place: usize, model: &str, stored: f64, given: f64) -> DaunceError {
        let (path, model) = (self.source.path.clone(), model.to_owned());
        DaunceError::Differs { path, id: self.id_of(place), model, stored, given }
    }

    /// A loss of theta_0 that the table cannot take: an offset never changes.
    fn other_base(&self, place: usize, stored: Option<f32>, given: f64) -> DaunceError {
        DaunceError::OtherBase {
            path: self.source.base_path().to_owned(),
            ensemble: self.columns.ensemble.1.clone(),
            id: self.id_of(place),
            stored,
            given,
        }
    }

    fn id_of(&self, place: usize) -> String {
        self.source.rows.ids.get(place).cloned().unwrap_or_default()
    }

    /// Counts what is new, and finds the rows that have it.
    fn compare(&mut self, report: &mut TableReport, work: &mut JobContext<'_>) -> Result<(), DaunceError> {
        let mut window = CellLosses::default();
        let mut groups = std::mem::take(&mut self.groups);
        work.progress.start("comparing losses", self.source.rows.ids.len() as u64, Unit::Rows);
        for rows in &self.cells {
            self.window(rows, &mut window)?;
            for (at, (row, place)) in rows.iter().enumerate() {
                for group in &mut groups {
                    let mut any = false;
                    for (member, column) in group.range.clone().zip(&group.columns) {
                        let compared = self.compared(&window, at, member, *column);
                        match compared {
                            CellChange::New => report.added += 1,
                            CellChange::Replaced if !self.replace => {
                                let model = self.source.models.get(*column).map_or("", String::as_str);
                                let (stored, given) = (
                                    window.stored_loss(at, self.place_of(member)),
                                    window.loss(at, *column, self.source.models.len()),
                                );
                                return Err(self.differs(*place, model, stored, given));
                            }
                            CellChange::Replaced => report.replaced += 1,
                            CellChange::Unchanged => report.unchanged += 1,
                            CellChange::Missing => report.missing += 1,
                        }
                        any |= matches!(compared, CellChange::New | CellChange::Replaced);
                    }
                    // A row of which all is missing is noted where it is new, so that it is not asked for
                    // again.
                    if any || !group.there.contains(*row) {
                        group.new.push(*row);
                    }
                }
            }
            work.cancel.check()?;
            work.progress.advance(rows.len() as u64);
        }
        work.progress.finish();
        self.groups = groups;
        Ok(())
    }

    /// Column of a member among the stored ones.
    fn place_of(&self, member: usize) -> Option<usize> {
        self.stored.as_ref()?.table().members.binary_search(&member).ok()
    }

    fn compared(&self, window: &CellLosses, at: usize, member: usize, column: usize) -> CellChange {
        let given = window.delta(at, column, self.source.models.len());
        if given.is_nan() {
            return CellChange::Missing;
        }
        match window.stored_delta(at, self.place_of(member)) {
            None => CellChange::New,
            Some(stored) if stored == given => CellChange::Unchanged,
            Some(_) => CellChange::Replaced,
        }
    }

    /// The features that take what is new: the offsets, and one for each group that has any.
    fn plan(&mut self, snapshot: &Snapshot, ensemble: &EnsemblePart) -> Vec<JobFeature> {
        let revision = match &self.stored {
            Some(reader) => snapshot.next_loss_revision(ensemble, reader.table()),
            None => 0,
        };
        let mut features: Vec<JobFeature> = self.offsets(snapshot).into();
        for group in self.groups.iter_mut().filter(|group| !group.new.is_empty()) {
            // Rows that are new go on in the features of the members; cells of rows that have
            // some already go over these.
            group.whole = group.new.iter().all(|row| !group.there.contains(*row));
            group.feature = Some(features.len());
            let revision = if group.whole { 0 } else { revision };
            features.push(self.columns.members(group.range.clone(), revision));
        }
        features
    }

    /// The offsets that are written, then those of the other kind, which stay empty. They are in single
    /// precision, whatever that of the losses is; where there are some, these go on.
    fn offsets(&self, snapshot: &Snapshot) -> [JobFeature; 2] {
        let columns = LossColumns { compute: "f32".to_owned(), ..self.columns.clone() };
        let other = if self.of == OffsetOf::Base { OffsetOf::Mean } else { OffsetOf::Base };
        [self.of, other].map(|of| match snapshot.loss_offset(&columns, of) {
            Some(part) => JobFeature { desc: part.desc.clone(), attrs: part.attrs.clone() },
            None => columns.offset(of),
        })
    }

    /// Starts the job that writes the table, which keeps others from it, unless what the file was compared
    /// with has changed by then.
    fn claim(
        &self,
        store: &Store,
        (seen, compared): (&Snapshot, &Snapshot),
        features: Vec<JobFeature>,
        command: &str,
    ) -> Result<LossJobWriter, DaunceError> {
        let sink = LossJobWriter::start((store, compared), features, command)?;
        let dataset = &self.columns.dataset;
        let now = sink.snapshot();
        let is_there = now.same_dataset(seen.dataset(dataset)?).is_ok();
        let is_same = self.parts(compared) == self.parts(now);
        match is_there && is_same {
            true => Ok(sink),
            false => Err(DaunceError::Meanwhile(dataset.clone())),
        }
    }

    /// What a snapshot has of the table.
    fn parts<'s>(&self, snapshot: &'s Snapshot) -> Vec<&'s Arc<FeaturePart>> {
        let LossColumns { ensemble: (uuid, _), dataset, encoding, .. } = &self.columns;
        let mut parts = snapshot.features_of(dataset);
        parts.retain(|part| part.desc.ensemble == Some(*uuid) && part.desc.encoding == *encoding);
        parts
    }

    fn write(&self, sink: &mut LossJobWriter, work: &mut JobContext<'_>) -> Result<(), DaunceError> {
        work.progress.start("writing losses", self.source.rows.ids.len() as u64, Unit::Rows);
        let (mut window, mut vector) = (CellLosses::default(), Vec::new());
        for rows in &self.cells {
            self.window(rows, &mut window)?;
            for (at, (row, _)) in rows.iter().enumerate() {
                let there = self.offset.as_ref().is_some_and(|(_, rows)| rows.contains(*row));
                if let Some(offset) = window.offset.get(at).filter(|_| !there) {
                    sink.push(0, *row, &[*offset])?;
                }
                for group in &self.groups {
                    let Some(feature) = group.feature.filter(|_| group.new.binary_search(row).is_ok()) else {
                        continue;
                    };
                    vector.clear();
                    for (member, column) in group.range.clone().zip(&group.columns) {
                        let compared = self.compared(&window, at, member, *column);
                        let wanted =
                            group.whole || matches!(compared, CellChange::New | CellChange::Replaced);
                        let value = window.delta(at, *column, self.source.models.len());
                        vector.push(if wanted { value } else { f32::NAN });
                    }
                    sink.push(feature, *row, &vector)?;
                }
            }
            work.cancel.check()?;
            work.progress.advance(rows.len() as u64);
        }
        work.progress.finish();
        Ok(())
    }
}

/// The models of a source by their places in the ensemble, cut where these do not go on.
fn groups(
    ensemble: &EnsemblePart,
    source: &LossSource,
    stored: Option<&LossReader>,
) -> Result<Vec<MemberGroup>, DaunceError> {
    let mut places = Vec::with_capacity(source.models.len());
    for (column, id) in source.models.iter().enumerate() {
        // All of them were registered just now.
        let Some((place, _)) = ensemble.member(id) else { continue };
        places.push((place, column));
    }
    places.sort_unstable();
    let mut groups = Vec::new();
    for run in places.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { continue };
        let range = *first..*last + 1;
        let mut there = RowSet::new();
        for member in range.clone() {
            if let Some(reader) = stored {
                there = there.union(&reader.rows_of(member)?);
            }
        }
        let columns = run.iter().map(|(_, column)| *column).collect();
        groups.push(MemberGroup { range, columns, there, new: Vec::new(), whole: true, feature: None });
    }
    Ok(groups)
}

#[cfg(test)]
mod tests;
