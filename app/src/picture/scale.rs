//! Ranges and ticks of axes.

use super::Steps;
use super::calendar::{self, DAY, Distance, Part, YEAR};

/// Values beyond this are left out, so that no range overflows.
pub(super) const LARGEST: f64 = 1e300;

/// Bounds of bars and ends of axes lie beyond the values.
const LARGEST_BOUND: f64 = 2.0 * LARGEST;

/// Smallest step, whose power of ten is a normal number.
const SMALLEST: f64 = 1e-300;

/// Digits after the first of a number whose size is what matters.
const DIGITS: usize = 3;

/// A mapping of values to 0..1, with its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Values that are labelled.
    pub ticks: Vec<f64>,
    labels: Labels,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Labels {
    /// With so many decimals.
    Decimals(usize),
    /// Each with the digits that it needs.
    Powers,
    /// As `2e-5`, with so many digits after the first at most.
    Scientific(usize),
    /// As times to this part, with the date if they are of several days.
    Times(Part, bool),
}

impl Scale {
    /// A scale over values, of about `most` ticks at most; `margin` is a share of the range on both sides.
    pub(super) fn of(values: impl Iterator<Item = f64>, steps: Steps, margin: f64, most: usize) -> Self {
        let positive = |v: f64| steps != Steps::Log || v >= f64::MIN_POSITIVE;
        let fits = |v: &f64| v.is_finite() && v.abs() <= LARGEST_BOUND && positive(*v);
        let (low, high) = values
            .filter(fits)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 1.0) };
        match steps {
            Steps::Linear => Self::linear(low, high, margin, most),
            Steps::Log => Self::logarithmic(low, high, most),
            Steps::Time => Self::time(low, high, most),
        }
    }

    fn linear(low: f64, high: f64, margin: f64, most: usize) -> Self {
        let (low, high) = match high - low {
            span if span > 0.0 => (low - margin * span, high + margin * span),
            _ if low == 0.0 => (0.0, 1.0),
            _ => (low - 0.5 * low.abs(), low + 0.5 * low.abs()),
        };
        // Half of the smallest number is no number.
        let (low, high) = if high - low >= f64::MIN_POSITIVE { (low, high) } else { (0.0, 1.0) };
        let multiples = |step: f64| ((low / step).ceil(), (high / step).floor());
        let (mut distance, mut power) = step((high - low) / most.max(1) as f64);
        let (mut from, mut to) = multiples(distance);
        // Of a step beyond the range there may be none within, and of the next smaller one there is.
        if from > to {
            (distance, power) = step(0.4 * distance);
            (from, to) = multiples(distance);
        }
        // Adding zero turns -0.0 into 0.0.
        let ticks: Vec<f64> =
            (0..(to - from + 1.0).max(0.0) as usize).map(|i| (from + i as f64) * distance + 0.0).collect();
        let largest = low.abs().max(high.abs());
        let labels = match largest >= 1e7 || (power < -4 && largest < 1e-3) {
            // Those that tell ticks apart, which may lie close together far from 0.
            true => Labels::Scientific(decimals(power - exponent(largest)).clamp(DIGITS, 16)),
            false => Labels::Decimals(decimals(power)),
        };
        Self { low, high, log: false, ticks, labels }
    }

    fn time(low: f64, high: f64, most: usize) -> Self {
        // Very far from 1970, half a day is less than a number can tell apart.
        let half = (DAY / 2.0).max(low.abs() * 1e-9);
        let (low, high) = if low < high { (low, high) } else { (low - half, low + half) };
        let least = (high - low) / most.max(1) as f64;
        let (distance, part) = if least < 1.0 {
            let (step, power) = step(least);
            (Distance::Even(step), Part::Second(decimals(power)))
        } else {
            let years = || round_step(least / YEAR).clamp(1.0, 1e12) as i64;
            calendar::round(least).unwrap_or_else(|| (Distance::Months(12 * years()), Part::Year))
        };
        let dated = calendar::day_of(low) != calendar::day_of(high);
        let ticks = calendar::ticks(distance, low, high);
        Self { low, high, log: false, ticks, labels: Labels::Times(part, dated) }
    }

    fn logarithmic(low: f64, high: f64, most: usize) -> Self {
        let (low, high) = if low < high { (low, high) } else { (low / 2.0, high * 2.0) };
        let powers = (exponent(low), high.log10().ceil() as i32);
        let decades = (high / low).log10();
        let every = ((decades / most.max(1) as f64).ceil() as usize).max(1);
        let within: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let ticks = (powers.0..=powers.1)
            .step_by(every)
            .flat_map(|power| within.iter().map(move |w| w * 10f64.powi(power)))
            .filter(|tick| (low..=high).contains(tick))
            .collect();
        let labels = if low < 1e-4 || high >= 1e7 { Labels::Scientific(DIGITS) } else { Labels::Powers };
        Self { low, high, log: true, ticks, labels }
    }

    /// The place of a value, 0 at the lower end and 1 at the upper.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || value.abs() > LARGEST_BOUND || (self.log && value < f64::MIN_POSITIVE) {
            return None;
        }
        Some(match self.log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        })
    }

    pub(super) fn label(&self, tick: f64) -> String {
        match self.labels {
            Labels::Scientific(digits) => scientific(tick, digits),
            Labels::Powers => format!("{}", rounded(tick, DIGITS)),
            Labels::Decimals(decimals) => grouped(&format!("{tick:.decimals$}")),
            Labels::Times(part, dated) => calendar::written(tick, part, dated),
        }
    }
}

