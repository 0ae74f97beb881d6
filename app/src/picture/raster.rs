//! Pixels: boxes, lines and glyphs, drawn with the share of each pixel that they cover.

use super::font::{Glyph, Stroke};

/// Straight parts of a curve.
const PARTS: usize = 6;

/// An image of 8 bits a channel.
pub(super) struct Raster {
    pub width: usize,
    pub height: usize,
    /// Red, green, blue of each pixel, row by row.
    pub pixels: Vec<u8>,
}

/// A colour as 0xRRGGBB and how much of it is laid on.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    pub colour: u32,
    pub opacity: f64,
}

impl Raster {
    /// An image of one colour.
    pub(super) fn new(width: usize, height: usize, ground: u32) -> Self {
        let [_, r, g, b] = ground.to_be_bytes();
        Self { width, height, pixels: [r, g, b].repeat(width * height) }
    }

    /// Lays colour on a part of a pixel; outside of the image nothing happens.
    fn blend(&mut self, x: usize, y: usize, paint: Paint, covered: f64) {
        let share = covered.clamp(0.0, 1.0) * paint.opacity;
        if x >= self.width || y >= self.height || share <= 0.0 {
            return;
        }
        let at = (y * self.width + x) * 3;
        let [_, r, g, b] = paint.colour.to_be_bytes();
        for (pixel, new) in self.pixels[at..at + 3].iter_mut().zip([r, g, b]) {
            let old = f64::from(*pixel);
            *pixel = (old + (f64::from(new) - old) * share + 0.5) as u8;
        }
    }

    /// The pixels that a box touches, inside of the image.
    fn pixels_of(&self, [left, top, right, bottom]: [f64; 4]) -> [std::ops::Range<usize>; 2] {
        let within = |low: f64, high: f64, most: usize| {
            let high = (high.ceil().max(0.0) as usize).min(most);
            (low.floor().max(0.0) as usize).min(high)..high
        };
        [within(left, right, self.width), within(top, bottom, self.height)]
    }

    pub(super) fn fill(&mut self, [x, y, width, height]: [f64; 4], paint: Paint) {
        let (right, bottom) = (x + width, y + height);
        let [columns, rows] = self.pixels_of([x, y, right, bottom]);
        let share = |low: f64, high: f64, at: usize| high.min(at as f64 + 1.0) - low.max(at as f64);
        for row in rows {
            for column in columns.clone() {
                self.blend(
                    column,
                    row,
                    paint,
                    share(x, right, column).max(0.0) * share(y, bottom, row).max(0.0),
                );
            }
        }
    }

    /// A line with round ends and corners. Where it crosses itself it is as light as elsewhere.
    pub(super) fn line(&mut self, points: &[[f64; 2]], width: f64, paint: Paint) {
        let reach = width / 2.0 + 0.5;
        let ends = points.iter().fold([f64::MAX, f64::MAX, f64::MIN, f64::MIN], |[l, t, r, b], [x, y]| {
            [l.min(x - reach), t.min(y - reach), r.max(x + reach), b.max(y + reach)]
        });
        let [columns, rows] = self.pixels_of(ends);
        let mut covered = vec![0f32; columns.len() * rows.len()];
        for pair in points.windows(2) {
            let [[ax, ay], [bx, by]] = [pair[0], pair[1]];
            let [own_columns, own_rows] = self.pixels_of([
                ax.min(bx) - reach,
                ay.min(by) - reach,
                ax.max(bx) + reach,
                ay.max(by) + reach,
            ]);
            for row in own_rows {
                for column in own_columns.clone() {
                    let place = [column as f64 + 0.5, row as f64 + 0.5];
                    let share = (reach - distance(place, [ax, ay], [bx, by])).clamp(0.0, 1.0) as f32;
                    let at = (row - rows.start) * columns.len() + column - columns.start;
                    covered[at] = covered[at].max(share);
                }
            }
        }
        for (i, share) in covered.into_iter().enumerate().filter(|(_, share)| *share > 0.0) {
            let (row, column) = (rows.start + i / columns.len(), columns.start + i % columns.len());
            self.blend(column, row, paint, f64::from(share));
        }
    }

