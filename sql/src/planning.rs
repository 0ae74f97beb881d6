//! Planning of statements: from the text to a plan that may run, parsed, checked and limited.
//!
//! Planning recurses over the statement, so it has a thread with a large stack.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SQLOptions;
use datafusion::sql::parser::Statement;
use futures::future::BoxFuture;
use gstore_functions as functions;

use super::blocking::unless_cancelled;
use super::bounds::{self, Budget, SessionBounds};
use super::cases;
use super::catalog::Tables;
use super::common_types;
use super::conditions;
use super::cooperative::cooperative;
use super::copies;
use super::correlated::CorrelatedSubqueries;
use super::dialect::{self, Headings, PivotValues, Planner};
use super::elements;
use super::embedded;
use super::equal_nulls;
use super::error::{SqlError, SqlErrorKind};
use super::exists;
use super::expanded;
use super::guard;
use super::key_names::with_key_names;
use super::lasting;
use super::lateral;
use super::leaf::LeafOptions;
use super::memory;
use super::mixed::MixedComparison;
use super::no_keys;
use super::no_row;
use super::not_in;
use super::notes::RunNotes;
use super::one_row;
use super::ordinals;
use super::pull_up;
use super::quotes::AmbiguousNames;
use super::set_keys;
use super::shows;
use super::stable::stable_sorts;
use super::translate::with_fields;
use super::types;
use super::views;
use super::virtuals::NamedVirtuals;
use super::walk::inner;
use super::window::RowWindow;

/// Planning a statement of [`guard::MAX_OPERATORS`] operators stays far below this, also without
/// optimisation.
const PLANNING_STACK: usize = 256 << 20;

/// What `work` gives on a thread with a large stack.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce(&tokio::runtime::Handle) -> Result<T, SqlError> + Send + 'static,
) -> Result<T, SqlError> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("gstore-plan".into())
        .stack_size(PLANNING_STACK)
        .spawn(move || {
            // The receiver is gone when the caller was cancelled; then the plan is not wanted.
            let _ = send.send(work(&runtime));
        })
        .map_err(|e| SqlError::new(SqlErrorKind::Failed, format!("no thread for planning: {e}")))?;
    receive.await.map_err(|_| SqlError::new(SqlErrorKind::Failed, "planning the statement failed".into()))?
}

/// A plan that may run.
pub(super) struct Planned {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// Rows of a batch, if they are fewer than the session's.
    pub(super) rows: Option<usize>,
    /// What may be wrong with texts that are to be numbers.
    pub(super) mixed: Vec<MixedComparison>,
    /// What its functions look at; none of a plan that may run several times at once.
    pub(super) budget: Option<Arc<Budget>>,
}

impl Planned {
    /// The context to run it in: with smaller batches if it needs them.
    pub(super) fn context(&self, context: TaskContext) -> TaskContext {
        match self.rows {
            Some(rows) => {
                let config = context.session_config().clone().with_batch_size(rows);
                context.with_session_config(config)
            }
            None => context,
        }
    }
}

