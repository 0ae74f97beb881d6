//! Diagnosis of an ensemble's losses: models that add nothing or too much, rows that cannot rank, coarse numbers.

use gstore_core::mix;
use half::f16;
use serde::Serialize;

use super::how::{FEW_MODELS, MIN_MODELS};

/// A model that has more than so many times its share of the variation dominates.
const LEVERAGE: f64 = 4.0;

/// Rows that a finding names at most.
const NAMED: usize = 5;

/// Root mean square of a model's differences from the base, as a part of the losses, below which they are no more
/// than the rounding of f32.
const ROUNDING: f64 = 1e-6;

/// Share of the losses that look as if they had been rounded, from which on they have been.
const NEARLY_ALL: f64 = 0.99;

/// What the losses are of.
#[derive(Debug, Clone)]
pub struct DiagnosisAsk {
    /// Ids of the models, in the order of the columns.
    pub models: Vec<String>,
    /// Values are differences from the base model's losses, not from some other number of the row.
    pub base: bool,
    /// The precision that the losses were computed or given in: `f32`, `bf16`, `f16` or another word.
    pub compute: String,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Scores mean nothing.
    Error,
    /// Scores are worse for it.
    Warning,
    /// Good to know.
    Note,
}

/// Something that a user should know of the models or the losses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was found, as a word.
    pub what: &'static str,
    /// The same as a sentence.
    pub text: String,
    /// The models that it is about.
    pub models: Vec<String>,
    /// The first of the rows that it is about.
    pub rows: Vec<u64>,
}

/// What was seen of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelNotes {
    /// Its id.
    pub model: String,
    /// Its mean share of the variation of a row: 1 / K if all vary alike.
    pub leverage: f64,
    /// Root mean square of its values.
    pub rms: f64,
    /// Rows that lack its loss.
    pub missing: u64,
    #[serde(skip)]
    digest: u64,
    #[serde(skip)]
    squares: f64,
    #[serde(skip)]
    present: u64,
}

/// Rows of one sort: how many, and the first.
#[derive(Debug, Default)]
struct Rows {
    count: u64,
    first: Vec<u64>,
}

impl Rows {
    fn add(&mut self, row: u64) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(row);
        }
    }
}

/// Losses that are being looked at, block by block in the order of the rows.
#[derive(Debug)]
pub struct Diagnosing {
    ask: DiagnosisAsk,
    models: Vec<ModelNotes>,
    rows: u64,
    varying: u64,
    constant: Rows,
    partial: Rows,
    empty: Rows,
    /// Rows whose losses vary by less than two neighbouring numbers of the format differ.
    coarse: Rows,
    cells: u64,
    like_bf16: u64,
    like_f16: u64,
    level: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Rows that were looked at.
    pub rows: u64,
    /// Rows that do not vary over the models.
    pub constant_rows: u64,
    /// Rows that lack the losses of some models.
    pub partial_rows: u64,
    /// Rows that have no loss that is a number.
    pub empty_rows: u64,
    /// The models.
    pub models: Vec<ModelNotes>,
    /// What a user should know, the worst first.
    pub findings: Vec<Finding>,
}

impl Diagnosing {
    /// Nothing looked at yet.
    pub fn new(ask: DiagnosisAsk) -> Self {
        let models = ask.models.iter().map(|model| ModelNotes {
            model: model.clone(),
            leverage: 0.0,
            rms: 0.0,
            missing: 0,
            digest: 0,
            squares: 0.0,
            present: 0,
        });
        Self {
            models: models.collect(),
            ask,
            rows: 0,
            varying: 0,
            constant: Rows::default(),
            partial: Rows::default(),
            empty: Rows::default(),
            coarse: Rows::default(),
            cells: 0,
            like_bf16: 0,
            like_f16: 0,
            level: 0.0,
        }
    }

    /// Looks at some rows: for each a value for each model, missing ones NaN, and what has to be added to it to
    /// have the loss.
    pub fn add(&mut self, rows: &[u64], values: &[f32], offset: &[f32]) {
        let models = self.models.len().max(1);
        for ((row, values), offset) in rows.iter().zip(values.chunks_exact(models)).zip(offset) {
            self.row(*row, values, f64::from(*offset));
        }
    }

