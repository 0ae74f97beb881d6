//! Each format, written and read back.

use super::*;
use arrow_array::builder::{
    FixedSizeListBuilder, Float16Builder, Float64Builder, Int64Builder, IntervalMonthDayNanoBuilder,
    ListBuilder, MapBuilder,
};
use arrow_array::types::{Float64Type, IntervalMonthDayNano};
use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Date64Array, DictionaryArray, Float16Array, Float32Array, Int32Array,
    Int64Array, IntervalMonthDayNanoArray, ListArray, StringArray, StructArray, Time32MillisecondArray,
    Time32SecondArray, TimestampMillisecondArray, TimestampSecondArray,
};
use arrow_schema::IntervalUnit;
use datafusion::arrow::buffer::OffsetBuffer;
use half::f16;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn sample() -> RecordBatch {
    let mut vectors = FixedSizeListBuilder::new(Float16Builder::new(), 2);
    for v in [0.5, -3.0] {
        vectors.values().append_value(f16::from_f32(v));
        vectors.values().append_value(f16::from_f32(0.0));
        vectors.append(true);
    }
    let columns: [(&str, ArrayRef); 6] = [
        ("row", Arc::new(Int64Array::from(vec![0, 1]))),
        ("row", Arc::new(Int64Array::from(vec![7, 8]))),
        ("score", Arc::new(Float32Array::from(vec![0.1, f32::NAN]))),
        ("text", Arc::new(StringArray::from(vec![Some("a,\"b\"\nc"), None]))),
        ("raw", Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b""]))),
        ("vector", Arc::new(vectors.finish())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
}

/// Batches of one schema in a format and a style.
fn styled(format: Format, schema: &SchemaRef, batches: &[RecordBatch], style: TableStyle) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ResultWriter::new(format, schema, &mut out, style).unwrap();
    batches.iter().for_each(|b| writer.write(b).unwrap());
    assert_eq!(writer.finish().unwrap(), batches.iter().map(|b| b.num_rows() as u64).sum::<u64>());
    out
}

fn written(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
    styled(format, &sample().schema(), batches, TableStyle::default())
}

fn text_of(format: Format, batch: &RecordBatch) -> String {
    let batches = std::slice::from_ref(batch);
    String::from_utf8(styled(format, &batch.schema(), batches, TableStyle::default())).unwrap()
}

fn text(format: Format) -> String {
    text_of(format, &sample())
}

#[test]
fn csv_has_a_place_for_lists_and_bytes() {
    assert_eq!(
        text(Format::Csv),
        "row,row,score,text,raw,vector\n0,7,0.1,\"a,\"\"b\"\"\nc\",00ff,\"[0.5,0.0]\"\n1,8,NaN,,,\"[-3.0,0.0]\"\n"
    );
}

#[test]
fn tabs_take_the_place_of_commas() {
    assert_eq!(
        text(Format::Tsv),
        "row\trow\tscore\ttext\traw\tvector\n0\t7\t0.1\t\"a,\"\"b\"\"\nc\"\t00ff\t[0.5,0.0]\n1\t8\tNaN\t\t\t[-3.0,0.0]\n"
    );
}

#[test]
fn a_value_stays_in_its_cell_of_markdown() {
    assert_eq!(
        text(Format::Markdown),
        "| row | row | score | text | raw | vector |\n\
         | ---: | ---: | ---: | --- | --- | --- |\n\
         | 0 | 7 | 0.1 | a,\"b\"<br>c | 00ff | [0.5,0.0] |\n\
         | 1 | 8 | NaN |  |  | [-3.0,0.0] |\n"
    );
    let column: ArrayRef = Arc::new(StringArray::from(vec!["a|<b>\r\n\u{202e}c\n"]));
    let batch = RecordBatch::try_from_iter([("x|y", column)]).unwrap();
    assert_eq!(text_of(Format::Markdown, &batch), "| x\\|y |\n| --- |\n| a\\|&lt;b><br>\\\\u{202e}c |\n");
}

