//! Limits on the values that functions make: no statement takes memory outside the limit of its session.
//!
//! The engine's functions allocate what their arguments ask for, while a statement is planned (constants are
//! folded then) and while it runs. `repeat('x', 1e9)` is a statement of twenty bytes.
//!
//! Invariants
//! - a call is refused by what its arguments would make, before anything is allocated for it, or by how much
//!   it would compare: constants are computed while a statement is planned, which nothing stops
//! - a call that may take long is computed in runs of rows, and ends between two of them when its statement
//!   is stopped; meanwhile the other tasks of its worker go on
//! - the constants of one statement have at most [`MAX_CONSTANTS`] bytes in all: a plan holds them several
//!   times
//! - large arrays that functions made count against the memory of the session for as long as anything holds
//!   them
//! - the elements of lists that become rows take the memory of the session before they do (`elements.rs`)
//! - a long constant is only where the engine does not repeat it for each row, or where its rows are counted
//! - what joins, `unnest`, subqueries in place of values and windows repeat is in
//!   small batches (`repeated.rs`)
//! - expressions that the rules of the engine repeat are counted before (`substituted.rs`, `written.rs`)

mod charge;
mod elements;
mod function;
mod growth;
mod join;
mod literal;
mod plan;
mod repeated;
mod sizes;
mod substituted;
mod windows;
mod written;

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, HigherOrderUDF};
use gstore_core::Cancel;

use super::error::SqlError;
use growth::Growth;

pub(super) use literal::{check, count_constants};
pub(super) use plan::{check_part_count, rewrite};
pub(super) use repeated::{SessionBounds, limit_repetition, windows_of};
pub(super) use substituted::PredicateLimit;
pub(super) use windows::count_windows;
pub(super) use written::written_out;

/// Most bytes of one value that a function makes.
pub(super) const MAX_VALUE: u64 = 64 << 20;
/// Most bytes of the constants that the functions of one statement make.
pub(super) const MAX_CONSTANTS: u64 = 16 << 20;
/// Most bytes of one of them, unless it is a list of numbers.
const MAX_CONSTANT: u64 = 4 << 20;
/// Most bytes that constants take when they are repeated for each row of a batch.
const MAX_REPEATED: u64 = 256 << 20;

/// Most comparisons of one call for one row, and of all that a plan is made with.
const MAX_PAIRS: u64 = 1 << 28;
/// Comparisons after which other statements are to have their turn: some 3 ms.
const TURN_PAIRS: u64 = 1 << 20;

/// What the functions of one statement may still make.
#[derive(Debug)]
pub(super) struct Budget {
    pool: Arc<dyn MemoryPool>,
    /// Bytes of the constants made so far.
    constants: AtomicU64,
    /// Comparisons of constants made so far.
    pairs: AtomicU64,
    /// Comparisons of rows so far.
    compared: AtomicU64,
    planned: AtomicBool,
    /// Whether the plan has functions that look at `cancel`.
    takes_long: AtomicBool,
    /// Raised when the rows of the statement are not wanted any more; unset until it runs.
    cancel: OnceLock<Arc<Cancel>>,
}

// Which statement a function belongs to makes no other function of it.
impl PartialEq for Budget {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Budget {}

impl Hash for Budget {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Budget {
    /// Takes note that the statement is planned: a constant that is computed from now
    /// on is not kept by the plan.
    pub(super) fn planned(&self) {
        self.planned.store(true, Ordering::Relaxed);
    }

    /// The statement ends when this flag is raised. It runs once: the first flag counts.
    pub(super) fn ended_by(&self, cancel: &Arc<Cancel>) {
        let _ = self.cancel.set(Arc::clone(cancel));
    }

    /// The flag that ends the statement, if it runs.
    pub(super) fn cancel(&self) -> Option<Arc<Cancel>> {
        self.cancel.get().cloned()
    }

    /// Whether the plan belongs to one run, whose end its functions look for.
    pub(super) fn takes_long(&self) -> bool {
        self.takes_long.load(Ordering::Relaxed)
    }

    /// Takes note of a function of the plan.
    fn has(&self, growth: Growth) {
        if growth.takes_long() {
            self.takes_long.store(true, Ordering::Relaxed);
        }
    }

    /// An error once the statement is stopped.
    fn check(&self) -> DfResult<()> {
        match self.cancel.get().is_some_and(|cancel| cancel.is_raised()) {
            true => Err(SqlError::cancelled().into()),
            false => Ok(()),
        }
    }

    /// Whether this call, which compares so many pairs, is one in which other statements are to have their
    /// turn. Those of small batches are counted together, since no operator may yield between these. Of a
    /// long stretch of calls and not of one each time: a short one is over before another thread has come.
    fn gives_way(&self, pairs: u64) -> bool {
        let before = self.compared.fetch_add(pairs, Ordering::Relaxed);
        pairs >= TURN_PAIRS || (before / TURN_PAIRS) % 2 == 1
    }

