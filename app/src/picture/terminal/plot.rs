//! Lines and histograms in cells, with axes.

use super::super::scale::{Scale, number};
use super::super::{Axis, Histogram, Series, Steps, TerminalStyle};
use super::{COLOURS, MUTED, SIGNS, cells, cut, labels, painted, visible, wrap};

/// What fills a cell from its lower end, by eighths.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Bits of braille for the dots of a cell, by row and column.
const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// Cells of a plot, each with a sign and a colour.
struct TerminalCells {
    width: usize,
    height: usize,
    signs: Vec<(char, Option<u8>)>,
}

impl TerminalCells {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, signs: vec![(' ', None); width * height] }
    }

    /// Adds the cells below each other, with the labels of the vertical axis before them and the horizontal
    /// axis at the end.
    fn write(&self, out: &mut String, (x, y): (&Scale, &Scale), x_name: &str, style: TerminalStyle) {
        let margin = margin(y);
        let mut rows = vec![String::new(); self.height];
        for tick in &y.ticks {
            let Some(place) = y.place(*tick) else { continue };
            let row = ((1.0 - place) * (self.height - 1) as f64).round().max(0.0) as usize;
            rows[row.min(self.height - 1)] = y.label(*tick);
        }
        for (label, signs) in rows.iter().zip(self.signs.chunks(self.width)) {
            let end = if label.is_empty() { '│' } else { '┤' };
            *out += &" ".repeat(margin - cells(label));
            *out += &painted(&format!("{label}{end}"), MUTED, style);
            // Cells of one colour are painted together.
            for part in signs.chunk_by(|a, b| a.1 == b.1) {
                let text: String = part.iter().map(|(sign, _)| sign).collect();
                *out += &part[0].1.map_or(text.clone(), |colour| painted(&text, colour, style));
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        *out += &painted(&format!("{}└{}", " ".repeat(margin), "─".repeat(self.width)), MUTED, style);
        let (below, space) = (labels(x, self.width), " ".repeat(margin + 1));
        *out += &format!("\n{space}{}\n", painted(&below, MUTED, style));
        let name = cut(&visible(x_name), self.width);
        let before = (self.width - cells(&name)) / 2;
        *out += &format!("{space}{}{}\n", " ".repeat(before), painted(&name, MUTED, style));
    }
}

/// Columns that the labels of a vertical axis take.
fn margin(y: &Scale) -> usize {
    y.ticks.iter().map(|tick| cells(&y.label(*tick))).max().unwrap_or(0)
}

pub(super) fn lines(out: &mut String, (x, y): (&Axis, &Axis), series: &[Series], style: TerminalStyle) {
    // There is no faint line in cells, so that a line behind another one of its colour is left out.
    let clear = |s: &&Series| !s.faint || !series.iter().any(|o| o.colour == s.colour && !o.faint);
    let series: Vec<&Series> = series.iter().filter(clear).collect();
    let all = |i: usize| series.iter().flat_map(move |s| s.points.iter().map(move |p| p[i]));
    let y = Scale::of(all(1), y.steps, 0.02, (style.height / 3).max(2));
    let width = style.width.saturating_sub(margin(&y) + 1).max(1);
    let name = &x.name;
    // Labels of times have up to 11 characters.
    let apart = if x.steps == Steps::Time { 13 } else { 10 };
    let x = Scale::of(all(0), x.steps, 0.0, width / apart);
    let mut dots = BrailleDots::new(width, style.height);
    let several = series.iter().any(|s| s.colour != series[0].colour);
    for series in &series {
        let mut last = None;
        for [px, py] in &series.points {
            let place = x.place(*px).zip(y.place(*py)).map(|(px, py)| dots.place(px, py));
            if let Some(to) = place {
                dots.line(last.unwrap_or(to), to, series.colour);
            }
            last = place;
        }
    }
    let mut cells = TerminalCells::new(width, style.height);
    for (cell, (bits, colour)) in cells.signs.iter_mut().zip(&dots.cells) {
        if *bits == 0 {
            continue;
        }
        let sign = match several && !style.colour {
            true => SIGNS[colour % SIGNS.len()],
            false => char::from_u32(0x2800 + u32::from(*bits)).unwrap_or('*'),
        };
        *cell = (sign, Some(COLOURS[colour % COLOURS.len()]));
    }
    cells.write(out, (&x, &y), name, style);
}

/// Dots of braille, two by four in a cell, and the series that was drawn last in it.
struct BrailleDots {
    width: usize,
    height: usize,
    cells: Vec<(u8, usize)>,
}

impl BrailleDots {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, cells: vec![(0, 0); width * height] }
    }

    /// The dot at a place of 0..1, y upwards.
    fn place(&self, x: f64, y: f64) -> (i64, i64) {
        let at = |v: f64, dots: usize| (v.clamp(0.0, 1.0) * (dots - 1) as f64).round() as i64;
        (at(x, self.width * 2), at(1.0 - y, self.height * 4))
    }

    fn line(&mut self, (ax, ay): (i64, i64), (bx, by): (i64, i64), colour: usize) {
        let steps = (bx - ax).abs().max((by - ay).abs()).max(1);
        for step in 0..=steps {
            let between =
                |a: i64, b: i64| (a as f64 + (b - a) as f64 * step as f64 / steps as f64).round() as usize;
            let (x, y) = (between(ax, bx), between(ay, by));
            let cell = &mut self.cells[y / 4 * self.width + x / 2];
            *cell = (cell.0 | DOTS[y % 4][x % 2], colour);
        }
    }
}

