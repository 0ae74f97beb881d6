//! Argument signatures that several functions share.

use std::sync::LazyLock;

use datafusion::logical_expr::{Signature, Volatility};

/// Arguments that a function looks at itself.
pub fn own() -> &'static Signature {
    static OWN: LazyLock<Signature> = LazyLock::new(|| Signature::user_defined(Volatility::Immutable));
    &OWN
}

/// One argument of any type.
pub(super) fn one() -> &'static Signature {
    static ONE: LazyLock<Signature> = LazyLock::new(|| Signature::any(1, Volatility::Immutable));
    &ONE
}

/// Two arguments of any types.
pub(super) fn two() -> &'static Signature {
    static TWO: LazyLock<Signature> = LazyLock::new(|| Signature::any(2, Volatility::Immutable));
    &TWO
}
