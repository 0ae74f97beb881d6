//! The query vectors of a question as rankings by bounds multiply them: in bf16, one by one, and in the
//! rotations of sketches.

mod bf16;
mod singles;
mod sketch;

use std::sync::OnceLock;

pub(super) use self::bf16::{Bf16Side, Bf16Sides};
pub(super) use self::singles::Singles;
pub(super) use self::sketch::{PoolSketches, SketchSide, all_have, sides};
use super::scan::ScanPool;

/// What searches need of a question's pools, made for the first one.
#[derive(Default)]
pub(crate) struct SearchSides {
    bf16: OnceLock<Bf16Sides>,
    singles: OnceLock<Singles>,
}

impl SearchSides {
    pub(crate) fn bf16(&self, pools: &[ScanPool]) -> &Bf16Sides {
        self.bf16.get_or_init(|| bf16::bf16_sides(pools))
    }

    pub(crate) fn singles(&self, pools: &[ScanPool]) -> &Singles {
        self.singles.get_or_init(|| singles::singles(pools))
    }
}
