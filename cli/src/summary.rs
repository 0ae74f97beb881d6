//! Summary of a ranking for people: notes, rows excluded by sketches, and the guarantee of the answer.

use gstore_core::{many, many_of};
use gstore_query::influence::{EXACT, ExcludedCounts, ScanSummary};

use crate::context::Context;

/// Tells how many rows were left out because of the target.
pub fn tell_in_target(context: &Context, rows: u64) {
    if rows > 0 {
        let what = many_of(
            rows,
            "row occurs in the target and was left out",
            "rows occur in the target and were left out",
        );
        context.say(&what);
    }
}

/// Tells it on standard error; of an exact answer without notes there is nothing to tell.
pub fn tell(context: &Context, summary: &ScanSummary) {
    for line in lines(summary) {
        context.say(&line);
    }
}

/// Tells how many rows have no score, and why: what is said of one row, and of several.
pub fn tell_excluded(context: &Context, excluded: &ExcludedCounts, (one, several): (&str, &str)) {
    if excluded.total() > 0 {
        let constant = match excluded.constant {
            0 => String::new(),
            n => format!(", {n} whose losses do not vary"),
        };
        context.say(&format!(
            "{}: {} without a scored token, {} not finite, {} without a vector{constant}",
            many_of(excluded.total(), &format!("row {one}"), &format!("rows {several}")),
            excluded.no_scored,
            excluded.non_finite + excluded.overflow,
            excluded.missing
        ));
    }
}

fn lines(summary: &ScanSummary) -> Vec<String> {
    let mut lines: Vec<String> = summary.notes.iter().map(|note| format!("note: {note}")).collect();
    // Of a plane that was not read any more there is nothing to say.
    for plane in summary.planes.iter().filter(|plane| plane.rows > 0) {
        lines.push(format!(
            "the plane `{}` of the sketch excluded {} of {}",
            plane.plane,
            plane.excluded,
            many(plane.rows, "row")
        ));
    }
    if summary.guarantee != EXACT && !summary.guarantee.is_empty() {
        lines.push(format!("the result is {}", summary.guarantee));
    }
    lines
}

#[cfg(test)]
mod tests {
    use gstore_query::influence::{Plane, PlaneSummary};

    use super::*;

    #[test]
    fn planes_that_read_nothing_are_not_told() {
        let plane = |plane, rows| PlaneSummary { plane, rows, excluded: rows / 2, bytes_read: 0 };
        let summary = ScanSummary {
            guarantee: "worth something".into(),
            planes: vec![plane(Plane::Sign, 8), plane(Plane::Nibble, 0)],
            ..ScanSummary::default()
        };
        assert_eq!(
            lines(&summary),
            ["the plane `sign` of the sketch excluded 4 of 8 rows", "the result is worth something"]
        );
        assert!(lines(&ScanSummary { guarantee: EXACT.into(), ..ScanSummary::default() }).is_empty());
    }
}
