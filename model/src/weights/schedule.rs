//! The learning rate of every optimiser step, rebuilt from a log that holds only some of them.
//!
//! The rate is taken as piecewise linear through the logged points. Step n of a linear warm-up over w steps
//! uses peak * (n - 1) / w. In the entry of a step, a log has the rate of that step, or of the next one. So a
//! warm-up starts at (1, 0) and ends at (1 + w, peak), or it starts at (0, 0) and ends at (w, peak), and a
//! curve of M steps ends at M + 1 or at M, which tells the two apart; without an end, the first points tell.
//! A rate stays with the step of its entry: a mean is that of the entries of a log of all steps.
//!
//! Where the end of a warm-up lies between two logged points, or before the first, it is found by meeting the
//! neighbouring line at the peak. After the last point the last line goes on. A schedule that is linear
//! between its kinks is rebuilt exactly. So is one whose points lie on a cosine that falls to 0, or to a
//! least rate, where the run ends, after such a warm-up; other curves are approximated within one logging
//! interval. Where points lie on a cosine and on a line to 0 at the end of the run as well, they are of the
//! line.
//!
//! A log may have too few points for that: [`LoggedSchedule::tells`].

use std::f64::consts::PI;

/// Relative difference below which two rates count as equal; the log prints about 16 digits.
const SAME: f64 = 1e-9;

/// Distance below which two steps count as the same one.
const SAME_STEP: f64 = 1e-6;

/// Where a warm-up is at 0: in a log of the rates of next steps, and in one of the rates of its own steps.
const BEGINS: [f64; 2] = [0.0, 1.0];

/// Steps that may be the end of a warm-up, at most: each is tried.
const MOST_STARTS: u64 = 1_000_000;

/// How far a mean of rates may be from the true one, as a part of it, and still be told by the log.
const LEEWAY: f64 = 0.1;

/// The rate as a function of the step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoggedSchedule {
    curve: Curve,
    /// The logged points, where they do not confirm what is between them; else none.
    unconfirmed: Vec<(f64, f64)>,
    /// The highest rate that is known of.
    most: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Curve {
    /// Lines between points, strictly ascending in the step; at least one point.
    Lines(Vec<(f64, f64)>),
    /// Half a wave after a linear warm-up.
    Cosine(Cosine),
}

impl LoggedSchedule {
    /// Rebuilds the schedule from logged `(step, rate)` points, ascending; `None` without points. `max_steps`
    /// of the run are those that its schedule was made for.
    pub fn new(logged: &[(u64, f64)], peak: Option<f64>, max_steps: Option<u64>) -> Option<LoggedSchedule> {
        let mut points: Vec<(f64, f64)> = Vec::with_capacity(logged.len() + 2);
        for &(step, rate) in logged {
            let step = step as f64;
            match points.last_mut() {
                // The last entry of a step wins.
                Some(last) if last.0 == step => last.1 = rate,
                _ => points.push((step, rate)),
            }
        }
        let first = *points.first()?;
        let peak = peak.filter(|p| points.iter().all(|(_, rate)| *rate <= p * (1.0 + SAME)));
        let most = peak.unwrap_or_else(|| points.iter().fold(0.0_f64, |most, (_, rate)| most.max(*rate)));
        let confirmed = |curve| Some(Self { curve, unconfirmed: Vec::new(), most });
        let falling = peak.and_then(|peak| FallingLine::through(&points, peak, max_steps));
        let ends_run = falling.as_ref().is_some_and(|line| line.ends_run);
        let cosine = peak.zip(max_steps).filter(|_| !ends_run).and_then(|(peak, steps)| {
            Cosine::through(&points, peak, steps).or_else(|| Cosine::above_zero(&points, peak, steps))
        });
        if let Some(cosine) = cosine {
            return confirmed(Curve::Cosine(cosine));
        }
        // Two points are on some line always.
        if let Some(line) = falling.filter(|line| ends_run || line.points >= 3) {
            return confirmed(Curve::Lines(line.knots));
        }
        let unconfirmed = points.clone();
        // The rate 0 of step 1 says nothing that the warm-up's start does not.
        let starts_at_zero = first == (1.0, 0.0) && points.len() > 2 && points[1].0 > 2.0 && peak.is_some();
        if starts_at_zero {
            points.remove(0);
        }
        let knots = match peak {
            Some(peak) => with_warm_up(points, peak),
            None => extended_to_start(points),
        };
        Some(Self { curve: Curve::Lines(knots), unconfirmed, most })
    }

