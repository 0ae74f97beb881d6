//! JSON columns of a plan, followed from its tables up: their types, with [`JSON`] for such texts.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, merge_schema};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, RecursiveQuery, TableScan};
use gstore_functions::marked::{JSON, either, plain};

use crate::influence::is_of_samples;

/// What the expressions of a node may name.
pub(super) struct Scope {
    inputs: Vec<(DFSchemaRef, Rc<[DataType]>)>,
    pub(super) schema: DFSchema,
}

impl Scope {
    pub(super) fn column(&self, column: &Column) -> Option<DataType> {
        self.inputs
            .iter()
            .find_map(|(schema, types)| types.get(schema.maybe_index_of_column(column)?).cloned())
    }
}

/// The types of the columns of the nodes of a plan, by their addresses.
#[derive(Default)]
pub(super) struct MarkedColumns {
    known: HashMap<*const LogicalPlan, Rc<[DataType]>>,
    /// Of the rows that a recursive query has so far, by its name.
    rows_before: HashMap<String, Rc<[DataType]>>,
    /// Whether a recursive query is being followed.
    is_repeated: bool,
    /// The parameters of the lambda functions around, and the type of the elements that the first of each are.
    pub(super) lambdas: Vec<(Vec<String>, Option<DataType>)>,
}

impl MarkedColumns {
    pub(super) fn scope(&mut self, node: &LogicalPlan) -> Scope {
        let inputs = node.inputs();
        let schema = merge_schema(&inputs);
        let inputs = inputs.into_iter().map(|input| (Arc::clone(input.schema()), self.columns(input)));
        Scope { inputs: inputs.collect(), schema }
    }

    /// The types of the columns of a node of the plan.
    pub(super) fn columns(&mut self, node: &LogicalPlan) -> Rc<[DataType]> {
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
            LogicalPlan::Aggregate(of) => self.grouped(of, &scope).unwrap_or_default(),
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
            LogicalPlan::RecursiveQuery(of) => self.repeated(of),
            LogicalPlan::TableScan(scan) => self.of_table(scan),
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

    /// Those of keys and of what is computed for them.
    fn grouped(&mut self, of: &Aggregate, scope: &Scope) -> Option<Vec<DataType>> {
        let keys = grouping_set_to_exprlist(&of.group_expr).ok()?;
        let fields = of.schema.fields();
        // The number of the grouping set, if there are several.
        let between = fields.get(keys.len()..fields.len().checked_sub(of.aggr_expr.len())?)?;
        let mut types: Vec<DataType> = keys.into_iter().map(|key| self.of(key, scope)).collect();
        types.extend(between.iter().map(|field| plain(field.data_type())));
        types.extend(of.aggr_expr.iter().map(|expr| self.of(expr, scope)));
        Some(types)
    }

    /// Those of a recursive query, whose later rows are made of those before: a column is JSON if it is JSON in
    /// the first rows, and in the later ones as long as it is in those before.
    pub(super) fn repeated(&mut self, of: &RecursiveQuery) -> Vec<DataType> {
        let first = self.columns(&of.static_term);
        let is_within = std::mem::replace(&mut self.is_repeated, true);
        // In another one it would be followed again each time that the other is.
        let found = if is_within { None } else { self.settled(of, &first) };
        self.is_repeated = is_within;
        found.unwrap_or_else(|| {
            let types: Rc<[DataType]> = first.iter().map(plain).collect();
            self.start(of, &types);
            types.to_vec()
        })
    }

    /// The types that later rows have where those before have them.
    fn settled(&mut self, of: &RecursiveQuery, first: &Rc<[DataType]>) -> Option<Vec<DataType>> {
        let mut before = Rc::clone(first);
        for _ in 0..2 {
            self.start(of, &before);
            let later = self.columns(&of.recursive_term);
            let both: Rc<[DataType]> =
                before.iter().zip(later.iter()).map(|(one, other)| either(one, other)).collect();
            if both == before {
                return Some(both.to_vec());
            }
            before = both;
        }
        None
    }

    /// Says what the rows of a recursive query are, and forgets what was computed of other ones.
    fn start(&mut self, of: &RecursiveQuery, rows: &Rc<[DataType]>) {
        self.rows_before.insert(of.name.clone(), Rc::clone(rows));
        let _ = of.recursive_term.apply_with_subqueries(|node| {
            self.known.remove(&std::ptr::from_ref(node));
            Ok(TreeNodeRecursion::Continue)
        });
    }

    /// The columns of a table: a record of a sample is JSON.
    fn of_table(&self, scan: &TableScan) -> Vec<DataType> {
        let table = source_as_provider(&scan.source).ok();
        let before = table.as_ref().and_then(|table| table.downcast_ref::<CteWorkTable>());
        if let Some(rows) = before.and_then(|before| self.rows_before.get(before.name())) {
            return rows.to_vec();
        }
        let has_records = table.is_some_and(|table| is_of_samples(&*table));
        let fields = scan.projected_schema.fields().iter();
        fields
            .map(|field| match has_records && field.name() == "record" {
                true => JSON,
                false => plain(field.data_type()),
            })
            .collect()
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
