//! Fuzz targets: each parser of untrusted bytes, as a function of bytes that asserts what must hold.
//!
//! Two drivers run the same targets: `cargo test -p gstore-fuzz` (on any toolchain, random changes of the
//! kept inputs, for `GSTORE_FUZZ_SECONDS` each) and `just fuzz <target> <seconds>` (libFuzzer, guided by
//! coverage; `fuzz/libfuzzer`).
//!
//! Invariants
//! - a target never panics and stays within its bound of memory, whatever the bytes; either is a
//!   defect of the parser
//! - `corpus/<target>/` holds small valid inputs of every form and every input that ever failed

#![deny(unsafe_code)]

pub mod change;
mod folder;
pub mod memory;
mod one_file;
pub mod targets;

/// A parser and its memory bound.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its folder in `corpus/`.
    pub name: &'static str,
    /// Parses the bytes and asserts what must hold.
    pub run: fn(&[u8]),
    /// Memory bound: this many bytes for each byte of the input ...
    pub per_byte: usize,
    /// ... plus this constant.
    pub constant: usize,
    /// Byte strings worth inserting into an input.
    pub words: &'static [&'static [u8]],
}

impl Target {
    /// Runs the target and asserts its bound. Returns the peak memory.
    pub fn check(&self, data: &[u8]) -> usize {
        let ((), peak) = memory::peak_of(|| (self.run)(data));
        let bound = self.per_byte * data.len() + self.constant;
        assert!(
            peak <= bound,
            "{}: {peak} bytes of memory for an input of {} bytes; the bound is {bound}",
            self.name,
            data.len()
        );
        peak
    }
}

/// The target with a name.
pub fn target(name: &str) -> Option<&'static Target> {
    targets::ALL.iter().find(|t| t.name == name)
}
