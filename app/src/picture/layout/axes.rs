//! Plots over two axes: lines and histograms.

use super::super::colour::dash;
use super::super::scale::{Scale, number};
use super::super::scene::{Anchor, Item, Role, Scene};
use super::super::{Axis, Histogram, Series, Steps, font};
use super::{EDGE, TEXT, WIDTH, legend, named, tick, visible};

/// Where a plot lies, and its scales.
struct PlotArea {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: Scale,
    y: Scale,
}

impl PlotArea {
    /// A frame whose left side has room for the labels; draws grid, axes and labels.
    fn new(scene: &mut Scene, (x, y): (Scale, Scale), x_name: &str, (top, height): (f64, f64)) -> Self {
        let labels = y.ticks.iter().map(|v| font::width(&y.label(*v)) * TEXT);
        let left = EDGE + labels.fold(20.0, f64::max) + 8.0;
        let frame = Self { left, top, width: WIDTH - EDGE - left, height, x, y };
        let (right, bottom) = (left + frame.width, top + height);
        for value in &frame.y.ticks {
            let Some(y) = frame.down(*value) else { continue };
            scene.rule([left, y], [right, y], Role::Grid);
            tick(scene, [left - 8.0, y + 4.0], &frame.y.label(*value), Anchor::End);
        }
        for value in &frame.x.ticks {
            let Some(x) = frame.right(*value) else { continue };
            scene.rule([x, bottom], [x, bottom + 4.0], Role::Muted);
            let label = frame.x.label(*value);
            // The last one may not go beyond the picture.
            let middle = x.min(WIDTH - font::width(&label) * TEXT / 2.0);
            tick(scene, [middle, bottom + 17.0], &label, Anchor::Middle);
        }
        scene.rule([left, bottom], [right, bottom], Role::Muted);
        tick(scene, [left + frame.width / 2.0, bottom + 33.0], &visible(x_name), Anchor::Middle);
        frame
    }

    fn right(&self, value: f64) -> Option<f64> {
        Some(self.left + self.x.place(value)? * self.width)
    }

    fn down(&self, value: f64) -> Option<f64> {
        Some(self.top + (1.0 - self.y.place(value)?) * self.height)
    }

    fn end(&self) -> f64 {
        self.top + self.height + 36.0
    }
}

/// Lines over two axes; returns the lower end.
pub(super) fn lines(
    scene: &mut Scene,
    (x, y): (&Axis, &Axis),
    series: &[Series],
    (top, height): (f64, f64),
) -> f64 {
    let entries = named(series.iter().map(|s| (s.name.as_str(), s.colour)));
    let top = legend(scene, &entries, dash, top) + 4.0;
    let all = |i: usize| series.iter().flat_map(move |s| s.points.iter().map(move |p| p[i]));
    let scales = (Scale::of(all(0), x.steps, 0.0, 8), Scale::of(all(1), y.steps, 0.05, 5));
    let frame = PlotArea::new(scene, scales, &x.name, (top, height));
    for series in series {
        let role = Role::Series(series.colour);
        // Dashes of a line that goes up and down at each point would hide it.
        let (width, opacity, dash) = if series.faint { (1.0, 0.35, None) } else { (1.8, 1.0, dash(role)) };
        let places: Vec<Option<[f64; 2]>> =
            series.points.iter().map(|[x, y]| Some([frame.right(*x)?, frame.down(*y)?])).collect();
        for part in places.split(Option::is_none).filter(|part| !part.is_empty()) {
            let points: Vec<[f64; 2]> = part.iter().flatten().copied().collect();
            match points[..] {
                // A single point is no line.
                [[x, y]] => scene.block([x - 2.0, y - 2.0, 4.0, 4.0], role, opacity, String::new()),
                _ => scene.items.push(Item::Line { points, role, width, opacity, dash }),
            }
        }
    }
    frame.end()
}

/// Columns over a range of values; returns the lower end.
pub(super) fn histogram(scene: &mut Scene, histogram: &Histogram, (top, height): (f64, f64)) -> f64 {
    let Histogram { x, y, first, width, counts, band, marks } = histogram;
    let edge = |i: usize| first + width * i as f64;
    let marked = marks.iter().map(|(value, _)| *value);
    let range = [*first, edge(counts.len())].into_iter().chain(marked);
    let most = counts.iter().max().copied().unwrap_or(1).max(1);
    let heights = [0.0, most as f64 * 1.05].into_iter();
    let scales = (Scale::of(range, Steps::Linear, 0.0, 8), Scale::of(heights, Steps::Linear, 0.0, 5));
    // What is off the axis has no colour to explain.
    let band = band.as_ref().filter(|(low, high, _)| {
        let at = |value: f64| scales.0.place(value);
        at(*low).is_some_and(|low| low < 1.0) && at(*high).is_some_and(|high| high > 0.0)
    });
    let mut entries = vec![(y.clone(), Role::Series(0))];
    entries.extend(band.iter().map(|(.., name)| (name.clone(), Role::Series(1))));
    let top = legend(scene, &entries, |_| None, top) + 4.0;
    let frame = PlotArea::new(scene, scales, x, (top, height));
    let bottom = frame.top + frame.height;
    let clamp = |x: f64| x.clamp(frame.left, frame.left + frame.width);
    if let Some((low, high, name)) = band
        && let (Some(low), Some(high)) = (frame.right(*low), frame.right(*high))
    {
        let (low, high) = (clamp(low), clamp(high));
        scene.block([low, frame.top, high - low, frame.height], Role::Series(1), 0.18, visible(name));
    }
    for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (Some(left), Some(right), Some(y)) =
            (frame.right(edge(i)), frame.right(edge(i + 1)), frame.down(*count as f64))
        else {
            continue;
        };
        let gap = ((right - left) * 0.08).min(1.0);
        let about = format!("{} to {}: {}", number(edge(i)), number(edge(i + 1)), number(*count as f64));
        scene.block([left, y, (right - left - gap).max(0.2), bottom - y], Role::Series(0), 0.85, about);
    }
    for (value, name) in marks {
        let Some(x) = frame.right(*value) else { continue };
        scene.rule([x, frame.top], [x, bottom], Role::Ink);
        let anchor = if x > frame.left + frame.width * 0.6 { Anchor::End } else { Anchor::Start };
        let x = if anchor == Anchor::End { x - 5.0 } else { x + 5.0 };
        tick(scene, [x, frame.top + TEXT], &visible(name), anchor);
    }
    frame.end()
}
