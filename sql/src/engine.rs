//! The engine as a session has it: memory and disk within limits, no files by name, rules of plans.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result as DfResult;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry, ObjectStoreUrl};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::limit_pushdown::LimitPushdown;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;

use super::best_groups;
use super::bounds::PredicateLimit;
use super::equal_nulls::{CrossJoins, EqualKeys};
use super::error::SqlError;
use super::full_sorts;
use super::join_filters;
use super::limited;
use super::memory::{self, Clients};
use super::options::SqlOptions;
use super::projections;
use super::push_down::PushDown;
use super::semi_keys;
use super::shares::SharedPool;
use super::sorted_inputs;
use super::spill::Spill;

/// Files of sorted rows that an operator merges at once: each takes memory that another would need.
const SPILLS_MERGED: usize = 32;

/// Memory and disk for operators; the sessions that are made with it share its limits.
#[derive(Debug, Clone)]
pub struct SqlResources {
    env: Arc<RuntimeEnv>,
    clients: Arc<Clients>,
    /// Bytes of memory that one client may hold; all without it.
    each: Option<usize>,
}

impl SqlResources {
    /// As much as the options allow, for all sessions together.
    ///
    /// # Errors
    /// A folder for what does not fit into memory that cannot be used.
    pub fn new(options: &SqlOptions) -> Result<Self, SqlError> {
        let stores = DefaultObjectStoreRegistry::new();
        stores.deregister_store(ObjectStoreUrl::local_filesystem().as_ref())?;
        let bytes = options.memory_limit;
        let (pool, disk): (Arc<dyn MemoryPool>, _) = match &options.spill {
            Some(folder) => {
                let spill = Spill::new(folder.clone())?;
                (Arc::new(SharedPool::new(bytes)), DiskManagerMode::Custom(Arc::new(spill)))
            }
            None => (Arc::new(GreedyMemoryPool::new(bytes)), DiskManagerMode::Disabled),
        };
        let disk = DiskManagerBuilder::default().with_mode(disk).with_max_spill_merge_fan_in(SPILLS_MERGED);
        let env = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .with_disk_manager_builder(disk)
            .with_object_store_registry(Arc::new(stores))
            .build_arc()?;
        Ok(Self { env, clients: Arc::default(), each: options.memory_each })
    }

    /// The same for one statement of a client: within the client's own limit of memory and that of all.
    pub fn of_client(&self, client: &str) -> Self {
        let Some(most) = self.each else { return self.clone() };
        let pool = self.clients.pool(client, &self.env.memory_pool, most, self.spills());
        let env = RuntimeEnv { memory_pool: Arc::new(pool), ..RuntimeEnv::clone(&self.env) };
        Self { env: Arc::new(env), clients: Arc::clone(&self.clients), each: None }
    }

    pub(super) fn of(env: RuntimeEnv) -> Self {
        Self { env: Arc::new(env), clients: Arc::default(), each: None }
    }

    /// Takes memory for what is answered without a statement.
    ///
    /// # Errors
    /// More than is left of a limit.
    pub fn hold(&self, what: &'static str, bytes: u64) -> Result<HeldMemory, SqlError> {
        let reservation = MemoryConsumer::new(what).register(&self.env.memory_pool);
        match reservation.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX)) {
            Ok(()) => Ok(HeldMemory { _reservation: reservation }),
            Err(error) => Err(memory::explain(error.into(), &self.env.memory_pool)),
        }
    }

    /// Whether operators go on from disk.
    fn spills(&self) -> bool {
        self.env.disk_manager.tmp_files_enabled()
    }

    pub(super) fn env(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.env)
    }
}

/// Memory that counts against the limits of [`SqlResources`] until this is dropped.
#[derive(Debug)]
pub struct HeldMemory {
    _reservation: MemoryReservation,
}

/// The engine's rules of logical plans, with a limit on what becomes of predicates before they are pushed
/// down, which those above some aggregates are not. Keys of joins are compared by `=` until all have run.
pub(super) fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let own: [Arc<dyn OptimizerRule + Send + Sync>; 3] =
        [Arc::new(EqualKeys), Arc::new(CrossJoins), Arc::new(PushDown)];
    for rule in &mut rules {
        if let Some(own) = own.iter().find(|own| own.name() == rule.name()) {
            *rule = Arc::clone(own);
        }
    }
    let pushes = rules.iter().position(|rule| rule.name() == PushDown.name());
    rules.insert(pushes.unwrap_or(0), Arc::new(PredicateLimit));
    rules
}

/// What a rule makes of a plan.
type Optimize = fn(Arc<dyn ExecutionPlan>, &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>>;

/// A rule of physical plans; also in place of the engine's, for one of the same name.
#[derive(Debug, Clone, Copy)]
struct PlanRule {
    name: &'static str,
    optimize: Optimize,
}

impl PhysicalOptimizerRule for PlanRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        (self.optimize)(plan, options)
    }

    fn name(&self) -> &str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The engine's rules of physical plans, and the limit pushed once more after sorts have gone into the