    /// The rate that a log has in the entry of step `n`, counted from 1.
    pub fn rate(&self, n: u64) -> f64 {
        match &self.curve {
            Curve::Lines(knots) => on_lines(knots, n as f64),
            Curve::Cosine(cosine) => cosine.rate(n as f64),
        }
    }

    /// Mean rate of the entries of the steps `first..=last`.
    pub fn mean(&self, first: u64, last: u64) -> f64 {
        let count = last.saturating_sub(first) + 1;
        (first..=last).map(|n| self.rate(n)).sum::<f64>() / count as f64
    }

    /// Whether the log tells the mean of the steps `first..=last`: it is within [`LEEWAY`] of the true one,
    /// wherever the rates between logged steps are.
    pub fn tells(&self, first: u64, last: u64) -> bool {
        (first..=last).map(|n| self.leeway(n) - LEEWAY * self.rate(n)).sum::<f64>() <= 0.0
    }

    /// How far the rate of step `n` may be from the true one: that lies between the neighbouring points,
    /// before the first between 0 and the highest rate, since a warm-up may be there, and after the last
    /// between 0 and that.
    fn leeway(&self, n: u64) -> f64 {
        let x = n as f64;
        let after = self.unconfirmed.partition_point(|(step, _)| *step < x);
        let before = after.checked_sub(1).and_then(|before| self.unconfirmed.get(before));
        match (before, self.unconfirmed.get(after)) {
            (_, Some(b)) if b.0 == x => 0.0,
            (Some(a), Some(b)) => (a.1 - b.1).abs() / 2.0,
            (None, Some(_)) => self.most,
            (Some(a), None) => a.1,
            (None, None) => 0.0,
        }
    }
}

/// A cosine that falls from the peak at `start` to the least rate `length` steps later, after a linear
/// warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cosine {
    peak: f64,
    /// The least rate as a part of the peak.
    least: f64,
    /// Where the warm-up is at 0.
    begin: f64,
    start: f64,
    length: f64,
}

impl Cosine {
    /// The one that all points lie on, if there is one. The last two on its slope say where it begins and
    /// ends; that these are whole numbers, and the end that of the run, tells it from a line.
    fn through(points: &[(f64, f64)], peak: f64, max_steps: u64) -> Option<Self> {
        // Near the peak and near 0 the angle says little.
        let is_slope = |(_, rate): &&(f64, f64)| (0.01 * peak..0.99 * peak).contains(rate);
        let mut slope = points.iter().rev().filter(is_slope);
        let (b, a) = (slope.next()?, slope.next()?);
        let part = |rate: f64| (2.0 * rate / peak - 1.0).acos() / PI;
        let length = ((b.0 - a.0) / (part(b.1) - part(a.1))).round();
        let start = (a.0 - part(a.1) * length).round();
        let found = Self { peak, least: 0.0, begin: begin_of_run(start + length, max_steps)?, start, length };
        (length >= 1.0 && start >= 0.0 && found.is_through(points)).then_some(found)
    }

