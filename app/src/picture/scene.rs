//! Lines, boxes and texts in points, with roles in place of colours.

/// What a thing is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Text and axes.
    Ink,
    /// Text of less weight.
    Muted,
    Grid,
    /// A series, by its number.
    Series(usize),
}

/// Where the given x of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Something that is drawn; later ones lie above earlier ones.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Line {
        points: Vec<[f64; 2]>,
        role: Role,
        width: f64,
        /// 0 to 1.
        opacity: f64,
        /// Lengths of a dash and a gap; none: it is whole.
        dash: Option<[f64; 2]>,
    },
    Box {
        /// x, y, width, height.
        at: [f64; 4],
        role: Role,
        /// 0 to 1.
        opacity: f64,
        /// What it stands for, shown where a pointer rests on it.
        about: String,
    },
    /// A text of one line.
    Text {
        /// Place of the anchor, on the base line.
        at: [f64; 2],
        text: String,
        role: Role,
        set: TextStyle,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TextStyle {
    /// Points of an em.
    pub size: f64,
    pub anchor: Anchor,
    pub bold: bool,
    /// Whether it keeps the width that it has here, whatever font the reader has.
    pub fitted: bool,
}

impl TextStyle {
    /// Plain text from its beginning.
    pub(super) fn plain(size: f64) -> Self {
        Self { size, anchor: Anchor::Start, bold: false, fitted: false }
    }

    /// The same around or before its place.
    pub(super) fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Scene {
    /// Width in points.
    pub width: f64,
    /// Height in points.
    pub height: f64,
    pub items: Vec<Item>,
}

impl Scene {
    /// Adds a straight line of the grid or an axis.
    pub(super) fn rule(&mut self, from: [f64; 2], to: [f64; 2], role: Role) {
        self.items.push(Item::Line { points: vec![from, to], role, width: 1.0, opacity: 1.0, dash: None });
    }

    pub(super) fn text(&mut self, at: [f64; 2], text: &str, role: Role, set: TextStyle) {
        self.items.push(Item::Text { at, text: text.to_owned(), role, set });
    }

    pub(super) fn block(&mut self, at: [f64; 4], role: Role, opacity: f64, about: String) {
        self.items.push(Item::Box { at, role, opacity, about });
    }
}
