//! Parts of the squared lengths of gradients that blocks of an eigenbasis keep, by module, from stored rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::ArrowError;
use gstore_core::{Cancel, Kind, Remedy, many_of};
use gstore_query::eigen::EigenSpace;
use gstore_store::{FeaturePart, Snapshot};

use super::error::FactorJobError;
use super::spectra::{is_meant, no_module};
use super::stored::StoredFactors;

/// What is kept of the squared lengths of gradients, as parts of them.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptShare {
    /// Label of the feature that says what is left out.
    pub feature: String,
    /// The module; none: all of them together.
    pub module: Option<String>,
    /// Vectors whose gradient is not 0 there.
    pub vectors: u64,
    /// The mean of their parts.
    pub mean: Option<f64>,
    /// The least of them, and its row.
    pub least: Option<(f64, u64)>,
    /// Other vectors, whose gradient is 0 there.
    pub zero: u64,
    /// Rows of the dataset without such a vector.
    pub lacking: u64,
}

#[derive(Debug, Clone, Default)]
struct VectorSums {
    vectors: u64,
    zero: u64,
    parts: f64,
    least: Option<(f64, u64)>,
}

impl VectorSums {
    /// Adds a gradient by the squared lengths of what is left out and of all. One that is 0 has no parts.
    fn add(&mut self, row: u64, [left_out, whole]: [f64; 2]) {
        if !(whole > 0.0 && whole.is_finite() && left_out.is_finite()) {
            self.zero += 1;
            return;
        }
        let part = 1.0 - left_out / whole;
        self.vectors += 1;
        self.parts += part;
        if self.least.is_none_or(|(least, _)| part < least) {
            self.least = Some((part, row));
        }
    }

    fn share(self, (feature, lacking): (&FeaturePart, u64), module: Option<&str>) -> KeptShare {
        KeptShare {
            feature: feature.attrs.label.clone(),
            module: module.map(str::to_owned),
            vectors: self.vectors,
            mean: (self.vectors > 0).then(|| self.parts / self.vectors as f64),
            least: self.least,
            zero: self.zero,
            lacking,
        }
    }
}

/// What the blocks of factors keep of a dataset's rows: of each feature of the kind `residual` in their
/// eigenbasis, of the modules of a layer and of globs (neither: all) together, and then of each. All of its
/// vectors are read.
///
/// # Errors
/// No such factors, dataset or module, no such feature, damage, being told to stop.
pub fn kept_shares(
    snapshot: &Snapshot,
    (factors, dataset): (&str, &str),
    (layer, modules): (Option<u32>, &[String]),
    cancel: &Cancel,
) -> Result<Vec<KeptShare>, FactorJobError> {
    let number = StoredFactors::open(snapshot, factors)?.part.number;
    snapshot.dataset(dataset)?;
    let is_meant = is_meant(layer, modules)?;
    let artifacts = snapshot.artifacts()?;
    let mut shares = Vec::new();
    for feature in snapshot
        .features()
        .iter()
        .filter(|feature| feature.desc.dataset == dataset && feature.desc.kind.name == Kind::Residual.name())
    {
        let name = EigenSpace::artifact(&feature.desc.space.projection);
        if !artifacts.contains(&name) {
            continue;
        }
        let space = EigenSpace::of(&snapshot.artifact(&name)?).map_err(FactorJobError::other)?;
        if space.factors == factors && space.number == number {
            let groups = &feature.attrs.groups;
            let meant: Vec<usize> = (0..groups.len()).filter(|at| is_meant(&groups[*at].name)).collect();
            if meant.is_empty() {
                return Err(no_module(factors, groups.iter().map(|group| group.name.as_str())));
            }
            shares.extend(feature_shares(snapshot, (feature, &meant), cancel)?);
        }
    }
    match shares.is_empty() {
        true => Err(FactorJobError::Option(format!(
            "dataset `{dataset}` has no feature of the kind {} in the eigenbasis of factors `{factors}`; compute it with its \
             gradients: {} with {}, {} and {}",
            Kind::Residual,
            Remedy::Ingest,
            Remedy::Option("projection", "ekfac"),
            Remedy::Option("factors", factors),
            Remedy::Option("features", "grad-sgd,residual")
        ))),
        false => Ok(shares),
    }
}

