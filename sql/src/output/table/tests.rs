//! Tables as they are printed.

use std::sync::Arc;

use super::*;
use arrow_array::{Float32Array, Int64Array, StringArray};
use arrow_schema::{DataType, Field, Schema};

fn sample() -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("row", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("score", DataType::Float32, false),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int64Array::from(vec![7, 12345])),
            Arc::new(StringArray::from(vec![Some("two\nlines and then some"), None])),
            Arc::new(Float32Array::from(vec![0.125, -1.0 / 3.0])),
        ],
    )
    .unwrap()
}

/// The table of some batches.
fn text_of(batches: &[RecordBatch], style: TableStyle) -> String {
    let mut table = TableWriter::new(&batches[0].schema(), Vec::new(), style);
    batches.iter().for_each(|batch| table.write(batch).unwrap());
    String::from_utf8(table.finish().unwrap()).unwrap()
}

#[test]
fn columns_are_aligned_and_text_is_cut() {
    assert_eq!(
        text_of(&[sample()], TableStyle { width: None, column: Some(12) }),
        "  row  text              score\n\
         -----  ------------  ---------\n    7  two\\nlines …      0.125\n12345  NULL          -0.333333\n"
    );
}

/// The lines that a column of `values` gives, row by row in batches of one column.
fn lines(values: &[ArrayRef], style: TableStyle) -> Vec<String> {
    let batch = |values: &ArrayRef| {
        RecordBatch::try_from_iter_with_nullable([("v", Arc::clone(values), true)]).unwrap()
    };
    text_of(&values.iter().map(batch).collect::<Vec<_>>(), style)
        .lines()
        .skip(2)
        .map(|line| line.trim().to_owned())
        .collect()
}

fn styles() -> [TableStyle; 3] {
    [
        TableStyle::default(),
        TableStyle { width: Some(20), column: Some(6) },
        TableStyle { width: None, column: None },
    ]
}

#[test]
fn a_number_that_comes_late_is_whole() {
    use arrow_array::{BooleanArray, Decimal128Array, Float64Array, TimestampMicrosecondArray};
    let late: [(ArrayRef, &str); 7] = [
        (Arc::new(Int64Array::from(vec![2_039_000_014_273])), "2039000014273"),
        (Arc::new(Int64Array::from(vec![i64::MIN])), "-9223372036854775808"),
        (Arc::new(Float32Array::from(vec![-0.002_526_31])), "-0.00252631"),
        (Arc::new(Float64Array::from(vec![-1.234_56e-300])), "-1.23456e-300"),
        (Arc::new(Decimal128Array::from(vec![-i128::MAX / 10])), "-1701411834604692317316873037158841057.2"),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_123_456])),
            "2023-11-14T22:13:20.123456",
        ),
        (Arc::new(BooleanArray::from(vec![false])), "false"),
    ];
    for (value, text) in late {
        let value = match value.data_type() {
            DataType::Decimal128(..) => {
                let decimals = value.as_any().downcast_ref::<Decimal128Array>().unwrap().clone();
                Arc::new(decimals.with_precision_and_scale(38, 1).unwrap()) as ArrayRef
            }
            _ => value,
        };
        let empty = arrow_array::new_null_array(value.data_type(), SAMPLE);
        for style in styles() {
            let lines = lines(&[Arc::clone(&empty), Arc::clone(&value)], style);
            assert_eq!(lines.last().unwrap(), text, "{style:?}");
        }
    }
}

