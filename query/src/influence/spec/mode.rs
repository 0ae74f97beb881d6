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

impl Mode {
    /// The mode that a user's options name: `mode` is `exact` or `sketch`, by default exact; the others are
    /// those of a [`SketchMode`].
    ///
    /// # Errors
    /// Another word, options of a sketch without it, and those that contradict each other. What the values
    /// promise is checked with the question.
    pub fn from_options(
        mode: Option<&str>,
        miss: Option<f64>,
        tolerance: Option<f64>,
        certified: Option<bool>,
    ) -> Result<Self, QueryError> {
        let default = SketchMode::default();
        match mode {
            Some("sketch") if certified == Some(true) && miss.is_some() => Err(QueryError::Spec(
                "`certified` leaves no row to chance, and `miss` is a probability of missing one: leave one of them out".into(),
            )),
            Some("sketch") => Ok(Self::Sketch(SketchMode {
                miss: miss.unwrap_or(default.miss),
                tolerance: tolerance.unwrap_or(default.tolerance),
                certified: certified.unwrap_or(default.certified),
                planes: None,
            })),
            None | Some("exact") => {
                let given = [
                    ("miss", miss.is_some()),
                    ("tolerance", tolerance.is_some()),
                    ("certified", certified.is_some()),
                ];
                match given.iter().find(|(_, given)| *given) {
                    Some((name, _)) => Err(QueryError::Spec(format!(
                        "`{name}` is an option of the mode `sketch`, which is not asked for"
                    ))),
                    None => Ok(Self::Exact),
                }
            }
            Some(other) => Err(QueryError::option("mode", other, &["exact", "sketch"])),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_a_mode_or_are_refused() {
        assert_eq!(Mode::from_options(None, None, None, None).unwrap(), Mode::Exact);
        assert_eq!(Mode::from_options(Some("exact"), None, None, None).unwrap(), Mode::Exact);
        let sketch = |miss, tolerance, certified| {
            Mode::Sketch(SketchMode { miss, tolerance, certified, ..SketchMode::default() })
        };
        assert_eq!(Mode::from_options(Some("sketch"), None, None, None).unwrap(), sketch(1e-6, 0.0, false));
        let all = Mode::from_options(Some("sketch"), None, Some(0.5), Some(true)).unwrap();
        assert_eq!(all, sketch(1e-6, 0.5, true));
        let all = Mode::from_options(Some("sketch"), Some(0.1), Some(0.5), Some(false)).unwrap();
        assert_eq!(all, sketch(0.1, 0.5, false));
        let both = Mode::from_options(Some("sketch"), Some(0.1), None, Some(true)).unwrap_err().to_string();
        assert!(both.contains("`certified`") && both.contains("`miss`"), "{both}");
        for (miss, tolerance, certified, named) in [
            (Some(0.1), None, None, "`miss`"),
            (None, Some(0.0), None, "`tolerance`"),
            (None, None, Some(false), "`certified`"),
        ] {
            let error = Mode::from_options(None, miss, tolerance, certified).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("sketch"), "{error}");
        }
        assert!(
            Mode::from_options(Some("fast"), None, None, None)
                .unwrap_err()
                .to_string()
                .contains("exact, sketch")
        );
    }
}
