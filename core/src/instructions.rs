//! Widest vector instructions that computations may use.
//!
//! Kernels of the engine and of queries look at it before they ask the processor, so that one machine can
//! measure and reproduce what another one does (docs/config.md says what does not). Rankings have the same
//! bits at every level.

use std::ffi::OsString;
use std::sync::OnceLock;

use thiserror::Error;

const VARIABLE: &str = "GSTORE_MAX_ISA";

/// Vector instructions, narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instructions {
    /// None beyond what every processor of the architecture has.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// These and AVX-VNNI, where the processor has it.
    AvxVnni,
    /// All that the processor has.
    Widest,
}

impl Instructions {
    const NAMES: [(&str, Instructions); 4] = [
        ("scalar", Instructions::Scalar),
        ("avx2", Instructions::Avx2),
        ("avxvnni", Instructions::AvxVnni),
        ("widest", Instructions::Widest),
    ];

    /// Whether `GSTORE_MAX_ISA` lets these be used; whatever lets them where it is unset or names none.
    pub fn may_be_used(self) -> bool {
        static MOST: OnceLock<Instructions> = OnceLock::new();
        self <= *MOST.get_or_init(|| Instructions::asked().unwrap_or(Instructions::Widest))
    }

    /// What `GSTORE_MAX_ISA` names; the widest where it is unset or empty.
    ///
    /// # Errors
    /// It names no instructions.
    pub fn asked() -> Result<Instructions, UnknownInstructions> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => Instructions::named(name),
            _ => Ok(Instructions::Widest),
        }
    }

    fn named(name: OsString) -> Result<Instructions, UnknownInstructions> {
        let found = Instructions::NAMES.into_iter().find(|(known, _)| name == *known);
        found.map(|(_, level)| level).ok_or(UnknownInstructions(name))
    }
}

/// `GSTORE_MAX_ISA` names no instructions.
#[derive(Debug, Error)]
#[error("{VARIABLE} is {0:?}: it takes {known}", known = Instructions::NAMES.map(|(name, _)| name).join(", "))]
pub struct UnknownInstructions(OsString);

/// The instructions for plain loops that the compiler vectorises.
pub fn arch() -> pulp::Arch {
    static FOUND: OnceLock<pulp::Arch> = OnceLock::new();
    *FOUND.get_or_init(find)
}

fn find() -> pulp::Arch {
    if Instructions::Widest.may_be_used() {
        return pulp::Arch::new();
    }
    #[cfg(target_arch = "x86_64")]
    if let (true, Some(simd)) = (Instructions::Avx2.may_be_used(), pulp::x86::V3::try_new()) {
        return pulp::Arch::V3(simd);
    }
    pulp::Arch::Scalar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_the_levels_and_others_are_refused() {
        for (name, level) in Instructions::NAMES {
            assert_eq!(Instructions::named(name.into()).ok(), Some(level));
        }
        let error = Instructions::named("AVX-512".into()).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("GSTORE_MAX_ISA is \"AVX-512\": it takes scalar, avx2, avxvnni, widest".to_owned())
        );
    }

    #[test]
    fn levels_are_ordered() {
        assert!(Instructions::NAMES.is_sorted_by_key(|(_, level)| *level));
        assert!(Instructions::Scalar < Instructions::Avx2 && Instructions::AvxVnni < Instructions::Widest);
    }
}
