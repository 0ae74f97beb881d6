//! The parameters of a statement, `$1`, `$name` or `?`, and the values that they are given.
//!
//! Values are put into the parsed statement before it is planned, because the arguments of table functions
//! must be constants by then. Text is put in as a value and never parsed again.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, FieldRef, Schema};
use datafusion::arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as Ast, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Select, SelectItem, Spanned,
    Statement as Sql, Value as AstValue,
};
use gstore_core::Remedy;
use serde_json::Value;

use super::error::SqlError;
use super::literals::{literal, short};
use crate::dialect::parse;
use crate::walk::{inner, visit_expressions, visit_expressions_mut, visit_selects_mut};

/// Most parameters of a statement.
pub const MAX_PARAMETERS: usize = 1000;

/// Values for the parameters of one statement: by name, or by place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    values: Vec<(Option<String>, ScalarValue)>,
    /// Whether the names are those of columns: they count only if each is the name of a parameter, as some
    /// clients number the columns from 0, or name them in ways of their own.
    columns: bool,
}

impl Parameters {
    /// The values of the only row of a batch: by the names of its columns if all are names of parameters, else
    /// by place.
    ///
    /// # Errors
    /// A batch of several rows or of none, and more than [`MAX_PARAMETERS`] columns.
    pub fn of_row(batch: &RecordBatch) -> Result<Self, SqlError> {
        if batch.num_rows() != 1 && batch.num_columns() > 0 {
            let why = format!("parameters are one row of values; there are {} rows", batch.num_rows());
            return Err(SqlError::invalid(why));
        }
        check_count(batch.num_columns())?;
        let value = |(field, column): (&FieldRef, &ArrayRef)| {
            ScalarValue::try_from_array(column, 0).map(|value| (Some(parameter(field.name())), value))
        };
        let schema = batch.schema();
        let values = schema.fields().iter().zip(batch.columns()).map(value);
        Ok(Self { values: values.collect::<Result<_, _>>()?, columns: true })
    }

