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

mod columns;
mod values;

use arrow_schema::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRewriter};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use gstore_functions::marked::{JSON, has_json, plain};
use gstore_functions::{JSON_TAKERS, of_json};

use self::columns::{MarkedColumns, Scope};
use super::plans::{has_expr, node_has_expr};

/// The plan with functions that know which of their arguments are JSON.
pub(crate) fn embed(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    if !has_expr(&plan, |_, part| taker(part).is_some())? {
        return Ok(plan);
    }
    // Keeps the nodes at their addresses, so each is copied when it is visited.
    let _whole = plan.clone();
    let mut columns = MarkedColumns::default();
    plan.transform_down_with_subqueries(|node| {
        if let LogicalPlan::RecursiveQuery(of) = &node {
            columns.repeated(of);
        }
        if !node_has_expr(&node, |part| taker(part).is_some())? {
            return Ok(Transformed::no(node));
        }
        let scope = columns.scope(&node);
        node.map_expressions(|expr| {
            expr.rewrite(&mut Calls { columns: &mut columns, scope: &scope, lists: Vec::new() })
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

/// Tells the calls of an expression what they take.
struct Calls<'a> {
    columns: &'a mut MarkedColumns,
    scope: &'a Scope,
    /// The types of the elements that functions around take.
    lists: Vec<Option<DataType>>,
}

impl Calls<'_> {
    /// A call that knows which of its arguments are JSON.
    fn told(&mut self, expr: Expr) -> DfResult<Transformed<Expr>> {
        let Some(call) = taker(&expr) else { return Ok(Transformed::no(expr)) };
        let name = call.func.name();
        let types: Vec<DataType> = call.args.iter().map(|arg| self.columns.of(arg, self.scope)).collect();
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

impl TreeNodeRewriter for Calls<'_> {
    type Node = Expr;

    fn f_down(&mut self, expr: Expr) -> DfResult<Transformed<Expr>> {
        match &expr {
            Expr::HigherOrderFunction(call) => {
                let values = call.args.first();
                self.lists.push(values.and_then(|values| self.columns.element(values, self.scope)));
            }
            Expr::Lambda(lambda) => {
                let element = self.lists.last().cloned().flatten();
                self.columns.lambdas.push((lambda.params.clone(), element));
            }
            _ => {}
        }
        Ok(Transformed::no(expr))
    }

    fn f_up(&mut self, expr: Expr) -> DfResult<Transformed<Expr>> {
        match &expr {
            Expr::HigherOrderFunction(_) => drop(self.lists.pop()),
            Expr::Lambda(_) => drop(self.columns.lambdas.pop()),
            _ => {}
        }
        self.told(expr)
    }
}
