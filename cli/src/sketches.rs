//! Sketches that a command makes beside its own work: those of the vectors that it has just published, or of files that it has rewritten.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use gstore_core::{Progress, Unit};
use gstore_query::QueryError;
use gstore_query::ann;
use gstore_query::sketch::build::check;
use gstore_query::sketch::files::{KIND, SketchOptions, build};
use gstore_store::{FeaturePart, FeatureReader, Snapshot, Store};

use crate::context::Context;
use crate::failure::STOPPED;
use crate::progress::Reporter;
use crate::words::many;

/// What Ctrl-C says while sketches are made of what was published before.
pub const STOPPING: &str =
    "stopping; what was published stays, and so do sketches that are finished; once more to stop at once";

/// Makes the sketch of a feature, of those segments that lack one, or with `rebuild` of all; returns how many vectors were coded.
pub fn sketch(
    store: &Store,
    reader: &FeatureReader,
    context: &Context,
    rebuild: bool,
    reporter: &mut Reporter,
    cancel: &AtomicBool,
) -> Result<u64, QueryError> {
    let options = SketchOptions { seed: None, rebuild, threads: context.threads };
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

/// Makes the sketches that some features of the newest snapshot lack, after the command's own work is published. Features that can have none
/// are named.
pub fn complete(
    context: &Context,
    store: &Store,
    wanted: impl Fn(&FeaturePart) -> bool,
    cancel: &AtomicBool,
) -> Result<ExitCode> {
    let (snapshot, _lease) = context.snapshot(store, None)?;
    let mut reporter = context.reporter();
    let mut coded = 0;
    for part in snapshot.features().iter().filter(|part| wanted(part)) {
        let name = part.display_name();
        let made = snapshot.open_feature(part).map_err(QueryError::from).and_then(|reader| {
            check(&reader)?;
            sketch(store, &reader, context, false, &mut reporter, cancel)
        });
        match made {
            Ok(vectors) => coded += vectors,
            Err(QueryError::Sketch(why)) => context.say(&format!("no sketch: {why}")),
            Err(QueryError::Cancelled) => {
                context.say(&format!(
                    "stopped; what was published stays, and `gstore index --sketch --dataset {}` makes the sketches that are missing",
                    part.desc.dataset
                ));
                return Ok(ExitCode::from(STOPPED));
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "the vectors are published, but the sketch of {name} is not made; `gstore index --sketch --dataset {}` goes on",
                        part.desc.dataset
                    )
                });
            }
        }
    }
    if coded > 0 {
        context.say(&format!("sketches: {} coded", many(coded, "vector")));
    }
    Ok(ExitCode::SUCCESS)
}

/// The indexes that a store has before a command rewrites some of its files. An index belongs to one file, so it goes with it.
pub struct Before(Vec<Known>);

/// What is known of a feature with indexes.
struct Known {
    feature: u32,
    segments: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Before {
    /// Those of all features.
    pub fn new(snapshot: &Snapshot) -> Result<Self> {
        let mut known = Vec::new();
        for part in snapshot.features() {
            let kinds: BTreeSet<String> = snapshot.indexes(part)?.into_iter().map(|note| note.kind).collect();
            if !kinds.is_empty() {
                known.push(Known { feature: part.number, segments: segments(part), kinds });
            }
        }
        Ok(Self(known))
    }

    /// Makes the sketches of new files of features that had some, and says which other indexes are gone.
    pub fn restore(&self, context: &Context, store: &Store, cancel: &AtomicBool) -> Result<ExitCode> {
        let rewritten = |part: &FeaturePart, known: &Known| {
            known.feature == part.number && segments(part).difference(&known.segments).next().is_some()
        };
        let snapshot = store.snapshot()?;
        for (part, known) in snapshot.features().iter().flat_map(|part| self.0.iter().map(move |k| (part, k)))
        {
            for kind in known.kinds.iter().filter(|kind| *kind != KIND && rewritten(part, known)) {
                let name = part.display_name();
                context.say(&match kind.as_str() {
                    ann::KIND => {
                        format!(
                            "the new files of {name} have no graph yet; `gstore index --hnsw {name}` makes it"
                        )
                    }
                    _ => format!("the new files of {name} have no index of the kind {kind} yet"),
                });
            }
        }
        let had = |part: &FeaturePart| {
            self.0.iter().any(|known| known.kinds.contains(KIND) && rewritten(part, known))
        };
        complete(context, store, had, cancel)
    }
}

fn segments(part: &FeaturePart) -> BTreeSet<String> {
    part.segments.iter().map(|segment| segment.uuid.to_string()).collect()
}
