//! Options of a query with many rankings: what each is for, its length and its order.

use gstore_query::influence::{Diversity, Each, Options, Order};

use crate::error::SqlError;
use crate::influence::columns::ExtraColumns;

/// What is asked for each of.
#[derive(Debug, Clone, Copy)]
pub(in crate::influence) struct EachOptions {
    pub(in crate::influence) each: Each,
    pub(in crate::influence) order: Order,
    pub(in crate::influence) k: usize,
}

impl EachOptions {
    /// The unit that has its own ranking, if there is one for each.
    pub(in crate::influence) fn read(
        options: &Options,
        k: Option<usize>,
        rules: &Diversity,
        besides: ExtraColumns,
    ) -> Result<Option<Self>, SqlError> {
        let refuse = |why: &str, option| Err(SqlError::invalid(why.to_owned()).about(option));
        let order = options.word("order").map_err(SqlError::option)?;
        let Some(each) = options.each("each").map_err(SqlError::option)? else {
            return match order {
                Some(_) if *rules == Diversity::default() => refuse(
                    "`order` is an option of `each` and of the rules of a ranking; elsewhere ORDER BY score says it",
                    "order",
                ),
                _ => Ok(None),
            };
        };
        let Some(k) = k else {
            return refuse("`each` gives rankings of a given length; say how long with k => n", "each");
        };
        if *rules != Diversity::default() {
            return refuse(
                "quota, distinct and round_robin are rules of one ranking, so they cannot go with `each`",
                "each",
            );
        }
        if besides.explanation {
            return refuse(
                "`explain` says what stands behind the score of a whole question; leave it or `each` out",
                "explain",
            );
        }
        Ok(Some(Self { each, order: order.unwrap_or(Order::Best), k }))
    }
}
