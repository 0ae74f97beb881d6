//! The distribution of a target's scores over a pool, with the noise floor.

use std::ops::ControlFlow;
use std::sync::Arc;

use gstore_core::many_of;
use gstore_query::influence::{InfluenceSpec, Order, Prepared, Scored, resolve_top};
use gstore_store::Snapshot;

use super::super::scale::number;
use super::super::{Body, Histogram, Panel, Picture};
use super::bins::Bins;
use super::{counted, question};
use crate::answer::{AnswerError, tell_notes};
use crate::work::JobContext;

/// Rows whose noise floor is computed, about.
const SAMPLE: usize = 256;

/// What is drawn.
#[derive(Debug, Clone)]
pub struct ScoresRequest {
    /// Pools, targets and how they are scored.
    pub spec: InfluenceSpec,
    /// Rows of a selection whose lowest score is marked: a number, or a part of the live rows such as `5%`.
    pub top: Option<String>,
}

/// A histogram of all scores. Where vectors were projected, the noise floor is the median of those of rows
/// that are spread over the pool.
///
/// # Errors
/// A question that cannot be answered, damage, and being told to stop.
pub fn scores(
    snapshot: &Arc<Snapshot>,
    request: &ScoresRequest,
    work: &mut JobContext<'_>,
) -> Result<Picture, AnswerError> {
    let prepared = Prepared::new(snapshot, &request.spec)?;
    tell_notes(&prepared, work);
    let marks = match &request.top {
        Some(top) => mark(&prepared, top, work)?.into_iter().collect(),
        None => Vec::new(),
    };
    let nothing = || AnswerError::Refused("no row has a score, so there is nothing to draw".to_owned());
    distribution(&prepared, marks, work)?.ok_or_else(nothing)
}

/// The same of a question that is prepared, with these values marked; none where no row has a score.
pub(super) fn distribution(
    prepared: &Prepared,
    marks: Vec<(f64, String)>,
    work: &JobContext<'_>,
) -> Result<Option<Picture>, AnswerError> {
    let spec = prepared.spec();
    let (mut bins, mut spread) = (Bins::default(), EvenlySpacedRows::default());
    let summary = prepared.scores(None, work.threads, work.cancel, |rows| {
        for row in rows {
            bins.add(f64::from(row.score));
            spread.add(row);
        }
        ControlFlow::Continue(())
    })?;
    if bins.total() == 0 {
        return Ok(None);
    }
    let (first, width, counts) = bins.intervals();
    let mut notes = Vec::new();
    let floor = match spec.per_token {
        true => None,
        false => noise_floor(prepared, &spread.rows, work)?,
    };
    if let Some(floor) = floor {
        let share = bins.within(floor) as f64 / bins.total() as f64;
        notes.push(format!(
            "The noise floor is {}: the standard deviation of the score of a row that has nothing to do with the target \
             (median of {}). {:.1} % of the scores lie within it.",
            number(floor),
            counted(spread.rows.len() as u64, "row"),
            share * 100.0
        ));
    }
    if summary.excluded.total() > 0 {
        let left_out = summary.excluded.total();
        notes.push(format!(
            "{} not counted.",
            many_of(left_out, "row without a score is", "rows without a score are")
        ));
    }
    let what = question(spec, prepared);
    let unit = if spec.per_token { "token" } else { "row" };
    let heading = format!("scores of {}", counted(bins.total(), unit));
    let about = format!("Histogram of the scores of {what}. {}", notes.join(" "));
    let band = floor.map(|floor| (-floor, floor, "noise floor".to_owned()));
    let (x, y) = ("score".to_owned(), format!("{unit}s"));
    let body = Body::Histogram(Histogram { x, y, first, width, counts, band, marks });
    let panels = vec![Panel { heading, body, notes }];
    Ok(Some(Picture { title: format!("Scores of {what}"), about, panels }))
}

/// The lowest score of a selection.
fn mark(prepared: &Prepared, top: &str, work: &JobContext<'_>) -> Result<Option<(f64, String)>, AnswerError> {
    let k = resolve_top(top, prepared.live())?;
    let ranking = prepared.top_k(Order::Best, k, None, work.threads, work.cancel)?;
    Ok(ranking.rows.last().map(|row| (f64::from(row.score), format!("best {}", top.trim()))))
}

/// The median noise floor of some rows; none where nothing was projected.
fn noise_floor(
    prepared: &Prepared,
    rows: &[Scored],
    work: &JobContext<'_>,
) -> Result<Option<f64>, AnswerError> {
    let mut floors: Vec<f32> = match prepared.plan().models() {
        Some(_) => {
            let estimates = prepared.estimates(rows, false, work.cancel)?;
            estimates.iter().filter_map(|row| row.estimate.noise_floor.map(|floor| floor as f32)).collect()
        }
        None => {
            let explained = prepared.explain_rows(rows, work.cancel)?;
            explained.iter().filter_map(|row| row.noise_floor).collect()
        }
    };
    floors.sort_unstable_by(f32::total_cmp);
    Ok(floors.get(floors.len() / 2).map(|floor| f64::from(*floor)))
}

/// Rows at equal distances, whose number stays bounded.
#[derive(Default)]
struct EvenlySpacedRows {
    rows: Vec<Scored>,
    seen: usize,
    every: usize,
}

impl EvenlySpacedRows {
    fn add(&mut self, row: &Scored) {
        if self.seen.is_multiple_of(self.every.max(1)) {
            self.rows.push(*row);
        }
        self.seen += 1;
        if self.rows.len() == 2 * SAMPLE {
            let mut number = 0;
            self.rows.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.every = self.every.max(1) * 2;
        }
    }
}
