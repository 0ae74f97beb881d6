//! Report of scores in Markdown: of each query the best and the worst rows with their texts, and figures.

use std::io::Write;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use gstore_data::parse_record;

use super::plan::ScorePlan;
use super::sinks::HeldScores;
use crate::factors::error::FactorJobError;
use crate::factors::report::{PromptScores, REPORTED, score_report, whole_text};

/// Writes the report of all queries under a name.
pub(super) fn write(
    plan: &ScorePlan,
    held: &HeldScores,
    name: &str,
    out: &mut dyn Write,
) -> Result<(), FactorJobError> {
    let rows: Vec<u64> = plan.rows.iter().collect();
    let scored: Vec<usize> = (0..rows.len()).filter(|at| !held.unscored.contains(at)).collect();
    let all = held.tables.first().map_or(&[][..], |(_, scores)| &scores[..]);
    let texts = plan.names.texts.iter().zip(all.chunks_exact(rows.len().max(1)));
    let prompts = texts.enumerate().map(|(at, ((prompt, completion), scores))| PromptScores {
        prompt,
        completion: completion.as_deref(),
        scores: match held.without.contains(&at) {
            true => Vec::new(),
            false => scored.iter().map(|at| f64::from(scores[*at])).collect(),
        },
    });
    let mut failed = None;
    let mut text = |at: usize| {
        let found = scored.get(at).map(|at| text_of(plan, rows[*at]));
        found.unwrap_or_else(|| Ok(String::new())).unwrap_or_else(|error| {
            failed.get_or_insert(error);
            String::new()
        })
    };
    let report = score_report(name, prompts, REPORTED, &mut text);
    match failed {
        Some(error) => Err(error),
        None => Ok(out.write_all(report.as_bytes())?),
    }
}

fn text_of(plan: &ScorePlan, row: u64) -> Result<String, FactorJobError> {
    let batch = plan.batches.samples().get(&[row], &["record"])?;
    let records = batch.column(0).as_binary_opt::<i32>();
    let record = records.filter(|records| !records.is_empty()).map(|records| parse_record(records.value(0)));
    Ok(match record {
        Some(Ok(record)) => whole_text(&record.content),
        // A row whose text is not there was scored all the same.
        _ => String::new(),
    })
}
