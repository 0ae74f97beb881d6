//! Functions on JSON text: `json_extract`, `json_extract_string` and their relatives, `->` and `->>` too.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow_schema::{DataType, Field};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use datafusion::scalar::ScalarValue;
use gstore_core::json::{Step, find, is_json, parts, steps, text};

use crate::error::FunctionError;
use crate::signatures;

/// The form in which the part of a document at a path is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum JsonResult {
    Part,
    /// The part as text: strings without quotes.
    Text,
    Int,
    Float,
    Bool,
    /// Whether there is one.
    Exists,
    /// How many elements it has.
    Length,
    /// The elements of a list, as text.
    Elements,
    Keys,
    /// The name of its type.
    Kind,
    /// Whether the document is JSON.
    Valid,
}

const FUNCTIONS: [(&str, &[&str], JsonResult); 11] = [
    ("json_extract", &["json_get", "json_get_json", "json_extract_path"], JsonResult::Part),
    ("json_extract_string", &["json_get_str", "json_as_text", "json_extract_path_text"], JsonResult::Text),
    ("json_get_int", &[], JsonResult::Int),
    ("json_get_float", &[], JsonResult::Float),
    ("json_get_bool", &[], JsonResult::Bool),
    ("json_exists", &[], JsonResult::Exists),
    ("json_array_length", &["json_length"], JsonResult::Length),
    ("json_elements", &["json_array_elements_text"], JsonResult::Elements),
    ("json_keys", &["json_object_keys"], JsonResult::Keys),
    ("json_type", &["json_typeof"], JsonResult::Kind),
    ("json_valid", &[], JsonResult::Valid),
];

pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    FUNCTIONS.into_iter().map(|(name, aliases, gives)| {
        ScalarUDF::from(JsonFunction { name, gives }).with_aliases(aliases.iter().copied())
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonFunction {
    name: &'static str,
    gives: JsonResult,
}

impl JsonResult {
    fn data_type(self) -> DataType {
        match self {
            Self::Part | Self::Text | Self::Kind => DataType::Utf8,
            Self::Int | Self::Length => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool | Self::Exists | Self::Valid => DataType::Boolean,
            Self::Elements | Self::Keys => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        }
    }

    /// Whether it takes a path, and whether it must.
    fn path(self) -> (bool, bool) {
        match self {
            Self::Valid => (false, false),
            Self::Length | Self::Elements | Self::Keys | Self::Kind => (true, false),
            _ => (true, true),
        }
    }
}

/// The steps of one argument.
enum JsonPath {
    /// The same in each row.
    Fixed(Vec<Step>),
    OfRows(ArrayRef),
}

impl ScalarUDFImpl for JsonFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.gives.data_type())
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let (takes, must) = self.gives.path();
        let paths = types.len().saturating_sub(1);
        if types.is_empty() || (must && paths == 0) || (!takes && paths > 0) {
            let example = if takes { "record, '$.key'" } else { "record" };
            let why = format!("{}() is called as {}({example})", self.name, self.name);
            return Err(FunctionError::invalid(why).into());
        }
        let coerced = types.iter().enumerate().map(|(place, ty)| match ty {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Ok(DataType::Utf8),
            DataType::Dictionary(_, values) if values.is_string() => Ok(DataType::Utf8),
            ty if place > 0 && ty.is_integer() => Ok(DataType::Int64),
            _ => {
                let what = match ty {
                    _ if place == 0 => "JSON text",
                    DataType::List(_) => "one path at a time, as in [x->'$.a', x->'$.b']",
                    _ => "a path, a key or a place",
                };
                Err(FunctionError::invalid(format!("{}() takes {what}, not {ty}", self.name)).into())
            }
        });
        coerced.collect()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let mut args = args.args.into_iter();
        let Some(documents) = args.next() else { return Err(FunctionError::internal("no document").into()) };
        let documents = documents.into_array(rows)?;
        let documents =
            documents.as_string_opt::<i32>().ok_or_else(|| FunctionError::internal("type of JSON"))?;
        let places = args.map(|arg| place(arg, rows)).collect::<DfResult<Vec<_>>>()?;
        let found = self.all(documents, &places)?;
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?),
            false => ColumnarValue::Array(found),
        })
    }
}

fn place(arg: ColumnarValue, rows: usize) -> DfResult<JsonPath> {
    let ColumnarValue::Scalar(scalar) = &arg else { return Ok(JsonPath::OfRows(arg.into_array(rows)?)) };
    Ok(match scalar {
        ScalarValue::Int64(Some(index)) => JsonPath::Fixed(vec![Step::Index(*index)]),
        scalar => match scalar.try_as_str().flatten() {
            Some(path) => JsonPath::Fixed(steps(path).ok_or_else(|| no_path(path))?),
            None => JsonPath::OfRows(arg.into_array(rows)?),
        },
    })
}

