//! Parquet, of which each page is looked at before it is decoded.
//!
//! Invariants
//! - a dictionary that is decoded has the bytes of as many values as it says, and a page no more lengths than
//!   values: the library makes room for as many as they say
//! - what is wrong otherwise is left for the library to find

use std::fs::File;
use std::sync::Arc;

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::SerializedPageReader;
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor};

use super::sizes::has_room;

/// Batches of some columns of a file, each of so many rows at most.
///
/// # Errors
/// Columns that cannot be read; a batch that there is no memory for.
pub fn parquet_batches(
    file: File,
    metadata: &ArrowReaderMetadata,
    columns: ProjectionMask,
    rows: usize,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    let groups = CheckedGroups { file: Arc::new(file), metadata: Arc::clone(metadata.metadata()) };
    let rows = rows.min(groups.num_rows());
    let schema = metadata.parquet_schema();
    // The library makes room for all values of one length that a batch can have.
    let leaves = schema.columns().iter().enumerate().filter(|(leaf, _)| columns.leaf_included(*leaf));
    let row = leaves.fold(0, |sum: u64, (_, leaf)| sum.saturating_add(length_of_value(leaf)));
    if !has_room(row.saturating_mul(rows as u64)) {
        return Err(damaged(format!("rows of {row} bytes, which there is no memory for")));
    }
    let levels = parquet_to_arrow_field_levels(schema, columns, Some(metadata.schema().fields()))?;
    ParquetRecordBatchReader::try_new_with_row_groups(&levels, &groups, rows, None)
}

struct CheckedGroups {
    file: Arc<File>,
    metadata: Arc<ParquetMetaData>,
}

impl RowGroups for CheckedGroups {
    fn num_rows(&self) -> usize {
        let rows =
            self.metadata.row_groups().iter().filter_map(|group| usize::try_from(group.num_rows()).ok());
        rows.fold(0, usize::saturating_add)
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>, ParquetError> {
        let (file, metadata) = (Arc::clone(&self.file), Arc::clone(&self.metadata));
        Ok(Box::new(CheckedChunks { file, metadata, column, group: 0 }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.metadata.row_groups().iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The chunks of a column, one of each row group.
struct CheckedChunks {
    file: Arc<File>,
    metadata: Arc<ParquetMetaData>,
    column: usize,
    /// The row group that comes next.
    group: usize,
}

impl Iterator for CheckedChunks {
    type Item = Result<Box<dyn PageReader>, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.metadata.row_groups().get(self.group)?;
        self.group += 1;
        let Some(chunk) = group.columns().get(self.column) else {
            return Some(Err(damaged("a row group that lacks a column".to_owned())));
        };
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let pages = SerializedPageReader::new(Arc::clone(&self.file), chunk, rows, None);
        let column = chunk.column_descr_ptr();
        Some(pages.map(|pages| Box::new(CheckedPages { pages, column }) as Box<dyn PageReader>))
    }
}

impl PageIterator for CheckedChunks {}

struct CheckedPages {
    pages: SerializedPageReader<File>,
    column: ColumnDescPtr,
}

impl Iterator for CheckedPages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.pages.get_next_page()?;
        page.iter().try_for_each(|page| check_page(page, &self.column))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool, ParquetError> {
        self.pages.at_record_boundary()
    }
}

fn damaged(what: String) -> ParquetError {
    ParquetError::General(what)
}

/// Refuses a page that says that it has more values, or lengths of values, than it can have.
fn check_page(page: &Page, column: &ColumnDescriptor) -> Result<(), ParquetError> {
    let wrong = |what: String| damaged(format!("column {}: {what}", column.path()));
    let values = u64::from(page.num_values());
    let lists = match (page, page.encoding()) {
        (Page::DictionaryPage { buf, .. }, _) => {
            let bytes = buf.len() as u64;
            return match values.saturating_mul(least_bytes(column)) <= bytes {
                true => Ok(()),
                false => Err(wrong(format!("a dictionary of {bytes} bytes that has {values} values"))),
            };
        }
        (_, Encoding::DELTA_LENGTH_BYTE_ARRAY) => 1,
        // What two values have in common, and the rest of each.
        (_, Encoding::DELTA_BYTE_ARRAY) => 2,
        _ => return Ok(()),
    };
    let mut bytes = behind_levels(page, column);
    for _ in 0..lists {
        let list = bytes.and_then(PackedLengths::of);
        let list = list.ok_or_else(|| wrong("a page that has no lengths of its values".to_owned()))?;
        let count = list.count;
        if count > values {
            return Err(wrong(format!("a page of {values} values that has {count} lengths")));
        }
        if !has_room(count.saturating_mul(size_of::<i32>() as u64 * 2)) {
            return Err(wrong(format!("a page of {count} lengths, which there is no memory for")));
        }
        bytes = list.behind();
    }
    match bytes {
        Some(_) => Ok(()),
        None => Err(wrong("a page that ends within the lengths of its values".to_owned())),
    }
}

/// Bytes that a value of a dictionary takes at least.
fn least_bytes(column: &ColumnDescriptor) -> u64 {
    match column.physical_type() {
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
        Type::INT64 | Type::DOUBLE => 8,
        Type::INT96 => 12,
        // A bool takes a bit.
        Type::BOOLEAN | Type::FIXED_LEN_BYTE_ARRAY => length_of_value(column),
    }
}

/// Bytes of a value where the schema says them.
fn length_of_value(column: &ColumnDescriptor) -> u64 {
    match column.physical_type() {
        Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(column.type_length()).unwrap_or(0),
        _ => 0,
    }
}

/// The values of a page, which stand behind the levels of lists and nulls.
fn behind_levels<'a>(page: &'a Page, column: &ColumnDescriptor) -> Option<&'a [u8]> {
    match page {
        Page::DataPage { buf, num_values, rep_level_encoding, def_level_encoding, .. } => {
            let levels = [
                (column.max_rep_level(), *rep_level_encoding),
                (column.max_def_level(), *def_level_encoding),
            ];
            levels.into_iter().filter(|(most, _)| *most > 0).try_fold(&buf[..], |bytes, (most, encoding)| {
                let length = match encoding {
                    Encoding::RLE => 4 + u64::from(u32::from_le_bytes(*bytes.first_chunk()?)),
                    // So many bits for each level.
                    _ => (u64::from(*num_values) * u64::from(i16::BITS - most.leading_zeros())).div_ceil(8),
                };
                bytes.get(usize::try_from(length).ok()?..)
            })
        }
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let length = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            buf.get(usize::try_from(length).ok()?..)
        }
        Page::DictionaryPage { buf, .. } => Some(buf),
    }
}