/// Of some modules by their places. Sums are taken in the order of the rows.
fn feature_shares(
    snapshot: &Snapshot,
    (feature, meant): (&FeaturePart, &[usize]),
    cancel: &Cancel,
) -> Result<Vec<KeptShare>, FactorJobError> {
    let reader = snapshot.open_feature(feature)?;
    let (mut all, mut modules) = (VectorSums::default(), vec![VectorSums::default(); meant.len()]);
    let rows = reader.row_set()?;
    let live = snapshot.live_rows(snapshot.dataset(&feature.desc.dataset)?)?;
    for row in rows.iter() {
        cancel.check()?;
        for stored in reader.row_vectors(row)? {
            let (pairs, _) = stored.vector.as_chunks::<2>();
            let mut whole = [0.0; 2];
            let lengths = meant.iter().filter_map(|at| pairs.get(*at));
            for (module, lengths) in modules.iter_mut().zip(lengths) {
                let squares = lengths.map(|length| f64::from(length) * f64::from(length));
                whole = [whole[0] + squares[0], whole[1] + squares[1]];
                module.add(row, squares);
            }
            all.add(row, whole);
        }
    }
    let of = (feature, live.difference(&rows).len());
    let names = meant.iter().map(|at| feature.attrs.groups[*at].name.as_str());
    let of_modules = names.zip(modules).map(|(name, sum)| sum.share(of, Some(name)));
    Ok(std::iter::once(all.share(of, None)).chain(of_modules).collect())
}

/// What is said of rows that are in no mean: of each feature, over all modules that are meant.
pub fn kept_notes(shares: &[KeptShare]) -> Vec<String> {
    let mut notes = Vec::new();
    for share in shares.iter().filter(|share| share.module.is_none()) {
        let KeptShare { feature, zero, lacking, .. } = share;
        if *lacking > 0 {
            notes.push(format!("{} no {feature}", many_of(*lacking, "row has", "rows have")));
        }
        if *zero > 0 {
            let have = many_of(*zero, "vector is of a gradient that is", "vectors are of gradients that are");
            notes.push(format!("{have} 0 or not finite: no part of it is kept in {feature}"));
        }
    }
    notes
}

/// A row for each: `feature, module` (null: all of them), `vectors`, `kept_mean`, `kept_least` and
/// `least_row`.
///
/// # Errors
/// Columns that make no table.
pub fn kept_table(shares: &[KeptShare]) -> Result<RecordBatch, ArrowError> {
    let numbers = |of: &dyn Fn(&KeptShare) -> Option<f64>| -> ArrayRef {
        Arc::new(shares.iter().map(of).collect::<Float64Array>())
    };
    let features = shares.iter().map(|share| Some(share.feature.as_str())).collect::<StringArray>();
    let modules = shares.iter().map(|share| share.module.as_deref()).collect::<StringArray>();
    let vectors = UInt64Array::from_iter_values(shares.iter().map(|share| share.vectors));
    let rows = shares.iter().map(|share| share.least.map(|(_, row)| row)).collect::<UInt64Array>();
    RecordBatch::try_from_iter_with_nullable([
        ("feature", Arc::new(features) as ArrayRef, false),
        ("module", Arc::new(modules) as ArrayRef, true),
        ("vectors", Arc::new(vectors) as ArrayRef, false),
        ("kept_mean", numbers(&|share| share.mean), true),
        ("kept_least", numbers(&|share| share.least.map(|(part, _)| part)), true),
        ("least_row", Arc::new(rows) as ArrayRef, true),
    ])
}