#[test]
fn a_page_shows_markup_as_it_is_and_numbers_on_the_right() {
    let page = text(Format::Html);
    let (head, table) = page.split_once("<table>\n").unwrap();
    assert!(head.starts_with("<!DOCTYPE html>\n") && head.contains("<meta charset=\"utf-8\">"), "{head}");
    assert_eq!(
        table,
        "<thead>\n<tr><th class=\"n\">row</th><th class=\"n\">row</th><th class=\"n\">score</th><th>text</th><th>raw</th>\
         <th>vector</th></tr>\n</thead>\n<tbody>\n\
         <tr><td class=\"n\">0</td><td class=\"n\">7</td><td class=\"n\">0.1</td><td>a,&quot;b&quot;\nc</td><td>00ff</td>\
         <td>[0.5,0.0]</td></tr>\n\
         <tr><td class=\"n\">1</td><td class=\"n\">8</td><td class=\"n\">NaN</td><td></td><td></td><td>[-3.0,0.0]</td></tr>\n\
         </tbody>\n</table>\n</body>\n</html>\n"
    );
    let column: ArrayRef = Arc::new(StringArray::from(vec!["<script>1 & 2</script>\r\n\u{202e}c"]));
    let batch = RecordBatch::try_from_iter([("<i>", column)]).unwrap();
    let page = text_of(Format::Html, &batch);
    assert!(page.contains("<th>&lt;i&gt;</th>"), "{page}");
    assert!(page.contains("<td>&lt;script&gt;1 &amp; 2&lt;/script&gt;\n\\u{202e}c</td>"), "{page}");
}

#[test]
fn json_is_one_object_a_line_with_every_name_once() {
    assert_eq!(
        text(Format::Json),
        "{\"row\":0,\"row_2\":7,\"score\":0.1,\"text\":\"a,\\\"b\\\"\\nc\",\"raw\":\"00ff\",\"vector\":[0.5,0.0]}\n\
         {\"row\":1,\"row_2\":8,\"score\":null,\"text\":null,\"raw\":\"\",\"vector\":[-3.0,0.0]}\n"
    );
}

#[test]
fn json_has_no_error_in_place_of_a_time() {
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(0), None, Some(i64::MAX)]));
    let field = Arc::new(Field::new("item", times.data_type().clone(), true));
    let lists: ArrayRef =
        Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([3]), Arc::clone(&times), None));
    let which = ["the TIMESTAMP with the number 9223372036854775807", "a date or time in a list or struct"];
    for ((column, good), which) in [(times, 2), (lists, 0)].into_iter().zip(which) {
        let write = |rows| {
            let batch =
                RecordBatch::try_from_iter_with_nullable([("c", column.slice(0, rows), true)]).unwrap();
            let mut writer =
                ResultWriter::new(Format::Json, &batch.schema(), Vec::new(), TableStyle::default()).unwrap();
            writer.write(&batch).map_err(|error| error.to_string())
        };
        assert_eq!(write(good), Ok(()));
        let error = write(column.len()).unwrap_err();
        assert!(error.starts_with(&format!("{which} is beyond the calendar")), "{error}");
    }
    // Wherever it stands, and on both sides of the calendar.
    for beyond in [i64::MIN, i64::MAX] {
        for at in 0..3 {
            let mut times = [Some(7), None, Some(-7)];
            times[at] = Some(beyond);
            let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()));
            assert!(times::check(&column).unwrap_err().to_string().contains(&beyond.to_string()));
        }
    }
    let nothing: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![None::<i64>; 2]));
    assert!(times::check(&nothing).is_ok());
}

#[test]
fn dates_that_have_no_text_are_an_error_in_every_format_of_texts() {
    let dates: ArrayRef = Arc::new(Date32Array::from(vec![0, i32::MAX]));
    let batch = RecordBatch::try_from_iter([("d", dates)]).unwrap();
    for format in [Format::Table, Format::Csv, Format::Json, Format::Markdown, Format::Html] {
        let mut writer =
            ResultWriter::new(format, &batch.schema(), Vec::new(), TableStyle::default()).unwrap();
        let written = writer.write(&batch).and_then(|()| writer.finish());
        let error = written.unwrap_err().to_string();
        assert!(error.starts_with("the DATE with the number 2147483647 is beyond the calendar"), "{error}");
    }
}

