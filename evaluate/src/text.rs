//! Text metrics of several systems over the same rows.

use std::ops::ControlFlow;

use gstore_core::parallel::ordered;
use gstore_core::{Cancel, Cancelled, Progress, Unit, many};
use serde_json::{Map, Value, json};

use crate::error::EvaluateError;
use crate::file_names::{each_once, in_file_names};
use crate::keys::COMPLETION;
use crate::metrics::{BleuCounts, Metric, TextScores, text_scores};
use crate::pairs::{Pair, Pairs};
use crate::report::{Column, ComparisonSetup, Csv, File, Report, SystemInfo};
use crate::statistics::Bootstrap;

/// What was found of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct TextOutcome {
    /// Means and differences.
    pub report: Report,
    /// The rows.
    pub pairs: Pairs,
    /// Their values, by system and row, in the order of [`Metric::OF_TEXTS`].
    pub scores: Vec<Vec<[f64; 7]>>,
}

/// Rows that a thread scores at a time.
const SHARE: usize = 64;

/// Scores the predictions and compares each system with system number `base`.
///
/// Memory: the rows, 56 bytes for each row and system, and those of the bootstrap.
///
/// # Errors
/// A `base` that there is none of; being told to stop.
pub fn evaluate_texts(
    pairs: Pairs,
    base: usize,
    bootstrap: Bootstrap,
    progress: &mut dyn Progress,
    (threads, cancel): (usize, &Cancel),
) -> Result<TextOutcome, EvaluateError> {
    if base >= pairs.systems.len() || pairs.rows.is_empty() {
        return Err(EvaluateError::Option(
            "the base is not one of the systems, or there are no rows".to_owned(),
        ));
    }
    let systems = pairs.systems.len();
    let mut scores: Vec<Vec<[f64; 7]>> = vec![Vec::with_capacity(pairs.rows.len()); systems];
    let mut corpora = vec![BleuCounts::default(); systems];
    let shares: Vec<&[Pair]> = pairs.rows.chunks(SHARE).collect();
    let of_share = |(): &mut (), share: usize| -> Result<Vec<Vec<TextScores>>, Cancelled> {
        Ok(shares[share].iter().map(row_scores).collect())
    };
    progress.start("comparing texts", pairs.rows.len() as u64, Unit::Rows);
    ordered(
        shares.len(),
        threads,
        cancel,
        || (),
        of_share,
        |rows| {
            progress.advance(rows.len() as u64);
            for row in rows {
                for (system, found) in row.into_iter().enumerate() {
                    scores[system].push(found.values);
                    corpora[system].add(&found.bleu);
                }
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    progress.finish();
    let comparing = ComparisonSetup {
        kind: "text",
        systems: pairs.systems.iter().map(|name| SystemInfo { name: name.clone(), model: None }).collect(),
        base,
        rows: pairs.rows.len(),
        bootstrap,
        threads,
        cancel,
    };
    let column = |(at, metric): (usize, Metric)| Column {
        metric,
        values: scores.iter().map(|rows| rows.iter().map(|row| row[at]).collect()).collect(),
        groups: vec![(Report::ALL.to_owned(), 0..pairs.rows.len())],
        corpus: match metric {
            Metric::Bleu1 => Some(corpora.iter().map(|corpus| corpus.score(1)).collect()),
            Metric::Bleu2 => Some(corpora.iter().map(|corpus| corpus.score(2)).collect()),
            _ => None,
        },
    };
    let columns: Vec<Column> = Metric::OF_TEXTS.into_iter().enumerate().map(column).collect();
    let mut report = Report::new(&comparing, &columns)?;
    report.references_without_prediction = pairs.unanswered;
    if let Some(unanswered) = pairs.unanswered.filter(|unanswered| *unanswered > 0) {
        report.findings.push(format!(
            "{} without a prediction, which no value counts: the answers may not be complete.",
            many(unanswered as u64, "reference")
        ));
    }
    Ok(TextOutcome { report, pairs, scores })
}

fn row_scores(pair: &Pair) -> Vec<TextScores> {
    let references: Vec<&str> = pair.references.iter().map(String::as_str).collect();
    pair.predictions.iter().map(|prediction| text_scores(prediction, &references)).collect()
}

/// What stands in the place of a system's name where the right answers are.
const EXPECTED: &str = "expected";

/// Metrics of the tables that Kronfluence pipelines write.
const OF_COMPARISON: usize = 5;

impl TextOutcome {
    /// Every value of every row, as CSV.
    ///
    /// # Errors
    /// None that can be expected: it is written to memory.
    pub fn rows(&self) -> Result<Vec<u8>, EvaluateError> {
        let header = ["id", "system"].into_iter().chain(Metric::OF_TEXTS.into_iter().map(Metric::name));
        let mut table = Csv::new(header)?;
        for (row, pair) in self.pairs.rows.iter().enumerate() {
            for (system, scores) in self.pairs.systems.iter().zip(&self.scores) {
                let values = scores[row].iter().map(f64::to_string);
                table.line([pair.id.clone(), system.clone()].into_iter().chain(values))?;
            }
        }
        table.finish()
    }

    /// The files of a report's folder.
    ///
    /// # Errors
    /// None that can be expected: they are written to memory.
    pub fn files(&self) -> Result<Vec<File>, EvaluateError> {
        let mut files = self.report.files(self.report.markdown(), self.rows()?)?;
        files.push(File::new("model_comparison.csv", self.comparison()?));
        let systems = &self.pairs.systems;
        let names = each_once(systems.iter().map(|system| in_file_names(system)), &[]);
        let others = systems.iter().zip(names).filter(|(system, _)| **system != self.report.base);
        for (system, name) in others {
            let name = match systems.len() {
                2 => "model_comparison_summary.csv".to_owned(),
                _ => format!("model_comparison_summary_{name}.csv"),
            };
            files.push(File::new(name, self.summary(system)?));
        }
        files.extend(self.answers());
        Ok(files)
    }

    /// The predictions in the files from which Kronfluence pipelines go on: those of all systems, and those
    /// of each but the base with their prompts. Two systems have their names there, `base` and `finetuned`;
    /// what is right has the name `expected`.
    fn answers(&self) -> Vec<File> {
        let Pairs { systems, rows, .. } = &self.pairs;
        let name = |system: &String| match (systems.len(), *system == self.report.base) {
            (2, true) => "base".to_owned(),
            (2, false) => "finetuned".to_owned(),
            _ => system.clone(),
        };
        let names = each_once(systems.iter().map(name), &[EXPECTED]);
        let file_names = each_once(names.iter().map(|name| in_file_names(name)), &[]);
        let prompt = |pair: &Pair| pair.prompt.clone().unwrap_or_default();
        let of_all = |pair: &Pair| {
            let mut record = Map::new();
            record.insert("prompt".to_owned(), json!(prompt(pair)));
            let expected = match pair.references.as_slice() {
                [one] => json!(one),
                several => json!(several),
            };
            record.insert(format!("{EXPECTED}{COMPLETION}"), expected);
            for (name, said) in names.iter().zip(&pair.predictions) {
                record.insert(format!("{name}{COMPLETION}"), json!(said));
            }
            Value::Object(record)
        };
        let mut files = vec![File::json("generated_answers.json", &rows.iter().map(of_all).collect())];
        for (at, _) in systems.iter().enumerate().filter(|(_, system)| **system != self.report.base) {
            let own = |pair: &Pair| json!({ "prompt": prompt(pair), "completion": pair.predictions[at] });
            let path = format!("{}_generated_answers.json", file_names[at]);
            files.push(File::json(path, &rows.iter().map(own).collect()));
        }
        files
    }

    fn comparison(&self) -> Result<Vec<u8>, EvaluateError> {
        let systems = &self.pairs.systems;
        let metrics = &Metric::OF_TEXTS[..OF_COMPARISON];
        let mut header = vec!["prompt_idx".to_owned(), "prompt".to_owned(), "expected".to_owned()];
        header.extend(systems.iter().map(|system| format!("{system}_completion")));
        for system in systems {
            header.extend(metrics.iter().map(|metric| format!("{system}_{}", metric.name())));
        }
        let mut table = Csv::new(header)?;
        for (row, pair) in self.pairs.rows.iter().enumerate() {
            let prompt = pair.prompt.clone().unwrap_or_default();
            let mut line = vec![row.to_string(), prompt, pair.references.join("\n")];
            line.extend(pair.predictions.iter().cloned());
            for scores in &self.scores {
                line.extend(scores[row][..OF_COMPARISON].iter().map(f64::to_string));
            }
            table.line(line)?;
        }
        table.finish()
    }

    fn summary(&self, system: &str) -> Result<Vec<u8>, EvaluateError> {
        let header = ["Metric", "Base Model", "Fine-tuned Model", "Improvement", "Relative Improvement (%)"];
        let mut table = Csv::new(header)?;
        for measure in self.report.overall().take(OF_COMPARISON) {
            let mean = |name: &str| measure.values.iter().find(|value| value.system == name);
            let difference = measure.differences.iter().find(|difference| difference.system == system);
            let (Some(base), Some(own), Some(difference)) =
                (mean(&self.report.base), mean(system), difference)
            else {
                continue;
            };
            table.line([
                measure.metric.label().to_owned(),
                base.mean.to_string(),
                own.mean.to_string(),
                difference.difference.to_string(),
                difference.relative_percent.unwrap_or(f64::INFINITY).to_string(),
            ])?;
        }
        table.finish()
    }
}