    fn row(&mut self, row: u64, values: &[f32], offset: f64) {
        self.rows += 1;
        let present: Vec<f64> = values.iter().filter(|x| x.is_finite()).map(|x| f64::from(*x)).collect();
        for (model, value) in self.models.iter_mut().zip(values) {
            // A missing loss is one of its own kind, and zeros are alike.
            let bits = if value.is_finite() { (value + 0.0).to_bits() } else { u32::MAX };
            model.digest = mix(model.digest.rotate_left(1) ^ u64::from(bits) ^ row.rotate_left(32));
            if value.is_finite() {
                let value = f64::from(*value);
                model.present += 1;
                model.squares += value * value;
            } else {
                model.missing += 1;
            }
        }
        match present.len() {
            0 => return self.empty.add(row),
            n if n < values.len() => self.partial.add(row),
            _ => {}
        }
        let mean = present.iter().sum::<f64>() / present.len() as f64;
        let squares: f64 = present.iter().map(|x| (x - mean) * (x - mean)).sum();
        self.look_at_precision(row, &present, (offset, mean), squares);
        if present.windows(2).all(|two| two[0] == two[1]) {
            return self.constant.add(row);
        }
        self.varying += 1;
        for (model, value) in self.models.iter_mut().zip(values).filter(|(_, value)| value.is_finite()) {
            let off = f64::from(*value) - mean;
            model.leverage += off * off / squares;
        }
    }

    fn look_at_precision(&mut self, row: u64, present: &[f64], (offset, mean): (f64, f64), squares: f64) {
        let level = (offset + mean).abs();
        self.level += level;
        for value in present {
            let loss = (offset + value) as f32;
            let near = |rounded: f32| (rounded - loss).abs() <= loss.abs() * 5e-7;
            self.cells += 1;
            self.like_bf16 += u64::from(near(as_bf16(loss)));
            self.like_f16 += u64::from(near(f16::from_f32(loss).to_f32()));
        }
        let deviation = (squares / (present.len() as f64 - 1.0).max(1.0)).sqrt();
        let step = match self.ask.compute.as_str() {
            "bf16" => level * 2f64.powi(-7),
            "f16" => level * 2f64.powi(-10),
            "f32" => level * 2f64.powi(-23),
            _ => 0.0,
        };
        if deviation > 0.0 && deviation < step {
            self.coarse.add(row);
        }
    }

    /// What was found.
    pub fn finish(mut self) -> Diagnosis {
        for model in &mut self.models {
            model.leverage /= self.varying.max(1) as f64;
            model.rms = (model.squares / model.present.max(1) as f64).sqrt();
        }
        let mut findings = Vec::new();
        self.look_at_number(&mut findings);
        self.look_at_base(&mut findings);
        self.look_at_copies(&mut findings);
        self.look_at_leverage(&mut findings);
        self.look_at_rows(&mut findings);
        self.look_at_format(&mut findings);
        findings.sort_by_key(|finding| match finding.severity {
            Severity::Error => 0,
            Severity::Warning => 1,
            Severity::Note => 2,
        });
        Diagnosis {
            rows: self.rows,
            constant_rows: self.constant.count,
            partial_rows: self.partial.count,
            empty_rows: self.empty.count,
            models: self.models,
            findings,
        }
    }

    fn look_at_number(&self, findings: &mut Vec<Finding>) {
        let k = self.models.len();
        if k < MIN_MODELS {
            let text = format!("{k} models: a covariance takes at least {MIN_MODELS}");
            findings.push(finding(Severity::Error, "too_few_models", text));
        } else if k < FEW_MODELS {
            let text = format!("{k} models: below {FEW_MODELS} most of a ranking is noise");
            findings.push(finding(Severity::Note, "few_models", text));
        }
    }

    fn look_at_base(&self, findings: &mut Vec<Finding>) {
        if !self.ask.base || self.rows == 0 {
            return;
        }
        let level = self.level / self.rows as f64;
        let is_base = |model: &&ModelNotes| model.present > 0 && model.rms <= ROUNDING * level;
        let same: Vec<String> = self.models.iter().filter(is_base).map(|model| model.model.clone()).collect();
        if same.is_empty() {
            return;
        }
        let all = same.len() == self.models.len();
        let text = format!(
            "{} of {} models have the losses of the base model, up to rounding: their training changed nothing (a \
             learning rate of 0, or no step taken?)",
            same.len(),
            self.models.len()
        );
        let severity = if all { Severity::Error } else { Severity::Warning };
        findings.push(Finding { models: same, ..finding(severity, "like_base", text) });
    }