/// Plans a parsed statement whose parameters have values; its headings are those that it had before.
pub(super) async fn plan(
    state: &SessionState,
    mut statement: Statement,
    headings: &Headings,
    window: Option<&RowWindow>,
    tables: &[String],
) -> Result<Planned, SqlError> {
    let correlated = CorrelatedSubqueries::of(&statement);
    let names = named(&mut statement)?;
    let decimals = MixedComparison::decimals(&mut statement);
    let meant = meant(state, statement, &names, tables).await.map_err(|error| names.of_plan(error))?;
    let (logical, mut statement, is_respelled) = meant;
    let checked = conditions::check(state, &logical, &mut statement).await;
    checked.map_err(|error| names.of_plan(error))?;
    let headings = match is_respelled {
        true => Cow::Owned(headings.in_letters_of(&Headings::of(&statement))),
        false => Cow::Borrowed(headings),
    };
    let logical = match window {
        Some(window) => window.ordered(logical)?,
        None => logical,
    };
    let correlated = correlated.planned(&logical);
    let mixed: Vec<MixedComparison> = MixedComparison::of(&logical).into_iter().chain(decimals).collect();
    let explain = |error| names.of_plan(correlated.explain(MixedComparison::explain(&mixed, error)));
    let translate = |e| explain(SqlError::from_datafusion(e, tables));
    pull_up::check(&logical).map_err(translate)?;
    let logical = pull_up::named_apart(logical).map_err(translate)?;
    bounds::written_out(&logical).map_err(translate)?;
    let logical = state.optimize(&logical).map_err(translate)?;
    // EXPLAIN has what a rule refuses as a line of the plan.
    if let LogicalPlan::Explain(explain) = &logical
        && !explain.logical_optimization_succeeded
    {
        state.optimize(&explain.plan).map_err(translate)?;
    }
    let logical = equal_nulls::with_keys(logical, state).map_err(translate)?;
    bounds::check(&logical).map_err(translate)?;
    let logical = with_key_names(logical).and_then(functions::with_ranges).map_err(translate)?;
    // It has an error of planning as one, too.
    if let LogicalPlan::Explain(explain) = &logical {
        let explained = state.query_planner().create_physical_plan(&explain.plan, state).await;
        explained.map_err(translate)?;
    }
    let plan = match window {
        Some(window) => window.planned(&logical, state).await,
        None => state.query_planner().create_physical_plan(&logical, state).await,
    };
    let plan = plan.map_err(translate)?;
    elements::check_places(&plan).map_err(translate)?;
    let asking = asking(state);
    let (plan, rows) = bounds::count_constants(plan)
        .and_then(|plan| stable_sorts(plan, window.is_some()))
        .and_then(bounds::count_windows)
        .and_then(|plan| bounds::limit_repetition(plan, asking))
        .map_err(translate)?;
    let plan = cooperative(plan).and_then(|plan| dialect::renamed(plan, &headings)).map_err(translate)?;
    let budget = state.config().get_extension::<Budget>();
    if let Some(budget) = &budget {
        budget.planned();
    }
    Ok(Planned { plan, rows, mixed, budget })
}

/// How a PIVOT is written that is planned without its rows.
const NAMED: &str = "name the values that become columns: PIVOT t ON x IN ('a', 'b')";

/// Longest time of a statement that another one of a server is planned with: nothing ends it when the client
/// goes away.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// The rows of a statement that another one is planned with. Boxed, since planning comes here.
///
/// On a server the columns of a result are told before it runs, so they must not depend on when that is.
fn rows_of<'a>(
    state: &'a SessionState,
    statement: Statement,
    tables: &'a [String],
) -> BoxFuture<'a, Result<Vec<RecordBatch>, SqlError>> {
    let served = asking(state).served;
    let all = state.config().get_extension::<Tables>().filter(|_| served);
    let passes = all.is_some_and(|all| !lasting::is_lasting(&statement.to_string(), state, &all));
    let mut state = state.clone();
    let memory = state.config().get_extension::<RuntimeEnv>();
    let memory = memory.unwrap_or_else(|| Arc::clone(state.runtime_env()));
    Box::pin(async move {
        if passes {
            let why = "PIVOT without IN is of rows that may be others when it runs";
            return Err(SqlError::invalid(why.to_owned()).hint(NAMED));
        }
        // It has limits and notes of its own, apart from the statement that it is for, and ends with that.
        let cancel = state.config().get_extension::<Budget>().and_then(|budget| budget.cancel());
        let cancel = cancel.unwrap_or_default();
        bounds::limit(&mut state, &memory.memory_pool)?.ended_by(&cancel);
        state.config_mut().set_extension(Arc::new(RunNotes::default()));
        let planned = plan(&state, statement, &Headings::default(), None, tables).await?;
        let pool = Arc::clone(&memory.memory_pool);
        let context = planned.context(TaskContext::from(&state).with_runtime(memory));
        let Planned { plan, mixed, .. } = planned;
        // Not on this thread, which has to see when the time is over, or the statement.
        let rows = SpawnedTask::spawn(collect(plan, Arc::new(context)));
        let in_time = async {
            if !served {
                return Ok(rows.await);
            }
            tokio::time::timeout(LONGEST_ANSWER, rows).await.map_err(|_| {
                cancel.raise();
                let seconds = LONGEST_ANSWER.as_secs();
                SqlError::refused(format!("the values of a PIVOT were not found within {seconds} s"))
                    .hint(NAMED)
            })
        };
        // This thread plans and does nothing else: it may wait here, and gives way to no other work.
        let rows = unless_cancelled(&cancel, tokio::task::unconstrained(in_time))??;
        let rows = rows.unwrap_or_else(|error| Err(DataFusionError::ExecutionJoin(Box::new(error))));
        rows.map_err(|e| {
            memory::explain(MixedComparison::explain(&mixed, SqlError::from_datafusion(e, tables)), &pool)
        })
    })
}

