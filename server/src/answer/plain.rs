//! Plain Flight: datasets, vectors and questions by path or as JSON, without SQL.
//!
//! - path `dataset/NAME`, or `{"dataset": "NAME", "rows": [0, 1000]}`
//! - path `vectors/DATASET/FEATURE`, or `{"vectors": {"dataset": "NAME", "feature": "LABEL", "rows": [0,
//!   1000], "type": "f32"}}`
//! - `{"influence": {"pool": "NAME", "target": "NAME", "k": 10}}`, with the options of `influence()`
//! - `{"matrix": {"pool": "NAME", "target": "NAME"}}`, with the options of a matrix
//! - `{"sql": "SELECT ..", "parameters": [1, "a"]}`

use std::fmt;
use std::ops::Range;

use gstore_query::QueryError;
use gstore_query::influence::{Function, Options};
use gstore_sql::{MAX_PARAMETERS, Parameters};
use serde::Deserialize;
use serde_json::{Map, Value};
use tonic::Status;

use super::matrix;
use crate::handle::{Matrix, Statement};
use crate::json::{Object, read_object};
use crate::values::write_values;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct RequestBody {
    dataset: Option<String>,
    rows: Option<[u64; 2]>,
    vectors: Option<Object<VectorForm>>,
    influence: Option<Map<String, Value>>,
    matrix: Option<Map<String, Value>>,
    sql: Option<String>,
    parameters: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct VectorForm {
    dataset: String,
    feature: Value,
    rows: Option<[u64; 2]>,
    r#type: Option<VectorType>,
}

/// The type that vectors are sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum VectorType {
    /// As they are stored, with their scales.
    Stored,
    /// As values.
    F32,
}

/// What is wanted of a store.
#[derive(Debug)]
pub(crate) enum PlainRequest {
    /// The table of a dataset.
    Dataset { name: String, rows: Option<Range<u64>> },
    /// Vectors of a feature.
    Vectors { dataset: String, feature: String, rows: Option<Range<u64>>, stored: bool },
    /// A statement, already with its values.
    Statement(Statement),
    /// Scores of every row with every target sample.
    Matrix(Matrix),
}

/// As the record of requests has it.
impl fmt::Display for PlainRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = match self {
            Self::Dataset { name, rows } => {
                write!(f, "dataset {name}")?;
                rows
            }
            Self::Vectors { dataset, feature, rows, .. } => {
                write!(f, "vectors of {dataset}/{feature}")?;
                rows
            }
            Self::Statement(statement) => return f.write_str(&statement.sql),
            Self::Matrix(matrix) => return write!(f, "matrix {}", matrix.spec),
        };
        match rows {
            Some(rows) => write!(f, ", rows {} to {}", rows.start, rows.end),
            None => Ok(()),
        }
    }
}

pub(crate) fn read_path(path: &[String]) -> Result<PlainRequest, Status> {
    // Clients give a path in parts, or as one with slashes.
    let parts: Vec<&str> = match path {
        [one] => one.split('/').collect(),
        several => several.iter().map(String::as_str).collect(),
    };
    match parts.as_slice() {
        ["dataset", name] => Ok(PlainRequest::Dataset { name: (*name).to_owned(), rows: None }),
        ["vectors", dataset, feature] => Ok(PlainRequest::Vectors {
            dataset: (*dataset).to_owned(),
            feature: (*feature).to_owned(),
            rows: None,
            stored: true,
        }),
        _ => Err(Status::not_found("the paths are dataset/NAME and vectors/DATASET/FEATURE")),
    }
}

pub(crate) fn read_json(bytes: &[u8]) -> Result<PlainRequest, Status> {
    let form: RequestBody = read_object("the request", bytes)?;
    let RequestBody { dataset, rows, vectors, influence: question, matrix, sql, parameters } = form;
    match (dataset, vectors, question, matrix, sql, rows, parameters) {
        (Some(name), None, None, None, None, rows, None) => {
            Ok(PlainRequest::Dataset { name, rows: rows.map(range).transpose()? })
        }
        (None, Some(Object(wanted)), None, None, None, None, None) => {
            let feature = match wanted.feature {
                Value::String(label) => label,
                Value::Number(number) => number.to_string(),
                _ => return Err(Status::invalid_argument("a feature is a label or a number")),
            };
            let stored = wanted.r#type.unwrap_or(VectorType::Stored) == VectorType::Stored;
            let rows = wanted.rows.map(range).transpose()?;
            Ok(PlainRequest::Vectors { dataset: wanted.dataset, feature, rows, stored })
        }
        (None, None, Some(options), None, None, None, None) => {
            influence(&options).map(PlainRequest::Statement)
        }
        (None, None, None, Some(options), None, None, None) => {
            matrix::question(options).map(PlainRequest::Matrix)
        }
        (None, None, None, None, Some(sql), None, parameters) => {
            let list = match parameters {
                None => Vec::new(),
                Some(Value::Array(list)) => list,
                Some(_) => return Err(Status::invalid_argument("parameters must be a list, in their order")),
            };
            statement(sql, &list).map(PlainRequest::Statement)
        }
        _ => Err(Status::invalid_argument("ask for one of dataset, vectors, influence, matrix and sql")),
    }
}

