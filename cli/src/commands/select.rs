//! `gstore select`: the rows of a pool that influence a target most, as the original lines.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Float32Array, RecordBatch, StringArray, UInt64Array};
use gstore_core::Cancel;
use gstore_query::QueryError;
use gstore_query::influence::{
    Diversity, Each, InfluenceSpec, Mode, NO_SUBTASK, Order, Prepared, Ranking, Scored, SelectRequest,
    resolve_top,
};
use gstore_sql::output::{ResultWriter, TableStyle};
use gstore_store::{SampleReader, Snapshot};

use self::explained::Explained;
use self::records::{Records, bytes};
use super::query::checked;
use crate::args::{Format, ScoresOf, SelectArgs};
use crate::context::Context;
use crate::ending::{format_of_name, format_of_scores};
use crate::failure::UsageError;
use crate::output::{Output, Place, check};
use crate::question::{between, rules, scoring, tell_notes};
use crate::summary;
use crate::words::{many, many_of};

mod explained;
mod records;

/// Rows whose records are read at once.
const CHUNK: usize = 1024;

/// Bytes that the vectors of selected rows may take, where near-duplicates are passed over.
const MEMORY: usize = 2 << 30;

/// Scores the pool and writes the selection.
pub fn run(context: &Context, args: &SelectArgs) -> Result<ExitCode> {
    let store = context.open()?;
    let (snapshot, _lease) = context.snapshot(&store, args.snapshot.as_ref())?;
    let snapshot = checked(snapshot, args.checks);
    let spec = between(&args.pool, &args.target, scoring(&args.scoring)?);
    let scores = scores_path(args);
    let table = check_outputs(context, args, scores.as_deref())?;
    let rules = rules(&args.rules)?;
    check_terms(rules.round_robin, &spec)?;
    let every = args.scores_of == ScoresOf::All && scores.is_some();
    check_words(args, &spec, (every, &rules), scores.as_deref())?;
    let plan = Prepared::new(&snapshot, &spec)?;
    plan.check_rules(&rules)?;
    tell_notes(context, &plan);
    let k = resolve_top(&args.top, plan.live()).map_err(|error| UsageError(error.to_string()))?;
    let order = if args.worst { Order::Worst } else { Order::Best };
    let cancel =
        context.cancel_on_interrupt("stopping, if nothing is written yet; once more to stop at once")?;
    let mut passed_over = None;
    let mut ranking = if rules == Diversity::default() {
        let wanted = if every { usize::MAX } else { k };
        plan.top_k(order, wanted, None, context.threads, &cancel)?
    } else {
        let threads = context.threads;
        let request = SelectRequest { order, k, filter: None, diversity: &rules, threads, memory: MEMORY };
        let found = plan.select(&request, &cancel)?;
        let over = found.over_quota + found.near_duplicates;
        let mut passed = Vec::new();
        if args.rules.quota.is_some() {
            passed.push(format!("{} over a quota", found.over_quota));
        }
        if args.rules.distinct.is_some() {
            passed.push(many(found.near_duplicates, "near-duplicate"));
        }
        if !passed.is_empty() {
            let over = many_of(over, "candidate was", "candidates were");
            context.say(&format!("{over} passed over: {}", passed.join(", ")));
        }
        passed_over = Some(over);
        found.ranking
    };

    let pools = open_pools(&snapshot, &spec.pools)?;
    let mut outputs = Vec::new();
    if let Some(path) = &scores {
        let explain = args.explain.then(|| Explained::new(&plan, &cancel)).transpose()?;
        let mut output = Output::create(Some(path), args.force)?;
        write_scores(&mut output, format_of_scores(path)?, &ranking, &pools, explain.as_ref(), &cancel)?;
        outputs.push(output);
    }
    ranking.rows.truncate(k);
    let mut output = Output::create(Some(&args.output), args.force)?;
    match table {
        Some(format) => write_table(&mut output, format, &ranking.rows, &pools, &cancel)?,
        None => write_lines(&mut output, &ranking.rows, &pools, &cancel)?,
    }
    outputs.push(output);
    // Both files appear, or neither.
    go_on(&cancel)?;
    outputs.into_iter().try_for_each(Output::finish)?;
    summarise(context, args, &ranking, (k, passed_over), scores.as_deref());
    Ok(ExitCode::SUCCESS)
}

