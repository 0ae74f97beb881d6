//! The plan node of `influence()`: a leaf that filters, scores, ranks and cuts.
//!
//! Invariants
//! - filters over the pools' columns choose the rows that are scored; filters over the score, the subtask or
//!   a token's position choose among what is scored, before any cut
//! - an order is accepted only where it is the ranking's own: score, then pool, then row, then position
//! - a node that cuts takes no further filter and no other order: both would have to come before the cut

use std::fmt;
use std::sync::Arc;

use arrow_schema::{SchemaRef, SortOptions};
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, apply_expression_roots};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
    SortOrderPushdownResult,
};
use gstore_query::influence::Order;

use super::job::InfluenceJob;
use super::question::{InfluenceQuestion, RankedRelation, checkpoint_names, question_text};
use super::search::NearestSearch;
use crate::blocking;
use crate::candidates::{Candidates, FindWork};
use crate::filter::{self, Filter, columns_of};
use crate::leaf::{LeafOptions, leaf_methods, statistics};
use crate::notes::RunNotes;

/// Answers a [`InfluenceQuestion`].
#[derive(Debug, Clone)]
pub(super) struct InfluenceExec {
    question: Arc<InfluenceQuestion>,
    projection: Vec<usize>,
    /// Over the pools' columns; indexes into the whole table.
    before: Vec<Arc<dyn PhysicalExpr>>,
    /// Over score, subtask or position, and perhaps others.
    after: Vec<Arc<dyn PhysicalExpr>>,
    order: Option<Order>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl InfluenceExec {
    pub(super) fn new(
        question: Arc<InfluenceQuestion>,
        projection: Vec<usize>,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> DfResult<Self> {
        let columns = &question.columns;
        let (after, before) =
            filters.into_iter().partition(|f| columns_of(f).iter().any(|c| columns.is_result(*c)));
        let order = question.relation.order();
        let schema = Arc::new(columns.schema().project(&projection)?);
        let properties = properties(&question, &projection, schema, order);
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { question, projection, before, after, order, limit, properties, metrics })
    }

    /// How many rows come out at most.
    fn cut(&self) -> Option<usize> {
        match (self.question.relation.k(), self.limit) {
            (Some(k), Some(limit)) => Some(k.min(limit)),
            (k, limit) => k.or(limit),
        }
    }

    fn ordered(&self, order: Order) -> Self {
        let schema = Arc::clone(self.properties.eq_properties.schema());
        Self {
            order: Some(order),
            properties: properties(&self.question, &self.projection, schema, Some(order)),
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        }
    }

    /// A filter of a node above, over the projected columns, as one over the whole table;
    /// `None` if it reads a result.
    fn absorbable(&self, filter: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        let columns = &self.question.columns;
        let whole = |c: &Column| self.projection.get(c.index()).copied();
        let known = collect_columns(filter).iter().all(|c| whole(c).is_some_and(|i| !columns.is_result(i)));
        // Names are unique in the table, so a column is found again by its name.
        if known { reassign_expr_columns(Arc::clone(filter), columns.schema()).ok() } else { None }
    }
}

/// Orders the node's output has: the ranking's, or pool, row and position where nothing is ranked.
fn properties(
    question: &InfluenceQuestion,
    projection: &[usize],
    schema: SchemaRef,
    order: Option<Order>,
) -> Arc<PlanProperties> {
    let columns = &question.columns;
    let key = |column: usize, descending: bool| {
        let index = projection.iter().position(|p| *p == column)?;
        let column = Arc::new(Column::new(schema.field(index).name(), index));
        Some(PhysicalSortExpr::new(column, SortOptions { descending, nulls_first: false }))
    };
    let score = order.map(|o| key(columns.score, o == Order::Best));
    let pool = columns.pool.map(|p| if columns.pools_ascend() { key(p, false) } else { None });
    let pos = columns.pos.map(|p| key(p, false));
    // An order counts up to the first key that the output does not show.
    let keys: Vec<PhysicalSortExpr> =
        [score, pool, Some(key(columns.row, false)), pos].into_iter().flatten().map_while(|k| k).collect();
    // Rows that were taken in turn are in no order of their columns.
    let in_turn =
        matches!(&question.relation, RankedRelation::Best { rules, .. } if rules.round_robin.is_some());
    let orderings = LexOrdering::new(if in_turn { Vec::new() } else { keys }).into_iter();
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new_with_orderings(Arc::clone(&schema), orderings),
        Partitioning::UnknownPartitioning(1),
        if order.is_some() { EmissionType::Final } else { EmissionType::Incremental },
        Boundedness::Bounded,
    ))
}

impl DisplayAs for InfluenceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.question.plan;
        match &self.question.relation {
            RankedRelation::Nearest { k, search } => self.fmt_nearest(*k, search, f)?,
            _ => {
                let (name, columns) = (self.name(), self.column_names());
                write!(f, "{name}: {}, columns=[{columns}]", question_text(plan, &self.targets()))?;
            }
        }
        f.write_str(&Candidates::shown(self.question.candidates.as_ref()))?;
        self.fmt_rules(f)?;
        self.fmt_cut(f)
    }
}

