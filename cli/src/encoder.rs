//! Whoever computes the samples that a question gives as text: the query side declares it, the ingest side has the models.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use gstore_core::available_memory;
use gstore_ingest::pipeline::{GivenError, GivenOptions, SampleEncoder, WantedFeature};
use gstore_query::influence::{EncodeFeature, EncodeRequest, EncodedSamples, Encoder, EncoderError};

use crate::args::ModelArgs;
use crate::commands::folders::Folders;
use crate::context::Context;

/// Bytes of models that may stay loaded where the system does not say how much memory is free.
const KEEP: u64 = 1 << 30;

/// The models of this machine, with progress on standard error.
#[derive(Debug)]
struct Models {
    inner: SampleEncoder,
    quiet: bool,
}

/// The encoder that the flags describe. Models stay loaded as long as they fit into half of the memory that is free now.
pub fn encoder(context: &Context, args: &ModelArgs) -> Result<Arc<dyn Encoder>> {
    let mut folders = Folders::new(context.reporter(), false).of_flag("--checkpoint-folders");
    let options = GivenOptions {
        model: args.model.as_deref().map(|model| folders.model(model)).transpose()?,
        checkpoints: match args.checkpoint_folders.as_slice() {
            // Without any, `Folders` takes the base model for one.
            [] => Vec::new(),
            patterns => folders.checkpoints(patterns)?,
        },
        device: args.backend,
        threads: context.threads,
        keep: available_memory().map_or(KEEP, |bytes| bytes / 2),
    };
    Ok(Arc::new(Models { inner: SampleEncoder::new(options), quiet: context.quiet }))
}

impl Encoder for Models {
    fn encode(
        &self,
        request: &EncodeRequest<'_>,
        cancel: &AtomicBool,
    ) -> Result<EncodedSamples, EncoderError> {
        let records: Vec<&[u8]> = request.samples.iter().map(|sample| sample.as_bytes()).collect();
        let wanted: Vec<WantedFeature<'_>> = request
            .features
            .iter()
            .map(|&EncodeFeature { checkpoint, run, pool, kind }| WantedFeature {
                checkpoint,
                run,
                pool,
                kind,
            })
            .collect();
        let mut reporter = crate::progress::Reporter::new(self.quiet);
        match self.inner.encode(request.snapshot, &records, &wanted, &mut reporter, cancel) {
            Ok(given) => Ok(EncodedSamples { vectors: given.vectors, tokens: given.tokens }),
            Err(GivenError::Cancelled) => Err(EncoderError::Cancelled),
            Err(error) => Err(EncoderError::Failed(Box::new(error))),
        }
    }
}
