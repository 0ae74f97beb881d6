//! `gstore ask --explain ID`: where the score of one row comes from.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::ControlFlow;

use anyhow::{Result, bail};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_core::Cancel;
use gstore_query::influence::{Pair, PairCheckpoint, Prepared, Reason, RowFilter, RowMask};
use gstore_store::{TokenCount, nearest};
use serde_json::{Value, json};

use super::text;
use crate::args::{AskArgs, Format};
use crate::commands::select::Pool;
use crate::context::Context;
use crate::output::Output;

/// Modules that the text names for each checkpoint; JSON has all.
const MODULES: usize = 8;

/// Everything that is shown of one row.
struct Shown<'a> {
    id: &'a str,
    pool: &'a str,
    pair: Pair,
    in_target: bool,
    /// Of the row, where the encoding knows it.
    tokens: Option<TokenCount>,
    text: Option<String>,
    /// Tokens, scored tokens and text of each given sample.
    given: Vec<((u32, u32), String)>,
}

/// Prints the row of an id.
pub fn run(
    context: &Context,
    args: &AskArgs,
    plan: &Prepared,
    pools: &[Pool],
    (id, format): (&str, Format),
    cancel: &Cancel,
) -> Result<()> {
    let (pool, row) = find(pools, id)?;
    let Some(pair) = plan.pair(pool, row, context.threads, cancel)? else {
        bail!(
            "row {row} of `{}` (id {id:?}) has no score: {}",
            pools[pool].name,
            why_none(plan, pool, row, cancel)?
        )
    };
    let batch = pools[pool].samples.get(&[row], &["record"])?;
    let record = batch.column(0).as_binary_opt::<i32>().filter(|record| record.is_valid(0));
    let given = plan.given_tokens(cancel)?.into_iter().zip(plan.given_records());
    let shown = Shown {
        id,
        pool: &pools[pool].name,
        in_target: plan.in_target(pool, &[row], cancel)?.first().copied().unwrap_or(false),
        tokens: tokens(plan, pool, row)?,
        text: record.map(|record| text::of_record(record.value(0), true)),
        given: given.map(|(tokens, sample)| (tokens, text::of_record(sample.as_bytes(), true))).collect(),
        pair,
    };
    let mut output = Output::create(args.output.output.as_deref(), args.output.force)?;
    match format {
        Format::Json => writeln!(output, "{}", shown.json())?,
        _ => output.write_all(shown.text(args.full)?.as_bytes())?,
    }
    output.finish()
}

/// Why a row has no score.
fn why_none(plan: &Prepared, pool: usize, row: u64, cancel: &Cancel) -> Result<&'static str> {
    if plan.spec().exclude_target && plan.in_target(pool, &[row], cancel)?.first() == Some(&true) {
        return Ok(
            "its text is that of a given sample, and --exclude-target leaves such rows out; ask without it",
        );
    }
    let mut filter = RowFilter::new();
    for other in 0..plan.pools().len() {
        filter = filter.with(other, if other == pool { RowMask::from_iter([row]) } else { RowMask::new() });
    }
    let mut reason = None;
    plan.excluded(Some(&filter), 1, cancel, |rows| {
        reason = rows.first().map(|excluded| excluded.reason);
        ControlFlow::Continue(())
    })?;
    Ok(match reason {
        Some(Reason::NoScored) => "none of its tokens is scored, as where an answer is empty or was cut off",
        Some(Reason::NonFinite) => "its vector has values that are not finite",
        Some(Reason::Missing) => "it has no vector at one of the checkpoints, or at none",
        Some(Reason::Overflow) => "its score is beyond the range of numbers",
        None => "it is left out",
    })
}

/// The pool and row of an id.
fn find(pools: &[Pool], id: &str) -> Result<(usize, u64)> {
    let mut found: Vec<(usize, u64)> = Vec::new();
    let mut best: Option<String> = None;
    for (number, pool) in pools.iter().enumerate() {
        for batch in pool.samples.scan(&["row", "id"], None) {
            let batch = batch?;
            let (rows, ids) =
                (batch.column(0).as_primitive::<UInt64Type>(), batch.column(1).as_string::<i32>());
            for (row, own) in rows.values().iter().zip(ids).filter_map(|(row, own)| Some((row, own?))) {
                if own == id {
                    found.push((number, *row));
                }
            }
            if found.is_empty() {
                let near = nearest(id, best.as_deref().into_iter().chain(ids.iter().flatten()));
                best = near.map(str::to_owned);
            }
        }
    }
    let names = || pools.iter().map(|pool| format!("`{}`", pool.name)).collect::<Vec<_>>().join(", ");
    match found.as_slice() {
        [only] => Ok(*only),
        [] => {
            let hint = best.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            bail!("no row of {} has the id {id:?}{hint}", names())
        }
        _ => bail!("several of {} have a row with the id {id:?}; name one with --pool", names()),
    }
}

fn tokens(plan: &Prepared, pool: usize, row: u64) -> Result<Option<TokenCount>> {
    let side = &plan.pools()[pool];
    let Some(entry) = side.encoding().and_then(|key| side.dataset.encoding(key)) else { return Ok(None) };
    let counts = plan.snapshot().encoding(&side.dataset, entry)?.counts(row..row + 1)?;
    Ok(counts.first().copied())
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

impl Shown<'_> {
    fn json(&self) -> Value {
        let Pair {
            row, score, stderr, noise_floor, subtask, rank, of, percentile, value, checkpoints, ..
        } = &self.pair;
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
            "pool": self.pool, "id": self.id, "row": row, "score": score, "stderr": stderr, "noise_floor": noise_floor,
            "rank": rank, "of": of,
            "percentile": percentile, "subtask": subtask, "value": value, "in_target": self.in_target,
            "tokens": self.tokens.map(|t| t.tokens), "scored_tokens": self.tokens.map(|t| t.scored),
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
        let pair = &self.pair;
        let side = match pair.score {
            s if s > 0.0 => "proponent: training on it lowers the loss",
            s if s < 0.0 => "opponent: training on it raises the loss",
            _ => "neither proponent nor opponent",
        };
        writeln!(out, "{} of {}, row {}", self.id, self.pool, pair.row)?;
        writeln!(out, "score       {:.6} ({side})", pair.score)?;
        if let Some(stderr) = pair.stderr {
            writeln!(out, "error       {stderr:.6}, the standard error that the projection leaves it")?;
        }
        if let Some(floor) = pair.noise_floor {
            writeln!(
                out,
                "noise       {floor:.6}, what scores of rows with nothing in common deviate from zero"
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
            if self.in_target { "yes: its text is that of a given sample" } else { "no" }
        )?;
        if let Some(counts) = self.tokens {
            writeln!(out, "tokens      {}, {} of them scored", counts.tokens, counts.scored)?;
        }
        Ok(())
    }

    /// What each checkpoint adds, and there the modules: all in `full`, else the first.
    fn write_checkpoints(&self, out: &mut String, full: bool) -> Result<()> {
        let pair = &self.pair;
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