/// Refuses a wrong place or ending before the scan, not after it. Returns the format of the selected rows, if
/// they are not written as lines.
fn check_outputs(context: &Context, args: &SelectArgs, scores: Option<&Path>) -> Result<Option<Format>> {
    let outputs = [Some(args.output.as_path()), scores];
    check(context, if scores.is_some() { &outputs } else { &outputs[..1] }, args.force)?;
    scores.map(format_of_scores).transpose()?;
    match format_of_name(&args.output)? {
        Some(Format::Table) => bail!(UsageError(format!(
            "{}: rows are not written as .txt; end the name in .jsonl for the original lines, or in .csv, .tsv, .parquet or .arrow for a table",
            args.output.display()
        ))),
        Some(Format::Json) | None => Ok(None),
        table => Ok(table),
    }
}

/// Refuses terms that rankings in turn make no use of.
fn check_terms(in_turn: Option<Each>, spec: &InfluenceSpec) -> Result<()> {
    let usual = InfluenceSpec::default();
    let unused = match in_turn {
        Some(Each::Sample) if spec.within != usual.within => "--within",
        Some(Each::Sample) if spec.fold != usual.fold => "--fold",
        Some(Each::Sample | Each::Subtask) if spec.across != usual.across => "--across",
        _ => return Ok(()),
    };
    bail!(UsageError(format!(
        "{unused} says how samples or subtasks combine, and in turn each has a ranking by itself; leave it or --round-robin out"
    )))
}

/// Refuses flags that cannot go together; `every`: every row's score is written.
fn check_words(
    args: &SelectArgs,
    spec: &InfluenceSpec,
    (every, rules): (bool, &Diversity),
    scores: Option<&Path>,
) -> Result<()> {
    let ruled = *rules != Diversity::default();
    if every && ruled {
        bail!(UsageError(
            "--scores-of all lists every row, so it cannot go with rules of the selection".into()
        ));
    }
    if spec.mode != Mode::Exact && (every || ruled) {
        bail!(UsageError(
            "--mode sketch finds the first rows of a plain ranking; rules of the selection and --scores-of all take every score, so leave it out"
                .into()
        ));
    }
    if args.explain && scores.is_none() {
        bail!(UsageError(
            "--explain adds columns to the score file, and there is none; name one with --scores".into()
        ));
    }
    Ok(())
}

/// Where scores go: as asked, else to a file named after that of the rows, else nowhere.
fn scores_path(args: &SelectArgs) -> Option<PathBuf> {
    if args.scores.is_some() || !Place::of(Some(&args.output)).is_file() {
        return args.scores.clone();
    }
    let mut name = args.output.clone().into_os_string();
    name.push(".scores.csv");
    Some(name.into())
}

/// A pool and its samples.
pub struct Pool {
    /// Name of the dataset.
    pub name: String,
    /// Its samples.
    pub samples: SampleReader,
}

/// The pools' samples.
pub fn open_pools(snapshot: &Snapshot, names: &[String]) -> Result<Vec<Pool>> {
    names
        .iter()
        .map(|name| Ok(Pool { name: name.clone(), samples: snapshot.samples(snapshot.dataset(name)?)? }))
        .collect()
}

/// A column of some ranked rows, in their order, whichever pools they are of.
pub fn column(rows: &[Scored], pools: &[Pool], name: &str) -> Result<Vec<ArrayRef>> {
    let mut ordered: Vec<Option<ArrayRef>> = vec![None; rows.len()];
    for (number, pool) in pools.iter().enumerate() {
        let places: Vec<usize> = (0..rows.len()).filter(|i| rows[*i].pool as usize == number).collect();
        if places.is_empty() {
            continue;
        }
        let wanted: Vec<u64> = places.iter().map(|i| rows[*i].row).collect();
        let batch = pool.samples.get(&wanted, &[name])?;
        let Some(values) = batch.column_by_name(name) else {
            bail!("dataset `{}` has no column {name}", pool.name)
        };
        for (i, place) in places.into_iter().enumerate() {
            ordered[place] = Some(values.slice(i, 1));
        }
    }
    Ok(ordered.into_iter().flatten().collect())
}

/// Fails once Ctrl-C was pressed.
fn go_on(cancel: &Cancel) -> Result<()> {
    if cancel.is_raised() { bail!(QueryError::Cancelled) } else { Ok(()) }
}