#[test]
fn a_list_ends_between_two_numbers_and_a_file_gets_whole_texts() {
    use arrow_array::ListArray;
    use arrow_array::types::Int64Type;
    let numbers = [Some(vec![Some(12), Some(-3_456), Some(789_012_345)])];
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(numbers));
    let whole = "[12,-3456,789012345]";
    for (column, text) in [(20, whole), (19, "[12,-3456,…"), (10, "[12,-3456…"), (9, "[12,…"), (2, "[…")]
    {
        let style = TableStyle { width: None, column: Some(column) };
        assert_eq!(lines(&[Arc::clone(&list)], style), [text], "{column}");
    }
    let short: ArrayRef = Arc::new(StringArray::from(vec!["a"; SAMPLE]));
    let long: ArrayRef = Arc::new(StringArray::from(vec!["a longer one"]));
    let [cut, _, file] = styles();
    assert_eq!(lines(&[Arc::clone(&short), Arc::clone(&long)], cut).last().unwrap(), "…");
    assert_eq!(lines(&[short, long], file).last().unwrap(), "a longer one");
}

#[test]
fn text_gives_way_to_a_number_that_becomes_wider() {
    let schema =
        Schema::new(vec![Field::new("n", DataType::Int64, false), Field::new("text", DataType::Utf8, false)]);
    let batch = |n: i64, rows: usize| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![n; rows])),
            Arc::new(StringArray::from(vec!["a text of some thirty letters"; rows])),
        ];
        RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()
    };
    let style = TableStyle { width: Some(30), column: Some(60) };
    let text = text_of(&[batch(1, SAMPLE), batch(1_234_567_890, 1)], style);
    assert_eq!(text.lines().nth(2).unwrap(), "1  a text of some thirty lett…");
    assert_eq!(text.lines().last().unwrap(), "1234567890  a text of some th…");
}

#[test]
fn a_narrow_terminal_takes_from_text_only() {
    let mut widths = [5, 60, 40, 9];
    let [number, text] = [&DataType::Int64, &DataType::Utf8].map(Layout::of);
    shrink(&mut widths, &[number, text, text, number], Room { total: 60, gap: 2 });
    assert!(widths.iter().sum::<usize>() + 6 <= 60, "{widths:?}");
    assert_eq!((widths[0], widths[3]), (5, 9));
}

#[test]
fn wide_characters_count_double() {
    assert_eq!(cut("日本語日本語", 7, CellTruncation::Anywhere), "日本語…");
}

/// The lines of a table of one row with these cells.
fn drawn(cells: &[(&str, &str)], width: usize) -> Vec<String> {
    let fields: Vec<Field> = cells.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, true)).collect();
    let values = cells.iter().map(|(_, cell)| Arc::new(StringArray::from(vec![*cell])) as ArrayRef);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), values.collect()).unwrap();
    let style = TableStyle { width: Some(width), ..TableStyle::default() };
    text_of(&[batch], style).lines().map(str::to_owned).collect()
}

#[test]
fn labels_and_names_are_whole_and_columns_in_the_middle_are_left_out() {
    let label = "grad-adam@checkpoint-1234567";
    let text = "a text with blanks that may be cut where room is short";
    let cells = [
        ("number", "1"),
        ("label", label),
        ("dataset", "pool"),
        ("first", "aaaaaaaaaaaaaaa"),
        ("second", "bbbbbbbbbbbbbbb"),
        ("text", text),
        ("state", "complete"),
    ];
    let lines = drawn(&cells, 70);
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["number", "label", "…", "text", "state"]);
    assert!(lines[2].contains(label) && lines[2].contains(" a text") && lines[2].contains("complete"));
    assert_eq!(lines[3], "… stands for 3 of 7 columns: dataset, first, second");
    assert!(lines[..3].iter().all(|line| line.width() <= 70), "{lines:#?}");
    let all = drawn(&cells, 200);
    assert!(all.len() == 3 && all[2].contains(text), "{all:#?}");
    // A heading is never cut, nor is one of two columns left out.
    let long =
        [("a_very_long_heading_of_a_column", "x"), ("id", "an id with blanks that is longer than all")];
    assert!(drawn(&long, 20)[0].starts_with("a_very_long_heading_of_a_column  id"));
    assert!(drawn(&long, 20)[2].ends_with("an id with blanks that is longer than all"));
}

