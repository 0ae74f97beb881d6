//! Messages about the sketch refresh after a command.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use gstore::indexes::{self, LostIndex, SketchError, SketchReport};
use gstore_core::{Cancel, many};
use gstore_query::ann;
use gstore_query::sketch::{self, Planes};
use gstore_store::{FeaturePart, Snapshot, Store};

use crate::context::Context;
use crate::failure::{STOPPED, refuse};

/// What Ctrl-C says while sketches of published segments are built.
pub const STOPPING: &str =
    "stopping; published vectors and finished sketches are kept; press Ctrl-C again to stop at once";

/// Refuses other planes than a feature's sketches keep: its later rows would have others than those before.
pub fn check_planes(snapshot: &Snapshot, part: &FeaturePart, wanted: Planes) -> Result<()> {
    if let Some(kept) = indexes::planes(snapshot, part).filter(|kept| *kept != wanted) {
        refuse!(
            "--planes {}: the sketches of {feature} keep {kept}; leave --planes out to go on with these, or change \
             them with `gstore index --sketch --planes {0} {feature}`",
            wanted.words().join(","),
            feature = part.display_name()
        );
    }
    Ok(())
}

/// Makes the sketches that some features of the newest snapshot lack, after the command's own work is
/// published, with these planes. Features that can have none are named.
pub fn complete(
    context: &Context,
    store: &Store,
    wanted: impl Fn(&FeaturePart) -> bool,
    planes: Option<Planes>,
    cancel: &Cancel,
) -> Result<ExitCode> {
    let done = indexes::complete(store, wanted, planes, &mut context.work(&mut context.reporter(), cancel));
    tell(context, planes, done)
}

/// Makes the sketches that files had which were written again, of a dataset or all, and says which other
/// indexes are gone with them.
pub fn restore(context: &Context, store: &Store, dataset: Option<&str>, cancel: &Cancel) -> Result<ExitCode> {
    let snapshot = store.snapshot()?;
    let lost = indexes::lost(&snapshot, dataset)?;
    tell_lost(context, lost.iter().filter(|lost| lost.kind != sketch::KIND));
    tell(context, None, indexes::restore(store, &lost, &mut context.work(&mut context.reporter(), cancel)))
}

/// Says which indexes are gone with files that were written again, by a command that makes none of them now.
pub fn tell_all_lost(context: &Context, store: &Store, dataset: Option<&str>) -> Result<()> {
    let snapshot = store.snapshot()?;
    tell_lost(context, &indexes::lost(&snapshot, dataset)?);
    Ok(())
}

fn tell_lost<'a>(context: &Context, lost: impl IntoIterator<Item = &'a LostIndex>) {
    for LostIndex { feature, kind, .. } in lost {
        let (what, flag) = match kind.as_str() {
            sketch::KIND => ("sketch", "--sketch"),
            ann::KIND => ("graph", "--hnsw"),
            _ => {
                context.say(&format!(
                    "files of {feature} that were written again have no index of the kind {kind} yet"
                ));
                continue;
            }
        };
        context.say(&format!(
            "files of {feature} that were written again have no {what} yet; `gstore index {flag} {feature}{}` makes it",
            context.at_store()
        ));
    }
}

fn tell(
    context: &Context,
    planes: Option<Planes>,
    done: Result<SketchReport, SketchError>,
) -> Result<ExitCode> {
    // For all of the dataset, planes of one command might not be those of the others.
    let again = |dataset: &str| match planes {
        None => format!("`gstore index --sketch --dataset {dataset}{}`", context.at_store()),
        Some(_) => "the same command".to_owned(),
    };
    let done = match done {
        Ok(done) => done,
        Err(SketchError::Stopped { dataset, .. }) => {
            context.say(&format!(
                "stopped; what was published stays, and {} makes the sketches that are missing",
                again(&dataset)
            ));
            return Ok(ExitCode::from(STOPPED));
        }
        Err(SketchError::Failed { dataset, feature, source }) => {
            return Err(source).with_context(|| {
                format!(
                    "the vectors are published, but the sketch of {feature} was not built; {} builds it",
                    again(&dataset)
                )
            });
        }
        Err(error) => return Err(error.into()),
    };
    for why in &done.refused {
        context.say(&format!("no sketch: {why}"));
    }
    if done.coded > 0 {
        context.say(&format!("sketches: {} coded", many(done.coded, "vector")));
    }
    Ok(ExitCode::SUCCESS)
}
