//! The learning rate of each step: the schedules of transformers under their names.

use std::f64::consts::PI;

use gstore_core::Remedy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    /// Falls along a cosine to a least rate.
    CosineWithMinLr {
        /// The least rate, as a part of the highest.
        min_lr_rate: f64,
        /// Waves of the cosine: one half is a fall.
        num_cycles: f64,
    },
    /// Stays after the warm-up, and falls at the end.
    WarmupStableDecay(StableDecay),
}

/// A schedule of three parts: it rises, stays and falls. The names are those of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StableDecay {
    /// Steps of the fall.
    pub num_decay_steps: u64,
    /// Steps at the highest rate; none: those that warm-up and fall leave.
    pub num_stable_steps: Option<u64>,
    /// How it rises.
    #[serde(default)]
    pub warmup_type: ScheduleCurve,
    /// How it falls.
    #[serde(default = "cosine_curve")]
    pub decay_type: ScheduleCurve,
    /// The least rate, at which it begins and ends, as a part of the highest.
    #[serde(default)]
    pub min_lr_ratio: f64,
    /// Waves of a fall along a cosine: one half is a fall.
    #[serde(default = "half_a_wave")]
    pub num_cycles: f64,
}

/// The curve of a rise or a fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleCurve {
    /// A line.
    #[default]
    Linear,
    /// A cosine.
    Cosine,
    /// One less a square root.
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

/// What is said of [`ScheduleKind::CosineWithMinLr`]: the least rate, or its part of the highest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MinLrOptions {
    min_lr: Option<f64>,
    min_lr_rate: Option<f64>,
    #[serde(default = "half_a_wave")]
    num_cycles: f64,
}

fn half_a_wave() -> f64 {
    0.5
}

fn cosine_curve() -> ScheduleCurve {
    ScheduleCurve::Cosine
}

/// The rate at which polynomials end.
pub(crate) const POLYNOMIAL_END: f64 = 1e-7;

/// In place of the steps of a warm-up, where there is none.
const INVERSE_SQRT_STEPS: f64 = 10_000.0;

