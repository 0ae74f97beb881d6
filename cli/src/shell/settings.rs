//! Settings of the shell: how results look and where they go.

use std::path::PathBuf;
use std::str::FromStr;

use gstore_sql::output::Format;

/// Rows that are shown of a result unless told otherwise.
const MOST: u64 = 40;

/// How results look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A record below the other, a line for each column.
    Line,
    /// A format of text.
    Format(Format),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if matches!(word, "line" | "record" | "vertical") {
            return Ok(Self::Line);
        }
        let known = || {
            let words = Mode::words().collect::<Vec<_>>().join(", ");
            format!(
                "there is no mode `{word}`: it is one of {words}; `.output FILE.parquet` and `.output FILE.arrow` write these formats"
            )
        };
        match word.parse::<Format>() {
            // What others call the table.
            Err(_) if word == "box" => Ok(Self::Format(Format::Table)),
            Ok(format) if !format.is_binary() => Ok(Self::Format(format)),
            _ => Err(known()),
        }
    }
}

impl Mode {
    /// The words that name the modes.
    pub fn words() -> impl Iterator<Item = &'static str> {
        let text = |word: &&str| word.parse().is_ok_and(|format: Format| !format.is_binary());
        let formats = Format::WORDS.into_iter().filter(text);
        formats.clone().take(1).chain(["line"]).chain(formats.skip(1))
    }

    pub fn word(self) -> String {
        match self {
            Self::Line => "line".to_owned(),
            Self::Format(format) => format.name().to_owned(),
        }
    }
}

/// The word for what is on or off.
pub fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// How results look and where they go.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How they look.
    pub mode: Mode,
    /// Rows that are shown; none: all.
    pub most: Option<u64>,
    /// Whether the time of a statement is shown.
    pub timer: bool,
    /// Whether what is longer than the screen goes through a pager.
    pub pager: bool,
    /// The file that results are added to.
    pub output: Option<PathBuf>,
    /// Whether only the next one is.
    pub once: bool,
    /// Whether the file for the next result was refused.
    pub refused: bool,
    /// Whether a result has made the file, so that others are added to it.
    pub begun: bool,
    /// The mode before records were shown below each other.
    pub before: Option<Mode>,
    /// The columns of that file, once it has some and begins with them.
    pub header: Option<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        let mode = Mode::Format(Format::Table);
        Self {
            mode,
            most: Some(MOST),
            timer: true,
            pager: true,
            output: None,
            once: false,
            refused: false,
            begun: false,
            before: None,
            header: None,
        }
    }
}

impl Settings {
    /// What is set, in one line.
    pub fn shown(&self) -> String {
        let most = self.most.map_or_else(|| "all".to_owned(), |most| most.to_string());
        let output =
            self.output.as_ref().map_or_else(|| "the screen".to_owned(), |path| path.display().to_string());
        format!(
            "mode {}, maxrows {most}, timer {}, pager {}, output to {output}",
            self.mode.word(),
            switch(self.timer),
            switch(self.pager)
        )
    }
}
