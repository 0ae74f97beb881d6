//! `gstore index`: builds sketches and graphs, and lists indexes.

mod graphs;
mod planes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use gstore::indexes::sketch;
use gstore_core::{Progress, Remedy, Unit, many};
use gstore_query::IndexStatus;
use gstore_query::QueryError;
use gstore_query::ann::{self, Evaluation};
use gstore_query::evaluate::PlanesEvaluation;
use gstore_query::sketch::{KIND, Planes, RebuildScope, SketchOptions, check, found, kept};
use gstore_store::{FeaturePart, Snapshot};
use indicatif::HumanBytes;
use serde::Serialize;

use crate::args::IndexArgs;
use crate::context::Context;
use crate::failure::refuse;
use crate::streams::{out, print_json};

/// Coordinates of vectors of which a whole dataset's sketches are made, at least: of fewer, a sketch's record
/// of each row (12 bytes) and factors of its codes are no smaller than the vector.
const LEAST_DIM: u32 = 16;

/// What is known of the indexes of a feature, and what a command did to them.
#[derive(Serialize, Default)]
struct FeatureIndexes {
    feature: String,
    segments: usize,
    /// Segments that have a sketch.
    sketched: usize,
    /// Segments whose sketch is damaged, or of another state of the segment: it is not used.
    unusable: usize,
    sketch_bytes: u64,
    /// The planes of codes that all of them keep.
    planes: Vec<&'static str>,
    /// Vectors that were coded by this command.
    coded: u64,
    /// Segments that have a graph of neighbours.
    graphed: usize,
    /// Segments whose graph is damaged, or of another state of the segment: it is not used.
    unusable_graphs: usize,
    graph_bytes: u64,
    /// Vectors that were linked by this command.
    linked: u64,
    /// Vectors that the graphs leave out, where they were made or found now: without a scored
    /// token, not finite, or zero.
    left_out: u64,
    /// What graphs find, where that was asked for.
    evaluation: Option<Evaluation>,
    /// What planes of the sketch take and save, likewise.
    planes_evaluation: Option<PlanesEvaluation>,
    /// Why the index that was asked for was not made or evaluated.
    refused: Option<String>,
}

/// Asks about rows of a feature, with progress: `ask` tells how many have been asked about.
fn asking<T>(
    context: &Context,
    args: &IndexArgs,
    (snapshot, part): (&Snapshot, &FeaturePart),
    name: &str,
    ask: impl FnOnce(&mut dyn FnMut(usize)) -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    let mut reporter = context.reporter();
    let rows = snapshot.open_feature(part)?.row_set()?.len();
    reporter.start(name, rows.min(args.queries as u64), Unit::Rows);
    let mut seen = 0;
    let found = ask(&mut |done| {
        reporter.advance((done - seen) as u64);
        seen = done;
    });
    reporter.finish();
    found
}

/// Makes indexes, or lists them.
pub fn run(context: &Context, args: &IndexArgs) -> Result<()> {
    let store = context.open()?;
    let (snapshot, _lease) = context.snapshot(&store, None)?;
    let features = chosen(&snapshot, args)?;
    let mut lines = Vec::new();
    if args.sketch {
        let named = !args.features.is_empty();
        let cancel = context.cancel_on_interrupt(match args.rebuild {
            true => "stopping; finished sketches are kept; the same command without --rebuild builds the missing ones",
            false => "stopping; finished sketches are kept: run the same command again to continue",
        });
        for part in &features {
            let reader = snapshot.open_feature(part)?;
            let refused = match check(&reader) {
                Err(QueryError::Sketch(why)) if !named => Some(why),
                other => {
                    other.map(|()| too_small_for_sketch(part).filter(|_| !named && args.kinds.is_empty()))?
                }
            };
            let coded = match refused {
                None => {
                    let again = if args.rebuild { RebuildScope::All } else { RebuildScope::Other };
                    let options = SketchOptions { planes: args.kept.planes, again, ..Default::default() };
                    sketch(&store, &reader, &options, &mut context.work(&mut context.reporter(), &cancel))?
                }
                Some(_) => 0,
            };
            lines.push(line(
                &snapshot,
                part,
                FeatureIndexes { coded, refused, ..FeatureIndexes::default() },
            )?);
        }
    } else if args.hnsw || args.evaluate {
        for (part, done) in graphs::run(context, args, &store, &snapshot, &features)? {
            lines.push(line(&snapshot, &part, done)?);
        }
    } else {
        for part in &features {
            lines.push(line(&snapshot, part, FeatureIndexes::default())?);
        }
    }
    match args.json {
        true => print_json(&BTreeMap::from([("features", lines)])),
        false => print(&lines),
    }
}

/// Why a sketch of a feature is made only if it is named, where its vectors are as small as codes of them.
fn too_small_for_sketch(part: &FeaturePart) -> Option<String> {
    let dim = part.desc.dim();
    (dim < LEAST_DIM).then(|| {
        format!(
            "a sketch does not pay off for {}; name the feature to build one anyway",
            many(dim.into(), "coordinate")
        )
    })
}

