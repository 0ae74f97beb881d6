//! Text options of a ground truth: those of the rows that models are trained on, and of the queries.

use std::path::PathBuf;

use gstore_core::Cancel;
use gstore_data::{
    Reading, SampleError, SampleSource, TextEncoder, TextOptions, TextSample, check_block, check_system,
};

use super::TruthFolder;
use crate::error::EvaluateError;

/// How rows and queries become tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TruthTexts {
    /// Of the rows of the pool.
    pub pool: TextOptions,
    /// Of the queries, which are not cut.
    pub queries: TextOptions,
}

impl TruthFolder {
    /// The options for rows and queries, checked before anything is trained.
    ///
    /// A system message that only one of the two has a place for is left out of the other's, where it changes
    /// nothing: by itself each would be refused.
    ///
    /// # Errors
    /// Samples that cannot be read; blocks that cut no row, and a system message that neither a row
    /// nor a query gets.
    pub fn texts(
        &self,
        encoder: &TextEncoder,
        text: &TextOptions,
        cancel: &Cancel,
    ) -> Result<TruthTexts, EvaluateError> {
        let (mut pool, mut queries) = (text.clone(), TextOptions { block: None, ..text.clone() });
        if text.block.is_none() && text.system.is_none() {
            return Ok(TruthTexts { pool, queries });
        }
        let (rows, asked) = (read(self.pool_file(), cancel)?, read(self.queries_file(), cancel)?);
        check_block(&rows, encoder)?;
        let gets = |samples: &[TextSample]| check_system(samples, encoder).is_ok();
        let (in_pool, in_queries) = (gets(&rows), gets(&asked));
        if !in_pool && !in_queries {
            return Err(SampleError::NoSystem.into());
        }
        pool.system = pool.system.filter(|_| in_pool);
        queries.system = queries.system.filter(|_| in_queries);
        Ok(TruthTexts { pool, queries })
    }
}

fn read(path: PathBuf, cancel: &Cancel) -> Result<Vec<TextSample>, EvaluateError> {
    let source = SampleSource::Files { paths: vec![path], fields: Vec::new() };
    Ok(source.read(Reading::Whole, &|_, _| true, cancel)?.0)
}
