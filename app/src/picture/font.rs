//! Outlines of a font for labels of PNG pictures, and widths of texts.
//!
//! The outlines are those of DejaVu Sans for Latin, Greek and Cyrillic; `font/make.py` says how they are
//! stored, `font/LICENSE` is theirs.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use unicode_normalization_alignments::char::compose;
use unicode_width::UnicodeWidthChar;

const BYTES: &[u8] = include_bytes!("font/outlines.bin");

/// Units of an em.
const EM: f64 = 512.0;

/// A part of an outline, in ems, y upwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stroke {
    Move([f64; 2]),
    Line([f64; 2]),
    /// A quadratic curve: control point, end.
    Curve([f64; 2], [f64; 2]),
}

#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Glyph {
    /// Width in ems.
    pub advance: f64,
    pub strokes: Vec<Stroke>,
}

/// The shapes of the characters that have one.
fn glyphs() -> &'static BTreeMap<u32, Glyph> {
    static GLYPHS: OnceLock<BTreeMap<u32, Glyph>> = OnceLock::new();
    GLYPHS.get_or_init(|| decode(BYTES))
}

/// The shape of a character, or of the sign for one that has none.
pub(super) fn glyph(character: char) -> &'static Glyph {
    static EMPTY: Glyph = Glyph { advance: 1.0, strokes: Vec::new() };
    glyphs().get(&u32::from(character)).or_else(|| glyphs().get(&0xFFFD)).unwrap_or(&EMPTY)
}

/// Width of a character in ems; of one without a shape that of most fonts, none for a mark or a joiner.
pub(super) fn advance(character: char) -> f64 {
    match (glyphs().get(&u32::from(character)), character.width()) {
        (Some(glyph), _) => glyph.advance,
        (None, Some(0)) => 0.0,
        (None, Some(2)) => 1.0,
        (None, _) => 0.6,
    }
}

/// A text with accents in the letters before them, where there is a shape for both in one character.
pub(super) fn composed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let both = out.chars().next_back().and_then(|last| compose(last, c));
        match both.filter(|both| glyphs().contains_key(&u32::from(*both))) {
            Some(both) => {
                out.pop();
                out.push(both);
            }
            None => out.push(c),
        }
    }
    out
}

/// Width of a text in ems.
pub(super) fn width(text: &str) -> f64 {
    text.chars().map(advance).sum()
}

/// Cells that a text takes where characters have one or two.
pub(super) fn cells(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The longest beginning of a text that takes at most so many cells, with `…` where something is missing.
pub(super) fn cut(text: &str, most: usize) -> String {
    if cells(text) <= most {
        return text.to_owned();
    }
    let (mut out, mut used) = (String::new(), 1);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > most {
            break;
        }
        out.push(c);
    }
    if most > 0 {
        out.push('…');
    }
    out
}

fn decode(bytes: &[u8]) -> BTreeMap<u32, Glyph> {
    let mut numbers = Leb128Numbers(bytes);
    let mut glyphs = BTreeMap::new();
    while let Some(character) = numbers.next() {
        let advance = f64::from(numbers.next().unwrap_or(0)) / EM;
        let (mut strokes, mut at) = (Vec::new(), [0i32; 2]);
        while let Some(kind @ 1..) = numbers.next() {
            let first = numbers.point(&mut at);
            strokes.push(match kind {
                1 => Stroke::Move(first),
                2 => Stroke::Line(first),
                _ => Stroke::Curve(first, numbers.point(&mut at)),
            });
        }
        glyphs.insert(character, Glyph { advance, strokes });
    }
    glyphs
}

struct Leb128Numbers<'a>(&'a [u8]);

impl Leb128Numbers<'_> {
    fn next(&mut self) -> Option<u32> {
        let (mut value, mut shift) = (0u32, 0);
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift = (shift + 7).min(28);
        }
    }

    /// A point, given by its distance from the last one.
    fn point(&mut self, at: &mut [i32; 2]) -> [f64; 2] {
        for place in at.iter_mut() {
            let zigzag = self.next().unwrap_or(0);
            *place += (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        }
        at.map(|v| f64::from(v) / EM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outlines_are_whole() {
        let glyphs = decode(BYTES);
        assert!(glyphs.len() > 500, "{}", glyphs.len());
        for c in ('!'..='~').chain("äßéŁжΩ…−→".chars()) {
            let glyph = &glyphs[&u32::from(c)];
            assert!(glyph.advance > 0.2 && matches!(glyph.strokes[0], Stroke::Move(_)), "{c}");
            let fits = |[x, y]: [f64; 2]| (-0.3..1.3).contains(&x) && (-0.5..1.2).contains(&y);
            assert!(glyph.strokes.iter().all(|stroke| match *stroke {
                Stroke::Move(p) | Stroke::Line(p) => fits(p),
                Stroke::Curve(a, b) => fits(a) && fits(b),
            }));
        }
        assert_eq!(glyph('漢').strokes, glyph('\u{FFFD}').strokes);
    }

    #[test]
    fn accents_are_composed_where_there_is_a_shape() {
        // There is no shape for an x with an accent, nor for an e with two.
        let texts = [("e\u{301}u\u{308}", "éü"), ("x\u{301}", "x\u{301}"), ("e\u{302}\u{301}", "ê\u{301}")];
        for (text, want) in texts {
            assert_eq!(composed(text), want);
        }
        assert_eq!((width("e\u{301}"), width("\u{200B}\u{200D}")), (width("é"), 0.0));
    }

    #[test]
    fn texts_are_cut_by_their_cells() {
        assert_eq!(
            (cut("abc", 3), cut("abcd", 3), cut("漢字漢字", 5)),
            ("abc".into(), "ab…".into(), "漢字…".into())
        );
        assert_eq!((cut("abc", 1), cut("abc", 0)), ("…".into(), String::new()));
    }
}
