//! Dry run with new data files: the state after their registration, without registering them.
//!
//! The file is read into a scratch store. Its samples are then compared with those of the dataset,
//! which are only read: what is in the dataset is planned there, with the features that it has, and the
//! rest in the scratch store.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_store::{
    AppendError, AppendOptions, DatasetName, DatasetPart, IfChanged, IfDeleted, RowSet, Snapshot, Store,
    record_columns,
};

use super::plan::{IngestPlan, first_rows};
use super::register::check_existing;
use super::request::IngestRequest;
use super::{AddReport, AddRequest, IngestError, Progress};

/// An ingest of samples of which some are not registered.
pub struct IngestPreview {
    /// What registering them would do.
    pub report: AddReport,
    /// The plan of the samples that are in the store; none if there are none.
    pub stored: Option<IngestPlan>,
    /// The plan of those that are not, in the scratch store; none if there are none, or the
    /// limit ends before them.
    pub added: Option<IngestPlan>,
}

impl IngestPreview {
    /// Plans an ingest of a dataset of `store` together with the samples of the same dataset in `scratch`,
    /// which `add` would register.
    ///
    /// # Errors
    /// As [`IngestPlan::new`]; a sample that differs from the stored one of its id, where that is refused;
    /// [`IngestError::OtherData`]; a list of deleted ids that cannot be read.
    pub fn new(
        store: Option<&Store>,
        scratch: &Store,
        request: &IngestRequest,
        add: &AddRequest,
        progress: &mut dyn Progress,
    ) -> Result<Self, IngestError> {
        let snapshot = store.map(Store::snapshot).transpose()?;
        let stored = snapshot.and_then(|snapshot| {
            let part = snapshot.dataset(&request.dataset).ok().cloned()?;
            Some((snapshot, part))
        });
        let found = match &stored {
            Some((snapshot, part)) => SampleComparison::look(snapshot, part, scratch, add.if_changed)?,
            None => SampleComparison::default(),
        };
        let file = scratch.snapshot()?;
        let all = file.live_rows(file.dataset(&request.dataset)?)?;
        let new = all.difference(&found.same).difference(&found.kept);
        let left_out = match &stored {
            Some((snapshot, part)) if add.if_deleted == IfDeleted::LeaveOut => {
                deleted_rows(snapshot, part, &file, &new.difference(&found.changed))?
            }
            _ => RowSet::new(),
        };
        let new = new.difference(&left_out);
        let replaced = found.replaced.len();
        let report = AddReport {
            added: new.len() - replaced,
            unchanged: found.same.len(),
            replaced,
            kept: found.kept.len(),
            left_out: left_out.len(),
            ..AddReport::default()
        };
        let known = report.unchanged + report.replaced + report.kept + report.left_out;
        check_existing(add, stored.as_ref().map(|(_, part)| &**part), report.added, known)?;
        let stored = match (store, stored) {
            (Some(store), Some((_, part))) if part.rows > 0 => {
                let mut plan = IngestPlan::new(store, request.clone(), progress)?;
                let live = plan.snapshot.live_rows(&plan.dataset)?;
                plan.rows = first_rows(&live.difference(&found.replaced), request.limit);
                Some(plan)
            }
            _ => None,
        };
        let before = stored.as_ref().map_or(0, |plan| plan.rows.len());
        let rows = first_rows(&new, request.limit.map(|limit| limit.saturating_sub(before)));
        let added = match rows.is_empty() {
            true => None,
            false => {
                let mut plan = IngestPlan::new(scratch, request.clone(), progress)?;
                plan.rows = rows;
                Some(plan)
            }
        };
        Ok(Self { report, stored, added })
    }

    /// The plans, the store's first.
    pub fn plans(&self) -> impl Iterator<Item = &IngestPlan> {
        self.stored.iter().chain(&self.added)
    }
}

/// Rows of the scratch store whose ids were deleted from the dataset.
fn deleted_rows(
    snapshot: &Snapshot,
    part: &DatasetPart,
    file: &Snapshot,
    new: &RowSet,
) -> Result<RowSet, IngestError> {
    let mut deleted = snapshot.deleted_ids(part)?;
    let mut rows = Vec::new();
    for batch in file.samples(file.dataset(&part.name)?)?.scan(&["row", "id"], None) {
        let batch = batch?;
        let numbers = batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
        let ids = batch.column_by_name("id").and_then(|c| c.as_string_opt::<i32>());
        let (Some(numbers), Some(ids)) = (numbers, ids) else { return Err(IngestError::SampleColumns) };
        for (row, id) in numbers.values().iter().zip(ids.iter().flatten()) {
            if new.contains(*row) && deleted.contains(id)? {
                rows.push(*row);
            }
        }
    }
    Ok(RowSet::from_rows(rows))
}

/// Which samples of a file a dataset has.
#[derive(Default)]
struct SampleComparison {
    /// Rows of the scratch store that the dataset has.
    same: RowSet,
    /// Rows of the scratch store in whose place the dataset keeps others.
    kept: RowSet,
    /// Rows of the scratch store that would take the place of others.
    changed: RowSet,
    /// Rows of the dataset that would be replaced.
    replaced: RowSet,
}

impl SampleComparison {
    /// Looks every live sample of a dataset up among those of the scratch store. Memory: 8 bytes
    /// for each that is there.
    fn look(
        snapshot: &Snapshot,
        part: &DatasetPart,
        scratch: &Store,
        if_changed: IfChanged,
    ) -> Result<Self, IngestError> {
        let name = DatasetName::try_from(part.name.as_str())?;
        let mut file = scratch.append(&name, Vec::new(), AppendOptions::default())?;
        let [mut same, mut kept, mut changed, mut replaced] = [const { Vec::new() }; 4];
        for batch in snapshot.samples(part)?.scan(&["row", "id", "record"], None) {
            let batch = batch?;
            let (rows, ids, records) = record_columns(&batch).ok_or(IngestError::SampleColumns)?;
            for i in 0..batch.num_rows() {
                let (row, id) = (rows.value(i), ids.value(i));
                let record = records.is_valid(i).then(|| records.value(i));
                match (file.stored(id, record)?, if_changed) {
                    (None, _) => {}
                    (Some((at, true)), _) => same.push(at),
                    (Some((at, false)), IfChanged::Keep) => kept.push(at),
                    (Some((at, false)), IfChanged::Replace) => {
                        changed.push(at);
                        replaced.push(row);
                    }
                    (Some((at, false)), IfChanged::Refuse) => {
                        let (dataset, id) = (part.name.clone(), id.to_owned());
                        let differs = file.difference(at, record)?;
                        let error = AppendError::Changed { dataset, id, row, differs };
                        return Err(IngestError::Register(error));
                    }
                }
            }
        }
        let [same, kept, changed, replaced] = [same, kept, changed, replaced].map(RowSet::from_rows);
        Ok(Self { same, kept, changed, replaced })
    }
}
