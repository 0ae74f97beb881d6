//! Selections: the rows of a pool that influence a target most, as their original lines or as a table.

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use gstore_core::{Cancel, Unit};
use gstore_query::influence::{
    Diversity, Encoder, InfluenceSpec, NO_SUBTASK, Order, Prepared, Ranking, RowFilter, Scored,
    SelectRequest, resolve_share, resolve_top,
};
use gstore_sql::output::{Format, ResultWriter, TableStyle};
use gstore_store::Snapshot;

use self::explained::Explained;
use self::records::{NestedValues, Records};
pub use self::scored::write_scored_line;
use crate::answer::{
    AnswerError, CHUNK, Pool, RowWindow, id_column, nullable_table, open_pools, row_columns, tell_notes,
    written_record,
};
use crate::picture::{Picture, RankedRows, ranked};
use crate::rows::{FindError, matching};
use crate::work::JobContext;

mod explained;
mod nested;
mod records;
mod saved;
mod scored;

/// Bytes that the vectors of selected rows may take, where near-duplicates are passed over.
const MEMORY: usize = 2 << 30;

/// What the progress of written records is called.
const ROWS_STAGE: &str = "writing rows";

/// What is to be selected.
#[derive(Debug, Clone)]
pub struct SelectionRequest {
    /// Pools, targets and how they are scored.
    pub spec: InfluenceSpec,
    /// How many rows: a number, or a part of the live ones such as `5%`.
    pub top: String,
    /// The dataset that a percentage is taken of; none: the pools.
    pub of: Option<String>,
    /// Which end of the ranking.
    pub order: Order,
    /// Rules that keep rows out.
    pub rules: Diversity,
    /// An SQL condition over the columns of each pool: rows for which it is not true are no candidates.
    pub condition: Option<String>,
    /// Rank every row, so that all scores can be written; not with rules.
    pub rank_all: bool,
    /// Write rank and score of the selected rows into their records.
    pub with_scores: bool,
    /// Whose device scans the rows; none: the processor does.
    pub models: Option<Arc<dyn Encoder>>,
}

/// A selection, which can be written.
pub struct SelectedRows {
    prepared: Prepared,
    pools: Vec<Pool>,
    /// The rows that were ranked, the selected ones first.
    pub ranking: Ranking,
    /// How many rows were asked for.
    pub wanted: usize,
    with_scores: bool,
    /// Whether they are in the order of their scores, not taken in turn.
    in_order: bool,
    /// Candidates that rules kept out: over a quota, and near-duplicates.
    pub passed_over: Option<(u64, u64)>,
}

/// Selects rows of the pools for the targets.
///
/// # Errors
/// A question that cannot be answered, damage, and being told to stop.
pub fn select(
    snapshot: &Arc<Snapshot>,
    request: &SelectionRequest,
    work: &mut JobContext<'_>,
) -> Result<SelectedRows, AnswerError> {
    let SelectionRequest { spec, order, rules, .. } = request;
    let prepared = Prepared::with_encoder(snapshot, spec, request.models.clone())?;
    prepared.check_rules(rules)?;
    tell_notes(&prepared, work);
    let k = match &request.of {
        Some(dataset) => resolve_share(&request.top, snapshot.dataset(dataset)?.rows)?,
        None => resolve_top(&request.top, prepared.live())?,
    };
    let pools = (spec.pools.as_slice(), prepared.live());
    let filter = request.condition.as_ref().map(|condition| candidates(snapshot, pools, condition, work));
    let filter = filter.transpose()?;
    let (ranking, passed_over) = if *rules == Diversity::default() {
        let wanted = if request.rank_all { usize::MAX } else { k };
        (prepared.top_k(*order, wanted, filter.as_ref(), work.threads, work.cancel)?, None)
    } else {
        let threads = work.threads;
        let rules = SelectRequest {
            order: *order,
            k,
            filter: filter.as_ref(),
            diversity: rules,
            threads,
            memory: MEMORY,
        };
        let found = prepared.select(&rules, work.cancel)?;
        (found.ranking, Some((found.over_quota, found.near_duplicates)))
    };
    let pools = open_pools(snapshot, &spec.pools)?;
    let with_scores = request.with_scores;
    let in_order = rules.round_robin.is_none();
    Ok(SelectedRows { prepared, pools, ranking, wanted: k, with_scores, in_order, passed_over })
}

