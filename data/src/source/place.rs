//! Location of a record, for errors.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What a file is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Lines of text.
    Line,
    /// Rows of a table.
    Row,
    /// Items of a list.
    Item,
}

impl Unit {
    /// What one of them is called.
    pub fn noun(self) -> &'static str {
        match self {
            Unit::Line => "line",
            Unit::Row => "row",
            Unit::Item => "item",
        }
    }
}

/// A line, row or item of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Line, row or item.
    pub unit: Unit,
    /// Its number: of a row from 0, as rows of a dataset count, of others from 1.
    pub number: u64,
}

impl Place {
    /// The place as it reads after `earlier` was named: without the file if that is the same.
    pub(crate) fn after<'a>(&'a self, earlier: &'a Place) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            write!(f, "{self}")?;
            if self.file == earlier.file { Ok(()) } else { write!(f, " of {}", self.file.display()) }
        })
    }
}

/// `line 3` or `row 3`, without the file.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.unit.noun(), self.number)
    }
}

/// A line of the only file there is.
impl From<u64> for Place {
    fn from(line: u64) -> Self {
        Self { file: Arc::from(Path::new("")), unit: Unit::Line, number: line }
    }
}
