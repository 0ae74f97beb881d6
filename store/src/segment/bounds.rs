//! Block bounds in the footer, with which a scan can skip a block.
//!
//! They are the largest length of a vector, and the number of flagged ones.
//!
//! Invariants
//! - a length is never below that of any stored vector of the block (scales applied), nor below its
//!   norm before rounding
//! - a segment without this is read as before: what is absent bounds nothing

use super::block::{Block, Values};
use super::layout::{Mismatch, problem};
use super::quantize::group_of;
use gstore_core::RowFlags;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Lengths and flags of the vectors of a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockBounds(u64, Vec<f64>);

impl BlockBounds {
    /// Vectors that are flagged as having no scored token, not finite, or with missing values.
    pub fn flagged(&self) -> u64 {
        self.0
    }

    /// For each module group a length that no stored vector of the block exceeds.
    pub fn lengths(&self) -> &[f64] {
        &self.1
    }

    /// Those of a block.
    pub(super) fn of(block: &Block<'_>, groups: &[Range<usize>]) -> BlockBounds {
        let mut lengths = vec![0f64; groups.len()];
        for vector in block.vectors() {
            let stored = vector.norm.iter().zip(vector.scale);
            for ((group, length), (norm, scale)) in groups.iter().zip(&mut lengths).zip(stored) {
                let stored = match vector.values {
                    Values::I8(values) => {
                        let own = group_of(values, group).iter();
                        let squares: i64 = own.map(|v| i64::from(*v) * i64::from(*v)).sum();
                        (squares as f64).sqrt() * f64::from(*scale)
                    }
                    _ => 0.0,
                };
                *length = length.max(at_most(*norm)).max(stored * (1.0 + SLACK));
            }
        }
        BlockBounds(flagged(block), lengths)
    }

    /// Says what is wrong with the bounds of a footer, of blocks of as many vectors, if anything is.
    pub(super) fn check_all(all: &[BlockBounds], vectors: &[usize], groups: usize) -> Result<(), Mismatch> {
        if all.len() != vectors.len() {
            return problem("bounds of the footer", vectors.len(), all.len());
        }
        for (bounds, vectors) in all.iter().zip(vectors) {
            let lengths = &bounds.1;
            if lengths.len() != groups
                || lengths.iter().any(|l| !l.is_finite() || *l < 0.0)
                || bounds.0 > *vectors as u64
            {
                return problem(
                    "bounds of a block",
                    format!("{groups} lengths and at most {vectors} flags"),
                    format!("{bounds:?}"),
                );
            }
        }
        Ok(())
    }

    /// Whether a verified block keeps them.
    pub(super) fn check(&self, block: &Block<'_>) -> Result<(), Mismatch> {
        let flagged = flagged(block);
        if flagged != self.0 {
            return problem("flagged vectors of a block", self.0, flagged);
        }
        for norms in block.norm.chunks_exact(self.1.len().max(1)) {
            if let Some((norm, length)) = norms.iter().zip(&self.1).find(|(n, l)| f64::from(**n) > **l) {
                return problem("norm of a vector", format!("at most {length}"), norm);
            }
        }
        Ok(())
    }
}

fn flagged(block: &Block<'_>) -> u64 {
    block.flags.iter().filter(|f| RowFlags::from_bits(**f).intersects(RowFlags::UNSCORED)).count() as u64
}

/// More than rounding can add: to half precision 2^-11 of the norm and 2^-25 for small
/// values, of norms 2^-24.
const SLACK: f64 = 1.0 / 1024.0;

/// A length that the stored form of a vector with this norm does not exceed, of types that are not bytes.
/// Signs are no longer than the vector, but for the rounding of their scale, 2^-24 of it or 2^-150 for each
/// coordinate, and for what rotating there and back rounds ([`gstore_core::SignRotation::rounding`] each
/// way). Of floats rounding moves a coordinate by at most 2^-11 of itself or 2^-25 of the scale, which is at
/// most 2^-14 of the norm. Below the smallest scale it is at most 2^-151 for each coordinate, which the last
/// term is for.
fn at_most(norm: f32) -> f64 {
    if norm == 0.0 { 0.0 } else { f64::from(norm) * (1.0 + SLACK) + 1e-38 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::quantize::{Scratch, store_row};
    use crate::segment::values::ValueVec;
    use gstore_core::{DType, SignRotation};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_stored_vector_is_longer(
            bits in proptest::collection::vec(any::<u32>(), 6 * 5), tiny in 0i32..150, dtype in 0usize..4,
        ) {
            let scale = 2f32.powi(-tiny);
            let value = |b: u32| Some(f32::from_bits(b) * scale).filter(|v| v.is_finite() && v.abs() < 1e15);
            let all: Vec<f32> = bits.into_iter().map(|b| value(b).unwrap_or(scale)).collect();
            let (groups, dtype) = ([0..2, 2..5], DType::ALL[dtype]);
            let items = groups.iter().map(|group| dtype.items(group.len())).sum();
            let (mut values, mut scales, mut norms) = (ValueVec::new(dtype, items, 6), Vec::new(), Vec::new());
            let mut scratch = Scratch::of(SignRotation::of(dtype));
            for vector in all.chunks(5) {
                prop_assert!(store_row(vector, &groups, &mut values, &mut scales, &mut norms, &mut scratch));
            }
            let rows = [0u64, 1, 2, 3, 4, 5];
            let (flags, check) = ([0, 1, 4, 2, 8, 0], [0u64; 6]);
            let block = Block {
                rows: &rows, pos: &[], values: values.view(), scale: &scales, norm: &norms, flags: &flags, check: &check,
            };
            let bounds = BlockBounds::of(&block, &groups);
            prop_assert_eq!(bounds.flagged(), 3);
            prop_assert!(bounds.check(&block).is_ok());
            let json = serde_json::to_string(&[&bounds]).unwrap();
            let read: Vec<BlockBounds> = serde_json::from_str(&json).unwrap();
            prop_assert!(BlockBounds::check_all(&read, &[6], 2).is_ok());
            for i in 0..6 {
                for (g, group) in groups.iter().enumerate() {
                    let value = |k: usize| match block.values {
                        Values::F16(v) => v[k].to_f64(),
                        Values::F32(v) => f64::from(v[k]),
                        Values::I8(v) => f64::from(v[k]),
                        // Whatever the sign.
                        Values::I1(_) => 1.0,
                    };
                    let scale = f64::from(scales[i * 2 + g]);
                    let squares: f64 = group.clone().map(|k| (value(i * 5 + k) * scale).powi(2)).sum();
                    prop_assert!(squares.sqrt() <= read[0].lengths()[g] * (1.0 + 1e-15), "{} {:?}", squares.sqrt(), read);
                }
            }
        }
    }

    #[test]
    fn bounds_that_do_not_fit_are_damage() {
        let good = || BlockBounds(1, vec![1.0, 0.0]);
        assert!(BlockBounds::check_all(&[good()], &[1], 2).is_ok());
        for (all, groups) in [
            (vec![], 2),
            (vec![good(), good()], 2),
            (vec![good()], 1),
            (vec![BlockBounds(2, vec![1.0, 0.0])], 2),
            (vec![BlockBounds(0, vec![-1.0, 0.0])], 2),
            (vec![BlockBounds(0, vec![f64::INFINITY, 0.0])], 2),
        ] {
            assert!(BlockBounds::check_all(&all, &[1], groups).is_err(), "{all:?}");
        }
    }
}
