//! Bars in cells: from the left, or to both sides of a line at zero where a value is below it.

use super::super::font::{cells, cut};
use super::super::layout::{value_of_bar, visible};
use super::super::scale::number;
use super::super::{TerminalStyle, Token};
use super::{COLOURS, painted};

/// What is drawn in a cell for each eighth of its width.
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// The same from its right side, of which there are three.
const FROM_RIGHT: [char; 8] = [' ', '▕', '▕', '▐', '▐', '▐', '█', '█'];

/// Fillings of bars where there are no colours.
pub(super) const FILLS: [char; 3] = ['█', '▒', '░'];

/// How bars are drawn next to each other.
struct BarScale {
    /// Cells to the left of the line at zero; without the line there are none.
    left: Option<usize>,
    /// The largest distance from zero.
    largest: f64,
    /// Its length in cells.
    longest: f64,
}

impl BarScale {
    /// For these values in `room` cells.
    fn new(values: impl Iterator<Item = f64>, room: usize) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if low >= 0.0 {
            return Self { left: None, largest: high, longest: room as f64 };
        }
        // The line takes a cell.
        let (low, sides) = (-low, room.saturating_sub(1));
        let share = 1.0 / (1.0 + high / low);
        let least = usize::from(sides > 1 && high > 0.0);
        let left = ((share * sides as f64).round() as usize).clamp(least, sides - least);
        let largest = low.max(high);
        // One scale on both sides, by which neither is too short.
        let longest =
            |side: usize, end: f64| if end > 0.0 { side as f64 * (largest / end) } else { f64::INFINITY };
        Self { left: Some(left), largest, longest: longest(left, low).min(longest(sides - left, high)) }
    }

    /// The bar of a value, to an eighth of a cell; of one that is not finite there is none.
    fn bar(&self, value: f64) -> String {
        let share = if self.largest > 0.0 && value.is_finite() { value.abs() / self.largest } else { 0.0 };
        let eighths = (share * self.longest * 8.0).round() as usize;
        let (whole, part) = ("█".repeat(eighths / 8), eighths % 8);
        let ended = |end: [char; 8]| if part > 0 { end[part].to_string() } else { String::new() };
        match self.left {
            Some(left) if value < 0.0 => {
                let bar = ended(FROM_RIGHT) + &whole;
                format!("{}{bar}│", " ".repeat(left.saturating_sub(cells(&bar))))
            }
            Some(left) => format!("{}│{whole}{}", " ".repeat(left), ended(EIGHTHS)),
            None => whole + &ended(EIGHTHS),
        }
    }
}

/// Names of series that stand at their bars; none where colours or fillings tell the series apart.
pub(super) fn names(series: &[String], style: TerminalStyle) -> Vec<String> {
    let looks = if style.colour { COLOURS.len() } else { FILLS.len() };
    match series.len() > looks {
        true => series.iter().map(|name| visible(name)).collect(),
        false => Vec::new(),
    }
}

/// Bars of each label below each other, with the names of their series if there are any.
pub(super) fn bars(
    out: &mut String,
    rows: &[(String, Vec<f64>)],
    names: &[String],
    shares: bool,
    style: TerminalStyle,
) {
    // Labels are values of the data, which may hold what a terminal obeys.
    let labels: Vec<String> = rows.iter().map(|(label, _)| visible(label)).collect();
    let most = labels.iter().map(|label| cells(label)).max().unwrap_or(0).min(style.width / 3);
    let values = rows.iter().flat_map(|(_, values)| values.iter().copied());
    let longest = values.clone().map(|v| cells(&value_of_bar(v, shares))).max().unwrap_or(0);
    let beside = style.width.saturating_sub(most + longest + 2);
    // A name leaves a cell for the space behind it, and one for the bar.
    let named = names.iter().map(|name| cells(name)).max().unwrap_or(0);
    let named = named.min(style.width / 4).min(beside.saturating_sub(2));
    let room = if names.is_empty() { beside } else { beside.saturating_sub(named + 1) };
    let ground = BarScale::new(values, room.max(1));
    for ((_, values), label) in rows.iter().zip(&labels) {
        for (i, v) in values.iter().enumerate() {
            let label = if i == 0 { cut(label, most) } else { String::new() };
            let drawn = match style.colour {
                true => painted(&ground.bar(*v), COLOURS[i % COLOURS.len()], style),
                false => ground.bar(*v).replace('█', &FILLS[i % FILLS.len()].to_string()),
            };
            let space = " ".repeat(most - cells(&label));
            let name = names.get(i).map_or_else(String::new, |name| {
                let name = cut(name, named);
                format!("{name}{} ", " ".repeat(named - cells(&name)))
            });
            *out += &format!("{space}{label} {name}{drawn} {}\n", value_of_bar(*v, shares));
        }
    }
}

/// Tokens below each other, with bars.
pub(super) fn list_tokens(out: &mut String, tokens: &[Token], style: TerminalStyle) {
    let valued: Vec<(String, f64)> =
        tokens.iter().filter_map(|t| Some((visible(&t.text), t.value.filter(|v| v.is_finite())?))).collect();
    let most = valued.iter().map(|(text, _)| cells(text)).max().unwrap_or(0).min(style.width / 3);
    let longest = valued.iter().map(|(_, v)| cells(&number(*v))).max().unwrap_or(0);
    let room = style.width.saturating_sub(most + longest + 2).max(1);
    let ground = BarScale::new(valued.iter().map(|(_, v)| *v), room);
    for (text, v) in &valued {
        let (text, shown) = (cut(text, most), number(*v));
        let (left, right) = (" ".repeat(most - cells(&text)), " ".repeat(longest - cells(&shown)));
        *out += format!("{text}{left} {right}{shown} {}", ground.bar(*v)).trim_end();
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: TerminalStyle = TerminalStyle { width: 40, height: 8, colour: false };

    #[test]
    fn bars_below_zero_go_to_the_left_of_it() {
        let rows = [("up", 1.0), ("down", -0.5), ("none", 0.0), ("nan", f64::NAN)];
        let mut out = String::new();
        bars(&mut out, &rows.map(|(label, value)| (label.to_owned(), vec![value])), &[], false, STYLE);
        let (space, up, down) = (" ".repeat(9), "█".repeat(18), "█".repeat(9));
        let want = [
            format!("  up {space}│{up} 1"),
            format!("down {down}│ -0.5"),
            format!("none {space}│ 0"),
            format!(" nan {space}│ (none)"),
        ];
        assert_eq!(out.lines().collect::<Vec<_>>(), want);
        let mut out = String::new();
        let token = |(text, value): (&str, f64)| Token { text: text.to_owned(), value: Some(value) };
        list_tokens(&mut out, &[token(("a", -2.0)), token(("b", -1.0))], STYLE);
        let (whole, half) = ("█".repeat(34), "█".repeat(17));
        assert_eq!(out, format!("a -2 {whole}│\nb -1 {}{half}│\n", " ".repeat(17)));
    }

    #[test]
    fn bars_of_any_values_fit_any_room() {
        let tiny = f64::from_bits(1);
        for values in
            [[f64::MAX, -tiny], [-f64::MAX, tiny], [f64::MAX, -f64::MAX], [-tiny, 0.0], [-1.0, 1e-9]]
        {
            for room in [1, 2, 3, 30] {
                let ground = BarScale::new(values.into_iter(), room);
                for value in values {
                    assert!(cells(&ground.bar(value)) <= room, "{values:?} in {room}: {value}");
                }
            }
        }
    }
}