#[test]
fn json_has_null_where_a_number_is_not_finite() {
    let floats = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5];
    let halves = Float16Array::from(floats.map(f16::from_f64).to_vec());
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(floats.map(Some)), None]);
    let singles: ArrayRef = Arc::new(Float32Array::from(floats.map(|float| float as f32).to_vec()));
    let field = Field::new("x", DataType::Float32, true);
    let structs = StructArray::from(vec![(Arc::new(field), singles)]);
    let columns: [(ArrayRef, &str); 3] = [
        (Arc::new(halves), "{\"c\":null}\n{\"c\":null}\n{\"c\":null}\n{\"c\":0.5}\n"),
        (Arc::new(lists), "{\"c\":[null,null,null,0.5]}\n{\"c\":null}\n"),
        (
            Arc::new(structs),
            "{\"c\":{\"x\":null}}\n{\"c\":{\"x\":null}}\n{\"c\":{\"x\":null}}\n{\"c\":{\"x\":0.5}}\n",
        ),
    ];
    for (column, expected) in columns {
        let batch = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
        assert_eq!(text_of(Format::Json, &batch), expected);
    }
}

#[test]
fn intervals_have_one_text_in_all_formats() {
    let spans = IntervalMonthDayNanoArray::from(vec![
        Some(IntervalMonthDayNano::new(14, 3, 63_967_123_000_000)),
        None,
    ]);
    let mut lists = ListBuilder::new(IntervalMonthDayNanoBuilder::new());
    lists.append_value([Some(IntervalMonthDayNano::new(0, 1, 0))]);
    lists.append(false);
    let columns: [(&str, ArrayRef); 2] = [("span", Arc::new(spans)), ("list", Arc::new(lists.finish()))];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
    for (format, expected) in [
        (Format::Csv, "span,list\n1 year 2 months 3 days 17:46:07.123,\"[\"\"1 day\"\"]\"\n,\n"),
        (
            Format::Json,
            "{\"span\":\"1 year 2 months 3 days 17:46:07.123\",\"list\":[\"1 day\"]}\n{\"span\":null,\"list\":null}\n",
        ),
        (
            Format::Table,
            "span                                 list\n-----------------------------------  ---------\n\
             1 year 2 months 3 days 17:46:07.123  [\"1 day\"]\nNULL                                 NULL\n",
        ),
    ] {
        assert_eq!(text_of(format, &batch), expected);
    }
}

#[test]
fn keys_of_maps_are_texts_in_formats_of_texts() {
    let mut maps = MapBuilder::new(None, Int64Builder::new(), Float64Builder::new());
    for entries in [&[(1, Some(0.5)), (9_007_199_254_740_993, None)][..], &[], &[(-2, Some(1.0))]] {
        for (key, value) in entries {
            maps.keys().append_value(*key);
            maps.values().append_option(*value);
        }
        maps.append(!entries.is_empty()).unwrap();
    }
    let maps: ArrayRef = Arc::new(maps.finish());
    let batch = RecordBatch::try_from_iter_with_nullable([("m", maps, true)]).unwrap();
    let objects = "{\"m\":{\"1\":0.5,\"9007199254740993\":null}}\n{\"m\":null}\n{\"m\":{\"-2\":1.0}}\n";
    let lines = "{\"1\":0.5,\"9007199254740993\":null}\n\n{\"-2\":1.0}\n";
    assert_eq!(text_of(Format::Json, &batch), objects);
    assert_eq!(text_of(Format::Lines, &batch), lines);
    // A part of a batch has its own keys.
    let last = batch.slice(2, 1);
    assert_eq!(text_of(Format::Json, &last), "{\"m\":{\"-2\":1.0}}\n");
    assert_eq!(text_of(Format::Csv, &last), "m\n\"{\"\"-2\"\":1.0}\"\n");
    assert_eq!(text_of(Format::Markdown, &last), "| m |\n| --- |\n| {\"-2\":1.0} |\n");
    let mut out = Vec::new();
    let mut writer = ResultWriter::exact_json(&batch.schema(), &mut out);
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), objects);

    let mut spans = MapBuilder::new(None, IntervalMonthDayNanoBuilder::new(), Int64Builder::new());
    spans.keys().append_value(IntervalMonthDayNano::new(0, 1, 0));
    spans.values().append_value(7);
    spans.append(true).unwrap();
    let spans: ArrayRef = Arc::new(spans.finish());
    let batch = RecordBatch::try_from_iter([("m", spans)]).unwrap();
    assert_eq!(text_of(Format::Json, &batch), "{\"m\":{\"1 day\":7}}\n");
}

#[test]
fn a_table_is_for_reading() {
    assert_eq!(
        text(Format::Table),
        "row  row  score  text      raw   vector\n---  ---  -----  --------  ----  ----------\n  \
         0    7    0.1  a,\"b\"\\nc  00ff  [0.5,0.0]\n  1    8    NaN  NULL            [-3.0,0.0]\n"
    );
}