/// The features that the flags name; without names all of the dataset, without a dataset all of the store.
fn chosen<'a>(snapshot: &'a Snapshot, args: &IndexArgs) -> Result<Vec<&'a Arc<FeaturePart>>> {
    let mut features: Vec<&Arc<FeaturePart>> = Vec::new();
    let dataset = args.dataset.as_ref().map(|name| snapshot.dataset(name)).transpose()?;
    for name in &args.features {
        let found = match dataset {
            Some(dataset) => snapshot.feature_of(&dataset.name, name),
            None => snapshot.feature(name),
        };
        let part = match found {
            Err(_) if snapshot.dataset(name).is_ok() => {
                refuse!("{name} is a dataset, not a feature; --dataset {name} means all features of it")
            }
            found => found?,
        };
        if !features.iter().any(|other| other.number == part.number) {
            features.push(part);
        }
    }
    if args.features.is_empty() {
        features = match dataset {
            Some(dataset) => snapshot.features_of(&dataset.name),
            None if args.sketch || args.hnsw => {
                let made = if args.sketch { "sketches" } else { "graphs" };
                refuse!("{made} of what? name features, or --dataset NAME for all of a dataset");
            }
            None => snapshot.features().iter().collect(),
        };
    }
    if !args.kinds.is_empty() {
        let there: BTreeSet<&str> = features.iter().map(|part| part.desc.kind.name.as_str()).collect();
        if let Some(kind) = args.kinds.iter().find(|kind| !there.contains(kind.as_str())) {
            let of = args.dataset.as_ref().map_or_else(String::new, |dataset| format!(" of {dataset}"));
            let there: Vec<&str> = there.into_iter().collect();
            let what = match there.is_empty() {
                true => "there are no features yet; `gstore ingest` computes them".to_owned(),
                false => format!("the kinds there are {}", there.join(", ")),
            };
            refuse!("no feature{of} is of kind {kind}; {what}");
        }
        features.retain(|part| args.kinds.contains(&part.desc.kind.name));
    }
    Ok(features)
}

/// State of a feature's indexes, by their footers, with what was `done` to them.
fn line(snapshot: &Snapshot, part: &FeaturePart, done: FeatureIndexes) -> Result<FeatureIndexes> {
    let notes = snapshot.indexes(part)?;
    let mut line = FeatureIndexes { feature: part.display_name(), segments: part.segments.len(), ..done };
    let reader = snapshot.open_feature(part)?;
    let mut planes = Some(Planes::ALL);
    for segment in reader.segments() {
        let bytes = |kind: &str| {
            let own = notes.iter().find(|note| note.kind == kind && note.segment == segment.uuid());
            own.map_or(0, |note| note.bytes)
        };
        match found(&reader, segment) {
            IndexStatus::Usable => {
                line.sketched += 1;
                line.sketch_bytes += bytes(KIND);
                planes = planes.and_then(|planes| planes.common(kept(&reader, segment)?));
            }
            IndexStatus::Unusable => line.unusable += 1,
            IndexStatus::Missing => {}
        }
        match ann::found(&reader, segment) {
            IndexStatus::Usable => {
                line.graphed += 1;
                line.graph_bytes += bytes(ann::KIND);
            }
            IndexStatus::Unusable => line.unusable_graphs += 1,
            IndexStatus::Missing => {}
        }
    }
    if line.sketched > 0 {
        line.planes = planes.map(Planes::words).unwrap_or_default();
    }
    Ok(line)
}

fn print(lines: &[FeatureIndexes]) -> Result<()> {
    for line in lines {
        let state = match line {
            FeatureIndexes { sketched: 0, .. } => "no sketch".to_owned(),
            FeatureIndexes { sketched, segments, sketch_bytes, planes, .. } if sketched < segments => {
                format!(
                    "sketches of {sketched} of {} ({}), {}",
                    many(*segments as u64, "segment"),
                    planes.join(", "),
                    HumanBytes(*sketch_bytes)
                )
            }
            FeatureIndexes { sketch_bytes, planes, .. } => {
                format!("sketch ({}), {}", planes.join(", "), HumanBytes(*sketch_bytes))
            }
        };
        let coded = match line.coded {
            0 => String::new(),
            n => format!(", {} coded now", many(n, "vector")),
        };
        let unusable = match line.unusable {
            0 => String::new(),
            n => format!(
                ", {n} that cannot be used (damaged, or older than their segments; {} rebuilds them)",
                Remedy::Index { kind: KIND, feature: &line.feature, rebuild: false }
            ),
        };
        let refused = line.refused.as_ref().map_or_else(String::new, |why| format!("; {why}"));
        out!("{}: {state}{unusable}{coded}{}{refused}", line.feature, graphs::words(line));
    }
    if lines.is_empty() {
        out!("no features");
    }
    graphs::table(lines)?;
    planes::table(lines)?;
    Ok(())
}
