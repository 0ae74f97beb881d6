//! `gstore factors`: fits of curvature, and their files.

mod fit;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use gstore::factors::{
    FactorJobError, FactorNote, ModuleSpectrum, SpectraRequest, difference_table, export_factors,
    factor_differences, factor_spectra, import_factors, kept_notes, kept_shares, kept_table, list_factors,
    spectrum_files, spectrum_table,
};
use gstore::{Folders, GramReport, GramRequest, GramShare, MixRequest, fit_gram, mix_grams};
use gstore_core::{many, many_of};
use gstore_ingest::gradient::ModuleSelection;
use gstore_ingest::pipeline::{CheckpointArg, IngestRequest};
use indicatif::HumanBytes;

use super::folder::{FACTORS, NewFolder, place_all};
use super::gradients::devices;
use crate::args::{
    EngineArgs, FactorsArgs, FactorsExportArgs, FactorsGramArgs, FactorsImportArgs, FactorsInspectArgs,
    FactorsModelArgs, FactorsWhat, ListOfStateArgs, MixPart,
};
use crate::context::Context;
use crate::failure::refuse;
use crate::models::folders_of;
use crate::output::{FinishedOutput, Output, check_outside, exists, parent};
use crate::statements;
use crate::streams::{print_json, unless_closed};
use crate::texts;

const STOPPING: &str = "stopping after the current batches; press Ctrl-C again to stop at once";

/// Runs the command.
pub fn run(context: &Context, args: &FactorsArgs) -> Result<()> {
    match &args.what {
        FactorsWhat::Fit(args) => fit::fit(context, args),
        FactorsWhat::Gram(args) => gram(context, args),
        FactorsWhat::Inspect(args) => inspect(context, args),
        FactorsWhat::List(args) => list(context, args),
        FactorsWhat::Export(args) => export(context, args),
        FactorsWhat::Import(args) => import(context, args),
    }
}

/// The number of rows without a scored token, if there are any.
pub(super) fn unscored_note(rows: Option<u64>) -> String {
    match rows {
        None | Some(0) => String::new(),
        Some(n) => format!("; {} no scored token", many_of(n, "row has", "rows have")),
    }
}

/// Folders of a model and its checkpoint, if one is named.
pub(super) fn place(
    folders: &mut Folders<'_>,
    args: &FactorsModelArgs,
) -> Result<Option<(PathBuf, Vec<CheckpointArg>)>> {
    let Some(model) = &args.model else { return Ok(None) };
    let checkpoint: Vec<String> = args.checkpoint.iter().cloned().collect();
    Ok(Some(folders_of(folders, model, ("--checkpoint", &checkpoint))?))
}

/// A request with the modules, devices and memory of the flags; values without a flag stay as they are.
pub(super) fn with_engine(request: IngestRequest, args: &EngineArgs) -> Result<IngestRequest> {
    let (device, beside) = devices(&args.devices)?;
    let modules = match args.modules.is_empty() {
        true => request.modules.clone(),
        false => ModuleSelection { patterns: args.modules.clone(), biases: false },
    };
    Ok(IngestRequest {
        modules,
        batch_tokens: args.batch_tokens.unwrap_or(IngestRequest::BATCH_TOKENS) as usize,
        device,
        beside,
        compute: args.compute.unwrap_or(request.compute),
        max_memory: args.max_memory,
        ..request
    })
}

fn gram(context: &Context, args: &FactorsGramArgs) -> Result<()> {
    let mix = mixture(args)?;
    let request = GramRequest {
        name: args.name.clone(),
        datasets: args.dataset.clone(),
        kind: args.kind.clone(),
        run: args.run.clone(),
        checkpoints: (!args.checkpoints.is_empty()).then(|| args.checkpoints.clone()),
        features: args.features.clone(),
        partial: args.partial,
        replace: args.force,
        extend: args.extend,
    };
    let store = context.open()?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut reporter = context.reporter();
    let work = &mut context.work(&mut reporter, &cancel);
    let report = match &mix {
        Some(mix) => mix_grams(&store, mix, work)?,
        None => fit_gram(&store, &request, work)?,
    };
    if args.json {
        print_json(&report)?;
    }
    context.say(&told_gram(&report));
    Ok(())
}