#[test]
fn arrow_and_parquet_keep_the_values_and_the_types() {
    let bytes = written(Format::Arrow, &[sample(), sample()]);
    let reader =
        datafusion::arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
    let back: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    assert_eq!(back.len(), 2);
    assert_eq!(back[0].columns()[3..], sample().columns()[3..]);
    assert_eq!(back[0].schema().field(1).name(), "row_2");

    let bytes = written(Format::Parquet, &[sample()]);
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    let back: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    assert_eq!(back[0].columns()[3..], sample().columns()[3..]);
}

#[test]
fn a_dictionary_is_written_as_its_values_except_in_parquet() {
    let batch = |texts: [&str; 2], numbers: [i64; 2], coded: bool| {
        let of = |values: ArrayRef| -> ArrayRef {
            match coded {
                true => Arc::new(DictionaryArray::new(Int32Array::from(vec![0, 1]), values)),
                false => values,
            }
        };
        let texts = of(Arc::new(StringArray::from(texts.to_vec())));
        let numbers = of(Arc::new(Int64Array::from(numbers.to_vec())));
        let item = Arc::new(Field::new_list_field(texts.data_type().clone(), true));
        let lists = ListArray::new(item, OffsetBuffer::from_lengths([1, 1]), Arc::clone(&texts), None);
        let columns: [(&str, ArrayRef); 3] =
            [("text", texts), ("number", numbers), ("list", Arc::new(lists))];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    };
    // Each batch has its own dictionaries.
    let [coded, plain] =
        [true, false].map(|coded| vec![batch(["a", "b"], [1, 20], coded), batch(["c", "a"], [30, 1], coded)]);
    let written = |format, batches: &[RecordBatch]| {
        styled(format, &batches[0].schema(), batches, TableStyle::default())
    };
    for format in [Format::Table, Format::Csv, Format::Json, Format::Markdown, Format::Html] {
        let [of_coded, of_plain] =
            [&coded, &plain].map(|batches| String::from_utf8(written(format, batches)).unwrap());
        assert_eq!(of_coded, of_plain);
    }
    let file = std::io::Cursor::new(written(Format::Arrow, &coded));
    let reader = datafusion::arrow::ipc::reader::FileReader::try_new(file, None).unwrap();
    assert_eq!(reader.map(Result::unwrap).collect::<Vec<_>>(), plain);
    let texts = [0, 1].map(|place: usize| coded[place].project(&[0]).unwrap());
    let bytes = bytes::Bytes::from(written(Format::Parquet, &texts));
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    let back = reader.next().unwrap().unwrap();
    assert_eq!(back.column(0).data_type(), texts[0].column(0).data_type());
}

#[test]
fn parquet_has_times_in_units_of_its_own() {
    let in_list = |times: ArrayRef| -> ArrayRef {
        let item = Arc::new(Field::new("item", times.data_type().clone(), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1, 1]), times, None))
    };
    let in_struct = |times: ArrayRef| -> ArrayRef {
        let field = Arc::new(Field::new("x", times.data_type().clone(), true));
        Arc::new(StructArray::from(vec![(field, times)]))
    };
    let seconds = TimestampSecondArray::from(vec![Some(1_704_164_645), None]);
    let millis = TimestampMillisecondArray::from(vec![Some(1_704_164_645_000), None]);
    let (zoned, zoned_millis) = (seconds.clone().with_timezone("UTC"), millis.clone().with_timezone("UTC"));
    let (seconds, millis): (ArrayRef, ArrayRef) = (Arc::new(seconds), Arc::new(millis));
    let columns: [(ArrayRef, ArrayRef); 6] = [
        (in_list(Arc::clone(&seconds)), in_list(Arc::clone(&millis))),
        (in_struct(in_list(Arc::clone(&seconds))), in_struct(in_list(Arc::clone(&millis)))),
        (seconds, Arc::clone(&millis)),
        (Arc::new(zoned), Arc::new(zoned_millis)),
        (Arc::new(Date64Array::from(vec![Some(1_704_164_645_000), None])), millis),
        (
            Arc::new(Time32SecondArray::from(vec![Some(11_045), None])),
            Arc::new(Time32MillisecondArray::from(vec![Some(11_045_000), None])),
        ),
    ];
    for (column, expected) in columns {
        let batch = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
        let written = |format| {
            let batches = std::slice::from_ref(&batch);
            styled(format, &batch.schema(), batches, TableStyle::default())
        };
        let bytes = bytes::Bytes::from(written(Format::Parquet));
        let mut reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        assert_eq!(reader.next().unwrap().unwrap().column(0), &expected);
        let file = std::io::Cursor::new(written(Format::Arrow));
        let mut reader = datafusion::arrow::ipc::reader::FileReader::try_new(file, None).unwrap();
        assert_eq!(reader.next().unwrap().unwrap(), batch);
    }
    // Null would be silent.
    let late: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
    let batch = RecordBatch::try_from_iter([("c", late)]).unwrap();
    let mut writer =
        ResultWriter::new(Format::Parquet, &batch.schema(), Vec::new(), TableStyle::default()).unwrap();
    assert!(writer.write(&batch).unwrap_err().to_string().contains("cannot be written"));
}