/// A statement with the values of `$1`, `$2` and so on.
pub(crate) fn statement(sql: String, list: &[Value]) -> Result<Statement, Status> {
    check_parameter_count(list.len())?;
    let mut values = Parameters::default();
    for value in list {
        values.add(None, value).map_err(|e| Status::invalid_argument(e.to_string()))?;
    }
    let names: Vec<String> = (1..=list.len()).map(|place| place.to_string()).collect();
    with_values(sql, &values, &names)
}

/// Refuses more values than any statement has parameters.
fn check_parameter_count(values: usize) -> Result<(), Status> {
    match values <= MAX_PARAMETERS {
        true => Ok(()),
        false => Err(Status::invalid_argument(format!(
            "there are {values} values, more than the {MAX_PARAMETERS} parameters that a statement has"
        ))),
    }
}

fn range([first, end]: [u64; 2]) -> Result<Range<u64>, Status> {
    match first <= end {
        true => Ok(first..end),
        false => Err(Status::invalid_argument(
            "`rows` must be [first, end], with an end that is not below the first",
        )),
    }
}

/// The question in SQL, with every value as a parameter.
fn influence(options: &Map<String, Value>) -> Result<Statement, Status> {
    let mut known = Options::new(Function::Influence);
    let mut values = Parameters::default();
    let mut arguments = Vec::new();
    let mut names = Vec::new();
    for (name, value) in options {
        // SQL would take it for a mistake at a place of the statement.
        let named = known.set(name, Value::Null);
        named.map_err(|e| Status::invalid_argument(QueryError::from(e).to_string()))?;
        values.add(Some(name), value).map_err(|e| Status::invalid_argument(e.to_string()))?;
        arguments.push(format!("{name} => ${name}"));
        names.push(name.clone());
    }
    let sql = format!("SELECT * FROM influence({})", arguments.join(", "));
    Ok(Statement { made: true, ..with_values(sql, &values, &names)? })
}

fn with_values(sql: String, values: &Parameters, names: &[String]) -> Result<Statement, Status> {
    let values = match names.is_empty() {
        true => Vec::new(),
        false => {
            let row = values.to_row(names).map_err(|e| Status::invalid_argument(e.to_string()))?;
            write_values(&row)?
        }
    };
    Ok(Statement { sql, values, ..Statement::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_as_json_are_read_strictly() {
        for good in [
            r#"{"dataset": "pool"}"#,
            r#"{"dataset": "pool", "rows": [0, 10]}"#,
            r#"{"vectors": {"dataset": "pool", "feature": 3, "type": "f32"}}"#,
            r#"{"influence": {"pool": "pool", "target": ["a", "b"], "k": 3}}"#,
            r#"{"matrix": {"pool": "pool", "target": ["a", "b"], "sim": "dot"}}"#,
            r#"{"sql": "SELECT $1", "parameters": [1]}"#,
        ] {
            read_json(good.as_bytes()).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for bad in [
            "{",
            "{}",
            r#"["pool"]"#,
            r#"{"vectors": ["pool", 3, null, null]}"#,
            r#"{"dataset": "pool", "sql": "SELECT 1"}"#,
            r#"{"dataset": "pool", "row": [0, 10]}"#,
            r#"{"dataset": "pool", "rows": [10, 0]}"#,
            r#"{"influence": {"k) --": 3}}"#,
            r#"{"matrix": {"pool": "pool", "target": "a", "within": "max"}}"#,
            r#"{"sql": "SELECT 1", "parameters": {"a": 1}}"#,
        ] {
            assert_eq!(read_json(bad.as_bytes()).unwrap_err().code(), tonic::Code::InvalidArgument, "{bad}");
        }
        let many = serde_json::json!({"sql": "SELECT 1", "parameters": vec![1; MAX_PARAMETERS + 1]});
        let error = read_json(many.to_string().as_bytes()).unwrap_err();
        assert!(error.message().contains("1001 values"), "{error}");
        assert!(read_path(&["vectors".into(), "pool".into()]).is_err());
        assert!(
            read_path(&["dataset/pool".into()]).is_ok() && read_path(&["vectors/pool/e/f".into()]).is_err()
        );
        let shown = |text: &str| read_json(text.as_bytes()).unwrap().to_string();
        assert_eq!(shown(r#"{"dataset": "pool", "rows": [0, 10]}"#), "dataset pool, rows 0 to 10");
        let vectors = r#"{"vectors": {"dataset": "pool", "feature": "3"}}"#;
        assert_eq!(shown(vectors), "vectors of pool/3");
    }
}