    fn look_at_copies(&self, findings: &mut Vec<Finding>) {
        let mut order: Vec<&ModelNotes> = self.models.iter().filter(|model| model.present > 0).collect();
        order.sort_by_key(|model| model.digest);
        for alike in order.chunk_by(|a, b| a.digest == b.digest).filter(|alike| alike.len() > 1) {
            let mut models: Vec<String> = alike.iter().map(|model| model.model.clone()).collect();
            models.sort_unstable();
            let text = format!(
                "models {} have the same losses: copies of one (a seed that was used twice?), which count as several",
                models.join(", ")
            );
            findings.push(Finding { models, ..finding(Severity::Warning, "identical", text) });
        }
    }

    fn look_at_leverage(&self, findings: &mut Vec<Finding>) {
        let limit = LEVERAGE / self.models.len().max(1) as f64;
        for model in self.models.iter().filter(|model| model.leverage > limit) {
            let text = format!(
                "model {} has {:.0} % of the variation, and its share is {:.1} %: scores are mostly its own (did its \
                 training diverge?)",
                model.model,
                100.0 * model.leverage,
                100.0 / self.models.len() as f64
            );
            let models = vec![model.model.clone()];
            findings.push(Finding { models, ..finding(Severity::Warning, "dominates", text) });
        }
    }

    fn look_at_rows(&self, findings: &mut Vec<Finding>) {
        let mut about = |rows: &Rows, severity, what, says: &str| {
            if rows.count > 0 {
                let text = format!("{} of {} rows {says}", rows.count, self.rows);
                findings.push(Finding { rows: rows.first.clone(), ..finding(severity, what, text) });
            }
        };
        about(&self.empty, Severity::Warning, "no_loss", "have no loss that is a number (no scored token?)");
        about(&self.partial, Severity::Warning, "missing", "lack the losses of some models");
        let says = "do not vary over the models: their covariance is 0, and they have no correlation";
        about(&self.constant, Severity::Note, "constant", says);
    }

    fn look_at_format(&self, findings: &mut Vec<Finding>) {
        if self.coarse.count > 0 {
            let text = format!(
                "{} of {} rows vary by less than neighbouring numbers of {} differ at their level: their scores are \
                 rounding",
                self.coarse.count, self.rows, self.ask.compute
            );
            let rows = self.coarse.first.clone();
            findings.push(Finding { rows, ..finding(Severity::Warning, "resolution", text) });
        }
        let share = |like: u64| self.cells > 0 && like as f64 >= NEARLY_ALL * self.cells as f64;
        let seen = match (share(self.like_bf16), share(self.like_f16)) {
            (true, _) => "bf16",
            (false, true) => "f16",
            _ => return,
        };
        // What is constant everywhere, such as zeros, looks like anything.
        if seen != self.ask.compute && self.varying > 0 {
            let text = format!(
                "the losses look as if they had been rounded to {seen}, which keeps digits of their level and few of \
                 their variation: take them in f32"
            );
            findings.push(finding(Severity::Warning, "rounded", text));
        }
    }
}

fn as_bf16(x: f32) -> f32 {
    f32::from_bits(x.to_bits().wrapping_add(0x8000) & 0xffff_0000)
}

fn finding(severity: Severity, what: &'static str, text: String) -> Finding {
    Finding { severity, what, text, models: Vec::new(), rows: Vec::new() }
}

