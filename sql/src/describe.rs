//! Parameter and result types of a statement, before its parameters have values.
//!
//! A parameter inside a table function's arguments decides what the function's columns are. There, datasets
//! of the snapshot stand in for the values; where none fits, the columns are not known before the statement
//! runs.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as Ast, FunctionArg, FunctionArgExpr, LimitClause, Query, TableFactor,
};
use gstore_query::influence::{OPTIONS, Takes};
use gstore_store::Snapshot;

use super::dialect::{self, Headings};
use super::error::{SqlError, SqlErrorKind};
use super::literals::literal;
use super::parameters::{self, placeholder};
use super::planning;
use crate::walk::{inner, visit_expressions, visit_queries, visit_tables};

/// How many stand-ins are tried.
const MOST_TRIES: usize = 64;

/// A statement as a client sees it before it runs.
#[derive(Debug, Clone)]
pub struct Description {
    /// Columns of the result; `None` where they depend on parameters that stand in the arguments of a table
    /// function.
    pub schema: Option<SchemaRef>,
    /// The parameters in the order of their values, with the types that the statement wants of them.
    pub parameters: SchemaRef,
}

/// A parameter in the arguments of a table function.
struct ArgumentParameter {
    name: String,
    /// The argument that it is; `None` where it is only a part of one.
    option: Option<String>,
}

/// Describes a statement. Runs on the thread of the planner.
pub(super) async fn describe(
    state: &SessionState,
    sql: &str,
    tables: &[String],
    snapshot: &Snapshot,
) -> Result<Description, SqlError> {
    let mut statement = dialect::parse(sql)?;
    let names = parameters::names(&mut statement)?;
    let headings = Headings::of(&statement);
    if names.is_empty() {
        let planned = planning::plan(state, statement, &headings, None, tables).await?;
        return Ok(Description {
            schema: Some(planned.plan.schema()),
            parameters: Arc::new(Schema::empty()),
        });
    }
    let UntypedParameters { inside, counts, times } = UntypedParameters::of(&mut statement);
    let found = standing_in(state, &statement, tables, snapshot, &inside).await?;
    let types = found.as_ref().and_then(|(_, plan)| plan.get_parameter_types().ok()).unwrap_or_default();
    let ty = |name: &String| match inside.iter().find(|i| i.name == *name) {
        Some(ArgumentParameter { option: Some(option), .. }) => type_of(option),
        Some(_) => DataType::Utf8,
        None if counts.contains(name) => DataType::Int64,
        None => {
            types.get(&format!("${name}")).cloned().flatten().unwrap_or_else(|| match times.contains(name) {
                true => DataType::Timestamp(TimeUnit::Microsecond, None),
                false => DataType::Utf8,
            })
        }
    };
    let fields: Vec<Field> = names.iter().map(|name| Field::new(name, ty(name), true)).collect();
    let schema = match found {
        None => None,
        Some((statement, logical)) => {
            Some(physical(state, (statement, &headings), tables, &fields, &logical).await)
        }
    };
    Ok(Description { schema, parameters: Arc::new(Schema::new(fields)) })
}

/// The statement with stand-ins in the arguments of table functions, and its plan with the other parameters
/// open; `None` where there is no such plan, though there may be one with values.
async fn standing_in(
    state: &SessionState,
    statement: &Statement,
    tables: &[String],
    snapshot: &Snapshot,
    inside: &[ArgumentParameter],
) -> Result<Option<(Statement, LogicalPlan)>, SqlError> {
    let is = |option: &str| inside.iter().any(|i| i.option.as_deref() == Some(option));
    let datasets: Vec<&str> = snapshot.datasets().iter().map(|d| d.name.as_str()).collect();
    let none = [""];
    let firsts: &[&str] = if is("pool") || is("dataset") { &datasets } else { &none };
    let seconds: &[&str] = if is("target") { &datasets } else { &none };
    let pairs = firsts.iter().flat_map(|a| seconds.iter().map(move |b| (*a, *b)));
    let mut last = None;
    for (first, second) in pairs.take(MOST_TRIES) {
        let mut tried = statement.clone();
        let feature = snapshot.features_of(first).first().map(|f| f.number.to_string());
        parameters::replace(&mut tried, |name| {
            let value = match inside.iter().find(|i| i.name == name)?.option.as_deref() {
                Some("pool" | "dataset") => Some(first.to_owned()),
                Some("target") => Some(second.to_owned()),
                Some("feature") => feature.clone(),
                _ => None,
            };
            Some(literal(&ScalarValue::Utf8(value)))
        })?;
        match planning::logical(state, tried.clone(), tables).await {
            Ok(plan) => return Ok(Some((tried, plan))),
            // A table or a column that is not there will not be there later.
            Err(error) if inside.is_empty() && error.kind() == SqlErrorKind::Unknown => return Err(error),
            Err(error) if matches!(error.kind(), SqlErrorKind::Syntax | SqlErrorKind::Refused) => {
                return Err(error);
            }
            Err(error) => last = Some(error),
        }
    }
    match last.filter(|_| inside.is_empty()) {
        Some(error) if is_wrong_with_values(state, statement, tables, &error).await => Err(error),
        _ => Ok(None),
    }
}

