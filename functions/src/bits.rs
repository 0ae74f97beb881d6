//! `bit_and`, `bit_or` and `bit_xor`: the engine's fail for groups of a column that has only NULLs.
//!
//! `bit_xor(x)` is NULL where a window that moves has no value, and takes DISTINCT values in groups: the
//! engine's gives 0, as of two equal values, and has no state of different values there.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::bit_and_or_xor::{bit_and_udaf, bit_or_udaf, bit_xor_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, Signature,
};
use datafusion::scalar::ScalarValue;

use crate::forward::from_engine;

pub(super) fn functions() -> [AggregateUDF; 3] {
    [bit_and_udaf(), bit_or_udaf(), bit_xor_udaf()].map(|engine| AggregateUDF::from(BitFunction { engine }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct BitFunction {
    engine: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for BitFunction {
    from_engine! {
        name() -> &str;
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        accumulator(args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>>;
        state_fields(args: StateFieldsArgs) -> DfResult<Vec<FieldRef>>;
        create_groups_accumulator(args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>>;
        documentation() -> Option<&Documentation>;
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct && !args.return_type().is_null() && self.engine.groups_accumulator_supported(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let bits = self.engine.create_sliding_accumulator(args)?;
        Ok(Box::new(WindowBits { bits, count: 0 }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.engine.reverse_udf()
    }
}

/// The bits of the values in a window, and how many values there are.
#[derive(Debug)]
struct WindowBits {
    bits: Box<dyn Accumulator>,
    count: usize,
}

/// How many values are not NULL.
fn known(values: &[ArrayRef]) -> usize {
    values.first().map_or(0, |values| values.len() - values.logical_null_count())
}

impl Accumulator for WindowBits {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.count += known(values);
        self.bits.update_batch(values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.count = self.count.saturating_sub(known(values));
        self.bits.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.bits.supports_retract_batch()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.bits.merge_batch(states)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let bits = self.bits.evaluate()?;
        if self.count == 0 { ScalarValue::try_from(&bits.data_type()) } else { Ok(bits) }
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.bits.state()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bits.size()
    }
}
