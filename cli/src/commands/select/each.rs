//! A selection for each target: the same flags, with files of its own.

use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::Arc;

use anyhow::{Result, bail};
use gstore_core::many_of;
use gstore_query::influence::{Encoder, TargetRef, check_targets, names_for};
use serde_json::Value;

use super::kept::{TargetJournal, TargetNote, TargetProgress};
use super::{Selection, scores_path};
use crate::args::{CascadeArgs, DrawArgs, ScoringArgs, SelectArgs};
use crate::context::Context;
use crate::failure::{NothingSaved, is_refused, refuse, text};
use crate::output::OutputTarget;
use crate::question;

/// What stands for the target's name in that of a file.
const PLACE: &str = "{target}";

pub(super) fn targets(context: &Context, args: &SelectArgs) -> Result<Vec<SelectArgs>> {
    // An estimate may do without: there are no rows then.
    if args.output.as_deref().is_some_and(|output| !OutputTarget::of(Some(output)).is_file()) {
        refuse!("--each target writes a file for each target: name them with --output");
    }
    let (names, scorings) = scored(context, args)?;
    let one = |(target, scoring): (&String, ScoringArgs)| {
        let scores = args.scores.as_deref().map(|path| named(path, target));
        let report = args.cascade.report.as_deref().map(|path| named(path, target));
        let cascade = CascadeArgs { report, ..args.cascade.clone() };
        let output = args.output.as_deref().map(|path| named(path, target));
        let plot = args.draw.plot.as_deref().map(|path| match OutputTarget::of(Some(path)).is_file() {
            true => named(path, target),
            false => path.to_owned(),
        });
        let (target, draw) = (vec![target.clone()], DrawArgs { plot });
        SelectArgs { target, output, scores, draw, cascade, scoring, ..args.clone() }
    };
    let all: Vec<SelectArgs> = names.iter().zip(scorings).map(one).collect();
    let mut others: Vec<PathBuf> = Vec::new();
    for args in &all {
        let own = files(args);
        if let Some(file) = own.iter().find(|file| others.contains(file)) {
            refuse!("two targets would be written to {}", file.display());
        }
        others.extend(own);
    }
    Ok(all)
}

/// What a selection writes to, but for standard output and pipes.
fn files(args: &SelectArgs) -> Vec<PathBuf> {
    let SelectArgs { output, draw, cascade, .. } = args;
    let named = [output, &draw.plot, &cascade.report].into_iter().flatten().cloned();
    named.chain(scores_path(args)).filter(|path| OutputTarget::of(Some(path)).is_file()).collect()
}

/// The targets, and how each is scored: features that are named of other targets are for these.
fn scored(context: &Context, args: &SelectArgs) -> Result<(Vec<String>, Vec<ScoringArgs>)> {
    let is_pattern = args.target.iter().any(|target| TargetRef::parse(target).is_pattern());
    let as_given = |names: Vec<String>| {
        let scorings = vec![args.scoring.clone(); names.len()];
        Ok((names, scorings))
    };
    let features = question::scoring(&args.scoring.0)?.features;
    // Whose the features are, only the server knows.
    #[cfg(feature = "serve")]
    if args.server.remote.is_some() {
        if is_pattern {
            refuse!(
                "--each target makes a file for each target, and only the server knows which targets match a pattern: name them"
            );
        }
        return as_given(args.target.clone());
    }
    let is_same = |names: &[String]| features.is_empty() || names.len() < 2;
    if !is_pattern && is_same(&args.target) {
        return as_given(args.target.clone());
    }
    let (snapshot, _lease) = context.open_at(args.state.snapshot.as_ref())?;
    let names = if is_pattern { question::named(&snapshot, &args.target)? } else { args.target.clone() };
    if is_same(&names) {
        return as_given(names);
    }
    let datasets: Vec<String> = names.iter().map(|target| TargetRef::parse(target).dataset).collect();
    let of = |dataset: &String| {
        let own = [args.pool.as_slice(), from_ref(dataset)].concat();
        let features = names_for(&snapshot, &features, &own, &datasets);
        let value = if features.is_empty() { Value::Null } else { Value::from(features) };
        ScoringArgs(args.scoring.0.clone().with("features", value))
    };
    Ok((names, datasets.iter().map(of).collect()))
}

/// A target's selection, and what an earlier run of the command left of it.
struct TargetSelection {
    args: SelectArgs,
    kept: Option<TargetJournal>,
    made: Option<TargetNote>,
}

impl TargetSelection {
    /// Refuses what the selection of the target is refused for before anything is scored.
    fn new(context: &Context, (mut args, kept): (SelectArgs, Option<TargetJournal>)) -> Result<Self> {
        let found = kept.as_ref().map_or(Ok(TargetProgress::Nothing), TargetJournal::found)?;
        let made = match found {
            TargetProgress::Nothing => None,
            // An estimate is printed of every target, and its sample is there.
            TargetProgress::Made(note) if !args.cascade.estimate => Some(note),
            TargetProgress::Made(_) | TargetProgress::Begun => {
                args.force = true;
                None
            }
        };
        if made.is_none() {
            Selection::new(context, &args)?;
            super::check_picture(context, &args, args.draw.picture(args.force).as_ref())?;
        }
        Ok(Self { args, kept, made })
    }

    fn target(&self) -> String {
        self.args.target.join(", ")
    }

