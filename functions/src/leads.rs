//! `lead(x, n IGNORE NULLS)` with each value that is not NULL: of several rows ahead the engine's misses some
//! while it has not read all of a partition. So it is computed for a partition at once.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::FieldRef;
use datafusion::error::Result as DfResult;
use datafusion::functions_window::lead_lag::{lag_udwf, lead_udwf};
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Documentation, LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::scalar::ScalarValue;

use crate::forward::from_engine;

pub(super) fn functions() -> [WindowUDF; 2] {
    [lead_udwf(), lag_udwf()].map(shift)
}

fn shift(engine: Arc<WindowUDF>) -> WindowUDF {
    WindowUDF::from(Shift { engine, is_reversed: false })
}

/// `lead` or `lag`, which are each other in reverse order and with the other sign.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shift {
    engine: Arc<WindowUDF>,
    /// Whether rows come in the other order than the statement has.
    is_reversed: bool,
}

impl WindowUDFImpl for Shift {
    from_engine! {
        name() -> &str;
        signature() -> &Signature;
        expressions(args: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>>;
        field(args: WindowUDFFieldArgs) -> DfResult<FieldRef>;
        documentation() -> Option<&Documentation>;
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> DfResult<Box<dyn PartitionEvaluator>> {
        let ignores_nulls = args.ignore_nulls();
        let evaluator = self.engine.partition_evaluator_factory(args)?;
        // One of rows before misses none.
        Ok(match ignores_nulls && !evaluator.is_causal() {
            true => Box::new(WholePartition(evaluator)),
            false => evaluator,
        })
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        match self.engine.reverse_expr() {
            ReversedUDWF::Reversed(engine) => {
                let reversed = Self { engine, is_reversed: !self.is_reversed };
                ReversedUDWF::Reversed(Arc::new(WindowUDF::from(reversed)))
            }
            other => other,
        }
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        let is_back = |by: &Arc<dyn PhysicalExpr>| {
            let by = by.downcast_ref::<Literal>().map(Literal::value);
            matches!(by, Some(ScalarValue::Int64(Some(rows))) if *rows >= 0)
        };
        match args {
            // The engine reverses the number of rows elsewhere.
            _ if self.is_reversed => LimitEffect::Unknown,
            // To the engine `lag(x, -1)` needs no rows behind.
            [_, by, ..] if self.name() == "lag" && !is_back(by) => LimitEffect::Unknown,
            _ => self.engine.inner().limit_effect(args),
        }
    }
}

/// What is evaluated for all rows of a partition at once only.
#[derive(Debug)]
struct WholePartition(Box<dyn PartitionEvaluator>);

impl PartitionEvaluator for WholePartition {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> DfResult<ArrayRef> {
        self.0.evaluate_all(values, rows)
    }
}
