//! A session: one snapshot of a store, read by SQL.
//!
//! Invariants
//! - the snapshot never changes under a session; a newer one needs another session, which
//!   costs a few milliseconds
//! - nothing is read from the store before a query needs it
//! - no object store is registered, so no plan can reach a file by its name

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_schema::SchemaRef;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion::functions::unicode::planner::UnicodeFunctionPlanner;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use gstore_core::{Cancel, CancelOnDrop, Remedy};
use gstore_functions as functions;
use gstore_query::influence::{Encoder, RowMask};
use gstore_store::{DatasetName, Snapshot};
use tokio::runtime::Handle;

use super::blocking::pump;
use super::bounds::{self, Budget};
use super::branches::BranchNames;
use super::candidates::{FindRows, FindWork, MOST_NESTED, RowFinder};
use super::catalog::Tables;
use super::caught::PanicGuard;
use super::describe::{self, Description};
use super::dialect::{self, Headings};
use super::engine::{SqlResources, logical_rules, physical_rules};
use super::error::{SqlError, SqlErrorKind};
use super::function::FunctionPlanner;
use super::lasting;
use super::leaf::LeafOptions;
use super::live::{LiveTable, Requester};
use super::memory;
use super::mixed::MixedComparison;
use super::names::{CATALOG, DATA};
use super::notes::{Notes, RunNotes};
use super::options::SqlOptions;
use super::outer_types::OuterTypes;
use super::parameters::{self, Parameters};
use super::planning::{Planned, apart, plan};
use super::prepared::PreparedStatement;
use super::table_functions;
use super::views;
use super::virtuals::NamedVirtuals as AskedColumns;
use super::window::RowWindow;

/// Rows of a result, as they come; dropping it cancels the query. While one is computed only
/// [`StatementOptions::cancel`] does.
pub type SqlStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, SqlError>> + Send>>;

/// A result under way.
pub struct SqlResult {
    /// Columns of every batch, exactly as the stream delivers them.
    pub schema: SchemaRef,
    /// The rows.
    pub stream: SqlStream,
    notes: Arc<RunNotes>,
}

impl SqlResult {
    /// Notes of the result: the guarantee, excluded rows, bytes read. Complete once the stream has ended.
    pub fn notes(&self) -> Notes {
        self.notes.get()
    }

    /// Notes that outlive the stream.
    pub fn notes_handle(&self) -> Arc<RunNotes> {
        Arc::clone(&self.notes)
    }
}

/// One snapshot of a store, read by SQL.
pub struct SqlSession {
    tables: Arc<Tables>,
    context: SessionContext,
    /// Whether clients of a server ask, not the owner.
    served: bool,
}

/// How a statement is asked, except for its text.
#[derive(Debug, Default)]
pub struct StatementOptions {
    /// Values of its parameters.
    pub values: Parameters,
    /// The part of its rows that is wanted; all without one.
    pub window: Option<RowWindow>,
    /// Who asks; tables of the program are empty without one.
    pub asker: Option<Requester>,
    /// The memory of who asks ([`SqlResources::of_client`]); that of the session without it.
    pub memory: Option<SqlResources>,
    /// Raised to end it, also where it does not yield; it is raised as well when the rows are dropped.
    pub cancel: Arc<Cancel>,
}

impl SqlSession {
    /// Opens a session on a snapshot. Reads nothing.
    pub fn new(snapshot: Arc<Snapshot>, options: SqlOptions) -> Result<Self, SqlError> {
        let resources = SqlResources::new(&options)?;
        Self::with_tables(snapshot, options, &resources, Vec::new())
    }

    /// The same with memory and disk that other sessions have too, and tables of the program in the schema
    /// `gstore`.
    pub fn with_tables(
        snapshot: Arc<Snapshot>,
        options: SqlOptions,
        resources: &SqlResources,
        live: Vec<Arc<dyn LiveTable>>,
    ) -> Result<Self, SqlError> {
        let around = Around { served: !live.is_empty(), depth: 0 };
        Self::within(snapshot, options, resources, (live, around))
    }

