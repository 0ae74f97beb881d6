//! Places of everything in a picture, in points.

mod axes;
mod blocks;
mod heat;

pub(super) use blocks::{NO_VALUE, largest, lowest, value as value_of_bar, visible};

use gstore_core::wrapped;

use super::font;
use super::scale::number;
use super::scene::{Anchor, Role, Scene, TextStyle};
use super::{Body, Panel, Picture};

const WIDTH: f64 = 720.0;

/// Room at the edges.
const EDGE: f64 = 20.0;

/// Sizes of the title, of headings, and of all other text.
const TITLE: f64 = 16.0;
const HEADING: f64 = 13.0;
const TEXT: f64 = 11.0;

/// Height of the plot of one among several panels, and of a single one.
const PLOT: [f64; 2] = [170.0, 260.0];

/// A picture with everything in its place.
pub(super) fn scene(picture: &Picture) -> Scene {
    let mut scene = Scene { width: WIDTH, ..Scene::default() };
    let mut y = EDGE + TITLE;
    let bold = TextStyle { bold: true, ..TextStyle::plain(TITLE) };
    for line in across(&picture.title, TITLE * 1.08) {
        scene.text([EDGE, y], &line, Role::Ink, bold);
        y += TITLE * 1.3;
    }
    let height = PLOT[usize::from(picture.panels.len() == 1)];
    for panel in &picture.panels {
        y = panel_at(&mut scene, panel, y + 10.0, height);
    }
    scene.height = (y + EDGE).ceil();
    scene
}

/// Draws a panel whose top is at `y`; returns its lower end.
fn panel_at(scene: &mut Scene, panel: &Panel, y: f64, height: f64) -> f64 {
    let bold = TextStyle { bold: true, ..TextStyle::plain(HEADING) };
    let mut heading = y + HEADING;
    for (i, line) in across(&panel.drawn_heading(), HEADING * 1.08).iter().enumerate() {
        heading = y + HEADING * (1.0 + 1.3 * i as f64);
        scene.text([EDGE, heading], line, Role::Ink, bold);
    }
    let top = heading + 8.0;
    let mut y = match &panel.body {
        Body::Lines { x, y, series } => axes::lines(scene, (x, y), series, (top, height)),
        Body::Histogram(histogram) => axes::histogram(scene, histogram, (top, height)),
        Body::Bars { rows, series, shares } => blocks::bars(scene, rows, series, *shares, top),
        Body::Tokens(tokens) => blocks::tokens(scene, tokens, top),
        Body::Heat(matrix) => heat::heat(scene, matrix, (top, height)),
    };
    for line in panel.notes.iter().flat_map(|note| across(note, TEXT)) {
        y += TEXT * 1.5;
        scene.text([EDGE, y], &line, Role::Muted, TextStyle::plain(TEXT));
    }
    y + 8.0
}

/// Entries of a legend, in as many lines as they need, each with a sign that has the dashes of its role;
/// returns where the plot may begin.
fn legend(
    scene: &mut Scene,
    entries: &[(String, Role)],
    dash: impl Fn(Role) -> Option<[f64; 2]>,
    top: f64,
) -> f64 {
    const SIGN: f64 = 12.0;
    let (mut x, mut y) = (EDGE, top + TEXT);
    for (name, role) in entries {
        let name = visible(name);
        let wide = 18.0 + font::width(&name) * TEXT + 16.0;
        if x > EDGE && x + wide > WIDTH - EDGE {
            (x, y) = (EDGE, y + TEXT * 1.6);
        }
        let [on, off] = dash(*role).unwrap_or([SIGN, 0.0]);
        let mut from = 0.0;
        while from < SIGN {
            scene.block([x + from, y - 6.5, on.min(SIGN - from), 4.0], *role, 1.0, String::new());
            from += on + off;
        }
        scene.text([x + 18.0, y], &name, Role::Ink, TextStyle::plain(TEXT));
        x += wide;
    }
    if entries.is_empty() { top } else { y + 8.0 }
}

/// The shades from the smallest to the largest value, each a colour and how much of it is laid on, by its
/// place of 0 to 1; returns where what they explain may begin.
fn key(scene: &mut Scene, (low, high): (f64, f64), shade: impl Fn(f64) -> (Role, f64), top: f64) -> f64 {
    const STEPS: usize = 12;
    let y = top + TEXT;
    tick(scene, [EDGE, y], &number(low), Anchor::Start);
    let mut x = EDGE + font::width(&number(low)) * TEXT + 8.0;
    for step in 0..STEPS {
        let (role, opacity) = shade(step as f64 / (STEPS - 1) as f64);
        scene.block([x, y - 9.0, 12.0, 10.0], role, opacity, String::new());
        x += 12.0;
    }
    tick(scene, [x + 8.0, y], &number(high), Anchor::Start);
    y + 6.0
}

/// The series that a legend names, each colour once; none where there is only one.
pub(super) fn named<'a>(series: impl Iterator<Item = (&'a str, usize)>) -> Vec<(String, Role)> {
    let mut entries: Vec<(String, Role)> = Vec::new();
    for (name, colour) in series {
        if !name.is_empty() && !entries.iter().any(|(_, known)| *known == Role::Series(colour)) {
            entries.push((name.to_owned(), Role::Series(colour)));
        }
    }
    if entries.len() > 1 { entries } else { Vec::new() }
}

/// The text at the end of a rule.
fn tick(scene: &mut Scene, at: [f64; 2], text: &str, anchor: Anchor) {
    scene.text(at, text, Role::Muted, TextStyle::plain(TEXT).anchored(anchor));
}

/// A text in lines as wide as the picture.
fn across(text: &str, size: f64) -> Vec<String> {
    wrapped(text.split_whitespace().map(visible), |line| font::width(line) * size <= WIDTH - 2.0 * EDGE)
}
