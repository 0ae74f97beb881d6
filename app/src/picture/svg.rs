//! SVG of a scene, with colours in a style sheet.

use std::fmt::Write;

use super::Picture;
use super::colour::{class, rules};
use super::font;
use super::scene::{Anchor, Item, Scene, TextStyle};

/// A document of its own.
pub(super) fn document(picture: &Picture, scene: &Scene) -> String {
    let style = format!("{}@media (prefers-color-scheme:dark){{{}}}", rules("", false), rules("", true));
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    element(&mut out, picture, scene, &style);
    out
}

/// The element, with what readers of screens say of it.
pub(super) fn element(out: &mut String, picture: &Picture, scene: &Scene, style: &str) {
    let (width, height) = (plain(scene.width), plain(scene.height));
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"title about\" font-family=\"system-ui, sans-serif\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"about\">{}</desc>",
        escaped(&picture.title),
        escaped(&picture.about)
    );
    if !style.is_empty() {
        let _ = writeln!(out, "<style>{style}</style>");
    }
    let _ = writeln!(out, "<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>");
    for item in &scene.items {
        write_item(out, item);
    }
    out.push_str("</svg>\n");
}

fn write_item(out: &mut String, item: &Item) {
    match item {
        Item::Line { points, role, width, opacity, dash } => {
            let points: Vec<String> =
                points.iter().map(|[x, y]| format!("{},{}", plain(*x), plain(*y))).collect();
            let dash = dash.map_or_else(String::new, |[dash, gap]| {
                format!(" stroke-dasharray=\"{} {}\"", plain(dash), plain(gap))
            });
            let _ = writeln!(
                out,
                "<polyline class=\"{}l\" stroke-width=\"{}\" stroke-linejoin=\"round\"{}{dash} points=\"{}\"/>",
                class(*role),
                plain(*width),
                opacity_of("stroke", *opacity),
                points.join(" ")
            );
        }
        Item::Box { at: [x, y, width, height], role, opacity, about } => {
            let _ = write!(
                out,
                "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{}",
                class(*role),
                plain(*x),
                plain(*y),
                plain(*width),
                plain(*height),
                opacity_of("fill", *opacity)
            );
            let _ = match about.as_str() {
                "" => writeln!(out, "/>"),
                about => writeln!(out, "><title>{}</title></rect>", escaped(about)),
            };
        }
        Item::Text { at: [x, y], text, role, set } => {
            let _ = writeln!(
                out,
                "<text class=\"{}\" x=\"{}\" y=\"{}\" font-size=\"{}\"{}>{}</text>",
                class(*role),
                plain(*x),
                plain(*y),
                plain(set.size),
                setting(*set, text),
                escaped(text)
            );
        }
    }
}

fn setting(set: TextStyle, text: &str) -> String {
    let mut out = String::new();
    match set.anchor {
        Anchor::Start => {}
        Anchor::Middle => out += " text-anchor=\"middle\"",
        Anchor::End => out += " text-anchor=\"end\"",
    }
    if set.bold {
        out += " font-weight=\"600\"";
    }
    if set.fitted {
        let length = plain(font::width(text) * set.size);
        let _ =
            write!(out, " xml:space=\"preserve\" textLength=\"{length}\" lengthAdjust=\"spacingAndGlyphs\"");
    }
    out
}

fn opacity_of(what: &str, opacity: f64) -> String {
    if opacity >= 1.0 { String::new() } else { format!(" {what}-opacity=\"{}\"", plain(opacity)) }
}

/// A number of at most two decimals.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text that stands for itself in XML and HTML; what XML cannot hold is left out.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => {}
            c => out.push(c),
        }
    }
    out
}
