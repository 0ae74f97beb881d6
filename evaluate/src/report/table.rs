//! Reports for reading: a table for a terminal, and Markdown.

use gstore_core::{many, markdown_cell, markdown_text, visible};

use super::{Difference, Measure, Report, Value};

impl Report {
    /// The report as text in columns.
    pub fn text(&self) -> String {
        let (header, lines) = self.cells();
        let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        for line in std::iter::once(&header).chain(&lines) {
            let cells =
                line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width));
            out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&visible(&self.note()));
        out.push('\n');
        for finding in &self.findings {
            out.push_str(&visible(finding));
            out.push('\n');
        }
        out
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let title = match self.kind {
            "text" => "Text metrics",
            Report::TASKS => "Benchmarks",
            "lds" => "Linear datamodeling score",
            "loo" => "Leave-one-out",
            "brittleness" => "Removal of the best rows",
            _ => "Flipped labels",
        };
        let mut out = format!("# Evaluation report\n\n## {title}\n\n");
        let (header, lines) = self.cells();
        let mut line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| markdown_cell(cell)).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        };
        line(&header);
        line(&vec!["---".to_owned(); header.len()]);
        lines.iter().for_each(|cells| line(cells));
        out.push_str(&format!("\n{}\n", markdown_text(&self.note())));
        // One model alone is compared with nothing.
        if !self.findings.is_empty() {
            out.push_str("\n## Findings\n\n");
        }
        for finding in &self.findings {
            out.push_str(&format!("- {}\n", markdown_text(finding)));
        }
        let models = self.systems.iter().filter_map(|system| Some((&system.name, system.model.as_ref()?)));
        let line = |(name, model): (&String, &String)| format!("| {} | `{model}` |\n", markdown_cell(name));
        let models: Vec<String> = models.map(line).collect();
        if !models.is_empty() {
            out.push_str(&format!("\n## Models\n\n| name | weights |\n|---|---|\n{}", models.concat()));
        }
        out.push_str(&self.made_as_markdown());
        out
    }

    fn note(&self) -> String {
        let intervals = self.intervals;
        let too_few = |measure: &Measure| measure.values.iter().any(|value| value.low.is_none());
        let lacks = |measure: &Measure| too_few(measure) || measure.differences.iter().any(|d| d.p.is_none());
        let few = match self.measures.iter().any(lacks) {
            true => {
                format!(
                    " Fewer than {} rows have neither a bootstrap's interval nor p.",
                    intervals.least_rows
                )
            }
            false => String::new(),
        };
        let from = match self.systems.len() {
            0 | 1 => String::new(),
            _ => format!("; differences are from {}", self.base),
        };
        format!(
            "In brackets: {:.0} % intervals; of shares Wilson's, else and of differences by a paired bootstrap ({} resamples, seed {}). \
             {}{from}.{few}",
            100.0 * intervals.confidence,
            intervals.resamples,
            intervals.seed,
            many(self.rows as u64, "row")
        )
    }

    /// Header and lines: a line for each measure, or, where that would be a single one or would repeat the
    /// columns of differences, for each measure and system. The names in them are of others, and cannot drive
    /// a terminal.
    fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let grouped = self.measures.iter().any(|measure| measure.group != Self::ALL);
        let corpus = self.measures.iter().any(|m| m.values.iter().any(|value| value.corpus.is_some()));
        let by_system = self.systems.len() > 2 || self.measures.len() == 1;
        let mut header: Vec<String> = Vec::new();
        header.extend(grouped.then(|| "task".to_owned()));
        header.extend(["metric".to_owned(), "rows".to_owned()]);
        header.extend(if by_system { self.system_columns(corpus) } else { self.pair_columns(corpus) });
        let mut lines: Vec<Vec<String>> = Vec::new();
        for measure in &self.measures {
            let mut of: Vec<String> = Vec::new();
            of.extend(grouped.then(|| measure.group.clone()));
            of.extend([measure.metric.label().to_owned(), measure.rows.to_string()]);
            let ends = if by_system { of_systems(measure, corpus) } else { vec![of_pair(measure, corpus)] };
            lines.extend(ends.into_iter().map(|end| [of.clone(), end].concat()));
        }
        let shown = |cells: Vec<String>| -> Vec<String> { cells.iter().map(|cell| visible(cell)).collect() };
        (shown(header), lines.into_iter().map(shown).collect())
    }

    /// Names of the columns of [`of_systems`].
    fn system_columns(&self, corpus: bool) -> Vec<String> {
        let system = if ["text", Self::TASKS].contains(&self.kind) { "system" } else { "method" };
        let mut header = vec![system.to_owned(), "mean".to_owned()];
        header.extend(corpus.then(|| "corpus".to_owned()));
        if self.systems.len() > 1 {
            header.extend([format!("difference from {}", self.base), "relative".to_owned(), "p".to_owned()]);
        }
        header
    }

    /// Names of the columns of [`of_pair`].
    fn pair_columns(&self, corpus: bool) -> Vec<String> {
        let mut header: Vec<String> = Vec::new();
        for system in &self.systems {
            header.push(system.name.clone());
            header.extend(corpus.then(|| format!("{} (corpus)", system.name)));
        }
        for system in self.systems.iter().filter(|system| system.name != self.base) {
            header.extend([
                format!("{} - {}", system.name, self.base),
                "relative".to_owned(),
                "p".to_owned(),
            ]);
        }
        header
    }
}

