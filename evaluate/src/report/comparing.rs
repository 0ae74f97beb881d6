//! Means and differences of systems by one metric.

use std::ops::Range;

use gstore_core::Cancel;

use super::{Difference, Measure, Report, SystemInfo, Value};
use crate::error::EvaluateError;
use crate::metrics::Metric;
use crate::statistics::{Bootstrap, Interval, LEAST_ROWS, Means, resample, rounding, settled, wilson};

/// Values of a metric, by system and row, over groups of adjacent rows.
pub(crate) struct Column {
    pub metric: Metric,
    pub values: Vec<Vec<f64>>,
    pub groups: Vec<(String, Range<usize>)>,
    /// Values of all rows as one corpus, by system.
    pub corpus: Option<Vec<f64>>,
}

pub(crate) struct ComparisonSetup<'a> {
    pub kind: &'static str,
    pub systems: Vec<SystemInfo>,
    /// Number of the system that others are compared with.
    pub base: usize,
    pub rows: usize,
    pub bootstrap: Bootstrap,
    pub threads: usize,
    pub cancel: &'a Cancel,
}

impl ComparisonSetup<'_> {
    pub fn name(&self, system: usize) -> String {
        self.systems.get(system).map(|system| system.name.clone()).unwrap_or_default()
    }

    /// The measures of a column: those of its groups if the report has `several`, then of all rows. With
    /// `units` that of all is the mean over units of the means of their rows, and units are drawn.
    pub fn measures(
        &self,
        column: &Column,
        units: Option<&[usize]>,
        several: bool,
    ) -> Result<Vec<Measure>, EvaluateError> {
        let ranges: Vec<Range<usize>> = column.groups.iter().map(|(_, rows)| rows.clone()).collect();
        let run = (self.threads, self.cancel);
        let found = resample(&column.values, &ranges, self.base, &self.bootstrap, run)?;
        let mut measures = Vec::new();
        if several {
            for ((name, rows), means) in column.groups.iter().zip(&found.groups) {
                let own = column.values.iter().map(|values| &values[rows.clone()]);
                measures.push(self.measure(column, name, means, &own.collect::<Vec<_>>()));
            }
        }
        let of_units: Option<Vec<Vec<f64>>> =
            units.map(|units| column.values.iter().map(|own| means_of(own, units)).collect());
        let all = match &of_units {
            None => found.all,
            Some(means) => {
                let count = means.first().map_or(0, Vec::len);
                resample(means, std::slice::from_ref(&(0..count)), self.base, &self.bootstrap, run)?.all
            }
        };
        let own: Vec<&[f64]> =
            of_units.as_ref().unwrap_or(&column.values).iter().map(Vec::as_slice).collect();
        measures.push(self.measure(column, Report::ALL, &all, &own));
        // The mean of groups weighs tasks alike; of shares of a pool it is that of all rows.
        if column.groups.len() > 1 && self.kind == Report::TASKS {
            measures.push(self.measure(column, Report::OF_GROUPS, &found.of_groups, &[]));
        }
        Ok(measures)
    }

    /// `own`: the values whose means these are, by system; none of means of groups. The mean of 0 and 1 is
    /// the share of 1, and has Wilson's interval.
    fn measure(&self, column: &Column, group: &str, means: &Means, own: &[&[f64]]) -> Measure {
        let is_counted =
            |system: usize| own.get(system).is_some_and(|own| own.iter().all(|v| [0.0, 1.0].contains(v)));
        let enough = means.rows >= LEAST_ROWS;
        let drawn = |interval: Interval| enough.then_some(interval);
        let value = |(system, (mean, interval)): (usize, &(f64, Interval))| {
            let share = || wilson(mean * means.rows as f64, means.rows);
            let by_wilson = column.metric.is_share() && is_counted(system);
            let interval = if by_wilson { Some(share()) } else { drawn(*interval) };
            let corpus = column.corpus.as_ref().filter(|_| group == Report::ALL);
            Value {
                system: self.name(system),
                mean: *mean,
                low: interval.map(|interval| interval.low),
                high: interval.map(|interval| interval.high),
                interval: if by_wilson { "wilson" } else { "bootstrap" },
                corpus: corpus.and_then(|corpus| corpus.get(system).copied()),
            }
        };
        let base = means.means.get(self.base);
        // A part of what is not above 0, or may as well be 0, says nothing.
        let base =
            base.filter(|(mean, interval)| *mean > 0.0 && !(interval.low < 0.0 && interval.high > 0.0));
        let differences = means.differences.iter().map(|(system, paired)| Difference {
            system: self.name(*system),
            against: self.name(self.base),
            difference: paired.difference,
            relative_percent: base.map(|(base, _)| 100.0 * paired.difference / base),
            low: drawn(paired.interval).map(|interval| interval.low),
            high: drawn(paired.interval).map(|interval| interval.high),
            p: enough.then_some(paired.p),
        });
        Measure {
            group: group.to_owned(),
            metric: column.metric,
            rows: means.rows,
            values: means.means.iter().enumerate().map(value).collect(),
            differences: differences.collect(),
        }
    }
}

