//! Stored vectors as they are: their own type, with the scales that make values of them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Float16Type, Float32Type, Int8Type, UInt8Type, UInt32Type, UInt64Type};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeListArray, PrimitiveArray, RecordBatch,
};
use arrow_buffer::Buffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use gstore_core::Cancel;
use gstore_store::{
    DType, FeaturePart, FeatureReader, Granularity, LookupError, SharedBlock, SharedColumn, Snapshot,
};
use tokio::sync::mpsc;
use tonic::Status;

use crate::handle::Vectors;
use crate::status;

pub(crate) struct OpenFeature {
    reader: FeatureReader,
    rows: Range<u64>,
    pub(crate) schema: SchemaRef,
}

pub(crate) fn find<'a>(
    snapshot: &'a Snapshot,
    dataset: &str,
    name: &str,
) -> Result<&'a Arc<FeaturePart>, Status> {
    snapshot.feature_of(dataset, name).map_err(|error| match error {
        LookupError::Ambiguous { .. } => Status::invalid_argument(error.to_string()),
        _ => Status::not_found(error.to_string()),
    })
}

/// Opens the feature that is asked for. Reads the footers of its files.
pub(crate) fn open(snapshot: &Snapshot, wanted: &Vectors) -> Result<OpenFeature, Status> {
    let feature = find(snapshot, &wanted.dataset, &wanted.feature)?;
    let reader = snapshot.open_feature_shared(feature).map_err(|e| status::read_status(&e))?;
    Ok(OpenFeature { reader, rows: wanted.first..wanted.end, schema: schema(feature)? })
}

/// Of the metadata of the schema: how module groups were rotated before their signs were taken.
const ROTATION: &str = "gstore.rotation";

pub(crate) fn schema(feature: &FeaturePart) -> Result<SchemaRef, Status> {
    let too_long = |_| Status::internal("a vector is longer than a list can be");
    let list = |ty, length: usize| {
        let length = i32::try_from(length).map_err(too_long)?;
        Ok::<_, Status>(DataType::FixedSizeList(Arc::new(Field::new("item", ty, false)), length))
    };
    let stored = match feature.desc.dtype {
        DType::F16 => DataType::Float16,
        DType::F32 => DataType::Float32,
        DType::I8 => DataType::Int8,
        DType::I1 => DataType::UInt64,
    };
    let items = feature.attrs.groups.iter().map(|group| feature.desc.dtype.items(group.len as usize)).sum();
    let groups = feature.attrs.groups.len();
    let mut fields = vec![Field::new("row", DataType::UInt64, false)];
    if feature.desc.granularity == Granularity::Token {
        fields.push(Field::new("pos", DataType::UInt32, false));
    }
    fields.push(Field::new("vector", list(stored, items)?, false));
    fields.push(Field::new("scale", list(DataType::Float32, groups)?, false));
    fields.push(Field::new("norm", list(DataType::Float32, groups)?, false));
    fields.push(Field::new("flags", DataType::UInt8, false));
    let rotation = feature.desc.rotation;
    let metadata = match rotation.is_none() {
        true => HashMap::new(),
        false => HashMap::from([(ROTATION.to_owned(), rotation.name().to_owned())]),
    };
    Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
}

impl OpenFeature {
    /// Reads all and hands it over; waits while the reader is behind. Blocks of rows that are deleted are not
    /// read.
    pub(crate) fn send_all(&self, to: &mpsc::Sender<RecordBatch>, cancel: &Cancel) -> Result<(), Status> {
        let live = self.reader.live();
        for cell in self.reader.cells() {
            for place in self.reader.blocks_in(cell) {
                // Where no row is left there is no sending that would fail.
                cancel.check().map_err(|_| unread())?;
                let range = place.range();
                let asked = range.start.max(self.rows.start)..range.end.min(self.rows.end);
                if live.within(asked).next().is_none() {
                    continue;
                }
                let block = self.reader.share_block(place).map_err(|e| status::read_status(&e))?;
                let batch =
                    self.batch(&block, range).map_err(|e| status::internal("vectors cannot be sent", &e))?;
                if batch.num_rows() > 0 && to.blocking_send(batch).is_err() {
                    return Err(unread());
                }
            }
        }
        Ok(())
    }

