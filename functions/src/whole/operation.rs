//! Operations of whole numbers, one pair of values or column at a time.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Decimal256Type, Float64Type};
use arrow_array::{ArrayRef, Int64Array};
use arrow_schema::{ArrowError, DataType};
use datafusion::arrow::array::Datum;
use datafusion::arrow::compute::kernels::{arity, numeric};
use datafusion::arrow::datatypes::i256;
use datafusion::logical_expr::Operator;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    /// To a whole number, cut off towards zero.
    Divide,
    Modulo,
}

impl Operation {
    pub(super) fn operator(self) -> Operator {
        match self {
            Self::Add => Operator::Plus,
            Self::Subtract => Operator::Minus,
            Self::Multiply => Operator::Multiply,
            Self::Divide => Operator::Divide,
            Self::Modulo => Operator::Modulo,
        }
    }

    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "//",
            Self::Modulo => "%",
        }
    }

    pub(super) fn compute(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Add => numeric::add(left, right),
            Self::Subtract => numeric::sub(left, right),
            Self::Multiply => numeric::mul(left, right),
            Self::Divide => numeric::div(left, right),
            Self::Modulo => numeric::rem(left, right),
        }
    }

    /// The result for one pair of values; `None` if it is too large, or a division by 0.
    fn of(self, left: i128, right: i128) -> Option<i64> {
        let result = match self {
            Self::Add => left.checked_add(right),
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide => left.checked_div(right),
            Self::Modulo => left.checked_rem(right),
        };
        i64::try_from(result?).ok()
    }
}

/// The results for two columns of one type and length.
pub(super) type Computation = fn(Operation, &ArrayRef, &ArrayRef) -> Result<Int64Array, ArrowError>;

/// Whole numbers of which some may lie beyond 63 bits.
pub(super) fn unsigned(
    operation: Operation,
    left: &ArrayRef,
    right: &ArrayRef,
) -> Result<Int64Array, ArrowError> {
    let [left, right] = [left, right].map(|side| side.as_primitive::<Decimal128Type>());
    arity::try_binary(left, right, |left, right| {
        if matches!(operation, Operation::Divide | Operation::Modulo) && right == 0 {
            return Err(ArrowError::DivideByZero);
        }
        operation.of(left, right).ok_or_else(too_large)
    })
}

/// Digits behind the point of numbers that have all their digits.
pub(super) fn scale(of: &DataType) -> Option<i8> {
    match of {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some((*scale).max(0)),
        of => of.is_integer().then_some(0),
    }
}

/// Quotients of decimals of one scale, cut off towards zero.
pub(super) fn exact(_: Operation, left: &ArrayRef, right: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let [left, right] = [left, right].map(|side| side.as_primitive::<Decimal256Type>());
    arity::try_binary(left, right, |left: i256, right: i256| {
        if right == i256::ZERO {
            return Err(ArrowError::DivideByZero);
        }
        let quotient = left.checked_div(right).and_then(i256::to_i128);
        quotient.and_then(|quotient| i64::try_from(quotient).ok()).ok_or_else(too_large)
    })
}

/// Quotients of numbers with fractions, cut off towards zero.
pub(super) fn quotients(_: Operation, left: &ArrayRef, right: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let [left, right] = [left, right].map(|side| side.as_primitive::<Float64Type>());
    arity::try_binary(left, right, |left: f64, right: f64| {
        let quotient = (left / right).trunc();
        // The first that does not fit.
        let end = 9_223_372_036_854_775_808.0;
        match quotient {
            _ if right == 0.0 => Err(ArrowError::DivideByZero),
            fits if (-end..end).contains(&fits) => Ok(fits as i64),
            _ => Err(too_large()),
        }
    })
}

fn too_large() -> ArrowError {
    ArrowError::ArithmeticOverflow("beyond 64 bits".to_owned())
}
