//! Noise of labels, and the recall that it leaves to a perfect prediction, before anything is learned.

use std::collections::BTreeSet;

use gstore_core::many;
use gstore_learn::judge::{Bootstrap, Reliability, expected_recall, percent, reliability};
use gstore_query::influence::{Prepared, Scored};

use crate::answer::AnswerError;
use crate::work::JobContext;

/// Labelled rows whose noise is measured.
const NOISE_ROWS: usize = 500;

/// How much of some scores is not noise, or why that is not known.
pub(crate) type ScoreReliability = Result<Reliability, &'static str>;

/// The reliability of scores, as parts of the coordinates of projections tell it.
pub(crate) fn noise_of(
    prepared: &Prepared,
    scored: &[Scored],
    seed: u64,
    work: &JobContext<'_>,
) -> Result<ScoreReliability, AnswerError> {
    if prepared.spec().preconditions() {
        return Ok(Err(
            "a preconditioner mixes the coordinates of a projection, which tell it by how they agree",
        ));
    }
    let step = (scored.len() / NOISE_ROWS).max(1);
    let rows: Vec<Scored> = scored.iter().step_by(step).copied().collect();
    let Some(parts) = prepared.part_scores(&rows, work.cancel)? else {
        return Ok(Err(
            "it is told by the coordinates of random projections, 32 or more, and these scores are of other vectors",
        ));
    };
    let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
    Ok(reliability(&parts, &bootstrap)
        .ok_or("the scores of the labelled rows are all the same, or not finite"))
}

/// What is said of targets whose noise is not known, each reason once.
pub(crate) fn notes_of(noise: &[ScoreReliability]) -> impl Iterator<Item = String> {
    let reasons: BTreeSet<&str> = noise.iter().filter_map(|noise| noise.err()).collect();
    reasons.into_iter().map(|why| {
        format!(
            "how much of the labels is noise, and what a perfect prediction would reach, is not known: {why}"
        )
    })
}

/// Tells what a perfect prediction of a target's labels is expected to have of the top share at each budget,
/// where their noise is known.
pub(crate) fn tell_ceiling(
    target: &str,
    noise: Option<Reliability>,
    (top, budgets): (f64, &[f64]),
    work: &mut JobContext<'_>,
) {
    let Some(noise) = noise else { return };
    let recall = |kept: &f64| {
        format!("{:.2} when keeping {}", expected_recall(noise.value, top, *kept), percent(*kept))
    };
    let recalls: Vec<String> = budgets.iter().map(recall).collect();
    work.progress.note(&format!(
        "{target}: {:.2} [{:.2}, {:.2}] of the variance of the scores is not noise ({}); with that a perfect \
         prediction is expected to have a recall of the top {} of {}",
        noise.value,
        noise.interval.low,
        noise.interval.high,
        many(noise.rows as u64, "row"),
        percent(top),
        recalls.join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use gstore_core::Cancel;
    use gstore_learn::judge::Interval;

    use super::*;
    use crate::work::Notes;

    #[test]
    fn what_noise_lets_expect_is_told() {
        static RUN: Cancel = Cancel::new();
        let mut notes = Notes::default();
        let noise = Reliability { value: 0.5, interval: Interval { low: 0.4, high: 0.6 }, rows: 224 };
        let mut work = JobContext { threads: 1, command: "test", progress: &mut notes, cancel: &RUN };
        tell_ceiling("a", Some(noise), (0.05, &[0.1, 0.5]), &mut work);
        tell_ceiling("b", None, (0.05, &[0.1]), &mut work);
        let known = Ok(noise);
        assert!(
            notes_of(&[known, Err("why"), Err("why")])
                .eq(["how much of the labels is noise, and what a perfect \
             prediction would reach, is not known: why"])
        );
        let [told] = notes.0.as_slice() else { panic!("{:?}", notes.0) };
        assert!(told.starts_with("a: 0.50 [0.40, 0.60] of the variance"), "{told}");
        // The table of docs/prefilter.md.
        assert!(told.contains("(224 rows)") && told.contains("of 0.59 when keeping 10.0 %, 0.9"), "{told}");
    }
}
