//! Notes below a result: what a scan left out, and what its answer is worth.

use gstore_core::{many, many_of};
use gstore_sql::Notes;

use crate::context::Context;
use crate::summary;

/// Tells what a scan left out and what its answer is worth.
pub fn report(context: &Context, notes: &Notes) {
    for note in &notes.influence {
        for line in &note.resolution {
            context.say(&format!("note: {line}"));
        }
        let summary = &note.summary;
        summary::tell(context, summary);
        let excluded = summary.excluded.total();
        if excluded > 0 {
            let scanned = summary.scanned;
            let what = match (note.per_token, summary.whole_rows) {
                (false, _) => format!("{excluded} of {}", many(scanned, "row")),
                (true, 0) => format!("{excluded} of {}", many(scanned, "token")),
                (true, rows) => format!(
                    "{} of {} tokens, and {} (no scored token, or no vector),",
                    excluded - rows,
                    scanned - rows,
                    many(rows, "whole row")
                ),
            };
            let verb = if excluded == 1 && note.summary.whole_rows == 0 { "has" } else { "have" };
            // Of what has no target, excluded() knows nothing.
            let why = match note.targets.is_empty() {
                true => ": no scored token, not finite, or no vector",
                false => "; excluded() lists them with the reason",
            };
            context.say(&format!("{what} {verb} no score{why}"));
        }
        summary::tell_in_target(context, summary.in_target);
        let left_out = summary.target_excluded.total();
        if left_out > 0 {
            context.say(&format!(
                "{} left out: no scored token, not finite, or no vector",
                many_of(left_out, "target row was", "target rows were")
            ));
        }
    }
}