/// Lengths, of which all but the first are packed as differences to the one before.
struct PackedLengths<'a> {
    count: u64,
    /// Parts of a block of differences, and differences of a part.
    parts: usize,
    part: u64,
    blocks: &'a [u8],
}

impl<'a> PackedLengths<'a> {
    fn of(mut bytes: &'a [u8]) -> Option<Self> {
        let (block, parts) = (integer(&mut bytes)?, integer(&mut bytes)?);
        let (count, _first) = (integer(&mut bytes)?, integer(&mut bytes)?);
        let part = block.checked_div(parts)?;
        Some(Self { count, parts: usize::try_from(parts).ok()?, part, blocks: bytes })
    }

    /// The bytes behind them; none if they end before.
    fn behind(self) -> Option<&'a [u8]> {
        let Self { count, parts, part, blocks: mut bytes } = self;
        let mut left = count.saturating_sub(1);
        while left > 0 {
            let _least = integer(&mut bytes)?;
            let (bits, mut packed) = bytes.split_at_checked(parts)?;
            for bits in bits {
                // Parts without a difference have no bytes, whatever number stands for them.
                if left > 0 {
                    packed = packed.get(usize::try_from(u64::from(*bits).checked_mul(part)? / 8).ok()?..)?;
                }
                left = left.saturating_sub(part);
            }
            bytes = packed;
        }
        Some(bytes)
    }
}

/// Takes an integer of seven bits a byte, the lowest first; the last byte has no highest bit.
fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::ArrowReaderOptions;
    use parquet::data_type::FixedLenByteArrayType;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    #[test]
    fn rows_that_there_is_no_memory_for_are_refused() {
        // Without a value, so that the file is small.
        let nulls = vec![0; 1 << 20];
        let message = "message m { optional fixed_len_byte_array(2147483647) a; }";
        let schema = Arc::new(parse_message_type(message).unwrap());
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<FixedLenByteArrayType>().write_batch(&[], Some(&nulls), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
        let all = ProjectionMask::all();
        let error = parquet_batches(file, &metadata, all, nulls.len()).err().unwrap().to_string();
        assert!(error.contains("rows of 2147483647 bytes, which there is no memory for"), "{error}");
    }

    #[test]
    fn a_dictionary_has_the_bytes_of_its_values() {
        let message =
            "message m { required binary a; required int64 b; required fixed_len_byte_array(3) c; }";
        let schema = SchemaDescriptor::new(Arc::new(parse_message_type(message).unwrap()));
        let check = |column: usize, num_values| {
            let (buf, encoding) = (vec![0_u8; 24].into(), Encoding::PLAIN);
            let page = Page::DictionaryPage { buf, num_values, encoding, is_sorted: false };
            check_page(&page, &schema.column(column)).map_err(|error| error.to_string())
        };
        for (column, values) in [(0, 6), (1, 3), (2, 8)] {
            assert_eq!(check(column, values), Ok(()));
            let error = check(column, values + 1).unwrap_err();
            assert!(error.contains(&format!("24 bytes that has {} values", values + 1)), "{error}");
        }
    }

    #[test]
    fn lengths_end_where_their_blocks_do() {
        // Blocks of 128 differences in 4 parts, 34 values, of which the first is 5; then a block with a least
        // difference of 0, whose first part has 2 bits for each value, and its second one.
        let lengths: Vec<u8> = [&[0x80, 1, 4, 34, 10, 0, 2, 1, 0xFF, 0xFF][..], &[0xAA; 8], &[0; 4]].concat();
        let behind = |bytes: &[u8]| PackedLengths::of(bytes).unwrap().behind().map(<[u8]>::len);
        assert_eq!(behind(&[&lengths[..], b"text"].concat()), Some(4));
        assert_eq!([behind(&lengths), behind(&lengths[..lengths.len() - 1])], [Some(0), None]);
        // One value has no block.
        assert_eq!(behind(&[0x80, 1, 4, 1, 10, 7]), Some(1));
        // No parts, and a number without an end.
        assert!(PackedLengths::of(&[0x80, 1, 0, 34, 10]).is_none());
        assert!(PackedLengths::of(&[0xFF; 20]).is_none());
    }
}
