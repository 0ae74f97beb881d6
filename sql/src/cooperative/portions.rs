//! Inputs of joins in portions of few rows, between which the join yields.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};

use crate::passing::Passage;

/// Pairs that a nested loop compares between two turns of other tasks: about 10 ms.
const PAIRS: usize = 1 << 20;

/// Rows of the read side of a join by keys between two turns: few pairs where keys differ. Where very many
/// rows have one key, a turn takes longer.
const KEYED_ROWS: usize = 256;

/// What an input is to its join. Portions depend on rows alone and not on time, so that the order of the
/// pairs is the same in each run.
#[derive(Debug, Clone)]
pub(super) enum JoinSide {
    /// Held by a nested loop, and counted.
    Held(Arc<AtomicUsize>),
    /// Each row is compared with all of those that are held.
    AgainstAll(Arc<AtomicUsize>),
    /// Each row is compared with the held ones of its key.
    ByKey,
}

impl Passage for JoinSide {
    const NAME: &'static str = "PortionsExec";

    fn pass(
        &self,
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        let most: Box<dyn Fn() -> usize + Send> = match self {
            JoinSide::Held(held) => {
                held.store(0, Ordering::Relaxed);
                let held = Arc::clone(held);
                let counted = input.inspect(move |batch| {
                    let rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
                    held.fetch_add(rows, Ordering::Relaxed);
                });
                return Box::pin(RecordBatchStreamAdapter::new(schema, counted));
            }
            JoinSide::AgainstAll(held) => {
                let held = Arc::clone(held);
                Box::new(move || (PAIRS / held.load(Ordering::Relaxed).max(1)).max(1))
            }
            JoinSide::ByKey => Box::new(|| KEYED_ROWS),
        };
        let portions = input.flat_map(move |batch| {
            let portions: Vec<Result<RecordBatch>> = match batch {
                Ok(batch) => portions(&batch, most()).map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(portions)
        });
        let yielding = portions.then(|portion| async {
            tokio::task::yield_now().await;
            portion
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, yielding))
    }
}

/// A batch in parts of some rows, which share its memory.
pub(crate) fn portions(batch: &RecordBatch, most: usize) -> impl Iterator<Item = RecordBatch> + '_ {
    (0..batch.num_rows()).step_by(most).map(move |at| batch.slice(at, most.min(batch.num_rows() - at)))
}
