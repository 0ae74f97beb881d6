//! Diagnosis of an ensemble's losses: models that add nothing or too much, rows that cannot rank, coarse
//! numbers.

mod findings;

use gstore_core::correlation::is_constant;
use gstore_core::{RowSet, mix};
use half::f16;
use serde::Serialize;

/// Rows that a finding names at most.
const NAMED: usize = 5;

/// Variation of a row, as a part of its distance from the base model's loss, below which the rounding of
/// their differences to f32 is more than 1/10,000 of it.
const FAR: f64 = 1e4 / 16_777_216.0;

/// What the losses are of.
#[derive(Debug, Clone, Default)]
pub struct DiagnosisAsk {
    /// Ids of the models, in the order of the columns.
    pub models: Vec<String>,
    /// Values are differences from the base model's losses, not from some other number of the row.
    pub base: bool,
    /// The precision that the losses were computed or given in: `f64`, `f32`, `bf16`, `f16` or another word.
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
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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

#[derive(Debug, Default)]
struct CountedRows {
    count: u64,
    first: Vec<u64>,
}

impl CountedRows {
    fn add(&mut self, row: u64) {
        self.count += 1;
        let at = self.first.partition_point(|first| *first < row);
        self.first.insert(at, row);
        self.first.truncate(NAMED);
    }
}

/// Losses that are being looked at, block by block in the order of the rows.
#[derive(Debug, Default)]
pub(crate) struct Diagnosing {
    ask: DiagnosisAsk,
    models: Vec<ModelNotes>,
    rows: u64,
    varying: u64,
    constant: CountedRows,
    partial: CountedRows,
    empty: CountedRows,
    /// Rows whose losses vary by less than two neighbouring numbers of the format differ.
    coarse: CountedRows,
    /// Rows whose losses were more exact than what is stored of them.
    far: CountedRows,
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
        let notes = |model: &String| ModelNotes { model: model.clone(), ..ModelNotes::default() };
        Self { models: ask.models.iter().map(notes).collect(), ask, ..Self::default() }
    }

    /// Looks at some rows: for each a value for each model, missing ones NaN, and what has to be added to it
    /// to have the loss, NaN if that is lost.
    pub fn add(&mut self, rows: &[u64], values: &[f32], offset: &[f32]) {
        let models = self.models.len().max(1);
        for ((row, values), offset) in rows.iter().zip(values.chunks_exact(models)).zip(offset) {
            self.row(*row, values, f64::from(*offset));
        }
    }

    /// Counts rows of which nothing is stored, such as those that came after the losses.
    pub fn add_absent(&mut self, rows: &RowSet) {
        self.rows += rows.len();
        self.models.iter_mut().for_each(|model| model.missing += rows.len());
        rows.iter().for_each(|row| self.empty.add(row));
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
        if offset.is_finite() {
            self.look_at_precision(row, &present, (offset, mean), squares);
        }
        if is_constant(&present) {
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
        let (least, most) = present
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), x| (least.min(*x), most.max(*x)));
        let spread = most - least;
        // Numbers of a format are the same or at least a step apart, whatever they are near to.
        let stepped = |bits: i32| spread == 0.0 || spread >= level * 2f64.powi(-bits - 1);
        for value in present {
            let loss = (offset + value) as f32;
            let near = |rounded: f32| (rounded - loss).abs() <= loss.abs() * 5e-7;
            self.cells += 1;
            self.like_bf16 += u64::from(stepped(8) && near(as_bf16(loss)));
            self.like_f16 += u64::from(stepped(11) && near(f16::from_f32(loss).to_f32()));
        }
        let deviation = (squares / (present.len() as f64 - 1.0).max(1.0)).sqrt();
        let step = match self.ask.compute.as_str() {
            "bf16" => level * 2f64.powi(-7),
            "f16" | "tf32" => level * 2f64.powi(-10),
            "bf16x3" => level * 2f64.powi(-15),
            "f32" => level * 2f64.powi(-23),
            // What is stored of them are differences, in f32.
            "f64" => least.abs().max(most.abs()) * 2f64.powi(-23),
            _ => 0.0,
        };
        if spread > 0.0 && deviation < step {
            self.coarse.add(row);
        }
        let is_far = self.ask.base && self.ask.compute == "f64" && deviation < mean.abs() * FAR;
        // Numbers of f32 in a wider type keep all digits in differences that are no larger than they are.
        let keeps_all = || mean.abs() <= level && present.iter().all(|x| is_single(offset, *x));
        if spread > 0.0 && is_far && !keeps_all() {
            self.far.add(row);
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
}

/// Whether a loss whose difference from an offset is known in f32 is one of f32 itself: exactly, or with the
/// fewest digits, as CSV and JSON have it, if the difference is fine enough to tell.
fn is_single(offset: f64, difference: f64) -> bool {
    let loss = offset + difference;
    let single = loss as f32;
    if f64::from(single) == loss {
        return true;
    }
    let is_written = |single: f32| {
        let digits = single.to_string().parse::<f64>();
        digits.is_ok_and(|loss| f64::from((loss - offset) as f32) == difference)
    };
    // The digits may be half a step of f32 off, so that the sum is nearer to the next number.
    let mut near = [single, single.next_up(), single.next_down()].into_iter();
    difference.abs() <= loss.abs() / 2.0 && near.any(is_written)
}

fn as_bf16(x: f32) -> f32 {
    f32::from_bits(x.to_bits().wrapping_add(0x8000) & 0xffff_0000)
}

/// Looks at losses that are in memory: `rows x models`, and of each row what has to be added.
pub fn diagnose(ask: DiagnosisAsk, rows: &[u64], values: &[f32], offset: &[f32]) -> Diagnosis {
    let mut looking = Diagnosing::new(ask);
    looking.add(rows, values, offset);
    looking.finish()
}

#[cfg(test)]
mod tests;
