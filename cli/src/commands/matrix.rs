//! `gstore matrix`: the score of every pool row with every target sample.

use std::path::Path;

use anyhow::{Result, anyhow};
use gstore_core::{TotalProgress, Unit, many, many_of};
use gstore_query::influence::Prepared;
use gstore_query::matrix::{
    MatrixError, MatrixForecast, MatrixJob, MatrixOptions, MatrixOutput, MatrixReport, products_per_second,
};
use gstore_store::vfs;
use indicatif::HumanBytes;
use serde::Serialize;

use crate::args::MatrixArgs;
use crate::context::Context;
use crate::failure::{UsageError, refuse};
use crate::output::check_outside;
use crate::progress::time;
use crate::question::{question_between, scoring, tell_notes};
use crate::streams::{out, print_json};
use crate::summary;

/// What `--dry-run` says.
#[derive(Serialize)]
struct MatrixPreview {
    #[serde(flatten)]
    forecast: MatrixForecast,
    /// Bytes on disk while it is made.
    disk: u64,
    /// Seconds of computing, if the vectors are in memory.
    seconds: f64,
}

/// Makes the matrix, or says what it would take.
pub fn run(context: &Context, args: &MatrixArgs) -> Result<()> {
    let output = output(&args.output)?;
    check_outside(context, &args.output)?;
    let (snapshot, _lease) = context.state(&context.open()?, &args.state)?;
    let spec = question_between(&args.pool, &args.target, scoring(&args.pairs.0)?);
    let plan = Prepared::new(&snapshot, &spec)?;
    tell_notes(context, plan.notes());
    let options = MatrixOptions {
        memory: args.memory,
        threads: context.threads,
        replace: args.force,
        ..MatrixOptions::default()
    };
    let cancel = context
        .cancel_on_interrupt("stopping; finished parts are kept: run the same command again to continue");
    let job = MatrixJob::new(&plan, options, &cancel)?;
    let forecast = job.forecast();
    if args.dry_run {
        job.check(output).map_err(told)?;
        let disk = forecast.disk(output);
        return preview(context, args, &plan, forecast, disk);
    }
    check_room(&args.output, job.room(output)?)?;
    let mut reporter = context.reporter();
    let (mut kept, mut done) = (0u64, 0u64);
    let mut compared = TotalProgress::new(&mut reporter, "compare", Unit::Rows);
    let made = job.write(
        output,
        &mut |rows, before| {
            if before {
                kept += rows;
                return;
            }
            done += rows;
            compared.at(done, forecast.row_passes().saturating_sub(kept));
        },
        &cancel,
    );
    compared.finish();
    report(context, args, &made.map_err(told)?)
}

/// An error with what the command can do about it.
fn told(error: MatrixError) -> anyhow::Error {
    match error {
        MatrixError::Exists(_) => UsageError(format!("{error}; --force replaces it")).into(),
        error => error.into(),
    }
}

fn output(path: &Path) -> Result<MatrixOutput<'_>> {
    if path == Path::new("-") {
        refuse!("a matrix cannot go to standard output; name a file that ends in .parquet, or a folder");
    }
    if path.file_name().is_none() {
        refuse!("{} is not a name for a file or a folder", path.display());
    }
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Ok(MatrixOutput::Folder(path));
    }
    match path.extension() {
        None => Ok(MatrixOutput::Folder(path)),
        Some(ending) if ending == "parquet" => match path.is_dir() {
            true => refuse!("{} is a folder; name a file", path.display()),
            false => Ok(MatrixOutput::File(path)),
        },
        Some(_) if path.is_dir() => Ok(MatrixOutput::Folder(path)),
        Some(ending) => refuse!(
            "a matrix is not written as .{}: name it {}, or with a slash at the end for a folder",
            ending.display(),
            path.with_extension("parquet").display()
        ),
    }
}

fn check_room(output: &Path, needed: u64) -> Result<()> {
    // The staging folder is next to the target of a symlink.
    let place = fs_err::canonicalize(output).unwrap_or_else(|_| output.to_owned());
    vfs::check_room(&place, needed).map_err(|no_room| {
        anyhow!("{no_room}, or name a place on another disk (--dry-run shows what it takes)")
    })
}

fn preview(
    context: &Context,
    args: &MatrixArgs,
    plan: &Prepared,
    forecast: MatrixForecast,
    disk: u64,
) -> Result<()> {
    let dim = plan.pools().first().and_then(|pool| pool.features.first()).map_or(1, |f| f.desc.dim());
    let samples = usize::try_from(forecast.samples).unwrap_or(usize::MAX);
    let rate = products_per_second(dim as usize, samples, context.threads);
    let seconds = forecast.products as f64 / rate.max(1.0);
    if args.json {
        return print_json(&MatrixPreview { forecast, disk, seconds });
    }
    out!(
        "{} x {}, in {}",
        many(forecast.rows, "row"),
        many(forecast.samples, "target sample"),
        many_of(forecast.passes, "pass", "passes")
    );
    match disk > forecast.bytes {
        true => out!("disk: about {}, and {} while it is made", HumanBytes(forecast.bytes), HumanBytes(disk)),
        false => out!("disk: about {}", HumanBytes(forecast.bytes)),
    }
    out!("memory: at most {} in addition to the mapped store", HumanBytes(forecast.memory));
    out!(
        "time: about {} of computing on {}; {} of vectors are read",
        time(seconds),
        many(context.threads as u64, "thread"),
        HumanBytes(forecast.read)
    );
    Ok(())
}

fn report(context: &Context, args: &MatrixArgs, report: &MatrixReport) -> Result<()> {
    if args.json {
        return print_json(report);
    }
    let path = args.output.display();
    if report.already_there {
        context.say(&format!("nothing to do: {path} has this matrix"));
        return Ok(());
    }
    if report.kept > 0 {
        let verb = if report.kept == 1 { "was" } else { "were" };
        context.say(&format!("{} {verb} there from an earlier run", many(report.kept as u64, "part")));
    }
    context.say(&format!(
        "{} x {} written to {path} ({})",
        many(report.rows, "row"),
        many(report.samples, "target sample"),
        HumanBytes(report.bytes)
    ));
    summary::tell_excluded(context, &report.excluded, ("has no score", "have no score"));
    Ok(())
}
