//! `gstore select`: the rows of a pool that influence a target most, as the original lines.

mod cascade;
mod each;
mod kept;
#[cfg(feature = "serve")]
mod remote;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use gstore::{AnswerError, JobContext, Models, SelectedRows, SelectionRequest};
use gstore_core::Silent;
use gstore_query::QueryError;
use gstore_query::influence::{Diversity, Each, Encoder, InfluenceSpec, Mode, Order};

use super::folder::{DATASET, NewFolder, place_all, place_each};
use super::rows_file::RowsForm;
use crate::args::{EachSelection, PictureArgs, ScoresOf, SelectArgs};
use crate::context::Context;
use crate::drawing::{begun, check_file, draw};
use crate::ending::format_of_scores;
use crate::failure::{UsageError, condition_error, refuse};
use crate::output::{Create, FinishedOutput, Output, OutputTarget, check_apart, check_json, path_beside};
use crate::question::{question_between, rules, scoring};

use kept::{TargetJournal, TargetProgress};
use told::{SelectionReport, summarise, tell_decided, tell_passed_over};

const STOPPING: &str = "stopping, if nothing is written yet; press Ctrl-C again to stop at once";

/// What the flags ask for, checked before anything is scored.
struct Selection {
    spec: InfluenceSpec,
    rules: Diversity,
    /// Where scores are written.
    scores: Option<PathBuf>,
    /// How the selected rows are written.
    form: RowsForm,
    /// Whether scores of every candidate are written.
    every: bool,
    /// Begins its files.
    create: Create,
}

impl Selection {
    fn new(context: &Context, args: &SelectArgs) -> Result<Self> {
        let spec = question_between(&args.pool, &args.target, scoring(&args.scoring.0)?);
        let scores = scores_path(args);
        let form = RowsForm::of(context, args.output.as_deref(), scores.as_deref(), args.force)?;
        // An estimate is all that there is then.
        if args.json && !args.cascade.estimate {
            let results = [args.output.as_deref(), scores.as_deref(), args.draw.plot.as_deref()];
            check_json(results.into_iter().flatten())?;
        }
        let rules = rules(&args.rules)?;
        check_terms(rules.round_robin, &spec)?;
        let every = args.scores_of == ScoresOf::All && scores.is_some();
        check_words(args, &spec, (every, &rules), scores.as_deref())?;
        cascade::check_flags(context, args, &rules)?;
        let create = Output::creating(&[
            true,
            scores.is_some(),
            args.draw.plot.is_some(),
            args.cascade.report.is_some(),
        ]);
        Ok(Self { spec, rules, scores, form, every, create })
    }
}

/// Makes the selection, or one for each target.
pub fn run(context: &Context, args: &SelectArgs) -> Result<()> {
    match args.each {
        None => single(context, args),
        Some(EachSelection::Target) => {
            each::run(context, each::targets(context, args)?, &models(context, args))
        }
    }
}

/// Makes a selection. Files that a killed run of the same command has left are replaced.
fn single(context: &Context, args: &SelectArgs) -> Result<()> {
    let kept = TargetJournal::of(context, args)?;
    let left = kept.as_ref().map(TargetJournal::found).transpose()?;
    let force = args.force || matches!(left, Some(TargetProgress::Begun));
    one(context, &SelectArgs { force, ..args.clone() }, kept.as_ref(), models(context, args))
}

/// What multiplies stored rows where a GPU does. Nothing is opened yet.
fn models(context: &Context, args: &SelectArgs) -> Arc<dyn Encoder> {
    Models::at(None, Vec::new(), args.cascade.models.backend, context.threads).shared()
}

/// Scores the pool and writes the selection. `kept`: where it is noted what its files are.
fn one(
    context: &Context,
    args: &SelectArgs,
    kept: Option<&TargetJournal>,
    models: Arc<dyn Encoder>,
) -> Result<()> {
    let picture = args.draw.picture(args.force);
    check_picture(context, args, picture.as_ref())?;
    if args.rules.quota_by.is_some() && args.rules.quota.is_none() && picture.is_none() {
        refuse!("--quota-by requires --quota or --plot, whose column it names");
    }
    #[cfg(feature = "serve")]
    if args.server.remote.is_some() {
        return remote::run(context, args, kept);
    }
    let store = context.open()?;
    let Selection { spec, rules, scores, form, every, create } = Selection::new(context, args)?;
    let Some((spec, report)) = cascade::computed(context, args, (&store, kept), spec)? else {
        return Ok(());
    };
    let (snapshot, _lease) = context.state(&store, &args.state)?;
    let order = if args.worst { Order::Worst } else { Order::Best };
    let request = SelectionRequest {
        spec,
        top: args.top.clone(),
        of: args.of.clone(),
        order,
        rules,
        condition: args.filter.clone(),
        rank_all: every,
        with_scores: args.with_scores,
        models: Some(models),
    };
    let cancel = context.cancel_on_interrupt(STOPPING);
    let found = gstore::select(&snapshot, &request, &mut context.work(&mut context.reporter(), &cancel));
    let found = found.map_err(|error| match error {
        AnswerError::Condition(error) => condition_error(error),
        error => error.into(),
    })?;
    tell_passed_over(context, args, found.passed_over);
    // Where targets take rows in turn, or their samples do, each has its share already.
    let decided = match request.rules.round_robin {
        None => found.decided_by()?,
        Some(_) => None,
    };
    tell_decided(context, found.rows().len(), decided);

    let mut outputs: Vec<Output> = report.into_iter().collect();
    let mut reporter = context.reporter();
    if let Some(path) = &scores {
        let mut output = create(Some(path), args.force)?;
        let mut silent = Silent;
        let work = &mut reporting(context.work(&mut reporter, &cancel), path, &mut silent);
        found.write_scores(&mut output, format_of_scores(path)?, args.explain, work)?;
        outputs.push(output);
    }
    let mut silent = Silent;
    let work = &mut reporting(context.work(&mut reporter, &cancel), output(args)?, &mut silent);
    let (folder, rows) = write_rows(&found, args, (form, create), work)?;
    // One for the terminal comes after the rows.
    let mut shown = None;
    if let Some(picture) = &picture {
        let drawn = found.picture(args.rules.quota_by(), &mut context.work(&mut reporter, &cancel))?;
        match drawn.as_ref().map(|drawn| begun(picture, drawn)).transpose()?.flatten() {
            Some(file) => outputs.push(file),
            None => shown = drawn.map(|drawn| (picture, drawn)),
        }
    }
    cancel.check().map_err(QueryError::from)?;
    // Nothing beside the rows is missing once they are there.
    outputs.extend(rows);
    place(kept, (folder, outputs), None)?;
    if let Some((picture, drawn)) = shown {
        draw(picture, &drawn)?;
    }
    summarise(context, args, &SelectionReport::of(&found, decided), scores.as_deref())
}