fn mixture(args: &FactorsGramArgs) -> Result<Option<MixRequest>> {
    let (pool, queries) = match &args.mix[..] {
        // clap drops a requirement that conflicts with another option which is given.
        [] if args.share.is_some() => refuse!("--share requires --mix"),
        [] if args.components.is_some() => refuse!("--components requires --mix"),
        [] => return Ok(None),
        [pool, queries] => (pool.clone(), queries.clone()),
        other => refuse!(
            "--mix takes two names, the matrices of the training rows and those of the queries, not {}",
            other.len()
        ),
    };
    let share = match args.share.unwrap_or(MixPart::Auto) {
        MixPart::Auto => GramShare::Balanced(args.components),
        MixPart::Is(_) if args.components.is_some() => refuse!(
            "--components is used only by --share auto, which balances both sides at that eigenvalue: leave it out"
        ),
        MixPart::Is(part) => GramShare::Fixed(part),
    };
    Ok(Some(MixRequest { name: args.name.clone(), pool, queries, share, replace: args.force }))
}

fn told_gram(report: &GramReport) -> String {
    let GramReport { name, snapshot, kind, checkpoints, bytes, changed, .. } = report;
    if !changed {
        return format!("gram {name}: there are no new rows to add");
    }
    let shares: Vec<String> = checkpoints.iter().filter_map(|at| Some(format!("{:.3}", at.share?))).collect();
    if !shares.is_empty() {
        let size = HumanBytes(*bytes);
        return format!(
            "snapshot {snapshot}: gram {name} of {kind}, mixed with {} of the queries ({size})",
            shares.join(", ")
        );
    }
    let added: u64 = checkpoints.iter().map(|at| at.added).sum();
    format!(
        "snapshot {snapshot}: gram {name} of {kind} at {}, {} more ({})",
        many(checkpoints.len() as u64, "checkpoint"),
        many(added, "vector"),
        HumanBytes(*bytes)
    )
}

fn inspect(context: &Context, args: &FactorsInspectArgs) -> Result<()> {
    statements::check_place(context, &args.output)?;
    if let Some(folder) = &args.plots {
        check_outside(context, folder)?;
    }
    let (snapshot, _lease) = context.open_at(args.snapshot.as_ref())?;
    if let Some(dataset) = &args.dataset {
        let cancel = context.cancel_on_interrupt(STOPPING);
        let (of, meant) = ((args.name.as_str(), dataset.as_str()), (args.layer, args.modules.as_slice()));
        let shares = kept_shares(&snapshot, of, meant, &cancel)?;
        for note in kept_notes(&shares) {
            context.say(&format!("note: {dataset}: {note}"));
        }
        return statements::write(context, &args.output, kept_table(&shares)?);
    }
    let request = SpectraRequest {
        name: args.name.clone(),
        layer: args.layer,
        modules: args.modules.clone(),
        strategy: args.strategy,
        damping: args.damping,
        against: args.against.clone(),
    };
    let spectra = factor_spectra(&snapshot, &request)?;
    let plots = args.plots.as_deref().map(|folder| draw(&spectra, folder, args)).transpose()?;
    let table = match request.against.is_empty() {
        true => spectrum_table(&spectra)?,
        false => difference_table(&spectra, &factor_differences(&snapshot, &request, &spectra)?)?,
    };
    // Before a picture appears.
    unless_closed(statements::write(context, &args.output, table))?;
    place_all(None, plots.into_iter().flatten())
}

/// Draws the pictures of spectra, none of which appears in the folder yet.
fn draw(spectra: &[ModuleSpectrum], folder: &Path, args: &FactorsInspectArgs) -> Result<Vec<FinishedOutput>> {
    let force = args.output.force;
    let files = spectrum_files(spectra, args.clip)?;
    let there = files.iter().map(|(name, _)| folder.join(name)).find(|path| path.exists());
    if let Some(path) = there.filter(|_| !force) {
        refuse!("{}", exists(&path));
    }
    let sealed = |(name, bytes): (PathBuf, Vec<u8>)| {
        let path = folder.join(name);
        fs_err::create_dir_all(parent(&path))?;
        let mut file = Output::create(Some(&path), force)?;
        file.write_all(&bytes)?;
        file.seal()
    };
    files.into_iter().map(sealed).collect()
}

