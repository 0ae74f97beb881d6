//! Errors of questions to a store.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use gstore_core::content::ContentError;
use gstore_core::{Cancelled, Kind, Remedy};
use gstore_curvature::CurvatureError;
use gstore_store::{
    ArtifactError, FeaturePart, IndexError, LookupError, LossError, OpenError, ReadError, Snapshot,
    is_of_damage,
};

/// A side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideOf {
    /// The datasets that are scored.
    Pool,
    /// Those that they are scored for.
    Target,
}

gstore_core::named!(SideOf { Pool = "pool", Target = "target" });

/// How an ingest would have to compute features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToCompute {
    /// A vector for each token.
    pub per_token: bool,
    /// The run at whose checkpoints; empty: not known.
    pub run: String,
}

fn with(dataset: &str, kind: &str, compute: Option<&ToCompute>) -> String {
    compute.map_or_else(String::new, |ToCompute { per_token, run }| {
        format!(" with {}", Remedy::IngestKind { kind, per_token: *per_token, dataset, run })
    })
}

/// What adds vectors of a kind that are missing: an ingest, or an upload where the kind is none that is
/// computed here. Each command is that of a dataset's feature.
fn completion<'a>(kind: &str, commands: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let like = |dataset, command| Remedy::IngestLike { dataset, command }.to_string();
    let mut ways: Vec<String> =
        commands.into_iter().map(|(dataset, command)| like(dataset, command)).collect();
    if ways.is_empty() {
        ways.push(like("", ""));
    }
    match Kind::names_computed(kind) {
        true => format!("{} computes the missing vectors", ways.join(" and ")),
        false => "an upload of the missing vectors is needed (docs/server.md, Uploads)".to_owned(),
    }
}

fn drops(numbers: &[String]) -> String {
    let drops: Vec<String> = numbers.iter().map(|number| Remedy::DropFeature(number).to_string()).collect();
    drops.join(" and ")
}

