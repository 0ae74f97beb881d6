//! Parquet and Arrow: types, positions, and files that are cut.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Encoding;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::ColumnPath;
use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::*;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Schema};

use super::*;

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn numbers(count: i64) -> RecordBatch {
    let text: StringArray = (0..count).map(|i| Some(format!("text {i}"))).collect();
    batch(vec![("text", Arc::new(text)), ("n", Arc::new((0..count).map(Some).collect::<Int64Array>()))])
}

fn parquet_of(batch: &RecordBatch, group: usize) -> Vec<u8> {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn stream_of(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn file_of(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// A stream and a file of a batch, compressed.
fn packed_of(batch: &RecordBatch, codec: CompressionType) -> [Vec<u8>; 2] {
    let options = || IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
    let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
    stream.write(batch).unwrap();
    let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
    file.write(batch).unwrap();
    [stream.into_inner().unwrap(), file.into_inner().unwrap()]
}

/// Parquet whose `text` is encoded so.
fn encoded_of(batch: &RecordBatch, encoding: Encoding) -> Vec<u8> {
    let text = ColumnPath::from("text");
    let properties = WriterProperties::builder().set_column_dictionary_enabled(text.clone(), false);
    let properties = properties.set_column_encoding(text, encoding).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// Where some bytes stand in others.
fn places(bytes: &[u8], of: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(of)).collect()
}

/// The only row of a table, from every format that holds it.
fn row(columns: Vec<(&str, ArrayRef)>) -> String {
    let dir = Dir::new();
    let batch = batch(columns);
    let got = texts(&dir.put("a.arrow", stream_of(std::slice::from_ref(&batch))), &[]);
    assert_eq!(got.len(), 1);
    got[0].clone()
}

#[test]
fn values_of_every_kind() {
    let one = |array: ArrayRef| row(vec![("x", array)]);
    assert_eq!(one(Arc::new(Float32Array::from(vec![0.1]))), r#"{"x":0.1}"#);
    for (number, written) in [(0.1, "0.1"), (65504.0, "65500.0"), (-0.33325, "-0.3333"), (6e-8, "6e-8")] {
        let half = arrow_cast::cast(&Float32Array::from(vec![number]), &DataType::Float16).unwrap();
        assert_eq!(one(half), format!("{{\"x\":{written}}}"));
    }
    assert_eq!(one(Arc::new(Float64Array::from(vec![f64::NAN]))), "{}");
    assert_eq!(one(Arc::new(UInt64Array::from(vec![u64::MAX]))), r#"{"x":18446744073709551615}"#);
    assert_eq!(one(Arc::new(BooleanArray::from(vec![None::<bool>]))), "{}");
    assert_eq!(one(Arc::new(BinaryArray::from(vec![&b"old text"[..]]))), r#"{"x":"old text"}"#);
    assert_eq!(
        one(Arc::new(StringViewArray::from(vec!["a longer text than a view holds"]))),
        r#"{"x":"a longer text than a view holds"}"#
    );
    assert_eq!(one(Arc::new(Date32Array::from(vec![19_000]))), r#"{"x":"2022-01-08"}"#);
    for (milliseconds, written) in [
        (19_000 * DAY, "2022-01-08"),
        (-DAY, "1969-12-31"),
        // None of Arrow's dates, but nothing of it is lost.
        (19_000 * DAY + 1000, "2022-01-08T00:00:01"),
    ] {
        let date = Date64Array::from(vec![milliseconds]);
        let coded = DictionaryArray::new(Int8Array::from(vec![0]), Arc::new(date.clone()));
        let want = format!("{{\"x\":\"{written}\"}}");
        assert_eq!([one(Arc::new(date)), one(Arc::new(coded))], [want.clone(), want]);
    }
    let instant = TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]);
    assert_eq!(one(Arc::new(instant.clone())), r#"{"x":"2023-11-14T22:13:20"}"#);
    assert_eq!(one(Arc::new(instant.with_timezone("Europe/Paris"))), r#"{"x":"2023-11-14T22:13:20Z"}"#);
    let seconds = |count| one(Arc::new(DurationSecondArray::from(vec![count])));
    assert_eq!(seconds(0), r#"{"x":"P0D"}"#);
    assert_eq!(seconds(i64::MAX), r#"{"x":"PT9223372036854775807S"}"#);
    let milliseconds = DurationMillisecondArray::from(vec![i64::MIN]);
    assert_eq!(one(Arc::new(milliseconds)), r#"{"x":"-PT9223372036854775.808S"}"#);
    assert_eq!(one(Arc::new(DurationNanosecondArray::from(vec![-500_000_000]))), r#"{"x":"-PT0.5S"}"#);
    let decimal = Decimal128Array::from(vec![1230]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(one(Arc::new(decimal)), r#"{"x":"12.30"}"#);
    let hundreds = |value| {
        let decimal = Decimal128Array::from(vec![value]).with_precision_and_scale(10, -2).unwrap();
        one(Arc::new(decimal))
    };
    assert_eq!([hundreds(0), hundreds(-50)], [r#"{"x":"0"}"#, r#"{"x":"-5000"}"#]);
    let dictionary: DictionaryArray<Int32Type> = vec!["maths"].into_iter().collect();
    assert_eq!(one(Arc::new(dictionary)), r#"{"x":"maths"}"#);
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("a"), None]);
    assert_eq!(one(Arc::new(list.finish())), r#"{"x":["a",null]}"#);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    map.keys().append_value("n");
    map.values().append_null();
    map.append(true).unwrap();
    assert_eq!(one(Arc::new(map.finish())), r#"{"x":{"k":"v","n":null}}"#);
    let text = Arc::new(StringArray::from(vec!["q"])) as ArrayRef;
    let none = Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef;
    let field = |name| Arc::new(Field::new(name, DataType::Utf8, true));
    let message = StructArray::from(vec![(field("content"), text), (field("name"), none)]);
    assert_eq!(one(Arc::new(message)), r#"{"x":{"content":"q"}}"#);
}

#[test]
fn dates_of_parquet_have_one_text_in_days_and_in_milliseconds() {
    let dir = Dir::new();
    let days = Date32Array::from(vec![Some(19_000), None, Some(-1)]);
    let milliseconds = arrow_cast::cast(&days, &DataType::Date64).unwrap();
    let all = batch(vec![("d", Arc::new(days)), ("m", milliseconds)]);
    let got = texts(&dir.put("a.parquet", parquet_of(&all, 10)), &[]);
    let want = [r#"{"d":"2022-01-08","m":"2022-01-08"}"#, "{}", r#"{"d":"1969-12-31","m":"1969-12-31"}"#];
    assert_eq!(got, want);
}

#[test]
fn timestamps_of_96_bits_keep_their_years_and_microseconds() {
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type, Int96, Int96Type};

    let dir = Dir::new();
    let message = "message spark { required int96 a; required int64 b; required group c { required int96 d; }
        optional group e (LIST) { repeated group list { optional int96 element; } }
        optional group f (MAP) { repeated group key_value { required binary key (UTF8); optional int96 value; } } }";
    let schema = Arc::new(::parquet::schema::parser::parse_message_type(message).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    // Nanoseconds of the day in two halves, and the Julian day.
    let at = |day: u32, nanoseconds: u64| {
        vec![Int96::from(vec![nanoseconds as u32, (nanoseconds >> 32) as u32, day])]
    };
    let (last, first) = (at(5_373_484, 86_399_000_000_000), at(2_440_588, 0));
    // Of its 1.999 microseconds a whole number stays.
    let fine = at(2_440_588, 1_999);
    for number in 0..6 {
        let mut column = group.next_column().unwrap().unwrap();
        match number {
            0 => column.typed::<Int96Type>().write_batch(&last, None, None).unwrap(),
            1 => column.typed::<Int64Type>().write_batch(&[7], None, None).unwrap(),
            2 => column.typed::<Int96Type>().write_batch(&first, None, None).unwrap(),
            // The second item is null.
            3 => column.typed::<Int96Type>().write_batch(&last, Some(&[3, 2]), Some(&[0, 1])).unwrap(),
            4 => {
                let key = [ByteArray::from("k")];
                column.typed::<ByteArrayType>().write_batch(&key, Some(&[2]), Some(&[0])).unwrap()
            }
            _ => column.typed::<Int96Type>().write_batch(&fine, Some(&[3]), Some(&[0])).unwrap(),
        };
        column.close().unwrap();
    }
    group.close().unwrap();
    let got = texts(&dir.put("a.parquet", writer.into_inner().unwrap()), &[]);
    let want = concat!(
        r#"{"a":"9999-12-31T23:59:59","b":7,"c":{"d":"1970-01-01T00:00:00"},"#,
        r#""e":["9999-12-31T23:59:59",null],"f":{"k":"1970-01-01T00:00:00.000001"}}"#
    );
    assert_eq!(got, [want]);
}

#[test]
fn floats_are_exact_where_a_reader_calculates_with_them() {
    let dir = Dir::new();
    let single = Float32Array::from(vec![0.1, 2.917_968_8]);
    let half = arrow_cast::cast(&single, &DataType::Float16).unwrap();
    let words: DictionaryArray<Int32Type> = vec!["a", "b"].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("half", half),
        ("single", Arc::new(single)),
        ("double", Arc::new(Float64Array::from(vec![0.1, 2.5]))),
        ("word", Arc::new(words)),
    ];
    let all = batch(columns);
    let files = [
        dir.put("a.parquet", parquet_of(&all, 10)),
        dir.put("b.arrow", stream_of(std::slice::from_ref(&all))),
        dir.put("c.feather", file_of(std::slice::from_ref(&all))),
    ];
    for path in files {
        let mut source = DataFile::detect(&path).unwrap().open(&FieldNames::default()).unwrap();
        source.give_exact_floats();
        let json = source.next_record().unwrap().unwrap().json.to_vec();
        let record: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(record["half"], 0.099_975_585_937_5, "{}", path.display());
        assert_eq!(record["single"], f64::from(0.1_f32), "{}", path.display());
        assert_eq!(record["double"], 0.1, "{}", path.display());
        let json = source.next_record().unwrap().unwrap().json.to_vec();
        let record: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(record["half"], 2.917_968_75, "{}", path.display());
        assert!(source.next_record().is_none());
        let bits = ["half", "single", "double", "word", "none"].map(|column| source.float_bits(column));
        assert_eq!(bits, [Some(16), Some(32), Some(64), None, None], "{}", path.display());
    }
    let lines = dir.put("d.jsonl", "{\"half\": 0.1}\n");
    let mut source = DataFile::detect(&lines).unwrap().open(&FieldNames::default()).unwrap();
    source.give_exact_floats();
    assert_eq!(source.next_record().unwrap().unwrap().json, b"{\"half\": 0.1}");
    assert_eq!(source.float_bits("half"), None);
}

#[test]
fn values_without_a_form_name_row_and_column() {
    let dir = Dir::new();
    let refused = |array: ArrayRef| {
        let message = refusal(&dir.put("a.arrow", stream_of(&[batch(vec![("x", array)])])));
        message.split_once("a.arrow").unwrap().1.to_owned()
    };
    let bytes = refused(Arc::new(BinaryArray::from(vec![&b"ok"[..], &b"\xff\xd8"[..]])));
    assert_eq!(
        bytes,
        ", row 1, column \"x\": values of type Binary that are not UTF-8 text; leave the column out"
    );
    let infinite = refused(Arc::new(Float64Array::from(vec![1.0, 2.0, f64::INFINITY])));
    assert!(infinite.starts_with(", row 2, column \"x\": inf is not a JSON number"), "{infinite}");
    let without_text: [(ArrayRef, &str); 8] = [
        (Arc::new(Date32Array::from(vec![0, i32::MAX])), "Date32 with the number 2147483647 is beyond"),
        (Arc::new(Date64Array::from(vec![0, i64::MAX])), "Date64 with the number 9223372036854775807 is"),
        (Arc::new(Date64Array::from(vec![0, i64::MIN])), "Date64 with the number -9223372036854775808 is"),
        // A whole day that fits into the days of a Date32, and one that doesn't.
        (
            Arc::new(Date64Array::from(vec![0, 100_000_000 * DAY])),
            "Date64 with the number 8640000000000000 is",
        ),
        (
            Arc::new(Date64Array::from(vec![0, -3_000_000_000 * DAY])),
            "Date64 with the number -259200000000000000",
        ),
        (
            Arc::new(TimestampSecondArray::from(vec![0, i64::MIN])),
            "Timestamp(s) with the number -922337203685477",
        ),
        (
            Arc::new(TimestampMillisecondArray::from(vec![0, i64::MAX]).with_timezone("Europe/Paris")),
            "Timestamp(ms, \"Europe/Paris\") with the number 9223372036854775807 is beyond the calendar, which has",
        ),
        (Arc::new(Time32SecondArray::from(vec![0, -1])), "Time32(s) with the number -1 is no time of a day;"),
    ];
    for (array, said) in without_text {
        let message = refused(array);
        assert!(message.starts_with(&format!(", row 1, column \"x\": the {said}")), "{message}");
    }
    let field = Arc::new(Field::new("bytes", DataType::Binary, true));
    let image = StructArray::from(vec![(field, Arc::new(BinaryArray::from(vec![&b"\xff"[..]])) as ArrayRef)]);
    assert!(refused(Arc::new(image)).contains("row 0, column \"x.bytes\""));
    let twice =
        batch(vec![("x", Arc::new(Int64Array::from(vec![1]))), ("x", Arc::new(Int64Array::from(vec![1])))]);
    assert!(refusal(&dir.put("b.arrow", stream_of(&[twice]))).contains("two columns are called \"x\""));
}

#[test]
fn rows_are_counted_through_groups_and_batches() {
    let dir = Dir::new();
    let all = numbers(2500);
    let parts = [all.slice(0, 1000), all.slice(1000, 1), all.slice(1001, 1499)];
    let files = [
        dir.put("a.parquet", parquet_of(&all, 700)),
        dir.put("b.parquet.gz", gzip(&parquet_of(&all, 700))),
        dir.put("c.arrow", stream_of(&parts)),
        dir.put("d.feather", file_of(&parts)),
        dir.put("e.ipc.zst", zstandard(&file_of(&parts))),
        dir.put("f.arrow.gz", gzip(&stream_of(&parts))),
        // What the bytes say goes before the name.
        dir.put("g.jsonl", parquet_of(&all, 700)),
        dir.put("i.jsonl", stream_of(&parts)),
    ];
    for path in files {
        let records = read(&path, &[]).unwrap();
        assert_eq!(records.len(), 2500, "{}", path.display());
        for (i, (place, text)) in records.iter().enumerate() {
            assert_eq!(place, &format!("row {i}"));
            assert_eq!(text, &format!("{{\"text\":\"text {i}\",\"n\":{i}}}"));
        }
    }
    assert_eq!(texts(&dir.put("h.parquet", parquet_of(&numbers(0), 10)), &[]), [""; 0]);
}

#[test]
fn cut_files_are_refused_wherever_the_cut_is() {
    let dir = Dir::new();
    let all = numbers(200);
    let parts = [all.slice(0, 100), all.slice(100, 100)];
    for (name, bytes) in
        [("a.arrow", stream_of(&parts)), ("b.feather", file_of(&parts)), ("c.parquet", parquet_of(&all, 50))]
    {
        assert_eq!(read(&dir.put(name, &bytes), &[]).unwrap().len(), 200);
        for keep in (0..bytes.len()).step_by(61).chain([bytes.len() - 8, bytes.len() - 1]) {
            let message = refusal(&dir.put(name, &bytes[..keep]));
            assert!(message.contains(name), "{keep}: {message}");
        }
    }
    for (name, bytes, what) in [
        ("b.feather", file_of(&[numbers(9)]), "an Arrow file"),
        ("c.parquet", parquet_of(&numbers(9), 9), "Parquet"),
    ] {
        let message = refusal(&dir.put(name, &bytes[..bytes.len() - 8]));
        let says = format!("{name}: not {what}, or damaged or cut off at its end, which is read first: ");
        assert!(message.contains(&says), "{message}");
        assert!(message.ends_with("; copy or download the file again"), "{message}");
    }
}

#[test]
fn streams_that_were_put_together_are_refused() {
    let dir = Dir::new();
    let [first, second] = [0, 100].map(|start| stream_of(&[numbers(200).slice(start, 100)]));
    for (name, bytes) in [
        ("a.arrow", [&first[..], &second].concat()),
        ("b.arrow.gz", [gzip(&first), gzip(&second)].concat()),
        ("c.arrow", [&first[..], b"\n"].concat()),
    ] {
        let message = refusal(&dir.put(name, bytes));
        let says = "row 100: there is more after the end of its Arrow stream: give each file by itself";
        assert!(message.ends_with(&format!("{name}, {says}")), "{message}");
    }
    // The index of the last file would be taken for one of the first.
    let [first, second] = [2, 50].map(|rows| file_of(&[numbers(rows)]));
    let message = refusal(&dir.put("d.arrow", [first, second].concat()));
    assert!(message.contains("if files were joined, give each by itself"), "{message}");
}

#[test]
fn damaged_files_never_end_the_process() {
    let dir = Dir::new();
    let all = numbers(40);
    let [stream, _] = packed_of(&all, CompressionType::LZ4_FRAME);
    let [_, file] = packed_of(&all, CompressionType::ZSTD);
    for (name, bytes) in [
        ("a.arrow", stream_of(std::slice::from_ref(&all))),
        ("b.feather", file_of(std::slice::from_ref(&all))),
        ("c.parquet", parquet_of(&all, 50)),
        ("d.arrow", stream),
        ("e.feather", file),
        ("f.parquet", encoded_of(&all, Encoding::DELTA_BYTE_ARRAY)),
    ] {
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            // Some damage changes a value and nothing else: these formats keep no checksum of it.
            let _ = read(&dir.put(name, &damaged), &[]);
        }
    }
}

#[test]
fn compressed_parquet_and_feather() {
    use ::parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
    let dir = Dir::new();
    let all = numbers(300);
    let want = texts(&dir.put("a.arrow", stream_of(std::slice::from_ref(&all))), &[]);
    for codec in [
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let properties = WriterProperties::builder().set_compression(codec).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), all.schema(), Some(properties)).unwrap();
        writer.write(&all).unwrap();
        assert_eq!(texts(&dir.put("b.parquet", writer.into_inner().unwrap()), &[]), want, "{codec:?}");
    }
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        for bytes in packed_of(&all, codec) {
            assert_eq!(texts(&dir.put("c.feather", bytes), &[]), want, "{codec:?}");
        }
    }
}

#[test]
fn compressed_buffers_that_say_too_much_are_refused() {
    let dir = Dir::new();
    let text = Arc::clone(numbers(300).column(0));
    let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let coded = arrow_cast::cast(&text, &words).unwrap();
    let all = batch(vec![("text", text), ("coded", coded)]);
    let lz4 = (CompressionType::LZ4_FRAME, [0x04, 0x22, 0x4D, 0x18]);
    let zstd = (CompressionType::ZSTD, [0x28, 0xB5, 0x2F, 0xFD]);
    for (codec, start) in [lz4, zstd] {
        for bytes in packed_of(&all, codec) {
            assert_eq!(texts(&dir.put("a.arrow", &bytes), &[]).len(), 300);
            // The text of the column, and that of its dictionary.
            let starts = places(&bytes, &start);
            assert!(starts.len() >= 2, "{codec:?}: {starts:?}");
            for at in starts {
                for says in [1_i64 << 50, -2] {
                    let mut damaged = bytes.clone();
                    damaged[at - 8..at].copy_from_slice(&says.to_le_bytes());
                    let message = refusal(&dir.put("a.arrow", damaged));
                    let wanted = format!("compressed bytes that should be unpacked to {says}");
                    assert!(message.contains("damaged") && message.contains(&wanted), "{message}");
                }
            }
        }
    }
}

#[test]
fn pages_that_say_too_much_are_refused() {
    let dir = Dir::new();
    let all = numbers(300);
    for (encoding, lists) in [(Encoding::DELTA_LENGTH_BYTE_ARRAY, 1), (Encoding::DELTA_BYTE_ARRAY, 2)] {
        let bytes = encoded_of(&all, encoding);
        assert_eq!(texts(&dir.put("a.parquet", &bytes), &[]).len(), 300);
        // Blocks of 128 in 4 parts, 300 values.
        let starts = places(&bytes, &[0x80, 0x01, 0x04, 0xAC, 0x02]);
        assert_eq!(starts.len(), lists, "{encoding}");
        for at in starts {
            let mut damaged = bytes.clone();
            damaged[at + 3..at + 8].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0x7F]);
            let message = refusal(&dir.put("a.parquet", damaged));
            let wanted = "column \"text\": a page of 300 values that has 34359738367 lengths";
            assert!(message.contains("damaged") && message.contains(wanted), "{message}");
        }
    }
}