    /// The same for one that does not fall to 0. Of each start, the last point tells how far it falls, and
    /// two more on the slope whether it is the start.
    fn above_zero(points: &[(f64, f64)], peak: f64, max_steps: u64) -> Option<Self> {
        let falls = points.windows(2).rev().take_while(|pair| pair[0].1 > pair[1].1).count();
        let (last, second) = (points.last()?, points.get(points.len().checked_sub(falls)?)?);
        let starts = (0..=MOST_STARTS).map(|start| start as f64).take_while(|start| *start <= second.0);
        let mut all = starts.flat_map(|start| BEGINS.map(|begin| (begin, start))).map(|(begin, start)| {
            let length = max_steps as f64 + begin - start;
            let to_zero = Self { peak, least: 0.0, begin, start, length };
            let part = to_zero.rate(last.0) / peak;
            Self { least: (last.1 / peak - part) / (1.0 - part), ..to_zero }
        });
        let fits = |found: &Self| {
            found.length >= 1.0 && found.least > 0.0 && found.least < 1.0 && found.is_through(points)
        };
        if falls >= 2 { all.find(fits) } else { None }
    }

    fn is_through(&self, points: &[(f64, f64)]) -> bool {
        points.iter().rev().all(|(step, rate)| (self.rate(*step) - rate).abs() <= SAME * self.peak)
    }

    fn rate(&self, x: f64) -> f64 {
        if x < self.start {
            return self.peak * (x - self.begin) / (self.start - self.begin);
        }
        let part = ((x - self.start) / self.length).min(1.0);
        self.peak * (self.least + (1.0 - self.least) * (1.0 + (PI * part).cos()) / 2.0)
    }
}

fn line(a: (f64, f64), b: (f64, f64), x: f64) -> f64 {
    if a.0 == b.0 { a.1 } else { a.1 + (b.1 - a.1) * (x - a.0) / (b.0 - a.0) }
}

/// The rate at step `x` of lines between points, the last of which goes on.
fn on_lines(knots: &[(f64, f64)], x: f64) -> f64 {
    let after = knots.partition_point(|(step, _)| *step < x);
    let (a, b) = match (after.checked_sub(1), after) {
        (None, _) => return knots.first().map_or(0.0, |k| k.1),
        (Some(_), b) if b == knots.len() => (b.saturating_sub(2), b - 1),
        (Some(a), b) => (a, b),
    };
    match (knots.get(a), knots.get(b)) {
        (Some(a), Some(b)) => line(*a, *b, x).max(0.0),
        _ => 0.0,
    }
}

/// A warm-up and the line on which the rate falls from its end.
struct FallingLine {
    knots: Vec<(f64, f64)>,
    /// How many of the logged points are on the line.
    points: usize,
    /// Whether it falls to 0 where the run ends.
    ends_run: bool,
}

impl FallingLine {
    /// The one of the last two points, if all others lie on it and on its warm-up.
    fn through(points: &[(f64, f64)], peak: f64, max_steps: Option<u64>) -> Option<Self> {
        let [.., a, b] = points[..] else { return None };
        if a.1 <= b.1 {
            return None;
        }
        let steps_for_rate = (b.0 - a.0) / (a.1 - b.1);
        let top = a.0 - (peak - a.1) * steps_for_rate;
        let of_run = max_steps.and_then(|steps| begin_of_run(b.0 + b.1 * steps_for_rate, steps));
        let begin = of_run.unwrap_or_else(|| begin_of_warm_up(points, peak));
        let knots = match top > begin + SAME_STEP {
            true => vec![(begin, 0.0), (top, peak), b],
            false => vec![(begin, line(a, b, begin)), b],
        };
        let is_on = |(step, rate): &(f64, f64)| (on_lines(&knots, *step) - rate).abs() <= SAME * peak;
        if !points.iter().all(is_on) {
            return None;
        }
        let falling = points.iter().filter(|(step, _)| *step > top - SAME_STEP).count();
        Some(Self { knots, points: falling, ends_run: of_run.is_some() })
    }
}