/// leaves: a limit above a computed projection reaches them only then. Before filters of joins go down, keys
/// of semi joins are told from other columns; they go down where names tell columns apart. Sorts stay above
/// limits, groups are not cut to the best where all are wanted, and branches of `CASE` and functions of elements
/// are computed where they were planned. Sorts that give many rows are of all rows if they can go on from disk,
/// and none is missing where the engine's check of the plan would miss it.
pub(super) fn physical_rules(resources: &SqlResources) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let own = [
        PlanRule { name: "EnsureRequirements", optimize: limited::optimize },
        PlanRule { name: "LimitAggregation", optimize: best_groups::optimize },
        PlanRule { name: "ProjectionPushdown", optimize: projections::optimize },
        PlanRule { name: "FilterPushdown(Post)", optimize: join_filters::optimize },
    ];
    for rule in &mut rules {
        if let Some(own) = own.iter().find(|own| own.name == rule.name()) {
            *rule = Arc::new(*own);
        }
    }
    if let Some(sort) = rules.iter().position(|r| r.name() == "PushdownSort") {
        rules.insert(sort + 1, Arc::new(LimitPushdown::new()));
    }
    let filters = rules.iter().rposition(|r| r.name().starts_with("FilterPushdown"));
    let filters = filters.unwrap_or(rules.len());
    rules.insert(filters, Arc::new(PlanRule { name: "SemiKeys", optimize: semi_keys::optimize }));
    if resources.spills() {
        rules.insert(filters, Arc::new(PlanRule { name: "FullSorts", optimize: full_sorts::optimize }));
    }
    let check = rules.iter().position(|rule| rule.name() == "SanityCheckPlan").unwrap_or(rules.len());
    rules.insert(check, Arc::new(PlanRule { name: "SortedInputs", optimize: sorted_inputs::optimize }));
    rules
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use gstore_store::Store;

    use super::*;
    use crate::{Parameters, SqlErrorKind, SqlResult, SqlSession, StatementOptions};

    const SORTED: &str = "SELECT range FROM range(100000) ORDER BY range % 7";

    async fn sorted(session: &SqlSession, memory: Option<SqlResources>) -> Result<usize, SqlError> {
        counted(session.run_asked(SORTED, StatementOptions { memory, ..StatementOptions::default() }).await?)
            .await
    }

    async fn counted(result: SqlResult) -> Result<usize, SqlError> {
        let mut rows = result.stream;
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            count += batch?.num_rows();
        }
        Ok(count)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sessions_that_share_resources_have_one_limit() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = Store::create(folder.path().join("s")).unwrap().snapshot().unwrap();
        let options = SqlOptions { threads: 1, ..SqlOptions::default() };
        let resources = SqlResources::new(&options).unwrap();
        let session = SqlSession::with_tables(snapshot, options.clone(), &resources, Vec::new()).unwrap();
        let other = MemoryConsumer::new("another session").register(&resources.env.memory_pool);
        other.try_grow(options.memory_limit).unwrap();
        assert_eq!(sorted(&session, None).await.unwrap_err().kind(), SqlErrorKind::Memory);
        drop(other);
        assert_eq!(sorted(&session, None).await.unwrap(), 100_000);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_has_a_limit_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = Store::create(folder.path().join("s")).unwrap().snapshot().unwrap();
        let options = SqlOptions { threads: 1, memory_each: Some(1 << 30), ..SqlOptions::default() };
        let resources = SqlResources::new(&options).unwrap();
        let session = SqlSession::with_tables(snapshot, options, &resources, Vec::new()).unwrap();
        let (one, two) = (resources.of_client("one"), resources.of_client("two"));
        let held = MemoryConsumer::new("another statement").register(&one.env.memory_pool);
        held.try_grow(1 << 30).unwrap();
        let error = sorted(&session, Some(one.clone())).await.unwrap_err();
        assert_eq!(error.kind(), SqlErrorKind::Memory, "{error}");
        assert!(error.to_string().contains("one client may hold"), "{error}");
        let rest = MemoryConsumer::new("all others").register(&resources.env.memory_pool);
        rest.try_grow(1 << 30).unwrap();
        let error = sorted(&session, Some(two.clone())).await.unwrap_err();
        assert!(error.to_string().contains("all clients"), "{error}");
        drop(rest);
        // A plan that is kept holds what its client may hold, whichever client it was made for.
        let prepared = session.prepare(SORTED, &Parameters::default(), Some(&two)).await.unwrap();
        let run = session.run_prepared(&prepared, Some(&one), Arc::default()).unwrap().unwrap();
        assert_eq!(counted(run).await.unwrap_err().kind(), SqlErrorKind::Memory);
        assert_eq!(sorted(&session, Some(two)).await.unwrap(), 100_000);
        drop(held);
        let matrix = one.hold("a matrix", 1 << 30).unwrap();
        assert!(one.hold("another", 1).unwrap_err().to_string().contains("one client may hold"));
        assert_eq!(sorted(&session, Some(one.clone())).await.unwrap_err().kind(), SqlErrorKind::Memory);
        drop(matrix);
        assert_eq!(sorted(&session, Some(one)).await.unwrap(), 100_000);
    }
}
