//! Pictures of numbers as SVG, PNG, HTML and text for a terminal.
//!
//! A [`Picture`] is data: panels, each with its numbers and names. What it looks like is decided here, in one
//! place for all commands:
//! - `scale` chooses ranges and ticks, those of times by the `calendar`; `layout` puts lines, boxes and texts
//!   in their places, as a `scene`
//! - `svg`, `html` and `png` write a scene; `terminal` draws panels in cells of text instead
//! - `of` makes pictures from a store, and from the logs of trainings
//!
//! Invariants
//! - equal pictures have equal bytes
//! - HTML and SVG stand alone: no script, no font and no file from elsewhere
//! - values that are not finite leave a gap and never stretch an axis

mod calendar;
mod colour;
mod font;
mod html;
mod layout;
mod of;
mod png;
mod raster;
mod scale;
mod scene;
mod spark;
mod svg;
mod terminal;
#[cfg(test)]
mod tests;

pub(crate) use colour::SERIES_COLOURS;
pub use of::*;
pub(crate) use of::{RankedRows, drawable, ranked, too_large};
pub(crate) use scale::number;
pub use spark::Sparkline;

/// A title, and panels below each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Title, of one line.
    pub title: String,
    /// What it shows, in words, for those who do not see it.
    pub about: String,
    /// Panels from top to bottom.
    pub panels: Vec<Panel>,
}

/// One plot with its own axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What is shown, with its unit.
    pub heading: String,
    /// The numbers.
    pub body: Body,
    /// Sentences below the plot.
    pub notes: Vec<String>,
}

impl Panel {
    /// The heading as it is drawn: as the name of a vertical axis it says so if that is logarithmic.
    fn drawn_heading(&self) -> String {
        match &self.body {
            Body::Lines { y, .. } if y.steps == Steps::Log => {
                format!("{}, on a logarithmic axis", self.heading)
            }
            _ => self.heading.clone(),
        }
    }
}

/// The numbers of a panel.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Lines over two axes.
    Lines {
        /// Horizontal axis.
        x: Axis,
        /// Vertical axis; its name is the heading.
        y: Axis,
        /// Lines in the order in which they are drawn.
        series: Vec<Series>,
    },
    /// Counts of equal intervals.
    Histogram(Histogram),
    /// Horizontal bars, grouped by label.
    Bars {
        /// A label and the bars of each series.
        rows: Vec<(String, Vec<f64>)>,
        /// Names of the series.
        series: Vec<String>,
        /// Whether values are shares of one, shown in percent.
        shares: bool,
    },
    /// A text whose tokens are coloured by their values.
    Tokens(Vec<Token>),
    /// A matrix in shades of a colour.
    Heat(Heat),
}

/// An axis.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Axis {
    /// What it measures.
    pub name: String,
    /// What equal distances are.
    pub steps: Steps,
}

impl Axis {
    /// An axis of equal steps.
    pub fn linear(name: &str) -> Self {
        Self { name: name.to_owned(), steps: Steps::Linear }
    }

    /// An axis of equal ratios.
    pub fn log(name: &str) -> Self {
        Self { name: name.to_owned(), steps: Steps::Log }
    }

    /// An axis of times.
    pub fn time(name: &str) -> Self {
        Self { name: name.to_owned(), steps: Steps::Time }
    }
}

/// What equal distances on an axis are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Steps {
    /// Equal differences.
    #[default]
    Linear,
    /// Equal ratios; values that are not positive have no place.
    Log,
    /// Equal times; values are seconds since the beginning of 1970, labels are dates and times of day.
    Time,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend; lines of one colour share an entry.
    pub name: String,
    /// Which colour it has, counted from 0.
    pub colour: usize,
    /// Whether it stands behind the others.
    pub faint: bool,
    /// Points, x ascending.
    pub points: Vec<[f64; 2]>,
}

impl Series {
    /// A line in front of the others.
    pub fn new(name: &str, colour: usize, points: Vec<[f64; 2]>) -> Self {
        Self { name: name.to_owned(), colour, faint: false, points }
    }

    /// The same behind the others.
    pub(crate) fn faint(self) -> Self {
        Self { faint: true, ..self }
    }
}

/// Counts of equal intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// What is counted over.
    pub x: String,
    /// What is counted, such as `rows`.
    pub y: String,
    /// Lower end of the first interval.
    pub first: f64,
    /// Width of an interval.
    pub width: f64,
    /// Counts.
    pub counts: Vec<u64>,
    /// A range that is set apart, such as that of noise, with its name.
    pub band: Option<(f64, f64, String)>,
    /// Single values that are marked, with their names.
    pub marks: Vec<(f64, String)>,
}

/// A token of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its text.
    pub text: String,
    /// Its value; none: it has none.
    pub value: Option<f64>,
}

/// A matrix in shades of a colour, the largest value in the darkest.
#[derive(Debug, Clone, PartialEq)]
pub struct Heat {
    /// What its columns are.
    pub x: String,
    /// What its rows are, from the top.
    pub y: String,
    /// Columns.
    pub columns: usize,
    /// Values row by row.
    pub values: Vec<f64>,
    /// Whether equal steps of shade are equal ratios; values that are not positive then have none.
    pub log: bool,
}

impl Heat {
    fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// The shade of each value, 0 to 1, by a scale over all of them.
    fn scale(&self) -> scale::Scale {
        let steps = if self.log { Steps::Log } else { Steps::Linear };
        scale::Scale::of(self.values.iter().copied(), steps, 0.0, 4)
    }

    /// The smallest and the largest value that have a shade.
    fn range(&self) -> Option<(f64, f64)> {
        let scale = self.scale();
        let placed = self.values.iter().copied().filter(|value| scale.place(*value).is_some());
        placed.fold(None, |range, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((value.min(low), value.max(high)))
        })
    }

    /// What rows, columns and shades are, in words.
    fn axes(&self) -> String {
        let shades = if self.log { "; shades on a logarithmic scale" } else { "" };
        format!("rows: {}; columns: {}{shades}", self.y, self.x)
    }
}

/// How a picture is drawn in a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalStyle {
    /// Columns; no line is longer.
    pub width: usize,
    /// Lines of a plot, without its axes.
    pub height: usize,
    /// Whether colours may be used.
    pub colour: bool,
}

/// Why a picture cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error(
    "the picture would be {width} x {height} points, which is too large for PNG; SVG and HTML have no such limit"
)]
pub struct TooLarge {
    /// Width in points.
    pub width: usize,
    /// Height in points.
    pub height: usize,
}

impl Picture {
    /// An SVG document, light or dark as the reader's system is.
    pub fn svg(&self) -> String {
        svg::document(self, &layout::scene(self))
    }

    /// A page of HTML with the picture in it and no script.
    pub fn html(&self) -> String {
        html::page(self, &layout::scene(self))
    }

    /// A PNG of two pixels a point.
    ///
    /// # Errors
    /// A picture of too many points.
    pub fn png(&self) -> Result<Vec<u8>, TooLarge> {
        png::image(&layout::scene(self))
    }

    /// Lines of text, each ended by a line break.
    pub fn terminal(&self, style: TerminalStyle) -> String {
        terminal::text(self, style)
    }
}