#[test]
fn row_groups_of_parquet_have_the_size_that_is_asked_for() {
    let numbers: ArrayRef = Arc::new((0..100_000).map(i64::from).collect::<Int64Array>());
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let groups = |bytes: usize| {
        let mut out = Vec::new();
        let style = TableStyle::default();
        let mut writer =
            ResultWriter::in_row_groups(bytes, Format::Parquet, &batch.schema(), &mut out, style).unwrap();
        (0..10).for_each(|i| writer.write(&batch.slice(i * 10_000, 10_000)).unwrap());
        assert_eq!(writer.finish().unwrap(), 100_000);
        let file = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(out)).unwrap();
        file.metadata().num_row_groups()
    };
    assert_eq!(groups(ROW_GROUP), 1);
    assert!(groups(100_000) > 3);
}

#[test]
fn parquet_has_no_intervals() {
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let item = Arc::new(Field::new("item", interval.clone(), true));
    for of in [interval, DataType::List(item)] {
        let schema = Arc::new(Schema::new(vec![Field::new("span", of, true)]));
        let Err(error) = ResultWriter::new(Format::Parquet, &schema, Vec::new(), TableStyle::default())
        else {
            panic!("an interval in Parquet")
        };
        let error = error.to_string();
        assert!(error.contains("column `span`") && error.contains("CAST(.. AS VARCHAR)"), "{error}");
    }
}

#[test]
fn an_empty_result_is_a_valid_file() {
    assert_eq!(written(Format::Csv, &[]), b"row,row,score,text,raw,vector\n");
    assert_eq!(written(Format::Json, &[]), b"");
    assert!(String::from_utf8(written(Format::Table, &[])).unwrap().starts_with("row  row  score"));
    let reader = std::io::Cursor::new(written(Format::Arrow, &[]));
    assert_eq!(datafusion::arrow::ipc::reader::FileReader::try_new(reader, None).unwrap().num_batches(), 0);
    let bytes = bytes::Bytes::from(written(Format::Parquet, &[]));
    assert_eq!(ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().metadata().num_row_groups(), 0);
}

#[test]
fn lines_are_the_values_of_the_only_column() {
    assert_eq!(text_of(Format::Lines, &sample().project(&[3]).unwrap()), "a,\"b\"\nc\n\n");
    // A terminal shows what a value hides; a file has it as it is.
    let hidden = RecordBatch::try_from_iter([(
        "text",
        Arc::new(StringArray::from(vec!["a\u{202e}b\nc\u{1b}"])) as ArrayRef,
    )]);
    let hidden = hidden.unwrap();
    for (width, shown) in [(Some(80), "a\\u{202e}b\nc\\u{1b}\n"), (None, "a\u{202e}b\nc\u{1b}\n")] {
        let style = TableStyle { width, column: None };
        let out = styled(Format::Lines, &hidden.schema(), std::slice::from_ref(&hidden), style);
        assert_eq!(String::from_utf8(out).unwrap(), shown);
    }
    let Err(error) = ResultWriter::new(Format::Lines, &sample().schema(), Vec::new(), TableStyle::default())
    else {
        panic!("six columns as lines")
    };
    assert!(error.to_string().contains("6 columns") || error.to_string().contains("has 6"), "{error}");
}

#[test]
fn formats_are_known_by_their_words() {
    for word in Format::WORDS {
        word.parse::<Format>().unwrap();
    }
    assert_eq!(
        "exel".parse::<Format>().unwrap_err(),
        "format cannot be `exel`: it is one of table, csv, tsv, json, parquet, arrow, lines, markdown, html"
    );
}
