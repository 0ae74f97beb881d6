//! A selection that a server makes: the question as a statement of SQL, the rows as they come.
//!
//! Invariants
//! - all statements of a selection see one snapshot
//! - rows, order and scores are those of the same command on the store itself, bit for bit

use std::io::Write;
use std::sync::Arc;

use anyhow::{Error, Result, anyhow, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use gstore::{FindError, write_scored_line};
use gstore_core::Cancel;
use gstore_query::influence::{
    Diversity, Function, InfluenceSpec, Order, ScanSummary, resolve_share, resolve_top,
};
use gstore_server::Remote;
use gstore_sql::output::{ResultWriter, TableStyle};
use gstore_sql::{Notes, Parameters, SqlError, SqlErrorKind, check_condition, quoted, where_clause};
use serde_json::Value;

use super::kept::TargetJournal;
use super::told::{SelectionReport, summarise, tell_decided};
use super::{RowsForm, STOPPING, Selection, output, place};
use crate::args::SelectArgs;
use crate::commands::query::connect;
use crate::context::Context;
use crate::ending::format_of_scores;
use crate::failure::{UsageError, condition_error, refuse};
use crate::output::Output;
use crate::question::tell_notes;

/// Where rows are written as they come.
struct SelectionOutputs {
    lines: Option<Output>,
    scores: Option<(gstore_sql::output::Format, Output)>,
}

/// Asks the server and writes the selection. `kept`: where it is noted what its files are.
pub(super) fn run(context: &Context, args: &SelectArgs, kept: Option<&TargetJournal>) -> Result<()> {
    let Selection { spec, rules, scores, form, every, create } = Selection::new(context, args)?;
    let ruled = rules != Diversity::default();
    if form != RowsForm::Lines {
        refuse!(
            "a server sends rows as their original lines, without the types that the columns of a table need; end the name of --output in .jsonl"
        );
    }
    if let Some(condition) = &args.filter {
        check_condition(condition).map_err(|error| condition_error(error.into()))?;
    }
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut server = connect(context, &args.server, args.state.snapshot.as_ref())?;
    if args.state.snapshot.is_none() {
        let newest = number(&server, "SELECT max(number) FROM gstore.snapshots", &cancel)?;
        server.pin(newest);
    }
    let k = wanted(&server, args, &cancel)?;
    let ask = |explained| SqlQuestion::new(args, &spec, ruled.then_some(k), explained);
    let asked = ask(None)?;
    let scores_to = match &scores {
        Some(path) => Some((format_of_scores(path)?, create(Some(path), args.force)?)),
        None => None,
    };
    let apart = every || args.explain;
    let (first, rest) = if apart { (None, scores_to) } else { (scores_to, None) };
    let mut to = SelectionOutputs { lines: Some(create(Some(output(args)?), args.force)?), scores: first };
    let order = if args.worst { " ORDER BY score" } else { " ORDER BY score DESC" };
    let cut = if ruled { String::new() } else { format!("{order} LIMIT {k}") };
    let (selected, notes) = asked.write(&server, &cut, &mut to, &cancel)?;
    // Those before it are of rankings within its condition.
    let note = notes.influence.into_iter().next_back();
    if selected == 0 && !may_have_candidates(&server, args, &cancel)? {
        let rows = note.as_ref().map_or(0, |note| note.summary.live);
        return Err(condition_error(FindError::NoRow { rows }));
    }
    let mut all = SelectionOutputs { lines: None, scores: rest };
    if apart {
        // The checkpoints that were used are known once a question is answered.
        let used = note.iter().flat_map(|note| &note.checkpoints).map(|(name, _)| name.clone()).collect();
        let asked = ask(args.explain.then_some(used))?;
        let cut = if every { order } else { &cut };
        asked.write(&server, cut, &mut all, &cancel)?;
    }
    cancel.check().map_err(gstore_query::QueryError::from)?;
    let outputs = [to.scores, all.scores].into_iter().flatten().map(|(_, output)| output).chain(to.lines);
    place(kept, (None, outputs.collect()), None)?;
    tell_notes(context, note.iter().flat_map(|note| &note.resolution));
    let decided = note.as_ref().and_then(|note| note.decided_by.clone());
    let decided = decided.as_ref().map(|(target, rows)| (target.as_str(), *rows));
    tell_decided(context, selected, decided);
    let summary = note.map_or_else(ScanSummary::default, |note| note.summary);
    let found = SelectionReport { selected, wanted: k, summary: &summary, ruled, passed_over: None, decided };
    summarise(context, args, &found, scores.as_deref())
}

fn wanted(server: &Remote, args: &SelectArgs, cancel: &Cancel) -> Result<usize> {
    let mut live = 0;
    if args.top.contains('%') {
        for pool in args.of.as_ref().map_or(args.pool.as_slice(), std::slice::from_ref) {
            live += number(server, &format!("SELECT count(*) FROM {}", quoted(pool)), cancel)?;
        }
    }
    let resolve = if args.of.is_some() { resolve_share } else { resolve_top };
    resolve(&args.top, live).map_err(|error| UsageError(error.to_string()).into())
}

/// Whether there is no condition, or one that is true for a row of a pool.
fn may_have_candidates(server: &Remote, args: &SelectArgs, cancel: &Cancel) -> Result<bool> {
    let Some(condition) = &args.filter else { return Ok(true) };
    for pool in &args.pool {
        let sql = format!("SELECT count(*) FROM {} {}", quoted(pool), where_clause(condition));
        if number(server, &sql, cancel)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn number(server: &Remote, sql: &str, cancel: &Cancel) -> Result<u64> {
    let values = Parameters::default();
    let mut rows = server.run(sql, &values, cancel).map_err(statement_error)?;
    let batch = rows.next().transpose().map_err(statement_error)?;
    let column = batch.filter(|batch| batch.num_rows() == 1).map(|batch| ArrayRef::clone(batch.column(0)));
    let number = column.as_ref().and_then(|column| match column.as_primitive_opt::<UInt64Type>() {
        Some(numbers) => numbers.iter().next().flatten(),
        None => {
            let numbers = column.as_primitive_opt::<arrow_array::types::Int64Type>()?;
            u64::try_from(numbers.iter().next().flatten()?).ok()
        }
    });
    match number {
        Some(number) => Ok(number),
        None => bail!("the server's answer to {sql} is not a number"),
    }
}

/// The question in SQL, with every value as a parameter.
struct SqlQuestion {
    columns: Vec<&'static str>,
    /// Whether rank and score are written into the records.
    with_scores: bool,
    call: String,
    values: Parameters,
    /// The checkpoints that were used, where the scores are explained.
    explained: Option<Vec<String>>,
}

impl SqlQuestion {
    fn new(
        args: &SelectArgs,
        spec: &InfluenceSpec,
        k: Option<usize>,
        explained: Option<Vec<String>>,
    ) -> Result<Self> {
        let given = &args.scoring.0;
        let options =
            Function::Influence.options().filter_map(|o| Some((o.name, given.value(o.name)?.clone())));
        let mut options: Vec<(&str, Value)> = options.collect();
        options.push(("pool", args.pool.clone().into()));
        options.push(("target", args.target.clone().into()));
        if let Some(k) = k {
            options.push(("k", k.into()));
            if let Some(quota) = &args.rules.quota {
                options.push(("quota", quota.as_str().into()));
                options.push(("quota_by", args.rules.quota_by().into()));
            }
            options.extend(args.rules.distinct.map(|cosine| ("distinct", cosine.into())));
            options.extend(args.rules.round_robin.as_deref().map(|word| ("round_robin", word.into())));
            options.extend(args.worst.then(|| ("order", Order::Worst.word().into())));
        }
        options.extend(args.filter.as_deref().map(|condition| ("where", condition.into())));
        options.extend(explained.is_some().then(|| ("explain", true.into())));
        let mut values = Parameters::default();
        let mut arguments = Vec::new();
        for (name, value) in &options {
            values.add(Some(name), value)?;
            arguments.push(format!("{name} => ${name}"));
        }
        let mut columns = vec!["id", "row", "score", "subtask"];
        if spec.pools.len() > 1 {
            columns.insert(0, "pool");
        }
        if spec.covariance.is_some() {
            columns.extend(["se", "z", "models", "noise_floor"]);
        }
        if explained.is_some() {
            columns.extend([
                "checkpoint_scores",
                "target_dataset",
                "target_id",
                "target_row",
                "target_score",
            ]);
            columns.extend(["stderr", "noise_floor", "ignored"]);
        }
        let call = format!("influence({})", arguments.join(", "));
        Ok(Self { columns, with_scores: args.with_scores, call, values, explained })
    }

    /// Writes the rows of the question; how many there were, and the notes about them.
    fn write(
        &self,
        server: &Remote,
        cut: &str,
        to: &mut SelectionOutputs,
        cancel: &Cancel,
    ) -> Result<(usize, Notes)> {
        let width = self.columns.len();
        let mut columns = self.columns.clone();
        columns.extend(to.lines.is_some().then_some("record"));
        let sql = format!("SELECT {} FROM {}{cut}", columns.join(", "), self.call);
        let mut rows = server.run(&sql, &self.values, cancel).map_err(statement_error)?;
        let schema = rows.schema().project(&(0..width).collect::<Vec<_>>())?;
        let schema = RecordBatch::new_empty(Arc::new(schema));
        let schema = self.scores(&schema)?.schema();
        let style = TableStyle { width: None, column: None };
        let scores = to.scores.as_mut();
        let writer = scores.map(|(format, output)| ResultWriter::new(*format, &schema, output, style));
        let mut writer = writer.transpose()?;
        let mut count = 0;
        for batch in &mut rows {
            let batch = batch.map_err(statement_error)?;
            if let Some(lines) = &mut to.lines {
                write_lines(lines, &batch, self.with_scores.then_some(count))?;
            }
            count += batch.num_rows();
            if let Some(writer) = &mut writer {
                writer.write(&self.scores(&batch.project(&(0..width).collect::<Vec<_>>())?)?)?;
            }
        }
        writer.map(ResultWriter::finish).transpose()?;
        Ok((count, rows.notes()))
    }

    /// The columns as the command writes them here: all may lack values, and each
    /// checkpoint's part has its own.
    fn scores(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = batch.schema();
        let mut columns: Vec<(String, ArrayRef, bool)> = Vec::new();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            match column.as_list_opt::<i32>() {
                Some(parts) => {
                    for (place, name) in self.explained.iter().flatten().enumerate() {
                        let part = parts.iter().map(|of_row| part(of_row.as_ref()?, place));
                        columns.push((
                            format!("checkpoint_score_{name}"),
                            Arc::new(part.collect::<Float32Array>()),
                            true,
                        ));
                    }
                }
                None => columns.push((field.name().clone(), ArrayRef::clone(column), true)),
            }
        }
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }
}

/// An error of a statement that the command has made, for those who have not read it: without the type of an
/// error of SQL its options are named as flags.
fn statement_error(error: SqlError) -> Error {
    if error.kind() == SqlErrorKind::Cancelled || error.is_damage() {
        return error.into();
    }
    let said = error.nowhere().to_string();
    match said.strip_prefix("there is no table ") {
        Some(rest) => anyhow!("there is no dataset {rest}"),
        None if said.starts_with("where: ") => anyhow!("--{said}"),
        None => anyhow!("{said}"),
    }
}

/// The value of a list at a place.
fn part(of_row: &ArrayRef, place: usize) -> Option<f32> {
    of_row.as_primitive_opt::<Float32Type>()?.iter().nth(place).flatten()
}

/// The original lines; with `before`, the number of rows that were written before, with rank and score.
fn write_lines(to: &mut impl Write, batch: &RecordBatch, before: Option<usize>) -> Result<()> {
    let column = |name| batch.column_by_name(name);
    let records = column("record").and_then(|records| records.as_string_opt::<i32>());
    let numbers = column("row").and_then(|rows| rows.as_primitive_opt::<UInt64Type>());
    let scores = column("score").and_then(|scores| scores.as_primitive_opt::<Float32Type>());
    let (Some(records), Some(numbers), Some(scores)) = (records, numbers, scores) else {
        bail!("the server's answer lacks some of the columns that were asked for");
    };
    for (i, (record, row)) in records.iter().zip(numbers.values()).enumerate() {
        let Some(record) = record else {
            bail!("row {row} was stored without its original record, so it cannot be written");
        };
        if let Some(before) = before {
            let rank = (before + i + 1) as u64;
            write_scored_line(to, (*row, record.as_bytes()), (rank, scores.value(i)))?;
            continue;
        }
        to.write_all(record.as_bytes())?;
        to.write_all(b"\n")?;
    }
    Ok(())
}