fn no_path(path: &str) -> FunctionError {
    let hint = match path.contains("..") {
        true => "each step of a path is named: $.a.key, or $.*.key below any key",
        false => "paths are written $.key.list[0] or $.list[*].key",
    };
    FunctionError::invalid(format!("`{path}` is not a path")).hint(hint)
}

/// The steps of a row; `None` where an argument is null.
fn steps_of<'a>(places: &'a [JsonPath], row: usize) -> Result<Option<Cow<'a, [Step]>>, FunctionError> {
    if let [JsonPath::Fixed(only)] = places {
        return Ok(Some(Cow::Borrowed(only)));
    }
    let mut all = Vec::new();
    for place in places {
        match place {
            JsonPath::Fixed(fixed) => all.extend_from_slice(fixed),
            JsonPath::OfRows(array) if array.is_null(row) => return Ok(None),
            JsonPath::OfRows(array) => {
                match (array.as_string_opt::<i32>(), array.as_primitive_opt::<Int64Type>()) {
                    (Some(texts), _) => {
                        let path = texts.value(row);
                        all.extend(steps(path).ok_or_else(|| no_path(path))?);
                    }
                    (_, Some(numbers)) => all.push(Step::Index(numbers.value(row))),
                    _ => return Err(FunctionError::internal("type of a path")),
                }
            }
        }
    }
    Ok(Some(Cow::Owned(all)))
}

impl JsonFunction {
    fn all(&self, documents: &StringArray, places: &[JsonPath]) -> DfResult<ArrayRef> {
        let mut found: Vec<Option<Cow<'_, str>>> = Vec::with_capacity(documents.len());
        let mut known = Vec::with_capacity(documents.len());
        for (row, document) in documents.iter().enumerate() {
            let steps = steps_of(places, row)?;
            known.push(document.is_some() && steps.is_some());
            found.push(match (document, steps) {
                (Some(document), _) if self.gives == JsonResult::Valid => Some(Cow::Borrowed(document)),
                (Some(document), Some(steps)) => find(document, &steps),
                _ => None,
            });
        }
        let values = found.iter().map(Option::as_deref);
        Ok(match self.gives {
            JsonResult::Part => Arc::new(values.collect::<StringArray>()),
            JsonResult::Text => {
                let texts: Vec<_> = values.map(|value| text(value?)).collect();
                Arc::new(texts.iter().map(Option::as_deref).collect::<StringArray>())
            }
            JsonResult::Int => {
                Arc::new(values.map(|value| text(value?)?.parse::<i64>().ok()).collect::<Int64Array>())
            }
            JsonResult::Float => {
                Arc::new(values.map(|value| text(value?)?.parse::<f64>().ok()).collect::<Float64Array>())
            }
            JsonResult::Bool => {
                Arc::new(values.map(|value| value?.parse::<bool>().ok()).collect::<BooleanArray>())
            }
            JsonResult::Exists => {
                let exists = values.zip(known).map(|(value, known)| known.then_some(value.is_some()));
                Arc::new(exists.collect::<BooleanArray>())
            }
            JsonResult::Length => Arc::new(values.map(|value| length(value?)).collect::<Int64Array>()),
            JsonResult::Elements => lists(values, '[', |(_, element)| Some(element)),
            JsonResult::Keys => lists(values, '{', |(name, _)| name),
            JsonResult::Kind => Arc::new(values.map(|value| value.map(kind)).collect::<StringArray>()),
            JsonResult::Valid => Arc::new(values.map(|value| value.map(is_json)).collect::<BooleanArray>()),
        })
    }
}

/// Elements of a list; a value that is none has 0, as in DuckDB.
fn length(value: &str) -> Option<i64> {
    let elements = if value.starts_with('[') { parts(value).count() } else { 0 };
    i64::try_from(elements).ok()
}

/// The name of a type, as DuckDB gives it.
fn kind(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'{') => "OBJECT",
        Some(b'[') => "ARRAY",
        Some(b'"') => "VARCHAR",
        Some(b't' | b'f') => "BOOLEAN",
        Some(b'n') => "NULL",
        _ if value.contains(['.', 'e', 'E']) => "DOUBLE",
        Some(b'-') => "BIGINT",
        _ => "UBIGINT",
    }
}

/// A list for each value that begins with a sign: the texts of its elements, or of its keys.
fn lists<'a>(
    values: impl Iterator<Item = Option<&'a str>>,
    sign: char,
    of: fn((Option<&'a str>, &'a str)) -> Option<&'a str>,
) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for value in values {
        let value = value.filter(|value| value.starts_with(sign));
        for part in value.into_iter().flat_map(parts).filter_map(of) {
            lists.values().append_option(text(part));
        }
        lists.append(value.is_some());
    }
    Arc::new(lists.finish())
}