    fn within(
        snapshot: Arc<Snapshot>,
        options: SqlOptions,
        resources: &SqlResources,
        (live, Around { served, depth }): (Vec<Arc<dyn LiveTable>>, Around),
    ) -> Result<Self, SqlError> {
        check_clock(SystemTime::now())?;
        let threads = options.threads.max(1);
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, DATA)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true)
            .with_target_partitions(options.partitions())
            // Operators that go on from disk have shares of the memory instead.
            .with_sort_spill_reservation_bytes(1 << 20)
            // Leaves score with their own threads; a repartition above them would only keep a
            // limit from reaching them.
            .with_round_robin_repartition(false);
        config.options_mut().sql_parser.collect_spans = true;
        // Below LIMIT, and for lists and row numbers, the order of a subquery is seen.
        config.options_mut().sql_parser.enable_subquery_sort_elimination = false;
        config.options_mut().sql_parser.default_null_ordering = "nulls_last".to_owned();
        // `CASE WHEN x < y THEN x ELSE 0 END` is never NULL by its logical type, and may be by its physical one.
        config.options_mut().execution.skip_physical_aggregate_schema_check = true;
        let optimizer = &mut config.options_mut().optimizer;
        // A leaf scores before it is known which rows a sort or `min` can still use. Filters that say so lose
        // rows: their columns are found by names that several may have (apache/datafusion#25296).
        optimizer.enable_topk_dynamic_filter_pushdown = false;
        optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        // Fields of structs would be taken out further down: there a computed column becomes the one with its
        // name that it is computed of (apache/datafusion#25414), and what is random is computed twice
        // (apache/datafusion#24678).
        optimizer.enable_leaf_expression_pushdown = false;
        let limits = Arc::new(LeafOptions { threads, served });
        config.set_extension(limits);
        let tables = Arc::new(Tables { snapshot: Arc::clone(&snapshot), live, own: options.own.clone() });
        tables.check()?;
        config.set_extension(Arc::clone(&tables));
        let (of_leaves, env) = (Arc::clone(&tables), resources.env());
        let encoder = options.encoder.clone();
        let of_leaves = LeafSessions { tables: of_leaves, env, encoder, served, depth };
        config.set_extension(Arc::new(RowFinder(Arc::new(of_leaves))));
        let state = SessionStateBuilder::new()
            // Before those of the engine, to which all brackets are of lists, and a list with fewer levels
            // than the other an element of it.
            .with_expr_planners(vec![Arc::new(functions::TextSlices), Arc::new(functions::NullLists)])
            .with_default_features()
            .with_config(config)
            .with_runtime_env(resources.env())
            .with_catalog_list(tables.catalogs(AskedColumns::default()))
            .with_table_factories(HashMap::new())
            .with_type_planner(Arc::new(dialect::ZonedTypes))
            .with_analyzer_rule(Arc::new(OuterTypes))
            // At the end, where types are known.
            .with_analyzer_rule(Arc::new(functions::TypedPlans))
            .with_analyzer_rule(Arc::new(BranchNames))
            .with_optimizer_rules(logical_rules())
            .with_physical_optimizer_rules(physical_rules(resources))
            .build();
        let mut context = SessionContext::new_with_state(state);
        // `position(x IN y)` and `extract(year FROM x)`: the engine has the functions, and leaves out what
        // reads their syntax without features that bring more than these.
        context.register_expr_planner(Arc::new(UnicodeFunctionPlanner))?;
        context.register_expr_planner(Arc::new(DatetimeFunctionPlanner))?;
        // Numbers, times and booleans are those of DuckDB.
        context.register_expr_planner(Arc::new(functions::Arithmetic))?;
        context.register_expr_planner(Arc::new(functions::CastSides))?;
        for (name, table) in table_functions::session_functions(&snapshot, options.encoder.as_ref()) {
            context.register_udtf(name, table);
        }
        functions::register(&context);
        context.register_relation_planner(Arc::new(FunctionPlanner))?;
        Ok(Self { tables, context, served })
    }

    /// The snapshot this session reads.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.tables.snapshot
    }

    /// The tables by the names of their schemas and their own, those of the datasets first.
    pub fn tables(&self) -> Vec<(&'static str, String)> {
        self.tables.all()
    }

    /// The columns of a table, as `SELECT *` gives them.
    pub async fn table_schema(&self, schema: &str, name: &str) -> Result<Option<SchemaRef>, SqlError> {
        let Some(schema) = self.context.catalog(CATALOG).and_then(|c| c.schema(schema)) else {
            return Ok(None);
        };
        Ok(schema.table(name).await?.map(|table| table.schema()))
    }

    /// Runs one read-only statement.
    ///
    /// Returns as soon as the first rows can be asked for; must be called inside a tokio runtime. Errors of
    /// the statement come from here, errors of reading come from the stream.
    pub async fn run(&self, sql: &str) -> Result<SqlResult, SqlError> {
        self.run_with(sql, &Parameters::default()).await
    }

    /// The same with values for the statement's parameters.
    pub async fn run_with(&self, sql: &str, values: &Parameters) -> Result<SqlResult, SqlError> {
        self.run_asked(sql, StatementOptions { values: values.clone(), ..StatementOptions::default() }).await
    }

    /// The same with all that can be said of it.
    pub async fn run_asked(&self, sql: &str, asked: StatementOptions) -> Result<SqlResult, SqlError> {
        let notes = Arc::new(RunNotes::default());
        let (mut state, budget) = self.state(asked.memory.as_ref())?;
        budget.ended_by(&asked.cancel);
        state.config_mut().set_extension(Arc::clone(&notes));
        if let Some(asker) = asked.asker {
            state.config_mut().set_extension(Arc::new(asker));
        }
        let context = with_memory(TaskContext::from(&state), asked.memory.as_ref());
        let planned = self.plan_with(state, sql, &asked.values, asked.window).await?;
        self.begin(planned, context, notes, asked.cancel)
    }

    /// Plans a statement to be run later, as long as this session is there. What functions make counts in
    /// this memory, that of the session without it.
    pub async fn prepare(
        &self,
        sql: &str,
        values: &Parameters,
        memory: Option<&SqlResources>,
    ) -> Result<PreparedStatement, SqlError> {
        let (state, budget) = self.state(memory)?;
        let lasting = lasting::is_lasting(sql, &state, &self.tables);
        let planned = self.plan_with(state, sql, values, None).await?;
        Ok(PreparedStatement::new(planned, lasting, budget.made()))
    }

    /// Runs a statement that this session has prepared, as [`SqlSession::run`] does; `None` where no plan is
    /// left for another run, and the statement is to be asked like any other. `cancel` as in
    /// [`StatementOptions`].
    pub fn run_prepared(
        &self,
        prepared: &PreparedStatement,
        memory: Option<&SqlResources>,
        cancel: Arc<Cancel>,
    ) -> Option<Result<SqlResult, SqlError>> {
        let planned = prepared.plan()?.map_err(SqlError::from);
        let notes = Arc::new(RunNotes::default());
        let context = with_memory(TaskContext::from(&self.context), memory);
        let mut config = context.session_config().clone();
        config.set_extension(Arc::clone(&notes));
        let context = context.with_session_config(config);
        Some(planned.and_then(|planned| self.begin(planned, context, notes, cancel)))
    }

    fn begin(
        &self,
        planned: Planned,
        context: TaskContext,
        notes: Arc<RunNotes>,
        cancel: Arc<Cancel>,
    ) -> Result<SqlResult, SqlError> {
        let context = planned.context(context);
        let Planned { plan, mixed, budget, .. } = planned;
        if let Some(budget) = budget {
            budget.ended_by(&cancel);
        }
        let (schema, tables, snapshot) = (plan.schema(), self.tables.names(), Arc::clone(self.snapshot()));
        let pool = Arc::clone(context.memory_pool());
        let translate = move |e| {
            let error = memory::explain(SqlError::from_datafusion(e, &tables), &pool);
            views::explain(MixedComparison::explain(&mixed, error), &snapshot)
        };
        let stream = execute_stream(plan, Arc::new(context))
            .map_err(&translate)?
            .map(move |batch| batch.map_err(&translate));
        // Operators may have tasks of their own, which end when they yield.
        let raises = CancelOnDrop(cancel);
        let stream = stream.inspect(move |_| {
            let _ = &raises;
        });
        Ok(SqlResult { schema, stream: Box::pin(PanicGuard::new(stream)), notes })
    }

    /// Plans a condition over the columns of a dataset. Places in errors are those of the condition.
    pub(crate) async fn check_matching(
        &self,
        dataset: &DatasetName,
        condition: &str,
        cancel: &Arc<Cancel>,
    ) -> Result<(), SqlError> {
        let sql = matching_sql(dataset, condition)?;
        let (state, budget) = self.state(None)?;
        budget.ended_by(cancel);
        let planned = self.plan_with(state, &sql, &Parameters::default(), None).await;
        planned.map(drop).map_err(|error| error.further_up(1))
    }

    /// The live rows of a dataset for which a condition over its columns is true; notes of rankings in it go
    /// to `notes`. Places in errors are those of the condition.
    pub(crate) async fn matching(
        &self,
        dataset: &DatasetName,
        condition: &str,
        notes: Option<&RunNotes>,
    ) -> Result<RowMask, SqlError> {
        let sql = matching_sql(dataset, condition)?;
        // Raised when this is dropped, also while an operator is at work that does not yield.
        let ends = CancelOnDrop(Arc::default());
        let asked = StatementOptions { cancel: Arc::clone(&ends.0), ..StatementOptions::default() };
        let found = self.run_asked(&sql, asked).await.map_err(|error| error.further_up(1))?;
        let noted = found.notes_handle();
        let mut batches = pump(found.stream);
        // A bit for each row: there may be many, in any order, and none of them counts as memory.
        let mut rows = RowMask::new();
        while let Some(batch) = batches.recv().await {
            let batch = batch.map_err(|error| error.further_up(1))?;
            rows.extend(batch.column(0).as_primitive::<UInt64Type>().values().iter().copied());
        }
        if let Some(notes) = notes {
            noted.get().influence.into_iter().for_each(|note| notes.add(note));
        }
        Ok(rows)
    }

    /// The columns that a statement with these values gives, without running it.
    pub async fn columns(&self, sql: &str, values: &Parameters) -> Result<SchemaRef, SqlError> {
        Ok(self.plan_with(self.state(None)?.0, sql, values, None).await?.plan.schema())
    }

    /// What a statement takes and gives, before its parameters have values.
    pub async fn describe(&self, sql: &str) -> Result<Description, SqlError> {
        let (state, tables) = (self.state(None)?.0, self.tables.names());
        let (sql, snapshot) = (sql.to_owned(), Arc::clone(self.snapshot()));
        self.apart(move |runtime| runtime.block_on(describe::describe(&state, &sql, &tables, &snapshot)))
            .await
    }

    /// Does work on a thread with a large stack. What its errors propose is worded for who asks.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Handle) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let served = self.served;
        let done = apart(move |runtime| match served {
            true => Remedy::worded(words_for_clients, || work(runtime)),
            false => work(runtime),
        });
        done.await.map_err(|error| views::explain(error, self.snapshot()))
    }

    /// What one statement is planned with: functions that have limits for it.
    fn state(&self, memory: Option<&SqlResources>) -> Result<(SessionState, Arc<Budget>), SqlError> {
        let mut state = self.context.state();
        let env = memory.map_or_else(|| Arc::clone(state.runtime_env()), SqlResources::env);
        let budget = bounds::limit(&mut state, &env.memory_pool)?;
        state.config_mut().set_extension(env);
        Ok((state, budget))
    }

    async fn plan_with(
        &self,
        state: SessionState,
        sql: &str,
        values: &Parameters,
        window: Option<RowWindow>,
    ) -> Result<Planned, SqlError> {
        let (sql, values, tables) = (sql.to_owned(), values.clone(), self.tables.names());
        self.apart(move |runtime| {
            let mut statement = dialect::parse(&sql)?;
            let names = parameters::names(&mut statement)?;
            let headings = Headings::of(&statement);
            parameters::bind(&mut statement, &names, &values)?;
            runtime.block_on(plan(&state, statement, &headings, window.as_ref(), &tables))
        })
        .await
    }
}

