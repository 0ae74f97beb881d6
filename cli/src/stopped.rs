//! The line about a stopped ingest: what it leaves.

use gstore_core::{many, many_of};
use gstore_ingest::pipeline::IngestReport;

/// What of the work at so many checkpoints is kept. `registered`: the command gave samples, and they are in
/// the store.
pub fn stopped_summary(report: &IngestReport, checkpoints: usize, registered: bool) -> String {
    const CONTINUE: &str = "run the same command again to continue";
    let asked = match checkpoints {
        0 | 1 => many(report.missing, "row"),
        several => format!("{} (at {several} checkpoints together)", many(report.missing, "row")),
    };
    let earlier =
        many_of(report.resumed, "vector of an earlier run is kept", "vectors of earlier runs are kept");
    match (report.computed, report.resumed) {
        (0, 0) if registered => {
            format!("stopped before new vectors were sealed; the samples are registered: {CONTINUE}")
        }
        (0, 0) => format!("stopped before new vectors were sealed: {CONTINUE}"),
        (0, _) => format!("stopped; {earlier}, those of {asked} are missing: {CONTINUE}"),
        (rows, 0) => format!("stopped; vectors of {rows} of {asked} are kept: {CONTINUE}"),
        (rows, _) => {
            format!("stopped; vectors of {rows} of {asked} are kept; {earlier} as well: {CONTINUE}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_much_is_kept_of_how_much() {
        let report =
            |computed, resumed| IngestReport { computed, resumed, missing: 6000, ..IngestReport::default() };
        for (report, checkpoints, says) in [
            (
                report(512, 0),
                1,
                "stopped; vectors of 512 of 6000 rows are kept: run the same command again to continue",
            ),
            (report(512, 0), 4, "vectors of 512 of 6000 rows (at 4 checkpoints together) are kept: run"),
            (report(512, 90), 1, "are kept; 90 vectors of earlier runs are kept as well: run"),
            (
                report(0, 90),
                1,
                "stopped; 90 vectors of earlier runs are kept, those of 6000 rows are missing: run",
            ),
            (report(0, 0), 1, "before new vectors were sealed: run the same command again to continue"),
        ] {
            let text = stopped_summary(&report, checkpoints, false);
            assert!(text.contains(says), "{text}");
        }
        let first = stopped_summary(&report(0, 0), 1, true);
        assert!(first.ends_with("the samples are registered: run the same command again to continue"));
    }
}
