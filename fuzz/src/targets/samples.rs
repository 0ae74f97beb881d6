//! Training data: lines of JSON, records, columns, ids.

use super::KIB;
use crate::Target;
use gstore_data::{IdAllocator, JsonLine, JsonlReader, SchemaBuilder, parse_record};

/// A file of samples.
pub const SAMPLES: Target = Target {
    name: "samples",
    run,
    // JSON values of two bytes take up to 80, in vectors that double; lines are read
    // through a buffer of 256 KiB.
    per_byte: 300,
    constant: 640 * KIB,
    words: &[
        b"{\"messages\": [{\"role\": \"user\", \"content\": \"",
        b"\"role\": \"assistant\"",
        b"{\"prompt\": \"",
        b"\"completion\": \"",
        b"{\"text\": \"",
        b"\"id\": ",
        b"\n",
        b"\r\n",
        b"\xef\xbb\xbf",
        b"\\ud83d\\ude00",
        b"\\ud83d",
        b"9223372036854775808",
        b"1e400",
        b"[[[[[[[[[[[[[[[[",
    ],
};

fn run(data: &[u8]) {
    let mut reader = JsonlReader::from_reader("samples.jsonl", std::io::Cursor::new(data.to_vec()));
    let mut schema = SchemaBuilder::new(Vec::new(), &[]);
    let mut ids = IdAllocator::new();
    let mut records = Vec::new();
    let mut fits = true;
    while let Some(Ok(JsonLine { number, bytes })) = reader.next_line() {
        assert!(data.windows(bytes.len().max(1)).any(|w| w == bytes), "a line stands in the file as it is");
        let Ok(record) = parse_record(bytes) else { continue };
        assert!(!ids.id_of(&record, bytes).is_empty(), "every record gets an id");
        fits &= schema.observe(number, &record).is_ok();
        records.push((number, record));
    }
    let Ok(schema) = schema.finish() else { return };
    for (number, record) in records {
        let row = schema.row(number, record.metadata);
        assert!(row.is_ok() || !fits, "records that were observed have rows: {row:?}");
        assert!(row.map_or(true, |values| values.len() == schema.columns().len()));
    }
}
