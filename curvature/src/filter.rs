//! Spectral filters: the factor of a gradient's coordinate in the eigenbasis, by its eigenvalue.

use std::fmt;
use std::str::FromStr;

use crate::error::CurvatureError;

/// The default damping, relative to the mean eigenvalue.
pub(crate) const PART_OF_MEAN: f64 = 0.1;

/// What is added to eigenvalues before inversion.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Damping {
    /// A tenth of the module's mean eigenvalue.
    #[default]
    OfMean,
    /// The same number for all modules.
    Value(f64),
}

impl Damping {
    /// # Errors
    /// A number that is negative or not finite.
    pub fn value(value: f64) -> Result<Self, CurvatureError> {
        match value.is_finite() && value >= 0.0 {
            true => Ok(Damping::Value(value)),
            false => Err(CurvatureError::Damping(value)),
        }
    }

    /// The number for given eigenvalues.
    pub fn of(self, eigenvalues: &[f64]) -> f64 {
        match self {
            Damping::Value(value) => value,
            Damping::OfMean => {
                PART_OF_MEAN * eigenvalues.iter().sum::<f64>() / eigenvalues.len().max(1) as f64
            }
        }
    }
}

/// A spectral filter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Filter {
    /// `1 / (L + damping)`: influence at an optimum.
    Inverse(Damping),
    /// 1: no curvature.
    Identity,
    /// `(1 - exp(-steps rate L)) / L`, and `steps rate` at 0: the effect of that many steps of gradient
    /// descent on a change of the loss, for one segment of training with constant curvature (SOURCE; Bae et
    /// al., arXiv 2405.12186).
    Source {
        /// Steps of the segment.
        steps: u64,
        /// Its mean learning rate.
        rate: f64,
    },
    /// `exp(-steps rate L)`: what remains after such a segment of a change made before it.
    Decay {
        /// Steps of the segment.
        steps: u64,
        /// Its mean learning rate.
        rate: f64,
    },
}

impl Filter {
    /// SOURCE's filter.
    ///
    /// # Errors
    /// No step, a rate that is not positive, and one of which so many steps are no finite number.
    pub fn source(steps: u64, rate: f64) -> Result<Self, CurvatureError> {
        match steps > 0 && rate > 0.0 && (steps as f64 * rate).is_finite() {
            true => Ok(Filter::Source { steps, rate }),
            false => Err(CurvatureError::Segment { steps, rate }),
        }
    }

    /// SOURCE's filter from `STEPS*RATE`; none for other text.
    ///
    /// # Errors
    /// Those of [`Filter::source`].
    pub fn of_steps(text: &str) -> Option<Result<Self, CurvatureError>> {
        let (steps, rate) = text.split_once('*')?;
        Some(Self::source(steps.parse().ok()?, rate.parse().ok()?))
    }

    /// Its value at a non-negative eigenvalue; an inverse adds this damping.
    pub(crate) fn of(self, eigenvalue: f64, damping: f64) -> f64 {
        match self {
            Filter::Inverse(_) => 1.0 / (eigenvalue + damping),
            Filter::Identity => 1.0,
            Filter::Source { steps, rate } => source_factor(eigenvalue, steps as f64 * rate),
            Filter::Decay { steps, rate } => (-(steps as f64 * rate) * eigenvalue).exp(),
        }
    }

    /// Its maximum over non-negative eigenvalues, which is its value at 0. `fitted` is the damping of a
    /// module's rows, which [`Damping::OfMean`] refers to. Infinite for a damping of 0.
    pub fn most(self, fitted: f64) -> f64 {
        let damping = match self.damping() {
            Some(Damping::Value(damping)) => damping,
            Some(Damping::OfMean) | None => fitted,
        };
        self.of(0.0, damping)
    }

    /// The damping of an inverse; none for other filters.
    pub fn damping(self) -> Option<Damping> {
        match self {
            Filter::Inverse(damping) => Some(damping),
            Filter::Identity | Filter::Source { .. } | Filter::Decay { .. } => None,
        }
    }

