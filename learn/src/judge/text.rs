//! The report as text for people.

use std::fmt::{Display, Formatter};

use gstore_core::{first_of, many, many_of};

use super::report::{Report, Unpredicted};
use super::resample::Interval;
use crate::features::features_of;

/// Tables and sentences, each line ended by a line break.
impl Display for Report {
    fn fmt(&self, text: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(
            text,
            "{} over {} ({}), judged on {} not learned from; top {}",
            self.learner,
            features_of(&self.features).join(", "),
            many(self.features.len() as u64, "column"),
            many_of(self.rows as u64, "row that was", "rows that were"),
            percent(self.top)
        )?;
        self.recalls(text)?;
        writeln!(
            text,
            "\n{:<20} {:>22} {:>8} {:>9} {:>9} {:>9}",
            "target", "Spearman", "R2", "constant", "accuracy", "constant"
        )?;
        for target in &self.targets {
            writeln!(
                text,
                "{:<20} {:>22} {:>8.3} {:>9.3} {:>9} {:>9}",
                target.target,
                with(&format!("{:.3}", target.spearman), target.spearman_interval),
                target.r2,
                target.r2_constant,
                percent(target.confusion.accuracy),
                percent(target.confusion.constant)
            )?;
        }
        writeln!(text, "\nterciles, true by predicted (low, middle, high)")?;
        for target in &self.targets {
            let rows = target.confusion.counts.map(|row| row.map(|n| n.to_string()).join(" "));
            writeln!(text, "{:<20} {}", target.target, rows.join(" | "))?;
        }
        self.budget(text)
    }
}

impl Report {
    fn recalls(&self, text: &mut Formatter<'_>) -> std::fmt::Result {
        let within = |value: f64, interval| with(&format!("{value:.2}"), interval);
        let shares = self.targets.first().into_iter().flat_map(|target| &target.budgets);
        writeln!(text)?;
        line(text, "recall when keeping", shares.map(|at| percent(at.budget)))?;
        for target in &self.targets {
            let budgets = target.budgets.iter();
            line(text, &target.target, budgets.clone().map(|at| within(at.recall, at.interval)))?;
            line(text, "  mass", budgets.clone().map(|at| within(at.mass, at.mass_interval)))?;
            line(text, "  lift", budgets.map(|at| format!("{:.2}", at.lift)))?;
            if let Some(ceiling) = &target.ceiling {
                line(text, "  perfect, expected", ceiling.iter().map(|recall| format!("{recall:.2}")))?;
            }
        }
        Ok(())
    }

    fn budget(&self, text: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(text)?;
        for (target, cut) in self.targets.iter().zip(&self.choice.cuts) {
            if let Some(r) = target.reliability {
                let share = with(&format!("{:.2}", r.value), Some(r.interval));
                writeln!(
                    text,
                    "{}: {share} of the labels' variance is not noise ({})",
                    target.target,
                    many(r.rows as u64, "row")
                )?;
            }
            match cut.from {
                Some(_) => {
                    let (name, share) = (&target.target, percent(cut.share));
                    match cut.with_labelled {
                        None => write!(text, "{name}: keeping {share} has recall {:.3}", cut.recall)?,
                        Some(recall) => write!(
                            text,
                            "{name}: keeping {share} and all labelled rows of the top has recall {recall:.3} (the cut alone {:.3})",
                            cut.recall
                        )?,
                    }
                    writeln!(text, ", with 95 % confidence at least {:.3}", cut.bound)?;
                }
                None => writeln!(
                    text,
                    "{}: every row is kept; {} no smaller budget",
                    target.target,
                    many_of(target.top as u64, "row of the true top bounds", "rows of the true top bound")
                )?,
            }
        }
        let unpredicted = self.unpredicted.as_ref().filter(|of| of.share > 0.0);
        let unpredicted = unpredicted.map_or_else(String::new, |of| format!(", {}", of.text()));
        writeln!(
            text,
            "all targets together: {} of {} rows are kept{unpredicted}; lowest recall of the cuts alone {:.3}, lowest bound {:.3}, each with 95 % confidence",
            percent(self.kept()),
            if self.cost.is_some() { "the pool's" } else { "these" },
            self.choice.recall,
            self.choice.bound
        )?;
        if let Some(cost) = &self.cost {
            // Kept rows are a dataset of their own.
            writeln!(
                text,
                "{} computed in full for labels, and {:.0} of {} as they are kept, labelled ones a second time: {} against {}; {}",
                many_of(cost.labelled, "row is", "rows are"),
                cost.kept * cost.rows as f64,
                many(cost.rows, "row"),
                taken(cost.with(), cost.measured),
                taken(cost.without(), cost.measured),
                saved(cost.saving())
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(text, "note: {note}"))
    }
}

impl Unpredicted {
    /// Their share and the reason, in words.
    pub fn text(&self) -> String {
        let lacking = self.lacking.iter().map(|of| format!("{} in {}", of.feature, percent(of.share)));
        let missing = match self.lacking.is_empty() {
            true => String::new(),
            false => format!(" (missing or not finite: {} of rows)", first_of(lacking, SHOWN)),
        };
        format!("{} for want of a prediction{missing}", percent(self.share))
    }
}

/// Features that are named at most.
const SHOWN: usize = 3;

/// Digits behind the point that a share has at most; what is smaller is 0.
const DIGITS: usize = 9;

/// A name and its cells, which are as wide as a number with its interval.
fn line(text: &mut Formatter<'_>, name: &str, mut cells: impl Iterator<Item = String>) -> std::fmt::Result {
    write!(text, "{name:<20}")?;
    cells.try_for_each(|cell| write!(text, " {cell:>17}"))?;
    writeln!(text)
}

fn with(value: &str, interval: Option<Interval>) -> String {
    match interval {
        Some(Interval { low, high }) => format!("{value} [{low:.2}, {high:.2}]"),
        None => value.to_owned(),
    }
}

/// A share in percent, with one digit behind the point, or as many as show that it is not 0.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let is_shown = |digits: &usize| percent.abs() >= 0.1f64.powi(*digits as i32) * (1.0 - 1e-9);
    let digits = (1..=DIGITS).find(is_shown).unwrap_or(1);
    format!("{percent:.digits$} %")
}

/// A share of the whole computation that is saved, in words: what costs more saves nothing.
pub fn saved(share: f64) -> String {
    match share {
        share if share > 0.0 => format!("{} saved", percent(share)),
        _ => "nothing saved".to_owned(),
    }
}

/// A time in its natural unit, or a number of passes.
pub fn taken(units: f64, measured: bool) -> String {
    match units {
        passes if !measured => format!("{passes:.0} forward passes"),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_is_not_nothing_is_not_shown_as_0() {
        let shares = [0.365, 0.001, 0.0005, 0.0001, 0.00001234, 0.0, -0.0004];
        let shown = ["36.5 %", "0.1 %", "0.05 %", "0.01 %", "0.001 %", "0.0 %", "-0.04 %"];
        assert_eq!(shares.map(percent), shown);
    }

    #[test]
    fn what_costs_more_saves_nothing() {
        assert_eq!([0.25, 0.0, -1.0 / 3.0].map(saved), ["25.0 % saved", "nothing saved", "nothing saved"]);
    }
}
