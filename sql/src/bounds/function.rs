//! A function of the engine with a limit on what it makes.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use gstore_functions::from_engine;

use super::charge::with_reservation;
use super::growth::{Growth, pairs};
use super::{Budget, MAX_REPEATED, MAX_VALUE};
use crate::error::SqlError;

/// Bytes that are made at a time, by the estimate, which may be far above what is made.
const PIECE: u64 = MAX_VALUE;
/// Bytes of a batch that count for nothing: the operators count what they keep.
const ORDINARY: u64 = 4 << 20;

/// A function that refuses to make too much.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct BoundedFunction {
    engine: Arc<ScalarUDF>,
    growth: Growth,
    budget: Arc<Budget>,
}

/// The function with the limits of a statement.
pub(super) fn limit_function(engine: Arc<ScalarUDF>, growth: Growth, budget: &Arc<Budget>) -> ScalarUDF {
    ScalarUDF::from(BoundedFunction { engine, growth, budget: Arc::clone(budget) })
}

// Not handed on: `simplify`, which may put the engine's own function in place of this one.
impl ScalarUDFImpl for BoundedFunction {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        schema_name(args: &[Expr]) -> DfResult<String>;
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        return_field_from_args(args: ReturnFieldArgs) -> DfResult<FieldRef>;
        is_strict() -> bool;
        coerce_types(types: &[DataType]) -> DfResult<Vec<DataType>>;
        documentation() -> Option<&Documentation>;
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if self.growth == Growth::Pairs {
            self.budget.compare(self.name(), pairs(&args.args, args.number_rows)?, &args.args)?;
            return self.engine.invoke_with_args(args);
        }
        if args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
            let bytes = self.growth.bytes(&args.args, 1)?.into_iter().max().unwrap_or(0);
            self.budget.constant(self.name(), self.growth, bytes)?;
            if bytes.saturating_mul(args.number_rows as u64) > MAX_REPEATED {
                let why = format!("{}() would make {bytes} bytes for each row", self.name());
                return Err(SqlError::refused(why).into());
            }
            return self.engine.invoke_with_args(args);
        }
        let mut bytes = self.growth.bytes(&args.args, args.number_rows)?;
        bytes.resize(args.number_rows, 0);
        if let Some(most) = bytes.iter().max().filter(|most| **most > MAX_VALUE) {
            let (name, limit) = (self.name(), MAX_VALUE >> 20);
            let why = format!("{name}() would make a value of up to {most} bytes, more than {limit} MiB");
            return Err(SqlError::refused(why).into());
        }
        let total = bytes.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
        if total <= ORDINARY {
            return self.engine.invoke_with_args(args);
        }
        let mut made = Vec::new();
        for piece in pieces(&bytes) {
            let expected: u64 = piece.clone().filter_map(|row| bytes.get(row)).sum();
            made.push(self.piece(&args, piece, expected)?);
        }
        match <[ArrayRef; 1]>::try_from(made) {
            Ok([only]) => Ok(ColumnarValue::Array(only)),
            Err(parts) => {
                let all: u64 = parts.iter().map(|part| part.get_array_memory_size() as u64).sum();
                let memory = self.budget.reserve(all)?;
                let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
                Ok(ColumnarValue::Array(with_reservation(&arrow_select::concat::concat(&parts)?, memory)?))
            }
        }
    }
}

impl BoundedFunction {
    /// What the function makes of some rows.
    fn piece(&self, args: &ScalarFunctionArgs, rows: Range<usize>, expected: u64) -> DfResult<ArrayRef> {
        let memory = self.budget.reserve(expected)?;
        let (mut args, number) = (args.clone(), args.number_rows);
        args.number_rows = rows.len();
        for arg in &mut args.args {
            if let ColumnarValue::Array(array) = arg {
                *array = array.slice(rows.start, rows.len());
            }
        }
        let made = self.engine.invoke_with_args(args)?.into_array(rows.len())?;
        let size = made.get_array_memory_size() as u64;
        if rows.len() == number && size <= ORDINARY {
            return Ok(made);
        }
        self.budget.resize(&memory, size)?;
        Ok(with_reservation(&made, memory)?)
    }
}

/// The rows in runs of at most [`PIECE`] bytes, at least one.
fn pieces(bytes: &[u64]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut start, mut held) = (0, 0u64);
    for (row, bytes) in bytes.iter().enumerate() {
        if row > start && held.saturating_add(*bytes) > PIECE {
            runs.push(start..row);
            (start, held) = (row, 0);
        }
        held = held.saturating_add(*bytes);
    }
    runs.push(start..bytes.len());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_made_in_runs_that_are_not_too_large() {
        assert_eq!(pieces(&[]), [0..0]);
        assert_eq!(pieces(&[1, 2, 3]), [0..3]);
        assert_eq!(pieces(&[PIECE, 1, PIECE - 1, 1]), [0..1, 1..3, 3..4]);
    }
}