/// Where the warm-up of a curve is at 0 that ends at `end`, if that is the end of the run.
fn begin_of_run(end: f64, max_steps: u64) -> Option<f64> {
    BEGINS.into_iter().find(|begin| (end - begin - max_steps as f64).abs() <= SAME_STEP)
}

/// Where the warm-up of a curve is at 0 of which only points are known. A warm-up takes whole steps, which
/// the first point tells if it is in it; if the second is in it too, both are on a line from the start. Where
/// both logs may be, it is that of the steps' own rates.
fn begin_of_warm_up(points: &[(f64, f64)], peak: f64) -> f64 {
    let [of_next, of_own] = BEGINS;
    let [a, b, ..] = points[..] else { return of_own };
    if a.1 <= 0.0 || b.1 <= a.1 {
        return of_own;
    }
    let is_whole = |begin: f64| {
        let steps = peak * (a.0 - begin) / a.1;
        steps >= 1.0 - SAME_STEP && (steps - steps.round()).abs() <= SAME_STEP
    };
    let is_second = b.1 < peak * (1.0 - SAME) && (line((of_next, 0.0), a, b.0) - b.1).abs() <= SAME * peak;
    if is_whole(of_next) && (is_second || !is_whole(of_own)) { of_next } else { of_own }
}

/// Without a peak, the first line goes back to step 1.
fn extended_to_start(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if let [a, b, ..] = points[..]
        && a.0 > 1.0
    {
        points.insert(0, (1.0, line(a, b, 1.0).max(0.0)));
    }
    points
}

fn with_warm_up(points: Vec<(f64, f64)>, peak: f64) -> Vec<(f64, f64)> {
    let [a, b, ..] = points[..] else { return points };
    if b.1 > a.1 * (1.0 + SAME) { rising(points, peak) } else { falling(points, peak) }
}

/// The log starts after the warm-up: its first line goes back until it reaches the peak, and
/// the warm-up leads there, from (1, 0) since nothing tells another start.
fn falling(mut points: Vec<(f64, f64)>, peak: f64) -> Vec<(f64, f64)> {
    let [a, b, ..] = points[..] else { return points };
    let slope = (b.1 - a.1) / (b.0 - a.0);
    if a.0 <= 1.0 {
        return points;
    }
    let top = a.0 + (peak - a.1) / slope;
    if slope < 0.0 && a.1 < peak * (1.0 - SAME) && top > 1.0 {
        points.splice(0..0, [(1.0, 0.0), (top, peak)]);
        return points;
    }
    // A first point at the peak itself, on a falling line, is the end of the warm-up.
    if slope < 0.0 && a.1 >= peak * (1.0 - SAME) {
        points.insert(0, (1.0, 0.0));
        return points;
    }
    extended_to_start(points)
}