/// Writes the original lines, each ended by a line break, byte for byte.
fn write_lines(output: &mut Output, rows: &[Scored], pools: &[Pool], cancel: &Cancel) -> Result<()> {
    for chunk in rows.chunks(CHUNK) {
        go_on(cancel)?;
        for (scored, record) in chunk.iter().zip(column(chunk, pools, "record")?) {
            output.write_all(bytes(&record, scored)?)?;
            output.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// Writes the records as a table.
fn write_table(
    output: &mut Output,
    format: Format,
    rows: &[Scored],
    pools: &[Pool],
    cancel: &Cancel,
) -> Result<()> {
    let records = Records::new(pools, rows)?;
    write_batches(output, format, rows, |chunk| {
        go_on(cancel)?;
        records.batch(chunk)
    })
}

fn write_scores(
    output: &mut Output,
    format: Format,
    ranking: &Ranking,
    pools: &[Pool],
    explain: Option<&Explained<'_>>,
    cancel: &Cancel,
) -> Result<()> {
    write_batches(output, format, &ranking.rows, |chunk| {
        go_on(cancel)?;
        score_batch(chunk, ranking, pools, explain)
    })
}

/// Writes the batches of some rows.
fn write_batches(
    output: &mut Output,
    format: Format,
    rows: &[Scored],
    batch: impl Fn(&[Scored]) -> Result<RecordBatch>,
) -> Result<()> {
    let style = TableStyle { width: None, column: None };
    // At least one batch, so that an empty selection still is a file with a header.
    let (first, rest) = rows.split_at(rows.len().min(CHUNK));
    let first = batch(first)?;
    let mut writer = ResultWriter::new(format.into(), &first.schema(), output, style)?;
    writer.write(&first)?;
    for chunk in rest.chunks(CHUNK) {
        writer.write(&batch(chunk)?)?;
    }
    writer.finish()?;
    Ok(())
}

/// `id, row, score, subtask`, and `pool` in front if there are several.
fn score_batch(
    rows: &[Scored],
    ranking: &Ranking,
    pools: &[Pool],
    explain: Option<&Explained<'_>>,
) -> Result<RecordBatch> {
    let ids = column(rows, pools, "id")?;
    let ids: StringArray = ids.iter().map(|id| id.as_string_opt::<i32>().map(|id| id.value(0))).collect();
    let subtask = |scored: &Scored| match scored.subtask {
        NO_SUBTASK => None,
        number => ranking.subtasks.get(number as usize).map(String::as_str),
    };
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    if pools.len() > 1 {
        let names = StringArray::from_iter_values(rows.iter().map(|r| pools[r.pool as usize].name.as_str()));
        columns.push(("pool", Arc::new(names)));
    }
    columns.push(("id", Arc::new(ids)));
    columns.push(("row", Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.row)))));
    columns.push(("score", Arc::new(Float32Array::from_iter_values(rows.iter().map(|r| r.score)))));
    columns.push(("subtask", Arc::new(rows.iter().map(subtask).collect::<StringArray>())));
    if let Some(explain) = explain {
        columns.extend(explain.columns(rows)?);
    }
    // Nothing tells the type of a column without values otherwise.
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )?)
}

/// `passed_over`: candidates that rules of the selection kept out, where there are rules.
fn summarise(
    context: &Context,
    args: &SelectArgs,
    ranking: &Ranking,
    (k, passed_over): (usize, Option<u64>),
    scores: Option<&Path>,
) {
    let live = ranking.live;
    summary::tell(context, &ranking.summary);
    context.say(&format!(
        "{} of {} selected from {} for {}",
        ranking.rows.len(),
        many(live, "row"),
        args.pool.join(", "),
        args.target.join(", ")
    ));
    summary::tell_excluded(context, &ranking.excluded, ("was never a candidate", "were never candidates"));
    summary::tell_in_target(context, ranking.summary.in_target);
    if ranking.rows.len() < k {
        let why = match passed_over {
            // Rows of full sources are not even ranked any more, so the count of what was passed over is not the rest.
            Some(_) if ranking.eligible > ranking.rows.len() as u64 => {
                format!(
                    "the rules of the selection leave {} of the {} that can be ranked",
                    ranking.rows.len(),
                    ranking.eligible
                )
            }
            _ => format!("only {} can be ranked", ranking.eligible),
        };
        context.say(&format!("{} asked for; {why}", many_of(k as u64, "row was", "rows were")));
    }
    if let Some(path) = scores {
        context.say(&format!("scores: {}", path.display()));
    }
}
