//! Ranges and ticks of axes.

/// Values beyond this are left out, so that no range overflows.
const LARGEST: f64 = 1e300;

/// Smallest step, whose power of ten is a normal number.
const SMALLEST: f64 = 1e-300;

/// A mapping of values to 0..1, with its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Values that are labelled.
    pub ticks: Vec<f64>,
    digits: usize,
    scientific: bool,
}

impl Scale {
    /// A scale over values, of about `most` ticks at most; `margin` is a share of the range on both sides.
    pub(super) fn of(values: impl Iterator<Item = f64>, log: bool, margin: f64, most: usize) -> Self {
        let fits = |v: &f64| v.is_finite() && v.abs() <= LARGEST && (!log || *v >= f64::MIN_POSITIVE);
        let (low, high) = values
            .filter(fits)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 1.0) };
        if log { Self::logarithmic(low, high, most) } else { Self::linear(low, high, margin, most) }
    }

    fn linear(low: f64, high: f64, margin: f64, most: usize) -> Self {
        let (low, high) = match high - low {
            span if span > 0.0 => (low - margin * span, high + margin * span),
            _ if low == 0.0 => (0.0, 1.0),
            _ => (low - 0.5 * low.abs(), low + 0.5 * low.abs()),
        };
        // Half of the smallest number is no number.
        let (low, high) = if high - low >= f64::MIN_POSITIVE { (low, high) } else { (0.0, 1.0) };
        let (step, power) = step((high - low) / most.max(1) as f64);
        let (from, to) = ((low / step).ceil(), (high / step).floor());
        // Adding zero turns -0.0 into 0.0.
        let ticks: Vec<f64> =
            (0..=(to - from).max(0.0) as usize).map(|i| (from + i as f64) * step + 0.0).collect();
        let largest = low.abs().max(high.abs());
        let scientific = largest >= 1e7 || power < -4;
        Self { low, high, log: false, ticks, digits: usize::try_from(-power).unwrap_or(0), scientific }
    }

    fn logarithmic(low: f64, high: f64, most: usize) -> Self {
        let (low, high) = if low < high { (low, high) } else { (low / 2.0, high * 2.0) };
        let powers = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let decades = (high / low).log10();
        let every = ((decades / most.max(1) as f64).ceil() as usize).max(1);
        let within: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let ticks = (powers.0..=powers.1)
            .step_by(every)
            .flat_map(|power| within.iter().map(move |w| w * 10f64.powi(power)))
            .filter(|tick| (low..=high).contains(tick))
            .collect();
        let scientific = low < 1e-4 || high >= 1e7;
        let digits = usize::try_from(-powers.0).unwrap_or(0);
        Self { low, high, log: true, ticks, digits, scientific }
    }

    /// The place of a value, 0 at the lower end and 1 at the upper.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || value.abs() > LARGEST || (self.log && value < f64::MIN_POSITIVE) {
            return None;
        }
        Some(match self.log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        })
    }

    /// The label of a tick.
    pub(super) fn label(&self, tick: f64) -> String {
        match (self.scientific, self.log) {
            (true, _) => scientific(tick),
            // Each power has the digits that it needs.
            (false, true) => format!("{}", rounded(tick)),
            (false, false) => grouped(&format!("{tick:.*}", self.digits)),
        }
    }
}

/// A round step not below `least`, which is positive.
pub(super) fn round_step(least: f64) -> f64 {
    step(least).0
}

/// A step of 1, 2 or 5 times a power of ten, not below `least`, and the power.
fn step(least: f64) -> (f64, i32) {
    let least = least.max(SMALLEST);
    let power = least.log10().floor() as i32;
    let base = |power: i32| if power < 0 { 1.0 / 10f64.powi(-power) } else { 10f64.powi(power) };
    for times in [1.0, 2.0, 5.0] {
        if times * base(power) >= least * (1.0 - 1e-9) {
            return (times * base(power), power);
        }
    }
    (base(power + 1), power + 1)
}

/// A value without the digits that only rounding has made.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// `2e-5`, with at most three digits.
fn scientific(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{:e}", rounded(value)) }
}

/// A written number with commas between thousands.
fn grouped(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, part) = rest.split_once('.').map_or((rest, None), |(whole, part)| (whole, Some(part)));
    let mut out = sign.to_owned();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    part.into_iter().for_each(|part| out = format!("{out}.{part}"));
    out
}

/// A value as people read it, of about four digits.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e7).contains(&size) {
        return scientific(value);
    }
    if size >= 1000.0 || value.fract() == 0.0 {
        return grouped(&format!("{value:.0}"));
    }
    let digits = usize::try_from(3 - size.log10().floor() as i32).unwrap_or(0);
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool) -> Vec<String> {
        let scale = Scale::of(values.iter().copied(), log, 0.0, 5);
        scale.ticks.iter().map(|tick| scale.label(*tick)).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(&[0.0, 1.0], false), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&[0.0, 2e-5], false), ["0", "5e-6", "1e-5", "1.5e-5", "2e-5"]);
        assert_eq!(labels(&[-1200.0, 5200.0], false), ["0", "2,000", "4,000"]);
        assert_eq!(labels(&[1.0, 100_000.0], true), ["1", "10", "100", "1000", "10000", "100000"]);
        assert_eq!(labels(&[2.0, 30.0], true), ["2", "5", "10", "20"]);
    }

    #[test]
    fn values_without_a_place_stretch_nothing() {
        let scale = Scale::of([f64::NAN, 1.0, f64::INFINITY, f64::MAX, 3.0].into_iter(), false, 0.0, 5);
        assert_eq!((scale.place(1.0), scale.place(3.0), scale.place(f64::NAN)), (Some(0.0), Some(1.0), None));
        let log = Scale::of([0.0, 1.0, 100.0].into_iter(), true, 0.0, 5);
        assert_eq!((log.place(0.0), log.place(10.0)), (None, Some(0.5)));
        let tiny = Scale::of([0.0, f64::from_bits(1)].into_iter(), false, 0.0, 5);
        assert_eq!(tiny.place(f64::from_bits(1)), Some(f64::from_bits(1)), "{tiny:?}");
        for none in [Scale::of([].into_iter(), false, 0.1, 5), Scale::of([2.0].into_iter(), true, 0.1, 5)] {
            assert!(!none.ticks.is_empty(), "{none:?}");
        }
    }

    #[test]
    fn numbers_have_few_digits() {
        let shown = [0.0, 0.123_456, -2.5, 12_345.6, 3.0, 1e-7, 2.5e9].map(number);
        assert_eq!(shown, ["0", "0.1235", "-2.5", "12,346", "3", "1e-7", "2.5e9"]);
    }
}