fn asking(state: &SessionState) -> SessionBounds {
    let served = state.config().get_extension::<LeafOptions>().is_some_and(|limits| limits.served);
    let memory = state.config().get_extension::<Budget>().map_or(u64::MAX, |budget| budget.memory());
    SessionBounds { served, memory }
}

pub(super) async fn logical(
    state: &SessionState,
    mut statement: Statement,
    tables: &[String],
) -> Result<LogicalPlan, SqlError> {
    let names = named(&mut statement)?;
    Ok(meant(state, statement, &names, tables).await?.0)
}

/// The names of a statement before anything is put into other words; in the place of SHOW stands its query.
fn named(statement: &mut Statement) -> Result<AmbiguousNames, SqlError> {
    if let Some(query) = shows::query_of(statement) {
        *statement = dialect::parse(&query)?;
    }
    Ok(AmbiguousNames::of(statement))
}

/// Most names of a statement that have other letters than their columns.
const MOST_RESPELLED: usize = 200;

/// What a statement with these names means; the statement with its views, and whether names in it have other
/// letters now.
async fn meant(
    state: &SessionState,
    mut statement: Statement,
    names: &AmbiguousNames,
    tables: &[String],
) -> Result<(LogicalPlan, Statement, bool), SqlError> {
    // Before names are respelled, since those of views may need it too.
    if let Some(all) = state.config().get_extension::<Tables>() {
        views::expand(&mut statement, &all.snapshot)?;
    }
    if let Some(sql) = inner(&mut statement) {
        dialect::rename_hiding(sql);
    }
    let (mut respelled, mut values) = (0, PivotValues::default());
    // What was said of the name that has other letters now.
    let mut before: Option<SqlError> = None;
    loop {
        let written = meant_as_written(state, statement.clone(), names, &mut values, tables).await;
        let is_respelled = respelled < MOST_RESPELLED
            && (written.as_ref().is_err_and(|error| cases::respell(&mut statement, error))
                || looked_up(state, &mut statement, &written, names, &mut values, tables).await);
        if is_respelled {
            respelled += 1;
            before = written.err();
            continue;
        }
        match written {
            Ok(logical) => return Ok((logical, statement, respelled > 0)),
            Err(error) => {
                let is_same = |before: &SqlError| before.exact_name() == error.missing_column();
                let error = before.filter(is_same).unwrap_or(error);
                for of in dialect::structs(&mut statement, &error) {
                    if let Ok(plan) = meant_as_written(state, of, names, &mut values, tables).await
                        && let Some(field) = plan.schema().fields().first()
                        && let DataType::Struct(fields) = field.data_type()
                    {
                        return Err(with_fields(error, fields));
                    }
                }
                return Err(error);
            }
        }
    }
}