/// The statement that finds the rows for which a condition is true, with the condition from its second line
/// on.
fn matching_sql(dataset: &DatasetName, condition: &str) -> Result<String, SqlError> {
    dialect::check_condition(condition)?;
    Ok(format!("SELECT \"row\" FROM \"{dataset}\" {}", dialect::where_clause(condition)))
}

/// What a session for the conditions of leaves is made from. It sees the tables of the one around it, except
/// those of the program, which are of who asks.
#[derive(Clone)]
struct LeafSessions {
    tables: Arc<Tables>,
    env: Arc<RuntimeEnv>,
    encoder: Option<Arc<dyn Encoder>>,
    served: bool,
    depth: usize,
}

impl LeafSessions {
    fn session(&self, work: FindWork) -> Result<SqlSession, SqlError> {
        let FindWork { memory, threads, .. } = work;
        let env = RuntimeEnv { memory_pool: memory, ..RuntimeEnv::clone(&self.env) };
        if self.depth >= MOST_NESTED {
            let why = format!("conditions are nested in one another more than {MOST_NESTED} times");
            return Err(SqlError::refused(why));
        }
        let Tables { snapshot, own, .. } = &*self.tables;
        let (encoder, own) = (self.encoder.clone(), own.clone());
        let options = SqlOptions { threads, encoder, own, ..SqlOptions::default() };
        let around = Around { served: self.served, depth: self.depth + 1 };
        SqlSession::within(Arc::clone(snapshot), options, &SqlResources::of(env), (Vec::new(), around))
    }
}

