//! How many rows of a Parquet file are read at a time.

use parquet::arrow::ProjectionMask;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use std::ops::Range;

/// Rows of a batch that has about `bytes` of these columns where the wanted rows are largest; `most` at most.
///
/// A mean of all rows would not do: small rows are often followed by large ones, batches go on across row
/// groups, and a column of a batch cannot have 2 GiB. Pages say the sizes of their texts if the metadata has
/// their index, as it has of our own files, so that a batch there has two pages more than `bytes`. Of other
/// files it is one row group.
///
/// `rows` are ascending ranges of positions in the file.
pub fn batch_rows(
    metadata: &ParquetMetaData,
    columns: &ProjectionMask,
    rows: &[Range<u64>],
    (bytes, most): (u64, u64),
) -> usize {
    let (mut largest, mut end) = (1, 0u64);
    for (i, group) in metadata.row_groups().iter().enumerate() {
        let start = end;
        end = end.saturating_add(u64::try_from(group.num_rows()).unwrap_or(0));
        let next = rows.get(rows.partition_point(|r| r.end <= start));
        if next.is_some_and(|r| r.start < end) {
            let leaves = (0..group.num_columns()).filter(|leaf| columns.leaf_included(*leaf));
            let row = leaves.map(|leaf| largest_mean(metadata, (i, group), leaf));
            largest = row.fold(0, u64::saturating_add).max(largest);
        }
    }
    (bytes / largest).clamp(1, most.max(1)) as usize
}

/// Bytes of a row of a column: the mean of the page of a row group where it is largest.
fn largest_mean(metadata: &ParquetMetaData, (i, group): (usize, &RowGroupMetaData), leaf: usize) -> u64 {
    let mean = |bytes: i64, rows: i64| {
        let positive = |n: i64| u64::try_from(n).unwrap_or(0);
        positive(bytes).div_ceil(positive(rows).max(1))
    };
    let column = group.columns().get(leaf);
    // A value of a dictionary is in the file once, whatever the number of its rows.
    let stored =
        column.map_or(0, |c| c.uncompressed_size().max(c.unencoded_byte_array_data_bytes().unwrap_or(0)));
    let of_group = mean(stored, group.num_rows());
    let index = metadata.offset_index().and_then(|groups| groups.get(i)?.get(leaf));
    let Some((index, sizes)) = index.and_then(|i| Some((i, i.unencoded_byte_array_data_bytes()?))) else {
        return of_group;
    };
    let starts = || index.page_locations().iter().map(|page| page.first_row_index);
    let ends = starts().skip(1).chain([group.num_rows()]);
    let pages = starts().zip(ends).zip(sizes);
    pages.map(|((start, end), size)| mean(*size, end.saturating_sub(start))).fold(of_group, u64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::properties;
    use arrow_array::{BinaryArray, RecordBatch, StringArray};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
    use parquet::file::metadata::PageIndexPolicy;
    use parquet::schema::types::ColumnPath;
    use std::sync::Arc;

    /// The metadata of a file of these records, written in two parts, each with the same text in every row.
    fn written(
        parts: [&[usize]; 2],
        text: &str,
        separate: bool,
        policy: PageIndexPolicy,
    ) -> ArrowReaderMetadata {
        let batch = |lens: &[usize]| {
            let records: BinaryArray = lens.iter().map(|n| Some(vec![7u8; *n])).collect();
            let texts: StringArray = lens.iter().map(|_| Some(text)).collect();
            RecordBatch::try_from_iter([("record", Arc::new(records) as _), ("text", Arc::new(texts) as _)])
                .unwrap()
        };
        let [first, second] = parts.map(batch);
        let as_samples =
            properties().set_column_dictionary_enabled(ColumnPath::from("record"), false).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), first.schema(), Some(as_samples)).unwrap();
        writer.write(&first).unwrap();
        if separate {
            writer.flush().unwrap();
        }
        writer.write(&second).unwrap();
        let bytes = Bytes::from(writer.into_inner().unwrap());
        let options = ArrowReaderOptions::new().with_page_index_policy(policy);
        ArrowReaderMetadata::load(&bytes, options).unwrap()
    }

    fn rows_of(file: &ArrowReaderMetadata, column: usize, rows: Range<u64>) -> usize {
        let mask = ProjectionMask::leaves(file.parquet_schema(), [column]);
        batch_rows(file.metadata(), &mask, &[rows], (1 << 20, 8192))
    }

    #[test]
    fn large_rows_behind_small_ones_make_batches_small_where_they_are_read() {
        let (small, large) = ([10usize; 4096], [16usize << 10; 256]);
        for policy in [PageIndexPolicy::Skip, PageIndexPolicy::Required] {
            let file = written([&small, &large], "", true, policy);
            let both = rows_of(&file, 0, 0..4352);
            assert!((60..=64).contains(&both), "{both}: 64 have a MiB");
            assert_eq!(rows_of(&file, 0, 4100..4101), both);
            assert_eq!((rows_of(&file, 0, 0..4096), rows_of(&file, 1, 0..4352)), (8192, 8192));
        }
        // In one row group, pages tell.
        let file = written([&small, &large], "", false, PageIndexPolicy::Required);
        let both = rows_of(&file, 0, 0..4352);
        assert!((60..=64).contains(&both), "{both}: 64 have a MiB");
    }

    #[test]
    fn one_row_is_read_where_it_is_as_large_as_a_batch() {
        let file = written([&[1 << 20; 2], &[3 << 20; 1]], "", true, PageIndexPolicy::Required);
        assert_eq!(rows_of(&file, 0, 0..3), 1);
    }

    #[test]
    fn a_text_of_a_dictionary_counts_in_each_of_its_rows() {
        for policy in [PageIndexPolicy::Skip, PageIndexPolicy::Required] {
            let file = written([&[1; 512], &[1; 512]], &"x".repeat(16 << 10), false, policy);
            assert_eq!(rows_of(&file, 1, 0..1024), 64);
        }
    }
}