/// A line for each system: its mean and its difference from the base, which has none.
fn of_systems(measure: &Measure, corpus: bool) -> Vec<Vec<String>> {
    let line = |of: &Value| {
        let mut line = vec![of.system.clone()];
        line.extend(mean(of, corpus));
        if measure.values.len() > 1 {
            let found = measure.differences.iter().find(|found| found.system == of.system);
            line.extend(found.map(difference).unwrap_or_default());
        }
        line
    };
    measure.values.iter().map(line).collect()
}

/// The means of one system or two, and their difference.
fn of_pair(measure: &Measure, corpus: bool) -> Vec<String> {
    let means = measure.values.iter().flat_map(|of| mean(of, corpus));
    means.chain(measure.differences.iter().flat_map(difference)).collect()
}

fn mean(of: &Value, corpus: bool) -> Vec<String> {
    let ends = interval(of.low, of.high, |end| format!("{end:.4}"));
    let mut cells = vec![format!("{:.4}{ends}", of.mean)];
    cells.extend(corpus.then(|| of.corpus.map_or_else(String::new, |c| format!("{c:.4}"))));
    cells
}

fn difference(of: &Difference) -> [String; 3] {
    let relative = of.relative_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:+.2} %"));
    let ends = interval(of.low, of.high, |end| format!("{end:+.4}"));
    let p = of.p.map_or_else(String::new, |p| format!("{p:.4}"));
    [format!("{:+.4}{ends}", of.difference), relative, p]
}

/// An interval in brackets, and nothing where there is none.
fn interval(low: Option<f64>, high: Option<f64>, number: impl Fn(f64) -> String) -> String {
    let ends = low.zip(high);
    ends.map_or_else(String::new, |(low, high)| format!(" [{}, {}]", number(low), number(high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_difference_from_what_is_not_above_0_is_no_part_of_it() {
        let relative = |relative_percent: Option<f64>| {
            let (system, against) = ("tuned".to_owned(), "base".to_owned());
            let of = Difference {
                system,
                against,
                difference: 0.0,
                relative_percent,
                low: None,
                high: None,
                p: None,
            };
            let [_, relative, _] = difference(&of);
            relative
        };
        assert_eq!((relative(None), relative(Some(0.0))), ("-".to_owned(), "+0.00 %".to_owned()));
    }
}
