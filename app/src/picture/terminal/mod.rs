//! Pictures as text: braille for lines, blocks for counts, in as many columns as there are.
//!
//! Without colours, lines are told apart by their signs and tokens have bars.

mod bars;
mod plot;

use gstore_core::wrapped;

use super::font::{cells, cut};
use super::layout::{largest, lowest, named, visible};
use super::scale::{Scale, number};
use super::scene::Role;
use super::{Body, Heat, Picture, TerminalStyle, Token};

const COLOURS: [u8; 6] = [34, 33, 32, 35, 31, 36];

/// Grey.
const MUTED: u8 = 90;

/// Signs of the series where there are no colours.
const SIGNS: [char; 6] = ['*', 'o', '+', 'x', '#', '@'];

/// Fewest columns that anything is drawn in.
const NARROW: usize = 20;

pub(super) fn text(picture: &Picture, style: TerminalStyle) -> String {
    let style = TerminalStyle { width: style.width.max(NARROW), height: style.height.clamp(3, 60), ..style };
    let mut out = String::new();
    wrap(&mut out, &picture.title, style.width, |line| bold(line, style));
    for panel in &picture.panels {
        out.push('\n');
        let heading = panel.drawn_heading();
        if heading != picture.title {
            wrap(&mut out, &heading, style.width, |line| bold(line, style));
        }
        match &panel.body {
            Body::Lines { x, y, series } => {
                legend(&mut out, named(series.iter().map(|s| (s.name.as_str(), s.colour))), &SIGNS, style);
                plot::lines(&mut out, (x, y), series, style);
            }
            Body::Histogram(histogram) => {
                let counted = vec![(histogram.y.clone(), Role::Series(0))];
                legend(&mut out, counted, &bars::FILLS, style);
                plot::histogram(&mut out, histogram, style);
            }
            Body::Bars { rows, series, shares } => {
                let names = bars::names(series, style);
                if names.is_empty() {
                    let entries = named(series.iter().enumerate().map(|(i, s)| (s.as_str(), i)));
                    legend(&mut out, entries, &bars::FILLS, style);
                }
                bars::bars(&mut out, rows, &names, *shares, style);
            }
            Body::Tokens(tokens) if style.colour => heat(&mut out, tokens, style.width),
            Body::Tokens(tokens) => bars::list_tokens(&mut out, tokens, style),
            Body::Heat(matrix) => draw_heat(&mut out, matrix, style),
        }
        for note in &panel.notes {
            wrap(&mut out, note, style.width, |line| painted(line, MUTED, style));
        }
    }
    out
}

fn painted(text: &str, colour: u8, style: TerminalStyle) -> String {
    if style.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
}

fn bold(text: &str, style: TerminalStyle) -> String {
    painted(text, 1, style)
}

/// Adds a text in lines that fit.
fn wrap(out: &mut String, text: &str, width: usize, paint: impl Fn(&str) -> String) {
    let words = text.split_whitespace().map(|word| cut(&visible(word), width));
    for line in wrapped(words, |line| cells(line) <= width) {
        *out += &paint(&line);
        out.push('\n');
    }
}

fn legend(out: &mut String, entries: Vec<(String, Role)>, signs: &[char], style: TerminalStyle) {
    let mut used = 0;
    for (name, role) in &entries {
        let Role::Series(n) = role else { continue };
        let sign = if style.colour { '━' } else { signs[n % signs.len()] };
        let name = cut(&visible(name), style.width.saturating_sub(2));
        let wide = cells(&name) + 2;
        if used > 0 {
            let fits = used + 3 + wide <= style.width;
            *out += if fits { "   " } else { "\n" };
            used = if fits { used + 3 } else { 0 };
        }
        *out += &format!("{} {name}", painted(&sign.to_string(), COLOURS[n % COLOURS.len()], style));
        used += wide;
    }
    if used > 0 {
        out.push('\n');
    }
}

/// Tokens on coloured ground: five shades of blue above zero, of orange below.
fn heat(out: &mut String, tokens: &[Token], width: usize) {
    // Light grounds have black letters, dark ones white.
    const ABOVE: [(u8, u8); 5] = [(189, 16), (153, 16), (111, 16), (69, 231), (27, 231)];
    const BELOW: [(u8, u8); 5] = [(230, 16), (223, 16), (216, 16), (208, 16), (166, 231)];
    let (most, mut used) = (largest(tokens), 0);
    if most > 0.0 {
        let (low, high) = (lowest(tokens), number(most));
        let below = if low < 0.0 { &BELOW[..] } else { &[] };
        if cells(&number(low)) + below.len() + ABOVE.len() + cells(&high) + 2 <= width {
            let grounds = below.iter().rev().chain(&ABOVE);
            let shades: String =
                grounds.map(|(ground, _)| format!("\u{1b}[48;5;{ground}m \u{1b}[0m")).collect();
            *out += &format!("{} {shades} {high}\n", number(low));
        }
    }
    for token in tokens {
        let text = cut(&visible(&token.text), width);
        let wide = cells(&text);
        if used > 0 && used + wide > width {
            out.push('\n');
            used = 0;
        }
        match token.value.filter(|v| v.is_finite() && most > 0.0) {
            Some(v) => {
                let shade = ((v.abs() / most * 5.0) as usize).min(4);
                let (ground, ink) = if v < 0.0 { BELOW[shade] } else { ABOVE[shade] };
                *out += &format!("\u{1b}[48;5;{ground};38;5;{ink}m{text}\u{1b}[0m");
            }
            None => *out += &format!("\u{1b}[{MUTED}m{text}\u{1b}[0m"),
        }
        used += wide;
        if token.text.ends_with('\n') {
            out.push('\n');
            used = 0;
        }
    }
    if used > 0 {
        out.push('\n');
    }
}

/// A matrix in shades, of as many rows and columns as there is room for.
fn draw_heat(out: &mut String, heat: &Heat, style: TerminalStyle) {
    const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
    let Some((low, high)) = heat.range() else { return };
    let scale = heat.scale();
    let (lines, wide) = (heat.rows().min(style.height), heat.columns.min(style.width));
    for line in 0..lines {
        let shade = |at: usize| {
            let (row, column) = (line * heat.rows() / lines, at * heat.columns / wide);
            let place = heat.values.get(row * heat.columns + column).and_then(|value| scale.place(*value));
            place.map_or(' ', |place| SHADES[((place * 5.0) as usize).min(4)])
        };
        let drawn: String = (0..wide).map(shade).collect();
        *out += &painted(drawn.trim_end(), COLOURS[0], style);
        out.push('\n');
    }
    let key = format!("{} {} to {} {}; {}", SHADES[0], number(low), SHADES[4], number(high), heat.axes());
    wrap(out, &key, style.width, |line| painted(line, MUTED, style));
}

/// Labels of an axis from left to right in `width` cells, each in the middle below its place, without those
/// that would touch the one before.
fn labels(scale: &Scale, width: usize) -> String {
    let mut line = String::new();
    for tick in &scale.ticks {
        let (Some(place), label) = (scale.place(*tick), scale.label(*tick)) else { continue };
        let middle = (place * width.saturating_sub(1) as f64).round() as usize;
        let from = middle.saturating_sub(cells(&label) / 2).min(width.saturating_sub(cells(&label)));
        let used = cells(&line);
        if from >= used + usize::from(used > 0) && from + cells(&label) <= width {
            line += &" ".repeat(from - used);
            line += &label;
        }
    }
    line
}
