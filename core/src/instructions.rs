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

crate::named!(Instructions { Scalar = "scalar", Avx2 = "avx2", AvxVnni = "avxvnni", Widest = "widest" });

impl Instructions {
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
        Instructions::ALL.into_iter().find(|level| name == level.name()).ok_or(UnknownInstructions(name))
    }
}

/// `GSTORE_MAX_ISA` names no instructions.
#[derive(Debug, Error)]
#[error("{VARIABLE} is {0:?}: it takes {known}", known = Instructions::ALL.map(Instructions::name).join(", "))]
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
        for level in Instructions::ALL {
            assert_eq!(Instructions::named(level.name().into()).ok(), Some(level));
        }
        let error = Instructions::named("AVX-512".into()).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("GSTORE_MAX_ISA is \"AVX-512\": it takes scalar, avx2, avxvnni, widest".to_owned())
        );
    }

    #[test]
    fn levels_are_ordered() {
        assert!(Instructions::ALL.is_sorted());
        assert!(Instructions::Scalar < Instructions::Avx2 && Instructions::AvxVnni < Instructions::Widest);
    }
}
