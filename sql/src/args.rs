//! The arguments of a table function as plain values: positional ones, then options by name.
//!
//! Everything is a constant by the time it arrives here: the planner has folded expressions such as `'po' || 'ol'`.

use datafusion::arrow::array::Array;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

use super::error::SqlError;
use super::hint::{listing, nearest};

/// Constant arguments of one call.
pub(crate) struct Arguments {
    function: &'static str,
    positional: Vec<ScalarValue>,
    named: Vec<(String, ScalarValue)>,
}

impl Arguments {
    /// Takes the folded expressions of a call. Named arguments arrive as one struct at the end.
    pub(crate) fn read(function: &'static str, exprs: &[Expr]) -> Result<Self, SqlError> {
        let mut positional = Vec::new();
        let mut named = Vec::new();
        for expr in exprs {
            match expr {
                Expr::Literal(ScalarValue::Struct(options), _) => {
                    for (field, column) in options.fields().iter().zip(options.columns()) {
                        let value = ScalarValue::try_from_array(column, 0)
                            .map_err(|e| SqlError::from_datafusion(e, &[]))?;
                        named.push((field.name().clone(), value));
                    }
                }
                Expr::Literal(value, _) => positional.push(value.clone()),
                Expr::Placeholder(p) => {
                    return Err(SqlError::invalid(format!(
                        "the parameter {} of {function}() has no value",
                        p.id
                    )));
                }
                _ => {
                    return Err(SqlError::invalid(format!(
                        "the arguments of {function}() must be constants, not values of other tables' rows"
                    )));
                }
            }
        }
        Ok(Self { function, positional, named })
    }

    /// Refuses options that the function does not have and options given twice.
    pub(crate) fn check_names(&self, known: &[&str]) -> Result<(), SqlError> {
        for (i, (name, _)) in self.named.iter().enumerate() {
            check_name(self.function, name, known)?;
            if self.named.iter().skip(i + 1).any(|(other, _)| other == name) {
                return Err(SqlError::invalid(format!("option `{name}` is given twice")));
            }
        }
        Ok(())
    }

    /// The positional arguments, one for each name in `names`; they may also be given by name.
    pub(crate) fn positional<const N: usize>(&self, names: [&str; N]) -> Result<[&ScalarValue; N], SqlError> {
        if self.positional.len() > N {
            return Err(SqlError::invalid(format!(
                "{}() takes {N} arguments ({}), then options as name => value; {} were given",
                self.function,
                names.join(", "),
                self.positional.len()
            )));
        }
        let mut found = Vec::with_capacity(N);
        for (i, name) in names.iter().enumerate() {
            let value = self.positional.get(i).or_else(|| self.option(name)).ok_or_else(|| {
                SqlError::invalid(format!(
                    "{}() needs its argument `{name}`: {}({})",
                    self.function,
                    self.function,
                    names.map(|n| format!("'{n}'")).join(", ")
                ))
            })?;
            found.push(value);
        }
        found.try_into().map_err(|_| SqlError::invalid(format!("{}() needs {N} arguments", self.function)))
    }

    /// The value of an option, if it was given; NULL counts as not given.
    pub(crate) fn option(&self, name: &str) -> Option<&ScalarValue> {
        self.named.iter().find(|(n, _)| n == name).map(|(_, v)| v).filter(|v| !v.is_null())
    }