/// The mean of each unit's values, which is 0 where only rounding keeps it from that.
fn means_of(values: &[f64], units: &[usize]) -> Vec<f64> {
    let count = units.iter().max().map_or(0, |last| last + 1);
    let mut of_units = vec![Vec::new(); count];
    for (value, unit) in values.iter().zip(units) {
        of_units[*unit].push(*value);
    }
    let mean = |own: Vec<f64>| {
        let sum = own.iter().fold(0.0, |sum, value| sum + value);
        settled(sum / own.len() as f64, rounding(&own))
    };
    of_units.into_iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_8_rows<'a>(kind: &'static str, names: [&str; 2], cancel: &'a Cancel) -> ComparisonSetup<'a> {
        ComparisonSetup {
            kind,
            systems: names.map(|name| SystemInfo { name: name.to_owned(), model: None }).into(),
            base: 0,
            rows: 8,
            bootstrap: Bootstrap { resamples: 50, seed: 1 },
            threads: 1,
            cancel,
        }
    }

    #[test]
    fn a_difference_is_a_part_of_what_is_above_0_alone() {
        let cancel = Cancel::new();
        let setup = of_8_rows(Report::TASKS, ["base", "other"], &cancel);
        let relative = |base: f64| {
            let values = vec![vec![base; 8], vec![0.5; 8]];
            let column =
                Column { metric: Metric::Lds, values, groups: vec![(String::new(), 0..8)], corpus: None };
            let measures = setup.measures(&column, None, false).expect("measures");
            measures[0].differences[0].relative_percent
        };
        assert_eq!((relative(0.25), relative(0.0), relative(-0.25)), (Some(100.0), None, None));
    }

    #[test]
    fn the_mean_of_a_unit_that_only_rounding_keeps_from_0_is_0() {
        let values = [0.1, 0.5, 0.2, -0.3, 0.7];
        assert_eq!(means_of(&values, &[0, 1, 0, 0, 1]), [0.0, 0.6]);
    }

    #[test]
    fn the_interval_of_wilson_is_of_what_was_counted() {
        let cancel = Cancel::new();
        let setup = of_8_rows("brittleness", ["method", "random"], &cancel);
        // Of a method each answer is right or wrong, of several random removals a part of them.
        let counted: Vec<f64> = (0..8).map(|row| f64::from(u8::from(row < 6))).collect();
        let shares: Vec<f64> = (0..8).map(|row| f64::from(row % 3) / 2.0).collect();
        let groups = vec![("1 %".to_owned(), 0..4), ("5 %".to_owned(), 4..8)];
        let values = vec![counted, shares];
        let column = Column { metric: Metric::Flipped, values, groups, corpus: None };
        // Each query with both shares; with one of them two answers are right.
        let units: Vec<usize> = (0..8).map(|row| row % 4).collect();
        let intervals = |units: Option<&[usize]>| -> Vec<[&'static str; 2]> {
            let measures = setup.measures(&column, units, true).expect("measures");
            measures.iter().map(|measure| [0, 1].map(|system| measure.values[system].interval)).collect()
        };
        assert_eq!(intervals(None), [["wilson", "bootstrap"]; 3]);
        assert_eq!(intervals(Some(&units))[2], ["bootstrap"; 2]);
    }
}
