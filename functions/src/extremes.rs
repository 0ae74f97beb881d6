//! `max` and `min` of floating-point numbers in groups, where NaN is larger than any number: the engine's
//! take what stands behind a NaN for larger, and begin with the last finite number.

use std::sync::Arc;

use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion::scalar::ScalarValue;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;
use half::f16;

use crate::forward::from_engine;

pub(super) fn functions() -> [AggregateUDF; 2] {
    [(max_udaf(), true), (min_udaf(), false)]
        .map(|(engine, largest)| AggregateUDF::from(Extreme { engine, largest }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    engine: Arc<AggregateUDF>,
    largest: bool,
}

/// The numbers that are further on in each group than those before, from one that none is behind.
macro_rules! furthest {
    ($of:ident, $type:ty, $first:expr, $is_further:ident) => {
        Box::new(
            PrimitiveGroupsAccumulator::<$type, _>::new($of, |best, number| {
                if number.total_cmp(best).$is_further() {
                    *best = number;
                }
            })
            .with_starting_value($first),
        )
    };
}

impl AggregateUDFImpl for Extreme {
    from_engine! {
        name() -> &str;
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        coerce_types(types: &[DataType]) -> DfResult<Vec<DataType>>;
        accumulator(args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>>;
        state_fields(args: StateFieldsArgs) -> DfResult<Vec<FieldRef>>;
        groups_accumulator_supported(args: AccumulatorArgs) -> bool;
        create_sliding_accumulator(args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>>;
        order_sensitivity() -> AggregateOrderSensitivity;
        is_descending() -> Option<bool>;
        value_from_stats(args: &StatisticsArgs) -> Option<ScalarValue>;
        documentation() -> Option<&Documentation>;
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        let of = &args.return_type().clone();
        Ok(match (of, self.largest) {
            (DataType::Float16, true) => furthest!(of, Float16Type, f16::NEG_INFINITY, is_gt),
            (DataType::Float32, true) => furthest!(of, Float32Type, f32::NEG_INFINITY, is_gt),
            (DataType::Float64, true) => furthest!(of, Float64Type, f64::NEG_INFINITY, is_gt),
            (DataType::Float16, false) => furthest!(of, Float16Type, f16::NAN, is_lt),
            (DataType::Float32, false) => furthest!(of, Float32Type, f32::NAN, is_lt),
            (DataType::Float64, false) => furthest!(of, Float64Type, f64::NAN, is_lt),
            _ => return self.engine.create_groups_accumulator(args),
        })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.engine.reverse_udf()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.engine.inner().set_monotonicity(data_type)
    }
}