/// Columns of counts.
pub(super) fn histogram(out: &mut String, histogram: &Histogram, style: TerminalStyle) {
    let Histogram { x: name, first, width: wide, counts, band, marks, .. } = histogram;
    let highest = counts.iter().max().copied().unwrap_or(1).max(1) as f64;
    let y = Scale::of([0.0, highest].into_iter(), Steps::Linear, 0.0, (style.height / 3).max(2));
    let width = style.width.saturating_sub(margin(&y) + 1).max(1);
    let last = first + wide * counts.len() as f64;
    let x = Scale::of([*first, last].into_iter(), Steps::Linear, 0.0, width / 10);
    let mut cells = TerminalCells::new(width, style.height);
    for column in 0..width {
        // Columns and intervals need not be of one width: a column shows the highest interval it touches.
        let from = column * counts.len() / width;
        let to = ((column + 1) * counts.len()).div_ceil(width).clamp(from + 1, counts.len().max(from + 1));
        let Some(count) = counts.get(from..to.min(counts.len())).and_then(|part| part.iter().max()) else {
            continue;
        };
        let middle = first + (last - first) * (column as f64 + 0.5) / width as f64;
        let noise = band.as_ref().is_some_and(|(low, high, _)| (*low..=*high).contains(&middle));
        let eighths = (*count as f64 / highest * (style.height * 8) as f64).ceil() as usize;
        for row in 0..style.height {
            let filled = eighths.saturating_sub((style.height - 1 - row) * 8).min(8);
            let colour = (filled > 0).then_some(COLOURS[usize::from(noise)]);
            cells.signs[row * width + column] = (EIGHTHS[filled], colour);
        }
    }
    cells.write(out, (&x, &y), name, style);
    if let Some((low, high, name)) = band {
        let text = format!("{name}: {} to {}", number(*low), number(*high));
        // Where no column has its colour, neither has its name.
        let on_axis = *low < last && *high > *first;
        wrap(out, &text, style.width, |line| match on_axis {
            true => painted(line, COLOURS[1], style),
            false => line.to_owned(),
        });
    }
    for (value, name) in marks {
        wrap(out, &format!("{name}: {}", number(*value)), style.width, |line| line.to_owned());
    }
}
