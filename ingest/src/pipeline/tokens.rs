//! Token counts of the samples: they are the encoding's part of the store, and tell how long a run will take.

use gstore_core::{Cancel, Remedy, many};
use gstore_store::{CELL_ROWS, EncodingWriter, Job, RowSet, SampleReader, TokenCount};

use super::plan::IngestPlan;
use super::prepare::BatchPreparer;
use super::window::BatchLimits;
use super::{IngestError, Progress, Unit};

/// Tokens of the rows of a dataset, by cell: what progress needs, at 8 bytes for 4,096 rows.
#[derive(Debug, Default)]
pub(crate) struct TokenCounts {
    cells: Vec<(u64, u64, u64)>,
    rows: u64,
    truncated: u64,
    unscored: u64,
    is_new: bool,
}

impl TokenCounts {
    fn add(&mut self, count: &TokenCount) {
        self.rows += 1;
        self.truncated += u64::from(count.truncated);
        self.unscored += u64::from(count.scored == 0);
        let cell = count.row / CELL_ROWS;
        match self.cells.last_mut() {
            Some((last, rows, tokens)) if *last == cell => {
                *rows += 1;
                *tokens += u64::from(count.tokens);
            }
            _ => self.cells.push((cell, 1, u64::from(count.tokens))),
        }
    }

    /// Whether rows were counted that had not been before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// What people should know of the rows, whose texts end after `max_length` tokens.
    pub fn notes(&self, max_length: u32) -> Vec<String> {
        let of = |n: u64| format!("{n} of {}", many(self.rows, "row"));
        let mut notes = Vec::new();
        if self.truncated > 0 {
            let verb = if self.truncated == 1 { "is" } else { "are" };
            notes.push(format!(
                "{} {verb} longer than {}: the rest is not read ({})",
                of(self.truncated),
                many(max_length.into(), "token"),
                Remedy::Option("max_length", "N")
            ));
        }
        if self.unscored > 0 {
            let verb = if self.unscored == 1 { "has" } else { "have" };
            notes.push(format!("{} {verb} no scored token, and will have no score", of(self.unscored)));
        }
        notes
    }

    /// Tokens of some rows; of a part of a cell, its share.
    pub fn tokens_of(&self, rows: &RowSet) -> u64 {
        self.cells
            .iter()
            .map(|(cell, count, tokens)| {
                let here: u64 = rows
                    .within(cell * CELL_ROWS..(cell + 1) * CELL_ROWS)
                    .map(|range| range.end - range.start)
                    .sum();
                tokens * here.min(*count) / (*count).max(1)
            })
            .sum()
    }
}

/// Token counts of the dataset: those stored, and those of the rows that lack them, which
/// are sealed in the job.
///
/// # Errors
/// A sample that cannot be read or encoded.
pub fn count(
    job: &mut Job,
    plan: &IngestPlan,
    samples: &SampleReader,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<TokenCounts, IngestError> {
    let key = plan.encoding.key();
    let entry = plan.dataset.encoding(&key);
    let stored = entry.map(|entry| entry.rows()).unwrap_or_default();
    // Rows that were chosen have gaps with live rows, which no file fills: all are counted then.
    let all = plan.chosen().map(|_| plan.snapshot.live_rows(&plan.dataset)).transpose()?;
    let rows = all.as_deref().unwrap_or(&plan.rows);
    // As of now: one that was deleted when this was planned may be back.
    let live = job.snapshot().live_rows(job.snapshot().dataset(&plan.request.dataset)?)?;
    let reader = entry.map(|entry| plan.snapshot.encoding(entry)).transpose()?;
    let missing = rows.difference(&stored).difference(&job.encoding_rows_done(&plan.request.dataset, &key));
    let one = BatchLimits { tokens: 1, rows: 1 };
    let preparer = BatchPreparer { chosen: None, ..plan.preparer(samples, one, cancel) };
    let mut writer: Option<EncodingWriter> = None;
    let mut counts = TokenCounts { is_new: !missing.is_empty(), ..TokenCounts::default() };
    progress.start("counting tokens", rows.len(), Unit::Rows);
    for cell in rows.cells() {
        if cancel.is_raised() {
            break;
        }
        let range = cell * CELL_ROWS..(cell + 1) * CELL_ROWS;
        let here = RowSet::from_ranges(rows.within(range.clone()));
        let done = here.len();
        if let Some(reader) = reader.as_ref().filter(|_| here.difference(&stored).is_empty()) {
            let there = reader.counts(range)?;
            there.iter().filter(|count| here.contains(count.row)).for_each(|count| counts.add(count));
        } else {
            for row in preparer.encode_rows(here)? {
                let count = row.count();
                counts.add(&count);
                if !missing.contains(row.row) {
                    continue;
                }
                let joins = match &mut writer {
                    Some(open) => open.fill_to(row.row, &live)?,
                    None => true,
                };
                if !joins && let Some(before) = writer.take() {
                    job.seal_encoding(before)?;
                }
                let open = match &mut writer {
                    Some(open) => open,
                    None => writer.insert(job.encoding_writer(
                        &plan.request.dataset,
                        plan.encoding.clone(),
                        &plan.encoding.template,
                    )?),
                };
                open.push(count)?;
            }
        }
        progress.advance(done);
    }
    progress.finish();
    if let Some(writer) = writer
        && !cancel.is_raised()
    {
        job.seal_encoding(writer)?;
    }
    Ok(counts)
}