/// Errors of planning and answering a query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    #[error("{option} cannot be `{given}`: it is one of {allowed}")]
    Option { option: &'static str, given: String, allowed: String },
    /// A part of the question is missing or contradicts another.
    #[error("{0}")]
    Spec(String),
    /// A dataset has no feature of the kind that the question needs.
    #[error("dataset `{dataset}` has no `{kind}` feature{place}; {hint}{}", with(.dataset, .kind, .compute.as_ref()))]
    NoFeature {
        side: SideOf,
        dataset: String,
        kind: String,
        /// `" at checkpoint ..."`, `" of tokens"`, `" of samples"`, or empty.
        place: String,
        hint: String,
        /// How an ingest would have to compute it, where `hint` ends in that.
        compute: Option<ToCompute>,
    },
    #[error(
        "{what} is ambiguous: {candidates}; name those to use, as with `features => '{keep}'`, or remove what is no longer wanted, as with {}",
        drops(.remove)
    )]
    Ambiguous {
        what: String,
        candidates: String,
        /// Numbers of features that leave no choice at any checkpoint if they are named, with commas between.
        keep: String,
        remove: Vec<String>,
    },
    /// Both sides have features, but in different spaces.
    #[error("{pool} and {target} cannot be compared: {difference}")]
    Space { pool: String, target: String, difference: String },
    #[error(
        "feature {label} of dataset `{dataset}` is still being built, or lost rows in a repair; {}, or ask with `partial => true` to use the rows it has",
        completion(.kind, .command.iter().map(|command| (.dataset, command)))
    )]
    Building {
        dataset: String,
        kind: String,
        label: String,
        /// The command that computed what it has, if it is known.
        command: Option<String>,
    },
    /// Rows lack a checkpoint and `missing` is `error`.
    #[error(
        "{rows} of {scanned} rows lack a checkpoint that is used ({detail}); {}, or ask with \
         `missing => 'exclude'` or `missing => 'renormalise'`, or name the checkpoints to use with `checkpoints => 'NAME,...'`",
        completion(.kind, .commands.iter().map(|(dataset, command)| (dataset, command)))
    )]
    Missing {
        rows: u64,
        scanned: u64,
        detail: String,
        kind: String,
        /// Datasets, and the commands that computed what they have, where those are known.
        commands: Vec<(String, String)>,
    },
    #[error(
        "{rows} of {scanned} rows of {dataset} lack the losses of some models; record them, or ask with `missing => 'pairwise'` \
         (each score over the models that have both losses) or `missing => 'drop_model'` (without the models that lack any)"
    )]
    MissingLosses { rows: u64, scanned: u64, dataset: String },
    #[error("target {target} has no row that can be compared: {why}")]
    EmptyTarget { target: String, why: String },
    #[error(
        "the vectors of a sample that is given with the question have to be computed, and no model is available here; ask with {}, \
         or ingest the sample as a dataset",
        Remedy::AskWithModels
    )]
    NoEncoder,
    /// An encoder could not compute the vectors of given samples, or something else that it was asked for.
    #[error("{0}")]
    Encoder(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("stored rows could not be multiplied: {0}; ask on the CPU, or try again")]
    Device(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "the record of {place} cannot be compared with the target's: {source}; delete the row, or ask without `exclude_target` and `in_target`"
    )]
    Content { place: String, source: ContentError },
    /// A number of rows that is not understood.
    #[error("cannot take the top `{given}`: {why} (say `500` or `5%`)")]
    Top { given: String, why: String },
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Losses(#[from] LossError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A preconditioner that cannot be computed from its matrices.
    #[error("preconditioner: {0}{way}", way = way_out(.0))]
    Curvature(#[from] CurvatureError),
    #[error("could not convert a column: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A sketch cannot be made or used.
    #[error("sketch: {0}")]
    Sketch(String),
    /// A graph of neighbours cannot be made or used.
    #[error("graph of neighbours: {0}")]
    Graph(String),
    /// The query was told to stop.
    #[error("stopped before it was finished")]
    Cancelled(#[from] Cancelled),
}

/// What helps where a matrix has no inverse, as the end of its message.
fn way_out(error: &CurvatureError) -> &'static str {
    match error {
        CurvatureError::Singular { zeros, all, .. } if zeros == all => {
            ": all vectors of the fit are 0 there; leave the module out with `modules`"
        }
        CurvatureError::Singular { .. } => ": a larger `damping` is needed",
        _ => "",
    }
}

impl QueryError {
    /// Whether the cause is a damaged file of the store.
    pub fn is_damage(&self) -> bool {
        is_of_damage(self)
    }

    /// An option with a value that is not allowed.
    pub fn option(option: &'static str, given: &str, allowed: &[&str]) -> Self {
        Self::Option { option, given: given.to_owned(), allowed: allowed.join(", ") }
    }

    /// So many rows of those scanned lack features, all of one kind: each with how many of what, in words.
    pub(crate) fn missing<'a>(
        snapshot: &Snapshot,
        (rows, scanned): (u64, u64),
        lacking: impl IntoIterator<Item = (&'a FeaturePart, String)>,
    ) -> Self {
        let (mut detail, mut kind, mut commands) = (Vec::new(), String::new(), Vec::new());
        for (part, lacks) in lacking {
            detail.push(lacks);
            kind.clone_from(&part.desc.kind.name);
            let command = snapshot.command_of(part).map(|command| (part.desc.dataset.clone(), command));
            commands.extend(command.filter(|command| !commands.contains(command)));
        }
        Self::Missing { rows, scanned, detail: detail.join(", "), kind, commands }
    }

    /// None of so many rows of a target can be compared.
    pub(crate) fn empty_target(target: &str, rows: u64, why: &str) -> Self {
        let why = if rows == 0 { "it has none".to_owned() } else { format!("of {rows}, {why}") };
        Self::EmptyTarget { target: target.to_owned(), why }
    }

    pub(crate) fn unknown<'a>(
        what: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let nearest = gstore_store::nearest(name, known.iter().copied()).map(str::to_owned);
        let known = known.into_iter().map(str::to_owned).collect();
        Self::Lookup(LookupError::Unknown { what, name: name.to_owned(), nearest, known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let error = QueryError::unknown("checkpoint", "checkpoint-11", ["checkpoint-112", "checkpoint-56"])
            .to_string();
        assert_eq!(error, "there is no checkpoint \"checkpoint-11\"; did you mean \"checkpoint-112\"?");
    }
}