    /// Makes the selection, unless it is there; returns why it is refused, if it is. `shared` is that of all
    /// targets.
    fn run(&self, context: &Context, shared: &Arc<dyn Encoder>) -> Result<Option<String>> {
        if let Some(made) = &self.made {
            let how = if made.refused.is_some() { "refused" } else { "selected" };
            context.say(&format!("{}: {how} before; continuing with the other targets", self.target()));
            return Ok(made.refused.clone());
        }
        let models = match self.args.cascade.cascade {
            None => Arc::clone(shared),
            // The rows of other targets would stay on a GPU while gradients are computed there.
            Some(_) => super::models(context, &self.args),
        };
        match super::one(context, &self.args, self.kept.as_ref(), models) {
            Ok(()) => Ok(None),
            Err(error) if is_refused(&error) => {
                context.say(&format!("{}: refused; continuing with the other targets", self.target()));
                let why = error.to_string();
                if let Some(kept) = &self.kept {
                    // Without a note the same command makes it again; the other targets do not need it.
                    let _ = kept.refused(&why);
                }
                Ok(Some(why))
            }
            Err(error) => Err(error),
        }
    }
}

/// Makes the selections, one after another. A target that is refused does not hold up the others, and one
/// that an unfinished run of the same command has made is not made again.
pub(super) fn run(context: &Context, all: Vec<SelectArgs>, models: &Arc<dyn Encoder>) -> Result<()> {
    // Before the first is scored, as for a single one.
    let kept = TargetJournal::of_each(context, &all)?;
    let turn = |of| TargetSelection::new(context, of);
    let turns = all.into_iter().zip(kept).map(turn).collect::<Result<Vec<TargetSelection>>>()?;
    check_rows(context, &turns)?;
    let mut refused = Vec::new();
    for turn in &turns {
        if let Some(why) = turn.run(context, models)? {
            refused.push(format!("{}: {why}", turn.target()));
        }
    }
    let kept: Vec<&TargetJournal> = turns.iter().filter_map(|turn| turn.kept.as_ref()).collect();
    ended(refused, turns.len(), TargetJournal::remove_all(&kept))
}

/// How the command ends: why selections were refused, which notes that stay do not hide.
fn ended(mut refused: Vec<String>, of: usize, removed: Result<()>) -> Result<()> {
    if refused.is_empty() {
        return removed;
    }
    let count = many_of(refused.len() as u64, "selection was", "selections were");
    refused.extend(removed.err().map(|error| text(&error)));
    bail!(NothingSaved(format!("{count} refused, of {of}\n{}", refused.join("\n"))))
}

/// Refuses a target of which no row is left, unless its selection is there. What a server has, it says in the
/// target's turn.
fn check_rows(context: &Context, turns: &[TargetSelection]) -> Result<()> {
    let mut open = turns.iter().filter(|turn| turn.made.is_none()).peekable();
    let Some(first) = open.peek() else { return Ok(()) };
    #[cfg(feature = "serve")]
    if first.args.server.remote.is_some() {
        return Ok(());
    }
    let (snapshot, _lease) = context.open_at(first.args.state.snapshot.as_ref())?;
    let targets: Vec<TargetRef> = open.map(|turn| TargetRef::parse(&turn.target())).collect();
    Ok(check_targets(&snapshot, &targets)?)
}

/// The name of a target's file: the target's name in its place, or before the ending.
fn named(path: &Path, target: &str) -> PathBuf {
    let target: String =
        target.chars().map(|c| if c.is_alphanumeric() || "_.-".contains(c) { c } else { '-' }).collect();
    let text = path.to_string_lossy();
    if text.contains(PLACE) {
        return PathBuf::from(text.replace(PLACE, &target));
    }
    if let Some(folder) = text.strip_suffix('/') {
        return PathBuf::from(format!("{folder}.{target}/"));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let packed = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    // Behind a dot it would be an ending, and one that says no format.
    let (stem, sign) = packed.rsplit_once('.').map_or((packed, '-'), |(stem, _)| (stem, '.'));
    path.with_file_name(format!("{stem}{sign}{target}{}", &name[stem.len()..]))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn notes_that_stay_hide_no_refusal() {
        let stays = || Err(anyhow!("best.q.jsonl.selecting is in the way"));
        let refused = ended(vec!["q: it saves nothing".to_owned()], 2, stays()).expect_err("refused");
        assert!(is_refused(&refused));
        assert_eq!(
            refused.to_string(),
            "1 selection was refused, of 2\nq: it saves nothing\nbest.q.jsonl.selecting is in the way"
        );
        assert!(ended(Vec::new(), 2, stays()).is_err_and(|error| !is_refused(&error)));
        ended(Vec::new(), 2, Ok(())).expect("ended");
    }

    #[test]
    fn a_target_stands_before_the_ending_or_in_its_place() {
        for (path, want) in [
            ("out/best.jsonl", "out/best.gsm8k.jsonl"),
            ("best.v2.jsonl.gz", "best.v2.gsm8k.jsonl.gz"),
            ("best", "best-gsm8k"),
            ("out/{target}/rows.csv", "out/gsm8k/rows.csv"),
            ("saved/", "saved.gsm8k/"),
        ] {
            assert_eq!(named(Path::new(path), "gsm8k").as_os_str(), want);
        }
        assert_eq!(named(Path::new("a.jsonl"), "bbh:dates/x"), Path::new("a.bbh-dates-x.jsonl"));
    }
}
