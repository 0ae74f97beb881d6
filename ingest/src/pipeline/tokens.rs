//! Token counts of the samples: they are the encoding's part of the store, and tell how long a run will take.

use std::sync::atomic::{AtomicBool, Ordering};

use gstore_store::{CELL_ROWS, Job, RowSet, SampleReader, TokenCount};

use super::plan::IngestPlan;
use super::prepare::Preparer;
use super::{IngestError, Progress, Unit};

/// Tokens of the rows of a dataset, by cell: what progress needs, at 8 bytes for 4,096 rows.
#[derive(Debug, Default)]
pub struct Counts {
    cells: Vec<(u64, u64, u64)>,
}

impl Counts {
    fn add(&mut self, count: &TokenCount) {
        let cell = count.row / CELL_ROWS;
        match self.cells.last_mut() {
            Some((last, rows, tokens)) if *last == cell => {
                *rows += 1;
                *tokens += u64::from(count.tokens);
            }
            _ => self.cells.push((cell, 1, u64::from(count.tokens))),
        }
    }

    /// Tokens of some rows; of a part of a cell, its share.
    pub fn tokens_of(&self, rows: &RowSet) -> u64 {
        self.cells
            .iter()
            .map(|(cell, count, tokens)| {
                let here = rows.intersection(&RowSet::from_ranges([cell * CELL_ROWS..(cell + 1) * CELL_ROWS])).len();
                tokens * here.min(*count) / (*count).max(1)
            })
            .sum()
    }
}

/// Token counts of the dataset: those stored, and those of the rows that lack them, which are sealed in the job.
///
/// # Errors
/// A sample that cannot be read or encoded.
pub fn count(
    job: &mut Job,
    plan: &IngestPlan,
    samples: &SampleReader,
    progress: &mut dyn Progress,
    cancel: &AtomicBool,
) -> Result<Counts, IngestError> {
    let key = plan.encoding.key();
    let stored = plan.dataset.encoding(&key);
    let covered = stored.map(|entry| entry.rows()).unwrap_or_default().union(&job.encoding_rows_done(&plan.request.dataset, &key));
    let missing = plan.dataset.row_set().difference(&covered);
    let mut counts = Counts::default();
    if missing.is_empty() && let Some(entry) = stored {
        for range in plan.dataset.row_set().ranges() {
            for count in plan.snapshot.encoding(&plan.dataset, entry)?.counts(range.clone())? {
                counts.add(&count);
            }
        }
        return Ok(counts);
    }
    let preparer = Preparer { samples, encoder: &plan.encoder, limits: super::window::BatchLimits { tokens: 1, rows: 1 } };
    let mut writer = (!missing.is_empty())
        .then(|| job.encoding_writer(&plan.request.dataset, plan.encoding.clone(), &plan.encoding.template))
        .transpose()?;
    progress.start("counting tokens", plan.dataset.rows, Unit::Rows);
    for range in plan.dataset.row_set().ranges() {
        let mut start = range.start;
        while start < range.end {
            let end = ((start / CELL_ROWS + 1) * CELL_ROWS).min(range.end);
            if cancel.load(Ordering::Relaxed) {
                break;
            }
            for row in preparer.encode(start..end)? {
                let count = TokenCount {
                    row: row.row,
                    tokens: row.encoded.ids.len() as u32,
                    scored: row.encoded.scored_tokens() as u32,
                    truncated: row.encoded.truncated,
                };
                counts.add(&count);
                if missing.contains(row.row) && let Some(writer) = &mut writer {
                    writer.push(count)?;
                }
            }
            progress.advance(end - start);
            start = end;
        }
    }
    progress.finish();
    if let Some(writer) = writer && !cancel.load(Ordering::Relaxed) {
        job.seal_encoding(writer)?;
    }
    Ok(counts)
}
