//! Findings of a diagnosis: what the sums over all rows mean.

use gstore_core::many;

use super::{CountedRows, Diagnosing, FAR, Finding, ModelNotes, Severity};
use crate::daunce::how::{FEW_MODELS, MIN_MODELS};

/// A model that has more than so many times its share of the variation dominates.
const LEVERAGE: f64 = 4.0;

/// Root mean square of a model's differences from the base, as a part of the losses, below which they are no
/// more than the rounding of f32.
const ROUNDING: f64 = 1e-6;

/// Share of the losses that look as if they had been rounded, from which on they have been.
const NEARLY_ALL: f64 = 0.99;

impl Diagnosing {
    pub(super) fn look_at_number(&self, findings: &mut Vec<Finding>) {
        let k = self.models.len();
        if k < MIN_MODELS {
            // Others may come with a later import.
            let text = format!("{}: a covariance takes at least {MIN_MODELS}", many(k as u64, "model"));
            findings.push(finding(Severity::Note, "too_few_models", text));
        } else if k < FEW_MODELS {
            let text = format!("{k} models: below {FEW_MODELS} most of a ranking is noise");
            findings.push(finding(Severity::Note, "few_models", text));
        }
    }

    pub(super) fn look_at_base(&self, findings: &mut Vec<Finding>) {
        let rows = self.rows - self.empty.count;
        if !self.ask.base || rows == 0 {
            return;
        }
        let level = self.level / rows as f64;
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

    pub(super) fn look_at_copies(&self, findings: &mut Vec<Finding>) {
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

    pub(super) fn look_at_leverage(&self, findings: &mut Vec<Finding>) {
        let shares = |model: &ModelNotes| model.leverage * self.models.len() as f64;
        for model in self.models.iter().filter(|model| shares(model) > LEVERAGE) {
            let owns = if model.leverage > 0.5 { ": scores are mostly its own" } else { "" };
            let text = format!(
                "model {} has {:.1} times its share of the variation{owns} (did its training diverge?)",
                model.model,
                shares(model)
            );
            let models = vec![model.model.clone()];
            findings.push(Finding { models, ..finding(Severity::Warning, "dominates", text) });
        }
    }

    pub(super) fn look_at_rows(&self, findings: &mut Vec<Finding>) {
        let mut about = |rows: &CountedRows, severity, what, says: &str| {
            if rows.count > 0 {
                let text = format!("{} of {} rows {says}", rows.count, self.rows);
                findings.push(Finding { rows: rows.first.clone(), ..finding(severity, what, text) });
            }
        };
        let says = "have no loss that is a number (no scored token, not imported, or added later?)";
        about(&self.empty, Severity::Warning, "no_loss", says);
        about(&self.partial, Severity::Warning, "missing", "lack the losses of some models");
        let says = "do not vary over the models: their covariance is 0, and they have no correlation";
        about(&self.constant, Severity::Note, "constant", says);
    }

    pub(super) fn look_at_format(&self, findings: &mut Vec<Finding>) {
        if self.coarse.count > 0 {
            let (numbers, place) = match self.ask.compute.as_str() {
                "f64" => ("f32", "distance from what they are stored relative to"),
                other => (other, "level"),
            };
            let text = format!(
                "{} of {} rows vary by less than neighbouring numbers of {numbers} differ at their {place}: their scores \
                 are rounding",
                self.coarse.count, self.rows
            );
            let rows = self.coarse.first.clone();
            findings.push(Finding { rows, ..finding(Severity::Warning, "resolution", text) });
        }
        if self.far.count > 0 {
            let text = format!(
                "{} of {} rows vary by less than {:.2}% of their distance from the losses of the base model, and the \
                 differences from these are stored in f32, which costs more than 1/10,000 of the variation: to keep it, \
                 import into another ensemble without `base_losses`",
                self.far.count,
                self.rows,
                100.0 * FAR
            );
            let rows = self.far.first.clone();
            findings.push(Finding { rows, ..finding(Severity::Warning, "far_from_base", text) });
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

fn finding(severity: Severity, what: &'static str, text: String) -> Finding {
    Finding { severity, what, text, models: Vec::new(), rows: Vec::new() }
}
