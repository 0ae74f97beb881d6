//! Encoder interface: vectors of targets that are given with the question.
//!
//! Questions are answered from stored vectors; a text has none yet. This crate knows no models, so a caller
//! that has one passes an [`Encoder`] with the question.

use std::fmt;
use std::sync::Arc;

use gstore_core::Cancel;
use gstore_store::{DType, EncodeFeature, EncodedSamples, EncodingSpec, Snapshot, StoredRow};

use crate::error::QueryError;
use crate::influence::spec::GIVEN;
use crate::kernel::RowProducts;

/// Computes the vectors of samples that are in no dataset, and may have a device for stored rows too.
///
/// What fails in it is a [`QueryError::Encoder`], and being told to stop [`QueryError::Cancelled`].
pub trait Encoder: fmt::Debug + Send + Sync {
    /// The vectors of every sample at every checkpoint asked for, as an ingest of the same records would give
    /// them before they are stored.
    ///
    /// # Errors
    /// Anything that would make a vector another than the pool's feature can be compared with: weights
    /// that are gone or changed, a tokenizer or a projection that cannot be had again, a sample that is
    /// cut or has no scored token.
    fn encode(&self, request: &EncodeRequest<'_>, cancel: &Cancel) -> Result<EncodedSamples, QueryError>;

    /// The text of each token of every record, as the encoding cuts it; of a record that cannot be cut there
    /// are none. `None` where the encoding's tokenizer is not at hand.
    ///
    /// # Errors
    /// A tokenizer that is there and fails.
    fn tokens(&self, request: &TokenRequest<'_>) -> Result<Option<Vec<Vec<String>>>, QueryError> {
        let _ = request;
        Ok(None)
    }

    /// What multiplies the pools' rows with query vectors in an exact scan; `None`: the processor.
    ///
    /// # Errors
    /// A device that cannot be opened.
    fn products(&self) -> Result<Option<Arc<dyn RowProducts>>, QueryError> {
        Ok(None)
    }
}

/// What an [`Encoder`] is to cut into tokens.
#[derive(Debug, Clone, Copy)]
pub struct TokenRequest<'a> {
    /// The state of the store: its runs know where tokenizers were.
    pub snapshot: &'a Snapshot,
    /// The encoding: the tokenizer by its digest, the template, the length after which samples are cut.
    pub encoding: &'a EncodingSpec,
    /// The records, JSON objects as in a data file.
    pub records: &'a [&'a str],
}

/// What an [`Encoder`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct EncodeRequest<'a> {
    /// The state of the store that the question is asked of: runs know where weights were.
    pub snapshot: &'a Snapshot,
    /// The records, JSON objects as in a data file.
    pub samples: &'a [String],
    /// One for each checkpoint of the question.
    pub features: &'a [EncodeFeature<'a>],
}

/// The given samples of a question with what the answer needs of them: the form in which they would
/// read back from a store.
#[derive(Debug)]
pub(crate) struct GivenSamples {
    /// By checkpoint, then by sample.
    pub(super) vectors: Vec<Vec<StoredRow>>,
    /// For each sample, tokens and scored tokens.
    pub(super) tokens: Vec<(u32, u32)>,
}

/// Computes the given samples' vectors and rounds them as the pool's are stored; only for signs they stay
/// what they are, so that the error is not made twice.
pub(super) fn given(
    encoder: Option<&Arc<dyn Encoder>>,
    request: &EncodeRequest<'_>,
    cancel: &Cancel,
) -> Result<GivenSamples, QueryError> {
    let encoder = encoder.ok_or(QueryError::NoEncoder)?;
    let encoded = encoder.encode(request, cancel)?;
    let samples = request.samples.len();
    let whole = encoded.vectors.len() == request.features.len() && encoded.tokens.len() == samples;
    let mut vectors = Vec::with_capacity(request.features.len());
    for (at, found) in request.features.iter().zip(encoded.vectors) {
        let dim = at.pool.desc.dim() as usize;
        let dtype = match at.pool.desc.dtype {
            DType::I1 => DType::F32,
            other => other,
        };
        if !whole || found.len() != samples || found.iter().any(|vector| vector.len() != dim) {
            return Err(QueryError::Spec(format!(
                "the encoder gave something else than {samples} vectors of {dim} coordinates at each checkpoint"
            )));
        }
        let stored = found.iter().enumerate().map(|(i, vector)| {
            StoredRow::of(vector, &at.pool.attrs.groups, dtype).ok_or_else(|| {
                QueryError::Spec(format!(
                    "the {} of {GIVEN} sample {} is not finite at {}, so nothing can be compared with it",
                    at.kind,
                    i + 1,
                    at.checkpoint
                ))
            })
        });
        vectors.push(stored.collect::<Result<Vec<_>, _>>()?);
    }
    if !whole {
        return Err(QueryError::Spec("the encoder left out a checkpoint or a sample".into()));
    }
    Ok(GivenSamples { vectors, tokens: encoded.tokens })
}