/// Decimals that multiples of a power of ten need.
fn decimals(power: i32) -> usize {
    usize::try_from(-power).unwrap_or(0)
}

/// A round step not below `least`, which is positive.
pub(super) fn round_step(least: f64) -> f64 {
    step(least).0
}

/// A step of 1, 2 or 5 times a power of ten, not below `least`, and the power.
fn step(least: f64) -> (f64, i32) {
    let least = least.max(SMALLEST);
    let power = exponent(least);
    let base = |power: i32| if power < 0 { 1.0 / 10f64.powi(-power) } else { 10f64.powi(power) };
    for times in [1.0, 2.0, 5.0] {
        if times * base(power) >= least * (1.0 - 1e-9) {
            return (times * base(power), power);
        }
    }
    (base(power + 1), power + 1)
}

/// The power of ten of the first digit of a positive value.
fn exponent(value: f64) -> i32 {
    value.log10().floor() as i32
}

/// A value with so many digits after the first at most, without those that only rounding has made.
fn rounded(value: f64, digits: usize) -> f64 {
    format!("{value:.digits$e}").parse().unwrap_or(value)
}

/// `2e-5`.
fn scientific(value: f64, digits: usize) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{:e}", rounded(value, digits)) }
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
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e7).contains(&size) {
        return scientific(value, DIGITS);
    }
    if size >= 1000.0 || value.fract() == 0.0 {
        return grouped(&format!("{value:.0}"));
    }
    let digits = usize::try_from(3 - exponent(size)).unwrap_or(0);
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], steps: Steps) -> Vec<String> {
        let scale = Scale::of(values.iter().copied(), steps, 0.0, 5);
        scale.ticks.iter().map(|tick| scale.label(*tick)).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(&[0.0, 1.0], Steps::Linear), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&[0.0, 2e-5], Steps::Linear), ["0", "5e-6", "1e-5", "1.5e-5", "2e-5"]);
        assert_eq!(labels(&[-1200.0, 5200.0], Steps::Linear), ["0", "2,000", "4,000"]);
        assert_eq!(labels(&[1.0, 100_000.0], Steps::Log), ["1", "10", "100", "1000", "10000", "100000"]);
        assert_eq!(labels(&[2.0, 30.0], Steps::Log), ["2", "5", "10", "20"]);
    }

    #[test]
    fn labels_of_narrow_ranges_differ() {
        let few = ["2.00002", "2.00004", "2.00006", "2.00008"];
        assert_eq!(labels(&[2.00001, 2.00009], Steps::Linear), few);
        let far = ["1.7e9", "1.7000002e9", "1.7000004e9", "1.7000006e9", "1.7000008e9", "1.700001e9"];
        assert_eq!(labels(&[1.7e9, 1.7e9 + 1000.0], Steps::Linear), far);
        for (low, span) in
            [(1.7e9, 1e-3), (1e12, 1.0), (-1e12, 30.0), (1e8, 4e7), (0.5, 1e-8), (1e-4, 1e-9), (1e300, 1e290)]
        {
            let labels = labels(&[low, low + span], Steps::Linear);
            assert!(labels.len() > 1 && labels.windows(2).all(|two| two[0] != two[1]), "{labels:?}");
        }
    }

    #[test]
    fn an_axis_of_few_ticks_has_them_within() {
        let ticks = |low: f64, high: f64, most: usize| {
            let scale = Scale::of([low, high].into_iter(), Steps::Linear, 0.0, most);
            let within = scale.ticks.iter().all(|tick| (low..=high).contains(tick));
            assert!(within && !scale.ticks.is_empty(), "{low} to {high}, {most}: {scale:?}");
            scale.ticks.iter().map(|tick| scale.label(*tick)).collect::<Vec<_>>()
        };
        assert_eq!(ticks(0.3, 0.9, 1), ["0.5"]);
        assert_eq!(ticks(1.05, 1.45, 1), ["1.2", "1.4"]);
        assert_eq!(ticks(-0.9, -0.3, 2), ["-0.5"]);
        for most in 1..=3 {
            for low in 0..50 {
                ticks(f64::from(low) * 0.13, f64::from(low) * 0.13 + 0.61, most);
            }
        }
    }

    #[test]
    fn ticks_of_times_are_where_the_calendar_has_them() {
        let days = |from: f64, to: f64| labels(&[from * DAY, to * DAY], Steps::Time);
        // From 1 January 2026 on.
        let new_year = 20_454.0;
        let week = ["2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26"];
        assert_eq!(days(new_year, new_year + 30.0), week);
        let months = ["2026-02", "2026-03", "2026-04", "2026-05"];
        assert_eq!(days(new_year + 1.0, new_year + 130.0), months);
        assert_eq!(days(new_year - 800.0, new_year + 800.0), ["2024", "2025", "2026", "2027", "2028"]);
        assert_eq!(days(new_year + 0.4, new_year + 0.5), ["10:00", "10:30", "11:00", "11:30", "12:00"]);
        assert_eq!(
            days(new_year - 0.5, new_year + 0.5),
            ["12-31 12:00", "12-31 18:00", "01-01 00:00", "01-01 06:00", "01-01 12:00"]
        );
        let halves = ["00:00:00.0", "00:00:00.5", "00:00:01.0", "00:00:01.5", "00:00:02.0"];
        assert_eq!(labels(&[0.0, 2.0], Steps::Time), halves);
    }

    #[test]
    fn values_without_a_place_stretch_nothing() {
        let values = [f64::NAN, 1.0, f64::INFINITY, f64::MAX, 3.0];
        let scale = Scale::of(values.into_iter(), Steps::Linear, 0.0, 5);
        assert_eq!((scale.place(1.0), scale.place(3.0), scale.place(f64::NAN)), (Some(0.0), Some(1.0), None));
        let log = Scale::of([0.0, 1.0, 100.0].into_iter(), Steps::Log, 0.0, 5);
        assert_eq!((log.place(0.0), log.place(10.0)), (None, Some(0.5)));
        let tiny = Scale::of([0.0, f64::from_bits(1)].into_iter(), Steps::Linear, 0.0, 5);
        assert_eq!(tiny.place(f64::from_bits(1)), Some(f64::from_bits(1)), "{tiny:?}");
        for steps in [Steps::Linear, Steps::Log, Steps::Time] {
            for values in [&[][..], &[2.0], &[1e18]] {
                let none = Scale::of(values.iter().copied(), steps, 0.1, 5);
                assert!(!none.ticks.is_empty(), "{none:?}");
            }
        }
    }

    #[test]
    fn numbers_have_few_digits() {
        let shown = [0.0, 0.123_456, -2.5, 12_345.6, 3.0, 1e-7, 2.5e9].map(number);
        assert_eq!(shown, ["0", "0.1235", "-2.5", "12,346", "3", "1e-7", "2.5e9"]);
    }
}