    /// The vectors of a block of some rows that are live and asked for; if that is all of them, as parts of
    /// the map.
    fn batch(&self, block: &SharedBlock, range: Range<u64>) -> Result<RecordBatch, ArrowError> {
        let rows = shared::<UInt64Type>(block.rows());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(match (field.name().as_str(), field.data_type()) {
                ("row", _) => Arc::new(rows.clone()),
                ("pos", _) => Arc::new(shared::<UInt32Type>(block.pos())),
                ("flags", _) => Arc::new(shared::<UInt8Type>(block.flags())),
                ("scale", _) => list(field, shared::<Float32Type>(block.scale()))?,
                ("norm", _) => list(field, shared::<Float32Type>(block.norm()))?,
                (_, DataType::FixedSizeList(item, _)) => match item.data_type() {
                    DataType::Float16 => list(field, shared::<Float16Type>(block.values()))?,
                    DataType::Float32 => list(field, shared::<Float32Type>(block.values()))?,
                    DataType::UInt64 => list(field, shared::<UInt64Type>(block.values()))?,
                    _ => list(field, shared::<Int8Type>(block.values()))?,
                },
                (name, _) => return Err(ArrowError::SchemaError(format!("no column `{name}` is stored"))),
            });
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let live = self.reader.live();
        if self.rows.start <= range.start && range.end <= self.rows.end && live.covers(range) {
            return Ok(batch);
        }
        let wanted = BooleanArray::from_unary(&rows, |row| self.rows.contains(&row) && live.contains(row));
        filter_record_batch(&batch, &wanted)
    }
}

fn unread() -> Status {
    Status::cancelled("the rows are no longer read")
}

fn list<T: ArrowPrimitiveType>(field: &Field, values: PrimitiveArray<T>) -> Result<ArrayRef, ArrowError> {
    let DataType::FixedSizeList(item, length) = field.data_type() else {
        return Err(ArrowError::SchemaError("a vector that is not a list".to_owned()));
    };
    Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *length, Arc::new(values), None)?))
}

/// A column of a block, which stays where it is.
fn shared<T: ArrowPrimitiveType>(column: SharedColumn) -> PrimitiveArray<T> {
    let values = Buffer::from(Bytes::from_owner(column));
    PrimitiveArray::new(values.into(), None)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gstore_store::{
        AppendOptions, CheckpointId, DatasetName, DeleteOptions, Family, FeatureAttrs, FeatureDesc,
        JobFeature, JobPlan, NewSample, RowFlags, RowSet, Space, Store,
    };
    use tonic::Code;

    use super::*;

    /// A store with a pool of two rows, whose vectors are in a damaged block.
    fn damaged(path: &Path) -> Store {
        let store = Store::create(path).unwrap();
        let options = AppendOptions { command: "test".into(), ..AppendOptions::default() };
        let pool = DatasetName::try_from("pool").unwrap();
        let mut append = store.append(&pool, Vec::new(), options).unwrap();
        for id in ["a", "b"] {
            append.push(NewSample { id, record: Some(b"{}".as_slice()), metadata: Vec::new() }).unwrap();
        }
        append.finish().unwrap();
        let checkpoint = CheckpointId::try_from(format!("{:064x}", 1)).unwrap();
        let space = Space {
            modules: "m".into(),
            projection: "none".into(),
            ..Space::new(Family::Gradient, Some(checkpoint), 4)
        };
        let plan = JobPlan {
            command: "test".into(),
            identity: serde_json::json!("test"),
            features: vec![JobFeature {
                desc: FeatureDesc::new("pool", "e", "grad-sgd", space, DType::F32),
                attrs: FeatureAttrs::new("g".to_owned(), 4),
            }],
            detail: serde_json::Value::Null,
        };
        let mut job = store.start_job(plan).unwrap();
        let mut writer = job.segment_writer(0).unwrap();
        (0..2).for_each(|row| writer.push(row, &[1.5; 4], RowFlags::empty()).unwrap());
        job.seal(0, writer).unwrap();
        let snapshot = job.publish(None, true).unwrap();
        let part = snapshot.features_of("pool")[0];
        let file = path.join(format!("segments/{}/{}.arrow", part.number, part.segments[0].uuid));
        let (mut bytes, vector) = (fs_err::read(&file).unwrap(), 1.5_f32.to_le_bytes().repeat(4));
        let at = bytes.windows(vector.len()).position(|window| window == vector).unwrap();
        bytes[at] ^= 1;
        fs_err::write(&file, bytes).unwrap();
        store
    }

    #[test]
    fn blocks_of_deleted_rows_and_of_cancelled_requests_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = damaged(&folder.path().join("s"));
        let any_sent = |cancel: &Cancel| {
            let all = Vectors { dataset: "pool".into(), feature: "g".into(), first: 0, end: u64::MAX };
            let (to, mut batches) = mpsc::channel(2);
            open(&store.snapshot().unwrap(), &all)?.send_all(&to, cancel)?;
            Ok::<_, Status>(batches.try_recv().is_ok())
        };
        assert_eq!(any_sent(&Cancel::new()).unwrap_err().code(), Code::DataLoss);
        assert_eq!(any_sent(&Cancel::raised()).unwrap_err().code(), Code::Cancelled);
        let (snapshot, rows) = (store.snapshot().unwrap(), RowSet::from_range(0..2));
        let options = DeleteOptions { command: "test".into(), ..DeleteOptions::default() };
        store.delete(snapshot.dataset("pool").unwrap(), &rows, options).unwrap();
        assert!(!any_sent(&Cancel::new()).unwrap());
    }
}
