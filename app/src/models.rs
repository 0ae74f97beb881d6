//! Model cache for samples that are given with a question, and the GPU that multiplies stored rows.
//!
//! The query side declares the encoder, the ingest side computes.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use gstore_core::{Cancel, Progress, Silent, available_memory, locked};
#[cfg(feature = "cuda")]
use gstore_cuda::{Cuda, CudaScan, Precision};
use gstore_ingest::pipeline::{CheckpointArg, SampleEncoder, SampleEncoderError, SampleEncoderOptions};
use gstore_model::{BackendError, Device, OutOfMemory};
use gstore_query::QueryError;
use gstore_query::influence::{EncodeRequest, Encoder, TokenRequest};
use gstore_query::kernel::RowProducts;
use gstore_store::EncodedSamples;

use crate::folders::{FolderError, Folders};

/// Bytes of models that may stay loaded where the system does not say how much memory is free.
const KEEP: u64 = 1 << 30;

/// The models of this machine. They stay loaded from one question to the next as long as they fit into half
/// of the memory that was free when this was made. On a GPU, stored rows are scanned there as well.
pub struct Models {
    encoder: SampleEncoder,
    device: Device,
    /// What multiplies rows on the GPU, once it is open.
    scan: Mutex<Option<Arc<dyn RowProducts>>>,
    progress: MakeProgress,
}

/// Makes the progress reporter of one question.
type MakeProgress = Box<dyn Fn() -> Box<dyn Progress> + Send + Sync>;

impl Models {
    /// Models where the store saw them, or in other folders: `model` the base model, `checkpoints` as
    /// [`Folders::checkpoints`] takes them. Nothing is loaded yet.
    ///
    /// # Errors
    /// Folders that are not there.
    pub fn new(
        model: Option<&str>,
        checkpoints: &[String],
        device: Device,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Self, FolderError> {
        let mut folders = Folders::new(progress, false);
        let model = model.map(|model| folders.model(model)).transpose()?;
        let checkpoints = match checkpoints {
            // Without any, `Folders` takes the base model for one.
            [] => Vec::new(),
            patterns => folders.checkpoints(patterns)?,
        };
        Ok(Self::at(model, checkpoints, device, threads))
    }

    /// The same in folders that are known; none: where the store saw them.
    pub fn at(
        model: Option<PathBuf>,
        checkpoints: Vec<CheckpointArg>,
        device: Device,
        threads: usize,
    ) -> Self {
        let keep = available_memory().map_or(KEEP, |bytes| bytes / 2);
        let options = SampleEncoderOptions { model, checkpoints, device, threads, keep };
        Self {
            encoder: SampleEncoder::new(options),
            device,
            scan: Mutex::default(),
            progress: Box::new(|| Box::new(Silent) as Box<dyn Progress>),
        }
    }

    /// The same that reports the progress of each question.
    pub fn reporting<P: Progress + 'static>(self, progress: impl Fn() -> P + Send + Sync + 'static) -> Self {
        Self { progress: Box::new(move || Box::new(progress()) as Box<dyn Progress>), ..self }
    }

    /// As what questions take.
    pub fn shared(self) -> Arc<dyn Encoder> {
        Arc::new(self)
    }

    fn make_room(&self) -> bool {
        let scan = locked(&self.scan).clone();
        scan.is_some_and(|scan| scan.make_room())
    }
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models").field("encoder", &self.encoder).finish_non_exhaustive()
    }
}

impl Encoder for Models {
    fn encode(&self, request: &EncodeRequest<'_>, cancel: &Cancel) -> Result<EncodedSamples, QueryError> {
        let records: Vec<&[u8]> = request.samples.iter().map(|sample| sample.as_bytes()).collect();
        let mut progress = (self.progress)();
        loop {
            let found =
                self.encoder.encode(request.snapshot, &records, request.features, &mut *progress, cancel);
            match found {
                Ok(encoded) => return Ok(encoded),
                // Rows that are kept on the GPU may have the memory that the model needs.
                Err(error) if error.is_out_of_memory() && self.make_room() => {}
                Err(SampleEncoderError::Cancelled(stopped)) => return Err(stopped.into()),
                Err(error) => return Err(QueryError::Encoder(Box::new(error))),
            }
        }
    }

    fn tokens(&self, request: &TokenRequest<'_>) -> Result<Option<Vec<Vec<String>>>, QueryError> {
        let texts = self.encoder.token_texts(request.snapshot, request.encoding, request.records);
        texts.map_err(|error| QueryError::Encoder(Box::new(error)))
    }

    fn products(&self) -> Result<Option<Arc<dyn RowProducts>>, QueryError> {
        let Device::Cuda(number) = self.device else { return Ok(None) };
        let mut scan = locked(&self.scan);
        if scan.is_none() {
            *scan = Some(open_scan(number).map_err(|error| QueryError::Encoder(Box::new(error)))?);
        }
        Ok(scan.clone())
    }
}

/// What multiplies stored rows on the GPU of a number.
#[cfg(feature = "cuda")]
fn open_scan(number: usize) -> Result<Arc<dyn RowProducts>, BackendError> {
    Ok(Arc::new(CudaScan::new(Cuda::open(number, Precision::Single)?)?))
}

/// What a build without GPUs says.
#[cfg(not(feature = "cuda"))]
fn open_scan(number: usize) -> Result<Arc<dyn RowProducts>, BackendError> {
    Err(Device::Cuda(number).not_built())
}
