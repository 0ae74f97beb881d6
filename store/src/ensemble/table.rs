//! Loss tables: the features of an ensemble that belong together, and which members they cover.

use super::columns::LossColumns;
use crate::error::LossError;
use crate::manifest::{EnsemblePart, FeaturePart, OffsetOf, Stripe, StripePart};
use crate::store::Snapshot;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Losses of the samples of a dataset under members of an ensemble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LossTable {
    /// The dataset.
    pub dataset: String,
    /// Key of the encoding; empty where it is not known.
    pub encoding: String,
    /// What was recorded: `loss`, `neg_margin`, `prob`, `true_logit`.
    pub signal: String,
    /// Places of the members that have a column, ascending.
    pub members: Vec<usize>,
    /// Whether values are differences to losses of theta_0; else to another constant of each row.
    pub base: bool,
    /// Precision in which the losses were computed or given; several are joined by commas.
    pub compute: String,
}

impl LossTable {
    /// Its name in messages.
    fn name(&self) -> String {
        let encoding = match self.encoding.get(..8) {
            Some(short) => format!(", encoding {short}"),
            None => String::new(),
        };
        format!("{} of {}{encoding}", self.signal, self.dataset)
    }
}

/// Which losses of an ensemble are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossWanted<'a> {
    /// Of this dataset.
    pub dataset: &'a str,
    /// With this key of the encoding, or a beginning of it; `None`: the only one there is.
    pub encoding: Option<&'a str>,
    /// Of this signal; `None`: the only one there is.
    pub signal: Option<&'a str>,
}

impl<'a> LossWanted<'a> {
    /// The only losses of a dataset.
    pub const fn of(dataset: &'a str) -> Self {
        LossWanted { dataset, encoding: None, signal: None }
    }

    fn fits(&self, table: &LossTable) -> bool {
        self.dataset == table.dataset
            && self.signal.is_none_or(|signal| signal == table.signal)
            && self.encoding.is_none_or(|key| match key {
                "" => table.encoding.is_empty(),
                key => table.encoding.starts_with(key),
            })
    }
}

/// A feature of a table.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub part: Arc<FeaturePart>,
    pub range: Range<usize>,
    pub revision: u64,
}

#[derive(Debug, Clone)]
pub(super) struct TableFeatures {
    pub table: LossTable,
    /// By revision, then by first member: later ones replace cells of earlier ones.
    pub columns: Vec<Columns>,
    pub offset: Option<Arc<FeaturePart>>,
}

impl Snapshot {
    /// The losses of an ensemble that are there: one entry for each dataset, encoding and signal.
    pub fn loss_tables(&self, ensemble: &EnsemblePart) -> Vec<LossTable> {
        parts_of(self, ensemble).into_iter().map(|parts| parts.table).collect()
    }

    /// The feature with the offsets of the rows that losses are written relative to, if there is one.
    pub fn loss_offset(&self, columns: &LossColumns, of: OffsetOf) -> Option<&Arc<FeaturePart>> {
        let wanted = Stripe { signal: columns.signal.clone(), part: StripePart::Offset(of) };
        let is_offset = |part: &&Arc<FeaturePart>| {
            let desc = &part.desc;
            desc.ensemble == Some(columns.ensemble.0)
                && desc.dataset == columns.dataset
                && desc.encoding == columns.encoding
                && desc.kind == wanted.kind()
        };
        self.features().iter().find(is_offset)
    }

    /// The next revision of losses: higher than that of every feature of these members.
    pub fn next_loss_revision(&self, ensemble: &EnsemblePart, table: &LossTable) -> u64 {
        let same = |p: &TableFeatures| p.table.dataset == table.dataset && key(&p.table) == key(table);
        let parts = parts_of(self, ensemble).into_iter().find(same);
        let last = parts.and_then(|p| p.columns.iter().map(|c| c.revision).max());
        last.map_or(0, |revision| revision.saturating_add(1))
    }
}

fn key(table: &LossTable) -> (&str, &str) {
    (table.encoding.as_str(), table.signal.as_str())
}

pub(super) fn find(
    snapshot: &Snapshot,
    ensemble: &EnsemblePart,
    wanted: &LossWanted<'_>,
) -> Result<TableFeatures, LossError> {
    snapshot.dataset(wanted.dataset)?;
    let mut all = parts_of(snapshot, ensemble);
    let known: Vec<String> = all.iter().map(|p| p.table.name()).collect();
    all.retain(|p| wanted.fits(&p.table));
    let (ensemble, dataset) = (ensemble.name.clone(), wanted.dataset.to_owned());
    match <[TableFeatures; 1]>::try_from(all) {
        Ok([one]) => Ok(one),
        Err(none) if none.is_empty() => Err(LossError::None { ensemble, dataset, known }),
        Err(several) => {
            let known = several.iter().map(|p| p.table.name()).collect();
            Err(LossError::Ambiguous { ensemble, dataset, known })
        }
    }
}

/// All tables of an ensemble that have a column, by dataset, encoding and signal.
fn parts_of(snapshot: &Snapshot, ensemble: &EnsemblePart) -> Vec<TableFeatures> {
    type Stripes<'a> = Vec<(Stripe, &'a Arc<FeaturePart>)>;
    let mut tables: BTreeMap<(String, String, String), Stripes<'_>> = BTreeMap::new();
    for part in snapshot.features().iter().filter(|f| f.desc.ensemble == Some(ensemble.uuid)) {
        // A feature that is no stripe cannot be published.
        let Ok(Some(stripe)) = Stripe::of(&part.desc) else { continue };
        let key = (part.desc.dataset.clone(), part.desc.encoding.clone(), stripe.signal.clone());
        tables.entry(key).or_default().push((stripe, part));
    }
    tables.into_iter().filter_map(|(key, stripes)| assemble(key, stripes)).collect()
}

fn assemble(
    (dataset, encoding, signal): (String, String, String),
    stripes: Vec<(Stripe, &Arc<FeaturePart>)>,
) -> Option<TableFeatures> {
    let (mut columns, mut offsets) = (Vec::new(), Vec::new());
    for (stripe, part) in stripes {
        match stripe.part {
            StripePart::Members { range, revision } => {
                columns.push(Columns { part: Arc::clone(part), range, revision });
            }
            StripePart::Offset(of) => offsets.push((of, Arc::clone(part))),
        }
    }
    if columns.is_empty() {
        return None;
    }
    columns.sort_unstable_by_key(|c| (c.revision, c.range.start, c.range.end, c.part.number));
    // Writers make one; of several the first counts.
    let offset = offsets.into_iter().min_by_key(|(_, part)| part.number);
    let members: BTreeSet<usize> = columns.iter().flat_map(|c| c.range.clone()).collect();
    let compute: BTreeSet<&str> = columns.iter().map(|c| c.part.desc.compute.as_str()).collect();
    let table = LossTable {
        dataset,
        encoding,
        signal,
        members: members.into_iter().collect(),
        base: offset.as_ref().is_some_and(|(of, _)| *of == OffsetOf::Base),
        compute: compute.into_iter().collect::<Vec<_>>().join(","),
    };
    Some(TableFeatures { table, columns, offset: offset.map(|(_, part)| part) })
}
