//! Casts and comparisons as the statement has them, before the engine coerces types: afterwards the types
//! that were written are lost.
//!
//! - `text::INT` rounds: `'12.7'::INT` is 13, and so does `texts::INT[]`
//! - numbers are neither cast to times nor compared with them
//! - numbers as the bounds of a window over dates are days, and over whole numbers whole
//! - arguments of window functions that are one for all rows are constants
//! - the parts of what lies between two times are those of so many days and hours
//! - the year of a time can be compared with any other
//! - a rounded decimal has the type that it has by the number of digits as it is written
//! - a number of 32 bits is compared with a written fraction in 32 bits, so that a value that is shown as 0.1
//!   is 0.1
//! - a decimal is compared with a floating-point number as such a number: the engine makes decimals of both, with
//!   15 digits behind the point at most, where 1e-20 is 0 and NaN is an error

use arrow_schema::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Between, BinaryExpr, Cast, InList};
use datafusion::logical_expr::{Expr, LogicalPlan, cast};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

use super::compared::sides;
use super::whole::type_of;
use super::{casts, clashes, framed, parts, rewrites, round, shifts, years};

/// The statement with these casts and comparisons.
pub fn as_written(plan: LogicalPlan, options: &ConfigOptions) -> DfResult<LogicalPlan> {
    rewrites::rule(&[rewrite]).analyze(plan, options)
}

/// Puts such a cast or comparison in the place of an expression.
fn rewrite(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    clashes::check(&expr, schema)?;
    shifts::check(&expr)?;
    if let Expr::Cast(Cast { expr: of, field }) = &expr
        && type_of(of, schema).is_some_and(|of| casts::reads_integers(&of, field.data_type()))
    {
        return Ok(Transformed::yes(casts::cast_call((**of).clone(), field.data_type(), false)));
    }
    let call = parts::call(&expr, schema).or_else(|| round::as_written(&expr));
    if let Some(call) = call.or_else(|| years::as_written(&expr)) {
        return Ok(Transformed::yes(call));
    }
    let in_units = framed::in_units(&mut expr, schema)?;
    let changed = in_units | narrow(&mut expr, schema) | widen(&mut expr, schema);
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// Puts the literals of a comparison with a number of 32 bits into 32 bits; says whether there were any.
fn narrow(expr: &mut Expr, schema: &DFSchema) -> bool {
    let is_real = |of: &Expr| type_of(of, schema) == Some(DataType::Float32);
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            if is_double(right) && is_real(left) {
                return narrowed(right);
            }
            is_double(left) && is_real(right) && narrowed(left)
        }
        Expr::Between(Between { expr: of, low, high, .. }) => {
            // Both: of two bounds each is one.
            (is_double(low) || is_double(high)) && is_real(of) && (narrowed(low) | narrowed(high))
        }
        Expr::InList(InList { expr: of, list, .. }) => {
            let any = list.iter().any(is_double) && is_real(of);
            // No shortcut: each value becomes one in 32 bits.
            any && list.iter_mut().map(narrowed).fold(false, |any, changed| any | changed)
        }
        _ => false,
    }
}

/// Makes floating-point numbers of the decimals of a comparison that has such numbers; says whether there were
/// any.
fn widen(expr: &mut Expr, schema: &DFSchema) -> bool {
    let sides = sides(expr);
    let types: Vec<DataType> = sides.iter().filter_map(|side| type_of(side, schema)).collect();
    let float = [DataType::Float64, DataType::Float32].into_iter().find(|float| types.contains(float));
    let Some(float) = float.filter(|_| types.iter().any(DataType::is_decimal)) else { return false };
    // A text or a time beside them decides for all.
    if types.len() < sides.len() || !types.iter().all(|of| of.is_numeric() || of.is_null()) {
        return false;
    }
    for (side, _) in sides.into_iter().zip(&types).filter(|(_, of)| of.is_decimal()) {
        *side = cast(std::mem::take(side), float.clone());
    }
    true
}

fn is_double(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Float64(Some(_)), _))
}

/// The nearest number of 32 bits in the place of a literal, if there is one.
fn narrowed(expr: &mut Expr) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    let ScalarValue::Float64(Some(double)) = *value else { return false };
    let single = double as f32;
    // One that is too small for 32 bits is not 0 by that.
    let fits = (single.is_finite() || !double.is_finite()) && (single != 0.0 || double == 0.0);
    if fits {
        *value = ScalarValue::Float32(Some(single));
    }
    fits
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn literals_beside_numbers_of_32_bits_have_32_bits() {
        let state = SessionContext::new().state();
        let rows = "(SELECT CAST(0.1 AS REAL) AS r, 0.1 AS d, '1' AS t)";
        for (condition, planned) in [
            ("r = 0.1", "r = Float32(0.1)"),
            ("0.25 < r", "Float32(0.25) < "),
            ("r BETWEEN 0.1 AND 1", "r BETWEEN Float32(0.1) AND Int64(1)"),
            ("r IN (0.1, 1e300)", "r IN ([Float32(0.1), Float64("),
            ("d = 0.1", "d = Float64(0.1)"),
            ("r >= 1e-50", ">= Float64("),
            ("r = 0.0", "= Float32(0)"),
            ("CAST(t AS INT) = 1", "converted("),
            ("date_part('hour', TIMESTAMP '2024-01-02' - TIMESTAMP '2024-01-01') = 24", "in_days("),
            ("date_part('EPOCH', TIMESTAMP '2024-01-02') = 0", " AS Timestamp(µs)"),
            ("date_part('hour', TIMESTAMP '2024-01-02') = 0", "Utf8(\"hour\"), "),
        ] {
            let sql = format!("SELECT 1 FROM {rows} AS x WHERE {condition}");
            let plan = state.create_logical_plan(&sql).await.unwrap();
            let plan = as_written(plan, state.config_options()).unwrap().to_string();
            assert!(plan.contains(planned), "{condition}: {plan}");
        }
    }
}
