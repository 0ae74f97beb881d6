//! Files of training data, whatever their format: each gives its records one by one as JSON text.
//!
//! Invariants
//! - a file of JSON lines gives the bytes of each line exactly as they stand, one that is a JSON list its
//!   items without the white space between their parts; every other format gives compact JSON that is made
//!   from the row, in the order of its columns and without those that are null
//! - memory is bounded by what the writer of the file chose to keep together (a line, a page and a batch of
//!   rows of a Parquet file, a record batch of an Arrow file), never by the length of the file
//! - a file that ends too early is an error, also where the cut falls between two records
//!   and the format can tell
//! - every error names the file, and the line or row if there is one

mod blocks;
mod cells;
mod csv;
mod detect;
mod error;
mod find;
mod format;
mod lines;
mod list;
mod pages;
mod parquet;
mod place;
mod quotes;
mod rows;
mod sizes;
mod stream;
mod unpack;
mod value;

use std::io::Read;
use std::sync::Arc;

pub use self::parquet::parquet_metadata;
pub use error::DataError;
pub use find::find;
pub use format::{DataFile, conversion_hint};
pub use pages::parquet_batches;
pub use place::{Place, Unit};
pub(crate) use value::shortest_float;

use super::fields::FieldNames;
use format::Format;
use unpack::Input;

/// One record of a file.
#[derive(Clone, Debug)]
pub struct RawRecord<'a> {
    /// Where it stands.
    pub place: Place,
    /// Its JSON text.
    pub json: &'a [u8],
}

/// Gives the records of one file, in order.
pub trait RecordSource {
    /// The next record; after an error there are no more, unless it is [of the record
    /// alone](DataError::is_of_record). The bytes are borrowed until the next call.
    fn next_record(&mut self) -> Option<Result<RawRecord<'_>, DataError>>;

    /// Columns of the last record that its table has and the record lacks, since they are null there.
    fn nulls(&self) -> Vec<String> {
        Vec::new()
    }

    /// Columns of the table that the last record stands in; none where records name their own keys.
    fn columns(&self) -> Vec<String> {
        Vec::new()
    }

    /// Columns of the table that the file has no name for: `column_1` is the first.
    fn unnamed(&self) -> Vec<String> {
        Vec::new()
    }

    /// From now on, floats of 16 and 32 bits of a table stand with all digits of their value, not with the
    /// fewest that give them back: for a reader that calculates with them.
    fn give_exact_floats(&mut self) {}

    /// Bits of the floats (16, 32 or 64) of a column of the table that the last record stands in; `None` if
    /// they are no floats, or the file says no types.
    fn float_bits(&self, _column: &str) -> Option<u8> {
        None
    }

    /// How much of the file was read so far, in its own bytes; for progress, so it may be a little ahead.
    fn bytes_read(&self) -> u64;
}

impl DataFile {
    /// The bytes of the file, unpacked.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn bytes(&self) -> Result<Box<dyn Read + Send>, DataError> {
        Ok(Input::open(self)?.bytes)
    }

    /// Reads a table of text, whatever its name, for rows that are none of it.
    ///
    /// # Errors
    /// A file that cannot be read, two columns of one name, a row with fewer or more fields than the header,
    /// a quote that is not closed, and a field that is not UTF-8.
    pub fn check_rows(&self, delimiter: u8) -> Result<(), DataError> {
        csv::check(self, delimiter)
    }

    /// Opens the file. `fields` says which columns of a CSV file are text whatever they look like, and what
    /// others should be.
    ///
    /// # Errors
    /// A file that cannot be opened, or is not what its name or first bytes say.
    pub fn open(&self, fields: &FieldNames) -> Result<Box<dyn RecordSource>, DataError> {
        let path: Arc<std::path::Path> = Arc::from(self.path());
        Ok(match self.format {
            Format::Lines => {
                let (is_list, bytes, count) = list::is_list(Input::open(self)?)
                    .map_err(|error| DataError::damaged(&path, None, error.to_string()))?;
                match is_list {
                    true => Box::new(list::ListSource::new(path, bytes, count)),
                    false => Box::new(lines::LineSource::new(path, bytes, count)),
                }
            }
            Format::Csv { delimiter } => {
                Box::new(csv::CsvSource::new(path, Input::open(self)?, self, delimiter, fields)?)
            }
            Format::ArrowStream => Box::new(stream::StreamReader::rows(path, Input::open(self)?)?),
            Format::ArrowFile => Box::new(blocks::BlockReader::rows(path, self)?),
            Format::Parquet => Box::new(parquet::ParquetReader::rows(path, self)?),
        })
    }
}

#[cfg(test)]
mod tests;