impl FindRows for LeafSessions {
    fn check(
        &self,
        dataset: DatasetName,
        condition: String,
        work: &FindWork,
        cancel: &Arc<Cancel>,
    ) -> BoxFuture<'static, Result<(), SqlError>> {
        let (own, work, cancel) = (self.clone(), work.clone(), Arc::clone(cancel));
        Box::pin(async move { own.session(work)?.check_matching(&dataset, &condition, &cancel).await })
    }

    fn find(
        &self,
        dataset: DatasetName,
        condition: String,
        work: &FindWork,
    ) -> BoxFuture<'static, Result<RowMask, SqlError>> {
        let (own, work) = (self.clone(), work.clone());
        Box::pin(async move {
            let notes = work.notes.clone();
            own.session(work)?.matching(&dataset, &condition, notes.as_deref()).await
        })
    }
}

/// The sessions around one.
struct Around {
    /// Whether others ask than the session's owner.
    served: bool,
    depth: usize,
}

/// How a client of a server does what a message proposes: options are parts of its request, and commands are
/// for who may run them.
fn words_for_clients(remedy: &Remedy<'_>) -> String {
    match *remedy {
        Remedy::Option("param", _) => "the statement: send one value for each parameter".to_owned(),
        Remedy::Option(..) => remedy.plain(),
        Remedy::OwnTable => "an upload".to_owned(),
        _ => remedy.of_front_end(),
    }
}