/// Whether an error about a statement whose parameters are open is one of the statement: it is the same with
/// NULL and with other values in their place. What is said of a type that is not known yet is gone with a value
/// of the right one, and what is said of a value is another error for another one.
async fn is_wrong_with_values(
    state: &SessionState,
    statement: &Statement,
    tables: &[String],
    error: &SqlError,
) -> bool {
    let (text, one) = (ScalarValue::Utf8(Some("1".into())), ScalarValue::Int64(Some(1)));
    let time = ScalarValue::TimestampMicrosecond(Some(0), None);
    let list =
        ScalarValue::List(ScalarValue::new_list_nullable(std::slice::from_ref(&one), &DataType::Int64));
    for value in [ScalarValue::Null, text, one, time, list] {
        let mut tried = statement.clone();
        let is_filled = parameters::replace(&mut tried, |_| Some(literal(&value))).is_ok();
        match planning::logical(state, tried, tables).await {
            Err(found) if is_filled && found.to_string() == error.to_string() => {}
            _ => return false,
        }
    }
    true
}

/// Columns as the stream will deliver them, with values of the right types for the parameters; as they were
/// planned where that fails.
async fn physical(
    state: &SessionState,
    (mut statement, headings): (Statement, &Headings),
    tables: &[String],
    fields: &[Field],
    logical: &LogicalPlan,
) -> SchemaRef {
    let value = |ty: &DataType| match ty {
        ty if ty.is_string() => ScalarValue::Utf8(Some("1".into())),
        DataType::Boolean => ScalarValue::Boolean(Some(true)),
        ty if ty.is_floating() => ScalarValue::Float64(Some(1.0)),
        ty if ty.is_numeric() => ScalarValue::Int64(Some(1)),
        _ => ScalarValue::Null,
    };
    let filled = parameters::replace(&mut statement, |name| {
        let field = fields.iter().find(|f| f.name() == name)?;
        Some(literal(&value(field.data_type())))
    });
    if filled.is_ok()
        && let Ok(planned) = planning::plan(state, statement, headings, None, tables).await
    {
        return planned.plan.schema();
    }
    Arc::new(logical.schema().as_arrow().clone())
}

/// The type of a parameter that is an argument of a table function.
fn type_of(option: &str) -> DataType {
    match OPTIONS.iter().find(|known| known.name == option).map(|known| known.takes) {
        Some(Takes::Number) => DataType::Float64,
        Some(Takes::Flag) => DataType::Boolean,
        Some(Takes::Count) => DataType::Int64,
        _ => DataType::Utf8,
    }
}

/// Parameters that the planner gives no type.
#[derive(Default)]
struct UntypedParameters {
    inside: Vec<ArgumentParameter>,
    /// Those of LIMIT and OFFSET.
    counts: Vec<String>,
    /// Those before AT TIME ZONE.
    times: Vec<String>,
}

impl UntypedParameters {
    fn of(statement: &mut Statement) -> Self {
        let mut calls = Self::default();
        if let Some(sql) = inner(statement) {
            visit_queries(&*sql, |query| calls.of_query(query));
            visit_tables(&*sql, |relation| calls.of_table(relation));
            visit_expressions(&*sql, |expr| {
                if let Ast::AtTimeZone { timestamp, .. } = expr {
                    calls.times.extend(placeholder(timestamp).map(str::to_owned));
                }
            });
        }
        calls
    }

    fn of_query(&mut self, query: &Query) {
        let counts = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                [limit.as_ref(), offset.as_ref().map(|offset| &offset.value)]
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => [Some(offset), Some(limit)],
            None => [None, None],
        };
        self.counts.extend(counts.into_iter().flatten().filter_map(placeholder).map(str::to_owned));
    }

    fn of_table(&mut self, relation: &TableFactor) {
        let (name, args) = match relation {
            TableFactor::Table { name, args: Some(args), .. } => (name, &args.args),
            TableFactor::Function { name, args, .. } => (name, args),
            _ => return,
        };
        let function = name.to_string().to_lowercase();
        let options = super::table_functions::options_of(&function);
        let mut place = 0;
        for arg in args {
            let (option, expr) = match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => {
                    place += 1;
                    (options.get(place - 1).map(|o| (*o).to_owned()), e)
                }
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(e), .. } => {
                    (Some(name.value.to_lowercase()), e)
                }
                _ => continue,
            };
            match placeholder(expr) {
                Some(name) => self.inside.push(ArgumentParameter { name: name.to_owned(), option }),
                None => visit_expressions(expr, |e: &Ast| {
                    if let Some(name) = placeholder(e) {
                        self.inside.push(ArgumentParameter { name: name.to_owned(), option: None });
                    }
                }),
            }
        }
    }
}
