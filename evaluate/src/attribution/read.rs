//! Scores in files of any program: records of rows and queries, tables with a column for each query, and
//! arrays of numpy with lists of ids.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use gstore_core::{Cancel, if_there};
use gstore_data::NumpyArray;
use serde_json::Value;

use super::scores::ScoresBuilder;
use crate::error::EvaluateError;
use crate::records::{PairSource, RecordLocation, each_record, text_of};

/// Adds the scores of a file.
///
/// A record has the `id` of the row, its `score`, and as `query` or `target` the id of the query (without one
/// it is for all queries); or it has, next to `id`, a key for each query. One with both is refused. An array
/// `NAME.npy` of rows times queries has its ids in `NAME.rows.txt` and `NAME.queries.txt`, one on each line;
/// with one dimension it needs no queries.
///
/// # Errors
/// A file that cannot be read, records without id or score, and what the builder refuses.
pub fn read_scores(path: &Path, into: &mut ScoresBuilder<'_>, cancel: &Cancel) -> Result<(), EvaluateError> {
    if is_array(path) {
        return read_array(path, into, cancel);
    }
    each_record(&PairSource::Files(vec![path.to_owned()]), cancel, &mut |at, value| {
        let Some(id) = text_of(value.get("id")) else {
            return Err(at.error("a score needs the `id` of its row: rows are joined by id, never by number"));
        };
        match value.get("score") {
            Some(score) => {
                let query =
                    value.get("query").or_else(|| value.get("target")).filter(|query| !query.is_null());
                if query.is_none()
                    && let Some(query) = query_key(&value, into)
                {
                    return Err(at.error(&format!(
                        "it has a `score`, and {query:?}, which is a query, is a key of it too: leave out one of both, as \
                         either would be taken for the scores"
                    )));
                }
                let query = match query {
                    None => None,
                    some => Some(text_of(some).ok_or_else(|| at.error("`query` is not an id"))?),
                };
                into.add(&id, query.as_deref(), number(&at, "score", score)?)
            }
            None => add_columns(&at, &id, &value, into),
        }
    })
}

/// The endings of the lists of ids next to an array: of its rows, and of its queries.
const LISTS: [&str; 2] = ["rows.txt", "queries.txt"];

/// What scores are read from at a path: a file, what a pattern stands for or a folder, and of an array the
/// lists next to it.
pub fn files_of_scores(path: &Path) -> Vec<PathBuf> {
    let lists = LISTS.iter().filter(|_| is_array(path)).map(|ending| path.with_extension(ending));
    std::iter::once(path.to_owned()).chain(lists).collect()
}

fn is_array(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"))
}

/// A key of a record with a score that is the id of a query.
fn query_key<'a>(value: &'a Value, scores: &ScoresBuilder<'_>) -> Option<&'a String> {
    let mut keys = value.as_object()?.keys();
    keys.find(|key| !["id", "score", "query", "target"].contains(&key.as_str()) && scores.has_query(key))
}

/// A record with a key for each query; of other numbers the keys are noted.
fn add_columns(
    at: &RecordLocation<'_>,
    id: &str,
    value: &Value,
    into: &mut ScoresBuilder<'_>,
) -> Result<(), EvaluateError> {
    let mut found = false;
    for (query, score) in value.as_object().into_iter().flatten().filter(|(key, _)| *key != "id") {
        match into.has_query(query) {
            true => {
                into.add(id, Some(query), number(at, query, score)?)?;
                found = true;
            }
            // What is no number is no score either.
            false if number(at, query, score).is_ok() => into.leave_out(query),
            false => {}
        }
    }
    match found {
        true => Ok(()),
        false if into.is_of_rows() => {
            Err(at.error("it has no `score`: each row has one here, and queries have none"))
        }
        false => Err(at.error("it has no `score`, and no key is the id of a query")),
    }
}

/// A number, also as the text of a file of CSV.
pub(super) fn number(at: &RecordLocation<'_>, key: &str, value: &Value) -> Result<f64, EvaluateError> {
    let found = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match found.filter(|number| number.is_finite()) {
        Some(number) => Ok(number),
        None => Err(at.error(&format!("`{key}` is not a finite number"))),
    }
}

/// Fails if a record also has a loss that is not the output with the other sign, to the last bit.
pub(super) fn same_as_loss(at: &RecordLocation<'_>, value: &Value, output: f64) -> Result<(), EvaluateError> {
    let Some(loss) = value.get("loss").filter(|loss| !loss.is_null()) else { return Ok(()) };
    match number(at, "loss", loss)? {
        loss if -loss == output => Ok(()),
        loss => Err(at.error(&format!(
            "its `output` is {output}, and its `loss` {loss}: an output is the loss with the other sign"
        ))),
    }
}

