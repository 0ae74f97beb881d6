//! Ranking modes: every row or a sketch first, and the guarantee of each.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::QueryError;
use crate::kernel::CodeKind;
use crate::term::term;

/// How a ranking is found.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Mode {
    /// Every row is scored.
    #[default]
    Exact,
    /// Rows that a sketch excludes are not read. Where there is no sketch, or it cannot bound the score or
    /// would not pay, every row is scored, and the summary says so.
    Sketch(SketchMode),
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Sketch(SketchMode { certified: true, tolerance, .. }) => {
                write!(f, "sketch (certified, tolerance {tolerance})")
            }
            Self::Sketch(SketchMode { miss, tolerance, .. }) => {
                write!(f, "sketch (miss {miss:e}, tolerance {tolerance})")
            }
        }
    }
}

/// What a sketch may leave open.
#[derive(Debug, Clone, PartialEq)]
pub struct SketchMode {
    /// Probability that any of the true first k rows is missing, over the draw of the sketch's rotation.
    pub miss: f64,
    /// Rows may be missing that score at most this much better than the last that is shown.
    pub tolerance: f64,
    /// Reads only codes whose bounds are certain: nothing is missing but what `tolerance` allows.
    pub certified: bool,
    /// The planes to read, in this order; by default chosen of those that the sketches keep, by what they are
    /// expected to exclude. With `certified` it is [`Plane::Certified`].
    pub planes: Option<Vec<Plane>>,
}

impl Default for SketchMode {
    fn default() -> Self {
        Self { miss: 1e-6, tolerance: 0.0, certified: false, planes: None }
    }
}

impl SketchMode {
    /// Whether no row can be missing.
    pub(crate) fn is_certain(&self) -> bool {
        self.certified && self.tolerance == 0.0
    }

    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if !(self.miss > 0.0 && self.miss < 0.5) {
            return Err(QueryError::Spec(format!(
                "a probability of missing rows of {} cannot be kept; it lies above 0 and below 0.5 (for certainty ask for `certified`)",
                self.miss
            )));
        }
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            return Err(QueryError::Spec(format!(
                "tolerance {} must be finite and not negative",
                self.tolerance
            )));
        }
        match &self.planes {
            Some(planes) if planes.is_empty() => Err(QueryError::Spec("`planes` names none".into())),
            Some(planes) if self.certified && planes.iter().any(|plane| *plane != Plane::Certified) => {
                Err(QueryError::Spec("with `certified` only the plane `certified` can be read".into()))
            }
            _ => Ok(()),
        }
    }

    /// What an answer promises that was found so.
    pub(crate) fn guarantee(&self, probable: bool) -> String {
        let within = match self.tolerance {
            0.0 => String::new(),
            x => format!(", but for rows that score at most {x} better than the last one shown"),
        };
        match probable {
            false if within.is_empty() => "exact, certified by a sketch".to_owned(),
            false => format!("exact{within}; certified by a sketch"),
            true => format!(
                "the exact ranking with probability 1 - {:e} over the sketch's random rotation{within}",
                self.miss
            ),
        }
    }
}

term! {
    /// Codes of a sketch, and how rows are excluded by them.
    #[derive(PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Plane, "planes" {
        /// One bit a coordinate; bounds hold with the stated probability.
        Sign = "sign",
        /// Four bits a coordinate; likewise.
        Nibble = "nibble",
        /// Eight bits a coordinate; likewise.
        Int8 = "int8",
        /// Eight bits a coordinate; bounds are certain.
        Certified = "certified",
    }
}

impl Plane {
    pub(crate) const ALL: [Self; 4] = [Self::Sign, Self::Nibble, Self::Int8, Self::Certified];
    /// Planes whose bounds hold with a probability, by the bytes that they read.
    pub(crate) const PROBABLE: [Self; 3] = [Self::Sign, Self::Nibble, Self::Int8];

    pub(crate) fn codes(self) -> CodeKind {
        match self {
            Self::Sign => CodeKind::Sign,
            Self::Nibble => CodeKind::Nibble,
            Self::Int8 | Self::Certified => CodeKind::Int8,
        }
    }
}
