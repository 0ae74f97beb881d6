//! See the crate documentation in the files below.