/// The rows of each pool for which a condition is true; of all pools there is one.
fn candidates(
    snapshot: &Arc<Snapshot>,
    (pools, live): (&[String], u64),
    condition: &str,
    work: &JobContext<'_>,
) -> Result<RowFilter, FindError> {
    let (mut filter, mut any) = (RowFilter::new(), false);
    for (place, pool) in pools.iter().enumerate() {
        let rows = matching(snapshot, pool, condition, work.threads, work.cancel)?;
        any |= !rows.is_empty();
        filter = filter.with(place, rows.iter().collect());
    }
    if any { Ok(filter) } else { Err(FindError::NoRow { rows: live }) }
}

impl SelectedRows {
    /// The selected rows.
    pub fn rows(&self) -> &[Scored] {
        &self.ranking.rows[..self.ranking.rows.len().min(self.wanted)]
    }

    /// The target dataset that decided nearly all of the selected rows, and how many: see
    /// [`Prepared::decided_by`].
    ///
    /// # Errors
    /// Damage of the targets' samples.
    pub fn decided_by(&self) -> Result<Option<(&str, u64)>, AnswerError> {
        Ok(self.prepared.decided_by(self.rows())?)
    }

    /// A picture of the selected rows: the distribution of the scores of all rows, and the shares of the
    /// values of a metadata column among these and in the pool, where the pools have it and can be drawn.
    /// None where no row has a score.
    ///
    /// # Errors
    /// Damage, and being told to stop.
    pub fn picture(&self, by: &str, work: &mut JobContext<'_>) -> Result<Option<Picture>, AnswerError> {
        let rows = self.rows();
        let Self { prepared, pools, in_order, .. } = self;
        ranked(&RankedRows { prepared, pools, rows, called: "selected", in_order: *in_order }, by, work)
    }

    /// Writes the original lines, each ended by a line break, byte for byte; with scores as the last keys if
    /// they were asked for.
    ///
    /// # Errors
    /// A row that was stored without its line, or that has no place for its score, damage, an output that
    /// fails, and being told to stop.
    pub fn write_lines(&self, out: &mut impl Write, work: &mut JobContext<'_>) -> Result<(), AnswerError> {
        let rows = self.rows();
        let mut window = RowWindow::new(&self.pools, rows, |_| vec![Some("record")], work.cancel);
        let mut ranks = 1..;
        work.progress.start(ROWS_STAGE, rows.len() as u64, Unit::Rows);
        for start in (0..rows.len()).step_by(CHUNK) {
            work.cancel.check()?;
            let places = start..rows.len().min(start + CHUNK);
            window.hold(&places)?;
            let records = window.column(0, &places).into_iter().flatten();
            for (scored, stored) in rows[places.clone()].iter().zip(records) {
                let record = written_record(&stored, scored.row)?;
                match ranks.next().filter(|_| self.with_scores) {
                    Some(rank) => write_scored_line(out, (scored.row, record), (rank, scored.score))?,
                    None => {
                        out.write_all(record)?;
                        out.write_all(b"\n")?;
                    }
                }
            }
            work.progress.advance(places.len() as u64);
        }
        work.progress.finish();
        Ok(())
    }

    /// Writes the records as a table that can be added again.
    ///
    /// # Errors
    /// Records that do not fit into one table, damage, an output that fails, and being told to stop.
    pub fn write_table<W: Write + Send>(
        &self,
        out: W,
        format: Format,
        work: &mut JobContext<'_>,
    ) -> Result<(), AnswerError> {
        let rows = self.rows();
        let mut records = Records::new(&self.pools, rows, nested_in(format), self.with_scores, work)?;
        write_batches((out, format), (ROWS_STAGE, rows.len()), work, |places| records.batch(places))
    }

    /// Writes id, row, score and subtask of every ranked row; with `explain`, what stands behind each score.
    ///
    /// # Errors
    /// Damage, an output that fails, and being told to stop.
    pub fn write_scores<W: Write + Send>(
        &self,
        out: W,
        format: Format,
        explain: bool,
        work: &mut JobContext<'_>,
    ) -> Result<(), AnswerError> {
        let explain = explain.then(|| Explained::new(&self.prepared, work.cancel)).transpose()?;
        let (ranked, cancel) = (&self.ranking.rows, work.cancel);
        let mut window = RowWindow::new(&self.pools, ranked, |_| vec![Some("id")], cancel);
        write_batches((out, format), ("writing scores", ranked.len()), work, |places| {
            window.hold(&places)?;
            let ids: Vec<ArrayRef> = window.column(0, &places).into_iter().flatten().collect();
            self.scores(&ranked[places], id_column(&ids), explain.as_ref(), cancel)
        })
    }

