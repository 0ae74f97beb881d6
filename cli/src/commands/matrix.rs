//! `gstore matrix`: the score of every pool row with every target sample.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use gstore_ingest::pipeline::{Progress, Unit};
use gstore_query::influence::{InfluencePlan, InfluenceSpec, TargetRef};
use gstore_query::matrix::{
    MatrixForecast, MatrixJob, MatrixOptions, MatrixOutput, MatrixReport, products_per_second,
};
use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

use super::query::checked;
use super::select::pairs;
use crate::args::MatrixArgs;
use crate::context::Context;
use crate::failure::UsageError;
use crate::output::out;
use crate::summary;

/// What `--dry-run` says.
#[derive(Serialize)]
struct Preview {
    #[serde(flatten)]
    forecast: MatrixForecast,
    /// Bytes on disk while it is made.
    disk: u64,
    /// Seconds of computing, if the vectors are in memory.
    seconds: f64,
}

/// Makes the matrix, or says what it would take.
pub fn run(context: &Context, args: &MatrixArgs) -> Result<ExitCode> {
    let single = args.output.extension().is_some_and(|ending| ending == "parquet");
    if args.output.file_name().is_none() {
        bail!(UsageError(format!("{} is no name for a file or a folder", args.output.display())));
    }
    if single && args.output.is_dir() {
        bail!(UsageError(format!("{} is a folder; name a file", args.output.display())));
    }
    let output = if single { MatrixOutput::File(&args.output) } else { MatrixOutput::Folder(&args.output) };
    let store = context.open()?;
    let (snapshot, _lease) = context.snapshot(&store, args.snapshot.as_ref())?;
    let snapshot = checked(snapshot, args.checks);
    let spec = InfluenceSpec {
        pools: args.pool.clone(),
        targets: args.target.iter().map(|target| TargetRef::parse(target)).collect(),
        ..pairs(&args.pairs)?
    };
    let plan = InfluencePlan::new(&snapshot, &spec)?;
    for note in plan.notes() {
        context.say(&format!("note: {note}"));
    }
    let options = MatrixOptions { memory: args.memory, threads: context.threads, ..MatrixOptions::default() };
    let cancel =
        context.cancel_on_interrupt("stopping; finished parts stay, and the same command goes on")?;
    let job = MatrixJob::new(&plan, options, &cancel)?;
    let forecast = job.forecast(context.threads);
    if args.dry_run {
        let disk = forecast.disk(output);
        return preview(context, args, &plan, forecast, disk);
    }
    let mut reporter = context.reporter();
    let (mut kept, mut begun) = (0u64, false);
    let made = job.write(
        output,
        |rows, before| {
            if before {
                kept += rows;
                return;
            }
            if !begun {
                reporter.start("compare", forecast.row_passes().saturating_sub(kept), Unit::Rows);
                begun = true;
            }
            reporter.advance(rows);
        },
        &cancel,
    );
    reporter.finish();
    report(context, args, &made?)?;
    Ok(ExitCode::SUCCESS)
}

fn preview(
    context: &Context,
    args: &MatrixArgs,
    plan: &InfluencePlan,
    forecast: MatrixForecast,
    disk: u64,
) -> Result<ExitCode> {
    let dim = plan.pools().first().and_then(|pool| pool.features.first()).map_or(1, |f| f.desc.dim());
    let samples = usize::try_from(forecast.samples).unwrap_or(usize::MAX);
    let rate = products_per_second(dim as usize, samples, context.threads);
    let seconds = forecast.products as f64 / rate.max(1.0);
    if args.json {
        out!("{}", serde_json::to_string_pretty(&Preview { forecast, disk, seconds })?);
        return Ok(ExitCode::SUCCESS);
    }
    out!("{} rows x {} target samples, in {} passes", forecast.rows, forecast.samples, forecast.passes);
    match disk > forecast.bytes {
        true => out!("disk: about {}, and {} while it is made", HumanBytes(forecast.bytes), HumanBytes(disk)),
        false => out!("disk: about {}", HumanBytes(forecast.bytes)),
    }
    out!("memory: at most {} beside the mapped store", HumanBytes(forecast.memory));
    out!(
        "time: about {} of computing on {} threads; {} of vectors are read",
        HumanDuration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9))),
        context.threads,
        HumanBytes(forecast.read)
    );
    Ok(ExitCode::SUCCESS)
}

fn report(context: &Context, args: &MatrixArgs, report: &MatrixReport) -> Result<()> {
    if args.json {
        out!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    let path = args.output.display();
    if report.complete {
        context.say(&format!("nothing to do: {path} has this matrix"));
        return Ok(());
    }
    if report.kept > 0 {
        context.say(&format!("{} parts were there from an earlier run", report.kept));
    }
    context.say(&format!(
        "{} rows x {} target samples written to {path} ({})",
        report.rows,
        report.samples,
        HumanBytes(report.bytes)
    ));
    summary::tell_excluded(context, &report.excluded, "have no score");
    Ok(())
}