    /// Adds the value of the parameter with this name or number, or without one that of the next by place.
    /// Lists are of values of one kind and of nulls.
    ///
    /// # Errors
    /// An object, a list of mixed values or of more than a quarter of a million, a name that was given
    /// before, and more than [`MAX_PARAMETERS`] values.
    pub fn add(&mut self, name: Option<&str>, value: &Value) -> Result<(), SqlError> {
        check_count(self.values.len() + 1)?;
        let name = name.map(parameter);
        if name.is_some() && self.values.iter().any(|(other, _)| *other == name) {
            let name = name.unwrap_or_default();
            return Err(SqlError::invalid(format!("the parameter ${name} is given twice")));
        }
        self.values.push((name, scalar(value)?));
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values for each of several statements: those whose names it has, and those without a name.
    ///
    /// # Errors
    /// A name that no statement has.
    pub fn of_each(&self, statements: &[String]) -> Result<Vec<Self>, SqlError> {
        if statements.len() < 2 {
            // It refuses the others itself.
            return Ok(vec![self.clone(); statements.len()]);
        }
        // One that cannot be parsed says so when it runs: by then it may have any.
        let known = |sql: &String| names(&mut parse(sql).ok()?).ok();
        let known: Vec<Option<Vec<String>>> = statements.iter().map(known).collect();
        let has = |known: &Option<Vec<String>>, name: &String| {
            known.as_ref().is_none_or(|known| known.contains(name))
        };
        let mut given = self.values.iter().filter_map(|(name, _)| name.as_ref());
        if let Some(name) = given.find(|name| !known.iter().any(|known| has(known, name))) {
            let all: Vec<String> = known.into_iter().flatten().flatten().collect();
            let why = format!("none of the statements has a parameter ${name}");
            return Err(SqlError::unknown(why).hint(listed("they have", &all)));
        }
        let values_of = |known: &Option<Vec<String>>| {
            let values =
                self.values.iter().filter(|(name, _)| name.as_ref().is_none_or(|name| has(known, name)));
            Self { values: values.cloned().collect(), columns: self.columns }
        };
        Ok(known.iter().map(values_of).collect())
    }

    /// The values in the order of a statement's parameters, as the only row of a batch.
    ///
    /// # Errors
    /// More than [`MAX_PARAMETERS`] names, a parameter without a value, a value without a parameter, and a
    /// value that no array can hold.
    pub fn to_row(&self, names: &[String]) -> Result<RecordBatch, SqlError> {
        check_count(names.len())?;
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for (name, value) in names.iter().zip(self.in_order(names)?) {
            let column = value.to_array()?;
            fields.push(Field::new(name, column.data_type().clone(), true));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let schema = Arc::new(Schema::new(fields));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    fn in_order(&self, names: &[String]) -> Result<Vec<&ScalarValue>, SqlError> {
        let by_place = self.columns && !self.are_named(names);
        let values = self.values.iter().map(|(name, value)| (name.as_ref().filter(|_| !by_place), value));
        let values: Vec<(Option<&String>, &ScalarValue)> = values.collect();
        let by_name = |name: &String| values.iter().find(|(given, _)| *given == Some(name));
        let unnamed: Vec<_> = values.iter().filter(|(name, _)| name.is_none()).collect();
        let unknown = values.iter().filter_map(|(name, _)| *name).find(|name| !names.contains(name));
        if let Some(name) = unknown {
            return Err(SqlError::unknown(format!("the statement has no parameter ${name}"))
                .hint(listed("it has", names)));
        }
        let missing: Vec<&String> = names.iter().filter(|name| by_name(name).is_none()).collect();
        if unnamed.len() > missing.len() {
            let given = match self.values.len() {
                1 => "1 parameter is".to_owned(),
                several => format!("{several} parameters are"),
            };
            let has = if names.is_empty() { "none".to_owned() } else { names.len().to_string() };
            let why = format!("{given} given, and the statement has {has}");
            return Err(SqlError::invalid(why).hint(listed("it has", names)));
        }
        if let Some(name) = missing.get(unnamed.len()) {
            let why = format!("the parameter ${name} has no value");
            let value = format!("{name}=VALUE");
            let hint = format!("it is given with {}", Remedy::Option("param", &value));
            return Err(SqlError::invalid(why).hint(hint));
        }
        let mut unnamed = unnamed.into_iter();
        let value = |name| by_name(name).or_else(|| unnamed.next()).map(|(_, value)| *value);
        names.iter().map(value).map(|v| v.ok_or_else(|| SqlError::internal("a parameter is lost"))).collect()
    }

    /// Whether each value has the name of another of these parameters.
    fn are_named(&self, names: &[String]) -> bool {
        let given: HashSet<&String> = self.values.iter().filter_map(|(name, _)| name.as_ref()).collect();
        given.len() == self.values.len() && given.into_iter().all(|name| names.contains(name))
    }
}

/// The name of a parameter, which may be given with its sign.
fn parameter(name: &str) -> String {
    name.strip_prefix('$').unwrap_or(name).to_owned()
}

/// Refuses more values than any statement has parameters, before they are compared with its names.
fn check_count(values: usize) -> Result<(), SqlError> {
    match values <= MAX_PARAMETERS {
        true => Ok(()),
        false => {
            let why =
                format!("more values are given than the {MAX_PARAMETERS} parameters that a statement has");
            Err(SqlError::refused(why))
        }
    }
}

fn listed(has: &str, names: &[String]) -> String {
    match names {
        [] => format!("{has} no parameters; parameters are written $1, $name or ?"),
        names => format!("{has} {}", names.iter().map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")),
    }
}

fn scalar(value: &Value) -> Result<ScalarValue, SqlError> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(Some(*flag)),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => ScalarValue::Int64(Some(n)),
            (_, Some(n)) => ScalarValue::UInt64(Some(n)),
            _ => ScalarValue::Float64(n.as_f64()),
        },
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Array(elements) => {
            short(elements.len())?;
            let values = elements.iter().map(scalar).collect::<Result<Vec<_>, _>>()?;
            let types = values.iter().map(ScalarValue::data_type).filter(|ty| !ty.is_null());
            let types: Vec<DataType> = types.collect();
            let ty = match types.first() {
                None => DataType::Utf8,
                Some(first) if types.iter().all(|ty| ty == first) && !first.is_nested() => first.clone(),
                Some(_) if types.iter().all(DataType::is_numeric) => DataType::Float64,
                Some(_) => {
                    let why = "a list may hold texts, numbers, or true and false, each with NULL among them; \
                    not several of these, and no lists";
                    return Err(SqlError::invalid(why.to_owned()));
                }
            };
            let of_type = |v: ScalarValue| if v.data_type() == ty { Ok(v) } else { v.cast_to(&ty) };
            let values = values.into_iter().map(of_type).collect::<Result<Vec<_>, _>>()?;
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &ty))
        }
        Value::Object(_) => return Err(SqlError::invalid("a parameter cannot be an object".to_owned())),
    })
}