    /// `id, row, score, subtask`, and `pool` in front if there are several; of covariances their errors.
    fn scores(
        &self,
        rows: &[Scored],
        ids: StringArray,
        explain: Option<&Explained<'_>>,
        cancel: &Cancel,
    ) -> Result<RecordBatch, AnswerError> {
        let subtask = |scored: &Scored| match scored.subtask {
            NO_SUBTASK => None,
            number => self.ranking.subtasks.get(number as usize).map(String::as_str),
        };
        let mut columns = row_columns(rows, &self.pools, ids);
        columns.push(("score", Arc::new(Float32Array::from_iter_values(rows.iter().map(|r| r.score)))));
        columns.push(("subtask", Arc::new(rows.iter().map(subtask).collect::<StringArray>())));
        if self.prepared.plan().models().is_some() {
            columns.extend(crate::daunce::errors(&self.prepared, rows, cancel)?);
        }
        if let Some(explain) = explain {
            columns.extend(explain.columns(rows)?);
        }
        // Nothing tells the type of a column without values otherwise.
        Ok(nullable_table(columns)?)
    }
}

/// Rows of one dataset in their order, without scores.
fn without_scores(rows: &[u64]) -> Vec<Scored> {
    rows.iter().map(|row| Scored { pool: 0, row: *row, pos: None, score: 0.0, subtask: NO_SUBTASK }).collect()
}

/// What lists and objects are in a table of this format.
fn nested_in(format: Format) -> NestedValues {
    if format.is_binary() { NestedValues::Typed } else { NestedValues::Text }
}

/// Writes records of a dataset as a table that can be added again.
pub(crate) fn write_records<W: Write + Send>(
    snapshot: &Snapshot,
    (dataset, rows): (&str, &[u64]),
    (out, format): (W, Format),
    work: &mut JobContext<'_>,
) -> Result<(), AnswerError> {
    let (pools, rows) = (open_pools(snapshot, &[dataset.to_owned()])?, without_scores(rows));
    let mut records = Records::new(&pools, &rows, nested_in(format), false, work)?;
    write_batches((out, format), (ROWS_STAGE, rows.len()), work, |places| records.batch(places))
}

/// Writes records of a dataset as one of the library `datasets` into a folder, which is there and empty.
pub(crate) fn write_saved(
    snapshot: &Snapshot,
    (dataset, rows): (&str, &[u64]),
    folder: &Path,
    work: &mut JobContext<'_>,
) -> Result<(), AnswerError> {
    let (pools, rows) = (open_pools(snapshot, &[dataset.to_owned()])?, without_scores(rows));
    let mut records = Records::new(&pools, &rows, NestedValues::Typed, false, work)?;
    saved::write(&mut records, &rows, folder, work)
}

/// Writes the batches of so many rows, and reports them as this stage.
fn write_batches<W: Write + Send>(
    (out, format): (W, Format),
    (stage, rows): (&str, usize),
    work: &mut JobContext<'_>,
    mut batch: impl FnMut(Range<usize>) -> Result<RecordBatch, AnswerError>,
) -> Result<(), AnswerError> {
    let style = TableStyle { width: None, column: None };
    work.progress.start(stage, rows as u64, Unit::Rows);
    // At least one batch, so that an empty selection still is a file with a header.
    work.cancel.check()?;
    let first = batch(0..rows.min(CHUNK))?;
    let mut writer = ResultWriter::new(format, &first.schema(), out, style)?;
    writer.write(&first)?;
    work.progress.advance(first.num_rows() as u64);
    for start in (CHUNK..rows).step_by(CHUNK) {
        work.cancel.check()?;
        let next = batch(start..rows.min(start + CHUNK))?;
        writer.write(&next)?;
        work.progress.advance(next.num_rows() as u64);
    }
    writer.finish()?;
    work.progress.finish();
    Ok(())
}
