//! Messages of a registration, and of one that is only tried.

use gstore_core::{many, many_of};
use gstore_ingest::pipeline::AddReport;

/// What was new, what was there, and what was left out.
pub(super) fn add_summary(dataset: &str, report: &AddReport) -> String {
    let added = format!("{} added", many(report.added, "sample"));
    let mut text = match (report.added + report.replaced, report.unchanged) {
        (0, 0) if report.left_out == 0 => format!("{dataset}: nothing to add"),
        (0, unchanged) if report.left_out == 0 => {
            let there = match (unchanged, report.kept + report.skipped) {
                (1, 0) => "the 1 sample is".to_owned(),
                (_, 0) => format!("all {unchanged} samples are"),
                _ => many_of(unchanged, "sample is", "samples are"),
            };
            format!("{dataset}: nothing to add; {there} there already")
        }
        (_, 0) if report.left_out == 0 => format!("{dataset}: {added}"),
        (_, unchanged) => format!("{dataset}: {added}, {} there already", many_of(unchanged, "was", "were")),
    };
    match report.left_out {
        0 => {}
        1 => text.push_str(", 1 was deleted before and left out (--restore-deleted adds it)"),
        n => text.push_str(&format!(", {n} were deleted before and left out (--restore-deleted adds them)")),
    }
    if report.replaced > 0 {
        text.push_str(&format!(", {} replaced", report.replaced));
    }
    if report.duplicates > 0 {
        let one = "repeats an earlier id and was left out";
        let left_out = many_of(report.duplicates, one, "repeat an earlier id and were left out");
        text.push_str(&format!(", {left_out}"));
    }
    if report.skipped > 0 {
        text.push_str(&format!(", {} that cannot be read left out", many(report.skipped, "record")));
    }
    if report.kept > 0 {
        let kept = many(report.kept, "changed line");
        text.push_str(&format!("; {kept} skipped, as stored samples are kept"));
    }
    text
}

/// What would be new, what is there, and what would be left out.
pub fn add_forecast(dataset: &str, report: &AddReport) -> String {
    let mut text = format!(
        "{dataset}: {} to add, {} there already, {} to replace, {} to skip",
        many(report.added, "sample"),
        report.unchanged,
        report.replaced,
        many(report.kept, "changed line")
    );
    if report.left_out > 0 {
        text.push_str(&format!(", {} deleted before to leave out", report.left_out));
    }
    if report.duplicates > 0 {
        let repeat = many_of(report.duplicates, "repeats", "repeat");
        text.push_str(&format!(", {repeat} an earlier id, to leave out"));
    }
    if report.skipped > 0 {
        text.push_str(&format!(", {} that cannot be read to leave out", many(report.skipped, "record")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_samples_are_there_only_where_none_is_skipped() {
        let said = |unchanged, kept, skipped| {
            add_summary("pool", &AddReport { unchanged, kept, skipped, ..AddReport::default() })
        };
        assert_eq!(said(5, 0, 0), "pool: nothing to add; all 5 samples are there already");
        assert_eq!(said(1, 0, 0), "pool: nothing to add; the 1 sample is there already");
        let kept = said(5, 2, 0);
        assert!(
            kept.starts_with("pool: nothing to add; 5 samples are there already; 2 changed lines"),
            "{kept}"
        );
        let skipped = said(1, 0, 1);
        assert!(
            skipped.starts_with("pool: nothing to add; 1 sample is there already, 1 record"),
            "{skipped}"
        );
    }
}