/// The names of a statement's parameters, in the order in which values are given. `?` becomes `$1`, `$2` and
/// so on.
pub(crate) fn names(statement: &mut Statement) -> Result<Vec<String>, SqlError> {
    let Some(sql) = inner(statement) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    visit_expressions(sql, |e| {
        if let Ast::Value(v) = e
            && let AstValue::Placeholder(text) = &v.value
        {
            found.push((v.span.start, text.clone()));
        }
    });
    // The tree may be walked in another order than that of the text.
    found.sort_by_key(|(place, _)| (place.line, place.column));
    if found.len() > MAX_PARAMETERS {
        let why =
            format!("the statement has {} parameters, more than the {MAX_PARAMETERS} allowed", found.len());
        return Err(SqlError::refused(why));
    }
    if found.iter().all(|(_, text)| text == "?") {
        let places: Vec<_> = found.iter().map(|(place, _)| *place).collect();
        visit_expressions_mut(sql, |e| {
            if let Ast::Value(v) = e
                && let AstValue::Placeholder(text) = &mut v.value
                && let Some(n) = places.iter().position(|place| *place == v.span.start)
            {
                *text = format!("${}", n + 1);
            }
        });
        return Ok((1..=found.len()).map(|n| n.to_string()).collect());
    }
    let mut names: Vec<String> = Vec::new();
    for (place, text) in &found {
        let name =
            text.strip_prefix('$').filter(|name| !name.is_empty() && *name != "0").ok_or_else(|| {
                let what = if text == "?" { "among other parameters" } else { "is not a parameter" };
                let why = format!("`{text}` {what}; write $1 or $name for each, or ? for each");
                SqlError::invalid(why).at((place.line, place.column))
            })?;
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    let numbers: Vec<usize> = names.iter().filter_map(|name| name.parse().ok()).collect();
    match numbers.iter().max() {
        None => Ok(names),
        Some(most) if numbers.len() == names.len() && *most <= MAX_PARAMETERS => {
            Ok((1..=*most).map(|n| n.to_string()).collect())
        }
        Some(most) if *most > MAX_PARAMETERS => {
            Err(SqlError::refused(format!("parameters go up to ${MAX_PARAMETERS}; there is ${most}")))
        }
        Some(_) => Err(SqlError::invalid("parameters have numbers or names, not both".to_owned())),
    }
}

/// Puts values in the place of parameters; those that `value` does not know stay.
pub(crate) fn replace(
    statement: &mut Statement,
    value: impl Fn(&str) -> Option<Result<Ast, SqlError>>,
) -> Result<(), SqlError> {
    inner(statement).map_or(Ok(()), |sql| replace_each(sql, |e| in_place(e, &value)))
}

/// What `value` gives for a parameter, at the place where that is written: errors say it. `None` of anything
/// else.
fn in_place(
    expr: &Ast,
    value: impl Fn(&str) -> Option<Result<Ast, SqlError>>,
) -> Option<Result<Ast, SqlError>> {
    let (value, span) = (value(placeholder(expr)?)?, expr.span());
    Some(value.map(|mut value| {
        visit_expressions_mut(&mut value, |part| {
            if let Ast::Value(part) = part {
                part.span = span;
            }
        });
        value
    }))
}

/// Puts what `other` gives in the place of expressions; where it gives nothing they stay.
fn replace_each(
    sql: &mut Sql,
    other: impl Fn(&Ast) -> Option<Result<Ast, SqlError>>,
) -> Result<(), SqlError> {
    visit_expressions_mut(sql, |e| {
        if let Some(other) = other(e) {
            *e = other?;
        }
        Ok(())
    })
}

/// Puts the values in the place of the parameters, which have these names.
pub(crate) fn bind(statement: &mut Statement, names: &[String], values: &Parameters) -> Result<(), SqlError> {
    let values = values.in_order(names)?;
    let value = |name: &str| {
        let value = names.iter().position(|known| known == name).and_then(|i| values.get(i));
        value.map(|value| literal(value))
    };
    if let Some(sql) = inner(statement) {
        visit_selects_mut(sql, name_placeholders);
        replace_each(sql, |e| among(e, value))?;
    }
    replace(statement, value)
}

/// `x IN (1, 2)` in the place of `list_contains($list, x)`, which `x IN $list` is by now: values of IN go
/// together with those of a column whose type the elements of a list do not have. `None` of anything else,
/// and of a list without values.
fn among(call: &Ast, value: impl Fn(&str) -> Option<Result<Ast, SqlError>>) -> Option<Result<Ast, SqlError>> {
    let Ast::Function(function) = call else { return None };
    let name = function.name.0.last()?.as_ident()?;
    let FunctionArguments::List(args) = &function.args else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(list)), FunctionArg::Unnamed(FunctionArgExpr::Expr(of))] =
        args.args.as_slice()
    else {
        return None;
    };
    if !name.value.eq_ignore_ascii_case("list_contains") {
        return None;
    }
    let mut list = match in_place(list, value)? {
        Ok(Ast::Array(list)) => list.elem,
        Ok(_) => return None,
        Err(error) => return Some(Err(error)),
    };
    // To a list a NULL in it is a value that is not the one.
    list.retain(|element| !matches!(element, Ast::Value(value) if value.value == AstValue::Null));
    if list.is_empty() {
        return None;
    }
    let within = Ast::InList { expr: Box::new(of.clone()), list, negated: false };
    Some(Ok(Ast::Nested(Box::new(within))))
}

/// Names columns that are parameters after them: two columns may have the same value, and not the same name.
fn name_placeholders(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(name) = placeholder(expr)
        {
            let alias = Ident::with_quote('"', format!("${name}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

pub(crate) fn placeholder(expr: &Ast) -> Option<&str> {
    let Ast::Value(value) = expr else { return None };
    let AstValue::Placeholder(text) = &value.value else { return None };
    text.strip_prefix('$')
}
