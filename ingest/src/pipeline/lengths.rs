//! Lengths of the vectors that one checkpoint gives.

use gstore_core::{Kind, KindSource};

/// Numbers that a residual has for each module: what is left out, and all.
pub(super) const RESIDUAL_NUMBERS: u32 = 2;

/// What the lengths of vectors follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VectorLengths {
    /// Width of the hidden state.
    pub hidden: u32,
    /// Length of a projected gradient; 0 without one.
    pub gradient: u32,
    /// Its module groups.
    pub groups: u32,
}

impl VectorLengths {
    /// Values of a kind's vector.
    pub fn of(self, kind: Kind) -> u32 {
        match kind.source() {
            KindSource::Loss | KindSource::Entropy => 1,
            KindSource::Embedding(_) => self.hidden,
            KindSource::Gradient(_) => self.gradient,
            KindSource::Residual => RESIDUAL_NUMBERS.saturating_mul(self.groups),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_as_long_as_what_its_kind_is_made_from() {
        let lengths = VectorLengths { hidden: 64, gradient: 1000, groups: 7 };
        for kind in Kind::ALL {
            let length = match kind {
                kind if kind.is_gradient() => 1000,
                kind if kind.is_embedding() => 64,
                kind if kind.takes_gradient() => 14,
                _ => 1,
            };
            assert_eq!(lengths.of(*kind), length, "{kind}");
        }
    }
}
