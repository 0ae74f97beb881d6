//! Bars by label, and texts whose tokens are coloured.

use super::super::scale::{Scale, number};
use super::super::scene::{Anchor, Role, Scene, TextStyle};
use super::super::{SERIES_COLOURS, Steps, Token, font};
use super::{EDGE, TEXT, WIDTH, key, legend, named, tick};

/// Height of a bar, and of a line of tokens.
const BAR: f64 = 11.0;
const LINE: f64 = 22.0;

/// Size of the characters of tokens.
const TOKEN: f64 = 12.5;

/// Widest label of bars, and widest name of a series at its bars.
const LABEL: f64 = 200.0;

/// What stands for a value that there is not.
pub(in super::super) const NO_VALUE: &str = "(none)";

/// A value of a bar as text.
pub(in super::super) fn value(value: f64, shares: bool) -> String {
    if value.is_nan() {
        return NO_VALUE.to_owned();
    }
    if value.is_infinite() {
        return "(left out)".to_owned();
    }
    if !shares {
        return number(value);
    }
    if value > 0.0 && value < 0.001 { "< 0.1 %".to_owned() } else { format!("{:.1} %", value * 100.0) }
}

/// Horizontal bars; returns the lower end. Where colours do not tell the series apart, there is no legend:
/// each bar has the name of its series before it.
pub(super) fn bars(
    scene: &mut Scene,
    rows: &[(String, Vec<f64>)],
    series: &[String],
    shares: bool,
    top: f64,
) -> f64 {
    let (names, entries): (Vec<String>, Vec<(String, Role)>) = match series.len() > SERIES_COLOURS {
        true => (series.iter().map(|name| fitting(&visible(name), TEXT, LABEL)).collect(), Vec::new()),
        false => (Vec::new(), named(series.iter().enumerate().map(|(i, name)| (name.as_str(), i)))),
    };
    let top = legend(scene, &entries, |_| None, top) + 4.0;
    let labels: Vec<String> = rows.iter().map(|(label, _)| visible(label)).collect();
    let shown: Vec<String> = labels.iter().map(|label| fitting(label, TEXT, LABEL)).collect();
    let labelled = EDGE + widest(&shown).max(20.0) + 10.0;
    let left = if names.is_empty() { labelled } else { labelled + widest(&names) + 10.0 };
    // Room for the values behind the bars.
    let width = WIDTH - EDGE - left - 60.0;
    let all = rows.iter().flat_map(|(_, values)| values.iter().copied());
    let scale = Scale::of(all.chain([0.0]), Steps::Linear, 0.0, 5);
    let zero = left + scale.place(0.0).unwrap_or(0.0) * width;
    let mut y = top;
    for (((_, values), label), shown) in rows.iter().zip(&labels).zip(&shown) {
        let high = values.len() as f64 * (BAR + 1.0);
        tick(scene, [labelled - 10.0, y + high / 2.0 + 4.0], shown, Anchor::End);
        for (i, v) in values.iter().enumerate() {
            let end = scale.place(*v).map_or(zero, |place| left + place * width);
            let about = format!("{label}: {}", value(*v, shares));
            let at = [zero.min(end), y + i as f64 * (BAR + 1.0), (end - zero).abs(), BAR];
            scene.block(at, Role::Series(i), 0.85, about);
            let base = at[1] + BAR - 1.5;
            if let Some(name) = names.get(i) {
                tick(scene, [left - 10.0, base], name, Anchor::End);
            }
            tick(scene, [end.max(zero) + 5.0, base], &value(*v, shares), Anchor::Start);
        }
        y += high + 8.0;
    }
    scene.rule([zero, top - 2.0], [zero, y - 6.0], Role::Muted);
    y
}

/// The width of the widest of some texts in points.
fn widest(texts: &[String]) -> f64 {
    texts.iter().map(|text| font::width(text) * TEXT).fold(0.0, f64::max)
}

/// A text with its end cut off where it is wider than `most` points.
fn fitting(label: &str, size: f64, most: f64) -> String {
    if font::width(label) * size <= most {
        return label.to_owned();
    }
    let (mut out, mut wide) = (String::new(), font::advance('…'));
    for c in label.chars() {
        wide += font::advance(c);
        if wide * size > most {
            break;
        }
        out.push(c);
    }
    out + "…"
}

/// A text of coloured tokens below the scale of its colours; returns the lower end.
pub(super) fn tokens(scene: &mut Scene, tokens: &[Token], top: f64) -> f64 {
    let most = largest(tokens);
    let low = lowest(tokens);
    // Where nothing differs from zero, nothing is coloured.
    let strength = |v: f64| if most > 0.0 { 0.65 * v.abs() / most } else { 0.0 };
    let ground = |v: f64| (Role::Series(usize::from(v < 0.0)), strength(v));
    let top = match most > 0.0 {
        true => key(scene, (low, most), |place| ground(low + (most - low) * place), top) + 2.0,
        false => top,
    };
    let right = WIDTH - EDGE;
    let (mut x, mut y) = (EDGE, top + 4.0);
    for token in tokens {
        let text = fitting(&visible(&token.text), TOKEN, right - EDGE - 4.0);
        let wide = font::width(&text) * TOKEN + 3.0;
        if x > EDGE && x + wide > right {
            (x, y) = (EDGE, y + LINE);
        }
        if let Some(v) = token.value.filter(|v| v.is_finite()) {
            let (role, strength) = ground(v);
            scene.block([x, y, wide, LINE - 4.0], role, strength, format!("{text}: {}", number(v)));
        }
        let role = if token.value.is_some() { Role::Ink } else { Role::Muted };
        scene.text([x + 1.5, y + 13.0], &text, role, TextStyle { fitted: true, ..TextStyle::plain(TOKEN) });
        x += wide + 1.0;
        if token.text.ends_with('\n') {
            (x, y) = (EDGE, y + LINE);
        }
    }
    y + LINE
}

/// The largest distance of a value from zero.
pub(in super::super) fn largest(tokens: &[Token]) -> f64 {
    tokens.iter().filter_map(|t| t.value).filter(|v| v.is_finite()).fold(0.0, |most, v| most.max(v.abs()))
}

/// The lower end of a scale of their colours, which has the largest distance at both ends if a value is below
/// zero.
pub(in super::super) fn lowest(tokens: &[Token]) -> f64 {
    let signed = tokens.iter().any(|t| t.value.is_some_and(|v| v < 0.0));
    if signed { -largest(tokens) } else { 0.0 }
}

/// A text with signs for what has no shape.
pub(in super::super) fn visible(text: &str) -> String {
    let sign = |c: char| match c {
        '\n' => '↵',
        '\t' => '→',
        c if c.is_control() => '␣',
        c => c,
    };
    match text {
        "" => "·".to_owned(),
        text => text.chars().map(sign).collect(),
    }
}