impl ScheduleKind {
    /// The names, as transformers has them.
    pub const NAMES: [&str; 9] = [
        "linear",
        "cosine",
        "cosine_with_restarts",
        "constant",
        "constant_with_warmup",
        "polynomial",
        "inverse_sqrt",
        "cosine_with_min_lr",
        "warmup_stable_decay",
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
            ScheduleKind::CosineWithMinLr { .. } => Self::NAMES[7],
            ScheduleKind::WarmupStableDecay(_) => Self::NAMES[8],
        }
    }

    /// The schedule of a name. `options` are what transformers calls `lr_scheduler_kwargs`, as JSON; `peak`
    /// is the highest rate.
    ///
    /// # Errors
    /// An unknown name; options that the schedule does not have, or lacks.
    pub fn named(name: &str, options: Option<&str>, peak: f64) -> Result<Self, TrainError> {
        let refuse = |reason: &str| {
            let option = Remedy::Option("lr_scheduler_kwargs", "");
            TrainError::Option(format!("{option} of {name}: {reason}"))
        };
        let unread = |error: serde_json::Error| refuse(&error.to_string());
        let json = options.unwrap_or("{}");
        // A list would be read in the order of the fields.
        if !json.trim_start().starts_with('{') {
            return Err(refuse(r#"expected a JSON object, such as '{"min_lr_rate": 0.1}'"#));
        }
        let kind = match name {
            "linear" => ScheduleKind::Linear,
            "cosine" => ScheduleKind::Cosine,
            "cosine_with_restarts" => ScheduleKind::CosineWithRestarts { cycles: 1 },
            "constant" => ScheduleKind::Constant,
            "constant_with_warmup" => ScheduleKind::ConstantWithWarmup,
            "polynomial" => ScheduleKind::Polynomial,
            "inverse_sqrt" => ScheduleKind::InverseSqrt,
            "cosine_with_min_lr" => {
                let given: MinLrOptions = serde_json::from_str(json).map_err(unread)?;
                let min_lr_rate = match (given.min_lr, given.min_lr_rate) {
                    (Some(_), None) if peak <= 0.0 => {
                        return Err(refuse("min_lr needs a learning rate above 0"));
                    }
                    (Some(rate), None) => rate / peak,
                    (None, Some(part)) => part,
                    _ => return Err(refuse("give one of min_lr and min_lr_rate")),
                };
                ScheduleKind::CosineWithMinLr { min_lr_rate, num_cycles: given.num_cycles }
            }
            "warmup_stable_decay" => {
                ScheduleKind::WarmupStableDecay(serde_json::from_str(json).map_err(unread)?)
            }
            _ => {
                let known = ScheduleKind::NAMES.join(", ");
                return Err(TrainError::Option(format!("there is no schedule {name:?}; there are {known}")));
            }
        };
        if options.is_some() && kind.options().is_null() {
            let cycles = Remedy::Option("lr_cycles", "");
            return Err(match kind {
                ScheduleKind::CosineWithRestarts { .. } => refuse(&format!("its num_cycles are {cycles}")),
                _ => refuse("it takes no options here"),
            });
        }
        Ok(kind)
    }

    /// What [`ScheduleKind::named`] reads, with what is usual; null for a schedule that has no options.
    pub(crate) fn options(self) -> Value {
        match self {
            ScheduleKind::CosineWithMinLr { min_lr_rate, num_cycles } => {
                json!({ "min_lr_rate": min_lr_rate, "num_cycles": num_cycles })
            }
            ScheduleKind::WarmupStableDecay(parts) => json!(parts),
            _ => Value::Null,
        }
    }

    /// The number among its options that cannot be used, if there is one.
    pub(crate) fn bad_number(self) -> Option<f64> {
        let numbers = match self {
            ScheduleKind::CosineWithMinLr { min_lr_rate, num_cycles } => [min_lr_rate, num_cycles],
            ScheduleKind::WarmupStableDecay(parts) => [parts.min_lr_ratio, parts.num_cycles],
            _ => return None,
        };
        numbers.into_iter().find(|number| !(number.is_finite() && *number >= 0.0))
    }
}

impl StableDecay {
    /// The factor of the peak after a part of the warm-up.
    fn rise(&self, part: f64) -> f64 {
        let factor = match self.warmup_type {
            ScheduleCurve::Linear => part,
            ScheduleCurve::Cosine => 0.5 * (1.0 - (PI * part).cos()),
            ScheduleCurve::OneMinusSqrt => 1.0 - (1.0 - part).sqrt(),
        };
        above(self.min_lr_ratio, factor)
    }

    /// The factor after a part of the fall.
    fn fall(&self, part: f64) -> f64 {
        let factor = match self.decay_type {
            ScheduleCurve::Linear => 1.0 - part,
            ScheduleCurve::Cosine => wave(self.num_cycles, part),
            ScheduleCurve::OneMinusSqrt => 1.0 - part.sqrt(),
        };
        above(self.min_lr_ratio, factor)
    }
}

/// Height of a cosine between one and zero after a part of its waves.
fn wave(waves: f64, part: f64) -> f64 {
    0.5 * (1.0 + (PI * waves * 2.0 * part).cos())
}

/// A factor between zero and one as one between `least` and one.
fn above(least: f64, factor: f64) -> f64 {
    (factor * (1.0 - least) + least).max(0.0)
}

/// A schedule over a known number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Its form.
    pub kind: ScheduleKind,
    /// The highest rate.
    pub peak: f64,
    /// Steps of the warm-up, in which the rate rises.
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

    /// Mean rate of the steps `first..=last`, counted from 1.
    pub fn mean(&self, first: u64, last: u64) -> f64 {
        let sum: f64 = (first..=last).map(|step| self.rate(step - 1)).sum();
        sum / (last + 1 - first) as f64
    }

    /// The factor of the peak, computed in the order of transformers, so that rates are equal to the bit.
    fn factor(&self, done: u64) -> f64 {
        let (step, warmup, total) = (done as f64, self.warmup as f64, self.total as f64);
        if self.kind == ScheduleKind::Constant {
            return 1.0;
        }
        if done < self.warmup {
            let part = step / warmup;
            return match self.kind {
                ScheduleKind::WarmupStableDecay(parts) => parts.rise(part),
                _ => part,
            };
        }
        let span = (total - warmup).max(1.0);
        let progress = (step - warmup) / span;
        match self.kind {
            ScheduleKind::Linear => ((total - step) / span).max(0.0),
            ScheduleKind::Cosine => wave(0.5, progress).max(0.0),
            ScheduleKind::CosineWithMinLr { min_lr_rate, num_cycles } => {
                above(min_lr_rate, wave(num_cycles, progress))
            }
            ScheduleKind::CosineWithRestarts { .. } if progress >= 1.0 => 0.0,
            ScheduleKind::CosineWithRestarts { cycles } => {
                let within = (f64::from(cycles) * progress) % 1.0;
                (0.5 * (1.0 + (PI * within).cos())).max(0.0)
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
            ScheduleKind::WarmupStableDecay(parts) => {
                let length = parts.num_decay_steps as f64;
                // Before the warm-up's end where warm-up and fall have more steps than there are.
                let begin = parts.num_stable_steps.map_or(total - length, |stable| warmup + stable as f64);
                if step < begin {
                    1.0
                } else if step < begin + length {
                    parts.fall((step - begin) / length)
                } else {
                    parts.min_lr_ratio
                }
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

    /// The last bit of a cosine is that of the platform.
    fn assert_close(rates: &[f64], values: &[f64]) {
        assert_eq!(rates.len(), values.len());
        let are_close = rates.iter().zip(values).all(|(rate, value)| (rate - value).abs() <= 1e-15);
        assert!(are_close, "{rates:?}, not {values:?}");
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

    /// The values are those of `get_scheduler` of transformers 5.24 with these `scheduler_specific_kwargs`.
    #[test]
    fn least_rates_and_last_falls_are_those_of_transformers() {
        let (min_lr, decay) = ("cosine_with_min_lr", "warmup_stable_decay");
        for (name, options, after_warmup) in [
            (
                min_lr,
                r#"{"min_lr": 0.5}"#,
                [
                    1.942909649383465,
                    1.7803300858899105,
                    1.5370125742738174,
                    1.25,
                    0.9629874257261827,
                    0.7196699141100894,
                    0.557090350616535,
                    0.5,
                ],
            ),
            (
                min_lr,
                r#"{"min_lr_rate": 0.1, "num_cycles": 1.0}"#,
                [
                    1.7363961030678927,
                    1.1,
                    0.4636038969321073,
                    0.2,
                    0.46360389693210713,
                    1.0999999999999999,
                    1.7363961030678927,
                    2.0,
                ],
            ),
            (
                decay,
                r#"{"num_decay_steps": 4}"#,
                [2.0, 2.0, 2.0, 2.0, 1.7071067811865475, 1.0, 0.29289321881345254, 0.0],
            ),
            (
                decay,
                r#"{"num_decay_steps": 4, "num_stable_steps": 1, "num_cycles": 1.0, "min_lr_ratio": 0.1}"#,
                [2.0, 1.1, 0.2, 1.0999999999999999, 0.2, 0.2, 0.2, 0.2],
            ),
            // It is within the fall when the warm-up ends.
            (
                decay,
                r#"{"num_decay_steps": 9}"#,
                [
                    1.766044443118978,
                    1.5,
                    1.1736481776669305,
                    0.8263518223330697,
                    0.5000000000000002,
                    0.2339555568810221,
                    0.06030737921409168,
                    0.0,
                ],
            ),
        ] {
            let rates = rates(ScheduleKind::named(name, Some(options), 2.0).unwrap());
            assert_close(&rates[3..], &after_warmup);
        }
    }

    /// The values are those of `get_scheduler` of transformers 5.24.
    #[test]
    fn warm_ups_and_falls_have_their_curves() {
        for (warmup, fall, values) in [
            ("cosine", "linear", [0.2, 1.0999999999999999, 2.0, 2.0, 2.0, 2.0, 2.0, 1.55, 1.1, 0.65, 0.2]),
            (
                "1-sqrt",
                "1-sqrt",
                [
                    0.2,
                    0.7272077938642143,
                    2.0,
                    2.0,
                    2.0,
                    2.0,
                    2.0,
                    1.1,
                    0.7272077938642143,
                    0.44115427318801054,
                    0.2,
                ],
            ),
        ] {
            let options = json!({
                "num_decay_steps": 4, "min_lr_ratio": 0.1, "warmup_type": warmup, "decay_type": fall
            });
            let kind = ScheduleKind::named("warmup_stable_decay", Some(&options.to_string()), 2.0).unwrap();
            assert_close(&rates(kind), &values);
            let again = ScheduleKind::named(kind.name(), Some(&kind.options().to_string()), 2.0);
            assert_eq!(again.unwrap(), kind);
        }
    }

    #[test]
    fn options_that_a_schedule_lacks_or_does_not_have_are_refused() {
        for (name, options, says) in [
            ("warmup_stable_decay", None, "missing field `num_decay_steps`"),
            ("warmup_stable_decay", Some(r#"{"num_decay_steps": 4, "power": 2}"#), "unknown field `power`"),
            ("warmup_stable_decay", Some(r#"{"num_decay_steps": 4, "decay_type": "sqrt"}"#), "`1-sqrt`"),
            ("cosine_with_min_lr", None, "give one of min_lr and min_lr_rate"),
            ("cosine_with_min_lr", Some(r#"{"min_lr": 1e-6, "min_lr_rate": 0.1}"#), "give one of min_lr and"),
            (
                "linear",
                Some(r#"{"min_lr": 1e-6}"#),
                "lr_scheduler_kwargs of linear: it takes no options here",
            ),
            ("cosine_with_min_lr", Some("[1e-6]"), "expected a JSON object"),
            ("cosine_with_restarts", Some(r#"{"num_cycles": 2}"#), "num_cycles are lr_cycles"),
            ("lienar", None, "there is no schedule \"lienar\""),
        ] {
            let error = ScheduleKind::named(name, options, 2.0).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let negative =
            ScheduleKind::named("cosine_with_min_lr", Some(r#"{"min_lr_rate": -0.5}"#), 2.0).unwrap();
        assert_eq!(negative.bad_number(), Some(-0.5));
    }

    #[test]
    fn means_are_those_of_the_rates_of_steps() {
        let schedule = Schedule { kind: ScheduleKind::Linear, peak: 2.0, warmup: 2, total: 10 };
        assert_eq!([(1, 3), (4, 10), (10, 10)].map(|(a, b)| schedule.mean(a, b)), [1.0, 1.0, 0.25]);
    }

    #[test]
    fn a_warm_up_is_rounded_up() {
        assert_eq!(Schedule::warmup_of_ratio(0.03, 50), 2);
        assert_eq!(Schedule::warmup_of_ratio(0.1, 30), 3);
        assert_eq!(Schedule::warmup_of_ratio(0.0, 30), 0);
    }
}
