//! `gstore index`: makes sketches, and says which indexes there are.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use gstore_ingest::pipeline::{Progress, Unit};
use gstore_query::QueryError;
use gstore_query::sketch::build::check;
use gstore_query::sketch::files::{KIND, SketchOptions, build};
use gstore_store::{FeaturePart, FeatureReader, Snapshot};
use indicatif::HumanBytes;
use serde::Serialize;

use crate::args::IndexArgs;
use crate::context::Context;
use crate::failure::UsageError;
use crate::output::out;

/// What was made and what is there.
#[derive(Serialize)]
struct Report {
    features: Vec<Line>,
}

/// What is known of the indexes of a feature.
#[derive(Serialize)]
struct Line {
    feature: String,
    segments: usize,
    /// Segments that have a sketch.
    sketched: usize,
    /// Bytes of the sketches.
    sketch_bytes: u64,
    /// Vectors that were coded by this command.
    coded: u64,
    /// Why it has no sketch, where it can have none.
    refused: Option<String>,
}

/// Makes indexes, or lists them.
pub fn run(context: &Context, args: &IndexArgs) -> Result<ExitCode> {
    let store = context.open()?;
    let (snapshot, _lease) = context.snapshot(&store, None)?;
    let features = chosen(&snapshot, args)?;
    let mut lines = Vec::new();
    if args.sketch {
        let named = !args.features.is_empty();
        let cancel = context.cancel_on_interrupt(match args.rebuild {
            true => "stopping; sketches that are finished stay, and the same command without --rebuild makes those that are missing",
            false => "stopping; sketches that are finished stay, and the same command goes on",
        })?;
        let mut reporter = context.reporter();
        for part in &features {
            let reader = snapshot.open_feature(part)?;
            let refused = match check(&reader) {
                Err(QueryError::Sketch(why)) if !named => Some(why),
                other => other.map(|()| None)?,
            };
            let coded = match refused {
                None => sketch(&store, &reader, context, args, &mut reporter, &cancel)?,
                Some(_) => 0,
            };
            lines.push(line(&snapshot, part, coded, refused)?);
        }
    } else {
        for part in &features {
            lines.push(line(&snapshot, part, 0, None)?);
        }
    }
    if args.json {
        out!("{}", serde_json::to_string_pretty(&Report { features: lines })?);
    } else {
        print(&lines)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The features that the flags name; all of the store without any.
fn chosen<'a>(snapshot: &'a Snapshot, args: &IndexArgs) -> Result<Vec<&'a Arc<FeaturePart>>> {
    let mut features = Vec::new();
    if let Some(dataset) = &args.dataset {
        features.extend(snapshot.features_of(&snapshot.dataset(dataset)?.name));
    }
    for name in &args.features {
        let part = snapshot.feature(name)?;
        if !features.iter().any(|other: &&Arc<FeaturePart>| other.number == part.number) {
            features.push(part);
        }
    }
    if args.dataset.is_none() && args.features.is_empty() {
        if args.sketch {
            bail!(UsageError(
                "sketches of what? name features, or --dataset NAME for all of a dataset".to_owned()
            ));
        }
        features.extend(snapshot.features());
    }
    Ok(features)
}

/// Makes the sketch of a feature; returns how many vectors were coded.
fn sketch(
    store: &gstore_store::Store,
    reader: &FeatureReader,
    context: &Context,
    args: &IndexArgs,
    reporter: &mut crate::progress::Reporter,
    cancel: &std::sync::atomic::AtomicBool,
) -> Result<u64> {
    let options = SketchOptions { seed: None, rebuild: args.rebuild, threads: context.threads };
    let (mut begun, mut seen) = (false, 0);
    let name = format!("sketch {}", reader.part().display_name());
    let built = build(
        store,
        reader,
        &options,
        |progress| {
            if !begun {
                reporter.start(&name, progress.vectors - progress.kept, Unit::Rows);
                begun = true;
            }
            reporter.advance(progress.coded - seen);
            seen = progress.coded;
        },
        cancel,
    );
    reporter.finish();
    Ok(built?.coded)
}

fn line(snapshot: &Snapshot, part: &FeaturePart, coded: u64, refused: Option<String>) -> Result<Line> {
    let sketches: Vec<u64> =
        snapshot.indexes(part)?.iter().filter(|note| note.kind == KIND).map(|note| note.bytes).collect();
    Ok(Line {
        feature: part.display_name(),
        segments: part.segments.len(),
        sketched: sketches.len(),
        sketch_bytes: sketches.iter().sum(),
        coded,
        refused,
    })
}

fn print(lines: &[Line]) -> Result<()> {
    for line in lines {
        let state = match line {
            Line { refused: Some(why), .. } => format!("no sketch: {why}"),
            Line { sketched: 0, .. } => "no sketch".to_owned(),
            Line { sketched, segments, sketch_bytes, .. } if sketched < segments => {
                format!("sketches of {sketched} of {segments} segments, {}", HumanBytes(*sketch_bytes))
            }
            Line { sketch_bytes, .. } => format!("sketch, {}", HumanBytes(*sketch_bytes)),
        };
        let coded =
            if line.coded > 0 { format!(", {} vectors coded now", line.coded) } else { String::new() };
        out!("{}: {state}{coded}", line.feature);
    }
    if lines.is_empty() {
        out!("no features");
    }
    Ok(())
}