/// The same job, silent where its rows go to the terminal or a pipe: those that appear need no report.
fn reporting<'a>(work: JobContext<'a>, path: &Path, silent: &'a mut Silent) -> JobContext<'a> {
    match OutputTarget::of(Some(path)).is_file() {
        true => work,
        false => JobContext { progress: silent, ..work },
    }
}

/// Writes the selected rows to a folder or a file, neither of which appears yet.
fn write_rows(
    found: &SelectedRows,
    args: &SelectArgs,
    (form, create): (RowsForm, Create),
    work: &mut JobContext<'_>,
) -> Result<(Option<NewFolder>, Option<Output>)> {
    let path = output(args)?;
    if form == RowsForm::Folder {
        let folder = NewFolder::begin(path, DATASET, args.force)?;
        found.write_dataset(folder.path(), work)?;
        return Ok((Some(folder), None));
    }
    let mut rows = create(Some(path), args.force)?;
    match form {
        RowsForm::Table(format) => found.write_table(&mut rows, format, work)?,
        _ => found.write_lines(&mut rows, work)?,
    }
    Ok((None, Some(rows)))
}

/// Lets the files of a selection appear; before that it is noted what they will be, so that what a kill
/// leaves of them is known to be of this command. `refused`: why there is no selection.
fn place(
    kept: Option<&TargetJournal>,
    (folder, outputs): (Option<NewFolder>, Vec<Output>),
    refused: Option<&str>,
) -> Result<()> {
    let sealed = outputs.into_iter().map(Output::seal).collect::<Result<Vec<FinishedOutput>>>()?;
    let Some(kept) = kept else { return place_all(folder, sealed) };
    let may = |target: &Path| kept.may_replace(target);
    let folder = folder.map(|folder| folder.replacing(may));
    let files = sealed.into_iter().filter(|file| file.places().is_some());
    let files: Vec<FinishedOutput> = files.map(|file| file.replacing(may)).collect();
    let made = folder.iter().map(|folder| (folder.path(), folder.target()));
    // Without a note the same command asks for --force after a kill; without its files all was in vain.
    let _ = kept.begin(made.chain(files.iter().filter_map(FinishedOutput::places)), refused);
    kept.placed(place_each(folder, files))
}

/// Refuses a picture that cannot be drawn before the scan.
fn check_picture(context: &Context, args: &SelectArgs, picture: Option<&PictureArgs>) -> Result<()> {
    let Some(picture) = picture else { return Ok(()) };
    #[cfg(feature = "serve")]
    if args.server.remote.is_some() {
        refuse!("--plot works only with a local store, not with --remote");
    }
    let path = picture.output.as_deref();
    let (scores, report) = (scores_path(args), args.cascade.report.as_deref());
    check_apart([args.output.as_deref(), scores.as_deref(), report, path].into_iter().flatten())?;
    check_file(context, path, picture.force)
}

fn output(args: &SelectArgs) -> Result<&Path> {
    let named = args.output.as_deref();
    named.ok_or_else(|| UsageError("the selected rows need a file: name one with --output".to_owned()).into())
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
    refuse!(
        "{unused} combines samples or subtasks, and --round-robin ranks for each of them separately; leave one of the two out"
    )
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
        refuse!("--scores-of all lists every row, so it cannot go with rules of the selection");
    }
    if spec.mode != Mode::Exact && (every || ruled) {
        refuse!(
            "--mode sketch finds the first rows of a plain ranking; rules of the selection and --scores-of all take every score, so leave it out"
        );
    }
    if spec.covariance.is_some() && (ruled || args.explain) {
        refuse!(
            "--method daunce compares losses, and rules of the selection and --explain are about vectors; leave them out (every score has its \
             error in the score file)"
        );
    }
    if args.explain && scores.is_none() {
        refuse!("--explain adds columns to the score file, and there is none; name one with --scores");
    }
    Ok(())
}

/// Where scores go: as asked, else to a file named after that of the rows, else nowhere.
fn scores_path(args: &SelectArgs) -> Option<PathBuf> {
    let output = args.output.as_deref().filter(|output| OutputTarget::of(Some(output)).is_file());
    let (None, Some(output)) = (&args.scores, output) else { return args.scores.clone() };
    Some(path_beside(output, ".scores.csv"))
}
