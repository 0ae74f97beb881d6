//! The learning rate of each step: the schedules of transformers under their names.

use std::str::FromStr;

use crate::error::TrainError;

/// The form of a schedule after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScheduleKind {
    /// Falls to zero in a line.
    Linear,
    /// Half a cosine, from one to zero.
    Cosine,
    /// Several of them, each from one to zero.
    CosineWithRestarts {
        /// How many.
        cycles: u32,
    },
    /// Stays, also during the warm-up.
    Constant,
    /// Stays after the warm-up.
    ConstantWithWarmup,
    /// Falls in a line to 1e-7: the polynomial of the first degree.
    Polynomial,
    /// Falls with the square root of the steps, over those of the warm-up.
    InverseSqrt,
}

/// The rate at which polynomials end.
pub(crate) const POLYNOMIAL_END: f64 = 1e-7;

/// In place of the steps of a warm-up, where there is none.
const INVERSE_SQRT_STEPS: f64 = 10_000.0;

impl ScheduleKind {
    /// The names, as transformers has them.
    pub const NAMES: [&str; 7] = [
        "linear",
        "cosine",
        "cosine_with_restarts",
        "constant",
        "constant_with_warmup",
        "polynomial",
        "inverse_sqrt",
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleKind::Linear => Self::NAMES[0],
            ScheduleKind::Cosine => Self::NAMES[1],
            ScheduleKind::CosineWithRestarts { .. } => Self::NAMES[2],
            ScheduleKind::Constant => Self::NAMES[3],
            ScheduleKind::ConstantWithWarmup => Self::NAMES[4],
            ScheduleKind::Polynomial => Self::NAMES[5],
            ScheduleKind::InverseSqrt => Self::NAMES[6],
        }
    }
}

impl FromStr for ScheduleKind {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, TrainError> {
        Ok(match name {
            "linear" => ScheduleKind::Linear,
            "cosine" => ScheduleKind::Cosine,
            "cosine_with_restarts" => ScheduleKind::CosineWithRestarts { cycles: 1 },
            "constant" => ScheduleKind::Constant,
            "constant_with_warmup" => ScheduleKind::ConstantWithWarmup,
            "polynomial" => ScheduleKind::Polynomial,
            "inverse_sqrt" => ScheduleKind::InverseSqrt,
            _ => {
                let known = ScheduleKind::NAMES.join(", ");
                return Err(TrainError::Option(format!("there is no schedule {name:?}; there are {known}")));
            }
        })
    }
}

/// A schedule over a known number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Its form.
    pub kind: ScheduleKind,
    /// The highest rate.
    pub peak: f64,
    /// Steps of the warm-up, in which the rate rises from zero in a line.
    pub warmup: u64,
    /// Steps in all.
    pub total: u64,
}

impl Schedule {
    /// Steps of a warm-up that takes a share of all steps.
    pub fn warmup_of_ratio(ratio: f64, total: u64) -> u64 {
        (ratio * total as f64).ceil() as u64
    }

    /// The rate after `done` steps: the first step uses that after none.
    pub fn rate(&self, done: u64) -> f64 {
        self.peak * self.factor(done)
    }

    /// The factor of the peak, computed in the order of transformers, so that rates are equal to the bit.
    fn factor(&self, done: u64) -> f64 {
        let (step, warmup, total) = (done as f64, self.warmup as f64, self.total as f64);
        if self.kind == ScheduleKind::Constant {
            return 1.0;
        }
        if done < self.warmup {
            return step / warmup.max(1.0);
        }
        let span = (total - warmup).max(1.0);
        let progress = (step - warmup) / span;
        match self.kind {
            ScheduleKind::Linear => ((total - step) / span).max(0.0),
            ScheduleKind::Cosine => {
                let half_turns = std::f64::consts::PI * 0.5 * 2.0 * progress;
                (0.5 * (1.0 + half_turns.cos())).max(0.0)
            }
            ScheduleKind::CosineWithRestarts { .. } if progress >= 1.0 => 0.0,
            ScheduleKind::CosineWithRestarts { cycles } => {
                let within = (f64::from(cycles) * progress) % 1.0;
                (0.5 * (1.0 + (std::f64::consts::PI * within).cos())).max(0.0)
            }
            ScheduleKind::Polynomial if done > self.total => POLYNOMIAL_END / self.peak,
            ScheduleKind::Polynomial => {
                let decay = (self.peak - POLYNOMIAL_END) * (1.0 - progress) + POLYNOMIAL_END;
                decay / self.peak
            }
            ScheduleKind::InverseSqrt => {
                let steps = if self.warmup == 0 { INVERSE_SQRT_STEPS } else { warmup };
                1.0 / ((step + (steps - warmup)) / steps).sqrt()
            }
            ScheduleKind::Constant | ScheduleKind::ConstantWithWarmup => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(kind: ScheduleKind) -> Vec<f64> {
        let schedule = Schedule { kind, peak: 2.0, warmup: 2, total: 10 };
        (0..=10).map(|done| schedule.rate(done)).collect()
    }

    #[test]
    fn schedules_rise_and_fall() {
        assert_eq!(rates(ScheduleKind::Linear), [0.0, 1.0, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(rates(ScheduleKind::Constant), [2.0; 11]);
        assert_eq!(rates(ScheduleKind::ConstantWithWarmup)[..3], [0.0, 1.0, 2.0]);
        let cosine = rates(ScheduleKind::Cosine);
        assert_eq!((cosine[2], cosine[6], cosine[10]), (2.0, 1.0, 0.0));
        let restarts = rates(ScheduleKind::CosineWithRestarts { cycles: 2 });
        assert_eq!((restarts[2], restarts[6], restarts[10]), (2.0, 2.0, 0.0));
        assert!((restarts[4] - 1.0).abs() < 1e-12);
    }

    /// The values are those of `get_scheduler` of transformers 5.24.
    #[test]
    fn polynomials_end_above_zero_and_square_roots_nowhere() {
        let polynomial = rates(ScheduleKind::Polynomial);
        assert_eq!(polynomial[..4], [0.0, 1.0, 2.0, 1.7500000125]);
        assert_eq!(polynomial[8..], [0.500000075, 0.25000008749999997, 1e-7]);
        let roots = rates(ScheduleKind::InverseSqrt);
        assert_eq!(roots[..5], [0.0, 1.0, 2.0, 1.6329931618554523, 2.0 / 2f64.sqrt()]);
        let no_warmup = Schedule { kind: ScheduleKind::InverseSqrt, peak: 2.0, warmup: 0, total: 10 };
        assert_eq!([0, 1, 9].map(|done| no_warmup.rate(done)), [2.0, 1.9999000074993754, 1.9991006070447337]);
    }

    #[test]
    fn a_warm_up_is_rounded_up() {
        assert_eq!(Schedule::warmup_of_ratio(0.03, 50), 2);
        assert_eq!(Schedule::warmup_of_ratio(0.1, 30), 3);
        assert_eq!(Schedule::warmup_of_ratio(0.0, 30), 0);
    }
}
