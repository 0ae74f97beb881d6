//! Stripes: features that hold losses of some members of an ensemble, or what these are relative to.
//!
//! Invariants
//! - the columns of a stripe are a contiguous range of members; a member's place never changes, so a stripe
//!   never has to be written again when members are appended
//! - a value is the loss less the row's offset, in single precision; NaN is a cell that is not known
//! - of a cell that several stripes have, the one with the highest revision counts

use super::EnsemblePart;
use super::part::mismatch;
use gstore_core::{DType, Family, FeatureDesc, FeatureKind, Granularity, Kind};
use serde_json::{Map, Value};
use std::ops::Range;

/// What the offsets of rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OffsetOf {
    /// Losses of theta_0.
    Base,
    /// Means over the members that came first: any constant does, as it cancels.
    Mean,
}

/// What a stripe has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StripePart {
    /// Losses of these members, one a column.
    Members {
        /// Their places.
        range: Range<usize>,
        /// How often cells of them were replaced.
        revision: u64,
    },
    /// The offsets, in one column.
    Offset(OffsetOf),
}

/// The parameters of a feature of an ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stripe {
    /// What was recorded: `loss`, `neg_margin`, `prob`, `true_logit`.
    pub signal: String,
    /// Which columns.
    pub part: StripePart,
}

const SIGNAL: &str = "signal";
const MEMBERS: &str = "members";
const REVISION: &str = "revision";
const OFFSET: &str = "offset";
const BASE: &str = "base";
const MEAN: &str = "mean";

impl Stripe {
    /// The kind of a feature that has it.
    pub fn kind(&self) -> FeatureKind {
        let mut params = Map::new();
        params.insert(SIGNAL.into(), self.signal.clone().into());
        match &self.part {
            StripePart::Members { range, revision } => {
                params.insert(MEMBERS.into(), vec![range.start as u64, range.end as u64].into());
                params.insert(REVISION.into(), (*revision).into());
            }
            StripePart::Offset(of) => {
                let of = if *of == OffsetOf::Base { BASE } else { MEAN };
                params.insert(OFFSET.into(), of.into());
            }
        }
        FeatureKind { name: Kind::Loss.name().into(), params }
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        match &self.part {
            StripePart::Members { range, .. } => range.len(),
            StripePart::Offset(_) => 1,
        }
    }

    /// The stripe that a feature is; `None` if it is none, because it belongs to no ensemble.
    ///
    /// # Errors
    /// Says what is wrong with a feature of an ensemble that is no stripe.
    pub fn of(desc: &FeatureDesc) -> Result<Option<Stripe>, String> {
        if desc.ensemble.is_none() {
            return Ok(None);
        }
        let stripe = Self::of_params(&desc.kind.params)
            .ok_or("a feature of an ensemble says whose losses it has, or that it has their offsets")?;
        let plain = desc.kind.name == Kind::Loss.name()
            && desc.space.family == Family::Loss
            && desc.dtype == DType::F32
            && desc.granularity == Granularity::Sample
            && desc.checkpoint.is_none();
        if !plain {
            return Err("features of an ensemble are losses of samples, in single precision".into());
        }
        match stripe.columns() as u64 == u64::from(desc.dim()) {
            true => Ok(Some(stripe)),
            false => Err(format!("{} columns for {} members", desc.dim(), stripe.columns())),
        }
    }

    fn of_params(params: &Map<String, Value>) -> Option<Stripe> {
        let signal = params.get(SIGNAL)?.as_str()?.to_owned();
        let part = match (params.get(MEMBERS), params.get(OFFSET)) {
            (Some(members), None) => {
                let [start, end] = members.as_array()?.as_slice() else { return None };
                let place = |value: &Value| usize::try_from(value.as_u64()?).ok();
                let range = place(start)?..place(end)?;
                let revision = params.get(REVISION)?.as_u64()?;
                (range.start < range.end).then_some(StripePart::Members { range, revision })?
            }
            (None, Some(of)) => StripePart::Offset(match of.as_str()? {
                BASE => OffsetOf::Base,
                MEAN => OffsetOf::Mean,
                _ => return None,
            }),
            _ => return None,
        };
        Some(Stripe { signal, part })
    }

    /// What is wrong with a feature among these ensembles, if anything is: what, expected, found. One that
    /// belongs to no ensemble is right among any.
    pub(crate) fn problem_among<'a>(
        desc: &FeatureDesc,
        mut ensembles: impl Iterator<Item = &'a EnsemblePart>,
    ) -> Option<(String, String, String)> {
        let uuid = desc.ensemble?;
        let Some(ensemble) = ensembles.find(|e| e.uuid == uuid) else {
            return mismatch("ensemble of a feature", "one of the snapshot", uuid);
        };
        match Self::of(desc) {
            Ok(Some(Stripe { part: StripePart::Members { range, .. }, .. }))
                if range.end > ensemble.members.len() =>
            {
                let what = format!("members of a feature of ensemble {}", ensemble.name);
                mismatch(what, format!("at most {}", ensemble.members.len()), range.end)
            }
            Ok(_) => None,
            Err(problem) => mismatch("parameters of a feature", "those of its losses", problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{EnsembleBase, Member};
    use gstore_core::Space;

    fn desc(stripe: &Stripe, ensemble: &EnsemblePart) -> FeatureDesc {
        let space = Space::new(Family::Loss, None, stripe.columns() as u32);
        FeatureDesc {
            ensemble: Some(ensemble.uuid),
            ..FeatureDesc::new("pool", "", stripe.kind(), space, DType::F32)
        }
    }

    fn ensemble(members: usize) -> EnsemblePart {
        let base = EnsembleBase { id: "x".into(), name: None, adapter: None };
        let mut part = EnsemblePart::new("e", 1, base);
        part.members.extend((0..members).map(|i| Member::new(format!("m{i}"), "x")));
        part
    }

    #[test]
    fn a_stripe_is_what_its_parameters_say() {
        let ensemble = ensemble(3);
        let members = StripePart::Members { range: 1..3, revision: 2 };
        for part in [members, StripePart::Offset(OffsetOf::Base), StripePart::Offset(OffsetOf::Mean)] {
            let stripe = Stripe { signal: "prob".into(), part };
            let desc = desc(&stripe, &ensemble);
            assert_eq!(Stripe::of(&desc), Ok(Some(stripe)));
            assert_eq!(Stripe::problem_among(&desc, [&ensemble].into_iter()), None);
        }
    }

    #[test]
    fn a_stripe_that_fits_nothing_is_refused() {
        let ensemble = ensemble(3);
        let stripe = Stripe { signal: "loss".into(), part: StripePart::Members { range: 2..4, revision: 0 } };
        let beyond = desc(&stripe, &ensemble);
        assert!(Stripe::problem_among(&beyond, [&ensemble].into_iter()).is_some());
        assert!(Stripe::problem_among(&beyond, std::iter::empty()).is_some());
        let mut narrow = beyond.clone();
        narrow.space.dim = 1;
        assert!(Stripe::of(&narrow).is_err());
        let mut half = beyond.clone();
        half.dtype = DType::F16;
        assert!(Stripe::of(&half).is_err());
        let mut nothing = beyond;
        nothing.kind.params.clear();
        assert!(Stripe::of(&nothing).is_err());
    }
}
