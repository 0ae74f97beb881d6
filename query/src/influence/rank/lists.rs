//! Rankings of a pass: how the values of a row become a score for each, and scoring rows for all of them.

use super::collect::{Collector, finish, shared};
use crate::error::QueryError;
use crate::influence::result::Scored;
use crate::influence::scan::terms::Terms;
use crate::influence::scan::windows::Window;
use crate::influence::scan::{Scan, Totals, Worker};

/// How the values of a row become one score for each ranking.
pub(crate) enum Lists {
    /// The score of the whole question.
    Whole,
    /// The value of each subtask.
    Subtasks(usize),
    /// For each target the terms over its own subtasks, and these.
    Targets(Vec<(Terms, Vec<u32>)>),
    /// Each value by itself, with its subtask: of samples, and of subtasks that have one each.
    Values(Vec<u32>),
}

impl Lists {
    pub(crate) fn len(&self) -> usize {
        match self {
            Lists::Whole => 1,
            Lists::Subtasks(count) => *count,
            Lists::Targets(targets) => targets.len(),
            Lists::Values(subtasks) => subtasks.len(),
        }
    }

    /// Hands out (ranking, score, subtask) of a row.
    pub(crate) fn each(
        &self,
        terms: &Terms,
        values: &[f32],
        whole: (f32, u32),
        mut take: impl FnMut(usize, f32, u32),
    ) {
        match self {
            Lists::Whole => take(0, whole.0, whole.1),
            Lists::Subtasks(count) => {
                (0..*count).for_each(|s| take(s, terms.subtask(s, values), s as u32));
            }
            Lists::Targets(targets) => {
                for (t, (terms, own)) in targets.iter().enumerate() {
                    let (score, subtask) = terms.score(values);
                    take(t, score, own.get(subtask as usize).copied().unwrap_or(subtask));
                }
            }
            Lists::Values(subtasks) => {
                subtasks.iter().enumerate().for_each(|(q, subtask)| take(q, values[q], *subtask));
            }
        }
    }
}

/// Scores every row of windows, or every token, for some rankings, which go on from what they have.
pub(super) fn score_windows(
    scan: &Scan<'_>,
    lists: &Lists,
    windows: &[Window],
    threads: usize,
    tops: &mut [Collector],
) -> Result<Totals, QueryError> {
    let tops = shared(tops);
    let states = scan.disk.unordered(
        windows.len(),
        (threads, scan.cancel),
        || (Worker::default(), tops.waiting(), Totals::default()),
        |(worker, _, _), ahead| worker.see(ahead),
        &|units, wants| scan.want(&windows[units].iter().collect::<Vec<_>>(), wants),
        |(worker, waiting, totals), unit| {
            let pool = windows[unit].pool;
            let counted = scan.judged(&windows[unit], worker, |row, pos, values, whole| {
                lists.each(scan.terms, values, whole, |list, score, subtask| {
                    waiting.offer(list, &Scored { pool, row, pos, score, subtask });
                });
            })?;
            totals.merge(&counted);
            Ok(())
        },
    )?;
    Ok(finish(states))
}