impl InfluenceExec {
    fn fmt_nearest(
        &self,
        k: Option<usize>,
        search: &NearestSearch,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let plan = &self.question.plan;
        let kinds: Vec<&str> = plan.pools().iter().map(|pool| pool.kind.as_str()).collect();
        write!(
            f,
            "NearestExec: pool=[{}], about={}, kind=[{}], checkpoint=[{}], by={}, columns=[{}]",
            plan.spec().pools.join(", "),
            search.about,
            kinds.join(", "),
            checkpoint_names(plan),
            search.by(plan, k.or(self.cut()), !self.after.is_empty()),
            self.column_names()
        )
    }

    fn fmt_rules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RankedRelation::Best { rules, .. } = &self.question.relation else { return Ok(()) };
        if let Some(quota) = &rules.quota {
            write!(f, ", quota=[{quota}]")?;
        }
        if let Some(limit) = rules.distinct {
            write!(f, ", distinct={limit}")?;
        }
        if let Some(each) = rules.round_robin {
            write!(f, ", round_robin={each}")?;
        }
        Ok(())
    }

    fn targets(&self) -> String {
        match &self.question.relation {
            RankedRelation::SelfInfluence { .. } => "itself".to_owned(),
            RankedRelation::All | RankedRelation::Best { .. } | RankedRelation::Nearest { .. } => {
                self.question.plan.spec().target_names().join(", ")
            }
        }
    }

    fn column_names(&self) -> String {
        let schema = self.properties.eq_properties.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        names.join(", ")
    }

    /// The filters, and how many rows come out in which order.
    fn fmt_cut(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        filter::display("filter", &self.before, f)?;
        filter::display("having", &self.after, f)?;
        match (self.order, self.cut()) {
            (Some(Order::Best), Some(k)) => write!(f, ", top={k}"),
            (Some(Order::Worst), Some(k)) => write!(f, ", bottom={k}"),
            (Some(Order::Best), None) => write!(f, ", order=[score DESC]"),
            (Some(Order::Worst), None) => write!(f, ", order=[score ASC]"),
            (None, Some(n)) => write!(f, ", limit={n}"),
            (None, None) => Ok(()),
        }
    }
}

impl ExecutionPlan for InfluenceExec {
    fn name(&self) -> &str {
        match self.question.relation {
            RankedRelation::Nearest { .. } => "NearestExec",
            RankedRelation::All | RankedRelation::Best { .. } | RankedRelation::SelfInfluence { .. } => {
                if self.question.plan.plan().models().is_some() {
                    "DaunceExec"
                } else {
                    "InfluenceExec"
                }
            }
        }
    }

    leaf_methods!();

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        apply_expression_roots(self.before.iter().chain(&self.after), f)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let (config, whole) = (context.session_config(), self.question.columns.schema());
        let limits = config.get_extension::<LeafOptions>();
        let job = InfluenceJob {
            question: Arc::clone(&self.question),
            projection: self.projection.clone(),
            schema: self.schema(),
            before: Arc::new(Filter::new(whole, &self.before)?),
            after: Filter::new(whole, &self.after)?,
            order: self.order,
            cut: self.cut(),
            batch: config.batch_size().max(1),
            threads: limits.as_ref().map_or(1, |limits| limits.threads),
            served: limits.is_some_and(|limits| limits.served),
            notes: config.get_extension::<RunNotes>(),
            memory: MemoryConsumer::new("influence").register(context.memory_pool()),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            set: self.metrics.clone(),
            partition,
        };
        let memory = Arc::clone(context.memory_pool());
        let work = FindWork { memory, threads: job.threads, notes: job.notes.clone() };
        let found = Candidates::rows(self.question.candidates.as_ref(), work);
        Ok(blocking::stream(self.schema(), found, move |sink, rows| job.run(rows, sink)))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> DfResult<Arc<Statistics>> {
        let rows = self.question.rows().get_value().copied().unwrap_or(0);
        let rows = Precision::Inexact(rows.min(self.cut().unwrap_or(usize::MAX)));
        Ok(Arc::new(statistics(rows, self.projection.len())))
    }

    fn fetch(&self) -> Option<usize> {
        self.cut()
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> DfResult<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        if self.cut().is_some() || self.order.is_some() {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        for candidate in [Order::Best, Order::Worst] {
            let node = self.ordered(candidate);
            if node.properties.eq_properties.ordering_satisfy(order.to_vec())? {
                return Ok(SortOrderPushdownResult::Exact { inner: Arc::new(node) });
            }
        }
        Ok(SortOrderPushdownResult::Unsupported)
    }

    /// Joins offer what they know of the keys that can match; over the pools' columns that saves scoring.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> DfResult<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let offered = result.parent_filters.len();
        let refused = FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; offered]);
        if self.cut().is_some() || !matches!(phase, FilterPushdownPhase::Post) {
            return Ok(refused);
        }
        let taken: Vec<_> = result.parent_filters.iter().filter_map(|f| self.absorbable(&f.filter)).collect();
        if taken.is_empty() {
            return Ok(refused);
        }
        let mut node = Self { metrics: ExecutionPlanMetricsSet::new(), ..self.clone() };
        node.before.extend(taken);
        Ok(refused.with_updated_node(Arc::new(node)))
    }
}
