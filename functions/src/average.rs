//! `avg` of decimals as a double, `avg` of booleans as a share, and the types that `sum` takes for those.
//!
//! Averages are the engine's own, which of decimals have four more digits than these, but for those in
//! windows, which [`sliding`] has.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, TimeUnit};
use datafusion::common::types::{NativeType, logical_boolean, logical_float64, logical_int64};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Coercion, Documentation, GroupsAccumulator, ReversedUDAF,
    Signature, TypeSignature, TypeSignatureClass,
};

use super::{nans, sliding};
use crate::forward::from_engine;

pub(super) fn function() -> AggregateUDF {
    let engine = avg_udaf();
    let numbers = vec![
        TypeSignatureClass::Integer,
        TypeSignatureClass::Float,
        TypeSignatureClass::Decimal,
        TypeSignatureClass::Native(logical_boolean()),
    ];
    let double = TypeSignatureClass::Native(logical_float64());
    let double = Coercion::new_implicit(double, numbers, NativeType::Float64);
    // Each unit by itself: as durations of any, NULLs of no type would not become doubles.
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let durations = units
        .map(|unit| Coercion::new_exact(TypeSignatureClass::Native(Arc::new(NativeType::Duration(unit)))));
    let taken = std::iter::once(double).chain(durations).map(|one| TypeSignature::Coercible(vec![one]));
    let signature = Signature::one_of(taken.collect(), engine.signature().volatility);
    AggregateUDF::from(Average { engine, signature })
}

pub(super) fn all_taken(engine: &AggregateUDF) -> Vec<TypeSignature> {
    match &engine.signature().type_signature {
        TypeSignature::OneOf(all) => all.clone(),
        other => vec![other.clone()],
    }
}

/// What a function takes, and booleans, which are 1 and 0.
pub(super) fn with_booleans(engine: &AggregateUDF) -> Signature {
    let boolean = vec![TypeSignatureClass::Native(logical_boolean())];
    let whole = TypeSignatureClass::Native(logical_int64());
    let coerced = Coercion::new_implicit(whole, boolean, NativeType::Int64);
    let mut all = all_taken(engine);
    all.push(TypeSignature::Coercible(vec![coerced]));
    Signature::one_of(all, engine.signature().volatility)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    engine: Arc<AggregateUDF>,
    signature: Signature,
}

impl AggregateUDFImpl for Average {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        return_type(types: &[DataType]) -> DfResult<DataType>;
        state_fields(args: StateFieldsArgs) -> DfResult<Vec<FieldRef>>;
        groups_accumulator_supported(args: AccumulatorArgs) -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.engine.accumulator(args).map(nans::accumulator)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        if *args.return_type() == DataType::Float64 && !args.is_distinct {
            return Ok(sliding::average());
        }
        self.engine.create_sliding_accumulator(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        self.engine.create_groups_accumulator(args).map(nans::groups)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.engine.reverse_udf()
    }
}