fn list(context: &Context, args: &ListOfStateArgs) -> Result<()> {
    let (snapshot, _lease) = context.open_at(args.snapshot.as_ref())?;
    let (notes, grams) = list_factors(&snapshot)?;
    let text = |of: &dyn Fn(&FactorNote) -> Option<String>| -> ArrayRef {
        Arc::new(notes.iter().map(of).collect::<StringArray>())
    };
    let number = |of: &dyn Fn(&FactorNote) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(notes.iter().map(of)))
    };
    let samples: ArrayRef = Arc::new(notes.iter().map(|note| note.samples).collect::<UInt64Array>());
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("name", text(&|note| Some(note.name.clone())), false),
        ("strategy", text(&|note| Some(note.strategy.clone())), false),
        ("modules", number(&|note| note.modules as u64), false),
        ("dataset", text(&|note| note.dataset.clone()), true),
        ("samples", samples, true),
        ("checkpoint", text(&|note| Some(note.checkpoint.chars().take(8).collect())), false),
        ("averaged", number(&|note| note.averaged as u64), false),
        ("bytes", number(&|note| note.bytes), false),
    ])?;
    statements::write(context, &args.output.to, batch)?;
    if grams > 0 {
        let words = many_of(grams, "Gram matrix of stored vectors is", "Gram matrices of stored vectors are");
        context.say(&format!("note: {words} in the store too: SELECT * FROM gstore.artifacts lists all"));
    }
    Ok(())
}

fn export(context: &Context, args: &FactorsExportArgs) -> Result<()> {
    check_outside(context, &args.folder)?;
    let (snapshot, _lease) = context.open_at(args.snapshot.as_ref())?;
    let cancel = context.cancel_on_interrupt("stopping; nothing was exported");
    let folder = NewFolder::begin(&args.folder, FACTORS, args.force)?;
    let content = export_factors(&snapshot, &args.name, folder.path(), &cancel)?;
    cancel.check().map_err(FactorJobError::from)?;
    folder.finish()?;
    let modules = many(content.stamp.modules.len() as u64, "module");
    context.say(&format!("factors {} of {modules} written to {}", args.name, args.folder.display()));
    Ok(())
}

fn import(context: &Context, args: &FactorsImportArgs) -> Result<()> {
    let mut reporter = context.reporter();
    let of = import_request(context, &mut Folders::new(&mut reporter, false), args)?;
    let store = context.open()?;
    let cancel = context.cancel_on_interrupt("stopping; nothing was imported");
    let mut work = context.work(&mut reporter, &cancel);
    let from = (args.folder.as_path(), args.name.as_str());
    let (snapshot, stamp) = import_factors(&store, from, of.as_ref(), args.force, &mut work)?;
    let (number, modules) = (snapshot.number(), many(stamp.modules.len() as u64, "module"));
    context
        .say(&format!("snapshot {number}: factors {} ({}): {modules} imported", args.name, stamp.strategy));
    Ok(())
}

/// What factors belong to, as far as the flags say.
fn import_request(
    context: &Context,
    folders: &mut Folders<'_>,
    args: &FactorsImportArgs,
) -> Result<Option<IngestRequest>> {
    let flags = &args.text.text;
    if args.text.is_given() && args.dataset.is_none() {
        refuse!(
            "--template, --system, --tokenizer, --max-length and --block say how the rows of --dataset became tokens: give --dataset, or leave them out"
        );
    }
    let Some((model, checkpoints)) = place(folders, &args.model)? else { return Ok(None) };
    let request = IngestRequest { checkpoints, ..IngestRequest::new("", model) };
    let Some(dataset) = &args.dataset else { return Ok(Some(request)) };
    let text = texts::within_positions(&request.model, flags, texts::options(folders, flags)?)?;
    texts::tell_cut(context, flags, (&request.model, &text))?;
    Ok(Some(IngestRequest { dataset: dataset.clone(), limit: args.limit, text, ..request }))
}