    /// What the segment of this filter leaves of an earlier change; none for filters without a segment.
    pub fn decay(self) -> Option<Filter> {
        match self {
            Filter::Source { steps, rate } => Some(Filter::Decay { steps, rate }),
            Filter::Inverse(_) | Filter::Identity | Filter::Decay { .. } => None,
        }
    }
}

/// In the notation of options: an inverse has the default damping.
impl FromStr for Filter {
    type Err = CurvatureError;

    fn from_str(text: &str) -> Result<Self, CurvatureError> {
        match text {
            "inverse" => return Ok(Filter::Inverse(Damping::default())),
            "identity" => return Ok(Filter::Identity),
            _ => {}
        }
        let none = || CurvatureError::Filter(text.to_owned());
        text.strip_prefix("source:").and_then(Self::of_steps).ok_or_else(none)?
    }
}

/// In the notation of options, without the damping.
impl fmt::Display for Filter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filter::Inverse(_) => out.write_str("inverse"),
            Filter::Identity => out.write_str("identity"),
            Filter::Source { steps, rate } => write!(out, "source:{steps}*{rate}"),
            Filter::Decay { steps, rate } => write!(out, "decay:{steps}*{rate}"),
        }
    }
}

/// `(1 - exp(-time L)) / L` of a non-negative eigenvalue; between 0 and `time`.
fn source_factor(eigenvalue: f64, time: f64) -> f64 {
    let decay = time * eigenvalue;
    // Subnormal numbers have lost digits.
    if decay < f64::MIN_POSITIVE { time } else { (-(-decay).exp_m1() / eigenvalue).min(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_its_time_where_the_loss_is_flat_and_the_inverse_where_it_is_steep() {
        for (eigenvalue, expected) in
            [(0.0, 0.5), (1e-320, 0.5), (1e-12, 0.5), (1e9, 1e-9), (f64::MAX, 1.0 / f64::MAX)]
        {
            let found = source_factor(eigenvalue, 0.5);
            assert!((found - expected).abs() <= 1e-9 * expected, "{eigenvalue}: {found}");
        }
        assert!((source_factor(2.0, 0.5) - (1.0 - (-1.0f64).exp()) / 2.0).abs() < 1e-15);
        // As successive steps, from the last to the first.
        let (steps, rate, eigenvalue) = (1000, 1e-4, 3.0);
        let one_by_one: f64 = (0..steps).map(|step| rate * f64::powi(1.0 - rate * eigenvalue, step)).sum();
        let found = source_factor(eigenvalue, f64::from(steps) * rate);
        assert!((found - one_by_one).abs() < 1e-3 * found, "{found} {one_by_one}");
        for (filter, most) in [
            (Filter::Identity, 1.0),
            (Filter::Source { steps: 10, rate: 0.5 }, 5.0),
            (Filter::Inverse(Damping::OfMean), 4.0),
            (Filter::Inverse(Damping::Value(2.0)), 0.5),
            (Filter::Inverse(Damping::Value(0.0)), f64::INFINITY),
        ] {
            assert_eq!(filter.most(0.25), most, "{filter}");
        }
        for (steps, rate) in [(0, 1.0), (1, f64::NAN), (1, f64::INFINITY), (10, f64::MAX)] {
            assert!(Filter::source(steps, rate).is_err(), "{steps} {rate}");
        }
        let source = Filter::Source { steps: 100, rate: 1e-3 };
        assert_eq!(source.to_string(), "source:100*0.001");
        for filter in [source, Filter::Identity, Filter::Inverse(Damping::OfMean)] {
            assert_eq!(filter.to_string().parse::<Filter>(), Ok(filter));
        }
        for none in ["source:0*1", "source:1*-1", "source:1", "decay:1*1", "x"] {
            assert!(none.parse::<Filter>().is_err(), "{none}");
        }
    }
}