/// An array of numpy.
fn read_array(path: &Path, into: &mut ScoresBuilder<'_>, cancel: &Cancel) -> Result<(), EvaluateError> {
    let bad = |what: String| EvaluateError::File { path: path.to_owned(), what };
    let file = fs_err::File::open(path)?;
    let length = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let array = Array::of(&mut file, length).map_err(bad)?;
    let [of_rows, of_queries] = LISTS.map(|ending| path.with_extension(ending));
    let of_queries = (array.columns.is_some() || of_queries.exists()).then_some(of_queries);
    let size = (array.rows, array.columns.unwrap_or(1));
    let values = array.values(path.to_owned(), file);
    add_matrix(path, (&of_rows, of_queries.as_deref()), size, values, into, cancel)
}

/// Adds scores of rows times columns, each with its row and column, whose ids are in `lists`, one on each
/// line: those of the rows, and those of the queries that the columns are of. One column without a list is of
/// every query. Errors name `path`.
///
/// # Errors
/// Lists that cannot be read, or that have another number of ids, and what the builder refuses.
pub fn add_matrix(
    path: &Path,
    lists: (&Path, Option<&Path>),
    (rows, columns): (usize, usize),
    values: impl Iterator<Item = Result<(usize, usize, f64), EvaluateError>>,
    into: &mut ScoresBuilder<'_>,
    cancel: &Cancel,
) -> Result<(), EvaluateError> {
    let ids = list(lists.0, "rows", path)?;
    let queries = lists.1.map(|of_queries| list(of_queries, "queries", path)).transpose()?;
    if rows != ids.len() || queries.as_ref().is_some_and(|queries| queries.len() != columns) {
        let of_queries =
            queries.map_or_else(String::new, |queries| format!(" and {} queries", queries.len()));
        let given = ids.len();
        let what =
            format!("it has {rows} rows and {columns} columns, and its lists name {given} rows{of_queries}");
        return Err(EvaluateError::File { path: path.to_owned(), what });
    }
    for found in values {
        cancel.check()?;
        let (row, column, score) = found?;
        let query = queries.as_ref().and_then(|queries| queries.get(column)).map(String::as_str);
        into.add(&ids[row], query, score)?;
    }
    Ok(())
}

