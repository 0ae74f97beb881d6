//! Influence questions from flags, and the description of how they were resolved.

use anyhow::Result;
use gstore_core::Progress as _;
use gstore_query::influence::{
    Diversity, Each, InfluenceSpec, OptionError, Options, Quota, TargetRef, named_targets,
};
use gstore_store::Snapshot;

use crate::args::RuleArgs;
use crate::context::Context;
use crate::failure::{UsageError, refuse};

/// A question about pools and targets that is like `spec` otherwise.
pub fn question_between(pools: &[String], targets: &[String], spec: InfluenceSpec) -> InfluenceSpec {
    InfluenceSpec { pools: pools.to_vec(), targets: parsed(targets), ..spec }
}

fn parsed(targets: &[String]) -> Vec<TargetRef> {
    targets.iter().map(|target| TargetRef::parse(target)).collect()
}

/// The targets, with the datasets that a pattern matches in its place.
pub fn named(snapshot: &Snapshot, targets: &[String]) -> Result<Vec<String>> {
    Ok(named_targets(snapshot, &parsed(targets))?.iter().map(ToString::to_string).collect())
}

/// Prints what a user should know of a question.
pub fn tell_notes<'a>(context: &Context, notes: impl IntoIterator<Item = &'a String>) {
    let mut reporter = context.reporter();
    notes.into_iter().for_each(|note| reporter.note(note));
}

/// The question that flags ask, of no pool and no target yet.
pub fn scoring(options: &Options) -> Result<InfluenceSpec> {
    let refused = |error: OptionError| UsageError(error.message);
    Ok(InfluenceSpec::from_options(options).map_err(refused)?)
}

/// The rules of a selection that the flags name.
pub fn rules(args: &RuleArgs) -> Result<Diversity> {
    if let Some(limit) = args.distinct.filter(|limit| !(-1.0..=1.0).contains(limit)) {
        refuse!("--distinct {limit}: a cosine lies between -1 and 1");
    }
    let quota = |text: &String| text.parse::<Quota>().map_err(|error| UsageError(error.to_string()));
    Ok(Diversity {
        quota: args.quota.as_ref().map(quota).transpose()?.map(|quota| quota.by(args.quota_by())),
        distinct: args.distinct,
        round_robin: args.round_robin.as_deref().map(in_turn).transpose()?,
    })
}

fn in_turn(word: &str) -> Result<Each> {
    word.parse().map_err(|_| {
        UsageError(format!("--round-robin is one of {}, not `{word}`", Each::WORDS.join(", "))).into()
    })
}