/// Looks at losses that are in memory: `rows x models`, and of each row what has to be added.
pub fn diagnose(ask: DiagnosisAsk, rows: &[u64], values: &[f32], offset: &[f32]) -> Diagnosis {
    let mut looking = Diagnosing::new(ask);
    looking.add(rows, values, offset);
    looking.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(models: usize, base: bool) -> DiagnosisAsk {
        let models = (0..models).map(|k| format!("m{k}")).collect();
        DiagnosisAsk { models, base, compute: "f32".into() }
    }

    fn found(diagnosis: &Diagnosis) -> Vec<&'static str> {
        diagnosis.findings.iter().map(|finding| finding.what).collect()
    }

    /// Differences of `models` models on `rows` rows, no two alike.
    fn values(rows: usize, models: usize) -> Vec<f32> {
        (0..rows * models).map(|i| ((mix(i as u64 + 1) >> 40) as f32 / 8_388_608.0 - 1.0) * 0.1).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_not_mentioned() {
        let rows: Vec<u64> = (0..50).collect();
        let found_in = diagnose(ask(40, true), &rows, &values(50, 40), &[1.37; 50]);
        assert!(found_in.findings.is_empty(), "{:?}", found_in.findings);
        let shares: f64 = found_in.models.iter().map(|model| model.leverage).sum();
        assert!((shares - 1.0).abs() < 1e-12);
    }

    #[test]
    fn models_that_are_alike_or_are_the_base_are_named() {
        let mut all = values(20, 40);
        for row in all.chunks_exact_mut(40) {
            row[7] = row[3];
            row[9] = 0.0;
        }
        let rows: Vec<u64> = (0..20).collect();
        let diagnosis = diagnose(ask(40, true), &rows, &all, &[2.0; 20]);
        assert_eq!(found(&diagnosis), ["like_base", "identical"]);
        assert_eq!(diagnosis.findings[0].models, ["m9"]);
        assert_eq!(diagnosis.findings[1].models, ["m3", "m7"]);
        let diagnosis = diagnose(ask(40, true), &rows, &[0.0; 800], &[2.0; 20]);
        assert_eq!(diagnosis.findings[0].severity, Severity::Error);
        assert_eq!(diagnosis.constant_rows, 20);
    }

    #[test]
    fn one_model_that_went_astray_dominates() {
        let mut all = values(20, 40);
        all.chunks_exact_mut(40).for_each(|row| row[11] += 3.0);
        let diagnosis = diagnose(ask(40, false), &(0..20).collect::<Vec<_>>(), &all, &[2.0; 20]);
        assert_eq!(found(&diagnosis), ["dominates"]);
        assert_eq!(diagnosis.findings[0].models, ["m11"]);
    }

    #[test]
    fn rows_that_cannot_rank_are_counted() {
        let mut all = values(20, 40);
        all[3 * 40..4 * 40].fill(f32::NAN);
        all[5 * 40 + 2] = f32::NAN;
        all[8 * 40..9 * 40].fill(0.25);
        let diagnosis = diagnose(ask(40, false), &(100..120).collect::<Vec<_>>(), &all, &[2.0; 20]);
        assert_eq!(found(&diagnosis), ["no_loss", "missing", "constant"]);
        let rows: Vec<&[u64]> = diagnosis.findings.iter().map(|finding| &finding.rows[..]).collect();
        assert_eq!(rows, [[103], [105], [108]]);
    }

    #[test]
    fn coarse_numbers_are_recognised() {
        let level = 2.37f32;
        let all: Vec<f32> = values(20, 40).iter().map(|x| as_bf16(level + x) - level).collect();
        let diagnosis = diagnose(ask(40, false), &(0..20).collect::<Vec<_>>(), &all, &[level; 20]);
        assert_eq!(found(&diagnosis), ["rounded"]);
        // Variation below the steps of the format.
        let small: Vec<f32> = values(20, 40).iter().map(|x| x * 1e-2).collect();
        let ask = DiagnosisAsk { compute: "bf16".into(), ..ask(40, false) };
        let diagnosis = diagnose(ask, &(0..20).collect::<Vec<_>>(), &small, &[level; 20]);
        assert_eq!(found(&diagnosis), ["resolution"]);
    }

    #[test]
    fn few_models_are_an_error_or_a_note() {
        let rows: Vec<u64> = (0..9).collect();
        assert_eq!(found(&diagnose(ask(2, false), &rows, &values(9, 2), &[2.0; 9])), ["too_few_models"]);
        assert_eq!(found(&diagnose(ask(9, false), &rows, &values(9, 9), &[2.0; 9])), ["few_models"]);
    }
}
