//! The query vectors of a question as rankings by bounds multiply them: rounded, one by one, and in the
//! rotations of sketches.

mod rounded;
mod singles;
mod sketch;

use std::sync::OnceLock;

pub(super) use self::rounded::{RoundedSide, RoundedSides};
pub(super) use self::singles::Singles;
pub(super) use self::sketch::{PoolSketches, SketchSide, all_have, sides};
use super::scan::ScanPool;
use crate::kernel::Filter;

/// What searches need of a question's pools, made for the first one.
#[derive(Default)]
pub(crate) struct SearchSides {
    rounded: OnceLock<RoundedSides>,
    singles: OnceLock<Singles>,
}

impl SearchSides {
    /// As `filter` multiplies them: the same at every call.
    pub(crate) fn rounded(&self, filter: Filter, pools: &[ScanPool]) -> &RoundedSides {
        self.rounded.get_or_init(|| rounded::rounded_sides(filter, pools))
    }

    pub(crate) fn singles(&self, pools: &[ScanPool]) -> &Singles {
        self.singles.get_or_init(|| singles::singles(pools))
    }
}