/// Puts the name of a column in the place of one in other letters: of the missing column, which a table
/// around its subquery has, or of one in GROUP BY that the SELECT gives to something else. False where there
/// is none.
async fn looked_up(
    state: &SessionState,
    statement: &mut Statement,
    written: &Result<LogicalPlan, SqlError>,
    names: &AmbiguousNames,
    values: &mut PivotValues,
    tables: &[String],
) -> bool {
    let mut queries = match written {
        Err(error) if error.missing_column().is_some() => {
            error.position().map(|place| dialect::columns_around(statement, place)).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let keys = dialect::given_keys(statement, |_| true).into_iter();
    let keys =
        keys.filter(|(name, _)| written.as_ref().map_or(true, |plan| has_in_other_letters(plan, name)));
    queries.extend(keys.map(|(_, query)| query));
    for query in queries {
        if let Err(error) = meant_as_written(state, query, names, values, tables).await
            && error.position().is_some()
            && cases::respell(statement, &error)
        {
            return true;
        }
    }
    false
}

/// Whether a plan has a column whose name differs from this one in the case of letters.
fn has_in_other_letters(plan: &LogicalPlan, name: &str) -> bool {
    let is_alike = |other: &String| other != name && other.eq_ignore_ascii_case(name);
    let mut is_found = false;
    let _ = plan.apply_with_subqueries(|node| {
        is_found = is_found || node.schema().fields().iter().any(|field| is_alike(field.name()));
        Ok(if is_found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    is_found
}

/// What a statement means that has all names as their columns have them.
async fn meant_as_written(
    state: &SessionState,
    mut statement: Statement,
    names: &AmbiguousNames,
    values: &mut PivotValues,
    tables: &[String],
) -> Result<LogicalPlan, SqlError> {
    let translate = |e| SqlError::from_datafusion(e, tables);
    let all = state.config().get_extension::<Tables>();
    let served = asking(state).served;
    let answer = |probe| rows_of(state, probe, tables);
    dialect::expand_pivots(&mut statement, values, &answer).await?;
    if let Some(sql) = inner(&mut statement) {
        expanded::check(sql)?;
    }
    dialect::head_columns(&mut statement);
    dialect::resolve(&mut statement)?;
    let asked = NamedVirtuals::of(&mut statement);
    let state = match all.filter(|_| !asked.is_empty()) {
        Some(all) => Cow::Owned(with_columns(state, &all, asked)),
        None => Cow::Borrowed(state),
    };
    let planner = Planner { state: &state, tables };
    dialect::expand_columns(planner, &mut statement).await?;
    dialect::expand_summary(planner, &mut statement).await?;
    let keys = dialect::merge(planner, &mut statement).await;
    let keys = keys.map_err(|error| names.explain(error, &state))?;
    ordinals::resolve(&mut statement)?;
    dialect::check_given_keys(planner, &mut statement).await?;
    let is_described = types::take_described(&mut statement);
    let logical = dialect::planned(planner, statement).await;
    let logical = logical.and_then(|plan| dialect::check_names(&plan, planner).map(|()| plan));
    let logical = logical.map_err(|error| keys.explain(names.explain(error, &state)))?;
    let logical = if is_described { types::described(logical) } else { Ok(logical) };
    let logical = logical.and_then(types::with_sql_types).map_err(translate)?;
    let logical = lateral::resolve(logical).map_err(translate)?;
    let logical = no_keys::resolve(logical).map_err(translate)?;
    // Subqueries in keys of sets are values of a SELECT from here on.
    let logical = set_keys::resolve(logical).map_err(translate)?;
    let logical = one_row::resolve(logical).map_err(translate)?;
    let logical = no_row::resolve(logical).map_err(translate)?;
    let logical = not_in::resolve(logical).map_err(translate)?;
    let logical = exists::resolve(logical).map_err(translate)?;
    // Before CASE has casts, through which JSON is not followed.
    let logical = embedded::embed(logical).map_err(translate)?;
    let logical = common_types::resolve(logical).map_err(translate)?;
    let logical = functions::as_written(logical, state.config_options()).map_err(translate)?;
    let logical = copies::count_copies(logical).map_err(translate)?;
    let logical = match state.config().get_extension::<Budget>() {
        Some(budget) => bounds::rewrite(logical, &state, &budget).map_err(translate)?,
        None => logical,
    };
    elements::check(&logical).map_err(translate)?;
    if logical.schema().fields().is_empty() {
        return Err(SqlError::invalid("the statement selects no column".into())
            .hint("write SELECT * FROM .. for all of them"));
    }
    if served && guard::reads_settings(&logical) {
        return Err(SqlError::refused("the settings of a server are not shown".into()));
    }
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&logical)
        .map_err(translate)?;
    Ok(logical)
}

fn with_columns(state: &SessionState, tables: &Tables, asked: NamedVirtuals) -> SessionState {
    let mut state = state.clone();
    state.register_catalog_list(tables.catalogs(asked));
    state.config_mut().set_extension(Arc::new(asked));
    state
}
