//! Table functions: calls such as `influence('pool', 'gsm8k', k => 100)` in FROM as tables.
//!
//! The engine's own planner refuses `name => value` (or drops the name, after LATERAL), so a relation planner
//! of ours takes these calls: it checks the names while their places in the text are known, and hands the
//! options on as one struct. It also plans subqueries, whose keys are to be known before what is around them.

use std::collections::HashSet;

use datafusion::common::{DFSchema, Diagnostic, Span, TableReference};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as Ast, FunctionArg, FunctionArgExpr, Spanned, TableFactor, Value,
};

use super::args::check_name;
use super::dialect;
use super::error::SqlError;
use super::influence::is_of_samples;
use super::names::table_functions;
use super::table_functions::options_of;
use super::wording;

/// Plans calls of gstore's own table functions, and subqueries without keys that `unnest` has repeated.
#[derive(Debug)]
pub(crate) struct FunctionPlanner;

/// Where the arguments of a call stand, by their names.
type ArgumentSpans = Vec<(String, Option<Span>)>;

impl RelationPlanner for FunctionPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        cx: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let relation = match dialect::sampled(relation, cx, &is_of_samples)? {
            RelationPlanning::Original(relation) => *relation,
            planned => return Ok(planned),
        };
        let (name, args, alias) = match refuse_ignored(relation)? {
            // It comes here once more, LATERAL: nothing reads that behind this place.
            TableFactor::Derived { lateral: false, subquery, alias, sample } => {
                let plan = cx.plan(TableFactor::Derived { lateral: true, subquery, alias, sample })?;
                let plan = match plan.schema().functional_dependencies().is_empty() {
                    true => plan,
                    false => gstore_functions::without_unnested_keys(plan)?,
                };
                return Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))));
            }
            TableFactor::Table { name, args: Some(args), alias, .. } => (name, args.args, alias),
            TableFactor::Function { name, args, alias, .. } => (name, args, alias),
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let place = Span::try_from_sqlparser_span(name.span());
        let function = cx.object_name_to_table_reference(name)?.table().to_string();
        // Else its arguments would be refused as those of one of ours.
        if !table_functions().any(|known| known == function) {
            let unknown = DataFusionError::Plan(format!("table function '{function}' not found"));
            return Err(with_place(unknown, place));
        }
        let (exprs, places) = arguments(&function, &options_of(&function), args, cx)?;
        let source = cx.context_provider().get_table_function_source(&function, exprs).map_err(|e| {
            let blamed = SqlError::argument(&e);
            let argument = places.iter().find(|(name, _)| Some(name.as_str()) == blamed);
            with_place(e, argument.map_or(place, |(_, place)| *place))
        })?;
        let plan = LogicalPlanBuilder::scan(TableReference::bare(function), source, None)?.build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// The engine parses these clauses and then ignores them, which would give another result
/// than the one asked for.
fn refuse_ignored(relation: TableFactor) -> Result<TableFactor> {
    Err(match &relation {
        TableFactor::Table { version: Some(_), .. } => {
            SqlError::invalid("a version of a table is not supported".to_owned()).into()
        }
        TableFactor::Table { with_ordinality: true, .. }
        | TableFactor::Function { with_ordinality: true, .. } => wording::no_ordinality().into(),
        _ => return Ok(relation),
    })
}

/// The arguments as expressions, and the place of each by its name. The first options of a function are
/// its positional arguments.
fn arguments(
    function: &str,
    options: &[&str],
    args: Vec<FunctionArg>,
    cx: &mut dyn RelationPlannerContext,
) -> Result<(Vec<Expr>, ArgumentSpans)> {
    let mut places = Vec::new();
    let mut positional = Vec::new();
    let mut named = Vec::new();
    let mut seen = HashSet::new();
    for arg in args {
        let place = Span::try_from_sqlparser_span(arg.span());
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => {
                if !named.is_empty() {
                    let order = SqlError::invalid(
                        "arguments without a name come first, then the ones given as name => value".into(),
                    );
                    return Err(with_place(order.into(), place));
                }
                let name = options.get(positional.len()).copied().unwrap_or_default();
                places.push((name.to_string(), place));
                positional.push(constant(function, e, place, cx)?);
            }
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(e), .. } => {
                let name = cx.normalize_ident(name);
                check_name(function, &name, options).map_err(|e| with_place(e.into(), place))?;
                if !seen.insert(name.clone()) {
                    let twice = SqlError::invalid(format!("option `{name}` is given twice"));
                    return Err(with_place(twice.into(), place));
                }
                places.push((name.clone(), place));
                named.push(lit(name));
                named.push(constant(function, e, place, cx)?);
            }
            _ => {
                let what = SqlError::invalid(format!(
                    "{function}() takes constants and options as name => value, nothing else"
                ));
                return Err(with_place(what.into(), place));
            }
        }
    }
    if !named.is_empty() {
        positional.push(named_struct(named));
    }
    Ok((positional, places))
}

fn constant(
    function: &str,
    ast: Ast,
    place: Option<Span>,
    cx: &mut dyn RelationPlannerContext,
) -> Result<Expr> {
    if let Ast::Identifier(_) | Ast::CompoundIdentifier(_) = &ast {
        let column =
            SqlError::invalid(format!("the arguments of {function}() are constants; {ast} is a column here"));
        let column = match &ast {
            Ast::Identifier(name) => {
                column.hint(format!("names of datasets and the like are text: write '{}'", name.value))
            }
            _ if function == "nearest" => column.hint(
                "to compare all rows of a dataset with each other, write \
                 FROM influence('pool', 'pool', kind => 'embed-mean', each => 'sample', k => 2)",
            ),
            _ => column,
        };
        return Err(with_place(column.into(), place));
    }
    if let Ast::BinaryOp { left, op: BinaryOperator::Eq, right } = &ast
        && let Ast::Identifier(name) = &**left
    {
        let option = SqlError::invalid(format!("write an option as {name} => {right}, not {name} = {right}"));
        return Err(with_place(option.into(), place));
    }
    if let Some(number) = number_beside_text(&ast) {
        let mixed = SqlError::invalid(format!(
            "the list {ast} has text and numbers; write the numbers as text, '{number}' for {number}"
        ));
        return Err(with_place(mixed.into(), place));
    }
    cx.sql_to_expr(ast, &DFSchema::empty()).map_err(|e| with_place(e, place))
}

/// A number in a list that has text too. The engine would try to read the text as numbers, and
/// fail in its own words.
fn number_beside_text(ast: &Ast) -> Option<&Ast> {
    let Ast::Array(list) = ast else { return None };
    let is_text = |e: &Ast| matches!(e, Ast::Value(v) if matches!(v.value, Value::SingleQuotedString(_)));
    let is_number = |e: &&Ast| {
        let value = if let Ast::UnaryOp { expr, .. } = e { &**expr } else { *e };
        matches!(value, Ast::Value(v) if matches!(v.value, Value::Number(..)))
    };
    list.elem.iter().find(is_number).filter(|_| list.elem.iter().any(is_text))
}

/// Attaches the place in the statement, unless the error knows a better one.
fn with_place(error: DataFusionError, place: Option<Span>) -> DataFusionError {
    match (&place, error.diagnostic()) {
        (Some(_), None) => {
            let message = error.strip_backtrace();
            error.with_diagnostic(Diagnostic::new_error(message, place))
        }
        _ => error,
    }
}
