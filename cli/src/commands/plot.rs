//! `gstore plot`: trainings, scores, sources, overlaps of rankings and tokens as pictures.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use gstore::picture::{
    OverlapRequest, Picture, ScoresRequest, SourcesRequest, TokenValues, TokensRequest, TrainingLog, overlap,
    scores, sources, tokens, training,
};
use gstore::{AnswerError, JobContext, Snapshot};
use gstore_query::influence::{Function, InfluenceSpec, OptionError, Options, Takes};
use serde_json::{Value, json};

use crate::args::{ModelArgs, PlotArgs, PlotOutputArgs, PlotWhat, RankingArgs, ScoringArgs};
use crate::context::Context;
use crate::drawing::{check_file, draw};
use crate::failure::{UsageError, refuse};
use crate::models::encoder;
use crate::output::{check_json, path_text};
use crate::question::{question_between, scoring};
use crate::streams::print_json;

const STOPPING: &str = "stopping; press Ctrl-C again to stop at once";

/// Draws what the flags ask for.
pub fn run(context: &Context, args: &PlotArgs) -> Result<()> {
    let (what, PlotOutputArgs { picture, json }) = args.what.drawn();
    let file = picture.output.as_deref();
    check_file(context, file, picture.force)?;
    if *json {
        check_json([file.unwrap_or(Path::new("-"))])?;
    }
    let drawn = match &args.what {
        PlotWhat::Train { folders, .. } => trainings(folders)?,
        PlotWhat::Scores { ranking, top, .. } => {
            let request = ScoresRequest { spec: spec(ranking)?, top: top.clone() };
            answered(context, ranking, |snapshot, work| scores(snapshot, &request, work))?
        }
        PlotWhat::Sources { ranking, top, column, .. } => {
            let request = SourcesRequest { spec: spec(ranking)?, top: top.clone(), by: column.clone() };
            answered(context, ranking, |snapshot, work| sources(snapshot, &request, work))?
        }
        PlotWhat::Overlap { ranking, other, options, top, .. } => {
            let specs = [spec(ranking)?, second(ranking, other, options)?];
            let request = OverlapRequest { specs, options: options.clone(), top: top.clone() };
            answered(context, ranking, |snapshot, work| overlap(snapshot, &request, work))?
        }
        PlotWhat::Tokens { dataset, id, feature, target, snapshot, scoring, models, .. } => {
            let values = token_values(feature.as_ref(), target, scoring)?;
            let request = TokensRequest { dataset: dataset.clone(), id: id.clone(), values };
            of_sample(context, &request, snapshot.as_ref(), models)?
        }
    };
    draw(picture, &drawn)?;
    if *json {
        print_json(&json!({ "picture": what, "output": file.map(path_text) }))?;
    }
    Ok(())
}

fn trainings(folders: &[PathBuf]) -> Result<Picture> {
    let mut logs: Vec<TrainingLog> = Vec::new();
    for folder in folders {
        let mut log = TrainingLog::read(folder)?;
        // Checkpoints of several runs may have the same name; paths tell them apart.
        if logs.iter().any(|other| other.name == log.name) {
            log.name = folder.display().to_string();
        }
        logs.push(log);
    }
    Ok(training(&logs))
}

fn spec(ranking: &RankingArgs) -> Result<InfluenceSpec> {
    Ok(question_between(&ranking.pool, &ranking.target, scoring(&ranking.scoring.0)?))
}

/// The second ranking: like the first but for its targets and some options.
fn second(ranking: &RankingArgs, other: &[String], changed: &[String]) -> Result<InfluenceSpec> {
    if other.is_empty() && changed.is_empty() {
        refuse!(
            "there is no second ranking: give its targets with --with, or its options with --with-option"
        );
    }
    let mut options = Options::new(Function::Influence);
    for text in changed {
        set(&mut options, text)
            .map_err(|error| UsageError(format!("--with-option {text}: {}", error.message)))?;
    }
    let first = &ranking.scoring.0;
    for option in Function::Influence.options() {
        if let Some(value) = first.value(option.name).filter(|_| !options.has(option.name)) {
            options.set(option.name, value.clone()).map_err(|error| UsageError(error.message))?;
        }
    }
    let targets = if other.is_empty() { &ranking.target } else { other };
    Ok(question_between(&ranking.pool, targets, scoring(&options)?))
}

/// Sets an option that is written as NAME=VALUE.
fn set(options: &mut Options, text: &str) -> Result<(), OptionError> {
    let (name, value) = text.split_once('=').unwrap_or((text, "true"));
    let name = name.replace('-', "_");
    let takes = Function::Influence.options().find(|option| option.name == name).map(|option| option.takes);
    let refused = match name.as_str() {
        "target" => Some("targets of the second ranking are given with `--with`"),
        "pool" => Some("both rankings are of the same pools"),
        other if takes.is_some() && !Function::Question.options().any(|option| option.name == other) => {
            Some("it does not change how rows are scored, and whole rankings are compared")
        }
        _ => None,
    };
    if let Some(message) = refused {
        return Err(OptionError { option: None, message: message.to_owned(), hint: None });
    }
    let value = match takes {
        Some(Takes::Flag) => match value {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            other => {
                return Err(OptionError {
                    option: None,
                    message: format!("`{name}` is true or false, not `{other}`"),
                    hint: None,
                });
            }
        },
        Some(Takes::Texts | Takes::Numbers) => value.split(',').map(Value::from).collect(),
        _ => Value::from(value),
    };
    options.set(&name, value)
}

fn answered(
    context: &Context,
    ranking: &RankingArgs,
    picture: impl FnOnce(&Arc<Snapshot>, &mut JobContext<'_>) -> Result<Picture, AnswerError>,
) -> Result<Picture> {
    let (snapshot, _lease) = context.open_at(ranking.snapshot.as_ref())?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    Ok(picture(&snapshot, &mut context.work(&mut context.reporter(), &cancel))?)
}

fn token_values(feature: Option<&String>, target: &[String], scoring: &ScoringArgs) -> Result<TokenValues> {
    let given = &scoring.0;
    let options: Vec<(&'static str, Value)> = Function::Influence
        .options()
        .filter_map(|option| Some((option.name, given.value(option.name)?.clone())))
        .collect();
    match (target, options.first()) {
        ([], None) => Ok(TokenValues::Feature(feature.cloned())),
        ([], Some((name, _))) => refuse!(
            "--{} requires --target: it says how tokens are scored for a target",
            name.replace('_', "-")
        ),
        (target, _) => Ok(TokenValues::Target(target.to_vec(), options)),
    }
}

fn of_sample(
    context: &Context,
    request: &TokensRequest,
    snapshot: Option<&gstore_store::SnapshotName>,
    models: &ModelArgs,
) -> Result<Picture> {
    let (snapshot, _lease) = context.open_at(snapshot)?;
    let encoder = encoder(context, models)?;
    // Only now, so that one Ctrl-C ends a download.
    let cancel = context.cancel_on_interrupt(STOPPING);
    Ok(tokens(&snapshot, request, Some(encoder), &context.work(&mut context.reporter(), &cancel))?)
}