    /// Bytes of the constants that the plan has.
    pub(super) fn made(&self) -> u64 {
        self.constants.load(Ordering::Relaxed)
    }

    /// Refuses a constant that is too large, alone or with those made before.
    fn constant(&self, function: &str, growth: Growth, bytes: u64) -> DfResult<()> {
        // A list of numbers may be meant as rows, by `unnest`.
        let most = if growth == Growth::Range { MAX_CONSTANTS } else { MAX_CONSTANT };
        // Brackets and parameters that are lists are calls of it, too.
        let makes = match function {
            "make_array" => "a list would be".to_owned(),
            other => format!("{other}() would make"),
        };
        if bytes > most {
            let why = format!("{makes} a constant of up to {bytes} bytes, more than {} MiB", most >> 20);
            let refused = SqlError::refused(why);
            return Err(match growth {
                Growth::Range => refused.hint("write FROM generate_series(..) for that many rows").into(),
                _ => refused.into(),
            });
        }
        let made = self.constants.load(Ordering::Relaxed).saturating_add(bytes);
        if made > MAX_CONSTANTS {
            let why = format!(
                "{makes} a constant of up to {bytes} bytes; those of a statement have at most {} MiB together",
                MAX_CONSTANTS >> 20
            );
            return Err(SqlError::refused(why).into());
        }
        if !self.planned.load(Ordering::Relaxed) {
            self.constants.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The limit in bytes.
    pub(super) fn memory(&self) -> u64 {
        match self.pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes as u64,
            _ => u64::MAX,
        }
    }

    /// Refuses a call that compares too much for one row, alone or with those that the plan was made with.
    fn compare(&self, function: &str, pairs: u64, args: &[ColumnarValue]) -> DfResult<()> {
        let constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let before = match constant && !self.planned.load(Ordering::Relaxed) {
            true => self.pairs.fetch_add(pairs.min(MAX_PAIRS), Ordering::Relaxed),
            false => 0,
        };
        if pairs > MAX_PAIRS || before.saturating_add(pairs) > MAX_PAIRS {
            let why = format!(
                "{function}() would compare {pairs} pairs for one row, and those of constants together with it {}; at \
                 most {MAX_PAIRS} are allowed",
                before.saturating_add(pairs)
            );
            return Err(SqlError::refused(why).into());
        }
        Ok(())
    }

    /// Memory of the session for what a function is about to make.
    fn reserve(&self, bytes: u64) -> DfResult<MemoryReservation> {
        let reservation = MemoryConsumer::new("values of functions").register(&self.pool);
        self.resize(&reservation, bytes)?;
        Ok(reservation)
    }

    /// Takes a little more than there is: a sort under way may hold all, and spills when it is asked for
    /// more, which a function cannot make it do.
    fn resize(&self, reservation: &MemoryReservation, bytes: u64) -> DfResult<()> {
        let left = match self.pool.memory_limit() {
            MemoryLimit::Finite(limit) => self.pool.reserved() <= limit.saturating_add(limit / 4),
            _ => true,
        };
        let size = usize::try_from(bytes).unwrap_or(usize::MAX);
        match left && bytes <= MAX_VALUE {
            true => {
                reservation.resize(size);
                Ok(())
            }
            false => reservation.try_resize(size),
        }
    }
}

/// Whether a function of this name may make more of constants than they are together.
pub(super) fn enlarges(function: &str) -> bool {
    use Growth as G;
    let is_sum = |growth: Growth| matches!(growth, G::Sum(1) | G::Joined | G::Text | G::Document | G::Pairs);
    growth::of(function).is_some_and(|growth| !is_sum(growth))
}

/// Puts limits on the functions of a statement's own state; what they make counts in the pool.
pub(super) fn limit(state: &mut SessionState, pool: &Arc<dyn MemoryPool>) -> DfResult<Arc<Budget>> {
    let budget = Arc::new(Budget {
        pool: Arc::clone(pool),
        constants: AtomicU64::new(0),
        pairs: AtomicU64::new(0),
        compared: AtomicU64::new(0),
        planned: AtomicBool::new(false),
        takes_long: AtomicBool::new(false),
        cancel: OnceLock::new(),
    });
    for (name, growth) in growth::FUNCTIONS {
        if let Some(udf) = state.scalar_functions().get(*name).cloned() {
            state.register_udf(Arc::new(function::limit_function(udf, *growth, &budget)))?;
        }
    }
    let own = |(name, function): &(&String, &Arc<HigherOrderUDF>)| name.as_str() == function.name();
    let of_elements = state.higher_order_functions().iter().filter(own);
    for function in of_elements.map(|(_, function)| Arc::clone(function)).collect::<Vec<_>>() {
        let limited = elements::limit_elements(function, &budget);
        state.register_higher_order_function(Arc::new(limited))?;
    }
    state.config_mut().set_extension(Arc::clone(&budget));
    Ok(budget)
}
