//! `gstore ask --explain ID`: where the score of one row comes from.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use gstore::ExplainedRow;
use gstore_query::influence::{Pair, PairCheckpoint};
use serde_json::{Value, json};

use super::text;
use crate::args::{AskArgs, Format};
use crate::output::Output;

/// Modules that the text names for each checkpoint; JSON has all.
const MODULES: usize = 8;

/// What is shown of one row.
struct ExplanationView<'a> {
    id: &'a str,
    row: ExplainedRow,
    text: Option<String>,
    /// Tokens, scored tokens and text of each given sample.
    given: Vec<((u32, u32), String)>,
}

pub fn run(args: &AskArgs, row: ExplainedRow, (id, format): (&str, Format)) -> Result<()> {
    let given = row.given.iter();
    let shown = ExplanationView {
        id,
        text: row.record.as_deref().map(|record| text::record_text(record, true)),
        given: given.map(|(tokens, sample)| (*tokens, text::record_text(sample.as_bytes(), true))).collect(),
        row,
    };
    let mut output = Output::create(args.output.output.as_deref(), args.output.force)?;
    match format {
        Format::Json => writeln!(output, "{}", shown.json())?,
        _ => output.write_all(shown.text(args.full)?.as_bytes())?,
    }
    output.finish()
}

/// A part of a whole, in percent; nothing of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { 100.0 * part / whole }
}

/// The same in whole percent, without a sign before a zero.
fn percent(part: f64, whole: f64) -> f64 {
    share(part, whole).round() + 0.0
}

/// A length to read: five digits, with an exponent only where it is very small or large.
fn digits(x: f64) -> String {
    if (1e-3..1e6).contains(&x) || x == 0.0 { format!("{x:.4}") } else { format!("{x:.4e}") }
}

impl ExplanationView<'_> {
    fn json(&self) -> Value {
        let Pair {
            row, score, stderr, noise_floor, subtask, rank, of, percentile, value, checkpoints, ..
        } = &self.row.pair;
        let checkpoint = |c: &PairCheckpoint| {
            let module = |m: &gstore_query::influence::PairModule| json!({ "name": m.name, "part": m.part, "share": share(m.part, c.part) });
            json!({
                "name": c.name, "weight": c.weight, "similarity": c.similarity, "part": c.part,
                "share": share(c.part, *value), "norm": c.norm, "target_norm": c.target_norm,
                "modules": c.modules.iter().map(module).collect::<Vec<_>>(),
            })
        };
        let given = |((tokens, scored), text): &((u32, u32), String)| json!({ "tokens": tokens, "scored_tokens": scored, "text": text });
        json!({
            "pool": self.row.pool, "id": self.id, "row": row, "score": score, "stderr": stderr, "noise_floor": noise_floor,
            "rank": rank, "of": of,
            "percentile": percentile, "subtask": subtask, "value": value, "in_target": self.row.in_target,
            "tokens": self.row.tokens.map(|t| t.tokens), "scored_tokens": self.row.tokens.map(|t| t.scored),
            "text": self.text, "given": self.given.iter().map(given).collect::<Vec<_>>(),
            "checkpoints": checkpoints.iter().map(checkpoint).collect::<Vec<_>>(),
        })
    }

    fn text(&self, full: bool) -> Result<String> {
        let mut out = String::new();
        self.write_score(&mut out)?;
        self.write_checkpoints(&mut out, full)?;
        self.write_texts(&mut out)?;
        Ok(out)
    }

    fn write_score(&self, out: &mut String) -> Result<()> {
        let pair = &self.row.pair;
        let side = match pair.score {
            s if s > 0.0 => "proponent: training on it lowers the loss",
            s if s < 0.0 => "opponent: training on it raises the loss",
            _ => "neither proponent nor opponent",
        };
        writeln!(out, "{} of {}, row {}", self.id, self.row.pool, pair.row)?;
        writeln!(out, "score       {:.6} ({side})", pair.score)?;
        if let Some(stderr) = pair.stderr {
            writeln!(out, "error       {stderr:.6}, the standard error due to the projection")?;
        }
        if let Some(floor) = pair.noise_floor {
            writeln!(
                out,
                "noise       {floor:.6}, how far scores of unrelated rows typically are from zero"
            )?;
        }
        writeln!(
            out,
            "rank        {} of {}, above {:.1} % of the others",
            pair.rank, pair.of, pair.percentile
        )?;
        writeln!(
            out,
            "in target   {}",
            if self.row.in_target { "yes: its text is that of a given sample" } else { "no" }
        )?;
        if let Some(counts) = self.row.tokens {
            writeln!(out, "tokens      {}, {} of them scored", counts.tokens, counts.scored)?;
        }
        Ok(())
    }

    /// What each checkpoint adds, and there the modules: all in `full`, else the first.
    fn write_checkpoints(&self, out: &mut String, full: bool) -> Result<()> {
        let pair = &self.row.pair;
        let width = pair.checkpoints.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(10);
        writeln!(
            out,
            "\n{:width$}  weight  similarity        part   share        norm  target norm",
            "checkpoint"
        )?;
        for c in &pair.checkpoints {
            let target = c.target_norm.map_or_else(String::new, digits);
            writeln!(
                out,
                "{:width$}  {:6.4}  {:10.6}  {:10.6}  {:4.0} %  {:>10}  {target:>11}",
                c.name,
                c.weight,
                c.similarity,
                c.part,
                percent(c.part, pair.value),
                digits(c.norm)
            )?;
        }
        for c in pair.checkpoints.iter().filter(|c| !c.modules.is_empty()) {
            writeln!(out, "\nmodules at {}", c.name)?;
            for module in c.modules.iter().take(if full { usize::MAX } else { MODULES }) {
                writeln!(
                    out,
                    "  {:10.6}  {:4.0} %  {}",
                    module.part,
                    percent(module.part, c.part),
                    module.name
                )?;
            }
        }
        Ok(())
    }

    fn write_texts(&self, out: &mut String) -> Result<()> {
        writeln!(
            out,
            "\nthe row\n{}",
            indent(self.text.as_deref().unwrap_or("(stored without its record)"))
        )?;
        for (i, ((tokens, scored), text)) in self.given.iter().enumerate() {
            let number = if self.given.len() > 1 { format!(" {}", i + 1) } else { String::new() };
            writeln!(
                out,
                "\nthe given sample{number}, {tokens} tokens, {scored} of them scored\n{}",
                indent(text)
            )?;
        }
        Ok(())
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
