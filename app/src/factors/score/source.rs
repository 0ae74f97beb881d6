//! Passes over a pool at the checkpoints of all segments of training, or for some layers after others, whose
//! scores are added row by row.

use std::io::BufWriter;

use super::pass::{Multiplier, RowScores, pass};
use super::plan::ScorePlan;
use super::request::ScoreForm;
use super::sums::{WaitingSums, add_to, reopen, write_floats};
use crate::factors::engine;
use crate::factors::error::FactorJobError;
use crate::scratch::in_folder;
use crate::work::JobContext;

/// Hands the scores of the pool's rows to `take`, in their order: sums over segments, of means over the
/// checkpoints of each. Those that are summed over the pool come once for each checkpoint, as parts of the
/// sum. `against`: what rows are multiplied with in each segment. Where these are not all modules, sums go on
/// from those `before`, and wait for the next pass unless it `is_last`.
///
/// Disk: as the plan says.
pub(super) fn passes(
    plan: &ScorePlan,
    (against, form): (&[Multiplier], ScoreForm),
    (mut before, is_last): (WaitingSums, bool),
    work: &mut JobContext<'_>,
    take: &mut dyn FnMut(Vec<RowScores>) -> Result<(), FactorJobError>,
) -> Result<WaitingSums, FactorJobError> {
    let of_segments = plan.segments.iter().zip(against);
    let visits: Vec<_> = of_segments
        .flat_map(|(segment, against)| {
            let part = 1.0 / segment.checkpoints.len() as f64;
            segment.checkpoints.iter().map(move |place| (place, against, part))
        })
        .collect();
    let last = visits.len().saturating_sub(1);
    let named = |error| in_folder(&plan.scratch, error);
    let mut sums: WaitingSums = None;
    for (number, (place, against, part)) in visits.into_iter().enumerate() {
        let known = (&place.id, plan.engine.modules());
        let load = |at| engine::load_at(at, &plan.selection, known);
        let moved = place.at.as_ref().map(load).transpose()?;
        let engines = moved.as_ref().unwrap_or(&plan.engine);
        let is_carried = if number < last { !form.summed } else { !is_last };
        let file = is_carried.then(|| tempfile::tempfile_in(&plan.scratch)).transpose().map_err(named)?;
        let mut next = file.map(BufWriter::new);
        let mut add = |mut rows: Vec<RowScores>| -> Result<(), FactorJobError> {
            for row in &mut rows {
                row.values.iter_mut().for_each(|value| *value *= part);
                if let Some(sums) = &mut sums {
                    add_to(&mut row.values, sums).map_err(named)?;
                }
            }
            match &mut next {
                Some(next) => {
                    Ok(rows.iter().try_for_each(|row| write_floats(next, &row.values)).map_err(named)?)
                }
                None => take(rows),
            }
        };
        pass((plan, engines), (against, form.per), before.as_mut(), work, &mut add)?;
        sums = next.map(reopen).transpose().map_err(named)?;
        before = None;
    }
    Ok(sums)
}
