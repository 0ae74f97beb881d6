//! The line below a result: how many rows it has, how many are shown, and the time.

use std::time::Duration;

use gstore_core::many;

use super::settings::Settings;

/// What was shown of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShownResult {
    /// Rows of the result.
    pub rows: u64,
    /// Those that were shown.
    pub shown: u64,
    /// Whether it is the plan of a statement, whose rows are its lines.
    pub plan: bool,
    /// How long it was read in a pager.
    pub read_for: Duration,
}

impl ShownResult {
    /// The line below a result that came and was read in this time.
    pub fn line(self, settings: &Settings, time: Duration) -> String {
        let seconds = time.saturating_sub(self.read_for).as_secs_f64();
        let time = settings.timer.then(|| format!("{seconds:.3} s"));
        let rows = many(self.rows, "row");
        let counted = match (self.plan, &settings.output) {
            (true, _) => None,
            (false, Some(path)) => Some(format!("({rows} to {})", path.display())),
            (false, None) if self.shown < self.rows => Some(format!("({rows}, {} shown)", self.shown)),
            (false, None) => Some(format!("({rows})")),
        };
        counted.into_iter().chain(time).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_below_a_result_counts_its_rows() {
        let quiet = Settings { timer: false, ..Settings::default() };
        let shown = ShownResult { rows: 2040, shown: 40, ..ShownResult::default() };
        let (none, second) = (Duration::ZERO, Duration::from_secs(1));
        assert_eq!(shown.line(&quiet, second), "(2040 rows, 40 shown)");
        assert_eq!(
            ShownResult { shown: 2040, ..shown }.line(&Settings::default(), second),
            "(2040 rows) 1.000 s"
        );
        let paged = ShownResult { shown: 2040, read_for: 59 * second, ..shown };
        assert_eq!(paged.line(&Settings::default(), 60 * second), "(2040 rows) 1.000 s");
        assert_eq!(ShownResult { rows: 1, shown: 1, ..ShownResult::default() }.line(&quiet, none), "(1 row)");
        assert_eq!(ShownResult { plan: true, ..shown }.line(&quiet, none), "");
        let file = Settings { output: Some("x.csv".into()), ..quiet };
        assert_eq!(shown.line(&file, none), "(2040 rows to x.csv)");
    }
}