#[test]
fn labels_give_way_before_a_column_is_left_out() {
    let label = "a-label-of-thirty-two-characters";
    let cells = [("column_name", label), ("min", label), ("max", label), ("count", "20")];
    let lines = drawn(&cells, 80);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[2].starts_with(label) && lines[2].ends_with("  20"), "{lines:#?}");
    assert_eq!(lines[2].matches("…").count(), 2, "{lines:#?}");
    assert!(lines.iter().all(|line| line.width() <= 80), "{lines:#?}");
    // Of the columns that are kept they have what room there is.
    let narrow = drawn(&cells, 58);
    assert_eq!(narrow[0].split_whitespace().collect::<Vec<_>>(), ["column_name", "min", "…", "count"]);
    assert!(narrow[2].contains("  a-label-") && narrow[2].contains('…'), "{narrow:#?}");
    // Where they fit they are whole.
    assert_eq!(drawn(&cells, 120)[2].matches(label).count(), 3);
}

#[test]
fn headings_stand_on_two_lines_before_a_column_is_left_out() {
    let rows = [
        ("quality", Some(1234.5678), "a text with blanks, which may be cut"),
        ("scored_tokens", None, "chat"),
    ];
    let text =
        |of: &dyn Fn(usize) -> &'static str| Arc::new(StringArray::from(vec![of(0), of(1)])) as ArrayRef;
    let number =
        || Arc::new(arrow_array::Float64Array::from(rows.map(|(_, middle, _)| middle).to_vec())) as ArrayRef;
    let count = || Arc::new(Int64Array::from(vec![12_345, 12_345])) as ArrayRef;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("column_name", text(&|row| rows[row].0)),
        ("column_type", text(&|_| "VARCHAR")),
        ("min", text(&|row| rows[row].2)),
        ("max", text(&|row| rows[row].2)),
        ("approx_unique", count()),
        ("avg", number()),
        ("std", number()),
        ("q25", number()),
        ("q50", number()),
        ("q75", number()),
        ("count", count()),
        ("null_percentage", count()),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let drawn = |width: usize| {
        let style = TableStyle { width: Some(width), ..TableStyle::default() };
        text_of(std::slice::from_ref(&batch), style).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for width in [115, 120, 130] {
        let lines = drawn(width);
        assert!(lines.iter().all(|line| line.width() <= width), "{lines:#?}");
        assert_eq!(lines.len(), 5, "{lines:#?}");
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(0), ["column_", "column_", "approx_", "null_"]);
        assert_eq!(words(1)[..4], ["name", "type", "min", "max"]);
        assert_eq!(words(1)[4..], ["unique", "avg", "std", "q25", "q50", "q75", "count", "percentage"]);
        assert!(lines[4].starts_with("scored_tokens") && lines[3].contains("1234.57"), "{lines:#?}");
    }
    assert!(drawn(150).len() == 4 && drawn(150)[0].starts_with("column_name"), "{:#?}", drawn(150));
    assert!(drawn(90).last().unwrap().starts_with("… stands for"), "{:#?}", drawn(90));
    assert_eq!(
        ["a_b_long", "_x", "x_", "plain", "null_percentage"].map(broken),
        [("a_b_", "long"), ("", "_x"), ("", "x_"), ("", "plain"), ("null_", "percentage")]
    );
}

#[test]
fn null_and_an_empty_text_differ() {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Utf8, true)]));
    let values: ArrayRef = Arc::new(StringArray::from(vec![None, Some("")]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![values]).unwrap();
    let drawn = |null| {
        let mut table = TableWriter::new(&schema, Vec::new(), TableStyle::default()).with_null(null);
        table.write(&batch).unwrap();
        String::from_utf8(table.finish().unwrap()).unwrap()
    };
    assert_eq!(drawn("NULL"), "v\n----\nNULL\n\n");
    assert_eq!(drawn(""), "v\n-\n\n\n");
}