    /// An option that is one word.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<String>, SqlError> {
        self.option(name).map(|v| text(name, v)).transpose()
    }

    /// An option that is one word or several: a list, or one text with commas.
    pub(crate) fn texts(&self, name: &'static str) -> Result<Option<Vec<String>>, SqlError> {
        self.option(name).map(|v| texts(name, v)).transpose()
    }

    /// An option that is a list of numbers.
    pub(crate) fn numbers(&self, name: &'static str) -> Result<Option<Vec<f64>>, SqlError> {
        let Some(value) = self.option(name) else { return Ok(None) };
        // A list of nothing but NULL has a type of its own, whose values are null only logically.
        let nulls = elements(value).and_then(|all| all.logical_nulls());
        if let Some(at) = nulls.and_then(|nulls| nulls.iter().position(|valid| !valid)) {
            let why = format!("option `{name}` must be numbers; number {} of the list is NULL", at + 1);
            return Err(SqlError::invalid(why).about(name));
        }
        texts(name, value)?
            .iter()
            .map(|t| {
                t.parse::<f64>().map_err(|_| {
                    SqlError::invalid(format!("option `{name}` must be numbers; `{t}` is none")).about(name)
                })
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// An option that is true or false.
    pub(crate) fn boolean(&self, name: &'static str) -> Result<Option<bool>, SqlError> {
        match self.option(name) {
            None => Ok(None),
            Some(ScalarValue::Boolean(Some(b))) => Ok(Some(*b)),
            Some(other) => {
                Err(SqlError::invalid(format!("option `{name}` must be true or false, not {other}"))
                    .about(name))
            }
        }
    }

    /// An option that is a count.
    pub(crate) fn count(&self, name: &'static str) -> Result<Option<usize>, SqlError> {
        let Some(value) = self.option(name) else { return Ok(None) };
        let whole = match value.cast_to(&datafusion::arrow::datatypes::DataType::Int64) {
            Ok(ScalarValue::Int64(Some(n))) if value.data_type().is_integer() => usize::try_from(n).ok(),
            _ => None,
        };
        whole.map(Some).ok_or_else(|| {
            let why = match value {
                ScalarValue::UInt64(_) => format!("at most {}", i64::MAX),
                _ => "a whole number of at least 0".to_owned(),
            };
            SqlError::invalid(format!("option `{name}` must be {why}, not {value}")).about(name)
        })
    }
}

/// Refuses an option that `function` does not have.
pub(crate) fn check_name(function: &str, name: &str, known: &[&str]) -> Result<(), SqlError> {
    if known.contains(&name) {
        return Ok(());
    }
    let all = listing(known.iter().copied());
    Err(SqlError::unknown(format!("{function}() has no option `{name}`")).hint(
        match nearest(name, known.iter().copied()) {
            Some(guess) => format!("did you mean `{guess}`? The options are {all}"),
            None => format!("the options are {all}"),
        },
    ))
}

/// One word; whole numbers are taken as their digits, so that a checkpoint can be named by its step.
pub(crate) fn text(name: &'static str, value: &ScalarValue) -> Result<String, SqlError> {
    if let Some(Some(text)) = value.try_as_str() {
        return Ok(text.trim().to_string());
    }
    if value.data_type().is_numeric() && !value.is_null() {
        return Ok(value.to_string());
    }
    Err(SqlError::invalid(format!("`{name}` must be text, not {value}")).about(name))
}

/// The elements of a list.
pub(crate) fn elements(value: &ScalarValue) -> Option<std::sync::Arc<dyn Array>> {
    match value {
        ScalarValue::List(list) => Some(list.value(0)),
        ScalarValue::LargeList(list) => Some(list.value(0)),
        ScalarValue::FixedSizeList(list) => Some(list.value(0)),
        _ => None,
    }
}

/// One word or several: a list, or one text with commas.
pub(crate) fn texts(name: &'static str, value: &ScalarValue) -> Result<Vec<String>, SqlError> {
    let words = match elements(value) {
        Some(elements) => (0..elements.len())
            .map(|i| {
                let element = ScalarValue::try_from_array(&elements, i)
                    .map_err(|e| SqlError::from_datafusion(e, &[]))?;
                text(name, &element)
            })
            .collect::<Result<Vec<_>, _>>()?,
        None => text(name, value)?.split(',').map(|t| t.trim().to_string()).collect(),
    };
    if words.is_empty() || words.iter().any(String::is_empty) {
        return Err(SqlError::invalid(format!("`{name}` is empty or has an empty part")).about(name));
    }
    Ok(words)
}