    /// A glyph whose base line begins at a place; `size` pixels are an em.
    pub(super) fn glyph(&mut self, glyph: &Glyph, [x, y]: [f64; 2], size: f64, paint: Paint) {
        let ends = [x - 0.4 * size, y - 1.3 * size, x + 1.6 * size, y + 0.6 * size];
        let [columns, rows] = self.pixels_of(ends);
        if columns.is_empty() || rows.is_empty() {
            return;
        }
        let mut area = PixelCoverage::new(columns.len(), rows.len());
        let origin = [x - columns.start as f64, y - rows.start as f64];
        let place = |[px, py]: [f64; 2]| [origin[0] + px * size, origin[1] - py * size];
        let (mut first, mut last) = ([0.0; 2], [0.0; 2]);
        for stroke in &glyph.strokes {
            match *stroke {
                Stroke::Move(point) => {
                    area.line(last, first);
                    first = place(point);
                    last = first;
                }
                Stroke::Line(point) => {
                    area.line(last, place(point));
                    last = place(point);
                }
                Stroke::Curve(control, end) => {
                    let (from, control, end) = (last, place(control), place(end));
                    for part in 1..=PARTS {
                        let t = part as f64 / PARTS as f64;
                        let at = [0, 1].map(|i| {
                            (1.0 - t) * (1.0 - t) * from[i]
                                + 2.0 * t * (1.0 - t) * control[i]
                                + t * t * end[i]
                        });
                        area.line(last, at);
                        last = at;
                    }
                }
            }
        }
        area.line(last, first);
        for row in 0..area.height {
            let mut sum = 0.0;
            for column in 0..area.width {
                sum += area.steps[row * (area.width + 2) + column];
                self.blend(columns.start + column, rows.start + row, paint, sum.abs());
            }
        }
    }
}

/// Distance of a place from a straight line between two points.
fn distance([x, y]: [f64; 2], [ax, ay]: [f64; 2], [bx, by]: [f64; 2]) -> f64 {
    let (dx, dy) = (bx - ax, by - ay);
    let length = dx * dx + dy * dy;
    let t = if length > 0.0 { (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    let (ex, ey) = (x - ax - t * dx, y - ay - t * dy);
    (ex * ex + ey * ey).sqrt()
}

/// Covered area of pixels as differences along each row, summed from the outlines' edges.
struct PixelCoverage {
    width: usize,
    height: usize,
    /// Two more than the width in each row, for what lies at its end.
    steps: Vec<f64>,
}

impl PixelCoverage {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, steps: vec![0.0; (width + 2) * height] }
    }

    /// Adds the edge between two points: what lies right of it is covered, with the sign of its direction.
    fn line(&mut self, from: [f64; 2], to: [f64; 2]) {
        if from[1] == to[1] {
            return;
        }
        let (sign, [top, bottom]) = if from[1] < to[1] { (1.0, [from, to]) } else { (-1.0, [to, from]) };
        let slope = (bottom[0] - top[0]) / (bottom[1] - top[1]);
        let rows = (top[1].floor().max(0.0) as usize)..(bottom[1].ceil().max(0.0) as usize).min(self.height);
        for row in rows {
            let (low, high) = (top[1].max(row as f64), bottom[1].min(row as f64 + 1.0));
            if high <= low {
                continue;
            }
            let x = |y: f64| (top[0] + (y - top[1]) * slope).clamp(0.0, self.width as f64);
            let (left, right) = (x(low).min(x(high)), x(low).max(x(high)));
            self.spread(row, left, right, sign * (high - low));
        }
    }

    /// Adds an edge inside one row, of this signed height.
    fn spread(&mut self, row: usize, left: f64, right: f64, height: f64) {
        let steps = &mut self.steps[row * (self.width + 2)..(row + 1) * (self.width + 2)];
        let first = left.floor() as usize;
        let last = (right.floor() as usize).min(self.width);
        // The share of the edge in each column covers that column from its middle on, and all later ones.
        for column in first..=last {
            let (low, high) = (left.max(column as f64), right.min(column as f64 + 1.0));
            let share = if right > left { (high - low).max(0.0) / (right - left) } else { 1.0 };
            let inside = 1.0 - ((low + high) / 2.0 - column as f64).clamp(0.0, 1.0);
            steps[column] += height * share * inside;
            steps[column + 1] += height * share * (1.0 - inside);
            if right <= left {
                break;
            }
        }
    }
}
