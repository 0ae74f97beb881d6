//! The arguments of a table function as plain values: positional ones, then options by name.
//!
//! Everything is a constant by the time it arrives here: the planner has folded expressions
//! such as `'po' || 'ol'`.

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

use gstore_core::many;
use gstore_query::influence::{Function, Options, no_solver};
use serde_json::Value;

use super::error::SqlError;
use super::literals::elements;
use gstore_query::hint::{did_you_mean, listing, nearest};

/// How the function is called whose second argument is often given without its name.
const OF_NEAREST: &str = "name what the neighbours are of: text => '..', id => '..' or vector => [..]";

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
                        named.push((field.name().clone(), ScalarValue::try_from_array(column, 0)?));
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

    /// The positional arguments, one for each name in `names`; they may also be given by name.
    pub(crate) fn positional<const N: usize>(&self, names: [&str; N]) -> Result<[&ScalarValue; N], SqlError> {
        if self.positional.len() > N {
            let arguments = many(N as u64, "argument");
            let refused = SqlError::invalid(format!(
                "{}() takes {arguments} ({}), then options as name => value; {} were given",
                self.function,
                names.join(", "),
                self.positional.len()
            ));
            let is_nearest = self.function == "nearest";
            return Err(refused.maybe_hint(is_nearest.then(|| OF_NEAREST.to_owned())));
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
    fn option(&self, name: &str) -> Option<&ScalarValue> {
        self.named.iter().find(|(n, _)| n == name).map(|(_, v)| v).filter(|v| !v.is_null())
    }

    /// How many arguments have no name.
    pub(crate) fn count(&self) -> usize {
        self.positional.len()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.option(name).is_some()
    }

    /// The options of a call that asks a question, its positional arguments among them.
    pub(crate) fn options<const N: usize>(
        &self,
        function: Function,
        positional: [&'static str; N],
    ) -> Result<Options, SqlError> {
        let mut options = Options::new(function);
        let mut take = |name: &str, given| options.set(name, value(given)?).map_err(SqlError::option);
        positional.into_iter().zip(&self.positional).try_for_each(|(name, given)| take(name, given))?;
        self.named.iter().try_for_each(|(name, given)| take(name, given))?;
        self.positional(positional)?;
        Ok(options)
    }
}

/// Refuses an option that `function` does not have.
pub(crate) fn check_name(function: &str, name: &str, known: &[&str]) -> Result<(), SqlError> {
    if known.contains(&name) {
        return Ok(());
    }
    // Functions that precondition are asked for it.
    if name == "solver" && known.contains(&"precondition") {
        return Err(SqlError::option(no_solver(&format!("{function}()"))));
    }
    let all = listing(known.iter().copied());
    // What others call the number of rows.
    let rows = || known.iter().copied().find(|k| *k == "k" && ["top", "top_k", "limit", "n"].contains(&name));
    Err(SqlError::unknown(format!("{function}() has no option `{name}`")).hint(
        match nearest(name, known.iter().copied()).or_else(rows) {
            Some(guess) => format!("{} The options are {all}", did_you_mean(guess)),
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

/// A constant as the table of options reads it: a number that is not whole as its digits.
fn value(scalar: &ScalarValue) -> Result<Value, SqlError> {
    if scalar.is_null() {
        return Ok(Value::Null);
    }
    if let Some(elements) = elements(scalar) {
        // A list of nothing but NULL has a type of its own, whose values are null only logically.
        let nulls = elements.logical_nulls();
        let element = |i: usize| match nulls.as_ref().is_some_and(|nulls| nulls.is_null(i)) {
            true => Ok(Value::Null),
            false => value(&ScalarValue::try_from_array(&elements, i)?),
        };
        return (0..elements.len()).map(element).collect();
    }
    Ok(match scalar {
        ScalarValue::Boolean(Some(flag)) => Value::Bool(*flag),
        ScalarValue::UInt64(Some(number)) => Value::from(*number),
        _ => match scalar.try_as_str() {
            Some(Some(text)) => Value::from(text),
            _ if scalar.data_type().is_integer() => match scalar.cast_to(&DataType::Int64) {
                Ok(ScalarValue::Int64(Some(number))) => Value::from(number),
                _ => Value::from(scalar.to_string()),
            },
            _ if scalar.data_type().is_floating() || scalar.data_type().is_decimal() => {
                let digits = scalar.to_string();
                // A decimal has its zeros behind the point: 3.00.
                let digits = match digits.split_once('.') {
                    Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole.to_owned(),
                    _ => digits,
                };
                // -0 is no integer.
                match digits.parse::<i64>().ok().filter(|whole| whole.to_string() == digits) {
                    Some(whole) => Value::from(whole),
                    None => Value::from(digits),
                }
            }
            _ => Value::from(scalar.to_string()),
        },
    })
}
