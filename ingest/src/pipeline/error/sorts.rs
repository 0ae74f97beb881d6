//! Sorts of errors: of the request, of one record, of a full disk, of a device's memory.

use gstore_data::RecordError;
use gstore_model::OutOfMemory;
use gstore_store::{AppendError, JobError, StoreError, WriteError};

use super::IngestError;

impl IngestError {
    /// Whether no space is left for a file of the job.
    pub(in super::super) fn is_full(&self) -> bool {
        match self {
            Self::Write(WriteError::Storage(error))
            | Self::Job(JobError::Store(StoreError::Storage(error))) => error.is_full(),
            _ => false,
        }
    }

    /// Whether it is of a single record whose text is no sample.
    pub(crate) fn is_of_text(&self) -> bool {
        match self {
            Self::Record { .. } => true,
            Self::Data(error) => error.is_of_record(),
            _ => false,
        }
    }

    /// Whether it is of a record that leaves others when it is left out: not of an object around all of them.
    pub fn may_be_skipped(&self) -> bool {
        let is_all = |source: &RecordError| matches!(source, RecordError::Around(_) | RecordError::Frame);
        self.is_of_text() && !matches!(self, Self::Record { source, .. } if is_all(source))
    }

    /// Whether another error is of a record of the same file whose keys are wrong in the same way; then this
    /// one tells its keys, too.
    pub(in super::super) fn takes(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Record { place, source }, Self::Record { place: other_place, source: other })
                if place.file == other_place.file && source.is_like(other) =>
            {
                source.add_keys(other);
                true
            }
            _ => false,
        }
    }

    /// Whether an earlier record of the same files has a record's id.
    pub(in super::super) fn is_repeated_id(&self) -> bool {
        match self {
            Self::RepeatedId { .. } => true,
            Self::Append { source, .. } => matches!(source, AppendError::DuplicateId { .. }),
            _ => false,
        }
    }

    /// Whether one record is at fault, and others may be good.
    pub(in super::super) fn is_of_record(&self) -> bool {
        self.is_of_text() || self.is_repeated_id()
    }

    /// Whether the request itself was wrong, whatever the data and the store hold: a length, too, that is
    /// beyond the model's positions.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::UnknownKind(_)
                | Self::NoKinds
                | Self::RepeatedKind { .. }
                | Self::EmbeddingPerToken { .. }
                | Self::WeightCount { .. }
                | Self::BadWeight { .. }
                | Self::Precision(_)
                | Self::Name(_)
                | Self::ColumnOption { .. }
                | Self::FieldOption { .. }
                | Self::Projection(_)
                | Self::LimitedShard
                | Self::TooLong { .. }
        )
    }
}

impl OutOfMemory for IngestError {
    fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Load(error) => error.is_out_of_memory(),
            Self::Engine(error) => error.is_out_of_memory(),
            _ => false,
        }
    }
}
