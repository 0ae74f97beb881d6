//! JSON in JSON: `json_object('m', record->'meta')` has the object and not a string of its text, as in
//! DuckDB.
//!
//! JSON is text here, without a type of its own. What computes an argument of a function that makes JSON says
//! whether its texts are JSON; columns are followed through the plan to the tables. The function is told in
//! types that have [`JSON`] in the place of such texts, which are nowhere else.
//!
//! Invariants
//! - no name and no type of a plan changes by this
//! - a text is JSON only where each expression that it may come from gives JSON; that it looks like JSON says
//!   nothing, but for a constant beside what is JSON

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan, TableScan};

use crate::functions::marked::{JSON, has_json, is_document, list, plain, structure};
use crate::functions::{AS_TYPE, JSON_TAKERS, gives_json, of_json};
use crate::influence::InfluenceTable;
use crate::scan::RowsTable;

/// The plan with functions that know which of their arguments are JSON.
pub(crate) fn embed(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let takes_json = |expr: &Expr| expr.exists(|part| Ok(taker(part).is_some()));
    // Keeps the nodes at their addresses.
    let _whole = plan.clone();
    let mut columns = MarkedColumns::default();
    plan.transform_down_with_subqueries(|node| {
        let mut is_taken = false;
        node.apply_expressions(|expr| {
            is_taken |= takes_json(expr)?;
            Ok(if is_taken { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if !is_taken {
            return Ok(Transformed::no(node));
        }
        let scope = columns.scope(&node);
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let told = expr.transform_up(|part| columns.told(part, &scope))?;
            Ok(match told.transformed {
                true => told.update_data(|expr| name.restore(expr)),
                false => told,
            })
        })
    })
    .data()
}

/// A call of a function that takes JSON as it is.
fn taker(expr: &Expr) -> Option<&ScalarFunction> {
    match expr {
        Expr::ScalarFunction(call) if JSON_TAKERS.contains(&call.func.name()) => Some(call),
        _ => None,
    }
}

/// What values are that come from the one or the other.
fn either(one: &DataType, other: &DataType) -> DataType {
    match (one, other) {
        (DataType::Null, of) | (of, DataType::Null) => of.clone(),
        (DataType::List(one), DataType::List(other)) => list(either(one.data_type(), other.data_type())),
        (DataType::Struct(fields), DataType::Struct(others)) if fields.len() == others.len() => {
            structure(fields, |field, place| {
                others.get(place).map_or_else(|| plain(field), |other| either(field, other.data_type()))
            })
        }
        (one, other) if one == other => one.clone(),
        (one, _) => plain(one),
    }
}

/// What the expressions of a node may name.
struct Scope {
    inputs: Vec<(DFSchemaRef, Rc<[DataType]>)>,
    schema: DFSchema,
}

impl Scope {
    fn column(&self, column: &Column) -> Option<DataType> {
        self.inputs
            .iter()
            .find_map(|(schema, types)| types.get(schema.maybe_index_of_column(column)?).cloned())
    }
}

/// The types of the columns of the nodes of a plan, by their addresses.
#[derive(Default)]
struct MarkedColumns {
    known: HashMap<*const LogicalPlan, Rc<[DataType]>>,
}

impl MarkedColumns {
    fn scope(&mut self, node: &LogicalPlan) -> Scope {
        let inputs = node.inputs();
        let schema = merge_schema(&inputs);
        let inputs = inputs.into_iter().map(|input| (Arc::clone(input.schema()), self.columns(input)));
        Scope { inputs: inputs.collect(), schema }
    }

    /// The types of the columns of a node of the plan.
    fn columns(&mut self, node: &LogicalPlan) -> Rc<[DataType]> {
        if let Some(known) = self.known.get(&std::ptr::from_ref(node)) {
            return Rc::clone(known);
        }
        let found = self.found(node);
        let fields = node.schema().fields();
        let types: Rc<[DataType]> = match found.len() == fields.len() {
            true => found.into(),
            false => fields.iter().map(|field| plain(field.data_type())).collect(),
        };
        self.known.insert(std::ptr::from_ref(node), Rc::clone(&types));
        types
    }

    /// The same; nothing of a node that gives other columns than it takes and computes.
    fn found(&mut self, node: &LogicalPlan) -> Vec<DataType> {
        let scope = self.scope(node);
        let mut all = |exprs: &[Expr]| exprs.iter().map(|expr| self.of(expr, &scope)).collect::<Vec<_>>();
        let inputs = || scope.inputs.iter().flat_map(|(_, types)| types.iter().cloned());
        match node {
            LogicalPlan::Projection(of) => all(&of.expr),
            LogicalPlan::Aggregate(of) => [all(&of.group_expr), all(&of.aggr_expr)].concat(),
            LogicalPlan::Window(of) => inputs().chain(all(&of.window_expr)).collect(),
            LogicalPlan::Distinct(Distinct::On(of)) => all(&of.select_expr),
            LogicalPlan::Values(of) => {
                let columns = of.schema.fields().len();
                let rows = |place: usize| of.values.iter().filter_map(move |row| row.get(place));
                (0..columns).map(|place| self.joined(rows(place), &scope)).collect()
            }
            LogicalPlan::Union(_) => {
                let mut parts = scope.inputs.iter().map(|(_, types)| types.to_vec());
                let first = parts.next().unwrap_or_default();
                parts.fold(first, |one, other| one.iter().zip(&other).map(|(a, b)| either(a, b)).collect())
            }
            LogicalPlan::Unnest(of) => {
                let taken = |place: &usize| inputs().nth(*place);
                let fields = of.schema.fields().iter().zip(of.dependency_indices.iter().map(taken));
                fields.map(|(field, taken)| element_of(taken, &plain(field.data_type()))).collect()
            }
            LogicalPlan::TableScan(scan) => of_table(scan),
            LogicalPlan::Subquery(of) => self.columns(&of.subquery).to_vec(),
            LogicalPlan::Join(of) => match of.join_type {
                JoinType::LeftSemi | JoinType::LeftAnti => self.columns(&of.left).to_vec(),
                JoinType::RightSemi | JoinType::RightAnti => self.columns(&of.right).to_vec(),
                _ => inputs().collect(),
            },
            LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Distinct(Distinct::All(_)) => inputs().collect(),
            _ => Vec::new(),
        }
    }

    /// The type of an expression.
    fn of(&mut self, expr: &Expr, scope: &Scope) -> DataType {
        let found = match expr {
            Expr::Alias(alias) => Some(self.of(&alias.expr, scope)),
            Expr::Column(column) => scope.column(column),
            Expr::Case(case) => {
                let cases = case.when_then_expr.iter().map(|(_, then)| &**then);
                Some(self.joined(cases.chain(case.else_expr.as_deref()), scope))
            }
            Expr::ScalarSubquery(of) => self.columns(&of.subquery).first().cloned(),
            Expr::ScalarFunction(call) => self.of_call(call.func.name(), &call.args, scope),
            Expr::AggregateFunction(call) => self.of_rows(call.func.name(), &call.params.args, scope),
            Expr::WindowFunction(call) => self.of_rows(call.fun.name(), &call.params.args, scope),
            Expr::HigherOrderFunction(call) => match (call.name(), call.args.as_slice()) {
                ("array_transform", [_, Expr::Lambda(lambda)]) => Some(list(self.of(&lambda.body, scope))),
                ("array_filter", [values, _]) => Some(self.of(values, scope)),
                _ => None,
            },
            _ => None,
        };
        // Of what has no type yet nothing is known.
        found.unwrap_or_else(|| expr.get_type(&scope.schema).map_or(DataType::Utf8, |ty| plain(&ty)))
    }

    /// The type of the values of several expressions; a constant that is JSON is JSON beside what is.
    fn joined<'e>(&mut self, parts: impl Iterator<Item = &'e Expr>, scope: &Scope) -> DataType {
        let parts: Vec<(DataType, &Expr)> = parts.map(|part| (self.of(part, scope), part)).collect();
        let beside_json = parts.iter().any(|(ty, _)| *ty == JSON);
        let types = parts.into_iter().map(|(ty, part)| if beside_json && is_json(part) { JSON } else { ty });
        types.reduce(|one, other| either(&one, &other)).unwrap_or(DataType::Null)
    }

    fn of_call(&mut self, name: &str, args: &[Expr], scope: &Scope) -> Option<DataType> {
        match (name, args) {
            (name, _) if gives_json(name) => Some(JSON),
            ("coalesce" | "nvl" | "array_concat", args) => Some(self.joined(args.iter(), scope)),
            ("make_array", args) => Some(list(self.joined(args.iter(), scope))),
            (
                AS_TYPE | "nullif" | "array_slice" | "array_sort" | "array_reverse" | "array_distinct"
                | "array_compact",
                [of, ..],
            ) => Some(self.of(of, scope)),
            ("array_element", [values, _]) => match self.of(values, scope) {
                DataType::List(item) => Some(item.data_type().clone()),
                _ => None,
            },
            ("named_struct", args) => {
                let field = |pair: &[Expr]| match pair {
                    [Expr::Literal(name, _), value] => {
                        let name = name.try_as_str().flatten()?;
                        Some(Field::new(name, self.of(value, scope), true))
                    }
                    _ => None,
                };
                args.chunks(2).map(field).collect::<Option<Fields>>().map(DataType::Struct)
            }
            ("get_field", [of, keys @ ..]) => {
                let of = self.of(of, scope);
                keys.iter().try_fold(of, |of, key| match (of, key) {
                    (DataType::Struct(fields), Expr::Literal(key, _)) => {
                        let (_, field) = fields.find(key.try_as_str().flatten()?)?;
                        Some(field.data_type().clone())
                    }
                    _ => None,
                })
            }
            _ => None,
        }
    }

    /// The type of what is chosen of the values of several rows, or of their list.
    fn of_rows(&mut self, name: &str, args: &[Expr], scope: &Scope) -> Option<DataType> {
        let of = args.first()?;
        match (name, args) {
            ("array_agg", _) => Some(list(self.of(of, scope))),
            // The third stands where there is no such row.
            ("lag" | "lead", [_, _, other]) => Some(self.joined([of, other].into_iter(), scope)),
            (
                "any_value" | "first_value" | "lag" | "last_value" | "lead" | "max" | "max_by" | "min"
                | "min_by" | "mode" | "nth_value",
                _,
            ) => Some(self.of(of, scope)),
            _ => None,
        }
    }

    /// A call that knows which of its arguments are JSON.
    fn told(&mut self, expr: Expr, scope: &Scope) -> DfResult<Transformed<Expr>> {
        let Some(call) = taker(&expr) else { return Ok(Transformed::no(expr)) };
        let name = call.func.name();
        let types: Vec<DataType> = call.args.iter().map(|arg| self.of(arg, scope)).collect();
        let is_value = |place: usize, ty: &DataType| match name {
            "json_object" => !place.is_multiple_of(2),
            // Of a text a cast is what it reads.
            "as_json" | "try_as_json" => *ty != JSON,
            _ => true,
        };
        let types = types.into_iter().enumerate();
        let types = types.map(|(place, ty)| if is_value(place, &ty) { ty } else { plain(&ty) });
        let types: Vec<DataType> = types.collect();
        if !types.iter().any(has_json) {
            return Ok(Transformed::no(expr));
        }
        let function = of_json(name, types);
        Ok(Transformed::yes(function.call(call.args.clone())))
    }
}

/// The type of a column that is given, or of its elements.
fn element_of(taken: Option<DataType>, given: &DataType) -> DataType {
    match taken {
        Some(taken) if plain(&taken) == *given => taken,
        Some(DataType::List(item)) if plain(item.data_type()) == *given => item.data_type().clone(),
        _ => given.clone(),
    }
}

/// Whether an expression is a text that is JSON.
fn is_json(expr: &Expr) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    value.try_as_str().flatten().is_some_and(is_document)
}

/// The columns of a table: a record of a sample is JSON.
fn of_table(scan: &TableScan) -> Vec<DataType> {
    let has_records = source_as_provider(&scan.source).is_ok_and(|table| {
        table.is::<InfluenceTable>()
            || table.downcast_ref::<RowsTable>().is_some_and(|rows| rows.0.has_records())
    });
    let fields = scan.projected_schema.fields().iter();
    fields
        .map(|field| match has_records && field.name() == "record" {
            true => JSON,
            false => plain(field.data_type()),
        })
        .collect()
}