/// The engine notes when a session begins: before 1970 it panics, and where the nanoseconds since then do not
/// fit an `i64`, its `now()` is NULL.
fn check_clock(now: SystemTime) -> Result<(), SqlError> {
    let since = now.duration_since(UNIX_EPOCH).map(|since| i64::try_from(since.as_nanos()));
    let shown = match since {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(_)) => "after 2262-04-11",
        Err(_) => "before 1970",
    };
    let why = format!("the clock shows a time {shown}");
    Err(SqlError::new(SqlErrorKind::Failed, why).hint("set the clock of this computer, and ask again"))
}

fn with_memory(context: TaskContext, memory: Option<&SqlResources>) -> TaskContext {
    match memory {
        Some(memory) => context.with_runtime(memory.env()),
        None => context,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_the_engine_cannot_note_is_an_error_that_says_so() {
        let last = UNIX_EPOCH + Duration::from_nanos(i64::MAX.unsigned_abs());
        for noted in [UNIX_EPOCH, SystemTime::now(), last] {
            check_clock(noted).unwrap();
        }
        for (now, shown) in [
            (UNIX_EPOCH - Duration::from_secs(1), "before 1970"),
            (last + Duration::from_nanos(1), "after 2262-04-11"),
        ] {
            let error = check_clock(now).unwrap_err();
            assert!(error.to_string().contains(&format!("the clock shows a time {shown}")), "{error}");
        }
    }
}