/// The lines of a list of ids: of the rows, or of the queries, of some scores.
fn list(path: &Path, of: &str, scores: &Path) -> Result<Vec<String>, EvaluateError> {
    let Some(text) = if_there(fs_err::read_to_string(path))? else {
        let scores = scores.display();
        let what = format!(
            "there is no such file; it lists the ids of the {of} of {scores} in their order, one on each line"
        );
        return Err(EvaluateError::File { path: path.to_owned(), what });
    };
    // Editors of Windows begin files with a byte order mark.
    let lines = text.trim_start_matches('\u{feff}').lines();
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// A file of numpy, whose values are not kept next to the scores.
struct Array {
    header: NumpyArray,
    rows: usize,
    columns: Option<usize>,
    /// Bytes of a value.
    size: usize,
}

impl Array {
    /// Reads the header of a file of so many bytes.
    fn of(file: &mut impl Read, length: u64) -> Result<Array, String> {
        let header = NumpyArray::read(file)?;
        let Some(size) = header.float_size() else {
            return Err(format!("its numbers are {}; float16, float32 and float64 are read", header.descr));
        };
        let (rows, columns) = match header.shape[..] {
            [rows] => (rows, None),
            [rows, columns] => (rows, Some(columns)),
            _ => {
                return Err(format!(
                    "its shape is {:?}; rows, or rows times queries, are read",
                    header.shape
                ));
            }
        };
        let cells = rows.checked_mul(columns.unwrap_or(1));
        let bytes = cells.and_then(|cells| cells.checked_mul(size)).map(|bytes| bytes as u64);
        match bytes.and_then(|bytes| bytes.checked_add(header.offset)) == Some(length) {
            true => Ok(Array { header, rows, columns, size }),
            false => Err("its length is not that of its shape".to_owned()),
        }
    }

    /// Row, column and value of each, read one after the other behind the header.
    fn values(
        self,
        path: PathBuf,
        mut file: impl Read,
    ) -> impl Iterator<Item = Result<(usize, usize, f64), EvaluateError>> {
        let (rows, columns) = (self.rows, self.columns.unwrap_or(1));
        (0..rows * columns).map(move |at| -> Result<_, EvaluateError> {
            let (row, column) = match self.header.fortran {
                true => (at % rows, at / rows),
                false => (at / columns, at % columns),
            };
            let mut bytes = [0; size_of::<f64>()];
            let bytes = &mut bytes[..self.size];
            let cut = |e| EvaluateError::File {
                path: path.clone(),
                what: format!("it changed while it was read: {e}"),
            };
            file.read_exact(bytes).map_err(cut)?;
            Ok((row, column, self.header.float(bytes).unwrap_or(f64::NAN)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::Ids;
    use super::super::scores::{MissingScores, Scores};
    use super::*;

    fn read(files: &[(&str, &[u8])]) -> Result<Scores, EvaluateError> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in files {
            fs_err::write(folder.path().join(name), bytes).expect("written");
        }
        let ids = |ids: [&str; 2]| Ids::new(ids.map(str::to_owned), "the test").expect("ids");
        let (pool, queries) = (ids(["a", "b"]), ids(["q", "r"]));
        let mut scores = ScoresBuilder::new("m", &pool, &queries);
        read_scores(&folder.path().join(files[0].0), &mut scores, &Cancel::new())?;
        scores.finish(MissingScores::Refuse)
    }

    fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
        npy_of("'<f4', 'fortran_order': False", shape, values)
    }

    fn npy_of(form: &str, shape: &str, values: &[f32]) -> Vec<u8> {
        let header = format!("{{'descr': {form}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        bytes
    }

    #[test]
    fn records_columns_and_arrays_are_the_same_scores() {
        let records = br#"{"id":"a","query":"q","score":1}
{"id":"b","target":"q","score":0.1}
{"id":"a","query":"r","score":3}
{"id":"b","query":"r","score":-4}
"#;
        let columns = b"id,q,r\na,1,3\nb,0.1,-4\n";
        let array = npy("(2, 2)", &[1.0, 3.0, 0.1, -4.0]);
        let lists: [(&str, &[u8]); 2] = [("s.rows.txt", b"a\nb\n"), ("s.queries.txt", b"q\nr\n")];
        let expected = Scores::new("m", 2, vec![1.0, 0.1, 3.0, -4.0]).expect("a matrix");
        assert_eq!(read(&[("s.jsonl", records)]).expect("read"), expected);
        assert_eq!(read(&[("s.csv", columns)]).expect("read"), expected);
        assert_eq!(read(&[("s.npy", &array), lists[0], lists[1]]).expect("read"), expected);
        let marked: [(&str, &[u8]); 2] =
            [("s.rows.txt", b"\xEF\xBB\xBFa\r\nb\r\n"), ("s.queries.txt", b"\xEF\xBB\xBFq\nr\n")];
        assert_eq!(read(&[("s.npy", &array), marked[0], marked[1]]).expect("read"), expected);
        let mut turned = npy_of("'>f4', 'fortran_order': True", "(2, 2)", &[1.0, 0.1, 3.0, -4.0]);
        let start = turned.len() - 4 * 4;
        turned[start..].chunks_exact_mut(4).for_each(<[u8]>::reverse);
        assert_eq!(read(&[("s.npy", &turned), lists[0], lists[1]]).expect("read"), expected);
        let mut half = npy_of("'<f2', 'fortran_order': False", "(2L, 2L)", &[]);
        half.extend([0x3C00_u16, 0x4200, 0x2E66, 0xC400].iter().flat_map(|bits| bits.to_le_bytes()));
        let upper = [("S.NPY", &half[..]), ("S.rows.txt", lists[0].1), ("S.queries.txt", lists[1].1)];
        assert_eq!(read(&upper).expect("read"), expected);
        // Columns of no query are named, and what is no number is no score.
        let wider = read(&[("s.csv", b"id,q,text,r,s,t\na,1,x,3,5,6\nb,0.1,y,-4,7,8\n")]).expect("read");
        assert_eq!((wider.unknown.rows, wider.unknown.queries), (0, 0));
        assert!(wider.unknown.columns.iter().eq(["s", "t"]), "{:?}", wider.unknown);
        assert_eq!((wider.of_query(0), wider.of_query(1)), (expected.of_query(0), expected.of_query(1)));
        let one = npy("(2,)", &[1.0, 2.0]);
        let found = read(&[("s.npy", &one), lists[0]]).expect("read");
        assert_eq!((found.of_query(0), found.of_query(1)), (&[1.0, 2.0][..], &[1.0, 2.0][..]));
        // Unless queries are named.
        let error = read(&[("s.npy", &one), lists[0], lists[1]]).unwrap_err().to_string();
        assert!(error.contains("1 columns") && error.contains("2 queries"), "{error}");
    }

    #[test]
    fn what_cannot_be_joined_or_counted_is_refused() {
        for (record, words) in [
            (&br#"{"row":3,"score":1}"#[..], "never by number"),
            (br#"{"id":"a","score":1,"length":3,"r":2}"#, "it has a `score`, and \"r\", which is a query"),
            (br#"{"id":"a","score":"many"}"#, "not a finite number"),
            (br#"{"id":"a","score":null}"#, "not a finite number"),
            (br#"{"id":"a","value":1}"#, "no `score`"),
        ] {
            let error = read(&[("s.jsonl", record)]).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        let lists: (&str, &[u8]) = ("s.rows.txt", b"a\n");
        for (array, words) in [
            (npy("(2,)", &[1.0, 2.0]), "name 1 rows"),
            (npy("(3,)", &[1.0, 2.0]), "not that of its shape"),
            (npy("(1, 1, 2)", &[1.0, 2.0]), "its shape is"),
            (
                npy_of("'<V2', 'fortran_order': False", "(1,)", &[]),
                "its numbers are <V2; float16, float32 and",
            ),
            (b"something else".to_vec(), "not a NumPy array"),
        ] {
            let error = read(&[("s.npy", &array), lists]).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
