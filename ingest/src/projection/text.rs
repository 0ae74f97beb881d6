//! Kinds and projections as texts.

use std::fmt;
use std::str::FromStr;

use super::error::ProjectionError;
use super::kind::{DEFAULT_MODULE_DIM, ProjectionKind};
use super::spec::ProjectionSpec;

impl FromStr for ProjectionKind {
    type Err = ProjectionError;

    fn from_str(text: &str) -> Result<Self, ProjectionError> {
        let named = ProjectionKind::NAMED.into_iter().find(|kind| kind.name() == text);
        let sized = named.map(|kind| kind.for_module_dim(DEFAULT_MODULE_DIM));
        sized.ok_or_else(|| ProjectionError::UnknownKind(text.to_owned()))
    }
}

const PER_MODULE: &str = " a module";
const EACH: &str = ", another matrix for each checkpoint";

impl fmt::Display for ProjectionSpec {
    /// `sjlt, 8192, seed 0`; `fact_sjlt, 1024 a module, seed 0`;
    /// `ekfac, 1024 a module, factors 2bcae9c5fef4`; `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, dim, seed, per_checkpoint, basis } = self;
        if *kind == ProjectionKind::None {
            return f.write_str("none");
        }
        if let Some(basis) = basis {
            return write!(f, "{kind}, {dim}{PER_MODULE}, factors {:.12}", basis.digest());
        }
        let unit = if kind.is_factored() { PER_MODULE } else { "" };
        let scope = if *per_checkpoint { EACH } else { "" };
        write!(f, "{kind}, {dim}{unit}, seed {seed}{scope}")
    }
}

impl ProjectionSpec {
    /// The projection that prints like this, with the sides that suit its dimension; `None` for another text,
    /// and for `ekfac`, which needs the factors.
    /// Its fingerprint says whether it is the one that was meant.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::none());
        }
        let (text, per_checkpoint) = match text.strip_suffix(EACH) {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let mut parts = text.split(", ");
        let (kind, dim, seed) = (parts.next()?, parts.next()?, parts.next()?);
        let kind: ProjectionKind = kind.parse().ok()?;
        let dim = dim.strip_suffix(PER_MODULE).unwrap_or(dim).parse().ok()?;
        let seed = seed.strip_prefix("seed ")?.parse().ok()?;
        let sized = Self { seed, per_checkpoint, ..Self::sized(kind, dim) };
        parts.next().is_none().then_some(sized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for kind in ProjectionKind::NAMED {
            let kind: ProjectionKind = kind.name().parse().unwrap();
            for (seed, per_checkpoint) in [(0, false), (u64::MAX, true)] {
                let spec = match kind {
                    ProjectionKind::None => ProjectionSpec::none(),
                    kind => ProjectionSpec { seed, per_checkpoint, ..ProjectionSpec::sized(kind, 512) },
                };
                assert_eq!(ProjectionSpec::from_text(&spec.to_string()), Some(spec));
            }
        }
        for text in
            ["", "sjlt", "sjlt, 8192", "sjlt, 8192, seed x", "sjlt, 8192, seed 0, more", "fjlt, 8, seed 0"]
        {
            assert_eq!(ProjectionSpec::from_text(text), None, "{text}");
        }
        let unknown = "ekfac".parse::<ProjectionKind>().unwrap_err().to_string();
        assert!(
            unknown.ends_with("use sjlt, rademacher, gaussian, mask, none, fact_sjlt, fact_mask, two_sided"),
            "{unknown}"
        );
    }
}
