//! Features and the files of their segments.

use std::sync::Arc;

use arrow_array::{UInt32Array, UInt64Array};
use gstore_store::{Coverage, FeaturePart, Snapshot};

use super::batch::{Batch, Null, batch, maybe_text, number, text};
use crate::error::SqlError;

/// The features, with how much of their datasets they have.
pub(super) fn covered(snapshot: &Snapshot) -> Result<Vec<(Arc<FeaturePart>, Coverage)>, SqlError> {
    let covered = |f: &Arc<FeaturePart>| Ok((Arc::clone(f), snapshot.coverage(f)?));
    snapshot.features().iter().map(covered).collect()
}

pub(super) fn features(snapshot: &Snapshot, _: bool, covered: &[(Arc<FeaturePart>, Coverage)]) -> Batch {
    let (all, coverage): (Vec<&FeaturePart>, Vec<Coverage>) = covered.iter().map(|(f, c)| (&**f, *c)).unzip();
    // A checkpoint may belong to several runs; the first name is as good as any and the id stands next to it.
    let checkpoint = |f: &FeaturePart| {
        let id = f.desc.checkpoint.as_ref()?;
        let known = snapshot.runs().iter().flat_map(|r| &r.checkpoints).find(|c| c.checkpoint == *id);
        known.map(|c| c.name.clone())
    };
    let ensemble = |f: &FeaturePart| {
        let uuid = f.desc.ensemble?;
        snapshot.ensembles().iter().find(|e| e.uuid == uuid).map(|e| e.name.clone())
    };
    let encoding = |f: &FeaturePart| {
        let dataset = snapshot.datasets().iter().find(|d| d.name == f.desc.dataset)?;
        dataset.encoding(&f.desc.encoding).map(|e| dataset.encoding_label(e))
    };
    batch([
        ("number", Arc::new(UInt32Array::from_iter_values(all.iter().map(|f| f.number))), Null::No),
        ("label", text(all.iter().map(|f| f.attrs.label.as_str())), Null::No),
        ("dataset", text(all.iter().map(|f| f.desc.dataset.as_str())), Null::No),
        ("kind", text(all.iter().map(|f| f.desc.kind.name.as_str())), Null::No),
        ("granularity", text(all.iter().map(|f| f.desc.granularity.name())), Null::No),
        ("checkpoint", maybe_text(all.iter().map(|f| checkpoint(f))), Null::Yes),
        ("encoding", maybe_text(all.iter().map(|f| encoding(f))), Null::Yes),
        ("dim", Arc::new(UInt32Array::from_iter_values(all.iter().map(|f| f.desc.dim()))), Null::No),
        ("dtype", text(all.iter().map(|f| f.desc.dtype.name())), Null::No),
        ("compute", text(all.iter().map(|f| f.desc.compute.as_str())), Null::No),
        ("loss", maybe_text(all.iter().map(|f| filled(&f.desc.space.loss))), Null::Yes),
        ("reduction", maybe_text(all.iter().map(|f| filled(&f.desc.space.reduction))), Null::Yes),
        ("layer", maybe_text(all.iter().map(|f| f.desc.space.layer.as_deref())), Null::Yes),
        ("modules", maybe_text(all.iter().map(|f| note(f, "modules"))), Null::Yes),
        ("projection", text(all.iter().map(|f| projection(f))), Null::No),
        ("state", text(coverage.iter().map(|c| c.state.name())), Null::No),
        ("rows", number(coverage.iter().map(|c| c.rows)), Null::No),
        ("missing", number(coverage.iter().map(|c| c.missing)), Null::No),
        (
            "vectors",
            Arc::new(all.iter().map(|f| snapshot.stored_vectors(f)).collect::<UInt64Array>()),
            Null::Yes,
        ),
        ("bytes", number(all.iter().map(|f| f.bytes())), Null::No),
        (
            "checkpoint_id",
            maybe_text(all.iter().map(|f| f.desc.checkpoint.as_ref().map(ToString::to_string))),
            Null::Yes,
        ),
        ("projection_id", text(all.iter().map(|f| f.desc.space.projection.as_str())), Null::No),
        ("key", text(all.iter().map(|f| f.key.as_str())), Null::No),
        ("ensemble", maybe_text(all.iter().map(|f| ensemble(f))), Null::Yes),
        ("rotation", text(all.iter().map(|f| f.desc.rotation.name())), Null::No),
    ])
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// What a feature's provenance says under a name.
fn note<'a>(feature: &'a FeaturePart, name: &str) -> Option<&'a str> {
    feature.attrs.provenance.get(name)?.as_str()
}

/// A projection in words; its fingerprint where the feature has no description.
fn projection(feature: &FeaturePart) -> &str {
    note(feature, "projection").unwrap_or(&feature.desc.space.projection)
}

pub(super) fn segments(features: &[Arc<FeaturePart>]) -> Batch {
    let all: Vec<_> = features.iter().flat_map(|f| f.segments.iter().map(move |s| (f, s))).collect();
    let file = |f: &FeaturePart, uuid: String| format!("segments/{}/{uuid}.arrow", f.number);
    batch([
        ("feature", Arc::new(UInt32Array::from_iter_values(all.iter().map(|(f, _)| f.number))), Null::No),
        ("label", text(all.iter().map(|(f, _)| f.attrs.label.as_str())), Null::No),
        ("dataset", text(all.iter().map(|(f, _)| f.desc.dataset.as_str())), Null::No),
        ("file", text(all.iter().map(|(f, s)| file(f, s.uuid.to_string()))), Null::No),
        ("first_row", number(all.iter().map(|(_, s)| s.first_row)), Null::No),
        ("end_row", number(all.iter().map(|(_, s)| s.end_row)), Null::No),
        ("rows", number(all.iter().map(|(_, s)| s.rows)), Null::No),
        ("bytes", number(all.iter().map(|(_, s)| s.len)), Null::No),
        ("digest", text(all.iter().map(|(_, s)| s.footer_digest.to_string())), Null::No),
    ])
}
