//! The line below a result: how many rows it has, how many are shown, and the time.

use gstore_core::many;

use super::settings::Settings;

/// What was shown of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    /// Rows of the result.
    pub rows: u64,
    /// Those that were shown.
    pub shown: u64,
    /// Whether it is the plan of a statement, whose rows are its lines.
    pub plan: bool,
}

impl Shown {
    /// The line below a result.
    pub fn line(self, settings: &Settings, seconds: f64) -> String {
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
        let shown = Shown { rows: 2040, shown: 40, plan: false };
        assert_eq!(shown.line(&quiet, 1.0), "(2040 rows, 40 shown)");
        assert_eq!(Shown { shown: 2040, ..shown }.line(&Settings::default(), 1.0), "(2040 rows) 1.000 s");
        assert_eq!(Shown { rows: 1, shown: 1, plan: false }.line(&quiet, 0.0), "(1 row)");
        assert_eq!(Shown { plan: true, ..shown }.line(&quiet, 0.0), "");
        let file = Settings { output: Some("x.csv".into()), ..quiet };
        assert_eq!(shown.line(&file, 0.0), "(2040 rows to x.csv)");
    }
}