/// The log starts inside the warm-up: its line from 0 goes up to the peak.
fn rising(mut points: Vec<(f64, f64)>, peak: f64) -> Vec<(f64, f64)> {
    let begin = begin_of_warm_up(&points, peak);
    let Some(from) = points.iter().position(|p| p.0 > begin && p.1 > 0.0) else { return points };
    let slope = points[from].1 / (points[from].0 - begin);
    let on_line = |p: &(f64, f64)| (p.1 - slope * (p.0 - begin)).abs() <= 1e-6 * peak;
    let beyond = points.iter().position(|p| p.0 > begin && !on_line(p)).unwrap_or(points.len());
    let top = begin + peak / slope;
    let last_on_line = points[beyond.saturating_sub(1)].0;
    if beyond < points.len() && top > last_on_line && top < points[beyond].0 {
        points.insert(beyond, (top, peak));
    }
    if points[0].0 > begin {
        points.insert(0, (begin, 0.0));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linear warm-up, then linear to zero: the rate of step n, counted from 1.
    fn linear(peak: f64, warmup: u64, max: u64) -> impl Fn(u64) -> f64 {
        move |n| {
            let s = (n - 1) as f64;
            if n - 1 < warmup {
                peak * s / warmup as f64
            } else {
                peak * (max as f64 - s) / (max - warmup) as f64
            }
        }
    }

    fn assert_rebuilt(
        rate: impl Fn(u64) -> f64,
        logged: impl Iterator<Item = u64>,
        peak: Option<f64>,
        last: u64,
    ) {
        let points: Vec<_> = logged.map(|n| (n, rate(n))).collect();
        let schedule = LoggedSchedule::new(&points, peak, Some(last)).unwrap();
        for n in 1..=last {
            let (found, expected) = (schedule.rate(n), rate(n));
            assert!((found - expected).abs() <= 1e-12, "step {n}: {found} instead of {expected}");
        }
    }

    #[test]
    fn sparse_log_after_the_warm_up() {
        for every in [6, 7, 10, 25] {
            assert_rebuilt(linear(2e-3, 5, 224), (every..=220).step_by(every as usize), Some(2e-3), 224);
        }
    }

    #[test]
    fn dense_log() {
        assert_rebuilt(linear(2e-5, 13, 420), 1..=420, Some(2e-5), 420);
        assert_rebuilt(linear(2e-5, 13, 420), 1..=420, None, 420);
    }

    #[test]
    fn warm_up_longer_than_the_first_log() {
        for warmup in [11, 13, 20, 21, 50, 53] {
            assert_rebuilt(linear(1e-4, warmup, 400), (10..=390).step_by(10), Some(1e-4), 400);
        }
    }

    #[test]
    fn first_step_logged_too() {
        let steps = || [1].into_iter().chain((10..=200).step_by(10));
        assert_rebuilt(linear(1e-3, 5, 224), steps(), Some(1e-3), 224);
        assert_rebuilt(linear(1e-3, 30, 224), steps(), Some(1e-3), 224);
    }

    #[test]
    fn no_warm_up() {
        assert_rebuilt(linear(1e-3, 0, 100), (10..=90).step_by(10), Some(1e-3), 100);
        assert_rebuilt(linear(1e-3, 0, 100), (10..=90).step_by(10), None, 100);
    }

    #[test]
    fn constant_rate() {
        assert_rebuilt(|_| 3e-4, (10..=50).step_by(10), Some(3e-4), 60);
        assert_rebuilt(|_| 3e-4, [10].into_iter(), Some(3e-4), 60);
        assert_rebuilt(|_| 3e-4, (10..=50).step_by(10), None, 60);
    }

    /// A warm-up, and half a wave that ends at 0 after the last step.
    fn cosine(peak: f64, warmup: u64, max: u64) -> impl Fn(u64) -> f64 {
        move |n| {
            let s = (n - 1) as f64;
            if n - 1 < warmup {
                return peak * s / warmup as f64;
            }
            let part = (s - warmup as f64) / (max - warmup) as f64;
            peak * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
        }
    }

    #[test]
    fn a_cosine_is_rebuilt_from_a_sparse_log() {
        for warmup in [0, 1, 7, 25, 60] {
            let rate = cosine(2e-3, warmup, 224);
            for every in [1, 10, 25, 50, 56] {
                assert_rebuilt(&rate, (every..=224).step_by(every as usize), Some(2e-3), 224);
                assert_rebuilt(&rate, (1..=224).step_by(every as usize), Some(2e-3), 224);
            }
            // A log has the rate of the next step where there is no warm-up.
            if warmup == 0 {
                assert_rebuilt(|n| rate(n + 1), (20..=220).step_by(20), Some(2e-3), 223);
                // They are on a line, too.
                assert_rebuilt(|n| rate(n + 1), [56, 112, 168].into_iter(), Some(2e-3), 223);
                let points: Vec<_> = (20..=220).step_by(20).map(|n| (n, rate(n + 1))).collect();
                let schedule = LoggedSchedule::new(&points, Some(2e-3), Some(224)).unwrap();
                assert!((1..=223).all(|n| (schedule.rate(n) - rate(n + 1)).abs() <= 1e-12));
            }
        }
        let points: Vec<_> = (1..=6).map(|at| (at * 30, cosine(1e-3, 11, 224)(at * 30))).collect();
        let mean = |max_steps| LoggedSchedule::new(&points, Some(1e-3), max_steps).unwrap().mean(113, 168);
        let exact = (113..=168).map(cosine(1e-3, 11, 224)).sum::<f64>() / 56.0;
        assert!((mean(Some(224)) / exact - 1.0).abs() < 1e-9);
        // Of another run, and of one that does not say how long it is.
        assert!([Some(300), None].into_iter().all(|steps| (mean(steps) / exact - 1.0).abs() > 1e-4));
    }

    #[test]
    fn a_cosine_to_a_least_rate_is_rebuilt_from_a_sparse_log() {
        for (warmup, least) in [(0, 0.1), (7, 0.1), (25, 0.5), (60, 1e-3)] {
            let to_zero = cosine(2e-3, warmup, 224);
            let rate = |n: u64| match n > warmup {
                true => 2e-3 * least + (1.0 - least) * to_zero(n),
                false => to_zero(n),
            };
            for every in [1, 10, 25, 50, 56] {
                assert_rebuilt(rate, (every..=224).step_by(every as usize), Some(2e-3), 224);
                assert_rebuilt(rate, (1..=224).step_by(every as usize), Some(2e-3), 224);
            }
        }
    }

    /// Logs that have the rate of the next step in the entry of each.
    #[test]
    fn rates_of_next_steps_are_rebuilt_from_a_sparse_log() {
        let (peak, max) = (Some(2e-3), 224);
        for warmup in [0, 1, 5, 13, 25, 60] {
            let (line, wave) = (linear(2e-3, warmup, max), cosine(2e-3, warmup, max));
            let constant = |s: u64| 2e-3 * (s as f64 / warmup.max(1) as f64).min(1.0);
            let above_zero = |n: u64| match n > warmup {
                true => 2e-4 + 0.9 * wave(n),
                false => wave(n),
            };
            for every in [1, 7, 10, 25, 50] {
                let logged = || (every..=max).step_by(every as usize);
                assert_rebuilt(|n| line(n + 1), logged(), peak, max);
                assert_rebuilt(|n| wave(n + 1), logged(), peak, max);
                assert_rebuilt(|n| above_zero(n + 1), logged(), peak, max);
                // Without an end, points of the warm-up tell.
                if every < warmup {
                    assert_rebuilt(constant, logged(), peak, max);
                    assert_rebuilt(|n| constant(n - 1), logged(), peak, max);
                }
            }
        }
    }

    /// Twelve epochs of five steps, of which the first is the warm-up, and every seventh step is logged.
    #[test]
    fn epochs_of_a_sparse_log_weigh_what_those_of_a_whole_one_do() {
        let (line, wave) = (linear(1e-3, 5, 60), cosine(1e-3, 5, 60));
        let curves: [&dyn Fn(u64) -> f64; 2] = [&line, &wave];
        // A log of the steps' own rates, and one of those of the next steps.
        for (later, first_epoch) in [(0, 4e-4), (1, 6e-4)] {
            for rate in curves {
                let of_log = |every: u64| {
                    let points: Vec<_> =
                        (every..=60).step_by(every as usize).map(|n| (n, rate(n + later))).collect();
                    LoggedSchedule::new(&points, Some(1e-3), Some(60)).unwrap()
                };
                let (whole, sparse) = (of_log(1), of_log(7));
                assert!((sparse.mean(1, 5) - first_epoch).abs() <= 1e-12);
                for last in (5..=60).step_by(5) {
                    let (found, due) = (sparse.mean(last - 4, last), whole.mean(last - 4, last));
                    assert!((found - due).abs() <= 1e-12, "{last}: {found} instead of {due}");
                    assert!(sparse.tells(last - 4, last));
                }
            }
        }
    }

    #[test]
    fn a_line_is_no_cosine() {
        // Both are at the same quarters of the peak.
        let rate = linear(1e-3, 60, 260);
        assert_rebuilt(rate, [61, 111, 161, 211].into_iter(), Some(1e-3), 260);
    }

    #[test]
    fn a_few_points_tell_a_line() {
        for (warmup, logged) in [
            (4, &[10, 20, 30, 39][..]),
            // They are on half a wave from step 13 to 39 too.
            (12, &[13, 26, 39][..]),
            // The first is in the warm-up, and higher than the second.
            (11, &[10, 20, 30][..]),
            (0, &[13, 26, 39][..]),
            (4, &[20, 39][..]),
        ] {
            assert_rebuilt(linear(2e-3, warmup, 39), logged.iter().copied(), Some(2e-3), 39);
        }
    }

    #[test]
    fn a_log_tells_the_means_that_it_confirms() {
        let told = |rate: &dyn Fn(u64) -> f64, logged: &[u64]| {
            let points: Vec<_> = logged.iter().map(|n| (*n, rate(*n))).collect();
            let schedule = LoggedSchedule::new(&points, Some(2e-3), Some(39)).unwrap();
            [(1, 13), (14, 26), (27, 39)].map(|(first, last)| schedule.tells(first, last))
        };
        assert_eq!(told(&linear(2e-3, 4, 39), &[10, 20, 30, 39]), [true; 3]);
        assert_eq!(told(&cosine(2e-3, 4, 39), &[13, 26, 39]), [true; 3]);
        assert_eq!(told(&linear(2e-3, 4, 39), &[39]), [false; 3]);
        assert_eq!(told(&cosine(2e-3, 4, 39), &[13, 39]), [false; 3]);
        // Of a rate that stays, the warm-up may be hidden before the first point.
        let constant = |n: u64| 2e-3 * ((n - 1) as f64 / 8.0).min(1.0);
        assert_eq!(told(&constant, &[10, 20, 30, 39]), [false, true, true]);
        assert_eq!(told(&constant, &(1..=39).collect::<Vec<u64>>()), [true; 3]);
    }

    #[test]
    fn rates_never_fall_below_zero() {
        let schedule = LoggedSchedule::new(&[(10, 2e-4), (20, 1e-4)], None, None).unwrap();
        assert_eq!(schedule.rate(40), 0.0);
    }

    #[test]
    fn no_log_no_schedule() {
        assert_eq!(LoggedSchedule::new(&[], Some(1.0), None), None);
    }

    /// Section 2.6 of the method's description: warm-up over 13 steps, linear to 0 at 420, epochs end at
    /// 105, 211, 317 and 420.
    #[test]
    fn less_default_weights() {
        // That passage counts the steps from 1 in lr(s) itself, so its rate of step n is
        // our rate of step n + 1.
        let rate = linear(2e-5, 13, 420);
        for (every, peak, max_steps) in [(1, None, None), (10, Some(2e-5), Some(420))] {
            let points: Vec<_> = (every..=420).step_by(every as usize).map(|n| (n, rate(n + 1))).collect();
            let schedule = LoggedSchedule::new(&points, peak, max_steps).unwrap();
            let means = [(1, 105), (106, 211), (212, 317), (318, 420)].map(|(a, b)| schedule.mean(a, b));
            for (mean, expected) in means.iter().zip([1.6855e-5, 1.2850e-5, 7.641e-6, 2.506e-6]) {
                assert!((mean - expected).abs() <= 1e-9, "{mean} instead of {expected}");
            }
            for (mean, less) in means.iter().zip([1.6877e-5, 1.2859e-5, 7.7030e-6, 2.5616e-6]) {
                assert!((mean / less - 1.0).abs() < 0.025);
            }
        }
    }
}
